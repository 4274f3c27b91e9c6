// When the state of a partition is saved, and how it comes back.
//
// A snapshot falls due after so much raw input that writing it adds an eighth at most, or a minute after the
// first input that it lacks. Its chunks are copied out of the state at once, and appended in pieces with the
// steps that follow, each in the atomic append of a step; the head comes last. From then on the log must keep
// raw records from the snapshot's offset on: the stage position STATE_STAGE says so. Layout: state.ts.
import { type Log, type StagePosition, TABLE_TOPIC, type Topic } from '../log/log.ts'
import { RecordReader } from '../log/record-batch.ts'
import { NORMALIZE_STATE_TOPIC } from '../schemas/names.ts'
import type { OutputBatches, OutputSegment } from './output.ts'
import { chunkKey, headKey, type PartitionState, type SnapshotHead } from './state.ts'

/** Stage whose position is the offset of the last snapshot: what retention must leave for the next start. */
export const STATE_STAGE = 'normalize_state'

/** Input between two snapshots: this, or so many times the snapshot's own bytes. */
const INPUT_BYTES_MIN = 16 * 1024 * 1024
const INPUT_FACTOR = 8
/** A snapshot position behind counts as backlog: it may take up this part of the quota. */
const BACKLOG_PART = 4
/** Age of the oldest unsaved input, for every SNAPSHOT_BYTES_PER_INTERVAL that the snapshot takes. */
const INTERVAL_MS = 60_000
const SNAPSHOT_BYTES_PER_INTERVAL = 4 * 1024 * 1024
const READ_BYTES = 4 * 1024 * 1024

interface Pending {
  head: SnapshotHead
  chunks: Uint8Array[]
  /** Chunks appended so far. */
  done: number
}

/** What goes into the append of a step. */
export interface SnapshotPiece {
  segments: OutputSegment[]
  position: StagePosition | undefined
}

export class Snapshots {
  /** Offset registered for STATE_STAGE, undefined where none is yet. */
  base: number | undefined
  readonly #topic: Topic
  readonly #partition: number
  /** Chunks under each generation, so that those a shorter snapshot leaves can be deleted. */
  readonly #chunkCounts: [number, number] = [0, 0]
  #generation: 0 | 1 = 1
  #pending: Pending | undefined
  #unsavedBytes = 0
  #unsavedSince = Infinity
  #snapshotBytes = 0
  /** What `load` found. */
  #loaded = new Map<string, Uint8Array>()

  constructor(topic: Topic, partition: number) {
    this.#topic = topic
    this.#partition = partition
  }

  static async createTopic(log: Log): Promise<void> {
    await log.createTopic(NORMALIZE_STATE_TOPIC, TABLE_TOPIC)
  }

  /**
   * Reads the state topic once for all of them. Their positions have been asked for before: a snapshot that they speak of
   * must be seen here, or what it holds would be missed without a sign.
   */
  static async load(log: Log, all: readonly Snapshots[]): Promise<void> {
    await log.settled?.(NORMALIZE_STATE_TOPIC, 0)
    const owners = new Map(all.map((one) => [headKey(one.#topic.name, one.#partition), one]))
    const { start, end } = await log.range(NORMALIZE_STATE_TOPIC, 0)
    const reader = new RecordReader()
    const decoder = new TextDecoder()
    for (let offset = start; offset < end; ) {
      const read = await log.read(NORMALIZE_STATE_TOPIC, 0, offset, READ_BYTES)
      if (read.nextOffset === offset) break
      reader.reset(read.batches)
      while (reader.next()) {
        const key = decoder.decode(reader.bytes.slice(reader.keyStart, reader.keyEnd))
        const owner = owners.get(key.split('/', 2).join('/'))
        if (owner === undefined) continue
        if (reader.valueStart < 0) owner.#loaded.delete(key)
        else owner.#loaded.set(key, reader.bytes.slice(reader.valueStart, reader.valueEnd))
      }
      offset = read.nextOffset
    }
  }

  /** Fills an empty state with the snapshot that `load` found; returns the offset it is of, undefined for none. */
  restore(state: PartitionState): number | undefined {
    const loaded = this.#loaded
    this.#loaded = new Map()
    const { name, id } = this.#topic
    for (const generation of [0, 1] as const) {
      while (loaded.has(chunkKey(name, this.#partition, generation, this.#chunkCounts[generation])))
        this.#chunkCounts[generation]++
    }
    const bytes = loaded.get(headKey(name, this.#partition))
    if (bytes === undefined) return undefined
    const head = JSON.parse(new TextDecoder().decode(bytes)) as SnapshotHead
    if (head.topicId !== id) return undefined
    for (let chunk = 0; chunk < head.chunkCount; chunk++) {
      const part = loaded.get(chunkKey(name, this.#partition, head.generation, chunk))!
      state.restoreChunk(part)
      this.#snapshotBytes += part.length
    }
    state.duplicates = head.duplicates
    state.rejected = head.rejected
    this.#generation = head.generation
    return head.nextOffset
  }

  /** Raw input that no snapshot has yet. */
  noteInput(bytes: number, now: number): void {
    this.#unsavedBytes += bytes
    if (this.#unsavedSince === Infinity) this.#unsavedSince = now
  }

  /** Has a snapshot taken now, if there is anything to save. */
  hasten(): void {
    if (this.#unsavedSince !== Infinity) this.#unsavedBytes = Infinity
  }

  /** When `next` has something to append; 0: now. */
  get dueAt(): number {
    if (this.#pending !== undefined) return 0
    const quota = this.#topic.config.backlogBytesMax / BACKLOG_PART
    const bytes = Math.min(quota, Math.max(INPUT_BYTES_MIN, INPUT_FACTOR * this.#snapshotBytes))
    if (this.#unsavedBytes >= bytes) return 0
    return this.#unsavedSince + INTERVAL_MS * Math.max(1, this.#snapshotBytes / SNAPSHOT_BYTES_PER_INTERVAL)
  }

  /**
   * The next piece to append with a step after which the partition is at `nextOffset`; it lies in `output`. Call when
   * due. At most `bytesMax` and a chunk (state.ts).
   */
  next(state: PartitionState, nextOffset: number, bytesMax: number, output: OutputBatches): SnapshotPiece {
    const pending = (this.#pending ??= this.#begin(state, nextOffset))
    const { head, chunks } = pending
    const { name } = this.#topic
    const { generation } = head
    const encoder = new TextEncoder()
    const append = (key: string, value: Uint8Array | undefined): void =>
      output.append(encoder.encode(key), value)
    const end = output.byteLength + bytesMax
    while (pending.done < chunks.length && output.byteLength < end) {
      append(chunkKey(name, this.#partition, generation, pending.done), chunks[pending.done])
      pending.done++
    }
    let position: StagePosition | undefined
    if (pending.done === chunks.length) {
      for (let stale = chunks.length; stale < this.#chunkCounts[generation]; stale++)
        append(chunkKey(name, this.#partition, generation, stale), undefined)
      append(headKey(name, this.#partition), encoder.encode(JSON.stringify(head)))
      this.#chunkCounts[generation] = chunks.length
      this.#generation = generation
      this.#pending = undefined
      position = this.positionAt(head.nextOffset)
    }
    return { segments: output.take(), position }
  }

  /** Has the log keep raw records from `offset` on. */
  positionAt(offset: number): StagePosition {
    this.base = offset
    return { stage: STATE_STAGE, topic: this.#topic.name, partition: this.#partition, nextOffset: offset }
  }

  #begin(state: PartitionState, nextOffset: number): Pending {
    const chunks = state.chunks()
    const generation = this.#generation === 0 ? 1 : 0
    this.#snapshotBytes = chunks.reduce((sum, chunk) => sum + chunk.length, 0)
    this.#unsavedBytes = 0
    this.#unsavedSince = Infinity
    return {
      head: {
        version: 1,
        topicId: this.#topic.id,
        nextOffset,
        generation,
        chunkCount: chunks.length,
        deviceCount: state.devices.count,
        duplicates: state.duplicates,
        rejected: state.rejected,
      },
      chunks,
      done: 0,
    }
  }
}
