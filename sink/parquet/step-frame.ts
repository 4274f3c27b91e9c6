// A zstd frame (RFC 8878) of the dictionary of rounded readings, written without looking for repeats: where they are is
// known. Entry k is k / 10^d, and 5^d entries on it is larger by 1 / 2^d, which a double holds exactly: within a power of
// two all bytes of the two are the same but one or two at the top.
//
//   entries    0 … step - 1    raw blocks
//              step …          stretches of entries that differ from those `step` before in the bytes [first, last]
//   stretch    a compressed block: literals, raw: those bytes of each entry; then one sequence for each entry but the last:
//              so many literals, a match of the 8 - n bytes up to the next entry's `first`, the offset used last.
//              All three alike (RLE_Mode), so a sequence takes no bit. The last entry's rest is literals
//              beyond the sequences, as are the next stretch's bytes before its `first`.
//
// An offset is used last once it was used: the first sequence of the frame, in a block of its own, spells it out.
const MAGIC = 0xfd2fb528
/** Content size in four bytes, single segment, no checksum. */
const DESCRIPTOR = 0xa0
const FRAME_HEADER_BYTES = 9
const BLOCK_BYTES_MAX = 128 * 1024
/** Headers of a block and its sections, and what the last entry and the next stretch add. */
const BLOCK_OVERHEAD_MAX = 40
const RAW_BLOCK = 0
const COMPRESSED_BLOCK = 2
/** Literals_Section_Header: Raw_Literals_Block, size in 20 bits. */
const RAW_LITERALS = 0b1100
/** Symbol_Compression_Modes: RLE_Mode for lengths of literals, offsets, lengths of matches. */
const ALL_RLE = 0b01_01_01_00
const MATCH_BYTES_MIN = 3
/** Offset code 0, value 1: the offset used last. */
const LAST_OFFSET = 0
/** Offset values up to 3 name offsets used before. */
const OFFSET_VALUE_BIAS = 3

const ENTRY_BYTES = 8
/** Entries that are compared as one. */
const GROUP_ENTRIES = 64
const STRETCH_ENTRIES_MAX = BLOCK_BYTES_MAX / ENTRY_BYTES - GROUP_ENTRIES

interface Stretch {
  from: number
  to: number
  /** Bytes that differ: `last` below `first` where it is not worth a match, and `first` is 0 then. */
  first: number
  last: number
}

let frame = new Uint8Array(1 << 16)
let at = 0

/** The frame of `count` entries of two words each; valid until the next one. `step`: 5^d. */
export function stepFrame(entries: Int32Array, count: number, step: number): Uint8Array {
  const bytes = new Uint8Array(entries.buffer, entries.byteOffset, count * ENTRY_BYTES)
  const stretches = findStretches(entries, count, step)
  const room = FRAME_HEADER_BYTES + bytes.length + (stretches.length + 3) * BLOCK_OVERHEAD_MAX
  if (frame.length < room) frame = new Uint8Array(room * 2)
  const header = new DataView(frame.buffer)
  header.setUint32(0, MAGIC, true)
  frame[4] = DESCRIPTOR
  header.setUint32(5, bytes.length, true)
  at = FRAME_HEADER_BYTES
  let offsetIsKnown = false
  for (const [i, stretch] of stretches.entries()) {
    const next = stretches[i + 1]
    const end = stretch.to * ENTRY_BYTES + (next?.first ?? 0)
    const isLast = next === undefined
    if (stretch.last < stretch.first) appendRaw(bytes, stretch.from * ENTRY_BYTES, end, isLast)
    else {
      const rest = { ...stretch }
      if (!offsetIsKnown) {
        appendStretch(bytes, { ...stretch, to: ++rest.from }, undefined, step, false)
        offsetIsKnown = true
      }
      appendStretch(bytes, rest, end, undefined, isLast)
    }
  }
  return frame.subarray(0, at)
}

function findStretches(entries: Int32Array, count: number, step: number): Stretch[] {
  const raw = Math.min(step, count)
  const stretches: Stretch[] = [{ from: 0, to: raw, first: 0, last: -1 }]
  let open = stretches[0]!
  for (let from = raw; from < count; from += GROUP_ENTRIES) {
    const to = Math.min(count, from + GROUP_ENTRIES)
    let low = 0
    let high = 0
    for (let word = 2 * from, before = word - 2 * step; word < 2 * to; word += 2, before += 2) {
      low |= entries[word]! ^ entries[before]!
      high |= entries[word + 1]! ^ entries[before + 1]!
    }
    let first = low === 0 ? 4 + lowestByte(high) : lowestByte(low)
    let last = high === 0 ? highestByte(low) : 4 + highestByte(high)
    // The split of the first sequence wants two entries; all the same is no case of a dictionary.
    if (ENTRY_BYTES - (last - first + 1) < MATCH_BYTES_MIN || to - from < 3 || (low | high) === 0) {
      first = 0
      last = -1
    }
    if (first === open.first && last === open.last && to - open.from <= STRETCH_ENTRIES_MAX) open.to = to
    else {
      open = { from, to, first, last }
      stretches.push(open)
    }
  }
  return stretches
}

/** Number of the lowest byte of a word that is not 0. */
const lowestByte = (word: number): number => (31 - Math.clz32(word & -word)) >> 3
const highestByte = (word: number): number => (31 - Math.clz32(word)) >> 3

function appendRaw(bytes: Uint8Array, from: number, to: number, isLast: boolean): void {
  for (let start = from; start < to; start += BLOCK_BYTES_MAX) {
    const end = Math.min(to, start + BLOCK_BYTES_MAX)
    append24((Number(isLast && end === to) | (RAW_BLOCK << 1) | ((end - start) << 3)) >>> 0)
    frame.set(bytes.subarray(start, end), at)
    at += end - start
  }
}

/** The entries of a stretch up to byte `end`; where there is none, up to the next one's `first`. `step`: spelt out. */
function appendStretch(
  bytes: Uint8Array,
  { from, to, first, last }: Stretch,
  end: number | undefined,
  step: number | undefined,
  isLast: boolean,
): void {
  const length = last - first + 1
  const header = at
  at += 6
  const sequences = end === undefined ? to - from : to - from - 1
  at = pick(bytes, from * ENTRY_BYTES + first, sequences, length, frame, at)
  if (end !== undefined) {
    const rest = bytes.subarray((to - 1) * ENTRY_BYTES + first, end)
    frame.set(rest, at)
    at += rest.length
  }
  put24(header + 3, RAW_LITERALS | ((at - header - 6) << 4))
  if (sequences < 0x80) frame[at++] = sequences
  else {
    frame[at++] = 0x80 | (sequences >> 8)
    frame[at++] = sequences
  }
  // The bits are read from their end, which the highest 1 marks; the value of an offset has just that form.
  const offsetValue = step === undefined ? 1 : step * ENTRY_BYTES + OFFSET_VALUE_BIAS
  frame[at++] = ALL_RLE
  frame[at++] = length
  frame[at++] = step === undefined ? LAST_OFFSET : 31 - Math.clz32(offsetValue)
  frame[at++] = ENTRY_BYTES - length - MATCH_BYTES_MIN
  for (let bits = offsetValue; bits > 0; bits >>>= 8) frame[at++] = bits
  put24(header, Number(isLast) | (COMPRESSED_BLOCK << 1) | ((at - header - 3) << 3))
}

/** Copies `length` bytes of each of `count` entries; returns where they end. */
function pick(
  bytes: Uint8Array,
  from: number,
  count: number,
  length: number,
  into: Uint8Array,
  at: number,
): number {
  let end = at
  const stop = from + count * ENTRY_BYTES
  // Nearly always it is one.
  if (length === 1) for (let start = from; start < stop; start += ENTRY_BYTES) into[end++] = bytes[start]!
  else
    for (let start = from; start < stop; start += ENTRY_BYTES)
      for (let k = start; k < start + length; k++) into[end++] = bytes[k]!
  return end
}

function append24(value: number): void {
  put24(at, value)
  at += 3
}

function put24(place: number, value: number): void {
  frame[place] = value
  frame[place + 1] = value >>> 8
  frame[place + 2] = value >>> 16
}
