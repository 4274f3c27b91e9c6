import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AppendRequest, Log } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordReader } from '../log/record-batch.ts'
import { NORMALIZE_STATE_TOPIC, normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from './counters.ts'
import {
  appendRaw,
  createTopics,
  descriptor,
  outcomeOf,
  plainDescriptor,
  type RawRecord,
  REJECTED_ID,
  rawBatch,
  readAll,
} from './model.ts'
import { OutputBatches } from './output.ts'
import { PartitionNormalizer, Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { benchmark, CASES } from './run.bench.ts'
import { type NormalizeOptions, NormalizeStage } from './run.ts'
import { STATE_STAGE } from './snapshots.ts'
import { PartitionState, STATE_LIMITS_DEFAULT } from './state.ts'
import { NORMALIZE_STAGE } from './step.ts'
import { compileTransform } from './transform.ts'

const EPOCH_MS = 1_760_000_000_000

function reading(device: string, i: number, changes: Partial<RawRecord['reading']> = {}): RawRecord {
  const receiveMs = EPOCH_MS + i
  return {
    device,
    receiveMs,
    kind: 'current',
    reading: {
      event_time: receiveMs * 1000,
      seq: i,
      temperature: 20,
      humidity: 40,
      firmware: '1.0',
      battery: 50,
      ...changes,
    },
  }
}

const readings = (device: string, from: number, to: number): RawRecord[] =>
  Array.from({ length: to - from }, (_, i) => reading(device, from + i))

interface Bench {
  stage: NormalizeStage
  counters: CounterBlock<NormalizeCounter>
  errors: [string, MillraceError][]
}

async function start(log: Log, options: Partial<NormalizeOptions> = {}): Promise<Bench> {
  const counters = new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS)
  const errors: [string, MillraceError][] = []
  const stage = new NormalizeStage({
    log,
    streams: [plainDescriptor()],
    rejectedSchemaId: REJECTED_ID,
    counters,
    onStreamError: (stream, error) => errors.push([stream, error]),
    ...options,
  })
  await stage.start()
  return { stage, counters, errors }
}

async function drain(stage: NormalizeStage): Promise<void> {
  for (let i = 0; i < 10_000 && ((await stage.step()) > 0 || !stage.caughtUp); i++);
  assert.ok(stage.caughtUp)
}

/** Normalizes batches of `sizes` readings that need nothing; returns what was appended, by topic, reference and count. */
async function passed(references: boolean, sizes: readonly number[]) {
  const stream = plainDescriptor({ partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, stream)
  const requests: AppendRequest[] = []
  const recording: Log = Object.assign(Object.create(log) as Log, {
    ...bound(log),
    append: (request: AppendRequest) => {
      requests.push(request)
      return log.append(request)
    },
  })
  const { stage, counters } = await start(recording, { streams: [stream], references })
  let sent = 0
  for (const size of sizes) await appendRaw(log, stream, 0, readings('d', sent, (sent += size)))
  await drain(stage)
  assert.equal(counters.get('records_passed'), sent)
  assert.equal(counters.get('lag_records'), 0)
  assert.equal(await log.position(NORMALIZE_STAGE, rawTopic('default', 'telemetry'), 0), sent)
  const entries = requests
    .flatMap((one) => one.entries)
    .filter(({ topic }) => topic === normalizedTopic('default', 'telemetry'))
    .map((entry) => ['reference' in entry, entry.recordCount])
  const [raw, normalized] = await Promise.all(
    [rawTopic, normalizedTopic].map((name) => log.read(name('default', 'telemetry'), 0, 0, Infinity)),
  )
  return {
    entries,
    raw: raw!.batches,
    normalized: normalized!.batches,
    whole: counters.get('batches_passed'),
  }
}

test('a batch that needs nothing is passed whole, by reference', async () => {
  const { entries, raw, normalized, whole } = await passed(true, [100, 50])
  assert.deepEqual(entries, [
    [true, 100],
    [true, 50],
  ])
  assert.deepEqual(normalized, raw)
  assert.equal(whole, 2)
})

test('without references a large batch is passed as a copy of its bytes', async () => {
  const { entries, raw, normalized, whole } = await passed(false, [1000])
  assert.ok(raw.length > 16 * 1024)
  assert.deepEqual(entries, [[false, 1000]])
  assert.deepEqual(normalized, raw)
  assert.equal(whole, 1)
})

test('without references the records of small batches are passed in one', async () => {
  const { entries, raw, normalized } = await passed(false, [100, 50, 1])
  assert.deepEqual(entries, [[false, 151]])
  const read = (batches: Uint8Array): unknown[] => {
    const reader = new RecordReader()
    reader.reset(batches)
    const records: unknown[] = []
    while (reader.next()) {
      const { bytes, offset, timestamp, bodyStart, recordEnd } = reader
      records.push([offset, timestamp, bytes.slice(bodyStart, recordEnd)])
    }
    return records
  }
  assert.equal(read(raw).length, 151)
  assert.deepEqual(read(normalized), read(raw))
})

/** The methods of a log, to be spread over. */
function bound(log: Log): Omit<Log, 'id'> {
  return {
    createTopic: (name, config) => log.createTopic(name, config),
    describeTopic: (name) => log.describeTopic(name),
    listTopics: () => log.listTopics(),
    append: (request) => log.append(request),
    read: (topic, partition, offset, max) => log.read(topic, partition, offset, max),
    range: (topic, partition) => log.range(topic, partition),
    changes: (sequence, timeoutMs) => log.changes(sequence, timeoutMs),
    position: (stage, topic, partition) => log.position(stage, topic, partition),
    close: () => log.close(),
  }
}

test('a stream with little is not kept waiting by one with much', async () => {
  const much = plainDescriptor({ stream: 'much', partitions: 8 })
  const little = plainDescriptor({ stream: 'little', partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, much)
  await createTopics(log, little)
  for (let round = 0; round < 20; round++)
    for (let partition = 0; partition < 8; partition++)
      await appendRaw(log, much, partition, readings(`m${partition}`, round * 50, round * 50 + 50))
  const { stage } = await start(log, { streams: [much, little], stepBytesMax: 16_000 })
  await stage.step()
  await appendRaw(log, little, 0, readings('l', 0, 10))
  await stage.step()
  await stage.settle()
  const { end } = await log.range(normalizedTopic('default', 'little'), 0)
  assert.equal(end, 10)
  assert.equal(stage.caughtUp, false)
  // Its partitions too take turns: none is far ahead of another.
  const ends: number[] = []
  for (let partition = 0; partition < 8; partition++)
    ends.push((await log.range(normalizedTopic('default', 'much'), partition)).end)
  assert.ok(Math.max(...ends) - Math.min(...ends) <= 50, ends.join())
})

test('a stream whose output is full waits with what it has; the others go on; nothing is lost or doubled', async () => {
  const full = plainDescriptor({ stream: 'full', partitions: 1 })
  const free = plainDescriptor({ stream: 'free', partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, full)
  await createTopics(log, free)
  let now = 0
  const { stage, counters } = await start(log, { streams: [full, free], references: false, now: () => now })
  const limit = async (backlogBytesMax: number): Promise<void> => {
    await log.createTopic(normalizedTopic('default', 'full'), {
      partitions: 1,
      cleanup: 'delete',
      retentionAgeMs: Infinity,
      retentionBytes: Infinity,
      backlogBytesMax,
    })
  }
  await limit(3000)
  // A sink that stands still at the start.
  const position = { stage: 'sink', topic: normalizedTopic('default', 'full'), partition: 0, nextOffset: 0 }
  await log.append({ entries: [], positions: [position] })
  for (let i = 0; i < 10; i++) {
    await appendRaw(log, full, 0, readings('a', i * 20, i * 20 + 20))
    await appendRaw(log, free, 0, readings('b', i * 20, i * 20 + 20))
    now += 5
    await stage.step()
  }
  for (let i = 0; i < 20; i++) await stage.step()
  assert.equal((await log.range(normalizedTopic('default', 'free'), 0)).end, 200)
  const stuck = (await log.range(normalizedTopic('default', 'full'), 0)).end
  assert.ok(stuck > 0 && stuck < 200, String(stuck))
  assert.equal(counters.get('streams_waiting'), 1)
  assert.equal(stage.caughtUp, false)
  await limit(Infinity)
  now += 2000
  await drain(stage)
  assert.equal(counters.get('streams_waiting'), 0)
  const { normalized } = await outcomeOf(log, full, 0)
  assert.deepEqual(
    normalized.map((row) => row.reading.seq),
    Array.from({ length: 200 }, (_, i) => i),
  )
})

test('a stream whose next record is gone stops with that error; the others go on', async () => {
  const gone = plainDescriptor({ stream: 'gone', partitions: 2 })
  const good = plainDescriptor({ stream: 'good', partitions: 1 })
  let clock = EPOCH_MS
  const log = new MemoryLog({ now: () => clock })
  await createTopics(log, gone)
  await createTopics(log, good)
  const raw = rawTopic('default', 'gone')
  await appendRaw(log, gone, 0, readings('a', 0, 10))
  await appendRaw(log, gone, 0, readings('a', 10, 20))
  // Positions say 20, so that retention may delete; then somebody sets normalize's back.
  const at = (nextOffset: number): AppendRequest => ({
    entries: [],
    positions: [NORMALIZE_STAGE, STATE_STAGE].map((stage) => ({
      stage,
      topic: raw,
      partition: 0,
      nextOffset,
    })),
  })
  await log.append(at(20))
  await log.createTopic(raw, {
    partitions: 2,
    cleanup: 'delete',
    retentionAgeMs: 1000,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  })
  clock += 100_000
  log.maintain()
  await log.append(at(5))
  await appendRaw(log, good, 0, readings('b', 0, 10))
  const { stage, counters, errors } = await start(log, { streams: [gone, good] })
  await drain(stage)
  assert.equal((await log.range(normalizedTopic('default', 'good'), 0)).end, 10)
  assert.equal((await log.range(normalizedTopic('default', 'gone'), 0)).end, 0)
  assert.equal(counters.get('streams_stopped'), 1)
  assert.equal(errors.length, 1)
  assert.equal(errors[0]![0], 'default.gone')
  assert.ok(isMillraceError(errors[0]![1], 'offset_below_start'))
  assert.match(errors[0]![1].message, /default\.gone\.raw\/0: normalize is at offset 5, the log begins at 20/)
})

test('one append carries the positions of all streams of a step', async () => {
  const streams = ['one', 'two', 'three'].map((stream) => plainDescriptor({ stream, partitions: 2 }))
  const log = new MemoryLog()
  for (const stream of streams) {
    await createTopics(log, stream)
    for (const partition of [0, 1]) await appendRaw(log, stream, partition, readings('d', 0, 10 + partition))
  }
  const { stage, counters } = await start(log, { streams })
  await drain(stage)
  assert.equal(counters.get('appends'), 1)
  for (const { stream } of streams) {
    for (const partition of [0, 1]) {
      const raw = rawTopic('default', stream)
      assert.equal(await log.position(NORMALIZE_STAGE, raw, partition), 10 + partition)
      assert.equal(await log.position(STATE_STAGE, raw, partition), 0)
    }
  }
})

test('records outside the offsets asked for are left alone, in the middle of a batch too', () => {
  const batch = rawBatch(readings('d', 0, 10))
  for (const [from, to, expected] of [
    [0, 10, 'whole'],
    [3, 10, '3456789'],
    [0, 7, '0123456'],
    [4, 6, '45'],
    [10, 20, ''],
  ] as const) {
    const state = new PartitionState(STATE_LIMITS_DEFAULT)
    const normalizer = new PartitionNormalizer(compileTransform(plainDescriptor()), state, {
      partition: 0,
      references: true,
    })
    const output = new OutputBatches()
    output.clear()
    const tally = new Tally()
    normalizer.process(batch, from, to, output, new RejectedBatches('raw', REJECTED_ID), tally)
    const written = output.take().map((segment) => {
      if (segment.kind === 'passed') return 'whole'
      const reader = new RecordReader()
      reader.reset(output.bytes, segment.start, segment.end)
      let times = ''
      while (reader.next()) times += reader.timestamp - EPOCH_MS
      return times
    })
    assert.equal(written.join(), expected)
    assert.equal(tally.recordsIn, expected === 'whole' ? 10 : expected.length)
  }
})

test('two stages share the partitions of all streams: each partition has one owner', async () => {
  const stream = plainDescriptor({ partitions: 7 })
  const log = new MemoryLog()
  await createTopics(log, stream)
  const stages: NormalizeStage[] = []
  for (const index of [0, 1])
    stages.push((await start(log, { streams: [stream], share: { index, count: 2 } })).stage)
  for (let partition = 0; partition < 7; partition++)
    await appendRaw(log, stream, partition, readings(`d${partition}`, 0, 5))
  for (const stage of stages) await drain(stage)
  const raw = rawTopic('default', 'telemetry')
  const owned = [0, 0]
  for (let partition = 0; partition < 7; partition++) {
    assert.equal((await log.range(normalizedTopic('default', 'telemetry'), partition)).end, 5)
    const owners = stages.map((stage) => (stage.stateOf(raw, partition) === undefined ? 0 : 1))
    assert.equal(owners[0]! + owners[1]!, 1)
    owned[0]! += owners[0]!
    owned[1]! += owners[1]!
  }
  assert.ok(owned[0]! >= 3 && owned[1]! >= 3, owned.join())
})

test('streams are added, changed and removed between steps', async () => {
  const first = plainDescriptor({ partitions: 1 })
  const second = plainDescriptor({ stream: 'second', partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, first)
  const { stage } = await start(log, { streams: [first] })
  await appendRaw(log, first, 0, readings('d', 0, 5))
  await drain(stage)
  await createTopics(log, second)
  await appendRaw(log, second, 0, readings('e', 0, 5))
  // The new version of the first has ranges.
  const ranged = descriptor({
    partitions: 1,
    contractVersion: 2,
    writers: first.writers,
    ruleSets: first.ruleSets,
  })
  stage.setStreams([ranged, second])
  await appendRaw(log, first, 0, [reading('d', 5, { temperature: 500 })])
  await drain(stage)
  // The state was saved as the old version left it: no record is read again under another version.
  assert.equal(await log.position(STATE_STAGE, rawTopic('default', 'telemetry'), 0), 5)
  const changed = await outcomeOf(log, first, 0)
  assert.deepEqual(
    changed.normalized.map((row) => row.quality),
    [undefined, undefined, undefined, undefined, undefined, 'temperature'],
  )
  assert.equal((await log.range(normalizedTopic('default', 'second'), 0)).end, 5)
  stage.setStreams([second])
  await appendRaw(log, first, 0, readings('d', 6, 9))
  await appendRaw(log, second, 0, readings('e', 5, 6))
  await drain(stage)
  assert.equal((await log.range(normalizedTopic('default', 'telemetry'), 0)).end, 6)
  assert.equal((await log.range(normalizedTopic('default', 'second'), 0)).end, 6)
})

test('streams that come while others are taken over are in force only when that is said of them', async () => {
  const first = plainDescriptor({ partitions: 1 })
  const second = plainDescriptor({ stream: 'second', partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, first)
  await createTopics(log, second)
  const { stage } = await start(log, { streams: [] })
  const inForce: string[] = []
  void stage.setStreams([first]).then(() => inForce.push('first'))
  const step = stage.step()
  void stage.setStreams([first, second]).then(() => inForce.push('second'))
  await step
  assert.deepEqual(inForce, ['first'])
  assert.equal(stage.stateOf(rawTopic('default', 'second'), 0), undefined)
  await stage.step()
  assert.deepEqual(inForce, ['first', 'second'])
  assert.ok(stage.stateOf(rawTopic('default', 'second'), 0))
})

test('streams that could not be taken over, because a partition was lost, are taken over after that', async () => {
  const first = plainDescriptor({ partitions: 1 })
  const second = plainDescriptor({ stream: 'second', partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, first)
  await createTopics(log, second)
  const all = new Map([first, second].map(({ stream }) => [rawTopic('default', stream), new Set([0])]))
  let reassign: (() => void) | undefined
  const membership = {
    target: all,
    generation: 1,
    subscribe: () => reassign?.(),
    own: () => {},
    leave: async () => {},
  }
  let isLost = false
  const shared: Log = Object.assign(Object.create(log) as Log, {
    ...bound(log),
    join: async (_stage: string, _topics: readonly string[], changed: () => void) => {
      reassign = changed
      return membership
    },
    append: async (request: AppendRequest) => {
      if (!isLost) return log.append(request)
      isLost = false
      membership.generation++
      throw new MillraceError('partition_lost', 'others have it')
    },
  })
  const { stage } = await start(shared, { streams: [first] })
  await appendRaw(log, first, 0, readings('d', 0, 5))
  await drain(stage)
  isLost = true
  let inForce = false
  // The version of the first is another one: its state is saved before it changes, which shows the loss.
  const changed = { ...first, contractVersion: 2 }
  void stage.setStreams([changed, second]).then(() => (inForce = true))
  await stage.step()
  assert.equal(inForce, false)
  await stage.step()
  assert.ok(inForce)
  await appendRaw(log, second, 0, readings('e', 0, 5))
  await drain(stage)
  assert.equal((await log.range(normalizedTopic('default', 'second'), 0)).end, 5)
  assert.equal((await log.range(normalizedTopic('default', 'telemetry'), 0)).end, 5)
})

test('a step is short while nothing is under way to the log, which waits for it, and long otherwise', async () => {
  const stream = plainDescriptor({ partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, stream)
  const { promise: released, resolve: release } = Promise.withResolvers<void>()
  const slow: Log = Object.assign(Object.create(log) as Log, {
    ...bound(log),
    append: async (request: AppendRequest) => {
      await released
      return log.append(request)
    },
  })
  const { stage, counters } = await start(slow, { streams: [stream], references: false })
  // What it holds does not matter: most of them are duplicates.
  const records = readings('d', 0, 8000)
  const batch = rawBatch(records)
  const topic = rawTopic('default', 'telemetry')
  const entries = [{ topic, partition: 0, batch, recordCount: records.length }]
  const batches = Math.ceil((12 << 20) / batch.length)
  for (let i = 0; i < batches; i++) await log.append({ entries })
  const first = await stage.step()
  const bytes = counters.get('bytes_in')
  assert.ok(bytes >= 2 << 20 && bytes < 5 << 20, `${bytes} bytes`)
  // It waits for the first one's append when it has read all.
  const second = stage.step()
  while (counters.get('records_in') === first) await sleep(1)
  assert.equal(counters.get('records_in'), batches * records.length)
  assert.ok(counters.get('bytes_in') - bytes > 6 << 20)
  release()
  await second
  await drain(stage)
})

test('a big state is saved in pieces while input goes on, and a restart makes the same one of it', async () => {
  const stream = plainDescriptor({ partitions: 1 })
  const raw = rawTopic('default', 'telemetry')
  let clock = EPOCH_MS
  const log = new MemoryLog({ now: () => clock })
  await createTopics(log, stream)
  let now = 0
  const options = { streams: [stream], now: () => now, stepBytesMax: 2_000_000 }
  const { stage } = await start(log, options)
  let sent = 0
  const send = async (count: number): Promise<void> => {
    const records = Array.from({ length: count }, (_, i) => reading(`device-${(sent + i) % 30}`, sent + i))
    sent += count
    await appendRaw(log, stream, 0, records)
    await drain(stage)
  }
  // 30 windows of 6,000 records take 1.4 MB: two pieces.
  for (let i = 0; i < 18; i++) await send(10_000)
  assert.equal(await log.position(STATE_STAGE, raw, 0), 0)
  const before = (await log.range(NORMALIZE_STATE_TOPIC, 0)).end
  now += 60_000
  const taken = sent + 10
  await send(10)
  const after = (await log.range(NORMALIZE_STATE_TOPIC, 0)).end
  assert.ok(after - before > 4, `${after - before} records`)
  assert.equal(await log.position(STATE_STAGE, raw, 0), taken)
  await send(500)
  // Retention takes the raw records that the snapshot stands for; compaction leaves its newest pieces.
  await log.createTopic(raw, {
    partitions: 1,
    cleanup: 'delete',
    retentionAgeMs: 1000,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  })
  clock += 1_000_000_000
  log.maintain()
  assert.equal((await log.range(raw, 0)).start, taken)
  const restarted = await start(log, options)
  assert.deepEqual(restarted.stage.stateOf(raw, 0)!.chunks(), stage.stateOf(raw, 0)!.chunks())
  // Every record of every window is known again.
  const numbers = [7, 90_000, sent - 511, sent - 1, sent]
  await appendRaw(
    log,
    stream,
    0,
    numbers.map((i) => reading(`device-${i % 30}`, i)),
  )
  await drain(restarted.stage)
  assert.deepEqual(restarted.stage.account(), { duplicates: 4, rejected: 0 })
})

test('a smaller snapshot deletes the chunks that a bigger one left', async () => {
  const stream = plainDescriptor({ partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, stream)
  let now = 0
  const big = await start(log, { streams: [stream], now: () => now })
  for (let i = 0; i < 6; i++) {
    const records = Array.from({ length: 20_000 }, (_, k) => reading(`d${k % 20}`, i * 20_000 + k))
    await appendRaw(log, stream, 0, records)
    now += 61_000
    await drain(big.stage)
  }
  const limits = { windowRecordsMax: 16 }
  const small = await start(log, { streams: [stream], now: () => now, limits })
  for (let i = 0; i < 2; i++) {
    await appendRaw(log, stream, 0, [reading('d0', 200_000 + i)])
    await drain(small.stage)
    now += 61_000
    await drain(small.stage)
  }
  log.maintain()
  const keys = new Set<string>()
  const reader = await readAll(log, NORMALIZE_STATE_TOPIC, 0)
  while (reader.next()) {
    const key = Buffer.from(reader.bytes.subarray(reader.keyStart, reader.keyEnd)).toString()
    if (reader.valueStart >= 0) keys.add(key)
    else keys.delete(key)
  }
  assert.deepEqual([...keys].sort(), [
    'default.telemetry.raw/0',
    'default.telemetry.raw/0/0/0',
    'default.telemetry.raw/0/1/0',
  ])
  const again = await start(log, { streams: [stream], limits })
  assert.deepEqual(
    again.stage.stateOf('default.telemetry.raw', 0)!.chunks(),
    small.stage.stateOf('default.telemetry.raw', 0)!.chunks(),
  )
})

test('run follows the log without being asked, and ends a drain only when all is dealt with', async () => {
  const stream = plainDescriptor({ partitions: 1 })
  const log = new MemoryLog()
  await createTopics(log, stream)
  const { stage, counters } = await start(log, { streams: [stream] })
  const stop = new AbortController()
  const running = stage.run(stop.signal)
  await appendRaw(log, stream, 0, readings('d', 0, 10))
  while ((await log.range(normalizedTopic('default', 'telemetry'), 0)).end < 10) await sleep(1)
  await sleep(5)
  await appendRaw(log, stream, 0, readings('d', 10, 20))
  stop.abort()
  await running
  assert.equal((await log.range(normalizedTopic('default', 'telemetry'), 0)).end, 20)
  assert.equal((await log.range(rejectedTopic('default', 'telemetry'), 0)).end, 0)
  assert.equal(counters.get('records_in'), 20)
  // Nothing is left to be read again at the next start.
  assert.equal(await log.position(STATE_STAGE, rawTopic('default', 'telemetry'), 0), 20)
})

test('the benchmark’s cases do what they say', () => {
  for (const which of CASES) assert.ok(benchmark(which, 3000, 1) > 0)
})
