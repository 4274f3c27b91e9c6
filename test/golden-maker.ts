// The world that golden tables are made in (golden-tables.ts): a memory log, a sink with real Parquet and a SQLite
// catalog in a folder, and one maker a table, which sends records and knows what its rows must be.
import fs from 'node:fs'
import path from 'node:path'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { MARK_LATE_MS, MARK_QUALITY, normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { encodeRejected, type Rejected } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { SqlitePointers } from '../sink/catalog-sqlite.ts'
import { createFileEncoder } from '../sink/encoder.ts'
import { currentSnapshot } from '../sink/iceberg/metadata.ts'
import { COMPACTION_OPTIONS_DEFAULT, compact } from '../sink/maintenance-compact.ts'
import { Harness, ManualClock, REJECTED_SCHEMA_ID } from '../sink/sink-harness.ts'
import { fileUri, LocalStore } from '../sink/store.ts'
import { NodeDisk } from '../std/disk.ts'
import { encoderOf, type Fields, type Plain, plainOf, print } from './golden-values.ts'

export interface GoldenTable {
  name: string
  snapshot?: string
  rowsFile: string
}

export interface GoldenTables {
  catalog: string
  warehouse: string
  tables: GoldenTable[]
}

const TENANT = 'golden'
const PARTITIONS = 2
const DAY_MS = 86_400_000
export const FIRST_MS = Date.UTC(2026, 2, 1)
const NEVER = { snapshotAgeMs: 1e15, snapshotsMax: 1e6, manifestsToMerge: 1e6 }

/** Sends records of one table and knows what its rows must be. */
export class Maker {
  readonly name: string
  readonly rows: { order: number; row: Record<string, Plain> }[] = []
  readonly #world: World
  readonly #offsets = Array.from({ length: PARTITIONS }, () => 0)
  #schemaId = 0
  #encode: (fields: Fields) => Uint8Array = () => new Uint8Array()
  #writers: { id: number; schema: string }[] = []

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
  }

  get id(): { namespace: string; name: string } {
    return { namespace: TENANT, name: this.name }
  }

  /** The stream has this schema from now on. */
  async contract(schema: string, table: StreamDescriptor['table'] = {}): Promise<void> {
    const { log, streams, sink } = this.#world
    const config = {
      partitions: PARTITIONS,
      cleanup: 'delete' as const,
      retentionAgeMs: Infinity,
      retentionBytes: Infinity,
      backlogBytesMax: Infinity,
    }
    await log.createTopic(normalizedTopic(TENANT, this.name), config)
    await log.createTopic(rejectedTopic(TENANT, this.name), config)
    this.#schemaId = this.#world.nextSchemaId++
    this.#encode = encoderOf(schema, this.#schemaId)
    this.#writers = [...this.#writers, { id: this.#schemaId, schema }]
    streams.set(this.name, {
      tenant: TENANT,
      stream: this.name,
      family: 'golden',
      contractVersion: this.#writers.length,
      partitions: PARTITIONS,
      subject: `${TENANT}.${this.name}-value`,
      schemaId: this.#schemaId,
      schema,
      writers: this.#writers,
      fields: [{ name: 'event_time', role: 'event_time', nullable: false }],
      ruleSets: [],
      plausible: { pastMs: 1e15, futureMs: 1e15 },
      table,
    })
    await sink.follow(...streams.values())
  }

  /** Rows that the table will hold; `table` says what a row is where the stream's schema has changed since. */
  async send(
    records: readonly Fields[],
    table: (row: Record<string, Plain>) => Record<string, Plain> = (row) => row,
  ) {
    const builders = Array.from({ length: PARTITIONS }, () => new RecordBatchBuilder())
    for (const [i, fields] of records.entries()) {
      const partition = i % PARTITIONS
      const offset = this.#offsets[partition]!++
      const device = i % 7 === 6 ? `gerät-${i}-𝄞` : `device-${(i * 31) % 5}`
      const receiveMs = FIRST_MS + this.rows.length
      const lateMs = i % 5 === 4 ? i * 1000 : 0
      const quality = i % 6 === 5 ? 'd,f' : undefined
      const headers = []
      if (lateMs > 0) headers.push({ key: MARK_LATE_MS, value: Buffer.from(String(lateMs)) })
      if (quality !== undefined) headers.push({ key: MARK_QUALITY, value: Buffer.from(quality) })
      builders[partition]!.append(receiveMs, Buffer.from(device), this.#encode(fields), headers)
      this.rows.push({
        order: partition * 1e9 + offset,
        row: {
          device_id: device,
          ...table(plainOf(fields)),
          _log_partition: partition,
          _offset: offset,
          _receive_time: receiveMs * 1000,
          _schema_id: this.#schemaId,
          _late_ms: lateMs,
          _quality: quality ?? null,
        },
      })
    }
    await this.#append(normalizedTopic(TENANT, this.name), builders)
  }

  async #append(topic: string, builders: RecordBatchBuilder[]): Promise<void> {
    for (const [partition, builder] of builders.entries()) {
      const { recordCount } = builder
      if (recordCount > 0)
        await this.#world.log.append({
          entries: [{ topic, partition, batch: builder.finish(), recordCount }],
        })
    }
    await this.#world.commit()
  }

  /** Rows of the table of rejected records. */
  async reject(records: readonly Rejected[]): Promise<Record<string, Plain>[]> {
    const builders = Array.from({ length: PARTITIONS }, () => new RecordBatchBuilder())
    const rows = records.map((one, i): Record<string, Plain> => {
      const partition = i % PARTITIONS
      const offset = Math.floor(i / PARTITIONS)
      builders[partition]!.append(
        one.receiveTimeMs,
        Buffer.from(one.device),
        encodeRejected(one, REJECTED_SCHEMA_ID),
      )
      return {
        code: one.code,
        reason: one.reason,
        field: one.field ?? null,
        offset: one.offset ?? null,
        payload: Buffer.from(one.payload).toString('hex'),
        schema_id: one.schemaId ?? null,
        device: one.device,
        source_topic: one.source?.topic ?? null,
        source_partition: one.source?.partition ?? null,
        source_offset: one.source?.offset ?? null,
        receive_time: one.receiveTimeMs * 1000,
        _log_partition: partition,
        _offset: offset,
      }
    })
    await this.#append(rejectedTopic(TENANT, this.name), builders)
    return rows.sort((a, b) => Number(a['_log_partition']) - Number(b['_log_partition']))
  }

  /** The files of each day become one. */
  async compact(): Promise<void> {
    const { clock, sink } = this.#world
    clock.ms += 10 * DAY_MS
    const { filesBefore, skipped } = await compact(sink.tools, this.id, COMPACTION_OPTIONS_DEFAULT)
    if (filesBefore === 0 || skipped.length > 0)
      throw new Error(`${this.name}: nothing was compacted: ${skipped.join('; ')}`)
  }

  /** Names the rows as they are now; with `atSnapshot` for readers of this snapshot later on. */
  async expect(atSnapshot = false, rows = this.rows): Promise<void> {
    const { catalog } = this.#world.sink
    const snapshot = currentSnapshot((await catalog.load(this.id))!.metadata)
    const ordered = [...rows].sort((a, b) => a.order - b.order).map((one) => one.row)
    this.#world.expect(this.name, ordered, atSnapshot ? String(snapshot!['snapshot-id']) : undefined)
  }
}

export class World {
  readonly log = new MemoryLog()
  readonly streams = new Map<string, StreamDescriptor>()
  readonly clock = new ManualClock()
  readonly sink: Harness
  readonly tables: GoldenTable[] = []
  nextSchemaId = 100
  readonly #dir: string
  readonly #pointers: SqlitePointers

  constructor(dir: string) {
    this.#dir = dir
    fs.mkdirSync(path.join(dir, 'rows'), { recursive: true })
    this.#pointers = new SqlitePointers(path.join(dir, 'catalog.db'), 'millrace')
    this.sink = new Harness({
      log: this.log,
      pointers: this.#pointers,
      store: new LocalStore(new NodeDisk()),
      clock: this.clock,
      warehouse: fileUri(path.join(dir, 'warehouse')),
      maintenance: NEVER,
      encoder: createFileEncoder(0),
    })
  }

  async commit(): Promise<void> {
    await this.sink.stage.drain()
    const trouble = this.sink.events.find((event) => event.level !== 'info')
    if (trouble !== undefined) throw new Error(`${trouble.table}: ${trouble.message}`)
  }

  expect(table: string, rows: readonly Record<string, Plain>[], snapshot: string | undefined): void {
    const rowsFile = path.join(
      this.#dir,
      'rows',
      `${table}${snapshot === undefined ? '' : `-${snapshot}`}.jsonl`,
    )
    fs.writeFileSync(rowsFile, rows.map((row) => `${print(row)}\n`).join(''))
    this.tables.push({
      name: `${TENANT}.${table}`,
      ...(snapshot === undefined ? {} : { snapshot }),
      rowsFile,
    })
  }

  async finish(): Promise<GoldenTables> {
    await this.#pointers.close()
    const golden = {
      catalog: path.join(this.#dir, 'catalog.db'),
      warehouse: path.join(this.#dir, 'warehouse'),
      tables: this.tables,
    }
    fs.writeFileSync(path.join(this.#dir, 'golden.json'), JSON.stringify(golden, undefined, 2))
    return golden
  }
}
