// What manifests say is recomputed from the data: of the golden tables, and of random rows.
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import fc from 'fast-check'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { PointerCatalog } from '../sink/catalog.ts'
import { MemoryPointers } from '../sink/catalog-memory.ts'
import { SqlitePointers } from '../sink/catalog-sqlite.ts'
import { createFileEncoder } from '../sink/encoder.ts'
import { Names, systemClock } from '../sink/file-names.ts'
import { COMPACTION_OPTIONS_DEFAULT, compact } from '../sink/maintenance-compact.ts'
import { listAllTables } from '../sink/read-tables.ts'
import { Harness, ManualClock, sensorStream } from '../sink/sink-harness.ts'
import { LocalStore } from '../sink/store.ts'
import { NodeDisk } from '../std/disk.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { checkManifests } from './check-manifests.ts'
import { makeGoldenTables } from './golden-tables.ts'
import {
  type Cell,
  decimal,
  decimalSchema,
  EVENT_TIME,
  encoderOf,
  type Fields,
  float,
  logical,
  optional,
  record,
  same,
} from './golden-values.ts'
import { temporaryFolder } from './millrace-process.ts'

const RUNS = process.env['MILLRACE_LONG'] === '1' ? 500 : 10
const seed = process.env['MILLRACE_SEED']
const PARAMETERS = { numRuns: RUNS, ...(seed === undefined ? {} : { seed: Number(seed) }) }

test('golden tables: every manifest of every snapshot says what the data says', async (t) => {
  const dir = temporaryFolder(t)
  const golden = await makeGoldenTables(dir)
  const pointers = new SqlitePointers(golden.catalog, 'millrace', { readOnly: true })
  const store = new LocalStore(new NodeDisk())
  const names = new Names(systemClock)
  const catalog = new PointerCatalog('millrace', pointers, store, 'file:///unused', names, systemClock)
  let files = 0
  for (const id of await listAllTables(catalog))
    files += await checkManifests(store, (await catalog.load(id))!)
  await catalog.close()
  assert.ok(files > 100, `${files} files`)
  assert.ok(path.isAbsolute(golden.warehouse))
})

const bigInt = (min: bigint, max: bigint): fc.Arbitrary<bigint> => fc.bigInt({ min, max })
const cell = <T>(arbitrary: fc.Arbitrary<T>, of: (value: T) => Cell): fc.Arbitrary<Cell> => arbitrary.map(of)
const text = fc.oneof(
  { weight: 4, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', '\u{10FFFF}'.repeat(20), 'é'.repeat(16), `${'x'.repeat(15)}𝄞𝄞`),
  },
  { weight: 1, arbitrary: fc.string({ minLength: 2000, maxLength: 5000 }) },
)
const long = fc.oneof(
  bigInt(-(2n ** 63n), 2n ** 63n - 1n),
  bigInt(-2n, 2n),
  fc.constantFrom(-(2n ** 63n), 2n ** 63n - 1n),
)
const double = fc.oneof(
  fc.double(),
  fc.constantFrom(-0, 0, Number.NaN, Infinity, -Infinity, Number.MIN_VALUE),
)
const nines = (digits: number): bigint => 10n ** BigInt(digits) - 1n

const KINDS: [string, unknown, fc.Arbitrary<Cell>][] = [
  ['b', 'boolean', cell(fc.boolean(), same)],
  ['i', 'int', cell(fc.integer(), (avro) => ({ avro, plain: avro }))],
  ['l', 'long', cell(long, same)],
  ['f', 'float', cell(fc.oneof(fc.float(), fc.constantFrom(-0, 0, Number.NaN, Infinity)), float)],
  ['d', 'double', cell(double, float)],
  ['s', 'string', cell(text, same)],
  [
    'y',
    'bytes',
    cell(fc.uint8Array({ maxLength: 40 }), (avro) => ({ avro: Buffer.from(avro), plain: null })),
  ],
  [
    'dt',
    logical('int', 'date'),
    cell(fc.integer({ min: -800_000, max: 3_000_000 }), (avro) => ({ avro, plain: null })),
  ],
  [
    'tm',
    logical('int', 'time-millis'),
    cell(fc.integer({ min: 0, max: 86_399_999 }), (avro) => ({ avro, plain: null })),
  ],
  ['zm', logical('long', 'timestamp-millis'), cell(bigInt(-(10n ** 14n), 10n ** 14n), same)],
  ['zu', logical('long', 'timestamp-micros'), cell(bigInt(-(10n ** 17n), 10n ** 17n), same)],
  ['n9', decimalSchema(9, 2), cell(bigInt(-nines(9), nines(9)), (one) => decimal(one, 2))],
  ['n18', decimalSchema(18, 3), cell(bigInt(-nines(18), nines(18)), (one) => decimal(one, 3))],
  [
    'n38',
    decimalSchema(38, 10),
    cell(fc.oneof(bigInt(-nines(38), nines(38)), bigInt(-300n, 300n)), (one) => decimal(one, 10)),
  ],
]

const SCHEMA = record('random', [
  EVENT_TIME,
  ...KINDS.flatMap(([name, type]) => [{ name, type }, optional(`${name}_o`, type)]),
])

const rowArbitrary: fc.Arbitrary<{ device: string; fields: Fields }> = fc
  .record({
    device: fc.constantFrom('a', 'b', 'ü', '\u{10FFFF}', '\uFFFD', 'device-1', 'device-10'),
    // Before 1970, at the edges of days, and years ahead.
    event: fc.oneof(
      bigInt(-3n, 3n).map((day) => day * 86_400_000_000n),
      bigInt(-3n, 3n).map((day) => day * 86_400_000_000n - 1n),
      bigInt(-(10n ** 15n), 10n ** 16n),
    ),
    required: fc.tuple(...KINDS.map(([, , arbitrary]) => arbitrary)),
    optional: fc.tuple(...KINDS.map(([, , arbitrary]) => fc.option(arbitrary, { nil: same(null) }))),
  })
  .map((one) => ({
    device: one.device,
    fields: {
      event_time: same(one.event),
      ...Object.fromEntries(
        KINDS.flatMap(([name], i) => [
          [name, one.required[i]!],
          [`${name}_o`, one.optional[i]!],
        ]),
      ),
    },
  }))

test('random rows: NaN, zeros, nulls, long and strange texts, extreme numbers, old times; compacted too', async () => {
  const stream = (bucketDevices?: number) =>
    sensorStream('random', {
      schema: SCHEMA,
      schemaId: 9,
      partitions: 1,
      table: bucketDevices === undefined ? {} : { bucketDevices },
    })
  const encode = encoderOf(SCHEMA, 9)
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(rowArbitrary, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 3 }),
      fc.constantFrom(undefined, 3),
      async (commits, buckets) => {
        const log = new MemoryLog()
        const config = {
          partitions: 1,
          cleanup: 'delete' as const,
          retentionAgeMs: Infinity,
          retentionBytes: Infinity,
          backlogBytesMax: Infinity,
        }
        await log.createTopic(normalizedTopic('default', 'random'), config)
        await log.createTopic(rejectedTopic('default', 'random'), config)
        const sink = new Harness({
          log,
          pointers: new MemoryPointers(),
          store: new LocalStore(new SimulatedDisk()),
          clock: new ManualClock(),
          warehouse: 'file:///w',
          encoder: createFileEncoder(0),
        })
        await sink.follow(stream(buckets))
        for (const rows of commits) {
          const builder = new RecordBatchBuilder()
          for (const { device, fields } of rows) builder.append(1e12, Buffer.from(device), encode(fields))
          const topic = normalizedTopic('default', 'random')
          await log.append({
            entries: [{ topic, partition: 0, batch: builder.finish(), recordCount: rows.length }],
          })
          await sink.stage.drain()
        }
        const id = { namespace: 'default', name: 'random' }
        const load = async () => (await sink.catalog.load(id))!
        await checkManifests(sink.tools.store, await load())
        const options = { ...COMPACTION_OPTIONS_DEFAULT, filesToMerge: 2 }
        sink.clock.ms += 1e9
        const { skipped } = await compact(sink.tools, id, options)
        assert.deepEqual(skipped, [])
        await checkManifests(sink.tools.store, await load())
        assert.equal((await sink.parquetRows(id)).length, commits.flat().length)
      },
    ),
    PARAMETERS,
  )
})
