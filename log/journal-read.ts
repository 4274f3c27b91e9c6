// Reads batches from segment files by their places. It needs nothing of the journal's memory, so a client in
// another thread does it as well: the log thread says where, the client reads. What was written last it finds in
// the journal's tail in shared memory, the rest in the files, through the page cache.
//
// A place may be out of date: its segment freed, its batch moved. What is read is compared with what the place
// says, CRC included, and a reader that finds something else asks for the place again.
import path from 'node:path'
import type { Disk, DiskFile } from '../std/disk.ts'
import { segmentName } from './journal-format.ts'
import { type SharedTail, TailReader } from './journal-tail.ts'
import { batchCrcMatches, patchBaseOffset, readBatchHeader } from './record-batch.ts'

/** Numbers of a place in a flat list: segment, position, bytes, base offset. */
export const PLACE = 4

/** Segment files that a reader keeps open. */
const OPEN_FILES_MAX = 16
const BUFFER_BYTES = 1 << 20

/** Reads at once for one piece that is read ahead: more would cost more than they save. */
const READS_AHEAD_MAX = 32

/** An open segment file. Closed when nobody reads from it any more. */
interface OpenFile {
  file: DiskFile
  reading: number
  isClosing: boolean
}

export class SegmentReader {
  readonly #disk: Disk
  readonly #dir: string
  readonly #verifyCrc: boolean
  readonly #tail: TailReader | undefined
  /** Most recently used last. */
  readonly #files = new Map<number, OpenFile>()
  #buffer = new Uint8Array(0)
  #generation = 0

  constructor(disk: Disk, dir: string, verifyCrc = true, tail?: SharedTail) {
    this.#disk = disk
    this.#dir = dir
    this.#verifyCrc = verifyCrc
    this.#tail = tail === undefined ? undefined : new TailReader(tail)
  }

  /**
   * The batches at `places`, back to back under the base offsets that the places say; in memory that the next
   * call uses again. Undefined where a batch is not there any more: ask for the places again.
   * `generation` is the number of frees so far; when it changes, files are opened anew, because an open file
   * would hold the space of a freed segment.
   */
  read(places: ArrayLike<number>, generation: number): Uint8Array | undefined {
    this.#follow(generation)
    const total = bytesOf(places)
    if (total > this.#buffer.length)
      this.#buffer = new Uint8Array(Math.max(total, Math.min(this.#buffer.length * 2, BUFFER_BYTES)))
    const into = this.#buffer.subarray(0, total)
    for (const { segment, position, from, to } of runsOf(places))
      if (!this.#fill(segment, position, into.subarray(from, to))) return undefined
    return this.finish(places, into) ? into : undefined
  }

  /** Whether the last of the batches at `places` has left the journal's tail. */
  isOnDisk(places: ArrayLike<number>): boolean {
    const last = places.length - PLACE
    return last >= 0 && this.#tail?.holds(places[last]!, places[last + 1]!) !== true
  }

  /**
   * Begins to fill `into` with what lies at `places`, beside the thread's other work; false where it is not there. Then
   * `finish`. Undefined where that would gain nothing: it is in memory, too much in pieces, or the disk cannot.
   */
  readLater(places: ArrayLike<number>, generation: number, into: Uint8Array): Promise<boolean> | undefined {
    this.#follow(generation)
    if (!this.isOnDisk(places)) return undefined
    const runs = runsOf(places)
    if (runs.length > READS_AHEAD_MAX) return undefined
    const reads: Promise<boolean>[] = []
    for (const { segment, position, from, to } of runs) {
      const open = this.#open(segment)
      if (open?.file.readLater === undefined) return undefined
      open.reading++
      reads.push(
        open.file
          .readLater(into.subarray(from, to), position)
          .then((count) => count === to - from)
          .finally(() => {
            open.reading--
            if (open.isClosing) this.#release(open)
          }),
      )
    }
    return Promise.all(reads).then((all) => all.every(Boolean))
  }

  /** Checks the batches in `into` and gives them the base offsets of their places; false where one is another. */
  finish(places: ArrayLike<number>, into: Uint8Array): boolean {
    let at = 0
    for (let i = 0; i < places.length; i += PLACE) {
      if (!this.#isBatch(into, at, places[i + 2]!)) return false
      patchBaseOffset(into, at, places[i + 3]!)
      at += places[i + 2]!
    }
    return true
  }

  /** Closes the files; the next read opens them again. */
  close(): void {
    for (const open of this.#files.values()) this.#release(open)
    this.#files.clear()
  }

  /** An open file would hold the space of a freed segment. */
  #follow(generation: number): void {
    if (generation !== this.#generation) this.close()
    this.#generation = generation
  }

  #release(open: OpenFile): void {
    if (open.reading > 0) open.isClosing = true
    else open.file.close()
  }

  #fill(segment: number, position: number, into: Uint8Array): boolean {
    if (this.#tail?.read(segment, position, into) === true) return true
    const open = this.#open(segment)
    return open !== undefined && open.file.read(into, position) === into.length
  }

  #isBatch(buffer: Uint8Array, at: number, length: number): boolean {
    const header = readBatchHeader(buffer, at)
    if (header === undefined || header.byteLength !== length) return false
    return !this.#verifyCrc || batchCrcMatches(buffer, at, length)
  }

  #open(segment: number): OpenFile | undefined {
    let open = this.#files.get(segment)
    if (open !== undefined) {
      this.#files.delete(segment)
    } else {
      try {
        const file = this.#disk.open(path.join(this.#dir, segmentName(segment)), 'read')
        open = { file, reading: 0, isClosing: false }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
        throw error
      }
      for (const [oldest, old] of this.#files) {
        if (this.#files.size < OPEN_FILES_MAX) break
        this.#files.delete(oldest)
        this.#release(old)
      }
    }
    this.#files.set(segment, open)
    return open
  }
}

/** Bytes of all batches at `places`. */
export function bytesOf(places: ArrayLike<number>): number {
  let total = 0
  for (let i = 0; i < places.length; i += PLACE) total += places[i + 2]!
  return total
}

/** Batches that lie back to back are one read: where it is, and where it goes. */
interface ReadRun {
  segment: number
  position: number
  from: number
  to: number
}

function runsOf(places: ArrayLike<number>): ReadRun[] {
  const runs: ReadRun[] = []
  let run: ReadRun | undefined
  let at = 0
  for (let i = 0; i < places.length; i += PLACE) {
    const segment = places[i]!
    const position = places[i + 1]!
    const bytes = places[i + 2]!
    if (run?.segment === segment && run.position + run.to - run.from === position) run.to += bytes
    else runs.push((run = { segment, position, from: at, to: at + bytes }))
    at += bytes
  }
  return runs
}
