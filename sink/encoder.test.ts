import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ColumnBatch, ColumnField } from '../schemas/columns.ts'
import { createFileEncoder } from './encoder.ts'
import { batchOf, type Table } from './parquet/batch-arbitraries.ts'
import { parquetFields } from './parquet/number-fields.ts'
import { TELEMETRY_FIELDS, telemetryRows } from './parquet/telemetry-rows.ts'
import { ParquetWriter } from './parquet/writer.ts'

const fields = parquetFields(TELEMETRY_FIELDS)

test('a file from a thread is the file that is made in place', async () => {
  const inPlace = new ParquetWriter(fields)
  inPlace.writeRowGroup(telemetryRows(30_000, 100))
  const expected = inPlace.finish()
  const pool = createFileEncoder(2)
  try {
    const batch = telemetryRows(30_000, 100)
    const files = await Promise.all([1, 2, 3].map(() => pool.encode(fields, batch)))
    for (const file of files) {
      assert.deepEqual(Buffer.concat(file.parts), Buffer.concat(expected.parts))
      assert.deepEqual(file.columns, expected.columns)
      assert.deepEqual(file.splitOffsets, expected.splitOffsets)
    }
  } finally {
    await pool.close()
  }
})

/** Some blocks long. */
const [longRows, otherRows] = [telemetryRows(200_000, 100, 6), telemetryRows(180_000, 100, 7)]

for (const threads of [0, 1])
  test(`what a stored file gave back is the memory of the next one, ${threads === 0 ? 'in place' : 'in a thread'}`, async () => {
    const encoder = createFileEncoder(threads)
    try {
      const alone = new ParquetWriter(fields)
      alone.writeRowGroup(otherRows)
      const expected = Buffer.concat(alone.finish().parts)
      const first = await encoder.encode(fields, longRows)
      const blocks = new Set(first.parts.map((part) => part.buffer))
      encoder.giveBack(first.parts)
      const second = await encoder.encode(fields, otherRows)
      assert.ok(Buffer.concat(second.parts).equals(expected), 'of what lay there before nothing is left')
      // What was moved to a thread is not here any more; in place it is the same.
      const moved = first.parts.filter((part) => part.buffer.byteLength === 0)
      const same = second.parts.filter((part) => blocks.has(part.buffer))
      assert.ok((threads === 0 ? same : moved).length >= 1, `${same.length} the same, ${moved.length} moved`)
      const third = await encoder.encode(fields, longRows)
      assert.ok(Buffer.concat(second.parts).equals(expected), 'what was not given back is left alone')
      assert.equal(third.recordCount, 200_000)
    } finally {
      await encoder.close()
    }
  })

test('several threads read one batch in shared memory, each the rows of its file', async () => {
  const batch = shared(telemetryRows(12_000, 10))
  const halves = [0, 1].map((half) => Uint32Array.from({ length: 6000 }, (_, i) => 2 * i + half))
  const pool = createFileEncoder(2)
  const inPlace = createFileEncoder(0)
  try {
    const files = await Promise.all(halves.map((rows) => pool.encode(fields, batch, {}, rows)))
    for (const [i, file] of files.entries()) {
      const alone = await inPlace.encode(fields, telemetryRows(12_000, 10), {}, halves[i]!)
      assert.equal(file.recordCount, 6000)
      assert.deepEqual(Buffer.concat(file.parts), Buffer.concat(alone.parts))
    }
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

function shared(batch: ColumnBatch): ColumnBatch {
  const columns = batch.columns.map((column) => {
    if (column.layout !== 'words') return column
    const values = new Float64Array(new SharedArrayBuffer(column.values.byteLength))
    values.set(column.values)
    return { ...column, values }
  })
  return { ...batch, columns }
}
