// From nested columns to levels (the Dremel encoding; Parquet README, "Nested Encoding").
//
// A leaf is walked from its top-level column down, one node of the path a pass, all rows in each pass. What
// is walked are slots, one for each level entry of the result:
//
//   rows[i]          row in the column of the current node, or -1 where some node above is null or empty
//   definitions[i]   levels defined so far; for rows[i] ≥ 0 it is the same for all: those of the path
//   repetitions[i]   the repeated node at which this slot repeats, 0 where it begins a row of the table
//
// A null or empty node turns its slot's row to -1; a list puts a slot for each of its elements in place.
import type { Column, ColumnBatch } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import type { Leaf } from './schema.ts'
import { Grow32 } from './values.ts'

/** Rows of a batch that go into a row group: batch rows `from` … `to` - 1, through `order` where there is one. */
export interface RowSlice {
  batch: ColumnBatch
  from: number
  to: number
  /** Row of the batch that stands at each place: a sort order that has not been applied. */
  order?: Int32Array | Uint32Array | undefined
}

/** A slice as the loops below take it: one type of array, so that they stay fast. */
export interface OrderedSlice extends RowSlice {
  order: Int32Array | undefined
}

export function orderedSlice(slice: RowSlice): OrderedSlice {
  const { order } = slice
  return {
    ...slice,
    // Row numbers are below 2^31: the same bits.
    order:
      order instanceof Uint32Array ? new Int32Array(order.buffer, order.byteOffset, order.length) : order,
  }
}

/** The column of the batch that a field's values come from, found by name; undefined: all null. */
export function columnOf(batch: ColumnBatch, index: number, name: string): Column | undefined {
  const { columns } = batch
  // The same order on both sides is the rule.
  if (columns[index]?.field.name === name) return columns[index]
  return columns.find((column) => column.field.name === name)
}

export class Shredder {
  /** Level entries of the chunk so far. */
  levelCount = 0
  /** Undefined where the leaf has no such level. */
  definitions: Int32Array | undefined
  repetitions: Int32Array | undefined
  /** What the last slice's values are: rows of `column`, `picks[0 … pickCount)`, or from `pickFrom` in sequence. */
  column: Column | undefined
  picks: Int32Array | undefined
  pickFrom = 0
  pickCount = 0

  readonly #definitions = new Grow32()
  readonly #repetitions = new Grow32()
  readonly #picks = new Grow32()
  readonly #rows = [new Grow32(), new Grow32()]
  readonly #nested = [new Grow32(), new Grow32(), new Grow32(), new Grow32()]

  reset(): void {
    this.levelCount = 0
    this.definitions = undefined
    this.repetitions = undefined
  }

  /** Appends the levels of a slice and says which values of which column belong to them. */
  append(leaf: Leaf, slice: OrderedSlice): void {
    const column = columnOf(slice.batch, leaf.fieldIndex, leaf.path[0]!)
    if (column === undefined || isEmptyDictionary(column)) this.#appendAbsent(leaf, slice.to - slice.from)
    else if (leaf.nodes.length === 1) this.#appendFlat(leaf, column, slice)
    else this.#appendNested(leaf, column, slice)
  }

  /** A column that the batch lacks, or that holds nothing: null in every row. */
  #appendAbsent(leaf: Leaf, count: number): void {
    invariant(!leaf.nodes[0]!.required, `the batch lacks the required column ${leaf.path[0]}`)
    const at = this.levelCount
    this.definitions = this.#definitions.atLeast(at + count).fill(0, at, at + count)
    if (leaf.maxRepetition > 0)
      this.repetitions = this.#repetitions.atLeast(at + count).fill(0, at, at + count)
    this.levelCount = at + count
    this.column = undefined
    this.pickCount = 0
  }

  #appendFlat(leaf: Leaf, column: Column, slice: OrderedSlice): void {
    const { from, to, order } = slice
    const count = to - from
    const { validity } = column
    const at = this.levelCount
    this.levelCount = at + count
    this.column = column
    if (leaf.maxDefinition > 0) this.definitions = this.#definitions.atLeast(at + count)
    if (validity === undefined || leaf.maxDefinition === 0) {
      if (validity !== undefined) assertNoNulls(leaf, validity, slice)
      this.definitions?.fill(1, at, at + count)
      this.picks = order === undefined ? undefined : order.subarray(from, to)
      this.pickFrom = from
      this.pickCount = count
      return
    }
    const definitions = this.definitions!
    const picks = this.#picks.atLeast(count)
    let picked = 0
    for (let i = 0; i < count; i++) {
      const row = order === undefined ? from + i : order[from + i]!
      const present = (validity[row >> 3]! >> (row & 7)) & 1
      definitions[at + i] = present
      picks[picked] = row
      picked += present
    }
    this.picks = picked === count && order === undefined ? undefined : picks
    this.pickFrom = from
    this.pickCount = picked
  }

  #appendNested(leaf: Leaf, top: Column, slice: OrderedSlice): void {
    const { from, to, order } = slice
    let count = to - from
    let rows = this.#rows[0]!.atLeast(count)
    let definitions = this.#nested[0]!.atLeast(count).fill(0, 0, count)
    let repetitions = this.#nested[1]!.atLeast(count).fill(0, 0, count)
    let turn = 0
    for (let i = 0; i < count; i++) rows[i] = order === undefined ? from + i : order[from + i]!
    let column: Column = top
    let defined = 0
    let repeated = 0
    for (const node of leaf.nodes) {
      markPresent(rows, definitions, count, column.validity, node.required, leaf)
      if (!node.required) defined++
      if (node.step === undefined) break
      if (node.step === 'struct') {
        column = childOf(column, node.childName)
        continue
      }
      invariant(column.layout === 'list' || column.layout === 'map', `${leaf.path.join('.')} is repeated`)
      const { offsets } = column
      const grown = expandedCount(rows, count, offsets)
      turn = 1 - turn
      const nextRows = this.#rows[turn]!.atLeast(grown)
      const nextDefinitions = this.#nested[turn * 2]!.atLeast(grown)
      const nextRepetitions = this.#nested[turn * 2 + 1]!.atLeast(grown)
      repeated++
      expand(
        rows,
        definitions,
        repetitions,
        count,
        offsets,
        repeated,
        nextRows,
        nextDefinitions,
        nextRepetitions,
      )
      rows = nextRows
      definitions = nextDefinitions
      repetitions = nextRepetitions
      count = grown
      defined++
      column = column.layout === 'list' ? column.element : node.step === 'key' ? column.key : column.value
    }
    this.#take(leaf, column, rows, definitions, repetitions, count, defined)
  }

  /** Appends the finished slots; those that reached the leaf are its values. */
  #take(
    leaf: Leaf,
    column: Column,
    rows: Int32Array,
    definitions: Int32Array,
    repetitions: Int32Array,
    count: number,
    defined: number,
  ): void {
    const at = this.levelCount
    const into = this.#definitions.atLeast(at + count)
    const picks = this.#picks.atLeast(count)
    let picked = 0
    for (let i = 0; i < count; i++) {
      const row = rows[i]!
      if (row < 0) into[at + i] = definitions[i]!
      else {
        into[at + i] = defined
        picks[picked++] = row
      }
    }
    if (leaf.maxDefinition > 0) this.definitions = into
    if (leaf.maxRepetition > 0) {
      this.repetitions = this.#repetitions.atLeast(at + count)
      this.repetitions.set(repetitions.subarray(0, count), at)
    }
    this.levelCount = at + count
    this.column = column
    this.picks = picks
    this.pickFrom = 0
    this.pickCount = picked
  }
}

/** A dictionary without an entry: there is no row but null ones. */
function isEmptyDictionary(column: Column): boolean {
  return column.layout === 'dictionary' && column.dictionaryOffsets.length === 1 && column.rowCount > 0
}

/** Slots whose node is null get row -1; in the others an optional node defines one level more. */
function markPresent(
  rows: Int32Array,
  definitions: Int32Array,
  count: number,
  validity: Uint8Array | undefined,
  required: boolean,
  leaf: Leaf,
): void {
  if (validity === undefined && required) return
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    if (row < 0) continue
    if (validity !== undefined && ((validity[row >> 3]! >> (row & 7)) & 1) === 0) {
      invariant(!required, `${leaf.path.join('.')}: a required field is null`)
      rows[i] = -1
    } else if (!required) definitions[i]!++
  }
}

/** Slots after a repeated node: one for each element, and one for each row that has none. */
function expandedCount(rows: Int32Array, count: number, offsets: Int32Array): number {
  let total = 0
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    const length = row < 0 ? 0 : offsets[row + 1]! - offsets[row]!
    total += length === 0 ? 1 : length
  }
  return total
}

function expand(
  rows: Int32Array,
  definitions: Int32Array,
  repetitions: Int32Array,
  count: number,
  offsets: Int32Array,
  repeated: number,
  intoRows: Int32Array,
  intoDefinitions: Int32Array,
  intoRepetitions: Int32Array,
): void {
  let at = 0
  for (let i = 0; i < count; i++) {
    const row = rows[i]!
    const start = row < 0 ? 0 : offsets[row]!
    const end = row < 0 ? 0 : offsets[row + 1]!
    intoRepetitions[at] = repetitions[i]!
    if (start === end) {
      intoRows[at] = -1
      intoDefinitions[at++] = definitions[i]!
      continue
    }
    const definition = definitions[i]! + 1
    for (let element = start; element < end; element++) {
      if (element > start) intoRepetitions[at] = repeated
      intoRows[at] = element
      intoDefinitions[at++] = definition
    }
  }
}

function childOf(column: Column, name: string): Column {
  invariant(column.layout === 'struct', `${column.field.name} is a struct`)
  const child = column.children.find((one) => one.field.name === name)
  invariant(child !== undefined, `struct ${column.field.name} has a field ${name}`)
  return child
}

function assertNoNulls(leaf: Leaf, validity: Uint8Array, slice: OrderedSlice): void {
  const { from, to, order } = slice
  for (let i = from; i < to; i++) {
    const row = order === undefined ? i : order[i]!
    invariant((validity[row >> 3]! >> (row & 7)) & 1, `${leaf.path.join('.')}: a required field is null`)
  }
}
