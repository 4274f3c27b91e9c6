// Commits of the sink and maintenance of another process at the same moments, with conflicts, lost answers and power
// losses between and inside their steps, on the simulated disk: after a restart every row is there once, everything that
// the table refers to is there, and nothing else is after orphan removal. MILLRACE_LONG=1 runs many more rounds,
// MILLRACE_SEED=n that one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { PowerLoss } from '../std/disk-simulated.ts'
import { isMillraceError } from '../std/errors.ts'
import { seededRandom } from '../std/random.ts'
import { maintainTable } from './maintenance.ts'
import { COMPACTION_OPTIONS_DEFAULT } from './maintenance-compact.ts'
import { removeOrphans } from './maintenance-orphans.ts'
import { type Harness, sensorStream } from './sink-harness.ts'
import { DAY_MS, ID, SmallFiles } from './small-files.ts'

const ROUNDS = process.env['MILLRACE_LONG'] === '1' ? 300 : 12
const STEPS = 12
const only = process.env['MILLRACE_SEED']

const tally = { crashes: 0, between: 0, compacted: 0, expired: 0 }

async function round(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const w = new SmallFiles()
  let sink: Harness | undefined = await w.open()
  const options = {
    snapshotAgeMs: 1e12,
    snapshotsMax: 3,
    manifestsToMerge: 3,
    compaction: { ...COMPACTION_OPTIONS_DEFAULT, filesToMerge: 3, closedAfterMs: 0 },
    orphanAgeMs: 10 * DAY_MS,
  }
  const rows = (by: Harness): Promise<number> => w.append(1 + Math.floor(random() * 4), 3, by)
  const maintain = async (by: Harness): Promise<void> => {
    try {
      const report = await maintainTable(by.tools, ID, options)
      tally.compacted += report?.compaction?.filesBefore ?? 0
      tally.expired += report?.expiry.snapshots ?? 0
    } catch (error) {
      // Too many conflicts or no answer at all: the next one looks again.
      if (!isMillraceError(error) || error.action !== 'retry') throw error
    }
  }
  // Another process does something of its own at the very moment of a swap.
  let inside = false
  w.pointers.beforeSwap = async () => {
    if (inside || random() > 0.3) return
    inside = true
    tally.between++
    try {
      const other = w.sink()
      if (random() < 0.5) await maintain(other)
      else {
        await other.follow(sensorStream('telemetry'))
        await rows(other)
      }
    } finally {
      inside = false
    }
  }
  w.pointers.fault = () => {
    const dice = random()
    return dice < 0.04
      ? 'conflict'
      : dice < 0.07
        ? 'ambiguous-done'
        : dice < 0.1
          ? 'ambiguous-not-done'
          : undefined
  }
  w.disk.powerFailsAt = w.disk.operationCount + Math.floor(random() * 400)
  for (let step = 0; step < STEPS; step++) {
    try {
      if (sink === undefined) {
        sink = w.sink()
        await sink.follow(sensorStream('telemetry'))
      }
      if (random() < 0.6) await rows(sink)
      else await maintain(sink)
      if (random() < 0.2) w.clock.ms += DAY_MS
      w.disk.checkPower()
    } catch (error) {
      // What fails after the power did, fails because of it, whatever it says.
      if (!(error instanceof PowerLoss)) assert.throws(() => w.disk.checkPower(), PowerLoss, String(error))
      tally.crashes++
      sink = undefined
      w.disk.crash(Math.floor(random() * 2 ** 31))
      w.disk.restart()
      if (random() < 0.8) w.disk.powerFailsAt = w.disk.operationCount + 1 + Math.floor(random() * 400)
    }
  }
  w.pointers.beforeSwap = async () => {}
  w.pointers.fault = () => undefined
  w.disk.powerFailsAt = Number.POSITIVE_INFINITY
  const last = w.sink()
  await last.follow(sensorStream('telemetry'))
  await last.stage.drain()
  await w.check(last)
  await maintain(last)
  await w.check(last)
  w.clock.ms += 100 * DAY_MS
  await removeOrphans(last.tools, (await last.catalog.load(ID))!, DAY_MS)
  const { found, reached } = await last.census(ID)
  assert.deepEqual(found, reached)
}

test(`commits, maintenance and power losses at once: ${only === undefined ? `${ROUNDS} rounds` : `seed ${only}`}`, async () => {
  const seeds = only === undefined ? Array.from({ length: ROUNDS }, (_, i) => i + 1) : [Number(only)]
  for (const seed of seeds) {
    try {
      await round(seed)
    } catch (error) {
      throw new Error(`MILLRACE_SEED=${seed} replays this`, { cause: error })
    }
  }
  if (only !== undefined) return
  // A round in which nothing happens proves nothing.
  for (const [what, count] of Object.entries(tally)) assert.ok(count >= ROUNDS, `${what}: ${count}`)
})
