// Follows the raw topics: which partitions have records to read, and in what turn, fair among streams and among the
// partitions of each.
//
// A stream that waits for the log, or was stopped, has no turn; its partitions keep theirs for when it goes on.
import type { Changes, Log } from '../log/log.ts'
import type { Partition, Stream } from './streams.ts'

export class Follower {
  readonly #log: Log
  readonly #byTopic = new Map<string, Stream>()
  /** Streams with something to read, in turn. */
  readonly #ready: Stream[] = []
  #sequence = 0
  #changes: Promise<Changes> | undefined
  #wake: (() => void) | undefined
  #woken = false

  constructor(log: Log) {
    this.#log = log
  }

  /** The raw topics that are followed. */
  get topics(): string[] {
    return [...this.#byTopic.keys()]
  }

  get isIdle(): boolean {
    return this.#ready.length === 0
  }

  add(stream: Stream): void {
    this.#byTopic.set(stream.raw, stream)
  }

  remove(stream: Stream): void {
    this.#byTopic.delete(stream.raw)
  }

  streamOf(raw: string): Stream | undefined {
    return this.#byTopic.get(raw)
  }

  /** Takes all turns away. */
  clear(): void {
    for (const stream of this.#ready.splice(0)) stream.queued = false
  }

  /** Gives the partition a turn where it has something to read. */
  enqueue(partition: Partition): void {
    const { stream } = partition
    if (partition.queued || stream.stopped || partition.nextOffset >= partition.end) return
    partition.queued = true
    stream.pending.push(partition)
    this.enqueueStream(stream)
  }

  enqueueStream(stream: Stream): void {
    if (stream.queued || stream.pending.length === 0 || stream.waiting.parts.length > 0) return
    stream.queued = true
    this.#ready.push(stream)
  }

  /** The partition whose turn it is; undefined where none has one. Call `enqueue` and `enqueueStream` when it was read. */
  next(): Partition | undefined {
    for (let stream = this.#ready.shift(); stream !== undefined; stream = this.#ready.shift()) {
      stream.queued = false
      // Refused by the log meanwhile: what is pending stays for later.
      if (stream.waiting.parts.length > 0) continue
      const partition = stream.pending.shift()
      if (partition === undefined) continue
      partition.queued = false
      return partition
    }
    return undefined
  }

  /** Asks where the partitions end, and takes in those that have more: a log may be late with its news of them. */
  async lookAt(partitions: Iterable<Partition>): Promise<void> {
    for (const partition of partitions) {
      if (partition.stream.stopped) continue
      const { end } = await this.#log.range(partition.stream.raw, partition.number)
      partition.end = Math.max(partition.end, end)
      this.enqueue(partition)
    }
  }

  /** Ends the wait of a `follow`, or the next such wait. */
  wake(): void {
    this.#woken = true
    this.#wake?.()
  }

  /** Takes in which partitions have grown; waits for that, or for `wake`, up to `timeoutMs`. */
  async follow(timeoutMs: number): Promise<void> {
    // A wait that was broken off is still under way and is taken up again.
    const resumed = this.#changes !== undefined
    const changes = (this.#changes ??= this.#log.changes(this.#sequence, timeoutMs))
    let result: Changes | undefined
    if (resumed || timeoutMs > 0) {
      let timer: NodeJS.Timeout | undefined
      const broken = new Promise<undefined>((resolve) => {
        this.#wake = () => resolve(undefined)
        timer = setTimeout(resolve, timeoutMs, undefined)
      })
      if (this.#woken) this.#wake!()
      result = await Promise.race([changes, broken])
      clearTimeout(timer)
      this.#wake = undefined
    } else result = await changes
    if (timeoutMs > 0) this.#woken = false
    if (result === undefined) return
    this.#changes = undefined
    this.#sequence = result.sequence
    for (const { topic, partition: number, end } of result.partitions) {
      const partition = this.#byTopic.get(topic)?.partitions.get(number)
      if (partition === undefined || end <= partition.end) continue
      partition.end = end
      this.enqueue(partition)
    }
  }
}
