// The atomic append: batches to several partitions and offsets of groups, all or nothing, one transaction at a time.
//
//   InitProducerId (once; ends what a former self left open, and fences it)
//   Produce … (in parallel, by the sender) ─► TxnOffsetCommit … ─► EndTxn, whose answer names the next epoch
//
// That is version 2 of transactions (KIP-890, the default of clusters since 4.0). Every transaction has an epoch of its
// own: a request of an earlier one that a broker gets to late (it lay in a buffer while the broker stood still, and was sent
// again on another connection) is refused, and cannot take a position back or hang in a partition for ever. With
// version 1, of clusters that came from older ones, AddPartitionsToTxn goes before Produce, AddOffsetsToTxn before
// TxnOffsetCommit, and the epoch is raised after an abort only.
//
// A failure before EndTxn was sent aborts, and the producer begins anew under a higher epoch, so that no sequence is
// in doubt. An EndTxn without an answer is sent again until there is one: the coordinator knows what it did.
import {
  addOffsetsToTxnV3,
  type Connection,
  endTxnV3,
  initProducerIdV4,
  txnOffsetCommitV3,
} from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'
import type { PreparedBatch, Producer } from './kafka-batches.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { KAFKA, kafkaError, kafkaErrorCode, kafkaErrorName } from './kafka-errors.ts'
import type { GroupMember } from './kafka-group.ts'
import { BatchSender, ProducerLost } from './kafka-sender.ts'
import {
  addPartitionsToTransaction,
  endTransaction,
  type TransactionVersion,
  transactionVersion,
  txnOffsetCommitV5,
} from './kafka-wire.ts'

/** The coordinator aborts a transaction that its writer left open for so long; readers of committed records wait. */
const TRANSACTION_MS_MAX = 15_000

/** Answers that say that the transaction is over, and not by us. */
const ENDED: ReadonlySet<number> = new Set([
  KAFKA.INVALID_PRODUCER_EPOCH,
  KAFKA.PRODUCER_FENCED,
  KAFKA.INVALID_PRODUCER_ID_MAPPING,
  KAFKA.INVALID_TXN_STATE,
  KAFKA.TRANSACTION_ABORTABLE,
])

export interface TransactionBatch {
  topic: string
  partition: number
  batch: PreparedBatch
}

export interface GroupOffset {
  group: string
  topic: string
  partition: number
  offset: number
  metadata: string
  /** Undefined where the group has no members. */
  member: GroupMember | undefined
}

/**
 * The transaction is over, and not by this producer's word: another began under the transactional id, the coordinator gave up
 * waiting, or the broker and this producer disagree about a sequence. Nothing was committed, unless the other one found
 * it committed already: who can ask the cluster what is there does so before it tries again.
 */
export class TransactionAborted extends Error {}

export class TransactionalProducer {
  readonly #cluster: KafkaCluster
  readonly #id: string
  #sender: BatchSender | undefined
  #version: TransactionVersion = 1
  /** Under what the last transaction was committed, with version 2. */
  #ended: Producer | undefined
  #tail: Promise<unknown> = Promise.resolve()

  constructor(cluster: KafkaCluster, transactionalId: string) {
    this.#cluster = cluster
    this.#id = transactionalId
  }

  /** Whether this producer has begun and was not fenced since, as far as it knows. */
  get isActive(): boolean {
    return this.#sender !== undefined
  }

  /** Runs one after the other whatever is given; the order is that of the calls. */
  exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#tail.then(work)
    this.#tail = result.catch(() => {})
    return result
  }

  /** Takes over the transactional id, once. After it no former holder can commit anything. */
  async begin(): Promise<void> {
    if (this.#sender !== undefined) return
    const what = `producer ${this.#id}`
    const answer = await this.#onCoordinator(what, async (connection) => {
      this.#version = await transactionVersion(connection)
      return initProducerIdV4.api.async(connection, this.#id, TRANSACTION_MS_MAX, -1n, -1)
    })
    const producer = { id: answer.producerId, epoch: answer.producerEpoch }
    this.#ended = undefined
    this.#sender = new BatchSender(this.#cluster, producer, { id: this.#id, version: this.#version })
  }

  /**
   * Commits; call within `exclusively`. Returns the base offset of each batch. Throws `TransactionAborted`, `partition_lost`
   * where a group has given the partitions to others, and what the cluster throws; then nothing was committed.
   */
  async commit(batches: readonly TransactionBatch[], offsets: readonly GroupOffset[]): Promise<number[]> {
    await this.begin()
    await this.#markersWritten()
    const sender = this.#sender!
    let baseOffsets: number[]
    try {
      if (this.#version < 2 && batches.length > 0) await this.#addPartitions(sender, batches)
      const sends = batches.map(({ topic, partition, batch }) => sender.send(topic, partition, batch))
      // All must be back before the end, whichever fails first.
      await Promise.allSettled(sends)
      baseOffsets = await Promise.all(sends)
      // One after the other: two that add to a transaction at the same time make one of them wait.
      for (const [group, own] of Map.groupBy(offsets, ({ group }) => group))
        await this.#sendOffsets(sender, group, own)
    } catch (error) {
      await this.#abort(sender)
      throw this.#failure(error)
    }
    try {
      await this.#end(sender, true)
    } catch (error) {
      this.#sender = undefined
      throw this.#failure(error)
    }
    return baseOffsets
  }

  /**
   * Takes over the transactional id anew, which ends what a former holder left open; call within `exclusively`. A process
   * that was killed leaves a transaction open until the coordinator's patience ends.
   */
  async takeOver(): Promise<void> {
    this.#sender = undefined
    await this.begin()
  }

  async #addPartitions(sender: BatchSender, batches: readonly TransactionBatch[]): Promise<void> {
    const topics = [...Map.groupBy(batches, ({ topic }) => topic)].map(([name, own]) => ({
      name,
      partitions: [...new Set(own.map(({ partition }) => partition))],
    }))
    const { id, epoch } = sender.producer
    await this.#onCoordinator(`transaction ${this.#id}`, (connection) =>
      addPartitionsToTransaction(connection, this.#id, id, epoch, topics),
    )
  }

  async #sendOffsets(sender: BatchSender, group: string, offsets: readonly GroupOffset[]): Promise<void> {
    const { id, epoch } = sender.producer
    if (this.#version < 2)
      await this.#onCoordinator(`transaction ${this.#id}`, (connection) =>
        addOffsetsToTxnV3.api.async(connection, this.#id, id, epoch, group),
      )
    const commit = this.#version < 2 ? txnOffsetCommitV3.api : txnOffsetCommitV5
    const topics = [...Map.groupBy(offsets, ({ topic }) => topic)].map(([name, own]) => ({
      name,
      partitions: own.map(({ partition, offset, metadata }) => ({
        partitionIndex: partition,
        committedOffset: BigInt(offset),
        committedLeaderEpoch: -1,
        committedMetadata: metadata,
      })),
    }))
    const { member } = offsets[0]!
    for (;;) {
      const asMember = member === undefined ? -1 : member.commitEpoch
      if (asMember === undefined) throw partitionLost(group)
      const memberId = member?.id ?? ''
      try {
        await this.#cluster.onCoordinator('group', group, `offsets of ${group}`, (connection) =>
          commit.async(connection, this.#id, group, id, epoch, asMember, memberId, null, topics),
        )
        return
      } catch (error) {
        const code = kafkaErrorCode((error as { cause?: unknown }).cause)
        const isStale = code === KAFKA.STALE_MEMBER_EPOCH || code === KAFKA.ILLEGAL_GENERATION
        // The group has moved on and this member with it: what it owns still, it may commit under the new epoch.
        if (isStale && member !== undefined && (await member.catchUp(asMember))) continue
        if (isStale || code === KAFKA.UNKNOWN_MEMBER_ID || code === KAFKA.FENCED_MEMBER_EPOCH) {
          member?.suspect()
          throw partitionLost(group)
        }
        throw error
      }
    }
  }

  async #abort(sender: BatchSender): Promise<void> {
    // The next transaction begins under another epoch: which sequences the broker has seen is not known.
    this.#sender = undefined
    sender.fail(new MillraceError('log_stopped', 'the transaction was aborted'))
    await this.#end(sender, false).catch(() => {})
  }

  /**
   * Until the markers of the last transaction are written, nothing can belong to the next one. A broker that is asked to write
   * something waits for it in steps of 20 ms; whoever sends the end again is told at once.
   */
  async #markersWritten(): Promise<void> {
    const ended = this.#ended
    if (ended === undefined) return
    this.#ended = undefined
    try {
      await this.#onCoordinator(`end of transaction ${this.#id}`, (connection) =>
        endTransaction(connection, this.#id, ended, true),
      )
    } catch (error) {
      this.#sender = undefined
      throw this.#failure(error)
    }
  }

  async #end(sender: BatchSender, isCommit: boolean): Promise<void> {
    const { producer } = sender
    const what = `end of transaction ${this.#id}`
    if (this.#version < 2)
      await this.#onCoordinator(what, (connection) =>
        endTxnV3.api.async(connection, this.#id, producer.id, producer.epoch, isCommit),
      )
    else {
      const next = await this.#onCoordinator(what, (connection) =>
        endTransaction(connection, this.#id, producer, isCommit),
      )
      sender.renew(next)
      if (isCommit) this.#ended = producer
    }
  }

  #onCoordinator<Result>(
    what: string,
    attempt: (connection: Connection) => Promise<Result>,
  ): Promise<Result> {
    return this.#cluster.onCoordinator('transaction', this.#id, what, attempt)
  }

  #failure(error: unknown): Error {
    const code =
      error instanceof ProducerLost ? error.errorCode : kafkaErrorCode((error as { cause?: unknown }).cause)
    if (error instanceof ProducerLost || (code !== undefined && ENDED.has(code)))
      return new TransactionAborted(`transaction ${this.#id}: ${kafkaErrorName(code ?? 0)}`)
    return kafkaError(`transaction ${this.#id}`, error)
  }
}

const partitionLost = (group: string): MillraceError =>
  new MillraceError('partition_lost', `${group}: its partitions belong to another member now`)
