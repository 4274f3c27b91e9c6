// The end of the journal in memory: out of it groups are written, and in it readers find what was written last.
//
// Groups go to the file in whole blocks, from the block that holds their start to the end of the last one, which is
// filled with zeros: then the kernel never has to read a block in order to change a part of it, and the write can go
// past the page cache. What a block holds of the group before is written again with the same bytes. Where the zeros are
// fewer than a group's header, and the file holds other bytes behind them, a block of zeros follows.
//
// The memory is a ring of blocks. Block b of the segment with base B is the ring's *virtual* block B + b and lies at
// that number modulo the ring's size; the next segment goes on behind the last block of the one before. Readers in
// other threads take durable batches from here, for which nobody has to read the disk and no page cache is filled:
//
//   words    START  virtual block from which on the ring still holds everything
//            SEGMENT, BASE of the segment written, and of the one before: by the parity of the segment's number
//            REUSED   number of the last free, as `Journal.generation` counts them, whose file is being used again
//
// The writer moves START before it overwrites a block, and a reader looks at it again after it copied. Virtual
// blocks wrap at 2^32: they are compared by their difference.
import assert from 'node:assert/strict'
import { copyShared } from '../std/copy.ts'
import { DIRECT_BLOCK_BYTES, type DiskFile } from '../std/disk.ts'
import { GROUP_HEADER } from './journal-format.ts'

const BLOCK = DIRECT_BLOCK_BYTES

const START = 0
const SEGMENTS = 1
const REUSED = SEGMENTS + 4
const WORDS = REUSED + 1
const NO_SEGMENT = -1

const blocksOf = (bytes: number): number => Math.ceil(bytes / BLOCK)

/** What another thread needs in order to read; plain data. */
export interface SharedTail {
  memory: SharedArrayBuffer
  bytes: number
  words: SharedArrayBuffer
}

export class JournalTail {
  readonly shared: SharedTail
  readonly #ring: Buffer
  /** A power of two, so that virtual blocks may wrap. */
  readonly #blocks: number
  readonly #words: Int32Array
  /** Virtual block of the current segment's block 0. */
  #base = 0
  /** Virtual block after the last one used. */
  #end = 0
  /** Position in the segment up to which blocks are ready and not yet written, and where they begin. */
  #position = 0
  #written = 0

  /** `memory`: a power of two of blocks, at least four, aligned as direct writes want it. */
  constructor(memory: Uint8Array<SharedArrayBuffer>) {
    const words = new SharedArrayBuffer(WORDS * 4)
    this.shared = { memory: memory.buffer, bytes: memory.length, words }
    this.#ring = Buffer.from(memory.buffer, memory.byteOffset, memory.length)
    this.#blocks = memory.length / BLOCK
    assert.ok(this.#blocks >= 4 && Number.isInteger(Math.log2(this.#blocks)), 'blocks of the tail')
    this.#words = new Int32Array(words)
    this.#words.fill(NO_SEGMENT, SEGMENTS, REUSED)
  }

  /** Goes on at `position` of a segment, in the middle of a block that `file` holds. */
  open(segment: number, file: DiskFile, position: number): void {
    const block = Math.floor(position / BLOCK)
    this.#base = (this.#end - block) | 0
    const words = this.#words
    const slot = SEGMENTS + (segment & 1) * 2
    Atomics.store(words, slot, NO_SEGMENT)
    Atomics.store(words, slot + 1, this.#base)
    Atomics.store(words, slot, segment)
    this.reload(file, position)
  }

  /** From here on what lies in the file of that free may be another segment's. */
  reuse(generation: number): void {
    Atomics.store(this.#words, REUSED, generation)
  }

  /** Takes the block of `position` from the file: after a write that failed the ring may have lost it. */
  reload(file: DiskFile, position: number): void {
    const start = position - (position % BLOCK)
    this.#take(Math.floor(position / BLOCK), 1)
    const at = this.#at(start)
    file.read(this.#ring.subarray(at, at + position - start), start)
  }

  /**
   * Writes the parts of a group to the file at `position`, a part of the ring at a time where it is larger. `heldBytes`: up
   * to there the file holds what is no group of the segment.
   */
  write(file: DiskFile, parts: readonly Uint8Array[], position: number, heldBytes: number): void {
    this.#position = position
    this.#written = position - (position % BLOCK)
    const pieceEnd = (): number => this.#written + (this.#blocks >>> 1) * BLOCK
    for (const part of parts)
      for (let done = 0; done < part.length; ) {
        if (this.#position === pieceEnd()) this.#flush(file)
        const count = Math.min(part.length - done, pieceEnd() - this.#position)
        this.#copy(count === part.length ? part : part.subarray(done, done + count))
        done += count
      }
    this.#endWithZeros(heldBytes)
    this.#flush(file)
  }

  /** To the end of the block; of the next one where a header would reach into it, and what the file holds there is none. */
  #endWithZeros(heldBytes: number): void {
    const first = Math.floor(this.#position / BLOCK)
    const end = blocksOf(Math.max(this.#position, Math.min(this.#position + GROUP_HEADER, heldBytes)))
    this.#take(first, end - first)
    while (this.#position < end * BLOCK) {
      const at = this.#at(this.#position)
      const count = BLOCK - (this.#position % BLOCK)
      this.#ring.fill(0, at, at + count)
      this.#position += count
    }
  }

  #copy(part: Uint8Array): void {
    const first = Math.floor(this.#position / BLOCK)
    this.#take(first, blocksOf(this.#position + part.length) - first)
    for (let done = 0; done < part.length; ) {
      const at = this.#at(this.#position)
      const count = Math.min(part.length - done, this.#ring.length - at)
      const some = count === part.length ? part : part.subarray(done, done + count)
      copyShared(some, this.#ring, at)
      done += count
      this.#position += count
    }
  }

  /** Writes the blocks that are ready. */
  #flush(file: DiskFile): void {
    const bytes = blocksOf(this.#position) * BLOCK - this.#written
    const at = this.#at(this.#written)
    const ring = this.#ring
    const first = Math.min(bytes, ring.length - at)
    const parts =
      first === bytes
        ? [ring.subarray(at, at + bytes)]
        : [ring.subarray(at, ring.length), ring.subarray(0, bytes - first)]
    file.write(parts, this.#written)
    this.#written += bytes
  }

  /** Makes blocks of the current segment the ring's, in the place of the oldest. */
  #take(first: number, count: number): void {
    const end = (this.#base + first + count) | 0
    if (((end - this.#end) | 0) <= 0) return
    this.#end = end
    const start = (end - this.#blocks) | 0
    if (((start - this.#words[START]!) | 0) > 0) Atomics.store(this.#words, START, start)
  }

  /** Where a position of the current segment lies in the ring. */
  #at(position: number): number {
    const block = (this.#base + Math.floor(position / BLOCK)) & (this.#blocks - 1)
    return block * BLOCK + (position % BLOCK)
  }
}

/** Reads from the tail of a journal in any thread. */
export class TailReader {
  readonly #ring: Buffer
  readonly #blocks: number
  readonly #words: Int32Array

  constructor({ memory, bytes, words }: SharedTail) {
    this.#ring = Buffer.from(memory, 0, bytes)
    this.#blocks = bytes / BLOCK
    this.#words = new Int32Array(words)
  }

  /** Whether a file of which places as old as `generation` tell is being used again. */
  isReused(generation: number): boolean {
    // An addition of nothing, as below.
    return ((Atomics.add(this.#words, REUSED, 0) - generation) | 0) > 0
  }

  /** Whether the ring holds what begins at a durable place, at this moment. */
  holds(segment: number, position: number): boolean {
    const words = this.#words
    const slot = SEGMENTS + (segment & 1) * 2
    if (Atomics.load(words, slot) !== segment) return false
    const block = (Atomics.load(words, slot + 1) + Math.floor(position / BLOCK)) | 0
    return ((block - Atomics.load(words, START)) | 0) >= 0
  }

  /** Fills `into` with what lies at a durable place; false where the ring does not hold it, or not any more. */
  read(segment: number, position: number, into: Uint8Array): boolean {
    const words = this.#words
    const slot = SEGMENTS + (segment & 1) * 2
    if (Atomics.load(words, slot) !== segment) return false
    const base = Atomics.load(words, slot + 1)
    const block = (base + Math.floor(position / BLOCK)) | 0
    if (((block - Atomics.load(words, START)) | 0) < 0) return false
    const ring = this.#ring
    const at = (block & (this.#blocks - 1)) * BLOCK + (position % BLOCK)
    const first = Math.min(into.length, ring.length - at)
    ring.copy(into, 0, at, at + first)
    if (first < into.length) ring.copy(into, first, 0, into.length - first)
    // An addition of nothing, because what was read before must not be looked at after it.
    return Atomics.add(words, slot, 0) === segment && ((block - Atomics.add(words, START, 0)) | 0) >= 0
  }
}
