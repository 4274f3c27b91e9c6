// JSON whose integers stay exact. Iceberg's metadata holds 64-bit integers (snapshot ids of other engines
// are random over the whole range), which JSON.parse alone would round to the nearest double.
//
// An integer is a number where that is exact and a bigint only above 2^53, so that `===` compares ids and
// the ids of ours (always below 2^53) never cost a bigint.

/** A 64-bit integer: a number if and only if it is a safe integer. */
export type Int64 = number | bigint

/** The one form of an int64: see the head of this file. */
export function toInt64(value: Int64): Int64 {
  if (typeof value === 'number') return value
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER)
    ? Number(value)
    : value
}

// ECMAScript "JSON.parse source text access" (stage 4, in V8 since 11.4); TypeScript's ES2024 library lacks it.
const json = JSON as unknown as {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { source?: string }) => unknown,
  ): unknown
  rawJSON(text: string): unknown
}

const INTEGER = /^-?\d+$/

/** Parses, with every integer beyond 2^53 as a bigint. Throws SyntaxError. */
export function parseJson(text: string): unknown {
  return json.parse(text, (_key, value, context) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && INTEGER.test(context.source ?? '')
      ? BigInt(context.source!)
      : value,
  )
}

/** Prints, with bigints as plain JSON integers. */
export function printJson(value: unknown): string {
  return JSON.stringify(value, (_key, one: unknown) =>
    typeof one === 'bigint' ? json.rawJSON(one.toString()) : one,
  )
}
