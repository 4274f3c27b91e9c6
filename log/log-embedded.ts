// The embedded log in the caller's own thread: promises around the journal. For tools, tests and the simulation;
// a running process has the journal in a thread of its own (log-thread.ts, log-client.ts).
//
// Appends wait in a queue until `schedule` runs them: all that wait become one group.
import { MillraceError } from '../std/errors.ts'
import { Waiters } from '../std/waiters.ts'
import { Journal, type JournalOptions, type JournalStats, type PendingAppend } from './journal.ts'
import { segmentName } from './journal-format.ts'
import { PLACE } from './journal-read.ts'
import { corrupt } from './journal-scan.ts'
import type {
  AppendRequest,
  AppendResult,
  Changes,
  Log,
  PartitionRange,
  ReadResult,
  Topic,
  TopicConfig,
} from './log.ts'

export interface EmbeddedLogOptions extends JournalOptions {
  /** Runs a function soon, once for each call. Default: setImmediate. */
  schedule?: (run: () => void) => void
  /** Whether background work is done by itself (default). Without it the owner calls `maintain`. */
  background?: boolean
}

/** Places are asked for again at most this often before what is read counts as damaged. */
export const READ_ATTEMPTS = 3

const BACKGROUND_IDLE_MS = 1000

interface WaitingAppend extends PendingAppend {
  resolve: (result: AppendResult) => void
  reject: (error: Error) => void
}

/** The journal with what both of its fronts need: a queue of appends, and readers that wait for more. */
export class EmbeddedLog implements Log {
  readonly id: string
  readonly #journal: Journal
  readonly #schedule: (run: () => void) => void
  readonly #background: boolean
  #queue: WaitingAppend[] = []
  #scheduled = false
  #timer: NodeJS.Timeout | undefined
  readonly #waiting = new Waiters()

  constructor(options: EmbeddedLogOptions) {
    this.#journal = new Journal(options)
    this.id = this.#journal.id
    this.#schedule = options.schedule ?? ((run) => void setImmediate(run))
    this.#background = options.background ?? true
    if (this.#background) this.#plan(0)
  }

  async createTopic(name: string, config: TopicConfig): Promise<Topic> {
    return this.#journal.createTopic(name, config)
  }

  async describeTopic(name: string): Promise<Topic | undefined> {
    return this.#journal.describeTopic(name)
  }

  async listTopics(): Promise<Topic[]> {
    return this.#journal.listTopics()
  }

  append(request: AppendRequest): Promise<AppendResult> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ request, baseOffsets: undefined, error: undefined, resolve, reject })
      if (this.#scheduled) return
      this.#scheduled = true
      this.#schedule(() => this.#flush())
    })
  }

  async read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult> {
    const places: number[] = []
    const nextOffset = this.#journal.locate(topic, partition, offset, bytesMax, places)
    const batches = this.#journal.readPlaces(places)
    if (batches === undefined) throw unreadable(this.#journal.dir, places)
    return { batches, nextOffset }
  }

  async range(topic: string, partition: number): Promise<PartitionRange> {
    return this.#journal.range(topic, partition)
  }

  async changes(sequence: number, timeoutMs: number): Promise<Changes> {
    const now = this.#journal.changes(sequence)
    if (now.partitions.length > 0 || timeoutMs <= 0) return now
    await this.#waiting.wait(timeoutMs)
    return this.#journal.changes(sequence)
  }

  async position(stage: string, topic: string, partition: number): Promise<number | undefined> {
    return this.#journal.position(stage, topic, partition)
  }

  stats(): JournalStats {
    return this.#journal.stats()
  }

  /** A piece of background work; true while more is due. */
  maintain(): boolean {
    return this.#journal.maintain()
  }

  /** All background work that can be done now. */
  maintainAll(): void {
    this.#journal.maintainAll()
  }

  /** Writes what waits, then closes. */
  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flush()
    this.#journal.close()
    this.#waiting.wake()
  }

  #flush(): void {
    this.#scheduled = false
    const queue = this.#queue
    if (queue.length === 0) return
    this.#queue = []
    this.#journal.commit(queue)
    let grew = false
    for (const { baseOffsets, error, resolve, reject, request } of queue) {
      if (baseOffsets === undefined) reject(error ?? new MillraceError('internal', 'append was not settled'))
      else {
        grew ||= request.entries.length > 0
        resolve({ baseOffsets })
      }
    }
    if (grew) this.#waiting.wake()
    if (this.#background) this.#plan(0)
  }

  /** Background work: piece by piece while there is some, then once a second. */
  #plan(delayMs: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      this.#plan(this.#journal.maintain() ? 0 : BACKGROUND_IDLE_MS)
    }, delayMs)
    this.#timer.unref()
  }
}

/** The error for batches that are not where the journal says. */
export function unreadable(dir: string, places: ArrayLike<number>): MillraceError {
  const first = places.length >= PLACE ? places[0]! : 0
  return corrupt(`${dir}/${segmentName(first)}`, places[1] ?? 0, 'damaged batch at or after; found')
}

/** Opens or makes the log in `options.dir`. The folder must be this process's own (data-folder.ts). */
export function openEmbeddedLog(options: EmbeddedLogOptions): EmbeddedLog {
  return new EmbeddedLog(options)
}
