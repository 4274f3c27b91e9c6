// Avro object container files (Avro 1.12 specification, "Object Container Files"), as manifests and
// manifest lists are:
//
//   "Obj" 0x01 │ map: avro.schema, avro.codec, … │ sync marker 16 │ block … │ block
//   block: record count long │ byte count long │ bytes (through the codec) │ sync marker 16
//
// Values are plain: records are objects by field name, arrays, unions their bare value (null or not), bytes
// and fixed Uint8Array, longs Int64 (exact). Iceberg's maps with int keys are arrays of {key, value}. Files
// of other engines may name a field otherwise; its `field-id` says what it is, so the reader takes
// names by id. Written with `deflate`, which every engine reads; read: null, deflate, zstandard.
import zlib from 'node:zlib'
import { MillraceError } from '../../std/errors.ts'
import { type Int64, parseJson, toInt64 } from './json.ts'

export type AvroType =
  | string
  | AvroType[]
  | AvroRecordType
  | { type: 'array'; items: AvroType; 'element-id'?: number; logicalType?: string }
  | { type: 'map'; values: AvroType; 'key-id'?: number; 'value-id'?: number }
  | { type: 'fixed'; name: string; size: number; logicalType?: string }
  | { type: 'enum'; name: string; symbols: string[] }
  | { type: string; logicalType?: string }

export interface AvroRecordType {
  type: 'record'
  name: string
  fields: AvroFieldType[]
}

export interface AvroFieldType {
  name: string
  type: AvroType
  'field-id'?: number
  default?: unknown
  doc?: string
}

const MAGIC = Uint8Array.of(0x4f, 0x62, 0x6a, 0x01)
const SYNC_BYTES = 16
/** Uncompressed bytes after which a block is closed. */
const BLOCK_BYTES_TARGET = 64 * 1024

const utf8 = new TextEncoder()
const text = new TextDecoder()

class AvroWriter {
  bytes = new Uint8Array(4096)
  view = new DataView(this.bytes.buffer)
  at = 0

  reserve(count: number): void {
    if (this.at + count <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.at + count))
    grown.set(this.bytes.subarray(0, this.at))
    this.bytes = grown
    this.view = new DataView(grown.buffer)
  }

  take(): Uint8Array {
    const taken = this.bytes.slice(0, this.at)
    this.at = 0
    return taken
  }

  long(value: Int64): void {
    this.reserve(10)
    let big = BigInt.asUintN(64, (BigInt(value) << 1n) ^ (BigInt(value) >> 63n))
    while (big >= 0x80n) {
      this.bytes[this.at++] = Number(big & 0x7fn) | 0x80
      big >>= 7n
    }
    this.bytes[this.at++] = Number(big)
  }

  raw(value: Uint8Array): void {
    this.reserve(value.length)
    this.bytes.set(value, this.at)
    this.at += value.length
  }

  sized(value: Uint8Array): void {
    this.long(value.length)
    this.raw(value)
  }

  write(type: AvroType, value: unknown): void {
    if (Array.isArray(type)) {
      // Only unions of null and one more occur in Iceberg's schemas.
      const branch = type.findIndex((one) => (one === 'null') === (value === null || value === undefined))
      this.long(branch)
      this.write(type[branch]!, value)
      return
    }
    const name = typeof type === 'string' ? type : type.type
    switch (name) {
      case 'null':
        return
      case 'boolean':
        this.raw(Uint8Array.of(value ? 1 : 0))
        return
      case 'int':
      case 'long':
        this.long(value as Int64)
        return
      case 'float':
        this.reserve(4)
        this.view.setFloat32(this.at, value as number, true)
        this.at += 4
        return
      case 'double':
        this.reserve(8)
        this.view.setFloat64(this.at, value as number, true)
        this.at += 8
        return
      case 'string':
        this.sized(utf8.encode(value as string))
        return
      case 'bytes':
        this.sized(value as Uint8Array)
        return
      case 'fixed':
        this.raw(value as Uint8Array)
        return
      case 'record':
        for (const field of (type as AvroRecordType).fields)
          this.write(field.type, (value as Record<string, unknown>)[field.name])
        return
      case 'array': {
        const items = value as readonly unknown[]
        if (items.length > 0) {
          this.long(items.length)
          for (const item of items) this.write((type as { items: AvroType }).items, item)
        }
        this.long(0)
        return
      }
      default:
        throw new MillraceError('internal', `no Avro writer for ${name}`)
    }
  }
}

/** A whole file. `metadata` joins `avro.schema` and `avro.codec` in the header. */
export function writeAvroFile(
  schema: AvroRecordType,
  records: Iterable<unknown>,
  metadata: Readonly<Record<string, string>>,
  syncMarker: Uint8Array,
): Uint8Array {
  const out = new AvroWriter()
  out.raw(MAGIC)
  const header = { 'avro.schema': JSON.stringify(schema), 'avro.codec': 'deflate', ...metadata }
  out.long(Object.keys(header).length)
  for (const [key, value] of Object.entries(header)) {
    out.sized(utf8.encode(key))
    out.sized(utf8.encode(value))
  }
  out.long(0)
  out.raw(syncMarker)
  const block = new AvroWriter()
  let count = 0
  const close = () => {
    if (count === 0) return
    out.long(count)
    out.sized(zlib.deflateRawSync(block.take(), { level: 1 }))
    out.raw(syncMarker)
    count = 0
  }
  for (const record of records) {
    block.write(schema, record)
    count++
    if (block.at >= BLOCK_BYTES_TARGET) close()
  }
  close()
  return out.take()
}

class AvroReader {
  readonly bytes: Uint8Array
  readonly named: ReadonlyMap<number, string>
  readonly types = new Map<string, AvroType>()
  at = 0

  constructor(bytes: Uint8Array, named: ReadonlyMap<number, string>) {
    // Buffer's own slice() shares memory; values that are handed out must not.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    this.named = named
  }

  long(): Int64 {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.byte()
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return toInt64(BigInt.asIntN(64, (value >> 1n) ^ -(value & 1n)))
    }
    throw new RangeError('a varint of more than 10 bytes')
  }

  byte(): number {
    if (this.at >= this.bytes.length) throw new RangeError('the file ends inside a value')
    return this.bytes[this.at++]!
  }

  raw(count: number): Uint8Array {
    if (!(count >= 0) || this.at + count > this.bytes.length)
      throw new RangeError('the file ends inside a value')
    this.at += count
    return this.bytes.subarray(this.at - count, this.at)
  }

  sized(): Uint8Array {
    return this.raw(Number(this.long()))
  }

  string(): string {
    return text.decode(this.sized())
  }

  read(type: AvroType): unknown {
    if (Array.isArray(type)) {
      const branch = type[Number(this.long())]
      if (branch === undefined) throw new RangeError('a union index outside its union')
      return this.read(branch)
    }
    const name = typeof type === 'string' ? type : type.type
    switch (name) {
      case 'null':
        return null
      case 'boolean':
        return this.byte() !== 0
      case 'int':
      case 'long':
        return this.long()
      case 'float': {
        const four = this.raw(4)
        return new DataView(four.buffer, four.byteOffset).getFloat32(0, true)
      }
      case 'double': {
        const eight = this.raw(8)
        return new DataView(eight.buffer, eight.byteOffset).getFloat64(0, true)
      }
      case 'string':
        return this.string()
      case 'bytes':
        return this.sized().slice()
      case 'fixed': {
        const fixed = type as { name: string; size: number }
        this.types.set(fixed.name, type)
        return this.raw(fixed.size).slice()
      }
      case 'enum': {
        const one = type as { name: string; symbols: string[] }
        this.types.set(one.name, type)
        return one.symbols[Number(this.long())]
      }
      case 'record': {
        const record = type as AvroRecordType
        this.types.set(record.name, type)
        const value: Record<string, unknown> = {}
        for (const field of record.fields) {
          const id = field['field-id']
          value[(id === undefined ? undefined : this.named.get(id)) ?? field.name] = this.read(field.type)
        }
        return value
      }
      case 'array':
        return this.#blocks(() => this.read((type as { items: AvroType }).items))
      case 'map':
        return this.#blocks(() => ({
          key: this.string(),
          value: this.read((type as { values: AvroType }).values),
        }))
      default: {
        const known = this.types.get(name)
        if (known === undefined) throw new RangeError(`an unknown Avro type ${name}`)
        return this.read(known)
      }
    }
  }

  #blocks(item: () => unknown): unknown[] {
    const items: unknown[] = []
    for (let count = Number(this.long()); count !== 0; count = Number(this.long())) {
      if (count < 0) {
        count = -count
        this.long()
      }
      for (let i = 0; i < count; i++) items.push(item())
    }
    return items
  }
}

export interface AvroFile {
  schema: AvroRecordType
  metadata: Map<string, string>
  records: Record<string, unknown>[]
}

/**
 * Reads a whole file. `named` gives the name under which a field with that `field-id` is returned,
 * whatever the file calls it. Throws RangeError or SyntaxError where the bytes are no such file.
 */
export function readAvroFile(bytes: Uint8Array, named: ReadonlyMap<number, string> = new Map()): AvroFile {
  const head = new AvroReader(bytes, named)
  if (MAGIC.some((byte) => head.byte() !== byte)) throw new RangeError('not an Avro object container file')
  const metadata = new Map<string, string>()
  for (let count = Number(head.long()); count !== 0; count = Number(head.long())) {
    if (count < 0) {
      count = -count
      head.long()
    }
    for (let i = 0; i < count; i++) metadata.set(head.string(), head.string())
  }
  const sync = head.raw(SYNC_BYTES)
  const schema = parseJson(metadata.get('avro.schema') ?? '') as AvroRecordType
  const codec = metadata.get('avro.codec') ?? 'null'
  const records: Record<string, unknown>[] = []
  while (head.at < bytes.length) {
    const count = Number(head.long())
    const block = new AvroReader(decompress(codec, head.sized()), named)
    for (let i = 0; i < count; i++) records.push(block.read(schema) as Record<string, unknown>)
    const marker = head.raw(SYNC_BYTES)
    if (marker.some((byte, i) => byte !== sync[i])) throw new RangeError('a block without its sync marker')
  }
  return { schema, metadata, records }
}

function decompress(codec: string, bytes: Uint8Array): Uint8Array {
  switch (codec) {
    case 'null':
      return bytes
    case 'deflate':
      return zlib.inflateRawSync(bytes)
    case 'zstandard':
      return zlib.zstdDecompressSync(bytes)
    default:
      throw new RangeError(`Avro codec ${codec} is not built in (null, deflate, zstandard are)`)
  }
}
