// From a contract's fields to Avro JSON (Avro 1.12, "Schema Declaration").
//
// Named types need names that are unique in the schema and stay the same from version to version, because
// resolution compares them: a nested record, enum or fixed is named after its field, and its namespace is the
// path that leads there (`default.machine.spindle`), so that two fields of one name never collide.
import { type ContractElement, type ContractField, type ContractType, WORD_TYPES } from './contract-fields.ts'

const PRIMITIVES: readonly string[] = ['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string']

/** Avro JSON of a stream's record. `namespace` is `<tenant>.<family>`. */
export function avroOfFields(
  namespace: string,
  stream: string,
  doc: string | undefined,
  fields: readonly ContractField[],
): Record<string, unknown> {
  return {
    type: 'record',
    name: stream,
    namespace,
    ...(doc === undefined ? {} : { doc }),
    fields: fields.map((field) => avroField(`${namespace}.${stream}`, field)),
  }
}

function avroField(namespace: string, field: ContractField): Record<string, unknown> {
  const avro: Record<string, unknown> = {
    name: field.name,
    type: avroElement(namespace, field.name, field, field.aliases),
  }
  if (field.doc !== undefined) avro['doc'] = field.doc
  if (field.nullable) avro['default'] = null
  else if (field.default !== undefined) avro['default'] = field.default
  if (field.aliases !== undefined) avro['aliases'] = field.aliases
  if (field.unit !== undefined) avro['unit'] = field.unit
  return avro
}

function avroElement(
  namespace: string,
  name: string,
  element: ContractElement,
  aliases: readonly string[] = [],
): unknown {
  const type = avroType(namespace, name, element.type, aliases)
  return element.nullable ? ['null', type] : type
}

function avroType(
  parent: string,
  field: string,
  type: ContractType,
  formerNames: readonly string[],
): unknown {
  // A field may be called `string`; a type may not.
  const namespace = PRIMITIVES.includes(field) ? `${parent}.${field}` : parent
  const name = typeName(field)
  // A renamed field renames its type, which resolution compares too.
  const aliases = formerNames.length === 0 ? {} : { aliases: formerNames.map(typeName) }
  switch (type.kind) {
    case 'decimal':
      return { type: 'bytes', logicalType: 'decimal', precision: type.precision, scale: type.scale }
    case 'fixed':
      return { type: 'fixed', name, namespace, ...aliases, size: type.bytes }
    case 'enum':
      return { type: 'enum', name, namespace, ...aliases, symbols: type.symbols }
    case 'record': {
      const inner = `${namespace}.${name}`
      const fields = type.fields.map((one) => avroField(inner, one))
      return { type: 'record', name, namespace, ...aliases, fields }
    }
    case 'array':
      return { type: 'array', items: avroElement(`${namespace}.${name}`, 'item', type.items) }
    case 'map':
      return { type: 'map', values: avroElement(`${namespace}.${name}`, 'value', type.values) }
    default:
      return WORD_TYPES[type.kind]
  }
}

const typeName = (field: string): string => (PRIMITIVES.includes(field) ? 'value' : field)
