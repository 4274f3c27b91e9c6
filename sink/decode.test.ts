import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BatchDecoder, type DecodedRows } from './decode.ts'
import { columnValues, SCHEMA_ID, SENSOR_SCHEMA, type SensorRecord, sensorBatch } from './sink-harness.ts'

const records = (count: number): SensorRecord[] =>
  Array.from({ length: count }, (_, seq) => ({ device: `d-${seq % 7}`, eventMicros: seq * 1000, seq }))

const devicesOf = (rows: DecodedRows): unknown[] =>
  columnValues(rows.batch.columns.find(({ field }) => field.name === 'device_id')!)

test('a decoder is used again after any number of rows, none among them', () => {
  const writers = [{ id: SCHEMA_ID, schema: SENSOR_SCHEMA }]
  const decoder = new BatchDecoder({ schema: SENSOR_SCHEMA, writers, lineage: 'telemetry' })
  // Large, then small ones, for which its arrays are given up: where there were no rows, too (a topic on Kafka has
  // offsets without records).
  for (const count of [5000, 0, 3, 300, 0, 0, 1, 20_000, 0, 1500, 2]) {
    const own = records(count)
    if (count > 0) decoder.append(sensorBatch(own), 0, 0)
    const rows = decoder.take()
    assert.equal(rows.rowCount, count)
    assert.deepEqual(
      devicesOf(rows),
      own.map(({ device }) => device),
    )
    decoder.reset()
  }
})
