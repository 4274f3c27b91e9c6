// The normalized batches of one step, in one growing buffer: partition after partition, passed batches between
// written ones, in order; and pieces of snapshots after them.
//
// A written batch collects the records of any number of raw batches until a passed batch, its size or the end
// of the partition's turn closes it. Records keep their receive time; deltas are computed anew. Marks are record headers
// (schemas/names.ts), built in a small buffer before the record that carries them.
import { RECORDS, type RecordReader, sealBatch } from '../log/record-batch.ts'
import { MARK_LATE_MS, MARK_QUALITY, MARK_REPLAYED, MARK_SOURCE } from '../schemas/names.ts'
import { copyShared, copyView } from '../std/copy.ts'
import { sizeOfZigzagInt, sizeOfZigzagLong, writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import { newView } from '../std/view.ts'

/** A written batch is closed at about this size: what Kafka's brokers take by default, with room to spare. */
export const BATCH_BYTES_MAX = 512 * 1024

export type OutputSegment =
  /** bytes[start, end) of `OutputBatches.bytes`: one sealed batch. */
  | { kind: 'written'; start: number; end: number; recordCount: number }
  /** A raw batch as it lies in the log. */
  | { kind: 'passed'; baseOffset: number; recordCount: number }

/** A header key with its length before it, as it stands in a record. */
function headerKey(name: string): DataView {
  const key = new TextEncoder().encode(name)
  const bytes = new Uint8Array(5 + key.length)
  const at = writeZigzagInt(bytes, 0, key.length)
  bytes.set(key, at)
  return newView(bytes.subarray(0, at + key.length))
}

const LATE_KEY = headerKey(MARK_LATE_MS)
const QUALITY_KEY = headerKey(MARK_QUALITY)
const SOURCE_KEY = headerKey(MARK_SOURCE)

/** Of a safe integer in decimal. */
const DIGITS_MAX = 16

const MARKS: readonly string[] = [MARK_LATE_MS, MARK_QUALITY, MARK_SOURCE]
const MARK_PREFIX = new TextEncoder().encode('millrace.')

/** Whether a record already carries what looks like a mark: whoever wrote it to the raw topic, it was not us. */
export function carriesMarks(record: RecordReader): boolean {
  const { bytes, headersStart, recordEnd } = record
  // Any place will do: the few records with such bytes elsewhere are only written anew.
  for (let at = headersStart; at + MARK_PREFIX.length <= recordEnd; at++) {
    let i = 0
    while (i < MARK_PREFIX.length && bytes[at + i] === MARK_PREFIX[i]) i++
    if (i === MARK_PREFIX.length) return true
  }
  return false
}

/** Whether the record is a rejected one that was sent through again: its payload was seen before, and it is no duplicate. */
export function isReplayed(record: RecordReader): boolean {
  return record.headerCount > 0 && record.headers().some(({ key }) => key === MARK_REPLAYED)
}

/** The headers that normalize adds to one record. */
export class Marks {
  bytes = new Uint8Array(256)
  /** Of `bytes`. */
  view = newView(this.bytes)
  end = 0
  count = 0
  /** The record's own headers are in here, as far as they stay. */
  replaces = false

  clear(): void {
    this.end = this.count = 0
    this.replaces = false
  }

  /** Takes over the record's headers without the marks among them. */
  replaceHeaders(record: RecordReader): void {
    this.replaces = true
    for (const { key, value } of record.headers()) {
      if (!MARKS.includes(key)) this.#add(headerKey(key), newView(value))
    }
  }

  late(ms: number): void {
    const start = this.#begin(LATE_KEY, DIGITS_MAX)
    this.#finish(start, writeDecimal(this.bytes, start, ms))
  }

  /** Position of the raw record; the sub-index counts the records that came from it. */
  source(partition: number, offset: number, subIndex: number): void {
    const start = this.#begin(SOURCE_KEY, 3 * DIGITS_MAX + 2)
    const { bytes } = this
    let at = writeDecimal(bytes, start, partition)
    bytes[at++] = 0x2f
    at = writeDecimal(bytes, at, offset)
    bytes[at++] = 0x2f
    this.#finish(start, writeDecimal(bytes, at, subIndex))
  }

  /** `names`: the fields out of range, comma-separated UTF-8. */
  quality(names: Uint8Array): void {
    this.#add(QUALITY_KEY, newView(names))
  }

  #add(key: DataView, value: DataView): void {
    const { byteLength } = value
    const at = writeZigzagInt(this.bytes, this.#begin(key, 5 + byteLength) - 1, byteLength)
    copyView(value, 0, byteLength, this.view, at)
    this.end = at + byteLength
    this.count++
  }

  /** Writes the key, with room for the length of its value in one byte and for the value; returns where that begins. */
  #begin(key: DataView, valueBytesMax: number): number {
    const needed = this.end + key.byteLength + 1 + valueBytesMax
    if (needed > this.bytes.length) {
      const grown = new Uint8Array(needed * 2)
      grown.set(this.bytes)
      this.bytes = grown
      this.view = newView(grown)
    }
    copyView(key, 0, key.byteLength, this.view, this.end)
    return this.end + key.byteLength + 1
  }

  /** The value that `#begin` made room for is written, and is less than 64 bytes. */
  #finish(start: number, end: number): void {
    writeZigzagInt(this.bytes, start - 1, end - start)
    this.end = end
    this.count++
  }
}

export class OutputBatches {
  /** Shared memory: the log's thread takes batches from where they lie. */
  bytes = sharedBytes(64 * 1024)
  #view = newView(this.bytes)
  #segments: OutputSegment[] = []
  /** Where the open batch begins, -1 when none is open. */
  #open = -1
  #end = 0
  #count = 0
  #baseTimestamp = 0
  #maxTimestamp = 0

  /** Bytes written in this step. */
  get byteLength(): number {
    return this.#end
  }

  /** Starts a new step; what earlier segments named is overwritten. */
  clear(): void {
    this.#segments = []
    this.#open = -1
    this.#end = 0
  }

  /** Closes the open batch and hands over the segments since the last call: those of one partition, or one snapshot. */
  take(): OutputSegment[] {
    this.#close()
    const segments = this.#segments
    this.#segments = []
    return segments
  }

  /** The raw batch goes on whole, by reference. */
  passReference(baseOffset: number, recordCount: number): void {
    this.#close()
    this.#segments.push({ kind: 'passed', baseOffset, recordCount })
  }

  /** The raw batch from[start, end) goes on whole, as a copy: the log will patch its base offset. */
  passCopy(from: Uint8Array, start: number, end: number, recordCount: number): void {
    this.#close()
    this.#reserve(end - start)
    copyShared(from.subarray(start, end), Buffer.from(this.bytes.buffer), this.#end)
    this.#segments.push({ kind: 'written', start: this.#end, end: this.#end + end - start, recordCount })
    this.#end += end - start
  }

  /** The reader's record, unchanged but for its deltas. */
  copy(record: RecordReader): void {
    const { view, bodyStart, recordEnd } = record
    this.#begin(record.timestamp, recordEnd - bodyStart)
    this.#copy(view, bodyStart, recordEnd)
  }

  /** The reader's record with value[valueStart, valueEnd) in place of its own, and marks after its headers. */
  write(record: RecordReader, value: DataView, valueStart: number, valueEnd: number, marks: Marks): void {
    const { view, bodyStart, keyEnd, recordEnd } = record
    const keyPartEnd = keyEnd < 0 ? bodyStart + 1 : keyEnd
    const valueLength = valueEnd - valueStart
    const headersStart = marks.replaces ? recordEnd : record.headersStart
    const headerCount = marks.replaces ? marks.count : record.headerCount + marks.count
    const bodyLength =
      keyPartEnd -
      bodyStart +
      sizeOfZigzagInt(valueLength) +
      valueLength +
      sizeOfZigzagInt(headerCount) +
      recordEnd -
      headersStart +
      marks.end
    this.#begin(record.timestamp, bodyLength)
    this.#copy(view, bodyStart, keyPartEnd)
    this.#end = writeZigzagInt(this.bytes, this.#end, valueLength)
    this.#copy(value, valueStart, valueEnd)
    this.#end = writeZigzagInt(this.bytes, this.#end, headerCount)
    this.#copy(view, headersStart, recordEnd)
    this.#copy(marks.view, 0, marks.end)
  }

  /** A record of a snapshot; without a value it is a tombstone. */
  append(key: Uint8Array, value: Uint8Array | undefined): void {
    const valueLength = value?.length ?? -1
    const keyBytes = sizeOfZigzagInt(key.length) + key.length
    this.#begin(0, keyBytes + sizeOfZigzagInt(valueLength) + Math.max(0, valueLength) + 1)
    let at = writeZigzagInt(this.bytes, this.#end, key.length)
    this.bytes.set(key, at)
    at = writeZigzagInt(this.bytes, at + key.length, valueLength)
    if (value !== undefined) copyShared(value, Buffer.from(this.bytes.buffer), at)
    at += Math.max(0, valueLength)
    this.bytes[at] = 0
    this.#end = at + 1
  }

  #close(): void {
    if (this.#open < 0) return
    sealBatch(this.bytes, this.#open, this.#end, this.#count, this.#baseTimestamp, this.#maxTimestamp)
    this.#segments.push({ kind: 'written', start: this.#open, end: this.#end, recordCount: this.#count })
    this.#open = -1
  }

  /** Writes what comes before a record's body (log/record-batch.ts), and makes room for the body. */
  #begin(timestamp: number, bodyLength: number): void {
    if (this.#open >= 0 && this.#end - this.#open >= BATCH_BYTES_MAX) this.#close()
    if (this.#open < 0) {
      this.#reserve(RECORDS)
      this.#open = this.#end
      this.#end += RECORDS
      this.#count = 0
      this.#baseTimestamp = this.#maxTimestamp = timestamp
    } else if (timestamp > this.#maxTimestamp) this.#maxTimestamp = timestamp
    const timestampDelta = timestamp - this.#baseTimestamp
    const size = 1 + sizeOfZigzagLong(timestampDelta) + sizeOfZigzagInt(this.#count) + bodyLength
    this.#reserve(size + 5)
    const out = this.bytes
    let at = writeZigzagInt(out, this.#end, size)
    out[at++] = 0
    at = writeZigzagLong(out, at, timestampDelta)
    this.#end = writeZigzagInt(out, at, this.#count++)
  }

  #copy(from: DataView, start: number, end: number): void {
    copyView(from, start, end, this.#view, this.#end)
    this.#end += end - start
  }

  #reserve(bytes: number): void {
    if (this.#end + bytes <= this.bytes.length) return
    const grown = sharedBytes(Math.max(this.bytes.length * 2, this.#end + bytes))
    grown.set(this.bytes.subarray(0, this.#end))
    this.bytes = grown
    this.#view = newView(grown)
  }
}

function sharedBytes(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length))
}

const BILLION = 1_000_000_000

/** Writes a non-negative safe integer in decimal digits; returns the position after them. */
function writeDecimal(into: Uint8Array, at: number, value: number): number {
  let digits = 1
  for (let bound = 10; bound <= value; bound *= 10) digits++
  let p = at + digits - 1
  let rest = value
  if (rest >= BILLION) {
    const head = Math.floor(rest / BILLION)
    let low = (rest - head * BILLION) | 0
    for (let i = 0; i < 9; i++, low = (low / 10) | 0) into[p--] = 0x30 + (low % 10)
    rest = head
  }
  // Below 2^31 a digit is a multiplication of integers, not a division of doubles.
  for (let low = rest | 0; p >= at; low = (low / 10) | 0) into[p--] = 0x30 + (low % 10)
  return at + digits
}
