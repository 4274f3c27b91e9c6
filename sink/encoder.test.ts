import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ColumnBatch, ColumnField } from '../schemas/columns.ts'
import { createFileEncoder, movableBuffers } from './encoder.ts'
import { batchOf, type Table } from './parquet/batch-arbitraries.ts'
import { parquetFields } from './parquet/number-fields.ts'
import { TELEMETRY_FIELDS, telemetryRows } from './parquet/telemetry-rows.ts'
import { ParquetWriter } from './parquet/writer.ts'

const fields = parquetFields(TELEMETRY_FIELDS)

test('a file from a thread is the file that is made in place, and the batch moves', async () => {
  const inPlace = new ParquetWriter(fields)
  inPlace.writeRowGroup(telemetryRows(30_000, 100))
  const expected = inPlace.finish()
  const pool = createFileEncoder(2)
  try {
    const batches = [telemetryRows(30_000, 100), telemetryRows(30_000, 100), telemetryRows(30_000, 100)]
    const dictionaries = batches.map((batch) => dictionaryBytes(batch))
    const files = await Promise.all(batches.map((batch) => pool.encode(fields, batch)))
    for (const file of files) {
      assert.deepEqual(Buffer.concat(file.parts), Buffer.concat(expected.parts))
      assert.deepEqual(file.columns, expected.columns)
      assert.deepEqual(file.splitOffsets, expected.splitOffsets)
    }
    for (const batch of batches) {
      const [, time] = batch.columns
      assert.equal(time?.layout === 'longs' && time.words.length, 0, 'moved, not copied')
    }
    assert.deepEqual(batches.map(dictionaryBytes), dictionaries, 'dictionaries stay')
  } finally {
    await pool.close()
  }
})

test('batches in shared memory stay readable on both sides', async () => {
  const batch = telemetryRows(5000, 10)
  const shared = {
    ...batch,
    columns: batch.columns.map((column) => {
      if (column.layout !== 'words') return column
      const values = new Float64Array(new SharedArrayBuffer(column.values.byteLength))
      values.set(column.values)
      return { ...column, values }
    }),
  }
  const pool = createFileEncoder(1)
  try {
    const file = await pool.encode(fields, shared)
    const alone = await createFileEncoder(0).encode(fields, telemetryRows(5000, 10))
    assert.deepEqual(Buffer.concat(file.parts), Buffer.concat(alone.parts))
    const reading = shared.columns[2]!
    assert.equal(reading.layout === 'words' && reading.values.length, 5000)
  } finally {
    await pool.close()
  }
})

test('a defect in a thread is an internal error, and the pool goes on', async () => {
  const field: ColumnField = { name: 'a', type: { kind: 'int' }, nullable: false }
  const table: Table = { fields: [{ ...field, nullable: true }], rows: [[1], [null]], coded: [] }
  const pool = createFileEncoder(1)
  try {
    await assert.rejects(pool.encode(parquetFields([field]), batchOf(table)), {
      code: 'internal',
      message: /a: a required field is null/,
    })
    const file = await pool.encode(parquetFields(table.fields), batchOf(table))
    assert.equal(file.recordCount, 2)
  } finally {
    await pool.close()
  }
})

test('buffers of nested columns are moved once each', () => {
  const element: ColumnField = { name: 'element', type: { kind: 'double' }, nullable: true }
  const table: Table = {
    fields: [
      { name: 'l', type: { kind: 'list', element }, nullable: true },
      { name: 's', type: { kind: 'struct', fields: [{ ...element, name: 'x' }] }, nullable: false },
    ],
    rows: [[[1, null], { x: 2 }]],
    coded: [],
  }
  // Validity, offsets, element validity and values; the struct's field: validity and values.
  assert.equal(movableBuffers(batchOf(table)).length, 6)
})

function dictionaryBytes(batch: ColumnBatch): number[] {
  return batch.columns.flatMap((column) =>
    column.layout === 'dictionary' ? [column.dictionaryData.length] : [],
  )
}
