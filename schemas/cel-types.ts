// The CEL types of a stream's fields, taken from its Avro schema, and how a decoded record holds their values.
//
//   Avro                          CEL                 in a decoded record (JavaScript)
//   boolean                       bool                boolean
//   int, long, date, time-*       int                 number, or bigint beyond 2^53
//   timestamp-millis, -micros     timestamp           number (or bigint) since the epoch, in the schema's unit
//   float, double                 double              number
//   string, uuid, enum            string              string (an enum's symbol)
//   bytes, fixed                  bytes               Uint8Array
//   decimal                       double (nearest)    Uint8Array, big-endian two's complement, unscaled
//   record                        record              object with the field names as keys
//   array                         list                array
//   map                           map(string, T)      Map, or object with the keys as own properties
//   ["null", T]                   T, may be null      null, or T's
//
// A field that may be null is compared with null, tested in a condition, or used: using it while it is null is
// CEL's error "no such overload", as with protobuf wrapper types.
import { type AvroNode, nullableOf, type RecordNode } from './avro-node.ts'

export type CelType =
  | {
      kind: 'bool' | 'int' | 'uint' | 'double' | 'string' | 'bytes'
      nullable?: boolean
      decimalScale?: number
    }
  | { kind: 'timestamp'; nullable?: boolean; unit?: 'millis' | 'micros' }
  | { kind: 'duration' | 'type' | 'null' | 'dyn'; nullable?: boolean }
  | { kind: 'list'; nullable?: boolean; element: CelType }
  | { kind: 'map'; nullable?: boolean; value: CelType }
  | { kind: 'record'; nullable?: boolean; fields: CelFields }

export type CelFields = ReadonlyMap<string, CelType>

/** A type in words, as messages name it. */
export function celTypeName(type: CelType): string {
  const suffix = type.nullable === true ? ' or null' : ''
  if (type.kind === 'list') return `list(${celTypeName(type.element)})${suffix}`
  if (type.kind === 'map') return `map(string, ${celTypeName(type.value)})${suffix}`
  return type.kind + suffix
}

/** Same kind of value, nullability apart. */
export function sameCelKind(left: CelType, right: CelType): boolean {
  if (left.kind !== right.kind) return false
  if (left.kind === 'list') return sameCelKind(left.element, (right as typeof left).element)
  if (left.kind === 'map') return sameCelKind(left.value, (right as typeof left).value)
  return true
}

/** Types of the fields of a record schema; empty for any other. */
export function celFieldsOf(schema: AvroNode): CelFields {
  const type = typeOf(schema, new Map())
  return type.kind === 'record' ? type.fields : new Map()
}

function typeOf(node: AvroNode, records: Map<AvroNode, CelType>): CelType {
  switch (node.kind) {
    case 'null':
    case 'string':
    case 'double':
      return { kind: node.kind }
    case 'boolean':
      return { kind: 'bool' }
    case 'int':
      return { kind: 'int' }
    case 'long':
      if (node.logical === 'timestamp-millis') return { kind: 'timestamp', unit: 'millis' }
      return node.logical === 'timestamp-micros' ? { kind: 'timestamp', unit: 'micros' } : { kind: 'int' }
    case 'float':
      return { kind: 'double' }
    case 'enum':
      return { kind: 'string' }
    case 'bytes':
    case 'fixed':
      return node.decimal === undefined
        ? { kind: 'bytes' }
        : { kind: 'double', decimalScale: node.decimal.scale }
    case 'array':
      return { kind: 'list', element: typeOf(node.items, records) }
    case 'map':
      return { kind: 'map', value: typeOf(node.values, records) }
    case 'union': {
      // Unions of several types are no columns; what is left of them here can only be passed on.
      const nullable = nullableOf(node)
      return nullable === undefined ? { kind: 'dyn' } : { ...typeOf(nullable.value, records), nullable: true }
    }
    case 'record':
      return recordType(node, records)
  }
}

function recordType(node: RecordNode, records: Map<AvroNode, CelType>): CelType {
  const known = records.get(node)
  if (known !== undefined) return known
  const fields = new Map<string, CelType>()
  const type: CelType = { kind: 'record', fields }
  // Before its fields: one of them may be the record itself.
  records.set(node, type)
  for (const field of node.fields) fields.set(field.name, typeOf(field.node, records))
  return type
}
