// Compaction of one partition of a `compact` topic: the latest record of each key stays, under its offset.
//
// Two passes over the batches that were there when it began, both in steps: the first notes the offset of each
// key's latest record, the second writes batches again without what is superseded (as `moved` entries) and
// forgets those that nothing is left of. What is appended meanwhile only makes more records superseded. A
// tombstone supersedes like any record, and goes itself when it is older than `tombstoneAgeMs`. The last batch
// stays whole, so that the end of the partition is always there to be seen.
//
// A crash in between leaves some batches compacted and others not: each is right by itself.
import { compactBatch, keyText } from './batch-compact.ts'
import { ENTRY_MOVED } from './journal-format.ts'
import type { SegmentReader } from './journal-read.ts'
import type { JournalState, PartitionState } from './journal-state.ts'
import type { JournalWriter } from './journal-writer.ts'
import { RecordReader } from './record-batch.ts'

/** Bytes that a step reads. */
const BYTES_PER_STEP = 512 * 1024
/** Keys noted at once; the records after them wait for the next compaction. */
const KEYS_MAX = 1_000_000

export class PartitionCompaction {
  readonly partition: PartitionState
  readonly #state: JournalState
  readonly #writer: JournalWriter
  readonly #reader: SegmentReader
  readonly #records = new RecordReader()
  readonly #latest = new Map<string, number>()
  readonly #tombstonesUpToMs: number
  readonly #dropped = new Set<number>()
  /** Only batches that end at or below it are looked at. */
  #end: number
  #offset = 0
  #noting = true

  constructor(
    state: JournalState,
    writer: JournalWriter,
    reader: SegmentReader,
    partition: PartitionState,
    tombstonesUpToMs: number,
  ) {
    this.#state = state
    this.#writer = writer
    this.#reader = reader
    this.partition = partition
    this.#tombstonesUpToMs = tombstonesUpToMs
    this.#end = partition.end
    partition.dirtyBytes = 0
  }

  /** Does a piece; true when all is done, or a batch cannot be read. Throws what the writer throws. */
  step(generation: number): boolean {
    return this.#noting ? this.#note(generation) : this.#clean(generation)
  }

  #note(generation: number): boolean {
    const { index } = this.partition
    let bytes = 0
    for (let row = index.find(this.#offset); row < index.length && bytes < BYTES_PER_STEP; row++) {
      if (index.nextOffset(row) > this.#end) break
      if (this.#latest.size >= KEYS_MAX) {
        this.#end = index.baseOffset(row)
        break
      }
      const batch = this.#read(row, generation)
      if (batch === undefined) return true
      bytes += batch.length
      this.#records.reset(batch)
      while (this.#records.next()) {
        const key = keyText(this.#records)
        if (key !== undefined) this.#latest.set(key, this.#records.offset)
      }
      this.#offset = index.nextOffset(row)
    }
    if (this.#offset >= this.#end || bytes < BYTES_PER_STEP) {
      this.#noting = false
      this.#offset = 0
    }
    return false
  }

  #clean(generation: number): boolean {
    const { index } = this.partition
    const { builder } = this.#writer
    builder.clear()
    const moved: { baseOffset: number; distance: number; bytes: number }[] = []
    let bytes = 0
    let row = index.find(this.#offset)
    for (; bytes < BYTES_PER_STEP && this.#isCleanable(row); row++) {
      const batch = this.#read(row, generation)
      if (batch === undefined) return true
      bytes += batch.length
      const baseOffset = index.baseOffset(row)
      const compacted = compactBatch(batch, this.#records, this.#keeps)
      if (compacted === undefined) this.#dropped.add(baseOffset)
      else if (compacted !== batch) {
        const distance = builder.addBatch(ENTRY_MOVED, this.partition.id, baseOffset, compacted)
        moved.push({ baseOffset, distance, bytes: compacted.length })
      }
      this.#offset = index.nextOffset(row)
    }
    if (moved.length > 0) {
      this.#writer.write()
      for (const { baseOffset, distance, bytes: length } of moved)
        this.#state.applyMove(
          this.partition,
          baseOffset,
          this.#writer.segment,
          this.#writer.batchesPosition + distance,
          length,
        )
    }
    if (this.#isCleanable(row)) return false
    this.#state.removeBatches(this.partition, this.#dropped)
    return true
  }

  #isCleanable(row: number): boolean {
    const { index } = this.partition
    return row < index.length - 1 && index.nextOffset(row) <= this.#end
  }

  readonly #keeps = (record: RecordReader): boolean => {
    const key = keyText(record)
    if (key === undefined) return true
    if (this.#latest.get(key) !== record.offset) return false
    return record.valueStart >= 0 || record.timestamp > this.#tombstonesUpToMs
  }

  /** A copy: the reader's memory is used again, and a batch may wait for its group. */
  #read(row: number, generation: number): Uint8Array | undefined {
    const { index } = this.partition
    const place = [index.segment(row), index.position(row), index.bytes(row), index.baseOffset(row)]
    return this.#reader.read(place, generation)?.slice()
  }
}
