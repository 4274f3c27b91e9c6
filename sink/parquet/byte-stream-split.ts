// BYTE_STREAM_SPLIT (Parquet Encodings.md) of floats and doubles: first the lowest byte of every value, then the
// second of every value, and so on; the bytes of exponents lie together, which zstd likes.
import type { PageBuffer } from './page-buffer.ts'

/** Appends values[from, to), `width` (4 or 8) bytes each. */
export function appendByteStreamSplit(
  page: PageBuffer,
  words: Int32Array,
  width: 4 | 8,
  from: number,
  to: number,
): void {
  const count = to - from
  page.reserve(count * width)
  const { bytes } = page
  const wordStep = width >> 2
  for (let word = 0; word < wordStep; word++) {
    const p0 = page.length + word * 4 * count
    const p1 = p0 + count
    const p2 = p1 + count
    const p3 = p2 + count
    for (let i = 0, at = from * wordStep + word; i < count; i++, at += wordStep) {
      const value = words[at]!
      bytes[p0 + i] = value
      bytes[p1 + i] = value >>> 8
      bytes[p2 + i] = value >>> 16
      bytes[p3 + i] = value >>> 24
    }
  }
  page.length += count * width
}
