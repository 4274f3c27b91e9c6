// Reads of partitions from one offset on, for whoever goes through them piece by piece: while a piece is dealt with, the
// next one is on its way. What it was fetched into is used again at the next read (`ReadResult.batches`).

import { setImmediate as nextTurn } from 'node:timers/promises'
import { MillraceError } from '../std/errors.ts'
import { type VisibleBatches, visibleBatches } from './kafka-batches.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { isRetriable, KAFKA, kafkaErrorName } from './kafka-errors.ts'
import { type FetchedPartition, fetchBatches } from './kafka-wire.ts'

/** Bytes asked for ahead of their readers, by one thread. */
const AHEAD_BYTES_MAX = 32 * 1024 * 1024
/** Who asks for less looks something up, and does not go on. */
const AHEAD_BYTES_MIN = 128 * 1024
/** What nobody has come for in this time is dropped. */
const AHEAD_MS_MAX = 5000

/** What an answer holds of one partition, and the memory it lies in. */
interface Fetched {
  answer: FetchedPartition
  memory: Buffer | undefined
}

interface Ahead {
  topicId: string
  offset: number
  bytesMax: number
  startedAt: number
  /** Undefined where it failed. */
  fetched: Promise<Fetched | undefined>
}

export class KafkaReads {
  readonly #cluster: KafkaCluster
  /** By topic's id and partition. */
  readonly #ahead = new Map<string, Ahead>()
  #aheadBytes = 0
  /** Handed out since the last read. */
  #lent: Buffer[] = []

  constructor(cluster: KafkaCluster) {
    this.#cluster = cluster
  }

  /** `where` is for errors. Undefined where the partition has no such offset. Throws `kafka_refused`, `log_corrupt`. */
  async read(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
    where: string,
  ): Promise<VisibleBatches | undefined> {
    for (const memory of this.#lent.splice(0)) this.#cluster.memory.give(memory)
    const { answer, memory } =
      (await this.#takeAhead(topic, partition, offset, bytesMax)) ??
      (await this.#fetch(topic, partition, offset, bytesMax))
    if (memory !== undefined) this.#lent.push(memory)
    if (answer.errorCode === KAFKA.OFFSET_OUT_OF_RANGE) return undefined
    if (answer.errorCode !== 0)
      throw new MillraceError('kafka_refused', `Kafka: read of ${where}: ${kafkaErrorName(answer.errorCode)}`)
    const visible = visibleBatches(answer.records, answer.aborted, where)
    // A full piece: there is more behind it.
    if (
      visible.nextOffset !== undefined &&
      bytesMax >= AHEAD_BYTES_MIN &&
      answer.records.length >= bytesMax / 2
    )
      this.#readAhead(topic, partition, visible.nextOffset, bytesMax)
    return visible
  }

  #fetch(topic: string, partition: number, offset: number, bytesMax: number): Promise<Fetched> {
    const what = `read of ${topic}/${partition}`
    return this.#cluster.onLeader(topic, partition, 'read', what, async (connection, { id }) => {
      const { errorCode, partitions, memory } = await fetchBatches(connection, 0, bytesMax, [
        { topicId: id, partition, offset, bytesMax },
      ])
      const answer = partitions[0]
      const code = answer?.errorCode ?? errorCode
      if (errorCode === 0 && answer !== undefined && !isRetriable(code)) return { answer, memory }
      if (memory !== undefined) this.#cluster.memory.give(memory)
      throw Object.assign(new Error(`Kafka: ${kafkaErrorName(code)}`), { code: `KAFKA_${code}` })
    })
  }

  #readAhead(topic: string, partition: number, offset: number, bytesMax: number): void {
    const topicId = this.#cluster.knownTopic(topic)?.id
    const now = performance.now()
    for (const [key, { startedAt }] of this.#ahead) if (now - startedAt > AHEAD_MS_MAX) this.#drop(key)
    if (topicId === undefined || this.#aheadBytes + bytesMax > AHEAD_BYTES_MAX) return
    const fetched = this.#fetch(topic, partition, offset, bytesMax).catch(() => undefined)
    this.#aheadBytes += bytesMax
    this.#ahead.set(`${topic}/${partition}`, { topicId, offset, bytesMax, startedAt: now, fetched })
  }

  async #takeAhead(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<Fetched | undefined> {
    const key = `${topic}/${partition}`
    const ahead = this.#ahead.get(key)
    if (ahead === undefined) return undefined
    if (
      ahead.offset !== offset ||
      ahead.bytesMax !== bytesMax ||
      ahead.topicId !== this.#cluster.knownTopic(topic)?.id
    ) {
      this.#drop(key)
      return undefined
    }
    this.#ahead.delete(key)
    this.#aheadBytes -= ahead.bytesMax
    const fetched = await ahead.fetched
    // Its reader goes on without a wait: what it has sent, and the answers to that, must have their turn before.
    await nextTurn()
    // An empty piece may be an old one: the partition has grown since, or its reader asks because it knows of more.
    if (fetched !== undefined && fetched.answer.errorCode === 0 && fetched.answer.records.length > 0)
      return fetched
    if (fetched?.memory !== undefined) this.#cluster.memory.give(fetched.memory)
    return undefined
  }

  #drop(key: string): void {
    const { bytesMax, fetched } = this.#ahead.get(key)!
    this.#ahead.delete(key)
    this.#aheadBytes -= bytesMax
    void fetched.then((late) => late?.memory !== undefined && this.#cluster.memory.give(late.memory))
  }
}
