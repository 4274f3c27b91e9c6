// Variable-length integers as Avro ("Binary Encoding"), Kafka records and Protocol Buffers write them:
// seven bits a byte, least significant first; signed values zigzag-coded.
//
// 32-bit values only need bit operations. 64-bit values are read as a double where they fit 2^53, and as
// two 32-bit halves where exactness beyond that matters; never as BigInt.

/** Bytes that zigzag-coding takes for a value in the int32 range. */
export function sizeOfZigzagInt(value: number): number {
  return sizeOfUnsigned((value << 1) ^ (value >> 31))
}

/** Bytes that an unsigned 32-bit value takes. */
export function sizeOfUnsigned(value: number): number {
  const v = value >>> 0
  return v < 0x80 ? 1 : v < 0x4000 ? 2 : v < 0x200000 ? 3 : v < 0x10000000 ? 4 : 5
}

/** Writes an unsigned 32-bit value; returns the position after it. */
export function writeUnsigned(into: Uint8Array, at: number, value: number): number {
  let v = value >>> 0
  let p = at
  while (v >= 0x80) {
    into[p++] = (v & 0x7f) | 0x80
    v >>>= 7
  }
  into[p++] = v
  return p
}

/** Writes an int32 zigzag-coded; returns the position after it. */
export function writeZigzagInt(into: Uint8Array, at: number, value: number): number {
  return writeUnsigned(into, at, (value << 1) ^ (value >> 31))
}

/** Bytes that zigzag-coding takes for a safe integer. */
export function sizeOfZigzagLong(value: number): number {
  if (value >= -0x80000000 && value <= 0x7fffffff) return sizeOfZigzagInt(value)
  let v = value < 0 ? -(value + 1) : value
  // After zigzag the magnitude has one bit more.
  let bits = 1
  while (v >= 1) {
    v /= 2
    bits++
  }
  return Math.ceil(bits / 7)
}

/** Writes a safe integer (|value| < 2^53) zigzag-coded; returns the position after it. */
export function writeZigzagLong(into: Uint8Array, at: number, value: number): number {
  if (value >= -0x40000000 && value <= 0x3fffffff)
    return writeUnsigned(into, at, (value << 1) ^ (value >> 31))
  // zigzag(v) = 2v or -2v-1, as high and low halves of 32 bits
  const m = value < 0 ? -(value + 1) : value
  let high = Math.floor(m / 0x80000000)
  let low = ((m % 0x80000000) << 1) | (value < 0 ? 1 : 0)
  let p = at
  while (high !== 0 || low >>> 0 >= 0x80) {
    into[p++] = (low & 0x7f) | 0x80
    low = (low >>> 7) | (high << 25)
    high >>>= 7
  }
  into[p++] = low
  return p
}

/**
 * A cursor over bytes for the cold paths that read varints; hot loops inline the same steps.
 * Reading past `end` sets `failed` and returns 0: one check at the end is enough.
 */
export class VarintCursor {
  bytes: Uint8Array
  at: number
  end: number
  failed = false

  constructor(bytes: Uint8Array, at = 0, end = bytes.length) {
    this.bytes = bytes
    this.at = at
    this.end = end
  }

  unsigned(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.at >= this.end) break
      const byte = this.bytes[this.at++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value >>> 0
    }
    this.failed = true
    return 0
  }

  zigzagInt(): number {
    const v = this.unsigned()
    return (v >>> 1) ^ -(v & 1)
  }

  /** A zigzag long as a double: exact while |value| <= 2^53. */
  zigzagLong(): number {
    let low = 0
    let high = 0
    for (let i = 0; i < 10; i++) {
      if (this.at >= this.end) break
      const byte = this.bytes[this.at++]!
      if (i < 4) low |= (byte & 0x7f) << (7 * i)
      else if (i === 4) {
        low |= (byte & 0x0f) << 28
        high = (byte & 0x7f) >> 4
      } else high |= (byte & 0x7f) << (7 * (i - 5) + 3)
      if (byte < 0x80) {
        const negative = low & 1
        const magnitude = (high >>> 0) * 0x80000000 + (low >>> 1)
        return negative ? -magnitude - 1 : magnitude
      }
    }
    this.failed = true
    return 0
  }
}
