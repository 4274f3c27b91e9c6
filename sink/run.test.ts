import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import type { Log, TopicConfig } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { encodeRejected } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { NodeDisk } from '../std/disk.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { MillraceError } from '../std/errors.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { currentSchema, currentSnapshot, MAIN } from './iceberg/metadata.ts'
import type { NestedField } from './iceberg/schema.ts'
import { OFFSETS_PROPERTY, tableOffsets } from './offsets.ts'
import {
  Harness,
  ManualClock,
  REJECTED_SCHEMA_ID,
  SCHEMA_ID,
  type SensorRecord,
  sensorBatch,
  sensorStream,
} from './sink-harness.ts'
import { fileUri, LocalStore } from './store.ts'
import { feedsOf } from './streams.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-sink-'))
test.after(() => fs.rmSync(folder, { recursive: true }))
let serial = 0

const CONFIG: TopicConfig = {
  partitions: 2,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}
const DAY = 86_400_000_000
const FIRST = Date.UTC(2026, 2, 1) * 1000
const ID = { namespace: 'default', name: 'telemetry' }
const TOPIC = normalizedTopic('default', 'telemetry')

class World {
  log: Log = new MemoryLog()
  readonly pointers = new MemoryPointers()
  readonly clock = new ManualClock()
  readonly store: LocalStore
  readonly warehouse = fileUri(path.join(folder, String(serial++)))
  sent: SensorRecord[] = []
  #seed = 1

  constructor(store = new LocalStore(new NodeDisk())) {
    this.store = store
  }

  sink(): Harness {
    return new Harness({
      log: this.log,
      pointers: this.pointers,
      store: this.store,
      clock: this.clock,
      warehouse: this.warehouse,
      seed: this.#seed++ * 7919,
    })
  }

  async topics(...streams: StreamDescriptor[]): Promise<void> {
    for (const { tenant, stream } of streams) {
      await this.log.createTopic(normalizedTopic(tenant, stream), CONFIG)
      await this.log.createTopic(rejectedTopic(tenant, stream), CONFIG)
    }
  }

  /** Records of several devices and days into both partitions. */
  async send(count: number, topic = TOPIC): Promise<void> {
    for (let partition = 0; partition < 2; partition++) {
      const records: SensorRecord[] = []
      for (let i = partition; i < count; i += 2) {
        const seq = this.sent.length
        const device = `d${partition}-${seq % 3}`
        const record = { device, eventMicros: FIRST + (seq % 2) * DAY + seq * 1000, seq }
        records.push(record)
        this.sent.push(record)
      }
      if (records.length === 0) continue
      const batch = sensorBatch(records)
      await this.log.append({ entries: [{ topic, partition, batch, recordCount: records.length }] })
    }
  }

  /** The table holds exactly what was sent. */
  async check(sink: Harness, id = ID): Promise<void> {
    const rows = await sink.rows(id)
    const seqs = rows.map((row) => Number(row['3'])).sort((a, b) => a - b)
    const sent = this.sent.map((record) => record.seq).sort((a, b) => a - b)
    assert.deepEqual(seqs, sent)
  }
}

async function world(): Promise<{ w: World; sink: Harness }> {
  const w = new World()
  await w.topics(sensorStream('telemetry'))
  const sink = w.sink()
  await sink.follow(sensorStream('telemetry'))
  return { w, sink }
}

test('tables exist before the first record, rows are committed when they are 3 s old', async () => {
  const { w, sink } = await world()
  assert.deepEqual(
    (await sink.catalog.listTables('default')).map((id) => id.name),
    ['telemetry', 'telemetry_rejected'],
  )
  await w.send(10)
  assert.equal(await sink.stage.step(), 0)
  w.clock.ms += 2999
  assert.equal(await sink.stage.step(), 0)
  w.clock.ms += 1
  assert.equal(await sink.stage.step(), 1)
  await w.check(sink)
  assert.equal((await sink.files(ID)).length, 2, 'one file a day')
  assert.equal(sink.counters.get('rows'), 10)
  assert.equal(sink.counters.get('lagRecords'), 0)
  assert.equal(await w.log.position('sink', TOPIC, 0), 5)
})

test('columns carry device, lineage and marks', async () => {
  const { w, sink } = await world()
  const batch = sensorBatch([
    { device: 'b', eventMicros: FIRST + 5, seq: 1, receiveMs: 1_772_323_200_123, lateMs: 12_345_678_901 },
    { device: 'a', eventMicros: FIRST + 9, seq: 2, receiveMs: 1_772_323_200_123, quality: 'seq' },
    { device: 'a', eventMicros: FIRST + 7, seq: 3, receiveMs: 1_772_323_200_123 },
  ])
  await w.log.append({ entries: [{ topic: TOPIC, partition: 1, batch, recordCount: 3 }] })
  await sink.commitDue()
  const { metadata } = (await sink.catalog.load(ID))!
  const names = new Map(metadata.schemas[0]!.fields.map((field) => [String(field.id), field.name]))
  const rows = (await sink.rows(ID)).map((row) =>
    Object.fromEntries(Object.entries(row).map(([id, value]) => [names.get(id), value])),
  )
  const common = { _log_partition: '1', _receive_time: '1772323200123000', _schema_id: String(SCHEMA_ID) }
  assert.deepEqual(rows, [
    {
      device_id: 'a',
      event_time: String(FIRST + 7),
      seq: '3',
      ...common,
      _offset: '2',
      _late_ms: '0',
      _quality: 'null',
    },
    {
      device_id: 'a',
      event_time: String(FIRST + 9),
      seq: '2',
      ...common,
      _offset: '1',
      _late_ms: '0',
      _quality: 'seq',
    },
    {
      device_id: 'b',
      event_time: String(FIRST + 5),
      seq: '1',
      ...common,
      _offset: '0',
      _late_ms: '12345678901',
      _quality: 'null',
    },
  ])
})

test('rejected records are rows of their own table', async () => {
  const { w, sink } = await world()
  const builder = new RecordBatchBuilder()
  const rejected = {
    code: 'payload_invalid' as const,
    reason: 'the datum ends early',
    field: undefined,
    offset: 3,
    payload: Uint8Array.of(1, 2, 3),
    schemaId: 9,
    device: 'd',
    source: undefined,
    receiveTimeMs: FIRST / 1000,
  }
  builder.append(FIRST / 1000, new TextEncoder().encode('d'), encodeRejected(rejected, REJECTED_SCHEMA_ID))
  const topic = rejectedTopic('default', 'telemetry')
  await w.log.append({ entries: [{ topic, partition: 0, batch: builder.finish(), recordCount: 1 }] })
  await sink.commitDue()
  const rows = await sink.rows({ namespace: 'default', name: 'telemetry_rejected' })
  assert.equal(rows.length, 1)
  assert.equal(rows[0]!['1'], 'payload_invalid')
  assert.equal(rows[0]!['8'], 'null', 'source_topic')
})

test('a restart goes on from the table, not from memory', async () => {
  const { w, sink } = await world()
  await w.send(10)
  await sink.commitDue()
  await w.send(7)
  const again = w.sink()
  await again.follow(sensorStream('telemetry'))
  await again.commitDue()
  await w.check(again)
})

test('two sinks on one table: every row once, the loser throws its files away', async () => {
  const { w, sink } = await world()
  const other = w.sink()
  await other.follow(sensorStream('telemetry'))
  for (let round = 0; round < 5; round++) {
    await w.send(6)
    await sink.stage.step()
    await other.stage.step()
    w.clock.ms += 3000
    await Promise.all([sink.stage.step(), other.stage.step()])
    await Promise.all([sink.stage.step(), other.stage.step()])
  }
  await sink.stage.drain()
  await other.stage.drain()
  await w.check(sink)
  assert.ok(sink.counters.get('rowsDiscarded')! + other.counters.get('rowsDiscarded')! > 0, 'they met')
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

test('a commit of another between read and swap: only list and metadata are written again', async () => {
  const { w, sink } = await world()
  await w.send(4)
  let met = 0
  w.pointers.beforeSwap = async () => {
    if (met++ > 0) return
    w.pointers.beforeSwap = () => {}
    const table = (await sink.catalog.load(ID))!
    await w.sink().catalog.commit(
      ID,
      [],
      [
        {
          action: 'add-snapshot',
          snapshot: {
            'snapshot-id': 9_007_199_254_740_993n,
            'sequence-number': 1,
            'timestamp-ms': w.clock.ms,
            'manifest-list': await emptyList(w, table.metadata.location),
            summary: { operation: 'append' },
            'schema-id': 0,
          },
        },
        {
          action: 'set-snapshot-ref',
          'ref-name': MAIN,
          type: 'branch',
          'snapshot-id': 9_007_199_254_740_993n,
        },
      ],
    )
  }
  await sink.commitDue()
  await w.check(sink)
  assert.equal(sink.counters.get('conflicts'), 1)
  const { metadata } = (await sink.catalog.load(ID))!
  assert.equal(currentSnapshot(metadata)!['parent-snapshot-id'], 9_007_199_254_740_993n, 'exact above 2^53')
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

async function emptyList(w: World, location: string): Promise<string> {
  const { writeManifestList } = await import('./iceberg/manifest-list.ts')
  const uri = `${location}/metadata/snap-foreign-${serial++}.avro`
  const bytes = writeManifestList([], { id: 1, parentId: undefined, sequenceNumber: 1 }, new Uint8Array(16))
  await w.store.put([{ uri, parts: [bytes] }])
  return uri
}

for (const fault of ['ambiguous-done', 'ambiguous-not-done'] as const)
  test(`no answer (${fault}): the table is looked at, no row is lost or doubled`, async () => {
    const { w, sink } = await world()
    await w.send(4)
    let left = 2
    w.pointers.fault = () => (left-- > 0 ? fault : undefined)
    await sink.commitDue()
    await w.check(sink)
    w.pointers.fault = () => undefined
    await w.send(4)
    await sink.commitDue()
    await w.check(sink)
  })

test('an answer that comes after the disk has failed: what it refers to is still there', async () => {
  const { w, sink } = await world()
  const swap = w.pointers.swap.bind(w.pointers)
  const put = w.store.put.bind(w.store)
  let late: (() => Promise<boolean>) | undefined
  w.pointers.swap = async (id, expected, next) => {
    late = () => swap(id, expected, next)
    w.pointers.swap = swap
    w.store.put = async () => {
      throw new MillraceError('warehouse_unwritable', 'no room for the manifest list of the second try')
    }
    throw new Error('the catalog did not answer')
  }
  await w.send(4)
  await sink.commitDue()
  assert.equal(sink.stage.status()[0]!.code, 'commit_ambiguous')
  w.store.put = put
  assert.equal(await late!(), true)
  w.clock.ms += 60_000
  await sink.commitDue()
  await w.check(sink)
})

test('a catalog that answers nothing at all parks the table, and it recovers by itself', async () => {
  const { w, sink } = await world()
  await w.send(4)
  w.pointers.fault = () => 'ambiguous-not-done'
  await sink.commitDue()
  assert.equal(sink.stage.status()[0]!.state, 'parked')
  assert.equal(sink.stage.status()[0]!.code, 'commit_ambiguous')
  assert.equal(sink.counters.get('tablesParked'), 1)
  w.pointers.fault = () => undefined
  w.clock.ms += 60_000
  await sink.commitDue()
  assert.equal(sink.stage.status()[0]!.state, 'following')
  await w.check(sink)
})

test('a rollback by another engine is ingested again', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  const first = currentSnapshot((await sink.catalog.load(ID))!.metadata)!['snapshot-id']
  await w.send(4)
  await sink.commitDue()
  await w
    .sink()
    .catalog.commit(
      ID,
      [],
      [{ action: 'set-snapshot-ref', 'ref-name': MAIN, type: 'branch', 'snapshot-id': first }],
    )
  await w.send(2)
  await sink.commitDue()
  await sink.stage.drain()
  await w.check(sink)
})

test('a rollback and a drop are noticed while no row comes', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  const first = currentSnapshot((await sink.catalog.load(ID))!.metadata)!['snapshot-id']
  await w.send(4)
  await sink.commitDue()
  const other = w.sink().catalog
  const back = { action: 'set-snapshot-ref', 'ref-name': MAIN, type: 'branch', 'snapshot-id': first } as const
  await other.commit(ID, [], [back])
  w.clock.ms += 30_000
  await sink.stage.step()
  await sink.commitDue()
  await w.check(sink)
  await other.drop(ID)
  w.clock.ms += 30_000
  await sink.stage.step()
  await sink.commitDue()
  await w.check(sink)
})

test('offsets stand in every snapshot, and the property counts only where the ancestry is cut off', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  const { metadata } = (await sink.catalog.load(ID))!
  const key = `${w.log.id}/${(await w.log.describeTopic(TOPIC))!.id}`
  assert.deepEqual(tableOffsets(metadata).get(key), [2, 2])
  assert.equal(metadata.properties[OFFSETS_PROPERTY], JSON.stringify({ [key]: [2, 2] }))
  // A foreign snapshot whose parent has expired.
  const foreign = {
    'snapshot-id': 5,
    'parent-snapshot-id': 4,
    'timestamp-ms': 0,
    'manifest-list': '',
    summary: { operation: 'replace' },
  }
  const refs = { main: { 'snapshot-id': 5, type: 'branch' as const } }
  assert.deepEqual(tableOffsets({ ...metadata, snapshots: [foreign], refs }).get(key), [2, 2])
  const { 'parent-snapshot-id': _, ...root } = foreign
  assert.equal(
    tableOffsets({ ...metadata, snapshots: [root], refs }).size,
    0,
    'rolled back before any of ours',
  )
})

test('a rollback to where nothing tells the position stops the table, instead of leaving rows out', async () => {
  const { w, sink } = await world()
  const commit = (updates: Parameters<typeof sink.catalog.commit>[2]) => sink.catalog.commit(ID, [], updates)
  const rollTo = (id: number) =>
    commit([{ action: 'set-snapshot-ref', 'ref-name': MAIN, type: 'branch', 'snapshot-id': id }])
  await w.send(4)
  await sink.commitDue()
  const first = (await sink.catalog.load(ID))!.metadata
  const ours = currentSnapshot(first)!
  // Another engine rewrites something; then one of ours comes, and all before the other's snapshot expires.
  const snapshot = {
    'snapshot-id': 5,
    'parent-snapshot-id': ours['snapshot-id'],
    'sequence-number': 2,
    'timestamp-ms': w.clock.ms,
    'manifest-list': ours['manifest-list'],
    summary: { operation: 'replace' as const },
  }
  await commit([{ action: 'add-snapshot', snapshot }])
  await rollTo(5)
  await w.send(4)
  await sink.commitDue()
  await w.check(sink)
  await commit([{ action: 'remove-snapshots', 'snapshot-ids': [ours['snapshot-id']] }])
  await rollTo(5)
  w.clock.ms += 60_000
  await sink.commitDue()
  const status = sink.stage.status().find((one) => one.table === 'default.telemetry')!
  assert.equal(status.code, 'table_foreign')
  assert.match(status.error!, /rolled back to snapshot 5 of another engine.*property millrace\.offsets/)
  // Where to go on is set by hand.
  await commit([
    { action: 'set-properties', updates: { [OFFSETS_PROPERTY]: first.properties[OFFSETS_PROPERTY]! } },
  ])
  w.clock.ms += 60_000
  for (let i = 0; i < 3; i++) await sink.commitDue()
  await w.check(sink)
})

test('a log that was wiped is read from its beginning, said once, and nothing of the old is lost', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  w.log = new MemoryLog()
  await w.topics(sensorStream('telemetry'))
  await w.send(3)
  const again = w.sink()
  await again.follow(sensorStream('telemetry'))
  await again.commitDue()
  await w.check(again)
  assert.equal(again.events.filter((event) => event.message.includes('from its beginning')).length, 1)
})

test('an offset below the start of the log stops that stream with an error, and no other', async () => {
  const w = new World()
  const streams = [sensorStream('telemetry'), sensorStream('other')]
  await w.topics(...streams)
  const sink = w.sink()
  await sink.follow(...streams)
  await w.send(6)
  const sent = w.sent
  w.sent = []
  await w.send(4, normalizedTopic('default', 'other'))
  const range = w.log.range.bind(w.log)
  w.log.range = async (topic, partition) => (topic === TOPIC ? { start: 2, end: 3 } : range(topic, partition))
  const again = w.sink()
  await again.follow(...streams)
  await again.commitDue()
  // The table is new to this log: it begins where the log begins. Now it holds up to 3 and the log moves on.
  w.log.range = async (topic, partition) => (topic === TOPIC ? { start: 5, end: 6 } : range(topic, partition))
  const third = w.sink()
  await third.follow(...streams)
  const status = third.stage.status().find((one) => one.table === 'default.telemetry')!
  assert.equal(status.code, 'offset_below_start')
  assert.match(status.error!, /records 3 to 4 are gone/)
  await w.check(third, { namespace: 'default', name: 'other' })
  assert.ok(sent.length > 0)
})

test('a table dropped by another engine is made again and filled from the log', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  await w.sink().catalog.drop(ID)
  await w.send(2)
  await sink.commitDue()
  w.clock.ms += 60_000
  await sink.commitDue()
  await w.check(sink)
})

test('a foreign table of the same name is refused and left alone, the rejected table goes on', async () => {
  const w = new World()
  await w.topics(sensorStream('telemetry'))
  const other = w.sink()
  await other.catalog.createNamespace('default')
  await other.catalog.create(ID, {
    schema: { type: 'struct', 'schema-id': 0, fields: [{ id: 1, name: 'x', required: false, type: 'int' }] },
    lastColumnId: 1,
    spec: { 'spec-id': 0, fields: [] },
    sortOrder: { 'order-id': 0, fields: [] },
    properties: {},
  })
  const sink = w.sink()
  await sink.follow(sensorStream('telemetry'))
  const [telemetry, rejected] = sink.stage.status()
  assert.equal(telemetry!.code, 'table_foreign')
  assert.match(telemetry!.error!, /default\.telemetry/)
  assert.equal(rejected!.state, 'following')
  // Out of the way, the table is made without a restart.
  await other.catalog.drop(ID)
  await w.send(4)
  w.clock.ms += 60_000
  await sink.commitDue()
  await w.check(sink)
})

test('a contract that changes evolves the table, old snapshots keep their schema', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  const schema = JSON.stringify({
    type: 'record',
    name: 'sensor',
    fields: [
      { name: 'number', aliases: ['seq'], type: 'long' },
      { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
      { name: 'extra', type: ['null', 'string'], default: null },
    ],
  })
  const before = sensorStream('telemetry')
  const changed = sensorStream('telemetry', {
    schema,
    schemaId: 8,
    writers: [...before.writers, { id: 8, schema }],
  })
  // Rows of the old schema that are still in the log, then the update in the middle of a run.
  await w.send(4)
  void sink.stage.updateFeeds([])
  await sink.stage.step()
  await sink.follow(changed)
  await sink.commitDue()
  await w.check(sink)
  const { metadata } = (await sink.catalog.load(ID))!
  assert.deepEqual(
    metadata.schemas.map((one) => one.fields.slice(0, 4).map((field) => `${field.id} ${field.name}`)),
    [
      ['1 device_id', '2 event_time', '3 seq', '4 _log_partition'],
      ['1 device_id', '3 number', '2 event_time', '10 extra'],
    ],
  )
  assert.deepEqual(
    metadata.snapshots.map((one) => one['schema-id']),
    [0, 1],
  )
})

test('tables asked for while others are taken over are in force only when that is said of them', async () => {
  const { w, sink } = await world()
  const inForce: string[] = []
  void sink.stage.updateFeeds([]).then(() => inForce.push('none'))
  const round = sink.stage.step()
  const feeds = feedsOf([sensorStream('telemetry')], REJECTED_SCHEMA_ID)
  void sink.stage.updateFeeds(feeds).then(() => inForce.push('one'))
  await round
  assert.deepEqual(inForce, ['none'])
  await sink.stage.step()
  await w.send(4)
  await sink.commitDue()
  assert.deepEqual(inForce, ['none', 'one'])
  await w.check(sink)
})

test('columns that another engine adds, renames or drops: kept, refused with words, made anew', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  const change = async (edit: (fields: NestedField[]) => NestedField[]): Promise<void> => {
    const { metadata } = (await sink.catalog.load(ID))!
    const schema = currentSchema(metadata)
    const fields = edit(schema.fields)
    await w.sink().catalog.commit(
      ID,
      [],
      [
        {
          action: 'add-schema',
          schema: { ...schema, fields },
        },
        { action: 'set-current-schema', 'schema-id': -1 },
      ],
    )
  }
  const extra: NestedField = { id: 50, name: 'extra', required: false, type: 'double' }
  await change((fields) => [extra, ...fields])
  await w.send(4)
  await sink.commitDue()
  await sink.commitDue()
  await w.check(sink)
  assert.ok(currentSchema((await sink.catalog.load(ID))!.metadata).fields.some((field) => field.id === 50))

  const rename = (from: string, to: string) => (fields: NestedField[]) =>
    fields.map((field) => (field.name === from ? { ...field, name: to } : field))
  await change(rename('seq', 'number'))
  await w.send(4)
  await sink.commitDue()
  const [status] = sink.stage.status()
  assert.equal(status!.code, 'table_foreign')
  assert.match(
    status!.error!,
    /default\.telemetry: another engine has renamed column seq to number: rename it back/,
  )
  assert.equal(status!.lagRecords, 4)
  await change(rename('number', 'seq'))
  w.clock.ms += 60_000
  await sink.commitDue()
  await w.check(sink)

  await change((fields) => fields.filter((field) => field.name !== 'seq'))
  w.clock.ms += 60_000
  await sink.commitDue()
  assert.ok(sink.events.some((event) => /another engine has dropped seq/.test(event.message)))
  const { fields } = currentSchema((await sink.catalog.load(ID))!.metadata)
  const seq = fields.find((field) => field.name === 'seq')!
  assert.ok(seq.id > 50, JSON.stringify(fields))
  assert.equal(seq.required, false)
})

test('another number of buckets than the table has parks it with words, and nothing is written', async () => {
  const { w, sink } = await world()
  await w.send(4)
  await sink.commitDue()
  await w.send(4)
  await sink.follow(sensorStream('telemetry', { table: { bucketDevices: 4 } }))
  const [status] = sink.stage.status()
  assert.equal(status!.code, 'schema_incompatible')
  assert.match(status!.error!, /partitioned not by bucket of the device, the contract says by bucket\[4\]/)
  await sink.follow(sensorStream('telemetry'))
  await sink.commitDue()
  await w.check(sink)
})

test('a schema that is not known yet parks the table until the update comes', async () => {
  const { w, sink } = await world()
  const batch = sensorBatch([{ device: 'd', eventMicros: FIRST, seq: 0 }], 99)
  w.sent.push({ device: 'd', eventMicros: FIRST, seq: 0 })
  await w.log.append({ entries: [{ topic: TOPIC, partition: 0, batch, recordCount: 1 }] })
  await sink.commitDue()
  assert.equal(sink.stage.status()[0]!.code, 'schema_unknown')
  const before = sensorStream('telemetry')
  await sink.follow({ ...before, writers: [...before.writers, { id: 99, schema: before.schema }] })
  await sink.commitDue()
  await w.check(sink)
})

test('quiet tables wait when the budget of commits is spent, and none starves', async () => {
  const w = new World()
  const streams = Array.from({ length: 30 }, (_, i) => sensorStream(`s${i}`))
  await w.topics(...streams)
  const sink = w.sink()
  await sink.follow(...streams)
  for (const { stream } of streams)
    await w.send(stream === 's29' ? 200 : 2, normalizedTopic('default', stream))
  await sink.stage.step()
  w.clock.ms += 3000
  assert.equal(await sink.stage.step(), 20)
  assert.equal((await sink.rows({ namespace: 'default', name: 's29' })).length, 200, 'the busy one first')
  assert.equal(await sink.stage.step(), 0)
  w.clock.ms += 500
  assert.equal(await sink.stage.step(), 10)
})

test('a full disk parks the table, nothing is lost, and it goes on by itself', async () => {
  const disk = new SimulatedDisk()
  const w = new World(new LocalStore(disk))
  await w.topics(sensorStream('telemetry'))
  const sink = w.sink()
  await sink.follow(sensorStream('telemetry'))
  await w.send(4)
  await sink.commitDue()
  disk.capacity = 0
  await w.send(20)
  await sink.commitDue()
  const [status] = sink.stage.status()
  assert.equal(status!.code, 'warehouse_unwritable')
  assert.match(status!.error!, /ENOSPC/)
  assert.equal(status!.lagRecords, 20)
  disk.capacity = Number.POSITIVE_INFINITY
  w.clock.ms += 60_000
  await sink.commitDue()
  await w.check(sink)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

test('a log that cannot take a position now hears it later', async () => {
  const { w, sink } = await world()
  const append = w.log.append.bind(w.log)
  await w.send(4)
  w.log.append = async () => {
    throw new MillraceError('log_full', 'no room')
  }
  await sink.commitDue()
  await w.check(sink)
  assert.equal(await w.log.position('sink', TOPIC, 0), 0)
  w.log.append = append
  await sink.stage.step()
  assert.equal(await w.log.position('sink', TOPIC, 0), 2)
})

test('a drain commits what the log holds and leaves no file that nothing refers to', async () => {
  const { w, sink } = await world()
  await w.send(50)
  await sink.stage.drain()
  await w.check(sink)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

test('run follows the log until it is told to stop', async () => {
  const { w, sink } = await world()
  const stop = new AbortController()
  const running = sink.stage.run(stop.signal)
  await w.send(5)
  while ((sink.counters.get('rows') ?? 0) < 5) await new Promise((resolve) => setTimeout(resolve, 5))
  await w.send(5)
  stop.abort()
  await running
  await sink.stage.drain()
  await w.check(sink)
})
