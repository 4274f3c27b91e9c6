// ListOffsets: the first and the next offset of a partition, or the first record at or after a time. Timestamps are
// receive times and rise along a partition but for what two workers received in the same moments, so a binary search
// over batches finds the place.
import type { Log } from '../log/log.ts'
import { RecordReader, readBatchHeader } from '../log/record-batch.ts'
import { isMillraceError } from '../std/errors.ts'
import type { Caller } from './caller.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'
import type { RequestOf, ResponseOf } from './messages.ts'
import { partitionKey } from './partition-ends.ts'
import { mayRead, type PublicTopics } from './public-topics.ts'

/** Timestamps with a meaning of their own. */
const LATEST = -1
const EARLIEST = -2
const MAX_TIMESTAMP = -3

type Response = ResponseOf<'listOffsets'>
type PartitionOffset = Response['topics'][number]['partitions'][number]

export async function listOffsets(
  log: Log,
  topics: PublicTopics,
  request: RequestOf<'listOffsets'>,
  caller: Caller,
): Promise<Response> {
  const asked = new Set<string>()
  const answer = async (name: string, partition: number, timestamp: number): Promise<PartitionOffset> => {
    const place = (errorCode: KafkaError, offset = -1, time = -1): PartitionOffset => ({
      partitionIndex: partition,
      errorCode,
      timestamp: time,
      offset,
      leaderEpoch: offset < 0 ? -1 : 0,
    })
    const topic = topics.find(caller.principal, name)
    if (topic === undefined || partition < 0 || partition >= topic.partitions)
      return place(KAFKA_ERROR.unknownTopicOrPartition)
    if (!mayRead(caller.principal, topic)) return place(KAFKA_ERROR.topicAuthorizationFailed)
    // Kafka takes a partition once a request, too: a search of each of many times would keep the log from its work.
    const key = partitionKey(name, partition)
    if (asked.has(key)) return place(KAFKA_ERROR.invalidRequest)
    asked.add(key)
    const { start, end } = await log.range(name, partition)
    if (timestamp === LATEST) return place(KAFKA_ERROR.none, end)
    if (timestamp === EARLIEST) return place(KAFKA_ERROR.none, start)
    const found =
      timestamp === MAX_TIMESTAMP
        ? await newest(log, name, partition, start, end)
        : await firstAtOrAfter(log, name, partition, start, end, timestamp)
    return found === undefined
      ? place(KAFKA_ERROR.none)
      : place(KAFKA_ERROR.none, found.offset, found.timestamp)
  }
  const answered: Response['topics'] = []
  for (const { name, partitions } of request.topics) {
    const places: PartitionOffset[] = []
    for (const { partitionIndex, timestamp } of partitions)
      places.push(await answer(name, partitionIndex, timestamp))
    answered.push({ name, partitions: places })
  }
  return { throttleTimeMs: 0, topics: answered }
}

interface Place {
  offset: number
  timestamp: number
}

async function newest(
  log: Log,
  topic: string,
  partition: number,
  start: number,
  end: number,
): Promise<Place | undefined> {
  if (start === end) return undefined
  const { batches } = await log.read(topic, partition, end - 1, 1)
  return firstRecord(batches, readBatchHeader(batches)!.maxTimestamp)
}

async function firstAtOrAfter(
  log: Log,
  topic: string,
  partition: number,
  start: number,
  end: number,
  timestamp: number,
): Promise<Place | undefined> {
  // Invariant: everything below `low` is older, the batch at `high` (or the end) is not.
  let low = start
  let high = end
  let found: Place | undefined
  while (low < high) {
    const middle = low + Math.floor((high - low) / 2)
    let batches: Uint8Array
    try {
      ;({ batches } = await log.read(topic, partition, middle, 1))
    } catch (error) {
      // Retention freed it meanwhile.
      if (!isMillraceError(error, 'offset_below_start')) throw error
      low = middle + 1
      continue
    }
    const { baseOffset, lastOffsetDelta, maxTimestamp } = readBatchHeader(batches)!
    if (maxTimestamp < timestamp) low = baseOffset + lastOffsetDelta + 1
    else {
      found = firstRecord(batches, timestamp) ?? found
      high = Math.max(low, Math.min(baseOffset, middle))
    }
  }
  return found
}

/** The first record of the first batch whose time is `timestamp` or later. */
function firstRecord(batches: Uint8Array, timestamp: number): Place | undefined {
  const reader = new RecordReader()
  reader.reset(batches, 0, readBatchHeader(batches)!.byteLength)
  while (reader.next())
    if (reader.timestamp >= timestamp) return { offset: reader.offset, timestamp: reader.timestamp }
  return undefined
}
