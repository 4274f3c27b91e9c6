// The suite of all catalogs for each place of pointers, then what only these promise.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { NodeDisk } from '../std/disk.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { freeLocation, PointerCatalog, type Pointers } from './catalog.ts'
import { catalogConformance, conformanceLayout } from './catalog-conformance.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { Names, systemClock } from './file-names.ts'
import { fileUri, LocalStore } from './store.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-catalog-'))
test.after(() => fs.rmSync(folder, { recursive: true }))
let serial = 0

const layout = conformanceLayout

const kinds: [string, (dir: string) => Pointers][] = [
  ['memory', () => new MemoryPointers()],
  ['sqlite', (dir) => new SqlitePointers(path.join(dir, 'catalog.db'), 'millrace')],
]

function open(make: (dir: string) => Pointers) {
  const dir = path.join(folder, String(serial++))
  fs.mkdirSync(dir)
  const pointers = make(dir)
  const names = new Names(systemClock)
  const store = new LocalStore(new NodeDisk())
  const catalog = new PointerCatalog(
    'millrace',
    pointers,
    store,
    fileUri(path.join(dir, 'w')),
    names,
    systemClock,
  )
  return { dir, pointers, catalog, store, names }
}

const ID = { namespace: 'default', name: 'telemetry' }

for (const [kind, make] of kinds) {
  catalogConformance(kind, async () => {
    const { catalog } = open(make)
    return { catalog, namespace: 'default', close: () => catalog.close() }
  })

  test(`${kind}: tries that were lost leave no file`, async () => {
    const { catalog, store } = open(make)
    await catalog.createNamespace('default')
    const made = await catalog.create(ID, layout())
    const set = (key: string) =>
      catalog.commit(ID, [], [{ action: 'set-properties', updates: { [key]: 'x' } }])
    await Promise.all([set('a'), set('b'), set('c')])
    assert.equal((await store.list(`${made.metadata.location}/metadata`)).length, 4)
    await catalog.close()
  })

  test(`${kind}: the metadata log keeps 20 files and deletes the rest`, async () => {
    const { catalog, store } = open(make)
    await catalog.createNamespace('default')
    const made = await catalog.create(ID, layout())
    for (let i = 0; i < 30; i++)
      await catalog.commit(ID, [], [{ action: 'set-properties', updates: { i: String(i) } }])
    const after = (await catalog.load(ID))!
    const log = after.metadata['metadata-log'].map((entry) => entry['metadata-file'])
    assert.equal(log.length, 20)
    const files = await store.list(`${made.metadata.location}/metadata`)
    assert.deepEqual(files.sort(), [...log, after.metadataLocation].sort())
    assert.match(after.metadataLocation, /\/00030-[^/]+\.metadata\.json$/)
    await catalog.close()
  })
}

test('metadata that another engine has compressed is read', async () => {
  const { catalog, pointers, store } = open(() => new MemoryPointers())
  await catalog.createNamespace('default')
  const made = await catalog.create(ID, layout())
  const zipped = made.metadataLocation.replace('.metadata.json', '.gz.metadata.json')
  const bytes = gzipSync(await store.read(made.metadataLocation))
  await store.put([{ uri: zipped, parts: [bytes] }])
  await pointers.swap(ID, made.metadataLocation, zipped)
  assert.deepEqual((await catalog.load(ID))!.metadata, made.metadata)
  const half = made.metadataLocation.replace('.metadata.json', '.half.gz.metadata.json')
  await store.put([{ uri: half, parts: [bytes.subarray(0, 100)] }])
  await pointers.swap(ID, zipped, half)
  await assert.rejects(
    catalog.load(ID),
    (error) => isMillraceError(error, 'table_foreign') && error.message.includes(half),
  )
})

test('metadata that is loaded twice at a time takes its room in the cache once', async () => {
  const { catalog: other, pointers, store, names, dir } = open(() => new MemoryPointers())
  const catalog = new PointerCatalog('millrace', pointers, store, fileUri(dir), names, systemClock)
  const small = { ...ID, name: 'small' }
  await other.createNamespace('default')
  for (const id of [ID, small]) await other.create(id, layout())
  // Each version takes a sixteenth of the cache.
  const change = (i: number) =>
    other.commit(ID, [], [{ action: 'set-properties', updates: { i: String(i), text: 'x'.repeat(1 << 20) } }])
  for (let i = 0; i < 18; i++) {
    await change(i)
    await Promise.all([catalog.load(ID), catalog.load(ID)])
  }
  await catalog.load(small)
  await change(18)
  await catalog.load(ID)
  const read = store.read.bind(store)
  const reads: string[] = []
  store.read = (uri) => {
    reads.push(uri)
    return read(uri)
  }
  await catalog.load(small)
  assert.deepEqual(reads, [], 'it is still in the cache')
})

test('an answer that is lost is said to be ambiguous, a refusal is not', async () => {
  const pointers = new MemoryPointers()
  const { catalog } = open(() => pointers)
  await catalog.createNamespace('default')
  await catalog.create(ID, layout())
  const commit = () => catalog.commit(ID, [], [{ action: 'set-properties', updates: { a: 'x' } }])
  pointers.fault = () => 'ambiguous-not-done'
  await assert.rejects(commit(), (error) => isMillraceError(error, 'commit_ambiguous'))
  assert.equal((await catalog.load(ID))!.metadata.properties['a'], undefined)
  pointers.fault = () => 'ambiguous-done'
  await assert.rejects(commit(), (error) => isMillraceError(error, 'commit_ambiguous'))
  assert.equal((await catalog.load(ID))!.metadata.properties['a'], 'x')
  pointers.fault = () => 'conflict'
  await assert.rejects(commit(), (error) => isMillraceError(error, 'table_conflict'))
})

test('sqlite: the layout is JDBC V1, and a reader of another process never holds up a commit', async () => {
  const { dir, catalog } = open(kinds[1]![1])
  await catalog.createNamespace('default')
  const made = await catalog.create(ID, layout())
  const other = new DatabaseSync(path.join(dir, 'catalog.db'))
  assert.equal(other.prepare('PRAGMA journal_mode').get()!['journal_mode'], 'wal')
  other.exec('BEGIN')
  const row = other.prepare('SELECT * FROM iceberg_tables').get()!
  assert.deepEqual(
    { ...row },
    {
      catalog_name: 'millrace',
      table_namespace: 'default',
      table_name: 'telemetry',
      metadata_location: made.metadataLocation,
      previous_metadata_location: null,
      iceberg_type: 'TABLE',
    },
  )
  assert.deepEqual(
    { ...other.prepare('SELECT * FROM iceberg_namespace_properties').get()! },
    {
      catalog_name: 'millrace',
      namespace: 'default',
      property_key: 'exists',
      property_value: 'true',
    },
  )
  const after = await catalog.commit(ID, [], [{ action: 'set-properties', updates: { a: 'x' } }])
  other.exec('COMMIT')
  const now = other.prepare('SELECT * FROM iceberg_tables').get()!
  assert.equal(now['metadata_location'], after.metadataLocation)
  assert.equal(now['previous_metadata_location'], made.metadataLocation)
  other.close()
  await catalog.close()
})

test('sqlite: a file that cannot be opened is said with its name', () => {
  assert.throws(
    () => new SqlitePointers(path.join(folder, 'no', 'such', 'catalog.db'), 'millrace'),
    (error) => isMillraceError(error, 'data_unwritable') && error.message.includes('catalog.db'),
  )
  const other = path.join(folder, 'other.db')
  new DatabaseSync(other).exec('CREATE TABLE t (a)')
  assert.throws(
    () => new SqlitePointers(other, 'millrace', { readOnly: true }),
    (error) =>
      isMillraceError(error, 'data_unwritable') &&
      /other\.db.*no such table: iceberg_tables/.test(error.message),
  )
})

test('who may not list a warehouse makes tables in it all the same; who cannot reach it does not', async () => {
  const { store, names } = open(() => new MemoryPointers())
  for (const status of [403, 503]) {
    store.list = () =>
      Promise.reject(
        new MillraceError('warehouse_unreachable', `no (${status})`, { uri: 's3://b/t', status }),
      )
    const found = freeLocation(store, 's3://b/t', names)
    if (status === 403) assert.equal(await found, 's3://b/t')
    else await assert.rejects(found, { code: 'warehouse_unreachable' })
  }
})
