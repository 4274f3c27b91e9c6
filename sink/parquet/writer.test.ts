import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { tableFromIPC } from 'apache-arrow'
import fc from 'fast-check'
import { parquetReadObjects } from 'hyparquet'
import { readColumnIndex } from 'hyparquet/src/indexes.js'
import { readParquet } from 'parquet-wasm/node'
import type { ColumnField } from '../../schemas/columns.ts'
import { batchOf, type Table, tableArbitrary, type Value } from './batch-arbitraries.ts'
import { parquetFields } from './number-fields.ts'
import {
  compressors,
  DuckReader,
  expectedRows,
  hyparquetMetadata,
  hyparquetRows,
  type Plain,
  withDoubleDecimals,
} from './readers.ts'
import { type EncodedFile, type ParquetOptions, ParquetWriter } from './writer.ts'

const RUNS = process.env['MILLRACE_LONG'] === '1' ? 3000 : 60
const seed = process.env['MILLRACE_SEED']
const PARAMETERS = { numRuns: RUNS, ...(seed === undefined ? {} : { seed: Number(seed) }) }

let duck: DuckReader
before(async () => {
  duck = await DuckReader.open()
})
after(() => duck.close())

function encode(table: Table, options: ParquetOptions = {}, groups = 1): EncodedFile {
  const writer = new ParquetWriter(parquetFields(table.fields), options)
  const batch = batchOf(table)
  const step = Math.max(1, Math.ceil(batch.rowCount / groups))
  for (let from = 0; from < batch.rowCount; from += step)
    writer.writeRowGroup(batch, from, Math.min(batch.rowCount, from + step))
  return writer.finish()
}

function concat(file: EncodedFile): Uint8Array {
  const bytes = Buffer.concat(file.parts)
  assert.equal(bytes.length, file.byteLength)
  return bytes
}

/** Small pages, and several row groups, so that their seams are met. */
const shapes = fc.record({
  pageRowsMax: fc.constantFrom(1, 3, 20_000),
  rowGroupRowsMax: fc.constantFrom(2, 7, 1_000_000),
  byteStreamSplit: fc.boolean(),
  groups: fc.integer({ min: 1, max: 3 }),
})

test('random nested tables are read back by DuckDB and hyparquet, value by value', async () => {
  await fc.assert(
    fc.asyncProperty(tableArbitrary(4, 40, 3), shapes, async (table, shape) => {
      const file = encode(table, shape, shape.groups)
      const expected = expectedRows(table)
      assert.equal(file.recordCount, table.rows.length)
      assert.deepEqual(await duck.rows(file.parts, table), expected)
      assert.deepEqual(
        await hyparquetRows(file.parts, table),
        expected.map((row) => row.map((value, i) => withDoubleDecimals(value, table.fields[i]!.type))),
      )
    }),
    PARAMETERS,
  )
})

test('longer columns, which get dictionaries, deltas and runs, are read back by DuckDB', async () => {
  await fc.assert(
    fc.asyncProperty(
      tableArbitrary(3, 12, 2),
      fc.integer({ min: 100, max: 300 }),
      fc.boolean(),
      async (small, times, blocks) => {
        const rows = blocks
          ? small.rows.flatMap((row) => Array.from({ length: times }, () => row))
          : Array.from({ length: times }, () => small.rows).flat()
        const table = { ...small, rows }
        const file = encode(table, { pageRowsMax: 500 })
        assert.deepEqual(await duck.rows(file.parts, table), expectedRows(table))
      },
    ),
    { ...PARAMETERS, numRuns: RUNS / 3 },
  )
})

test('parquet-wasm reads the same plain columns', () => {
  fc.assert(
    fc.property(tableArbitrary(4, 40, 0), (table) => {
      const kinds = new Set(['boolean', 'int', 'float', 'double', 'string', 'enum', 'long'])
      const arrow = tableFromIPC(readParquet(concat(encode(table))).intoIPCStream())
      assert.equal(arrow.numRows, table.rows.length)
      const expected = expectedRows(table)
      table.fields.forEach((field, i) => {
        if (!kinds.has(field.type.kind) || ('logical' in field.type && field.type.logical !== undefined))
          return
        const column = table.rows.length === 0 ? [] : [...arrow.getChild(field.name)!]
        assert.deepEqual(
          column,
          expected.map((row) => row[i]),
        )
      })
    }),
    PARAMETERS,
  )
})

test('slices with a permutation, of several batches, make one row group in their order', async () => {
  await fc.assert(
    fc.asyncProperty(
      tableArbitrary(3, 30, 2).chain((table) =>
        fc.tuple(
          fc.constant(table),
          fc.array(
            table.rows.length === 0 ? fc.constant(0) : fc.integer({ min: 0, max: table.rows.length - 1 }),
            { maxLength: table.rows.length === 0 ? 0 : 40 },
          ),
        ),
      ),
      fc.boolean(),
      async ([table, order], otherCoding) => {
        const other = { ...table, coded: table.coded.map((coded) => coded !== otherCoding) }
        const writer = new ParquetWriter(parquetFields(table.fields))
        writer.writeSlices([
          {
            batch: batchOf(table),
            from: 0,
            to: order.length,
            order: otherCoding ? Int32Array.from(order) : Uint32Array.from(order),
          },
          { batch: batchOf(other), from: 0, to: table.rows.length },
        ])
        const file = writer.finish()
        const rows = [...order.map((row) => table.rows[row]!), ...table.rows]
        assert.equal(file.splitOffsets.length, rows.length === 0 ? 0 : 1)
        assert.deepEqual(await duck.rows(file.parts, table), expectedRows({ ...table, rows }))
      },
    ),
    PARAMETERS,
  )
})

test('a column that is said to be uniform makes the file that its values make, in any order and cut into pages', () => {
  const fields: ColumnField[] = [
    { name: 'int', type: { kind: 'int' }, nullable: false },
    { name: 'millis', type: { kind: 'int', logical: 'time-millis' }, nullable: false },
    { name: 'long', type: { kind: 'long' }, nullable: false },
    { name: 'at', type: { kind: 'long', logical: 'timestamp-millis' }, nullable: false },
    { name: 'double', type: { kind: 'double' }, nullable: false },
  ]
  const words = fc.tuple(fc.integer(), fc.nat(86_399_999), fc.bigInt(-(2n ** 53n), 2n ** 53n))
  fc.assert(
    fc.property(
      fc.array(fc.tuple(words, fc.integer({ min: 1, max: 300 })), { minLength: 1, maxLength: 2 }),
      fc.constantFrom(3, 50, 20_000),
      fc.boolean(),
      (parts, pageRowsMax, isOrdered) => {
        const [said, unsaid] = [true, false].map((isUniform) => {
          const writer = new ParquetWriter(parquetFields(fields), { pageRowsMax })
          writer.writeSlices(
            parts.map(([[int, millis, long], count]) => {
              const row: Value[] = [int, millis, long, long, Number.NaN]
              const rows = Array.from({ length: count }, () => row)
              const { columns } = batchOf({ fields, rows, coded: [] })
              const order = isOrdered ? Int32Array.from(rows.keys()).reverse() : undefined
              const batch = { rowCount: count, columns: columns.map((column) => ({ ...column, isUniform })) }
              return { batch, from: 0, to: count, order }
            }),
          )
          return writer.finish()
        })
        assert.deepEqual(said, unsaid)
      },
    ),
    PARAMETERS,
  )
})

test('field ids stand on every element, and on no repeated group', async () => {
  const table: Table = {
    fields: [
      { name: 'id', type: { kind: 'long' }, nullable: false },
      {
        name: 'list',
        nullable: true,
        type: {
          kind: 'list',
          element: {
            name: 'element',
            nullable: true,
            type: { kind: 'struct', fields: [{ name: 'x', type: { kind: 'double' }, nullable: true }] },
          },
        },
      },
      {
        name: 'map',
        nullable: false,
        type: {
          kind: 'map',
          key: { name: 'key', type: { kind: 'string' }, nullable: false },
          value: { name: 'value', type: { kind: 'decimal', precision: 20, scale: 3 }, nullable: true },
        },
      },
    ],
    rows: [[1n, [{ x: 1.5 }, null], [['a', 7n]]]],
    coded: [],
  }
  const file = encode(table)
  const ids = (await duck.query(file.parts, 'select name, field_id from parquet_schema(FILE)')).map((row) => [
    row['name'],
    row['field_id'],
  ])
  assert.deepEqual(ids, [
    ['table', null],
    ['id', 1n],
    ['list', 2n],
    ['list', null],
    ['element', 3n],
    ['x', 4n],
    ['map', 5n],
    ['key_value', null],
    ['key', 6n],
    ['value', 7n],
  ])
  assert.deepEqual(
    hyparquetMetadata(file.parts).schema.map((element) => element.field_id ?? null),
    ids.map(([, id]) => (id === null ? null : Number(id))),
  )
})

test('a batch may lack an optional column, and a required null is refused', async () => {
  const a: ColumnField = { name: 'a', type: { kind: 'int' }, nullable: false }
  const b: ColumnField = {
    name: 'b',
    type: { kind: 'list', element: { ...a, name: 'element' } },
    nullable: true,
  }
  const writer = new ParquetWriter(parquetFields([a, b]))
  writer.writeRowGroup(batchOf({ fields: [a], rows: [[1], [2]], coded: [] }))
  const file = writer.finish()
  assert.deepEqual(await duck.rows(file.parts, { fields: [a, b], rows: [], coded: [] }), [
    [1, null],
    [2, null],
  ])
  const refuses = new ParquetWriter(parquetFields([a]))
  assert.throws(
    () => refuses.writeRowGroup(batchOf({ fields: [{ ...a, nullable: true }], rows: [[null]], coded: [] })),
    /a: a required field is null/,
  )
})

test('milliseconds beyond int64 microseconds are saturated and counted', async () => {
  const field: ColumnField = {
    name: 't',
    type: { kind: 'long', logical: 'timestamp-millis' },
    nullable: false,
  }
  const rows: Value[][] = [
    [2n ** 63n - 1n],
    [-(2n ** 63n)],
    [9_223_372_036_854_775n],
    [-9_223_372_036_854_775n],
  ]
  const file = encode({ fields: [field], rows, coded: [] })
  assert.equal(file.saturatedCount, 2)
  const read: Plain[][] = await hyparquetRows(file.parts, { fields: [field], rows: [], coded: [] })
  assert.deepEqual(read, [
    [2n ** 63n - 1n],
    [-(2n ** 63n)],
    [9_223_372_036_854_775_000n],
    [-9_223_372_036_854_775_000n],
  ])
})

test('a huge string is written whole and its bound cut', async () => {
  const field: ColumnField = { name: 's', type: { kind: 'string' }, nullable: true }
  const huge = 'ü'.repeat(3 << 20)
  const rows: Value[][] = [['a'], [huge], [null], ['b']]
  const table = { fields: [field], rows, coded: [false] }
  const file = encode(table)
  assert.deepEqual(await duck.rows(file.parts, table), rows)
  assert.equal(file.columns[0]!.upperBound!.length, 32)
})

test('a file without rows is a file', async () => {
  const table: Table = { fields: [{ name: 'a', type: { kind: 'int' }, nullable: true }], rows: [], coded: [] }
  const file = encode(table, { keyValueMetadata: { 'iceberg.schema': '{}' } })
  assert.deepEqual(file.splitOffsets, [])
  assert.deepEqual(await duck.rows(file.parts, table), [])
  assert.deepEqual(hyparquetMetadata(file.parts).key_value_metadata, [{ key: 'iceberg.schema', value: '{}' }])
})

test('a predicate finds the same rows through the page index as without it', async () => {
  const fields: ColumnField[] = [
    { name: 'a', type: { kind: 'int' }, nullable: true },
    { name: 's', type: { kind: 'string' }, nullable: true },
  ]
  const cell = fc.tuple(
    fc.option(fc.integer({ min: 0, max: 60 })),
    fc.option(fc.constantFrom('a', 'b', 'zz', 'é')),
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(cell, { minLength: 1, maxLength: 60 }),
      fc.constantFrom('sorted', 'falling', 'any'),
      fc.integer({ min: 0, max: 60 }),
      async (cells, order, limit) => {
        const sign = order === 'sorted' ? 1 : -1
        const rows = order === 'any' ? cells : cells.toSorted((x, y) => sign * ((x[0] ?? 0) - (y[0] ?? 0)))
        const table: Table = { fields, rows, coded: [false, true] }
        const file = encode(table, { pageRowsMax: 4, rowGroupRowsMax: 25 })
        const found = await parquetReadObjects({
          file: new Uint8Array(concat(file)).buffer,
          compressors,
          filter: { a: { $gte: limit }, s: { $lt: 'z' } },
          usePageIndex: true,
        })
        assert.deepEqual(
          found.map((row) => [row['a'], row['s']]),
          rows.filter(([a, s]) => a !== null && a >= limit && s !== null && s < 'z'),
        )
      },
    ),
    PARAMETERS,
  )
})

test('row groups say what they are sorted by, and page indexes whether bounds rise or fall', () => {
  const field: ColumnField = { name: 'a', type: { kind: 'long' }, nullable: false }
  const rows = Array.from({ length: 30 }, (_, i): Value[] => [BigInt(i)])
  const sorted = { fields: [field], rows, coded: [] }
  const file = encode(sorted, { pageRowsMax: 7, sortingColumns: [{ fieldId: 1, nullsFirst: false }] })
  const group = hyparquetMetadata(file.parts).row_groups[0]!
  assert.deepEqual(group.sorting_columns, [{ column_idx: 0, descending: false, nulls_first: false }])
  assert.equal(boundaryOrder(file), 'ASCENDING')
  assert.equal(
    boundaryOrder(encode({ ...sorted, rows: rows.toReversed() }, { pageRowsMax: 7 })),
    'DESCENDING',
  )
  const mixed = [...rows, ...rows]
  assert.equal(boundaryOrder(encode({ ...sorted, rows: mixed }, { pageRowsMax: 7 })), 'UNORDERED')
})

function boundaryOrder(file: EncodedFile): string {
  const metadata = hyparquetMetadata(file.parts)
  const chunk = metadata.row_groups[0]!.columns[0]!
  const bytes = concat(file).slice(Number(chunk.column_index_offset)).slice(0, chunk.column_index_length)
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.length), offset: 0 }
  return readColumnIndex(reader, metadata.schema[1]!).boundary_order
}
