// Where the batches of one partition lie, in the order of their offsets. A row of seven 32-bit numbers a
// batch (28 bytes, no object), in chunks that grow to ROWS_PER_CHUNK: an idle partition costs a few hundred
// bytes, and retention gives chunks back from the front.
//
//   0 base offset, low half │ 1 high half │ 2 last offset delta │ 3 segment │ 4 position │ 5 bytes │
//   6 newest timestamp, seconds since 1970, rounded up
//
// Rows are addressed by their ordinal: 0 is the first row that is stored now.

export const ROW = 7
export const ROW_BYTES = ROW * 4
const LOW = 0
const HIGH = 1
const DELTA = 2
const SEGMENT = 3
const POSITION = 4
const BYTES = 5
const SECONDS = 6

const ROWS_PER_CHUNK = 512
const ROWS_FIRST = 4
const UINT32 = 0x100000000

/** Chunks to be used again, of all indexes of the thread: new ones are memory that the garbage collector has to follow. */
const spareChunks: Uint32Array[] = []
/** 900 KB. */
const SPARE_CHUNKS_MAX = 64

/**
 * In shared memory, which V8 does not count as this thread's: it would search the old space for what made room, again and
 * again while indexes grow, although all of it is needed.
 */
const wholeChunk = (): Uint32Array =>
  spareChunks.pop() ?? new Uint32Array(new SharedArrayBuffer(ROWS_PER_CHUNK * ROW_BYTES))

function keepChunk(chunk: Uint32Array): void {
  if (chunk.length === ROWS_PER_CHUNK * ROW && spareChunks.length < SPARE_CHUNKS_MAX) spareChunks.push(chunk)
}

/** Seconds as they are stored: rounded up, kept within 32 bits (a clock that is wrong must not wrap). */
export function storedSeconds(timestampMs: number): number {
  return Math.min(Math.max(Math.ceil(timestampMs / 1000), 0), UINT32 - 1)
}

export class PartitionIndex {
  #chunks: Uint32Array[] = []
  /** Rows of the first chunk that were removed. */
  #skipped = 0
  /** Rows in all chunks, the skipped ones included. */
  #rows = 0

  get length(): number {
    return this.#rows - this.#skipped
  }

  push(
    baseOffset: number,
    lastOffsetDelta: number,
    segment: number,
    position: number,
    bytes: number,
    seconds: number,
  ): void {
    const inChunk = this.#rows % ROWS_PER_CHUNK
    const number = (this.#rows - inChunk) / ROWS_PER_CHUNK
    let chunk = this.#chunks[number]
    if (chunk === undefined) {
      chunk = number === 0 ? new Uint32Array(ROWS_FIRST * ROW) : wholeChunk()
      this.#chunks.push(chunk)
    } else if (inChunk * ROW === chunk.length) {
      const grown = new Uint32Array(Math.min(chunk.length * 2, ROWS_PER_CHUNK * ROW))
      grown.set(chunk)
      this.#chunks[number] = chunk = grown
    }
    const at = inChunk * ROW
    chunk[at + LOW] = baseOffset
    chunk[at + HIGH] = baseOffset / UINT32
    chunk[at + DELTA] = lastOffsetDelta
    chunk[at + SEGMENT] = segment
    chunk[at + POSITION] = position
    chunk[at + BYTES] = bytes
    chunk[at + SECONDS] = seconds
    this.#rows++
  }

  baseOffset(row: number): number {
    const at = row + this.#skipped
    const chunk = this.#chunks[Math.floor(at / ROWS_PER_CHUNK)]!
    const cell = (at % ROWS_PER_CHUNK) * ROW
    return chunk[cell + LOW]! + chunk[cell + HIGH]! * UINT32
  }

  nextOffset(row: number): number {
    return this.baseOffset(row) + this.#cell(row, DELTA) + 1
  }

  lastOffsetDelta(row: number): number {
    return this.#cell(row, DELTA)
  }

  segment(row: number): number {
    return this.#cell(row, SEGMENT)
  }

  position(row: number): number {
    return this.#cell(row, POSITION)
  }

  bytes(row: number): number {
    return this.#cell(row, BYTES)
  }

  seconds(row: number): number {
    return this.#cell(row, SECONDS)
  }

  /** The first row whose batch reaches beyond `offset`; `length` where there is none. */
  find(offset: number): number {
    let low = 0
    let high = this.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.nextOffset(middle) > offset) high = middle
      else low = middle + 1
    }
    return low
  }

  /** The row of the batch that begins at `baseOffset`, -1 where none does. */
  rowOf(baseOffset: number): number {
    const row = this.find(baseOffset)
    return row < this.length && this.baseOffset(row) === baseOffset ? row : -1
  }

  /** Gives a batch another place, and length where compaction made it shorter. */
  move(row: number, segment: number, position: number, bytes: number): void {
    const at = row + this.#skipped
    const chunk = this.#chunks[Math.floor(at / ROWS_PER_CHUNK)]!
    const cell = (at % ROWS_PER_CHUNK) * ROW
    chunk[cell + SEGMENT] = segment
    chunk[cell + POSITION] = position
    chunk[cell + BYTES] = bytes
  }

  removeFirst(): void {
    this.#skipped++
    if (this.#skipped === this.#rows) this.clear()
    else if (this.#skipped === ROWS_PER_CHUNK) {
      keepChunk(this.#chunks.shift()!)
      this.#skipped = 0
      this.#rows -= ROWS_PER_CHUNK
    }
  }

  clear(): void {
    for (const chunk of this.#chunks) keepChunk(chunk)
    this.#chunks = []
    this.#skipped = this.#rows = 0
  }

  /** Keeps only the rows for which `keeps` returns true. Rewrites the whole index. */
  filter(keeps: (row: number) => boolean): void {
    const kept = new PartitionIndex()
    for (let row = 0; row < this.length; row++) if (keeps(row)) kept.#pushCells(this.#cells(row))
    this.#chunks = kept.#chunks
    this.#skipped = 0
    this.#rows = kept.#rows
  }

  /** Copies `count` rows from `row` on to `at` of `into`, ROW_BYTES each. */
  copyRows(row: number, count: number, into: Uint8Array, at: number): void {
    for (let done = 0; done < count; ) {
      const from = row + done + this.#skipped
      const inChunk = from % ROWS_PER_CHUNK
      const some = Math.min(count - done, ROWS_PER_CHUNK - inChunk)
      const { buffer, byteOffset } = this.#chunks[Math.floor(from / ROWS_PER_CHUNK)]!
      into.set(
        new Uint8Array(buffer, byteOffset + inChunk * ROW_BYTES, some * ROW_BYTES),
        at + done * ROW_BYTES,
      )
      done += some
    }
  }

  #pushCells(cells: Uint32Array): void {
    this.push(
      cells[LOW]! + cells[HIGH]! * UINT32,
      cells[DELTA]!,
      cells[SEGMENT]!,
      cells[POSITION]!,
      cells[BYTES]!,
      cells[SECONDS]!,
    )
  }

  #cells(row: number): Uint32Array {
    const at = row + this.#skipped
    const cell = (at % ROWS_PER_CHUNK) * ROW
    return this.#chunks[Math.floor(at / ROWS_PER_CHUNK)]!.subarray(cell, cell + ROW)
  }

  #cell(row: number, column: number): number {
    const at = row + this.#skipped
    return this.#chunks[Math.floor(at / ROWS_PER_CHUNK)]![(at % ROWS_PER_CHUNK) * ROW + column]!
  }
}
