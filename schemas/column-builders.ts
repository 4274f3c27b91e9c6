// Columns while they grow: typed arrays in the layout of columns.ts, filled row by row by generated decoders
// (avro-columns.ts).
//
// Rows are counted by scope, not by column: all columns of a table share one, the elements of each list or map
// another. A decoder writes at the scope's next row and counts it only when the row is whole, so that a failed
// row is undone by `rollback`. Validity starts as all ones: a value that is there costs nothing, a null clears
// its bit. `finish` lends the arrays without copying; `reset` begins anew on the same ones, which are warm: fresh
// arrays for every batch cost a tenth of all that becomes of its rows. They can be in shared memory, so that another
// thread reads them where they are.
import { sameBytes } from '../std/copy.ts'
import { MillraceError } from '../std/errors.ts'
import { newView } from '../std/view.ts'
import type { Column, ColumnField } from './columns.ts'

const ROWS_FIRST = 1024
/** Arrays of more than so many times the rows of the last batch are given up. */
const ROOM_MAX = 4
const BYTES_FIRST = 4096
/** Offsets are int32. */
const BYTES_MAX = 0x7fffffff
/** A dictionary gives way to plain values above this many entries, unless most rows repeat one. */
const DICTIONARY_ENTRIES_CHECK = 16_384
const DICTIONARY_ENTRIES_MAX = 65_536
const DICTIONARY_BYTES_MAX = 4 << 20

export interface ArrayKind<A extends ArrayBufferView> {
  readonly BYTES_PER_ELEMENT: number
  new (length: number): A
  new (buffer: SharedArrayBuffer): A
}

/** Zeros. */
export function newArray<A extends ArrayBufferView>(
  Kind: ArrayKind<A>,
  length: number,
  isShared: boolean,
): A {
  return isShared ? new Kind(new SharedArrayBuffer(length * Kind.BYTES_PER_ELEMENT)) : new Kind(length)
}

/** Rows that columns have in common. */
export class RowScope {
  count = 0
  capacity = ROWS_FIRST
  readonly builders: ColumnBuilder[] = []
  readonly isShared: boolean

  constructor(isShared = false) {
    this.isShared = isShared
  }

  array<A extends ArrayBufferView>(Kind: ArrayKind<A>, length: number): A {
    return newArray(Kind, length, this.isShared)
  }

  /** Makes room for `rows` more. */
  reserve(rows: number): void {
    while (this.capacity - this.count < rows) this.grow()
  }

  /** Doubles the room of every column of the scope. */
  grow(): void {
    if (this.capacity >= 1 << 28)
      throw new MillraceError('internal', 'more rows than a column batch can hold')
    this.capacity *= 2
    for (const builder of this.builders) builder.resize(this.capacity)
  }

  /** Undoes what was written of row `count` and after. */
  rollback(count: number): void {
    // The row under way is not counted yet.
    const end = Math.min(this.count + 1, this.capacity)
    for (const builder of this.builders) builder.truncate(count, end)
    this.count = count
  }

  /** Drops all rows. */
  reset(): void {
    let capacity = ROWS_FIRST
    while (capacity < this.count) capacity *= 2
    this.count = 0
    if (this.capacity <= ROOM_MAX * capacity) for (const builder of this.builders) builder.clear()
    else {
      this.capacity = capacity
      for (const builder of this.builders) builder.renew(capacity)
    }
  }
}

export abstract class ColumnBuilder {
  readonly field: ColumnField
  readonly scope: RowScope
  validity: Uint8Array | undefined
  nullCount = 0

  constructor(field: ColumnField, scope: RowScope) {
    this.field = field
    this.scope = scope
    this.validity = field.nullable ? this.#ones(scope.capacity) : undefined
    scope.builders.push(this)
  }

  /** Makes `row` null; a placeholder where the column cannot be null but the struct around it is. */
  appendNull(row: number): void {
    if (this.validity !== undefined) {
      this.validity[row >> 3]! &= ~(1 << (row & 7))
      this.nullCount++
    }
    this.appendEmpty(row)
  }

  resize(capacity: number): void {
    if (this.validity !== undefined) {
      const grown = this.#ones(capacity)
      grown.set(this.validity)
      this.validity = grown
    }
    this.resizeValues(capacity)
  }

  #ones(capacity: number): Uint8Array {
    return this.scope.array(Uint8Array, capacity >> 3).fill(0xff)
  }

  truncate(count: number, end: number): void {
    if (this.validity !== undefined && this.nullCount > 0) {
      for (let row = count; row < end; row++) {
        const bit = 1 << (row & 7)
        if ((this.validity[row >> 3]! & bit) !== 0) continue
        this.validity[row >> 3]! |= bit
        this.nullCount--
      }
    }
    this.truncateValues(count)
  }

  /** No rows, in the same arrays. */
  clear(): void {
    if (this.nullCount > 0) this.validity?.fill(0xff)
    this.nullCount = 0
    this.clearValues()
  }

  /** No rows, in new arrays. */
  renew(capacity: number): void {
    if (this.validity !== undefined) this.validity = this.#ones(capacity)
    this.nullCount = 0
    this.renewValues(capacity)
    this.clearValues()
  }

  /** The same memory in the scope's kind, longer. */
  protected grown<A extends Int32Array | Uint8Array>(array: A, length: number): A {
    const next = this.scope.array(array.constructor as ArrayKind<A>, length)
    next.set(array)
    return next
  }

  finish(rowCount: number): Column {
    let validity: Uint8Array | undefined
    if (this.validity !== undefined && this.nullCount > 0) {
      validity = this.validity.subarray(0, (rowCount + 7) >> 3)
      if ((rowCount & 7) !== 0) validity[rowCount >> 3]! &= (1 << (rowCount & 7)) - 1
    }
    return this.finishValues({ field: this.field, rowCount, validity })
  }

  /** What a row without a value has in the arrays. */
  protected abstract appendEmpty(row: number): void
  protected abstract resizeValues(capacity: number): void
  protected abstract truncateValues(count: number): void
  /** Makes arrays for so many rows; what they hold does not matter. */
  protected abstract renewValues(capacity: number): void
  /** Forgets what is kept from row to row. */
  protected clearValues(): void {}
  protected abstract finishValues(base: ColumnBase): Column
}

type ColumnBase = { field: ColumnField; rowCount: number; validity: Uint8Array | undefined }

type WordArray = Uint8Array | Int32Array | Float32Array | Float64Array
/** boolean, int, enum, float, double: write `values[row]`. */
export class WordsBuilder extends ColumnBuilder {
  values: WordArray
  readonly #Words: ArrayKind<WordArray>

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    const { kind } = field.type
    this.#Words =
      kind === 'boolean'
        ? Uint8Array
        : kind === 'float'
          ? Float32Array
          : kind === 'double'
            ? Float64Array
            : Int32Array
    this.values = scope.array(this.#Words, scope.capacity)
  }

  protected appendEmpty(row: number): void {
    this.values[row] = 0
  }
  protected resizeValues(capacity: number): void {
    const next = this.scope.array(this.#Words, capacity)
    next.set(this.values as Uint8Array)
    this.values = next
  }
  protected truncateValues(): void {}
  protected renewValues(capacity: number): void {
    this.values = this.scope.array(this.#Words, capacity)
  }
  protected finishValues(base: ColumnBase): Column {
    return { layout: 'words', ...base, values: this.values.subarray(0, base.rowCount) }
  }
}

/** 64-bit integers: write `words[2 * row]` (low) and `words[2 * row + 1]` (high). */
export class LongBuilder extends ColumnBuilder {
  words: Int32Array

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    this.words = scope.array(Int32Array, 2 * scope.capacity)
  }

  protected appendEmpty(row: number): void {
    this.words[2 * row] = 0
    this.words[2 * row + 1] = 0
  }
  protected resizeValues(capacity: number): void {
    this.words = this.grown(this.words, 2 * capacity)
  }
  protected truncateValues(): void {}
  protected renewValues(capacity: number): void {
    this.words = this.scope.array(Int32Array, 2 * capacity)
  }
  protected finishValues(base: ColumnBase): Column {
    return { layout: 'longs', ...base, words: this.words.subarray(0, 2 * base.rowCount) }
  }
}

/** fixed, uuid, decimal: write `byteWidth` bytes at `byteWidth * row` of `data`. */
export class BytesBuilder extends ColumnBuilder {
  readonly byteWidth: number
  data: Uint8Array

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    this.byteWidth = field.type.kind === 'fixed' ? field.type.byteWidth : 16
    this.data = scope.array(Uint8Array, this.byteWidth * scope.capacity)
  }

  protected appendEmpty(row: number): void {
    this.data.fill(0, this.byteWidth * row, this.byteWidth * (row + 1))
  }
  protected resizeValues(capacity: number): void {
    if (this.byteWidth * capacity > BYTES_MAX)
      throw new MillraceError('internal', `column ${this.field.name} exceeds 2 GiB`)
    this.data = this.grown(this.data, this.byteWidth * capacity)
  }
  protected truncateValues(): void {}
  protected renewValues(capacity: number): void {
    this.data = this.scope.array(Uint8Array, this.byteWidth * capacity)
  }
  protected finishValues(base: ColumnBase): Column {
    const { byteWidth } = this
    return { layout: 'bytes', ...base, byteWidth, data: this.data.subarray(0, byteWidth * base.rowCount) }
  }
}

/** string and binary. Strings start as a dictionary and become plain values when too few of them repeat. */
export class TextBuilder extends ColumnBuilder {
  isDictionary: boolean
  /** Dictionary: entry of each row. */
  indices: Int32Array
  /** Plain: start and end of each row in `data`. */
  offsets: Int32Array
  data: Uint8Array
  /** Entries: `entryOffsets[i]` to `[i + 1]` of `entryData`. */
  #entryOffsets: Int32Array
  #entryData!: Uint8Array
  #entryView!: DataView
  #entryHashes = new Int32Array(256)
  #entryCount = 0
  /** Open addressing: entry + 1, 0 is free. At most half full. */
  #slots = new Int32Array(512)

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    const isString = field.type.kind === 'string'
    this.isDictionary = isString
    this.indices = scope.array(Int32Array, isString ? scope.capacity : 0)
    this.offsets = scope.array(Int32Array, isString ? 0 : scope.capacity + 1)
    this.data = scope.array(Uint8Array, isString ? 0 : BYTES_FIRST)
    this.#entryOffsets = scope.array(Int32Array, isString ? 257 : 1)
    this.#setEntryData(scope.array(Uint8Array, isString ? BYTES_FIRST : 0))
  }

  #setEntryData(data: Uint8Array): void {
    this.#entryData = data
    this.#entryView = newView(data)
  }

  /**
   * Puts the string of the row before at `row`, the next one, if it is the same as bytes[from, to): versions and states
   * come in runs. What is put so is known to be well-formed. `view` is of the same memory as `bytes`.
   */
  repeats(row: number, view: DataView, from: number, to: number): boolean {
    if (row === 0 || !this.isDictionary) return false
    const entry = this.indices[row - 1]!
    const at = this.#entryOffsets[entry]!
    const length = to - from
    if (this.#entryOffsets[entry + 1]! - at !== length || !sameBytes(view, from, this.#entryView, at, length))
      return false
    this.indices[row] = entry
    return true
  }

  /** Puts bytes[from, to) at `row`, the next one. */
  append(row: number, bytes: Uint8Array, from: number, to: number): void {
    if (this.isDictionary) {
      const entry = this.#find(bytes, from, to)
      if (entry >= 0) {
        this.indices[row] = entry
        return
      }
      if (!this.#spills(row, to - from)) {
        this.indices[row] = this.#add(bytes, from, to, ~entry)
        return
      }
      this.#spill(row)
    }
    const at = this.offsets[row]!
    const end = at + (to - from)
    if (end > this.data.length) this.data = this.#room(this.data, end)
    copy(bytes, from, to, this.data, at)
    this.offsets[row + 1] = end
  }

  /** Entry of these bytes, or ~slot where it would stand. */
  #find(bytes: Uint8Array, from: number, to: number): number {
    // FNV-1a: firmwares, states and device names are short.
    let hash = 0x811c9dc5
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
    hash ^= hash >>> 15
    const mask = this.#slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]! - 1
      if (entry < 0) {
        this.#hash = hash
        return ~slot
      }
      if (this.#entryHashes[entry] !== hash) continue
      const at = this.#entryOffsets[entry]!
      if (this.#entryOffsets[entry + 1]! - at !== to - from) continue
      let p = from
      while (p < to && this.#entryData[at + p - from] === bytes[p]) p++
      if (p === to) return entry
    }
  }
  /** Of the bytes that `#find` missed last. */
  #hash = 0

  #spills(row: number, length: number): boolean {
    const entries = this.#entryCount
    return (
      entries >= DICTIONARY_ENTRIES_MAX ||
      (entries >= DICTIONARY_ENTRIES_CHECK && entries * 4 > row) ||
      this.#entryOffsets[entries]! + length > DICTIONARY_BYTES_MAX
    )
  }

  #add(bytes: Uint8Array, from: number, to: number, slot: number): number {
    const entry = this.#entryCount++
    const at = this.#entryOffsets[entry]!
    const end = at + (to - from)
    if (end > this.#entryData.length) this.#setEntryData(this.#room(this.#entryData, end))
    copy(bytes, from, to, this.#entryData, at)
    this.#slots[slot] = entry + 1
    this.#entryHashes[entry] = this.#hash
    this.#entryOffsets[entry + 1] = end
    if (2 * this.#entryCount >= this.#slots.length) this.#rehash()
    return entry
  }

  #rehash(): void {
    this.#entryOffsets = this.grown(this.#entryOffsets, 2 * this.#entryOffsets.length - 1)
    const hashes = new Int32Array(2 * this.#entryHashes.length)
    hashes.set(this.#entryHashes)
    this.#entryHashes = hashes
    const slots = new Int32Array(2 * this.#slots.length)
    const mask = slots.length - 1
    for (let entry = 0; entry < this.#entryCount; entry++) {
      let slot = this.#entryHashes[entry]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = entry + 1
    }
    this.#slots = slots
  }

  /** Turns rows [0, row) from dictionary entries into plain values. */
  #spill(row: number): void {
    const { capacity } = this.scope
    if (this.offsets.length <= capacity) this.offsets = this.scope.array(Int32Array, capacity + 1)
    let end = 0
    for (let i = 0; i < row; i++) {
      end += this.#lengthOf(this.indices[i]!, i)
      if (end > BYTES_MAX) throw new MillraceError('internal', `column ${this.field.name} exceeds 2 GiB`)
      this.offsets[i + 1] = end
    }
    if (this.data.length < end) this.data = this.scope.array(Uint8Array, Math.max(BYTES_FIRST, 2 * end))
    for (let i = 0; i < row; i++) {
      const from = this.#entryOffsets[this.indices[i]!]!
      copy(this.#entryData, from, from + this.offsets[i + 1]! - this.offsets[i]!, this.data, this.offsets[i]!)
    }
    this.isDictionary = false
  }

  #lengthOf(entry: number, row: number): number {
    // The entry of a null row is a placeholder.
    if (this.validity !== undefined && (this.validity[row >> 3]! & (1 << (row & 7))) === 0) return 0
    return this.#entryCount === 0 ? 0 : this.#entryOffsets[entry + 1]! - this.#entryOffsets[entry]!
  }

  #room(array: Uint8Array, bytes: number): Uint8Array {
    if (bytes > BYTES_MAX) throw new MillraceError('internal', `column ${this.field.name} exceeds 2 GiB`)
    let length = Math.max(array.length, BYTES_FIRST)
    while (length < bytes) length *= 2
    return this.grown(array, Math.min(length, BYTES_MAX))
  }

  protected appendEmpty(row: number): void {
    if (this.isDictionary) {
      // A placeholder that is no null needs an entry to point at.
      if (this.#entryCount === 0) this.append(row, this.#entryData, 0, 0)
      else this.indices[row] = 0
    } else this.offsets[row + 1] = this.offsets[row]!
  }
  protected resizeValues(capacity: number): void {
    if (this.isDictionary) this.indices = this.grown(this.indices, capacity)
    else this.offsets = this.grown(this.offsets, capacity + 1)
  }
  protected truncateValues(): void {}
  protected renewValues(capacity: number): void {
    const { scope } = this
    const isString = this.field.type.kind === 'string'
    this.indices = scope.array(Int32Array, isString ? capacity : 0)
    this.offsets = scope.array(Int32Array, isString ? 0 : capacity + 1)
    this.data = scope.array(Uint8Array, isString ? 0 : BYTES_FIRST)
    this.#setEntryData(scope.array(Uint8Array, isString ? BYTES_FIRST : 0))
  }
  protected override clearValues(): void {
    this.isDictionary = this.field.type.kind === 'string'
    if (!this.isDictionary) return
    // The scope may have grown while the rows were plain.
    const { capacity } = this.scope
    if (this.indices.length < capacity) this.indices = this.scope.array(Int32Array, capacity)
    this.#entryCount = 0
    this.#slots.fill(0)
  }
  protected finishValues(base: ColumnBase): Column {
    if (!this.isDictionary) {
      const offsets = this.offsets.subarray(0, base.rowCount + 1)
      return { layout: 'variable', ...base, offsets, data: this.data.subarray(0, offsets[base.rowCount]!) }
    }
    const dictionaryOffsets = this.#entryOffsets.subarray(0, this.#entryCount + 1)
    return {
      layout: 'dictionary',
      ...base,
      indices: this.indices.subarray(0, base.rowCount),
      dictionaryOffsets,
      dictionaryData: this.#entryData.subarray(0, dictionaryOffsets[this.#entryCount]!),
    }
  }
}

/** Short copies by a loop: `set` with a view costs a view. */
function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > 64) {
    to.set(from.subarray(start, end), at)
    return
  }
  for (let p = start, q = at; p < end; p++, q++) to[q] = from[p]!
}

export class StructBuilder extends ColumnBuilder {
  readonly children: readonly ColumnBuilder[]

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    if (field.type.kind !== 'struct') throw new TypeError(field.type.kind)
    this.children = field.type.fields.map((child) => createColumnBuilder(child, scope))
  }

  protected appendEmpty(row: number): void {
    for (const child of this.children) child.appendNull(row)
  }
  // The children stand in the same scope, which sees to them itself.
  protected resizeValues(): void {}
  protected truncateValues(): void {}
  protected renewValues(): void {}
  protected finishValues(base: ColumnBase): Column {
    return { layout: 'struct', ...base, children: this.children.map((child) => child.finish(base.rowCount)) }
  }
}

/** list and map: append elements in `elements`, then write their count so far to `offsets[row + 1]`. */
export class ListBuilder extends ColumnBuilder {
  offsets: Int32Array
  readonly elements: RowScope
  /** element of a list; key, value of a map. */
  readonly children: readonly ColumnBuilder[]

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    this.elements = new RowScope(scope.isShared)
    this.offsets = scope.array(Int32Array, scope.capacity + 1)
    const { type } = field
    if (type.kind !== 'list' && type.kind !== 'map') throw new TypeError(type.kind)
    const fields = type.kind === 'list' ? [type.element] : [type.key, type.value]
    this.children = fields.map((child) => createColumnBuilder(child, this.elements))
  }

  protected appendEmpty(row: number): void {
    this.offsets[row + 1] = this.elements.count
  }
  protected resizeValues(capacity: number): void {
    this.offsets = this.grown(this.offsets, capacity + 1)
  }
  protected truncateValues(count: number): void {
    this.elements.rollback(this.offsets[count]!)
  }
  protected renewValues(capacity: number): void {
    this.offsets = this.scope.array(Int32Array, capacity + 1)
  }
  protected override clearValues(): void {
    this.elements.reset()
  }
  protected finishValues(base: ColumnBase): Column {
    const offsets = this.offsets.subarray(0, base.rowCount + 1)
    const [first, second] = this.children.map((child) => child.finish(offsets[base.rowCount]!))
    return second === undefined
      ? { layout: 'list', ...base, offsets, element: first! }
      : { layout: 'map', ...base, offsets, key: first!, value: second }
  }
}

export function createColumnBuilder(field: ColumnField, scope: RowScope): ColumnBuilder {
  switch (field.type.kind) {
    case 'long':
      return new LongBuilder(field, scope)
    case 'string':
    case 'binary':
      return new TextBuilder(field, scope)
    case 'fixed':
    case 'uuid':
    case 'decimal':
      return new BytesBuilder(field, scope)
    case 'struct':
      return new StructBuilder(field, scope)
    case 'list':
    case 'map':
      return new ListBuilder(field, scope)
    default:
      return new WordsBuilder(field, scope)
  }
}
