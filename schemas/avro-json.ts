// JSON payloads of devices → Avro binary, against the schema. Avro's JSON encoding is understood, and what
// devices really send: bare values in unions, missing fields that have a default, ISO-8601 times, decimals as
// numbers (avro-encode.ts lists it). A field that the schema does not have is refused by name.
//
// An integer too long for a double is read again with all its digits, so that a 64-bit counter arrives exact.
// What needs none of that goes a shorter way (avro-json-direct.ts).
import { encodePlain, ValueError } from './avro-encode.ts'
import { createDirectEncoder } from './avro-json-direct.ts'
import type { AvroNode } from './avro-node.ts'
import { createValueEncoder } from './avro-value-encoder.ts'

export interface JsonFailure {
  /** `location.lat`, `items[]`, `labels{}`; '' is the whole payload. */
  path: string
  reason: string
  /** Byte of the payload where it stops being JSON; only for that. */
  offset?: number
}

export interface JsonEncoder {
  /**
   * Encodes the JSON text bytes[start, end) into `into` from `at` on: the position after the datum, or
   * JSON_REFUSED (-1), or JSON_NO_ROOM (-2) where `into` is too small. Never throws; may scribble on `into`
   * behind `at` when it refuses. `bytes` must not be shared memory.
   */
  encode(bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number): number
  /** What is wrong; undefined where nothing is. Cold. */
  explain(bytes: Uint8Array, start: number, end: number): JsonFailure | undefined
  /** The generated source, for people. */
  readonly source: string
}

export const JSON_REFUSED = -1
export const JSON_NO_ROOM = -2

/** A run of digits that a double may not hold. */
const LONG_DIGITS = /\d{16}/
const INTEGER = /^-?\d+$/

/** JSON.parse's third argument of a reviver (the JSON.parse source text access proposal). */
type Reviver = (key: string, value: unknown, context: { source?: string }) => unknown

/** Integers beyond 2^53 as BigInt, all else as JSON.parse has it. */
function parseExact(text: string): unknown {
  const reviver: Reviver = (_key, value, { source }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && source !== undefined && INTEGER.test(source)
      ? BigInt(source)
      : value
  return JSON.parse(text, reviver as (key: string, value: unknown) => unknown)
}

export function createJsonEncoder(node: AvroNode): JsonEncoder {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const { encode, source } = createValueEncoder(node)
  const direct = createDirectEncoder(node)
  return {
    source,
    encode(bytes, start, end, into, at) {
      let position = direct === undefined ? -1 : direct(bytes, start, end, into, at)
      if (position >= 0) return position
      try {
        const text = decoder.decode(bytes.subarray(start, end))
        position = encode(JSON.parse(text), into, at)
        if (position < 0 && LONG_DIGITS.test(text)) position = encode(parseExact(text), into, at)
      } catch {
        return JSON_REFUSED
      }
      return position > into.length ? JSON_NO_ROOM : position < 0 ? JSON_REFUSED : position
    },
    explain(bytes, start, end) {
      let text: string
      try {
        text = decoder.decode(bytes.subarray(start, end))
      } catch {
        return { path: '', reason: 'not UTF-8' }
      }
      let value: unknown
      try {
        value = parseExact(text)
      } catch (error) {
        const { message } = error as Error
        const position = /at position (\d+)/.exec(message)?.[1]
        const offset =
          position === undefined
            ? Buffer.byteLength(text)
            : Buffer.byteLength(text.slice(0, Number(position)))
        return { path: '', reason: 'not JSON', offset }
      }
      try {
        encodePlain(node, value)
        return undefined
      } catch (error) {
        if (!(error instanceof ValueError)) throw error
        return { path: error.path, reason: error.message }
      }
    },
  }
}
