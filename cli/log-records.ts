// Records of the log as people read them: the value decoded by the schema that its Confluent frame names, events
// of Millrace's own topics as their JSON, everything else as hexadecimal. Schemas come from the topic
// `millrace._schemas` of the same log, so that a folder is readable without the process it came from.
import type { DumpedRecord, LogDump } from '../log/dump.ts'
import { createRecordCodec, type RecordCodec } from '../schemas/avro-codec.ts'
import { REASONS } from '../schemas/avro-codes.ts'
import { type AvroNode, branchName } from '../schemas/avro-node.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { CREDENTIALS_TOPIC, presenceTopic, RESERVED_TENANT, SCHEMAS_TOPIC } from '../schemas/names.ts'
import { decodeEvent } from '../schemas/registry-events.ts'
import { isMillraceError } from '../std/errors.ts'

/** Confluent's frame: a zero byte, the schema id (big-endian), the datum. */
const FRAME_BYTES = 5
const DAY_MS = 86_400_000
/** Bytes that are no text start like this. */
const HEX = '0x'
const MASKED = '***'

/** As `log dump --json` prints it, one object a line. */
export interface ReadableRecord {
  topic: string
  partition: number
  offset: number
  /** Milliseconds since 1970. */
  timestamp: number
  /** Text; `0x…` where it is none. */
  key: string | null
  headers: { key: string; value: string }[]
  /** Of the frame, where the value has one whose schema is known. */
  schemaId?: number
  /** Null: a tombstone. Missing where the bytes could not be decoded: then `hex` has them. */
  value?: unknown
  hex?: string
  /** Why they could not, where that is known. */
  problem?: string
}

interface Decoder {
  node: AvroNode
  codec: RecordCodec
}

export class RecordPrinter {
  readonly #schemas = new Map<number, string>()
  /** Compiled when the first record asks for them. */
  readonly #decoders = new Map<number, Decoder>()

  /** Reads all schemas that the log holds. */
  constructor(dump: LogDump) {
    for (const { topic, partition } of dump.partitions()) {
      if (topic.name !== SCHEMAS_TOPIC) continue
      for (const { key, value } of dump.records(topic.name, partition)) {
        const event = key === undefined ? undefined : decodeEvent(key, value)
        if (event?.kind === 'schema' && event.value !== undefined)
          this.#schemas.set(event.value.id, event.value.schema)
      }
    }
  }

  read(record: DumpedRecord): ReadableRecord {
    const { topic, partition, offset, timestamp, key, headers, value } = record
    return {
      topic,
      partition,
      offset,
      timestamp,
      key: key === undefined ? null : textOrHex(key),
      headers: headers.map((header) => ({
        key: header.key,
        value: header.value === undefined ? '' : textOrHex(header.value),
      })),
      ...(value === undefined ? { value: null } : this.#value(topic, value)),
    }
  }

  #value(topic: string, bytes: Uint8Array): Pick<ReadableRecord, 'schemaId' | 'value' | 'hex' | 'problem'> {
    if (topic === CREDENTIALS_TOPIC) return credential(bytes)
    const tenant = topic.split('.', 1)[0]!
    if (tenant === RESERVED_TENANT || topic === presenceTopic(tenant)) return json(bytes)
    if (bytes.length < FRAME_BYTES || bytes[0] !== 0) return { hex: hexOf(bytes) }
    const schemaId = new DataView(bytes.buffer, bytes.byteOffset).getUint32(1)
    const schema = this.#schemas.get(schemaId)
    if (schema === undefined) return { hex: hexOf(bytes), problem: `no schema has the id ${schemaId}` }
    try {
      const { node, codec } = this.#decoder(schemaId, schema)
      const value = codec.decode(bytes, FRAME_BYTES, bytes.length)
      if (codec.code() === 0) return { schemaId, value: readable(node, value) }
      return { schemaId, hex: hexOf(bytes), problem: REASONS[codec.code()]! }
    } catch (error) {
      // A schema that this release refuses must not keep the rest from being read.
      if (!isMillraceError(error)) throw error
      return { schemaId, hex: hexOf(bytes), problem: error.message }
    }
  }

  #decoder(schemaId: number, schema: string): Decoder {
    let decoder = this.#decoders.get(schemaId)
    if (decoder === undefined) {
      const node = parseAvroSchema(schema)
      decoder = { node, codec: createRecordCodec(node) }
      this.#decoders.set(schemaId, decoder)
    }
    return decoder
  }
}

/** One line: place, time, key, schema id, value, headers. Long hexadecimal is cut after `hexBytesMax` bytes. */
export function lineOf(record: ReadableRecord, hexBytesMax = 48): string {
  const { topic, partition, offset, timestamp, key, headers, schemaId, value, hex, problem } = record
  const parts = [`${topic}/${partition}`, String(offset), new Date(timestamp).toISOString(), key ?? 'null']
  if (schemaId !== undefined) parts.push(`schema ${schemaId}`)
  if (hex === undefined) parts.push(JSON.stringify(value))
  else {
    const bytes = (hex.length - HEX.length) / 2
    const shown = hex.slice(0, HEX.length + 2 * hexBytesMax)
    parts.push(shown.length < hex.length ? `${shown}… (${bytes} bytes)` : shown)
  }
  if (problem !== undefined) parts.push(`(${problem})`)
  if (headers.length > 0) parts.push(headers.map((header) => `${header.key}=${header.value}`).join(' '))
  return parts.join('  ')
}

/** What `RecordCodec` decodes, for JSON: times as ISO-8601, bytes as hexadecimal, numbers beyond 2^53 as text. */
function readable(node: AvroNode, value: unknown): unknown {
  switch (node.kind) {
    case 'int':
    case 'long':
      return readableInteger(node.logical, value as number | bigint)
    case 'float':
    case 'double':
      return Number.isFinite(value) ? value : String(value)
    case 'bytes':
    case 'fixed':
      return value instanceof Uint8Array ? hexOf(value) : value
    case 'array':
      return (value as unknown[]).map((item) => readable(node.items, item))
    case 'map':
      return Object.fromEntries(
        Object.entries(value as object).map(([key, item]) => [key, readable(node.values, item)]),
      )
    case 'record':
      return Object.fromEntries(
        node.fields.map((field) => [
          field.name,
          readable(field.node, (value as Record<string, unknown>)[field.name]),
        ]),
      )
    case 'union':
      return readableUnion(node.branches, value)
    default:
      return value
  }
}

function readableUnion(branches: readonly AvroNode[], value: unknown): unknown {
  if (value === null) return null
  const values = branches.filter((branch) => branch.kind !== 'null')
  if (values.length === 1) return readable(values[0]!, value)
  const [name, inner] = Object.entries(value as object)[0]!
  return { [name]: readable(values.find((branch) => branchName(branch) === name)!, inner) }
}

const PER_MILLI: Record<string, number> = { 'timestamp-micros': 1000, 'time-micros': 1000 }

function readableInteger(logical: string | undefined, value: number | bigint): unknown {
  if (logical === undefined || typeof value === 'bigint')
    return typeof value === 'bigint' ? String(value) : value
  if (logical === 'date') return isoOf(value * DAY_MS)?.slice(0, 10) ?? value
  const perMilli = PER_MILLI[logical] ?? 1
  const micros = perMilli === 1 ? '' : String(((value % 1000) + 1000) % 1000).padStart(3, '0')
  const iso = isoOf(Math.floor(value / perMilli))
  if (iso === undefined) return value
  return logical.startsWith('timestamp') ? `${iso.slice(0, -1)}${micros}Z` : iso.slice(11, -1) + micros
}

/** Undefined beyond what a Date can hold. */
function isoOf(ms: number): string | undefined {
  return Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : undefined
}

function json(bytes: Uint8Array): { value: unknown } | { hex: string } {
  try {
    return { value: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as unknown }
  } catch {
    return { hex: hexOf(bytes) }
  }
}

/** A credential without its secret's hash; nothing at all of bytes that are no credential. */
function credential(bytes: Uint8Array): { value: unknown } {
  const parsed = json(bytes)
  if (!('value' in parsed) || typeof parsed.value !== 'object' || parsed.value === null)
    return { value: MASKED }
  return { value: { ...parsed.value, hash: MASKED } }
}

const hexOf = (bytes: Uint8Array): string => HEX + Buffer.from(bytes).toString('hex')

/** UTF-8 without control characters as it is; else hexadecimal, so that a line stays a line. */
function textOrHex(bytes: Uint8Array): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    return /\p{Cc}/u.test(text) ? hexOf(bytes) : text
  } catch {
    return hexOf(bytes)
  }
}
