// RecordBatch v2 on the wire (Kafka protocol guide, "Record Batch"; org.apache.kafka DefaultRecordBatch):
//
//   0        8        12   16 17   21         23              27              35
//   ├────────┼────────┼────┼──┼────┼──────────┼───────────────┼───────────────┼──
//   │ base   │ batch  │ ldr│ 2│crc │attributes│lastOffsetDelta│ baseTimestamp │ …
//   │ offset │ length │epoch│ │32c │          │               │               │
//   35              43           51      53         57       61
//   ┼───────────────┼────────────┼───────┼──────────┼────────┼─────────────────
//   │ max timestamp │ producerId │ epoch │ sequence │ count  │ records …
//
// batchLength counts from partitionLeaderEpoch on. The CRC starts after itself, so an append may patch
// baseOffset and the leader epoch without touching it. A record:
//
//   length varint │ attributes i8 = 0 │ timestampDelta varlong │ offsetDelta varint │
//   keyLength varint │ key │ valueLength varint │ value │ headerCount varint │ headers …
//   header: keyLength varint │ key │ valueLength varint │ value
//
// All varints zigzag. A length of -1 is null. Batches here are never compressed, never transactional;
// what Kafka sends may be, and its reader deals with that before it comes here.
import { crc32c } from '../std/hash.ts'
import {
  sizeOfZigzagInt,
  sizeOfZigzagLong,
  VarintCursor,
  writeZigzagInt,
  writeZigzagLong,
} from '../std/varint.ts'

export const BASE_OFFSET = 0
export const BATCH_LENGTH = BASE_OFFSET + 8
export const PARTITION_LEADER_EPOCH = BATCH_LENGTH + 4
export const MAGIC = PARTITION_LEADER_EPOCH + 4
export const CRC = MAGIC + 1
export const ATTRIBUTES = CRC + 4
export const LAST_OFFSET_DELTA = ATTRIBUTES + 2
export const BASE_TIMESTAMP = LAST_OFFSET_DELTA + 4
export const MAX_TIMESTAMP = BASE_TIMESTAMP + 8
export const PRODUCER_ID = MAX_TIMESTAMP + 8
export const PRODUCER_EPOCH = PRODUCER_ID + 8
export const BASE_SEQUENCE = PRODUCER_EPOCH + 2
export const RECORD_COUNT = BASE_SEQUENCE + 4
export const RECORDS = RECORD_COUNT + 4

const MAGIC_V2 = 2
/** Bytes before the part that batchLength counts. */
const LOG_OVERHEAD = BATCH_LENGTH + 4

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Writes a safe integer as int64, big-endian. */
export function writeInt64(into: DataView, at: number, value: number): void {
  into.setInt32(at, Math.floor(value / 0x100000000))
  into.setUint32(at + 4, value >>> 0)
}

/** Reads an int64, big-endian, as a double (exact below 2^53). */
export function readInt64(from: DataView, at: number): number {
  return from.getInt32(at) * 0x100000000 + from.getUint32(at + 4)
}

/** Computes the CRC of the sealed batch at [start, end) and puts it into its header. */
export function writeBatchCrc(bytes: Uint8Array, start: number, end: number): void {
  view(bytes).setUint32(start + CRC, crc32c(bytes.subarray(start + ATTRIBUTES, end)))
}

/**
 * Fills in the header of the batch that lies at [start, end), but for its CRC (`writeBatchCrc`). The records from
 * `start + RECORDS` on must be there. baseOffset is left 0: the log patches it.
 */
export function writeBatchHeader(
  bytes: Uint8Array,
  start: number,
  end: number,
  recordCount: number,
  baseTimestamp: number,
  maxTimestamp: number,
): void {
  const header = new DataView(bytes.buffer, bytes.byteOffset + start, RECORDS)
  writeInt64(header, BASE_OFFSET, 0)
  header.setInt32(BATCH_LENGTH, end - start - LOG_OVERHEAD)
  header.setInt32(PARTITION_LEADER_EPOCH, 0)
  header.setInt8(MAGIC, MAGIC_V2)
  header.setInt16(ATTRIBUTES, 0)
  header.setInt32(LAST_OFFSET_DELTA, recordCount - 1)
  writeInt64(header, BASE_TIMESTAMP, baseTimestamp)
  writeInt64(header, MAX_TIMESTAMP, maxTimestamp)
  writeInt64(header, PRODUCER_ID, -1)
  header.setInt16(PRODUCER_EPOCH, -1)
  header.setInt32(BASE_SEQUENCE, -1)
  header.setInt32(RECORD_COUNT, recordCount)
}

/** Header and CRC: see writeBatchHeader. */
export function sealBatch(
  bytes: Uint8Array,
  start: number,
  end: number,
  recordCount: number,
  baseTimestamp: number,
  maxTimestamp: number,
): void {
  writeBatchHeader(bytes, start, end, recordCount, baseTimestamp, maxTimestamp)
  writeBatchCrc(bytes, start, end)
}

/** Sets baseOffset of the batch at `start`; the CRC does not cover it. */
export function patchBaseOffset(bytes: Uint8Array, start: number, baseOffset: number): void {
  const header = new DataView(bytes.buffer, bytes.byteOffset + start, LOG_OVERHEAD)
  writeInt64(header, BASE_OFFSET, baseOffset)
}

/** baseOffset of the batch at `start`. */
export function readBaseOffset(bytes: Uint8Array, start: number): number {
  return readInt64(new DataView(bytes.buffer, bytes.byteOffset + start, LOG_OVERHEAD), BASE_OFFSET)
}

/** Sets partitionLeaderEpoch of the batch at `start`; the CRC does not cover it. */
export function patchLeaderEpoch(bytes: Uint8Array, start: number, epoch: number): void {
  new DataView(bytes.buffer, bytes.byteOffset + start, MAGIC).setInt32(PARTITION_LEADER_EPOCH, epoch)
}

export interface BatchHeader {
  baseOffset: number
  /** Bytes of the whole batch, header included. */
  byteLength: number
  attributes: number
  recordCount: number
  lastOffsetDelta: number
  baseTimestamp: number
  maxTimestamp: number
}

/**
 * The header of the batch at `start`, or undefined where the bytes are not a whole batch v2 (too short,
 * another magic, impossible lengths). The CRC is not checked: see `batchCrcMatches`.
 */
export function readBatchHeader(bytes: Uint8Array, start = 0): BatchHeader | undefined {
  if (bytes.length - start < RECORDS) return undefined
  const header = new DataView(bytes.buffer, bytes.byteOffset + start, RECORDS)
  const byteLength = header.getInt32(BATCH_LENGTH) + LOG_OVERHEAD
  if (byteLength < RECORDS || start + byteLength > bytes.length) return undefined
  if (header.getInt8(MAGIC) !== MAGIC_V2) return undefined
  const recordCount = header.getInt32(RECORD_COUNT)
  const lastOffsetDelta = header.getInt32(LAST_OFFSET_DELTA)
  if (recordCount < 0 || lastOffsetDelta < recordCount - 1) return undefined
  return {
    baseOffset: readInt64(header, BASE_OFFSET),
    byteLength,
    attributes: header.getInt16(ATTRIBUTES),
    recordCount,
    lastOffsetDelta,
    baseTimestamp: readInt64(header, BASE_TIMESTAMP),
    maxTimestamp: readInt64(header, MAX_TIMESTAMP),
  }
}

/** Whether the CRC of the batch of `byteLength` bytes at `start` is right. */
export function batchCrcMatches(bytes: Uint8Array, start: number, byteLength: number): boolean {
  const stored = view(bytes).getUint32(start + CRC)
  return crc32c(bytes.subarray(start + ATTRIBUTES, start + byteLength)) === stored
}

export interface RecordHeader {
  key: string
  value: Uint8Array
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/**
 * Builds one batch from records given one by one, for stages that write few or rewritten records. The
 * ingest hot path has its own accumulator on shared slabs; both write the same layout.
 */
export class RecordBatchBuilder {
  /** Empty until the first record of a batch. */
  #bytes = new Uint8Array(0)
  readonly #capacity: number
  #end = RECORDS
  #count = 0
  #baseTimestamp = 0
  #maxTimestamp = 0

  constructor(capacity = 4096) {
    this.#capacity = Math.max(capacity, RECORDS + 64)
  }

  get recordCount(): number {
    return this.#count
  }

  get byteLength(): number {
    return this.#end
  }

  /** Adds a record; key or value may be undefined (null: a tombstone where the value is). Timestamp in ms. */
  append(
    timestamp: number,
    key: Uint8Array | undefined,
    value: Uint8Array | undefined,
    headers: readonly RecordHeader[] = [],
  ): void {
    if (this.#count === 0) this.#baseTimestamp = this.#maxTimestamp = timestamp
    else if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    const timestampDelta = timestamp - this.#baseTimestamp
    let size = 1 + sizeOfZigzagLong(timestampDelta) + sizeOfZigzagInt(this.#count)
    size += key === undefined ? 1 : sizeOfZigzagInt(key.length) + key.length
    size += value === undefined ? 1 : sizeOfZigzagInt(value.length) + value.length
    size += sizeOfZigzagInt(headers.length)
    const keys = headers.map((header) => encoder.encode(header.key))
    for (let i = 0; i < headers.length; i++) {
      const value = headers[i]!.value
      size +=
        sizeOfZigzagInt(keys[i]!.length) + keys[i]!.length + sizeOfZigzagInt(value.length) + value.length
    }
    this.#reserve(size + 5)
    const out = this.#bytes
    let at = writeZigzagInt(out, this.#end, size)
    out[at++] = 0
    at = writeZigzagLong(out, at, timestampDelta)
    at = writeZigzagInt(out, at, this.#count)
    at = writeNullable(out, at, key)
    at = writeNullable(out, at, value)
    at = writeZigzagInt(out, at, headers.length)
    for (let i = 0; i < headers.length; i++) {
      at = writeNullable(out, at, keys[i]!)
      at = writeNullable(out, at, headers[i]!.value)
    }
    this.#end = at
    this.#count++
  }

  /** Seals and returns the batch; the builder starts anew on other memory. */
  finish(): Uint8Array {
    this.#reserve(0)
    const batch = this.#bytes.subarray(0, this.#end)
    sealBatch(batch, 0, this.#end, this.#count, this.#baseTimestamp, this.#maxTimestamp)
    this.#bytes = new Uint8Array(0)
    this.#end = RECORDS
    this.#count = 0
    return batch
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#capacity, this.#bytes.length * 2, this.#end + bytes))
    if (this.#bytes.length > 0) grown.set(this.#bytes.subarray(0, this.#end))
    this.#bytes = grown
  }
}

function writeNullable(into: Uint8Array, at: number, value: Uint8Array | undefined): number {
  if (value === undefined) return writeZigzagInt(into, at, -1)
  const p = writeZigzagInt(into, at, value.length)
  into.set(value, p)
  return p + value.length
}

/**
 * Walks the records of back-to-back batches in place, one at a time, without an object per record: after
 * `next()` returned true the public fields describe the record. Null key or value: start = -1.
 */
export class RecordReader {
  bytes: Uint8Array = new Uint8Array(0)
  /** Of the same memory as `bytes`. */
  view = view(this.bytes)
  offset = 0
  timestamp = 0
  /** Where the length of the key stands: from there on a record is the same bytes in any batch. */
  bodyStart = 0
  keyStart = 0
  keyEnd = 0
  valueStart = 0
  valueEnd = 0
  headerCount = 0
  /** Where the headers begin (after their count). */
  headersStart = 0
  /** [recordStart, recordEnd): the whole record, length prefix included. */
  recordStart = 0
  recordEnd = 0
  /** Where the batch of the current record begins. */
  batchStart = 0

  #at = 0
  #end = 0
  #batchEnd = 0
  #left = 0
  #baseOffset = 0
  #baseTimestamp = 0

  /** Starts at the batch that begins at `start`; batches follow one another up to `end`. */
  reset(bytes: Uint8Array, start = 0, end = bytes.length): void {
    if (bytes !== this.bytes) {
      this.bytes = bytes
      this.view = view(bytes)
    }
    this.#at = this.#batchEnd = start
    this.#end = end
    this.#left = 0
  }

  /** Moves to the next record; false at the end. Throws RangeError on bytes that are not whole batches (the log checked them). */
  next(): boolean {
    while (this.#left === 0) {
      if (this.#batchEnd >= this.#end) return false
      const header = readBatchHeader(this.bytes, this.#batchEnd)
      if (header === undefined) throw new RangeError(`no batch at ${this.#batchEnd}`)
      this.batchStart = this.#batchEnd
      this.#at = this.#batchEnd + RECORDS
      this.#batchEnd += header.byteLength
      this.#left = header.recordCount
      this.#baseOffset = header.baseOffset
      this.#baseTimestamp = header.baseTimestamp
    }
    this.recordStart = this.#at
    const size = this.#zigzag()
    this.recordEnd = this.#at + size
    this.#at++
    this.timestamp = this.#baseTimestamp + this.#zigzagLong()
    this.offset = this.#baseOffset + this.#zigzag()
    this.bodyStart = this.#at
    const keyLength = this.#zigzag()
    if (keyLength < 0) this.keyStart = this.keyEnd = -1
    else {
      this.keyStart = this.#at
      this.keyEnd = this.#at += keyLength
    }
    const valueLength = this.#zigzag()
    if (valueLength < 0) this.valueStart = this.valueEnd = -1
    else {
      this.valueStart = this.#at
      this.valueEnd = this.#at += valueLength
    }
    this.headerCount = this.#zigzag()
    this.headersStart = this.#at
    this.#at = this.recordEnd
    if (this.recordEnd > this.#batchEnd || this.headersStart > this.recordEnd)
      throw new RangeError(`record at ${this.recordStart} overruns its batch or its length`)
    this.#left--
    return true
  }

  /** The headers of the current record; allocates, for the few records that have any. */
  headers(): RecordHeader[] {
    return readHeaders(this.bytes, this.headersStart, this.recordEnd, this.headerCount)
  }

  #zigzag(): number {
    const byte = this.bytes[this.#at++]!
    return byte < 0x80 ? (byte >>> 1) ^ -(byte & 1) : this.#zigzagFrom(byte)
  }

  /** Of more than one byte, the first of which is taken: apart, so that the common case is short enough to be inlined. */
  #zigzagFrom(first: number): number {
    let byte = first
    let value = byte & 0x7f
    for (let shift = 7; byte >= 0x80 && shift < 35; shift += 7) {
      byte = this.bytes[this.#at++]!
      value |= (byte & 0x7f) << shift
    }
    return (value >>> 1) ^ -(value & 1)
  }

  #zigzagLong(): number {
    const { bytes } = this
    let at = this.#at
    let byte = bytes[at++]!
    let low = byte & 0x7f
    // Deltas of a batch are below 2^28 nearly always: whole numbers as long as they are.
    for (let shift = 7; byte >= 0x80 && shift < 28; shift += 7) {
      byte = bytes[at++]!
      low |= (byte & 0x7f) << shift
    }
    if (byte < 0x80) {
      this.#at = at
      return (low >>> 1) ^ -(low & 1)
    }
    let value = low
    let scale = 2 ** 28
    for (let i = 4; i < 10; i++) {
      byte = bytes[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    this.#at = at
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}

/** `count` headers that begin at `start`. Throws RangeError where they do not end by `end`, the end of their record. */
export function readHeaders(bytes: Uint8Array, start: number, end: number, count: number): RecordHeader[] {
  const result: RecordHeader[] = []
  const cursor = new VarintCursor(bytes, start, end)
  const take = (lengthMin: number): Uint8Array => {
    const length = cursor.zigzagInt()
    // A count or length that is not true must not fill the memory.
    if (cursor.failed || length < lengthMin || length > end - cursor.at)
      throw new RangeError(`headers from ${start} on overrun their record`)
    // A value may be null, which is read as empty.
    const from = cursor.at
    cursor.at += Math.max(0, length)
    return bytes.slice(from, cursor.at)
  }
  for (let i = 0; i < count; i++) result.push({ key: decoder.decode(take(0)), value: take(-Infinity) })
  return result
}
