// One suite for each place of pointers, then what only SQLite promises.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { isMillraceError } from '../std/errors.ts'
import { PointerCatalog, type Pointers } from './catalog.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { Names, systemClock } from './file-names.ts'
import { fileUri, LocalStore } from './store.ts'
import { newTableLayout, telemetryShape } from './table-schema.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-catalog-'))
test.after(() => fs.rmSync(folder, { recursive: true }))
let serial = 0

const layout = () =>
  newTableLayout(
    telemetryShape({
      schema: JSON.stringify({
        type: 'record',
        name: 'r',
        fields: [{ name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } }],
      }),
      eventTime: 'event_time',
    }),
  )

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
  test(`${kind}: tables and namespaces come and go`, async () => {
    const { catalog } = open(make)
    await catalog.createNamespace('default')
    await catalog.createNamespace('default')
    assert.deepEqual(await catalog.listNamespaces(), ['default'])
    assert.equal(await catalog.load(ID), undefined)
    const made = await catalog.create(ID, layout())
    assert.deepEqual((await catalog.load(ID))!.metadata, made.metadata)
    await assert.rejects(catalog.create(ID, layout()), (error) => isMillraceError(error, 'table_conflict'))
    await assert.rejects(catalog.dropNamespace('default'), (error) =>
      isMillraceError(error, 'table_conflict'),
    )
    const other = { namespace: 'default', name: 'other' }
    await catalog.rename(ID, other)
    assert.deepEqual(await catalog.listTables('default'), [other])
    await catalog.create(ID, layout())
    await assert.rejects(catalog.rename(other, ID), (error) => isMillraceError(error, 'table_conflict'))
    assert.equal(await catalog.drop(other), true)
    assert.equal(await catalog.drop(other), false)
    await assert.rejects(catalog.rename(other, ID), (error) => isMillraceError(error, 'table_missing'))
    await catalog.drop(ID)
    await catalog.dropNamespace('default')
    assert.deepEqual(await catalog.listNamespaces(), [])
    await catalog.close()
  })

  test(`${kind}: a commit needs its requirements, and others come first only where they break none`, async () => {
    const { catalog, store } = open(make)
    await catalog.createNamespace('default')
    const made = await catalog.create(ID, layout())
    const uuid = made.metadata['table-uuid']
    const set = (key: string) =>
      catalog.commit(
        ID,
        [{ type: 'assert-table-uuid', uuid }],
        [{ action: 'set-properties', updates: { [key]: 'x' } }],
      )
    await Promise.all([set('a'), set('b'), set('c')])
    const after = (await catalog.load(ID))!
    assert.deepEqual(
      ['a', 'b', 'c'].map((key) => after.metadata.properties[key]),
      ['x', 'x', 'x'],
    )
    await assert.rejects(
      catalog.commit(ID, [{ type: 'assert-table-uuid', uuid: 'another' }], []),
      (error) => isMillraceError(error, 'table_conflict') && error.message.includes('uuid'),
    )
    await assert.rejects(catalog.commit({ namespace: 'default', name: 'nothing' }, [], []), (error) =>
      isMillraceError(error, 'table_missing'),
    )
    const files = await store.list(`${made.metadata.location}/metadata`)
    assert.equal(files.length, 4, 'lost tries leave no file')
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
})
