// Produce and Fetch with record sets as bytes: the library's own versions of both build and take apart records,
// which here no stage does (decision 1: the batch is the unit that flows). Layouts: Kafka protocol guide,
// Produce v11 and v12 (one layout) and Fetch v17, as in the library's produce-v11 and fetch-v17.
//
// And requests of transactions. Version 1: AddPartitionsToTxn v3, the last that is for clients, with an answer that says
// which partition failed. Version 2 (KIP-890), which the library lacks: EndTxn v5, whose answer names the epoch of the next
// transaction, and TxnOffsetCommit v5, laid out as v4.
import {
  apiVersionsV4,
  type Connection,
  createAPI,
  describeProducersV0,
  describeTransactionsV0,
  endTxnV4,
  offsetFetchV8,
  type Reader,
  ResponseError,
  txnOffsetCommitV4,
  Writer,
} from '@platformatic/kafka'
import type { Producer } from './kafka-batches.ts'
import type { MemoryHolder } from './kafka-connection.ts'
import { KAFKA, kafkaErrorCode } from './kafka-errors.ts'

export interface ProducePartition {
  topic: string
  partition: number
  /** One batch in pieces: header, records. */
  parts: readonly Uint8Array[]
}

export interface ProducedPartition {
  topic: string
  partition: number
  errorCode: number
  baseOffset: number
  message: string | null
}

const ACKS_ALL = -1
/** Kafka's own topics begin so. */
const INTERNAL = '__'
/** How long the leader waits for its followers. */
const PRODUCE_MS_MAX = 8000

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function writeProduce(transactionalId: string | null, partitions: readonly ProducePartition[]): Writer {
  const topics = Map.groupBy(partitions, ({ topic }) => topic)
  return Writer.create()
    .appendString(transactionalId)
    .appendInt16(ACKS_ALL)
    .appendInt32(PRODUCE_MS_MAX)
    .appendMap(topics, (w, [topic, own]) => {
      w.appendString(topic).appendArray(own, (w, { partition, parts }) => {
        let bytes = 0
        for (const part of parts) bytes += part.byteLength
        w.appendInt32(partition).appendUnsignedVarInt(bytes + 1)
        for (const part of parts) w.append(asBuffer(part))
      })
    })
    .appendTaggedFields()
}

function readProduce(_id: number, _key: number, _version: number, reader: Reader): ProducedPartition[] {
  const produced: ProducedPartition[] = []
  reader.readArray((r) => {
    const topic = r.readString()
    r.readArray((r) => {
      const partition = r.readInt32()
      const errorCode = r.readInt16()
      const baseOffset = Number(r.readInt64())
      r.skip(16) // log append time, log start offset
      let message: string | null = null
      r.readArray((r) => {
        r.readInt32()
        message ??= r.readNullableString()
      })
      message = r.readNullableString() ?? message
      produced.push({ topic, partition, errorCode, baseOffset, message })
    })
  })
  return produced
}

/** From v12 on, what a transaction writes to belongs to it by that. */
const PRODUCE_APIS = {
  1: createAPI(0, 11, writeProduce, readProduce),
  2: createAPI(0, 12, writeProduce, readProduce),
}

/** Sends batches, at most one a partition; resolves when the answer for each is there. */
export function produce(
  connection: Connection,
  transactional: Transactional | null,
  partitions: readonly ProducePartition[],
): Promise<ProducedPartition[]> {
  const api = PRODUCE_APIS[transactional?.version ?? 1]
  return api.async(connection, transactional?.id ?? null, partitions)
}

export interface FetchPartition {
  topicId: string
  partition: number
  offset: number
  bytesMax: number
}

export interface FetchedPartition {
  topicId: string
  partition: number
  errorCode: number
  lastStableOffset: number
  logStartOffset: number
  /** Aborted transactions of the records, by first offset. */
  aborted: { producerId: bigint; firstOffset: number }[]
  /** Batches as stored, the last one possibly cut off. */
  records: Uint8Array
}

/** Whoever has it gives the memory back (`KafkaCluster.memory`); the records lie in it. */
export interface FetchAnswer extends MemoryHolder {
  errorCode: number
  partitions: FetchedPartition[]
}

const READ_COMMITTED = 1

function writeFetch(maxWaitMs: number, bytesMax: number, partitions: readonly FetchPartition[]): Writer {
  const topics = Map.groupBy(partitions, ({ topicId }) => topicId)
  return Writer.create()
    .appendInt32(maxWaitMs)
    .appendInt32(1)
    .appendInt32(bytesMax)
    .appendInt8(READ_COMMITTED)
    .appendInt32(0) // no fetch session
    .appendInt32(-1)
    .appendMap(topics, (w, [topicId, own]) => {
      w.appendUUID(topicId).appendArray(own, (w, { partition, offset, bytesMax }) => {
        w.appendInt32(partition)
          .appendInt32(-1)
          .appendInt64(BigInt(offset))
          .appendInt32(-1)
          .appendInt64(-1n)
          .appendInt32(bytesMax)
      })
    })
    .appendArray([], () => {})
    .appendString('')
    .appendTaggedFields()
}

/** No Buffer: its `slice` is a view, of memory that other records will lie in; that of plain bytes is a copy. */
function plainBytes(bytes: Buffer | null): Uint8Array {
  return bytes === null ? new Uint8Array(0) : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

function readFetch(_id: number, _key: number, _version: number, reader: Reader): FetchAnswer {
  reader.readInt32() // throttle time
  const errorCode = reader.readInt16()
  reader.readInt32() // session
  const partitions: FetchedPartition[] = []
  reader.readArray((r) => {
    const topicId = r.readUUID()
    r.readArray((r) => {
      const partition = r.readInt32()
      const code = r.readInt16()
      r.readInt64() // high watermark
      const lastStableOffset = Number(r.readInt64())
      const logStartOffset = Number(r.readInt64())
      const aborted =
        r.readNullableArray((r) => ({ producerId: r.readInt64(), firstOffset: Number(r.readInt64()) })) ?? []
      // Brokers name them in the order in which they ended.
      aborted.sort((a, b) => a.firstOffset - b.firstOffset)
      r.readInt32() // preferred replica
      const records = plainBytes(r.readNullableBytes())
      partitions.push({
        topicId,
        partition,
        errorCode: code,
        lastStableOffset,
        logStartOffset,
        aborted,
        records,
      })
    })
  })
  return { errorCode, partitions, memory: undefined }
}

const fetchApi = createAPI(1, 17, writeFetch, readFetch)

/** Reads committed batches; waits up to `maxWaitMs` while no partition has any. */
export function fetchBatches(
  connection: Connection,
  maxWaitMs: number,
  bytesMax: number,
  partitions: readonly FetchPartition[],
): Promise<FetchAnswer> {
  return fetchApi.async(connection, maxWaitMs, bytesMax, partitions)
}

// Groups

/** A partition's position in a group, as it was committed; an offset below 0 where there is none. */
export interface CommittedOffset {
  partitionIndex: number
  committedOffset: bigint
  metadata?: string | null
}

/**
 * Positions of a group, topic by topic; none where there is no such group. `isStable`: while a transaction may yet move one,
 * the answer is UNSTABLE_OFFSET_COMMIT.
 */
export async function committedOffsets(
  connection: Connection,
  groupId: string,
  topics: { name: string; partitionIndexes: number[] }[],
  isStable: boolean,
): Promise<{ name: string; partitions: CommittedOffset[] }[]> {
  try {
    const asked = [{ groupId, memberId: null, memberEpoch: -1, topics }]
    const { groups } = await offsetFetchV8.api.async(connection, asked, isStable)
    return groups[0]!.topics
  } catch (error) {
    if (kafkaErrorCode(error) !== KAFKA.GROUP_ID_NOT_FOUND) throw error
    return []
  }
}

// Transactions

/** Of the protocol between producers and brokers: the cluster's feature `transaction.version`. */
export type TransactionVersion = 1 | 2

export interface Transactional {
  /** The transactional id. */
  id: string
  version: TransactionVersion
}

/** What the cluster has agreed on. */
export async function transactionVersion(connection: Connection): Promise<TransactionVersion> {
  const { finalizedFeatures = [] } = await apiVersionsV4.api.async(connection, 'millrace', '1')
  const feature = finalizedFeatures.find(({ name }) => name === 'transaction.version')
  return (feature?.maxVersionLevel ?? 0) >= 2 ? 2 : 1
}

function readEndTransaction(_id: number, apiKey: number, apiVersion: number, reader: Reader): Producer {
  reader.readInt32() // throttle time
  const errorCode = reader.readInt16()
  const producer = { id: reader.readInt64(), epoch: reader.readInt16() }
  if (errorCode !== 0) throw new ResponseError(apiKey, apiVersion, { '/': [errorCode, null] }, undefined)
  return producer
}

const endTransactionApi = createAPI(26, 5, endTxnV4.createRequest, readEndTransaction)

/** Ends a transaction of version 2; by the answer the producer goes on. */
export function endTransaction(
  connection: Connection,
  transactionalId: string,
  { id, epoch }: Producer,
  isCommit: boolean,
): Promise<Producer> {
  return endTransactionApi.async(connection, transactionalId, id, epoch, isCommit)
}

/** As the library's v4, for version 2: the group's partition belongs to the transaction by that. */
export const txnOffsetCommitV5 = createAPI(
  28,
  5,
  txnOffsetCommitV4.createRequest,
  txnOffsetCommitV4.parseResponse,
)

export interface PartitionName {
  topic: string
  partition: number
}

/** What the coordinator knows of a transactional id; the partitions while one of its transactions is not ended yet. */
export async function describeTransaction(
  connection: Connection,
  transactionalId: string,
): Promise<{ state: string; partitions: PartitionName[] }> {
  try {
    const { transactionStates } = await describeTransactionsV0.api.async(connection, [transactionalId])
    const { transactionState: state, topics } = transactionStates[0]!
    const partitions = topics
      .filter(({ topic }) => !topic.startsWith(INTERNAL))
      .flatMap(({ topic, partitions }) => partitions.map((partition) => ({ topic, partition })))
    return { state, partitions }
  } catch (error) {
    if (kafkaErrorCode(error) !== KAFKA.TRANSACTIONAL_ID_NOT_FOUND) throw error
    return { state: 'Empty', partitions: [] }
  }
}

/** In which partitions of the brokers' leaders `topics` the producer has a transaction open. */
export async function describeOpen(
  connection: Connection,
  topics: { name: string; partitionIndexes: number[] }[],
  producerId: bigint,
): Promise<PartitionName[]> {
  let answer: Awaited<ReturnType<typeof describeProducersV0.api.async>>
  try {
    answer = await describeProducersV0.api.async(connection, topics)
  } catch (error) {
    // Topics that this process may not read are none of its own.
    const { response } = error as { response?: typeof answer }
    if (kafkaErrorCode(error) === undefined || response === undefined) throw error
    answer = response
  }
  return answer.topics.flatMap(({ name, partitions }) =>
    partitions
      .filter(({ activeProducers }) =>
        activeProducers.some((one) => one.producerId === producerId && one.currentTxnStartOffset >= 0n),
      )
      .map(({ partitionIndex }) => ({ topic: name, partition: partitionIndex })),
  )
}

export interface TransactionTopic {
  name: string
  partitions: number[]
}

function writeAddPartitions(
  transactionalId: string,
  producerId: bigint,
  producerEpoch: number,
  topics: readonly TransactionTopic[],
): Writer {
  return Writer.create()
    .appendString(transactionalId)
    .appendInt64(producerId)
    .appendInt16(producerEpoch)
    .appendArray([...topics], (w, { name, partitions }) => {
      w.appendString(name).appendArray(partitions, (w, one) => w.appendInt32(one), true, false)
    })
    .appendTaggedFields()
}

function readAddPartitions(_id: number, apiKey: number, apiVersion: number, reader: Reader): void {
  const errors: Record<string, [number, null]> = {}
  reader.readInt32() // throttle time
  reader.readArray((r) => {
    const topic = r.readString()
    r.readArray((r) => {
      const partition = r.readInt32()
      const errorCode = r.readInt16()
      if (errorCode !== 0) errors[`/${topic}/${partition}`] = [errorCode, null]
    })
  })
  if (Object.keys(errors).length > 0) throw new ResponseError(apiKey, apiVersion, errors, undefined)
}

const addPartitionsApi = createAPI(24, 3, writeAddPartitions, readAddPartitions)

/** Tells the transaction's coordinator of partitions, before anything is written to them. */
export function addPartitionsToTransaction(
  connection: Connection,
  transactionalId: string,
  producerId: bigint,
  producerEpoch: number,
  topics: readonly TransactionTopic[],
): Promise<void> {
  return addPartitionsApi.async(connection, transactionalId, producerId, producerEpoch, topics)
}
