// Rows a second and bytes a row of the encoder alone, one core: `node sink/parquet/writer.bench.ts [rows] [file]`.
// The median of five runs over the same rows; with a file, the result is kept for other readers and writers.
import fs from 'node:fs'
import { parquetFields } from './number-fields.ts'
import { TELEMETRY_FIELDS, telemetryRows } from './telemetry-rows.ts'
import { type EncodedFile, ParquetWriter } from './writer.ts'

const rowCount = Number(process.argv[2] ?? 1_000_000)
const batch = telemetryRows(rowCount)
const fields = parquetFields(TELEMETRY_FIELDS)
const seconds: number[] = []
let file: EncodedFile | undefined
for (let run = 0; run < 6; run++) {
  const start = process.cpuUsage()
  const writer = new ParquetWriter(fields)
  writer.writeRowGroup(batch)
  file = writer.finish()
  const { user, system } = process.cpuUsage(start)
  if (run > 0) seconds.push((user + system) / 1e6)
}
seconds.sort((a, b) => a - b)
const median = seconds[seconds.length >> 1]!
console.log(
  `${(rowCount / median / 1e6).toFixed(2)} M rows/s of CPU time, ${(file!.byteLength / rowCount).toFixed(2)} B/row, runs ${seconds.map((one) => one.toFixed(3)).join(' ')}`,
)
for (const column of file!.columns)
  console.log(`  field ${column.fieldId}: ${(column.columnBytes / rowCount).toFixed(3)} B/row`)
if (process.argv[3] !== undefined) fs.writeFileSync(process.argv[3], Buffer.concat(file!.parts))
