// A backlog is read past the page cache, for one who reads it once: pieces of segment files into memory that is used again and
// again, beside what the thread does (libuv), the next ones before they are asked for.
//
// The page cache would allocate, fill and copy each page of a file that nobody reads a second time soon, and that was written
// past it as well (docs/decisions/0012-direct-writes.md).
//
//   piece     PIECE_BYTES of a segment file, from a multiple of that on; valid up to what was durable when it was read
//   prepare   before a read: waits for the pieces that hold its batches, and has the next ones on their way
//   take      the read itself: copies out of pieces. What they do not hold, for whatever reason, comes from the file
//
// The partitions of a stream lie among each other: what one of them leaves of a piece another one takes. Where much of the log are
// other streams, the disk would be asked for more than is taken, and then the page cache has to do for a while, longer each time.
import path from 'node:path'
import { DIRECT_BLOCK_BYTES, type Disk } from '../std/disk.ts'
import { segmentName } from './journal-format.ts'
import { PLACE } from './journal-read.ts'
import type { TailReader } from './journal-tail.ts'

export const PIECE_BYTES = 2 << 20
/** 16 MiB a reader, from its first backlog on. */
const PIECES = 8
/** Pieces on their way that nobody has asked for. */
const AHEAD = 3
/** For less no piece is read: whoever asks for little is no backlog's reader, or at its end. */
const READ_BYTES_MIN = 128 << 10
/** Whenever so much was read it is seen which share of it was taken. */
const JUDGED_BYTES = 32 << 20
const TAKEN_SHARE_MIN = 0.75
/** Below that share so much is left to the page cache, twice as much each time. */
const PAUSED_BYTES = 64 << 20
const PAUSED_BYTES_MAX = 1 << 30

interface Piece {
  memory: Buffer
  segment: number
  start: number
  /** The file's bytes up to there are in `memory`. */
  end: number
  /** Up to there they were asked for: at the file's end there are fewer. */
  asked: number
  reading: Promise<void> | undefined
  /** Number of the call that wanted it last. */
  usedBy: number
}

export class AheadReader {
  readonly #disk: Disk
  readonly #dir: string
  readonly #tail: TailReader
  readonly #pieces: Piece[] = []
  #calls = 0
  #readBytes = 0
  #takenBytes = 0
  #pausedBytes = 0
  #nextPauseBytes = PAUSED_BYTES
  #isOff = false

  constructor(disk: Disk, dir: string, tail: TailReader) {
    this.#disk = disk
    this.#dir = dir
    this.#tail = tail
  }

  /**
   * Has the pieces with the batches at `places` read, where that is worth it; undefined where nothing is to be waited for.
   * Segments before `segment` are durable, and that one up to `position`. Never rejects.
   */
  prepare(places: ArrayLike<number>, segment: number, position: number): Promise<unknown> | undefined {
    if (this.#isOff) return undefined
    this.#calls++
    const { wanted, missing, bytes } = this.#look(places)
    if (bytes === 0) return undefined
    const isPaused = this.#isPaused(bytes)
    const isSequence = wanted.length > 0 || missing.length > 1
    if (!isPaused && bytes >= READ_BYTES_MIN && wanted.length + missing.length <= PIECES - AHEAD)
      for (const { segment, start } of missing) {
        const piece = this.#find(segment, start) ?? this.#begin(segment, start)
        if (piece !== undefined) wanted.push(piece)
      }
    const durable = (of: number): number => (of < segment ? Infinity : position)
    let last: Piece | undefined
    for (const piece of wanted) {
      this.#fill(piece, durable(piece.segment))
      if (last === undefined || (piece.segment - last.segment || piece.start - last.start) > 0) last = piece
    }
    if (isSequence && !isPaused && last !== undefined) this.#readOn(last, durable(last.segment))
    const waiting = wanted.flatMap(({ reading }) => reading ?? [])
    return waiting.length === 0 ? undefined : Promise.all(waiting)
  }

  /** Fills `into` with what lies at a place; false where the pieces do not hold all of it. */
  take(segment: number, position: number, into: Uint8Array): boolean {
    for (let done = 0; done < into.length; ) {
      const at = position + done
      const piece = this.#find(segment, at - (at % PIECE_BYTES))
      if (piece === undefined || piece.reading !== undefined) return false
      const from = at - piece.start
      const count = Math.min(into.length - done, PIECE_BYTES - from)
      if (at + count > piece.end) return false
      piece.memory.copy(into, done, from, from + count)
      done += count
    }
    this.#takenBytes += into.length
    return true
  }

  /** The pieces of `places`, those that are there and those that are not; and bytes, without what the tail holds. */
  #look(places: ArrayLike<number>): {
    wanted: Piece[]
    missing: { segment: number; start: number }[]
    bytes: number
  } {
    const wanted: Piece[] = []
    const missing: { segment: number; start: number }[] = []
    let bytes = 0
    // Places follow one another but for batches that were moved: what the last one looked for is not looked for again.
    let lastSegment = -1
    let lastStart = 0
    for (let i = 0; i < places.length; i += PLACE) {
      const segment = places[i]!
      const from = places[i + 1]!
      const to = from + places[i + 2]!
      if (this.#tail.holds(segment, from)) continue
      bytes += to - from
      for (let start = from - (from % PIECE_BYTES); start < to; start += PIECE_BYTES) {
        if (segment === lastSegment && start === lastStart) continue
        lastSegment = segment
        lastStart = start
        const piece = this.#find(segment, start)
        if (piece === undefined) missing.push({ segment, start })
        else {
          piece.usedBy = this.#calls
          wanted.push(piece)
        }
      }
    }
    return { wanted, missing, bytes }
  }

  /** Whether `bytes` are the page cache's. */
  #isPaused(bytes: number): boolean {
    if (this.#readBytes >= JUDGED_BYTES) {
      if (this.#takenBytes < this.#readBytes * TAKEN_SHARE_MIN) {
        this.#pausedBytes = this.#nextPauseBytes
        this.#nextPauseBytes = Math.min(PAUSED_BYTES_MAX, 2 * this.#nextPauseBytes)
      } else this.#nextPauseBytes = PAUSED_BYTES
      this.#readBytes = this.#takenBytes = 0
    }
    const isPaused = this.#pausedBytes > 0
    this.#pausedBytes = Math.max(0, this.#pausedBytes - bytes)
    return isPaused
  }

  #find(segment: number, start: number): Piece | undefined {
    for (const piece of this.#pieces) if (piece.segment === segment && piece.start === start) return piece
    return undefined
  }

  /** In the place of the piece that was wanted longest ago; undefined where all are under way, or wanted now. */
  #begin(segment: number, start: number): Piece | undefined {
    if (this.#pieces.length === 0) this.#allocate()
    let oldest: Piece | undefined
    for (const piece of this.#pieces)
      if (piece.reading === undefined && piece.usedBy < (oldest?.usedBy ?? this.#calls)) oldest = piece
    if (oldest === undefined) return undefined
    oldest.segment = segment
    oldest.start = oldest.end = oldest.asked = start
    oldest.usedBy = this.#calls
    return oldest
  }

  #allocate(): void {
    const { buffer, byteOffset } = this.#disk.directMemory(PIECES * PIECE_BYTES)
    for (let i = 0; i < PIECES; i++)
      this.#pieces.push({
        memory: Buffer.from(buffer, byteOffset + i * PIECE_BYTES, PIECE_BYTES),
        segment: -1,
        start: 0,
        end: 0,
        asked: 0,
        reading: undefined,
        usedBy: 0,
      })
  }

  /** Has the pieces after `last` read, as far as they are durable in whole. */
  #readOn({ segment, start }: Piece, durable: number): void {
    for (let ahead = 1; ahead <= AHEAD; ahead++) {
      const next = start + ahead * PIECE_BYTES
      if (next + PIECE_BYTES > durable) return
      const piece = this.#find(segment, next) ?? this.#begin(segment, next)
      if (piece === undefined) return
      piece.usedBy = this.#calls
      this.#fill(piece, durable)
    }
  }

  /** Has what is durable of a piece read, but for what was. */
  #fill(piece: Piece, durable: number): void {
    const end = Math.min(piece.start + PIECE_BYTES, durable)
    if (piece.reading !== undefined || piece.asked >= end) return
    piece.asked = end
    piece.reading = this.#read(piece, end).finally(() => {
      piece.reading = undefined
    })
  }

  async #read(piece: Piece, end: number): Promise<void> {
    const from = piece.end - (piece.end % DIRECT_BLOCK_BYTES)
    const into = piece.memory.subarray(
      from - piece.start,
      Math.ceil((end - piece.start) / DIRECT_BLOCK_BYTES) * DIRECT_BLOCK_BYTES,
    )
    try {
      // A file that stayed open would hold the space of a segment that is freed.
      const file = this.#disk.openDirect(path.join(this.#dir, segmentName(piece.segment)))
      if (file?.readLater === undefined) {
        this.#isOff = true
        file?.close()
        return
      }
      try {
        const count = await file.readLater(into, from)
        this.#readBytes += count
        piece.end = Math.max(piece.end, Math.min(end, from + count))
      } finally {
        file.close()
      }
    } catch (error) {
      // Some file systems say only now that they have no such reads. Anything else the read of the file will say.
      if ((error as NodeJS.ErrnoException).code === 'EINVAL') this.#isOff = true
    }
  }
}
