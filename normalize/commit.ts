// How steps get into the log: one in flight at a time, in order; what the log refuses for now waits and is
// appended again as it is, stream by stream, while the other streams go on.
import type { AppendRequest, Log } from '../log/log.ts'
import { isMillraceError } from '../std/errors.ts'
import { OutputBatches } from './output.ts'
import { mergeRequests, StepPart, type StreamTopics } from './step.ts'

const RETRY_MS_MIN = 20
const RETRY_MS_MAX = 1000

/** What the log refused of a stream; while there is any, nothing more of it may be read. */
export class Waiting<Stream extends StreamTopics> {
  readonly parts: StepPart<Stream>[] = []
  retryAt = 0
  retryMs = RETRY_MS_MIN
}

interface Refusable extends StreamTopics {
  waiting: Waiting<this>
}

/** The parts of one step, by stream. */
export class Parts<Stream extends Refusable> {
  readonly #parts = new Map<Stream, StepPart<Stream>>()

  get all(): StepPart<Stream>[] {
    return [...this.#parts.values()]
  }

  of(stream: Stream): StepPart<Stream> {
    let part = this.#parts.get(stream)
    if (part === undefined) this.#parts.set(stream, (part = new StepPart(stream)))
    return part
  }
}

export interface CommitterOptions {
  log: Log
  /** Milliseconds. */
  now: () => number
  /** An append is durable. */
  onAppended: () => void
}

export class Committer<Stream extends Refusable> {
  readonly #options: CommitterOptions
  readonly #spare: OutputBatches[] = []
  #inFlight: Promise<void> | undefined
  #isBusy = false
  #failure: unknown

  constructor(options: CommitterOptions) {
    this.#options = options
  }

  /** Nothing is in flight, and what was has been heard of. */
  get isIdle(): boolean {
    return this.#inFlight === undefined
  }

  /** Whether the log is at work on a step. */
  get isBusy(): boolean {
    return this.#isBusy
  }

  /** An empty buffer for a step; it comes back by `submit` or `release`. */
  takeOutput(): OutputBatches {
    const output = this.#spare.pop() ?? new OutputBatches()
    output.clear()
    return output
  }

  release(output: OutputBatches): void {
    this.#spare.push(output)
  }

  /** Appends a step once the one before has settled; returns when that is so. `output` holds its batches. */
  async submit(parts: Parts<Stream>, output: OutputBatches): Promise<void> {
    await this.settle()
    // An error is thrown by whoever settles; until then nobody awaits the promise.
    this.#isBusy = true
    this.#inFlight = this.#commit(parts.all, output)
      .catch((error) => {
        this.#failure = error
      })
      .finally(() => {
        this.#isBusy = false
      })
  }

  /** Waits for the append in flight; throws what it threw. */
  async settle(): Promise<void> {
    await this.#inFlight
    this.#inFlight = undefined
    if (this.#failure !== undefined) throw this.#failure
  }

  /** After an append that failed because its partitions are others' now: the next ones are of new partitions. */
  forgetFailure(): void {
    this.#failure = undefined
    this.#inFlight = undefined
  }

  /** Offers again what of a stream was refused, when its time has come. True where nothing is left of it. */
  async retry(stream: Stream): Promise<boolean> {
    const { waiting } = stream
    if (waiting.retryAt > this.#options.now()) return false
    await this.settle()
    while (waiting.parts.length > 0) {
      if (!(await this.#append(waiting.parts[0]!.request(NO_BYTES)))) {
        waiting.retryMs = Math.min(RETRY_MS_MAX, waiting.retryMs * 2)
        waiting.retryAt = this.#options.now() + waiting.retryMs
        return false
      }
      waiting.parts.shift()
    }
    return true
  }

  async #commit(parts: readonly StepPart<Stream>[], output: OutputBatches): Promise<void> {
    const { bytes } = output
    const free: StepPart<Stream>[] = []
    for (const part of parts) {
      if (part.stream.waiting.parts.length === 0) free.push(part)
      else this.#wait(part, bytes)
    }
    if (free.length > 0 && !(await this.#append(mergeRequests(free.map((part) => part.request(bytes)))))) {
      for (const part of free) {
        if (free.length === 1 || !(await this.#append(part.request(bytes)))) this.#wait(part, bytes)
      }
    }
    this.#spare.push(output)
  }

  /** False where the log cannot take it now. */
  async #append(request: AppendRequest): Promise<boolean> {
    try {
      await this.#options.log.append(request)
      this.#options.onAppended()
      return true
    } catch (error) {
      if (isMillraceError(error, 'backlog_full') || isMillraceError(error, 'log_full')) return false
      throw error
    }
  }

  #wait(part: StepPart<Stream>, bytes: Uint8Array): void {
    const { waiting } = part.stream
    part.detach(bytes)
    if (waiting.parts.length === 0) {
      waiting.retryMs = RETRY_MS_MIN
      waiting.retryAt = this.#options.now() + RETRY_MS_MIN
    }
    waiting.parts.push(part)
  }
}

const NO_BYTES = new Uint8Array(0)
