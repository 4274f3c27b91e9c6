// From a column of the batch to the dense values of a chunk: rows picked, nulls left out, converted to what
// Parquet stores (schema.ts has the table). A run of rows in sequence that needs no conversion is not
// copied but viewed.
import type { Column } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import type { Leaf } from './schema.ts'
import type { Shredder } from './shred.ts'
import type { LeafValues } from './values.ts'

const encoder = new TextEncoder()
const MILLIS = 1000

/** Whether a leaf's values stay indices into a dictionary; so if and only if every slice has one. */
export function isCoded(leaf: Leaf, column: Column | undefined): boolean {
  return column === undefined || column.layout === 'dictionary' || leaf.field.type.kind === 'enum'
}

/** Appends what `picked` chose to `values`. `only`: no other slice follows or went before. */
export function gather(leaf: Leaf, picked: Shredder, values: LeafValues, only: boolean): void {
  const { column, pickCount } = picked
  if (column === undefined || pickCount === 0) return
  const picks = column.isUniform ? undefined : picked.picks
  const from = column.isUniform ? 0 : picked.pickFrom
  values.isUniform = only && column.isUniform === true && (values.kind === 'int32' || values.kind === 'int64')
  switch (values.kind) {
    case 'boolean':
      gatherBytes(wordsOf(column, leaf) as Uint8Array, 1, picks, from, pickCount, values, only)
      break
    case 'int32':
      if (leaf.field.type.kind === 'decimal')
        gatherDecimalWords(bytesOf(column, leaf), 1, picks, from, pickCount, values)
      else gatherWords(wordsOf(column, leaf), 1, picks, from, pickCount, values, only)
      break
    case 'float':
      gatherWords(wordsOf(column, leaf), 1, picks, from, pickCount, values, only)
      break
    case 'double':
      gatherWords(wordsOf(column, leaf), 2, picks, from, pickCount, values, only)
      break
    case 'int64':
      gatherInt64(leaf, column, picks, from, pickCount, values, only)
      break
    case 'fixed':
      if (leaf.field.type.kind === 'decimal')
        gatherDecimalBytes(bytesOf(column, leaf), picks, from, pickCount, values)
      else gatherBytes(bytesOf(column, leaf), values.width, picks, from, pickCount, values, only)
      break
    case 'binary':
      if (values.coded) gatherCodes(leaf, column, picks, from, pickCount, values, only)
      else gatherRanges(leaf, column, picks, from, pickCount, values, only)
  }
  values.count += pickCount
}

function wordsOf(column: Column, leaf: Leaf): Uint8Array | Int32Array | Float32Array | Float64Array {
  invariant(column.layout === 'words', `${leaf.path.join('.')} has words`)
  return column.values
}

function bytesOf(column: Column, leaf: Leaf): Uint8Array {
  invariant(column.layout === 'bytes', `${leaf.path.join('.')} has bytes`)
  return column.data
}

/** The same memory as 32-bit words. */
function asWords(array: ArrayBufferView): Int32Array {
  return array instanceof Int32Array
    ? array
    : new Int32Array(array.buffer, array.byteOffset, array.byteLength >> 2)
}

/** One or two words a value. */
function gatherWords(
  array: ArrayBufferView,
  width: 1 | 2,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
  only: boolean,
): void {
  const source = asWords(array)
  if (picks === undefined) {
    const view = source.subarray(from * width, (from + count) * width)
    if (only) values.words = view
    else values.ownWords((values.count + count) * width).set(view, values.count * width)
    return
  }
  const into = values.ownWords((values.count + count) * width)
  let at = values.count * width
  if (width === 1) for (let i = 0; i < count; i++) into[at++] = source[picks[i]!]!
  else
    for (let i = 0; i < count; i++) {
      const row = picks[i]! << 1
      into[at] = source[row]!
      into[at + 1] = source[row + 1]!
      at += 2
    }
}

function gatherInt64(
  leaf: Leaf,
  column: Column,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
  only: boolean,
): void {
  const { type } = leaf.field
  if (type.kind === 'decimal') {
    gatherDecimalWords(bytesOf(column, leaf), 2, picks, from, count, values)
    return
  }
  if (type.kind === 'int') {
    gatherTimeMillis(wordsOf(column, leaf) as Int32Array, picks, from, count, values)
    return
  }
  invariant(column.layout === 'longs', `${leaf.path.join('.')} has longs`)
  if (type.kind === 'long' && type.logical === 'timestamp-millis')
    gatherTimestampMillis(column.words, picks, from, count, values)
  else gatherWords(column.words, 2, picks, from, count, values, only)
}

function gatherTimeMillis(
  source: Int32Array,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
): void {
  const into = values.ownWords((values.count + count) * 2)
  let at = values.count * 2
  for (let i = 0; i < count; i++) {
    const micros = source[picks === undefined ? from + i : picks[i]!]! * MILLIS
    into[at] = micros
    into[at + 1] = Math.floor(micros / 0x1_0000_0000)
    at += 2
  }
}

/** High words beyond which × 1000 may leave int64: 2^63 / 1000 / 2^32, rounded to the safe side. */
const HIGH_SAFE = Math.floor(0x8000_0000 / MILLIS) - 1

function gatherTimestampMillis(
  source: Int32Array,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
): void {
  const into = values.ownWords((values.count + count) * 2)
  let at = values.count * 2
  for (let i = 0; i < count; i++) {
    const row = (picks === undefined ? from + i : picks[i]!) << 1
    // The low word's product has at most 42 bits: exact as a double; its upper part carries into the high word.
    const low = (source[row]! >>> 0) * MILLIS
    const high = source[row + 1]!
    const carry = Math.floor(low / 0x1_0000_0000)
    into[at] = low
    into[at + 1] = high * MILLIS + carry
    if (high > HIGH_SAFE || high < -HIGH_SAFE) saturate(into, at, high * MILLIS + carry, values)
    at += 2
  }
}

/** Puts the nearest int64 where high word `high` (exact, not wrapped) does not fit 32 bits. */
function saturate(into: Int32Array, at: number, high: number, values: LeafValues): void {
  if (high > 0x7fff_ffff) {
    into[at] = -1
    into[at + 1] = 0x7fff_ffff
  } else if (high < -0x8000_0000) {
    into[at] = 0
    into[at + 1] = -0x8000_0000
  } else return
  values.saturated++
}

const DECIMAL_BYTES = 16

/** Decimals of up to 18 digits: the low one or two words of the 128 bits. */
function gatherDecimalWords(
  source: Uint8Array,
  width: 1 | 2,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
): void {
  const into = values.ownWords((values.count + count) * width)
  let at = values.count * width
  for (let i = 0; i < count; i++) {
    let p = (picks === undefined ? from + i : picks[i]!) * DECIMAL_BYTES
    for (let word = 0; word < width; word++, p += 4)
      into[at++] = source[p]! | (source[p + 1]! << 8) | (source[p + 2]! << 16) | (source[p + 3]! << 24)
  }
}

/** Larger decimals: big-endian, the sign's copies at the top left out. */
function gatherDecimalBytes(
  source: Uint8Array,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
): void {
  const { width } = values
  const into = values.ownBytes((values.count + count) * width)
  let at = values.count * width
  for (let i = 0; i < count; i++) {
    const first = (picks === undefined ? from + i : picks[i]!) * DECIMAL_BYTES
    for (let p = first + width - 1; p >= first; p--) into[at++] = source[p]!
  }
}

function gatherBytes(
  source: Uint8Array,
  width: number,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
  only: boolean,
): void {
  if (picks === undefined) {
    const view = source.subarray(from * width, (from + count) * width)
    if (only) values.bytes = view
    else values.ownBytes((values.count + count) * width).set(view, values.count * width)
    return
  }
  const into = values.ownBytes((values.count + count) * width)
  let at = values.count * width
  for (let i = 0; i < count; i++) {
    const first = picks[i]! * width
    for (let p = first; p < first + width; p++) into[at++] = source[p]!
  }
}

function gatherRanges(
  leaf: Leaf,
  column: Column,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
  only: boolean,
): void {
  if (column.layout !== 'variable') {
    gatherExpanded(leaf, column, picks, from, count, values)
    return
  }
  const { offsets, data } = column
  if (only && picks === undefined) {
    values.starts = offsets.subarray(from, from + count)
    values.ends = offsets.subarray(from + 1, from + 1 + count)
    values.data = data
    return
  }
  let shift = 0
  if (only) values.data = data
  else {
    const first = offsets[0]!
    shift = values.appendData(data.subarray(first, offsets[column.rowCount]!)) - first
  }
  values.ownRanges(values.count + count)
  const { starts, ends } = values
  let at = values.count
  for (let i = 0; i < count; i++) {
    const row = picks === undefined ? from + i : picks[i]!
    starts[at] = offsets[row]! + shift
    ends[at++] = offsets[row + 1]! + shift
  }
}

/** A slice with a dictionary beside slices without: its entries become ranges. */
function gatherExpanded(
  leaf: Leaf,
  column: Column,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
): void {
  const entries = entriesOf(leaf, column)
  const shift = values.appendData(entries.data)
  values.ownRanges(values.count + count)
  const { starts, ends } = values
  let at = values.count
  for (let i = 0; i < count; i++) {
    const id = entries.indices[picks === undefined ? from + i : picks[i]!]!
    starts[at] = entries.offsets[id]! + shift
    ends[at++] = entries.offsets[id + 1]! + shift
  }
}

let renumbered = new Int32Array(0)

/** Indices into the chunk's dictionary: entries that no row uses are left out, equal ones become one. */
function gatherCodes(
  leaf: Leaf,
  column: Column,
  picks: Int32Array | undefined,
  from: number,
  count: number,
  values: LeafValues,
  only: boolean,
): void {
  const { indices, offsets, data } = entriesOf(leaf, column)
  const entryCount = offsets.length - 1
  if (renumbered.length < entryCount) renumbered = new Int32Array(entryCount * 2)
  const ids = renumbered.fill(-1, 0, entryCount)
  if (picks === undefined) for (let i = from; i < from + count; i++) ids[indices[i]!] = 0
  else for (let i = 0; i < count; i++) ids[indices[picks[i]!]!] = 0
  const { dictionary } = values
  let same = true
  for (let entry = 0; entry < entryCount; entry++) {
    if (ids[entry]! < 0) continue
    const id = dictionary.intern(data, offsets[entry]!, offsets[entry + 1]!)
    ids[entry] = id
    same &&= id === entry
  }
  if (only && same && picks === undefined) {
    values.ids = indices.subarray(from, from + count)
    return
  }
  const into = values.ownIds(values.count + count)
  let at = values.count
  if (picks === undefined) for (let i = from; i < from + count; i++) into[at++] = ids[indices[i]!]!
  else for (let i = 0; i < count; i++) into[at++] = ids[indices[picks[i]!]!]!
}

interface Entries {
  indices: Int32Array
  offsets: Int32Array
  data: Uint8Array
}

function entriesOf(leaf: Leaf, column: Column): Entries {
  if (column.layout === 'dictionary')
    return { indices: column.indices, offsets: column.dictionaryOffsets, data: column.dictionaryData }
  const { type } = column.field
  invariant(column.layout === 'words' && type.kind === 'enum', `${leaf.path.join('.')} has a dictionary`)
  const texts = type.symbols.map((symbol) => encoder.encode(symbol))
  const offsets = new Int32Array(texts.length + 1)
  texts.forEach((text, i) => {
    offsets[i + 1] = offsets[i]! + text.length
  })
  const data = new Uint8Array(offsets[texts.length]!)
  texts.forEach((text, i) => {
    data.set(text, offsets[i]!)
  })
  return { indices: column.values as Int32Array, offsets, data }
}
