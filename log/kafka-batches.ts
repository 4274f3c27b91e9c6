// Batches on their way to Kafka and back, without a look at their records.
//
// To Kafka: the header is written anew beside the records (producer id, epoch, sequence, transactional bit, codec); the
// caller's bytes stay as they are, because a retry under another producer id must find them so. Where the batch has a CRC,
// that of the new header follows from it: the broker finds out what has become of the records since it was computed.
//
// From Kafka: a record set holds whole batches, the last one possibly cut off. Control batches and those of aborted
// transactions are left out, so offsets have gaps; compressed ones are unpacked; the transactional bit is cleared.
// What comes out is what record-batch.ts promises. A set in which nothing is to be done is passed on as it lies.
import { zstdCompressSync } from 'node:zlib'
import { compressLz4, KAFKA_CODECS } from '../std/compression.ts'
import { MillraceError } from '../std/errors.ts'
import { crc32c, crc32cWithHead } from '../std/hash.ts'
import type { KafkaCompression } from './kafka-options.ts'
import {
  ATTRIBUTES,
  BASE_OFFSET,
  BASE_SEQUENCE,
  BATCH_LENGTH,
  type BatchHeader,
  batchCrcMatches,
  CRC,
  PARTITION_LEADER_EPOCH,
  PRODUCER_EPOCH,
  PRODUCER_ID,
  RECORDS,
  readBatchHeader,
} from './record-batch.ts'

const CODEC_BITS = 0b111
const CODECS = { none: 0, lz4: 3, zstd: 4 } as const
const TRANSACTIONAL = 0b1_0000
const CONTROL = 0b10_0000
/** Level 1: the bytes that travel, for the least CPU. */
const ZSTD_OPTIONS = { params: { 100: 1 } }
/** Unpacked records of one batch; what claims to be larger is damage or an attack. */
const UNPACKED_BYTES_MAX = 256 * 1024 * 1024

const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** What of a batch does not change from one send to the next. */
export interface PreparedBatch {
  header: Uint8Array
  records: Uint8Array
  codec: number
  recordCount: number
  /** Whether `header` has the CRC of itself and `records`. */
  hasCrc: boolean
}

export function prepareBatch(
  batch: Uint8Array,
  { recordCount }: Pick<BatchHeader, 'recordCount'>,
  compression: KafkaCompression,
  hasCrc = true,
): PreparedBatch {
  const header = batch.subarray(0, RECORDS)
  const records = batch.subarray(RECORDS)
  const plain = { header, records, codec: CODECS.none, recordCount, hasCrc }
  if (compression === 'none') return plain
  // Neither codec takes shared memory.
  const copy = Buffer.from(records)
  const packed = compression === 'zstd' ? zstdCompressSync(copy, ZSTD_OPTIONS) : compressLz4(copy)
  if (packed.length >= records.length) return plain
  return { header, records: packed, codec: CODECS[compression], recordCount, hasCrc: false }
}

export interface Producer {
  id: bigint
  epoch: number
}

/** The header of a prepared batch, sealed for that producer. */
export function sealForSend(
  { header, records, codec, hasCrc }: PreparedBatch,
  { id, epoch }: Producer,
  sequence: number,
  isTransactional: boolean,
): Uint8Array {
  const sealed = new Uint8Array(RECORDS)
  sealed.set(header)
  const view = new DataView(sealed.buffer)
  // What was read before has the offset that it had there; the broker takes a batch only without.
  view.setBigInt64(BASE_OFFSET, 0n)
  view.setInt32(PARTITION_LEADER_EPOCH, -1)
  view.setInt32(BATCH_LENGTH, RECORDS - PARTITION_LEADER_EPOCH + records.length)
  view.setInt16(ATTRIBUTES, codec | (isTransactional ? TRANSACTIONAL : 0))
  view.setBigInt64(PRODUCER_ID, id)
  view.setInt16(PRODUCER_EPOCH, epoch)
  view.setInt32(BASE_SEQUENCE, sequence)
  const head = crc32c(sealed.subarray(ATTRIBUTES))
  view.setUint32(
    CRC,
    hasCrc
      ? crc32cWithHead(view.getUint32(CRC), crc32c(header.subarray(ATTRIBUTES)), head, records.length)
      : crc32c(records, head),
  )
  return sealed
}

export interface VisibleBatches {
  /** Whole batches, back to back. */
  batches: Uint8Array
  /** The offset after the last whole batch of the set, visible or not; undefined where there is none. */
  nextOffset: number | undefined
}

/** What a reader of committed records sees of a fetched record set; changes `set` in place. Throws `log_corrupt`. */
export function visibleBatches(
  set: Uint8Array,
  aborted: readonly { producerId: bigint; firstOffset: number }[],
  where: string,
): VisibleBatches {
  /** The set so far, where batches had to be unpacked; otherwise what stays is moved together within it. */
  const kept: Uint8Array[] = []
  let keptEnd = 0
  const abortedNow = new Set<bigint>()
  let nextAborted = 0
  let nextOffset: number | undefined
  // Where the run of kept bytes that ends at `at` begins.
  let run = 0
  let at = 0
  const endRun = (): void => {
    if (at === run) return
    if (keptEnd < run) set.copyWithin(keptEnd, run, at)
    keptEnd += at - run
  }
  for (;;) {
    const header = readBatchHeader(set, at)
    if (header === undefined) break
    const { attributes, byteLength, baseOffset, lastOffsetDelta } = header
    const view = new DataView(set.buffer, set.byteOffset + at, RECORDS)
    nextOffset = baseOffset + lastOffsetDelta + 1
    while (nextAborted < aborted.length && aborted[nextAborted]!.firstOffset < nextOffset)
      abortedNow.add(aborted[nextAborted++]!.producerId)
    if (!batchCrcMatches(set, at, byteLength))
      throw new MillraceError('log_corrupt', `${where}: the batch at offset ${baseOffset} has a wrong CRC`)
    const producerId = view.getBigInt64(PRODUCER_ID)
    const isControl = (attributes & CONTROL) !== 0
    if (
      isControl ||
      header.recordCount === 0 ||
      ((attributes & TRANSACTIONAL) !== 0 && abortedNow.has(producerId))
    ) {
      // The marker of a transaction ends it, aborted or not.
      if (isControl) abortedNow.delete(producerId)
      endRun()
      at += byteLength
      run = at
      continue
    }
    if ((attributes & CODEC_BITS) !== 0) {
      endRun()
      if (keptEnd > 0) kept.push(Uint8Array.from(set.subarray(0, keptEnd)))
      keptEnd = 0
      kept.push(unpack(set.subarray(at, at + byteLength), attributes, where))
      at += byteLength
      run = at
      continue
    }
    if ((attributes & TRANSACTIONAL) !== 0) {
      const head = set.subarray(at + ATTRIBUTES, at + RECORDS)
      const before = crc32c(head)
      view.setInt16(ATTRIBUTES, attributes & ~TRANSACTIONAL)
      view.setUint32(CRC, crc32cWithHead(view.getUint32(CRC), before, crc32c(head), byteLength - RECORDS))
    }
    at += byteLength
  }
  endRun()
  const rest = set.subarray(0, keptEnd)
  return { batches: kept.length === 0 ? rest : joined([...kept, rest]), nextOffset }
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const into = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    into.set(part, at)
    at += part.length
  }
  return into
}

/** The same batch with its records as they are. */
function unpack(batch: Uint8Array, attributes: number, where: string): Uint8Array {
  const packed = asBuffer(batch.subarray(RECORDS))
  const records = decompress(packed, attributes & CODEC_BITS, where)
  const unpacked = new Uint8Array(RECORDS + records.length)
  unpacked.set(batch.subarray(0, RECORDS))
  unpacked.set(records, RECORDS)
  const view = new DataView(unpacked.buffer)
  view.setInt32(BATCH_LENGTH, unpacked.length - PARTITION_LEADER_EPOCH)
  view.setInt16(ATTRIBUTES, attributes & ~CODEC_BITS & ~TRANSACTIONAL)
  view.setUint32(CRC, crc32c(unpacked.subarray(ATTRIBUTES)))
  return unpacked
}

function decompress(packed: Buffer, codec: number, where: string): Uint8Array {
  const unpack = KAFKA_CODECS[codec]
  if (unpack === undefined)
    throw new MillraceError('log_corrupt', `${where}: a batch with the unknown codec ${codec}`)
  try {
    return unpack(packed, UNPACKED_BYTES_MAX)
  } catch (error) {
    throw new MillraceError(
      'log_corrupt',
      `${where}: a compressed batch cannot be unpacked`,
      { codec },
      error,
    )
  }
}
