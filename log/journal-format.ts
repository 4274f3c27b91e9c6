// The bytes of the journal. A segment file, all integers little-endian:
//
//   0         8         24         28      36    40       64
//   ├─────────┼─────────┼──────────┼───────┼─────┼────────┼─────────┬─────────┬──────────────
//   │MILLSEG1 │ log id  │ segment  │ salt  │ crc │ zeros  │ group   │ group   │ zeros …
//   │         │ (UUID)  │ number   │       │     │        │         │         │
//
// Behind the last group there are at least as many zeros as a group's header has bytes. In a file that was a segment before, what
// comes after them is that segment's.
//
// A group is what one write and one fdatasync make durable, all of it or nothing:
//
//   0       4       12     16          24        28        32        36            36+t
//   ├───────┼───────┼──────┼───────────┼─────────┼─────────┼─────────┼─────────────┼──────────────
//   │ MRG1  │ salt  │ crc  │ sequence  │ byte    │ table   │ entry   │ table of    │ RecordBatches
//   │       │       │ 32c  │           │ length  │ length t│ count   │ entries     │ back to back
//
// The CRC covers [16, 36+t): header after itself, and the table. The table holds each batch's own CRC, length
// and base offset, and a batch's CRC covers the rest of it, so that every byte is covered and none is hashed
// twice. A group is valid if and only if magic and salt are the segment's, the CRC is right, its length is
// what header, table and batches add up to, and every batch is the one its entry says.
//
// The salt is random for each segment: a payload that imitates a group cannot know it, and neither a stale
// block nor a stranger's bytes can pass for a group of this segment.
//
// Sequences go up by one from group to group over all segments. Group n+1 is written after the sync of n
// returned, so at most the last one can be torn. Entries of the table, by their first byte:
//
//   1 batch      partition u32 │ base offset u64 │ byte length u32 │ batch CRC u32
//   2 moved      the same: these bytes replace the batch of that base offset (survivors, compaction)
//   3 reference  partition u32 │ base offset u64 │ segment u32 │ position u32 │ byte length u32 │
//                last offset delta u32 │ max timestamp f64: the batch that lies there, under another offset
//   4 moved ref. the same: replaces the place of the batch of that base offset
//   5 topic      first partition u32 │ length u32 │ JSON: created, or its configuration changed
//   6 position   partition u32 │ next offset u64 │ length u8 │ stage's name
//   7 void       first sequence u64 │ bytes u32: repair put it in the place of damaged groups; the group stands for
//                all sequences from the first to its own, its bytes are skipped. Alone in its group.
//
// Partitions are numbered through all topics in the order of creation.
import { randomBytes } from 'node:crypto'
import { crc32c } from '../std/hash.ts'
import {
  CRC as BATCH_CRC,
  batchCrcMatches,
  LAST_OFFSET_DELTA,
  MAX_TIMESTAMP,
  patchBaseOffset,
  patchLeaderEpoch,
  readBaseOffset,
  readBatchHeader,
} from './record-batch.ts'

const SEGMENT_MAGIC = Buffer.from('MILLSEG1')
const LOG_ID = 8
const SEGMENT_NUMBER = LOG_ID + 16
const SEGMENT_SALT = SEGMENT_NUMBER + 4
const SEGMENT_CRC = SEGMENT_SALT + 8
/** Where the first group of a segment begins. */
export const SEGMENT_HEADER = 64

export const GROUP_MAGIC = Buffer.from('MRG1')
export const GROUP_SALT = 4
export const SALT_BYTES = 8
const GROUP_CRC = GROUP_SALT + SALT_BYTES
const SEQUENCE = GROUP_CRC + 4
const BYTE_LENGTH = SEQUENCE + 8
const TABLE_LENGTH = BYTE_LENGTH + 4
const ENTRY_COUNT = TABLE_LENGTH + 4
export const GROUP_HEADER = ENTRY_COUNT + 4

export const ENTRY_BATCH = 1
export const ENTRY_MOVED = 2
export const ENTRY_REFERENCE = 3
export const ENTRY_MOVED_REFERENCE = 4
export const ENTRY_TOPIC = 5
export const ENTRY_POSITION = 6
const ENTRY_VOID = 7

/** Bytes that a batch adds to the table. */
export const BATCH_ENTRY_BYTES = 1 + 4 + 8 + 4 + 4
const REFERENCE_ENTRY_BYTES = 1 + 4 + 8 + 4 + 4 + 4 + 4 + 8
const TOPIC_ENTRY_BYTES = 1 + 4 + 4
const POSITION_ENTRY_BYTES = 1 + 4 + 8 + 1
const VOID_ENTRY_BYTES = 1 + 8 + 4
/** Bytes of a group that holds a void entry, without what it skips. */
export const VOID_GROUP_BYTES = GROUP_HEADER + VOID_ENTRY_BYTES

const SEGMENT_NAME = /^(\d{10})\.segment$/

export const segmentName = (segment: number): string => `${String(segment).padStart(10, '0')}.segment`

/** The number of the segment file of that name, undefined for any other file. */
export function segmentOfName(name: string): number | undefined {
  const match = SEGMENT_NAME.exec(name)
  return match === null ? undefined : Number(match[1])
}

/** What is known of a segment from its header. */
export interface SegmentIdentity {
  logId: string
  segment: number
  salt: Uint8Array
}

export const newSalt = (): Uint8Array => randomBytes(SALT_BYTES)

function uuidBytes(id: string): Uint8Array {
  return Buffer.from(id.replaceAll('-', ''), 'hex')
}

function uuidText(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`
}

export function encodeSegmentHeader(identity: SegmentIdentity): Uint8Array {
  const bytes = Buffer.alloc(SEGMENT_HEADER)
  bytes.set(SEGMENT_MAGIC)
  bytes.set(uuidBytes(identity.logId), LOG_ID)
  bytes.writeUInt32LE(identity.segment, SEGMENT_NUMBER)
  bytes.set(identity.salt, SEGMENT_SALT)
  bytes.writeUInt32LE(crc32c(bytes.subarray(0, SEGMENT_CRC)), SEGMENT_CRC)
  return bytes
}

/** Undefined where the bytes are no whole header of a segment. */
export function decodeSegmentHeader(header: Uint8Array): SegmentIdentity | undefined {
  const bytes = Buffer.from(header.buffer, header.byteOffset, header.byteLength)
  if (bytes.length < SEGMENT_HEADER || bytes.compare(SEGMENT_MAGIC, 0, 8, 0, 8) !== 0) return undefined
  if (bytes.readUInt32LE(SEGMENT_CRC) !== crc32c(bytes.subarray(0, SEGMENT_CRC))) return undefined
  return {
    logId: uuidText(bytes.subarray(LOG_ID, SEGMENT_NUMBER)),
    segment: bytes.readUInt32LE(SEGMENT_NUMBER),
    // A copy: slice of a Buffer is a view, and the memory is a window that moves on.
    salt: Uint8Array.from(bytes.subarray(SEGMENT_SALT, SEGMENT_CRC)),
  }
}

/** The twelve bytes that every group of the segment begins with. */
export function groupPattern(salt: Uint8Array): Buffer {
  return Buffer.concat([GROUP_MAGIC, salt])
}

export function writeUint64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint32(at + 4, Math.floor(value / 0x100000000), true)
}

/** Exact below 2^53. */
export function readUint64(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * 0x100000000
}

/**
 * Builds one group: entries are added one after the other, `finish` gives the parts to write. Where a batch
 * will lie is known only when the table is complete, hence `batchesStart`. Reused from group to group.
 */
export class GroupBuilder {
  /** Bytes of the batches so far. */
  batchBytes = 0
  entryCount = 0
  #bytes: Buffer = Buffer.alloc(16 * 1024)
  #view: DataView = new DataView(this.#bytes.buffer, this.#bytes.byteOffset)
  #end = GROUP_HEADER
  readonly #batches: Uint8Array[] = []
  readonly #baseOffsets: number[] = []

  /** Bytes of the whole group so far. */
  get byteLength(): number {
    return this.#end + this.batchBytes
  }

  /** Distance from the start of the group to its first batch. */
  get batchesStart(): number {
    return this.#end
  }

  clear(): void {
    this.#end = GROUP_HEADER
    this.#batches.length = 0
    this.#baseOffsets.length = 0
    this.batchBytes = 0
    this.entryCount = 0
  }

  /**
   * Adds a batch; `finish` patches its base offset and leader epoch in place. Returns its distance from
   * `batchesStart`.
   */
  addBatch(
    kind: typeof ENTRY_BATCH | typeof ENTRY_MOVED,
    partition: number,
    baseOffset: number,
    batch: Uint8Array,
  ): number {
    const at = this.#entry(kind, BATCH_ENTRY_BYTES)
    this.#view.setUint32(at, partition, true)
    writeUint64(this.#view, at + 4, baseOffset)
    this.#view.setUint32(at + 12, batch.length, true)
    const header = new DataView(batch.buffer, batch.byteOffset, batch.byteLength)
    this.#view.setUint32(at + 16, header.getUint32(BATCH_CRC), true)
    const distance = this.batchBytes
    this.#batches.push(batch)
    this.#baseOffsets.push(baseOffset)
    this.batchBytes += batch.length
    return distance
  }

  addReference(
    kind: typeof ENTRY_REFERENCE | typeof ENTRY_MOVED_REFERENCE,
    partition: number,
    baseOffset: number,
    segment: number,
    position: number,
    byteLength: number,
    lastOffsetDelta: number,
    maxTimestamp: number,
  ): void {
    const at = this.#entry(kind, REFERENCE_ENTRY_BYTES)
    this.#view.setUint32(at, partition, true)
    writeUint64(this.#view, at + 4, baseOffset)
    this.#view.setUint32(at + 12, segment, true)
    this.#view.setUint32(at + 16, position, true)
    this.#view.setUint32(at + 20, byteLength, true)
    this.#view.setUint32(at + 24, lastOffsetDelta, true)
    this.#view.setFloat64(at + 28, maxTimestamp, true)
  }

  addTopic(firstPartition: number, json: string): void {
    const text = Buffer.from(json)
    const at = this.#entry(ENTRY_TOPIC, TOPIC_ENTRY_BYTES + text.length)
    this.#view.setUint32(at, firstPartition, true)
    this.#view.setUint32(at + 4, text.length, true)
    this.#bytes.set(text, at + 8)
  }

  /** `stage`: at most 255 bytes. */
  addPosition(partition: number, nextOffset: number, stage: string): void {
    const text = Buffer.from(stage)
    const at = this.#entry(ENTRY_POSITION, POSITION_ENTRY_BYTES + text.length)
    this.#view.setUint32(at, partition, true)
    writeUint64(this.#view, at + 4, nextOffset)
    this.#bytes[at + 12] = text.length
    this.#bytes.set(text, at + 13)
  }

  /** Stands for damaged groups from `firstSequence` on; the `bytes` after the table are skipped, and not written. */
  addVoid(firstSequence: number, bytes: number): void {
    const at = this.#entry(ENTRY_VOID, VOID_ENTRY_BYTES)
    writeUint64(this.#view, at, firstSequence)
    this.#view.setUint32(at + 8, bytes, true)
    this.batchBytes += bytes
  }

  /** The group as the parts of one write; valid until `clear`. */
  finish(sequence: number, salt: Uint8Array): Uint8Array[] {
    const head = this.#bytes.subarray(0, this.#end)
    head.set(GROUP_MAGIC)
    head.set(salt, GROUP_SALT)
    writeUint64(this.#view, SEQUENCE, sequence)
    this.#view.setUint32(BYTE_LENGTH, this.byteLength, true)
    this.#view.setUint32(TABLE_LENGTH, this.#end - GROUP_HEADER, true)
    this.#view.setUint32(ENTRY_COUNT, this.entryCount, true)
    this.#view.setUint32(GROUP_CRC, crc32c(head.subarray(SEQUENCE)), true)
    this.#patchBatches()
    return [head, ...this.#batches]
  }

  /** One buffer may have been given for two entries; the second patch would make the first entry a lie. */
  #patchBatches(): void {
    const batches = this.#batches
    for (let i = 0; i < batches.length; i++) {
      patchBaseOffset(batches[i]!, 0, this.#baseOffsets[i]!)
      patchLeaderEpoch(batches[i]!, 0, 0)
    }
    for (let i = 0; i < batches.length; i++) {
      if (readBaseOffset(batches[i]!, 0) === this.#baseOffsets[i]) continue
      batches[i] = batches[i]!.slice()
      patchBaseOffset(batches[i]!, 0, this.#baseOffsets[i]!)
    }
  }

  /** Room for an entry; returns the position after its kind. */
  #entry(kind: number, bytes: number): number {
    if (this.#end + bytes > this.#bytes.length) {
      const grown = Buffer.alloc(Math.max(this.#bytes.length * 2, this.#end + bytes))
      grown.set(this.#bytes.subarray(0, this.#end))
      this.#bytes = grown
      this.#view = new DataView(grown.buffer, grown.byteOffset)
    }
    const at = this.#end
    this.#bytes[at] = kind
    this.#end += bytes
    this.entryCount++
    return at + 1
  }
}

/** Reads one group in place: `open` checks its header, then `next` walks its entries. */
export class GroupReader {
  sequence = 0
  /** The same, except where repair let one group stand for several. */
  firstSequence = 0
  byteLength = 0
  /** Entries of the table, whatever their kind. */
  entryCount = 0
  kind = 0
  partition = 0
  baseOffset = 0
  /** Place of the batch: its segment (references only; else this one) and position in the file. */
  segment = 0
  position = 0
  batchBytes = 0
  lastOffsetDelta = 0
  maxTimestamp = 0
  nextOffset = 0
  /** Name of the stage, or JSON of the topic. */
  text = ''

  #bytes: Uint8Array = new Uint8Array(0)
  #view: DataView = new DataView(new ArrayBuffer(0))
  #at = 0
  #tableEnd = 0
  #batchAt = 0
  #groupPosition = 0

  /**
   * Starts on the group at the beginning of `bytes`, which lies at `position` of its segment. Returns the bytes
   * that header and table need when `bytes` is too short for them, 0 when they are valid, -1 when not.
   */
  openHead(bytes: Uint8Array, salt: Uint8Array, position: number): number {
    if (bytes.length < GROUP_HEADER) return GROUP_HEADER
    for (let i = 0; i < SALT_BYTES; i++) if (bytes[GROUP_SALT + i] !== salt[i]) return -1
    for (let i = 0; i < GROUP_MAGIC.length; i++) if (bytes[i] !== GROUP_MAGIC[i]) return -1
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const tableLength = this.#view.getUint32(TABLE_LENGTH, true)
    this.byteLength = this.#view.getUint32(BYTE_LENGTH, true)
    const end = GROUP_HEADER + tableLength
    if (end > this.byteLength) return -1
    if (bytes.length < end) return end
    if (this.#view.getUint32(GROUP_CRC, true) !== crc32c(bytes.subarray(SEQUENCE, end))) return -1
    this.sequence = readUint64(this.#view, SEQUENCE)
    this.entryCount = this.#view.getUint32(ENTRY_COUNT, true)
    this.#tableEnd = end
    this.#groupPosition = position
    this.rewind()
    this.firstSequence =
      tableLength > 0 && bytes[GROUP_HEADER] === ENTRY_VOID
        ? readUint64(this.#view, GROUP_HEADER + 1)
        : this.sequence
    return 0
  }

  /** Before the first entry. */
  rewind(): void {
    this.#at = GROUP_HEADER
    this.#batchAt = this.#tableEnd
  }

  /** Moves to the next entry; false after the last. Only after `openHead` returned 0. */
  next(): boolean {
    if (this.#at >= this.#tableEnd) return false
    const view = this.#view
    let at = this.#at
    this.kind = view.getUint8(at++)
    this.partition = view.getUint32(at, true)
    switch (this.kind) {
      case ENTRY_BATCH:
      case ENTRY_MOVED:
        this.baseOffset = readUint64(view, at + 4)
        this.batchBytes = view.getUint32(at + 12, true)
        this.position = this.#groupPosition + this.#batchAt
        this.#batchAt += this.batchBytes
        this.#at = at + BATCH_ENTRY_BYTES - 1
        return true
      case ENTRY_REFERENCE:
      case ENTRY_MOVED_REFERENCE:
        this.baseOffset = readUint64(view, at + 4)
        this.segment = view.getUint32(at + 12, true)
        this.position = view.getUint32(at + 16, true)
        this.batchBytes = view.getUint32(at + 20, true)
        this.lastOffsetDelta = view.getUint32(at + 24, true)
        this.maxTimestamp = view.getFloat64(at + 28, true)
        this.#at = at + REFERENCE_ENTRY_BYTES - 1
        return true
      case ENTRY_TOPIC:
        this.#at = at + 8 + view.getUint32(at + 4, true)
        this.text = this.#text(at + 8, this.#at)
        return true
      case ENTRY_POSITION:
        this.nextOffset = readUint64(view, at + 4)
        this.#at = at + 13 + view.getUint8(at + 12)
        this.text = this.#text(at + 13, this.#at)
        return true
      case ENTRY_VOID:
        this.#batchAt += view.getUint32(at + 8, true)
        this.#at = at + VOID_ENTRY_BYTES - 1
        return true
      default:
        // The CRC was right: a later version wrote it.
        throw new RangeError(`unknown journal entry kind ${this.kind}`)
    }
  }

  /** Reads lastOffsetDelta and maxTimestamp of a batch entry from the batch; only after `isWhole` returned true. */
  readBatchFacts(): void {
    const at = this.position - this.#groupPosition
    this.lastOffsetDelta = this.#view.getInt32(at + LAST_OFFSET_DELTA)
    const timestamp = at + MAX_TIMESTAMP
    this.maxTimestamp = this.#view.getInt32(timestamp) * 0x100000000 + this.#view.getUint32(timestamp + 4)
  }

  /** Whether `bytes` is the whole group and every batch is the one its entry says, CRCs included. */
  isWhole(bytes: Uint8Array): boolean {
    if (bytes.length < this.byteLength) return false
    this.rewind()
    while (this.next()) {
      if (this.kind !== ENTRY_BATCH && this.kind !== ENTRY_MOVED) continue
      const at = this.position - this.#groupPosition
      if (at + this.batchBytes > this.byteLength) return false
      const header = readBatchHeader(bytes.subarray(0, at + this.batchBytes), at)
      if (header === undefined || header.byteLength !== this.batchBytes) return false
      if (header.baseOffset !== this.baseOffset) return false
      if (bytes[at + 12] || bytes[at + 13] || bytes[at + 14] || bytes[at + 15]) return false
      const crc = new DataView(bytes.buffer, bytes.byteOffset + at + BATCH_CRC, 4).getUint32(0)
      if (crc !== this.#view.getUint32(this.#at - 4, true)) return false
      if (!batchCrcMatches(bytes, at, this.batchBytes)) return false
    }
    const whole = this.#batchAt === this.byteLength
    this.rewind()
    return whole
  }

  #text(from: number, to: number): string {
    return Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset + from, to - from).toString()
  }
}
