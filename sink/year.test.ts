// A year of a table that gets a commit every 52 minutes, 10,000 in all, with the maintenance that is the default: the
// table at the end is no slower to write, to read or to plan than in its first month.
//
// A short year (300 commits, 11 days) is in every run of the tests; MILLRACE_LONG=1 makes it a whole one, times the
// commits and the planning, and draws them (bench/results/year.svg).
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { createFileEncoder } from './encoder.ts'
import { isLive, readManifest } from './iceberg/manifest.ts'
import { readManifestList } from './iceberg/manifest-list.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { MAINTENANCE_OPTIONS_DEFAULT, maintainTable } from './maintenance.ts'
import { COMPACTION_OPTIONS_DEFAULT } from './maintenance-compact.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { filePath, LocalStore } from './store.ts'
import type { YearSample } from './year-plot.ts'

const IS_LONG = process.env['MILLRACE_LONG'] === '1'
const COMMITS = IS_LONG ? 10_000 : 300
const COMMITS_A_DAY = 27
const DAY_MS = 86_400_000
const STEP_MS = DAY_MS / COMMITS_A_DAY
const FIRST_MS = Date.UTC(2026, 0, 1)
const SAMPLES = 200
const PLOT = path.resolve(import.meta.dirname, '../bench/results/year.svg')
const ID = { namespace: 'default', name: 'telemetry' }
const TOPIC = normalizedTopic('default', 'telemetry')
const CONFIG = {
  partitions: 1,
  cleanup: 'delete' as const,
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}
const MAINTENANCE = {
  ...MAINTENANCE_OPTIONS_DEFAULT,
  // By their number alone: an hour of this table is a snapshot.
  snapshotAgeMs: 1e12,
  compaction: COMPACTION_OPTIONS_DEFAULT,
  orphanAgeMs: undefined,
}

test(`${COMMITS} commits with maintenance on: metadata, commits and planning stay as small as they were`, async () => {
  const disk = new SimulatedDisk()
  const store = new LocalStore(disk)
  const clock = new ManualClock()
  clock.ms = FIRST_MS
  const log = new MemoryLog()
  await log.createTopic(TOPIC, CONFIG)
  await log.createTopic(rejectedTopic('default', 'telemetry'), CONFIG)
  const sink = new Harness({
    log,
    pointers: new MemoryPointers(),
    store,
    clock,
    warehouse: 'file:///w',
    maintenance: MAINTENANCE,
    encoder: createFileEncoder(0),
  })
  await sink.follow(sensorStream('telemetry'))

  /** What an engine does for a query over the last day: metadata, list, and the manifests that may hold it. */
  const plan = async (): Promise<{ files: number; manifests: number; manifestBytes: number }> => {
    const { metadata } = (await sink.catalog.load(ID))!
    const day = Math.floor(clock.ms / DAY_MS)
    const list = readManifestList(await store.read(currentSnapshot(metadata)!['manifest-list']))
    let files = 0
    let manifestBytes = 0
    for (const manifest of list) {
      manifestBytes += Number(manifest.manifest_length)
      const last = manifest.partitions?.[0]?.upper_bound
      if (last && Buffer.from(last).readInt32LE() < day) continue
      const { entries } = readManifest(await store.read(manifest.manifest_path), manifest)
      files += entries.filter(
        (one) => isLive(one) && one.data_file.partition['event_time_day'] === day,
      ).length
    }
    return { files, manifests: list.length, manifestBytes }
  }

  const samples: YearSample[] = []
  let commitMs = 0
  let commits = 0
  for (let i = 0; i < COMMITS; i++) {
    const records = [0, 1, 2].map((k) => ({
      device: `d${k}`,
      eventMicros: clock.ms * 1000 + k,
      seq: 3 * i + k,
    }))
    await log.append({
      entries: [{ topic: TOPIC, partition: 0, batch: sensorBatch(records), recordCount: 3 }],
    })
    await sink.stage.step()
    clock.ms += STEP_MS
    const started = performance.now()
    assert.equal(await sink.stage.step(), 1)
    commitMs += performance.now() - started
    commits++
    if ((i + 1) % COMMITS_A_DAY === 0) await maintainTable(sink.tools, ID, MAINTENANCE)
    if ((i + 1) % Math.floor(COMMITS / SAMPLES) !== 0) continue
    const table = (await sink.catalog.load(ID))!
    const planned = performance.now()
    const { files, manifests, manifestBytes } = await plan()
    samples.push({
      day: i / COMMITS_A_DAY,
      commitMs: commitMs / commits,
      planMs: performance.now() - planned,
      metadataBytes: disk.open(filePath(table.metadataLocation), 'read').size(),
      manifestBytes,
      manifests,
      filesOfToday: files,
      snapshots: table.metadata.snapshots.length,
    })
    commitMs = 0
    commits = 0
  }

  const days = Math.floor(COMMITS / COMMITS_A_DAY)
  const of = (what: (sample: YearSample) => number): number[] => samples.map(what)
  assert.ok(Math.max(...of((one) => one.snapshots)) <= 225, 'snapshots')
  assert.ok(Math.max(...of((one) => one.metadataBytes)) < 400_000, 'bytes of metadata')
  assert.ok(Math.max(...of((one) => one.manifests)) <= 100, 'manifests')
  assert.ok(Math.max(...of((one) => one.filesOfToday)) <= 2 * COMMITS_A_DAY, 'files of the open day')
  const files = await sink.files(ID)
  // A day that is over is one file; only the last ones are not.
  assert.ok(files.length <= days + 3 * COMMITS_A_DAY, `${files.length} files of ${days} days`)
  const rows = await sink.parquetRows(ID)
  assert.deepEqual(
    rows.map((row) => Number(row['seq'])).sort((a, b) => a - b),
    Array.from({ length: 3 * COMMITS }, (_, i) => i),
  )
  if (!IS_LONG) return

  const { yearPlot } = await import('./year-plot.ts')
  fs.mkdirSync(path.dirname(PLOT), { recursive: true })
  fs.writeFileSync(PLOT, yearPlot(samples))
  // Medians of the second tenth (the first one fills up) and of the last: within a half of each other is noise.
  const tenth = Math.floor(samples.length / 10)
  const median = (values: number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1]!
  for (const what of ['commitMs', 'planMs'] as const) {
    const early = median(samples.slice(tenth, 2 * tenth).map((one) => one[what]))
    const late = median(samples.slice(-tenth).map((one) => one[what]))
    console.log(
      `${what}: ${early.toFixed(2)} in the second tenth of the year, ${late.toFixed(2)} in the last`,
    )
    assert.ok(late < early * 2.5 + 2, `${what}: ${early} early, ${late} late`)
  }
})
