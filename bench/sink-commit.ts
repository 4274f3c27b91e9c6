// Case: normalized batches in the log to rows of a committed Iceberg snapshot
//
// The whole sink on one core, the encoder in its own thread's loop: batches of the embedded log → columns → order
// of device and event time → Parquet with zstd → synced files → commit in the SQLite catalog. The rows are those
// of parquet-encode, as they come from a fleet: one of each device after the other. In the end DuckDB counts the
// rows of the current snapshot.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runQuery } from '../cli/query.ts'
import type { BatchAppend, TopicConfig } from '../log/log.ts'
import { connectLog } from '../log/log-client.ts'
import { startLogThread } from '../log/log-service.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import type { FixedWidthColumn, LongColumn } from '../schemas/columns.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { PointerCatalog } from '../sink/catalog.ts'
import { SqlitePointers } from '../sink/catalog-sqlite.ts'
import { TableEncoder } from '../sink/data-file.ts'
import { DecoderPool } from '../sink/decode.ts'
import { createFileEncoder } from '../sink/encoder.ts'
import { Names, systemClock } from '../sink/file-names.ts'
import { localWarehouse } from '../sink/open-warehouse.ts'
import { telemetryRows } from '../sink/parquet/telemetry-rows.ts'
import { SINK_OPTIONS_DEFAULT, SinkStage } from '../sink/run.ts'
import { SINK_COUNTERS, type SinkCounter } from '../sink/sink-counters.ts'
import { fileUri, LocalStore } from '../sink/store.ts'
import { feedsOf } from '../sink/streams.ts'
import { CounterBlock } from '../std/counters.ts'
import { NodeDisk } from '../std/disk.ts'
import { writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import {
  addTo,
  type CaseArguments,
  caseArguments,
  caseResult,
  printResult,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { pinSelf, removeFolder, temporaryFolder } from './processes.ts'
import type { CaseResult } from './result.ts'

/** As readers must name it (sink/worker.ts). */
const CATALOG_NAME = 'millrace'
const SCHEMA_ID = 2
const REJECTED_SCHEMA_ID = 1
const ROWS = 1_000_000
const ROWS_SMOKE = 20_000
const DEVICES = 10_000
const BATCH_ROWS = 1000
const WALKS = 6
const SETTLE_MS = 200
const STATUS = ['ok', 'warn', 'fault', 'off']
const TOPIC: TopicConfig = {
  partitions: 4,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}

function telemetryStream(): StreamDescriptor {
  const schema = JSON.stringify({
    type: 'record',
    name: 'telemetry',
    fields: [
      { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
      ...Array.from({ length: WALKS }, (_, i) => ({ name: `reading_${i}`, type: 'double' })),
      { name: 'status', type: { type: 'enum', name: 'status', symbols: STATUS } },
    ],
  })
  return {
    tenant: 'default',
    stream: 'telemetry',
    family: 'sensor',
    contractVersion: 1,
    partitions: TOPIC.partitions,
    subject: 'default.telemetry-value',
    schemaId: SCHEMA_ID,
    schema,
    writers: [{ id: SCHEMA_ID, schema }],
    fields: [{ name: 'event_time', role: 'event_time', nullable: false }],
    ruleSets: [],
    plausible: { pastMs: 1e12, futureMs: 1e9 },
    table: {},
  }
}

/** Batches of one partition each, devices in turn. */
function makeInput(rowCount: number, devices: number, seed: number): BatchAppend[] {
  const topic = normalizedTopic('default', 'telemetry')
  const rows = telemetryRows(rowCount, devices, seed)
  const times = rows.columns[1] as LongColumn
  const readings = rows.columns.slice(2, 2 + WALKS) as FixedWidthColumn[]
  const status = rows.columns[2 + WALKS]!
  const statusOf = (row: number) => (status.layout === 'dictionary' ? status.indices[row]! : 0)
  const perDevice = Math.ceil(rowCount / devices)
  const value = new Uint8Array(80)
  const view = new DataView(value.buffer)
  view.setInt32(1, SCHEMA_ID)
  const input: BatchAppend[] = []
  const builders = Array.from({ length: TOPIC.partitions }, () => new RecordBatchBuilder(1 << 17))
  const close = (partition: number): void => {
    const { recordCount } = builders[partition]!
    if (recordCount === 0) return
    input.push({ topic, partition, batch: builders[partition]!.finish(), recordCount })
    builders[partition] = new RecordBatchBuilder(1 << 17)
  }
  for (let step = 0; step < perDevice; step++)
    for (let device = 0; device < devices; device++) {
      const row = device * perDevice + step
      if (row >= rowCount) break
      const micros = times.words[2 * row + 1]! * 2 ** 32 + (times.words[2 * row]! >>> 0)
      let at = writeZigzagLong(value, 5, micros)
      for (const reading of readings) {
        view.setFloat64(at, reading.values[row]!, true)
        at += 8
      }
      at = writeZigzagInt(value, at, statusOf(row))
      const key = Buffer.from(`device-${String(device).padStart(6, '0')}`)
      const builder = builders[device % TOPIC.partitions]!
      builder.append(Math.floor(micros / 1000), key, value.subarray(0, at))
      if (builder.recordCount === BATCH_ROWS) close(device % TOPIC.partitions)
    }
  for (let partition = 0; partition < TOPIC.partitions; partition++) close(partition)
  return input
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const pinned = pinSelf()
  const folder = temporaryFolder()
  const thread = await startLogThread({ dir: path.join(folder, 'log') })
  const log = await connectLog(thread.newPort(), { readsAhead: true })
  for (const name of [normalizedTopic, rejectedTopic])
    await log.createTopic(name('default', 'telemetry'), TOPIC)
  const names = new Names(systemClock)
  const store = new LocalStore(new NodeDisk())
  const pointers = new SqlitePointers(path.join(folder, 'catalog.db'), CATALOG_NAME)
  const warehouse = fileUri(path.join(folder, 'warehouse'))
  const encoder = createFileEncoder(0)
  const counters = new CounterBlock<SinkCounter>(SINK_COUNTERS)
  const stage = new SinkStage({
    log,
    store,
    names,
    clock: systemClock,
    catalog: new PointerCatalog(CATALOG_NAME, pointers, store, warehouse, names, systemClock),
    encoder: new TableEncoder(encoder),
    decoders: new DecoderPool(),
    options: SINK_OPTIONS_DEFAULT,
    counters,
    onEvent: (event) => {
      if (event.level !== 'info') throw new Error(event.message)
    },
  })
  await stage.setFeeds(feedsOf([telemetryStream()], REJECTED_SCHEMA_ID))

  const rowCount = args.smoke ? ROWS_SMOKE : ROWS
  const input = makeInput(rowCount, args.smoke ? DEVICES / 100 : DEVICES, args.seed)
  const runs: Run[] = []
  let sent = 0
  for (const i of rounds(args.runs + 1, 'runs', 2)) {
    const run: Run = { messages: 0, seconds: 0, cpuSeconds: 0 }
    while (run.seconds < args.seconds) {
      await Promise.all(input.map((entry) => log.append({ entries: [entry] })))
      sent += rowCount
      await sleep(args.smoke ? 0 : SETTLE_MS)
      await addTo(run, rowCount, () => stage.drain())
    }
    // The first run warms up.
    if (i > 0 || args.smoke) runs.push(run)
    if (args.smoke) break
  }
  const [files, bytes, commits] = [counters.get('files'), counters.get('bytes'), counters.get('commits')]
  await encoder.close()
  await pointers.close()
  await log.close()
  await thread.close()
  const answer = await runQuery(localWarehouse(folder), 'SELECT count(*)::double AS n FROM telemetry')
  const counted = Number(answer.rows[0]![0])
  if (counted !== sent || counters.get('rows') !== sent)
    throw new Error(`${sent} rows in the log, ${counters.get('rows')} committed, DuckDB counts ${counted}`)
  removeFolder(folder)
  return {
    ...caseResult(
      'sink-commit',
      args,
      'rows/s',
      summarise(runs),
      `${sent} rows in the log = committed = counted by DuckDB over the current snapshot`,
      [],
    ),
    notes: [
      pinned ? 'all threads on one core' : 'on all cores: no taskset',
      `${commits} commits, ${files} files, ${round(bytes / sent, 1)} B/row`,
    ],
  }
}

if (import.meta.main) {
  const args = caseArguments(2)
  printResult(await run(args), args)
}
