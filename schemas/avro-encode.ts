// The plain encoder: a JavaScript value → Avro binary by walking the schema's nodes (Avro specification,
// "Binary Encoding"). It encodes defaults, explains why a JSON payload does not fit, and is the oracle of the
// generated encoder (avro-json.ts), which must write the same bytes.
//
// What a value may be, beside the Avro JSON encoding: for a union also the bare value; for date, time and
// timestamp an integer or ISO-8601 text; for decimal a number or decimal text; for long a bigint; for bytes
// and fixed a Uint8Array, or text whose code points are the bytes (ISO-8859-1); for uuid its text.
import type { AvroField, AvroNode, DecimalType, RecordNode, UnionNode } from './avro-node.ts'
import { parseDate, parseDecimal, parseTime, parseTimestamp } from './avro-text.ts'

/** A value that does not fit its type: where (a field path, '' the whole) and why (the message). */
export class ValueError extends Error {
  readonly path: string

  constructor(path: string, reason: string) {
    super(reason)
    this.name = 'ValueError'
    this.path = path
  }
}

/** Levels that recursive values may nest, in every encoder, decoder and validator. */
export const NESTING_MAX = 64

const INT64_MIN = -(2n ** 63n)
const INT64_MAX = 2n ** 63n - 1n
const UUID = /^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$/

/** Encodes `value` as a datum of `node`. Throws ValueError. */
export function encodePlain(node: AvroNode, value: unknown): Uint8Array {
  const encoder = new PlainEncoder(false)
  encoder.value(node, value, '', 0)
  return Uint8Array.from(encoder.bytes)
}

/**
 * Encodes the JSON of a schema's default, which knows no logical types: a union takes its first branch, bare, a
 * decimal is the text of its bytes. Throws ValueError.
 */
export function encodeDefault(node: AvroNode, json: unknown): Uint8Array {
  const encoder = new PlainEncoder(true)
  encoder.value(node, json, '', 0)
  return Uint8Array.from(encoder.bytes)
}

class PlainEncoder {
  readonly bytes: number[] = []
  readonly #isDefault: boolean

  constructor(isDefault: boolean) {
    this.#isDefault = isDefault
  }

  value(node: AvroNode, value: unknown, path: string, depth: number): void {
    switch (node.kind) {
      case 'null':
        if (value !== null) throw new ValueError(path, 'null expected')
        return
      case 'boolean':
        if (typeof value !== 'boolean') throw new ValueError(path, 'boolean expected')
        this.bytes.push(value ? 1 : 0)
        return
      case 'int':
        this.#long(BigInt(intOf(value, node.logical, path)))
        return
      case 'long':
        this.#long(longOf(value, node.logical, path))
        return
      case 'float': {
        const number = numberOf(value, path)
        const single = Math.fround(number)
        if (Number.isFinite(number) && !Number.isFinite(single))
          throw new ValueError(path, `${number} exceeds a float`)
        this.bytes.push(...new Uint8Array(Float32Array.of(single).buffer))
        return
      }
      case 'double':
        this.bytes.push(...new Uint8Array(Float64Array.of(numberOf(value, path)).buffer))
        return
      case 'string': {
        if (typeof value !== 'string') throw new ValueError(path, 'string expected')
        if (node.logical === 'uuid' && !UUID.test(value)) throw new ValueError(path, 'not a uuid')
        this.#string(value, path)
        return
      }
      case 'bytes': {
        const isNumber = node.decimal !== undefined && !this.#isDefault
        const bytes = isNumber ? decimalOf(value, node.decimal, path) : bytesOf(value, path)
        this.#long(BigInt(bytes.length))
        this.#append(bytes)
        return
      }
      case 'fixed':
        if (node.decimal !== undefined && !this.#isDefault)
          this.#append(decimalOf(value, node.decimal, path, node.size))
        else if (node.logical === 'uuid' && typeof value === 'string' && UUID.test(value))
          this.#append(Buffer.from(value.replaceAll('-', ''), 'hex'))
        else {
          const bytes = bytesOf(value, path)
          if (bytes.length !== node.size)
            throw new ValueError(path, `${node.size} bytes expected, ${bytes.length} given`)
          this.#append(bytes)
        }
        return
      case 'enum': {
        const index = typeof value === 'string' ? node.symbols.indexOf(value) : -1
        if (index < 0) throw new ValueError(path, `one of ${node.symbols.join(', ')} expected`)
        this.#long(BigInt(index))
        return
      }
      case 'array':
        if (!Array.isArray(value)) throw new ValueError(path, 'array expected')
        if (value.length > 0) this.#long(BigInt(value.length))
        for (const item of value) this.value(node.items, item, `${path}[]`, depth)
        this.bytes.push(0)
        return
      case 'map': {
        const map = objectOf(value, path)
        const keys = Object.keys(map)
        if (keys.length > 0) this.#long(BigInt(keys.length))
        for (const key of keys) {
          this.#string(key, path)
          this.value(node.values, map[key], `${path}{}`, depth)
        }
        this.bytes.push(0)
        return
      }
      case 'union': {
        const { index, inner } = this.#isDefault
          ? { index: 0, inner: value }
          : chooseBranch(node, value, path)
        this.#long(BigInt(index))
        this.value(node.branches[index]!, inner, path, depth)
        return
      }
      case 'record':
        this.#record(node, value, path, depth)
    }
  }

  #record(node: RecordNode, value: unknown, path: string, depth: number): void {
    const inside = node.recursive ? depth + 1 : depth
    if (inside > NESTING_MAX) throw new ValueError(path, `nested deeper than ${NESTING_MAX} levels`)
    const record = objectOf(value, path)
    for (const key of Object.keys(record)) {
      if (!node.fields.some((field) => field.name === key))
        throw new ValueError(join(path, key), 'the schema has no such field')
      if (record[key] === undefined) throw new ValueError(join(path, key), 'undefined')
    }
    for (const field of node.fields) this.#field(field, record, path, inside)
  }

  #field(field: AvroField, record: Record<string, unknown>, path: string, depth: number): void {
    const value = Object.hasOwn(record, field.name) ? record[field.name] : undefined
    if (value !== undefined) this.value(field.node, value, join(path, field.name), depth)
    else if (field.default === undefined)
      throw new ValueError(join(path, field.name), 'missing, and has no default')
    else this.#append(field.default.bytes)
  }

  #string(text: string, path: string): void {
    if (!text.isWellFormed()) throw new ValueError(path, 'a surrogate without its pair')
    const bytes = Buffer.from(text, 'utf8')
    this.#long(BigInt(bytes.length))
    this.#append(bytes)
  }

  #append(bytes: Uint8Array): void {
    for (const byte of bytes) this.bytes.push(byte)
  }

  #long(value: bigint): void {
    let zigzag = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
    while (zigzag >= 0x80n) {
      this.bytes.push(Number(zigzag & 0x7fn) | 0x80)
      zigzag >>= 7n
    }
    this.bytes.push(Number(zigzag))
  }
}

const join = (path: string, field: string): string => (path === '' ? field : `${path}.${field}`)

function objectOf(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array)
    throw new ValueError(path, 'object expected')
  return value as Record<string, unknown>
}

function numberOf(value: unknown, path: string): number {
  if (typeof value === 'bigint') return Number(value)
  if (typeof value !== 'number') throw new ValueError(path, 'number expected')
  return value
}

/** Whole number of an int-like value. */
export function intOf(value: unknown, logical: 'date' | 'time-millis' | undefined, path: string): number {
  let number = value
  if (typeof value === 'string' && logical !== undefined) {
    number = logical === 'date' ? parseDate(value) : parseTime(value, 1000)
    if (number === undefined)
      throw new ValueError(path, `not an ISO-8601 ${logical === 'date' ? 'date' : 'time'}`)
  }
  if (typeof number === 'bigint') number = Number(number)
  if (typeof number !== 'number' || !Number.isInteger(number)) throw new ValueError(path, 'integer expected')
  if (number < -0x80000000 || number > 0x7fffffff) throw new ValueError(path, `${number} exceeds an int`)
  if (logical === 'time-millis' && (number < 0 || number >= 86_400_000))
    throw new ValueError(path, `${number} is not a time of day`)
  return number
}

/** Whole number of a long-like value. */
export function longOf(
  value: unknown,
  logical: 'time-micros' | 'timestamp-millis' | 'timestamp-micros' | undefined,
  path: string,
): bigint {
  if (typeof value === 'bigint') {
    if (value < INT64_MIN || value > INT64_MAX) throw new ValueError(path, `${value} exceeds a long`)
    return timeOfDay(value, logical, path)
  }
  let number = value
  if (typeof value === 'string' && logical !== undefined) {
    if (logical === 'time-micros') number = parseTime(value, 1_000_000)
    else number = parseTimestamp(value, logical === 'timestamp-millis' ? 1000 : 1_000_000)
    if (number === undefined)
      throw new ValueError(
        path,
        logical === 'time-micros' ? 'not an ISO-8601 time' : 'not an ISO-8601 timestamp with its zone',
      )
  }
  if (typeof number !== 'number' || !Number.isInteger(number)) throw new ValueError(path, 'integer expected')
  // A double beyond 2^53 is not the number that was written; the JSON door reads such ones as bigint.
  if (!Number.isSafeInteger(number)) throw new ValueError(path, `${number} is not exact`)
  return timeOfDay(BigInt(number), logical, path)
}

function timeOfDay(value: bigint, logical: string | undefined, path: string): bigint {
  if (logical === 'time-micros' && (value < 0n || value >= 86_400_000_000n))
    throw new ValueError(path, `${value} is not a time of day`)
  return value
}

/** Bytes of a bytes-like value. */
export function bytesOf(value: unknown, path: string): Uint8Array {
  if (value instanceof Uint8Array) return value
  if (typeof value !== 'string') throw new ValueError(path, 'string expected')
  const bytes = new Uint8Array(value.length)
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i)
    if (code > 0xff) throw new ValueError(path, 'a character above U+00FF')
    bytes[i] = code
  }
  return bytes
}

/** Two's complement, big-endian, of a decimal: as short as can be, or `size` bytes. */
export function decimalOf(value: unknown, decimal: DecimalType, path: string, size?: number): Uint8Array {
  if (typeof value !== 'string' && (typeof value !== 'number' || !Number.isFinite(value)))
    throw new ValueError(path, 'number or decimal text expected')
  const unscaled = parseDecimal(String(value), decimal.scale)
  if (unscaled === undefined)
    throw new ValueError(path, `not a decimal of at most ${decimal.scale} digits after the point`)
  const magnitude = unscaled < 0n ? -unscaled : unscaled
  if (magnitude >= 10n ** BigInt(decimal.precision))
    throw new ValueError(path, `more than ${decimal.precision} digits`)
  let length = size ?? 1
  if (size === undefined) while (BigInt.asIntN(8 * length, unscaled) !== unscaled) length++
  const bytes = new Uint8Array(length)
  let rest = unscaled
  for (let i = length - 1; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn)
    rest >>= 8n
  }
  return bytes
}

/**
 * Branch of a union for a value in Avro JSON (`{"double": 1.5}`, the short name of a named type also) or bare.
 * An object with one key that names a branch is the Avro JSON form, unless a record branch has a field of
 * that name. A bare value takes the first branch of its shape.
 */
export function chooseBranch(
  node: UnionNode,
  value: unknown,
  path: string,
): { index: number; inner: unknown } {
  if (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Uint8Array)
  ) {
    const keys = Object.keys(value)
    if (keys.length === 1) {
      const key = keys[0]!
      const isField = node.branches.some((b) => b.kind === 'record' && b.fields.some((f) => f.name === key))
      const index = isField ? -1 : node.branches.findIndex((branch) => isNamed(branch, key))
      if (index >= 0) return { index, inner: (value as Record<string, unknown>)[key] }
    }
  }
  const index = node.branches.findIndex((branch) => hasShape(branch, value))
  if (index < 0) throw new ValueError(path, `${describe(value)} fits no branch of the union`)
  return { index, inner: value }
}

function describe(value: unknown): string {
  return value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`
}

function isNamed(branch: AvroNode, key: string): boolean {
  if (branch.kind === 'record' || branch.kind === 'enum' || branch.kind === 'fixed')
    return branch.name === key || branch.name.endsWith(`.${key}`)
  return branch.kind === key
}

function hasShape(branch: AvroNode, value: unknown): boolean {
  switch (branch.kind) {
    case 'null':
      return value === null
    case 'boolean':
      return typeof value === 'boolean'
    case 'int':
      return (
        (typeof value === 'number' && value === (value | 0)) ||
        (typeof value === 'bigint' && BigInt.asIntN(32, value) === value) ||
        (typeof value === 'string' && branch.logical !== undefined)
      )
    case 'long':
      return (
        typeof value === 'bigint' ||
        (typeof value === 'number' && Number.isSafeInteger(value)) ||
        (typeof value === 'string' && branch.logical !== undefined)
      )
    case 'float':
    case 'double':
      return typeof value === 'number' || typeof value === 'bigint'
    case 'string':
      return typeof value === 'string'
    case 'bytes':
    case 'fixed':
      return (
        typeof value === 'string' ||
        value instanceof Uint8Array ||
        (typeof value === 'number' && branch.decimal !== undefined)
      )
    case 'enum':
      return typeof value === 'string' && branch.symbols.includes(value)
    case 'array':
      return Array.isArray(value)
    case 'map':
    case 'record':
      return (
        typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
      )
    default:
      return false
  }
}
