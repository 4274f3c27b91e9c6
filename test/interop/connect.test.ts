// Kafka Connect and the Java program of docs/consumers.md, through the Kafka door. Apicurio's classes stand where the
// page has Confluent's, as it says, and its registry is the external one: Confluent's are not in Maven Central.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import mqtt from 'mqtt'
import { kafkaClassPath } from '../kafka/broker.ts'
import {
  account,
  LAUNCHER,
  type MillraceProcess,
  startProcess,
  temporaryFolder,
  until,
} from '../millrace-process.ts'
import { block, here, runUntil } from './consumers-page.ts'
import { codec, environment } from './contract-rows.ts'
import type { Row } from './readers.ts'
import { type Server, startApicurio, startConnect } from './servers.ts'

const LIBS = path.resolve(import.meta.dirname, '../../.interop/connect/libs/*')
const COUNT = 24

const cleanups: (() => Promise<void> | void)[] = []
const all = { after: (callback: () => Promise<void> | void): void => void cleanups.push(callback) }
const now = Date.now()
const readings = Array.from({ length: COUNT }, (_, i): Row => environment(i, now))
let apicurio: Server
let millrace: MillraceProcess

before(async () => {
  const data = temporaryFolder(all)
  apicurio = await startApicurio(all)
  const registry = `${apicurio.url}/apis/ccompat/v7`
  millrace = await startProcess(data, ['--kafka', '127.0.0.1:0', '--schema-registry', registry])
  all.after(() => millrace.kill())
  const encode = await codec(millrace.http, 'default.telemetry-value')
  const client = await mqtt.connectAsync(millrace.url, { clientId: 'dut', protocolVersion: 5 })
  for (const reading of readings)
    await client.publishAsync('devices/dut/telemetry', encode(reading), { qos: 1 })
  await client.endAsync()
  await until('all normalized', async () =>
    (await account(millrace.http))['normalized'] === COUNT ? true : undefined,
  )
})

after(async () => {
  for (const cleanup of cleanups.reverse()) await cleanup()
})

/** The page's lines for Apicurio, with the test's address. */
const apicurioLines = (language: string): string =>
  block(language, 'apicurio.registry').replace('http://127.0.0.1:8081', apicurio.url)

/** Runs half of the command that the page pipes into another. */
const half = (command: string, input = ''): string =>
  execFileSync('sh', ['-c', command], { cwd: path.dirname(LAUNCHER), encoding: 'utf8', input })

test('Kafka Connect’s file sink writes every reading as the device sent it', async (t) => {
  const folder = temporaryFolder(t)
  const properties = here(block('properties', 'plugin.path'), millrace)
  const worker = await startConnect(
    t,
    folder,
    properties
      .replace(/^plugin\.path=.*$/m, '')
      .replace('/tmp/connect.offsets', path.join(folder, 'offsets')),
  )
  const [show, post, ...more] = block('sh', '--kafka-connect').split(' | ')
  assert.deepEqual(more, [])
  const connector = JSON.parse(half(show!)) as { name: string; config: Record<string, string> }
  const {
    'value.converter': converter,
    'value.converter.schema.registry.url': url,
    ...config
  } = connector.config
  assert.equal(converter, 'io.confluent.connect.avro.AvroConverter')
  assert.equal(url, 'http://127.0.0.1:8080/schema-registry')
  const file = path.join(folder, 'readings.txt')
  const instead = { file, ...(JSON.parse(`{${apicurioLines('json')}}`) as Record<string, string>) }
  const answer = half(
    post!.replace('http://localhost:8083', worker.url),
    JSON.stringify({ ...connector, config: { ...config, ...instead } }),
  )
  assert.equal((JSON.parse(answer) as { name?: string }).name, 'millrace-default-telemetry', answer)
  const lines = await until('the file', async () => {
    const status = await (await fetch(`${worker.url}/connectors/${connector.name}/status`)).text()
    assert.doesNotMatch(status, /FAILED/)
    const text = fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split('\n') : []
    return text.length === COUNT ? text : undefined
  })
  // `Struct{name=value,…}`; a null is left out.
  const rows = lines.map(
    (line) =>
      Object.fromEntries(
        line
          .slice(7, -1)
          .split(',')
          .map((pair) => pair.split('=')),
      ) as Row,
  )
  assert.deepEqual(
    rows.map((row) =>
      Object.fromEntries(
        Object.entries(row).map(([name, value]) => [
          name,
          typeof readings[0]![name] === 'string' ? value : Number(value),
        ]),
      ),
    ),
    readings.map((reading) =>
      Object.fromEntries(Object.entries(reading).filter(([, value]) => value !== null)),
    ),
  )
})

test('the Java program prints every reading', async (t) => {
  const folder = temporaryFolder(t)
  const program = here(block('java', 'class Read'), millrace)
  const changed = program.replace(
    /^.*"value\.deserializer", "io\.confluent.*\n.*"schema\.registry\.url".*\n/m,
    apicurioLines('java'),
  )
  assert.notEqual(changed, program)
  const file = path.join(folder, 'Read.java')
  fs.writeFileSync(file, changed)
  const lines = await runUntil(
    [
      'java',
      '-Xmx256m',
      '-XX:+UseSerialGC',
      '-XX:TieredStopAtLevel=1',
      '-cp',
      `${kafkaClassPath()}:${LIBS}`,
      file,
    ],
    (output) => (output.split('\n').length > COUNT ? output.trim().split('\n') : undefined),
  )
  assert.deepEqual(
    lines.map((line) => line.split(' ')).map(([key, temperature]) => [key, Number(temperature)]),
    readings.map((reading) => ['dut', reading['temperature']]),
  )
})
