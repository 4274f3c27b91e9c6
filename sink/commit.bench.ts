// Rows a second of the whole sink on one core: log batches → columns → order → Parquet → synced files → commit.
// `node sink/commit.bench.ts [rows]`: the median of five commits of that many rows each, in CPU time of this
// process and in wall time, with the encoder in the same thread.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import type { FixedWidthColumn, LongColumn } from '../schemas/columns.ts'
import { normalizedTopic } from '../schemas/names.ts'
import { NodeDisk } from '../std/disk.ts'
import { writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { createFileEncoder } from './encoder.ts'
import { telemetryRows } from './parquet/telemetry-rows.ts'
import { Harness, ManualClock, SCHEMA_ID, sensorStream } from './sink-harness.ts'
import { fileUri, LocalStore } from './store.ts'

const ROWS_PER_BATCH = 1000
const RUNS = 6
const rowCount = Number(process.argv[2] ?? 500_000)
const DEVICES = 10_000

const schema = JSON.stringify({
  type: 'record',
  name: 'telemetry',
  fields: [
    { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
    ...[0, 1, 2, 3, 4, 5].map((i) => ({ name: `reading_${i}`, type: 'double' })),
    { name: 'status', type: { type: 'enum', name: 'status', symbols: ['ok', 'warn', 'fault', 'off'] } },
  ],
})

/** The rows as they come from a fleet: one of each device after the other. */
function batches(): { batch: Uint8Array; count: number }[] {
  const rows = telemetryRows(rowCount, DEVICES)
  const times = rows.columns[1] as LongColumn
  const readings = rows.columns.slice(2, 8) as FixedWidthColumn[]
  const perDevice = Math.ceil(rowCount / DEVICES)
  const result: { batch: Uint8Array; count: number }[] = []
  const value = new Uint8Array(80)
  const view = new DataView(value.buffer)
  view.setInt32(1, SCHEMA_ID)
  let builder = new RecordBatchBuilder(1 << 17)
  const close = (): void => {
    if (builder.recordCount === 0) return
    const count = builder.recordCount
    result.push({ batch: builder.finish(), count })
    builder = new RecordBatchBuilder(1 << 17)
  }
  for (let step = 0; step < perDevice; step++)
    for (let device = 0; device < DEVICES; device++) {
      const row = device * perDevice + step
      if (row >= rowCount) break
      const micros = times.words[2 * row + 1]! * 2 ** 32 + (times.words[2 * row]! >>> 0)
      let at = writeZigzagLong(value, 5, micros)
      for (const reading of readings) {
        view.setFloat64(at, reading.values[row]!, true)
        at += 8
      }
      at = writeZigzagInt(value, at, row % 50 === 0 ? 1 : 0)
      const key = Buffer.from(`device-${String(device).padStart(6, '0')}`)
      builder.append(Math.floor(micros / 1000), key, value.subarray(0, at))
      if (builder.recordCount === ROWS_PER_BATCH) close()
    }
  close()
  return result
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-sink-bench-'))
const log = new MemoryLog()
const topic = normalizedTopic('default', 'telemetry')
await log.createTopic(topic, {
  partitions: 1,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
})
const sink = new Harness({
  log,
  pointers: new SqlitePointers(path.join(folder, 'catalog.db'), 'millrace'),
  store: new LocalStore(new NodeDisk()),
  clock: new ManualClock(),
  warehouse: fileUri(path.join(folder, 'warehouse')),
  encoder: createFileEncoder(0),
})
await sink.follow(sensorStream('telemetry', { schema }))
const input = batches()
const cpu: number[] = []
const wall: number[] = []
for (let run = 0; run < RUNS; run++) {
  for (const { batch, count } of input)
    await log.append({ entries: [{ topic, partition: 0, batch, recordCount: count }] })
  const start = process.cpuUsage()
  const startMs = performance.now()
  await sink.stage.drain()
  const { user, system } = process.cpuUsage(start)
  if (run > 0) {
    cpu.push((user + system) / 1e6)
    wall.push((performance.now() - startMs) / 1000)
  }
  assert.equal(sink.counters.get('rows'), rowCount * (run + 1))
}
const rate = (seconds: number[]): string =>
  (rowCount / seconds.sort((a, b) => a - b)[seconds.length >> 1]! / 1e6).toFixed(2)
const bytes = sink.counters.get('bytes')! / (rowCount * RUNS)
console.log(
  `${rate(cpu)} M rows/s of CPU time, ${rate(wall)} M rows/s of wall time, ${bytes.toFixed(1)} B/row, ${sink.counters.get('commits')} commits, ${sink.counters.get('files')} files`,
)
fs.rmSync(folder, { recursive: true })
