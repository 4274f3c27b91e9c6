import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import type { Catalog, TableId } from './catalog.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { readManifestList, writeManifestList } from './iceberg/manifest-list.ts'
import { currentSnapshot, MAIN } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'
import { expireSnapshots } from './maintenance-expire.ts'
import { mergeManifests } from './maintenance-manifests.ts'
import { removeOrphans } from './maintenance-orphans.ts'
import { OFFSETS_PROPERTY, tableOffsets } from './offsets.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { LocalStore } from './store.ts'

const TOPIC = normalizedTopic('default', 'telemetry')
const ID = { namespace: 'default', name: 'telemetry' }
const FIRST = Date.UTC(2026, 2, 1) * 1000
const NEVER = { snapshotAgeMs: 1e12, snapshotsMax: 1e6, manifestsToMerge: 1e6 }

async function world(maintenance = NEVER) {
  const log = new MemoryLog()
  const config = {
    partitions: 1,
    cleanup: 'delete' as const,
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  }
  await log.createTopic(TOPIC, config)
  await log.createTopic(rejectedTopic('default', 'telemetry'), config)
  const store = new LocalStore(new SimulatedDisk())
  const pointers = new MemoryPointers()
  const clock = new ManualClock()
  const sink = new Harness({ log, pointers, store, clock, warehouse: 'file:///w', maintenance })
  await sink.follow(sensorStream('telemetry'))
  let seq = 0
  const commits = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const batch = sensorBatch([{ device: `d${seq % 3}`, eventMicros: FIRST + seq, seq: seq++ }])
      await log.append({ entries: [{ topic: TOPIC, partition: 0, batch, recordCount: 1 }] })
      assert.equal(await sink.commitDue(), 1)
    }
  }
  const load = async () => (await sink.catalog.load(ID))!
  const manifests = async () =>
    readManifestList(await store.read(currentSnapshot((await load()).metadata)!['manifest-list']))
  const check = async () => {
    const seqs = (await sink.rows(ID)).map((row) => Number(row['3'])).sort((a, b) => a - b)
    assert.deepEqual(
      seqs,
      Array.from({ length: seq }, (_, i) => i),
    )
    const { found, reached } = await sink.census(ID)
    assert.deepEqual(found, reached)
  }
  return { sink, clock, commits, load, manifests, check, tools: sink.tools }
}

test('expiry keeps the newest snapshots, and removes what only the others reached', async () => {
  const { commits, load, tools, check } = await world()
  await commits(12)
  const expired = await expireSnapshots(tools, await load(), { snapshotAgeMs: 1e12, snapshotsMax: 5 })
  assert.equal(expired.snapshots, 7)
  assert.equal(expired.files, 7, 'seven manifest lists; every manifest and data file is still reached')
  const { metadata } = await load()
  assert.equal(metadata.snapshots.length, 5)
  assert.deepEqual(
    metadata['snapshot-log'].map((entry) => entry['snapshot-id']),
    metadata.snapshots.map((snapshot) => snapshot['snapshot-id']),
  )
  await check()
})

test('expiry by age keeps the current snapshot however old it is', async () => {
  const { commits, load, tools, check, clock } = await world()
  await commits(4)
  clock.ms += 10_000_000
  const expired = await expireSnapshots(tools, await load(), { snapshotAgeMs: 1000, snapshotsMax: 100 })
  assert.equal(expired.snapshots, 3)
  assert.equal((await load()).metadata.snapshots.length, 1)
  await check()
  // The offsets survive, the next rows follow on.
  await commits(1)
  await check()
})

test('many small manifests become one, tier by tier, and no row or offset changes', async () => {
  const { commits, load, tools, manifests, check } = await world()
  await commits(9)
  const offsets = tableOffsets((await load()).metadata)
  for (let i = 0; i < 3; i++) assert.ok((await mergeManifests(tools, await load(), 3)) !== undefined || i > 0)
  const lines = await manifests()
  assert.equal(lines.length, 1)
  assert.deepEqual([lines[0]!.existing_files_count, lines[0]!.added_files_count], [9, 0])
  assert.equal(Number(lines[0]!.existing_rows_count), 9)
  assert.equal(Number(lines[0]!.min_sequence_number), 1, 'files keep their sequence numbers')
  const snapshot = currentSnapshot((await load()).metadata)!
  assert.equal(snapshot.summary['operation'], 'replace')
  assert.equal(snapshot.summary['total-records'], '9')
  assert.ok(snapshot.summary[OFFSETS_PROPERTY] !== undefined)
  assert.deepEqual(tableOffsets((await load()).metadata), offsets)
  assert.equal(await mergeManifests(tools, await load(), 3), undefined, 'nothing left to merge')
  await check()
  await commits(2)
  await check()
  // The merged manifest replaced files; expiry removes the small ones.
  await expireSnapshots(tools, await load(), { snapshotAgeMs: 1e12, snapshotsMax: 1 })
  await check()
})

test('a merge that meets another commit keeps its rows', async () => {
  const { commits, load, tools, manifests, check } = await world()
  await commits(4)
  const before = await load()
  await commits(1)
  assert.ok((await mergeManifests(tools, before, 4)) !== undefined)
  assert.equal((await manifests()).length, 2)
  await check()
})

test('after a rollback expiry reads what stays, and removes the branch when it is old', async () => {
  const { commits, load, tools, sink, clock } = await world()
  await commits(3)
  const third = currentSnapshot((await load()).metadata)!['snapshot-id']
  await commits(2)
  await sink.catalog.commit(
    ID,
    [],
    [{ action: 'set-snapshot-ref', 'ref-name': MAIN, type: 'branch', 'snapshot-id': third }],
  )
  clock.ms += 3000
  const young = await expireSnapshots(tools, await load(), { snapshotAgeMs: 1e9, snapshotsMax: 100 })
  assert.equal(young.snapshots, 0, 'a rollback can be undone for as long as snapshots live')
  clock.ms += 1e9
  const old = await expireSnapshots(tools, await load(), { snapshotAgeMs: 1000, snapshotsMax: 100 })
  assert.equal(old.snapshots, 4)
  const { found, reached } = await sink.census(ID)
  assert.deepEqual(found, reached)
  assert.equal((await sink.rows(ID)).length, 3)
})

test('tags and branches of others keep their snapshots', async () => {
  const { commits, load, tools, sink } = await world()
  await commits(2)
  const second = currentSnapshot((await load()).metadata)!['snapshot-id']
  await sink.catalog.commit(
    ID,
    [],
    [{ action: 'set-snapshot-ref', 'ref-name': 'audit', type: 'tag', 'snapshot-id': second }],
  )
  await commits(5)
  await expireSnapshots(tools, await load(), { snapshotAgeMs: 1e12, snapshotsMax: 2 })
  const ids = (await load()).metadata.snapshots.map((snapshot) => snapshot['snapshot-id'])
  assert.equal(ids.length, 3)
  assert.ok(ids.includes(second))
})

test('how long snapshots live is said by the table and its branches first', async () => {
  const { commits, load, tools, sink, clock } = await world()
  await commits(12)
  const count = async (): Promise<number> => (await load()).metadata.snapshots.length
  const set = (updates: Record<string, string>) =>
    sink.catalog.commit(ID, [], [{ action: 'set-properties', updates }])
  const expire = async (snapshotAgeMs: number, snapshotsMax: number): Promise<number> => {
    await expireSnapshots(tools, await load(), { snapshotAgeMs, snapshotsMax })
    return count()
  }
  await set({ 'history.expire.min-snapshots-to-keep': '10' })
  assert.equal(await expire(1, 2), 10)
  const main = (await load()).metadata.refs[MAIN]!
  await sink.catalog.commit(
    ID,
    [],
    [{ action: 'set-snapshot-ref', 'ref-name': MAIN, ...main, 'min-snapshots-to-keep': 8 }],
  )
  assert.equal(await expire(1, 2), 8)
  const { 'min-snapshots-to-keep': _, ...plain } = (await load()).metadata.refs[MAIN]!
  await sink.catalog.commit(ID, [], [{ action: 'set-snapshot-ref', 'ref-name': MAIN, ...plain }])
  await set({ 'history.expire.min-snapshots-to-keep': '1', 'history.expire.max-snapshot-age-ms': '1000000' })
  assert.equal(await expire(1, 100), 8, 'young by the table')
  clock.ms += 2_000_000
  await set({ 'gc.enabled': 'false' })
  assert.equal(await expire(1e12, 100), 8, 'nothing may be deleted')
  await set({ 'gc.enabled': 'true' })
  assert.equal(await expire(1e12, 100), 1, 'old by the table')
})

test('of a table whose files are not to be collected, orphans stay too', async () => {
  const { commits, load, tools, sink, clock } = await world()
  await commits(1)
  const { location } = (await load()).metadata
  const orphan = `${location}/data/2026-03-01-${tools.names.uuid()}.parquet`
  await tools.store.put([{ uri: orphan, parts: [] }])
  await sink.catalog.commit(ID, [], [{ action: 'set-properties', updates: { 'gc.enabled': 'false' } }])
  clock.ms += 120_000
  assert.equal((await removeOrphans(tools, await load(), 60_000)).files, 0)
  assert.ok(await tools.store.exists(orphan))
})

test('an old tag does not make every commit expire snapshots', async () => {
  const { commits, load, sink } = await world({ ...NEVER, snapshotAgeMs: 300_000 })
  await commits(1)
  const first = currentSnapshot((await load()).metadata)!['snapshot-id']
  await sink.catalog.commit(
    ID,
    [],
    [{ action: 'set-snapshot-ref', 'ref-name': 'audit', type: 'tag', 'snapshot-id': first }],
  )
  // Three seconds each: after the first hundred or so one gets old with each commit.
  await commits(200)
  const version = Number(/\/(\d+)-[^/]*$/.exec((await load()).metadataLocation)![1])
  assert.ok(version < 220, `${version} versions of the metadata`)
  assert.ok((await load()).metadata.snapshots.length < 120)
})

test('a branch made while snapshots expire keeps its files', async () => {
  const { commits, load, tools, sink } = await world()
  await commits(4)
  const { metadata } = await load()
  const [, second] = metadata.snapshots
  await mergeManifests(tools, await load(), 4)
  const manifests = readManifestList(await tools.store.read(second!['manifest-list']))
  const list = `${metadata.location}/metadata/snap-77-1-foreign.avro`
  const made = { id: 77, parentId: second!['snapshot-id'], sequenceNumber: 9 }
  const late = {
    ...sink.catalog,
    name: 'late',
    load: (id: TableId) => sink.catalog.load(id),
    commit: async (...args: Parameters<typeof sink.catalog.commit>) => {
      await tools.store.put([{ uri: list, parts: [writeManifestList(manifests, made, new Uint8Array(16))] }])
      const snapshot: Snapshot = {
        'snapshot-id': 77,
        'parent-snapshot-id': second!['snapshot-id'],
        'sequence-number': 9,
        'timestamp-ms': tools.clock.now(),
        'manifest-list': list,
        summary: { operation: 'append' },
      }
      await sink.catalog.commit(
        ID,
        [],
        [
          { action: 'add-snapshot', snapshot },
          { action: 'set-snapshot-ref', 'ref-name': 'audit', type: 'branch', 'snapshot-id': 77 },
        ],
      )
      return sink.catalog.commit(...args)
    },
  } as unknown as Catalog
  const expired = await expireSnapshots({ ...tools, catalog: late }, await load(), {
    snapshotAgeMs: 1e12,
    snapshotsMax: 1,
  })
  assert.equal(expired.snapshots, 4)
  for (const manifest of manifests) assert.ok(await tools.store.exists(manifest.manifest_path))
})

test('statistics that another engine made of a snapshot go with it', async () => {
  const { commits, load, tools } = await world()
  await commits(3)
  const { metadata } = await load()
  const files = metadata.snapshots.map((one) => ({
    'snapshot-id': one['snapshot-id'],
    'statistics-path': `${metadata.location}/metadata/${one['snapshot-id']}.stats`,
  }))
  await tools.store.put(files.map((one) => ({ uri: one['statistics-path'], parts: [] })))
  metadata.statistics!.push(...files)
  await expireSnapshots(tools, await load(), { snapshotAgeMs: 1e12, snapshotsMax: 1 })
  const left = await Promise.all(files.map((one) => tools.store.exists(one['statistics-path'])))
  assert.deepEqual(left, [false, false, true])
})

test('orphans are found by age, and nothing that is reached or not ours is touched', async () => {
  const { commits, load, tools, clock, check } = await world()
  await commits(3)
  const { location } = (await load()).metadata
  const orphan = `${location}/data/2026-03-01-${tools.names.uuid()}.parquet`
  const foreign = `${location}/data/00000-0-9a3f6f0e-0000-4000-8000-000000000000.parquet`
  await tools.store.put([
    { uri: orphan, parts: [Uint8Array.of(1, 2, 3)] },
    { uri: foreign, parts: [] },
  ])
  assert.equal((await removeOrphans(tools, await load(), 60_000)).files, 0, 'too young')
  clock.ms += 120_000
  assert.deepEqual(await removeOrphans(tools, await load(), 60_000), { files: 1, bytes: 3, rows: 0 })
  assert.ok(await tools.store.exists(foreign))
  await tools.store.delete([foreign])
  await check()
})

const RENAMED = { namespace: 'default', name: 'telemetry_2025' }

test('a table that was renamed and the one made in its stead lie in folders of their own', async () => {
  const { commits, load, tools, clock, sink, check } = await world()
  await commits(3)
  const old = await load()
  await sink.catalog.rename(ID, RENAMED)
  // The sink finds no table, parks the stream, and makes one anew, from the log.
  clock.ms += 60_000
  for (let i = 0; i < 3; i++) await sink.commitDue()
  assert.notEqual((await load()).metadata.location, old.metadata.location)
  await check()
  clock.ms += 120_000
  for (const id of [ID, RENAMED]) await removeOrphans(tools, (await sink.catalog.load(id))!, 60_000)
  await check()
  assert.equal((await sink.rows(RENAMED)).length, 3)
})

test('what another table of the same folder reaches is no orphan', async () => {
  const { commits, load, tools, clock, sink } = await world()
  await commits(3)
  const { location } = (await load()).metadata
  await sink.catalog.rename(ID, RENAMED)
  clock.ms += 60_000
  for (let i = 0; i < 3; i++) await sink.commitDue()
  // As where a REST catalog gives the new table the place of the renamed one.
  await sink.catalog.commit(ID, [], [{ action: 'set-location', location }])
  await commits(2)
  clock.ms += 120_000
  for (const id of [ID, RENAMED]) await removeOrphans(tools, (await sink.catalog.load(id))!, 60_000)
  assert.equal((await sink.rows(ID)).length, 5)
  assert.equal((await sink.rows(RENAMED)).length, 3)
})

for (const spelled of ['file:/w/default/telemetry', '/w/default/telemetry', 'file:///w/default/telemetry/'])
  test(`no file is an orphan because the location is spelled ${spelled}`, async () => {
    const { commits, load, tools, clock, sink } = await world()
    await commits(3)
    assert.equal((await load()).metadata.location, 'file:///w/default/telemetry')
    await sink.catalog.commit(ID, [], [{ action: 'set-location', location: spelled }])
    await commits(1)
    clock.ms += 120_000
    assert.equal((await removeOrphans(tools, await load(), 60_000)).files, 0)
    assert.equal((await sink.rows(ID)).length, 4)
  })

test('a long run stays small: snapshots, manifests, metadata and files are bounded', async () => {
  const { commits, load, manifests, check } = await world({
    snapshotAgeMs: 1e12,
    snapshotsMax: 20,
    manifestsToMerge: 4,
  })
  await commits(200)
  const { metadata } = await load()
  assert.ok(metadata.snapshots.length <= 23, `${metadata.snapshots.length} snapshots`)
  // log₄ 200 is below 4: at most 3 manifests wait in each of 5 tiers.
  assert.ok((await manifests()).length <= 15, `${(await manifests()).length} manifests`)
  assert.ok(JSON.stringify(metadata['metadata-log']).length < 4000)
  await check()
})
