// Power loss at any write or sync of the journal while normalize runs on it: after the restart what it wrote
// equals the model's answer to the raw records that survived, and every raw record that was acknowledged is
// among them. MILLRACE_LONG=1 runs many more rounds; MILLRACE_SEED=n runs that one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { EmbeddedLog } from '../log/log-embedded.ts'
import { openEmbeddedLog } from '../log/log-embedded.ts'
import { rawTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { PowerLoss, SimulatedDisk } from '../std/disk-simulated.ts'
import { isMillraceError } from '../std/errors.ts'
import { seededRandom } from '../std/random.ts'
import { NORMALIZE_COUNTERS } from './counters.ts'
import {
  appendRaw,
  createTopics,
  descriptor,
  expectedOf,
  outcomeOf,
  payloadOf,
  type RawRecord,
  REJECTED_ID,
  readAll,
} from './model.ts'
import { NormalizeStage } from './run.ts'

const ROUNDS = process.env['MILLRACE_LONG'] === '1' ? 2000 : 60
const EPOCH_MS = 1_760_000_000_000
const RAW = rawTopic('default', 'telemetry')
const stream = descriptor({ partitions: 1 })
const WINDOW_RECORDS = 64

/** Over all rounds: a harness in which nothing happens proves nothing. */
const seen = { crashes: 0, duplicates: 0, snapshots: 0, records: 0 }

async function round(seed: number): Promise<void> {
  const random = seededRandom(seed)
  const disk = new SimulatedDisk()
  let now = EPOCH_MS
  /** Every record that was ever sent, by what lies in the log of it; and how many of them were acknowledged. */
  const sent = new Map<string, RawRecord>()
  const acknowledged: string[] = []
  let unacknowledged: RawRecord[] = []
  let last: RawRecord[] = []
  let sequence = 0

  const next = (): RawRecord => {
    const i = sequence++
    const receiveMs = (now += 10)
    const late = random() < 0.1 ? 120_000 : 0
    const record: RawRecord = {
      device: `d${i % 3}`,
      receiveMs,
      kind: random() < 0.2 ? 'old' : random() < 0.05 ? 'garbage' : 'current',
      reading: {
        event_time: (receiveMs - late) * 1000,
        seq: i,
        temperature: random() < 0.1 ? 200 : 20,
        humidity: 40,
        firmware: random() < 0.2 ? '2.0.1' : '1.0.0',
        battery: random() < 0.05 ? -1 : 50,
      },
    }
    return record
  }
  const keyOf = (record: RawRecord): string =>
    `${record.device}/${record.receiveMs}/${Buffer.from(payloadOf(record)).toString('hex')}`
  const send = async (log: EmbeddedLog): Promise<void> => {
    // A device sends again what was not acknowledged, or whose acknowledgement it did not hear; then it goes on.
    const again = random() < 0.2 && last.length > 0 ? last : unacknowledged
    const records = again.map((record): RawRecord => ({ ...record, receiveMs: (now += 10) }))
    for (let count = Math.floor(random() * 6); count >= 0; count--) records.push(next())
    for (const record of records) sent.set(keyOf(record), record)
    if (again !== unacknowledged) records.unshift(...unacknowledged)
    unacknowledged = last = records
    await appendRaw(log, stream, 0, records)
    acknowledged.push(...records.map(keyOf))
    unacknowledged = []
  }

  disk.powerFailsAt = 20 + Math.floor(random() * 120)
  let stage: NormalizeStage | undefined
  let log: EmbeddedLog | undefined
  for (let action = 0; action < 60; action++) {
    try {
      if (log === undefined || stage === undefined) {
        log = openEmbeddedLog({
          disk,
          dir: '/log',
          segmentBytes: 64 * 1024,
          reserveBytes: 0,
          background: false,
          now: () => now,
        })
        await createTopics(log, stream)
        stage = new NormalizeStage({
          log,
          streams: [stream],
          rejectedSchemaId: REJECTED_ID,
          counters: new CounterBlock(NORMALIZE_COUNTERS),
          limits: { windowRecordsMax: WINDOW_RECORDS },
          stepBytesMax: 4000,
          now: () => now,
        })
        await stage.start()
      }
      if (random() < 0.6) await send(log)
      if (random() < 0.1) now += 61_000
      if (random() < 0.3) log.maintainAll()
      await stage.step()
      if (random() < 0.3) await stage.settle()
    } catch (error) {
      // Power loss, or the log that stopped because of it; anything else is a defect.
      if (!(error instanceof PowerLoss) && !isMillraceError(error, 'log_stopped')) throw error
      await stage?.settle().catch(() => {})
      seen.crashes++
      log = stage = undefined
      disk.crash(seed + action)
      disk.restart()
      if (random() < 0.7) disk.powerFailsAt = disk.operationCount + 1 + Math.floor(random() * 100)
    }
  }
  // The power may have failed in background work of the last action, and nobody has noticed yet.
  const unnoticed = disk.operationCount >= disk.powerFailsAt
  if (unnoticed) disk.crash(seed)
  disk.restart()
  if (log === undefined || stage === undefined || unnoticed) {
    log = openEmbeddedLog({ disk, dir: '/log', segmentBytes: 64 * 1024, background: false, reserveBytes: 0 })
    await createTopics(log, stream)
    stage = new NormalizeStage({
      log,
      streams: [stream],
      rejectedSchemaId: REJECTED_ID,
      counters: new CounterBlock(NORMALIZE_COUNTERS),
      limits: { windowRecordsMax: WINDOW_RECORDS },
    })
    await stage.start()
  }
  for (let i = 0; i < 1000 && ((await stage.step()) > 0 || !stage.caughtUp); i++);
  assert.ok(stage.caughtUp)

  const raw: RawRecord[] = []
  const survived = new Set<string>()
  const reader = await readAll(log, RAW, 0)
  while (reader.next()) {
    const device = Buffer.from(reader.bytes.slice(reader.keyStart, reader.keyEnd)).toString()
    const payload = Buffer.from(reader.bytes.slice(reader.valueStart, reader.valueEnd)).toString('hex')
    const key = `${device}/${reader.timestamp}/${payload}`
    assert.ok(sent.has(key), 'a raw record that nobody sent')
    raw.push(sent.get(key)!)
    survived.add(key)
  }
  for (const key of acknowledged) assert.ok(survived.has(key), `acknowledged and gone: ${key}`)
  const expected = expectedOf(stream, 0, raw, WINDOW_RECORDS)
  const { duplicates, ...rows } = expected
  assert.deepEqual(await outcomeOf(log, stream, 0), rows)
  assert.deepEqual(stage.account(), { duplicates, rejected: rows.rejected.length })
  seen.duplicates += duplicates
  seen.records += raw.length
  seen.snapshots += (await log.range('millrace._normalize_state', 0)).end
  await log.close()
}

test('whatever was acknowledged is normalized or rejected exactly once, wherever the power fails', async () => {
  const one = process.env['MILLRACE_SEED']
  if (one !== undefined) return round(Number(one))
  for (let seed = 1; seed <= ROUNDS; seed++) {
    try {
      await round(seed)
    } catch (error) {
      throw new Error(`MILLRACE_SEED=${seed}`, { cause: error })
    }
  }
  assert.ok(
    seen.crashes > ROUNDS && seen.duplicates > ROUNDS && seen.snapshots > ROUNDS,
    JSON.stringify(seen),
  )
})
