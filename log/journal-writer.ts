// The one place where groups are written: sequence, roll, write, sync, and what happens when one of them fails.
//
// A failed write or sync stops the log for good, because the kernel may have dropped what it could not write.
// The exception is a full disk (ENOSPC) while writing: nothing of that group counts yet, the next one is
// written over it, and the caller is told to come again.
import { hasElapsed } from '../std/clock.ts'
import type { Disk } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { GroupBuilder } from './journal-format.ts'
import type { SegmentStore } from './journal-segments.ts'
import type { JournalState } from './journal-state.ts'

/** How often the free space is asked for. */
const FREE_CHECK_INTERVAL_MS = 100

/** Upper bounds of the histogram of commit times, in ms; the last bucket has none. */
export const COMMIT_MS_BOUNDS = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10, 20, 50, 100, 1000] as const

export class JournalWriter {
  readonly builder = new GroupBuilder()
  /** Set when the log has stopped; every append fails with it. */
  stopped: MillraceError | undefined
  groupCount = 0
  byteCount = 0
  commitMsSum = 0
  commitMsMax = 0
  readonly commitMsBuckets: number[] = new Array<number>(COMMIT_MS_BOUNDS.length + 1).fill(0)
  freeBytes = Number.POSITIVE_INFINITY
  /** Position of the first batch of the last group in its segment. */
  batchesPosition = 0
  readonly #disk: Disk
  readonly #dir: string
  readonly #store: SegmentStore
  readonly #state: JournalState
  readonly #reserveBytes: number
  readonly #now: () => number
  #freeCheckedAt = Number.NEGATIVE_INFINITY

  constructor(
    disk: Disk,
    dir: string,
    store: SegmentStore,
    state: JournalState,
    reserveBytes: number,
    now: () => number,
  ) {
    this.#disk = disk
    this.#dir = dir
    this.#store = store
    this.#state = state
    this.#reserveBytes = reserveBytes
    this.#now = now
  }

  get segment(): number {
    return this.#store.segment
  }

  /** Whether free disk is below the reserve; asks the disk at most every 100 ms. */
  isFull(): boolean {
    const now = this.#now()
    if (hasElapsed(this.#freeCheckedAt, FREE_CHECK_INTERVAL_MS, now)) {
      this.#freeCheckedAt = now
      this.freeBytes = this.#disk.freeBytes(this.#dir)
    }
    return this.freeBytes < this.#reserveBytes
  }

  /** Bytes that may be used before the reserve is touched, as of the last time the disk was asked. */
  roomAboveReserve(): number {
    return this.freeBytes - this.#reserveBytes
  }

  /** Has the disk asked anew at the next `isFull`. */
  recheckFree(): void {
    this.#freeCheckedAt = Number.NEGATIVE_INFINITY
  }

  full(cause?: unknown): MillraceError {
    return new MillraceError(
      'log_full',
      `${this.freeBytes} bytes are free in ${this.#dir}, the reserve is ${this.#reserveBytes}`,
      { freeBytes: this.freeBytes, reserveBytes: this.#reserveBytes },
      cause,
    )
  }

  /** Makes what the builder holds durable as one group. Throws `log_full` or `log_stopped`; then nothing of it counts. */
  write(): void {
    if (this.stopped !== undefined) throw this.stopped
    const { builder } = this
    const byteLength = builder.byteLength
    const started = performance.now()
    const position = this.#place(byteLength)
    try {
      this.#store.sync(byteLength)
    } catch (error) {
      throw this.stop(error)
    }
    this.batchesPosition = position + builder.batchesStart
    this.#state.sequence++
    this.groupCount++
    this.byteCount += byteLength
    const elapsed = performance.now() - started
    this.commitMsSum += elapsed
    if (elapsed > this.commitMsMax) this.commitMsMax = elapsed
    let bucket = 0
    while (bucket < COMMIT_MS_BOUNDS.length && elapsed > COMMIT_MS_BOUNDS[bucket]!) bucket++
    this.commitMsBuckets[bucket]!++
  }

  /** Writes the group, in the next segment where this one is full; returns its position. */
  #place(byteLength: number): number {
    try {
      if (!this.#store.hasRoom(byteLength)) {
        this.#store.roll()
        this.#state.addSegment(this.#store.segment)
      }
      this.#store.write(this.builder.finish(this.#state.sequence + 1, this.#store.salt))
    } catch (error) {
      throw this.fail(error)
    }
    return this.#store.position
  }

  /** What a failure of the disk means where nothing was synced: `log_full` without space, else the log stops. */
  fail(error: unknown): MillraceError {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') return this.stop(error)
    this.recheckFree()
    return this.full(error)
  }

  /** Stops the log. */
  stop(error: unknown): MillraceError {
    this.stopped ??= new MillraceError(
      'log_stopped',
      `the journal in ${this.#dir} stopped: ${(error as Error).message}`,
      { dir: this.#dir },
      error,
    )
    return this.stopped
  }
}
