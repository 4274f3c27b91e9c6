// What compiled CEL calls at run time: exact int64 arithmetic on numbers, conversions, lookups, and CEL's errors.
//
// An int is a number while it is safe (|n| < 2^53) and a bigint beyond, always in that one form, so that the
// common case never allocates and the rare one is still exact. Errors are thrown as CelFailure, which carries no
// stack: a device whose values make a rule fail must not be able to make it slow.

/** The error value of CEL. Compiled code throws it; `CelProgram.evaluate` returns it. */
export class CelFailure {
  readonly reason: string

  constructor(reason: string) {
    this.reason = reason
  }
}

export type CelInt = number | bigint

const INT_MIN = -(2n ** 63n)
const INT_MAX = 2n ** 63n - 1n
/** Doubles at or beyond these convert to no int64 (CEL specification, "int(double)"). */
const INT_DOUBLE_LIMIT = 2 ** 63

export const INT_OVERFLOW = new CelFailure('int overflow')
export const DIVIDE_BY_ZERO = new CelFailure('int divide by zero')
export const MODULUS_BY_ZERO = new CelFailure('int modulus by zero')
export const NULL_OPERAND = new CelFailure('no such overload: a value is null')
export const NO_SUCH_KEY = new CelFailure('no such key')
export const OUT_OF_BOUNDS = new CelFailure('index out of bounds')
export const NOT_A_NUMBER = new CelFailure('text is not a number')
export const NOT_A_BOOL = new CelFailure('text is not a bool')
export const TIMESTAMP_RANGE = new CelFailure('timestamp out of range')

/** Years 0001 to 9999 in microseconds (google.protobuf.Timestamp). */
const TIMESTAMP_MICROS_MIN = -62135596800000000n
const TIMESTAMP_MICROS_MAX = 253402300799999999n

function fromBig(value: bigint): CelInt {
  if (value >= -9007199254740991n && value <= 9007199254740991n) return Number(value)
  if (value < INT_MIN || value > INT_MAX) throw INT_OVERFLOW
  return value
}

/** What compiled code reads from a record as an int, brought to the one form. */
function int(value: CelInt): CelInt {
  return typeof value === 'number' ? value : fromBig(value)
}

/** The value, which may not be null here. */
function present<T>(value: T | null | undefined): T {
  if (value === null || value === undefined) throw NULL_OPERAND
  return value
}

function add(left: CelInt, right: CelInt): CelInt {
  if (typeof left === 'number' && typeof right === 'number') {
    const sum = left + right
    if (Number.isSafeInteger(sum)) return sum
  }
  return fromBig(BigInt(left) + BigInt(right))
}

function subtract(left: CelInt, right: CelInt): CelInt {
  if (typeof left === 'number' && typeof right === 'number') {
    const difference = left - right
    if (Number.isSafeInteger(difference)) return difference
  }
  return fromBig(BigInt(left) - BigInt(right))
}

function multiply(left: CelInt, right: CelInt): CelInt {
  if (typeof left === 'number' && typeof right === 'number') {
    const product = left * right
    // `+ 0` turns -0, which is no int, into 0.
    if (Number.isSafeInteger(product)) return product + 0
  }
  return fromBig(BigInt(left) * BigInt(right))
}

function divide(left: CelInt, right: CelInt): CelInt {
  if (right === 0) throw DIVIDE_BY_ZERO
  // Exact for safe integers: the quotient's error is below the distance to the next integer.
  if (typeof left === 'number' && typeof right === 'number') return (left - (left % right)) / right + 0
  return fromBig(BigInt(left) / BigInt(right))
}

function modulo(left: CelInt, right: CelInt): CelInt {
  if (right === 0) throw MODULUS_BY_ZERO
  if (typeof left === 'number' && typeof right === 'number') return (left % right) + 0
  return fromBig(BigInt(left) % BigInt(right))
}

function negate(value: CelInt): CelInt {
  return typeof value === 'number' ? 0 - value : fromBig(-value)
}

/** int(double): towards zero. */
function intOfDouble(value: number): CelInt {
  if (!(value > -INT_DOUBLE_LIMIT && value < INT_DOUBLE_LIMIT)) throw INT_OVERFLOW
  const whole = Math.trunc(value) + 0
  return Number.isSafeInteger(whole) ? whole : fromBig(BigInt(whole))
}

const INT_TEXT = /^[+-]?\d{1,19}$/
const DOUBLE_TEXT = /^[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)$/

/** int(string): decimal digits with an optional sign. */
export function intOfString(text: string): CelInt {
  if (!INT_TEXT.test(text)) throw NOT_A_NUMBER
  return fromBig(BigInt(text.startsWith('+') ? text.slice(1) : text))
}

/** double(string): a decimal number, NaN, Inf or Infinity. */
export function doubleOfString(text: string): number {
  if (DOUBLE_TEXT.test(text)) return Number(text)
  switch (text.toLowerCase()) {
    case 'nan':
      return Number.NaN
    case 'inf':
    case '+inf':
    case 'infinity':
    case '+infinity':
      return Number.POSITIVE_INFINITY
    case '-inf':
    case '-infinity':
      return Number.NEGATIVE_INFINITY
  }
  throw NOT_A_NUMBER
}

function boolOfString(text: string): boolean {
  switch (text) {
    case 'true':
    case 'True':
    case 'TRUE':
    case 't':
    case '1':
      return true
    case 'false':
    case 'False':
    case 'FALSE':
    case 'f':
    case '0':
      return false
  }
  throw NOT_A_BOOL
}

/** Microseconds since the epoch of a timestamp that a record holds in the given unit. */
export function timestampMicros(value: CelInt, unit: 'millis' | 'micros' | undefined): CelInt {
  const micros = unit === 'millis' ? multiply(int(value), 1000) : int(value)
  if (micros < TIMESTAMP_MICROS_MIN || micros > TIMESTAMP_MICROS_MAX) throw TIMESTAMP_RANGE
  return micros
}

const timestampOfMillis = (value: CelInt): CelInt => timestampMicros(value, 'millis')
const timestampOfMicros = (value: CelInt): CelInt => timestampMicros(value, 'micros')

/** int(timestamp): whole seconds since the epoch, rounded down. */
function secondsOf(micros: CelInt): CelInt {
  return typeof micros === 'number'
    ? Math.floor(micros / 1e6)
    : fromBig((micros - mod(micros, 1000000n)) / 1000000n)
}

const mod = (value: bigint, by: bigint): bigint => ((value % by) + by) % by

/** The nearest double of an Avro decimal (big-endian two's complement, unscaled). */
export function doubleOfDecimal(bytes: Uint8Array, scale: number): number {
  if (bytes.length === 0) return 0
  let unscaled = BigInt(bytes[0]! >= 0x80 ? -1 : 0)
  for (const byte of bytes) unscaled = (unscaled << 8n) | BigInt(byte)
  // Through text: the quotient of two doubles would round twice.
  return Number(`${unscaled}e-${scale}`)
}

function sizeOfString(text: string): number {
  let count = 0
  for (let i = 0; i < text.length; i++) {
    count++
    const unit = text.charCodeAt(i)
    if (unit >= 0xd800 && unit < 0xdc00) {
      const next = text.charCodeAt(i + 1)
      if (next >= 0xdc00 && next < 0xe000) i++
    }
  }
  return count
}

type CelMapValue = ReadonlyMap<string, unknown> | Readonly<Record<string, unknown>>

function lookup(map: CelMapValue, key: string): unknown {
  if (map instanceof Map) return map.get(key)
  return Object.hasOwn(map, key) ? (map as Record<string, unknown>)[key] : undefined
}

function entry(map: CelMapValue, key: string): unknown {
  const value = lookup(map, key)
  if (value === undefined) throw NO_SUCH_KEY
  return value
}

/** Whether the key is there with a value: a null counts as absent, as the library has it. */
function hasEntry(map: CelMapValue, key: string): boolean {
  const value = lookup(map, key)
  return value !== undefined && value !== null
}

function sizeOfMap(map: CelMapValue): number {
  return map instanceof Map ? map.size : Object.keys(map).length
}

function element(list: readonly unknown[], index: CelInt): unknown {
  if (typeof index !== 'number' || index < 0 || index >= list.length) throw OUT_OF_BOUNDS
  return list[index]
}

/** Loose equality is exact between number and bigint, and null equals only null. */
function inList(list: readonly unknown[], value: unknown): boolean {
  // biome-ignore lint/suspicious/noDoubleEquals: 5 == 5n must hold, and the types are alike otherwise
  for (let i = 0; i < list.length; i++) if (list[i] == value) return true
  return false
}

export function sameBytes(left: Uint8Array | null, right: Uint8Array | null): boolean {
  if (left === null || right === null) return left === right
  return left.length === right.length && left.every((byte, i) => byte === right[i])
}

/** Re-throws what is no CEL error; for the operands of && and ||, which may fail without failing the whole. */
function caught(error: unknown): CelFailure {
  if (error instanceof CelFailure) return error
  throw error
}

/** The table that compiled code gets as `R`. */
export const CEL_RUNTIME = {
  int,
  present,
  add,
  subtract,
  multiply,
  divide,
  modulo,
  negate,
  intOfDouble,
  intOfString,
  doubleOfString,
  boolOfString,
  timestampOfMillis,
  timestampOfMicros,
  secondsOf,
  doubleOfDecimal,
  sizeOfString,
  entry,
  hasEntry,
  sizeOfMap,
  element,
  inList,
  sameBytes,
  caught,
} as const
