// Avro JSON → nodes (avro-node.ts), by the Avro specification 1.12, "Schema Declaration". Names are checked before
// anything else sees them, because avsc, asked last whether it agrees, compiles them into JavaScript.
import avsc from 'avsc'
import { MillraceError } from '../std/errors.ts'
import { encodeDefault, ValueError } from './avro-encode.ts'
import { interpret } from './avro-interpreter.ts'
import {
  type AvroField,
  type AvroNode,
  branchName,
  childrenOf,
  type DecimalType,
  type EnumNode,
  type FixedNode,
  type RecordNode,
  type UnionNode,
} from './avro-node.ts'

/** How deep schemas may nest; bounds the recursion of everything that walks them. */
export const SCHEMA_DEPTH_MAX = 32
/** Nodes of a schema with every reference expanded; bounds generated code, which inlines named types. */
export const SCHEMA_NODES_MAX = 4096

const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,254}$/
const PRIMITIVES = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

type Mutable<T> = { -readonly [K in keyof T]: T[K] }
type Json = Record<string, unknown>

function invalid(path: string, reason: string): MillraceError {
  return new MillraceError(
    'schema_invalid',
    path === '' ? `schema: ${reason}` : `schema at ${path}: ${reason}`,
    {
      path,
      reason,
    },
  )
}

export const fieldPath = (path: string, field: string): string => (path === '' ? field : `${path}.${field}`)

/**
 * Parses Avro JSON. Throws MillraceError `schema_invalid` whose details name the path of the fault
 * (`location.lat`, `items[]`, `labels{}`; '' is the whole schema).
 */
export function parseAvroSchema(text: string): AvroNode {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new MillraceError(
      'schema_invalid',
      `schema: not JSON: ${(error as Error).message}`,
      { path: '' },
      error,
    )
  }
  const parser = new SchemaParser()
  const node = parser.parse(json, '', '', 0)
  parser.finish(node)
  try {
    avsc.Type.forSchema(json as avsc.Schema, { wrapUnions: 'always' })
  } catch (error) {
    throw invalid('', (error as Error).message)
  }
  return node
}

class SchemaParser {
  readonly #named = new Map<string, AvroNode>()
  readonly #records: { record: Mutable<RecordNode>; path: string; defaults: unknown[] }[] = []

  parse(json: unknown, path: string, namespace: string, depth: number): AvroNode {
    if (depth > SCHEMA_DEPTH_MAX) throw invalid(path, `nested deeper than ${SCHEMA_DEPTH_MAX} levels`)
    if (typeof json === 'string') return this.#reference(json, path, namespace)
    if (Array.isArray(json)) return this.#union(json, path, namespace, depth)
    if (typeof json !== 'object' || json === null)
      throw invalid(path, `not a schema: ${JSON.stringify(json)}`)
    const schema = json as Json
    switch (schema['type']) {
      case 'record':
        return this.#record(schema, path, namespace, depth)
      case 'enum':
        return this.#enum(schema, path, namespace)
      case 'fixed':
        return this.#fixed(schema, path, namespace)
      case 'array':
        return Object.freeze({
          kind: 'array' as const,
          items: this.parse(schema['items'], `${path}[]`, namespace, depth + 1),
        })
      case 'map':
        return Object.freeze({
          kind: 'map' as const,
          values: this.parse(schema['values'], `${path}{}`, namespace, depth + 1),
        })
      default:
        if (typeof schema['type'] !== 'string' || !PRIMITIVES.has(schema['type']))
          throw invalid(path, `unknown type ${JSON.stringify(schema['type'])}`)
        return primitive(schema['type'], schema)
    }
  }

  /** Marks recursion, encodes defaults and freezes, once every name is known. */
  finish(root: AvroNode): void {
    measure(root, new Map(), new Set())
    for (const { record } of this.#records) record.recursive = reaches(record, record)
    for (const { record, path, defaults } of this.#records) {
      const fields = record.fields as Mutable<AvroField>[]
      for (const [i, field] of fields.entries()) {
        const json = defaults[i]
        if (json !== undefined) {
          try {
            const bytes = encodeDefault(field.node, json)
            const failure = interpret(field.node, bytes, 0, bytes.length)
            if (failure !== undefined) throw new ValueError(failure.path, failure.reason)
            field.default = Object.freeze({ json, bytes })
          } catch (error) {
            if (!(error instanceof ValueError)) throw error
            const at = error.path === '' ? '' : ` (at ${error.path})`
            throw invalid(
              fieldPath(path, field.name),
              `default ${JSON.stringify(json)}: ${error.message}${at}`,
            )
          }
        }
        Object.freeze(field)
      }
      Object.freeze(record)
    }
  }

  #reference(name: string, path: string, namespace: string): AvroNode {
    if (PRIMITIVES.has(name)) return primitive(name, {})
    const full = qualify(name, namespace)
    const node = this.#named.get(full)
    if (node === undefined) throw invalid(path, `unknown type ${JSON.stringify(name)}`)
    return node
  }

  #union(json: unknown[], path: string, namespace: string, depth: number): UnionNode {
    if (json.length === 0) throw invalid(path, 'empty union')
    const branches = json.map((branch) => this.parse(branch, path, namespace, depth + 1))
    const seen = new Set<string>()
    for (const branch of branches) {
      if (branch.kind === 'union') throw invalid(path, 'a union directly in a union')
      const name = branchName(branch)
      if (seen.has(name)) throw invalid(path, `two branches ${name} in one union`)
      seen.add(name)
    }
    return Object.freeze({ kind: 'union', branches: Object.freeze(branches) })
  }

  /** Name, aliases and namespace of a named type; registers nothing yet. */
  #names(schema: Json, path: string, namespace: string) {
    const given = schema['name']
    if (typeof given !== 'string') throw invalid(path, `a ${schema['type']} needs a name`)
    const own = schema['namespace']
    if (own !== undefined && typeof own !== 'string') throw invalid(path, 'namespace is not a string')
    const name = qualify(given, own ?? namespace)
    for (const part of name.split('.'))
      if (!NAME.test(part)) throw invalid(path, `${JSON.stringify(given)} is not an Avro name`)
    if (PRIMITIVES.has(name) || PRIMITIVES.has(name.slice(name.lastIndexOf('.') + 1)))
      throw invalid(path, `${JSON.stringify(given)} is the name of a primitive type`)
    if (this.#named.has(name)) throw invalid(path, `${name} is defined twice`)
    const inner = name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : ''
    return { name, inner, aliases: aliasesOf(schema, path, inner) }
  }

  #record(schema: Json, path: string, namespace: string, depth: number): RecordNode {
    const { name, inner, aliases } = this.#names(schema, path, namespace)
    if (!Array.isArray(schema['fields'])) throw invalid(path, 'a record needs a list of fields')
    const fields: Mutable<AvroField>[] = []
    const record: Mutable<RecordNode> = {
      kind: 'record',
      name,
      aliases,
      ...docOf(schema),
      fields,
      recursive: false,
    }
    this.#named.set(name, record)
    const defaults: unknown[] = []
    this.#records.push({ record, path, defaults })
    const seen = new Set<string>()
    for (const json of schema['fields'] as unknown[]) {
      if (typeof json !== 'object' || json === null) throw invalid(path, 'a field is an object')
      const field = json as Json
      const fieldName = field['name']
      // __proto__ is an Avro name, but no plain object can hold it as a field.
      if (typeof fieldName !== 'string' || !NAME.test(fieldName) || fieldName === '__proto__')
        throw invalid(path, `${JSON.stringify(fieldName)} is not a field name`)
      if (seen.has(fieldName)) throw invalid(path, `two fields ${fieldName}`)
      seen.add(fieldName)
      const at = fieldPath(path, fieldName)
      const node = this.parse(field['type'], at, inner, depth + 1)
      fields.push({ name: fieldName, node, aliases: aliasesOf(field, at, ''), ...docOf(field) })
      defaults.push(field['default'])
    }
    Object.freeze(fields)
    return record
  }

  #enum(schema: Json, path: string, namespace: string): EnumNode {
    const { name, aliases } = this.#names(schema, path, namespace)
    const symbols = schema['symbols']
    if (!Array.isArray(symbols) || symbols.length === 0) throw invalid(path, 'an enum needs symbols')
    for (const symbol of symbols)
      if (typeof symbol !== 'string' || !NAME.test(symbol))
        throw invalid(path, `${JSON.stringify(symbol)} is not an enum symbol`)
    if (new Set(symbols).size !== symbols.length) throw invalid(path, 'an enum symbol is there twice')
    const fallback = schema['default']
    if (fallback !== undefined && !symbols.includes(fallback))
      throw invalid(path, `default ${JSON.stringify(fallback)} is not one of the symbols`)
    const node: EnumNode = Object.freeze({
      kind: 'enum',
      name,
      aliases,
      ...docOf(schema),
      symbols: Object.freeze([...(symbols as string[])]),
      ...(fallback === undefined ? {} : { default: fallback as string }),
    })
    this.#named.set(name, node)
    return node
  }

  #fixed(schema: Json, path: string, namespace: string): FixedNode {
    const { name, aliases } = this.#names(schema, path, namespace)
    const size = schema['size']
    if (typeof size !== 'number' || !Number.isInteger(size) || size < 0 || size > 0x7fffffff)
      throw invalid(path, `size ${JSON.stringify(size)} of a fixed`)
    const decimal = schema['logicalType'] === 'decimal' ? decimalOf(schema, size) : undefined
    const node: FixedNode = Object.freeze({
      kind: 'fixed',
      name,
      aliases,
      size,
      ...(decimal === undefined ? {} : { decimal }),
      ...(schema['logicalType'] === 'uuid' && size === 16 ? { logical: 'uuid' as const } : {}),
    })
    this.#named.set(name, node)
    return node
  }
}

function docOf(schema: Json): { doc?: string } {
  return typeof schema['doc'] === 'string' ? { doc: schema['doc'] } : {}
}

function aliasesOf(schema: Json, path: string, namespace: string): readonly string[] {
  const aliases = schema['aliases'] ?? []
  if (!Array.isArray(aliases)) throw invalid(path, 'aliases are a list of names')
  return Object.freeze(
    aliases.map((alias) => {
      if (typeof alias !== 'string' || !alias.split('.').every((part) => NAME.test(part)))
        throw invalid(path, `${JSON.stringify(alias)} is not an alias`)
      return qualify(alias, namespace)
    }),
  )
}

/** Full name (specification, "Names"). A leading dot means: no namespace. */
function qualify(name: string, namespace: string): string {
  if (name.startsWith('.')) return name.slice(1)
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
}

/** A primitive with its logical type; one that does not fit is ignored, as the specification demands. */
function primitive(type: string, schema: Json): AvroNode {
  const logical = schema['logicalType']
  switch (type) {
    case 'int':
      return Object.freeze(
        logical === 'date' || logical === 'time-millis' ? { kind: 'int', logical } : { kind: 'int' },
      )
    case 'long':
      return Object.freeze(
        logical === 'time-micros' || logical === 'timestamp-millis' || logical === 'timestamp-micros'
          ? { kind: 'long', logical }
          : { kind: 'long' },
      )
    case 'string':
      return Object.freeze(logical === 'uuid' ? { kind: 'string', logical } : { kind: 'string' })
    case 'bytes': {
      const decimal = logical === 'decimal' ? decimalOf(schema, undefined) : undefined
      return Object.freeze(decimal === undefined ? { kind: 'bytes' } : { kind: 'bytes', decimal })
    }
    default:
      return Object.freeze({ kind: type as 'null' | 'boolean' | 'float' | 'double' })
  }
}

function decimalOf(schema: Json, size: number | undefined): Readonly<DecimalType> | undefined {
  const precision = schema['precision']
  const scale = schema['scale'] ?? 0
  if (typeof precision !== 'number' || !Number.isInteger(precision) || precision < 1) return undefined
  if (typeof scale !== 'number' || !Number.isInteger(scale) || scale < 0 || scale > precision)
    return undefined
  // Digits that `size` bytes of two's complement can always hold.
  if (size !== undefined && precision > Math.floor(Math.log10(2) * (8 * size - 1))) return undefined
  return Object.freeze({ precision, scale })
}

function reaches(from: AvroNode, target: AvroNode, seen = new Set<AvroNode>()): boolean {
  for (const child of childrenOf(from)) {
    if (child === target) return true
    if (seen.has(child)) continue
    seen.add(child)
    if (reaches(child, target, seen)) return true
  }
  return false
}

/** Refuses what expands to too many nodes or too deep; a reference back into an open record counts as one. */
function measure(
  node: AvroNode,
  measured: Map<AvroNode, { count: number; height: number }>,
  open: Set<AvroNode>,
): { count: number; height: number } {
  if (open.has(node)) return { count: 1, height: 1 }
  const known = measured.get(node)
  if (known !== undefined) return known
  open.add(node)
  const size = { count: 1, height: 1 }
  for (const child of childrenOf(node)) {
    const { count, height } = measure(child, measured, open)
    size.count += count
    size.height = Math.max(size.height, height + 1)
  }
  open.delete(node)
  measured.set(node, size)
  if (size.count > SCHEMA_NODES_MAX)
    throw invalid('', `more than ${SCHEMA_NODES_MAX} types when every name is expanded`)
  if (size.height > 2 * SCHEMA_DEPTH_MAX)
    throw invalid('', `deeper than ${2 * SCHEMA_DEPTH_MAX} levels when every name is expanded`)
  return size
}
