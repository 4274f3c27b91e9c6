// Cost of decoding the sensor datum into columns, printed as ns a row and rows a second;
// `node schemas/avro-columns.bench.ts`. The smoke size runs in the tests.
import { SENSOR_SCHEMA } from './avro-arbitraries.ts'
import { ColumnBuilders } from './avro-columns.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { sensorData } from './avro-validate.bench.ts'

/** Nanoseconds a row, the best of `rounds`; rows of the last batch and a sum over one of its columns. */
export function benchmark(count: number, rounds: number): { ns: number; rows: number; checksum: number } {
  const { bytes, offsets } = sensorData(count)
  const node = parseAvroSchema(SENSOR_SCHEMA)
  const builders = new ColumnBuilders(node)
  const { decodeRows } = builders.decoderFor(node)
  let best = Infinity
  let rows = 0
  let checksum = 0
  for (let round = 0; round < rounds; round++) {
    const begin = process.hrtime.bigint()
    decodeRows(bytes, offsets, offsets.subarray(1), count)
    const batch = builders.finish()
    best = Math.min(best, Number(process.hrtime.bigint() - begin) / count)
    rows = batch.rowCount
    const column = batch.columns[2]!
    checksum = 0
    if (column.layout === 'words') for (const value of column.values) checksum += value
    builders.reset()
  }
  return { ns: best, rows, checksum }
}

if (import.meta.main) {
  const { ns } = benchmark(100_000, 40)
  console.log(`sensor datum to columns: ${ns.toFixed(1)} ns a row, ${(1000 / ns).toFixed(1)} M rows/s`)
}
