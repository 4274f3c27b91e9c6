// From levels to nested columns, the inverse of shred.ts. Each node of the tree is built from the levels of the
// first leaf below it:
//
//   slot       a row of the node's column: a level entry that repeats no deeper than the node's lists, and is defined
//              down to the nearest list above it
//   valid      the entry is defined down to the node itself
//   element    of a list: an entry that repeats at most one level deeper and is defined beyond the list
//
// The rows of a struct's children are those of the struct, null where it is null; so an optional struct makes no new
// slots, and only lists and maps do.
import type { Column, ColumnField } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import type { LeafCollector } from './leaf-collector.ts'
import type { ParquetField } from './schema.ts'

/** The columns of `fields`; `leaves` are theirs, in order. */
export function assembleColumns(fields: readonly ParquetField[], leaves: readonly LeafCollector[]): Column[] {
  const assembler = new Assembler(leaves)
  return fields.map((field) => assembler.column(field, 0, 0, 0))
}

class Assembler {
  readonly #leaves: readonly LeafCollector[]
  #next = 0

  constructor(leaves: readonly LeafCollector[]) {
    this.#leaves = leaves
  }

  /** `slotLevel`: definition level from which a slot is there; `above`: that of the parent; `repetition`: lists above. */
  column(field: ParquetField, slotLevel: number, above: number, repetition: number): Column {
    const leaf = this.#leaves[this.#next]!
    const own = above + (field.required ? 0 : 1)
    const { type } = field
    const columnField: ColumnField = { name: field.name, type, nullable: !field.required }
    if (type.kind !== 'struct' && type.kind !== 'list' && type.kind !== 'map') {
      this.#next++
      return leafColumn(leaf, columnField, slotLevel, own, repetition)
    }
    const { rowCount, validity } = slotsOf(leaf, columnField, slotLevel, own, repetition)
    const base = { field: columnField, rowCount, validity }
    const children = field.children!
    if (type.kind === 'struct')
      return {
        layout: 'struct',
        ...base,
        children: children.map((child) => this.column(child, slotLevel, own, repetition)),
      }
    const offsets = offsetsOf(leaf, rowCount, slotLevel, own + 1, repetition)
    const [first, second] = children.map((child) => this.column(child, own + 1, own + 1, repetition + 1))
    invariant(offsets[rowCount] === first!.rowCount, `elements of ${field.name}`)
    return second === undefined
      ? { layout: 'list', ...base, offsets, element: first! }
      : { layout: 'map', ...base, offsets, key: first!, value: second }
  }
}

/** Number of slots, and which are valid. */
function slotsOf(
  leaf: LeafCollector,
  field: ColumnField,
  slotLevel: number,
  own: number,
  repetition: number,
): { rowCount: number; validity: Uint8Array | undefined } {
  const definitions = leaf.definitions.array
  const repetitions = leaf.repetitions.array
  const validity = new Uint8Array((leaf.levelCount + 7) >> 3)
  let slots = 0
  let valid = 0
  for (let i = 0; i < leaf.levelCount; i++) {
    if (repetitions[i]! > repetition || definitions[i]! < slotLevel) continue
    if (definitions[i]! >= own) {
      validity[slots >> 3]! |= 1 << (slots & 7)
      valid++
    }
    slots++
  }
  const hasNulls = field.nullable && valid < slots
  return { rowCount: slots, validity: hasNulls ? validity.subarray(0, (slots + 7) >> 3) : undefined }
}

function offsetsOf(
  leaf: LeafCollector,
  rowCount: number,
  slotLevel: number,
  elementLevel: number,
  repetition: number,
): Int32Array {
  const definitions = leaf.definitions.array
  const repetitions = leaf.repetitions.array
  const offsets = new Int32Array(rowCount + 1)
  let slot = 0
  let elements = 0
  for (let i = 0; i < leaf.levelCount; i++) {
    if (repetitions[i]! <= repetition && definitions[i]! >= slotLevel) offsets[slot++] = elements
    if (repetitions[i]! <= repetition + 1 && definitions[i]! >= elementLevel) elements++
  }
  offsets[slot] = elements
  return offsets
}

function leafColumn(
  leaf: LeafCollector,
  field: ColumnField,
  slotLevel: number,
  own: number,
  repetition: number,
): Column {
  const { rowCount, validity } = slotsOf(leaf, field, slotLevel, own, repetition)
  const definitions = leaf.definitions.array
  const repetitions = leaf.repetitions.array
  let values = 0
  for (let i = 0; i < leaf.levelCount; i++) if (definitions[i]! >= own) values++
  if (values === rowCount) return leaf.finish(field, rowCount, validity, undefined)
  const places = new Int32Array(values)
  let slot = 0
  let at = 0
  for (let i = 0; i < leaf.levelCount; i++) {
    if (repetitions[i]! > repetition || definitions[i]! < slotLevel) continue
    if (definitions[i]! >= own) places[at++] = slot
    slot++
  }
  return leaf.finish(field, rowCount, validity, places)
}
