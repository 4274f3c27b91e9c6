// Both kinds of tables with real Parquet in a SQLite catalog: the shipped machine contract (nested, every
// type) from batches to files, read back by DuckDB through the view of `millrace query`, all values compared.
// MILLRACE_KEEP=DIR leaves the warehouse there for other engines to read (test/interop).
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { DuckDBInstance } from '@duckdb/node-api'
import avsc from 'avsc'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { parseContract } from '../schemas/contract.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { NodeDisk } from '../std/disk.ts'
import { seededRandom } from '../std/random.ts'
import { PointerCatalog } from './catalog.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { createFileEncoder } from './encoder.ts'
import { Names } from './file-names.ts'
import { isLive, readManifest } from './iceberg/manifest.ts'
import { readManifestList } from './iceberg/manifest-list.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { tableStats, viewStatements } from './read-tables.ts'
import { Harness, ManualClock } from './sink-harness.ts'
import { fileUri, LocalStore } from './store.ts'

const keep = process.env['MILLRACE_KEEP']
const folder = keep ?? fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-tables-'))
test.after(() => keep === undefined && fs.rmSync(folder, { recursive: true }))

const ID = { namespace: 'default', name: 'machine' }
const FIRST_MS = Date.UTC(2026, 2, 1)
const utf8 = new TextEncoder()

const contract = parseContract(
  fs.readFileSync(new URL('../contracts/machine.yaml', import.meta.url), 'utf8'),
  'machine.yaml',
)
const machine = contract.streams[0]!
const schema = JSON.stringify(machine.avro)
const stream: StreamDescriptor = {
  tenant: 'default',
  stream: 'machine',
  family: contract.family,
  contractVersion: contract.version,
  partitions: 2,
  subject: 'default.machine-value',
  schemaId: 3,
  schema,
  writers: [{ id: 3, schema }],
  fields: machine.fields.map((field) => ({
    name: field.name,
    nullable: field.nullable,
    ...(field.role === undefined ? {} : { role: field.role }),
  })),
  ruleSets: [],
  plausible: machine.plausible,
  table: machine.table,
}

type Datum = Record<string, unknown>

function machineDatum(random: () => number, i: number): Datum {
  const maybe = <T>(value: T): T | null => (random() < 0.3 ? null : value)
  const text = (length: number) =>
    Array.from(
      { length: Math.floor(random() * length) },
      () => 'aü€𝄞 "\\'.slice(0)[Math.floor(random() * 3)],
    ).join('')
  const bytes = (length: number) => Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)))
  const millis = FIRST_MS + Math.floor(random() * 3 * 86_400_000)
  const list = <T>(make: () => T): T[] => Array.from({ length: Math.floor(random() * 4) }, make)
  return {
    event_time: millis * 1000 + Math.floor(random() * 1000),
    seq: random() < 0.1 ? Number.MAX_SAFE_INTEGER - i : i,
    clock: maybe(millis),
    firmware: maybe(`1.${i % 5}.0`),
    run: `0193e2a4-7c1e-7000-8000-${String(i).padStart(12, '0')}`,
    state: ['off', 'idle', 'running', 'alarm'][i % 4],
    cycles: Math.floor(random() * 2 ** 32) - 2 ** 31,
    energy: Buffer.from([Math.floor(random() * 256), Math.floor(random() * 256), i & 255]),
    feed_override: Math.fround(random() * 200),
    door_open: random() < 0.5,
    serviced_on: maybe(20_000 + Math.floor(random() * 500) - 21_000 * (i % 2)),
    program_hash: bytes(16),
    trace: maybe(bytes(Math.floor(random() * 30))),
    spindle: {
      speed: random() * 1e4,
      load: maybe(random()),
      temperature: -0,
      bearing: maybe({ vibration: random(), greased_at: maybe(millis - 1e9) }),
    },
    axes: list(() => ({ name: text(5), position: random(), torque: maybe(random()) })),
    alarms: list(() => text(8)),
    counters: Object.fromEntries(list(() => [`c${Math.floor(random() * 1e6)}`, Math.floor(random() * 1e12)])),
    tools: Object.fromEntries(
      list(() => [
        `t${Math.floor(random() * 1e6)}`,
        { tool: text(4), wear: maybe(random()), changed_at: maybe(millis * 1000) },
      ]),
    ),
  }
}

interface Sent {
  device: string
  partition: number
  receiveMs: number
  datum: Datum
}

const pointers = new SqlitePointers(path.join(folder, 'catalog.db'), 'millrace')
const store = new LocalStore(new NodeDisk())
const clock = new ManualClock()
const log = new MemoryLog()
const sink = new Harness({
  log,
  pointers,
  store,
  clock,
  warehouse: fileUri(path.join(folder, 'warehouse')),
  encoder: createFileEncoder(0),
})
const sent: Sent[] = []
const type = avsc.Type.forSchema(machine.avro as avsc.Schema, { wrapUnions: 'never' })

async function send(count: number, random: () => number): Promise<void> {
  for (let partition = 0; partition < 2; partition++) {
    const builder = new RecordBatchBuilder()
    for (let i = 0; i < count; i++) {
      const one = {
        device: `machine-${partition}-${Math.floor(random() * 9)}`,
        partition,
        receiveMs: FIRST_MS + sent.length,
        datum: machineDatum(random, sent.length),
      }
      const value = Buffer.concat([Buffer.from([0, 0, 0, 0, 3]), type.toBuffer(one.datum)])
      builder.append(one.receiveMs, utf8.encode(one.device), value)
      sent.push(one)
    }
    const topic = normalizedTopic('default', 'machine')
    await log.append({ entries: [{ topic, partition, batch: builder.finish(), recordCount: count }] })
  }
}

async function duckdb(query: string): Promise<Record<string, unknown>[]> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run(`SET TimeZone = 'UTC'`)
    for (const statement of await viewStatements(sink.catalog, store)) await connection.run(statement)
    return (await connection.runAndReadAll(query)).getRowObjectsJson() as Record<string, unknown>[]
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

const iso = (millis: unknown, micros = 0): string | null =>
  millis === null
    ? null
    : new Date(millis as number).toISOString().slice(0, -1).replace('T', ' ') +
      String(micros).padStart(3, '0')

function expected({ device, partition, receiveMs, datum }: Sent): Record<string, unknown> {
  const spindle = datum['spindle'] as { bearing: { vibration: number; greased_at: number | null } | null }
  const energy = datum['energy'] as Buffer
  const micros = (value: unknown) =>
    value === null ? null : iso(Math.floor((value as number) / 1000), (value as number) % 1000)
  const sorted = (value: unknown) => Object.entries(value as object).sort(([a], [b]) => (a < b ? -1 : 1))
  return {
    device,
    partition,
    received: iso(receiveMs),
    event: micros(datum['event_time']),
    seq: String(datum['seq']),
    clock: iso(datum['clock']),
    firmware: datum['firmware'],
    run: datum['run'],
    state: datum['state'],
    cycles: datum['cycles'],
    energy: (energy.readIntBE(0, energy.length) / 1000).toFixed(3),
    feed_override: datum['feed_override'],
    door_open: datum['door_open'],
    serviced_on:
      datum['serviced_on'] === null
        ? null
        : new Date((datum['serviced_on'] as number) * 86_400_000).toISOString().slice(0, 10),
    hash: (datum['program_hash'] as Buffer).toString('hex').toUpperCase(),
    trace: (datum['trace'] as Buffer | null)?.toString('hex').toUpperCase() ?? null,
    spindle: {
      ...(datum['spindle'] as object),
      bearing: spindle.bearing && {
        vibration: spindle.bearing.vibration,
        greased_at: iso(spindle.bearing.greased_at),
      },
    },
    axes: datum['axes'],
    alarms: datum['alarms'],
    counters: sorted(datum['counters']),
    tools: sorted(datum['tools']).map(([place, tool]) => [
      place,
      { ...tool, changed_at: micros(tool.changed_at) },
    ]),
  }
}

const time = (column: string) => `strftime(${column}::TIMESTAMP, '%Y-%m-%d %H:%M:%S.%f')`

const QUERY = `SELECT device_id AS device, _log_partition AS partition, ${time('_receive_time')} AS received,
  ${time('event_time')} AS event, seq::VARCHAR AS seq, ${time('clock')} AS clock, firmware, run::VARCHAR AS run, state,
  cycles, energy::VARCHAR AS energy, feed_override, door_open, serviced_on::VARCHAR AS serviced_on,
  hex(program_hash) AS hash, hex(trace) AS trace,
  to_json(struct_pack(speed := spindle.speed, load := spindle.load, temperature := spindle.temperature,
    bearing := CASE WHEN spindle.bearing IS NULL THEN NULL ELSE struct_pack(vibration := spindle.bearing.vibration,
      greased_at := ${time('spindle.bearing.greased_at')}) END)) AS spindle,
  to_json(axes) AS axes, to_json(alarms) AS alarms,
  to_json(list_sort(map_entries(counters))) AS counters,
  to_json(list_transform(list_sort(map_entries(tools)), lambda t: struct_pack(key := t.key, tool := t.value.tool,
    wear := t.value.wear, changed_at := ${time('t.value.changed_at')}))) AS tools
  FROM "default"."machine" ORDER BY _log_partition, _offset`

interface Entry {
  key: string
  value: unknown
}

function found(row: Record<string, unknown>): Record<string, unknown> {
  const json = (name: string) => JSON.parse(row[name] as string) as unknown
  return {
    ...row,
    spindle: json('spindle'),
    axes: json('axes'),
    alarms: json('alarms'),
    counters: (json('counters') as Entry[]).map((entry) => [entry.key, entry.value]),
    tools: (json('tools') as (Entry & Record<string, unknown>)[]).map(({ key, tool, wear, changed_at }) => [
      key,
      { tool, wear, changed_at },
    ]),
  }
}

test('a table is there, and can be queried, before it holds a row', async () => {
  const config = {
    partitions: 2,
    cleanup: 'delete' as const,
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  }
  await log.createTopic(normalizedTopic('default', 'machine'), config)
  await log.createTopic(rejectedTopic('default', 'machine'), config)
  await sink.follow(stream)
  assert.deepEqual(await duckdb(QUERY), [])
  assert.deepEqual(await duckdb('SELECT count(*)::INT AS n FROM "default".machine_rejected'), [{ n: 0 }])
})

test('every value of every type arrives', async () => {
  const random = seededRandom(42)
  await send(150, random)
  await sink.commitDue()
  await send(50, random)
  await sink.stage.drain()
  assert.deepEqual(
    sink.events.filter((event) => event.level !== 'info'),
    [],
  )
  const rows = (await duckdb(QUERY)).map(found)
  const wanted = [0, 1]
    .flatMap((partition) => sent.filter((one) => one.partition === partition))
    .map(expected)
  assert.equal(rows.length, wanted.length)
  for (let i = 0; i < wanted.length; i++) assert.deepEqual(rows[i], wanted[i], `row ${i}`)
})

test('files lie in their day and bucket, rows in the declared order, counts and bounds are those of the rows', async () => {
  const table = (await sink.catalog.load(ID))!
  const snapshot = currentSnapshot(table.metadata)!
  const fields = new Map(table.metadata.schemas.at(-1)!.fields.map((field) => [field.name, field.id]))
  let files = 0
  for (const line of readManifestList(await store.read(snapshot['manifest-list']))) {
    for (const { data_file: file, ...entry } of readManifest(await store.read(line.manifest_path), line)
      .entries) {
      assert.ok(isLive({ data_file: file, ...entry }))
      files++
      const [summary] =
        await duckdb(`SELECT count(*)::INT AS n, count(DISTINCT (event_time::TIMESTAMP)::DATE)::INT AS days,
        min(epoch_us(event_time))::VARCHAR AS low, max(epoch_us(event_time))::VARCHAR AS high, min(device_id) AS first,
        count(*) FILTER (clock IS NULL)::INT AS nulls,
        count(*) FILTER (before_device IS NOT NULL AND (device_id, event_time) < (before_device, before_time))::INT AS unsorted
        FROM (SELECT *, lag(device_id) OVER () AS before_device, lag(event_time) OVER () AS before_time
          FROM read_parquet('${file.file_path.slice('file://'.length)}'))`)
      const of = <T>(list: { key: number; value: T }[] | null, name: string) =>
        list!.find((one) => one.key === fields.get(name))!.value
      const long = (bytes: Uint8Array) => String(Buffer.from(bytes).readBigInt64LE())
      assert.deepEqual(summary, {
        n: file.record_count,
        days: 1,
        low: long(of(file.lower_bounds, 'event_time')),
        high: long(of(file.upper_bounds, 'event_time')),
        first: Buffer.from(of(file.lower_bounds, 'device_id')).toString(),
        nulls: of(file.null_value_counts, 'clock'),
        unsorted: 0,
      })
      const day = Math.floor(Number(summary!['low']) / 86_400_000_000)
      assert.equal(file.partition['event_time_day'], day)
      const bucket = file.partition['device_id_bucket'] as number
      assert.ok(bucket >= 0 && bucket < 16)
      assert.equal(fs.statSync(file.file_path.slice('file://'.length)).size, file.file_size_in_bytes)
    }
  }
  assert.ok(files > 6)
  const stats = (await tableStats(sink.catalog, store, ID))!
  assert.deepEqual([stats.rows, stats.files, stats.snapshots], [400, files, 2])
})

test('the catalog opens read-only beside the sink, and after it', async () => {
  const readOnly = (): PointerCatalog =>
    new PointerCatalog(
      'millrace',
      new SqlitePointers(path.join(folder, 'catalog.db'), 'millrace', { readOnly: true }),
      store,
      'file:///unused',
      new Names(clock),
      clock,
    )
  const beside = readOnly()
  assert.equal((await tableStats(beside, store, ID))!.rows, 400)
  await beside.close()
  await pointers.close()
  const after = readOnly()
  assert.equal((await tableStats(after, store, ID))!.rows, 400)
  await after.close()
})
