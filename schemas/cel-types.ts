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

interface AvroNode {
  type: unknown
  logicalType?: string
  scale?: number
  name?: string
  namespace?: string
  fields?: { name: string; type: unknown }[]
  items?: unknown
  values?: unknown
}

/** Types of the top-level fields of a record schema (Avro JSON, parsed or as text; must be valid Avro). */
export function celFieldsOf(schema: unknown): CelFields {
  const parsed = typeof schema === 'string' && schema.startsWith('{') ? JSON.parse(schema) : schema
  const type = typeOf(parsed, new Map(), '')
  return type.kind === 'record' ? type.fields : new Map()
}

function typeOf(schema: unknown, named: Map<string, CelType>, namespace: string): CelType {
  if (Array.isArray(schema)) {
    const others = schema.filter((branch) => branch !== 'null')
    // Unions of several types are no columns; a schema that has one is refused before it comes here.
    if (others.length !== 1) return others.length === 0 ? { kind: 'null' } : { kind: 'dyn' }
    const type = typeOf(others[0], named, namespace)
    return others.length === schema.length ? type : { ...type, nullable: true }
  }
  if (typeof schema === 'string') {
    const known = named.get(schema.includes('.') ? schema : join(namespace, schema)) ?? named.get(schema)
    return known ?? primitive(schema)
  }
  const node = schema as AvroNode
  switch (node.type) {
    case 'record':
      return recordType(node, named, namespace)
    case 'array':
      return { kind: 'list', element: typeOf(node.items, named, namespace) }
    case 'map':
      return { kind: 'map', value: typeOf(node.values, named, namespace) }
    case 'enum':
      return remember(node, named, namespace, { kind: 'string' })
    case 'fixed':
      return remember(node, named, namespace, logicalType(node, { kind: 'bytes' }))
  }
  return logicalType(node, typeOf(node.type, named, namespace))
}

function recordType(node: AvroNode, named: Map<string, CelType>, namespace: string): CelType {
  const fields = new Map<string, CelType>()
  const type: CelType = { kind: 'record', fields }
  const inner = namespaceOf(node, namespace)
  remember(node, named, namespace, type)
  for (const field of node.fields ?? []) fields.set(field.name, typeOf(field.type, named, inner))
  return type
}

function logicalType(node: AvroNode, base: CelType): CelType {
  switch (node.logicalType) {
    case 'timestamp-millis':
      return base.kind === 'int' ? { kind: 'timestamp', unit: 'millis' } : base
    case 'timestamp-micros':
      return base.kind === 'int' ? { kind: 'timestamp', unit: 'micros' } : base
    case 'decimal':
      return base.kind === 'bytes' ? { kind: 'double', decimalScale: node.scale ?? 0 } : base
  }
  return base
}

function primitive(name: string): CelType {
  switch (name) {
    case 'boolean':
      return { kind: 'bool' }
    case 'int':
    case 'long':
      return { kind: 'int' }
    case 'float':
    case 'double':
      return { kind: 'double' }
    case 'string':
    case 'bytes':
    case 'null':
      return { kind: name }
  }
  return { kind: 'dyn' }
}

const join = (namespace: string, name: string): string => (namespace === '' ? name : `${namespace}.${name}`)

function fullName(node: AvroNode, namespace: string): string {
  const name = node.name ?? ''
  return name.includes('.') ? name : join(node.namespace ?? namespace, name)
}

function namespaceOf(node: AvroNode, namespace: string): string {
  const full = fullName(node, namespace)
  return full.includes('.') ? full.slice(0, full.lastIndexOf('.')) : ''
}

function remember(node: AvroNode, named: Map<string, CelType>, namespace: string, type: CelType): CelType {
  named.set(fullName(node, namespace), type)
  return type
}
