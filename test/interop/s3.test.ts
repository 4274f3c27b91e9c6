// The S3 store against a real S3 server, first plainly, then through a proxy that does what networks and overloaded
// servers do.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3'
import { storeConformance } from '../../sink/store-conformance.ts'
import { S3Store } from '../../sink/store-s3.ts'
import { isMillraceError } from '../../std/errors.ts'
import { FaultProxy, PASSING_FAULTS } from '../fault-proxy.ts'
import { s3Environment, startS3 } from './servers.ts'

const MIB = 1024 * 1024
/** The least that S3 allows. */
const PART_BYTES = 5 * MIB
/** Short where every request is to run into it, long where a busy machine must not. */
const HANG_MS = 400
const TIMEOUT_MS = 10_000

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-s3-'))
const server = await startS3(test, path.join(folder, 's3'))
test.after(() => fs.rmSync(folder, { recursive: true, force: true }))
Object.assign(process.env, s3Environment(server.url))

const options = { endpoint: undefined, pathStyle: true, partBytes: PART_BYTES, requestTimeoutMs: TIMEOUT_MS }
const plain = new S3Store(options)
const proxy = await FaultProxy.start(server.port)
/** Through the proxy; pauses between tries take no time. */
const faultyStore = (requestTimeoutMs: number): S3Store =>
  new S3Store(
    { ...options, endpoint: proxy.url, requestTimeoutMs },
    { now: () => Date.now(), sleep: async () => {} },
  )
test.after(async () => {
  plain.close()
  await proxy.close()
})

let serial = 0
const place = (): string => `s3://warehouse/of test/${serial++}`

storeConformance('s3', () => ({ store: plain, folder: place() }))

function noise(byteLength: number): Uint8Array {
  const bytes = new Uint8Array(byteLength)
  for (let i = 0, word = 1; i < byteLength; i++) {
    word = (Math.imul(word, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = word >>> 16
  }
  return bytes
}

/** 12 MiB and a bit in pieces that no part begins with. */
function large(): { bytes: Uint8Array; parts: Uint8Array[] } {
  const bytes = noise(12 * MIB + 17)
  return { bytes, parts: [bytes.subarray(0, 3), bytes.subarray(3, 7 * MIB), bytes.subarray(7 * MIB)] }
}

async function unfinishedUploads(): Promise<number> {
  const client = new S3Client({ forcePathStyle: true })
  const { Uploads } = await client.send(new ListMultipartUploadsCommand({ Bucket: 'warehouse' }))
  client.destroy()
  return Uploads?.length ?? 0
}

test('a large file goes in parts, is made once, and leaves no upload behind', async () => {
  const uri = `${place()}/large.parquet`
  const { bytes, parts } = large()
  await plain.put([{ uri, parts }])
  assert.ok(Buffer.from(bytes).equals(await plain.read(uri)))
  await assert.rejects(plain.put([{ uri, parts: [noise(11 * MIB)] }]), (error) =>
    isMillraceError(error, 'warehouse_unwritable'),
  )
  assert.ok(Buffer.from(bytes).equals(await plain.read(uri)), 'what was there stays')
  assert.equal(await unfinishedUploads(), 0)
})

test('more files than one listing or one deletion holds', async () => {
  const at = place()
  const files = Array.from({ length: 1005 }, (_, i) => ({ uri: `${at}/${i}.avro`, parts: [] }))
  await plain.put(files)
  assert.equal((await plain.list(at)).length, files.length)
  await plain.delete(files.map((file) => file.uri))
  assert.deepEqual(await plain.list(at), [])
})

for (const fault of PASSING_FAULTS)
  test(`${fault}: twice on every request, and files are what they should be, once`, async () => {
    const at = place()
    const uploadsBefore = await unfinishedUploads()
    const seen = new Map<string, number>()
    proxy.plan = (method, url) => {
      const key = `${method} ${url.replace(/uploadId=[^&]*/, '')}`
      const times = (seen.get(key) ?? 0) + 1
      seen.set(key, times)
      return times <= 2 ? fault : undefined
    }
    const faulty = faultyStore(fault.endsWith('hang') ? HANG_MS : TIMEOUT_MS)
    const small = { uri: `${at}/small.avro`, parts: [noise(5000)] }
    await faulty.put([small])
    assert.deepEqual(new Uint8Array(await faulty.read(small.uri)), small.parts[0])
    assert.equal(await faulty.exists(small.uri), true)
    assert.deepEqual(await faulty.list(at), [small.uri])
    await faulty.delete([small.uri])
    assert.deepEqual(await plain.list(at), [])
    // Five requests; what is slow needs no second try.
    assert.ok(proxy.counts.get(fault)! >= 5, `${proxy.counts.get(fault)} faults`)
    proxy.counts.clear()
    if (['lost-500', 'lost-reset', 'status-503'].includes(fault)) {
      const { bytes, parts } = large()
      await faulty.put([{ uri: `${at}/large.parquet`, parts }])
      assert.ok(Buffer.from(bytes).equals(await plain.read(`${at}/large.parquet`)))
      // Where the answer to the beginning of an upload was lost, nobody knows its id: the bucket's lifecycle rule ends it.
      if (fault === 'status-503') assert.equal(await unfinishedUploads(), uploadsBefore)
    }
    faulty.close()
  })

test('a server that stays away is an error that says what and where, soon', async () => {
  const uri = `${place()}/x.avro`
  const faulty = faultyStore(HANG_MS)
  proxy.plan = () => 'status-503'
  const startedMs = Date.now()
  await assert.rejects(
    faulty.put([{ uri, parts: [noise(10)] }]),
    (error) =>
      isMillraceError(error, 'warehouse_unwritable') &&
      error.action === 'retry' &&
      error.message.includes(uri) &&
      error.message.includes('503'),
  )
  proxy.plan = () => 'hang'
  await assert.rejects(
    faulty.read(uri),
    (error) => isMillraceError(error, 'warehouse_unreachable') && error.message.includes(uri),
  )
  assert.ok(Date.now() - startedMs < 15_000, `${Date.now() - startedMs} ms`)
  faulty.close()
})

test('credentials that are refused, and a bucket that is not there, are said with the place', async () => {
  const uri = `${place()}/x.avro`
  const secret = process.env['AWS_SECRET_ACCESS_KEY']!
  process.env['AWS_SECRET_ACCESS_KEY'] = 'another-secret'
  const refused = new S3Store(options)
  await assert.rejects(
    refused.put([{ uri, parts: [noise(10)] }]),
    (error) =>
      isMillraceError(error, 'warehouse_unwritable') &&
      error.message.includes(uri) &&
      /403 SignatureDoesNotMatch/.test(error.message) &&
      !error.message.includes('another-secret'),
  )
  process.env['AWS_SECRET_ACCESS_KEY'] = secret
  refused.close()
  await assert.rejects(
    plain.read('s3://nobucket/x.avro'),
    (error) =>
      isMillraceError(error, 'warehouse_unreachable') &&
      error.message.includes('s3://nobucket/x.avro') &&
      /NoSuchBucket/.test(error.message),
  )
})
