// A warehouse in an S3 bucket, or in any store that answers S3's protocol.
//
//   s3://bucket/prefix/tenant/table/data/x.parquet
//
// The key is the URI's path as it is, without percent-encoding. Credentials and region come from the standard
// variables and files of AWS (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_PROFILE, …), which the client itself reads.
//
// A file is made only where there is none (`If-None-Match: *`), so that nothing is ever overwritten. A request whose
// answer was lost may have been done: then its second try finds the file there (412). The mark that every write
// puts into the file's user metadata tells whether it is this write's own.
import { randomUUID } from 'node:crypto'
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { type Clock, systemClock } from './file-names.ts'
import { retrying } from './retry.ts'
import { type FileEnd, type NewFile, NO_FILE, type Store } from './store.ts'

export interface S3Options {
  /** Address of the server; undefined: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, or AWS itself. */
  endpoint: string | undefined
  /** `endpoint/bucket/key` instead of `bucket.endpoint/key`. */
  pathStyle: boolean
  /** A request without an answer for this long has failed. */
  requestTimeoutMs: number
  /** Files above this are sent in parts of at least this size; S3 allows no part below 5 MiB. */
  partBytes?: number
}

const CONNECT_TIMEOUT_MS = 5000
const PART_BYTES = 8 * 1024 * 1024
/** Amazon S3, "Multipart upload limits". */
const PARTS_MAX = 10_000
/** Parts, and small files, on their way at once; each part holds a copy of its bytes. */
const CONCURRENCY = 4
/** Amazon S3, "DeleteObjects". */
const DELETE_KEYS_MAX = 1000
/** Name in the user metadata (`x-amz-meta-…`) of what tells one write from another. */
const MARK = 'millrace-write'

const SCHEME = /^s3[an]?:\/\/([^/]+)\/(.+)$/

interface Place {
  Bucket: string
  Key: string
}

/** Bucket and key of an `s3://` URI, or of Hadoop's `s3a://`. Errors: `table_foreign`. */
function placeOf(uri: string): Place {
  const match = SCHEME.exec(uri)
  if (match === null) throw new MillraceError('table_foreign', `${uri} is no place in an S3 bucket`, { uri })
  return { Bucket: match[1]!, Key: match[2]! }
}

export class S3Store implements Store {
  readonly #client: S3Client
  readonly #clock: Clock
  readonly #partBytes: number

  constructor(options: S3Options, clock: Clock = systemClock) {
    const timeoutMs = options.requestTimeoutMs
    this.#clock = clock
    this.#partBytes = options.partBytes ?? PART_BYTES
    this.#client = new S3Client({
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      forcePathStyle: options.pathStyle,
      // Retries are ours (retry.ts): they reach over the reading of an answer's body too.
      maxAttempts: 1,
      requestHandler: {
        connectionTimeout: Math.min(CONNECT_TIMEOUT_MS, timeoutMs),
        requestTimeout: timeoutMs,
        throwOnRequestTimeout: true,
        socketTimeout: timeoutMs,
      },
    })
  }

  async put(files: readonly NewFile[]): Promise<void> {
    await eachOf(files, CONCURRENCY, async (file) => {
      const byteLength = file.parts.reduce((sum, part) => sum + part.length, 0)
      try {
        if (byteLength > this.#partBytes) await this.#putParts(file, byteLength)
        else await this.#putWhole(file)
      } catch (error) {
        throw unwritable(error, file.uri)
      }
    })
  }

  async #putWhole(file: NewFile): Promise<void> {
    const place = placeOf(file.uri)
    const mark = randomUUID()
    const Body = joined(file.parts)
    await this.#retrying(() =>
      this.#unlessDone(place, mark, () =>
        this.#client.send(
          new PutObjectCommand({ ...place, Body, IfNoneMatch: '*', Metadata: { [MARK]: mark } }),
        ),
      ),
    )
  }

  async #putParts(file: NewFile, byteLength: number): Promise<void> {
    const place = placeOf(file.uri)
    const mark = randomUUID()
    const partBytes = Math.max(this.#partBytes, Math.ceil(byteLength / PARTS_MAX))
    const upload = await this.#retrying(() =>
      this.#client.send(new CreateMultipartUploadCommand({ ...place, Metadata: { [MARK]: mark } })),
    )
    const UploadId = upload.UploadId
    try {
      const starts = Array.from({ length: Math.ceil(byteLength / partBytes) }, (_, i) => i * partBytes)
      const parts = new Array<{ PartNumber: number; ETag: string | undefined }>(starts.length)
      await eachOf(starts, CONCURRENCY, async (start, index) => {
        const Body = sliced(file.parts, start, Math.min(start + partBytes, byteLength))
        const PartNumber = index + 1
        const sent = await this.#retrying(() =>
          this.#client.send(new UploadPartCommand({ ...place, UploadId, PartNumber, Body })),
        )
        parts[index] = { PartNumber, ETag: sent.ETag }
      })
      await this.#retrying(() =>
        this.#unlessDone(place, mark, () =>
          this.#client.send(
            new CompleteMultipartUploadCommand({
              ...place,
              UploadId,
              IfNoneMatch: '*',
              MultipartUpload: { Parts: parts },
            }),
          ),
        ),
      )
    } catch (error) {
      // Parts of an upload that is never completed are paid for and seen by no listing.
      await this.#client.send(new AbortMultipartUploadCommand({ ...place, UploadId })).catch(() => {})
      throw error
    }
  }

  /**
   * Runs what makes a file. Where it finds the file there (412), or its upload gone (404), an earlier try may have
   * done it without our hearing of it.
   */
  async #unlessDone(place: Place, mark: string, make: () => Promise<unknown>): Promise<void> {
    try {
      await make()
    } catch (error) {
      const status = statusOf(error)
      if (status !== 412 && nameOf(error) !== 'NoSuchUpload') throw error
      const found = await this.#head(place)
      if (found?.Metadata?.[MARK] !== mark) throw error
    }
  }

  async read(uri: string): Promise<Uint8Array> {
    const place = placeOf(uri)
    try {
      return await this.#retrying(async () => {
        const answer = await this.#client.send(new GetObjectCommand(place))
        const bytes = await answer.Body!.transformToByteArray()
        if (answer.ContentLength !== undefined && bytes.length !== answer.ContentLength)
          throw new Error(`${bytes.length} of ${answer.ContentLength} bytes came`)
        return bytes
      })
    } catch (error) {
      if (nameOf(error) !== 'NoSuchKey') throw unreachable(error, uri)
      throw new MillraceError(
        'table_foreign',
        `${uri} cannot be read (NoSuchKey): the table refers to a file that is not there`,
        { uri },
        error,
      )
    }
  }

  async exists(uri: string): Promise<boolean> {
    try {
      return (await this.#retrying(() => this.#head(placeOf(uri)))) !== undefined
    } catch (error) {
      throw unreachable(error, uri)
    }
  }

  async readEnd(uri: string, bytesMax: number): Promise<FileEnd> {
    const place = placeOf(uri)
    try {
      return await this.#retrying(async () => {
        const answer = await this.#client.send(
          new GetObjectCommand({ ...place, Range: `bytes=-${bytesMax}` }),
        )
        const bytes = await answer.Body!.transformToByteArray()
        // `bytes 36-99/100`; a server that knows no ranges sends the whole file.
        const byteLength = Number(answer.ContentRange?.split('/')[1] ?? bytes.length)
        return { bytes: bytes.subarray(Math.max(0, bytes.length - bytesMax)), byteLength }
      })
    } catch (error) {
      // An empty file has no last byte (416).
      if (nameOf(error) === 'NoSuchKey' || statusOf(error) === 416) return NO_FILE
      throw unreachable(error, uri)
    }
  }

  async #head(place: Place): Promise<{ Metadata?: Record<string, string> | undefined } | undefined> {
    try {
      return await this.#client.send(new HeadObjectCommand(place))
    } catch (error) {
      if (statusOf(error) === 404) return undefined
      throw error
    }
  }

  async list(folderUri: string): Promise<string[]> {
    const { Bucket, Key } = placeOf(folderUri)
    const Prefix = `${Key}/`
    const found: string[] = []
    let ContinuationToken: string | undefined
    try {
      do {
        const page = await this.#retrying(() =>
          this.#client.send(
            new ListObjectsV2Command({
              Bucket,
              Prefix,
              Delimiter: '/',
              ...(ContinuationToken === undefined ? {} : { ContinuationToken }),
            }),
          ),
        )
        // Some tools make an empty object as the mark of a folder.
        for (const { Key: key } of page.Contents ?? [])
          if (key !== undefined && key !== Prefix) found.push(`${folderUri}/${key.slice(Prefix.length)}`)
        ContinuationToken = page.NextContinuationToken
      } while (ContinuationToken !== undefined)
    } catch (error) {
      throw unreachable(error, folderUri)
    }
    return found
  }

  async delete(uris: readonly string[]): Promise<void> {
    const byBucket = new Map<string, string[]>()
    for (const uri of uris) {
      const { Bucket, Key } = placeOf(uri)
      const keys = byBucket.get(Bucket)
      if (keys === undefined) byBucket.set(Bucket, [Key])
      else keys.push(Key)
    }
    for (const [bucket, keys] of byBucket)
      for (let from = 0; from < keys.length; from += DELETE_KEYS_MAX)
        await this.#deleteKeys(bucket, keys.slice(from, from + DELETE_KEYS_MAX))
  }

  async #deleteKeys(Bucket: string, keys: readonly string[]): Promise<void> {
    try {
      await this.#retrying(async () => {
        const Objects = keys.map((Key) => ({ Key }))
        const answer = await this.#client.send(
          new DeleteObjectsCommand({ Bucket, Delete: { Objects, Quiet: true } }),
        )
        const failed = (answer.Errors ?? []).find((one) => one.Code !== 'NoSuchKey')
        if (failed !== undefined)
          throw Object.assign(new Error(failed.Message ?? `${failed.Key} was not deleted`), {
            name: failed.Code ?? 'InternalError',
            $metadata: { httpStatusCode: failed.Code === 'AccessDenied' ? 403 : 500 },
          })
      })
    } catch (error) {
      throw unwritable(error, `s3://${Bucket}/${keys[0]}`)
    }
  }

  /** Ends idle connections. */
  close(): void {
    this.#client.destroy()
  }

  #retrying<T>(work: () => Promise<T>): Promise<T> {
    return retrying(this.#clock, work, isPassing)
  }
}

/** Codes that pass by themselves, though their status says otherwise. */
const PASSING = new Set(['RequestTimeout', 'SlowDown', 'RequestTimeTooSkewed'])

/** Whether another try may go better. Every request here may be sent twice. */
function isPassing(error: unknown): boolean {
  if (isMillraceError(error) || PASSING.has(nameOf(error))) return !isMillraceError(error)
  const status = statusOf(error)
  // No status: no connection, or no answer in time; that there are no credentials or no region does not pass.
  if (status === undefined) return !/credential|region/i.test(`${nameOf(error)} ${(error as Error).message}`)
  // 2xx: the body broke off, or held an error. 409: two requests for one key at the same time.
  return status < 300 || status === 408 || status === 409 || status === 429 || status >= 500
}

function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } }).$metadata?.httpStatusCode
}

function nameOf(error: unknown): string {
  return String((error as Error).name)
}

function unwritable(error: unknown, uri: string): unknown {
  if (isMillraceError(error)) return error
  return new MillraceError(
    'warehouse_unwritable',
    `${uri} cannot be written (${reason(error)}): rows wait in the log until it can`,
    { uri, status: statusOf(error) },
    error,
  )
}

function unreachable(error: unknown, uri: string): unknown {
  if (isMillraceError(error)) return error
  return new MillraceError(
    'warehouse_unreachable',
    `${uri} cannot be read (${reason(error)})`,
    { uri, status: statusOf(error) },
    error,
  )
}

function reason(error: unknown): string {
  const status = statusOf(error)
  const { name, message, code } = error as Error & { code?: unknown }
  const what = status === undefined ? String(code ?? name) : `${status} ${name}`
  return message === '' || message === name ? what : `${what}: ${message}`
}

/** Runs the work for each item, so many at once; the first error is thrown when all that began has settled. */
async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0
  let failed: { error: unknown } | undefined
  const lane = async (): Promise<void> => {
    while (next < items.length && failed === undefined) {
      const index = next++
      try {
        await work(items[index]!, index)
      } catch (error) {
        failed ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, lane))
  if (failed !== undefined) throw failed.error
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts)
}

/** Bytes `from` to `to` of the parts, one behind the other; a view where they lie in one part. */
function sliced(parts: readonly Uint8Array[], from: number, to: number): Uint8Array {
  const found: Uint8Array[] = []
  let at = 0
  for (const part of parts) {
    const start = Math.max(from, at)
    const end = Math.min(to, at + part.length)
    if (start < end) found.push(part.subarray(start - at, end - at))
    at += part.length
  }
  return joined(found)
}
