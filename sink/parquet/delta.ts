// DELTA_BINARY_PACKED (Parquet Encodings.md, "Delta Encoding"), for int32 and int64.
//
//   header   varint block size (128), varint miniblocks a block (4), varint values, zigzag first value
//   block    zigzag smallest delta, 4 widths (a byte each), then per miniblock 32 values (delta - smallest)
//            of that width; a miniblock without values has width 0 and no bytes
//
// Deltas wrap around at 32 or 64 bits; 64-bit ones are pairs of words throughout.
import { packerOf } from './bit-pack.ts'
import type { PageBuffer } from './page-buffer.ts'

const BLOCK_VALUES = 128
const MINIBLOCKS = 4
const MINIBLOCK_VALUES = BLOCK_VALUES / MINIBLOCKS
const HEADER_BYTES_MAX = 3 * 5 + 10
const BLOCK_BYTES_MAX = 10 + MINIBLOCKS + BLOCK_VALUES * 8

const low = new Int32Array(BLOCK_VALUES)
const high = new Int32Array(BLOCK_VALUES)
const packed = new Int32Array(MINIBLOCK_VALUES * 2)
const packedBytes = new Uint8Array(packed.buffer)

function appendHeader(page: PageBuffer, count: number): void {
  page.reserve(HEADER_BYTES_MAX)
  page.varint(BLOCK_VALUES)
  page.varint(MINIBLOCKS)
  page.varint(count)
}

/** A zigzag varint of 64 bits. */
function appendZigzag(page: PageBuffer, lowWord: number, highWord: number): void {
  const sign = highWord >> 31
  let h = ((highWord << 1) | (lowWord >>> 31)) ^ sign
  let l = (lowWord << 1) ^ sign
  while (h !== 0 || l >>> 0 >= 0x80) {
    page.byte((l & 0x7f) | 0x80)
    l = (l >>> 7) | (h << 25)
    h >>>= 7
  }
  page.byte(l)
}

/** Appends words[from, to). */
export function appendDeltaInt32(page: PageBuffer, words: Int32Array, from: number, to: number): void {
  appendHeader(page, to - from)
  if (from === to) {
    page.byte(0)
    return
  }
  appendZigzag(page, words[from]!, words[from]! >> 31)
  for (let first = from + 1; first < to; first += BLOCK_VALUES) {
    const count = Math.min(BLOCK_VALUES, to - first)
    let min = 0x7fffffff
    for (let i = 0; i < count; i++) {
      const delta = (words[first + i]! - words[first + i - 1]!) | 0
      low[i] = delta
      if (delta < min) min = delta
    }
    page.reserve(BLOCK_BYTES_MAX)
    appendZigzag(page, min, min >> 31)
    for (let i = 0; i < count; i++) low[i] = low[i]! - min
    low.fill(0, count)
    high.fill(0)
    appendMiniblocks(page, count)
  }
}

/** Appends the pairs [from, to). */
export function appendDeltaInt64(page: PageBuffer, words: Int32Array, from: number, to: number): void {
  appendHeader(page, to - from)
  if (from === to) {
    page.byte(0)
    return
  }
  let lastLow = words[from * 2]!
  let lastHigh = words[from * 2 + 1]!
  appendZigzag(page, lastLow, lastHigh)
  for (let first = from + 1; first < to; first += BLOCK_VALUES) {
    const count = Math.min(BLOCK_VALUES, to - first)
    let minLow = -1
    let minHigh = 0x7fffffff
    for (let i = 0, at = first * 2; i < count; i++, at += 2) {
      const nextLow = words[at]!
      const nextHigh = words[at + 1]!
      const deltaLow = (nextLow - lastLow) | 0
      const deltaHigh = (nextHigh - lastHigh - (nextLow >>> 0 < lastLow >>> 0 ? 1 : 0)) | 0
      lastLow = nextLow
      lastHigh = nextHigh
      low[i] = deltaLow
      high[i] = deltaHigh
      if (deltaHigh < minHigh || (deltaHigh === minHigh && deltaLow >>> 0 < minLow >>> 0)) {
        minLow = deltaLow
        minHigh = deltaHigh
      }
    }
    page.reserve(BLOCK_BYTES_MAX)
    appendZigzag(page, minLow, minHigh)
    for (let i = 0; i < count; i++) {
      const l = low[i]!
      low[i] = l - minLow
      high[i] = high[i]! - minHigh - (l >>> 0 < minLow >>> 0 ? 1 : 0)
    }
    low.fill(0, count)
    high.fill(0, count)
    appendMiniblocks(page, count)
  }
}

/** Widths and values of the block that lies in `low` and `high`. */
function appendMiniblocks(page: PageBuffer, count: number): void {
  const widthsAt = page.length
  for (let i = 0; i < MINIBLOCKS; i++) page.byte(0)
  for (let miniblock = 0; miniblock < MINIBLOCKS; miniblock++) {
    const from = miniblock * MINIBLOCK_VALUES
    if (from >= count) break
    let lowBits = 0
    let highBits = 0
    for (let i = from; i < from + MINIBLOCK_VALUES; i++) {
      lowBits |= low[i]!
      highBits |= high[i]!
    }
    const width = highBits !== 0 ? 64 - Math.clz32(highBits) : 32 - Math.clz32(lowBits)
    page.bytes[widthsAt + miniblock] = width
    if (width === 0) continue
    if (width <= 32) packerOf(width)(low, from, 1, packed, 0)
    else packPairs(from, width)
    // 32 values of `width` bits are 4 × width bytes.
    const bytes = width * 4
    for (let i = 0; i < bytes; i++) page.bytes[page.length + i] = packedBytes[i]!
    page.length += bytes
  }
}

/** 32 values of more than 32 bits: rare, so one loop serves all widths. */
function packPairs(from: number, width: number): void {
  packed.fill(0)
  for (let k = 0; k < MINIBLOCK_VALUES; k++) {
    const bit = k * width
    const word = bit >> 5
    const shift = bit & 31
    const l = low[from + k]!
    const h = high[from + k]!
    packed[word] = packed[word]! | (l << shift)
    if (shift === 0) packed[word + 1] = packed[word + 1]! | h
    else {
      packed[word + 1] = packed[word + 1]! | (l >>> (32 - shift)) | (h << shift)
      if (word + 2 < packed.length) packed[word + 2] = packed[word + 2]! | (h >>> (32 - shift))
    }
  }
}
