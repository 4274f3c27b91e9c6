// Parquet's schema (parquet.thrift SchemaElement; LogicalTypes.md) of an Iceberg table's fields (Iceberg
// specification, Appendix A, "Parquet"), and the leaves that become column chunks.
//
//   ColumnType                      Parquet                                   conversion on writing
//   boolean                         BOOLEAN
//   int, date                       INT32 (DATE)
//   int time-millis                 INT64 TIME(MICROS, local)                 × 1000
//   long, time-micros               INT64 (TIME(MICROS, local))
//   long timestamp-millis           INT64 TIMESTAMP(MICROS, UTC)              × 1000, saturated at the ends of int64
//   long timestamp-micros           INT64 TIMESTAMP(MICROS, UTC)
//   float, double                   FLOAT, DOUBLE
//   string, enum                    BYTE_ARRAY STRING                         enum: its symbols
//   binary                          BYTE_ARRAY
//   fixed, uuid                     FIXED_LEN_BYTE_ARRAY (UUID)
//   decimal(P ≤ 9 | ≤ 18 | ≤ 38)    INT32 | INT64 | FIXED_LEN_BYTE_ARRAY      big-endian, as few bytes as P needs
//   struct                          group
//   list                            group LIST { repeated group list { element } }
//   map                             group MAP { repeated group key_value { required key; value } }
import type { ColumnType } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import { LIST_OF, type ThriftWriter } from './thrift.ts'

export interface ParquetField {
  name: string
  /** Iceberg's field id. */
  fieldId: number
  required: boolean
  type: ColumnType
  /** struct: its fields; list: [element]; map: [key, value]. */
  children?: ParquetField[]
}

/** parquet.thrift Type. */
export const TYPE = {
  BOOLEAN: 0,
  INT32: 1,
  INT64: 2,
  FLOAT: 4,
  DOUBLE: 5,
  BYTE_ARRAY: 6,
  FIXED_LEN_BYTE_ARRAY: 7,
} as const

const REQUIRED = 0
const OPTIONAL = 1
const REPEATED = 2

/** parquet.thrift ConvertedType, for readers older than LogicalType. */
const CONVERTED = {
  UTF8: 0,
  MAP: 1,
  LIST: 3,
  DECIMAL: 5,
  DATE: 6,
  TIMESTAMP_MICROS: 10,
} as const

/** Field ids of the union LogicalType. */
const LOGICAL = {
  STRING: 1,
  MAP: 2,
  LIST: 3,
  DECIMAL: 5,
  DATE: 6,
  TIME: 7,
  TIMESTAMP: 8,
  UUID: 14,
} as const

const UNIT_MICROS = 2

/** How values lie while a chunk is encoded: see values.ts. */
export type ValueKind = 'boolean' | 'int32' | 'int64' | 'float' | 'double' | 'fixed' | 'binary'

/** Comparison of `fixed` values: by unsigned bytes, or as big-endian two's complement (decimals). */
export type ByteOrder = 'unsigned' | 'signed'

/** One node on the way from a top-level column to a leaf. */
export interface PathNode {
  required: boolean
  /** What leads to the next node; undefined at the leaf. */
  step: 'struct' | 'element' | 'key' | 'value' | undefined
  /** Name of the next node where `step` is `struct`. */
  childName: string
}

export interface Leaf {
  /** Index of the top-level field. */
  fieldIndex: number
  field: ParquetField
  /** `path_in_schema`. */
  path: string[]
  nodes: PathNode[]
  maxDefinition: number
  maxRepetition: number
  physicalType: number
  kind: ValueKind
  /** Bytes of a `fixed` value, 0 otherwise. */
  fixedBytes: number
  byteOrder: ByteOrder
}

interface Primitive {
  type: number
  kind: ValueKind
  fixedBytes?: number
  byteOrder?: ByteOrder
}

/** Smallest number of bytes that hold every decimal of `precision` digits. */
export function decimalBytes(precision: number): number {
  return Math.ceil((precision * Math.log2(10) + 1) / 8)
}

const INT32_DIGITS_MAX = 9
const INT64_DIGITS_MAX = 18

function primitiveOf(type: ColumnType): Primitive {
  switch (type.kind) {
    case 'boolean':
      return { type: TYPE.BOOLEAN, kind: 'boolean' }
    case 'int':
      return type.logical === 'time-millis'
        ? { type: TYPE.INT64, kind: 'int64' }
        : { type: TYPE.INT32, kind: 'int32' }
    case 'long':
      return { type: TYPE.INT64, kind: 'int64' }
    case 'float':
      return { type: TYPE.FLOAT, kind: 'float' }
    case 'double':
      return { type: TYPE.DOUBLE, kind: 'double' }
    case 'string':
    case 'enum':
    case 'binary':
      return { type: TYPE.BYTE_ARRAY, kind: 'binary' }
    case 'fixed':
      return { type: TYPE.FIXED_LEN_BYTE_ARRAY, kind: 'fixed', fixedBytes: type.byteWidth }
    case 'uuid':
      return { type: TYPE.FIXED_LEN_BYTE_ARRAY, kind: 'fixed', fixedBytes: 16 }
    case 'decimal':
      if (type.precision <= INT32_DIGITS_MAX) return { type: TYPE.INT32, kind: 'int32' }
      if (type.precision <= INT64_DIGITS_MAX) return { type: TYPE.INT64, kind: 'int64' }
      return {
        type: TYPE.FIXED_LEN_BYTE_ARRAY,
        kind: 'fixed',
        fixedBytes: decimalBytes(type.precision),
        byteOrder: 'signed',
      }
    default:
      throw new TypeError(`${type.kind} is not a primitive type`)
  }
}

const isNested = (type: ColumnType): boolean =>
  type.kind === 'struct' || type.kind === 'list' || type.kind === 'map'

/** The leaves in the order of their column chunks. */
export function leavesOf(fields: readonly ParquetField[]): Leaf[] {
  const leaves: Leaf[] = []
  fields.forEach((field, fieldIndex) => {
    collectLeaves(field, fieldIndex, [], [], 0, 0, leaves)
  })
  return leaves
}

function collectLeaves(
  field: ParquetField,
  fieldIndex: number,
  path: string[],
  nodes: PathNode[],
  definition: number,
  repetition: number,
  into: Leaf[],
  name = field.name,
): void {
  const own = [...path, name]
  const level = definition + (field.required ? 0 : 1)
  const node = (step: PathNode['step'], childName = ''): PathNode[] => [
    ...nodes,
    { required: field.required, step, childName },
  ]
  const { kind } = field.type
  if (!isNested(field.type)) {
    const primitive = primitiveOf(field.type)
    into.push({
      fieldIndex,
      field,
      path: own,
      nodes: node(undefined),
      maxDefinition: level,
      maxRepetition: repetition,
      physicalType: primitive.type,
      kind: primitive.kind,
      fixedBytes: primitive.fixedBytes ?? 0,
      byteOrder: primitive.byteOrder ?? 'unsigned',
    })
    return
  }
  const children = field.children ?? []
  if (kind === 'struct') {
    invariant(children.length > 0, `struct ${own.join('.')} has fields`)
    for (const child of children)
      collectLeaves(child, fieldIndex, own, node('struct', child.name), level, repetition, into)
  } else if (kind === 'list') {
    invariant(children.length === 1, `list ${own.join('.')} has an element`)
    const at = [...own, 'list']
    collectLeaves(children[0]!, fieldIndex, at, node('element'), level + 1, repetition + 1, into, 'element')
  } else {
    invariant(children.length === 2 && children[0]!.required, `map ${own.join('.')} has key and value`)
    const at = [...own, 'key_value']
    collectLeaves(children[0]!, fieldIndex, at, node('key'), level + 1, repetition + 1, into, 'key')
    collectLeaves(children[1]!, fieldIndex, at, node('value'), level + 1, repetition + 1, into, 'value')
  }
}

/** SchemaElements below the root, the root included. */
function elementCount(fields: readonly ParquetField[]): number {
  let count = 1
  for (const field of fields) {
    const repeatedGroup = field.type.kind === 'list' || field.type.kind === 'map' ? 1 : 0
    count += repeatedGroup + (isNested(field.type) ? elementCount(field.children ?? []) : 1)
  }
  return count
}

/** The list of SchemaElements, depth first, as `field` of the struct that is open. */
export function writeSchema(out: ThriftWriter, field: number, fields: readonly ParquetField[]): void {
  out.list(field, LIST_OF.struct, elementCount(fields))
  out.structElement()
  out.string(4, 'table')
  out.i32(5, fields.length)
  out.end()
  for (const one of fields) writeElement(out, one, one.name)
}

function writeElement(out: ThriftWriter, field: ParquetField, name: string): void {
  const { type } = field
  const repetition = field.required ? REQUIRED : OPTIONAL
  const children = field.children ?? []
  out.structElement()
  switch (type.kind) {
    case 'struct':
      out.i32(3, repetition)
      out.string(4, name)
      out.i32(5, children.length)
      out.i32(9, field.fieldId)
      out.end()
      for (const child of children) writeElement(out, child, child.name)
      return
    case 'list':
    case 'map': {
      const isList = type.kind === 'list'
      out.i32(3, repetition)
      out.string(4, name)
      out.i32(5, 1)
      out.i32(6, isList ? CONVERTED.LIST : CONVERTED.MAP)
      out.i32(9, field.fieldId)
      out.struct(10)
      out.struct(isList ? LOGICAL.LIST : LOGICAL.MAP)
      out.end()
      out.end()
      out.end()
      out.structElement()
      out.i32(3, REPEATED)
      out.string(4, isList ? 'list' : 'key_value')
      out.i32(5, children.length)
      out.end()
      if (isList) writeElement(out, children[0]!, 'element')
      else {
        writeElement(out, children[0]!, 'key')
        writeElement(out, children[1]!, 'value')
      }
      return
    }
    default: {
      const primitive = primitiveOf(type)
      out.i32(1, primitive.type)
      if (primitive.fixedBytes !== undefined) out.i32(2, primitive.fixedBytes)
      out.i32(3, repetition)
      out.string(4, name)
      writeAnnotations(out, type, field.fieldId)
      out.end()
    }
  }
}

/** ConvertedType, scale, precision, field id and LogicalType of a primitive, in the order of their ids. */
function writeAnnotations(out: ThriftWriter, type: ColumnType, fieldId: number): void {
  const logical = 'logical' in type ? type.logical : undefined
  if (type.kind === 'string' || type.kind === 'enum') out.i32(6, CONVERTED.UTF8)
  else if (type.kind === 'decimal') {
    out.i32(6, CONVERTED.DECIMAL)
    out.i32(7, type.scale)
    out.i32(8, type.precision)
  } else if (logical === 'date') out.i32(6, CONVERTED.DATE)
  else if (logical === 'timestamp-millis' || logical === 'timestamp-micros')
    out.i32(6, CONVERTED.TIMESTAMP_MICROS)
  // TIME_MICROS has no ConvertedType: the legacy one means UTC, and Iceberg's times are local.
  out.i32(9, fieldId)
  if (type.kind === 'string' || type.kind === 'enum') writeLogical(out, LOGICAL.STRING)
  else if (type.kind === 'uuid') writeLogical(out, LOGICAL.UUID)
  else if (type.kind === 'decimal') {
    out.struct(10)
    out.struct(LOGICAL.DECIMAL)
    out.i32(1, type.scale)
    out.i32(2, type.precision)
    out.end()
    out.end()
  } else if (logical === 'date') writeLogical(out, LOGICAL.DATE)
  else if (logical !== undefined) {
    const isTime = logical === 'time-millis' || logical === 'time-micros'
    out.struct(10)
    out.struct(isTime ? LOGICAL.TIME : LOGICAL.TIMESTAMP)
    out.boolean(1, !isTime)
    out.struct(2)
    out.struct(UNIT_MICROS)
    out.end()
    out.end()
    out.end()
    out.end()
  }
}

function writeLogical(out: ThriftWriter, id: number): void {
  out.struct(10)
  out.struct(id)
  out.end()
  out.end()
}
