// Iceberg specification, "Schemas and Data Types" and "Schema Evolution": types, field ids, and how a
// schema becomes another one without touching the files written before.
//
// Columns are found by field id, never by name or place. A change is therefore legal if and only if ids
// keep their meaning:
//   add         a new id, always optional (format v2 has no default for the rows that lack it)
//   widen       int → long, float → double, decimal(P, S) → decimal(P' > P, S)
//   optional    required → optional, never back
//   rename      the same id under another name, told apart from drop + add by the new field's aliases
//   drop        the id vanishes from the schema and is never given again
//   reorder     free
// and the same inside structs, list elements and map values. Map keys never change.
import { MillraceError } from '../../std/errors.ts'

/** `boolean`, `int`, `long`, `float`, `double`, `date`, `time`, `timestamp`, `timestamptz`, `string`, `uuid`, `binary`, `fixed[L]`, `decimal(P,S)`. */
export type PrimitiveType = string

export interface StructType {
  type: 'struct'
  fields: NestedField[]
}

export interface ListType {
  type: 'list'
  'element-id': number
  element: Type
  'element-required': boolean
}

export interface MapType {
  type: 'map'
  'key-id': number
  key: Type
  'value-id': number
  value: Type
  'value-required': boolean
}

export type Type = PrimitiveType | StructType | ListType | MapType

export interface NestedField {
  id: number
  name: string
  required: boolean
  type: Type
  doc?: string
}

/** A schema as it stands in table metadata. */
export interface Schema extends StructType {
  'schema-id': number
  'identifier-field-ids'?: number[]
}

/** What a field should be; ids come from the table. */
export interface WantedField {
  name: string
  /** Former names: a column of one of these is renamed rather than dropped. */
  aliases?: readonly string[]
  doc?: string
  required: boolean
  type: WantedType
}

export type WantedType =
  | PrimitiveType
  | { kind: 'struct'; fields: readonly WantedField[] }
  | { kind: 'list'; element: WantedType; elementRequired: boolean }
  | { kind: 'map'; key: PrimitiveType; value: WantedType; valueRequired: boolean }

/** Hands out ids above the last one that the table ever gave. */
class FieldIds {
  last: number

  constructor(last: number) {
    this.last = last
  }

  next(): number {
    return ++this.last
  }
}

export interface AssignedFields {
  fields: NestedField[]
  /** Goes into `last-column-id`. */
  lastColumnId: number
}

/** Fields of a new table: ids from `lastColumnId + 1`, one level before the next, as the reference implementation numbers them. */
export function assignFieldIds(wanted: readonly WantedField[], lastColumnId = 0): AssignedFields {
  const ids = new FieldIds(lastColumnId)
  return { fields: assignFields(wanted, ids, false), lastColumnId: ids.last }
}

function assignFields(wanted: readonly WantedField[], ids: FieldIds, added: boolean): NestedField[] {
  const numbers = wanted.map(() => ids.next())
  return wanted.map((field, i) => ({
    id: numbers[i]!,
    name: field.name,
    required: field.required && !added,
    type: assignType(field.type, ids),
    ...(field.doc === undefined ? {} : { doc: field.doc }),
  }))
}

function assignType(wanted: WantedType, ids: FieldIds): Type {
  if (typeof wanted === 'string') return wanted
  switch (wanted.kind) {
    case 'struct':
      return { type: 'struct', fields: assignFields(wanted.fields, ids, false) }
    case 'list': {
      const id = ids.next()
      return {
        type: 'list',
        'element-id': id,
        element: assignType(wanted.element, ids),
        'element-required': wanted.elementRequired,
      }
    }
    case 'map': {
      const keyId = ids.next()
      const valueId = ids.next()
      return {
        type: 'map',
        'key-id': keyId,
        key: wanted.key,
        'value-id': valueId,
        value: assignType(wanted.value, ids),
        'value-required': wanted.valueRequired,
      }
    }
  }
}

/**
 * The fields that `current` must become to hold `wanted`, with ids kept. Columns that `wanted` does not
 * know are dropped where `owns(id)` says that they are ours, and kept behind the others where another
 * engine added them. Errors: `schema_incompatible` with the path of the field and both types.
 */
export function evolveFields(
  current: readonly NestedField[],
  wanted: readonly WantedField[],
  lastColumnId: number,
  owns: (fieldId: number) => boolean = () => true,
): AssignedFields {
  const ids = new FieldIds(lastColumnId)
  return { fields: evolveStruct(current, wanted, ids, '', owns), lastColumnId: ids.last }
}

function evolveStruct(
  current: readonly NestedField[],
  wanted: readonly WantedField[],
  ids: FieldIds,
  path: string,
  owns: (fieldId: number) => boolean,
): NestedField[] {
  const wantedNames = new Set(wanted.map((field) => field.name))
  const taken = new Set<number>()
  const fields: NestedField[] = []
  for (const field of wanted) {
    const match =
      current.find((one) => one.name === field.name) ??
      current.find(
        (one) => field.aliases?.includes(one.name) && !wantedNames.has(one.name) && !taken.has(one.id),
      )
    if (match === undefined) {
      fields.push(...assignFields([field], ids, true))
      continue
    }
    taken.add(match.id)
    const at = path + field.name
    const doc = field.doc ?? match.doc
    fields.push({
      id: match.id,
      name: field.name,
      required: match.required && field.required,
      type: evolveType(match.type, field.type, ids, at),
      ...(doc === undefined ? {} : { doc }),
    })
  }
  for (const field of current) {
    if (taken.has(field.id) || owns(field.id)) continue
    if (field.required)
      throw new MillraceError(
        'table_foreign',
        `column ${path}${field.name} is required and not in the contract: make it optional or drop it`,
        { field: path + field.name },
      )
    fields.push(field)
  }
  return fields
}

function evolveType(current: Type, wanted: WantedType, ids: FieldIds, path: string): Type {
  if (typeof wanted === 'string') {
    if (typeof current === 'string' && (current === wanted || canWiden(current, wanted))) return wanted
  } else if (typeof current !== 'string') {
    if (wanted.kind === 'struct' && current.type === 'struct')
      return {
        type: 'struct',
        fields: evolveStruct(current.fields, wanted.fields, ids, `${path}.`, () => true),
      }
    if (wanted.kind === 'list' && current.type === 'list')
      return {
        ...current,
        element: evolveType(current.element, wanted.element, ids, `${path}.element`),
        'element-required': current['element-required'] && wanted.elementRequired,
      }
    if (wanted.kind === 'map' && current.type === 'map' && current.key === wanted.key)
      return {
        ...current,
        value: evolveType(current.value, wanted.value, ids, `${path}.value`),
        'value-required': current['value-required'] && wanted.valueRequired,
      }
  }
  const from = printType(current)
  const to = typeof wanted === 'string' ? wanted : wanted.kind
  throw new MillraceError(
    'schema_incompatible',
    `${path}: a table column of type ${from} cannot become ${to} (Iceberg widens int to long, float to double and decimal precision, nothing else)`,
    { field: path, from, to },
  )
}

const DECIMAL = /^decimal\((\d+),\s*(\d+)\)$/

/** Whether a column of type `from` may become `to` ("Schema Evolution", type promotion in format v2). */
export function canWiden(from: PrimitiveType, to: PrimitiveType): boolean {
  if (from === 'int') return to === 'long'
  if (from === 'float') return to === 'double'
  const a = DECIMAL.exec(from)
  const b = DECIMAL.exec(to)
  return a !== null && b !== null && a[2] === b[2] && Number(b[1]) > Number(a[1])
}

function printType(type: Type): string {
  return typeof type === 'string' ? type : type.type
}

/** The highest id of the fields and all within them; 0 where there is none. */
export function highestFieldId(fields: readonly NestedField[]): number {
  return fields.reduce((highest, field) => Math.max(highest, field.id, highestIdOf(field.type)), 0)
}

function highestIdOf(type: Type): number {
  if (typeof type === 'string') return 0
  switch (type.type) {
    case 'struct':
      return highestFieldId(type.fields)
    case 'list':
      return Math.max(type['element-id'], highestIdOf(type.element))
    case 'map':
      return Math.max(type['key-id'], type['value-id'], highestIdOf(type.value))
  }
}

/** Whether two lists of fields are the same: ids, names, types, order, optionality and documentation. */
export function sameFields(a: readonly NestedField[], b: readonly NestedField[]): boolean {
  return a.length === b.length && a.every((field, i) => sameField(field, b[i]!))
}

function sameField(a: NestedField, b: NestedField): boolean {
  return (
    a.id === b.id &&
    a.name === b.name &&
    a.required === b.required &&
    a.doc === b.doc &&
    sameType(a.type, b.type)
  )
}

function sameType(a: Type, b: Type): boolean {
  if (typeof a === 'string' || typeof b === 'string') return a === b
  if (a.type === 'struct' && b.type === 'struct') return sameFields(a.fields, b.fields)
  if (a.type === 'list' && b.type === 'list')
    return (
      a['element-id'] === b['element-id'] &&
      a['element-required'] === b['element-required'] &&
      sameType(a.element, b.element)
    )
  if (a.type === 'map' && b.type === 'map')
    return (
      a['key-id'] === b['key-id'] &&
      a['value-id'] === b['value-id'] &&
      a['value-required'] === b['value-required'] &&
      sameType(a.key, b.key) &&
      sameType(a.value, b.value)
    )
  return false
}
