// Power loss between and inside the steps of stage, commit and maintenance, on the simulated disk: whatever
// was in the log is in the table exactly once after a restart, and everything that the table refers to is
// there. In every third round the files are Parquet and compaction runs between the commits; in every other one a
// second sink, which does not know of the first, commits to the same table now and then. MILLRACE_LONG=1 runs many more
// rounds; MILLRACE_SEED=n runs that one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { PowerLoss, SimulatedDisk } from '../std/disk-simulated.ts'
import { isMillraceError } from '../std/errors.ts'
import { seededRandom } from '../std/random.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { createFileEncoder } from './encoder.ts'
import { maintainTable } from './maintenance.ts'
import { COMPACTION_OPTIONS_DEFAULT } from './maintenance-compact.ts'
import { removeOrphans } from './maintenance-orphans.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { LocalStore } from './store.ts'

const STEPS = 25
const ROUNDS = process.env['MILLRACE_LONG'] === '1' ? 2000 : 60
const TOPIC = normalizedTopic('default', 'telemetry')
const ID = { namespace: 'default', name: 'telemetry' }
const DAY = 86_400_000_000
const FIRST = Date.UTC(2026, 2, 1) * 1000

/** Crashes of all rounds: a harness that stops crashing proves nothing. */
let crashes = 0
let compactions = 0

/** What a catalog that answers badly makes of maintenance; the next round begins anew. */
function passing(error: unknown): undefined {
  if (!isMillraceError(error) || error.action !== 'retry') throw error
}

async function round(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const log = new MemoryLog()
  const config = {
    partitions: 2,
    cleanup: 'delete' as const,
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  }
  await log.createTopic(TOPIC, config)
  await log.createTopic(rejectedTopic('default', 'telemetry'), config)
  const disk = new SimulatedDisk()
  // Small files are written past the page cache too, as large ones are.
  const store = new LocalStore(disk, 4096)
  const pointers = new MemoryPointers()
  const clock = new ManualClock()
  // All days that rows are of have ended: compaction is for those.
  clock.ms += 30 * (DAY / 1000)
  const maintenance = { snapshotAgeMs: 20_000, snapshotsMax: 4, manifestsToMerge: 3 }
  const isParquet = seed % 3 === 0
  const hasZombie = seed % 2 === 0
  const compaction = { ...COMPACTION_OPTIONS_DEFAULT, closedAfterMs: 0 }
  let life = 0
  const open = (): Harness =>
    new Harness({
      log,
      pointers,
      store,
      clock,
      warehouse: 'file:///w',
      seed: seed * 1000 + life++,
      maintenance,
      ...(isParquet ? { encoder: createFileEncoder(0) } : {}),
    })
  const sent: number[] = []
  const send = async (): Promise<void> => {
    const partition = random() < 0.5 ? 0 : 1
    const records = Array.from({ length: 1 + Math.floor(random() * 5) }, (_, i) => ({
      device: `d${partition}${Math.floor(random() * 3)}`,
      eventMicros: FIRST + Math.floor(random() * 3) * DAY,
      seq: sent.length + i,
    }))
    for (const { seq } of records) sent.push(seq)
    await log.append({
      entries: [{ topic: TOPIC, partition, batch: sensorBatch(records), recordCount: records.length }],
    })
  }

  pointers.fault = () => {
    const dice = random()
    return dice < 0.03
      ? 'conflict'
      : dice < 0.05
        ? 'ambiguous-done'
        : dice < 0.07
          ? 'ambiguous-not-done'
          : undefined
  }
  let sink: Harness | undefined
  let zombie: Harness | undefined
  disk.powerFailsAt = 1 + Math.floor(random() * 150)
  for (let step = 0; step < STEPS; step++) {
    await send()
    try {
      if (sink === undefined) {
        sink = open()
        await sink.follow(sensorStream('telemetry'))
      }
      await sink.commitDue()
      if (hasZombie && random() < 0.3) {
        if (zombie === undefined) await (zombie = open()).follow(sensorStream('telemetry'))
        await send()
        await zombie.commitDue()
      }
      if (isParquet && random() < 0.2) {
        disk.checkPower()
        const options = { ...maintenance, compaction, orphanAgeMs: 1e9 }
        const report = await maintainTable(sink.tools, ID, options).catch(passing)
        if (report?.compaction?.snapshots) compactions++
      }
      // A power loss after an answer that was lost is reported as part of that, and the table parked.
      disk.checkPower()
    } catch (error) {
      // What fails after the power did, fails because of it, whatever it says.
      if (!(error instanceof PowerLoss)) assert.throws(() => disk.checkPower(), PowerLoss, String(error))
      crashes++
      sink = zombie = undefined
      disk.crash(Math.floor(random() * 2 ** 31))
      disk.restart()
      // Each life fails again, later or never.
      if (random() < 0.8) disk.powerFailsAt = disk.operationCount + 1 + Math.floor(random() * 200)
    }
  }
  pointers.fault = () => undefined
  disk.powerFailsAt = Number.POSITIVE_INFINITY
  const last = open()
  await last.follow(sensorStream('telemetry'))
  await last.stage.drain()
  const seqs = isParquet
    ? (await last.parquetRows(ID)).map((row) => Number(row['seq']))
    : (await last.rows(ID)).map((row) => Number(row['3']))
  assert.deepEqual(
    seqs.sort((a, b) => a - b),
    sent,
  )
  // What crashes left behind is found, and nothing else is touched.
  clock.ms += 1_000_000
  await removeOrphans(last.tools, (await last.catalog.load(ID))!, 1000)
  const { found, reached } = await last.census(ID)
  assert.deepEqual(found, reached)
}

const only = process.env['MILLRACE_SEED']

test(`power loss at any write or sync: ${only === undefined ? `${ROUNDS} rounds` : `seed ${only}`}`, async () => {
  if (only !== undefined) return round(Number(only))
  for (let seed = 1; seed <= ROUNDS; seed++) {
    try {
      await round(seed)
    } catch (error) {
      throw new Error(`MILLRACE_SEED=${seed} replays this`, { cause: error })
    }
  }
  assert.ok(crashes > ROUNDS, `${crashes} crashes in ${ROUNDS} rounds`)
  assert.ok(compactions > ROUNDS / 4, `${compactions} compactions in ${ROUNDS} rounds`)
})
