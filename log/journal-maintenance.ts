// The background work of the journal, one small step at a time: whoever owns the thread calls `step` when it has
// nothing to commit, and at most once between two commits under load.
//
// In order of urgency: a checkpoint that was begun, the next segment, retention, compaction, survivors, a new
// checkpoint. A full disk ends a step quietly (it will be tried again); any other failure stops the log.
import { hasElapsed } from '../std/clock.ts'
import type { Disk } from '../std/disk.ts'
import { type CheckpointHead, CheckpointWriter, FrameBuffer } from './journal-checkpoint.ts'
import { PartitionCompaction } from './journal-compaction.ts'
import { SegmentReader } from './journal-read.ts'
import { RetentionPass, SurvivorMove, segmentToClear } from './journal-retention.ts'
import type { SegmentStore } from './journal-segments.ts'
import type { JournalState, PartitionState } from './journal-state.ts'
import type { JournalWriter } from './journal-writer.ts'

export interface MaintenanceOptions {
  disk: Disk
  dir: string
  logId: string
  segmentBytes: number
  tombstoneAgeMs: number
  compactionBytesMin: number
  survivorsIdleMs: number
  retentionIntervalMs: number
  checkpointStepBytes: number
  now: () => number
}

/** Journal bytes between two checkpoints: at least this many times the size of the last one. */
const CHECKPOINT_RATIO = 4
/** After the disk was found full, how long background writing waits. */
const FULL_PAUSE_MS = 1000

export class JournalMaintenance {
  checkpointCount = 0
  freedCount = 0
  compactionCount = 0
  readonly #options: MaintenanceOptions
  readonly #state: JournalState
  readonly #store: SegmentStore
  readonly #writer: JournalWriter
  /** Its own, because what the journal's reader returned stays valid until the next read. */
  readonly #reader: SegmentReader
  #checkpoint: CheckpointWriter | undefined
  readonly #frames = new FrameBuffer()
  /** Segments that the checkpoint being written does not need. */
  #dead: number[] = []
  #checkpointBytes = 0
  /** What recovery would have to read, not counting groups of this process. */
  #replayBytes: number
  #bytesAtCheckpoint = 0
  #sequenceAtCheckpoint = -1
  #pass: RetentionPass | undefined
  #passedAt = Number.NEGATIVE_INFINITY
  /** Nothing was left to do after the last pass. All segments are looked at for that: too many to do it after each commit. */
  #isIdle = false
  readonly #toCompact = new Set<PartitionState>()
  #compaction: PartitionCompaction | undefined
  #survivors: SurvivorMove | undefined
  /** When the disk was found full. */
  #fullAt = Number.NEGATIVE_INFINITY
  #forced = false

  constructor(
    options: MaintenanceOptions,
    state: JournalState,
    store: SegmentStore,
    writer: JournalWriter,
    replayBytes: number,
  ) {
    this.#options = options
    this.#state = state
    this.#store = store
    this.#writer = writer
    this.#reader = new SegmentReader(options.disk, options.dir)
    this.#replayBytes = replayBytes
  }

  /** The next steps do all that can be done, due or not. */
  force(): void {
    this.#forced = true
    this.#passedAt = Number.NEGATIVE_INFINITY
    this.#fullAt = Number.NEGATIVE_INFINITY
  }

  /** Does a piece; false when nothing is due now. Errors of the disk end in the writer. */
  step(): boolean {
    const now = this.#options.now()
    if (!hasElapsed(this.#fullAt, FULL_PAUSE_MS, now)) return false
    try {
      const worked = this.#step(now)
      if (!worked) this.#forced = false
      return worked
    } catch (error) {
      this.#fail(error, now)
      return false
    }
  }

  /** Writes a whole checkpoint where anything changed since the last. */
  finish(): void {
    this.#checkpoint?.abandon()
    this.#checkpoint = undefined
    if (this.#state.sequence === this.#sequenceAtCheckpoint || this.#state.sequence === 0) return
    try {
      this.#beginCheckpoint()
      while (this.#checkpointStep());
    } catch (error) {
      this.#fail(error, this.#options.now())
    }
  }

  close(): void {
    this.#reader.close()
  }

  #step(now: number): boolean {
    // Nothing else while it is written: it must not name what was forgotten or moved meanwhile.
    if (this.#checkpoint !== undefined) {
      this.#checkpointStep()
      return true
    }
    if (this.#writer.isFull()) this.#store.dropSpare()
    const mayPrepare = this.#store.hasSpare || this.#mayPrepare()
    if (!this.#store.hasPrepared && mayPrepare && this.#store.prepareStep()) return true
    if (this.#pass !== undefined || hasElapsed(this.#passedAt, this.#options.retentionIntervalMs, now)) {
      this.#pass ??= new RetentionPass(this.#state, this.#options.now)
      if (this.#pass.step((partition) => this.#seen(partition))) {
        this.#pass = undefined
        this.#passedAt = now
        this.#isIdle = false
      }
      return true
    }
    if (this.#isIdle && !this.#hasGrown()) return false
    if (this.#compactStep(now) || this.#survivorStep(now) || this.#checkpointDue()) return true
    this.#isIdle = true
    return false
  }

  /** The next segment is not prepared into the reserve. */
  #mayPrepare(): boolean {
    return !this.#writer.isFull() && this.#writer.roomAboveReserve() >= this.#options.segmentBytes
  }

  #seen(partition: PartitionState): void {
    if (partition.topic.topic.config.cleanup !== 'compact' || partition.dirtyBytes === 0) return
    const min = Math.max(this.#options.compactionBytesMin, partition.bytes / 2)
    if (this.#forced || partition.dirtyBytes >= min) this.#toCompact.add(partition)
  }

  #compactStep(now: number): boolean {
    if (this.#compaction === undefined) {
      const next = this.#toCompact.values().next()
      if (next.done) return false
      this.#toCompact.delete(next.value)
      this.#compaction = new PartitionCompaction(
        this.#state,
        this.#writer,
        this.#reader,
        next.value,
        now - this.#options.tombstoneAgeMs,
      )
    }
    if (this.#compaction.step(this.freedCount)) {
      this.#compaction = undefined
      this.compactionCount++
    }
    return true
  }

  #survivorStep(now: number): boolean {
    if (this.#survivors === undefined) {
      const segment = segmentToClear(
        this.#state,
        this.#store.segment,
        this.#options.segmentBytes,
        (changedAtMs) => hasElapsed(changedAtMs, this.#options.survivorsIdleMs, now),
        (number) => this.#store.fileBytes(number),
      )
      if (segment === undefined) return false
      this.#survivors = new SurvivorMove(this.#state, this.#writer, this.#reader, segment)
    }
    if (this.#survivors.step(this.freedCount)) {
      // What could not be read stays where it is, and is not tried again at once.
      const segment = this.#state.segments.get(this.#survivors.segment)
      if (segment !== undefined) segment.changedAtMs = now
      this.#survivors = undefined
    }
    return true
  }

  /** Whether a start would read so much again that a checkpoint is due. */
  #hasGrown(): boolean {
    const bytes = this.#replayBytes + this.#writer.byteCount - this.#bytesAtCheckpoint
    return bytes >= Math.max(this.#options.segmentBytes, CHECKPOINT_RATIO * this.#checkpointBytes)
  }

  #checkpointDue(): boolean {
    const dead = this.#deadSegments().length
    if (this.#state.sequence === this.#sequenceAtCheckpoint && dead === 0) return false
    const freeable = dead * this.#options.segmentBytes
    if (
      !this.#forced &&
      !this.#hasGrown() &&
      freeable < Math.max(1, CHECKPOINT_RATIO * this.#checkpointBytes)
    )
      return false
    this.#beginCheckpoint()
    return true
  }

  #deadSegments(): number[] {
    const dead: number[] = []
    for (const { segment, liveCount } of this.#state.segments.values())
      if (liveCount === 0 && segment < this.#store.segment) dead.push(segment)
    return dead
  }

  #beginCheckpoint(): void {
    const { disk, dir, logId, checkpointStepBytes } = this.#options
    this.#dead = this.#deadSegments()
    const dead = new Set(this.#dead)
    const segments = [...this.#state.segments.keys()].filter(
      (segment) => segment < this.#store.segment && !dead.has(segment),
    )
    const head: CheckpointHead = {
      logId,
      sequence: this.#state.sequence,
      segment: this.#store.segment,
      position: this.#store.position,
      segments,
    }
    this.#bytesAtCheckpoint = this.#writer.byteCount
    this.#checkpoint = new CheckpointWriter(disk, dir, this.#state, head, checkpointStepBytes, this.#frames)
  }

  /** True while the checkpoint needs more. */
  #checkpointStep(): boolean {
    const checkpoint = this.#checkpoint!
    if (!checkpoint.step()) return true
    this.#checkpoint = undefined
    this.checkpointCount++
    this.#checkpointBytes = checkpoint.byteLength
    this.#sequenceAtCheckpoint = checkpoint.head.sequence
    this.#replayBytes = 0
    for (const segment of this.#dead) {
      this.freedCount++
      this.#state.segments.delete(segment)
      this.#store.free(segment, this.freedCount)
    }
    if (this.#dead.length > 0) this.#reader.close()
    this.#dead = []
    return false
  }

  #fail(error: unknown, now: number): void {
    if (this.#writer.stopped !== undefined) return
    // What the writer refused for want of space, or the disk itself did.
    const isFull =
      (error as { code?: string }).code === 'log_full' || (error as { code?: string }).code === 'ENOSPC'
    if (!isFull) {
      this.#writer.stop(error)
      return
    }
    this.#writer.recheckFree()
    this.#fullAt = now
    this.#compaction = undefined
    this.#survivors = undefined
    // The prepared segment is given back: freeing others needs room for a checkpoint.
    try {
      this.#checkpoint?.abandon()
      this.#checkpoint = undefined
      this.#store.abandonPrepared()
    } catch (failure) {
      this.#writer.stop(failure)
    }
  }
}
