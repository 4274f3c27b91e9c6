// Copies and comparisons that are faster than TypedArray's: of some to some hundred bytes, of which records and their
// fields are made, and copies into shared memory.

/** Above this `set` is faster: a call of it costs more than some hundred bytes do, views included. */
const LOOP_BYTES_MAX = 256

/**
 * Copies from[start, start + length) to `at` of `into`; the two must not overlap. At least eight bytes, in words of which the
 * last overlaps the one before: no loop over the odd bytes. Optimised code makes no BigInt of them.
 */
export function copyWords(from: DataView, start: number, length: number, into: DataView, at: number): void {
  const last = length - 8
  let i = 0
  // Two at a time: the loop's own work is a fifth of such a copy.
  for (; i < last - 8; i += 16) {
    into.setBigInt64(at + i, from.getBigInt64(start + i, true), true)
    into.setBigInt64(at + i + 8, from.getBigInt64(start + i + 8, true), true)
  }
  for (; i < last; i += 8) into.setBigInt64(at + i, from.getBigInt64(start + i, true), true)
  into.setBigInt64(at + last, from.getBigInt64(start + last, true), true)
}

/** Copies from[start, end) to `at` of `into`, which has the room. The two must not overlap. */
export function copyView(from: DataView, start: number, end: number, into: DataView, at: number): void {
  const length = end - start
  if (length > LOOP_BYTES_MAX) {
    const source = new Uint8Array(from.buffer, from.byteOffset + start, length)
    new Uint8Array(into.buffer, into.byteOffset + at, length).set(source)
  } else if (length >= 8) copyWords(from, start, length, into, at)
  else if (length >= 4) {
    into.setInt32(at, from.getInt32(start, true), true)
    into.setInt32(at + length - 4, from.getInt32(start + length - 4, true), true)
  } else for (let i = 0; i < length; i++) into.setUint8(at + i, from.getUint8(start + i))
}

/**
 * Whether a[start, start + length) and b[from, from + length) are the same bytes. By words from the end, the first one
 * overlapping the one after: ids of one fleet have their beginnings in common.
 */
export function sameBytes(a: DataView, start: number, b: DataView, from: number, length: number): boolean {
  if (length >= 8) {
    for (let i = length - 8; i > 0; i -= 8)
      if (a.getBigInt64(start + i, true) !== b.getBigInt64(from + i, true)) return false
    return a.getBigInt64(start, true) === b.getBigInt64(from, true)
  }
  if (length >= 4) {
    const last = length - 4
    if (a.getInt32(start + last, true) !== b.getInt32(from + last, true)) return false
    return a.getInt32(start, true) === b.getInt32(from, true)
  }
  for (let i = length - 1; i >= 0; i--) if (a.getUint8(start + i) !== b.getUint8(from + i)) return false
  return true
}

/** Below, `set` is as fast. */
const FILL_BYTES_MIN = 128

/**
 * Copies all of `source` to target[at, …) in shared memory. `set` has to allow for other threads there, and copies byte
 * by byte unless source and target lie alike in their words: 3.7 GB/s. A fill with as many bytes as there is room is a
 * plain memcpy, 45 GB/s for what is in the cache, and costs about 80 ns to call.
 */
export function copyShared(source: Uint8Array, target: Buffer, at: number): void {
  if (source.length >= FILL_BYTES_MIN) target.fill(source, at, at + source.length)
  else target.set(source, at)
}
