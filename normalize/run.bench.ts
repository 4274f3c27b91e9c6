// Records per second of one normalize thread without the log: raw batches lie in memory, what comes out is
// counted and dropped. `node normalize/run.bench.ts [records]`; the smoke size runs in the tests.
//
//   passed     current schema, firmware without rules: every batch goes on by reference
//   copied     one resent record in every batch: the others are copied out
//   late       every record is late: copied with marks
//   resolved   an older writer schema
//   rules      firmware 2: a unit conversion in CEL
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { SENSOR_SCHEMA } from '../schemas/avro-arbitraries.ts'
import { encodePlain } from '../schemas/avro-encode.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { OutputBatches } from './output.ts'
import { PartitionNormalizer, Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { PartitionState, STATE_LIMITS_DEFAULT } from './state.ts'
import { compileTransform } from './transform.ts'

const CURRENT_ID = 2
const OLD_ID = 1
const DEVICES = 250
const BATCH_RECORDS = 1000
const READ_BYTES = 1024 * 1024
const EPOCH_MS = 1_760_000_000_000

/** Without the battery, and with the temperature as a float. */
const OLD_SCHEMA = SENSOR_SCHEMA.replace(
  '{"name":"temperature","type":"double"}',
  '{"name":"temperature","type":"float"}',
).replace(',{"name":"battery","type":"double"}', '')
const NEW_SCHEMA = SENSOR_SCHEMA.replace(
  '{"name":"battery","type":"double"}',
  '{"name":"battery","type":"double","default":100}',
)

/** The shipped environment contract, as far as it costs anything. */
const descriptor: StreamDescriptor = {
  tenant: 'default',
  stream: 'telemetry',
  family: 'environment',
  contractVersion: 1,
  partitions: 1,
  subject: 'default.telemetry-value',
  schemaId: CURRENT_ID,
  schema: NEW_SCHEMA,
  writers: [
    { id: OLD_ID, schema: OLD_SCHEMA },
    { id: CURRENT_ID, schema: NEW_SCHEMA },
  ],
  fields: [
    { name: 'event_time', role: 'event_time', nullable: false },
    { name: 'seq', role: 'sequence', nullable: false },
    { name: 'temperature', nullable: false, range: { min: -40, max: 85 } },
    { name: 'humidity', nullable: false, range: { min: 0, max: 100 } },
    { name: 'pressure', nullable: true, range: { min: 300, max: 1100 } },
    { name: 'air_quality', nullable: true, range: { min: 0, max: 500 } },
    { name: 'firmware', role: 'firmware', nullable: false },
    { name: 'battery', nullable: false, range: { min: 0, max: 100 } },
  ],
  ruleSets: [
    {
      firmware: '>=2.0 <2.1',
      rules: [
        { set: { field: 'temperature', value: '(temperature - 32.0) / 1.8' } },
        { when: 'pressure != null', set: { field: 'pressure', value: 'pressure / 100.0' } },
      ],
    },
    { firmware: '2.x', rules: [{ set: { field: 'temperature', value: '(temperature - 32.0) / 1.8' } }] },
    { firmware: 'default', rules: [] },
  ],
  plausible: { pastMs: 10 * 365 * 86_400_000, futureMs: 86_400_000 },
  table: {},
}

export const CASES = ['passed', 'copied', 'late', 'resolved', 'rules'] as const
type NormalizeCase = (typeof CASES)[number]

/** Raw batches of `records` records, as reads of about READ_BYTES; offsets follow one another. */
function rawReads(which: NormalizeCase, records: number): Uint8Array[] {
  const node = parseAvroSchema(which === 'resolved' ? OLD_SCHEMA : NEW_SCHEMA)
  const firmware = which === 'rules' ? '2.1.0' : '1.0.3'
  let seed = 1
  const random = (): number => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32
  const payload = (i: number): Uint8Array => {
    const datum = encodePlain(node, {
      // Late: the first record of each device is an hour ahead of all others.
      event_time: (EPOCH_MS + i - (which === 'late' && i >= DEVICES ? 3_600_000 : 0)) * 1000,
      seq: Math.floor(i / DEVICES),
      temperature: 20 + random(),
      humidity: 50 + random(),
      pressure: random() < 0.1 ? null : 1000 + random(),
      air_quality: random() < 0.5 ? null : random(),
      occupancy: 'free',
      firmware,
      ...(which === 'resolved' ? {} : { battery: 100 * random() }),
    })
    const framed = new Uint8Array(5 + datum.length)
    framed[4] = which === 'resolved' ? OLD_ID : CURRENT_ID
    framed.set(datum, 5)
    return framed
  }
  const reads: Uint8Array[] = []
  const read: Uint8Array[] = []
  let bytes = 0
  for (let at = 0; at < records; at += BATCH_RECORDS) {
    const builder = new RecordBatchBuilder()
    for (let i = at; i < Math.min(records, at + BATCH_RECORDS); i++) {
      const key = Buffer.from(`sim-${String(i % DEVICES).padStart(4, '0')}`)
      const value = payload(i)
      builder.append(EPOCH_MS + i, key, value)
      if (which === 'copied' && i % BATCH_RECORDS === BATCH_RECORDS / 2)
        builder.append(EPOCH_MS + i, key, value)
    }
    const batch = builder.finish()
    read.push(batch)
    bytes += batch.length
    if (bytes >= READ_BYTES || at + BATCH_RECORDS >= records) {
      reads.push(Buffer.concat(read.splice(0)))
      bytes = 0
    }
  }
  return reads
}

/** Nanoseconds a record, the best of `rounds`; throws where the work was not what the case says. */
export function benchmark(which: NormalizeCase, records: number, rounds: number): number {
  const reads = rawReads(which, records)
  const output = new OutputBatches()
  let best = Infinity
  for (let round = 0; round < rounds; round++) {
    const normalizer = new PartitionNormalizer(
      compileTransform(descriptor),
      new PartitionState(STATE_LIMITS_DEFAULT),
      {
        partition: 0,
        references: true,
      },
    )
    const rejected = new RejectedBatches('raw', 3)
    const tally = new Tally()
    const begin = process.hrtime.bigint()
    for (const bytes of reads) {
      output.clear()
      normalizer.process(bytes, 0, Infinity, output, rejected, tally)
      output.take()
    }
    best = Math.min(best, Number(process.hrtime.bigint() - begin) / tally.recordsIn)
    const batches = Math.ceil(records / BATCH_RECORDS)
    const expected = {
      passed: which === 'passed' || which === 'copied' ? records : which === 'late' ? DEVICES : 0,
      batches: which === 'passed' ? batches : 0,
      duplicates: which === 'copied' ? batches : 0,
    }
    const { recordsPassed, batchesPassed, duplicates, recordsRewritten } = tally
    if (
      recordsPassed !== expected.passed ||
      batchesPassed !== expected.batches ||
      duplicates !== expected.duplicates ||
      recordsRewritten !== records - expected.passed
    )
      throw new Error(`${which}: ${JSON.stringify(tally)} is not what the case is about`)
  }
  return best
}

if (import.meta.main) {
  const records = Number(process.argv[2] ?? 300_000)
  for (const which of CASES) {
    const ns = benchmark(which, records, 7)
    console.log(
      `${which.padEnd(9)} ${ns.toFixed(0).padStart(5)} ns/record ${(1e3 / ns).toFixed(2).padStart(7)} M records/s`,
    )
  }
}
