// Which column a table has for an Avro type, and which types it has none for.

import { MillraceError } from '../std/errors.ts'
import { type AvroNode, nullableOf } from './avro-node.ts'
import { fieldPath } from './avro-schema.ts'
import type { ColumnField, ColumnType } from './columns.ts'

/** Digits that a decimal column holds (Iceberg, Arrow Decimal128). */
export const DECIMAL_PRECISION_MAX = 38

/**
 * The column of `node`. Throws `schema_invalid` with the field's path for what a table cannot hold: a union
 * other than [null, T], a type that contains itself, null alone, a record or fixed of nothing, a decimal of
 * more than 38 digits.
 */
export function columnFieldOf(node: AvroNode, name = '', path = ''): ColumnField {
  const nullable = nullableOf(node)
  if (nullable === undefined) return { name, type: columnTypeOf(node, path), nullable: false }
  return { name, type: columnTypeOf(nullable.value, path), nullable: true }
}

function columnTypeOf(node: AvroNode, path: string): ColumnType {
  const decimal = 'decimal' in node ? node.decimal : undefined
  if (decimal !== undefined) {
    if (decimal.precision > DECIMAL_PRECISION_MAX)
      throw refused(
        path,
        `a decimal of ${decimal.precision} digits: a table holds at most ${DECIMAL_PRECISION_MAX}`,
      )
    return { kind: 'decimal', precision: decimal.precision, scale: decimal.scale }
  }
  switch (node.kind) {
    case 'null':
      throw refused(path, 'null alone: a table needs a type beside it')
    case 'union':
      throw refused(path, 'a union: a table holds [null, type] only')
    case 'boolean':
    case 'float':
    case 'double':
      return { kind: node.kind }
    case 'int':
      return node.logical === undefined ? { kind: 'int' } : { kind: 'int', logical: node.logical }
    case 'long':
      return node.logical === undefined ? { kind: 'long' } : { kind: 'long', logical: node.logical }
    case 'string':
      return { kind: node.logical === 'uuid' ? 'uuid' : 'string' }
    case 'bytes':
      return { kind: 'binary' }
    case 'fixed':
      if (node.size === 0) throw refused(path, 'a fixed of no bytes')
      return node.logical === 'uuid' ? { kind: 'uuid' } : { kind: 'fixed', byteWidth: node.size }
    case 'enum':
      return { kind: 'enum', symbols: node.symbols }
    case 'array':
      return { kind: 'list', element: columnFieldOf(node.items, 'element', `${path}[]`) }
    case 'map':
      return {
        kind: 'map',
        key: { name: 'key', type: { kind: 'string' }, nullable: false },
        value: columnFieldOf(node.values, 'value', `${path}{}`),
      }
    case 'record':
      if (node.recursive) throw refused(path, `${node.name} contains itself: a table has no such column`)
      if (node.fields.length === 0) throw refused(path, `${node.name} has no fields`)
      return {
        kind: 'struct',
        fields: node.fields.map((field) =>
          columnFieldOf(field.node, field.name, fieldPath(path, field.name)),
        ),
      }
  }
}

function refused(path: string, reason: string): MillraceError {
  return new MillraceError('schema_invalid', path === '' ? reason : `field ${path}: ${reason}`, {
    path,
    reason,
  })
}
