// What the journal gives back. Retention forgets batches from the front of a partition; a segment whose last
// batch was forgotten is freed after the next checkpoint. A few survivors (a parked stream, a compacted topic,
// an idle one with a long age) would pin a whole segment: when they alone have been holding it for a while,
// they are written again at the tail.
//
// All of it goes in small steps between commits.
import { ENTRY_MOVED, ENTRY_MOVED_REFERENCE } from './journal-format.ts'
import type { SegmentReader } from './journal-read.ts'
import type { JournalState, PartitionState } from './journal-state.ts'
import type { JournalWriter } from './journal-writer.ts'

/** Rows or partitions that one step looks at. */
const ROWS_PER_STEP = 20_000
const PARTITIONS_PER_STEP = 256
/** Bytes of survivors in one group. */
const SURVIVOR_BYTES_PER_STEP = 512 * 1024
/** A segment is rewritten when at most this share of it is alive. */
const SURVIVOR_SHARE = 0.25

/** One pass over all partitions: forgets what their topics' configuration no longer keeps. */
export class RetentionPass {
  readonly #state: JournalState
  readonly #now: () => number
  #partition = 0

  constructor(state: JournalState, now: () => number) {
    this.#state = state
    this.#now = now
  }

  /** Looks at some partitions; true when it has seen all. `seen` gets each of them. */
  step(seen: (partition: PartitionState) => void): boolean {
    const { partitions } = this.#state
    const end = Math.min(partitions.length, this.#partition + PARTITIONS_PER_STEP)
    for (let rows = 0; this.#partition < end && rows < ROWS_PER_STEP; this.#partition++) {
      const partition = partitions[this.#partition]
      if (partition === undefined) continue
      if (partition.topic.topic.config.cleanup === 'delete') rows += this.#retain(partition)
      seen(partition)
    }
    return this.#partition >= partitions.length
  }

  /** Returns how many batches it forgot. */
  #retain(partition: PartitionState): number {
    const { retentionAgeMs, retentionBytes } = partition.topic.topic.config
    const { index } = partition
    const oldest = this.#now() - retentionAgeMs
    let forgotten = 0
    let bytes = partition.bytes
    while (forgotten < index.length) {
      if (index.nextOffset(forgotten) > partition.floor) break
      if (index.seconds(forgotten) * 1000 >= oldest && bytes <= retentionBytes) break
      bytes -= index.bytes(forgotten++)
    }
    if (forgotten > 0) this.#state.removeBefore(partition, index.nextOffset(forgotten - 1))
    return forgotten
  }
}

/**
 * The sealed segment whose few survivors should move, undefined where none is due. It may be shorter than `segmentBytes`: the
 * first one of a log is, and those from before the option was raised.
 */
export function segmentToClear(
  state: JournalState,
  currentSegment: number,
  segmentBytes: number,
  isIdle: (changedAtMs: number) => boolean,
  fileBytes: (segment: number) => number,
): number | undefined {
  let found: number | undefined
  for (const one of state.segments.values()) {
    const { segment, liveCount, liveBytes, changedAtMs } = one
    if (segment >= currentSegment || liveCount === 0) continue
    if (liveBytes > segmentBytes * SURVIVOR_SHARE || !isIdle(changedAtMs)) continue
    one.fileBytes ??= fileBytes(segment)
    if (liveBytes > one.fileBytes * SURVIVOR_SHARE) continue
    if (found === undefined || segment < found) found = segment
  }
  return found
}

/** Moves what is alive in one segment to the tail. */
export class SurvivorMove {
  readonly segment: number
  readonly #state: JournalState
  readonly #writer: JournalWriter
  readonly #reader: SegmentReader
  /** New place by old position: a batch and the references to it move together. */
  readonly #moved = new Map<number, { segment: number; position: number }>()
  #partition = 0
  #offset = 0

  constructor(state: JournalState, writer: JournalWriter, reader: SegmentReader, segment: number) {
    this.#state = state
    this.#writer = writer
    this.#reader = reader
    this.segment = segment
  }

  /**
   * Moves some; true when nothing in the segment is alive any more or what is there cannot be read. Throws what
   * the writer throws.
   */
  step(generation: number): boolean {
    const { builder } = this.#writer
    builder.clear()
    const staged: { partition: PartitionState; row: number; position: number; distance: number }[] = []
    const inGroup = new Set<number>()
    let rows = 0
    let readable = true
    collect: for (; this.#partition < this.#state.partitions.length; this.#partition++, this.#offset = 0) {
      const partition = this.#state.partitions[this.#partition]
      if (partition === undefined) continue
      const { index } = partition
      for (let row = index.find(this.#offset); row < index.length; row++) {
        this.#offset = index.baseOffset(row)
        if (++rows > ROWS_PER_STEP || builder.batchBytes > SURVIVOR_BYTES_PER_STEP) break collect
        if (index.segment(row) !== this.segment) continue
        const position = index.position(row)
        const bytes = index.bytes(row)
        // The bytes are in this very group; where they will lie is known after it.
        if (inGroup.has(position)) break collect
        const place = this.#moved.get(position)
        // The new place may have died since (retention): then the bytes are copied once more.
        if (place !== undefined && (this.#state.segments.get(place.segment)?.liveCount ?? 0) > 0) {
          builder.addReference(
            ENTRY_MOVED_REFERENCE,
            partition.id,
            index.baseOffset(row),
            place.segment,
            place.position,
            bytes,
            index.lastOffsetDelta(row),
            index.seconds(row) * 1000,
          )
          staged.push({ partition, row, position, distance: -1 })
          continue
        }
        const batch = this.#read(position, bytes, index.baseOffset(row), generation)
        if (batch === undefined) {
          readable = false
          continue
        }
        inGroup.add(position)
        const distance = builder.addBatch(ENTRY_MOVED, partition.id, index.baseOffset(row), batch)
        staged.push({ partition, row, position, distance })
      }
    }
    if (builder.entryCount > 0) {
      this.#writer.write()
      for (const { partition, row, position, distance } of staged) {
        if (distance >= 0)
          this.#moved.set(position, {
            segment: this.#writer.segment,
            position: this.#writer.batchesPosition + distance,
          })
        const place = this.#moved.get(position)!
        const { index } = partition
        this.#state.applyMove(
          partition,
          index.baseOffset(row),
          place.segment,
          place.position,
          index.bytes(row),
        )
      }
    }
    return !readable || this.#partition >= this.#state.partitions.length
  }

  #read(position: number, bytes: number, baseOffset: number, generation: number): Uint8Array | undefined {
    const place = [this.segment, position, bytes, baseOffset]
    // A copy: the reader's memory is used again before the group is written.
    return this.#reader.read(place, generation)?.slice()
  }
}
