// DELTA_BINARY_PACKED, read (delta.ts has the format), with block sizes of any writer.
import { unpack } from './hybrid-reader.ts'

let miniblock = new Int32Array(64)

/** Unsigned varint of at most 64 bits as two words, and where it ends. */
let low = 0
let high = 0
function varint(bytes: Uint8Array, at: number): number {
  low = 0
  high = 0
  for (let shift = 0, p = at; ; shift += 7) {
    const byte = bytes[p++]
    if (byte === undefined || shift > 63) throw new RangeError('deltas are cut off')
    const part = byte & 0x7f
    if (shift < 28) low |= part << shift
    else if (shift === 28) {
      low |= part << 28
      high |= part >>> 4
    } else high |= part << (shift - 32)
    if (byte < 0x80) return p
  }
}

function unzigzag(): void {
  const sign = -(low & 1)
  low = ((low >>> 1) | (high << 31)) ^ sign
  high = (high >>> 1) ^ sign
}

/**
 * Reads the values that begin at `at`, at least `count`, to `into`: one word each where `words` is 1 (int32), two where
 * it is 2 (int64). Throws RangeError where they end early.
 */
export function readDelta(
  bytes: Uint8Array,
  at: number,
  words: 1 | 2,
  count: number,
  into: Int32Array,
): void {
  let p = varint(bytes, at)
  const blockValues = low
  p = varint(bytes, p)
  const miniblocks = low
  p = varint(bytes, p)
  const total = low
  if (total < count) throw new RangeError(`${total} deltas where ${count} values are`)
  const perMiniblock = blockValues / miniblocks
  if (!(perMiniblock > 0 && perMiniblock % 32 === 0 && blockValues <= 1 << 20))
    throw new RangeError(`blocks of ${blockValues} values in ${miniblocks} miniblocks`)
  p = varint(bytes, p)
  unzigzag()
  let lastLow = low
  let lastHigh = high
  if (count === 0) return
  into[0] = lastLow
  if (words === 2) into[1] = lastHigh
  if (miniblock.length < 2 * perMiniblock) miniblock = new Int32Array(2 * perMiniblock)
  for (let done = 1; done < count; ) {
    p = varint(bytes, p)
    unzigzag()
    const minLow = low
    const minHigh = high
    const widths = p
    p += miniblocks
    for (let m = 0; m < miniblocks && done < count; m++) {
      const width = bytes[widths + m]!
      const byteCount = (width * perMiniblock) / 8
      if (p + byteCount > bytes.length || width > 64) throw new RangeError('deltas are cut off')
      const take = Math.min(perMiniblock, count - done)
      if (width <= 32) unpack(bytes, p, width, take, miniblock, 0)
      else unpackPairs(bytes, p, width, take)
      p += byteCount
      for (let i = 0; i < take; i++) {
        const deltaLow = width <= 32 ? miniblock[i]! : miniblock[2 * i]!
        const deltaHigh = width <= 32 ? 0 : miniblock[2 * i + 1]!
        const a = addCarry(minLow, deltaLow)
        const sumLow = (minLow + deltaLow) | 0
        const sumHigh = (minHigh + deltaHigh + a) | 0
        const carry = addCarry(lastLow, sumLow)
        lastLow = (lastLow + sumLow) | 0
        lastHigh = (lastHigh + sumHigh + carry) | 0
        if (words === 1) into[done++] = lastLow
        else {
          into[2 * done] = lastLow
          into[2 * done++ + 1] = lastHigh
        }
      }
    }
  }
}

function addCarry(a: number, b: number): number {
  return (a >>> 0) + (b >>> 0) > 0xffff_ffff ? 1 : 0
}

/** Values of more than 32 bits, as pairs: rare, so bit by bit of each byte is fast enough. */
function unpackPairs(bytes: Uint8Array, at: number, width: number, count: number): void {
  for (let i = 0; i < count; i++) {
    let l = 0
    let h = 0
    for (let bit = 0; bit < width; ) {
      const place = i * width + bit
      const byte = bytes[at + (place >> 3)]!
      const from = place & 7
      const taken = Math.min(8 - from, width - bit)
      const value = (byte >> from) & ((1 << taken) - 1)
      if (bit < 32) {
        l |= value << bit
        if (bit + taken > 32) h |= value >>> (32 - bit)
      } else h |= value << (bit - 32)
      bit += taken
    }
    miniblock[2 * i] = l
    miniblock[2 * i + 1] = h
  }
}
