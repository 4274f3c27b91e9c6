// Random columns for tests: types, values as plain JavaScript, and the column batch that holds them.
//
// A value is what it is in the table: boolean, number (int, float, double), bigint (long, decimal's digits),
// string (string, enum symbol), Uint8Array (binary, fixed, uuid), array (list), [key, value][] (map), object
// (struct), null.
import fc from 'fast-check'
import type { Column, ColumnBatch, ColumnField, ColumnType } from '../../schemas/columns.ts'

export type Value =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | Value[]
  | [string, Value][]
  | { [name: string]: Value }

export interface Table {
  fields: ColumnField[]
  rows: Value[][]
  /** Per top-level field: strings come with a dictionary. */
  coded: boolean[]
}

const LONG_MIN = -(2n ** 63n)
const LONG_MAX = 2n ** 63n - 1n
/** Milliseconds that fit int64 microseconds. */
const MILLIS_MAX = LONG_MAX / 1000n

const primitive = fc.oneof(
  fc.constant<ColumnType>({ kind: 'boolean' }),
  fc.constantFrom<ColumnType>(
    { kind: 'int' },
    { kind: 'int', logical: 'date' },
    { kind: 'int', logical: 'time-millis' },
  ),
  fc.constantFrom<ColumnType>(
    { kind: 'long' },
    { kind: 'long', logical: 'timestamp-millis' },
    { kind: 'long', logical: 'timestamp-micros' },
    { kind: 'long', logical: 'time-micros' },
  ),
  fc.constant<ColumnType>({ kind: 'float' }),
  fc.constant<ColumnType>({ kind: 'double' }),
  fc.constant<ColumnType>({ kind: 'string' }),
  fc.constant<ColumnType>({ kind: 'binary' }),
  fc.integer({ min: 1, max: 20 }).map((byteWidth): ColumnType => ({ kind: 'fixed', byteWidth })),
  fc.constant<ColumnType>({ kind: 'uuid' }),
  fc
    .integer({ min: 1, max: 38 })
    .chain((precision) =>
      fc
        .integer({ min: 0, max: precision })
        .map((scale): ColumnType => ({ kind: 'decimal', precision, scale })),
    ),
  fc.constant<ColumnType>({ kind: 'enum', symbols: ['OK', 'WARN', 'FAIL', 'ÜBER'] }),
)

/** Types nested up to `depth` levels. */
export function typeArbitrary(depth: number): fc.Arbitrary<ColumnType> {
  if (depth === 0) return primitive
  const inner = typeArbitrary(depth - 1)
  const field = (name: string): fc.Arbitrary<ColumnField> =>
    fc.record({ name: fc.constant(name), type: inner, nullable: fc.boolean() })
  return fc.oneof(
    { weight: 4, arbitrary: primitive },
    {
      weight: 1,
      arbitrary: fc
        .integer({ min: 1, max: 3 })
        .chain((count) => fc.tuple(...Array.from({ length: count }, (_, i) => field(`f${i}`))))
        .map((fields): ColumnType => ({ kind: 'struct', fields })),
    },
    { weight: 1, arbitrary: field('element').map((element): ColumnType => ({ kind: 'list', element })) },
    {
      weight: 1,
      arbitrary: field('value').map(
        (value): ColumnType => ({
          kind: 'map',
          key: { name: 'key', type: { kind: 'string' }, nullable: false },
          value,
        }),
      ),
    },
  )
}

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 12 }),
  fc.constantFrom('', 'device-1', 'device-2', '\u{10ffff}'.repeat(17), '\ud7ff'.repeat(20), 'a'.repeat(16)),
  fc.string({ unit: 'grapheme', minLength: 14, maxLength: 40 }),
)

export function valueArbitrary(type: ColumnType): fc.Arbitrary<Value> {
  switch (type.kind) {
    case 'boolean':
      return fc.boolean()
    case 'int':
      if (type.logical === 'time-millis') return fc.integer({ min: 0, max: 86_399_999 })
      // DuckDB reads the ends of int32 as infinite dates.
      if (type.logical === 'date') return fc.integer({ min: -2_000_000_000, max: 2_000_000_000 })
      return fc.oneof(fc.integer(), fc.integer({ min: -3, max: 3 }))
    case 'long':
      if (type.logical === 'time-micros') return fc.bigInt({ min: 0n, max: 86_399_999_999n })
      if (type.logical === 'timestamp-millis')
        return fc.oneof(
          fc.bigInt({ min: -MILLIS_MAX, max: MILLIS_MAX }),
          fc.bigInt({ min: -9_000_000_000_000n, max: 9_000_000_000_000n }),
        )
      return fc.oneof(
        fc.bigInt({ min: LONG_MIN, max: LONG_MAX }),
        fc.constantFrom(LONG_MIN, LONG_MAX, 0n, -1n, 2n ** 32n, -(2n ** 32n)),
        fc.bigInt({ min: -100n, max: 100n }),
      )
    case 'float':
      return fc.oneof(fc.float(), fc.constantFrom(-0, 0, Number.NaN, Infinity, -Infinity))
    case 'double':
      return fc.oneof(fc.double(), fc.constantFrom(-0, 0, Number.NaN, Infinity, -Infinity, 0.125))
    case 'string':
      return text
    case 'binary':
      return fc.oneof(fc.uint8Array({ maxLength: 24 }), fc.constant(new Uint8Array(20).fill(255)))
    case 'fixed':
      return fc.uint8Array({ minLength: type.byteWidth, maxLength: type.byteWidth })
    case 'uuid':
      return fc.uint8Array({ minLength: 16, maxLength: 16 })
    case 'decimal': {
      const max = 10n ** BigInt(type.precision) - 1n
      return fc.oneof(fc.bigInt({ min: -max, max }), fc.constantFrom(-max, max, 0n, -1n))
    }
    case 'enum':
      return fc.constantFrom(...type.symbols)
    case 'struct':
      return fc
        .tuple(...type.fields.map(cellArbitrary))
        .map((values) => Object.fromEntries(type.fields.map((field, i) => [field.name, values[i]!])))
    case 'list':
      return fc.array(cellArbitrary(type.element), { maxLength: 4 })
    case 'map':
      return fc.uniqueArray(fc.tuple(text, cellArbitrary(type.value)), {
        maxLength: 4,
        selector: (entry) => entry[0],
      })
  }
}

function cellArbitrary(field: ColumnField): fc.Arbitrary<Value> {
  const value = valueArbitrary(field.type)
  return field.nullable ? fc.option(value, { freq: 3 }) : value
}

/** A table of up to `columnsMax` columns and `rowsMax` rows. */
export function tableArbitrary(columnsMax: number, rowsMax: number, depth: number): fc.Arbitrary<Table> {
  return fc
    .array(fc.tuple(typeArbitrary(depth), fc.boolean(), fc.boolean()), {
      minLength: 1,
      maxLength: columnsMax,
    })
    .chain((columns) => {
      const fields = columns.map(([type, nullable], i): ColumnField => ({ name: `c${i}`, type, nullable }))
      return fc
        .array(fc.tuple(...fields.map(cellArbitrary)), { maxLength: rowsMax })
        .map((rows): Table => ({ fields, rows, coded: columns.map(([, , coded]) => coded) }))
    })
}

export function batchOf(table: Table): ColumnBatch {
  return {
    rowCount: table.rows.length,
    columns: table.fields.map((field, i) =>
      columnOfValues(
        field,
        table.rows.map((row) => row[i]!),
        table.coded[i],
      ),
    ),
  }
}

const encoder = new TextEncoder()

/** The column that holds these values. Places of nulls hold what they happen to: zeros. */
export function columnOfValues(field: ColumnField, values: readonly Value[], coded = false): Column {
  const rowCount = values.length
  const base = { field, rowCount, validity: field.nullable ? validityOf(values) : undefined }
  const { type } = field
  switch (type.kind) {
    case 'boolean':
      return {
        ...base,
        layout: 'words',
        values: Uint8Array.from(values, (value) => (value === true ? 1 : 0)),
      }
    case 'int':
      return { ...base, layout: 'words', values: Int32Array.from(values, (value) => Number(value ?? 0)) }
    case 'float':
      return { ...base, layout: 'words', values: Float32Array.from(values, (value) => Number(value ?? 0)) }
    case 'double':
      return { ...base, layout: 'words', values: Float64Array.from(values, (value) => Number(value ?? 0)) }
    case 'long': {
      const longs = BigInt64Array.from(values, (value) => (value ?? 0n) as bigint)
      return { ...base, layout: 'longs', words: new Int32Array(longs.buffer) }
    }
    case 'decimal': {
      const data = new Uint8Array(rowCount * 16)
      const view = new DataView(data.buffer)
      values.forEach((value, i) => {
        const digits = (value ?? 0n) as bigint
        view.setBigInt64(i * 16, BigInt.asIntN(64, digits), true)
        view.setBigInt64(i * 16 + 8, BigInt.asIntN(64, digits >> 64n), true)
      })
      return { ...base, layout: 'bytes', byteWidth: 16, data }
    }
    case 'fixed':
    case 'uuid': {
      const byteWidth = type.kind === 'uuid' ? 16 : type.byteWidth
      const data = new Uint8Array(rowCount * byteWidth)
      values.forEach((value, i) => {
        if (value !== null) data.set(value as Uint8Array, i * byteWidth)
      })
      return { ...base, layout: 'bytes', byteWidth, data }
    }
    case 'enum':
      if (!coded)
        return {
          ...base,
          layout: 'words',
          values: Int32Array.from(values, (value) =>
            value === null ? 0 : type.symbols.indexOf(value as string),
          ),
        }
      break
    case 'string':
      if (!coded) return { ...base, layout: 'variable', ...packBytes(values) }
      break
    case 'binary':
      return { ...base, layout: 'variable', ...packBytes(values) }
    case 'struct':
      return {
        ...base,
        layout: 'struct',
        children: type.fields.map((child) =>
          columnOfValues(
            child,
            // A required field of a null struct has some value all the same.
            values.map((value) =>
              value === null
                ? child.nullable
                  ? null
                  : anyValue(child.type)
                : (value as { [name: string]: Value })[child.name]!,
            ),
            coded,
          ),
        ),
      }
    case 'list': {
      const lists = values.map((value) => (value ?? []) as Value[])
      return {
        ...base,
        layout: 'list',
        offsets: offsetsOf(lists),
        element: columnOfValues(type.element, lists.flat(), coded),
      }
    }
    case 'map': {
      const maps = values.map((value) => (value ?? []) as [string, Value][])
      return {
        ...base,
        layout: 'map',
        offsets: offsetsOf(maps),
        key: columnOfValues(
          type.key,
          maps.flat().map((entry) => entry[0]),
        ),
        value: columnOfValues(
          type.value,
          maps.flat().map((entry) => entry[1]),
          coded,
        ),
      }
    }
  }
  const distinct = [...new Set(values.filter((value) => value !== null))]
  // An entry that no row uses, and one that is there twice.
  const entries = ['unused', ...distinct, ...distinct.slice(0, 1)]
  const packed = packBytes(entries)
  return {
    ...base,
    layout: 'dictionary',
    indices: Int32Array.from(values, (value, i) =>
      value === null ? 0 : i % 5 === 0 ? entries.lastIndexOf(value) : entries.indexOf(value),
    ),
    dictionaryOffsets: packed.offsets,
    dictionaryData: packed.data,
  }
}

function anyValue(type: ColumnType): Value {
  switch (type.kind) {
    case 'boolean':
      return false
    case 'int':
    case 'float':
    case 'double':
      return 0
    case 'long':
    case 'decimal':
      return 0n
    case 'string':
      return ''
    case 'enum':
      return type.symbols[0]!
    case 'binary':
      return new Uint8Array(0)
    case 'fixed':
      return new Uint8Array(type.byteWidth)
    case 'uuid':
      return new Uint8Array(16)
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [field.name, field.nullable ? null : anyValue(field.type)]),
      )
    default:
      return []
  }
}

function validityOf(values: readonly Value[]): Uint8Array {
  const validity = new Uint8Array((values.length + 7) >> 3)
  values.forEach((value, i) => {
    if (value !== null) validity[i >> 3]! |= 1 << (i & 7)
  })
  return validity
}

function packBytes(values: readonly Value[]): { offsets: Int32Array; data: Uint8Array } {
  const parts = values.map((value) =>
    value === null
      ? new Uint8Array(0)
      : typeof value === 'string'
        ? encoder.encode(value)
        : (value as Uint8Array),
  )
  return { offsets: offsetsOf(parts), data: new Uint8Array(Buffer.concat(parts)) }
}

function offsetsOf(lists: readonly { length: number }[]): Int32Array {
  const offsets = new Int32Array(lists.length + 1)
  lists.forEach((list, i) => {
    offsets[i + 1] = offsets[i]! + list.length
  })
  return offsets
}

/** What a type is called once it is in a table: times in microseconds, enums as strings. */
export function storedType(type: ColumnType): ColumnType {
  switch (type.kind) {
    case 'int':
      return type.logical === 'time-millis' ? { kind: 'long', logical: 'time-micros' } : type
    case 'long':
      return type.logical === 'timestamp-millis' ? { kind: 'long', logical: 'timestamp-micros' } : type
    case 'enum':
      return { kind: 'string' }
    case 'struct':
      return { kind: 'struct', fields: type.fields.map(storedField) }
    case 'list':
      return { kind: 'list', element: storedField(type.element) }
    case 'map':
      return { kind: 'map', key: type.key, value: storedField(type.value) }
    default:
      return type
  }
}

export const storedField = (field: ColumnField): ColumnField => ({ ...field, type: storedType(field.type) })
