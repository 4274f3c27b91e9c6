// Columns while they grow: typed arrays in the layout of columns.ts, filled row by row by generated decoders
// (avro-columns.ts). What they have in common stands in column-builder.ts, strings in column-builder-text.ts.
import { MillraceError } from '../std/errors.ts'
import { type ArrayKind, BYTES_MAX, type ColumnBase, ColumnBuilder, RowScope } from './column-builder.ts'
import { TextBuilder } from './column-builder-text.ts'
import type { Column, ColumnField } from './columns.ts'

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
