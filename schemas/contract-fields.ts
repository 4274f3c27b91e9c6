// The fields of a contract's stream: their types as the document writes them, read and checked.
//
//   - name: spindle            type: record, with `fields`; array, with `items`; map, with `values`
//     type: record             enum, with `symbols`; decimal(precision,scale); fixed(bytes)
//     nullable: true           or `type: [null, double]`, the one union that a table can hold
//     fields: [ … ]
import { isSeq } from 'yaml'
import { type At, type ContractYaml, describe, type Entries } from './contract-yaml.ts'
import { LINEAGE_COLUMNS } from './names.ts'
import type { FieldRole } from './stream.ts'

/** Types that are one word in a contract, and their Avro form (Avro 1.12, "Primitive Types", "Logical Types"). */
export const WORD_TYPES = {
  boolean: 'boolean',
  int: 'int',
  long: 'long',
  float: 'float',
  double: 'double',
  string: 'string',
  bytes: 'bytes',
  date: { type: 'int', logicalType: 'date' },
  'time-millis': { type: 'int', logicalType: 'time-millis' },
  'time-micros': { type: 'long', logicalType: 'time-micros' },
  'timestamp-millis': { type: 'long', logicalType: 'timestamp-millis' },
  'timestamp-micros': { type: 'long', logicalType: 'timestamp-micros' },
  uuid: { type: 'string', logicalType: 'uuid' },
} as const

export type WordType = keyof typeof WORD_TYPES

export type ContractType =
  | { kind: WordType }
  | { kind: 'decimal'; precision: number; scale: number }
  | { kind: 'fixed'; bytes: number }
  | { kind: 'enum'; symbols: string[] }
  | { kind: 'record'; fields: ContractField[] }
  | { kind: 'array'; items: ContractElement }
  | { kind: 'map'; values: ContractElement }

/** What an array or a map holds, and what a field is apart from its name. */
export interface ContractElement {
  type: ContractType
  nullable: boolean
  unit?: string
  doc?: string
}

export interface ContractField extends ContractElement {
  name: string
  at: At
  role?: FieldRole
  range?: { min?: number; max?: number }
  enforce?: 'mark' | 'refuse'
  aliases?: string[]
  /** Value for writers that lack the field, as JSON in the field's Avro type. */
  default?: unknown
}

const ELEMENT_KEYS = ['type', 'nullable', 'unit', 'doc', 'symbols', 'fields', 'items', 'values'] as const
const NESTED_KEYS = ['name', ...ELEMENT_KEYS, 'default', 'aliases'] as const
const FIELD_KEYS = [...NESTED_KEYS, 'role', 'range', 'enforce'] as const

/** Letters, digits and `_`, a letter first: an Avro name, a CEL identifier and a column name without quoting. */
const FIELD_NAME = /^[A-Za-z][A-Za-z0-9_]{0,63}$/
const SYMBOL = /^[A-Za-z_][A-Za-z0-9_]*$/
const DECIMAL = /^decimal\(\s*(\d{1,2})\s*,\s*(\d{1,2})\s*\)$/
const FIXED = /^fixed\(\s*(\d{1,6})\s*\)$/
/** Widest decimal that Iceberg and Arrow's Decimal128 hold. */
const DECIMAL_PRECISION_MAX = 38
const FIXED_BYTES_MAX = 65536
const FIELDS_MAX = 2000
/** Deeper documents are refused before recursion could hurt. */
const DEPTH_MAX = 24

const RESERVED_COLUMNS: readonly string[] = ['device_id', ...LINEAGE_COLUMNS]

const TYPE_HELP = `${Object.keys(WORD_TYPES).join(', ')}, decimal(precision,scale), fixed(bytes), enum, record, array, map`

const ROLE_TYPES: Record<FieldRole, readonly string[]> = {
  event_time: ['timestamp-micros', 'timestamp-millis'],
  source_time: ['timestamp-micros', 'timestamp-millis'],
  sequence: ['long', 'int'],
  firmware: ['string', 'enum'],
  quality: ['string', 'enum', 'int', 'long'],
}

const NUMERIC: readonly string[] = ['int', 'long', 'float', 'double', 'decimal']

/** Reads the list of fields at `at`; `top` where they are a stream's own fields (and become columns). */
export function readFields(yaml: ContractYaml, at: At, top: boolean, depth = 0): ContractField[] {
  const items = yaml.items(at)
  if (items === undefined) return []
  if (items.length === 0) yaml.problem(at, 'needs at least one field')
  if (items.length > FIELDS_MAX)
    yaml.problem(at, `holds ${items.length} fields; at most ${FIELDS_MAX} are allowed`)
  const fields: ContractField[] = []
  const names = new Map<string, string>()
  for (const item of items.slice(0, FIELDS_MAX)) {
    const field = readField(yaml, item, top, depth)
    if (field === undefined) continue
    // Query engines fold case, so two names that differ by case alone would be one column there.
    const earlier = names.get(field.name.toLowerCase())
    if (earlier !== undefined)
      yaml.problem(
        item,
        `field '${field.name}' is there twice${earlier === field.name ? '' : ` ('${earlier}' differs in case only)`}`,
      )
    names.set(field.name.toLowerCase(), field.name)
    fields.push(field)
  }
  for (const field of fields)
    for (const alias of field.aliases ?? [])
      if (names.has(alias.toLowerCase()))
        yaml.problem(field.at, `alias '${alias}' of field '${field.name}' is the name of another field`)
  if (top) checkRolesOnce(yaml, fields)
  return fields
}

function checkRolesOnce(yaml: ContractYaml, fields: readonly ContractField[]): void {
  const holders = new Map<FieldRole, string>()
  for (const { role, name, at } of fields) {
    if (role === undefined) continue
    const holder = holders.get(role)
    if (holder !== undefined) yaml.problem(at, `role ${role} is taken by field '${holder}'`)
    else holders.set(role, name)
  }
}

function readField(yaml: ContractYaml, at: At, top: boolean, depth: number): ContractField | undefined {
  const entries = yaml.entries(at, top ? FIELD_KEYS : NESTED_KEYS)
  if (entries === undefined) return undefined
  const name = readFieldName(yaml, entries, top)
  const element = readElement(yaml, entries, depth)
  if (name === undefined || element === undefined) return undefined
  const field: ContractField = { name, at, ...element }
  const aliases = entries.get('aliases')
  if (aliases !== undefined) field.aliases = readAliases(yaml, aliases)
  readDefault(yaml, entries, field)
  if (top) {
    readRole(yaml, entries, field)
    readRange(yaml, entries, field)
  }
  return field
}

function readFieldName(yaml: ContractYaml, entries: Entries, top: boolean): string | undefined {
  const at = entries.get('name')
  if (at === undefined) {
    yaml.problem(entries.at, 'needs a name')
    return undefined
  }
  const name = yaml.string(at)
  if (name === undefined) return undefined
  if (top && RESERVED_COLUMNS.includes(name.toLowerCase())) {
    yaml.problem(at, `'${name}' is a column that Millrace adds; taken are ${RESERVED_COLUMNS.join(', ')}`)
    return undefined
  }
  if (!FIELD_NAME.test(name)) {
    yaml.problem(at, `'${name}' is no field name: a letter, then letters, digits and _, at most 64`)
    return undefined
  }
  return name
}

function readAliases(yaml: ContractYaml, at: At): string[] {
  const aliases: string[] = []
  for (const item of yaml.items(at) ?? []) {
    const alias = yaml.string(item)
    if (alias === undefined) continue
    if (FIELD_NAME.test(alias)) aliases.push(alias)
    else yaml.problem(item, `'${alias}' is no field name: a letter, then letters, digits and _, at most 64`)
  }
  return aliases
}

/** Type, nullability, unit and documentation: what fields, array items and map values share. */
function readElement(yaml: ContractYaml, entries: Entries, depth: number): ContractElement | undefined {
  const typeAt = entries.get('type')
  if (typeAt === undefined) {
    yaml.problem(entries.at, `needs a type: ${TYPE_HELP}`)
    return undefined
  }
  const word = readTypeWord(yaml, typeAt)
  if (word === undefined) return undefined
  const type = readType(yaml, entries, typeAt, word.text, depth)
  if (type === undefined) return undefined
  const nullableAt = entries.get('nullable')
  const nullable = nullableAt === undefined ? undefined : yaml.boolean(nullableAt)
  if (word.nullable && nullable === false)
    yaml.problem(nullableAt!, 'contradicts the type, which is a union with null')
  const element: ContractElement = { type, nullable: nullable ?? word.nullable }
  const unitAt = entries.get('unit')
  if (unitAt !== undefined) {
    const unit = yaml.string(unitAt)
    if (unit !== undefined) element.unit = unit
    if (!NUMERIC.includes(type.kind) && type.kind !== 'array' && type.kind !== 'map')
      yaml.problem(unitAt, `a unit belongs to a number, this is ${type.kind}`)
  }
  const docAt = entries.get('doc')
  if (docAt !== undefined) {
    const doc = yaml.string(docAt)
    if (doc !== undefined) element.doc = doc
  }
  return element
}

/** The type's word; a union is taken apart where it only means "may be null". */
function readTypeWord(yaml: ContractYaml, at: At): { text: string; nullable: boolean } | undefined {
  if (!isSeq(at.node)) {
    const text = yaml.string(at)
    return text === undefined ? undefined : { text, nullable: false }
  }
  const branches = (yaml.items(at) ?? []).map((item) => yaml.scalar(item) ?? 'null')
  const others = branches.filter((branch) => branch !== 'null')
  if (branches.length === 2 && others.length === 1) return { text: String(others[0]), nullable: true }
  yaml.problem(
    at,
    `a table column holds one type: the union [${branches.join(', ')}] is not allowed, only [null, type] (or nullable: true); use a record with one nullable field for each`,
  )
  return undefined
}

function readType(
  yaml: ContractYaml,
  entries: Entries,
  at: At,
  word: string,
  depth: number,
): ContractType | undefined {
  for (const [key, owner] of [
    ['symbols', 'enum'],
    ['fields', 'record'],
    ['items', 'array'],
    ['values', 'map'],
  ] as const) {
    const given = entries.get(key)
    if (word === owner && given === undefined) {
      yaml.problem(entries.at, `type ${owner} needs ${key}`)
      return undefined
    }
    if (word !== owner && given !== undefined)
      yaml.problem(given, `belongs to type ${owner}, this is ${word}`)
  }
  if (Object.hasOwn(WORD_TYPES, word)) return { kind: word as WordType }
  switch (word) {
    case 'enum':
      return { kind: 'enum', symbols: readSymbols(yaml, entries.get('symbols')!) }
    case 'record':
      if (tooDeep(yaml, at, depth)) return undefined
      return { kind: 'record', fields: readFields(yaml, entries.get('fields')!, false, depth + 1) }
    case 'array':
    case 'map': {
      if (tooDeep(yaml, at, depth)) return undefined
      const element = readNested(yaml, entries.get(word === 'array' ? 'items' : 'values')!, depth + 1)
      if (element === undefined) return undefined
      return word === 'array' ? { kind: 'array', items: element } : { kind: 'map', values: element }
    }
  }
  return readParametrised(yaml, at, word)
}

function tooDeep(yaml: ContractYaml, at: At, depth: number): boolean {
  if (depth < DEPTH_MAX) return false
  yaml.problem(at, `is nested deeper than ${DEPTH_MAX} levels`)
  return true
}

/** What an array or map holds: a word (`items: double`) or a mapping with a type. */
function readNested(yaml: ContractYaml, at: At, depth: number): ContractElement | undefined {
  if (typeof (at.node as { value?: unknown } | null)?.value === 'string') {
    const word = yaml.string(at)!
    if (Object.hasOwn(WORD_TYPES, word)) return { type: { kind: word as WordType }, nullable: false }
    const type = readParametrised(yaml, at, word)
    return type === undefined ? undefined : { type, nullable: false }
  }
  const entries = yaml.entries(at, ELEMENT_KEYS)
  return entries === undefined ? undefined : readElement(yaml, entries, depth)
}

function readParametrised(yaml: ContractYaml, at: At, word: string): ContractType | undefined {
  const decimal = DECIMAL.exec(word)
  if (decimal !== null) {
    const precision = Number(decimal[1])
    const scale = Number(decimal[2])
    if (precision >= 1 && precision <= DECIMAL_PRECISION_MAX && scale <= precision)
      return { kind: 'decimal', precision, scale }
    yaml.problem(at, `'${word}': precision must be 1 to ${DECIMAL_PRECISION_MAX}, scale 0 to the precision`)
    return undefined
  }
  const fixed = FIXED.exec(word)
  if (fixed !== null) {
    const bytes = Number(fixed[1])
    if (bytes >= 1 && bytes <= FIXED_BYTES_MAX) return { kind: 'fixed', bytes }
    yaml.problem(at, `'${word}': a fixed has 1 to ${FIXED_BYTES_MAX} bytes`)
    return undefined
  }
  yaml.problem(at, `unknown type '${word}'; allowed: ${TYPE_HELP}`)
  return undefined
}

function readSymbols(yaml: ContractYaml, at: At): string[] {
  const symbols: string[] = []
  for (const item of yaml.items(at) ?? []) {
    const symbol = yaml.string(item)
    if (symbol === undefined) continue
    if (!SYMBOL.test(symbol))
      yaml.problem(item, `'${symbol}' is no symbol: letters, digits and _, not a digit first`)
    else if (symbols.includes(symbol)) yaml.problem(item, `symbol '${symbol}' is there twice`)
    else symbols.push(symbol)
  }
  if (symbols.length === 0) yaml.problem(at, 'an enum needs at least one symbol')
  return symbols
}

function readRole(yaml: ContractYaml, entries: Entries, field: ContractField): void {
  const at = entries.get('role')
  if (at === undefined) return
  const role = yaml.oneOf(at, Object.keys(ROLE_TYPES) as FieldRole[])
  if (role === undefined) return
  field.role = role
  const types = ROLE_TYPES[role]
  if (!types.includes(field.type.kind))
    yaml.problem(at, `role ${role} needs type ${types.join(' or ')}, this is ${field.type.kind}`)
  if (role === 'event_time' && field.nullable)
    yaml.problem(at, 'the event time places a row in its day: it cannot be nullable')
}

function readRange(yaml: ContractYaml, entries: Entries, field: ContractField): void {
  const enforceAt = entries.get('enforce')
  if (enforceAt !== undefined) field.enforce = yaml.oneOf(enforceAt, ['mark', 'refuse'])
  const at = entries.get('range')
  if (at === undefined) {
    if (enforceAt !== undefined) yaml.problem(enforceAt, 'enforce says what happens outside a range: add one')
    return
  }
  if (!NUMERIC.includes(field.type.kind)) {
    yaml.problem(at, `a range belongs to a number, this is ${field.type.kind}`)
    return
  }
  const bounds = yaml.items(at)
  if (bounds === undefined) return
  const values = bounds.map((bound) => yaml.scalar(bound))
  const valid = values.every(
    (value) => value === null || (typeof value === 'number' && Number.isFinite(value)),
  )
  if (values.length !== 2 || !valid || (values[0] === null && values[1] === null)) {
    yaml.problem(at, 'must be [min, max], two numbers; null where a side is open')
    return
  }
  const [min, max] = values as [number | null, number | null]
  if (min !== null && max !== null && min > max) yaml.problem(at, `min ${min} is above max ${max}`)
  field.range = { ...(min === null ? {} : { min }), ...(max === null ? {} : { max }) }
}

function readDefault(yaml: ContractYaml, entries: Entries, field: ContractField): void {
  const at = entries.get('default')
  if (at === undefined) return
  if (field.nullable) {
    if (isSeq(at.node) || yaml.scalar(at) !== null)
      yaml.problem(at, 'the default of a nullable field is null; to fill in a value, use a `default` rule')
    return
  }
  if (field.type.kind === 'array' || field.type.kind === 'map') {
    const empty = (at.node as { items?: unknown[] } | null)?.items?.length === 0
    if (empty && isSeq(at.node) === (field.type.kind === 'array'))
      field.default = field.type.kind === 'array' ? [] : {}
    else
      yaml.problem(
        at,
        `the default of this ${field.type.kind} can only be empty, ${field.type.kind === 'array' ? '[]' : '{}'}`,
      )
    return
  }
  const value = yaml.scalar(at)
  if (value === undefined) return
  const allowed = defaultHelp(field.type, value)
  if (allowed === undefined) field.default = value
  else yaml.problem(at, `the default must be ${allowed}, is ${describe(at.node)}`)
}

/** Undefined where `value` may be the default of the type, else what may be. */
function defaultHelp(type: ContractType, value: unknown): string | undefined {
  switch (type.kind) {
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'int':
      return Number.isInteger(value) && Math.abs(value as number) <= 0x7fffffff
        ? undefined
        : 'a 32-bit integer'
    case 'long':
      return Number.isSafeInteger(value) ? undefined : 'an integer below 2^53'
    case 'float':
    case 'double':
      return typeof value === 'number' && Number.isFinite(value) ? undefined : 'a number'
    case 'string':
      return typeof value === 'string' ? undefined : 'text'
    case 'enum':
      return type.symbols.includes(value as string) ? undefined : `one of ${type.symbols.join(', ')}`
    default:
      return `left out: a field of type ${type.kind} can have none (make it nullable instead)`
  }
}
