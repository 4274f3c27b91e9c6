// The columns of a table as its files hold them, from its schema alone: what compaction reads and writes.
import type { ColumnField, ColumnType } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import type { NestedField, Type } from './iceberg/schema.ts'
import type { ParquetField } from './parquet/schema.ts'

const PRIMITIVES: Readonly<Record<string, ColumnType>> = {
  boolean: { kind: 'boolean' },
  int: { kind: 'int' },
  long: { kind: 'long' },
  float: { kind: 'float' },
  double: { kind: 'double' },
  date: { kind: 'int', logical: 'date' },
  time: { kind: 'long', logical: 'time-micros' },
  timestamptz: { kind: 'long', logical: 'timestamp-micros' },
  string: { kind: 'string' },
  uuid: { kind: 'uuid' },
  binary: { kind: 'binary' },
}

/** Errors: `table_foreign` where a column has a type that Millrace does not write. */
export function tableColumns(fields: readonly NestedField[]): ParquetField[] {
  return fields.map((field) => columnOf(field.name, field.id, field.required, field.type))
}

function columnOf(name: string, fieldId: number, required: boolean, type: Type): ParquetField {
  if (typeof type === 'string') return { name, fieldId, required, type: primitiveType(name, type) }
  const children = childrenOf(type)
  return { name, fieldId, required, type: nestedType(type, children), children }
}

function childrenOf(type: Exclude<Type, string>): ParquetField[] {
  switch (type.type) {
    case 'struct':
      return tableColumns(type.fields)
    case 'list':
      return [columnOf('element', type['element-id'], type['element-required'], type.element)]
    case 'map':
      return [
        columnOf('key', type['key-id'], true, type.key),
        columnOf('value', type['value-id'], type['value-required'], type.value),
      ]
  }
}

function nestedType(type: Exclude<Type, string>, children: readonly ParquetField[]): ColumnType {
  const fields = children.map(
    (child): ColumnField => ({ name: child.name, type: child.type, nullable: !child.required }),
  )
  switch (type.type) {
    case 'struct':
      return { kind: 'struct', fields }
    case 'list':
      return { kind: 'list', element: fields[0]! }
    case 'map':
      return { kind: 'map', key: fields[0]!, value: fields[1]! }
  }
}

function primitiveType(name: string, type: string): ColumnType {
  const known = PRIMITIVES[type]
  if (known !== undefined) return known
  const decimal = /^decimal\((\d+),\s*(\d+)\)$/.exec(type)
  if (decimal !== null) return { kind: 'decimal', precision: Number(decimal[1]), scale: Number(decimal[2]) }
  const fixed = /^fixed\[(\d+)\]$/.exec(type)
  if (fixed !== null) return { kind: 'fixed', byteWidth: Number(fixed[1]) }
  throw new MillraceError('table_foreign', `column ${name} has type ${type}, which Millrace does not write`, {
    column: name,
    type,
  })
}
