import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DuckDBInstance } from '@duckdb/node-api'
import { tableFromIPC } from 'apache-arrow'
import { arrowFile } from './arrow-result.ts'

async function roundTrip(sql: string): Promise<{ types: string[]; rows: unknown[] }> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run("SET TimeZone = 'UTC'")
    const reader = await connection.runAndReadAll(sql)
    const table = tableFromIPC(
      arrowFile(reader.deduplicatedColumnNames(), reader.columnTypes(), reader.getColumns()),
    )
    return {
      types: table.schema.fields.map((field) => String(field.type)),
      rows: table.toArray().map((row) => plain(row)),
    }
  } finally {
    connection.closeSync()
    instance.closeSync()
  }
}

function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  // A decimal: 128 bits in 32-bit words, the lowest first.
  if (value instanceof Uint32Array)
    return BigInt.asIntN(
      128,
      [...value].reduceRight((all, word) => (all << 32n) | BigInt(word), 0n),
    )
  // Rows, lists and maps of Arrow give what they hold.
  const inner = (value as { toJSON?: () => object } | null)?.toJSON?.()
  if (Array.isArray(inner)) return inner.map(plain)
  if (inner !== undefined) return Object.fromEntries(Object.entries(inner).map(([k, v]) => [k, plain(v)]))
  return value
}

test('every type of our tables, with nulls, first, last and between', async () => {
  const { types, rows } = await roundTrip(`
    SELECT * FROM (VALUES
      (true, 7::INT, 9007199254740993::BIGINT, 1.5::FLOAT, 2.25::DOUBLE, 'ä', '\\xAA\\x00'::BLOB),
      (NULL, NULL, NULL, NULL, NULL, NULL, NULL),
      (false, -7, -9007199254740993, -0.5, 1e300, '', ''::BLOB)
    ) AS t(b, i, l, f, d, s, x)`)
  assert.deepEqual(types, ['Bool', 'Int32', 'Int64', 'Float32', 'Float64', 'Utf8', 'Binary'])
  assert.deepEqual(rows, [
    { b: true, i: 7, l: 9007199254740993n, f: 1.5, d: 2.25, s: 'ä', x: 'aa00' },
    { b: null, i: null, l: null, f: null, d: null, s: null, x: null },
    { b: false, i: -7, l: -9007199254740993n, f: -0.5, d: 1e300, s: '', x: '' },
  ])
})

test('times, decimals, uuids and nested values keep what they mean', async () => {
  const { types, rows } = await roundTrip(`
    SELECT TIMESTAMPTZ '2026-01-02 03:04:05.678901Z' AS t, DATE '1969-12-31' AS d, TIME '01:02:03.000004' AS h,
      (-12345678901234567890.1234)::DECIMAL(38,4) AS m, '00000000-0000-4000-8000-000000000001'::UUID AS u,
      {'rpm': 5, 'on': NULL::BOOLEAN} AS r, [1, NULL, 3] AS a, MAP {'x': 1.5::DOUBLE, 'y': NULL} AS p
    UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL`)
  assert.deepEqual(types.slice(0, 5), [
    'Timestamp<MICROSECOND, UTC>',
    'Date32<DAY>',
    'Time64<MICROSECOND>',
    'Decimal[38e+4]',
    'Utf8',
  ])
  assert.deepEqual(rows, [
    {
      t: 1767323045678.901,
      d: -86_400_000,
      h: 3_723_000_004n,
      m: -123456789012345678901234n,
      u: '00000000-0000-4000-8000-000000000001',
      r: { rpm: 5, on: null },
      a: [1, null, 3],
      p: { x: 1.5, y: null },
    },
    { t: null, d: null, h: null, m: null, u: null, r: null, a: null, p: null },
  ])
})

test('no rows is a file with columns', async () => {
  const { types, rows } = await roundTrip("SELECT 1 AS a, 'x' AS b WHERE false")
  assert.deepEqual([types, rows], [['Int32', 'Utf8'], []])
})
