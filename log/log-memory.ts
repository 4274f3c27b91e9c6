// The log in memory, for tests of the stages: the whole contract of log.ts, nothing durable. Batches are
// plain objects in arrays; what is slow here is simple, so that it can serve as the model of the journal.
import { randomUUID } from 'node:crypto'
import { MillraceError } from '../std/errors.ts'
import { Waiters } from '../std/waiters.ts'
import {
  backlogFull,
  checkEntry,
  checkTopic,
  offsetAboveEnd,
  offsetBelowStart,
  offsetConflict,
  partitionUnknown,
  referenceMissing,
  topicConflict,
  topicUnknown,
} from './batch-check.ts'
import { compactBatch, keyText } from './batch-compact.ts'
import type {
  AppendRequest,
  AppendResult,
  BatchAppend,
  Changes,
  Log,
  PartitionRange,
  ReadResult,
  Topic,
  TopicConfig,
} from './log.ts'
import { patchBaseOffset, patchLeaderEpoch, RecordReader } from './record-batch.ts'

interface StoredBatch {
  baseOffset: number
  nextOffset: number
  maxTimestamp: number
  bytes: Uint8Array
}

interface Partition {
  start: number
  end: number
  /** Sequence of the append that it grew by last. */
  sequence: number
  batches: StoredBatch[]
  /** Next offset by stage. */
  positions: Map<string, number>
}

interface StoredTopic {
  topic: Topic
  partitions: Partition[]
}

export interface MemoryLogOptions {
  /** Milliseconds since 1970. */
  now?: () => number
  /** How long a tombstone stays readable before compaction removes it. */
  tombstoneAgeMs?: number
}

export class MemoryLog implements Log {
  readonly id: string = randomUUID()
  readonly #now: () => number
  readonly #tombstoneAgeMs: number
  readonly #topics = new Map<string, StoredTopic>()
  readonly #waiting = new Waiters()
  #sequence = 0
  #closed = false

  constructor(options: MemoryLogOptions = {}) {
    this.#now = options.now ?? Date.now
    this.#tombstoneAgeMs = options.tombstoneAgeMs ?? 24 * 3_600_000
  }

  async createTopic(name: string, config: TopicConfig): Promise<Topic> {
    checkTopic(name, config)
    const found = this.#topics.get(name)
    if (found !== undefined) {
      const exists = found.topic.config
      if (exists.partitions !== config.partitions || exists.cleanup !== config.cleanup)
        throw topicConflict(name, exists, config)
      found.topic = { ...found.topic, config: { ...config } }
      return found.topic
    }
    const partitions: Partition[] = []
    for (let i = 0; i < config.partitions; i++)
      partitions.push({ start: 0, end: 0, sequence: 0, batches: [], positions: new Map() })
    const topic: Topic = { name, id: randomUUID(), config: { ...config } }
    this.#topics.set(name, { topic, partitions })
    return topic
  }

  async describeTopic(name: string): Promise<Topic | undefined> {
    return this.#topics.get(name)?.topic
  }

  async listTopics(): Promise<Topic[]> {
    return [...this.#topics.values()].map((stored) => stored.topic)
  }

  async append(request: AppendRequest): Promise<AppendResult> {
    if (this.#closed) throw new MillraceError('log_stopped', 'the log is closed')
    // First everything that can be refused, then the change: a refused request leaves nothing.
    const grown = new Map<Partition, { end: number; bytes: number }>()
    const added: { partition: Partition; batch: StoredBatch }[] = []
    const baseOffsets: number[] = []
    for (const entry of request.entries) {
      const partition = this.#partition(entry.topic, entry.partition)
      let { end, bytes: grownBytes } = grown.get(partition) ?? { end: partition.end, bytes: 0 }
      if (entry.expectedOffset !== undefined && entry.expectedOffset !== end)
        throw offsetConflict(entry.topic, entry.partition, entry.expectedOffset, end)
      baseOffsets.push(end)
      for (const batch of 'reference' in entry ? [this.#referenced(entry.reference)] : split(entry)) {
        const length = batch.nextOffset - batch.baseOffset
        const bytes = batch.bytes.slice()
        patchBaseOffset(bytes, 0, end)
        patchLeaderEpoch(bytes, 0, 0)
        added.push({
          partition,
          batch: { baseOffset: end, nextOffset: end + length, maxTimestamp: batch.maxTimestamp, bytes },
        })
        end += length
        grownBytes += bytes.length
      }
      grown.set(partition, { end, bytes: grownBytes })
      const waiting = this.#backlogBytes(entry.topic, partition)
      const max = this.#topics.get(entry.topic)!.topic.config.backlogBytesMax
      if (waiting !== undefined && waiting + grownBytes > max)
        throw backlogFull(entry.topic, entry.partition, waiting, max)
    }
    for (const position of request.positions ?? []) this.#partition(position.topic, position.partition)
    // From here on nothing can fail.
    const sequence = ++this.#sequence
    for (const { partition, batch } of added) {
      partition.batches.push(batch)
      partition.end = batch.nextOffset
      partition.sequence = sequence
    }
    for (const position of request.positions ?? [])
      this.#partition(position.topic, position.partition).positions.set(position.stage, position.nextOffset)
    if (added.length > 0) this.#waiting.wake()
    return { baseOffsets }
  }

  async read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult> {
    const stored = this.#partition(topic, partition)
    if (offset < stored.start) throw offsetBelowStart(topic, partition, offset, stored.start)
    if (offset > stored.end) throw offsetAboveEnd(topic, partition, offset, stored.end)
    const parts: Uint8Array[] = []
    let bytes = 0
    let nextOffset = offset
    for (const batch of stored.batches) {
      if (batch.nextOffset <= offset) continue
      if (parts.length > 0 && bytes + batch.bytes.length > bytesMax) break
      parts.push(batch.bytes)
      bytes += batch.bytes.length
      nextOffset = batch.nextOffset
    }
    return { batches: concat(parts, bytes), nextOffset }
  }

  async range(topic: string, partition: number): Promise<PartitionRange> {
    const { start, end } = this.#partition(topic, partition)
    return { start, end }
  }

  async changes(sequence: number, timeoutMs: number): Promise<Changes> {
    if (sequence >= this.#sequence && !this.#closed && timeoutMs > 0) await this.#waiting.wait(timeoutMs)
    const partitions = []
    for (const [topic, stored] of this.#topics) {
      for (let i = 0; i < stored.partitions.length; i++) {
        const { sequence: grownAt, start, end } = stored.partitions[i]!
        if (grownAt > sequence && end > start) partitions.push({ topic, partition: i, end })
      }
    }
    return { sequence: this.#sequence, partitions }
  }

  async position(stage: string, topic: string, partition: number): Promise<number | undefined> {
    return this.#partition(topic, partition).positions.get(stage)
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#waiting.wake()
  }

  /** Does all retention and compaction that is due. */
  maintain(): void {
    for (const stored of this.#topics.values()) {
      for (const partition of stored.partitions) {
        if (stored.topic.config.cleanup === 'compact') this.#compact(partition)
        else this.#retain(stored, partition)
      }
    }
  }

  #partition(topic: string, partition: number): Partition {
    const stored = this.#topics.get(topic)
    if (stored === undefined) throw topicUnknown(topic)
    const found = stored.partitions[partition]
    if (found === undefined) throw partitionUnknown(topic, partition)
    return found
  }

  #referenced(reference: { topic: string; partition: number; baseOffset: number }): StoredBatch {
    const { topic, partition, baseOffset } = reference
    const source = this.#partition(topic, partition)
    if (baseOffset < source.start) throw offsetBelowStart(topic, partition, baseOffset, source.start)
    const batch = source.batches.find((one) => one.baseOffset === baseOffset)
    if (batch === undefined) throw referenceMissing(topic, partition, baseOffset)
    return batch
  }

  /**
   * The next offset of the slowest stage that registered on any partition of the topic: one that has not
   * registered on this partition yet has dealt with nothing of it. Undefined where the topic has no stage.
   */
  #floor(topic: string, partition: Partition): number | undefined {
    const stages = new Set<string>()
    for (const one of this.#topics.get(topic)!.partitions)
      for (const stage of one.positions.keys()) stages.add(stage)
    if (stages.size === 0) return undefined
    return Math.min(...[...stages].map((stage) => partition.positions.get(stage) ?? 0))
  }

  #backlogBytes(topic: string, partition: Partition): number | undefined {
    const floor = this.#floor(topic, partition)
    if (floor === undefined) return undefined
    let bytes = 0
    for (const batch of partition.batches) if (batch.nextOffset > floor) bytes += batch.bytes.length
    return bytes
  }

  #retain(stored: StoredTopic, partition: Partition): void {
    const { retentionAgeMs, retentionBytes } = stored.topic.config
    const floor = this.#floor(stored.topic.name, partition) ?? Number.POSITIVE_INFINITY
    const newest = this.#now() - retentionAgeMs
    let bytes = 0
    for (const batch of partition.batches) bytes += batch.bytes.length
    while (partition.batches.length > 0) {
      const batch = partition.batches[0]!
      if (batch.nextOffset > floor) break
      if (batch.maxTimestamp >= newest && bytes <= retentionBytes) break
      partition.batches.shift()
      bytes -= batch.bytes.length
      partition.start = batch.nextOffset
    }
  }

  #compact(partition: Partition): void {
    const reader = new RecordReader()
    const latest = new Map<string, number>()
    for (const batch of partition.batches) {
      reader.reset(batch.bytes)
      while (reader.next()) {
        const key = keyText(reader)
        if (key !== undefined) latest.set(key, reader.offset)
      }
    }
    const tombstonesUpTo = this.#now() - this.#tombstoneAgeMs
    const keeps = (record: RecordReader): boolean => {
      const key = keyText(record)
      if (key === undefined) return true
      if (latest.get(key) !== record.offset) return false
      return record.valueStart >= 0 || record.timestamp > tombstonesUpTo
    }
    // The last batch stays whole: it shows where the partition ends.
    const last = partition.batches.length - 1
    partition.batches = partition.batches.flatMap((batch, i) => {
      if (i === last) return [batch]
      const bytes = compactBatch(batch.bytes, reader, keeps)
      return bytes === undefined ? [] : [{ ...batch, bytes }]
    })
  }
}

function split(entry: BatchAppend): StoredBatch[] {
  let at = 0
  let offset = 0
  return checkEntry(entry).map((header) => {
    const bytes = entry.batch.subarray(at, (at += header.byteLength))
    const baseOffset = offset
    offset += header.lastOffsetDelta + 1
    return { baseOffset, nextOffset: offset, maxTimestamp: header.maxTimestamp, bytes }
  })
}

function concat(parts: Uint8Array[], length: number): Uint8Array {
  const out = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}
