// Reads batches from segment files by their places. It needs nothing of the journal's memory, so a client in
// another thread does it as well: the log thread says where, the client reads. What was written last it finds in
// the journal's tail in shared memory, the rest in the files, through the page cache.
//
// A place may be out of date: its segment freed, its batch moved, its file used again for another segment. What is read is
// compared with what the place says, CRC included, and a reader that finds something else asks for the place again. In
// a file that is used again another batch of the same length may lie at the same place: so it is seen afterwards whether that
// has begun, by the header of the segment, which changes first, and only where the journal says that some file is used again.
import path from 'node:path'
import type { Disk, DiskFile } from '../std/disk.ts'
import type { AheadReader } from './journal-ahead.ts'
import { decodeSegmentHeader, SEGMENT_HEADER, segmentName } from './journal-format.ts'
import type { TailReader } from './journal-tail.ts'
import { batchCrcMatches, patchBaseOffset, readBatchHeader } from './record-batch.ts'

/** Numbers of a place in a flat list: segment, position, bytes, base offset. */
export const PLACE = 4

/** Segment files that a reader keeps open. */
const OPEN_FILES_MAX = 16
const BUFFER_BYTES = 1 << 20

export class SegmentReader {
  readonly #disk: Disk
  readonly #dir: string
  readonly #verifyCrc: boolean
  readonly #tail: TailReader | undefined
  readonly #ahead: AheadReader | undefined
  /** Most recently used last. */
  readonly #files = new Map<number, DiskFile>()
  #buffer = new Uint8Array(0)
  #generation = 0

  constructor(disk: Disk, dir: string, verifyCrc = true, tail?: TailReader, ahead?: AheadReader) {
    this.#disk = disk
    this.#dir = dir
    this.#verifyCrc = verifyCrc
    this.#tail = tail
    this.#ahead = ahead
  }

  /**
   * The batches at `places`, back to back under the base offsets that the places say; in memory that the next
   * call uses again. Undefined where a batch is not there any more: ask for the places again.
   * `generation` is the number of frees so far; when it changes, files are opened anew, because an open file
   * would hold the space of a freed segment.
   */
  read(places: ArrayLike<number>, generation: number): Uint8Array | undefined {
    if (generation !== this.#generation) this.close()
    this.#generation = generation
    let total = 0
    for (let i = 0; i < places.length; i += PLACE) total += places[i + 2]!
    if (total > this.#buffer.length)
      this.#buffer = new Uint8Array(Math.max(total, Math.min(this.#buffer.length * 2, BUFFER_BYTES)))
    const buffer = this.#buffer
    let at = 0
    for (let i = 0; i < places.length; ) {
      // Batches that lie back to back are one read.
      const first = i
      let length = places[i + 2]!
      for (i += PLACE; i < places.length && adjoins(places, i); i += PLACE) length += places[i + 2]!
      if (!this.#fill(places[first]!, places[first + 1]!, buffer.subarray(at, at + length))) return undefined
      for (let p = first; p < i; p += PLACE) {
        if (!this.#isBatch(buffer, at, places[p + 2]!)) return undefined
        patchBaseOffset(buffer, at, places[p + 3]!)
        at += places[p + 2]!
      }
    }
    return buffer.subarray(0, total)
  }

  /** Closes the files; the next read opens them again. */
  close(): void {
    for (const file of this.#files.values()) file.close()
    this.#files.clear()
  }

  #fill(segment: number, position: number, into: Uint8Array): boolean {
    if (this.#tail?.read(segment, position, into) === true) return true
    if (this.#ahead?.take(segment, position, into) === true && !this.#mayBeReused()) return true
    const file = this.#open(segment)
    try {
      if (file === undefined || file.read(into, position) !== into.length) return false
      return !this.#mayBeReused() || !isReused(file, segment)
    } catch (error) {
      // What the disk cannot read any more is damage as a wrong CRC is: no reason to stop who writes elsewhere.
      if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
      return false
    }
  }

  /** Without the journal's memory it may always be. */
  #mayBeReused(): boolean {
    return this.#tail?.isReused(this.#generation) !== false
  }

  #isBatch(buffer: Uint8Array, at: number, length: number): boolean {
    const header = readBatchHeader(buffer, at)
    if (header === undefined || header.byteLength !== length) return false
    return !this.#verifyCrc || batchCrcMatches(buffer, at, length)
  }

  #open(segment: number): DiskFile | undefined {
    let file = this.#files.get(segment)
    if (file !== undefined) {
      this.#files.delete(segment)
    } else {
      try {
        file = this.#disk.open(path.join(this.#dir, segmentName(segment)), 'read')
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
      for (const [oldest, old] of this.#files) {
        if (this.#files.size < OPEN_FILES_MAX) break
        old.close()
        this.#files.delete(oldest)
      }
    }
    this.#files.set(segment, file)
    return file
  }
}

/** Whether the file has become another segment. A header that is damaged, or cannot be read, does not say so. */
function isReused(file: DiskFile, segment: number): boolean {
  const header = new Uint8Array(SEGMENT_HEADER)
  try {
    file.read(header, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error
  }
  const identity = decodeSegmentHeader(header)
  return identity !== undefined && identity.segment !== segment
}

function adjoins(places: ArrayLike<number>, i: number): boolean {
  const before = i - PLACE
  return places[i] === places[before] && places[i + 1] === places[before + 1]! + places[before + 2]!
}
