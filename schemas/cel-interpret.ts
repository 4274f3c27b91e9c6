// Evaluates checked CEL with the library's interpreter: the oracle of the compiler, and the way for what the
// compiler does not take (comprehensions, matches, durations, map literals …). Correct, and some hundred times
// slower, because every value is converted to the library's own and back.
import {
  type CelInput,
  CelScalar,
  celEnv,
  celFunc,
  isCelError,
  isCelList,
  isCelMap,
  objectType,
  parse,
  plan,
} from '@bufbuild/cel'
import type { CheckedCel } from './cel-check.ts'
import {
  CelFailure,
  type CelInt,
  doubleOfDecimal,
  doubleOfString,
  intOfString,
  timestampMicros,
} from './cel-runtime.ts'
import type { CelFields, CelType } from './cel-types.ts'

const parseTimestamp = plan(celEnv({ variables: { text: CelScalar.STRING } }), parse('timestamp(text)'))

// The library takes any text that JavaScript's Number and BigInt take ("", "0x10", "abc" as NaN), and reads
// timestamp(int) as milliseconds; the CEL specification has decimal numbers or an error, and seconds.
const ENVIRONMENT = celEnv({
  funcs: [
    celFunc('int', [CelScalar.STRING], CelScalar.INT, (text) => strict(() => BigInt(intOfString(text)))),
    celFunc('double', [CelScalar.STRING], CelScalar.DOUBLE, (text) => strict(() => doubleOfString(text))),
    celFunc('timestamp', [CelScalar.INT], objectType('google.protobuf.Timestamp'), (seconds) =>
      strict(() => timestampOf(timestampMicros(seconds * 1000000n, 'micros'))),
    ),
  ],
})

/** The library turns Errors into CEL errors, nothing else. */
function strict<T>(convert: () => T): T {
  try {
    return convert()
  } catch (error) {
    throw error instanceof CelFailure ? new Error(error.reason) : error
  }
}

/** A function from a decoded record to the value (as cel-types.ts has it, timestamps in microseconds) or the failure. */
export function interpretCel(
  checked: CheckedCel,
  fields: CelFields,
): (record: Record<string, unknown>) => unknown {
  const evaluate = plan(ENVIRONMENT, checked.parsed) as (bindings: Record<string, CelInput>) => unknown
  return (record) => {
    try {
      const bindings: Record<string, CelInput> = {}
      for (const name of checked.reads) bindings[name] = toLibrary(record[name], fields.get(name)!)
      const result = evaluate(bindings)
      return isCelError(result) ? new CelFailure(result.message) : fromLibrary(result)
    } catch (error) {
      if (error instanceof CelFailure) return error
      if (error instanceof Error) return new CelFailure(error.message)
      throw error
    }
  }
}

function toLibrary(value: unknown, type: CelType): CelInput {
  if (value === null || value === undefined) return null
  switch (type.kind) {
    case 'int':
      return BigInt(value as CelInt)
    case 'double':
      return type.decimalScale === undefined
        ? (value as number)
        : doubleOfDecimal(value as Uint8Array, type.decimalScale)
    case 'timestamp':
      return timestampOf(timestampMicros(value as CelInt, type.unit))
    case 'list':
      return (value as unknown[]).map((item) => toLibrary(item, type.element))
    case 'map': {
      const entries = value instanceof Map ? value.entries() : Object.entries(value)
      return new Map([...entries].map(([key, item]) => [key as string, toLibrary(item, type.value)]))
    }
    case 'record': {
      const record = value as Record<string, unknown>
      return new Map([...type.fields].map(([name, field]) => [name, toLibrary(record[name], field)]))
    }
  }
  return value as CelInput
}

/** The library's timestamp, which it makes from text only. */
function timestampOf(micros: CelInt): CelInput {
  return parseTimestamp({ text: rfc3339(micros) }) as CelInput
}

function rfc3339(micros: CelInt): string {
  const big = BigInt(micros)
  const rest = ((big % 1000000n) + 1000000n) % 1000000n
  const seconds = new Date(Number((big - rest) / 1000n)).toISOString().slice(0, 19)
  return `${seconds}.${String(rest).padStart(6, '0')}Z`
}

function fromLibrary(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value
  if (isCelList(value)) return [...value].map(fromLibrary)
  if (isCelMap(value)) return new Map([...value].map(([key, item]) => [key, fromLibrary(item)]))
  const message = (value as { message?: { $typeName?: string; seconds?: bigint; nanos?: number } }).message
  if (message?.$typeName === 'google.protobuf.Timestamp') {
    const micros = message.seconds! * 1000000n + BigInt(Math.floor(message.nanos! / 1000))
    return Number.isSafeInteger(Number(micros)) ? Number(micros) : micros
  }
  // Durations and types are means, not results: a rule cannot set a field to one.
  throw new CelFailure('a rule cannot give a value of this type')
}
