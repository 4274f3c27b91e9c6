// What normalize remembers of one partition: devices, duplicate windows, watermarks; and its form on disk.
//
// The state is a function of the raw records up to an offset, so a snapshot at any offset plus the records
// from there on gives it again. A snapshot lies in the compacted topic NORMALIZE_STATE_TOPIC:
//
//   key <raw topic>/<partition>                          one JSON document, SnapshotHead
//   key <raw topic>/<partition>/<generation>/<chunk>     devices in slot order, at most about CHUNK_BYTES
//
// Chunks are written before their head, under the generation (0 or 1) that the present head does not name:
// a half-written snapshot never touches the whole one. A chunk:
//
//   0     1              5
//   ├─────┼──────────────┼─ devices … ─
//   │ 1   │ device count │
//   device: keyLength u8 │ key │ last offset f64 │ watermark f64 │ latest event time f64 │
//           highest sequence f64 │ entry count u32 │ entries: hash low i32, hash high i32, oldest first
//
// All little-endian. Bytes a device: 37 + its key + 8 for every record in its window.
import { NORMALIZE_STATE_TOPIC } from '../schemas/names.ts'
import { MillraceError } from '../std/errors.ts'
import { DuplicateWindows, type WindowLimits } from './duplicates.ts'
import { grownFloat64, KeyTable } from './key-table.ts'
import { Watermarks } from './lateness.ts'

export interface StateLimits extends WindowLimits {
  /** Devices of the partition that are remembered; beyond it the least recently seen sixteenth is forgotten. */
  devicesMax: number
}

export const STATE_LIMITS_DEFAULT: StateLimits = {
  windowRecordsMax: 65_536,
  windowBytesMax: 32 * 1024 * 1024,
  devicesMax: 65_536,
}

/** Part of all devices that is forgotten at once, so that the cost of choosing them is spread over many records. */
const EVICTED_PART = 16

export const CHUNK_BYTES = 256 * 1024
const CHUNK_VERSION = 1
const CHUNK_DEVICE_COUNT = 1
const CHUNK_DEVICES = CHUNK_DEVICE_COUNT + 4
/** A device's bytes besides key and entries. */
const DEVICE_FIXED_BYTES = 1 + 4 * 8 + 4

export interface SnapshotHead {
  version: 1
  /** UUID of the raw topic: the state of a topic that was made again is not this one's. */
  topicId: string
  /** Raw offset up to which (excluded) the state has seen the records. */
  nextOffset: number
  generation: 0 | 1
  chunkCount: number
  deviceCount: number
  duplicates: number
  rejected: number
}

export const headKey = (rawTopic: string, partition: number): string => `${rawTopic}/${partition}`
export const chunkKey = (rawTopic: string, partition: number, generation: number, chunk: number): string =>
  `${rawTopic}/${partition}/${generation}/${chunk}`

export class PartitionState {
  readonly devices = new KeyTable()
  /** Raw offset of each slot's latest record: what "least recently seen" goes by, equal after any restart. */
  lastOffsets = new Float64Array(0)
  readonly windows: DuplicateWindows
  readonly watermarks = new Watermarks()
  /** Of all raw records up to now, ever: what the account of a stream needs, in step with the outputs. */
  duplicates = 0
  rejected = 0
  /** Devices forgotten to make room, by this process. */
  deviceEvictions = 0
  readonly #devicesMax: number

  constructor(limits: StateLimits) {
    this.windows = new DuplicateWindows(limits)
    this.#devicesMax = Math.max(EVICTED_PART, limits.devicesMax)
  }

  /** The slot of the device whose id is bytes[start, end), made where it is new. `view`: of the same memory. */
  slotOf(bytes: Uint8Array, view: DataView, start: number, end: number): number {
    const known = this.devices.find(bytes, view, start, end)
    return known >= 0 ? known : this.#add(bytes, start, end)
  }

  #add(bytes: Uint8Array, start: number, end: number): number {
    if (this.devices.count >= this.#devicesMax) this.#evict()
    const slot = this.devices.add(bytes, start, end)
    const { capacity } = this.devices
    if (this.lastOffsets.length < capacity) {
      this.lastOffsets = grownFloat64(this.lastOffsets, capacity)
      this.windows.reserve(capacity)
      this.watermarks.reserve(capacity)
    }
    this.lastOffsets[slot] = -1
    this.windows.addSlot()
    this.watermarks.reset(slot)
    return slot
  }

  #evict(): void {
    const order = new Int32Array(this.devices.count)
    for (let slot = 0; slot < order.length; slot++) order[slot] = slot
    // Offsets are unique, so the order is total and every replay evicts the same devices.
    order.sort((a, b) => this.lastOffsets[a]! - this.lastOffsets[b]!)
    const keep = order.subarray(Math.ceil(this.#devicesMax / EVICTED_PART)).sort()
    this.deviceEvictions += order.length - keep.length
    for (let slot = 0; slot < keep.length; slot++) this.lastOffsets[slot] = this.lastOffsets[keep[slot]!]!
    this.devices.keepOnly(keep)
    this.windows.keepOnly(keep)
    this.watermarks.keepOnly(keep)
  }

  /** The state as chunks of a snapshot: copies, so that the state may go on changing. */
  chunks(): Uint8Array[] {
    const chunks: Uint8Array[] = []
    const { devices } = this
    let first = 0
    while (first < devices.count) {
      let bytes = CHUNK_DEVICES
      let last = first
      while (last < devices.count && (last === first || bytes < CHUNK_BYTES)) {
        bytes += this.#deviceBytes(last++)
      }
      chunks.push(this.#encodeChunk(first, last, bytes))
      first = last
    }
    return chunks
  }

  #deviceBytes(slot: number): number {
    return DEVICE_FIXED_BYTES + this.devices.key(slot).length + this.windows.entryCount(slot) * 8
  }

  #encodeChunk(first: number, last: number, byteLength: number): Uint8Array {
    const bytes = new Uint8Array(byteLength)
    const out = new DataView(bytes.buffer)
    out.setUint8(0, CHUNK_VERSION)
    out.setUint32(CHUNK_DEVICE_COUNT, last - first, true)
    let at = CHUNK_DEVICES
    for (let slot = first; slot < last; slot++) {
      const key = this.devices.key(slot)
      bytes[at++] = key.length
      bytes.set(key, at)
      at += key.length
      out.setFloat64(at, this.lastOffsets[slot]!, true)
      out.setFloat64(at + 8, this.watermarks.values[slot]!, true)
      out.setFloat64(at + 16, this.windows.latestEventTime(slot), true)
      out.setFloat64(at + 24, this.windows.highestSequence(slot), true)
      out.setUint32(at + 32, this.windows.entryCount(slot), true)
      at = this.windows.copyEntries(slot, bytes, at + 36)
    }
    return bytes
  }

  /** Adds the devices of one chunk, given in the order of `chunks`. Throws `internal` on bytes that are no chunk. */
  restoreChunk(bytes: Uint8Array): void {
    const from = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    try {
      if (from.getUint8(0) !== CHUNK_VERSION) throw new RangeError(`version ${from.getUint8(0)}`)
      let at = CHUNK_DEVICES
      for (let left = from.getUint32(CHUNK_DEVICE_COUNT, true); left > 0; left--) {
        const keyLength = from.getUint8(at++)
        const slot = this.#add(bytes, at, at + keyLength)
        at += keyLength
        this.lastOffsets[slot] = from.getFloat64(at, true)
        this.watermarks.values[slot] = from.getFloat64(at + 8, true)
        const eventTime = from.getFloat64(at + 16, true)
        const sequence = from.getFloat64(at + 24, true)
        const entries = new Int32Array(from.getUint32(at + 32, true) * 2)
        at += 36
        for (let i = 0; i < entries.length; i++, at += 4) entries[i] = from.getInt32(at, true)
        this.windows.restore(slot, entries, eventTime, sequence)
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error
      throw new MillraceError(
        'internal',
        `a chunk in ${NORMALIZE_STATE_TOPIC} cannot be read: ${error.message}`,
        {},
        error,
      )
    }
  }
}
