// The whole pipeline on other people's catalog and store: `./millrace up` with the Iceberg project's REST catalog and an
// S3 server; rows come by MQTT and are read through both by PyIceberg, DuckDB, Spark and `millrace query`.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { makeGoldenTables } from '../golden-tables.ts'
import { account, millrace, startProcess, temporaryFolder, until } from '../millrace-process.ts'
import { bySeq, codec, environment, machine, withoutEmptyMaps } from './contract-rows.ts'
import { compareGolden } from './golden-rows.ts'
import { type Row, readDuckDb, readPyIceberg, readSpark } from './readers.ts'
import { s3Environment, startRestCatalog, startS3 } from './servers.ts'

const TELEMETRY = 200
const MACHINES = 60
/** Tables with a type that Spark has not: "Spark does not support time fields". */
const SPARK_CANNOT = new Set(['golden.times'])

test('devices to a REST catalog and S3, and four readers find every value', async (t) => {
  const folder = temporaryFolder(t)
  const s3 = await startS3(t, path.join(folder, 's3'))
  const env = { ...s3Environment(s3.url), MILLRACE_CATALOG_CREDENTIAL: 'client:secret' }
  const rest = await startRestCatalog(t, {
    folder: path.join(folder, 'rest'),
    warehouse: 's3://warehouse/lake',
    s3Endpoint: s3.url,
  })
  const running = await startProcess(path.join(folder, 'data'), ['--catalog', rest.url], env)
  t.after(() => running.kill())

  const now = Date.now()
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  const telemetry = await codec(running.http, 'default.telemetry-value')
  const nested = await codec(running.http, 'default.machine-value')
  const sent: Row[] = []
  const machines: Row[] = []
  const publishing: Promise<unknown>[] = []
  const publish = (stream: string, payload: Buffer): void => {
    publishing.push(client.publishAsync(`devices/dut/${stream}`, payload, { qos: 1 }))
  }
  for (let i = 0; i < TELEMETRY; i++) {
    sent.push(environment(i, now))
    publish('telemetry', telemetry(sent[i]))
  }
  for (let i = 0; i < MACHINES; i++) {
    const one = machine(i, now)
    machines.push(one.expected)
    publish('machine', nested(one.sent))
  }
  await Promise.all(publishing)
  await assert.rejects(client.publishAsync('devices/dut/telemetry', Buffer.from('{"seq":"x"}'), { qos: 1 }))
  await client.endAsync()
  await until('all rows', async () => {
    const value = await account(running.http)
    return value['rows'] === TELEMETRY + MACHINES && value['rejectedRows'] === 1 ? true : undefined
  })

  const columns = (rows: Row[], like: Row): Row[] =>
    [...rows]
      .sort(bySeq)
      .map((row) => withoutEmptyMaps(Object.fromEntries(Object.keys(like).map((name) => [name, row[name]]))))
  const check = (reader: string, telemetryRows: Row[], machineRows: Row[], rejected: Row[]): void => {
    assert.deepEqual(columns(telemetryRows, sent[0]!), sent, `${reader}: telemetry`)
    assert.deepEqual(columns(machineRows, machines[0]!), machines.map(withoutEmptyMaps), `${reader}: machine`)
    assert.deepEqual(
      rejected.map((row) => Buffer.from(String(row['payload']), 'hex').toString()),
      ['{"seq":"x"}'],
      `${reader}: rejected`,
    )
  }
  const tables = ['default.telemetry', 'default.machine', 'default.telemetry_rejected'] as const
  const [a, b, c] = await Promise.all(tables.map((table) => readPyIceberg(rest.url, table, env)))
  check('PyIceberg', a!, b!, c!)
  const [d, e, f] = await readDuckDb(
    { rest: rest.url },
    tables.map((table) => `SELECT * FROM lake.${table}`),
    env,
  )
  check('DuckDB', d!, e!, f!)
  // Spark's one start reads the golden tables too.
  const golden = await makeGoldenTables(fs.mkdtempSync(path.join(folder, 'golden-')))
  const goldenRead = golden.tables.filter((table) => !SPARK_CANNOT.has(table.name))
  const [g, h, i, ...rows] = await readSpark(
    { rest: rest.url, data: path.dirname(golden.catalog) },
    [
      ...tables.map((table) => `SELECT * FROM rest.${table}`),
      ...goldenRead.map(({ name, snapshot }) => {
        const asOf = snapshot === undefined ? '' : ` VERSION AS OF ${snapshot}`
        return `SELECT * FROM millrace.${name}${asOf}`
      }),
    ],
    env,
  )
  check('Spark', g!, h!, i!)
  for (const [index, table] of goldenRead.entries()) compareGolden('Spark', table, rows[index]!)

  const flags = ['--data', path.join(folder, 'nothing'), '--catalog', rest.url]
  const answer = await millrace(
    [
      'query',
      'SELECT count(*) AS n, sum(seq) AS s, max(temperature) AS t FROM telemetry',
      '--json',
      ...flags,
    ],
    env,
  )
  assert.equal(answer.code, 0, answer.stderr)
  assert.match(answer.stderr, /^fetched \d+ files, .* into /)
  assert.deepEqual(JSON.parse(answer.stdout), {
    n: String(TELEMETRY),
    s: String((TELEMETRY * (TELEMETRY - 1)) / 2),
    t: -40 + (TELEMETRY - 1) * 0.37,
  })
  const listed = await millrace(['tables', '--json', ...flags], env)
  assert.equal(listed.code, 0, listed.stderr)
  assert.deepEqual(
    listed.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { tenant: string; table: string; rows: number })
      .map(({ tenant, table, rows }) => [`${tenant}.${table}`, rows]),
    [
      ['default.machine', MACHINES],
      ['default.machine_rejected', 0],
      ['default.telemetry', TELEMETRY],
      ['default.telemetry_rejected', 1],
    ],
  )

  // A second start finds its tables, and where they end.
  assert.equal(await running.stop(), 0)
  const again = await startProcess(path.join(folder, 'data'), ['--catalog', rest.url], env)
  t.after(() => again.kill())
  const after = await account(again.http)
  assert.deepEqual([after['rows'], after['rejectedRows']], [TELEMETRY + MACHINES, 1])
  assert.equal(await again.stop(), 0)
})
