// Rows like a fleet's, for benchmarks: `devices` devices, sorted by device and event time; six random walks
// rounded to three decimals, about 100,000 distinct values each; a status of four values. Seeded: the same
// rows each time.
import type { ColumnBatch, ColumnField } from '../../schemas/columns.ts'
import { seededRandom } from '../../std/random.ts'

const WALKS = 6
const STATUS = ['ok', 'warn', 'fault', 'off']
const encoder = new TextEncoder()

export const TELEMETRY_FIELDS: readonly ColumnField[] = [
  { name: 'device_id', type: { kind: 'string' }, nullable: false },
  { name: 'event_time', type: { kind: 'long', logical: 'timestamp-micros' }, nullable: false },
  ...Array.from(
    { length: WALKS },
    (_, i): ColumnField => ({ name: `reading_${i}`, type: { kind: 'double' }, nullable: false }),
  ),
  { name: 'status', type: { kind: 'string' }, nullable: false },
]

export function telemetryRows(rowCount: number, devices = 10_000, seed = 1): ColumnBatch {
  const random = seededRandom(seed)
  const perDevice = Math.ceil(rowCount / devices)
  const deviceIndices = new Int32Array(rowCount)
  const statusIndices = new Int32Array(rowCount)
  const times = new BigInt64Array(rowCount)
  const walks = Array.from({ length: WALKS }, () => new Float64Array(rowCount))
  const at = new Float64Array(WALKS)
  for (let row = 0; row < rowCount; row++) {
    const device = Math.floor(row / perDevice)
    const step = row - device * perDevice
    if (step === 0) for (let w = 0; w < WALKS; w++) at[w] = 20 + (random() - 0.5) * 100
    deviceIndices[row] = device
    times[row] = BigInt(1_767_225_600_000 + step * 1000 + Math.floor(random() * 50)) * 1000n
    for (let w = 0; w < WALKS; w++) {
      at[w] = at[w]! + random() - 0.5
      walks[w]![row] = Math.round(at[w]! * 1000) / 1000
    }
    const p = random()
    statusIndices[row] = p < 0.97 ? 0 : p < 0.985 ? 1 : p < 0.995 ? 2 : 3
  }
  const column = (index: number) => ({ field: TELEMETRY_FIELDS[index]!, rowCount, validity: undefined })
  return {
    rowCount,
    columns: [
      {
        ...column(0),
        layout: 'dictionary',
        indices: deviceIndices,
        ...dictionaryOf(Array.from({ length: devices }, (_, i) => `device-${String(i).padStart(6, '0')}`)),
      },
      { ...column(1), layout: 'longs', words: new Int32Array(times.buffer) },
      ...walks.map((values, w) => ({ ...column(2 + w), layout: 'words' as const, values })),
      { ...column(2 + WALKS), layout: 'dictionary', indices: statusIndices, ...dictionaryOf(STATUS) },
    ],
  }
}

function dictionaryOf(texts: readonly string[]): {
  dictionaryOffsets: Int32Array
  dictionaryData: Uint8Array
} {
  const parts = texts.map((text) => encoder.encode(text))
  const dictionaryOffsets = new Int32Array(parts.length + 1)
  parts.forEach((part, i) => {
    dictionaryOffsets[i + 1] = dictionaryOffsets[i]! + part.length
  })
  return { dictionaryOffsets, dictionaryData: new Uint8Array(Buffer.concat(parts)) }
}
