// A query's result as an Arrow IPC file (Feather V2), for pandas, polars, R, DuckDB and whatever else reads Arrow.
// Types keep their meaning: times stay microseconds, decimals stay decimals, nested values stay nested. What Arrow has
// no type for here (uuid, enum, interval) is text.
import {
  type DuckDBArrayType,
  type DuckDBDecimalType,
  type DuckDBListType,
  type DuckDBMapType,
  type DuckDBStructType,
  type DuckDBType,
  type DuckDBValue,
  DuckDBTypeId as Id,
} from '@duckdb/node-api'
import {
  Binary,
  Bool,
  type Data,
  type DataType,
  DateDay,
  Decimal,
  Field,
  Float32,
  Float64,
  Int8,
  Int16,
  Int32,
  Int64,
  List,
  Map_,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  TimeMicrosecond,
  TimestampMicrosecond,
  TimestampMillisecond,
  TimestampNanosecond,
  TimestampSecond,
  tableToIPC,
  Uint8,
  Uint16,
  Uint32,
  Uint64,
  Utf8,
} from 'apache-arrow'

type Values = readonly (DuckDBValue | undefined)[]
type Column = ArrayLike<unknown>

/** Numbers that are what Arrow stores, by DuckDB type. */
const NUMBERS = new Map<Id, [type: DataType, of: new (length: number) => Column & { [i: number]: unknown }]>([
  [Id.TINYINT, [new Int8(), Int8Array]],
  [Id.SMALLINT, [new Int16(), Int16Array]],
  [Id.INTEGER, [new Int32(), Int32Array]],
  [Id.BIGINT, [new Int64(), BigInt64Array]],
  [Id.UTINYINT, [new Uint8(), Uint8Array]],
  [Id.USMALLINT, [new Uint16(), Uint16Array]],
  [Id.UINTEGER, [new Uint32(), Uint32Array]],
  [Id.UBIGINT, [new Uint64(), BigUint64Array]],
  [Id.FLOAT, [new Float32(), Float32Array]],
  [Id.DOUBLE, [new Float64(), Float64Array]],
])

/** Values of one field that hold a count of days or of a part of a second. */
const COUNTS = new Map<Id, [type: DataType, field: string, isWide: boolean]>([
  [Id.DATE, [new DateDay(), 'days', false]],
  [Id.TIME, [new TimeMicrosecond(), 'micros', true]],
  [Id.TIMESTAMP, [new TimestampMicrosecond(), 'micros', true]],
  [Id.TIMESTAMP_TZ, [new TimestampMicrosecond('UTC'), 'micros', true]],
  [Id.TIMESTAMP_S, [new TimestampSecond(), 'seconds', true]],
  [Id.TIMESTAMP_MS, [new TimestampMillisecond(), 'millis', true]],
  [Id.TIMESTAMP_NS, [new TimestampNanosecond(), 'nanos', true]],
])

const HUGEINT_DIGITS = 38
const DECIMAL_BYTES = 16

/** The whole file. */
export function arrowFile(
  names: readonly string[],
  types: readonly DuckDBType[],
  columns: readonly Values[],
): Uint8Array {
  const children = types.map((type, i) => dataOf(type, columns[i] ?? []))
  const fields = names.map((name, i) => new Field(name, children[i]!.type, true))
  const length = columns[0]?.length ?? 0
  const struct = makeData({ type: new Struct(fields), length, nullCount: 0, children })
  return tableToIPC(new Table([new RecordBatch(new Schema(fields), struct)]), 'file')
}

function dataOf(type: DuckDBType, values: Values): Data {
  const base = { length: values.length, ...validityOf(values) }
  const number = NUMBERS.get(type.typeId)
  if (number !== undefined) {
    const data = new number[1](values.length)
    values.forEach((value, i) => {
      if (isPresent(value)) data[i] = value
    })
    return makeData({ ...base, type: number[0], data } as never)
  }
  const counted = COUNTS.get(type.typeId)
  if (counted !== undefined) {
    const [arrow, field, isWide] = counted
    const data = isWide ? new BigInt64Array(values.length) : new Int32Array(values.length)
    values.forEach((value, i) => {
      if (isPresent(value)) data[i] = (value as unknown as Record<string, never>)[field]!
    })
    return makeData({ ...base, type: arrow, data } as never)
  }
  switch (type.typeId) {
    case Id.BOOLEAN:
      return makeData({ ...base, type: new Bool(), data: bitmap(values, (value) => value === true) })
    case Id.BLOB:
      return binary(base, new Binary(), values, (value) => (value as unknown as { bytes: Uint8Array }).bytes)
    case Id.HUGEINT:
      return decimal(base, HUGEINT_DIGITS, 0, values, (value) => value as bigint)
    case Id.DECIMAL: {
      const { width, scale } = type as DuckDBDecimalType
      return decimal(base, width, scale, values, (value) => (value as unknown as { value: bigint }).value)
    }
    case Id.LIST:
    case Id.ARRAY: {
      const { valueType } = type as DuckDBListType | DuckDBArrayType
      const { offsets, flat } = flatten(values, (value) => (value as unknown as { items: Values }).items)
      const child = dataOf(valueType, flat)
      return makeData({
        ...base,
        type: new List(new Field('item', child.type, true)),
        valueOffsets: offsets,
        child,
      })
    }
    case Id.STRUCT:
      return struct(base, type as DuckDBStructType, values)
    case Id.MAP:
      return map(base, type as DuckDBMapType, values)
    default:
      return binary(base, new Utf8(), values, (value) => Buffer.from(String(value)))
  }
}

interface Base {
  length: number
  nullCount: number
  nullBitmap: Uint8Array | undefined
}

function struct(base: Base, { entryNames, entryTypes }: DuckDBStructType, values: Values): Data {
  const entriesOf = (value: DuckDBValue | undefined): Record<string, DuckDBValue> | undefined =>
    isPresent(value) ? (value as unknown as { entries: Record<string, DuckDBValue> }).entries : undefined
  const children = entryNames.map((name, i) =>
    dataOf(
      entryTypes[i]!,
      values.map((value) => entriesOf(value)?.[name]),
    ),
  )
  const fields = entryNames.map((name, i) => new Field(name, children[i]!.type, true))
  return makeData({ ...base, type: new Struct(fields), children })
}

function map(base: Base, { keyType, valueType }: DuckDBMapType, values: Values): Data {
  type Entry = { key: DuckDBValue; value: DuckDBValue }
  const { offsets, flat } = flatten(values, (value) => (value as unknown as { entries: Entry[] }).entries)
  const key = dataOf(
    keyType,
    flat.map((entry) => entry.key),
  )
  const value = dataOf(
    valueType,
    flat.map((entry) => entry.value),
  )
  const type = new Struct([new Field('key', key.type, false), new Field('value', value.type, true)])
  const child = makeData({ type, length: flat.length, nullCount: 0, children: [key, value] })
  return makeData({
    ...base,
    type: new Map_(new Field('entries', type, false) as never),
    valueOffsets: offsets,
    child,
  } as never)
}

function decimal(
  base: Base,
  precision: number,
  scale: number,
  values: Values,
  of: (value: DuckDBValue) => bigint,
): Data {
  const data = new Uint32Array((values.length * DECIMAL_BYTES) / 4)
  const view = new DataView(data.buffer)
  values.forEach((value, i) => {
    if (!isPresent(value)) return
    const unscaled = of(value)
    view.setBigUint64(i * DECIMAL_BYTES, BigInt.asUintN(64, unscaled), true)
    view.setBigInt64(i * DECIMAL_BYTES + 8, unscaled >> 64n, true)
  })
  return makeData({ ...base, type: new Decimal(scale, precision, 8 * DECIMAL_BYTES), data })
}

function binary(
  base: Base,
  type: Utf8 | Binary,
  values: Values,
  of: (value: DuckDBValue) => Uint8Array,
): Data {
  const { offsets, flat } = flatten(values, (value) => [of(value)])
  let bytes = 0
  for (let i = 0, part = 0; i < values.length; i++) {
    if (offsets[i + 1]! > part) bytes += flat[part++]!.length
    offsets[i + 1] = bytes
  }
  return makeData({ ...base, type: type as Utf8, valueOffsets: offsets, data: Buffer.concat(flat) })
}

/** Offsets of a list layout, and what all the lists hold. */
function flatten<T>(
  values: Values,
  of: (value: DuckDBValue) => readonly T[],
): { offsets: Int32Array; flat: T[] } {
  const offsets = new Int32Array(values.length + 1)
  const flat: T[] = []
  values.forEach((value, i) => {
    if (isPresent(value)) for (const item of of(value)) flat.push(item)
    offsets[i + 1] = flat.length
  })
  return { offsets, flat }
}

const isPresent = (value: DuckDBValue | undefined): value is DuckDBValue =>
  value !== null && value !== undefined

function validityOf(values: Values): { nullCount: number; nullBitmap: Uint8Array | undefined } {
  const nullCount = values.filter((value) => !isPresent(value)).length
  return { nullCount, nullBitmap: nullCount === 0 ? undefined : bitmap(values, isPresent) }
}

function bitmap(values: Values, isSet: (value: DuckDBValue | undefined) => boolean): Uint8Array {
  const bits = new Uint8Array((values.length + 7) >> 3)
  values.forEach((value, i) => {
    if (isSet(value)) bits[i >> 3]! |= 1 << (i & 7)
  })
  return bits
}
