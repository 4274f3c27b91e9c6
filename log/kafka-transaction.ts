// The atomic append: batches to several partitions and offsets of groups, all or nothing, one transaction at a time.
//
//   InitProducerId (once; ends what a former self left open, and fences it)
//   AddPartitionsToTxn ─► Produce … (in parallel, by the sender) ─┐
//   AddOffsetsToTxn ────► TxnOffsetCommit ────────────────────────┴─► EndTxn
//
// A failure before EndTxn was sent aborts, and the producer begins anew under a higher epoch, so that no sequence is
// in doubt. An EndTxn without an answer is sent again until there is one: the coordinator knows what it did.
// Versions are those of clients with transaction version 1 (KIP-890 is the brokers' side from there on).
import { addOffsetsToTxnV3, endTxnV3, initProducerIdV4, txnOffsetCommitV3 } from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'
import type { PreparedBatch } from './kafka-batches.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { KAFKA, kafkaError, kafkaErrorCode, kafkaErrorName } from './kafka-errors.ts'
import type { GroupMember } from './kafka-group.ts'
import { BatchSender, ProducerLost } from './kafka-sender.ts'
import { addPartitionsToTransaction } from './kafka-wire.ts'

/** The coordinator aborts a transaction that its writer left open for so long; readers of committed records wait. */
const TRANSACTION_MS_MAX = 15_000

/** Answers that say that the transaction is over, and not by us. */
const ENDED: ReadonlySet<number> = new Set([
  KAFKA.INVALID_PRODUCER_EPOCH,
  KAFKA.PRODUCER_FENCED,
  KAFKA.INVALID_PRODUCER_ID_MAPPING,
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
 * Nothing was committed, and the same may be tried again under a new epoch: another producer began under the
 * transactional id, the coordinator gave up waiting, or the broker and this producer disagree about a sequence.
 */
export class TransactionAborted extends Error {}

export class TransactionalProducer {
  readonly #cluster: KafkaCluster
  readonly #id: string
  #sender: BatchSender | undefined
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
    const answer = await this.#cluster.onCoordinator('transaction', this.#id, what, (connection) =>
      initProducerIdV4.api.async(connection, this.#id, TRANSACTION_MS_MAX, -1n, -1),
    )
    const producer = { id: answer.producerId, epoch: answer.producerEpoch }
    this.#sender = new BatchSender(this.#cluster, producer, this.#id)
  }

  /**
   * Commits; call within `exclusively`. Returns the base offset of each batch. Throws `TransactionAborted`, `partition_lost`
   * where a group has given the partitions to others, and what the cluster throws; then nothing was committed.
   */
  async commit(batches: readonly TransactionBatch[], offsets: readonly GroupOffset[]): Promise<number[]> {
    await this.begin()
    const sender = this.#sender!
    let baseOffsets: number[]
    try {
      await this.#addPartitions(sender, batches)
      const sends = batches.map(({ topic, partition, batch }) => sender.send(topic, partition, batch))
      const groups = Map.groupBy(offsets, ({ group }) => group)
      const commits = [...groups].map(([group, own]) => this.#sendOffsets(sender, group, own))
      // All must be back before the end, whichever fails first.
      const settled = await Promise.allSettled([...sends, ...commits])
      const failed = settled.find((one) => one.status === 'rejected')
      if (failed !== undefined) throw failed.reason
      baseOffsets = settled.slice(0, sends.length).map((one) => (one as { value: number }).value)
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
    await this.#cluster.onCoordinator('transaction', this.#id, `transaction ${this.#id}`, (connection) =>
      addPartitionsToTransaction(connection, this.#id, id, epoch, topics),
    )
  }

  async #sendOffsets(sender: BatchSender, group: string, offsets: readonly GroupOffset[]): Promise<void> {
    const { id, epoch } = sender.producer
    await this.#cluster.onCoordinator('transaction', this.#id, `transaction ${this.#id}`, (connection) =>
      addOffsetsToTxnV3.api.async(connection, this.#id, id, epoch, group),
    )
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
      try {
        await this.#cluster.onCoordinator('group', group, `offsets of ${group}`, (connection) =>
          txnOffsetCommitV3.api.async(
            connection,
            this.#id,
            group,
            id,
            epoch,
            asMember,
            member?.id ?? '',
            null,
            topics,
          ),
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

  async #end(sender: BatchSender, isCommit: boolean): Promise<void> {
    const { id, epoch } = sender.producer
    await this.#cluster.onCoordinator(
      'transaction',
      this.#id,
      `end of transaction ${this.#id}`,
      (connection) => endTxnV3.api.async(connection, this.#id, id, epoch, isCommit),
    )
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
