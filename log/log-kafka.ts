// The log on Kafka. Each thread that wants it has its own: connections, producers and group memberships are a
// thread's, so that no batch crosses threads (docs/decisions/0009-kafka-log.md).
//
//   append, `independent`        idempotent producer, acks=all, entry by entry
//   append, one batch, no more   the same: one batch is atomic as it is
//   append, all else             one transaction of this process's transactional id; a member's positions alone, too
//   append, `expectedOffset`     one transaction of the partition's own transactional id: whoever begins with it
//                                fences the writer before; then the partition is read to its end, then written
//   positions                    offsets of the consumer group `<prefix>millrace-<stage>`, the topic's id with them
//   read                         committed records only; offsets have gaps
//
// A stall of the cluster holds every call until it is over. What ends one: `kafka_refused` (rights, credentials),
// `partition_lost`, `log_stopped`, and errors of the request itself.
import { initProducerIdV4, listOffsetsV9, offsetCommitV9 } from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'
import {
  checkBatches,
  offsetAboveEnd,
  offsetBelowStart,
  offsetConflict,
  partitionUnknown,
  referenceMissing,
  topicUnknown,
} from './batch-check.ts'
import { prepareBatch } from './kafka-batches.ts'
import { KafkaCluster, type TopicMetadata } from './kafka-cluster.ts'
import { KAFKA, kafkaError, kafkaErrorCode } from './kafka-errors.ts'
import { KafkaFollower } from './kafka-follow.ts'
import { KafkaGroup } from './kafka-group.ts'
import type { KafkaOptions } from './kafka-options.ts'
import { KafkaReads } from './kafka-reads.ts'
import { BatchSender, ProducerLost } from './kafka-sender.ts'
import { KafkaTopics } from './kafka-topics.ts'
import {
  type GroupOffset,
  TransactionAborted,
  TransactionalProducer,
  type TransactionBatch,
} from './kafka-transaction.ts'
import { TransactionTurns } from './kafka-turns.ts'
import { committedOffsets } from './kafka-wire.ts'
import type {
  AppendRequest,
  AppendResult,
  BatchAppend,
  Changes,
  Log,
  PartitionRange,
  ReadResult,
  ReferenceAppend,
  StagePosition,
  Topic,
  TopicConfig,
} from './log.ts'
import { readBatchHeader } from './record-batch.ts'

const LATEST = -1n
const EARLIEST = -2n
const READ_UNCOMMITTED = 0
const READ_COMMITTED = 1
/** How long an end waits for the markers of its last commit. */
const CLOSE_MS_MAX = 3000
/** How long a transaction may hold the answer to `position` before this process ends those that may be its own. */
const UNSTABLE_MS_MAX = 4000
/** A transaction that is aborted so often is so for a reason that does not pass. */
const TRANSACTION_ATTEMPTS_MAX = 10
/** Of writers that take a partition from each other in turn, one gives up in the end. */
const WRITER_ATTEMPTS_MAX = 3
const NO_PARTITIONS: ReadonlySet<number> = new Set()
const NO_BATCHES = new Uint8Array(0)
const FETCH_BYTES_MIN = 64 * 1024

/** Opens the log. `role` names the thread: of two with one instance and role, the later ends the earlier's transactions. */
export async function openKafkaLog(options: KafkaOptions, role: string): Promise<KafkaLog> {
  const cluster = await KafkaCluster.connect(options, `millrace-${role}`)
  return new KafkaLog(cluster, role)
}

export class KafkaLog implements Log {
  readonly id: string
  readonly #cluster: KafkaCluster
  readonly #role: string
  readonly #topics: KafkaTopics
  readonly #follower: KafkaFollower
  readonly #reads: KafkaReads
  readonly #transactions: TransactionTurns
  /** Producers of partitions with one writer, by `topic/partition`. */
  readonly #writers = new Map<string, TransactionalProducer>()
  readonly #groups = new Map<string, KafkaGroup>()
  #sender: Promise<BatchSender> | undefined
  #abortedInARow = 0

  constructor(cluster: KafkaCluster, role: string) {
    this.#cluster = cluster
    this.#role = role
    this.id = cluster.clusterId
    this.#topics = new KafkaTopics(cluster)
    this.#follower = new KafkaFollower(cluster)
    this.#reads = new KafkaReads(cluster)
    const { prefix, instance } = cluster.options
    this.#transactions = new TransactionTurns(cluster, `${prefix}millrace-${instance}-${role}`)
  }

  // Topics

  createTopic(name: string, config: TopicConfig): Promise<Topic> {
    return this.#topics.create(name, config)
  }

  describeTopic(name: string): Promise<Topic | undefined> {
    return this.#topics.describe(name)
  }

  listTopics(): Promise<Topic[]> {
    return this.#topics.list()
  }

  /** Gives a topic more partitions. Only where all of it has been dealt with: devices move by it. */
  addPartitions(name: string, count: number): Promise<void> {
    return this.#topics.addPartitions(name, count)
  }

  #isKnown(topic: string, partition: number): boolean {
    return this.#cluster.knownTopic(this.#topics.nameOf(topic))?.leaders[partition] !== undefined
  }

  async #metadata(topic: string, partition: number): Promise<TopicMetadata> {
    const metadata = await this.#cluster.topic(this.#topics.nameOf(topic))
    if (metadata === undefined) throw topicUnknown(topic)
    if (metadata.leaders[partition] === undefined) throw partitionUnknown(topic, partition)
    return metadata
  }

  // Appending

  async append(request: AppendRequest): Promise<AppendResult> {
    this.#cluster.throwIfClosed()
    const { entries, positions = [] } = request
    const batches: TransactionBatch[] = []
    /** Index in `batches` of the first batch of each entry. */
    const firsts: number[] = []
    let expecting: (BatchAppend | ReferenceAppend) | undefined
    for (const entry of entries) {
      // Nothing is waited for where the topic is known: appends of one caller keep their order.
      if (!this.#isKnown(entry.topic, entry.partition)) await this.#metadata(entry.topic, entry.partition)
      firsts.push(batches.length)
      this.#prepare(entry, 'batch' in entry ? entry.batch : await this.#referenced(entry), batches)
      if (entry.expectedOffset === undefined) continue
      if (
        expecting !== undefined &&
        (expecting.topic !== entry.topic || expecting.partition !== entry.partition)
      )
        throw new MillraceError('option_invalid', 'append: expectedOffset of more than one partition')
      expecting ??= entry
    }
    for (const { topic, partition } of positions) await this.#metadata(topic, partition)
    if (batches.length === 0) {
      // Outside a transaction nothing keeps a commit that a broker gets to late from taking the position back.
      const isMembers = positions.some(({ stage }) => this.#groups.has(stage))
      await (isMembers ? this.#transact([], positions) : this.#commitPositions(positions))
      return { baseOffsets: [] }
    }
    const isPlain = expecting === undefined && positions.length === 0
    const offsets =
      isPlain && (request.independent === true || batches.length === 1)
        ? await this.#send(batches)
        : expecting !== undefined
          ? await this.#appendExpecting(expecting, batches, positions)
          : await this.#transact(batches, positions)
    return { baseOffsets: firsts.map((first) => offsets[first]!) }
  }

  #prepare(entry: BatchAppend | ReferenceAppend, bytes: Uint8Array, into: TransactionBatch[]): void {
    const topic = this.#topics.nameOf(entry.topic)
    const { partition } = entry
    let at = 0
    // What is sent gets its CRC with its producer id: one that is pending needs no other before.
    const isPending = 'batch' in entry && entry.isCrcPending === true
    for (const header of checkBatches(bytes, entry.recordCount, !isPending)) {
      const batch = bytes.subarray(at, (at += header.byteLength))
      const prepared = prepareBatch(batch, header, this.#cluster.options.compression, !isPending)
      into.push({ topic, partition, batch: prepared })
    }
  }

  /** Kafka has no references: the batch is read and written again. */
  async #referenced({ reference }: ReferenceAppend): Promise<Uint8Array> {
    const { topic, partition, baseOffset } = reference
    const { batches } = await this.read(topic, partition, baseOffset, FETCH_BYTES_MIN).catch(
      (error: unknown) => {
        if (error instanceof MillraceError && error.code === 'offset_above_end')
          throw referenceMissing(topic, partition, baseOffset)
        throw error
      },
    )
    const header = readBatchHeader(batches)
    if (header === undefined || header.baseOffset !== baseOffset)
      throw referenceMissing(topic, partition, baseOffset)
    // A copy: what was read is valid until the next read, and this is sent after it.
    return batches.slice(0, header.byteLength)
  }

  async #send(batches: readonly TransactionBatch[]): Promise<number[]> {
    this.#sender ??= this.#newSender()
    const current = this.#sender
    const sender = await current
    try {
      const sends = batches.map(({ topic, partition, batch }) => sender.send(topic, partition, batch))
      // What is still on its way lies in the caller's memory.
      await Promise.allSettled(sends)
      return await Promise.all(sends)
    } catch (error) {
      // Whoever comes next has a producer id of its own; what was in doubt has failed with this one.
      if (this.#sender === current) this.#sender = undefined
      if (error instanceof ProducerLost) throw new MillraceError('log_stopped', `Kafka: ${error.message}`)
      throw kafkaError('append', error)
    }
  }

  async #newSender(): Promise<BatchSender> {
    const { producerId, producerEpoch } = await this.#cluster.onAny('producer id', (connection) =>
      initProducerIdV4.api.async(connection, null, 0, -1n, -1),
    )
    return new BatchSender(this.#cluster, { id: producerId, epoch: producerEpoch }, null)
  }

  #transact(batches: readonly TransactionBatch[], positions: readonly StagePosition[]): Promise<number[]> {
    return this.#transactions.exclusively(async () => {
      for (;;) {
        try {
          const offsets = await this.#transactions.commit(batches, await this.#groupOffsets(positions))
          this.#abortedInARow = 0
          return offsets
        } catch (error) {
          if (!(error instanceof TransactionAborted)) throw error
          if (++this.#abortedInARow === TRANSACTION_ATTEMPTS_MAX)
            throw new MillraceError('log_stopped', `Kafka: ${error.message}`)
          // A member goes on from what the group says was committed, whatever became of this transaction.
          if (positions.some(({ stage }) => this.#groups.has(stage)))
            throw new MillraceError('partition_lost', `Kafka: ${error.message}`)
        }
      }
    })
  }

  async #appendExpecting(
    entry: BatchAppend | ReferenceAppend,
    batches: readonly TransactionBatch[],
    positions: readonly StagePosition[],
  ): Promise<number[]> {
    const { topic, partition } = entry
    const expected = entry.expectedOffset!
    const key = `${topic}/${partition}`
    let writer = this.#writers.get(key)
    if (writer === undefined) {
      const id = `${this.#cluster.options.prefix}millrace-writer-${topic}-${partition}`
      this.#writers.set(key, (writer = new TransactionalProducer(this.#cluster, id)))
    }
    return writer.exclusively(async () => {
      for (let attempt = 1; ; attempt++) {
        // From here on nobody else adds to the partition without fencing this writer.
        await writer.begin()
        await this.#requireEnd(topic, partition, expected)
        try {
          const offsets = await writer.commit(batches, await this.#groupOffsets(positions))
          // Who writes so reads what it wrote next: it must not find less.
          await this.#stableEnd(topic, partition)
          return offsets
        } catch (error) {
          if (!(error instanceof TransactionAborted)) throw error
          // Another has taken over since: whether it has written, or this very append was done, the partition tells.
          if (attempt === WRITER_ATTEMPTS_MAX) throw offsetConflict(topic, partition, expected, expected + 1)
        }
      }
    })
  }

  /** Throws `offset_conflict` unless no record is at `expected` or after it, and the partition reaches as far. */
  async #requireEnd(topic: string, partition: number, expected: number): Promise<void> {
    const end = await this.#stableEnd(topic, partition)
    if (expected > end) throw offsetConflict(topic, partition, expected, end)
    for (let at = expected; at < end; ) {
      const { batches, nextOffset } = await this.read(topic, partition, at, FETCH_BYTES_MIN)
      for (let from = 0; from < batches.length; ) {
        const header = readBatchHeader(batches, from)!
        const last = header.baseOffset + header.lastOffsetDelta
        if (last >= expected) throw offsetConflict(topic, partition, expected, last + 1)
        from += header.byteLength
      }
      if (nextOffset <= at) break
      at = nextOffset
    }
  }

  async settled(topic: string, partition: number): Promise<void> {
    await this.#stableEnd(topic, partition)
  }

  /**
   * The end, once all that lies in the partition now can be read: a transaction that is open there has ended, and the
   * marker of one that has ended is there. Until then a reader sees less than what was committed.
   */
  async #stableEnd(topic: string, partition: number): Promise<number> {
    const { end: last } = await this.#rangeOf(topic, partition, READ_UNCOMMITTED)
    return this.#cluster.retry(`end of ${topic}/${partition}`, async () => {
      const { end } = await this.#rangeOf(topic, partition, READ_COMMITTED)
      if (end < last) throw Object.assign(new Error('a transaction is open'), { code: 'EOPEN' })
      return end
    })
  }

  // Reading

  async read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult> {
    await this.#metadata(topic, partition)
    const name = this.#topics.nameOf(topic)
    const got = await this.#reads.read(
      name,
      partition,
      offset,
      Math.max(1, bytesMax),
      `${topic}/${partition}`,
    )
    if (got === undefined) return this.#outOfRange(topic, partition, offset)
    const { batches, nextOffset } = got
    return { batches, nextOffset: nextOffset === undefined ? offset : Math.max(offset, nextOffset) }
  }

  async #outOfRange(topic: string, partition: number, offset: number): Promise<ReadResult> {
    const { start, end } = await this.#rangeOf(topic, partition, READ_COMMITTED)
    if (offset < start) throw offsetBelowStart(topic, partition, offset, start)
    if (offset > end) throw offsetAboveEnd(topic, partition, offset, end)
    // It was so when the broker answered; it is not any more.
    return { batches: NO_BATCHES, nextOffset: offset }
  }

  async range(topic: string, partition: number): Promise<PartitionRange> {
    await this.#metadata(topic, partition)
    const range = await this.#rangeOf(topic, partition, READ_COMMITTED)
    this.#follower.note(topic, this.#topics.nameOf(topic), partition, range.start, range.end)
    return range
  }

  async #rangeOf(topic: string, partition: number, isolation: number): Promise<PartitionRange> {
    const name = this.#topics.nameOf(topic)
    const ask = (timestamp: bigint): Promise<number> =>
      this.#cluster.onLeader(
        name,
        partition,
        'read',
        `range of ${topic}/${partition}`,
        async (connection) => {
          const partitions = [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }]
          const answer = await listOffsetsV9.api.async(connection, -1, isolation, [{ name, partitions }])
          return Number(answer.topics[0]!.partitions[0]!.offset)
        },
      )
    const [start, end] = await Promise.all([ask(EARLIEST), ask(LATEST)])
    return { start, end }
  }

  changes(sequence: number, timeoutMs: number): Promise<Changes> {
    return this.#follower.changes(sequence, timeoutMs)
  }

  // Positions and groups

  #groupName(stage: string): string {
    return `${this.#cluster.options.prefix}millrace-${stage}`
  }

  async #groupOffsets(positions: readonly StagePosition[]): Promise<GroupOffset[]> {
    const offsets = new Map<string, GroupOffset>()
    for (const { stage, topic, partition, nextOffset } of positions) {
      const { id } = await this.#metadata(topic, partition)
      offsets.set(`${stage}/${topic}/${partition}`, {
        group: this.#groupName(stage),
        topic: this.#topics.nameOf(topic),
        partition,
        offset: nextOffset,
        metadata: id,
        member: this.#groups.get(stage),
      })
    }
    return [...offsets.values()]
  }

  /** Positions alone, of groups without members. */
  async #commitPositions(positions: readonly StagePosition[]): Promise<void> {
    const groups = Map.groupBy(await this.#groupOffsets(positions), ({ group }) => group)
    for (const [group, own] of groups) {
      const topics = [...Map.groupBy(own, ({ topic }) => topic)].map(([name, partitions]) => ({
        name,
        partitions: partitions.map(({ partition, offset, metadata }) => ({
          partitionIndex: partition,
          committedOffset: BigInt(offset),
          committedLeaderEpoch: -1,
          committedMetadata: metadata,
        })),
      }))
      await this.#cluster.onCoordinator('group', group, `positions of ${group}`, (connection) =>
        offsetCommitV9.api.async(connection, group, -1, '', null, topics),
      )
    }
  }

  async position(stage: string, topic: string, partition: number): Promise<number | undefined> {
    const { id } = await this.#metadata(topic, partition)
    const group = this.#groupName(stage)
    const topics = [{ name: this.#topics.nameOf(topic), partitionIndexes: [partition] }]
    let heldSince = performance.now()
    // Waits while a transaction that moves the position is open; this process may have left it itself.
    const committed = await this.#cluster.onCoordinator(
      'group',
      group,
      `position of ${group}`,
      async (connection) => {
        try {
          return await committedOffsets(connection, group, topics, true)
        } catch (error) {
          const isHeld = kafkaErrorCode(error) === KAFKA.UNSTABLE_OFFSET_COMMIT
          if (isHeld && performance.now() - heldSince > UNSTABLE_MS_MAX) {
            await this.#transactions.exclusively(() => this.#transactions.takeOver(group))
            heldSince = performance.now()
          }
          throw error
        }
      },
    )
    const found = committed[0]?.partitions[0]
    if (found === undefined || found.committedOffset < 0n) return undefined
    // Of a topic that was made again under the name, another's position.
    return found.metadata === id ? Number(found.committedOffset) : undefined
  }

  /** Joins the stage's consumer group; resolves when the group has answered. */
  async join(
    stage: string,
    topics: readonly string[],
    onChange: () => void,
    onFailure: (error: unknown) => void,
  ): Promise<KafkaGroup> {
    const { instance } = this.#cluster.options
    const group = new KafkaGroup({
      cluster: this.#cluster,
      group: this.#groupName(stage),
      memberId: `${instance}-${this.#role}`,
      topics,
      onChange,
      onFailure,
      onOwn: (stageTopics, owned) => {
        for (const topic of stageTopics) this.#follower.keep(topic, owned.get(topic) ?? NO_PARTITIONS)
      },
    })
    this.#groups.set(stage, group)
    // What a former self left open or half ended holds others up.
    await this.#transactions.exclusively(() => this.#transactions.begin(this.#groupName(stage)))
    await group.joined
    return group
  }

  /** Afterwards others can read what was committed here: markers reach the partitions a moment after the commit. */
  async close(): Promise<void> {
    const ended = this.#transactions.exclusively(() => this.#transactions.awaitMarkers()).catch(() => {})
    await Promise.race([ended, this.#cluster.sleep(CLOSE_MS_MAX)])
    await Promise.all([...this.#groups.values()].map((group) => group.leave()))
    await this.#cluster.close()
    this.#follower.close()
    const sender = await this.#sender?.catch(() => undefined)
    sender?.fail(new MillraceError('log_stopped', 'the log is closed'))
  }
}
