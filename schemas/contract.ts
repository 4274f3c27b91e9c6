// A contract: the digital twin of a device family as one versioned YAML document (docs/contracts.md), read with
// the place of every error, and compiled to what the stages need of each stream.
//
//   millrace: 1              the format of the document
//   family: environment      version: 3       tenant: default
//   streams:
//     telemetry:
//       fields: [ … ]        contract-fields.ts
//       rules: [ … ]         contract-rules.ts
//       partitions, plausible, lateness, duplicates, table
import { isMillraceError, MillraceError } from '../std/errors.ts'
import type { AvroNode } from './avro-node.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { avroOfFields } from './contract-avro.ts'
import { type ContractField, type ContractType, readFields } from './contract-fields.ts'
import { readRuleSets } from './contract-rules.ts'
import {
  type At,
  type ContractProblem,
  ContractYaml,
  contractInvalid,
  type Entries,
} from './contract-yaml.ts'
import { isValidName, LINEAGE_COLUMNS, subjectOf } from './names.ts'
import type { FieldDescriptor, RuleSet, StreamDescriptor } from './stream.ts'

export { type ContractProblem, formatProblem } from './contract-yaml.ts'

export interface ContractStream {
  name: string
  doc?: string
  fields: ContractField[]
  ruleSets: RuleSet[]
  /** Where absent, those of its topics, or what the configuration says for new ones. */
  partitions?: number
  plausible: { pastMs: number; futureMs: number }
  latenessMs?: number
  duplicates?: { windowRecords: number }
  table: { bucketDevices?: number }
  /** Avro JSON of the stream's record. */
  avro: Record<string, unknown>
}

export interface Contract {
  file: string
  tenant: string
  family: string
  version: number
  description?: string
  streams: ContractStream[]
}

/** A stream's descriptor before its topics have a number of partitions, and its schema an id. */
export type CompiledStream = Omit<StreamDescriptor, 'schemaId' | 'writers' | 'partitions'> & {
  /** Of the contract, where it says so. */
  partitions: number | undefined
}
/** Before the registry has given its schema an id. */
export type PlacedStream = CompiledStream & { partitions: number }

const DOCUMENT_KEYS = ['millrace', 'family', 'version', 'tenant', 'description', 'streams'] as const
/** Parts of a digital twin that the document format names and this release does not run. */
const LATER_KEYS = ['state', 'commands', 'configuration'] as const
const STREAM_KEYS = [
  'doc',
  'fields',
  'rules',
  'partitions',
  'plausible',
  'lateness',
  'duplicates',
  'table',
] as const

const DAY_MS = 86_400_000
const PLAUSIBLE_PAST_MS = 3650 * DAY_MS
const PLAUSIBLE_FUTURE_MS = DAY_MS
const PARTITIONS_MAX = 1024
const BUCKETS_MAX = 1024
const DUPLICATE_WINDOW_MAX = 1_000_000

/** Reads a contract. Errors: `contract_invalid`, with every problem of the document, one a line. */
export function parseContract(text: string, fileName: string): Contract {
  const { contract, problems } = readContract(text, fileName)
  if (contract === undefined) throw contractInvalid(problems)
  return contract
}

export interface ContractCheck {
  ok: boolean
  contract: Contract | undefined
  problems: ContractProblem[]
}

/** The same without throwing, for `millrace schema check`. */
export function checkContractText(text: string, fileName: string): ContractCheck {
  const { contract, problems } = readContract(text, fileName)
  return { ok: contract !== undefined, contract, problems }
}

function readContract(
  text: string,
  file: string,
): { contract: Contract | undefined; problems: ContractProblem[] } {
  const yaml = new ContractYaml(text, file)
  const { problems } = yaml
  const entries =
    problems.length === 0 ? yaml.entries(yaml.root, [...DOCUMENT_KEYS, ...LATER_KEYS]) : undefined
  if (entries === undefined) return { contract: undefined, problems }
  const format = required(yaml, entries, 'millrace', 'the format of the document: 1')
  if (format !== undefined) yaml.integer(format, 1, 1)
  for (const key of LATER_KEYS) {
    const at = entries.get(key)
    if (at !== undefined) yaml.problem(at, `'${key}' is not supported by this release; leave it out`)
  }
  const family = readName(yaml, required(yaml, entries, 'family', 'a name'))
  const tenant = entries.get('tenant') === undefined ? 'default' : readName(yaml, entries.get('tenant'))
  const versionAt = required(yaml, entries, 'version', 'a whole number from 1')
  const version = versionAt === undefined ? undefined : yaml.integer(versionAt, 1, 0x7fffffff)
  const description = optionalText(yaml, entries.get('description'))
  const streams = readStreams(yaml, entries, `${tenant ?? 'default'}.${family ?? 'family'}`)
  if (problems.length > 0 || family === undefined || tenant === undefined || version === undefined) {
    problems.sort((a, b) => a.line - b.line || a.column - b.column)
    return { contract: undefined, problems }
  }
  const contract: Contract = { file, tenant, family, version, streams }
  if (description !== undefined) contract.description = description
  return { contract, problems }
}

function required(yaml: ContractYaml, entries: Entries, key: string, what: string): At | undefined {
  const at = entries.get(key)
  if (at === undefined) yaml.problem(entries.at, `needs ${key}: ${what}`)
  return at
}

function optionalText(yaml: ContractYaml, at: At | undefined): string | undefined {
  return at === undefined ? undefined : yaml.string(at)
}

const NAME_HELP =
  'a lower-case letter, then letters, digits and single _, at most 48, not ending in _rejected, not millrace'

function readName(yaml: ContractYaml, at: At | undefined): string | undefined {
  if (at === undefined) return undefined
  const name = yaml.string(at)
  if (name === undefined) return undefined
  if (isValidName(name)) return name
  yaml.problem(at, `'${name}' is no name: ${NAME_HELP}`)
  return undefined
}

function readStreams(yaml: ContractYaml, entries: Entries, namespace: string): ContractStream[] {
  const at = required(yaml, entries, 'streams', 'at least one stream with its fields')
  const streams = at === undefined ? undefined : yaml.entries(at, undefined)
  if (at === undefined || streams === undefined) return []
  const result: ContractStream[] = []
  let count = 0
  for (const name of streams.keys()) {
    count++
    const stream = streams.get(name)!
    if (!isValidName(name)) yaml.problem(stream, `'${name}' is no name of a stream: ${NAME_HELP}`)
    const read = readStream(yaml, name, stream, namespace)
    if (read !== undefined) result.push(read)
  }
  if (count === 0) yaml.problem(at, 'needs at least one stream')
  return result
}

function readStream(yaml: ContractYaml, name: string, at: At, namespace: string): ContractStream | undefined {
  const entries = yaml.entries(at, STREAM_KEYS)
  if (entries === undefined) return undefined
  const doc = optionalText(yaml, entries.get('doc'))
  const fieldsAt = required(yaml, entries, 'fields', 'a list')
  if (fieldsAt === undefined) return undefined
  const before = yaml.problems.length
  const fields = readFields(yaml, fieldsAt, true)
  const avro = avroOfFields(namespace, name, doc, fields)
  const rulesAt = entries.get('rules')
  // Rules over fields that could not be read would only repeat what is wrong with the fields.
  const parsed = yaml.problems.length > before ? undefined : parseAvro(yaml, fieldsAt, avro)
  const ruleSets =
    rulesAt === undefined || parsed === undefined ? [] : readRuleSets(yaml, rulesAt, fields, parsed)
  const partitionsAt = entries.get('partitions')
  const partitions = partitionsAt === undefined ? undefined : yaml.integer(partitionsAt, 1, PARTITIONS_MAX)
  const stream: ContractStream = {
    name,
    fields,
    ruleSets,
    plausible: readPlausible(yaml, entries.get('plausible')),
    table: readTable(yaml, entries.get('table')),
    avro,
  }
  if (doc !== undefined) stream.doc = doc
  if (partitions !== undefined) stream.partitions = partitions
  const latenessMs = readDuration(yaml, entries.get('lateness'))
  if (latenessMs !== undefined) stream.latenessMs = latenessMs
  const duplicates = readDuplicates(yaml, entries.get('duplicates'))
  if (duplicates !== undefined) stream.duplicates = duplicates
  return stream
}

/** The schema as the stages will read it: they have limits of their own on size and depth. */
function parseAvro(yaml: ContractYaml, at: At, avro: Record<string, unknown>): AvroNode | undefined {
  try {
    return parseAvroSchema(JSON.stringify(avro))
  } catch (error) {
    if (!isMillraceError(error, 'schema_invalid')) throw error
    yaml.problem(at, error.message)
    return undefined
  }
}

function readPlausible(yaml: ContractYaml, at: At | undefined): { pastMs: number; futureMs: number } {
  const entries = at === undefined ? undefined : yaml.entries(at, ['past', 'future'])
  return {
    pastMs: readDuration(yaml, entries?.get('past')) ?? PLAUSIBLE_PAST_MS,
    futureMs: readDuration(yaml, entries?.get('future')) ?? PLAUSIBLE_FUTURE_MS,
  }
}

const DURATION = /^(\d{1,6})(s|min|h|d|y)$/
const DURATION_MS: Record<string, number> = { s: 1000, min: 60_000, h: 3_600_000, d: DAY_MS, y: 365 * DAY_MS }

function readDuration(yaml: ContractYaml, at: At | undefined): number | undefined {
  if (at === undefined) return undefined
  const text = yaml.string(at)
  if (text === undefined) return undefined
  const match = DURATION.exec(text)
  if (match !== null) return Number(match[1]) * DURATION_MS[match[2]!]!
  yaml.problem(at, `'${text}' is no duration: a whole number with s, min, h, d or y, such as 10y or 36h`)
  return undefined
}

function readDuplicates(yaml: ContractYaml, at: At | undefined): { windowRecords: number } | undefined {
  const entries = at === undefined ? undefined : yaml.entries(at, ['window_records'])
  const windowAt =
    entries === undefined ? undefined : required(yaml, entries, 'window_records', 'a whole number')
  const windowRecords = windowAt === undefined ? undefined : yaml.integer(windowAt, 1, DUPLICATE_WINDOW_MAX)
  return windowRecords === undefined ? undefined : { windowRecords }
}

function readTable(yaml: ContractYaml, at: At | undefined): { bucketDevices?: number } {
  const bucketsAt = at === undefined ? undefined : yaml.entries(at, ['bucket_devices'])?.get('bucket_devices')
  const bucketDevices = bucketsAt === undefined ? undefined : yaml.integer(bucketsAt, 1, BUCKETS_MAX)
  return bucketDevices === undefined ? {} : { bucketDevices }
}

/** What the stages need of each stream, but for the ids that the registry gives. */
export function compileContract(contract: Contract): CompiledStream[] {
  return contract.streams.map((stream) => ({
    tenant: contract.tenant,
    stream: stream.name,
    family: contract.family,
    contractVersion: contract.version,
    partitions: stream.partitions,
    subject: subjectOf(contract.tenant, stream.name),
    schema: JSON.stringify(stream.avro),
    fields: stream.fields.map(fieldDescriptor),
    ruleSets: stream.ruleSets,
    plausible: stream.plausible,
    ...(stream.latenessMs === undefined ? {} : { latenessMs: stream.latenessMs }),
    ...(stream.duplicates === undefined ? {} : { duplicates: stream.duplicates }),
    table: stream.table,
  }))
}

function fieldDescriptor(field: ContractField): FieldDescriptor {
  const descriptor: FieldDescriptor = { name: field.name, nullable: field.nullable }
  if (field.role !== undefined) descriptor.role = field.role
  if (field.unit !== undefined) descriptor.unit = field.unit
  if (field.doc !== undefined) descriptor.doc = field.doc
  if (field.range !== undefined) descriptor.range = field.range
  if (field.enforce !== undefined) descriptor.enforce = field.enforce
  if (field.aliases !== undefined) descriptor.aliases = field.aliases
  return descriptor
}

export interface StreamDescription {
  stream: string
  subject: string
  /** Indented Avro JSON. */
  avro: string
  /** One entry for each field, nested ones by dotted path. */
  fields: {
    path: string
    type: string
    nullable: boolean
    unit: string
    role: string
    range: string
    doc: string
  }[]
  /** The table's columns in order. */
  columns: { name: string; type: string }[]
  ruleSets: { firmware: string; steps: string[] }[]
}

/** What a contract means, for people: `millrace schema show`. */
export function describeContract(contract: Contract): StreamDescription[] {
  return contract.streams.map((stream) => ({
    stream: stream.name,
    subject: subjectOf(contract.tenant, stream.name),
    avro: JSON.stringify(stream.avro, undefined, 2),
    fields: stream.fields.flatMap((field) => describeField(field, '')),
    columns: [
      { name: 'device_id', type: 'string' },
      ...stream.fields.map((field) => ({ name: field.name, type: typeText(field.type) })),
      ...LINEAGE_COLUMNS.map((name) => ({ name, type: LINEAGE_TYPES[name] })),
    ],
    ruleSets: stream.ruleSets.map(({ firmware, rules }) => ({
      firmware,
      steps: rules.map(({ when, set, refuse }) => {
        const step = set === undefined ? `refuse: ${refuse}` : `${set.field} := ${set.value}`
        return when === undefined ? step : `${step}  where ${when}`
      }),
    })),
  }))
}

const LINEAGE_TYPES: Record<(typeof LINEAGE_COLUMNS)[number], string> = {
  _log_partition: 'int',
  _offset: 'long',
  _receive_time: 'timestamp',
  _schema_id: 'int',
  _late_ms: 'long',
  _quality: 'string',
}

function describeField(field: ContractField, prefix: string): StreamDescription['fields'] {
  const path = `${prefix}${field.name}`
  const { range } = field
  const own = {
    path,
    type: typeText(field.type),
    nullable: field.nullable,
    unit: field.unit ?? '',
    role: field.role ?? '',
    range: range === undefined ? '' : `${range.min ?? '…'} to ${range.max ?? '…'}`,
    doc: field.doc ?? '',
  }
  return [own, ...describeNested(field.type, path)]
}

function describeNested(type: ContractType, path: string): StreamDescription['fields'] {
  switch (type.kind) {
    case 'record':
      return type.fields.flatMap((field) => describeField(field, `${path}.`))
    case 'array':
      return describeNested(type.items.type, `${path}[]`)
    case 'map':
      return describeNested(type.values.type, `${path}{}`)
  }
  return []
}

function typeText(type: ContractType): string {
  switch (type.kind) {
    case 'decimal':
      return `decimal(${type.precision},${type.scale})`
    case 'fixed':
      return `fixed(${type.bytes})`
    case 'enum':
      return `enum(${type.symbols.join(', ')})`
    case 'array':
      return `array of ${typeText(type.items.type)}`
    case 'map':
      return `map of ${typeText(type.values.type)}`
  }
  return type.kind
}

/** Reads several contracts as one set: a stream's name belongs to one contract of its tenant. */
export function compileContracts(contracts: readonly Contract[]): CompiledStream[] {
  const owners = new Map<string, string>()
  return contracts.flatMap((contract) =>
    compiledOf(contract).map((stream) => {
      const owner = owners.get(stream.subject)
      if (owner !== undefined)
        throw new MillraceError(
          'contract_invalid',
          `${contract.file}: stream '${stream.stream}' of tenant '${stream.tenant}' is defined by ${owner} already`,
        )
      owners.set(stream.subject, contract.file)
      return stream
    }),
  )
}

/** A contract is compiled once, however often the whole of them is put together. */
const compiled = new WeakMap<Contract, CompiledStream[]>()

function compiledOf(contract: Contract): CompiledStream[] {
  let streams = compiled.get(contract)
  if (streams === undefined) {
    streams = compileContract(contract)
    compiled.set(contract, streams)
  }
  return streams
}
