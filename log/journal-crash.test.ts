// The power fails at any operation of the disk while appends, references, positions, retention, compaction,
// survivors, checkpoints and preparation go on. After each restart: everything acknowledged is there exactly,
// what was not acknowledged is there whole or not at all, positions agree with outputs. A round is replayed by
// its seed: MILLRACE_SEED=n runs one.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { seededRandom } from '../std/random.ts'
import { Journal, type JournalOptions, type PendingAppend } from './journal.ts'
import { StepFiller } from './journal-fill.ts'
import type { AppendRequest, TopicConfig } from './log.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'
import { RecordReader } from './record-batch.ts'

const DIR = '/data/log'
const RAW = 'raw'
const OUT = 'out'
const KEYED = 'keyed'
const PARKED = 'parked'
const STAGE = 'normalize'
const TOPICS: [string, Partial<TopicConfig>][] = [
  [RAW, { partitions: 3, retentionBytes: 3000 }],
  [OUT, { partitions: 3, retentionBytes: 6000 }],
  [KEYED, { partitions: 1, cleanup: 'compact' }],
  // Few records, never dropped: they survive by being moved.
  [PARKED, { partitions: 1 }],
]

/** What must be there: the value of each offset, as far as acknowledged, and what may be. */
class Model {
  /** Acknowledged values by `topic/partition`, index = offset. */
  readonly values = new Map<string, string[]>()
  readonly positions = new Map<string, number>()
  /** The request in doubt when the power failed. */
  inDoubt: Planned | undefined

  list(topic: string, partition: number): string[] {
    const key = `${topic}/${partition}`
    let list = this.values.get(key)
    if (list === undefined) this.values.set(key, (list = []))
    return list
  }
}

/** A request with what it will have done. */
interface Planned {
  request: AppendRequest
  added: { topic: string; partition: number; values: string[] }[]
  positions: { key: string; nextOffset: number }[]
}

interface Round {
  disk: SimulatedDisk
  model: Model
  random: () => number
  now: number
  counter: number
}

/** Segments as for large groups: nothing is written to them before the first one. */
class BareFiller extends StepFiller {
  override start(file: string, _bytes: number): void {
    super.start(file, 0)
  }
}

function openJournal(round: Round, more: Partial<JournalOptions> = {}): Journal {
  return new Journal({
    disk: round.disk,
    dir: DIR,
    zeroFiller: new (round.random() < 0.5 ? StepFiller : BareFiller)(round.disk),
    segmentBytes: 8192,
    groupBytesMax: 4096,
    // Smaller than some groups, so that they are written in pieces; most reads miss it, some do not.
    tailBytes: 1 << (14 + Math.floor(round.random() * 3)),
    compactionBytesMin: 500,
    survivorsIdleMs: 20,
    retentionIntervalMs: 5,
    tombstoneAgeMs: 1000,
    checkpointStepBytes: round.random() < 0.5 ? 1 << 16 : 100 + Math.floor(round.random() * 2000),
    now: () => round.now,
    ...more,
  })
}

function plan(round: Round): Planned {
  const { model, random } = round
  const planned: Planned = { request: { entries: [] }, added: [], positions: [] }
  const entries: AppendRequest['entries'][number][] = []
  const add = (topic: string, partition: number, key: string, count: number): void => {
    const values = Array.from({ length: count }, () => `${round.counter++}${'.'.repeat(random() * 60)}`)
    entries.push({
      topic,
      partition,
      batch: textBatch(
        values.map((value) => [key, value] as const),
        round.now,
      ),
      recordCount: count,
    })
    planned.added.push({ topic, partition, values: values.map((value) => `${key}=${value}`) })
  }
  const choice = random()
  const partition = Math.floor(random() * 3)
  if (choice < 0.45) {
    const count = 1 + Math.floor(random() * 3)
    for (let i = 0; i < count; i++) add(RAW, (partition + i) % 3, `d${i}`, 1 + Math.floor(random() * 4))
  } else if (choice < 0.65) {
    const count = 1 + Math.floor(random() * 2)
    for (let i = 0; i < count; i++) add(KEYED, 0, `k${Math.floor(random() * 6)}`, 1)
  } else if (choice < 0.67) add(PARKED, 0, 'p', 1)
  else {
    // As normalize does: outputs (one of them a reference, perhaps), and the input position, in one request.
    const raw = model.list(RAW, partition)
    const from = model.positions.get(`${RAW}/${partition}`) ?? 0
    if (from < raw.length) {
      const firstBatch = round.random() < 0.5
      if (firstBatch && batchAt(partition, from) !== undefined) {
        const length = batchAt(partition, from)!
        const reference = { topic: RAW, partition, baseOffset: from }
        entries.push({ topic: OUT, partition, reference, recordCount: length })
        planned.added.push({ topic: OUT, partition, values: raw.slice(from, from + length) })
        planned.positions.push({ key: `${RAW}/${partition}`, nextOffset: from + length })
      } else {
        add(OUT, partition, 'o', 1)
        planned.positions.push({ key: `${RAW}/${partition}`, nextOffset: Math.min(raw.length, from + 2) })
      }
    } else add(OUT, partition, 'o', 1)
  }
  planned.request = {
    entries,
    positions: planned.positions.map(({ key, nextOffset }) => {
      const [topic, number] = key.split('/') as [string, string]
      return { stage: STAGE, topic, partition: Number(number), nextOffset }
    }),
  }
  return planned
}

/** Records of the raw batch that begins at an offset, as the journal of the round has it. */
let current: Journal
function batchAt(partition: number, offset: number): number | undefined {
  if (offset < current.range(RAW, partition).start) return undefined
  const places: number[] = []
  const next = current.locate(RAW, partition, offset, 1, places)
  return places[3] === offset ? next - offset : undefined
}

function apply(model: Model, planned: Planned): void {
  for (const { topic, partition, values } of planned.added) model.list(topic, partition).push(...values)
  for (const { key, nextOffset } of planned.positions) model.positions.set(key, nextOffset)
}

/** Appends and maintenance until the power fails or `steps` are done; true when it failed. */
function work(round: Round, journal: Journal, steps: number): boolean {
  const { model, random } = round
  current = journal
  for (let i = 0; i < steps; i++) {
    round.now += 1 + Math.floor(random() * 4)
    if (random() < 0.5) {
      const planned = plan(round)
      const pending: PendingAppend = { request: planned.request, baseOffsets: undefined, error: undefined }
      journal.commit([pending])
      if (pending.baseOffsets !== undefined) {
        planned.added.forEach(({ topic, partition }, at) => {
          const before = planned.added
            .slice(0, at)
            .filter((one) => one.topic === topic && one.partition === partition)
            .reduce((sum, one) => sum + one.values.length, 0)
          assert.equal(pending.baseOffsets![at], model.list(topic, partition).length + before)
        })
        apply(model, planned)
      } else {
        const { code, cause } = pending.error as { code?: string; cause?: { name?: string; code?: string } }
        if (code === 'log_full') {
          totals.full++
          round.disk.capacity += 4096
          continue
        }
        assert.equal(code, 'log_stopped', String(pending.error))
        assert.ok(cause?.name === 'PowerLoss' || cause?.code === 'EIO', String(cause))
        model.inDoubt = planned
        return true
      }
    } else journal.maintain()
    if (journal.stopped !== undefined) return true
  }
  return false
}

/** All values of a partition from its start on, by offset. */
function readBack(journal: Journal, topic: string, partition: number): Map<number, string> {
  const found = new Map<number, string>()
  const { start, end } = journal.range(topic, partition)
  const reader = new RecordReader()
  const decoder = new TextDecoder()
  for (let at = start; at < end; ) {
    const places: number[] = []
    const next = journal.locate(topic, partition, at, 700, places)
    const batches = journal.readPlaces(places)
    assert.ok(batches, `${topic}/${partition}: batches at ${at} are readable`)
    reader.reset(batches)
    while (reader.next()) {
      const key = decoder.decode(reader.bytes.subarray(reader.keyStart, reader.keyEnd))
      const value = decoder.decode(reader.bytes.subarray(reader.valueStart, reader.valueEnd))
      assert.ok(!found.has(reader.offset), `offset ${reader.offset} twice`)
      found.set(reader.offset, `${key}=${value}`)
    }
    assert.ok(next > at, 'reading goes on')
    at = next
  }
  return found
}

function check(round: Round, journal: Journal): void {
  const { model } = round
  for (const [name] of TOPICS) assert.ok(journal.describeTopic(name), `topic ${name}`)
  if (model.inDoubt !== undefined) {
    // All of it or nothing: where the first of its parts is there, all must be.
    const { added, positions } = model.inDoubt
    const survived =
      added.length > 0
        ? journal.range(added[0]!.topic, added[0]!.partition).end >
          model.list(added[0]!.topic, added[0]!.partition).length
        : positions.some(({ key, nextOffset }) => {
            const [topic, partition] = key.split('/') as [string, string]
            return journal.position(STAGE, topic, Number(partition)) === nextOffset
          })
    if (survived) apply(model, model.inDoubt)
    model.inDoubt = undefined
  }
  for (const [topic, config] of TOPICS) {
    for (let p = 0; p < config.partitions!; p++) {
      const expected = model.list(topic, p)
      const { start, end } = journal.range(topic, p)
      assert.equal(end, expected.length, `${topic}/${p} ends where it did`)
      const found = readBack(journal, topic, p)
      for (const [offset, text] of found) assert.equal(text, expected[offset], `${topic}/${p} at ${offset}`)
      if (topic === KEYED) {
        const latest = new Map<string, number>()
        for (const [offset, text] of expected.entries()) latest.set(text.split('=')[0]!, offset)
        for (const offset of latest.values()) assert.ok(found.has(offset), `latest of a key at ${offset}`)
      } else {
        for (let offset = start; offset < end; offset++)
          assert.ok(found.has(offset), `${topic}/${p} at ${offset}`)
        if (topic === PARKED) assert.equal(start, 0)
        if (topic === RAW) assert.ok(start <= (model.positions.get(`${RAW}/${p}`) ?? end))
      }
    }
  }
  for (const [key, nextOffset] of model.positions) {
    const [topic, partition] = key.split('/') as [string, string]
    assert.equal(journal.position(STAGE, topic, Number(partition)), nextOffset, `position of ${key}`)
  }
}

function createTopics(journal: Journal): void {
  for (const [name, config] of TOPICS) journal.createTopic(name, { ...TOPIC_DEFAULTS, ...config })
}

const totals = { full: 0, rounds: 0, checkpoints: 0, freed: 0, reused: 0, compactions: 0, torn: 0 }

/** One round: several lives of one journal, each ended by a power loss or a kill at a random operation. */
function run(seed: number): void {
  const random = seededRandom(seed)
  const round: Round = {
    disk: new SimulatedDisk(),
    model: new Model(),
    random,
    now: 1_700_000_000_000,
    counter: 0,
  }
  const { disk } = round
  // Of its own, so that the rounds of a seed stay what they are.
  const fileSystem = seededRandom(seed + 0x5bd1e995)()
  disk.directWrites = fileSystem < 0.7 ? 'work' : fileSystem < 0.85 ? 'no' : 'refused'
  createTopics(openJournal(round))
  for (let life = 0; life < 5; life++) {
    disk.powerFailsAt = disk.operationCount + 1 + Math.floor(random() ** 2 * 500)
    // A failed sync stops the log and the process; the machine goes on with what its page cache holds.
    if (random() < 0.2) disk.syncFailsAfter = Math.floor(random() ** 2 * 200)
    disk.capacity =
      random() < 0.2 ? disk.usedBytes() + Math.floor(random() * 30_000) : Number.POSITIVE_INFINITY
    const killed = random() < 0.3
    let journal: Journal | undefined
    try {
      journal = openJournal(round)
      check(round, journal)
      if (!work(round, journal, 400) && random() < 0.5) journal.close()
    } catch (error) {
      const { name, code } = error as NodeJS.ErrnoException
      if (name !== 'PowerLoss' && code !== 'EIO' && code !== 'ENOSPC') throw error
    }
    if (journal !== undefined) {
      const stats = journal.stats()
      totals.checkpoints += stats.checkpoints
      totals.freed += stats.segmentsFreed
      totals.reused += stats.segmentsReused
      totals.compactions += stats.compactions
      if (stats.tornTail !== undefined) totals.torn++
    }
    if (killed) disk.kill()
    else disk.crash(Math.floor(random() * 2 ** 32))
    disk.restart()
    disk.capacity = Number.POSITIVE_INFINITY
  }
  const journal = openJournal(round)
  check(round, journal)
  journal.close()
  disk.kill()
  check(round, openJournal(round))
  totals.rounds++
}

test('the power fails at any operation: nothing acknowledged is lost, nothing torn is seen', () => {
  const one = process.env['MILLRACE_SEED']
  if (one !== undefined) return run(Number(one))
  const rounds = process.env['MILLRACE_LONG'] === '1' ? 20_000 : 500
  for (let seed = 1; seed <= rounds; seed++) {
    try {
      run(seed)
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error })
    }
  }
  // The rounds are worth something only if all of it happened.
  assert.ok(totals.checkpoints > rounds, `${totals.checkpoints} checkpoints`)
  assert.ok(totals.freed > rounds / 2, `${totals.freed} segments freed`)
  assert.ok(totals.reused > rounds / 8, `${totals.reused} of them used again`)
  assert.ok(totals.compactions > rounds, `${totals.compactions} compactions`)
  assert.ok(totals.full > rounds / 20, `${totals.full} times full`)
  assert.ok(totals.torn > rounds / 20, `${totals.torn} torn tails`)
})

test('killed at any operation of freeing, then the power fails while it recovers', () => {
  const now = 1_700_000_000_000
  const disk = (): SimulatedDisk => new SimulatedDisk()
  const open = (on: SimulatedDisk, nowMs: number): Journal =>
    new Journal({ disk: on, dir: DIR, segmentBytes: 4096, now: () => nowMs })
  const append = (journal: Journal, topic: string, count: number): void => {
    for (let i = 0; i < count; i++) {
      const entries = [
        { topic, partition: 0, batch: textBatch([['k', 'v'.repeat(200)]], now), recordCount: 1 },
      ]
      const pending: PendingAppend = { request: { entries }, baseOffsets: undefined, error: undefined }
      journal.commit([pending])
      assert.equal(pending.error, undefined)
    }
  }
  /** A journal whose checkpoint names segments that can all be freed now. */
  const prepare = (on: SimulatedDisk): Journal => {
    const journal = open(on, now)
    journal.createTopic('old', { ...TOPIC_DEFAULTS, retentionAgeMs: 1000 })
    journal.createTopic('kept', TOPIC_DEFAULTS)
    append(journal, 'old', 60)
    append(journal, 'kept', 3)
    journal.close()
    return open(on, now + 60_000)
  }
  const counted = disk()
  const whole = prepare(counted)
  const before = counted.operationCount
  whole.maintainAll()
  assert.ok(whole.stats().segmentsFreed > 3)
  const operations = counted.operationCount - before
  for (let n = 1; n <= operations; n++) {
    for (let seed = 0; seed < 24; seed++) {
      const on = disk()
      const journal = prepare(on)
      on.powerFailsAt = before + n
      journal.maintainAll()
      on.kill()
      on.restart()
      on.powerFailsAt = on.operationCount + 1 + (seed % 4)
      try {
        open(on, now)
      } catch (error) {
        assert.equal((error as Error).name, 'PowerLoss')
      }
      on.crash(seed * 1000 + n)
      on.restart()
      const after = open(on, now)
      assert.deepEqual(after.range('kept', 0), { start: 0, end: 3 })
      assert.equal(after.range('old', 0).end, 60)
    }
  }
})
