// What every store does: one suite for local folders and S3, the latter against a real server (test/interop).
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isMillraceError } from '../std/errors.ts'
import type { Store } from './store.ts'

export interface OpenStore {
  store: Store
  /** URI of a folder that is the suite's own. */
  folder: string
}

export function storeConformance(kind: string, open: () => OpenStore): void {
  test(`${kind}: files are written once, read, listed and deleted`, async () => {
    const { store, folder } = open()
    const uri = `${folder}/a b/data/x.parquet`
    await store.put([{ uri, parts: [Uint8Array.of(1, 2), Uint8Array.of(3)] }])
    assert.deepEqual(new Uint8Array(await store.read(uri)), Uint8Array.of(1, 2, 3))
    assert.ok(await store.exists(uri))
    await store.put([{ uri: `${folder}/a b/data/sub/y.parquet`, parts: [] }])
    assert.equal((await store.read(`${folder}/a b/data/sub/y.parquet`)).length, 0)
    const end = async (name: string, bytesMax: number) => {
      const { bytes, byteLength } = await store.readEnd(name, bytesMax)
      return [[...bytes], byteLength]
    }
    assert.deepEqual(await end(uri, 2), [[2, 3], 3])
    assert.deepEqual(await end(uri, 100), [[1, 2, 3], 3])
    assert.deepEqual(await end(`${folder}/a b/data/sub/y.parquet`, 2), [[], 0])
    assert.deepEqual(await end(`${folder}/nowhere`, 2), [[], 0])
    assert.deepEqual(await store.list(`${folder}/a b/data`), [uri], 'folders are not listed')
    assert.deepEqual(await store.list(`${folder}/nowhere`), [])
    await assert.rejects(
      store.put([{ uri, parts: [Uint8Array.of(9)] }]),
      (error) => isMillraceError(error, 'warehouse_unwritable') && error.message.includes(uri),
    )
    assert.deepEqual(new Uint8Array(await store.read(uri)), Uint8Array.of(1, 2, 3), 'what was there stays')
    await store.delete([uri, uri])
    await store.delete([])
    assert.equal(await store.exists(uri), false)
    await assert.rejects(
      store.read(uri),
      (error) => isMillraceError(error, 'table_foreign') && error.message.includes(uri),
    )
  })

  test(`${kind}: names are taken as they are`, async () => {
    const { store, folder } = open()
    const names = ['%20.avro', 'ü + &=?#.avro', "it's.avro", '日本.avro', 'a;b@c,d$.avro']
    const files = names.map((name, i) => ({ uri: `${folder}/${name}`, parts: [Uint8Array.of(i)] }))
    await store.put(files)
    assert.deepEqual((await store.list(folder)).sort(), files.map((file) => file.uri).sort())
    for (const { uri, parts } of files) assert.deepEqual(new Uint8Array(await store.read(uri)), parts[0])
    await store.delete(files.map((file) => file.uri))
    assert.deepEqual(await store.list(folder), [])
  })
}
