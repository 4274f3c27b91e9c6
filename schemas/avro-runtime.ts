// What generated code calls: the steps of reading a datum that are loops, or too long to write out at each
// place (Avro specification, "Binary Encoding"). All take positions in `bytes` below 2^31 and never read at or
// beyond `end`. A result below zero is a code of avro-codes.ts, negated. None allocates, none throws.
import { viewOf } from '../std/view.ts'
import {
  BLOCK_COUNT,
  BLOCK_SIZE,
  DECIMAL,
  INT_RANGE,
  LENGTH_NEGATIVE,
  LONG_RANGE,
  TIME_OF_DAY,
  TRUNCATED,
  UTF8,
  UUID,
  VARINT_TOO_LONG,
} from './avro-codes.ts'

/** The highest bit of each byte of a word. */
const HIGHS = 0x80808080 | 0

/** Second results of the functions below: [position after, end of a sized block or -1]. */
export const scratch = new Int32Array(2)

/** Position after a long: at most ten bytes, the tenth at most 1. */
export function skipLong(bytes: Uint8Array, at: number, end: number): number {
  // Away from the end, a word at a time finds the byte that stops: timestamps take eight or nine.
  if (at + 10 <= end) {
    const view = viewOf(bytes)
    let stops = ~view.getInt32(at, true) & HIGHS
    if (stops !== 0) return at + 4 - (Math.clz32(stops & -stops) >>> 3)
    stops = ~view.getInt32(at + 4, true) & HIGHS
    if (stops !== 0) return at + 8 - (Math.clz32(stops & -stops) >>> 3)
    if (bytes[at + 8]! < 0x80) return at + 9
    if (bytes[at + 9]! < 2) return at + 10
    return bytes[at + 9]! < 0x80 ? -LONG_RANGE : -VARINT_TOO_LONG
  }
  let p = at
  const stop = Math.min(at + 9, end)
  while (p < stop) if (bytes[p++]! < 0x80) return p
  if (p >= end) return -TRUNCATED
  const last = bytes[p]!
  return last < 2 ? p + 1 : last < 0x80 ? -LONG_RANGE : -VARINT_TOO_LONG
}

/** Position after an int: at most five bytes, the fifth at most 15. */
export function skipInt(bytes: Uint8Array, at: number, end: number): number {
  let p = at
  const stop = Math.min(at + 4, end)
  while (p < stop) if (bytes[p++]! < 0x80) return p
  if (p >= end) return -TRUNCATED
  const last = bytes[p]!
  return last < 16 ? p + 1 : last < 0x80 ? -INT_RANGE : -VARINT_TOO_LONG
}

/** The int that `skipInt` found valid at `at`. */
export function intAt(bytes: Uint8Array, at: number): number {
  let b = bytes[at]!
  let v = b & 0x7f
  for (let p = at + 1, shift = 7; b >= 0x80; shift += 7) {
    b = bytes[p++]!
    v |= (b & 0x7f) << shift
  }
  return (v >>> 1) ^ -(v & 1)
}

const words = new Int32Array(2)

/** Writes the long that `skipLong` found valid at `at` as words (low, high) at `slot` of `into`. */
export function longWordsAt(bytes: Uint8Array, at: number, into: Int32Array, slot: number): void {
  let p = at
  let b = bytes[p++]!
  let low = b & 0x7f
  let high = 0
  if (b >= 0x80) {
    b = bytes[p++]!
    low |= (b & 0x7f) << 7
    if (b >= 0x80) {
      b = bytes[p++]!
      low |= (b & 0x7f) << 14
      if (b >= 0x80) {
        b = bytes[p++]!
        low |= (b & 0x7f) << 21
        if (b >= 0x80) {
          b = bytes[p++]!
          low |= b << 28
          high = (b & 0x7f) >> 4
          for (let shift = 3; b >= 0x80; shift += 7) {
            b = bytes[p++]!
            high |= (b & 0x7f) << shift
          }
        }
      }
    }
  }
  const sign = -(low & 1)
  into[slot] = ((low >>> 1) | (high << 31)) ^ sign
  into[slot + 1] = (high >>> 1) ^ sign
}

/** The low seven bits of each of four bytes, together. */
function joined(word: number): number {
  return (word & 0x7f) | ((word >>> 1) & 0x3f80) | ((word >>> 2) & 0x1f_c000) | ((word >>> 3) & 0xfe0_0000)
}

/**
 * Reads a long into words as `longWordsAt`, checked as `skipLong` does: the position after, or a code. `view` is of the
 * same memory as `bytes`. Up to eight bytes, which is every timestamp, as two words without a loop.
 */
export function readLongWords(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  end: number,
  into: Int32Array,
  slot: number,
): number {
  if (at + 8 <= end) {
    const first = view.getInt32(at, true)
    const firstStops = ~first & HIGHS
    if (firstStops !== 0) {
      // Bits up to and with the lowest one set: the bytes up to the one that ends the number.
      const value = joined(first & (firstStops ^ (firstStops - 1)))
      const sign = -(value & 1)
      into[slot] = (value >>> 1) ^ sign
      into[slot + 1] = sign
      return at + 4 - (Math.clz32(firstStops & -firstStops) >>> 3)
    }
    const second = view.getInt32(at + 4, true)
    const secondStops = ~second & HIGHS
    if (secondStops !== 0) {
      const value = joined(second & (secondStops ^ (secondStops - 1)))
      const low = joined(first) | (value << 28)
      const high = value >>> 4
      const sign = -(low & 1)
      into[slot] = ((low >>> 1) | (high << 31)) ^ sign
      into[slot + 1] = (high >>> 1) ^ sign
      return at + 8 - (Math.clz32(secondStops & -secondStops) >>> 3)
    }
  }
  const after = skipLong(bytes, at, end)
  if (after >= 0) longWordsAt(bytes, at, into, slot)
  return after
}

/** The long that `skipLong` found valid at `at`, as the nearest double (exact to 2^53). */
export function longAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!
  if (first < 0x80) return (first >>> 1) ^ -(first & 1)
  longWordsAt(bytes, at, words, 0)
  return words[1]! * 0x1_0000_0000 + (words[0]! >>> 0)
}

/**
 * `skipLong` and `longAt` in one: the position after a long, whose value goes to `slot` of `into`. `view` is of the
 * same memory as `bytes`. Up to eight bytes, which is every timestamp, as two words without a loop.
 */
export function readLong(
  bytes: Uint8Array,
  view: DataView,
  at: number,
  end: number,
  into: Float64Array,
  slot: number,
): number {
  if (at + 8 <= end) {
    const first = view.getInt32(at, true)
    const firstStops = ~first & HIGHS
    if (firstStops !== 0) {
      // Bits up to and with the lowest one set: the bytes up to the one that ends the number.
      const value = joined(first & (firstStops ^ (firstStops - 1)))
      into[slot] = (value >>> 1) ^ -(value & 1)
      return at + 4 - (Math.clz32(firstStops & -firstStops) >>> 3)
    }
    const second = view.getInt32(at + 4, true)
    const secondStops = ~second & HIGHS
    if (secondStops !== 0) {
      const low = joined(first)
      const magnitude = joined(second & (secondStops ^ (secondStops - 1))) * 0x800_0000
      // Added once, so that what exceeds 2^53 is rounded once.
      into[slot] = (low & 1) === 0 ? magnitude + (low >>> 1) : -(magnitude + ((low >>> 1) + 1))
      return at + 8 - (Math.clz32(secondStops & -secondStops) >>> 3)
    }
  }
  const after = skipLong(bytes, at, end)
  if (after >= 0) into[slot] = longAt(bytes, at)
  return after
}

/** Length of a string or bytes; its position after goes to scratch[0]. What it counts must lie before `end`. */
export function readLength(bytes: Uint8Array, at: number, end: number): number {
  const after = skipLong(bytes, at, end)
  if (after < 0) return after
  const length = longAt(bytes, at)
  if (length < 0) return -LENGTH_NEGATIVE
  if (length > end - after) return -TRUNCATED
  scratch[0] = after
  return length
}

/** Index below `count` of an enum or union, written as an int; its position after goes to scratch[0]. */
export function readIndex(bytes: Uint8Array, at: number, end: number, count: number, code: number): number {
  const after = skipInt(bytes, at, end)
  if (after < 0) return after
  const index = intAt(bytes, at)
  if (index < 0 || index >= count) return -code
  scratch[0] = after
  return index
}

/**
 * Count of items in the next block of an array or map, whose items take at least `minimum` bytes. The position
 * after goes to scratch[0]; where the block states its size, its end goes to scratch[1], else -1.
 */
export function readBlock(bytes: Uint8Array, at: number, end: number, minimum: number): number {
  let after = skipLong(bytes, at, end)
  if (after < 0) return after
  let count = longAt(bytes, at)
  let stop = -1
  if (count < 0) {
    count = -count
    const sizeAt = after
    after = skipLong(bytes, sizeAt, end)
    if (after < 0) return after
    const size = longAt(bytes, sizeAt)
    if (size < 0) return -BLOCK_SIZE
    if (size > end - after) return -TRUNCATED
    stop = after + size
  }
  if (minimum > 0) {
    if (count * minimum > end - after) return -TRUNCATED
  } else if (count > 0x7fffffff) return -BLOCK_COUNT
  scratch[0] = after
  scratch[1] = stop
  return count
}

/** As `utf8End`, for text that is mostly ASCII, a word at a time, the last one overlapping the one before. */
export function textEnd(bytes: Uint8Array, at: number, stop: number): number {
  let p = at
  if (stop - at >= 4) {
    const view = viewOf(bytes)
    const last = stop - 4
    while (p < last && (view.getInt32(p) & HIGHS) === 0) p += 4
    if (p >= last && (view.getInt32(last) & HIGHS) === 0) return stop
  }
  return p < stop ? utf8End(bytes, p, stop) : p
}

/** `stop` when [at, stop) is UTF-8 (RFC 3629: shortest forms, no surrogates, at most U+10FFFF). */
export function utf8End(bytes: Uint8Array, at: number, stop: number): number {
  let p = at
  while (p < stop) {
    const b = bytes[p]!
    if (b < 0x80) {
      p++
      continue
    }
    if (b < 0xc2) return -UTF8
    if (b < 0xe0) {
      if (p + 2 > stop || (bytes[p + 1]! & 0xc0) !== 0x80) return -UTF8
      p += 2
    } else if (b < 0xf0) {
      if (p + 3 > stop) return -UTF8
      const second = bytes[p + 1]!
      if ((second & 0xc0) !== 0x80 || (bytes[p + 2]! & 0xc0) !== 0x80) return -UTF8
      if ((b === 0xe0 && second < 0xa0) || (b === 0xed && second >= 0xa0)) return -UTF8
      p += 3
    } else {
      if (b > 0xf4 || p + 4 > stop) return -UTF8
      const second = bytes[p + 1]!
      if ((second & 0xc0) !== 0x80 || (bytes[p + 2]! & 0xc0) !== 0x80 || (bytes[p + 3]! & 0xc0) !== 0x80)
        return -UTF8
      if ((b === 0xf0 && second < 0x90) || (b === 0xf4 && second >= 0x90)) return -UTF8
      p += 4
    }
  }
  return stop
}

/** Value of an ASCII hex digit, or -1. */
function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

/** `stop` when [at, stop) is the text of a uuid; its 16 bytes go to `slot` of `into` where one is given. */
export function uuidEnd(bytes: Uint8Array, at: number, stop: number, into?: Uint8Array, slot = 0): number {
  if (stop - at !== 36) return -UUID
  let to = slot
  for (let i = 0; i < 36; ) {
    if (i === 8 || i === 13 || i === 18 || i === 23) {
      if (bytes[at + i] !== 0x2d) return -UUID
      i++
      continue
    }
    const high = hexDigit(bytes[at + i]!)
    const low = hexDigit(bytes[at + i + 1]!)
    if (high < 0 || low < 0) return -UUID
    if (into !== undefined) into[to++] = (high << 4) | low
    i += 2
  }
  return stop
}

/** Bytes of 10^precision − 1, big-endian in 16, for precisions up to 38: what a decimal of ours can hold. */
const DECIMAL_MAXIMA: readonly Uint8Array[] = Array.from({ length: 39 }, (_, precision) => {
  const bytes = new Uint8Array(16)
  let rest = 10n ** BigInt(precision) - 1n
  for (let i = 15; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return bytes
})

/** `stop` when [at, stop) is a decimal (two's complement, big-endian) of at most `precision` digits. */
export function decimalEnd(bytes: Uint8Array, at: number, stop: number, precision: number): number {
  if (stop <= at) return -DECIMAL
  // A precision that no table holds is not bounded further than by its bytes.
  if (precision > 38) return stop
  const sign = bytes[at]! >= 0x80 ? 0xff : 0
  let p = at
  for (; stop - p > 16; p++) if (bytes[p] !== sign) return -DECIMAL
  if (stop - at > 16 && bytes[p]! >= 0x80 !== sign > 0) return -DECIMAL
  const maximum = DECIMAL_MAXIMA[precision]!
  const leading = 16 - (stop - p)
  // -m is not(m - 1): comparing the inverted bytes with the maximum allows -(maximum + 1), taken out below.
  let isGreatest = true
  for (let i = 0; i < 16; i++) {
    const byte = (i < leading ? sign : bytes[p + i - leading]!) ^ sign
    if (byte !== maximum[i]!) {
      if (byte > maximum[i]!) return -DECIMAL
      isGreatest = false
      break
    }
  }
  return isGreatest && sign !== 0 ? -DECIMAL : stop
}

/** Position after a time of day in `perDay` units, an int or a long. */
export function timeEnd(bytes: Uint8Array, at: number, end: number, perDay: number): number {
  const after = perDay > 0x7fffffff ? skipLong(bytes, at, end) : skipInt(bytes, at, end)
  if (after < 0) return after
  const value = longAt(bytes, at)
  return value < 0 || value >= perDay ? -TIME_OF_DAY : after
}
