// What a log demands of the bytes it is given: whole sealed batches, back to back, of a kind that every reader
// here can walk. Shared by all implementations, so that one refuses what the others refuse.
import { MillraceError } from '../std/errors.ts'
import type { BatchAppend, TopicConfig } from './log.ts'
import { type BatchHeader, batchCrcMatches, readBatchHeader, writeBatchCrc } from './record-batch.ts'

/** Attribute bits that no stored batch has: compression (0–2), transactional (4), control (5). */
const ATTRIBUTES_REFUSED = 0b11_0111

export const PARTITIONS_MAX = 1024

const TOPIC_NAME = /^[A-Za-z0-9._-]{1,249}$/

function invalid(reason: string, position: number): MillraceError {
  return new MillraceError('batch_invalid', `${reason} at byte ${position}`, { position })
}

/**
 * Checks the batches that fill `bytes` and returns their headers. Throws `batch_invalid` where they are not
 * whole batches v2, are compressed or transactional, hold another number of records than `recordCount`, or
 * (with `verifyCrc`) where a CRC is wrong.
 */
export function checkBatches(bytes: Uint8Array, recordCount: number, verifyCrc = true): BatchHeader[] {
  const headers: BatchHeader[] = []
  let records = 0
  for (let at = 0; at < bytes.length; ) {
    const header = readBatchHeader(bytes, at)
    if (header === undefined) throw invalid('no whole RecordBatch v2', at)
    if (header.recordCount === 0) throw invalid('a batch without records', at)
    if ((header.attributes & ATTRIBUTES_REFUSED) !== 0)
      throw invalid(`batch attributes ${header.attributes} (compressed, transactional or control)`, at)
    if (verifyCrc && !batchCrcMatches(bytes, at, header.byteLength)) throw invalid('wrong batch CRC', at)
    records += header.recordCount
    headers.push(header)
    at += header.byteLength
  }
  if (headers.length === 0) throw invalid('no batch', 0)
  if (records !== recordCount)
    throw new MillraceError('batch_invalid', `${records} records where ${recordCount} were announced`)
  return headers
}

/** `checkBatches` of an entry; its CRCs are filled in where they are pending. */
export function checkEntry(entry: BatchAppend, verifyCrc = true): BatchHeader[] {
  const { batch, recordCount, isCrcPending = false } = entry
  const headers = checkBatches(batch, recordCount, verifyCrc && !isCrcPending)
  if (!isCrcPending) return headers
  let at = 0
  for (const { byteLength } of headers) writeBatchCrc(batch, at, (at += byteLength))
  return headers
}

/** Throws `option_invalid` where name or configuration cannot be a topic's. */
export function checkTopic(name: string, config: TopicConfig): void {
  if (!TOPIC_NAME.test(name))
    throw new MillraceError(
      'option_invalid',
      `topic name ${JSON.stringify(name)}: 1 to 249 of A–Z a–z 0–9 . _ -`,
    )
  const { partitions } = config
  if (!Number.isInteger(partitions) || partitions < 1 || partitions > PARTITIONS_MAX)
    throw new MillraceError(
      'option_invalid',
      `topic ${name}: ${partitions} partitions, allowed are 1 to ${PARTITIONS_MAX}`,
    )
}

export const topicUnknown = (topic: string): MillraceError =>
  new MillraceError('topic_unknown', `no topic ${topic}`, { topic })

export const partitionUnknown = (topic: string, partition: number): MillraceError =>
  new MillraceError('topic_unknown', `topic ${topic} has no partition ${partition}`, { topic, partition })

export const topicConflict = (name: string, exists: TopicConfig, asked: TopicConfig): MillraceError =>
  new MillraceError(
    'topic_conflict',
    `topic ${name} exists with ${exists.partitions} partitions and cleanup ${exists.cleanup}; asked for ${asked.partitions} and ${asked.cleanup}`,
    { topic: name },
  )

export const offsetConflict = (
  topic: string,
  partition: number,
  expected: number,
  actual: number,
): MillraceError =>
  new MillraceError(
    'offset_conflict',
    `${topic}/${partition}: expected next offset ${expected}, it is ${actual}`,
    {
      topic,
      partition,
      expected,
      actual,
    },
  )

export const offsetBelowStart = (
  topic: string,
  partition: number,
  offset: number,
  start: number,
): MillraceError =>
  new MillraceError('offset_below_start', `${topic}/${partition}: offset ${offset} is below ${start}`, {
    topic,
    partition,
    offset,
    start,
  })

export const offsetAboveEnd = (
  topic: string,
  partition: number,
  offset: number,
  end: number,
): MillraceError =>
  new MillraceError('offset_above_end', `${topic}/${partition}: offset ${offset} is above ${end}`, {
    topic,
    partition,
    offset,
    end,
  })

export const backlogFull = (topic: string, partition: number, bytes: number, max: number): MillraceError =>
  new MillraceError('backlog_full', `${topic}/${partition}: ${bytes} bytes wait for its slowest stage`, {
    topic,
    partition,
    bytes,
    max,
  })

export const referenceMissing = (topic: string, partition: number, offset: number): MillraceError =>
  new MillraceError('batch_invalid', `${topic}/${partition}: no batch begins at offset ${offset}`, {
    topic,
    partition,
    offset,
  })
