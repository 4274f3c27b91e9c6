// The Kafka door and clients of others: Kafka's console tools and ConsumerPerformance (Java), librdkafka (Python), Spark.
// Programs and commands are those of docs/consumers.md, as they are written there.
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import mqtt from 'mqtt'
import { environmentCodec, reading } from '../environment.ts'
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

const INTEROP = path.resolve(import.meta.dirname, '../../.interop')
const PYTHON = path.join(INTEROP, 'venv/bin/python')
const NORMALIZED = 'default.telemetry.normalized'
const DEVICES = 5
const COUNT = 500
/** Classes behind the scripts of Kafka's distribution. */
const TOOLS: Record<string, string> = {
  'kafka-console-consumer.sh': 'org.apache.kafka.tools.consumer.ConsoleConsumer',
  'kafka-topics.sh': 'org.apache.kafka.tools.TopicCommand',
  'kafka-get-offsets.sh': 'org.apache.kafka.tools.GetOffsetShell',
  'kafka-consumer-groups.sh': 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand',
  'kafka-consumer-perf-test.sh': 'org.apache.kafka.tools.ConsumerPerformance',
  'kafka-console-producer.sh': 'org.apache.kafka.tools.ConsoleProducer',
  'kafka-configs.sh': 'kafka.admin.ConfigCommand',
}

const run = promisify(execFile)
const cleanups: (() => void)[] = []
const data = temporaryFolder({ after: (callback) => void cleanups.push(callback) })
let millrace: MillraceProcess

before(async () => {
  millrace = await startProcess(data, ['--kafka', '127.0.0.1:0'])
  const codec = await environmentCodec(millrace.http)
  for (let d = 0; d < DEVICES; d++) {
    const device = await mqtt.connectAsync(millrace.url, { clientId: `room-${d}`, protocolVersion: 5 })
    await Promise.all(
      Array.from({ length: COUNT / DEVICES }, (_, i) =>
        device.publishAsync(`devices/room-${d}/telemetry`, codec.encode(reading(i)), { qos: 1 }),
      ),
    )
    await device.endAsync()
  }
  await until('all normalized', async () =>
    (await account(millrace.http))['normalized'] === COUNT ? true : undefined,
  )
})

after(async () => {
  await millrace.kill()
  for (const cleanup of cleanups) cleanup()
})

/** A documented command line of Kafka's distribution, for its classes. */
function javaCommand(line: string): [string, ...string[]] {
  const [script, ...args] = here(line, millrace).trim().split(/\s+/)
  const name = TOOLS[path.basename(script!)]
  assert.ok(name, `no class for ${script}`)
  return ['java', '-cp', kafkaClassPath(), name, ...args]
}

/** Runs it to its end. */
async function tool(line: string): Promise<string> {
  const [command, ...args] = javaCommand(line)
  const { stdout, stderr } = await run(command, args, { timeout: 60_000, maxBuffer: 1 << 26 })
  return `${stdout}\n${stderr}`
}

test('kafka-console-consumer reads every record with key, offset and time', async () => {
  const lines = await runUntil(javaCommand(block('console', 'console-consumer')), (output) => {
    const found = output
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.includes('Offset:'))
    return found.length < COUNT ? undefined : found
  })
  assert.equal(lines.length, COUNT)
  for (let d = 0; d < DEVICES; d++)
    assert.equal(lines.filter((line) => line.endsWith(`room-${d}`)).length, COUNT / DEVICES)
  assert.match(lines[0]!, /CreateTime:\d{13}/)
})

test('kcat prints key, time and offset of every record', async () => {
  const line = here(block('sh', 'kcat -b 127.0.0.1:9092 -t default.telemetry.normalized -C'), millrace)
  const { stdout } = await run('sh', ['-c', line], { timeout: 20_000 })
  const lines = stdout.trim().split('\n')
  assert.equal(lines.length, COUNT)
  assert.ok(lines.every((text) => /^room-\d \d{13} \d+$/.test(text)))
})

test('kafka-topics and kafka-get-offsets describe the topic', async () => {
  const [topics, offsets] = await Promise.all([
    tool(block('console', 'kafka-topics')),
    tool(block('console', 'get-offsets')),
  ])
  assert.match(topics, /PartitionCount: 4\s+ReplicationFactor: 1/)
  const sum = [...offsets.matchAll(new RegExp(`^${NORMALIZED}:\\d+:(\\d+)$`, 'gm'))].reduce(
    (total, match) => total + Number(match[1]),
    0,
  )
  assert.equal(sum, COUNT)
  await assert.rejects(
    tool('bin/kafka-topics.sh --bootstrap-server 127.0.0.1:9092 --create --topic mine'),
    ({ stdout, stderr }: { stdout: string; stderr: string }) =>
      /topics are made from contracts/.test(stdout + stderr),
  )
})

test('kafka-consumer-perf-test reads all; kafka-consumer-groups shows its lag', async () => {
  const output = await tool(
    `bin/kafka-consumer-perf-test.sh --bootstrap-server 127.0.0.1:9092 --topic ${NORMALIZED} --num-records ${COUNT} --group perf`,
  )
  assert.match(output, new RegExp(`, ${COUNT}, `))
  const groups = await tool(block('console', 'consumer-groups').replace('dashboards', 'perf'))
  const lines = groups.split('\n').filter((line) => line.includes(NORMALIZED))
  assert.equal(lines.length, 4)
  // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG
  const sum = (column: number): number =>
    lines.reduce((total, line) => total + Number(line.trim().split(/\s+/)[column]), 0)
  assert.equal(sum(3), COUNT)
  assert.equal(sum(4), COUNT)
  assert.equal(sum(5), 0)
})

test('kafka-consumer-groups sets a group back and removes it', async () => {
  const groups = (args: string) =>
    tool(`bin/kafka-consumer-groups.sh --bootstrap-server 127.0.0.1:9092 ${args}`)
  assert.match(await groups('--list'), /^perf$/m)
  assert.match(await groups('--describe --group perf --state'), /perf .* Empty +0/)
  const reset = await groups(`--reset-offsets --group perf --topic ${NORMALIZED} --to-earliest --execute`)
  assert.equal([...reset.matchAll(new RegExp(`${NORMALIZED} +\\d +0`, 'g'))].length, 4)
  const described = await groups('--describe --group perf')
  assert.equal([...described.matchAll(new RegExp(`${NORMALIZED} +\\d +0 +\\d+`, 'g'))].length, 4)
  assert.match(await groups('--delete --group perf'), /successful/)
  assert.doesNotMatch(await groups('--list'), /perf/)
})

test('kafka-configs describes topics and the broker, and changes nothing', async () => {
  const configs = (args: string) => tool(`bin/kafka-configs.sh --bootstrap-server 127.0.0.1:9092 ${args}`)
  assert.match(
    await configs(`--describe --entity-type topics --entity-name ${NORMALIZED}`),
    /cleanup\.policy=delete/,
  )
  assert.match(
    await configs('--describe --entity-type brokers --entity-name 1 --all'),
    /auto\.create\.topics\.enable=false/,
  )
  await assert.rejects(
    configs(`--alter --entity-type topics --entity-name ${NORMALIZED} --add-config retention.ms=1`),
  )
})

test('the Python program of the docs prints every reading', async () => {
  const program = here(block('python', 'DeserializingConsumer'), millrace)
  const output = await runUntil([PYTHON, '-c', program], (text) =>
    text.split('\n').length > COUNT ? text : undefined,
  )
  assert.match(output, /^room-\d \d{4}-\d\d-\d\dT[\d:.]+\+00:00 2\d(\.\d+)?$/m)
})

test('librdkafka writes: what fits is a row, what does not is refused by its reason', async () => {
  const before = await account(millrace.http)
  const script = path.join(import.meta.dirname, 'kafka_produce.py')
  const { stdout } = await run(PYTHON, [script, `127.0.0.1:${millrace.kafkaPort}`, millrace.http], {
    timeout: 60_000,
  })
  const told = JSON.parse(stdout) as Record<string, unknown>
  assert.deepEqual(told['acknowledged'], 100)
  assert.match(String(told['unframed']), /INVALID_RECORD|record|Broker/i)
  assert.match(String(told['normalized']), /TOPIC_AUTHORIZATION_FAILED|authoriz/i)
  assert.match(String(told['transaction']), /TRANSACTIONAL_ID_AUTHORIZATION_FAILED|authoriz/i)
  await until('the rows', async () =>
    (await account(millrace.http))['rows'] === before['raw']! + 100 ? true : undefined,
  )
})

test('the Spark program of the docs counts the stream', async (t) => {
  const folder = temporaryFolder(t)
  const shown = execFileSync(
    LAUNCHER,
    ['schema', 'show', 'environment', '--spark', '--bootstrap', `127.0.0.1:${millrace.kafkaPort}`],
    { encoding: 'utf8' },
  )
  fs.writeFileSync(path.join(folder, 'millrace_streams.py'), shown)
  fs.writeFileSync(path.join(folder, 'program.py'), block('python', 'pyspark'))
  const jars = fs
    .readdirSync(path.join(INTEROP, 'spark/libs'))
    .filter((name) => /kafka|avro|commons-pool/.test(name))
    .map((name) => path.join(INTEROP, 'spark/libs', name))
  const { stdout } = await run(PYTHON, ['program.py'], {
    cwd: folder,
    timeout: 180_000,
    maxBuffer: 1 << 26,
    env: {
      ...process.env,
      PYSPARK_SUBMIT_ARGS: `--master local[1] --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=1 --conf spark.driver.host=127.0.0.1 --jars ${jars.join(',')} pyspark-shell`,
    },
  })
  const { normalized } = await account(millrace.http)
  const counts = [...stdout.matchAll(/^\|([\w-]+)\s*\|(\d+)\s*\|$/gm)]
  assert.equal(
    counts.reduce((total, match) => total + Number(match[2]), 0),
    normalized,
  )
  assert.equal(counts.find((match) => match[1] === 'room-0')![2], String(COUNT / DEVICES))
})
