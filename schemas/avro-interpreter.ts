// Walks a schema's nodes over the bytes of a datum, one step at a time: says what is wrong, in which field and
// where. It is the oracle of the generated validator (avro-validate.ts), which must give the same code for any
// bytes, and the cold path that names field and offset of a refused payload. Written for clarity: values are
// BigInt where they may be long, text goes through the platform's decoder.
import {
  BLOCK_COUNT,
  BLOCK_SIZE,
  BOOLEAN_VALUE,
  DECIMAL,
  EMPTY_ITEMS_MAX,
  ENUM_INDEX,
  INT_RANGE,
  LENGTH_NEGATIVE,
  LONG_RANGE,
  NESTING,
  REASONS,
  TIME_OF_DAY,
  TRAILING,
  TRUNCATED,
  UNION_INDEX,
  UTF8,
  UUID,
  VARINT_TOO_LONG,
} from './avro-codes.ts'
import { NESTING_MAX } from './avro-encode.ts'
import type { AvroNode } from './avro-node.ts'
import { minimumSize } from './avro-size.ts'

export interface DatumFailure {
  /** One of avro-codes.ts, never VALID. */
  code: number
  reason: string
  /** `location.lat`, `items[]`, `labels{}`; '' is the whole datum. */
  path: string
  /** Where the offending part begins, counted from the start of the datum. */
  offset: number
}

/** Undefined when exactly bytes[start, end) is one datum of `node`, else the first thing that is wrong. */
export function interpret(
  node: AvroNode,
  bytes: Uint8Array,
  start: number,
  end: number,
): DatumFailure | undefined {
  const walk = new Walk(bytes, start, end)
  try {
    walk.value(node, '', 0)
    if (walk.at !== end) walk.fail(TRAILING, '', walk.at)
    return undefined
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return { code: error.code, reason: REASONS[error.code]!, path: error.path, offset: error.at - start }
  }
}

class Fault extends Error {
  readonly code: number
  readonly path: string
  readonly at: number

  constructor(code: number, path: string, at: number) {
    super(REASONS[code])
    this.code = code
    this.path = path
    this.at = at
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true })
const UUID_TEXT = /^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/

class Walk {
  at: number
  readonly #bytes: Uint8Array
  readonly #end: number

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.#bytes = bytes
    this.at = start
    this.#end = end
  }

  fail(code: number, path: string, at: number): never {
    throw new Fault(code, path, at)
  }

  value(node: AvroNode, path: string, depth: number): void {
    const from = this.at
    switch (node.kind) {
      case 'null':
        return
      case 'boolean': {
        const byte = this.#skip(1, path)
        if (this.#bytes[byte]! > 1) this.fail(BOOLEAN_VALUE, path, from)
        return
      }
      case 'int': {
        const value = this.#varint(path, 5)
        if (node.logical === 'time-millis' && (value < 0n || value >= 86_400_000n))
          this.fail(TIME_OF_DAY, path, from)
        return
      }
      case 'long': {
        const value = this.#varint(path, 10)
        if (node.logical === 'time-micros' && (value < 0n || value >= 86_400_000_000n))
          this.fail(TIME_OF_DAY, path, from)
        return
      }
      case 'float':
        this.#skip(4, path)
        return
      case 'double':
        this.#skip(8, path)
        return
      case 'string':
        this.#string(path, node.logical === 'uuid')
        return
      case 'bytes': {
        const length = this.#length(path)
        const at = this.#skip(length, path)
        if (node.decimal !== undefined) this.#decimal(at, node.decimal.precision, path)
        return
      }
      case 'fixed': {
        const at = this.#skip(node.size, path)
        if (node.decimal !== undefined) this.#decimal(at, node.decimal.precision, path)
        return
      }
      case 'enum':
        this.#index(node.symbols.length, ENUM_INDEX, path)
        return
      case 'array':
        this.#blocks(minimumSize(node.items), path, () => this.value(node.items, `${path}[]`, depth))
        return
      case 'map':
        this.#blocks(1 + minimumSize(node.values), path, () => {
          this.#string(path, false)
          this.value(node.values, `${path}{}`, depth)
        })
        return
      case 'union':
        this.value(node.branches[this.#index(node.branches.length, UNION_INDEX, path)]!, path, depth)
        return
      case 'record': {
        const inside = node.recursive ? depth + 1 : depth
        if (inside > NESTING_MAX) this.fail(NESTING, path, from)
        for (const field of node.fields)
          this.value(field.node, path === '' ? field.name : `${path}.${field.name}`, inside)
      }
    }
  }

  /** Moves over `count` bytes; returns where they begin. */
  #skip(count: number, path: string): number {
    const at = this.at
    if (count > this.#end - at) this.fail(TRUNCATED, path, at)
    this.at += count
    return at
  }

  #varint(path: string, bytesMax: 5 | 10): bigint {
    const from = this.at
    let value = 0n
    for (let i = 0; i < bytesMax; i++) {
      if (this.at >= this.#end) this.fail(TRUNCATED, path, from)
      const byte = this.#bytes[this.at++]!
      value |= BigInt(byte & 0x7f) << BigInt(7 * i)
      if (byte >= 0x80) continue
      if (value >> (bytesMax === 5 ? 32n : 64n) !== 0n)
        this.fail(bytesMax === 5 ? INT_RANGE : LONG_RANGE, path, from)
      return (value >> 1n) ^ -(value & 1n)
    }
    return this.fail(VARINT_TOO_LONG, path, from)
  }

  #length(path: string): number {
    const from = this.at
    const length = this.#varint(path, 10)
    if (length < 0n) this.fail(LENGTH_NEGATIVE, path, from)
    if (length > BigInt(this.#end - this.at)) this.fail(TRUNCATED, path, from)
    return Number(length)
  }

  #index(count: number, code: number, path: string): number {
    const from = this.at
    const index = Number(this.#varint(path, 5))
    if (index < 0 || index >= count) this.fail(code, path, from)
    return index
  }

  #string(path: string, isUuid: boolean): void {
    const from = this.at
    const length = this.#length(path)
    const at = this.#skip(length, path)
    const text = this.#bytes.slice(at, this.at)
    if (isUuid) {
      if (!UUID_TEXT.test(Buffer.from(text).toString('latin1'))) this.fail(UUID, path, from)
      return
    }
    try {
      decoder.decode(text)
    } catch {
      this.fail(UTF8, path, from)
    }
  }

  #decimal(at: number, precision: number, path: string): void {
    if (at === this.at) this.fail(DECIMAL, path, at)
    // A precision that no table holds is not bounded further than by its bytes.
    if (precision > 38) return
    let value = this.#bytes[at]! >= 0x80 ? -1n : 0n
    for (let p = at; p < this.at; p++) value = (value << 8n) | BigInt(this.#bytes[p]!)
    if ((value < 0n ? -value : value) >= 10n ** BigInt(precision)) this.fail(DECIMAL, path, at)
  }

  #blocks(minimum: number, path: string, item: () => void): void {
    let total = 0
    for (;;) {
      const from = this.at
      let count = this.#varint(path, 10)
      if (count === 0n) return
      let stop = -1
      if (count < 0n) {
        count = -count
        const sizeFrom = this.at
        const size = this.#varint(path, 10)
        if (size < 0n) this.fail(BLOCK_SIZE, path, sizeFrom)
        if (size > BigInt(this.#end - this.at)) this.fail(TRUNCATED, path, sizeFrom)
        stop = this.at + Number(size)
      }
      if (minimum > 0) {
        if (count * BigInt(minimum) > BigInt(this.#end - this.at)) this.fail(TRUNCATED, path, from)
      } else if (count > BigInt(EMPTY_ITEMS_MAX - total)) this.fail(BLOCK_COUNT, path, from)
      total += Number(count)
      for (let i = 0n; i < count; i++) item()
      if (stop >= 0 && this.at !== stop) this.fail(BLOCK_SIZE, path, from)
    }
  }
}
