// A column while it grows, and the rows that columns have in common: what every builder of column-builders.ts is.
//
// Rows are counted by scope, not by column: all columns of a table share one, the elements of each list or map
// another. A decoder writes at the scope's next row and counts it only when the row is whole, so that a failed
// row is undone by `rollback`. Validity starts as all ones: a value that is there costs nothing, a null clears
// its bit. `finish` lends the arrays without copying; `reset` begins anew on the same ones, which are warm: fresh
// arrays for every batch cost a tenth of all that becomes of its rows. They can be in shared memory, so that another
// thread reads them where they are.
import { MillraceError } from '../std/errors.ts'
import type { Column, ColumnField } from './columns.ts'

const ROWS_FIRST = 1024
/** Arrays of more than so many times the rows of the last batch are given up. */
const ROOM_MAX = 4
/** Offsets are int32. */
export const BYTES_MAX = 0x7fffffff

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

export type ColumnBase = { field: ColumnField; rowCount: number; validity: Uint8Array | undefined }
