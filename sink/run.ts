// The sink stage: follows the log, decides when which table commits, and keeps one table's failure from the
// others.
//
// A table is due when its oldest uncommitted row is `commitAgeMs` old or its backlog reaches `commitBytesMax`
// (or a million rows, which bounds memory: the rows of one commit, decoded and once more in file order);
// one whose last commit touched more than `widePartitions` partitions may wait up to `wideAgeMs`, because it
// makes that many small files at once. A global budget of commits a second stretches quiet tables first: the
// larger backlog × age goes before. It stretches them to `overdueAgeMs` and no further: who has waited that long
// is committed beside the budget, the oldest first, so that freshness has a bound as long as the machine keeps up.
//
// Where several processes share the stage (log.join), each commits the partitions that the group gives it, to the
// same tables. A change takes effect between two rounds, when nothing is staged: the tables are opened anew, and what
// they hold of a partition says where its new owner begins. Who was dropped and does not know it yet commits nothing:
// its rows do not begin where the table ends.
//
// A table that fails is parked: it is tried again with growing pauses, its rows wait in the log, its state
// says why. Only a broken invariant of ours, or a log that stopped, ends the stage.
import { isDeepStrictEqual } from 'node:util'
import type { Assignment, Log, Membership, StagePosition } from '../log/log.ts'
import { isMillraceError, type MillraceError } from '../std/errors.ts'
import { printTableId } from './catalog.ts'
import { COMMIT_ROWS_MAX, type FeedSpec, type FeedTools, SINK_STAGE, TableFeed } from './feed.ts'
import { MAINTENANCE_OPTIONS_DEFAULT, type MaintenanceOptions, maintain } from './maintenance.ts'
import type { SinkCounter } from './sink-counters.ts'

export interface SinkOptions {
  commitAgeMs: number
  commitBytesMax: number
  widePartitions: number
  wideAgeMs: number
  overdueAgeMs: number
  commitsPerSecond: number
  maintenance: MaintenanceOptions
}

export const SINK_OPTIONS_DEFAULT: SinkOptions = {
  commitAgeMs: 3000,
  commitBytesMax: 128 * 1024 * 1024,
  widePartitions: 16,
  wideAgeMs: 30_000,
  overdueAgeMs: 30_000,
  commitsPerSecond: 20,
  maintenance: MAINTENANCE_OPTIONS_DEFAULT,
}

const RETRY_MS_FIRST = 1000
const RETRY_MS_MAX = 60_000
/** Longest that `run` waits before it looks at the clock again. */
const POLL_MS_MAX = 250
/** Shortest, also while the budget holds tables back that are due. */
const POLL_MS_MIN = 10
/** How often a topic that did not exist is looked for. */
const TOPIC_POLL_MS = 1000
const NO_PARTITIONS: ReadonlySet<number> = new Set()
/** How often a table without new rows is looked at for changes of other engines. */
const TABLE_POLL_MS = 30_000
/** Commits under way at a time; libuv has four threads for their syncs. */
const COMMITS_AT_ONCE = 6
/** Tables looked at in one round: thousands that are quiet must not hold up those that are not. */
const LOOKS_MAX = 20

export type SinkEvent =
  | { level: 'info'; table: string; message: string }
  | { level: 'warn' | 'error'; table: string; message: string; code: string; retryMs: number }

export interface TableStatus {
  table: string
  /** `parked`: it failed, and is tried again at `retryAtMs`. */
  state: 'following' | 'waiting-for-topic' | 'parked'
  lagRecords: number
  error: string | undefined
  code: string | undefined
  retryAtMs: number | undefined
}

export interface SinkTools extends FeedTools {
  options: SinkOptions
  /** Told of starts over, parks and recoveries. */
  onEvent(event: SinkEvent): void
  /** Adds to, or sets, a counter. */
  counters: { add(name: SinkCounter, count: number): void; set(name: SinkCounter, value: number): void }
}

interface Tended {
  feed: TableFeed
  opened: boolean
  failures: number
  retryAtMs: number
  lookedAtMs: number
  error: MillraceError | Error | undefined
}

export class SinkStage {
  readonly #tools: SinkTools
  readonly #log: Log
  readonly #byTopic = new Map<string, Tended>()
  #next: readonly FeedSpec[] | undefined
  readonly #nextApplied: (() => void)[] = []
  /** Positions that the log has not taken yet, the newest of each partition. */
  readonly #unregistered = new Map<string, StagePosition>()
  #sequence = 0
  #tokens: number
  #tokensAtMs: number
  #topicsLookedAtMs = 0
  /** Among the processes that share the stage; undefined where this one has it alone. */
  #membership: Membership | undefined
  #assignmentChanged = false
  #assignment: Assignment | undefined
  #sharedFailure: unknown

  constructor(tools: SinkTools) {
    this.#tools = tools
    this.#log = tools.log
    this.#tokens = tools.options.commitsPerSecond
    this.#tokensAtMs = tools.clock.now()
  }

  /**
   * What the stage feeds, from now on: new tables are made, changed ones evolve, those left out are followed no
   * longer (their rows stay); who has not changed is not touched, so that one contract among thousands is cheap. A
   * table that fails is parked. Settles when every table that can exist does.
   */
  async setFeeds(specs: readonly FeedSpec[]): Promise<void> {
    await this.#share(specs.map(({ topic }) => topic))
    const wanted = new Set(specs.map((spec) => spec.topic))
    for (const topic of this.#byTopic.keys()) if (!wanted.has(topic)) this.#byTopic.delete(topic)
    const positions: StagePosition[] = []
    for (const spec of specs) {
      const known = this.#byTopic.get(spec.topic)
      if (known?.opened && isDeepStrictEqual(known.feed.spec.origin, spec.origin)) continue
      const tended: Tended = {
        feed: new TableFeed(spec, this.#tools),
        opened: false,
        failures: 0,
        retryAtMs: 0,
        lookedAtMs: this.#tools.clock.now(),
        error: undefined,
      }
      this.#byTopic.set(spec.topic, tended)
      if (this.#isOurs(tended)) positions.push(...(await this.#open(tended)))
    }
    await this.#register(positions)
    this.#tools.counters.set('tables', this.#byTopic.size)
  }

  async #share(topics: readonly string[]): Promise<void> {
    if (this.#membership !== undefined) {
      this.#membership.subscribe(topics)
      return
    }
    this.#membership = await this.#log.join?.(
      SINK_STAGE,
      topics,
      () => {
        this.#assignmentChanged = true
      },
      (error) => {
        this.#sharedFailure = error
      },
    )
    if (this.#membership === undefined) return
    const { target, generation } = this.#membership
    this.#assignment = target
    this.#membership.own(target, generation)
  }

  /** Whether there is something of the table's topic to do here. */
  #isOurs({ feed }: Tended): boolean {
    if (this.#assignment === undefined) return true
    const numbers = this.#assignment.get(feed.spec.topic) ?? NO_PARTITIONS
    feed.setOwned(numbers)
    return numbers.size > 0
  }

  /** Takes over what the group has assigned; nothing of what goes to others is under way here. */
  async #applyAssignment(): Promise<void> {
    this.#assignmentChanged = false
    const { target, generation } = this.#membership!
    this.#assignment = target
    this.#membership!.own(target, generation)
    // Positions of partitions that went are their new owners' to tell.
    this.#unregistered.clear()
    const positions: StagePosition[] = []
    for (const tended of this.#byTopic.values()) {
      const numbers = this.#assignment.get(tended.feed.spec.topic) ?? NO_PARTITIONS
      if (!tended.feed.setOwned(numbers)) continue
      tended.opened = false
      tended.feed.dirtySinceMs = undefined
      if (numbers.size > 0) positions.push(...(await this.#open(tended)))
    }
    await this.#register(positions)
  }

  /** As setFeeds, at the beginning of the next round: for a caller beside `run`. */
  updateFeeds(specs: readonly FeedSpec[]): Promise<void> {
    this.#next = specs
    return new Promise((resolve) => this.#nextApplied.push(resolve))
  }

  /**
   * One round: takes note of what grew, commits what is due, tends tables that are parked or lack their
   * topic. Returns the number of commits. Throws only what ends the stage.
   */
  async step(): Promise<number> {
    if (this.#next !== undefined) {
      const specs = this.#next
      this.#next = undefined
      // Those who ask meanwhile wait for the next round.
      const applied = this.#nextApplied.splice(0)
      await this.setFeeds(specs)
      for (const resolve of applied) resolve()
    }
    if (this.#sharedFailure !== undefined) throw this.#sharedFailure
    if (this.#assignmentChanged) await this.#applyAssignment()
    await this.#follow(0)
    const committed = await this.#commitDue(false)
    this.#report()
    return committed
  }

  /** Rounds until the signal; then it settles, at a point where nothing is half done. */
  async run(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      if ((await this.step()) > 0 || stop.aborted) continue
      // While rows wait for their time, more of them are no reason to wake up.
      const waitMs = this.#waitMs()
      if (waitMs === undefined) await this.#follow(POLL_MS_MAX)
      else await this.#tools.clock.sleep(waitMs)
    }
  }

  /**
   * Commits everything that the log holds for tables that are not parked; parked ones get one more try.
   * Afterwards no staged file is left. Call it after `run` has settled and writers have stopped.
   */
  async drain(): Promise<void> {
    for (const tended of this.#byTopic.values()) tended.retryAtMs = 0
    await this.#tend()
    for (;;) {
      let pending = 0
      for (const tended of this.#byTopic.values()) {
        if (!tended.opened) continue
        await this.#guard(tended, () => tended.feed.refresh())
        pending += tended.opened ? tended.feed.lagRecords : 0
      }
      if (pending === 0 || (await this.#commitDue(true)) === 0) break
    }
    this.#report()
  }

  status(): TableStatus[] {
    return [...this.#byTopic.values()].map((tended) => ({
      table: tended.feed.name,
      state:
        tended.error !== undefined ? 'parked' : tended.feed.hasSource ? 'following' : 'waiting-for-topic',
      lagRecords: tended.feed.lagRecords,
      error: tended.error?.message,
      code: (tended.error as { code?: string } | undefined)?.code,
      retryAtMs: tended.error === undefined ? undefined : tended.retryAtMs,
    }))
  }

  async #follow(timeoutMs: number): Promise<void> {
    const changes = await this.#log.changes(this.#sequence, timeoutMs)
    this.#sequence = changes.sequence
    const now = this.#tools.clock.now()
    for (const change of changes.partitions)
      this.#byTopic.get(change.topic)?.feed.note(change.partition, change.end, now)
  }

  async #commitDue(draining: boolean): Promise<number> {
    await this.#tend()
    const now = this.#tools.clock.now()
    const { options } = this.#tools
    this.#tokens = Math.min(
      options.commitsPerSecond,
      this.#tokens + ((now - this.#tokensAtMs) / 1000) * options.commitsPerSecond,
    )
    this.#tokensAtMs = now
    const due: { tended: Tended; urgency: number }[] = []
    for (const tended of this.#byTopic.values())
      if (tended.opened && (draining ? tended.feed.lagRecords > 0 : this.#isDue(tended.feed, now)))
        due.push({ tended, urgency: this.#urgency(tended.feed, now) })
    due.sort((a, b) => b.urgency - a.urgency)
    const positions: StagePosition[] = []
    const done: TableFeed[] = []
    const running = new Set<Promise<void>>()
    let started = 0
    let bytes = 0
    try {
      for (const { tended } of due) {
        const { feed } = tended
        // After a second's worth the order is asked for anew: a thousand quiet tables do not hold up a busy one.
        if (!draining && started >= options.commitsPerSecond) break
        const isOverdue = now - (feed.dirtySinceMs ?? now) >= options.overdueAgeMs
        if (!draining && !isOverdue && this.#tokens < 1) break
        this.#tokens = Math.max(0, this.#tokens - 1)
        started++
        // Small commits mostly wait for syncs, so several are under way; what they hold is bounded as that of one is.
        const own = Math.min(options.commitBytesMax, feed.lagRecords * feed.bytesPerRecord)
        while (running.size >= COMMITS_AT_ONCE || (running.size > 0 && bytes + own > options.commitBytesMax))
          await Promise.race(running)
        bytes += own
        const one = this.#commit(tended, now, positions, done).finally(() => {
          bytes -= own
          running.delete(one)
        })
        running.add(one)
      }
      await Promise.all(running)
    } finally {
      await Promise.allSettled(running)
    }
    await this.#register(positions)
    return done.length
  }

  async #commit(tended: Tended, now: number, positions: StagePosition[], done: TableFeed[]): Promise<void> {
    const { feed } = tended
    await this.#guard(tended, async () => {
      const before = feed.rowsDiscarded
      const commit = await feed.commit(this.#tools.options.commitBytesMax)
      this.#tools.counters.add('rowsDiscarded', feed.rowsDiscarded - before)
      if (commit === undefined) return
      this.#recovered(tended)
      done.push(feed)
      tended.lookedAtMs = now
      positions.push(...commit.positions)
      this.#count(commit)
      await this.#maintain(feed, commit.manifestCount)
      feed.forgetHistory()
    })
  }

  /** Maintenance that fails leaves the table as it was: said, and tried again after the next commit. */
  async #maintain(feed: TableFeed, manifestCount: number): Promise<void> {
    // One of those that write the table looks after it.
    if (!feed.owns(0)) return
    const { options, counters } = this.#tools
    try {
      feed.table = await maintain(this.#tools, feed.table!, manifestCount, options.maintenance, counters)
    } catch (error) {
      if (!canPark(error)) throw error
      const { message, code } = error as MillraceError
      this.#tools.onEvent({
        level: 'warn',
        table: feed.name,
        message: `maintenance: ${message}`,
        code,
        retryMs: 0,
      })
    }
  }

  #count(commit: { rows: number; files: number; bytes: number; conflicts: number; oldestMs: number }): void {
    const { counters, clock } = this.#tools
    counters.add('commits', 1)
    counters.add('rows', commit.rows)
    counters.add('files', commit.files)
    counters.add('bytes', commit.bytes)
    counters.add('conflicts', commit.conflicts)
    counters.set('freshnessMs', Math.max(0, clock.now() - commit.oldestMs))
  }

  #isDue(feed: TableFeed, now: number): boolean {
    if (feed.dirtySinceMs === undefined) return false
    const { options } = this.#tools
    return (
      now >= feed.dirtySinceMs + this.#ageMs(feed) ||
      feed.lagRecords * feed.bytesPerRecord >= options.commitBytesMax ||
      feed.lagRecords >= COMMIT_ROWS_MAX
    )
  }

  #ageMs(feed: TableFeed): number {
    const { widePartitions, wideAgeMs, commitAgeMs } = this.#tools.options
    return feed.partitionsTouched > widePartitions ? wideAgeMs : commitAgeMs
  }

  #urgency(feed: TableFeed, now: number): number {
    const ageMs = now - (feed.dirtySinceMs ?? now)
    if (ageMs >= this.#tools.options.overdueAgeMs) return Number.MAX_SAFE_INTEGER * ageMs
    return feed.lagRecords * feed.bytesPerRecord * Math.max(1, ageMs)
  }

  /** Until the next table is due by age, undefined where none has rows waiting. */
  #waitMs(): number | undefined {
    const now = this.#tools.clock.now()
    let wait: number | undefined
    for (const { feed, opened } of this.#byTopic.values())
      if (opened && feed.dirtySinceMs !== undefined)
        wait = Math.min(wait ?? POLL_MS_MAX, feed.dirtySinceMs + this.#ageMs(feed) - now)
    return wait === undefined ? undefined : Math.max(POLL_MS_MIN, wait)
  }

  /** Opens parked tables whose pause is over, those whose topic did not exist, and those that others changed. */
  async #tend(): Promise<void> {
    const now = this.#tools.clock.now()
    const lookForTopics = now - this.#topicsLookedAtMs >= TOPIC_POLL_MS
    if (lookForTopics) this.#topicsLookedAtMs = now
    const positions: StagePosition[] = []
    let looks = 0
    for (const tended of this.#byTopic.values()) {
      if (!this.#isOurs(tended)) continue
      const parked = !tended.opened && now >= tended.retryAtMs
      const waiting = tended.opened && !tended.feed.hasSource && lookForTopics
      if (parked || waiting) positions.push(...(await this.#open(tended)))
      else if (tended.opened && looks < LOOKS_MAX && now - tended.lookedAtMs >= TABLE_POLL_MS) {
        tended.lookedAtMs = now
        looks++
        let isCurrent = true
        await this.#guard(tended, async () => {
          isCurrent = await tended.feed.isCurrent()
        })
        if (!isCurrent) positions.push(...(await this.#open(tended)))
      }
    }
    await this.#register(positions)
  }

  async #open(tended: Tended): Promise<StagePosition[]> {
    let positions: StagePosition[] = []
    await this.#guard(tended, async () => {
      const opened = await tended.feed.open()
      positions = opened.positions
      if (opened.notice !== undefined)
        this.#tools.onEvent({ level: 'info', table: tended.feed.name, message: opened.notice })
      tended.opened = true
    })
    return positions
  }

  /** What failed has gone well: not when the table could be opened, only when nothing of it waits or rows are in it. */
  #recovered(tended: Tended): void {
    if (tended.error !== undefined)
      this.#tools.onEvent({ level: 'info', table: tended.feed.name, message: 'follows its topic again' })
    tended.error = undefined
    tended.failures = 0
  }

  /** Runs one table's work; its failure parks the table, and only what no retry can mend goes on up. */
  async #guard(tended: Tended, work: () => Promise<void>): Promise<void> {
    try {
      await work()
      if (tended.opened && tended.feed.lagRecords === 0) this.#recovered(tended)
    } catch (error) {
      if (!canPark(error)) throw error
      const retryMs = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** tended.failures)
      tended.failures++
      tended.opened = false
      tended.error = error as Error
      tended.retryAtMs = this.#tools.clock.now() + retryMs
      const { message, code } = error as MillraceError
      this.#tools.onEvent({
        level: isMillraceError(error) && error.action === 'retry' ? 'warn' : 'error',
        table: printTableId(tended.feed.spec.id),
        message,
        code,
        retryMs,
      })
    }
  }

  /**
   * Tells the log how far the tables hold it, so that retention may free what is before. A log that cannot take
   * it now (its disk is full) hears it in a later round: until then it only keeps more than it must.
   */
  async #register(positions: readonly StagePosition[]): Promise<void> {
    for (const one of positions) this.#unregistered.set(`${one.topic}/${one.partition}`, one)
    if (this.#unregistered.size === 0) return
    try {
      await this.#log.append({ entries: [], positions: [...this.#unregistered.values()] })
      this.#unregistered.clear()
    } catch (error) {
      if (!isMillraceError(error) || error.action !== 'retry') throw error
    }
  }

  #report(): void {
    let lag = 0
    let parked = 0
    let oldestMs = this.#tools.clock.now()
    for (const tended of this.#byTopic.values()) {
      lag += tended.feed.lagRecords
      oldestMs = Math.min(oldestMs, tended.feed.dirtySinceMs ?? oldestMs)
      if (tended.error !== undefined) parked++
    }
    this.#tools.counters.set('lagRecords', lag)
    this.#tools.counters.set('oldestWaitMs', this.#tools.clock.now() - oldestMs)
    this.#tools.counters.set('tablesParked', parked)
  }
}

/** Errors of ours that concern one table, and those of the operating system and SQLite. Anything else is a defect. */
function canPark(error: unknown): boolean {
  if (isMillraceError(error)) return error.code !== 'internal' && error.code !== 'log_stopped'
  const code = (error as { code?: unknown }).code
  return typeof code === 'string' && /^(E[A-Z0-9]+|ERR_SQLITE_ERROR)$/.test(code)
}
