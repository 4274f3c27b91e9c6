// RLE/bit-packed hybrid (Parquet Encodings.md, "Run Length Encoding / Bit-Packing Hybrid"): levels and
// dictionary indices.
//
//   hybrid       run*
//   rle run      varint(count << 1), the value in ceil(width / 8) bytes, little-endian
//   packed run   varint(groups << 1 | 1), groups × 8 values of `width` bits; only the last run is padded
//
// Levels carry their byte length in front (int32), indices their width (one byte).
import { PACK_VALUES, packerOf } from './bit-pack.ts'
import type { PageBuffer } from './page-buffer.ts'

const GROUP_VALUES = 8
/** A run below this many bits of packed values costs more as a run of its own. */
const RUN_BITS_MIN = 64
const HEADER_BYTES_MAX = 5

/** Packed runs up to this are copied by a loop: between short runs of equal values there are thousands, a view for each. */
const COPIED_BYTES_MAX = 64

let packed = new Int32Array(1 << 14)
let packedBytes = new Uint8Array(packed.buffer)
const tail = new Int32Array(PACK_VALUES)

/** Appends values[from, to), each below 2^width, as runs. */
export function appendHybrid(
  page: PageBuffer,
  values: Int32Array,
  from: number,
  to: number,
  width: number,
): void {
  if (width === 0) {
    appendRun(page, 0, to - from, 0)
    return
  }
  const runMin = Math.max(GROUP_VALUES, Math.ceil(RUN_BITS_MIN / width))
  let literal = from
  let at = from
  for (;;) {
    // A run of runMin values that begins at `at` or later, but before `probe`, holds both probe - 1 and probe:
    // where these differ, all the starts between are out at once.
    const probe = at + runMin - 1
    if (probe >= to) break
    const value = values[probe]!
    if (values[probe - 1] !== value) {
      at = probe
      continue
    }
    let start = probe - 1
    while (start > at && values[start - 1] === value) start--
    let end = probe + 1
    while (end < to && values[end] === value) end++
    // A packed run holds whole groups of eight: the run lends it what is missing.
    start += (GROUP_VALUES - ((start - literal) & (GROUP_VALUES - 1))) & (GROUP_VALUES - 1)
    if (end - start >= runMin) {
      if (start > literal) appendPacked(page, values, literal, start, width)
      appendRun(page, value, end - start, width)
      literal = end
    }
    at = end
  }
  if (literal < to) appendPacked(page, values, literal, to, width)
}

/** One run of `count` equal values. */
export function appendRun(page: PageBuffer, value: number, count: number, width: number): void {
  if (count === 0) return
  page.reserve(HEADER_BYTES_MAX + 4)
  page.varint(count << 1)
  for (let bits = 0; bits < width; bits += 8) page.byte(value >>> bits)
}

function appendPacked(page: PageBuffer, values: Int32Array, from: number, to: number, width: number): void {
  const count = to - from
  const groups = (count + GROUP_VALUES - 1) >>> 3
  const blocks = Math.floor(count / PACK_VALUES)
  const rest = count - blocks * PACK_VALUES
  const words = (blocks + 1) * width
  if (packed.length < words) {
    packed = new Int32Array(words * 2)
    packedBytes = new Uint8Array(packed.buffer)
  }
  const pack = packerOf(width)
  pack(values, from, blocks, packed, 0)
  if (rest > 0) {
    tail.fill(0)
    for (let k = 0; k < rest; k++) tail[k] = values[from + blocks * PACK_VALUES + k]!
    pack(tail, 0, 1, packed, blocks * width)
  }
  const bytes = groups * width
  page.reserve(HEADER_BYTES_MAX + bytes)
  page.varint((groups << 1) | 1)
  if (bytes > COPIED_BYTES_MAX) page.append(packedBytes.subarray(0, bytes))
  else for (let i = 0; i < bytes; i++) page.byte(packedBytes[i]!)
}
