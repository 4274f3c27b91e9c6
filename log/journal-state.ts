// What the journal's entries add up to: topics, partitions with their indexes, stage positions, and how much of
// each segment is still needed. Recovery and commits change it through the same methods, so that what a
// restart rebuilds is what was there.

import { partitionUnknown, topicUnknown } from './batch-check.ts'
import { PartitionIndex, storedSeconds } from './journal-index.ts'
import type { Topic, TopicConfig } from './log.ts'

export interface TopicState {
  topic: Topic
  firstPartition: number
  partitions: PartitionState[]
  /** Stages that registered a position on any partition. */
  stages: Set<string>
}

/** A segment file as the state sees it. A batch that is referenced counts once for each entry that needs it. */
export interface SegmentState {
  readonly segment: number
  /** Batches and references whose bytes lie here. At zero the file can go. */
  liveCount: number
  liveBytes: number
  /** Clock when liveBytes last changed. */
  changedAtMs: number
  /** Size of the file, once it was asked for: of one that nothing is written to any more. */
  fileBytes: number | undefined
}

/** Records of a partition whose topic nobody knows: offsets [from, to), and the segments that hold them. */
export interface Orphan {
  from: number
  to: number
  segments: Set<number>
}

export class PartitionState {
  readonly id: number
  readonly topic: TopicState
  readonly partition: number
  readonly index = new PartitionIndex()
  start = 0
  end = 0
  /** Bytes of all batches in the index. */
  bytes = 0
  /** Bytes appended since compaction last looked at it. */
  dirtyBytes = 0
  /** Sequence of the group that it grew by last. */
  sequence = 0
  /** Next offset by stage. */
  readonly positions = new Map<string, number>()
  /** Next offset of the slowest stage; Infinity where the topic has no stage. */
  floor = Number.POSITIVE_INFINITY
  /** Bytes of the batches that reach beyond the floor. */
  backlogBytes = 0
  /** While a group is put together: end and bytes with what is in it so far. */
  stagedEnd = 0
  stagedBytes = 0
  /** The group that they belong to, by AppendStage's count. */
  stagedGroup = 0
  /** Neighbours in the order of growth, the newest first. */
  newer: PartitionState | undefined
  older: PartitionState | undefined

  constructor(id: number, topic: TopicState, partition: number) {
    this.id = id
    this.topic = topic
    this.partition = partition
  }
}

interface TopicEntry {
  name: string
  id: string
  config: Record<string, unknown>
}

/** The JSON of a topic entry. JSON has no Infinity: null stands for it. */
export function topicToJson(topic: Topic): string {
  return JSON.stringify({ name: topic.name, id: topic.id, config: topic.config })
}

function topicFromJson(json: string): Topic {
  const { name, id, config } = JSON.parse(json) as TopicEntry
  const number = (value: unknown): number => (value === null ? Number.POSITIVE_INFINITY : Number(value))
  return {
    name,
    id,
    config: {
      partitions: number(config['partitions']),
      cleanup: config['cleanup'] as TopicConfig['cleanup'],
      retentionAgeMs: number(config['retentionAgeMs']),
      retentionBytes: number(config['retentionBytes']),
      backlogBytesMax: number(config['backlogBytesMax']),
    },
  }
}

export class JournalState {
  /** Sequence of the last group. */
  sequence = 0
  readonly topics = new Map<string, TopicState>()
  /** By id. A number stays undefined where the group that made its topic was damaged and is cut out. */
  readonly partitions: (PartitionState | undefined)[] = []
  /** What such numbers hold, by id: nobody can name or read it any more, but a repair can say how much it was. */
  readonly orphans = new Map<number, Orphan>()
  readonly segments = new Map<number, SegmentState>()
  /** The partition that grew last. */
  newest: PartitionState | undefined
  readonly #now: () => number

  constructor(now: () => number) {
    this.#now = now
  }

  /** Throws `topic_unknown`. */
  partition(topic: string, partition: number): PartitionState {
    const found = this.topics.get(topic)
    if (found === undefined) throw topicUnknown(topic)
    const state = found.partitions[partition]
    if (state === undefined) throw partitionUnknown(topic, partition)
    return state
  }

  addSegment(segment: number): SegmentState {
    const state: SegmentState = {
      segment,
      liveCount: 0,
      liveBytes: 0,
      changedAtMs: this.#now(),
      fileBytes: undefined,
    }
    this.segments.set(segment, state)
    return state
  }

  /** A topic entry: makes the topic, or changes its configuration. */
  applyTopic(firstPartition: number, json: string): TopicState {
    const topic = topicFromJson(json)
    const found = this.topics.get(topic.name)
    if (found !== undefined) {
      found.topic = topic
      return found
    }
    const state: TopicState = { topic, firstPartition, partitions: [], stages: new Set() }
    for (let i = 0; i < topic.config.partitions; i++) {
      const partition = new PartitionState(firstPartition + i, state, i)
      state.partitions.push(partition)
      this.partitions[partition.id] = partition
    }
    this.topics.set(topic.name, state)
    return state
  }

  /**
   * A batch or reference entry. What a checkpoint already knew (its offset is below the partition's end) is
   * passed over, because a checkpoint is written while groups go on.
   */
  applyBatch(
    partition: PartitionState,
    baseOffset: number,
    lastOffsetDelta: number,
    segment: number,
    position: number,
    bytes: number,
    maxTimestamp: number,
  ): void {
    if (baseOffset < partition.end) return
    this.#addRow(
      partition,
      baseOffset,
      lastOffsetDelta,
      segment,
      position,
      bytes,
      storedSeconds(maxTimestamp),
    )
    partition.end = baseOffset + lastOffsetDelta + 1
    partition.dirtyBytes += bytes
    if (partition.end > partition.floor) partition.backlogBytes += bytes
    partition.sequence = this.sequence
    this.#toFront(partition)
  }

  /** A batch or reference entry of a partition that no topic entry made. */
  applyOrphan(id: number, baseOffset: number, lastOffsetDelta: number, segment: number): void {
    const orphan = this.orphans.get(id) ?? { from: baseOffset, to: baseOffset, segments: new Set() }
    orphan.to = baseOffset + lastOffsetDelta + 1
    orphan.segments.add(segment)
    this.orphans.set(id, orphan)
  }

  /** A row of a checkpoint. */
  restoreRow(
    partition: PartitionState,
    baseOffset: number,
    lastOffsetDelta: number,
    segment: number,
    position: number,
    bytes: number,
    seconds: number,
  ): void {
    this.#addRow(partition, baseOffset, lastOffsetDelta, segment, position, bytes, seconds)
  }

  /** After the rows of a checkpoint: what follows from them. */
  restored(partition: PartitionState): void {
    partition.dirtyBytes = partition.bytes
    if (partition.end > 0) {
      partition.sequence = this.sequence
      this.#toFront(partition)
    }
  }

  /** A moved entry. Batches that retention or compaction removed since are passed over. */
  applyMove(
    partition: PartitionState,
    baseOffset: number,
    segment: number,
    position: number,
    bytes: number,
  ): void {
    const row = partition.index.rowOf(baseOffset)
    if (row < 0) return
    const before = partition.index.bytes(row)
    this.#release(partition.index.segment(row), before)
    this.#hold(segment, bytes)
    partition.index.move(row, segment, position, bytes)
    partition.bytes += bytes - before
    if (partition.index.nextOffset(row) > partition.floor) partition.backlogBytes += bytes - before
  }

  applyPosition(partition: PartitionState, stage: string, nextOffset: number): void {
    partition.positions.set(stage, nextOffset)
    const { stages } = partition.topic
    if (!stages.has(stage)) {
      stages.add(stage)
      for (const sibling of partition.topic.partitions) this.#recountBacklog(sibling)
    } else this.#recountBacklog(partition)
  }

  /** Forgets every batch that ends at or below `offset`, and moves the start there. */
  removeBefore(partition: PartitionState, offset: number): void {
    const { index } = partition
    while (index.length > 0 && index.nextOffset(0) <= offset) {
      const bytes = index.bytes(0)
      if (index.nextOffset(0) > partition.floor) partition.backlogBytes -= bytes
      partition.bytes -= bytes
      this.#release(index.segment(0), bytes)
      index.removeFirst()
    }
    partition.start = Math.max(partition.start, offset)
  }

  /** Forgets the batches that begin at these offsets (compaction left no record of them). */
  removeBatches(partition: PartitionState, baseOffsets: Set<number>): void {
    if (baseOffsets.size === 0) return
    const { index } = partition
    index.filter((row) => {
      if (!baseOffsets.has(index.baseOffset(row))) return true
      const bytes = index.bytes(row)
      if (index.nextOffset(row) > partition.floor) partition.backlogBytes -= bytes
      partition.bytes -= bytes
      this.#release(index.segment(row), bytes)
      return false
    })
  }

  #addRow(
    partition: PartitionState,
    baseOffset: number,
    lastOffsetDelta: number,
    segment: number,
    position: number,
    bytes: number,
    seconds: number,
  ): void {
    partition.index.push(baseOffset, lastOffsetDelta, segment, position, bytes, seconds)
    partition.bytes += bytes
    this.#hold(segment, bytes)
  }

  #hold(segment: number, bytes: number): void {
    const state = this.segments.get(segment)!
    state.liveCount++
    state.liveBytes += bytes
    state.changedAtMs = this.#now()
  }

  #release(segment: number, bytes: number): void {
    const state = this.segments.get(segment)!
    state.liveCount--
    state.liveBytes -= bytes
    state.changedAtMs = this.#now()
  }

  /** The floor, and the backlog as far as the floor moved. */
  #recountBacklog(partition: PartitionState): void {
    const { index, positions } = partition
    let floor = Number.POSITIVE_INFINITY
    // A stage that has not registered on this partition yet has dealt with nothing of it.
    for (const stage of partition.topic.stages) floor = Math.min(floor, positions.get(stage) ?? 0)
    const before = partition.floor
    partition.floor = floor
    if (floor >= before) {
      const last = index.find(floor)
      for (let row = index.find(before); row < last; row++) partition.backlogBytes -= index.bytes(row)
    } else {
      partition.backlogBytes = 0
      for (let row = index.find(floor); row < index.length; row++) partition.backlogBytes += index.bytes(row)
    }
  }

  #toFront(partition: PartitionState): void {
    if (this.newest === partition) return
    const { newer, older } = partition
    if (newer !== undefined) newer.older = older
    if (older !== undefined) older.newer = newer
    partition.newer = undefined
    partition.older = this.newest
    if (this.newest !== undefined) this.newest.newer = partition
    this.newest = partition
  }
}
