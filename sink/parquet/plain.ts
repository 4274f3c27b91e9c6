// PLAIN (Parquet Encodings.md): numbers little-endian, booleans a bit each, byte arrays behind their length.
import type { PageBuffer } from './page-buffer.ts'
import type { LeafValues } from './values.ts'

const LENGTH_BYTES = 4
/** Copying fewer bytes one by one is faster than a call. */
const LOOP_BYTES_MAX = 24

/** Appends values[from, to). */
export function appendPlain(page: PageBuffer, values: LeafValues, from: number, to: number): void {
  switch (values.kind) {
    case 'int32':
    case 'float':
      appendWords(page, values.words, from, to)
      break
    case 'int64':
    case 'double':
      appendWords(page, values.words, from * 2, to * 2)
      break
    case 'boolean':
      appendBits(page, values.bytes, from, to)
      break
    case 'fixed':
      page.append(values.bytes.subarray(from * values.width, to * values.width))
      break
    case 'binary':
      appendBinary(page, values.starts, values.ends, values.data, from, to)
  }
}

function appendWords(page: PageBuffer, words: Int32Array, from: number, to: number): void {
  page.append(new Uint8Array(words.buffer, words.byteOffset + from * 4, (to - from) * 4))
}

function appendBits(page: PageBuffer, values: Uint8Array, from: number, to: number): void {
  page.reserve((to - from + 7) >> 3)
  for (let at = from; at < to; at += 8) {
    let byte = 0
    const count = Math.min(8, to - at)
    for (let bit = 0; bit < count; bit++) byte |= values[at + bit]! << bit
    page.byte(byte)
  }
}

/** Byte arrays that are data[starts[i], ends[i]). */
export function appendBinary(
  page: PageBuffer,
  starts: Int32Array,
  ends: Int32Array,
  data: Uint8Array,
  from: number,
  to: number,
): void {
  let total = (to - from) * LENGTH_BYTES
  for (let i = from; i < to; i++) total += ends[i]! - starts[i]!
  page.reserve(total)
  const { bytes } = page
  let at = page.length
  for (let i = from; i < to; i++) {
    const start = starts[i]!
    const end = ends[i]!
    const length = end - start
    bytes[at] = length
    bytes[at + 1] = length >>> 8
    bytes[at + 2] = length >>> 16
    bytes[at + 3] = length >>> 24
    at += LENGTH_BYTES
    if (length > LOOP_BYTES_MAX) bytes.set(data.subarray(start, end), at)
    else for (let k = 0; k < length; k++) bytes[at + k] = data[start + k]!
    at += length
  }
  page.length = at
}
