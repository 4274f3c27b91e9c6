// Smallest and largest value, and NaNs, of a page, a chunk or a file (parquet.thrift Statistics and
// ColumnOrder; Iceberg specification, Appendix D, "Single-value serialization").
//
//   order            signed for numbers, unsigned bytes for binary, string, uuid and fixed, signed
//                    big-endian for decimals
//   NaN              counted, never a bound
//   zero             a smallest 0 is written -0.0 and a largest -0.0 is written 0, as parquet.thrift asks: a
//                    reader may compare either way
//   long text        Parquet's bounds are cut to 64 code points (or bytes), Iceberg's to 16: the lower one
//                    is a prefix, the upper one a prefix whose last code point (or byte) is one more
import type { Leaf } from './schema.ts'
import { truncateBinaryUpper, truncateTextLower, truncateTextUpper } from './truncate.ts'
import { Grow32, type LeafValues } from './values.ts'

const ICEBERG_LENGTH_MAX = 16
const PARQUET_LENGTH_MAX = 64
/** Bytes kept of a value of any length: one code point more than a bound can have. */
const KEPT_BYTES = (PARQUET_LENGTH_MAX + 1) * 4

const seen = new Grow32()
let seenStamp = 0

export interface ParquetBounds {
  min: Uint8Array
  max: Uint8Array | undefined
  minExact: boolean
  maxExact: boolean
}

/** Bounds of some values of one leaf. */
export class ValueRange {
  /** Whether there is any value but NaN. */
  present = false
  nanCount = 0
  /** int32, float, double, boolean. */
  min = 0
  max = 0
  /** int64. */
  minLow = 0
  minHigh = 0
  maxLow = 0
  maxHigh = 0
  /** fixed, binary: of long values the first bytes, more than any bound takes. */
  minBytes: Uint8Array = new Uint8Array(0)
  maxBytes: Uint8Array = new Uint8Array(0)
  /** uuid: byte 8 of all values, and-ed and or-ed; see icebergBounds. */
  and8 = 0xff
  or8 = 0

  readonly leaf: Leaf

  constructor(leaf: Leaf) {
    this.leaf = leaf
  }

  /** Takes in values[from, to); a fresh range expected. */
  scan(values: LeafValues, from: number, to: number): void {
    if (from === to) return
    switch (values.kind) {
      case 'int32':
        this.#scanInt32(values.words, from, to)
        break
      case 'boolean':
        this.#scanBoolean(values.bytes, from, to)
        break
      case 'float': {
        const { words } = values
        this.#scanFloating(new Float32Array(words.buffer, words.byteOffset, words.length), from, to)
        break
      }
      case 'double': {
        const { words } = values
        this.#scanFloating(new Float64Array(words.buffer, words.byteOffset, words.length >> 1), from, to)
        break
      }
      case 'int64':
        this.#scanInt64(values.words, from, to)
        break
      case 'fixed':
        this.#scanFixed(values.bytes, values.width, from, to)
        break
      case 'binary':
        if (values.coded) this.#scanCodes(values, from, to)
        else this.#scanBinary(values.starts, values.ends, values.data, from, to)
    }
  }

  #scanInt32(words: Int32Array, from: number, to: number): void {
    let min = words[from]!
    let max = min
    for (let i = from + 1; i < to; i++) {
      const value = words[i]!
      if (value < min) min = value
      else if (value > max) max = value
    }
    this.min = min
    this.max = max
    this.present = true
  }

  #scanBoolean(bytes: Uint8Array, from: number, to: number): void {
    let ones = 0
    for (let i = from; i < to; i++) ones += bytes[i]!
    this.min = ones === to - from ? 1 : 0
    this.max = ones === 0 ? 0 : 1
    this.present = true
  }

  #scanFloating(array: Float32Array | Float64Array, from: number, to: number): void {
    let first = from
    // biome-ignore lint/suspicious/noSelfCompare: true of NaN alone
    while (first < to && array[first]! !== array[first]!) first++
    let nans = first - from
    this.nanCount = nans
    if (first === to) return
    let min = array[first]!
    let max = min
    for (let i = first; i < to; i++) {
      const value = array[i]!
      // NaN fails every comparison: nearly all values are found to be numbers and within the bounds at once.
      if (value >= min && value <= max) continue
      if (value < min) min = value
      else if (value > max) max = value
      else nans++
    }
    this.nanCount = nans
    this.min = min
    this.max = max
    this.present = true
  }

  #scanInt64(words: Int32Array, from: number, to: number): void {
    let minLow = words[from * 2]!
    let minHigh = words[from * 2 + 1]!
    let maxLow = minLow
    let maxHigh = minHigh
    for (let at = from * 2 + 2, end = to * 2; at < end; at += 2) {
      const low = words[at]!
      const high = words[at + 1]!
      if (high < minHigh || (high === minHigh && low >>> 0 < minLow >>> 0)) {
        minLow = low
        minHigh = high
      } else if (high > maxHigh || (high === maxHigh && low >>> 0 > maxLow >>> 0)) {
        maxLow = low
        maxHigh = high
      }
    }
    this.minLow = minLow
    this.minHigh = minHigh
    this.maxLow = maxLow
    this.maxHigh = maxHigh
    this.present = true
  }

  #scanFixed(bytes: Uint8Array, width: number, from: number, to: number): void {
    const signed = this.leaf.byteOrder === 'signed'
    let min = from * width
    let max = min
    for (let at = min, end = to * width; at < end; at += width) {
      if (compareFixed(bytes, at, bytes, min, width, signed) < 0) min = at
      else if (compareFixed(bytes, at, bytes, max, width, signed) > 0) max = at
      if (width > 8) {
        this.and8 &= bytes[at + 8]!
        this.or8 |= bytes[at + 8]!
      }
    }
    this.minBytes = bytes.slice(min, min + width)
    this.maxBytes = bytes.slice(max, max + width)
    this.present = true
  }

  #scanBinary(starts: Int32Array, ends: Int32Array, data: Uint8Array, from: number, to: number): void {
    let min = from
    let max = from
    for (let i = from + 1; i < to; i++) {
      if (compareRanges(data, starts[i]!, ends[i]!, starts[min]!, ends[min]!) < 0) min = i
      else if (compareRanges(data, starts[i]!, ends[i]!, starts[max]!, ends[max]!) > 0) max = i
    }
    this.minBytes = keep(data, starts[min]!, ends[min]!)
    this.maxBytes = keep(data, starts[max]!, ends[max]!)
    this.present = true
  }

  /** Each entry of the dictionary is compared once, however many rows have it. */
  #scanCodes(values: LeafValues, from: number, to: number): void {
    const { ids, dictionary } = values
    const { offsets, data } = dictionary
    const marks = seen.atLeast(dictionary.count)
    const stamp = ++seenStamp
    let min = ids[from]!
    let max = min
    let last = -1
    // A few states are soon all seen.
    let unseen = dictionary.count
    for (let i = from; i < to && unseen > 0; i++) {
      const id = ids[i]!
      if (id === last) continue
      last = id
      if (marks[id] === stamp) continue
      marks[id] = stamp
      unseen--
      if (compareRanges(data, offsets[id]!, offsets[id + 1]!, offsets[min]!, offsets[min + 1]!) < 0) min = id
      else if (compareRanges(data, offsets[id]!, offsets[id + 1]!, offsets[max]!, offsets[max + 1]!) > 0)
        max = id
    }
    this.minBytes = keep(data, offsets[min]!, offsets[min + 1]!)
    this.maxBytes = keep(data, offsets[max]!, offsets[max + 1]!)
    this.present = true
  }

  /** Widens this range to hold the other one, of the same leaf. */
  merge(other: ValueRange): void {
    this.nanCount += other.nanCount
    this.and8 &= other.and8
    this.or8 |= other.or8
    if (!other.present) return
    if (!this.present || this.compareMin(other) > 0) {
      this.min = other.min
      this.minLow = other.minLow
      this.minHigh = other.minHigh
      this.minBytes = other.minBytes
    }
    if (!this.present || this.compareMax(other) < 0) {
      this.max = other.max
      this.maxLow = other.maxLow
      this.maxHigh = other.maxHigh
      this.maxBytes = other.maxBytes
    }
    this.present = true
  }

  /** Sign of this smallest value minus the other's; both present. */
  compareMin(other: ValueRange): number {
    return this.#compare(
      this.min,
      this.minLow,
      this.minHigh,
      this.minBytes,
      other.min,
      other.minLow,
      other.minHigh,
      other.minBytes,
    )
  }

  compareMax(other: ValueRange): number {
    return this.#compare(
      this.max,
      this.maxLow,
      this.maxHigh,
      this.maxBytes,
      other.max,
      other.maxLow,
      other.maxHigh,
      other.maxBytes,
    )
  }

  #compare(
    a: number,
    aLow: number,
    aHigh: number,
    aBytes: Uint8Array,
    b: number,
    bLow: number,
    bHigh: number,
    bBytes: Uint8Array,
  ): number {
    switch (this.leaf.kind) {
      case 'int64':
        return aHigh !== bHigh ? aHigh - bHigh : (aLow >>> 0) - (bLow >>> 0)
      case 'fixed':
        return compareFixed(aBytes, 0, bBytes, 0, aBytes.length, this.leaf.byteOrder === 'signed')
      case 'binary':
        return Buffer.compare(aBytes, bBytes)
      default:
        return a < b ? -1 : a > b ? 1 : 0
    }
  }

  /**
   * Bounds as Parquet's statistics have them: PLAIN values, binary without its length. No `max` where none of 64
   * code points (or bytes) exists.
   */
  parquetBounds(): ParquetBounds {
    if (this.leaf.kind !== 'binary')
      return { min: this.#number(true), max: this.#number(false), minExact: true, maxExact: true }
    const min = this.#lower(PARQUET_LENGTH_MAX)
    const max = this.#upper(PARQUET_LENGTH_MAX)
    return {
      min,
      max,
      minExact: min.length === this.minBytes.length,
      maxExact: max !== undefined && Buffer.compare(max, this.maxBytes) === 0,
    }
  }

  /**
   * Bounds in Iceberg's single-value serialization; undefined where there is none: no value but NaN, or no
   * upper bound of 16 code points exists.
   */
  icebergBounds(): { lower: Uint8Array | undefined; upper: Uint8Array | undefined } {
    if (!this.present) return { lower: undefined, upper: undefined }
    const { kind, field } = this.leaf
    if (kind === 'binary')
      return { lower: this.#lower(ICEBERG_LENGTH_MAX), upper: this.#upper(ICEBERG_LENGTH_MAX) }
    const lower = this.#number(true)
    const upper = this.#number(false)
    if (field.type.kind === 'decimal')
      return { lower: decimalBound(lower, kind !== 'fixed'), upper: decimalBound(upper, kind !== 'fixed') }
    // Java compares the two halves of a UUID signed, the specification unsigned: bounds only where both agree.
    if (field.type.kind === 'uuid' && ((lower[0]! ^ upper[0]!) & 0x80 || (this.and8 ^ this.or8) & 0x80))
      return { lower: undefined, upper: undefined }
    return { lower, upper }
  }

  #lower(lengthMax: number): Uint8Array {
    return this.leaf.field.type.kind === 'binary'
      ? this.minBytes.slice(0, lengthMax)
      : truncateTextLower(this.minBytes, lengthMax)
  }

  #upper(lengthMax: number): Uint8Array | undefined {
    return this.leaf.field.type.kind === 'binary'
      ? truncateBinaryUpper(this.maxBytes, lengthMax)
      : truncateTextUpper(this.maxBytes, lengthMax)
  }

  /** A bound of any kind but binary, as PLAIN has it. */
  #number(isMin: boolean): Uint8Array {
    const value = isMin ? this.min : this.max
    switch (this.leaf.kind) {
      case 'boolean':
        return Uint8Array.of(value)
      case 'int32':
        return new Uint8Array(Int32Array.of(value).buffer)
      case 'float':
        return new Uint8Array(Float32Array.of(signedZero(value, isMin)).buffer)
      case 'double':
        return new Uint8Array(Float64Array.of(signedZero(value, isMin)).buffer)
      case 'int64':
        return new Uint8Array(
          (isMin ? Int32Array.of(this.minLow, this.minHigh) : Int32Array.of(this.maxLow, this.maxHigh))
            .buffer,
        )
      default:
        return isMin ? this.minBytes : this.maxBytes
    }
  }
}

const signedZero = (value: number, isMin: boolean): number => (value === 0 ? (isMin ? -0 : 0) : value)

/** Big-endian two's complement in as few bytes as it needs. */
function decimalBound(bytes: Uint8Array, littleEndian: boolean): Uint8Array {
  const big = littleEndian ? bytes.toReversed() : bytes
  let from = 0
  while (from < big.length - 1) {
    const negative = big[from + 1]! & 0x80
    if (!(big[from] === 0 && negative === 0) && !(big[from] === 0xff && negative !== 0)) break
    from++
  }
  return big.slice(from)
}

function keep(data: Uint8Array, start: number, end: number): Uint8Array {
  return data.slice(start, Math.min(end, start + KEPT_BYTES))
}

function compareFixed(
  a: Uint8Array,
  aAt: number,
  b: Uint8Array,
  bAt: number,
  width: number,
  signed: boolean,
): number {
  const flip = signed ? 0x80 : 0
  let difference = (a[aAt]! ^ flip) - (b[bAt]! ^ flip)
  for (let i = 1; i < width && difference === 0; i++) difference = a[aAt + i]! - b[bAt + i]!
  return difference
}

function compareRanges(data: Uint8Array, aFrom: number, aTo: number, bFrom: number, bTo: number): number {
  const common = Math.min(aTo - aFrom, bTo - bFrom)
  for (let i = 0; i < common; i++) {
    const difference = data[aFrom + i]! - data[bFrom + i]!
    if (difference !== 0) return difference
  }
  return aTo - aFrom - (bTo - bFrom)
}
