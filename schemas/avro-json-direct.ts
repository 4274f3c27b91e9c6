// JSON text → Avro binary without values in between, for what devices send all the time: an object of scalars in
// the order of the schema, plain ASCII, numbers of few digits. JSON.parse makes a string, an object and a value for
// each field; here the bytes are read once and written once.
//
// It is a short cut and never a judge: whatever it does not know (another order, escapes, exponents, nested values,
// times as text, anything malformed) it answers with NOT_DIRECT, and avro-json.ts goes the long way. Where it gives
// a position, the bytes are those that the long way gives (avro-json.test.ts compares them).
//
// Numbers. An integer is taken while it is a safe one. A decimal number of at most 15 digits is an integer below
// 2^53 divided by a power of ten up to 10^15: both are exact doubles and IEEE division rounds correctly, so the
// quotient is the double nearest to the text (W. D. Clinger, How to read floating point numbers accurately, 1990).
import { writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import { type AvroNode, nullableOf } from './avro-node.ts'
import { writeDouble, writeFloat, writeRaw } from './avro-value-encoder.ts'

export const NOT_DIRECT = -1

/** Encodes bytes[start, end) into `into` from `at` on: the position after it, or NOT_DIRECT. */
export type DirectEncoder = (
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Uint8Array,
  at: number,
) => number

const QUOTE = 0x22
const COMMA = 0x2c
const MINUS = 0x2d
const POINT = 0x2e
const ZERO = 0x30
const COLON = 0x3a
const BACKSLASH = 0x5c
const OPEN = 0x7b
const CLOSE = 0x7d
const SPACE = 0x20
const LOWER_F = 0x66
const LOWER_N = 0x6e
const LOWER_T = 0x74

const INT = 0
const LONG = 1
const FLOAT = 2
const DOUBLE = 3
const STRING = 4
const ENUM = 5
const BOOLEAN = 6

/** Digits that an int32 always holds. */
const CHUNK_DIGITS = 9
/** Digits of a decimal number whose integer is below 2^53 whatever they are. */
const DECIMAL_DIGITS_MAX = 15
const POWERS = Array.from({ length: DECIMAL_DIGITS_MAX + 1 }, (_, i) => 10 ** i)
/** Bytes that a value may take beyond its text: a double of one digit, a branch, a length. */
const FIELD_BYTES_MAX = 12

interface DirectField {
  /** `"name"`, quotes included. */
  key: Uint8Array
  kind: number
  /** Zigzag-coded branch of null and of the value; -1 where the field is no union. */
  nullCode: number
  valueCode: number
  symbols: readonly Uint8Array[]
  /** What stands for the field when it is missing. */
  absent: Uint8Array | undefined
}

const ascii = (text: string): Uint8Array => new TextEncoder().encode(text)
/** A name that objects answer to by themselves is left to the long way. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype))

function scalarKind(node: AvroNode): number {
  switch (node.kind) {
    case 'int':
      return node.logical === undefined ? INT : -1
    case 'long':
      return node.logical === 'time-micros' ? -1 : LONG
    case 'float':
      return FLOAT
    case 'double':
      return DOUBLE
    case 'string':
      return node.logical === undefined ? STRING : -1
    case 'enum':
      return ENUM
    case 'boolean':
      return BOOLEAN
    default:
      return -1
  }
}

/** The encoder for a schema, undefined where it has fields that are not for it. */
export function createDirectEncoder(node: AvroNode): DirectEncoder | undefined {
  if (node.kind !== 'record' || node.recursive) return undefined
  const fields: DirectField[] = []
  for (const field of node.fields) {
    const nullable = field.node.kind === 'union' ? nullableOf(field.node) : undefined
    const value = nullable?.value ?? field.node
    const kind = scalarKind(value)
    if (kind < 0 || INHERITED.has(field.name)) return undefined
    fields.push({
      key: ascii(`"${field.name}"`),
      kind,
      nullCode: nullable === undefined ? -1 : 2 * nullable.nullIndex,
      valueCode: nullable === undefined ? -1 : 2 * nullable.valueIndex,
      symbols: value.kind === 'enum' ? value.symbols.map((symbol) => ascii(`"${symbol}"`)) : [],
      absent: field.default?.bytes,
    })
  }
  const encoder = new Direct(fields)
  return (bytes, start, end, into, at) => encoder.encode(bytes, start, end, into, at)
}

class Direct {
  readonly #fields: readonly DirectField[]
  /** Bytes that may be written beyond the length of the text. */
  readonly #room: number
  /** Position in the text, after the value that was read last. */
  #p = 0

  constructor(fields: readonly DirectField[]) {
    this.#fields = fields
    this.#room = fields.reduce((sum, { absent }) => sum + Math.max(FIELD_BYTES_MAX, absent?.length ?? 0), 0)
  }

  encode(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number {
    const fields = this.#fields
    if (at + (end - start) + this.#room > into.length) return NOT_DIRECT
    let p = skipSpace(bytes, start, end)
    if (p >= end || bytes[p] !== OPEN) return NOT_DIRECT
    p = skipSpace(bytes, p + 1, end)
    let out = at
    let isFirst = true
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]!
      let from = p
      if (!isFirst) {
        if (p >= end || bytes[p] !== COMMA) from = -1
        else from = skipSpace(bytes, p + 1, end)
      }
      if (from < 0 || !startsWith(bytes, from, end, field.key)) {
        // Missing, or at another place: then what comes next fits no later field, and the end is not reached.
        if (field.absent === undefined) return NOT_DIRECT
        out = writeRaw(into, out, field.absent)
        continue
      }
      isFirst = false
      p = skipSpace(bytes, from + field.key.length, end)
      if (p >= end || bytes[p] !== COLON) return NOT_DIRECT
      p = skipSpace(bytes, p + 1, end)
      if (p >= end) return NOT_DIRECT
      if (field.nullCode >= 0) {
        if (bytes[p] === LOWER_N) {
          if (!isNull(bytes, p, end)) return NOT_DIRECT
          into[out++] = field.nullCode
          p = skipSpace(bytes, p + 4, end)
          continue
        }
        into[out++] = field.valueCode
      }
      out = this.#value(field, bytes, p, end, into, out)
      if (out < 0) return NOT_DIRECT
      p = skipSpace(bytes, this.#p, end)
    }
    if (p >= end || bytes[p] !== CLOSE) return NOT_DIRECT
    return skipSpace(bytes, p + 1, end) === end ? out : NOT_DIRECT
  }

  #value(
    field: DirectField,
    bytes: Uint8Array,
    p: number,
    end: number,
    into: Uint8Array,
    out: number,
  ): number {
    switch (field.kind) {
      case DOUBLE: {
        const value = this.#number(bytes, p, end)
        return this.#p < 0 ? NOT_DIRECT : writeDouble(into, out, value)
      }
      case LONG: {
        const value = this.#integer(bytes, p, end)
        return this.#p < 0 ? NOT_DIRECT : writeZigzagLong(into, out, value)
      }
      case INT: {
        const value = this.#integer(bytes, p, end)
        return this.#p < 0 || (value | 0) !== value ? NOT_DIRECT : writeZigzagInt(into, out, value)
      }
      case FLOAT: {
        const value = this.#number(bytes, p, end)
        return this.#p < 0 ? NOT_DIRECT : writeFloat(into, out, value)
      }
      case STRING:
        return this.#string(bytes, p, end, into, out)
      case ENUM: {
        const { symbols } = field
        for (let i = 0; i < symbols.length; i++) {
          if (!startsWith(bytes, p, end, symbols[i]!)) continue
          this.#p = p + symbols[i]!.length
          return writeZigzagInt(into, out, i)
        }
        return NOT_DIRECT
      }
      default:
        return this.#boolean(bytes, p, end, into, out)
    }
  }

  /** A safe integer; `#p` -1 where it is none, or no plain one. */
  #integer(bytes: Uint8Array, start: number, end: number): number {
    let p = start
    const isNegative = bytes[p] === MINUS
    if (isNegative) p++
    const first = p
    const value = this.#digits(bytes, p, end)
    p = this.#p
    const digits = p - first
    // A leading zero is no JSON; a point or an exponent is for the long way.
    if (digits === 0 || digits > 16 || value > Number.MAX_SAFE_INTEGER || !isEndOfValue(bytes, p, end))
      this.#p = -1
    else if (digits > 1 && bytes[first] === ZERO) this.#p = -1
    return isNegative ? -value : value
  }

  #number(bytes: Uint8Array, start: number, end: number): number {
    let p = start
    const isNegative = bytes[p] === MINUS
    if (isNegative) p++
    const first = p
    let value = this.#digits(bytes, p, end)
    p = this.#p
    let digits = p - first
    if (digits === 0 || (digits > 1 && bytes[first] === ZERO)) {
      this.#p = -1
      return 0
    }
    if (p < end && bytes[p] === POINT) {
      const point = p + 1
      const part = this.#digits(bytes, point, end)
      p = this.#p
      const places = p - point
      digits += places
      if (places === 0 || digits > DECIMAL_DIGITS_MAX) {
        this.#p = -1
        return 0
      }
      value = (value * POWERS[places]! + part) / POWERS[places]!
    }
    if (digits > DECIMAL_DIGITS_MAX || !isEndOfValue(bytes, p, end)) this.#p = -1
    return isNegative ? -value : value
  }

  /** The digits from `p` on, exact up to 2^53; `#p` is left after them. Nine at a time stay small integers. */
  #digits(bytes: Uint8Array, start: number, end: number): number {
    let p = start
    let value = 0
    for (;;) {
      let chunk = 0
      const from = p
      const to = Math.min(p + CHUNK_DIGITS, end)
      while (p < to) {
        const digit = bytes[p]! - ZERO
        if (digit >>> 0 > 9) break
        chunk = chunk * 10 + digit
        p++
      }
      const count = p - from
      value = value === 0 ? chunk : value * POWERS[count]! + chunk
      if (count < CHUNK_DIGITS) break
    }
    this.#p = p
    return value
  }

  #string(bytes: Uint8Array, start: number, end: number, into: Uint8Array, out: number): number {
    if (bytes[start] !== QUOTE) return NOT_DIRECT
    let p = start + 1
    while (p < end) {
      const byte = bytes[p]!
      if (byte === QUOTE) break
      if (byte < SPACE || byte >= 0x80 || byte === BACKSLASH) return NOT_DIRECT
      p++
    }
    if (p >= end) return NOT_DIRECT
    const length = p - start - 1
    let at = writeZigzagInt(into, out, length)
    for (let i = start + 1; i < p; i++) into[at++] = bytes[i]!
    this.#p = p + 1
    return at
  }

  #boolean(bytes: Uint8Array, p: number, end: number, into: Uint8Array, out: number): number {
    const first = bytes[p]
    const word = first === LOWER_T ? TRUE : first === LOWER_F ? FALSE : undefined
    if (word === undefined || !startsWith(bytes, p, end, word)) return NOT_DIRECT
    into[out] = word === TRUE ? 1 : 0
    this.#p = p + word.length
    return out + 1
  }
}

const TRUE = ascii('true')
const FALSE = ascii('false')

function isNull(bytes: Uint8Array, p: number, end: number): boolean {
  return p + 4 <= end && bytes[p + 1] === 0x75 && bytes[p + 2] === 0x6c && bytes[p + 3] === 0x6c
}

function startsWith(bytes: Uint8Array, p: number, end: number, word: Uint8Array): boolean {
  const { length } = word
  if (p + length > end) return false
  for (let i = 0; i < length; i++) if (bytes[p + i] !== word[i]) return false
  return true
}

/** JSON's white space: space, tab, line feed, carriage return. */
function skipSpace(bytes: Uint8Array, start: number, end: number): number {
  let p = start
  while (p < end) {
    const byte = bytes[p]!
    if (byte > SPACE || (byte !== SPACE && byte !== 0x0a && byte !== 0x0d && byte !== 0x09)) break
    p++
  }
  return p
}

function isEndOfValue(bytes: Uint8Array, p: number, end: number): boolean {
  if (p >= end) return false
  const byte = bytes[p]!
  return byte === COMMA || byte === CLOSE || byte <= SPACE
}
