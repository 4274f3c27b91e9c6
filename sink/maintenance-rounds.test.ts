import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MillraceError } from '../std/errors.ts'
import { type Catalog, printTableId, type TableId } from './catalog.ts'
import { MAINTENANCE_OPTIONS_DEFAULT } from './maintenance.ts'
import { COMPACTION_OPTIONS_DEFAULT } from './maintenance-compact.ts'
import { MAINTENANCE_COUNTERS, type MaintenanceCounter } from './maintenance-counters.ts'
import { MaintenanceRounds } from './maintenance-rounds.ts'
import { listAllTables } from './read-tables.ts'
import type { Harness } from './sink-harness.ts'
import { ID, SmallFiles } from './small-files.ts'
import { tableHealth } from './table-health.ts'

const ORPHAN_AGE_MS = 86_400_000

function rounds(sink: Harness) {
  const counters = new Map<MaintenanceCounter, number>(MAINTENANCE_COUNTERS.map((name) => [name, 0]))
  const events: string[] = []
  const maintenance = new MaintenanceRounds({
    ...sink.tools,
    options: {
      ...MAINTENANCE_OPTIONS_DEFAULT,
      compaction: { ...COMPACTION_OPTIONS_DEFAULT, filesToMerge: 8 },
      orphanAgeMs: ORPHAN_AGE_MS,
    },
    counters: { add: (name, count) => counters.set(name, counters.get(name)! + count) },
    onEvent: (event) => events.push(`${event.level} ${event.table}: ${event.message}`),
  })
  const run = () => maintenance.run(new AbortController().signal)
  return { run, events, count: (name: MaintenanceCounter) => counters.get(name)! }
}

test('a table is looked at when it has gained files, and when its day has ended', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  w.clock.ms += 3_600_000
  const { run, count, events } = rounds(sink)
  await w.commit(sink)
  await run()
  assert.equal(count('looks'), 2, 'both tables, the first time')
  for (let i = 0; i < 6; i++) await w.commit(sink)
  await run()
  assert.equal(count('looks'), 2, 'too little has changed')
  await w.commit(sink)
  await w.commit(sink)
  await run()
  assert.deepEqual([count('looks'), count('filesCompacted'), count('filesWritten')], [3, 9, 1])
  assert.equal(count('rowsRewritten'), w.sent)
  assert.match(events[0]!, /^info default\.telemetry: compacted 9 files/)
  await w.commit(sink)
  w.afterDays(1)
  await run()
  assert.deepEqual([count('filesCompacted'), count('filesWritten')], [11, 2])
  await w.check(sink)
})

test('orphans are looked for now and then, others’ tables never', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  await w.commit(sink)
  const { run, count } = rounds(sink)
  const { location } = (await sink.catalog.load(ID))!.metadata
  await sink.catalog.create(
    { namespace: 'default', name: 'foreign' },
    {
      schema: { type: 'struct', 'schema-id': 0, fields: [] },
      lastColumnId: 0,
      spec: { 'spec-id': 0, fields: [] },
      sortOrder: { 'order-id': 0, fields: [] },
      properties: {},
    },
  )
  const orphan = `${location}/data/2026-03-01-${w.sink().tools.names.uuid()}.parquet`
  await w.store.put([{ uri: orphan, parts: [] }])
  await run()
  assert.equal(count('looks'), 2, 'the two of ours')
  w.clock.ms += ORPHAN_AGE_MS / 4
  await run()
  assert.equal(count('orphansRemoved'), 0, 'too young')
  w.clock.ms += ORPHAN_AGE_MS
  await run()
  assert.equal(count('orphansRemoved'), 1)
  await w.check(sink)
})

test('one table that fails is said, and the others are tended', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 9; i++) await w.commit(sink)
  await sink.catalog.createNamespace('aaa')
  await w.pointers.insert({ namespace: 'aaa', name: 'broken' }, 'file:///w/nowhere.metadata.json')
  const { run, count, events } = rounds(sink)
  await run()
  assert.equal(count('failures'), 1)
  assert.ok(events.some((event) => event.startsWith('warn aaa.broken: maintenance: file:///w/nowhere')))
  assert.equal(count('filesCompacted'), 9)
})

test('tables of others cost a look an hour, and what is not for us to see holds up nothing', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  for (let i = 0; i < 9; i++) await w.commit(sink)
  const { catalog, store } = sink.tools
  // A table of a later format, one that may not be loaded, and a namespace that may not be listed.
  const later = 'file:///w/later.metadata.json'
  const text = JSON.stringify({ ...(await catalog.load(ID))!.metadata, 'format-version': 3 })
  await store.put([{ uri: later, parts: [new TextEncoder().encode(text)] }])
  for (const namespace of ['others', 'secret']) await catalog.createNamespace(namespace)
  for (const name of ['later', 'closed']) await w.pointers.insert({ namespace: 'others', name }, later)
  const refused = new MillraceError('catalog_refused', 'no', { status: 403 })
  const loads: string[] = []
  const shared: Catalog = Object.create(catalog, {
    load: {
      value: async (id: TableId) => {
        loads.push(printTableId(id))
        if (id.name === 'closed') throw refused
        return catalog.load(id)
      },
    },
    listNamespaces: { value: () => catalog.listNamespaces() },
    listTables: {
      value: async (namespace: string) => {
        if (namespace === 'secret') throw refused
        return catalog.listTables(namespace)
      },
    },
    commit: { value: catalog.commit.bind(catalog) },
  })
  const { run, count, events } = rounds({ ...sink, tools: { ...sink.tools, catalog: shared } } as Harness)
  const othersLoaded = () => loads.filter((name) => name.startsWith('others.')).length
  await run()
  await run()
  assert.equal(othersLoaded(), 2)
  assert.equal(count('filesCompacted'), 9)
  w.clock.ms += 3_600_000
  await run()
  assert.equal(othersLoaded(), 4)
  assert.equal(count('failures'), 0, events.join('\n'))
  // Where nothing may be seen at all, that is said.
  const closed: Catalog = Object.create(shared, {
    listTables: {
      value: async () => {
        throw refused
      },
    },
  })
  await assert.rejects(listAllTables(closed), refused)
})

test('health tells small files, order, files a device and lateness', async () => {
  const w = new SmallFiles()
  const sink = await w.open()
  const health = async (fileBytes: number) => (await tableHealth(sink.catalog, w.store, ID, fileBytes))!
  const empty = await health(1e8)
  assert.deepEqual([empty.files, empty.rows, empty.snapshots, empty.sortedShare], [0, 0, 0, 1])
  for (let i = 0; i < 4; i++) await w.commit(sink, 6, 2)
  const before = await health(1e8)
  assert.deepEqual(
    [before.files, before.partitions, before.smallFiles, before.smallFileShare, before.filesPerDevice],
    [8, 2, 8, 1, 4],
  )
  assert.deepEqual([before.manifests, before.snapshots, before.sortedShare, before.lateFiles], [4, 4, 1, 0])
  assert.equal((await health(100)).smallFiles, 0)
  w.afterDays(2)
  const { run } = rounds(sink)
  await run()
  const after = await health(1e8)
  assert.deepEqual([after.files, after.smallFiles, after.filesPerDevice, after.rows], [2, 0, 1, before.rows])
})
