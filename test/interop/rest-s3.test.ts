// The whole pipeline on other people's catalog and store: `./millrace up` with the Iceberg project's REST catalog and an
// S3 server; rows come by MQTT and are read through both by PyIceberg, DuckDB, Spark and `millrace query`. Spark commits
// to the tables in between.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import type { LoadedTable } from '../../sink/catalog.ts'
import { RestCatalog } from '../../sink/catalog-rest.ts'
import { systemClock } from '../../sink/file-names.ts'
import { makeGoldenTables } from '../golden-tables.ts'
import {
  account,
  type MillraceProcess,
  millrace,
  startProcess,
  temporaryFolder,
  until,
} from '../millrace-process.ts'
import { bySeq, codec, environment, machine, withoutEmptyMaps } from './contract-rows.ts'
import { compareGolden } from './golden-rows.ts'
import { type Row, readDuckDb, readPyIceberg, readSpark } from './readers.ts'
import { s3Environment, startRestCatalog, startS3 } from './servers.ts'

const TELEMETRY = 200
const MACHINES = 60
/** Tables with a type that Spark has not: "Spark does not support time fields". */
const SPARK_CANNOT = new Set(['golden.times'])

async function rowsIn(running: MillraceProcess, rows: number, rejectedRows = 0): Promise<void> {
  await until(
    `${rows} rows`,
    async () => {
      const value = await account(running.http)
      return value['rows'] === rows && value['rejectedRows'] === rejectedRows ? true : undefined
    },
    60_000,
  )
}

async function tableOf(uri: string, name: string): Promise<LoadedTable> {
  const catalog = new RestCatalog(
    'rest',
    {
      uri,
      warehouse: undefined,
      token: undefined,
      credential: undefined,
      oauth2Uri: undefined,
      scope: '',
      requestTimeoutMs: 30_000,
    },
    systemClock,
  )
  return (await catalog.load({ namespace: 'default', name }))!
}

test('devices to a REST catalog and S3, and four readers find every value', {
  timeout: 600_000,
}, async (t) => {
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
  for (let i = 0; i < TELEMETRY; i++) sent.push(environment(i, now))
  // In two snapshots, so that there is one to roll back to.
  for (const row of sent.slice(0, TELEMETRY / 2)) publish('telemetry', telemetry(row))
  await rowsIn(running, TELEMETRY / 2)
  for (const row of sent.slice(TELEMETRY / 2)) publish('telemetry', telemetry(row))
  for (let i = 0; i < MACHINES; i++) {
    const one = machine(i, now)
    machines.push(one.expected)
    publish('machine', nested(one.sent))
  }
  await Promise.all(publishing)
  await assert.rejects(client.publishAsync('devices/dut/telemetry', Buffer.from('{"seq":"x"}'), { qos: 1 }))
  await rowsIn(running, TELEMETRY + MACHINES, 1)

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
  const [first] = (await tableOf(rest.url, 'telemetry')).metadata.snapshots
  const [g, h, i, , , , ...rows] = await readSpark(
    { rest: rest.url, data: path.dirname(golden.catalog) },
    [
      ...tables.map((table) => `SELECT * FROM rest.${table}`),
      // And commits to the tables between two of ours: a rollback; a row of its own; expiry of all but that snapshot.
      `CALL rest.system.rollback_to_snapshot('default.telemetry', ${first!['snapshot-id']})`,
      'INSERT INTO rest.default.machine SELECT * FROM rest.default.machine WHERE seq = 7',
      `CALL rest.system.expire_snapshots(table => 'default.machine', older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1)`,
      ...goldenRead.map(({ name, snapshot }) => {
        const asOf = snapshot === undefined ? '' : ` VERSION AS OF ${snapshot}`
        return `SELECT * FROM millrace.${name}${asOf}`
      }),
    ],
    env,
  )
  check('Spark', g!, h!, i!)
  for (const [index, table] of goldenRead.entries()) compareGolden('Spark', table, rows[index]!)

  // The rows that were rolled back come again from the log; where no snapshot of ours is left, its place is the
  // table's property.
  assert.equal((await tableOf(rest.url, 'machine')).metadata.snapshots.length, 1)
  publish('telemetry', telemetry(environment(TELEMETRY, now)))
  publish('machine', nested(machine(MACHINES, now).sent))
  await rowsIn(running, TELEMETRY + 1 + MACHINES + 1 + 1, 1)
  await client.endAsync()
  const seqs = async (table: string): Promise<number[]> =>
    (await readPyIceberg(rest.url, table, env)).map((row) => Number(row['seq'])).sort((x, y) => x - y)
  const upTo = (last: number): number[] => Array.from({ length: last + 1 }, (_, n) => n)
  assert.deepEqual(await seqs('default.telemetry'), upTo(TELEMETRY))
  assert.deepEqual(
    await seqs('default.machine'),
    [...upTo(MACHINES), 7].sort((x, y) => x - y),
  )

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
    n: String(TELEMETRY + 1),
    s: String((TELEMETRY * (TELEMETRY + 1)) / 2),
    t: -40 + TELEMETRY * 0.37,
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
      ['default.machine', MACHINES + 2],
      ['default.machine_rejected', 0],
      ['default.telemetry', TELEMETRY + 1],
      ['default.telemetry_rejected', 1],
    ],
  )

  // Maintenance goes the same way, beside the process: files become few, all but the newest snapshots go, rows stay.
  const kept = ['--table-snapshots-max', '1', '--table-orphan-age-ms', String(3_600_000)]
  const maintained = await millrace(['tables', 'maintain', '--json', ...kept, ...flags], env)
  assert.equal(maintained.code, 0, maintained.stderr)
  assert.deepEqual(await seqs('default.telemetry'), upTo(TELEMETRY))
  assert.ok((await tableOf(rest.url, 'telemetry')).metadata.snapshots.length <= 2)

  // A second start finds its tables, and where they end.
  assert.equal(await running.stop(), 0)
  const again = await startProcess(path.join(folder, 'data'), ['--catalog', rest.url], env)
  t.after(() => again.kill())
  const after = await account(again.http)
  assert.deepEqual([after['rows'], after['rejectedRows']], [TELEMETRY + MACHINES + 3, 1])
  assert.equal(await again.stop(), 0)
})
