// The journal: all topics and partitions of one process in one sequence of groups. Synchronous, for one thread:
// log-embedded.ts puts promises around it, log-thread.ts a message port.
//
//   appends ──► stage: check, give offsets ──► one group: patch, write, sync ──► apply ──► results
//                                                                                    │
//   reads, changes ◄──────────────────── state: indexes, positions, durable offsets only ◄──┘
//
// What is staged becomes visible only when its group is synced; a refused request leaves nothing. Between
// commits `maintain` does the rest in small steps: prepares segments, forgets, compacts, writes checkpoints,
// frees.
import { randomUUID } from 'node:crypto'
import { type Disk, makeDirDurable } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { checkTopic, offsetAboveEnd, offsetBelowStart, topicConflict } from './batch-check.ts'
import { CHECKPOINT_STEP_BYTES } from './journal-checkpoint.ts'
import { StepFiller, type ZeroFiller } from './journal-fill.ts'
import { BATCH_ENTRY_BYTES, newSalt } from './journal-format.ts'
import { DirectRemover, type FileRemover } from './journal-free.ts'
import { JournalMaintenance } from './journal-maintenance.ts'
import { SegmentReader } from './journal-read.ts'
import { type Recovered, recoverJournal, type TornTail } from './journal-recovery.ts'
import { SegmentStore } from './journal-segments.ts'
import { AppendStage } from './journal-stage.ts'
import { JournalState, topicToJson } from './journal-state.ts'
import { JournalTail, type SharedTail, TailReader } from './journal-tail.ts'
import { JournalWriter } from './journal-writer.ts'
import type { AppendRequest, BatchAppend, Changes, PartitionRange, Topic, TopicConfig } from './log.ts'

export interface JournalOptions {
  disk: Disk
  /** Folder of the journal; made if missing. */
  dir: string
  /** Bytes of a segment file. */
  segmentBytes?: number
  /** Free bytes of the disk below which appends are refused. */
  reserveBytes?: number
  /** Bytes of batches after which a group takes no further request. */
  groupBytesMax?: number
  /** Whether the CRC of each appended batch is checked. A wrong one that gets in makes its group invalid. */
  verifyAppends?: boolean
  /** Whether the CRC of each batch read is checked. */
  verifyReads?: boolean
  /** How long a tombstone stays readable. */
  tombstoneAgeMs?: number
  /** Bytes appended to a compacted partition before it is worth compacting; at least half of it must be new. */
  compactionBytesMin?: number
  /** How long a segment's few survivors must have been the only ones before they are moved. */
  survivorsIdleMs?: number
  /** How often retention looks at all partitions. */
  retentionIntervalMs?: number
  /** Memory in which readers find what was written last, and out of which it is written: a power of two. */
  tailBytes?: number
  /** Bytes of a checkpoint that one step writes and syncs. */
  checkpointStepBytes?: number
  /** Milliseconds since 1970. */
  now?: () => number
  onTornTail?: (tail: TornTail) => void
  zeroFiller?: ZeroFiller
  fileRemover?: FileRemover
}

const MIB = 1 << 20
const DEFAULTS = {
  segmentBytes: 128 * MIB,
  reserveBytes: 0,
  groupBytesMax: 8 * MIB,
  verifyAppends: true,
  verifyReads: true,
  tombstoneAgeMs: 24 * 3_600_000,
  compactionBytesMin: MIB,
  survivorsIdleMs: 60_000,
  retentionIntervalMs: 1000,
  tailBytes: 8 * MIB,
  checkpointStepBytes: CHECKPOINT_STEP_BYTES,
}

/** An append on its way: after `commit` either `baseOffsets` or `error` is set. */
export interface PendingAppend {
  readonly request: AppendRequest
  baseOffsets: number[] | undefined
  error: Error | undefined
}

export interface JournalStats {
  groups: number
  bytes: number
  /** Commits (write + sync) by duration: sum and maximum in ms, counts below COMMIT_MS_BOUNDS and above. */
  commitMsSum: number
  commitMsMax: number
  commitMsBuckets: number[]
  freeBytes: number
  segments: number
  /** Bytes of batches that are still needed, references counted as if they were bytes of their own. */
  liveBytes: number
  partitions: number
  checkpoints: number
  segmentsFreed: number
  /** Of those, which became another segment. */
  segmentsReused: number
  compactions: number
  /** Bytes and groups that recovery read again, and the torn tail it cut. */
  recoveredBytes: number
  recoveredGroups: number
  tornTail: TornTail | undefined
  stopped: boolean
}

export class Journal {
  readonly id: string
  readonly dir: string
  /** For `SegmentReader`s in other threads. */
  readonly tail: SharedTail
  readonly #options: typeof DEFAULTS & { now: () => number }
  readonly #state: JournalState
  readonly #store: SegmentStore
  readonly #writer: JournalWriter
  readonly #reader: SegmentReader
  readonly #maintenance: JournalMaintenance
  readonly #recovered: Recovered | undefined
  readonly #stage: AppendStage
  #closed = false

  /** Opens or makes the journal. Throws `log_corrupt`, or what the disk throws. */
  constructor(options: JournalOptions) {
    const { disk, dir } = options
    const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
    const settings = { ...DEFAULTS, now: Date.now, ...given } as JournalOptions &
      typeof DEFAULTS & { now: () => number }
    this.dir = dir
    this.#options = settings
    makeDirDurable(disk, dir)
    this.#state = new JournalState(settings.now)
    this.#recovered = recoverJournal(disk, dir, this.#state)
    this.id = this.#recovered?.logId ?? randomUUID()
    const identity = this.#recovered?.identity ?? { logId: this.id, segment: 1, salt: newSalt() }
    const tail = new JournalTail(disk.directMemory(settings.tailBytes))
    this.tail = tail.shared
    this.#store = new SegmentStore(
      disk,
      dir,
      settings.segmentBytes,
      settings.zeroFiller ?? new StepFiller(disk),
      settings.fileRemover ?? new DirectRemover(disk),
      tail,
      identity,
      this.#recovered?.position,
      this.#recovered?.prepared,
    )
    if (!this.#state.segments.has(identity.segment)) this.#state.addSegment(identity.segment)
    this.#writer = new JournalWriter(disk, dir, this.#store, this.#state, settings.reserveBytes, settings.now)
    this.#stage = new AppendStage(this.#state, this.#writer.builder, settings.verifyAppends)
    this.#reader = new SegmentReader(disk, dir, settings.verifyReads, new TailReader(this.tail))
    this.#maintenance = new JournalMaintenance(
      { ...settings, logId: this.id, disk, dir },
      this.#state,
      this.#store,
      this.#writer,
      this.#recovered?.scannedBytes ?? 0,
    )
    if (this.#recovered?.tornTail !== undefined) settings.onTornTail?.(this.#recovered.tornTail)
  }

  /** Number of frees so far; a reader of segment files closes them when it changes. */
  get generation(): number {
    return this.#maintenance.freedCount
  }

  /** The segment that is being written; those before it are whole. */
  get segment(): number {
    return this.#store.segment
  }

  /** Up to where that one is durable. */
  get durablePosition(): number {
    return this.#store.position
  }

  /** Sequence of the last durable group. */
  get sequence(): number {
    return this.#state.sequence
  }

  /** Why the log has stopped; undefined while it runs. */
  get stopped(): MillraceError | undefined {
    return this.#writer.stopped
  }

  createTopic(name: string, config: TopicConfig): Topic {
    this.#checkRunning()
    checkTopic(name, config)
    const found = this.#state.topics.get(name)
    let topic: Topic = { name, id: randomUUID(), config: { ...config } }
    if (found !== undefined) {
      const exists = found.topic.config
      if (exists.partitions !== config.partitions || exists.cleanup !== config.cleanup)
        throw topicConflict(name, exists, config)
      topic = { ...found.topic, config: topic.config }
      if (topicToJson(topic) === topicToJson(found.topic)) return found.topic
    }
    const first = found?.firstPartition ?? this.#state.partitions.length
    const json = topicToJson(topic)
    this.#writer.builder.clear()
    this.#writer.builder.addTopic(first, json)
    this.#writer.write()
    return this.#state.applyTopic(first, json).topic
  }

  describeTopic(name: string): Topic | undefined {
    return this.#state.topics.get(name)?.topic
  }

  listTopics(): Topic[] {
    return [...this.#state.topics.values()].map((state) => state.topic)
  }

  range(topic: string, partition: number): PartitionRange {
    const { start, end } = this.#state.partition(topic, partition)
    return { start, end }
  }

  position(stage: string, topic: string, partition: number): number | undefined {
    return this.#state.partition(topic, partition).positions.get(stage)
  }

  /** Makes all requests durable in as few groups as their size allows, and settles each. Never throws. */
  commit(pending: readonly PendingAppend[]): void {
    for (let next = 0; next < pending.length; ) next = this.#commitGroup(pending, next)
  }

  /**
   * The places (PLACE numbers each) of batches from `offset` on, appended to `places`: at most about `bytesMax`
   * bytes but at least one batch, none at the end. Returns the offset after the last.
   */
  locate(topic: string, partition: number, offset: number, bytesMax: number, places: number[]): number {
    const state = this.#state.partition(topic, partition)
    if (offset < state.start) throw offsetBelowStart(topic, partition, offset, state.start)
    if (offset > state.end) throw offsetAboveEnd(topic, partition, offset, state.end)
    const { index } = state
    let total = 0
    let nextOffset = offset
    for (let row = index.find(offset); row < index.length; row++) {
      const bytes = index.bytes(row)
      if (total > 0 && total + bytes > bytesMax) break
      total += bytes
      places.push(index.segment(row), index.position(row), bytes, index.baseOffset(row))
      nextOffset = index.nextOffset(row)
    }
    return nextOffset
  }

  /** The bytes at `places`; see SegmentReader. */
  readPlaces(places: readonly number[]): Uint8Array | undefined {
    return this.#reader.read(places, this.generation)
  }

  changes(sequence: number): Changes {
    const partitions = []
    for (let at = this.#state.newest; at !== undefined && at.sequence > sequence; at = at.older)
      if (at.end > at.start)
        partitions.push({ topic: at.topic.topic.name, partition: at.partition, end: at.end })
    return { sequence: this.#state.sequence, partitions }
  }

  /** A small piece of the background work (about a millisecond of disk); true while more is due now. */
  maintain(): boolean {
    if (this.#closed || this.#writer.stopped !== undefined) return false
    return this.#maintenance.step()
  }

  /** All that retention, compaction and checkpoint have to do now, whatever their intervals. For tests and tools. */
  maintainAll(): void {
    if (this.#closed || this.#writer.stopped !== undefined) return
    this.#maintenance.force()
    while (this.maintain());
  }

  stats(): JournalStats {
    let liveBytes = 0
    for (const segment of this.#state.segments.values()) liveBytes += segment.liveBytes
    const { groupCount, byteCount, commitMsSum, commitMsMax, commitMsBuckets, freeBytes } = this.#writer
    return {
      groups: groupCount,
      bytes: byteCount,
      commitMsSum,
      commitMsMax,
      commitMsBuckets: [...commitMsBuckets],
      freeBytes,
      segments: this.#state.segments.size,
      liveBytes,
      partitions: this.#state.partitions.length,
      checkpoints: this.#maintenance.checkpointCount,
      segmentsFreed: this.#maintenance.freedCount,
      segmentsReused: this.#store.reusedCount,
      compactions: this.#maintenance.compactionCount,
      recoveredBytes: this.#recovered?.scannedBytes ?? 0,
      recoveredGroups: this.#recovered?.groupCount ?? 0,
      tornTail: this.#recovered?.tornTail,
      stopped: this.#writer.stopped !== undefined,
    }
  }

  /** Writes a checkpoint, so that the next start reads little, and closes all files. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    try {
      if (this.#writer.stopped === undefined) this.#maintenance.finish()
    } finally {
      this.#reader.close()
      this.#maintenance.close()
      this.#store.close()
    }
  }

  #checkRunning(): void {
    if (this.#writer.stopped !== undefined) throw this.#writer.stopped
    if (this.#closed) throw new MillraceError('log_stopped', 'the log is closed')
  }

  /** Puts requests from `from` on into one group; returns the index of the first that did not fit any more. */
  #commitGroup(pending: readonly PendingAppend[], from: number): number {
    const { builder } = this.#writer
    this.#stage.begin()
    let next = from
    for (; next < pending.length; next++) {
      const one = pending[next]!
      try {
        this.#checkRunning()
        const bytes = requestBytes(one.request)
        if (builder.entryCount > 0 && builder.byteLength + bytes > this.#groupBytesMax()) break
        if (bytes > this.#store.groupBytesMax)
          throw new MillraceError(
            'batch_invalid',
            `a request of ${bytes} bytes; a segment holds ${this.#store.groupBytesMax}`,
          )
        if (one.request.entries.length > 0 && this.#writer.isFull()) throw this.#writer.full()
        one.baseOffsets = this.#stage.add(one.request)
      } catch (error) {
        one.error = error as Error
      }
    }
    if (builder.entryCount > 0) this.#write(pending, from, next)
    return next
  }

  #groupBytesMax(): number {
    return Math.min(this.#options.groupBytesMax, this.#store.groupBytesMax)
  }

  #write(pending: readonly PendingAppend[], from: number, to: number): void {
    try {
      this.#writer.write()
    } catch (error) {
      for (let i = from; i < to; i++) {
        pending[i]!.error ??= error as Error
        pending[i]!.baseOffsets = undefined
      }
      return
    }
    this.#stage.apply(this.#writer.segment, this.#writer.batchesPosition)
  }
}

/** At least the bytes that a request takes in a group. */
function requestBytes(request: AppendRequest): number {
  let bytes = 256
  for (const entry of request.entries)
    bytes += 'reference' in entry ? 64 : entry.batch.length + BATCH_ENTRY_BYTES * batchCountMax(entry)
  return bytes + (request.positions?.length ?? 0) * 300
}

/** An entry holds at most one batch for each record. */
const batchCountMax = (entry: BatchAppend): number =>
  Math.min(Math.max(1, entry.recordCount), Math.ceil(entry.batch.length / 61))
