// A zstd frame that stores its content as it is (RFC 8878, 3.1.1 "Zstandard Frames"): for pages that compression
// would not make smaller, such as bit-packed indices of noise, where looking for repeats is most of the work.
//
//   magic        0xFD2FB528, little-endian
//   descriptor   0xA0: content size in four bytes, single segment (no window descriptor), no checksum
//   size         uint32
//   blocks       3 bytes: size << 3 | type << 1 | last; type 0 is raw; at most 128 KiB each
const MAGIC = 0xfd2fb528
const DESCRIPTOR = 0xa0
const FRAME_HEADER_BYTES = 9
const BLOCK_HEADER_BYTES = 3
const BLOCK_BYTES_MAX = 128 * 1024

let frame = new Uint8Array(1 << 16)

/** The frame; valid until the next one. */
export function storePage(bytes: Uint8Array): Uint8Array {
  const blocks = Math.max(1, Math.ceil(bytes.length / BLOCK_BYTES_MAX))
  const length = FRAME_HEADER_BYTES + blocks * BLOCK_HEADER_BYTES + bytes.length
  if (frame.length < length) frame = new Uint8Array(length * 2)
  const view = new DataView(frame.buffer)
  view.setUint32(0, MAGIC, true)
  frame[4] = DESCRIPTOR
  view.setUint32(5, bytes.length, true)
  let at = FRAME_HEADER_BYTES
  for (let block = 0, from = 0; block < blocks; block++) {
    const to = Math.min(bytes.length, from + BLOCK_BYTES_MAX)
    const header = ((to - from) << 3) | (block === blocks - 1 ? 1 : 0)
    frame[at] = header
    frame[at + 1] = header >>> 8
    frame[at + 2] = header >>> 16
    frame.set(bytes.subarray(from, to), at + BLOCK_HEADER_BYTES)
    at += BLOCK_HEADER_BYTES + to - from
    from = to
  }
  return frame.subarray(0, length)
}

/** Pages up to this are stored: compressing one takes longer than encoding it, and the headers around it outweigh it. */
const SMALL_BYTES_MAX = 512
/** Pages stored unseen after one that compression did not help, after the next such one, … and what counts as help: a 64th. */
const STORED_PAGES_FIRST = 7
const STORED_PAGES_MAX = 31
const GAIN_MIN = 1 / 64

/**
 * The pages of a chunk, compressed unless they are small; after one that hardly shrank, the next ones are stored and then it is tried again.
 * At most a 64th of the chunk is lost where the pages are alike, which is the rule within a column.
 */
export class PageCompressor {
  readonly #compress: (bytes: Uint8Array) => Uint8Array
  #stored = 0
  #storedNext = STORED_PAGES_FIRST

  constructor(compress: (bytes: Uint8Array) => Uint8Array) {
    this.#compress = compress
  }

  /** A page that says nothing of the next ones: the dictionary. */
  alone(bytes: Uint8Array): Uint8Array {
    return bytes.length <= SMALL_BYTES_MAX ? storePage(bytes) : this.#compress(bytes)
  }

  page(bytes: Uint8Array): Uint8Array {
    if (bytes.length <= SMALL_BYTES_MAX) return storePage(bytes)
    if (this.#stored > 0) {
      this.#stored--
      return storePage(bytes)
    }
    const body = this.#compress(bytes)
    if (body.length > bytes.length * (1 - GAIN_MIN)) {
      this.#stored = this.#storedNext
      this.#storedNext = Math.min(STORED_PAGES_MAX, 2 * this.#storedNext + 1)
    } else this.#storedNext = STORED_PAGES_FIRST
    return body
  }
}
