// Test support: a table of small files on the simulated disk, with real Parquet, whose days end when a test says so.
import assert from 'node:assert/strict'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { createFileEncoder } from './encoder.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { COMPACTION_OPTIONS_DEFAULT } from './maintenance-compact.ts'
import { Harness, ManualClock, type SensorRecord, sensorBatch, sensorStream } from './sink-harness.ts'
import { LocalStore } from './store.ts'

const TOPIC = normalizedTopic('default', 'telemetry')
export const ID = { namespace: 'default', name: 'telemetry' }
export const DAY_MS = 86_400_000
export const FIRST = Date.UTC(2026, 2, 1) * 1000
const NEVER = { snapshotAgeMs: 1e12, snapshotsMax: 1e6, manifestsToMerge: 1e6 }
const CONFIG = {
  partitions: 2,
  cleanup: 'delete' as const,
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}

export class SmallFiles {
  readonly log = new MemoryLog()
  readonly disk = new SimulatedDisk()
  readonly store = new LocalStore(this.disk)
  readonly pointers = new MemoryPointers()
  readonly clock = new ManualClock()
  sent = 0
  #life = 1

  sink(): Harness {
    return new Harness({
      log: this.log,
      pointers: this.pointers,
      store: this.store,
      clock: this.clock,
      warehouse: 'file:///w',
      seed: this.#life++ * 7919,
      maintenance: NEVER,
      encoder: createFileEncoder(0),
    })
  }

  async open(bucketDevices?: number): Promise<Harness> {
    const stream = sensorStream('telemetry', bucketDevices === undefined ? {} : { table: { bucketDevices } })
    await this.log.createTopic(TOPIC, CONFIG)
    await this.log.createTopic(rejectedTopic('default', 'telemetry'), CONFIG)
    const sink = this.sink()
    await sink.follow(stream)
    return sink
  }

  /** Rows of several devices on `days` days, devices and times out of order over the commits. */
  async commit(sink: Harness, rows = 6, days = 1, firstDay = 0): Promise<void> {
    assert.equal(await this.append(rows, days, sink, firstDay), 1)
  }

  /** The same, whatever comes of the commit: how many tables were committed. */
  async append(rows: number, days: number, sink: Harness, firstDay = 0): Promise<number> {
    for (let partition = 0; partition < 2; partition++) {
      const records: SensorRecord[] = []
      for (let i = 0; i < rows; i++) {
        const seq = this.sent++
        const day = firstDay + (seq % days)
        const eventMicros = FIRST + day * DAY_MS * 1000 + ((seq * 7919) % 1000) * 1000
        records.push({ device: `d${partition}-${seq % 4}`, eventMicros, seq })
      }
      const batch = sensorBatch(records)
      await this.log.append({ entries: [{ topic: TOPIC, partition, batch, recordCount: rows }] })
    }
    return sink.commitDue()
  }

  /** Every row sent is there once, and the rows of each file are in order. */
  async check(sink: Harness): Promise<void> {
    const rows = await sink.parquetRows(ID)
    assert.deepEqual(
      rows.map((row) => Number(row['seq'])).sort((a, b) => a - b),
      Array.from({ length: this.sent }, (_, i) => i),
    )
    const snapshot = currentSnapshot((await sink.catalog.load(ID))!.metadata)!
    assert.equal(snapshot.summary['total-records'], String(this.sent))
    assert.equal(snapshot.summary['total-data-files'], String((await sink.files(ID)).length))
  }

  afterDays(days: number): void {
    this.clock.ms = Date.UTC(2026, 2, 1) + days * DAY_MS + COMPACTION_OPTIONS_DEFAULT.closedAfterMs
  }
}
