import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PowerLoss } from '../std/disk-simulated.ts'
import { MillraceError } from '../std/errors.ts'
import { rewriteFiles } from './compact-files.ts'
import { writeManifestList } from './iceberg/manifest-list.ts'
import { currentSchema, currentSnapshot } from './iceberg/metadata.ts'
import { MAINTENANCE_OPTIONS_DEFAULT, maintainTable } from './maintenance.ts'
import { COMPACTION_OPTIONS_DEFAULT, compact } from './maintenance-compact.ts'
import { expireSnapshots } from './maintenance-expire.ts'
import { mergeManifests } from './maintenance-manifests.ts'
import { removeOrphans } from './maintenance-orphans.ts'
import { tableOffsets } from './offsets.ts'
import { ParquetFile, readRows } from './parquet/reader.ts'
import { ParquetWriter } from './parquet/writer.ts'
import { type Harness, sensorStream } from './sink-harness.ts'
import { DAY_MS, FIRST, ID, SmallFiles } from './small-files.ts'
import { tableColumns } from './table-columns.ts'
import { liveFiles, manifestsOf } from './table-files.ts'
import { tableOrder } from './table-order.ts'
import { tableRows } from './table-rows.ts'

const load = async (sink: Harness) => (await sink.catalog.load(ID))!
const OPTIONS = COMPACTION_OPTIONS_DEFAULT

test('files of a closed day become one, in order, and rows, offsets and older snapshots are as before', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 5; i++) await w.commit(sink, 6, 2)
  const before = await load(sink)
  const oldSnapshot = currentSnapshot(before.metadata)!
  w.afterDays(2)
  const seen: [number, number][] = []
  const report = await compact(sink.tools, ID, OPTIONS, (done, total) => seen.push([done, total]))
  assert.deepEqual(
    [report.partitions, report.rows, report.filesBefore, report.filesAfter, report.snapshots, report.skipped],
    [2, 60, 10, 2, 1, []],
  )
  assert.equal(seen.at(-1)![0], seen.at(-1)![1])
  const { metadata } = await load(sink)
  const snapshot = currentSnapshot(metadata)!
  assert.equal(snapshot.summary['operation'], 'replace')
  assert.deepEqual(tableOffsets(metadata), tableOffsets(before.metadata))
  await w.check(sink)
  for (const { entry } of await liveFiles(sink.tools, metadata)) {
    assert.equal(entry.data_file.sort_order_id, 1)
    assert.equal(Number(entry.data_file.record_count), 30)
  }
  const rows = await sink.parquetRows(ID)
  for (let i = 1; i < rows.length; i++) {
    if (i === 30) continue
    const [a, b] = [rows[i - 1]!, rows[i]!]
    assert.ok(
      String(a['device_id']) < String(b['device_id']) ||
        (a['device_id'] === b['device_id'] && (a['event_time'] as bigint) <= (b['event_time'] as bigint)),
    )
  }
  // The old snapshot still has its files; expiry takes them, and nothing else.
  const old = {
    ...metadata,
    refs: { main: { 'snapshot-id': oldSnapshot['snapshot-id'], type: 'branch' as const } },
  }
  assert.equal((await liveFiles(sink.tools, old)).length, 10)
  const again = await compact(sink.tools, ID, OPTIONS)
  assert.equal(again.filesBefore, 0, 'nothing left to do')
  await w.commit(sink, 6, 2)
  const expired = await expireSnapshots(sink.tools, await load(sink), {
    snapshotAgeMs: 1e12,
    snapshotsMax: 1,
  })
  assert.ok(expired.rows === 60 && expired.bytes > 0)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
  await w.check(sink)
})

test('a manifest of nothing but replaced files is gone after the next commit', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 4; i++) await w.commit(sink)
  w.afterDays(1)
  await compact(sink.tools, ID, OPTIONS)
  const lines = async () => manifestsOf(sink.tools, currentSnapshot((await load(sink)).metadata)!)
  assert.deepEqual(
    (await lines()).map((one) => [one.added_files_count, one.existing_files_count, one.deleted_files_count]),
    [[1, 0, 0], ...Array.from({ length: 4 }, () => [0, 0, 1])],
  )
  await w.commit(sink)
  assert.equal((await lines()).length, 2)
  await w.check(sink)
})

test('an open day is merged by sizes, a closed one wholly; large files are left', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  const options = { ...OPTIONS, filesToMerge: 4 }
  w.clock.ms = Date.UTC(2026, 2, 1) + 3_600_000
  for (let i = 0; i < 3; i++) await w.commit(sink)
  assert.equal((await compact(sink.tools, ID, options)).filesBefore, 0, 'three of one size')
  await w.commit(sink)
  assert.equal((await compact(sink.tools, ID, options)).filesBefore, 4)
  await w.commit(sink)
  assert.equal((await compact(sink.tools, ID, options)).filesBefore, 0, 'a larger and a smaller')
  w.afterDays(1)
  const fileBytes = Number(
    (await liveFiles(sink.tools, (await load(sink)).metadata))[0]!.entry.data_file.file_size_in_bytes,
  )
  assert.equal(
    (await compact(sink.tools, ID, { ...options, fileBytes })).filesBefore,
    0,
    'none fits beside a large one',
  )
  assert.equal((await compact(sink.tools, ID, options)).filesBefore, 2)
  await w.check(sink)
})

test('late rows go to their day in the same commit, and compaction packs them with it', async () => {
  const w = new SmallFiles()
  const sink = await w.open(4)
  for (let i = 0; i < 3; i++) await w.commit(sink, 8)
  w.afterDays(30)
  await compact(sink.tools, ID, OPTIONS)
  const packed = (await sink.files(ID)).length
  await w.commit(sink, 40, 30)
  const partitions = new Set(
    (await liveFiles(sink.tools, (await load(sink)).metadata)).map(({ entry }) =>
      JSON.stringify(entry.data_file.partition),
    ),
  )
  assert.ok(partitions.size > 30)
  assert.equal((await compact(sink.tools, ID, OPTIONS)).filesBefore, 0, 'the day may get more')
  w.clock.ms += OPTIONS.closedAfterMs + DAY_MS
  assert.ok((await compact(sink.tools, ID, OPTIONS)).filesBefore > packed)
  assert.equal((await sink.files(ID)).length, partitions.size)
  await w.check(sink)
})

test('commits of the sink while compaction runs keep their rows, and compaction succeeds', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 6; i++) await w.commit(sink)
  w.afterDays(1)
  let between = 3
  w.pointers.beforeSwap = async () => {
    if (between-- <= 0) return
    w.pointers.beforeSwap = async () => {}
    await w.commit(sink, 4, 2)
    await mergeManifests(sink.tools, await load(sink), 3)
  }
  const other = w.sink()
  const report = await compact(other.tools, ID, OPTIONS)
  assert.deepEqual([report.filesBefore, report.filesAfter, report.skipped], [6, 1, []])
  await w.check(sink)
  await w.commit(sink)
  await w.check(sink)
})

test('of two compactions at once one wins, and the other leaves nothing behind', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 4; i++) await w.commit(sink)
  w.afterDays(1)
  w.pointers.beforeSwap = async () => {
    w.pointers.beforeSwap = async () => {}
    assert.equal((await compact(w.sink().tools, ID, OPTIONS)).filesBefore, 4)
  }
  const report = await compact(sink.tools, ID, OPTIONS)
  assert.equal(report.filesBefore, 0)
  assert.match(report.skipped[0]!, /2026-03-01 were changed meanwhile/)
  await w.check(sink)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

for (const fault of ['ambiguous-done', 'ambiguous-not-done'] as const)
  test(`compaction without an answer (${fault}): the table is looked at`, async () => {
    const w = new SmallFiles()
    const sink = await w.open()
    for (let i = 0; i < 4; i++) await w.commit(sink)
    w.afterDays(1)
    let faults = 1
    w.pointers.fault = () => (faults-- > 0 ? fault : undefined)
    const report = await compact(sink.tools, ID, OPTIONS)
    assert.deepEqual([report.filesBefore, report.filesAfter], [4, 1])
    await w.check(sink)
  })

test('a catalog that never answers: nothing is deleted', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 4; i++) await w.commit(sink)
  w.afterDays(1)
  w.pointers.fault = () => 'ambiguous-not-done'
  await assert.rejects(compact(sink.tools, ID, OPTIONS), { code: 'commit_ambiguous' })
  w.pointers.fault = () => undefined
  await w.check(sink)
  const { found, reached } = await sink.census(ID)
  assert.ok(found.length > reached.length, 'the new file is kept until it is an orphan by age')
  w.clock.ms += 1e9
  const removed = await removeOrphans(sink.tools, await load(sink), 1e6)
  assert.ok(removed.files > 0)
  assert.equal(removed.rows, w.sent, 'the rows that compaction wrote once more')
  await w.check(sink)
})

test('a file out of order is put in order, whatever its entry says; rows of another day are refused', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  await w.commit(sink, 300)
  await w.commit(sink, 300)
  const table = await load(sink)
  const order = tableOrder(table.metadata)!
  const [a, b] = (await liveFiles(sink.tools, table.metadata)).map((one) => one.entry.data_file)
  const schema = currentSchema(table.metadata)
  const day = Math.floor(FIRST / 1000 / DAY_MS)
  const write = async (files: (typeof a & object)[], name: string, stretchBytes?: number) => {
    const place = { day, bucket: undefined }
    const file = await rewriteFiles(w.store, schema, order, files, place, stretchBytes)
    const uri = `file:///w/${name}.parquet`
    await w.store.put([{ uri, parts: file.parts }])
    return { ...a!, file_path: uri, record_count: file.recordCount, rowGroups: file.splitOffsets.length }
  }
  const joined = await write([a!, b!], 'joined')
  // Two sorted files one after the other in one file are out of order.
  const fields = tableColumns(schema.fields)
  const writer = new ParquetWriter(fields)
  for (const one of [a!, b!]) {
    const file = new ParquetFile(one.file_path, await w.store.read(one.file_path))
    writer.writeRowGroup(readRows(fields, [{ file, plans: file.plan(fields), from: 0, to: file.rowCount }]))
  }
  await w.store.put([{ uri: 'file:///w/unsorted.parquet', parts: writer.finish().parts }])
  await write([{ ...joined, file_path: 'file:///w/unsorted.parquet' }], 'sorted')
  const small = await write([joined], 'small', 20_000)
  assert.ok(small.rowGroups > 3, `${small.rowGroups} stretches`)
  const bytes = (name: string) => w.store.read(`file:///w/${name}.parquet`)
  const again = await write([small], 'again')
  assert.deepEqual(await bytes('again'), await bytes('joined'), 'stretches change nothing')
  assert.deepEqual(await bytes('sorted'), await bytes('joined'))
  assert.equal(again.record_count, 1200)
  await assert.rejects(rewriteFiles(w.store, schema, order, [joined], { day: day + 1, bucket: undefined }), {
    code: 'table_foreign',
  })
  await assert.rejects(
    rewriteFiles(w.store, schema, order, [{ ...joined, record_count: 7 }], { day, bucket: undefined }),
    /has 1200 rows, its manifest says 7/,
  )
})

test('files of older schemas are rewritten in the current one', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  await w.commit(sink)
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
  await sink.follow(
    sensorStream('telemetry', { schema, schemaId: 8, writers: [...before.writers, { id: 8, schema }] }),
  )
  await w.commit(sink)
  const rows = async () =>
    (await sink.parquetRows(ID)).sort((a, b) => Number((a['number'] as bigint) - (b['number'] as bigint)))
  const expected = await rows()
  assert.equal(expected.length, 24)
  w.afterDays(1)
  assert.equal((await compact(sink.tools, ID, OPTIONS)).filesAfter, 1)
  assert.deepEqual(await rows(), expected)
})

test('a file that cannot be read here is left, and those beside it are packed', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 6; i++) await w.commit(sink)
  w.afterDays(1)
  const [first, , third] = await sink.files(ID)
  const read = w.store.read.bind(w.store)
  // As of another engine that writes something that is not read here.
  w.store.read = async (uri) => (uri === first || uri === third ? new Uint8Array(20) : read(uri))
  const report = await compact(sink.tools, ID, OPTIONS)
  assert.deepEqual([report.filesBefore, report.filesAfter], [4, 1])
  assert.equal(report.skipped.length, 2)
  for (const uri of [first, third])
    assert.ok(report.skipped.some((reason) => reason.startsWith(`${uri} cannot be read here`)))
  assert.deepEqual((await compact(sink.tools, ID, OPTIONS)).filesBefore, 0, 'nothing is left to do')
  w.store.read = read
  await w.check(sink)
})

test('a full disk fails compaction and leaves nothing; expiry and orphan removal make room', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 6; i++) await w.commit(sink)
  w.afterDays(1)
  await compact(sink.tools, ID, OPTIONS)
  for (let i = 0; i < 3; i++) await w.commit(sink)
  w.afterDays(2)
  const options = { ...MAINTENANCE_OPTIONS_DEFAULT, snapshotsMax: 1, compaction: OPTIONS, orphanAgeMs: 1e9 }
  const put = w.store.put.bind(w.store)
  w.store.put = async (files) => {
    if (files.some((file) => file.uri.endsWith('.parquet')))
      throw new MillraceError('warehouse_unwritable', 'no room')
    return put(files)
  }
  const before = (await sink.census(ID)).found.length
  await assert.rejects(maintainTable(sink.tools, ID, options), { code: 'warehouse_unwritable' })
  assert.ok((await sink.census(ID)).found.length < before)
  w.store.put = put
  await w.check(sink)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
})

test('an order that another engine has made the default is not claimed, and ours is kept', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  await w.commit(sink)
  const { metadata } = await load(sink)
  const fields = [
    { transform: 'identity', 'source-id': 3, direction: 'asc', 'null-order': 'nulls-first' } as const,
  ]
  await sink.catalog.commit(
    ID,
    [],
    [
      { action: 'add-sort-order', 'sort-order': { 'order-id': 2, fields } },
      { action: 'set-default-sort-order', 'sort-order-id': -1 },
    ],
  )
  await w.commit(sink)
  w.afterDays(1)
  assert.equal((await compact(sink.tools, ID, OPTIONS)).filesBefore, 2)
  const orders = (await liveFiles(sink.tools, (await load(sink)).metadata)).map(
    ({ entry }) => entry.data_file.sort_order_id,
  )
  assert.deepEqual(orders, [metadata['default-sort-order-id']])
  await w.check(sink)
})

test('a table with row-level deletes of another engine is left alone', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 3; i++) await w.commit(sink)
  w.afterDays(1)
  const { metadata } = await load(sink)
  const parent = currentSnapshot(metadata)!
  const lines = await manifestsOf(sink.tools, parent)
  const list = 'file:///w/default/telemetry/metadata/snap-foreign.avro'
  const deletes = { ...lines[0]!, content: 1 }
  const ids = { id: 2n ** 62n, parentId: parent['snapshot-id'], sequenceNumber: 4 }
  await w.store.put([{ uri: list, parts: [writeManifestList([...lines, deletes], ids, new Uint8Array(16))] }])
  const snapshot = {
    ...parent,
    'snapshot-id': ids.id,
    'parent-snapshot-id': parent['snapshot-id'],
    'sequence-number': 4,
    'manifest-list': list,
    summary: { operation: 'delete' },
  }
  await sink.catalog.commit(
    ID,
    [],
    [
      { action: 'add-snapshot', snapshot },
      { action: 'set-snapshot-ref', 'ref-name': 'main', type: 'branch', 'snapshot-id': ids.id },
    ],
  )
  const report = await compact(sink.tools, ID, OPTIONS)
  assert.equal(report.filesBefore, 0)
  assert.match(report.skipped[0]!, /row-level deletes of another engine/)
  // Nor does a replay get a row of it, before it hears that some are deleted.
  await assert.rejects(tableRows(w.store, await load(sink)).next(), { code: 'table_foreign' })
})

test('maintenance: power loss at every third operation (every one with MILLRACE_LONG=1), then everything is exact after a restart', async () => {
  let operations = 0
  let crashes = 0
  for (let at = 1; ; at += process.env['MILLRACE_LONG'] === '1' ? 1 : 3) {
    const w = new SmallFiles()
    const sink = await w.open()
    for (let i = 0; i < 4; i++) await w.commit(sink, 3, 2)
    w.afterDays(2)
    const options = {
      ...MAINTENANCE_OPTIONS_DEFAULT,
      snapshotsMax: 1,
      manifestsToMerge: 2,
      compaction: OPTIONS,
      orphanAgeMs: 1e9,
    }
    w.disk.powerFailsAt = w.disk.operationCount + at
    try {
      await maintainTable(sink.tools, ID, options)
      w.disk.checkPower()
      operations = at - 1
    } catch (error) {
      // What fails after the power did, fails because of it, whatever it says.
      assert.throws(() => w.disk.checkPower(), PowerLoss, String(error))
      crashes++
    }
    if (operations > 0) break
    w.disk.crash(at)
    w.disk.restart()
    w.disk.powerFailsAt = Number.POSITIVE_INFINITY
    const again = w.sink()
    await again.follow(sensorStream('telemetry'))
    await w.check(again)
    await maintainTable(again.tools, ID, options)
    await w.commit(again, 3, 2)
    await w.check(again)
    w.clock.ms += 2e9
    await removeOrphans(again.tools, await load(again), 1e9)
    const { found, reached } = await again.census(ID)
    assert.deepEqual(found, reached, `operation ${at}`)
  }
  assert.ok(crashes > 15, `${crashes} crashes`)
})
