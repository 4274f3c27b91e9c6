// RLE/bit-packed hybrid runs, read (hybrid.ts has the format).

/** The first bits of a width. */
const MASKS = Uint32Array.from({ length: 33 }, (_, width) => (width === 32 ? 0xffff_ffff : 2 ** width - 1))

/** Reads `count` values of `width` bits from bytes[at, end) to into[0, count). Throws RangeError where the runs end early. */
export function readHybrid(
  bytes: Uint8Array,
  at: number,
  end: number,
  width: number,
  count: number,
  into: Int32Array,
): void {
  if (width > 32) throw new RangeError(`levels or indices of ${width} bits`)
  const valueBytes = (width + 7) >> 3
  let done = 0
  let p = at
  while (done < count) {
    let head = 0
    for (let shift = 0; ; shift += 7) {
      if (p >= end || shift > 28) throw new RangeError('runs of levels or indices are cut off')
      const byte = bytes[p++]!
      head |= (byte & 0x7f) << shift
      if (byte < 0x80) break
    }
    head >>>= 0
    if ((head & 1) === 0) {
      let value = 0
      for (let i = 0; i < valueBytes; i++) value |= bytes[p++]! << (8 * i)
      const stop = Math.min(count, done + (head >>> 1))
      into.fill(value, done, stop)
      done = stop
    } else {
      const packedBytes = (head >>> 1) * width
      if (p + packedBytes > end) throw new RangeError('packed levels or indices are cut off')
      const taken = Math.min(count - done, (head >>> 1) * 8)
      unpack(bytes, p, width, taken, into, done)
      done += taken
      p += packedBytes
    }
  }
}

/** Values of `width` bits, the lowest bit first, to into[to, to + count). */
export function unpack(
  bytes: Uint8Array,
  at: number,
  width: number,
  count: number,
  into: Int32Array,
  to: number,
): void {
  if (width === 0) {
    into.fill(0, to, to + count)
    return
  }
  const mask = MASKS[width]!
  let p = at
  // `held` bits of the bytes read so far that no value has taken yet; beyond 24 bits a value may need a fifth byte.
  let low = 0
  let held = 0
  for (let i = 0; i < count; i++) {
    if (width <= 24) {
      while (held < width) {
        low |= bytes[p++]! << held
        held += 8
      }
      into[to + i] = low & mask
      low >>>= width
      held -= width
    } else {
      const bit = i * width
      const first = at + (bit >> 3)
      const shift = bit & 7
      const word =
        (bytes[first]! | (bytes[first + 1]! << 8) | (bytes[first + 2]! << 16) | (bytes[first + 3]! << 24)) >>>
        0
      const upper = shift === 0 ? 0 : bytes[first + 4]! << (32 - shift)
      into[to + i] = ((word >>> shift) | upper) & mask
    }
  }
}
