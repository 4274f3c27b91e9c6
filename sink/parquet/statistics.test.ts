import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { ColumnType } from '../../schemas/columns.ts'
import { batchOf, type Table, typeArbitrary, type Value, valueArbitrary } from './batch-arbitraries.ts'
import { parquetFields } from './number-fields.ts'
import { hyparquetMetadata } from './readers.ts'
import { truncateBinaryUpper, truncateTextLower, truncateTextUpper } from './truncate.ts'
import { type ColumnMetrics, type EncodedFile, ParquetWriter } from './writer.ts'

const RUNS = process.env['MILLRACE_LONG'] === '1' ? 5000 : 200

function encode(table: Table, rowsMax = 3): EncodedFile {
  const writer = new ParquetWriter(parquetFields(table.fields), { pageRowsMax: rowsMax, rowGroupRowsMax: 10 })
  writer.writeRowGroup(batchOf(table))
  return writer.finish()
}

/** Values of a bound in Iceberg's single-value serialization, with BigInt and DataView. */
function decodeBound(bytes: Uint8Array, type: ColumnType): bigint | number | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  switch (type.kind) {
    case 'boolean':
      assert.equal(bytes.length, 1)
      return bytes[0]!
    case 'int':
      if (type.logical === 'time-millis') return view.getBigInt64(0, true)
      assert.equal(bytes.length, 4)
      return view.getInt32(0, true)
    case 'long':
      assert.equal(bytes.length, 8)
      return view.getBigInt64(0, true)
    case 'float':
      assert.equal(bytes.length, 4)
      return view.getFloat32(0, true)
    case 'double':
      assert.equal(bytes.length, 8)
      return view.getFloat64(0, true)
    case 'decimal': {
      let value = BigInt.asIntN(8, BigInt(bytes[0]!))
      for (const byte of bytes.subarray(1)) value = (value << 8n) | BigInt(byte)
      const shorter = bytes.length > 1 && BigInt.asIntN((bytes.length - 1) * 8, value) === value
      assert.ok(!shorter, 'as few bytes as it needs')
      return value
    }
    default:
      return Buffer.from(bytes).toString('hex')
  }
}

/** A value in the form of its bound; text and bytes as hex, which sorts like the bytes. */
function comparable(value: Value, type: ColumnType): bigint | number | string {
  switch (type.kind) {
    case 'boolean':
      return value === true ? 1 : 0
    case 'int':
      return type.logical === 'time-millis' ? BigInt(value as number) * 1000n : (value as number)
    case 'long':
      return type.logical === 'timestamp-millis' ? (value as bigint) * 1000n : (value as bigint)
    case 'float':
      return Math.fround(value as number)
    case 'double':
      return value as number
    case 'decimal':
      return value as bigint
    case 'string':
    case 'enum':
      return Buffer.from(value as string).toString('hex')
    default:
      return Buffer.from(value as Uint8Array).toString('hex')
  }
}

const isLong = (value: string, type: ColumnType): boolean => {
  const bytes = Buffer.from(value, 'hex')
  if (type.kind === 'string') return [...bytes.toString()].length > 16
  return type.kind === 'binary' && bytes.length > 16
}

function checkBounds(column: ColumnMetrics, values: readonly Value[], type: ColumnType): void {
  const present = values.filter((value) => value !== null).map((value) => comparable(value, type))
  const numbers = present.filter((value) => !Number.isNaN(value))
  assert.equal(column.valueCount, values.length)
  assert.equal(column.nullCount, values.length - present.length)
  assert.equal(
    column.nanCount,
    type.kind === 'float' || type.kind === 'double' ? present.length - numbers.length : undefined,
  )
  if (numbers.length === 0) {
    assert.equal(column.lowerBound, undefined)
    assert.equal(column.upperBound, undefined)
    return
  }
  let min = numbers[0]!
  let max = numbers[0]!
  for (const value of numbers) {
    if (value < min) min = value
    if (value > max) max = value
  }
  if (column.lowerBound === undefined || column.upperBound === undefined) {
    if (type.kind === 'uuid') {
      // Left out only where a signed comparison of the halves would order them otherwise.
      const signs = (at: number) =>
        new Set(numbers.map((value) => parseInt((value as string)[at]!, 16) >> 3)).size
      assert.ok(signs(0) > 1 || signs(16) > 1)
    } else assert.ok(isLong(max as string, type), 'only long text may lack a bound')
    return
  }
  const lower = decodeBound(column.lowerBound, type)
  const upper = decodeBound(column.upperBound, type)
  assert.ok(lower <= min && upper >= max, `${lower} ≤ ${min}, ${max} ≤ ${upper}`)
  if (min === 0 && (type.kind === 'float' || type.kind === 'double')) assert.ok(Object.is(lower, -0))
  if (max === 0 && (type.kind === 'float' || type.kind === 'double')) assert.ok(Object.is(upper, 0))
  if (!isLong(String(min), type)) assert.equal(lower, min === 0 ? lower : min)
  if (!isLong(String(max), type)) assert.equal(upper, max === 0 ? upper : max)
}

test('bounds and counts are those of the data, over pages and row groups', () => {
  fc.assert(
    fc.property(
      typeArbitrary(0).chain((type) =>
        fc.tuple(
          fc.constant(type),
          fc.array(fc.option(valueArbitrary(type), { freq: 4 }), { maxLength: 40 }),
          fc.boolean(),
        ),
      ),
      ([type, values, coded]) => {
        const field = { name: 'a', type, nullable: true }
        const file = encode({ fields: [field], rows: values.map((value) => [value]), coded: [coded] })
        assert.equal(file.columns.length, 1)
        checkBounds(file.columns[0]!, values, type)
      },
    ),
    { numRuns: RUNS },
  )
})

test('columns of a struct have metrics, columns of lists and maps none', () => {
  const int = (name: string) => ({ name, type: { kind: 'int' } as const, nullable: true })
  const file = encode({
    fields: [
      { name: 's', nullable: true, type: { kind: 'struct', fields: [int('x')] } },
      { name: 'l', nullable: true, type: { kind: 'list', element: int('element') } },
    ],
    rows: [
      [{ x: 3 }, [1]],
      [{ x: null }, null],
      [null, []],
    ],
    coded: [],
  })
  assert.deepEqual(
    file.columns.map(({ fieldId, valueCount, nullCount }) => ({ fieldId, valueCount, nullCount })),
    [{ fieldId: 2, valueCount: 3, nullCount: 2 }],
  )
})

const text = fc.string({ unit: 'binary', maxLength: 30 })

test('a cut text is below, a raised text above, and both are whole code points', () => {
  fc.assert(
    fc.property(
      fc.oneof(text, fc.constantFrom('\u{10ffff}'.repeat(20), '\ud7ff'.repeat(18), 'x\u{10ffff}'.repeat(10))),
      (value) => {
        const bytes = new Uint8Array(Buffer.from(value))
        const lower = truncateTextLower(bytes, 16)
        const upper = truncateTextUpper(bytes, 16)
        assert.equal(Buffer.from(lower).toString(), [...value].slice(0, 16).join(''))
        if (upper === undefined) {
          assert.ok([...value].slice(0, 16).every((point) => point === '\u{10ffff}'))
          return
        }
        const raised = Buffer.from(upper).toString()
        assert.ok(Buffer.from(raised).equals(upper), 'valid UTF-8')
        assert.ok([...raised].length <= 16 || raised === value)
        assert.ok(Buffer.compare(upper, bytes) >= 0)
        assert.ok([...value].length <= 16 ? raised === value : Buffer.compare(upper, bytes) > 0)
      },
    ),
    { numRuns: 500 },
  )
})

test('raised bytes drop what cannot be raised', () => {
  assert.deepEqual(truncateBinaryUpper(Uint8Array.of(1, 255, 255, 7), 3), Uint8Array.of(2))
  assert.deepEqual(truncateBinaryUpper(Uint8Array.of(1, 2), 3), Uint8Array.of(1, 2))
  assert.equal(truncateBinaryUpper(new Uint8Array(5).fill(255), 3), undefined)
})

test('statistics of chunks cut long text and say so; NaN alone has no bounds and no column index', () => {
  const file = encode(
    {
      fields: [
        { name: 's', type: { kind: 'string' }, nullable: false },
        { name: 'd', type: { kind: 'double' }, nullable: false },
      ],
      rows: [
        ['é'.repeat(500), Number.NaN],
        ['z'.repeat(500), Number.NaN],
      ],
      coded: [],
    },
    1,
  )
  const [s, d] = hyparquetMetadata(file.parts).row_groups[0]!.columns
  assert.equal(s!.meta_data!.statistics!.max_value, `${'é'.repeat(63)}ê`)
  assert.equal(s!.meta_data!.statistics!.min_value, 'z'.repeat(64))
  assert.equal(s!.meta_data!.statistics!.is_max_value_exact, false)
  assert.ok(s!.column_index_length! > 0)
  assert.equal(d!.meta_data!.statistics!.max_value, undefined)
  assert.equal(d!.column_index_offset, undefined)
  assert.ok(d!.offset_index_length! > 0)
})
