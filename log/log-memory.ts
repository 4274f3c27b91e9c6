// The log in memory: the fake that tests of stages run on, and the model that the conformance suite holds the
// others against. It keeps every promise of log.ts but durability.
import { randomUUID } from 'node:crypto'
import { MillraceError } from '../std/errors.ts'
import type {
  AppendRequest,
  AppendResult,
  BatchAppend,
  Changes,
  Log,
  PartitionRange,
  ReadResult,
  ReferenceAppend,
  Topic,
  TopicConfig,
} from './log.ts'
import { BASE_OFFSET, batchCrcMatches, patchBaseOffset, readBatchHeader } from './record-batch.ts'

interface StoredBatch {
  baseOffset: number
  nextOffset: number
  bytes: Uint8Array
}

interface Partition {
  batches: StoredBatch[]
  start: number
  end: number
  /** Sequence of the append that grew it last. */
  changed: number
}

interface StoredTopic extends Topic {
  partitions: Partition[]
}

export interface MemoryLogOptions {
  /** Called before each append takes effect: delays or throws, as a slow or failing disk would. */
  beforeAppend?: (request: AppendRequest) => Promise<void> | void
}

export class MemoryLog implements Log {
  readonly id: string = randomUUID()
  readonly #topics = new Map<string, StoredTopic>()
  readonly #positions = new Map<string, number>()
  readonly #options: MemoryLogOptions
  #sequence = 0
  #waiting: (() => void)[] = []

  constructor(options: MemoryLogOptions = {}) {
    this.#options = options
  }

  async createTopic(name: string, config: TopicConfig): Promise<Topic> {
    const existing = this.#topics.get(name)
    if (existing !== undefined) {
      if (existing.config.partitions !== config.partitions || existing.config.cleanup !== config.cleanup)
        throw new MillraceError(
          'topic_conflict',
          `topic ${name} exists with ${existing.config.partitions} partitions, cleanup ${existing.config.cleanup}`,
        )
      const updated = { ...existing, config }
      this.#topics.set(name, updated)
      return { name, id: updated.id, config }
    }
    const partitions = Array.from({ length: config.partitions }, () => ({
      batches: [],
      start: 0,
      end: 0,
      changed: 0,
    }))
    const topic = { name, id: randomUUID(), config, partitions }
    this.#topics.set(name, topic)
    return { name, id: topic.id, config }
  }

  async describeTopic(name: string): Promise<Topic | undefined> {
    const topic = this.#topics.get(name)
    return topic && { name, id: topic.id, config: topic.config }
  }

  async listTopics(): Promise<Topic[]> {
    return [...this.#topics.values()].map(({ name, id, config }) => ({ name, id, config }))
  }

  async append(request: AppendRequest): Promise<AppendResult> {
    await this.#options.beforeAppend?.(request)
    // Everything is checked before anything changes: all of it or none.
    const ends = new Map<Partition, number>()
    const planned = request.entries.map((entry) => {
      const partition = this.#partition(entry.topic, entry.partition)
      const baseOffset = ends.get(partition) ?? partition.end
      if (entry.expectedOffset !== undefined && entry.expectedOffset !== partition.end)
        throw new MillraceError(
          'offset_conflict',
          `${entry.topic}/${entry.partition}: next offset is ${partition.end}, expected ${entry.expectedOffset}`,
        )
      const batches = this.#copies(entry, baseOffset)
      ends.set(partition, batches.at(-1)?.nextOffset ?? baseOffset)
      return { partition, baseOffset, batches }
    })
    this.#sequence++
    for (const { partition, batches } of planned) {
      partition.batches.push(...batches)
      partition.end = batches.at(-1)?.nextOffset ?? partition.end
      partition.changed = this.#sequence
    }
    for (const { stage, topic, partition, nextOffset } of request.positions ?? [])
      this.#positions.set(`${stage}\0${topic}\0${partition}`, nextOffset)
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
    return { baseOffsets: planned.map(({ baseOffset }) => baseOffset) }
  }

  async read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult> {
    const stored = this.#partition(topic, partition)
    if (offset < stored.start)
      throw new MillraceError(
        'offset_below_start',
        `${topic}/${partition}: offset ${offset} is below the start ${stored.start}`,
      )
    if (offset > stored.end)
      throw new MillraceError(
        'offset_above_end',
        `${topic}/${partition}: offset ${offset} is above the end ${stored.end}`,
      )
    const first = stored.batches.findIndex((batch) => batch.nextOffset > offset)
    if (first < 0) return { batches: new Uint8Array(0), nextOffset: offset }
    const chosen: StoredBatch[] = []
    let size = 0
    for (let i = first; i < stored.batches.length; i++) {
      const batch = stored.batches[i]!
      if (chosen.length > 0 && size + batch.bytes.length > bytesMax) break
      chosen.push(batch)
      size += batch.bytes.length
    }
    const batches = new Uint8Array(size)
    let at = 0
    for (const batch of chosen) {
      batches.set(batch.bytes, at)
      at += batch.bytes.length
    }
    return { batches, nextOffset: chosen.at(-1)!.nextOffset }
  }

  async range(topic: string, partition: number): Promise<PartitionRange> {
    const { start, end } = this.#partition(topic, partition)
    return { start, end }
  }

  async changes(sequence: number, timeoutMs: number): Promise<Changes> {
    const collect = (): Changes => {
      const partitions: Changes['partitions'] = []
      for (const topic of this.#topics.values())
        topic.partitions.forEach((partition, index) => {
          if (partition.changed > sequence)
            partitions.push({ topic: topic.name, partition: index, end: partition.end })
        })
      return { sequence: this.#sequence, partitions }
    }
    const now = collect()
    if (now.partitions.length > 0 || timeoutMs <= 0) return now
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, timeoutMs)
      this.#waiting.push(() => {
        clearTimeout(timer)
        resolve()
      })
    })
    return collect()
  }

  async position(stage: string, topic: string, partition: number): Promise<number | undefined> {
    return this.#positions.get(`${stage}\0${topic}\0${partition}`)
  }

  async close(): Promise<void> {
    for (const wake of this.#waiting) wake()
    this.#waiting = []
  }

  /** Forgets everything below `offset`, as retention would; for tests of readers that fell behind. */
  truncateBefore(topic: string, partition: number, offset: number): void {
    const stored = this.#partition(topic, partition)
    stored.batches = stored.batches.filter((batch) => batch.nextOffset > offset)
    stored.start = Math.max(stored.start, offset)
  }

  #partition(topic: string, partition: number): Partition {
    const stored = this.#topics.get(topic)?.partitions[partition]
    if (stored === undefined)
      throw new MillraceError('topic_unknown', `no topic ${topic} with a partition ${partition}`)
    return stored
  }

  /** The entry's batches with their base offsets in place: a copy of our own. */
  #copies(entry: BatchAppend | ReferenceAppend, baseOffset: number): StoredBatch[] {
    const source = 'batch' in entry ? entry.batch : this.#referenced(entry)
    const bytes = new Uint8Array(source.length)
    bytes.set(source)
    const result: StoredBatch[] = []
    let at = 0
    let next = baseOffset
    let records = 0
    while (at < bytes.length) {
      const header = readBatchHeader(bytes, at)
      if (header === undefined || !batchCrcMatches(bytes, at, header.byteLength))
        throw new MillraceError(
          'batch_invalid',
          `${entry.topic}/${entry.partition}: no valid batch at byte ${at}`,
        )
      patchBaseOffset(bytes, at + BASE_OFFSET, next)
      const following = next + header.lastOffsetDelta + 1
      result.push({
        baseOffset: next,
        nextOffset: following,
        bytes: bytes.subarray(at, at + header.byteLength),
      })
      records += header.recordCount
      next = following
      at += header.byteLength
    }
    if (records !== entry.recordCount)
      throw new MillraceError(
        'batch_invalid',
        `${entry.topic}/${entry.partition}: ${records} records, said to be ${entry.recordCount}`,
      )
    return result
  }

  #referenced(entry: ReferenceAppend): Uint8Array {
    const { topic, partition, baseOffset } = entry.reference
    const batch = this.#partition(topic, partition).batches.find(
      (candidate) => candidate.baseOffset === baseOffset,
    )
    if (batch === undefined)
      throw new MillraceError('batch_invalid', `no batch at ${topic}/${partition}/${baseOffset} to refer to`)
    return batch.bytes
  }
}
