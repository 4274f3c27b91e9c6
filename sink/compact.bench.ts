// Rows a second of compaction on one core: files in order → keys → order → one file, in memory. CPU time, because it
// runs beside the pipeline. `node sink/compact.bench.ts [rows] [files]`.
import assert from 'node:assert/strict'
import { gatherColumn } from '../schemas/column-ops.ts'
import { rewriteFiles } from './compact-files.ts'
import type { DataFile } from './iceberg/manifest.ts'
import type { Schema } from './iceberg/schema.ts'
import { telemetryRows } from './parquet/telemetry-rows.ts'
import { ParquetWriter } from './parquet/writer.ts'
import type { Store } from './store.ts'
import { tableColumns } from './table-columns.ts'

const RUNS = 4
const rowCount = Number(process.argv[2] ?? 1_000_000)
const fileCount = Number(process.argv[3] ?? 32)

const schema: Schema = {
  type: 'struct',
  'schema-id': 0,
  fields: [
    { id: 1, name: 'device_id', required: true, type: 'string' },
    { id: 2, name: 'event_time', required: true, type: 'timestamptz' },
    ...[0, 1, 2, 3, 4, 5].map((i) => ({ id: 3 + i, name: `reading_${i}`, required: true, type: 'double' })),
    { id: 9, name: 'status', required: true, type: 'string' },
  ],
}

/** Every file holds a share of each device's rows, as the commits of a day do. */
const files = new Map<string, Uint8Array>()
const rows = telemetryRows(rowCount)
for (let file = 0; file < fileCount; file++) {
  const picked: number[] = []
  for (let row = file; row < rowCount; row += fileCount) picked.push(row)
  const indices = Uint32Array.from(picked)
  const writer = new ParquetWriter(tableColumns(schema.fields))
  writer.writeRowGroup({
    rowCount: indices.length,
    columns: rows.columns.map((column) => gatherColumn(column, indices)),
  })
  files.set(`file:///${file}.parquet`, new Uint8Array(Buffer.concat(writer.finish().parts)))
}
const store = { read: async (uri: string) => files.get(uri)! } as Store
const dataFiles = [...files].map(([uri, bytes], file) => ({
  file_path: uri,
  file_size_in_bytes: bytes.length,
  record_count: Math.ceil((rowCount - file) / fileCount),
})) as DataFile[]
const [device, time] = schema.fields
const order = {
  layout: { timeColumn: 'event_time', deviceColumn: 'device_id', dayField: 'day', bucket: undefined },
  device: device!,
  time: time!,
  sortOrderId: 1,
}
const day = Math.floor(1_767_225_600_000 / 86_400_000)
const seconds: number[] = []
let bytesAfter = 0
for (let run = 0; run < RUNS; run++) {
  const before = process.cpuUsage()
  const encoded = await rewriteFiles(store, schema, order, dataFiles, { day, bucket: undefined })
  const { user, system } = process.cpuUsage(before)
  assert.equal(encoded.recordCount, rowCount)
  bytesAfter = encoded.byteLength
  if (run > 0) seconds.push((user + system) / 1e6)
}
seconds.sort((a, b) => a - b)
const median = seconds[seconds.length >> 1]!
const bytesBefore = dataFiles.reduce((sum, file) => sum + Number(file.file_size_in_bytes), 0)
console.log(
  JSON.stringify({
    rows: rowCount,
    files: fileCount,
    rowsPerCpuSecond: Math.round(rowCount / median),
    bytesBefore,
    bytesAfter,
    residentBytes: process.memoryUsage.rss(),
  }),
)
