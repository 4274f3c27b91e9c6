import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { gatherColumn } from '../../schemas/column-ops.ts'
import { readCell } from '../../schemas/column-rows.ts'
import type { ColumnField, ColumnType } from '../../schemas/columns.ts'
import { isMillraceError } from '../../std/errors.ts'
import {
  batchOf,
  storedField,
  storedType,
  type Table,
  tableArbitrary,
  type Value,
} from './batch-arbitraries.ts'
import { parquetFields } from './number-fields.ts'
import { ParquetFile, readRows } from './reader.ts'
import { DuckReader, expectedRows, expectedValue, type Plain } from './readers.ts'
import type { ParquetField } from './schema.ts'
import { type ParquetOptions, ParquetWriter } from './writer.ts'

const LONG = process.env['MILLRACE_LONG'] === '1'
const RUNS = LONG ? 5000 : 150
const seed = process.env['MILLRACE_SEED']
const PARAMETERS = { numRuns: RUNS, ...(seed === undefined ? {} : { seed: Number(seed) }) }

function encode(
  table: Table,
  options: ParquetOptions = {},
  fields = parquetFields(table.fields),
): Uint8Array {
  const writer = new ParquetWriter(fields, options)
  writer.writeRowGroup(batchOf(table))
  return new Uint8Array(Buffer.concat(writer.finish().parts))
}

/** A cell of column-rows.ts in the form of `expectedValue`. */
function plain(cell: unknown, type: ColumnType): Plain {
  if (cell === null) return null
  switch (type.kind) {
    case 'binary':
    case 'fixed':
    case 'uuid':
      return `x${cell as string}`
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [
          field.name,
          plain((cell as Record<string, unknown>)[field.name], field.type),
        ]),
      )
    case 'list':
      return (cell as unknown[]).map((one) => plain(one, type.element.type))
    case 'map':
      return Object.fromEntries(
        (cell as [string, unknown][])
          .map(([key, one]): [string, Plain] => [`.${key}`, plain(one, type.value.type)])
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      )
    default:
      return cell as Plain
  }
}

interface Slice {
  bytes: Uint8Array
  from: number
  to: number
}

function read(fields: readonly ParquetField[], slices: readonly Slice[]): Plain[][] {
  const batch = readRows(
    fields,
    slices.map(({ bytes, from, to }) => {
      const file = new ParquetFile('test.parquet', bytes)
      return { file, plans: file.plan(fields), from, to }
    }),
  )
  return Array.from({ length: batch.rowCount }, (_, row) =>
    batch.columns.map((column) => {
      assert.equal(column.rowCount, batch.rowCount)
      return plain(readCell(column, row), column.field.type)
    }),
  )
}

const shapes = fc.record({
  pageRowsMax: fc.constantFrom(1, 3, 20_000),
  rowGroupRowsMax: fc.constantFrom(2, 7, 1_000_000),
  byteStreamSplit: fc.boolean(),
})

const fractions = fc.tuple(
  fc.double({ min: 0, max: 1, noNaN: true }),
  fc.double({ min: 0, max: 1, noNaN: true }),
)

function rangeOf([a, b]: [number, number], rowCount: number): { from: number; to: number } {
  const [from, to] = [Math.round(a * rowCount), Math.round(b * rowCount)]
  return { from: Math.min(from, to), to: Math.max(from, to) }
}

test('what the writer wrote is read back: random nested tables, any range of rows, two files in one batch', () => {
  fc.assert(
    fc.property(tableArbitrary(4, 40, 3), shapes, shapes, fractions, (table, first, second, range) => {
      const fields = parquetFields(table.fields.map(storedField))
      const { from, to } = rangeOf(range, table.rows.length)
      const written = parquetFields(table.fields)
      const rows = read(fields, [
        { bytes: encode(table, first, written), from, to },
        { bytes: encode(table, second, written), from: 0, to: table.rows.length },
      ])
      const expected = expectedRows(table)
      assert.deepEqual(rows, [...expected.slice(from, to), ...expected])
    }),
    PARAMETERS,
  )
})

test('so are longer columns, with dictionaries, deltas, byte streams and runs, page by page', () => {
  fc.assert(
    fc.property(
      tableArbitrary(3, 12, 2),
      fc.integer({ min: 100, max: 300 }),
      fc.boolean(),
      fractions,
      (small, times, byteStreamSplit, range) => {
        const rows = Array.from({ length: times }, () => small.rows).flat()
        const table = { ...small, rows }
        const { from, to } = rangeOf(range, rows.length)
        const bytes = encode(table, { pageRowsMax: 500, byteStreamSplit }, parquetFields(table.fields))
        assert.deepEqual(
          read(parquetFields(table.fields.map(storedField)), [{ bytes, from, to }]),
          expectedRows(table).slice(from, to),
        )
      },
    ),
    { ...PARAMETERS, numRuns: Math.ceil(RUNS / 10) },
  )
})

test('numbers that no dictionary fits: walks of int, long, float and double', () => {
  fc.assert(
    fc.property(fc.integer(), fc.bigInt({ min: 1n, max: 1n << 62n }), fc.boolean(), (start, step, split) => {
      const fields = (['int', 'long', 'float', 'double'] as const).map(
        (kind): ColumnField => ({ name: kind, type: { kind }, nullable: false }),
      )
      const rows = Array.from({ length: 1500 }, (_, i): Value[] => [
        (start + i * 7919) | 0,
        BigInt.asIntN(64, BigInt(start) + BigInt(i * i) * step),
        Math.fround(Math.sin(i) * start),
        Math.sin(i) * start,
      ])
      const table: Table = { fields, rows, coded: [] }
      const bytes = encode(table, { byteStreamSplit: split, pageRowsMax: 400 })
      assert.deepEqual(
        read(parquetFields(fields), [{ bytes, from: 333, to: 1400 }]),
        expectedRows(table).slice(333, 1400),
      )
    }),
    { ...PARAMETERS, numRuns: Math.ceil(RUNS / 10) },
  )
})

/** A later state of a field, and what a value of the earlier one is in it. */
interface Later {
  field: ParquetField
  value(before: Value): Plain
}

let nextId = 0

/** Widened, made optional, renamed, children dropped, added and moved, as `turns` decides. */
function evolve(field: ParquetField, turns: () => number): Later {
  const later = evolveType(field, turns)
  const required = field.required && turns() < 0.5
  const name = turns() < 0.3 ? `renamed_${field.name}` : field.name
  return {
    field: { ...later.field, name, required },
    value: (value) => (value === null ? null : later.value(value)),
  }
}

function evolveType(field: ParquetField, turns: () => number): Later {
  const { type } = field
  const same: Later = {
    field: { ...field, type: storedType(type) },
    value: (value) => expectedValue(value, type),
  }
  switch (type.kind) {
    case 'int':
      if (type.logical !== undefined || turns() < 0.5) return same
      return { field: { ...field, type: { kind: 'long' } }, value: (value) => BigInt(value as number) }
    case 'float':
      if (turns() < 0.5) return same
      return { field: { ...field, type: { kind: 'double' } }, value: (value) => Math.fround(value as number) }
    case 'decimal': {
      const precision = Math.min(38, type.precision + Math.floor(turns() * 30))
      return { field: { ...field, type: { ...type, precision } }, value: (value) => value as bigint }
    }
    case 'struct': {
      const { fields, values } = evolveFields(field.children!, turns)
      return {
        field: { ...field, type: { kind: 'struct', fields: columnFields(fields) }, children: fields },
        value: (value) => {
          const row = field.children!.map((child) => (value as Record<string, Value>)[child.name]!)
          return Object.fromEntries(fields.map((child, i) => [child.name, values(row)[i]!]))
        },
      }
    }
    case 'list': {
      const element = evolve(field.children![0]!, turns)
      const child = { ...element.field, name: 'element' }
      return {
        field: { ...field, type: { kind: 'list', element: columnFields([child])[0]! }, children: [child] },
        value: (value) => (value as Value[]).map(element.value),
      }
    }
    case 'map': {
      const inner = evolve(field.children![1]!, turns)
      const child = { ...inner.field, name: 'value' }
      return {
        field: {
          ...field,
          type: { kind: 'map', key: type.key, value: columnFields([child])[0]! },
          children: [field.children![0]!, child],
        },
        value: (value) =>
          Object.fromEntries(
            (value as [string, Value][])
              .map(([key, one]): [string, Plain] => [`.${key}`, inner.value(one)])
              .sort(([a], [b]) => (a < b ? -1 : 1)),
          ),
      }
    }
    default:
      return same
  }
}

const columnFields = (fields: readonly ParquetField[]): ColumnField[] =>
  fields.map((field) => ({ name: field.name, type: field.type, nullable: !field.required }))

function evolveFields(
  fields: readonly ParquetField[],
  turns: () => number,
): { fields: ParquetField[]; values(row: readonly Value[]): Plain[] } {
  const later: { field: ParquetField; of(row: readonly Value[]): Plain }[] = []
  fields.forEach((field, i) => {
    if (turns() < 0.2) return
    const { field: next, value } = evolve(field, turns)
    later.push({ field: next, of: (row) => value(row[i]!) })
  })
  while (later.length === 0 || turns() < 0.4) {
    const [added] = parquetFields(
      [{ name: `added_${nextId}`, type: addedType(turns()), nullable: true }],
      nextId,
    )
    nextId += 10
    later.splice(Math.floor(turns() * (later.length + 1)), 0, { field: added!, of: () => null })
  }
  return { fields: later.map((one) => one.field), values: (row) => later.map((one) => one.of(row)) }
}

function addedType(turn: number): ColumnType {
  const long: ColumnField = { name: 'a', type: { kind: 'long' }, nullable: false }
  if (turn < 0.5) return { kind: 'string' }
  return turn < 0.75
    ? { kind: 'struct', fields: [long, { ...long, name: 'b', nullable: true }] }
    : { kind: 'list', element: { ...long, name: 'element' } }
}

test('a file of an older schema is read into the columns of the current one', () => {
  fc.assert(
    fc.property(
      tableArbitrary(4, 30, 3),
      shapes,
      fractions,
      fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 20, maxLength: 60 }),
      (table, shape, range, dice) => {
        nextId = 1000
        let turn = 0
        const turns = (): number =>
          dice[turn++ % dice.length]! * (turn > 200 ? 0.5 : 1) + (turn > 200 ? 0.4 : 0)
        const written = parquetFields(table.fields)
        const { fields, values } = evolveFields(written, turns)
        const { from, to } = rangeOf(range, table.rows.length)
        const rows = read(fields, [{ bytes: encode(table, shape, written), from, to }])
        assert.deepEqual(rows, table.rows.slice(from, to).map(values))
      },
    ),
    PARAMETERS,
  )
})

test('columns that were read are written again as they were, in another order', () => {
  fc.assert(
    fc.property(tableArbitrary(3, 30, 2), shapes, (table, shape) => {
      const fields = parquetFields(table.fields.map(storedField))
      const file = new ParquetFile('a', encode(table, shape, parquetFields(table.fields)))
      const plans = file.plan(fields)
      const batch = readRows(fields, [{ file, plans, from: 0, to: file.rowCount }])
      const order = Uint32Array.from({ length: batch.rowCount }, (_, i) => batch.rowCount - 1 - i)
      const expected = expectedRows(table).reverse()
      const writer = new ParquetWriter(fields)
      writer.writeSlices([{ batch, from: 0, to: batch.rowCount, order }])
      const bytes = new Uint8Array(Buffer.concat(writer.finish().parts))
      assert.deepEqual(read(fields, [{ bytes, from: 0, to: batch.rowCount }]), expected)
      const gathered = batch.columns.map((column) => gatherColumn(column, order))
      expected.forEach((row, i) => {
        assert.deepEqual(
          gathered.map((column) => plain(readCell(column, i), column.field.type)),
          row,
        )
      })
    }),
    { ...PARAMETERS, numRuns: RUNS / 2 },
  )
})

const isForeign = (error: unknown): boolean => isMillraceError(error, 'table_foreign')

test('damaged bytes are refused, or read as something: never another error, never without end', () => {
  fc.assert(
    fc.property(
      tableArbitrary(3, 20, 2),
      fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 }),
      (table, damage) => {
        const bytes = encode(table)
        for (const [at, value] of damage) bytes[at % bytes.length] = value
        try {
          const fields = parquetFields(table.fields.map(storedField))
          const file = new ParquetFile('damaged', bytes)
          readRows(fields, [{ file, plans: file.plan(fields), from: 0, to: Math.min(1000, file.rowCount) }])
        } catch (error) {
          if (!isMillraceError(error)) throw error
        }
      },
    ),
    PARAMETERS,
  )
})

test('files of other writers that it does not know are refused by name', async () => {
  const duck = await DuckReader.open()
  const fields = parquetFields([{ name: 'a', type: { kind: 'int' }, nullable: true }])
  const optional: Table = {
    fields: [{ name: 'a', type: { kind: 'int' }, nullable: true }],
    rows: [[1], [null]],
    coded: [],
  }
  try {
    // Its columns have no field ids: read by id they would all be null.
    const bytes = await duck.copy('select range::int as a from range(10)')
    assert.throws(
      () => new ParquetFile('duck.parquet', bytes).plan(fields),
      /duck.parquet.*a has no field id/,
    )
    assert.throws(() => new ParquetFile('short', bytes.subarray(0, 20)), isForeign)
    assert.throws(() => new ParquetFile('empty', new Uint8Array(0)), isForeign)
    const ours = new ParquetFile('ours', encode(optional))
    assert.throws(
      () => ours.plan([{ ...fields[0]!, type: { kind: 'string' } }]),
      /ours cannot be read here: a has a type/,
    )
    assert.throws(() => ours.plan([{ ...fields[0]!, required: true }]), isForeign)
  } finally {
    duck.close()
  }
})
