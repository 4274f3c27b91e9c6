// When a commit goes that need not go at once: what the accumulator puts off, and until when.
//
// Clients with small windows send again when they are acknowledged, so that half of what is in flight would follow
// the other half from commit to commit, each of them small. Acknowledged first and waited for, all of it is one
// commit: half of the syncs, and less time in all, because a small commit costs almost what a larger one does. Where
// what was awaited does not come, that is not tried again for a while.
//
// Many clients that each publish now and then are the opposite: nobody sends sooner for being acknowledged sooner, and
// a commit at once would be one for each handful of messages. So it lingers, until one comes whose client was waiting.

/**
 * Bytes of a commit that costs about as much as an empty one: there is nothing to win by larger ones, for which the worker
 * would have to wait, and then wake up for less at a time.
 */
const GATHER_BYTES_MAX = 64 << 10
/** Part of what is expected that must be there before a commit goes, the rest being late. */
const GATHER_PART = 0.9
/**
 * How long a commit waits for what is expected: as long as the last one took, within these bounds, because timers are no
 * finer; and again, up to the upper one in all, where answers came meanwhile: a core that is busy with them, or was taken
 * away for a moment, is no client that does not answer.
 */
const GATHER_MS_MIN = 1
const GATHER_MS_MAX = 10
/** Records that share a commit well enough. */
const LINGER_RECORDS_MAX = 128
/** Commits that do not wait after that many times in a row in vain; doubled each time. */
const PAUSE_MAX = 256

/** What commits are made of. */
export interface Gathering {
  /** Since the last commit. */
  readonly recordsGathered: number
  readonly bytesGathered: number
  /** Commits what has gathered. */
  flush(): void
}

export class CommitDelay {
  readonly #gathering: Gathering
  readonly #lingerMs: number
  /** Records at which the commit that is put off goes; 0 while none is. */
  #awaited = 0
  /** Whether the commit that is put off lingers, or waits for answers. */
  #isLingering = false
  /** Records when it was looked at last, and how long it had waited for answers then. */
  #recordsSeen = 0
  #waitedMs = 0
  #timer: NodeJS.Timeout | undefined
  #timerMs = 0
  /** At the end of the turn in which the time was over. */
  #look: NodeJS.Immediate | undefined
  /** Clock at the last commit. */
  #committedAt = 0
  /** Commits that will not be put off. */
  #pause = 0
  #pauseNext = 1
  /** Whether a client published again because of an acknowledgement: since the last commit, and before it. */
  #isAnswered = false
  #wasAnswered = false

  /** `lingerMs`: how long a commit lingers; 0: none does. */
  constructor(gathering: Gathering, lingerMs: number) {
    this.#gathering = gathering
    this.#lingerMs = lingerMs
  }

  /** Whether a commit is put off. */
  get isPutOff(): boolean {
    return this.#awaited !== 0
  }

  cancel(): void {
    this.#awaited = 0
    this.#isLingering = false
  }

  /** All that has gathered is committed now. */
  committed(): void {
    this.#wasAnswered = this.#isAnswered
    this.#isAnswered = false
    this.#committedAt = performance.now()
  }

  /** A client publishes because it was acknowledged. True where a commit must not linger any more because of that. */
  answered(): boolean {
    this.#isAnswered = true
    if (!this.#isLingering) return false
    this.cancel()
    return true
  }

  /** True, once, when what is awaited is there. */
  isDue(): boolean {
    if (this.#awaited === 0 || this.#gathering.recordsGathered < this.#awaited) return false
    this.#awaited = 0
    this.#pauseNext = 1
    return true
  }

  /** Puts the next commit off, after one of `records` and `bytes` became durable, where more will come soon. */
  putOff(records: number, bytes: number): boolean {
    const isAnswered = this.#lingerMs === 0 || this.#isAnswered || this.#wasAnswered
    return isAnswered ? this.#awaitAnswers(records, bytes) : this.linger()
  }

  /** Puts the commit off as long as no client waits for it in order to publish again. */
  linger(): boolean {
    const { recordsGathered, bytesGathered } = this.#gathering
    if (this.#lingerMs === 0 || this.#isAnswered) return false
    if (recordsGathered === 0 || recordsGathered >= LINGER_RECORDS_MAX) return false
    if (bytesGathered > GATHER_BYTES_MAX || this.#isPaused()) return false
    this.#isLingering = true
    this.#recordsSeen = recordsGathered
    this.#awaited = LINGER_RECORDS_MAX
    this.#waitAtMost(this.#lingerMs)
    return true
  }

  /** Puts the commit off until what the last one acknowledges has been answered by as much again. */
  #awaitAnswers(records: number, bytes: number): boolean {
    const { recordsGathered, bytesGathered } = this.#gathering
    const awaited = Math.ceil((recordsGathered + records) * GATHER_PART)
    if (recordsGathered >= awaited || bytesGathered + bytes > GATHER_BYTES_MAX) return false
    if (this.#isPaused()) return false
    this.#awaited = awaited
    this.#recordsSeen = recordsGathered
    this.#waitedMs = 0
    const tookMs = Math.floor(performance.now() - this.#committedAt)
    this.#waitAtMost(Math.max(GATHER_MS_MIN, Math.min(tookMs, GATHER_MS_MAX)))
    return true
  }

  /** Counts a commit that could be put off. */
  #isPaused(): boolean {
    if (this.#pause === 0) return false
    this.#pause--
    return true
  }

  /** One timer is used again and again, as long as its time fits. */
  #waitAtMost(ms: number): void {
    // Of the commit before, which went in this very turn.
    clearImmediate(this.#look)
    if (this.#timer !== undefined && this.#timerMs === ms) {
      this.#timer.refresh()
      return
    }
    clearTimeout(this.#timer)
    this.#timerMs = ms
    this.#startTimer()
  }

  #startTimer(): void {
    this.#timer = setTimeout(() => {
      // Not before this turn's reads: the time may have gone by in one callback, with acknowledgements of many clients.
      if (this.#awaited !== 0) this.#look = setImmediate(() => this.#waitedLongEnough())
    }, this.#timerMs)
  }

  #waitedLongEnough(): void {
    if (this.#awaited === 0) return
    const { recordsGathered } = this.#gathering
    const hasMore = recordsGathered > this.#recordsSeen
    if (hasMore && !this.#isLingering) {
      this.#recordsSeen = recordsGathered
      this.#waitedMs += this.#timerMs
      if (this.#waitedMs + this.#timerMs <= GATHER_MS_MAX) {
        this.#startTimer()
        return
      }
    }
    if (hasMore && this.#isLingering) this.#pauseNext = 1
    else {
      this.#pause = this.#pauseNext
      this.#pauseNext = Math.min(this.#pauseNext * 2, PAUSE_MAX)
    }
    this.#gathering.flush()
  }
}
