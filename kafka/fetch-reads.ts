// Reads of the log for Fetch: into memory that is used again, and ahead of clients that go through a backlog. Such a
// client asks for the next piece when it has dealt with the last one (Java's has one fetch under way, and waits for
// all of it), so that the time which the reading takes would be the client's.

import { AnswerMemory } from '../log/kafka-memory.ts'
import type { Log } from '../log/log.ts'

/** Smaller pieces are memory of their own: whoever asks for less follows the end, and gets little at a time. */
const POOLED_BYTES_MIN = 64 << 10
/** Memory that is kept for the next pieces. */
const KEPT_BYTES_MAX = 16 << 20
/** Bytes that are asked for ahead of all clients. */
const AHEAD_BYTES_MAX = 32 << 20
const AHEAD_BYTES_MIN = 128 << 10
/** What its client has not come for in this time makes room for others. */
const AHEAD_MS_MAX = 5000

/** What an answer has of one partition. */
export interface Piece {
  readonly topic: string
  readonly partition: number
  readonly bytesMax: number
  readonly batches: Uint8Array
  readonly nextOffset: number
  /** What the batches lie in, where it is used again. */
  readonly memory: Buffer | undefined
}

interface Ahead {
  readonly offset: number
  readonly bytesMax: number
  readonly startedAt: number
  /** That it counts for: what was asked for, or more where a batch is larger. */
  bytes: number
  /** Undefined where it failed. */
  readonly piece: Promise<Piece | undefined>
}

export class FetchReads {
  readonly #log: Log
  readonly #memory = new AnswerMemory(KEPT_BYTES_MAX)
  /** What is read ahead, by partition, of each connection. */
  readonly #ahead = new Map<AbortSignal, Map<string, Ahead>>()
  #aheadBytes = 0

  constructor(log: Log) {
    this.#log = log
  }

  /** Whole batches, the first perhaps beginning before `offset`; valid until given to `release`. Errors: as `Log.read`. */
  async read(
    connection: AbortSignal,
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<Piece> {
    const ahead = await this.#take(connection, keyOf(topic, partition), offset, bytesMax)
    return ahead ?? this.#read(topic, partition, offset, bytesMax)
  }

  release({ memory }: Piece): void {
    if (memory !== undefined) this.#memory.give(memory)
  }

  /** The connection has got this piece, and there is more behind it, which it is likely to ask for next. */
  readAhead(connection: AbortSignal, { topic, partition, bytesMax, batches, nextOffset }: Piece): void {
    const now = performance.now()
    for (const [other, all] of this.#ahead)
      for (const [key, { startedAt }] of all) if (now - startedAt > AHEAD_MS_MAX) this.#drop(other, key)
    const isBacklog = bytesMax >= AHEAD_BYTES_MIN && batches.length >= bytesMax / 2
    if (!isBacklog || connection.aborted || this.#aheadBytes + bytesMax > AHEAD_BYTES_MAX) return
    let all = this.#ahead.get(connection)
    if (all === undefined) {
      this.#ahead.set(connection, (all = new Map()))
      connection.addEventListener('abort', () => this.#dropAll(connection), { once: true })
    }
    const key = keyOf(topic, partition)
    this.#drop(connection, key)
    const piece = this.#read(topic, partition, nextOffset, bytesMax).catch(() => undefined)
    const ahead: Ahead = { offset: nextOffset, bytesMax, startedAt: now, bytes: bytesMax, piece }
    this.#aheadBytes += bytesMax
    all.set(key, ahead)
    void piece.then((read) => {
      // A batch may be larger than what was asked for.
      const more = (read?.batches.length ?? 0) - bytesMax
      if (more <= 0 || all.get(key) !== ahead) return
      ahead.bytes += more
      this.#aheadBytes += more
      if (this.#aheadBytes > AHEAD_BYTES_MAX) this.#drop(connection, key)
    })
  }

  async #read(topic: string, partition: number, offset: number, bytesMax: number): Promise<Piece> {
    const { batches, nextOffset } = await this.#log.read(topic, partition, offset, bytesMax)
    // The log reads into memory that its next read uses again.
    const memory = batches.length < POOLED_BYTES_MIN ? undefined : this.#memory.take(batches.length)
    const copy = memory ?? Buffer.allocUnsafeSlow(batches.length)
    copy.set(batches)
    return { topic, partition, bytesMax, batches: copy, nextOffset, memory }
  }

  async #take(
    connection: AbortSignal,
    key: string,
    offset: number,
    bytesMax: number,
  ): Promise<Piece | undefined> {
    const ahead = this.#ahead.get(connection)?.get(key)
    if (ahead === undefined) return undefined
    this.#forget(connection, key, ahead)
    const piece = await ahead.piece
    if (piece === undefined) return undefined
    const isWanted =
      ahead.offset === offset && (ahead.bytesMax <= bytesMax || piece.batches.length <= bytesMax)
    // An empty one may be old: the partition has grown since.
    if (isWanted && piece.batches.length > 0) return { ...piece, bytesMax }
    this.release(piece)
    return undefined
  }

  #forget(connection: AbortSignal, key: string, { bytes }: Ahead): void {
    this.#ahead.get(connection)!.delete(key)
    this.#aheadBytes -= bytes
  }

  #drop(connection: AbortSignal, key: string): void {
    const ahead = this.#ahead.get(connection)?.get(key)
    if (ahead === undefined) return
    this.#forget(connection, key, ahead)
    void ahead.piece.then((piece) => piece !== undefined && this.release(piece))
  }

  #dropAll(connection: AbortSignal): void {
    for (const key of [...this.#ahead.get(connection)!.keys()]) this.#drop(connection, key)
    this.#ahead.delete(connection)
  }
}

const keyOf = (topic: string, partition: number): string => `${topic}/${partition}`
