// How far each partition has grown, followed in one place, so that a fetch at the end of its partitions costs the log
// thread nothing, and waits here until one of them grows.
import type { Log } from '../log/log.ts'

const FOLLOW_MS = 10_000

interface Waiter {
  readonly keys: Iterable<string>
  wake(): void
}

export const partitionKey = (topic: string, partition: number): string => `${topic}/${partition}`

export class PartitionEnds {
  readonly #log: Log
  readonly #ends = new Map<string, number>()
  readonly #waiting = new Map<string, Set<Waiter>>()
  #isClosed = false

  constructor(log: Log) {
    this.#log = log
  }

  /** Follows the log until `close`; rejects when the log fails. */
  async follow(): Promise<void> {
    let sequence = 0
    while (!this.#isClosed) {
      const changes = await this.#log.changes(sequence, FOLLOW_MS)
      sequence = changes.sequence
      for (const { topic, partition, end } of changes.partitions) {
        const key = partitionKey(topic, partition)
        this.#ends.set(key, end)
        for (const waiter of this.#waiting.get(key) ?? []) waiter.wake()
      }
    }
  }

  /** The offset that the next record gets, as far as it is known here: durable, at most a moment old. */
  end(topic: string, partition: number): number {
    return this.#ends.get(partitionKey(topic, partition)) ?? 0
  }

  /** Of the ends of these partitions: another number where one of them has grown. */
  sumOf(keys: Iterable<string>): number {
    let sum = 0
    for (const key of keys) sum += this.#ends.get(key) ?? 0
    return sum
  }

  /**
   * Settles when one of the partitions grows, or has grown since `sumOf` was `seen`, after `timeoutMs`, or when `given`
   * aborts.
   */
  async wait(keys: Iterable<string>, seen: number, timeoutMs: number, given: AbortSignal): Promise<void> {
    if (this.sumOf(keys) !== seen) return
    await new Promise<void>((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        given.removeEventListener('abort', wake)
        for (const key of keys) {
          const waiters = this.#waiting.get(key)
          waiters?.delete(waiter)
          if (waiters?.size === 0) this.#waiting.delete(key)
        }
        resolve()
      }
      const waiter: Waiter = { keys, wake }
      for (const key of keys) {
        const waiters = this.#waiting.get(key)
        if (waiters === undefined) this.#waiting.set(key, new Set([waiter]))
        else waiters.add(waiter)
      }
      const timer = setTimeout(wake, timeoutMs)
      given.addEventListener('abort', wake)
      if (given.aborted) wake()
    })
  }

  close(): void {
    this.#isClosed = true
    for (const waiters of [...this.#waiting.values()]) for (const waiter of [...waiters]) waiter.wake()
  }
}
