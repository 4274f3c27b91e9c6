import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import type { AppendRequest, AppendResult, TopicConfig } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordReader } from '../log/record-batch.ts'
import { MillraceError } from '../std/errors.ts'
import {
  type AccumulatorOptions,
  BACKLOG,
  BatchAccumulator,
  OVER_BUDGET,
  type PartitionHandle,
} from './batch-accumulator.ts'
import { RUN_END, RUN_ENTRY, RUN_START } from './mqtt-parser.ts'

const CONFIG: TopicConfig = {
  partitions: 8,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}
const turn = () => new Promise((resolve) => setImmediate(resolve))
const encoder = new TextEncoder()
const KEY_BYTES_MAX = 3 * 70

/** A log whose appends wait for `release` where it is gated, and fail as `faults` says, in turn. */
class FaultyLog extends MemoryLog {
  requests: AppendRequest[] = []
  gated = false
  release: (() => void)[] = []
  /** Partitions of topic `t` that answer backlog_full. */
  readonly parked = new Set<number>()
  logFullCount = 0

  override async append(request: AppendRequest): Promise<AppendResult> {
    this.requests.push(request)
    if (this.gated) await new Promise<void>((resolve) => this.release.push(resolve))
    if (this.logFullCount > 0) {
      this.logFullCount--
      throw new MillraceError('log_full', 'full')
    }
    for (const { partition } of request.entries)
      if (this.parked.has(partition)) throw new MillraceError('backlog_full', 'parked')
    return super.append(request)
  }
}

async function setUp(options: Partial<AccumulatorOptions> = {}, log = new FaultyLog()) {
  await log.createTopic('t', CONFIG)
  const durable: number[] = []
  const failures: MillraceError[] = []
  const accumulator = new BatchAccumulator({
    log,
    slabBytes: 16_384,
    bytesInFlightMax: 262_144,
    onDurable: (sequence) => durable.push(sequence),
    onFailure: (error) => failures.push(error),
    ...options,
  })
  return { log, accumulator, durable, failures }
}

interface Read {
  key: string
  value: string
  timestamp: number
}

async function readAll(log: MemoryLog, partition: number): Promise<Read[]> {
  const records: Read[] = []
  const { end } = await log.range('t', partition)
  const reader = new RecordReader()
  for (let offset = 0; offset < end; ) {
    const { batches, nextOffset } = await log.read('t', partition, offset, 1 << 20)
    reader.reset(batches)
    while (reader.next()) {
      assert.equal(reader.offset, records.length)
      records.push({
        key: Buffer.from(batches.subarray(reader.keyStart, reader.keyEnd)).toString(),
        value: Buffer.from(batches.subarray(reader.valueStart, reader.valueEnd)).toString('hex'),
        timestamp: reader.timestamp,
      })
    }
    offset = nextOffset
  }
  return records
}

test('records of any size come out of the log as they went in, in order', async () => {
  const record = fc.record({
    partition: fc.nat(7),
    key: fc.string({ minLength: 0, maxLength: 70 }),
    isKeyApart: fc.boolean(),
    size: fc.oneof(
      fc.nat(12),
      fc.integer({ min: 55, max: 70 }),
      fc.integer({ min: 200, max: 300 }),
      fc.nat(16_000),
    ),
    offset: fc.nat(9),
    // Clocks are set back, and jump further than a delta holds.
    timestamp: fc.oneof(
      fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_300 }),
      fc.integer({ min: 0, max: 4e12 }),
    ),
    endOfTurn: fc.boolean(),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(record, { maxLength: 60 }), async (records) => {
      const { log, accumulator, durable, failures } = await setUp({
        bytesInFlightMax: 4 << 20,
        flushBytes: 40_000,
      })
      const expected: Read[][] = Array.from({ length: 8 }, () => [])
      let ticket = 0
      for (const { partition, key, isKeyApart, size, offset, timestamp, endOfTurn } of records) {
        const source = new Uint8Array(offset + size + 1 + KEY_BYTES_MAX)
        for (let i = 0; i < size; i++) source[offset + i] = (i * 31 + size) & 0xff
        // From the same bytes as the value, or from others.
        const keyAt = isKeyApart ? 3 : offset + size + 1
        const keys = isKeyApart ? new Uint8Array(3 + KEY_BYTES_MAX) : source
        const { written } = encoder.encodeInto(key, keys.subarray(keyAt))
        const handle = accumulator.partition('t', partition)
        accumulator.receiveTimeMs = timestamp
        const got = accumulator.append(handle, keys, keyAt, keyAt + written, source, offset, offset + size)
        assert.ok(got >= ticket && got > 0)
        ticket = got
        const value = Buffer.from(source.subarray(offset, offset + size)).toString('hex')
        expected[partition]!.push({ key, value, timestamp })
        source.fill(0xee)
        keys.fill(0xee)
        if (endOfTurn) await turn()
      }
      await accumulator.drained()
      assert.deepEqual(failures, [])
      assert.equal(accumulator.bytesUsed, 0)
      assert.equal(accumulator.durableSequence, ticket)
      assert.deepEqual(
        durable,
        [...durable].sort((a, b) => a - b),
      )
      for (let p = 0; p < 8; p++) assert.deepEqual(await readAll(log, p), expected[p])
    }),
    { numRuns: 150 },
  )
})

test('a run of values comes out of the log as if each had been appended, refusals included', async () => {
  const run = fc.record({
    key: fc.oneof(
      fc.string({ unit: 'binary-ascii', maxLength: 70 }),
      fc.string({ unit: 'binary-ascii', minLength: 60, maxLength: 70 }),
    ),
    sizes: fc.array(fc.oneof(fc.nat(12), fc.integer({ min: 55, max: 70 }), fc.nat(300), fc.nat(3000)), {
      minLength: 1,
      maxLength: 64,
    }),
    timestamp: fc.oneof(
      fc.integer({ min: 1_700_000_000_000, max: 1_700_000_000_100 }),
      fc.integer({ min: 0, max: 4e12 }),
    ),
    times: fc.constantFrom(1, 1, 1, 200),
    endOfTurn: fc.boolean(),
  })
  let refused = 0
  await fc.assert(
    fc.asyncProperty(fc.array(run, { maxLength: 12 }), async (runs) => {
      const sides = [await setUp({ flushBytes: 40_000 }), await setUp({ flushBytes: 40_000 })]
      const [single, many] = sides.map(({ accumulator }) => accumulator) as [
        BatchAccumulator,
        BatchAccumulator,
      ]
      for (const { key, sizes, timestamp, times, endOfTurn } of runs) {
        // Key, then the values one behind the other, as a read has them.
        const keyBytes = encoder.encode(key)
        const entries = new Int32Array((sizes.length + 1) * RUN_ENTRY)
        let end = 1 + keyBytes.length
        for (const [i, size] of sizes.entries()) {
          entries[(i + 1) * RUN_ENTRY + RUN_START] = end
          end += size
          entries[(i + 1) * RUN_ENTRY + RUN_END] = end
        }
        const bytes = new Uint8Array(end)
        for (let i = 0; i < end; i++) bytes[i] = (i * 31 + end) & 0xff
        bytes.set(keyBytes, 1)
        for (const { accumulator } of sides) accumulator.receiveTimeMs = timestamp
        for (let time = 0; time < times; time++) {
          const [a, b] = sides.map(({ accumulator }) => accumulator.partition('t', 0))
          const tickets: number[] = []
          for (let i = 1; i <= sizes.length; i++) {
            const [start, end] = [entries[i * RUN_ENTRY + RUN_START]!, entries[i * RUN_ENTRY + RUN_END]!]
            const ticket = single.append(a!, bytes, 1, 1 + keyBytes.length, bytes, start, end)
            tickets.push(ticket)
            if (ticket <= 0) break
          }
          const got: number[] = []
          for (let at = 1; at <= sizes.length; ) {
            const added = many.appendRun(b!, bytes, 1, 1 + keyBytes.length, entries, at, sizes.length + 1)
            if (added <= 0) {
              got.push(added)
              refused++
              break
            }
            for (let i = 0; i < added; i++) got.push(many.ticket)
            at += added
          }
          assert.deepEqual(got, tickets)
        }
        if (endOfTurn) await turn()
      }
      assert.deepEqual([many.recordCount, many.valueBytes], [single.recordCount, single.valueBytes])
      for (const { accumulator, failures } of sides) {
        await accumulator.drained()
        assert.deepEqual(failures, [])
      }
      const [expected, found] = await Promise.all(
        sides.map(async ({ log }) => {
          const { end } = await log.range('t', 0)
          const batches: Buffer[] = []
          for (let offset = 0; offset < end; ) {
            const read = await log.read('t', 0, offset, 1 << 20)
            batches.push(Buffer.from(read.batches))
            offset = read.nextOffset
          }
          return Buffer.concat(batches).toString('hex')
        }),
      )
      assert.equal(found, expected)
    }),
    { numRuns: 150 },
  )
  assert.ok(refused > 0)
})

test('runs go on in a batch of more than a million records', async () => {
  const { log, accumulator } = await setUp({
    slabBytes: 64 << 20,
    bytesInFlightMax: 192 << 20,
    flushBytes: 64 << 20,
  })
  const handle = accumulator.partition('t', 0)
  const entries = new Int32Array(64 * RUN_ENTRY)
  for (let i = 0; i < 64; i++) entries.set([0, 1 + 8 * i, 9 + 8 * i], i * RUN_ENTRY)
  const bytes = new Uint8Array(1 + 64 * 8).fill(7)
  const count = 0x100000 + 64
  for (let added = 0; added < count; ) {
    const more = accumulator.appendRun(handle, bytes, 0, 1, entries, added % 64, 64)
    assert.ok(more > 0)
    added += more
  }
  await accumulator.drained()
  assert.equal(log.requests.length, 1)
  assert.equal((await readAll(log, 0)).length, count)
})

const value = new Uint8Array(100)
const key = encoder.encode('device')
const add = (accumulator: BatchAccumulator, handle: PartitionHandle, bytes = value) =>
  accumulator.append(handle, key, 0, key.length, bytes, 0, bytes.length)

test('while a request is in flight batches fill, and its end sends them', async () => {
  const { log, accumulator, durable } = await setUp()
  log.gated = true
  const a = accumulator.partition('t', 0)
  assert.equal(accumulator.partition('t', 0), a)
  const b = accumulator.partition('t', 1)
  assert.equal(add(accumulator, a), 1)
  assert.equal(log.requests.length, 0)
  await turn()
  assert.equal(log.requests.length, 1)
  for (let i = 0; i < 5; i++) {
    assert.equal(add(accumulator, a), 2)
    assert.equal(add(accumulator, b), 2)
    await turn()
  }
  assert.equal(log.requests.length, 1)
  log.release.shift()!()
  await turn()
  assert.deepEqual(durable, [1])
  assert.equal(log.requests.length, 2)
  assert.deepEqual(
    log.requests[1]!.entries.map(({ partition, recordCount }) => [partition, recordCount]),
    [
      [0, 5],
      [1, 5],
    ],
  )
  // Views of shared memory: nothing was copied on the way.
  const entry = log.requests[1]!.entries[0]!
  assert.ok('batch' in entry && entry.batch.buffer instanceof SharedArrayBuffer)
  log.release.shift()!()
  await accumulator.drained()
  assert.deepEqual(durable, [1, 2])
})

const recordsOf = ({ entries }: AppendRequest): number =>
  entries.reduce((sum, { recordCount }) => sum + recordCount, 0)

/** Stops time: timers go on by ticks, and what tells how long a commit took by what is set here. */
function stopClock({ mock }: TestContext): { nowMs: number } {
  const clock = { nowMs: 0 }
  mock.timers.enable({ apis: ['setTimeout'] })
  mock.method(performance, 'now', () => clock.nowMs)
  return clock
}

test('two halves of what is in flight become one commit once the first is acknowledged', async (t) => {
  stopClock(t)
  const { log, accumulator, durable } = await setUp()
  log.gated = true
  const handle = accumulator.partition('t', 0)
  const addFour = () => {
    for (let i = 0; i < 4; i++) add(accumulator, handle)
    accumulator.endRead()
  }
  addFour()
  await turn()
  addFour()
  log.release.shift()!()
  await turn()
  // Acknowledged, and the other half waits for the answers.
  assert.deepEqual(durable, [1])
  assert.equal(log.requests.length, 1)
  addFour()
  await turn()
  assert.deepEqual(log.requests.map(recordsOf), [4, 8])
  log.gated = false
  log.release.shift()!()
  await accumulator.drained()
  assert.deepEqual(durable, [1, 2])
})

test('what is awaited is waited for as long as the last commit took, up to 10 ms', async (t) => {
  const clock = stopClock(t)
  const { log, accumulator } = await setUp()
  log.gated = true
  const handle = accumulator.partition('t', 0)
  for (let i = 0; i < 4; i++) add(accumulator, handle)
  await turn()
  for (let i = 0; i < 4; i++) add(accumulator, handle)
  clock.nowMs = 12
  log.release.shift()!()
  await turn()
  t.mock.timers.tick(9)
  await turn()
  assert.equal(log.requests.length, 1)
  t.mock.timers.tick(1)
  await turn()
  assert.deepEqual(log.requests.map(recordsOf), [4, 4])
})

test('what is awaited is waited for again while answers come, up to 10 ms in all', async (t) => {
  stopClock(t)
  for (const answers of [0, 1, 5, 30]) {
    const { log, accumulator } = await setUp()
    log.gated = true
    const handle = accumulator.partition('t', 0)
    for (let i = 0; i < 40; i++) add(accumulator, handle)
    await turn()
    add(accumulator, handle)
    log.release.shift()!()
    await turn()
    let waitedMs = 0
    while (log.requests.length === 1) {
      if (waitedMs < answers) add(accumulator, handle)
      accumulator.endRead()
      t.mock.timers.tick(1)
      await turn()
      waitedMs++
    }
    assert.equal(waitedMs, Math.min(answers + 1, 10))
    assert.deepEqual(log.requests.map(recordsOf), [40, 1 + Math.min(answers, waitedMs)])
  }
})

test('answers that are read in the turn in which the time is over count', async (t) => {
  stopClock(t)
  const { log, accumulator } = await setUp()
  log.gated = true
  const handle = accumulator.partition('t', 0)
  const addTen = () => {
    for (let i = 0; i < 10; i++) add(accumulator, handle)
    accumulator.endRead()
  }
  addTen()
  await turn()
  addTen()
  log.release.shift()!()
  await turn()
  // As where acknowledging took all the time: timers come before reads in the event loop.
  t.mock.timers.tick(1)
  addTen()
  await turn()
  await turn()
  assert.deepEqual(log.requests.map(recordsOf), [10, 20])
})

test('a commit is waited for anew, though the time of the one before was over in that turn', async (t) => {
  stopClock(t)
  const { log, accumulator, durable } = await setUp({ flushBytes: 1 })
  const handle = accumulator.partition('t', 0)
  const addTen = () => {
    for (let i = 0; i < 10; i++) add(accumulator, handle)
  }
  log.gated = true
  addTen()
  await turn()
  addTen()
  log.release.shift()!()
  await turn()
  log.gated = false
  t.mock.timers.tick(1)
  // A batch is full: it goes without being waited for, and is durable before this turn ends.
  while (log.requests.length === 1) addTen()
  const sizes = log.requests.map(recordsOf)
  while (durable.length < 2) await Promise.resolve()
  await turn()
  assert.deepEqual(log.requests.map(recordsOf), sizes)
  t.mock.timers.tick(1)
  await accumulator.drained()
})

test('what is awaited and does not come delays a commit by a moment, and the next ones not at all', async () => {
  const { log, accumulator } = await setUp()
  log.gated = true
  const handle = accumulator.partition('t', 0)
  const commit = async () => {
    for (let i = 0; i < 4; i++) add(accumulator, handle)
    accumulator.endRead()
    log.release.shift()!()
    await turn()
  }
  for (let i = 0; i < 4; i++) add(accumulator, handle)
  await turn()
  await commit()
  assert.equal(log.requests.length, 1)
  while (log.requests.length === 1) await new Promise((resolve) => setTimeout(resolve, 1))
  assert.deepEqual(log.requests.map(recordsOf), [4, 4])
  await commit()
  assert.equal(log.requests.length, 3, 'the next one goes at once')
  // Who drains waits for nobody.
  for (let i = 0; i < 4; i++) add(accumulator, handle)
  const drained = accumulator.drained()
  log.gated = false
  log.release.shift()!()
  await turn()
  assert.equal(log.requests.length, 4)
  await drained
})

/** An accumulator whose commits linger by a clock of the test's, and a record of one client given to it. */
async function setUpLingering(t: TestContext) {
  const { log, accumulator } = await setUp({ lingerMs: 2 })
  stopClock(t)
  const handle = accumulator.partition('t', 0)
  const publish = async (ticketBefore?: number) => {
    add(accumulator, handle)
    if (ticketBefore !== undefined) accumulator.answered(ticketBefore)
    accumulator.endRead()
    await turn()
    await turn()
  }
  const tick = async (ms: number) => {
    t.mock.timers.tick(ms)
    await turn()
  }
  return { accumulator, publish, tick, sizes: () => log.requests.map(recordsOf) }
}

test('a commit lingers, until enough share it', async (t) => {
  const { publish, tick, sizes } = await setUpLingering(t)
  await publish()
  await publish()
  await tick(1)
  assert.deepEqual(sizes(), [])
  await tick(1)
  assert.deepEqual(sizes(), [2])
  for (let i = 0; i < 127; i++) await publish()
  assert.deepEqual(sizes(), [2])
  await publish()
  assert.deepEqual(sizes(), [2, 128])
})

test('a commit does not linger where a client waits for it that was acknowledged by the last ones', async (t) => {
  const { accumulator, publish, sizes } = await setUpLingering(t)
  for (let i = 0; i < 4; i++) {
    await publish()
    await publish()
    await accumulator.drained()
  }
  assert.deepEqual(sizes(), [2, 2, 2, 2])
  await publish(accumulator.durableSequence - 2)
  assert.deepEqual(sizes(), [2, 2, 2, 2])
  await publish(accumulator.durableSequence)
  assert.deepEqual(sizes(), [2, 2, 2, 2, 2])
})

test('a commit that lingers in vain goes at once the next time', async (t) => {
  const { publish, tick, sizes } = await setUpLingering(t)
  await publish()
  assert.deepEqual(sizes(), [])
  await tick(2)
  assert.deepEqual(sizes(), [1])
  await publish()
  assert.deepEqual(sizes(), [1, 1])
})

test('full memory is answered, nothing is added, and durable flushes free it', async () => {
  const { log, accumulator } = await setUp({ bytesInFlightMax: 65_536 })
  log.gated = true
  const handles = Array.from({ length: 8 }, (_, p) => accumulator.partition('t', p))
  const big = new Uint8Array(3000)
  let added = 0
  while (add(accumulator, handles[added % 8]!, big) > 0) added++
  assert.ok(added >= 8)
  assert.equal(accumulator.isAboveHighWater, true)
  assert.equal(add(accumulator, handles[added % 8]!, big), OVER_BUDGET)
  await turn()
  log.gated = false
  log.release.shift()!()
  await accumulator.drained()
  assert.equal(accumulator.isBelowLowWater, true)
  assert.equal(accumulator.recordCount, added)
  const counts = await Promise.all(handles.map((_, p) => readAll(log, p)))
  assert.equal(
    counts.reduce((sum, records) => sum + records.length, 0),
    added,
  )
  assert.ok(add(accumulator, handles[0]!, big) > 0)
  await accumulator.drained()
})

test('what was gathered for a held partition alone is durable with it, though nothing comes after', async () => {
  const { log, accumulator } = await setUp()
  const handle = accumulator.partition('t', 0)
  log.parked.add(0)
  log.gated = true
  add(accumulator, handle)
  await turn()
  // Filled while the refusal is under way: no flush will carry it.
  const ticket = add(accumulator, handle)
  log.gated = false
  log.release.shift()!()
  const isHeld = (): boolean => handle.heldSequence === 1
  while (!isHeld()) await turn()
  log.parked.clear()
  while (isHeld()) await turn()
  assert.equal((await readAll(log, 0)).length, 2)
  assert.ok(accumulator.durableSequence >= ticket, `${accumulator.durableSequence} of ${ticket}`)
})

test('a parked partition is held in order while the others go on', async () => {
  const { log, accumulator, durable } = await setUp()
  const [a, b] = [accumulator.partition('t', 0), accumulator.partition('t', 1)]
  log.parked.add(0)
  log.gated = true
  const numbered = (n: number) => Uint8Array.of(n)
  add(accumulator, a, numbered(1))
  add(accumulator, b, numbered(1))
  await turn()
  // Filled while the refusal is under way.
  assert.equal(add(accumulator, a, numbered(2)), 2)
  assert.equal(add(accumulator, b, numbered(2)), 2)
  log.gated = false
  log.release.shift()!()
  while (accumulator.durableSequence < 2) await turn()
  assert.equal(a.heldSequence, 1)
  assert.equal(b.heldSequence, 0)
  assert.deepEqual([...accumulator.heldPartitions], [a])
  assert.equal(add(accumulator, a, numbered(3)), BACKLOG)
  assert.equal(add(accumulator, b, numbered(3)), 3)
  assert.deepEqual(await readAll(log, 0), [])
  const announced = durable.length
  log.parked.clear()
  await accumulator.drained()
  assert.equal(a.heldSequence, 0)
  assert.ok(durable.length > announced)
  assert.ok(add(accumulator, a, numbered(3)) > 0)
  await accumulator.drained()
  for (const p of [0, 1])
    assert.deepEqual(
      (await readAll(log, p)).map((record) => record.value),
      ['01', '02', '03'],
    )
})

test('a full log is tried again, in order, and a stopped one ends the worker', async () => {
  const { log, accumulator, durable, failures } = await setUp()
  const handle = accumulator.partition('t', 0)
  log.logFullCount = 2
  add(accumulator, handle, Uint8Array.of(1))
  await turn()
  add(accumulator, handle, Uint8Array.of(2))
  await accumulator.drained()
  assert.deepEqual(
    (await readAll(log, 0)).map((record) => record.value),
    ['01', '02'],
  )
  assert.deepEqual(durable, [1, 2])
  await log.close()
  add(accumulator, handle)
  await turn()
  await turn()
  assert.deepEqual(
    failures.map((error) => error.code),
    ['log_stopped'],
  )
  assert.equal(durable.length, 2)
})

test('with several requests in flight sequences become durable in order', async () => {
  const { log, accumulator, durable } = await setUp({ requestsInFlightMax: 3 })
  log.gated = true
  for (let i = 0; i < 3; i++) {
    add(accumulator, accumulator.partition('t', i))
    await turn()
  }
  assert.equal(log.requests.length, 3)
  log.release[2]!()
  await turn()
  log.release[1]!()
  await turn()
  assert.equal(accumulator.durableSequence, 0)
  log.release[0]!()
  await accumulator.drained()
  assert.equal(durable.at(-1), 3)
})

test('a thousand quiet partitions take a kilobyte each', async () => {
  const { accumulator, log } = await setUp({ bytesInFlightMax: 2 << 20 })
  await log.createTopic('many', { ...CONFIG, partitions: 1000 })
  for (let p = 0; p < 1000; p++) assert.ok(add(accumulator, accumulator.partition('many', p)) > 0)
  assert.equal(accumulator.bytesUsed, 1000 * 1024)
  await accumulator.drained()
})
