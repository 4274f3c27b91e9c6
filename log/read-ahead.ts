// What a client of the log reads next, read from the disk while it works on what it got last.
//
// Who reads a backlog asks for one piece of a partition after the other. So after each piece that came from the disk
// the log thread is asked for the places of the following one, and its batches are read by libuv's threads into memory of
// their own; the next `read` finds them there. Batches are checked when they are taken, as all that is read is. A piece
// that was not asked for again, or is not what its places say, is dropped: the reader goes the ordinary way.
//
// Memory: at most BYTES_MAX in pieces, whatever the number of partitions (those that find no room are read without),
// and three buffers: the one handed out last, and two to be used again.
import { bytesOf, type SegmentReader } from './journal-read.ts'
import type { ReadResult } from './log.ts'

/** What the log thread says of batches that follow an offset. */
export interface Places {
  generation: number
  nextOffset: number
  places: number[]
}

interface Piece {
  offset: number
  bytesMax: number
  found: Places
  buffer: Uint8Array
  filled: Promise<boolean>
  /** `#takes` when it was begun. */
  begun: number
}

type Locate = (topic: string, partition: number, offset: number, bytesMax: number) => Promise<Places>

const BYTES_MAX = 8 << 20
const PIECE_BYTES_MAX = 4 << 20
const SPARE_MAX = 2
/** Reads of the client after which a piece that nobody took gives up its room to another. */
const READS_MAX = 64

export class ReadAhead {
  readonly #reader: SegmentReader
  readonly #locate: Locate
  readonly #pieces = new Map<string, Piece>()
  readonly #spare: Uint8Array[] = []
  #bytes = 0
  #takes = 0
  /** Of the piece that was handed out last: valid until the next one is. */
  #lent: Uint8Array | undefined

  constructor(reader: SegmentReader, locate: Locate) {
    this.#reader = reader
    this.#locate = locate
  }

  /** What `begin` read for these arguments; undefined where there is no such thing. */
  async take(
    topic: string,
    partition: number,
    offset: number,
    bytesMax: number,
  ): Promise<ReadResult | undefined> {
    this.#takes++
    const key = keyOf(topic, partition)
    const piece = this.#pieces.get(key)
    if (piece === undefined) return undefined
    this.#drop(key, piece)
    if (piece.offset !== offset || piece.bytesMax !== bytesMax) return undefined
    const { found, buffer } = piece
    // What follows is located while this piece may still be on its way.
    const next = this.following(topic, partition, found.nextOffset, bytesMax)
    const isFilled = await piece.filled
    const following = await next
    const batches = buffer.subarray(0, bytesOf(found.places))
    if (!isFilled || !this.#reader.finish(found.places, batches)) return undefined
    if (this.#lent !== undefined && this.#spare.length < SPARE_MAX) this.#spare.push(this.#lent)
    this.#lent = buffer
    this.begin(topic, partition, found.nextOffset, bytesMax, following)
    return { batches, nextOffset: found.nextOffset }
  }

  /** The places of what follows; undefined where the log does not say: the next read will be told why. */
  following(topic: string, partition: number, offset: number, bytesMax: number): Promise<Places | undefined> {
    return this.#locate(topic, partition, offset, bytesMax).catch(() => undefined)
  }

  /** Begins to read what `following` found. */
  begin(topic: string, partition: number, offset: number, bytesMax: number, found: Places | undefined): void {
    if (found === undefined || !this.#reader.isOnDisk(found.places)) return
    const bytes = bytesOf(found.places)
    if (!this.#hasRoom(bytes)) return
    const buffer = this.#buffer(bytes)
    const filled = this.#reader.readLater(found.places, found.generation, buffer)
    if (filled === undefined) return
    // After a failure whoever takes it reads the ordinary way, and is told what is wrong.
    const settled = filled.catch(() => false)
    const piece = { offset, bytesMax, found, buffer, filled: settled, begun: this.#takes }
    this.#pieces.set(keyOf(topic, partition), piece)
    this.#bytes += buffer.length
  }

  #hasRoom(bytes: number): boolean {
    if (bytes > PIECE_BYTES_MAX) return false
    for (const [key, piece] of this.#pieces) {
      if (this.#bytes + bytes <= BYTES_MAX) break
      if (this.#takes - piece.begun > READS_MAX) this.#drop(key, piece)
    }
    return this.#bytes + bytes <= BYTES_MAX
  }

  /** Its buffer is not used again where nobody took it: the disk may be writing to it still. */
  #drop(key: string, piece: Piece): void {
    this.#pieces.delete(key)
    this.#bytes -= piece.buffer.length
  }

  #buffer(bytes: number): Uint8Array {
    const at = this.#spare.findIndex((one) => one.length >= bytes && one.length <= bytes * 2)
    return at < 0 ? new Uint8Array(bytes) : this.#spare.splice(at, 1)[0]!
  }
}

const keyOf = (topic: string, partition: number): string => `${topic}/${partition}`
