// Values of the golden tables (golden-tables.ts): each as avsc encodes it and as the rows file says it.
import avsc from 'avsc'

const DAY_MS = 86_400_000

/** A JSON number as it stands, or any JSON value. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | bigint
  | RawNumber
  | Plain[]
  | { [name: string]: Plain }

/** -0.0, which JSON.stringify would make 0. */
export class RawNumber {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export function print(value: Plain): string {
  if (value instanceof RawNumber) return value.text
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return `[${value.map(print).join(',')}]`
  if (value !== null && typeof value === 'object')
    return `{${Object.entries(value)
      .map(([name, one]) => `${JSON.stringify(name)}:${print(one)}`)
      .join(',')}}`
  return JSON.stringify(value)
}

/** A value as avsc encodes it (longs and timestamps bigint, bytes Buffer), and as the rows file says it. */
export interface Cell {
  avro: unknown
  plain: Plain
}

export const same = (value: null | boolean | string | bigint): Cell => ({ avro: value, plain: value })
export const int = (value: number): Cell => ({ avro: value, plain: value })

export function float(value: number): Cell {
  if (Number.isNaN(value)) return { avro: value, plain: 'nan' }
  if (!Number.isFinite(value)) return { avro: value, plain: value > 0 ? 'inf' : '-inf' }
  return { avro: value, plain: Object.is(value, -0) ? new RawNumber('-0.0') : value }
}

export const bytes = (value: Buffer): Cell => ({ avro: value, plain: value.toString('hex') })
export const date = (days: number): Cell => ({
  avro: days,
  plain: new Date(days * DAY_MS).toISOString().slice(0, 10),
})

/** The unscaled value as Avro writes it: the least two's complement, or `size` bytes of a fixed. */
export function decimal(unscaled: bigint, scale: number, size?: number): Cell {
  let length = size ?? 1
  if (size === undefined) while (BigInt.asIntN(8 * length, unscaled) !== unscaled) length++
  const hex = BigInt.asUintN(8 * length, unscaled)
    .toString(16)
    .padStart(2 * length, '0')
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, '0')
  const whole = digits.slice(0, digits.length - scale)
  const text = scale === 0 ? whole : `${whole}.${digits.slice(digits.length - scale)}`
  return { avro: Buffer.from(hex, 'hex'), plain: `${unscaled < 0n ? '-' : ''}${text}` }
}

export type Fields = Record<string, Cell>

const avroOf = (fields: Fields): Record<string, unknown> =>
  Object.fromEntries(Object.entries(fields).map(([name, cell]) => [name, cell.avro]))
export const plainOf = (fields: Fields): Record<string, Plain> =>
  Object.fromEntries(Object.entries(fields).map(([name, cell]) => [name, cell.plain]))
export const struct = (fields: Fields): Cell => ({ avro: avroOf(fields), plain: plainOf(fields) })
export const list = (cells: Cell[]): Cell => ({
  avro: cells.map((cell) => cell.avro),
  plain: cells.map((cell) => cell.plain),
})

/** avsc with 64-bit integers as bigint; logical types are left as what they are over. */
const longType = (avsc.types.LongType as unknown as { __with(methods: object): avsc.Type }).__with({
  fromBuffer: (buffer: Buffer) => buffer.readBigInt64LE(),
  toBuffer: (value: bigint) => {
    const buffer = Buffer.alloc(8)
    buffer.writeBigInt64LE(value)
    return buffer
  },
  fromJSON: BigInt,
  toJSON: Number,
  isValid: (value: unknown) => typeof value === 'bigint',
  compare: (a: bigint, b: bigint) => (a < b ? -1 : a > b ? 1 : 0),
})

/** The schema without logical types over primitives: avsc would not look up its `long` in the registry. */
function physical(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(physical)
  if (typeof schema !== 'object' || schema === null) return schema
  const { logicalType, type, ...rest } = schema as Record<string, unknown>
  if (logicalType !== undefined && type !== 'fixed') return type
  const all = Object.entries({ type, ...rest }).map(([key, value]) => [key, physical(value)])
  return Object.fromEntries(all.filter(([, value]) => value !== undefined))
}

export function encoderOf(schema: string, id: number): (fields: Fields) => Uint8Array {
  const type = avsc.Type.forSchema(physical(JSON.parse(schema)) as avsc.Schema, {
    registry: { long: longType },
    wrapUnions: 'never',
    logicalTypes: {},
  })
  const frame = Buffer.alloc(5)
  frame.writeInt32BE(id, 1)
  return (fields) => Buffer.concat([frame, type.toBuffer(avroOf(fields))])
}

export const logical = (type: string, logicalType: string): object => ({ type, logicalType })
export const decimalSchema = (precision: number, scale: number): object => ({
  type: 'bytes',
  logicalType: 'decimal',
  precision,
  scale,
})
export const optional = (name: string, type: unknown): object => ({
  name,
  type: ['null', type],
  default: null,
})
export const record = (name: string, fields: unknown[]): string =>
  JSON.stringify({ type: 'record', name, fields })

export const EVENT_TIME = { name: 'event_time', type: logical('long', 'timestamp-micros') }
