// The S3 store against a bucket in memory that speaks the calls it makes, so that requests, retries and what is made of
// answers are tested on every run. Whether a real server agrees is test/interop/s3.test.ts's question.
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { isMillraceError } from '../std/errors.ts'
import { systemClock } from './file-names.ts'
import { storeConformance } from './store-conformance.ts'
import { S3Store } from './store-s3.ts'

/** What the server does with a request, beside answering it: `before` it is done, or `after`, with the status that it then answers. */
interface Fault {
  method: string
  when: 'before' | 'after'
  /** 0: the connection is cut. */
  status: number
}

class Bucket {
  readonly objects = new Map<string, { bytes: Buffer; mark: string | undefined }>()
  readonly uploads = new Map<string, { mark: string | undefined; parts: Map<number, Buffer> }>()
  readonly seen: string[] = []
  readonly faults: Fault[] = []

  /** Status, headers and body for a request. */
  answer(
    request: http.IncomingMessage,
    body: Buffer,
  ): [number, Record<string, string | number>, string | Buffer] {
    const url = new URL(request.url!, 'http://s3')
    const key = decodeURIComponent(url.pathname.slice('/bucket/'.length))
    const { searchParams: query } = url
    const mark = request.headers['x-amz-meta-millrace-write'] as string | undefined
    const failed = (status: number, code: string): [number, Record<string, string>, string] => [
      status,
      { 'content-type': 'application/xml' },
      request.method === 'HEAD' ? '' : `<Error><Code>${code}</Code><Message>${code}</Message></Error>`,
    ]
    const mayMake = () => request.headers['if-none-match'] !== '*' || !this.objects.has(key)
    const uploadId = query.get('uploadId')
    const upload = uploadId === null ? undefined : this.uploads.get(uploadId)
    switch (request.method) {
      case 'PUT':
        if (uploadId !== null) {
          if (upload === undefined) return failed(404, 'NoSuchUpload')
          upload.parts.set(Number(query.get('partNumber')), body)
          return [200, { etag: `"${createHash('md5').update(body).digest('hex')}"` }, '']
        }
        if (!mayMake()) return failed(412, 'PreconditionFailed')
        this.objects.set(key, { bytes: body, mark })
        return [200, { etag: '"x"' }, '']
      case 'POST':
        if (query.has('delete')) {
          for (const [, name] of body.toString().matchAll(/<Key>(.*?)<\/Key>/g))
            this.objects.delete(name!.replaceAll('&amp;', '&').replaceAll('&apos;', "'"))
          return [200, {}, '<DeleteResult/>']
        }
        if (query.has('uploads')) {
          const id = `upload-${this.uploads.size}`
          this.uploads.set(id, { mark, parts: new Map() })
          return [
            200,
            {},
            `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
          ]
        }
        if (upload === undefined) return failed(404, 'NoSuchUpload')
        if (!mayMake()) return failed(412, 'PreconditionFailed')
        this.uploads.delete(uploadId!)
        this.objects.set(key, {
          bytes: Buffer.concat([...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part)),
          mark: upload.mark,
        })
        return [200, {}, '<CompleteMultipartUploadResult/>']
      case 'DELETE':
        this.uploads.delete(uploadId ?? '')
        return [204, {}, '']
    }
    if (query.has('list-type')) return [200, {}, this.#list(query)]
    const found = this.objects.get(key)
    if (found === undefined) return failed(404, 'NoSuchKey')
    const { bytes } = found
    const headers: Record<string, string> =
      found.mark === undefined ? {} : { 'x-amz-meta-millrace-write': found.mark }
    const suffix = /^bytes=-(\d+)$/.exec(request.headers.range ?? '')?.[1]
    if (suffix === undefined) return [200, headers, bytes]
    if (bytes.length === 0) return failed(416, 'InvalidRange')
    const from = Math.max(0, bytes.length - Number(suffix))
    const range = { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }
    return [206, { ...headers, ...range }, bytes.subarray(from)]
  }

  /** Two keys a page, so that there are several. */
  #list(query: URLSearchParams): string {
    const prefix = query.get('prefix')!
    const after = query.get('continuation-token') ?? ''
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(prefix) && !key.slice(prefix.length).includes('/') && key > after)
      .sort()
    const page = keys.slice(0, 2)
    const escaped = (text: string) => text.replaceAll('&', '&amp;')
    const token =
      keys.length > page.length
        ? `<NextContinuationToken>${escaped(page.at(-1)!)}</NextContinuationToken>`
        : ''
    return `<ListBucketResult>${page.map((key) => `<Contents><Key>${escaped(key)}</Key></Contents>`).join('')}${token}</ListBucketResult>`
  }
}

const bucket = new Bucket()
const server = http.createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    bucket.seen.push(request.method!)
    const fault = bucket.faults[0]?.method === request.method ? bucket.faults.shift() : undefined
    const answer = fault?.when === 'before' ? undefined : bucket.answer(request, Buffer.concat(chunks))
    if (fault?.status === 0) {
      request.socket.destroy()
      return
    }
    const [status, headers, body] = fault === undefined ? answer! : [fault.status, {}, '']
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) })
    response.end(request.method === 'HEAD' ? undefined : body)
  })
})
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
Object.assign(process.env, {
  AWS_ACCESS_KEY_ID: 'id',
  AWS_SECRET_ACCESS_KEY: 'secret',
  AWS_REGION: 'us-east-1',
})
/** Pauses between tries are not waited for. */
const clock = { now: () => systemClock.now(), sleep: async () => {} }
const store = new S3Store(
  {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    pathStyle: true,
    requestTimeoutMs: 2000,
    partBytes: 8,
  },
  clock,
)
test.after(() => {
  store.close()
  server.close()
})

let serial = 0
storeConformance('S3', () => ({ store, folder: `s3://bucket/suite/${serial++}` }))

/** Puts a file while the server fails so, and returns the methods of the requests that it took. */
async function put(name: string, bytes: Uint8Array, ...faults: Fault[]): Promise<string[]> {
  bucket.seen.length = 0
  bucket.faults.push(...faults)
  await store.put([{ uri: `s3://bucket/${name}`, parts: [bytes] }])
  assert.equal(bucket.faults.length, 0, 'every fault happened')
  assert.deepEqual(new Uint8Array(bucket.objects.get(name)!.bytes), bytes)
  return [...bucket.seen]
}

const SMALL = Uint8Array.of(1, 2, 3)
const LARGE = Uint8Array.from({ length: 30 }, (_, i) => i)

test('a write that failed is sent again; one whose answer was lost is known by its mark', async () => {
  assert.deepEqual(await put('a', SMALL, { method: 'PUT', when: 'before', status: 503 }), ['PUT', 'PUT'])
  assert.deepEqual(await put('b', SMALL, { method: 'PUT', when: 'before', status: 0 }), ['PUT', 'PUT'])
  assert.deepEqual(await put('c', SMALL, { method: 'PUT', when: 'after', status: 500 }), [
    'PUT',
    'PUT',
    'HEAD',
  ])
  assert.deepEqual(await put('d', SMALL, { method: 'PUT', when: 'after', status: 0 }), ['PUT', 'PUT', 'HEAD'])
})

test('a large file goes in parts, each sent again where it failed, and none is left of an upload given up', async () => {
  const seen = await put('large', LARGE, { method: 'PUT', when: 'before', status: 500 })
  assert.deepEqual(seen.toSorted(), ['POST', 'POST', 'PUT', 'PUT', 'PUT', 'PUT', 'PUT'])
  bucket.faults.push({ method: 'PUT', when: 'before', status: 403 })
  await assert.rejects(
    store.put([{ uri: 's3://bucket/refused', parts: [LARGE] }]),
    (error) =>
      isMillraceError(error, 'warehouse_unwritable') && /refused cannot be written \(403/.test(error.message),
  )
  assert.equal(bucket.uploads.size, 0)
  assert.equal(bucket.objects.has('refused'), false)
})

test('a completed upload whose answer was lost is its own work', async () => {
  bucket.faults.length = 0
  const lost: Fault = { method: 'POST', when: 'after', status: 0 }
  // The first POST begins the upload; the fault is for the second.
  const begun = put('twice', LARGE)
  while (bucket.uploads.size === 0) await new Promise(setImmediate)
  bucket.faults.push(lost)
  const seen = await begun
  assert.deepEqual(seen.slice(-3), ['POST', 'POST', 'HEAD'])
})

test('a server that is away is said with the file and the reason', async () => {
  for (let i = 0; i < 6; i++) bucket.faults.push({ method: 'GET', when: 'before', status: 503 })
  await assert.rejects(
    store.read('s3://bucket/a'),
    (error) =>
      isMillraceError(error, 'warehouse_unreachable') && /s3:\/\/bucket\/a .*503/.test(error.message),
  )
})
