// The records of back-to-back batches as columns of positions, a stretch at a time: for whoever goes through all of many
// records (the sink), where a call for each of them (RecordReader) costs more than what is read.
//
//   record i of a stretch   offsets[i], timestamps[i], keyStarts[i] to keyEnds[i], valueStarts[i] to valueEnds[i],
//                           headerCounts[i] headers from headersStarts[i] to recordEnds[i]
//
// A null key or value has start and end -1. The layout of a record stands in record-batch.ts.
import { RECORDS, type RecordHeader, readBatchHeader, readHeaders } from './record-batch.ts'

/** Small enough that the arrays stay in the processor's nearest cache. */
export const STRETCH_RECORDS = 1024

export class RecordStretch {
  bytes: Uint8Array = new Uint8Array(0)
  /** Records of the stretch. */
  count = 0
  readonly offsets = new Float64Array(STRETCH_RECORDS)
  readonly timestamps = new Float64Array(STRETCH_RECORDS)
  readonly keyStarts = new Int32Array(STRETCH_RECORDS)
  readonly keyEnds = new Int32Array(STRETCH_RECORDS)
  readonly valueStarts = new Int32Array(STRETCH_RECORDS)
  readonly valueEnds = new Int32Array(STRETCH_RECORDS)
  readonly headerCounts = new Int32Array(STRETCH_RECORDS)
  readonly headersStarts = new Int32Array(STRETCH_RECORDS)
  readonly recordEnds = new Int32Array(STRETCH_RECORDS)
  #at = 0
  #batchEnd = 0
  /** Records of the batch that are yet to come. */
  #left = 0
  #baseOffset = 0
  #baseTimestamp = 0
  /** Not zero where a record of the stretch has headers. */
  #headers = 0

  /** Starts anew, before the first record of whole batches that follow one another. */
  reset(bytes: Uint8Array): void {
    this.bytes = bytes
    this.count = 0
    this.#at = this.#batchEnd = this.#left = 0
  }

  /** Moves to the next stretch; false at the end. Throws RangeError on bytes that are not whole batches (the log checked them). */
  next(): boolean {
    this.#headers = 0
    let count = 0
    while (count < STRETCH_RECORDS) {
      if (this.#left === 0 && !this.#openBatch()) break
      const from = count
      count = Math.min(STRETCH_RECORDS, from + this.#left)
      this.#left -= count - from
      this.#scan(from, count)
    }
    this.count = count
    return count > 0
  }

  /** Whether any record of the stretch has headers. */
  get hasHeaders(): boolean {
    return this.#headers !== 0
  }

  /** The headers of record `i`; allocates, for the few records that have any. */
  headers(i: number): RecordHeader[] {
    return readHeaders(this.bytes, this.headersStarts[i]!, this.recordEnds[i]!, this.headerCounts[i]!)
  }

  #openBatch(): boolean {
    if (this.#batchEnd >= this.bytes.length) return false
    const header = readBatchHeader(this.bytes, this.#batchEnd)
    if (header === undefined) throw new RangeError(`no batch at ${this.#batchEnd}`)
    this.#at = this.#batchEnd + RECORDS
    this.#batchEnd += header.byteLength
    this.#left = header.recordCount
    this.#baseOffset = header.baseOffset
    this.#baseTimestamp = header.baseTimestamp
    return true
  }

  /**
   * Records [from, to) of the stretch, all of one batch. Varints of one and two bytes, as nearly all are, are read where
   * they stand: that is most of the cost of a record here. After the loop nothing branches: code that V8 makes while the
   * loop runs for the first time would be left there each time.
   */
  #scan(from: number, to: number): void {
    const { bytes, offsets, timestamps, keyStarts, keyEnds, valueStarts, valueEnds } = this
    const { headerCounts, headersStarts, recordEnds } = this
    const baseOffset = this.#baseOffset
    const baseTimestamp = this.#baseTimestamp
    const batchEnd = this.#batchEnd
    let at = this.#at
    let headers = 0
    let byte = 0
    let length = 0
    let timestampDelta = 0
    for (let i = from; i < to; i++) {
      const recordStart = at
      byte = bytes[at++]!
      if (byte < 0x80) length = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        length = (byte >>> 1) ^ -(byte & 1)
      } else {
        length = this.#int(at - 1)
        at = this.#at
      }
      const recordEnd = at + length
      // Attributes: none are defined.
      at++
      byte = bytes[at++]!
      if (byte < 0x80) timestampDelta = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        timestampDelta = (byte >>> 1) ^ -(byte & 1)
      } else {
        timestampDelta = this.#long(at - 1)
        at = this.#at
      }
      timestamps[i] = baseTimestamp + timestampDelta
      byte = bytes[at++]!
      if (byte < 0x80) length = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        length = (byte >>> 1) ^ -(byte & 1)
      } else {
        length = this.#int(at - 1)
        at = this.#at
      }
      offsets[i] = baseOffset + length
      byte = bytes[at++]!
      if (byte < 0x80) length = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        length = (byte >>> 1) ^ -(byte & 1)
      } else {
        length = this.#int(at - 1)
        at = this.#at
      }
      keyStarts[i] = length < 0 ? -1 : at
      keyEnds[i] = length < 0 ? -1 : (at += length)
      byte = bytes[at++]!
      if (byte < 0x80) length = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        length = (byte >>> 1) ^ -(byte & 1)
      } else {
        length = this.#int(at - 1)
        at = this.#at
      }
      valueStarts[i] = length < 0 ? -1 : at
      valueEnds[i] = length < 0 ? -1 : (at += length)
      byte = bytes[at++]!
      if (byte < 0x80) length = (byte >>> 1) ^ -(byte & 1)
      else if (bytes[at]! < 0x80) {
        byte = (byte & 0x7f) | (bytes[at++]! << 7)
        length = (byte >>> 1) ^ -(byte & 1)
      } else {
        length = this.#int(at - 1)
        at = this.#at
      }
      headerCounts[i] = length
      headers |= length
      headersStarts[i] = at
      recordEnds[i] = recordEnd
      if (recordEnd > batchEnd || at > recordEnd)
        throw new RangeError(`record at ${recordStart} overruns its batch or its length`)
      at = recordEnd
    }
    this.#headers |= headers
    this.#at = at
  }

  /** A varint of any length, zigzag; `#at` is the position after it. */
  #int(start: number): number {
    const { bytes } = this
    let at = start
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = bytes[at++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    this.#at = at
    return (value >>> 1) ^ -(value & 1)
  }

  /** The same of 64 bits, as the nearest double. */
  #long(start: number): number {
    const { bytes } = this
    let at = start
    let value = 0
    let scale = 1
    for (let i = 0; i < 10; i++) {
      const byte = bytes[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    this.#at = at
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
}
