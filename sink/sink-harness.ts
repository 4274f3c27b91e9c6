// A whole sink in one thread for tests: memory log, memory catalog, a folder, a clock that a test moves, and
// a stand-in for Parquet whose files are JSON, so that a test sees rows and not an encoder.

import type { Log } from '../log/log.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { readRows } from '../schemas/column-rows.ts'
import type { Column, ColumnBatch } from '../schemas/columns.ts'
import { MARK_LATE_MS, MARK_QUALITY } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { seededRandom } from '../std/random.ts'
import { writeZigzagLong } from '../std/varint.ts'
import { type Catalog, PointerCatalog, type Pointers, type TableId } from './catalog.ts'
import type { CommitTools } from './commit.ts'
import { TableEncoder } from './data-file.ts'
import { DecoderPool } from './decode.ts'
import type { FileEncoder } from './encoder.ts'
import { type Clock, Names } from './file-names.ts'
import { isLive, readManifest } from './iceberg/manifest.ts'
import { readManifestList } from './iceberg/manifest-list.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import type { MaintenanceOptions } from './maintenance.ts'
import type { ParquetField } from './parquet/schema.ts'
import type { EncodedFile, ParquetOptions } from './parquet/writer.ts'
import { SINK_OPTIONS_DEFAULT, type SinkEvent, SinkStage } from './run.ts'
import { SINK_COUNTERS, type SinkCounter } from './sink-counters.ts'
import type { Store } from './store.ts'
import { feedsOf } from './streams.ts'
import { tableRows } from './table-rows.ts'

export class ManualClock implements Clock {
  ms = Date.UTC(2026, 2, 1)
  now(): number {
    return this.ms
  }
  /** Time passes at once. */
  async sleep(ms: number): Promise<void> {
    this.ms += ms
  }
}

/** Reproducible bytes from a seed. */
export function seededFill(seed: number): (into: Uint8Array) => void {
  const random = seededRandom(seed)
  return (into) => {
    for (let i = 0; i < into.length; i++) into[i] = Math.floor(random() * 256)
  }
}

export const REJECTED_SCHEMA_ID = 1
export const SCHEMA_ID = 7

export const SENSOR_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'sensor',
  fields: [
    { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'seq', type: 'long' },
  ],
})

export function sensorStream(name: string, change: Partial<StreamDescriptor> = {}): StreamDescriptor {
  const schema = change.schema ?? SENSOR_SCHEMA
  const schemaId = change.schemaId ?? SCHEMA_ID
  return {
    tenant: 'default',
    stream: name,
    family: 'sensor',
    contractVersion: 1,
    partitions: 2,
    subject: `default.${name}-value`,
    schemaId,
    schema,
    writers: [{ id: schemaId, schema }],
    fields: [
      { name: 'event_time', role: 'event_time', nullable: false },
      { name: 'seq', role: 'sequence', nullable: false },
    ],
    ruleSets: [],
    plausible: { pastMs: 1e12, futureMs: 1e9 },
    table: {},
    ...change,
  }
}

export interface SensorRecord {
  device: string
  eventMicros: number
  seq: number
  receiveMs?: number
  lateMs?: number
  quality?: string
}

const utf8 = new TextEncoder()

/** One batch of records of SENSOR_SCHEMA. */
export function sensorBatch(records: readonly SensorRecord[], schemaId = SCHEMA_ID): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const record of records) {
    const value = new Uint8Array(40)
    new DataView(value.buffer).setInt32(1, schemaId)
    const at = writeZigzagLong(value, 5, record.eventMicros)
    const end = writeZigzagLong(value, at, record.seq)
    const headers = []
    if (record.lateMs !== undefined)
      headers.push({ key: MARK_LATE_MS, value: utf8.encode(String(record.lateMs)) })
    if (record.quality !== undefined) headers.push({ key: MARK_QUALITY, value: utf8.encode(record.quality) })
    builder.append(
      record.receiveMs ?? Math.floor(record.eventMicros / 1000),
      utf8.encode(record.device),
      value.subarray(0, end),
      headers,
    )
  }
  return builder.finish()
}

/** Every value of a column as plain data; longs as bigint. */
export function columnValues(column: Column): unknown[] {
  const text = new TextDecoder()
  return Array.from({ length: column.rowCount }, (_, row) => {
    if (column.validity !== undefined && (column.validity[row >> 3]! & (1 << (row & 7))) === 0) return null
    switch (column.layout) {
      case 'words':
        return column.values[row]
      case 'longs':
        return (BigInt(column.words[2 * row + 1]!) << 32n) | BigInt(column.words[2 * row]! >>> 0)
      case 'variable':
        return text.decode(column.data.subarray(column.offsets[row]!, column.offsets[row + 1]!))
      case 'dictionary': {
        const entry = column.indices[row]!
        return text.decode(
          column.dictionaryData.subarray(
            column.dictionaryOffsets[entry]!,
            column.dictionaryOffsets[entry + 1]!,
          ),
        )
      }
      default:
        throw new Error(`no plain values of ${column.layout}`)
    }
  })
}

export type PlainRow = Record<string, unknown>

/** Rows of a file are JSON by field id, as a reader of Iceberg finds them. */
export class JsonFileEncoder {
  giveBack(): void {}

  async encode(
    fields: readonly ParquetField[],
    batch: ColumnBatch,
    _options?: ParquetOptions,
    order?: Uint32Array,
  ): Promise<EncodedFile> {
    const columns = batch.columns.map(columnValues)
    const recordCount = order?.length ?? batch.rowCount
    const rows = Array.from({ length: recordCount }, (_, place) => {
      const row = order?.[place] ?? place
      return Object.fromEntries(fields.map((field, i) => [field.fieldId, String(columns[i]![row])]))
    })
    const bytes = utf8.encode(JSON.stringify(rows))
    return {
      parts: [bytes],
      byteLength: bytes.length,
      recordCount,
      splitOffsets: [4],
      columns: [],
      saturatedCount: 0,
    }
  }
}

export interface HarnessOptions {
  log: Log
  /** Of a catalog in this process, where no other is given. */
  pointers: Pointers
  catalog?: Catalog
  store: Store
  clock: ManualClock
  warehouse: string
  seed?: number
  maintenance?: MaintenanceOptions
  /** JsonFileEncoder where there is none. */
  encoder?: FileEncoder
}

/** One sink over shared log, catalog and store; make another to restart, or for a second writer. */
export class Harness {
  readonly stage: SinkStage
  readonly catalog: Catalog
  readonly tools: CommitTools
  readonly events: SinkEvent[] = []
  readonly counters = new Map<SinkCounter, number>(SINK_COUNTERS.map((name) => [name, 0]))
  readonly clock: ManualClock

  constructor(options: HarnessOptions) {
    const { log, pointers, store, clock, warehouse, maintenance } = options
    this.clock = clock
    const names = new Names(clock, seededFill(options.seed ?? 1))
    this.catalog = options.catalog ?? new PointerCatalog('millrace', pointers, store, warehouse, names, clock)
    this.tools = { catalog: this.catalog, store, names, clock }
    this.stage = new SinkStage({
      ...this.tools,
      log,
      encoder: new TableEncoder(options.encoder ?? new JsonFileEncoder()),
      decoders: new DecoderPool(),
      options: { ...SINK_OPTIONS_DEFAULT, ...(maintenance === undefined ? {} : { maintenance }) },
      onEvent: (event) => this.events.push(event),
      counters: {
        add: (name, count) => this.counters.set(name, this.counters.get(name)! + count),
        set: (name, value) => this.counters.set(name, value),
      },
    })
  }

  follow(...streams: StreamDescriptor[]): Promise<void> {
    return this.stage.setFeeds(feedsOf(streams, REJECTED_SCHEMA_ID))
  }

  /** Waits until rows are due, and commits them. */
  async commitDue(): Promise<number> {
    await this.stage.step()
    this.clock.ms += SINK_OPTIONS_DEFAULT.commitAgeMs
    return this.stage.step()
  }

  /** Rows of the current snapshot by column name, where files are Parquet. */
  async parquetRows(id: TableId): Promise<PlainRow[]> {
    const rows: PlainRow[] = []
    for await (const batch of tableRows(this.tools.store, (await this.catalog.load(id))!))
      rows.push(...readRows(batch))
    return rows
  }

  /** Rows of the current snapshot by field id, in file order. */
  async rows(id: TableId): Promise<PlainRow[]> {
    const rows: PlainRow[] = []
    for (const file of await this.files(id))
      rows.push(...(JSON.parse(new TextDecoder().decode(await this.tools.store.read(file))) as PlainRow[]))
    return rows
  }

  /** Data files of the current snapshot. */
  async files(id: TableId): Promise<string[]> {
    const table = await this.catalog.load(id)
    const snapshot = table === undefined ? undefined : currentSnapshot(table.metadata)
    const files: string[] = []
    if (snapshot !== undefined)
      for (const manifest of readManifestList(await this.tools.store.read(snapshot['manifest-list'])))
        for (const entry of readManifest(await this.tools.store.read(manifest.manifest_path), manifest)
          .entries)
          if (isLive(entry)) files.push(entry.data_file.file_path)
    return files
  }

  /** Files in the table's folders, and those that its metadata reaches. */
  async census(id: TableId): Promise<{ found: string[]; reached: string[] }> {
    const table = (await this.catalog.load(id))!
    const reached = new Set([table.metadataLocation])
    for (const entry of table.metadata['metadata-log']) reached.add(entry['metadata-file'])
    for (const snapshot of table.metadata.snapshots) {
      reached.add(snapshot['manifest-list'])
      for (const manifest of readManifestList(await this.tools.store.read(snapshot['manifest-list']))) {
        reached.add(manifest.manifest_path)
        const { entries } = readManifest(await this.tools.store.read(manifest.manifest_path), manifest)
        for (const entry of entries) if (isLive(entry)) reached.add(entry.data_file.file_path)
      }
    }
    const { store } = this.tools
    const found = [
      ...(await store.list(`${table.metadata.location}/data`)),
      ...(await store.list(`${table.metadata.location}/metadata`)),
    ]
    return { found: found.sort(), reached: [...reached].sort() }
  }
}
