// The levels and values of one wanted leaf, collected from pages of several chunks and files; values lie as
// their column (schemas/columns.ts) wants them. Strings keep their dictionary while all pages have one.
import type { Column, ColumnField } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import { BinaryDictionary } from './dictionary-binary.ts'
import { CONVERT, type Conversion } from './leaf-plan.ts'
import type { Leaf } from './schema.ts'
import { Grow8, Grow32 } from './values.ts'

const DECIMAL_BYTES = 16

/** Values by layout: 1 or 2 words, `width` bytes, or strings. */
export class CollectedValues {
  count = 0
  readonly words = new Grow32()
  readonly bytes = new Grow8()
  /** Strings: value i is data[ends[i - 1], ends[i]). */
  readonly ends = new Grow32()
  dataLength = 0

  appendWords(source: Int32Array, from: number, count: number, conversion: Conversion): void {
    switch (conversion) {
      case CONVERT.WORD:
        this.words.atLeast(this.count + count).set(source.subarray(from, from + count), this.count)
        break
      case CONVERT.PAIR:
        this.words
          .atLeast(2 * (this.count + count))
          .set(source.subarray(2 * from, 2 * (from + count)), 2 * this.count)
        break
      case CONVERT.INT_TO_LONG: {
        const into = this.words.atLeast(2 * (this.count + count))
        for (let i = 0, at = 2 * this.count; i < count; i++, at += 2) {
          into[at] = source[from + i]!
          into[at + 1] = source[from + i]! >> 31
        }
        break
      }
      case CONVERT.FLOAT_TO_DOUBLE: {
        const into = this.words.atLeast(2 * (this.count + count))
        const doubles = new Float64Array(into.buffer, 0, into.length >> 1)
        const floats = new Float32Array(source.buffer, source.byteOffset, source.length)
        for (let i = 0; i < count; i++) doubles[this.count + i] = floats[from + i]!
        break
      }
      default:
        this.#appendDecimals(source, from, count, conversion === CONVERT.DECIMAL_INT64 ? 2 : 1)
    }
    this.count += count
  }

  #appendDecimals(source: Int32Array, from: number, count: number, width: 1 | 2): void {
    const into = this.bytes.atLeast(DECIMAL_BYTES * (this.count + count))
    let at = DECIMAL_BYTES * this.count
    for (let i = from * width; i < (from + count) * width; i += width) {
      for (let word = 0; word < 4; word++) {
        const value = word < width ? source[i + word]! : source[i + width - 1]! >> 31
        for (let shift = 0; shift < 32; shift += 8) into[at++] = value >> shift
      }
    }
  }

  /** `count` values of `width` bytes each. */
  appendBytes(source: Uint8Array, at: number, count: number, width: number, conversion: Conversion): void {
    if (conversion === CONVERT.DECIMAL_FIXED) {
      // Big-endian to little-endian, the sign copied to the top.
      const into = this.bytes.atLeast(DECIMAL_BYTES * (this.count + count))
      for (let i = 0; i < count; i++) {
        const first = at + i * width
        const to = DECIMAL_BYTES * (this.count + i)
        for (let k = 0; k < width; k++) into[to + k] = source[first + width - 1 - k]!
        into.fill(source[first]! & 0x80 ? 255 : 0, to + width, to + DECIMAL_BYTES)
      }
    } else
      this.bytes
        .atLeast(width * (this.count + count))
        .set(source.subarray(at, at + width * count), width * this.count)
    this.count += count
  }

  appendString(source: Uint8Array, from: number, to: number): void {
    this.ends.atLeast(this.count + 1)
    const data = this.bytes.atLeast(this.dataLength + to - from)
    if (to - from > 32) data.set(source.subarray(from, to), this.dataLength)
    else for (let k = from, at = this.dataLength; k < to; k++) data[at++] = source[k]!
    this.dataLength += to - from
    this.ends.array[this.count++] = this.dataLength
  }
}

export class LeafCollector {
  readonly leaf: Leaf
  levelCount = 0
  readonly definitions = new Grow32()
  readonly repetitions = new Grow32()
  readonly values = new CollectedValues()
  /** Strings whose pages all had dictionaries: entry of each value. */
  readonly #ids = new Grow32()
  readonly #dictionary = new BinaryDictionary()
  #coded: boolean
  #valueCount = 0
  #renumbered = new Int32Array(0)

  constructor(leaf: Leaf) {
    this.leaf = leaf
    this.#coded = leaf.field.type.kind === 'string'
  }

  /** Rows of null where the file has no such column. */
  appendAbsent(count: number): void {
    this.definitions.atLeast(this.levelCount + count).fill(0, this.levelCount, this.levelCount + count)
    this.repetitions.atLeast(this.levelCount + count).fill(0, this.levelCount, this.levelCount + count)
    this.levelCount += count
  }

  /** Values that do not come from a dictionary go to the result, once there is no dictionary any more. */
  direct(): CollectedValues {
    if (this.#coded) this.#expand()
    return this.values
  }

  /** Appends dictionary[ids[from … from + count)]. `fresh`: the dictionary is another one than last time. */
  appendIds(
    dictionary: CollectedValues,
    fresh: boolean,
    ids: Int32Array,
    from: number,
    count: number,
    conversion: Conversion,
  ): void {
    if (this.#coded) this.#appendCoded(dictionary, fresh, ids, from, count)
    else appendEntries(this.values, dictionary, ids, from, count, conversion, this.#width())
  }

  #width(): number {
    const { type } = this.leaf.field
    return type.kind === 'decimal' ? DECIMAL_BYTES : type.kind === 'boolean' ? 1 : this.leaf.fixedBytes
  }

  #appendCoded(
    dictionary: CollectedValues,
    fresh: boolean,
    ids: Int32Array,
    from: number,
    count: number,
  ): void {
    if (fresh) this.#renumbered = new Int32Array(dictionary.count).fill(-1)
    const renumbered = this.#renumbered
    const into = this.#ids.atLeast(this.#valueCount + count)
    const ends = dictionary.ends.array
    const data = dictionary.bytes.array
    for (let i = 0; i < count; i++) {
      const entry = ids[from + i]!
      if (entry >= dictionary.count) throw new RangeError('an index beyond its dictionary')
      let id = renumbered[entry]!
      if (id < 0) {
        id = this.#dictionary.intern(data, entry === 0 ? 0 : ends[entry - 1]!, ends[entry]!)
        renumbered[entry] = id
      }
      into[this.#valueCount + i] = id
    }
    this.#valueCount += count
  }

  #expand(): void {
    const { offsets, data } = this.#dictionary
    const ids = this.#ids.array
    for (let i = 0; i < this.#valueCount; i++)
      this.values.appendString(data, offsets[ids[i]!]!, offsets[ids[i]! + 1]!)
    this.#coded = false
  }

  /**
   * The column of the leaf: `rowCount` rows, of which those that `places` names (all, where undefined) hold the
   * values in their order.
   */
  finish(
    field: ColumnField,
    rowCount: number,
    validity: Uint8Array | undefined,
    places: Int32Array | undefined,
  ): Column {
    const base = { field, rowCount, validity }
    const { type } = field
    const count = this.#coded ? this.#valueCount : this.values.count
    invariant((places?.length ?? rowCount) === count, `${field.name}: ${count} values for its levels`)
    switch (type.kind) {
      case 'boolean':
        return { layout: 'words', ...base, values: spreadBytes(this.values.bytes.array, 1, rowCount, places) }
      case 'int':
        return { layout: 'words', ...base, values: spreadWords(this.values.words.array, 1, rowCount, places) }
      case 'float': {
        const words = spreadWords(this.values.words.array, 1, rowCount, places)
        return { layout: 'words', ...base, values: new Float32Array(words.buffer, 0, rowCount) }
      }
      case 'double': {
        const words = spreadWords(this.values.words.array, 2, rowCount, places)
        return { layout: 'words', ...base, values: new Float64Array(words.buffer, 0, rowCount) }
      }
      case 'long':
        return { layout: 'longs', ...base, words: spreadWords(this.values.words.array, 2, rowCount, places) }
      case 'fixed':
      case 'uuid':
      case 'decimal': {
        const byteWidth = this.#width()
        return {
          layout: 'bytes',
          ...base,
          byteWidth,
          data: spreadBytes(this.values.bytes.array, byteWidth, rowCount, places),
        }
      }
      case 'string':
      case 'binary':
        break
      default:
        invariant(false, `${type.kind} is no leaf that is read`)
    }
    if (this.#coded) {
      const { offsets, data, count: entryCount, byteLength } = this.#dictionary
      return {
        layout: 'dictionary',
        ...base,
        indices: spreadWords(this.#ids.array, 1, rowCount, places),
        dictionaryOffsets: offsets.subarray(0, entryCount + 1),
        dictionaryData: data.subarray(0, byteLength),
      }
    }
    const data = this.values.bytes.array.subarray(0, this.values.dataLength)
    return {
      layout: 'variable',
      ...base,
      offsets: spreadEnds(this.values.ends.array, rowCount, places),
      data,
    }
  }
}

function appendEntries(
  values: CollectedValues,
  dictionary: CollectedValues,
  ids: Int32Array,
  from: number,
  count: number,
  conversion: Conversion,
  width: number,
): void {
  for (let i = from; i < from + count; i++)
    if (ids[i]! >= dictionary.count || ids[i]! < 0) throw new RangeError('an index beyond its dictionary')
  const isPair =
    conversion === CONVERT.PAIR ||
    conversion === CONVERT.INT_TO_LONG ||
    conversion === CONVERT.FLOAT_TO_DOUBLE
  if (conversion === CONVERT.BINARY) {
    const ends = dictionary.ends.array
    const data = dictionary.bytes.array
    for (let i = from; i < from + count; i++) {
      const entry = ids[i]!
      values.appendString(data, entry === 0 ? 0 : ends[entry - 1]!, ends[entry]!)
    }
    return
  }
  if (isPair) {
    const source = dictionary.words.array
    const into = values.words.atLeast(2 * (values.count + count))
    for (let i = 0, at = 2 * values.count; i < count; i++, at += 2) {
      const entry = 2 * ids[from + i]!
      into[at] = source[entry]!
      into[at + 1] = source[entry + 1]!
    }
  } else if (conversion === CONVERT.WORD) {
    const source = dictionary.words.array
    const into = values.words.atLeast(values.count + count)
    for (let i = 0; i < count; i++) into[values.count + i] = source[ids[from + i]!]!
  } else {
    const source = dictionary.bytes.array
    const into = values.bytes.atLeast(width * (values.count + count))
    let at = width * values.count
    for (let i = from; i < from + count; i++)
      for (let k = 0, p = width * ids[i]!; k < width; k++) into[at++] = source[p++]!
  }
  values.count += count
}

function spreadWords(
  source: Int32Array<ArrayBuffer>,
  width: 1 | 2,
  rowCount: number,
  places: Int32Array | undefined,
): Int32Array<ArrayBuffer> {
  if (places === undefined) return source.subarray(0, width * rowCount)
  const into = new Int32Array(width * rowCount)
  for (let i = 0; i < places.length; i++) {
    const at = width * places[i]!
    into[at] = source[width * i]!
    if (width === 2) into[at + 1] = source[2 * i + 1]!
  }
  return into
}

function spreadBytes(
  source: Uint8Array,
  width: number,
  rowCount: number,
  places: Int32Array | undefined,
): Uint8Array {
  if (places === undefined) return source.subarray(0, width * rowCount)
  const into = new Uint8Array(width * rowCount)
  for (let i = 0; i < places.length; i++)
    for (let k = 0; k < width; k++) into[width * places[i]! + k] = source[width * i + k]!
  return into
}

/** Offsets of strings from their ends; a row without a value is empty. */
function spreadEnds(ends: Int32Array, rowCount: number, places: Int32Array | undefined): Int32Array {
  const offsets = new Int32Array(rowCount + 1)
  if (places === undefined) {
    offsets.set(ends.subarray(0, rowCount), 1)
    return offsets
  }
  let last = 0
  let row = 0
  for (let i = 0; i < places.length; i++) {
    while (row < places[i]!) offsets[++row] = last
    last = ends[i]!
    offsets[++row] = last
  }
  while (row < rowCount) offsets[++row] = last
  return offsets
}
