import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { isMillraceError } from '../std/errors.ts'
import { madeAtMs, metadataUri, Names } from './file-names.ts'
import { filePath, fileUri, LocalStore } from './store.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-store-'))
test.after(() => fs.rmSync(folder, { recursive: true }))

test('files are written once, read, listed and deleted', async () => {
  const store = new LocalStore(new NodeDisk())
  const uri = `${fileUri(folder)}/a b/data/x.parquet`
  await store.put([{ uri, parts: [Uint8Array.of(1, 2), Uint8Array.of(3)] }])
  assert.deepEqual(new Uint8Array(await store.read(uri)), Uint8Array.of(1, 2, 3))
  assert.ok(await store.exists(uri))
  await store.put([{ uri: `${fileUri(folder)}/a b/data/sub/y.parquet`, parts: [] }])
  assert.deepEqual(await store.list(`${fileUri(folder)}/a b/data`), [uri], 'folders are not listed')
  assert.deepEqual(await store.list(`${fileUri(folder)}/nowhere`), [])
  await assert.rejects(store.put([{ uri, parts: [] }]), (error) =>
    isMillraceError(error, 'warehouse_unwritable'),
  )
  await store.delete([uri, uri])
  assert.equal(await store.exists(uri), false)
  await assert.rejects(
    store.read(uri),
    (error) => isMillraceError(error, 'table_foreign') && error.message.includes(uri),
  )
})

test('local URIs of every writer are understood, others refused', () => {
  assert.equal(filePath('file:///a b/c'), '/a b/c')
  assert.equal(filePath('file:/a/c'), '/a/c')
  assert.equal(filePath('/a/c'), '/a/c')
  assert.throws(
    () => filePath('s3://b/c'),
    (error) => isMillraceError(error, 'table_foreign'),
  )
})

test('names tell their age and versions count up', () => {
  const names = new Names({ now: () => 1_780_000_000_123, sleep: async () => {} })
  const uuid = names.uuid()
  assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.equal(madeAtMs(`file:///t/data/2026-01-01-${uuid}.parquet`), 1_780_000_000_123)
  assert.equal(madeAtMs('file:///t/data/00000-0-5a8f2c66-6f6e-4f0e-9d5c-0d6f0a8f2c66.parquet'), undefined)
  const first = metadataUri('file:///t', undefined, 'u')
  assert.equal(first, 'file:///t/metadata/00000-u.metadata.json')
  assert.equal(metadataUri('file:///t', first, 'v'), 'file:///t/metadata/00001-v.metadata.json')
  for (let i = 0; i < 1000; i++) assert.ok(Number.isSafeInteger(names.snapshotId()) && names.snapshotId() > 0)
})
