// The checkpoint: the journal's state in one file, so that recovery need not read all segments again. It is
// written in small steps while groups go on, synced, and put in place by an atomic rename.
//
//   frame   length u32 │ crc32c of the payload u32 │ payload …        all integers little-endian
//   1 head       "MILLCHK1" │ JSON {logId, sequence, segment, position, segments}
//   2 topic      first partition u32 │ JSON as in the journal
//   3 partition  id u32 │ start u64 │ end u64
//   4 rows       partition u32 │ rows as journal-index.ts stores them, 28 bytes each
//   5 position   partition u32 │ next offset u64 │ stage's name
//   6 end
//
// A payload begins with its kind, and three zero bytes. Valid if and only if the first frame is a head, the
// last an end, and all CRCs are right; being renamed after its sync, anything else is damage.
//
// The head is taken when writing begins: recovery replays the journal from (segment, position) on, the group
// after `sequence`. Appends go on meanwhile, so that partitions written later know some of those groups already;
// the state passes over what it knows. Nothing is forgotten or moved while a checkpoint is written.
import path from 'node:path'
import type { Disk, DiskFile } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { crc32c } from '../std/hash.ts'
import { readUint64, writeUint64 } from './journal-format.ts'
import { ROW_BYTES } from './journal-index.ts'
import { type JournalState, topicToJson } from './journal-state.ts'

export const CHECKPOINT_NAME = 'checkpoint'
export const CHECKPOINT_WRITING_NAME = 'checkpoint.writing'

const MAGIC = 'MILLCHK1'
const FRAME_HEADER = 8
const KIND_HEAD = 1
const KIND_TOPIC = 2
const KIND_PARTITION = 3
const KIND_ROWS = 4
const KIND_POSITION = 5
const KIND_END = 6
const PAYLOAD = 4

const ROWS_PER_FRAME = 2048
/** What one step writes and syncs: about a millisecond of disk. */
export const CHECKPOINT_STEP_BYTES = 256 * 1024

export interface CheckpointHead {
  logId: string
  sequence: number
  /** Where the group after `sequence` begins, or will. */
  segment: number
  position: number
  /** Every segment below `segment` that still holds something needed. */
  segments: number[]
}

/** Where frames are put together: grows to the size of a step, and serves one checkpoint after the other. */
export class FrameBuffer {
  bytes = Buffer.alloc(4096)
  end = 0

  /** A frame with a payload of `length` bytes; returns where the payload begins. */
  open(kind: number, length: number): number {
    const need = this.end + FRAME_HEADER + length
    if (need > this.bytes.length) {
      const grown = Buffer.alloc(Math.max(need, this.bytes.length * 2))
      grown.set(this.bytes.subarray(0, this.end))
      this.bytes = grown
    }
    const payload = this.end + FRAME_HEADER
    this.bytes.writeUInt32LE(length, this.end)
    this.bytes.writeUInt32LE(kind, payload)
    return payload
  }

  close(): void {
    const length = this.bytes.readUInt32LE(this.end)
    const payload = this.bytes.subarray(this.end + FRAME_HEADER, this.end + FRAME_HEADER + length)
    this.bytes.writeUInt32LE(crc32c(payload), this.end + 4)
    this.end += FRAME_HEADER + length
  }
}

/** Writes one checkpoint, step by step. */
export class CheckpointWriter {
  readonly head: CheckpointHead
  byteLength = 0
  readonly #state: JournalState
  readonly #disk: Disk
  readonly #dir: string
  readonly #stepBytes: number
  readonly #frames: FrameBuffer
  #file: DiskFile | undefined
  #partition = -1
  /** Partitions of topics made after the head come from the replay. */
  #partitionCount = 0
  /** End of the current partition as its frame says; rows from there on come from the replay. */
  #partitionEnd = 0
  #rowOffset = 0

  constructor(
    disk: Disk,
    dir: string,
    state: JournalState,
    head: CheckpointHead,
    stepBytes: number,
    frames = new FrameBuffer(),
  ) {
    frames.end = 0
    this.#frames = frames
    this.#stepBytes = stepBytes
    this.#disk = disk
    this.#dir = dir
    this.#state = state
    this.head = head
  }

  /** Writes and syncs a piece; true when the checkpoint is in place. Throws what the disk throws: then `abandon`. */
  step(): boolean {
    const file = (this.#file ??= this.#begin())
    const done = this.#fill()
    file.write([this.#frames.bytes.subarray(0, this.#frames.end)], this.byteLength)
    file.sync()
    this.byteLength += this.#frames.end
    this.#frames.end = 0
    if (!done) return false
    file.close()
    this.#disk.rename(path.join(this.#dir, CHECKPOINT_WRITING_NAME), path.join(this.#dir, CHECKPOINT_NAME))
    this.#disk.syncDir(this.#dir)
    return true
  }

  /** Drops what was written. */
  abandon(): void {
    this.#file?.close()
    removeIfThere(this.#disk, path.join(this.#dir, CHECKPOINT_WRITING_NAME))
  }

  #begin(): DiskFile {
    const name = path.join(this.#dir, CHECKPOINT_WRITING_NAME)
    removeIfThere(this.#disk, name)
    const file = this.#disk.open(name, 'create')
    this.#partitionCount = this.#state.partitions.length
    this.#json(KIND_HEAD, undefined, MAGIC + JSON.stringify(this.head))
    for (const topic of this.#state.topics.values()) {
      this.#json(KIND_TOPIC, topic.firstPartition, topicToJson(topic.topic))
      for (const partition of topic.partitions) {
        for (const [stage, nextOffset] of partition.positions) {
          const name = Buffer.from(stage)
          const at = this.#frames.open(KIND_POSITION, PAYLOAD + 12 + name.length)
          const view = this.#view()
          view.setUint32(at + PAYLOAD, partition.id, true)
          writeUint64(view, at + PAYLOAD + 4, nextOffset)
          this.#frames.bytes.set(name, at + PAYLOAD + 12)
          this.#frames.close()
        }
      }
    }
    return file
  }

  /** Frames up to the size of a step; true when the last one is among them. */
  #fill(): boolean {
    const { partitions } = this.#state
    while (this.#frames.end < this.#stepBytes) {
      const partition = partitions[this.#partition]
      if (partition !== undefined && this.#rowOffset < this.#partitionEnd) {
        this.#rows()
        continue
      }
      if (++this.#partition >= this.#partitionCount) {
        this.#frames.open(KIND_END, PAYLOAD)
        this.#frames.close()
        return true
      }
      const next = partitions[this.#partition]
      // A number whose topic was lost to damage, or a partition that never held anything: that is what the topic's
      // entry makes of it.
      if (next === undefined || next.end === 0) continue
      this.#partitionEnd = next.end
      this.#rowOffset = next.start
      const at = this.#frames.open(KIND_PARTITION, PAYLOAD + 20)
      const view = this.#view()
      view.setUint32(at + PAYLOAD, next.id, true)
      writeUint64(view, at + PAYLOAD + 4, next.start)
      writeUint64(view, at + PAYLOAD + 12, next.end)
      this.#frames.close()
    }
    return false
  }

  #rows(): void {
    const { id, index } = this.#state.partitions[this.#partition]!
    const from = index.find(this.#rowOffset)
    const rowsMax = Math.max(1, Math.min(ROWS_PER_FRAME, Math.floor(this.#stepBytes / ROW_BYTES)))
    const count = Math.min(index.find(this.#partitionEnd) - from, rowsMax)
    if (count <= 0) {
      this.#rowOffset = this.#partitionEnd
      return
    }
    const at = this.#frames.open(KIND_ROWS, PAYLOAD + 4 + count * ROW_BYTES)
    this.#frames.bytes.writeUInt32LE(id, at + PAYLOAD)
    index.copyRows(from, count, this.#frames.bytes, at + PAYLOAD + 4)
    this.#frames.close()
    this.#rowOffset = index.nextOffset(from + count - 1)
  }

  #json(kind: number, number: number | undefined, text: string): void {
    const json = Buffer.from(text)
    const skip = number === undefined ? 0 : 4
    const at = this.#frames.open(kind, PAYLOAD + skip + json.length)
    if (number !== undefined) this.#frames.bytes.writeUInt32LE(number, at + PAYLOAD)
    this.#frames.bytes.set(json, at + PAYLOAD + skip)
    this.#frames.close()
  }

  #view(): DataView {
    const { bytes } = this.#frames
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
}

export function removeIfThere(disk: Disk, file: string): void {
  if (disk.exists(file)) disk.unlink(file)
}

/**
 * Fills an empty state from the checkpoint in `dir`; undefined where there is none. Throws `log_corrupt` with
 * file and offset where it is damaged.
 */
export function readCheckpoint(disk: Disk, dir: string, state: JournalState): CheckpointHead | undefined {
  const name = path.join(dir, CHECKPOINT_NAME)
  if (!disk.exists(name)) return undefined
  const file = disk.open(name, 'read')
  try {
    return decode(file, name, state)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
    throw damaged(name, 0, error)
  } finally {
    file.close()
  }
}

const damaged = (file: string, position: number, cause?: unknown): MillraceError =>
  new MillraceError(
    'log_corrupt',
    `${file}: damaged checkpoint at byte ${position}`,
    { file, position },
    cause,
  )

function decode(file: DiskFile, name: string, state: JournalState): CheckpointHead {
  const size = file.size()
  let head: CheckpointHead | undefined
  let at = 0
  const frameHeader = Buffer.alloc(FRAME_HEADER)
  for (;;) {
    if (file.read(frameHeader, at) < FRAME_HEADER) throw damaged(name, at)
    const length = frameHeader.readUInt32LE(0)
    if (length < PAYLOAD || at + FRAME_HEADER + length > size) throw damaged(name, at)
    const payload = Buffer.alloc(length)
    file.read(payload, at + FRAME_HEADER)
    if (crc32c(payload) !== frameHeader.readUInt32LE(4)) throw damaged(name, at)
    const kind = payload.readUInt32LE(0)
    if ((kind === KIND_HEAD) !== (head === undefined)) throw damaged(name, at)
    if (kind === KIND_END) break
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength)
    if (kind === KIND_HEAD) {
      const text = payload.toString('utf8', PAYLOAD)
      if (!text.startsWith(MAGIC)) throw damaged(name, at)
      head = JSON.parse(text.slice(MAGIC.length)) as CheckpointHead
      state.sequence = head.sequence
      for (const segment of head.segments) state.addSegment(segment)
      if (!state.segments.has(head.segment)) state.addSegment(head.segment)
    } else if (!applyFrame(state, kind, payload, view)) throw damaged(name, at)
    at += FRAME_HEADER + length
  }
  for (const partition of state.partitions) if (partition !== undefined) state.restored(partition)
  return head!
}

function applyFrame(state: JournalState, kind: number, payload: Buffer, view: DataView): boolean {
  const number = view.getUint32(PAYLOAD, true)
  if (kind === KIND_TOPIC) {
    state.applyTopic(number, payload.toString('utf8', PAYLOAD + 4))
    return true
  }
  const partition = state.partitions[number]
  if (partition === undefined) return false
  switch (kind) {
    case KIND_PARTITION:
      partition.start = readUint64(view, PAYLOAD + 4)
      partition.end = readUint64(view, PAYLOAD + 12)
      return true
    case KIND_ROWS: {
      for (let at = PAYLOAD + 4; at < payload.length; at += ROW_BYTES) {
        const segment = view.getUint32(at + 12, true)
        // A batch appended while the checkpoint was written may lie in a segment younger than its head.
        if (!state.segments.has(segment)) state.addSegment(segment)
        state.restoreRow(
          partition,
          readUint64(view, at),
          view.getUint32(at + 8, true),
          segment,
          view.getUint32(at + 16, true),
          view.getUint32(at + 20, true),
          view.getUint32(at + 24, true),
        )
      }
      return true
    }
    case KIND_POSITION:
      state.applyPosition(partition, payload.toString('utf8', PAYLOAD + 12), readUint64(view, PAYLOAD + 4))
      return true
    default:
      return false
  }
}
