// The atomic append: batches to several partitions and offsets of groups, all or nothing, one transaction at a time.
//
//   InitProducerId (once; ends what a former self left open, and fences it)
//   Produce … (in parallel, by the sender), TxnOffsetCommit … ─► EndTxn, whose answer names the next epoch
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
  committedOffsets,
  describeOpen,
  describeTransaction,
  endTransaction,
  type PartitionName,
  type TransactionVersion,
  transactionVersion,
  txnOffsetCommitV5,
} from './kafka-wire.ts'

/** The coordinator aborts a transaction that its writer left open for so long; readers of committed records wait. */
const TRANSACTION_MS_MAX = 15_000

/** Of processes that take one transactional id from each other in turn, one gives up in the end. */
const BEGIN_ATTEMPTS_MAX = 10

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

/** A transaction that was ended, as far as its markers are concerned. */
class Ended {
  readonly partitions: Map<string, PartitionName>
  readonly groups: Set<string>
  isCommit = true
  /** Under what it was. */
  producer: Producer | undefined
  /** Of the cluster, when it began. */
  disturbances = 0

  constructor(other?: Ended) {
    this.partitions = new Map(other?.partitions)
    this.groups = new Set(other?.groups)
  }
}

export class TransactionalProducer {
  readonly #cluster: KafkaCluster
  readonly #id: string
  #sender: BatchSender | undefined
  #version: TransactionVersion = 1
  /** What the last transaction was, until its markers are known to be written. */
  #last: Ended | undefined
  #hasBegun = false
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

  /**
   * Takes over the transactional id, once; later waits for the markers of the last transaction. After it no former holder
   * can commit anything, and what the last transaction did is there, or not. `groups`: whose positions it may have moved.
   */
  async begin(groups: readonly string[] = []): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        if (this.#sender === undefined) await this.#begin(groups)
        else await this.awaitMarkers()
        return
      } catch (error) {
        this.#sender = undefined
        const failure = this.#failure(error)
        if (!(failure instanceof TransactionAborted)) throw failure
        if (attempt === BEGIN_ATTEMPTS_MAX)
          throw new MillraceError('log_stopped', `Kafka: ${failure.message}`)
      }
    }
  }

  /**
   * Until the markers of the last transaction are written, nothing can belong to the next one; call within `exclusively`. A
   * broker that is asked to write something waits for it in steps of 20 ms; whoever sends the end again is told at once. What
   * fails makes the next `begin` take the transactional id over anew.
   */
  async awaitMarkers(): Promise<void> {
    const last = this.#last
    const sender = this.#sender
    if (last === undefined || sender === undefined) return
    try {
      await this.#end(last.producer!, last.isCommit)
      if (last.disturbances !== this.#cluster.disturbances) await this.#seal(sender, last)
      this.#last = undefined
    } catch (error) {
      this.#sender = undefined
      throw error
    }
  }

  async #begin(groups: readonly string[]): Promise<void> {
    const former = new Ended(this.#last)
    for (const group of groups) former.groups.add(group)
    let isCommit: boolean | undefined
    const answer = await this.#onCoordinator(`producer ${this.#id}`, async (connection) => {
      this.#version = await transactionVersion(connection)
      const { state, partitions } = await describeTransaction(connection, this.#id)
      isCommit = state === 'CompleteCommit' ? true : state === 'CompleteAbort' ? false : undefined
      for (const one of partitions) former.partitions.set(`${one.topic}/${one.partition}`, one)
      // One that is open is aborted by this, and the answer is to ask again.
      return initProducerIdV4.api.async(connection, this.#id, TRANSACTION_MS_MAX, -1n, -1)
    })
    const producer = { id: answer.producerId, epoch: answer.producerEpoch }
    this.#sender = new BatchSender(this.#cluster, producer, { id: this.#id, version: this.#version })
    if (isCommit !== undefined) {
      former.isCommit = isCommit
      // Of a former process nobody knows what it wrote to.
      if (!this.#hasBegun)
        for (const one of await this.#openPartitions(producer.id))
          former.partitions.set(`${one.topic}/${one.partition}`, one)
      await this.#seal(this.#sender, former)
    }
    this.#last = undefined
    this.#hasBegun = true
  }

  /** Where a transaction of the producer is open, in any topic. */
  async #openPartitions(producerId: bigint): Promise<PartitionName[]> {
    const byLeader = new Map<number, Map<string, number[]>>()
    for (const [name, { leaders }] of await this.#cluster.allTopics())
      for (const [partition, leader] of leaders.entries()) {
        if (leader < 0) continue
        const topics = byLeader.get(leader) ?? new Map<string, number[]>()
        byLeader.set(leader, topics.set(name, [...(topics.get(name) ?? []), partition]))
      }
    const found: PartitionName[] = []
    for (const [leader, topics] of byLeader)
      found.push(
        ...(await this.#cluster.retry('open transactions', async () => {
          const connection = await this.#cluster.connection(leader, 'control')
          const asked = [...topics].map(([name, partitionIndexes]) => ({ name, partitionIndexes }))
          return describeOpen(connection, asked, producerId)
        })),
      )
    return found.filter(({ topic }) => !topic.startsWith('__'))
  }

  /**
   * Commits; call within `exclusively`. Returns the base offset of each batch. Throws `TransactionAborted`, `partition_lost`
   * where a group has given the partitions to others, and what the cluster throws; then nothing was committed.
   */
  async commit(batches: readonly TransactionBatch[], offsets: readonly GroupOffset[]): Promise<number[]> {
    await this.begin()
    const sender = this.#sender!
    const last = new Ended()
    last.disturbances = this.#cluster.disturbances
    for (const { topic, partition } of batches)
      last.partitions.set(`${topic}/${partition}`, { topic, partition })
    for (const { group } of offsets) last.groups.add(group)
    this.#last = last
    let baseOffsets: number[]
    try {
      if (this.#version < 2) await this.#addPartitions(sender, batches)
      /** Of each partition. */
      const firsts = new Map<string, Promise<number>>()
      const sends = batches.map(({ topic, partition, batch }) => {
        const sent = sender.send(topic, partition, batch)
        const key = `${topic}/${partition}`
        if (!firsts.has(key)) firsts.set(key, sent)
        return sent
      })
      const offsetsSent = this.#sendAllOffsets(sender, offsets, [...firsts.values()])
      // All must be back before the end, whichever fails first.
      await Promise.allSettled([...sends, offsetsSent])
      baseOffsets = await Promise.all(sends)
      await offsetsSent
    } catch (error) {
      await this.#abort(sender)
      throw this.#failure(error)
    }
    try {
      last.producer = sender.producer
      sender.renew(await this.#end(sender.producer, true))
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
  async takeOver(group: string): Promise<void> {
    this.#sender = undefined
    await this.begin([group])
  }

  async #addPartitions(sender: BatchSender, batches: Iterable<PartitionName>): Promise<void> {
    const topics = [...Map.groupBy(batches, ({ topic }) => topic)].map(([name, own]) => ({
      name,
      partitions: [...new Set(own.map(({ partition }) => partition))],
    }))
    if (topics.length === 0) return
    const { id, epoch } = sender.producer
    await this.#onCoordinator(`transaction ${this.#id}`, (connection) =>
      addPartitionsToTransaction(connection, this.#id, id, epoch, topics),
    )
  }

  async #addGroup(sender: BatchSender, group: string): Promise<void> {
    const { id, epoch } = sender.producer
    await this.#onCoordinator(`transaction ${this.#id}`, (connection) =>
      addOffsetsToTxnV3.api.async(connection, this.#id, id, epoch, group),
    )
  }

  /**
   * While the batches are on their way, but one after the other: two that add to a transaction at the same time make one of
   * them wait. A partition was added when it has taken its first batch.
   */
  async #sendAllOffsets(
    sender: BatchSender,
    offsets: readonly GroupOffset[],
    added: readonly Promise<unknown>[],
  ): Promise<void> {
    await Promise.all(added)
    for (const [group, own] of Map.groupBy(offsets, ({ group }) => group))
      await this.#sendOffsets(sender, group, own)
  }

  async #sendOffsets(sender: BatchSender, group: string, offsets: readonly GroupOffset[]): Promise<void> {
    const { id, epoch } = sender.producer
    if (this.#version < 2) await this.#addGroup(sender, group)
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
    await this.#end(sender.producer, false).catch(() => {})
  }

  /**
   * Has the markers of an ended transaction written once more, by an empty one that ends like it. Coordinators (seen with
   * Kafka 4.3.1) take a partition that has no leader at that moment, as all have none while their broker starts, for deleted
   * and do without its marker: what the transaction wrote there would be ended by the next one, and like it.
   */
  async #seal(sender: BatchSender, { partitions, groups, isCommit }: Ended): Promise<void> {
    for (let before = -1; before !== this.#cluster.disturbances; ) {
      before = this.#cluster.disturbances
      const known = await this.#withLeaders([...partitions.values()], groups)
      if (known.length + groups.size === 0) return
      await this.#addPartitions(sender, known)
      for (const group of groups) await this.#addGroup(sender, group)
      const { producer } = sender
      sender.renew(await this.#end(producer, isCommit))
      await this.#end(producer, isCommit)
    }
  }

  /** Those of the partitions that exist, when all of them and those of the groups have a leader. */
  async #withLeaders(
    partitions: readonly PartitionName[],
    groups: ReadonlySet<string>,
  ): Promise<PartitionName[]> {
    const topics = new Set(partitions.map(({ topic }) => topic))
    const known = await this.#cluster.retry('leaders', async () => {
      await this.#cluster.refresh(topics)
      const known = partitions.filter(({ topic }) => this.#cluster.knownTopic(topic) !== undefined)
      const isLed = ({ topic, partition }: PartitionName): boolean =>
        (this.#cluster.knownTopic(topic)?.leaders[partition] ?? -1) >= 0
      if (!known.every(isLed))
        throw Object.assign(new Error('a partition has no leader'), { code: 'ENOLEADER' })
      return known
    })
    for (const group of groups)
      await this.#cluster.onCoordinator('group', group, `group ${group}`, (connection) =>
        committedOffsets(connection, group, [], false),
      )
    return known
  }

  /** Ends what the producer has open, or has ended so, once more; returns as what it goes on. */
  async #end(producer: Producer, isCommit: boolean): Promise<Producer> {
    return this.#onCoordinator(`end of transaction ${this.#id}`, async (connection) => {
      if (this.#version === 2) return endTransaction(connection, this.#id, producer, isCommit)
      await endTxnV3.api.async(connection, this.#id, producer.id, producer.epoch, isCommit)
      return producer
    })
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
