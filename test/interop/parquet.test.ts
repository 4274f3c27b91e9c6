// pyarrow reads random nested tables of the Parquet encoder, value by value; and what it makes of them is read back here.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { readRows as plainRows } from '../../schemas/column-rows.ts'
import { batchOf, storedField, tableArbitrary } from '../../sink/parquet/batch-arbitraries.ts'
import { parquetFields } from '../../sink/parquet/number-fields.ts'
import { ParquetFile, readRows } from '../../sink/parquet/reader.ts'
import { expectedRows, type Plain } from '../../sink/parquet/readers.ts'
import { ParquetWriter } from '../../sink/parquet/writer.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')
const SCRIPT = path.join(import.meta.dirname, 'parquet_read.py')
const TABLES = 200

/** As the script prints it. */
function printed(value: Plain): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value)
  if (Array.isArray(value)) return value.map(printed)
  if (value === null || typeof value !== 'object') return value
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, printed(one)]))
}

test('pyarrow reads every value of random nested tables', () => {
  const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 0x7fffffff)
  const arbitrary = fc.tuple(
    tableArbitrary(4, 40, 3),
    fc.constantFrom(1, 1, 20),
    fc.constantFrom(1, 5, 20_000),
  )
  const samples = fc.sample(arbitrary, { numRuns: TABLES, seed })
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-interop-'))
  try {
    const tables = samples.map(([table, times, pageRowsMax], i) => {
      const rows = Array.from({ length: times }, () => table.rows).flat()
      const writer = new ParquetWriter(parquetFields(table.fields), { pageRowsMax, rowGroupRowsMax: 300 })
      writer.writeRowGroup(batchOf({ ...table, rows }))
      const file = path.join(folder, `${i}.parquet`)
      fs.writeFileSync(file, Buffer.concat(writer.finish().parts))
      return { file, rows: expectedRows({ ...table, rows }) }
    })
    const lines = execFileSync(PYTHON, [SCRIPT, ...tables.map((table) => table.file)], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    }).split('\n')
    tables.forEach((table, i) => {
      assert.deepEqual(
        JSON.parse(lines[i]!),
        table.rows.map((row) => row.map(printed)),
        `seed ${seed}, table ${i}`,
      )
    })
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

test('random nested tables that pyarrow has written, without an offset index, are read value by value', () => {
  const seed = Number(process.env['MILLRACE_SEED'] ?? Date.now() % 0x7fffffff)
  const samples = fc.sample(tableArbitrary(4, 40, 3), { numRuns: TABLES, seed })
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-interop-'))
  try {
    const ours = samples.map((table, i) => {
      const rows = Array.from({ length: 1 + (i % 9) }, () => table.rows).flat()
      const writer = new ParquetWriter(parquetFields(table.fields))
      writer.writeRowGroup(batchOf({ ...table, rows }))
      const file = path.join(folder, `${i}.parquet`)
      fs.writeFileSync(file, Buffer.concat(writer.finish().parts))
      return file
    })
    execFileSync(PYTHON, [path.join(import.meta.dirname, 'parquet_rewrite.py'), ...ours])
    samples.forEach((table, i) => {
      const fields = parquetFields(table.fields.map(storedField))
      const read = (file: string, from: number, to: number): Record<string, unknown>[] => {
        const parquet = new ParquetFile(file, new Uint8Array(fs.readFileSync(file)))
        return plainRows(readRows(fields, [{ file: parquet, plans: parquet.plan(fields), from, to }]))
      }
      const count = table.rows.length * (1 + (i % 9))
      for (const [from, to] of [
        [0, count],
        [count >> 1, count],
        [count >> 2, count >> 1],
      ] as const)
        assert.deepEqual(
          read(`${ours[i]}.arrow`, from, to),
          read(ours[i]!, from, to),
          `seed ${seed}, table ${i}, rows ${from} to ${to}`,
        )
    })
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})
