// What lies in a broker's folder, read without a client: who wrote each record, in which transaction, and who moved the
// positions. For the one question that no client can answer: how a record came to be in a topic twice.
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  ATTRIBUTES,
  PRODUCER_EPOCH,
  PRODUCER_ID,
  RecordReader,
  readBatchHeader,
} from '../../log/record-batch.ts'

const TRANSACTIONAL = 0b1_0000
const CONTROL = 0b10_0000
const OFFSETS_TOPIC = '__consumer_offsets'
/** Keys of positions have these versions, those of members and groups higher ones. */
const OFFSET_KEY_VERSION_MAX = 1

export interface StoredRecord {
  offset: number
  producerId: bigint
  producerEpoch: number
  isTransactional: boolean
  /** What it ends a transaction with, where it does. */
  marker: 'ABORT' | 'COMMIT' | undefined
  key: Buffer
  value: Buffer
}

/** All records of a partition, in order, those of aborted transactions too. */
export function storedRecords(data: string, topic: string, partition: number): StoredRecord[] {
  const folder = join(data, `${topic}-${partition}`)
  if (!existsSync(folder)) return []
  const files = readdirSync(folder).filter((name) => name.endsWith('.log'))
  return files.sort().flatMap((name) => [...recordsIn(readFileSync(join(folder, name)))])
}

function* recordsIn(bytes: Buffer): Generator<StoredRecord> {
  const reader = new RecordReader()
  for (let at = 0; ; ) {
    const header = readBatchHeader(bytes, at)
    if (header === undefined) return
    const view = new DataView(bytes.buffer, bytes.byteOffset + at)
    const attributes = view.getInt16(ATTRIBUTES)
    reader.reset(bytes, at, at + header.byteLength)
    while (reader.next()) {
      const key = bytes.subarray(reader.keyStart, reader.keyEnd)
      yield {
        offset: reader.offset,
        producerId: view.getBigInt64(PRODUCER_ID),
        producerEpoch: view.getInt16(PRODUCER_EPOCH),
        isTransactional: (attributes & TRANSACTIONAL) !== 0,
        // The key of a marker: version, type.
        marker: (attributes & CONTROL) === 0 ? undefined : key.readInt16BE(2) === 0 ? 'ABORT' : 'COMMIT',
        key,
        value: reader.valueStart < 0 ? Buffer.alloc(0) : bytes.subarray(reader.valueStart, reader.valueEnd),
      }
    }
    at += header.byteLength
  }
}

/** How each record's transaction ended, where it did. */
function ends(records: readonly StoredRecord[]): Map<StoredRecord, StoredRecord> {
  const open = Map.groupBy<bigint, StoredRecord>([], () => 0n)
  const ended = new Map<StoredRecord, StoredRecord>()
  for (const record of records) {
    const own = open.get(record.producerId) ?? []
    if (record.marker !== undefined) {
      for (const one of own) ended.set(one, record)
      open.delete(record.producerId)
    } else if (record.isTransactional) open.set(record.producerId, [...own, record])
  }
  return ended
}

export interface Twice {
  /** A broker's. */
  data: string
  raw: string
  normalized: string
  partitions: number
  /** Equal for two copies of one message. */
  identify: (record: StoredRecord) => string
  /** Whose positions led there. */
  group: string
}

/** Which committed records of the normalized topic are there twice: by which transactions, and who moved the position when. */
export function explainTwice({ data, raw, normalized, partitions, identify, group }: Twice): string[] {
  const lines: string[] = []
  for (let partition = 0; partition < partitions; partition++) {
    const records = storedRecords(data, normalized, partition)
    const ended = ends(records)
    const from = new Map(storedRecords(data, raw, partition).map((one) => [identify(one), one.offset]))
    const first = new Map<string, StoredRecord>()
    const pairs: { rawOffset: number; copies: [StoredRecord, StoredRecord]; kind: string }[] = []
    const by = (one: StoredRecord): string => {
      const end = ended.get(one)
      return `producer ${one.producerId} epoch ${one.producerEpoch}, ${end === undefined ? 'not ended' : `${end.marker} at ${end.offset}`}`
    }
    for (const record of records) {
      if (record.marker !== undefined || ended.get(record)?.marker === 'ABORT') continue
      const key = identify(record)
      const before = first.get(key)
      if (before === undefined) first.set(key, record)
      else
        pairs.push({
          rawOffset: from.get(key) ?? -1,
          copies: [before, record],
          kind: `${by(before)}; again by ${by(record)}`,
        })
    }
    if (pairs.length === 0) continue
    for (const [kind, own] of Map.groupBy(pairs, ({ kind }) => kind)) {
      const range = (offsets: number[]): string => `${Math.min(...offsets)}-${Math.max(...offsets)}`
      const [a, b] = [0, 1].map((i) => range(own.map(({ copies }) => copies[i]!.offset)))
      lines.push(
        `${normalized}/${partition}: ${own.length} twice, at ${a} and ${b}, of raw ${range(own.map((one) => one.rawOffset))}: ${kind}`,
      )
    }
    lines.push(...positionMoves(data, group, raw, partition))
  }
  return lines
}

/** The positions that a group was given for a partition, where another producer gave it one or it went back. */
function positionMoves(data: string, group: string, topic: string, partition: number): string[] {
  const lines: string[] = []
  for (const name of readdirSync(data).filter((name) => name.startsWith(`${OFFSETS_TOPIC}-`))) {
    const records = storedRecords(data, OFFSETS_TOPIC, Number(name.slice(OFFSETS_TOPIC.length + 1)))
    const ended = ends(records)
    let last: { record: StoredRecord; position: number } | undefined
    for (const record of records) {
      const position = positionIn(record, group, topic, partition)
      if (position === undefined) continue
      const isNews = last?.record.producerId !== record.producerId || position < last.position
      if (isNews) {
        if (last !== undefined) lines.push(`  ... up to ${last.position}`)
        const end = ended.get(record)?.marker ?? (record.isTransactional ? 'not ended' : 'no transaction')
        lines.push(
          `  ${name} ${record.offset}: ${topic}/${partition} to ${position} by producer ${record.producerId} epoch ${record.producerEpoch}, ${end}`,
        )
      }
      last = { record, position }
    }
    if (last !== undefined) lines.push(`  ... up to ${last.position}`)
  }
  return lines
}

function positionIn(
  { marker, key, value }: StoredRecord,
  group: string,
  topic: string,
  partition: number,
): number | undefined {
  if (marker !== undefined || key.readInt16BE(0) > OFFSET_KEY_VERSION_MAX || value.length === 0)
    return undefined
  const groupEnd = 4 + key.readInt16BE(2)
  const topicEnd = groupEnd + 2 + key.readInt16BE(groupEnd)
  const isIt =
    key.toString('utf8', 4, groupEnd) === group &&
    key.toString('utf8', groupEnd + 2, topicEnd) === topic &&
    key.readInt32BE(topicEnd) === partition
  return isIt ? Number(value.readBigInt64BE(2)) : undefined
}
