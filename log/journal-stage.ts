// Puts append requests into a group: checks each, gives its offsets, adds it to the builder, and, once the group
// is durable, to the state. A request that is refused leaves nothing behind, neither in the group nor in what the
// next request of the same group sees.

import { MillraceError } from '../std/errors.ts'
import { backlogFull, checkEntry, offsetBelowStart, offsetConflict, referenceMissing } from './batch-check.ts'
import { ENTRY_BATCH, ENTRY_REFERENCE, type GroupBuilder } from './journal-format.ts'
import type { JournalState, PartitionState } from './journal-state.ts'
import type { AppendRequest, BatchAppend, ReferenceAppend, StagePosition } from './log.ts'

/** A batch or reference that waits for the sync of its group. */
interface StagedBatch {
  partition: PartitionState
  baseOffset: number
  lastOffsetDelta: number
  /** Undefined: in this group, `position` from the first batch on. */
  segment: number | undefined
  position: number
  bytes: number
  maxTimestamp: number
}

export class AppendStage {
  readonly #state: JournalState
  readonly #builder: GroupBuilder
  readonly #verifyCrc: boolean
  readonly #staged: StagedBatch[] = []
  readonly #positions: StagePosition[] = []
  /** Counts groups, from 1 on. */
  #group = 0

  constructor(state: JournalState, builder: GroupBuilder, verifyCrc: boolean) {
    this.#state = state
    this.#builder = builder
    this.#verifyCrc = verifyCrc
  }

  /** Starts a new group; what was staged and not applied is forgotten. */
  begin(): void {
    this.#builder.clear()
    this.#staged.length = 0
    this.#positions.length = 0
    this.#group++
  }

  /** Checks a request and adds it to the group; returns its base offsets. Throws, then nothing of it was added. */
  add(request: AppendRequest): number[] {
    const planned: StagedBatch[] = []
    const batches: (Uint8Array | undefined)[] = []
    const undo: { partition: PartitionState; end: number; bytes: number }[] = []
    const baseOffsets: number[] = []
    try {
      for (const entry of request.entries) {
        const partition = this.#stagedPartition(entry.topic, entry.partition)
        undo.push({ partition, end: partition.stagedEnd, bytes: partition.stagedBytes })
        if (entry.expectedOffset !== undefined && entry.expectedOffset !== partition.stagedEnd)
          throw offsetConflict(entry.topic, entry.partition, entry.expectedOffset, partition.stagedEnd)
        baseOffsets.push(partition.stagedEnd)
        if ('reference' in entry) this.#planReference(entry, partition, planned, batches)
        else this.#planBatches(entry, partition, planned, batches)
        const { backlogBytesMax } = partition.topic.topic.config
        if (
          partition.topic.stages.size > 0 &&
          partition.backlogBytes + partition.stagedBytes > backlogBytesMax
        )
          throw backlogFull(entry.topic, entry.partition, partition.backlogBytes, backlogBytesMax)
      }
      for (const { topic, partition, stage } of request.positions ?? []) {
        this.#state.partition(topic, partition)
        if (Buffer.byteLength(stage) > 255)
          throw new MillraceError('option_invalid', `stage name of more than 255 bytes: ${stage}`)
      }
    } catch (error) {
      for (const { partition, end, bytes } of undo.reverse()) {
        partition.stagedEnd = end
        partition.stagedBytes = bytes
      }
      throw error
    }
    this.#put(request, planned, batches)
    return baseOffsets
  }

  #stagedPartition(topic: string, partition: number): PartitionState {
    const state = this.#state.partition(topic, partition)
    if (state.stagedGroup !== this.#group) {
      state.stagedGroup = this.#group
      state.stagedEnd = state.end
      state.stagedBytes = 0
    }
    return state
  }

  #planBatches(
    entry: BatchAppend,
    partition: PartitionState,
    planned: StagedBatch[],
    batches: (Uint8Array | undefined)[],
  ): void {
    let at = 0
    for (const header of checkEntry(entry, this.#verifyCrc)) {
      batches.push(
        header.byteLength === entry.batch.length
          ? entry.batch
          : entry.batch.subarray(at, at + header.byteLength),
      )
      at += header.byteLength
      this.#plan(planned, partition, undefined, 0, header.byteLength, header)
    }
  }

  #planReference(
    entry: ReferenceAppend,
    partition: PartitionState,
    planned: StagedBatch[],
    batches: (Uint8Array | undefined)[],
  ): void {
    const { topic, partition: number, baseOffset } = entry.reference
    const source = this.#state.partition(topic, number)
    if (baseOffset < source.start) throw offsetBelowStart(topic, number, baseOffset, source.start)
    const { index } = source
    const row = index.rowOf(baseOffset)
    if (row < 0) throw referenceMissing(topic, number, baseOffset)
    batches.push(undefined)
    this.#plan(planned, partition, index.segment(row), index.position(row), index.bytes(row), {
      lastOffsetDelta: index.lastOffsetDelta(row),
      maxTimestamp: index.seconds(row) * 1000,
    })
  }

  #plan(
    planned: StagedBatch[],
    partition: PartitionState,
    segment: number | undefined,
    position: number,
    bytes: number,
    facts: { lastOffsetDelta: number; maxTimestamp: number },
  ): void {
    const { lastOffsetDelta, maxTimestamp } = facts
    const baseOffset = partition.stagedEnd
    planned.push({ partition, baseOffset, lastOffsetDelta, segment, position, bytes, maxTimestamp })
    partition.stagedEnd = baseOffset + lastOffsetDelta + 1
    partition.stagedBytes += bytes
  }

  /** Cannot fail: the request was checked. */
  #put(request: AppendRequest, planned: StagedBatch[], batches: (Uint8Array | undefined)[]): void {
    const builder = this.#builder
    for (let i = 0; i < planned.length; i++) {
      const staged = planned[i]!
      const batch = batches[i]
      if (batch === undefined) {
        builder.addReference(
          ENTRY_REFERENCE,
          staged.partition.id,
          staged.baseOffset,
          staged.segment!,
          staged.position,
          staged.bytes,
          staged.lastOffsetDelta,
          staged.maxTimestamp,
        )
      } else {
        staged.position = builder.addBatch(ENTRY_BATCH, staged.partition.id, staged.baseOffset, batch)
      }
      this.#staged.push(staged)
    }
    for (const position of request.positions ?? []) {
      const { stage, topic, partition, nextOffset } = position
      builder.addPosition(this.#state.partition(topic, partition).id, nextOffset, stage)
      this.#positions.push(position)
    }
  }

  /** Makes the group visible; it is durable at `segment`, its first batch at `batchesPosition`. */
  apply(segment: number, batchesPosition: number): void {
    for (const staged of this.#staged)
      this.#state.applyBatch(
        staged.partition,
        staged.baseOffset,
        staged.lastOffsetDelta,
        staged.segment ?? segment,
        staged.segment === undefined ? batchesPosition + staged.position : staged.position,
        staged.bytes,
        staged.maxTimestamp,
      )
    for (const { stage, topic, partition, nextOffset } of this.#positions)
      this.#state.applyPosition(this.#state.partition(topic, partition), stage, nextOffset)
  }
}
