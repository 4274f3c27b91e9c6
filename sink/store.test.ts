import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { isMillraceError } from '../std/errors.ts'
import { madeAtMs, metadataUri, Names } from './file-names.ts'
import { filePath, fileUri, LocalStore } from './store.ts'
import { storeConformance } from './store-conformance.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-store-'))
test.after(() => fs.rmSync(folder, { recursive: true }))

let serial = 0
storeConformance('local', () => ({
  store: new LocalStore(new NodeDisk()),
  folder: `${fileUri(folder)}/${serial++}`,
}))

test('local URIs of every writer are understood, others refused', () => {
  assert.equal(filePath('file:///a b/c'), '/a b/c')
  assert.equal(filePath('file:/a/c'), '/a/c')
  assert.equal(filePath('/a/c'), '/a/c')
  assert.throws(
    () => filePath('s3://b/c'),
    (error) => isMillraceError(error, 'table_foreign'),
  )
})

test('what is there and cannot be read is not said to be missing', async () => {
  const store = new LocalStore(new NodeDisk())
  const uri = `${fileUri(folder)}/a.parquet`
  fs.mkdirSync(filePath(uri))
  await assert.rejects(
    store.read(uri),
    (error) =>
      isMillraceError(error, 'warehouse_unreachable') && error.message === `${uri} cannot be read (EISDIR)`,
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
