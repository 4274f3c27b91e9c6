// The contract of log.ts as a test suite, run against every implementation: the in-memory fake, the embedded
// log, its client in another thread, and Kafka.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { MillraceError } from '../std/errors.ts'
import type { AppendRequest, BatchAppend, Changes, Log, PartitionRange, TopicConfig } from './log.ts'
import {
  batchCrcMatches,
  CRC,
  RECORDS,
  RecordBatchBuilder,
  RecordReader,
  readBatchHeader,
} from './record-batch.ts'

export interface LogUnderTest {
  log: Log
  /** The log's clock, milliseconds since 1970. */
  now(): number
  /** Moves the clock forward and does all retention and compaction that is due then. Without it those tests are skipped. */
  maintain?(elapsedMs: number): Promise<void>
  /** How long a tombstone stays readable, in ms. */
  tombstoneAgeMs: number
  /** Whether atomic appends may leave gaps between offsets (the markers of Kafka's transactions). */
  hasGaps?: boolean
  /** Whether appends are refused beyond the backlog quota; default true. */
  hasBacklog?: boolean
  /** Resolves when all that was appended to the partition atomically can be read, where that is not so at once. */
  settled?(topic: string, partition: number): Promise<unknown>
  /** Closes the log and whatever serves it. */
  close(): Promise<void>
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

/** A record as tests write and compare it; null is a tombstone. */
export type TestRecord = readonly [key: string, value: string | null]

/** One sealed batch of text records, each with that timestamp. */
export function textBatch(records: readonly TestRecord[], timestamp = 1_700_000_000_000): Uint8Array {
  const builder = new RecordBatchBuilder(256)
  for (const [key, value] of records)
    builder.append(timestamp, encoder.encode(key), value === null ? undefined : encoder.encode(value))
  return builder.finish().slice()
}

export const TOPIC_DEFAULTS: TopicConfig = {
  partitions: 2,
  cleanup: 'delete',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

/** A batch append of text records. */
export function entry(
  topic: string,
  partition: number,
  records: readonly TestRecord[],
  rest: { timestamp?: number; expectedOffset?: number } = {},
): BatchAppend {
  return {
    topic,
    partition,
    batch: textBatch(records, rest.timestamp),
    recordCount: records.length,
    ...(rest.expectedOffset === undefined ? {} : { expectedOffset: rest.expectedOffset }),
  }
}

/** Every record from `offset` to the end as `offset:key=value`, read with small and large limits alike. */
export async function readAll(
  log: Log,
  topic: string,
  partition: number,
  offset?: number,
  bytesMax = 1 << 16,
): Promise<string[]> {
  const found: string[] = []
  const reader = new RecordReader()
  const range = await log.range(topic, partition)
  let at = offset ?? range.start
  while (at < range.end) {
    const { batches, nextOffset } = await log.read(topic, partition, at, bytesMax)
    reader.reset(batches)
    while (reader.next()) {
      if (reader.offset < at) continue
      const key = decoder.decode(reader.bytes.slice(reader.keyStart, reader.keyEnd))
      const value =
        reader.valueStart < 0
          ? 'null'
          : decoder.decode(reader.bytes.slice(reader.valueStart, reader.valueEnd))
      found.push(`${reader.offset}:${key}=${value}`)
    }
    if (nextOffset === at) break
    at = nextOffset
  }
  return found
}

const failsWith = (code: string) => (error: unknown) => error instanceof MillraceError && error.code === code

/** Declares the suite for one implementation. `open` makes an empty log; tests use topics of their own. */
export function describeLog(name: string, open: () => Promise<LogUnderTest>): void {
  describe(`log contract: ${name}`, () => {
    let under: LogUnderTest
    let log: Log
    let topics = 0

    before(async () => {
      under = await open()
      log = under.log
    })
    after(() => under.close())

    /** The range once all can be read; without gaps it must be this. */
    async function expectRange(t: string, partition: number, expected: PartitionRange): Promise<number> {
      await under.settled?.(t, partition)
      const range = await log.range(t, partition)
      if (under.hasGaps) assert.ok(range.start === expected.start && range.end >= expected.end)
      else assert.deepEqual(range, expected)
      return range.end
    }

    /** Records without their offsets, where offsets have gaps. */
    async function expectRecords(t: string, partition: number, expected: string[]): Promise<void> {
      await under.settled?.(t, partition)
      const found = await readAll(log, t, partition)
      const plain = (text: string): string => text.slice(text.indexOf(':') + 1)
      if (under.hasGaps) assert.deepEqual(found.map(plain), expected.map(plain))
      else assert.deepEqual(found, expected)
    }

    async function topic(config: Partial<TopicConfig> = {}): Promise<string> {
      const made = await log.createTopic(`conformance.t${topics++}`, { ...TOPIC_DEFAULTS, ...config })
      return made.name
    }

    test('a log has an id', () => assert.match(log.id, /\S/))

    test('create, describe and list topics', async () => {
      const config = { ...TOPIC_DEFAULTS, partitions: 3, retentionAgeMs: 1000 }
      const made = await log.createTopic('conformance.made', config)
      assert.equal(made.name, 'conformance.made')
      assert.deepEqual(made.config, config)
      assert.deepEqual(await log.describeTopic('conformance.made'), made)
      assert.equal(await log.describeTopic('conformance.none'), undefined)
      assert.ok((await log.listTopics()).some((one) => one.id === made.id))
      assert.deepEqual(await log.range('conformance.made', 2), { start: 0, end: 0 })
    })

    test('creating a topic again returns it with its other settings updated', async () => {
      const made = await log.createTopic('conformance.again', TOPIC_DEFAULTS)
      const again = await log.createTopic('conformance.again', { ...TOPIC_DEFAULTS, retentionBytes: 5e6 })
      assert.equal(again.id, made.id)
      assert.equal((await log.describeTopic('conformance.again'))!.config.retentionBytes, 5e6)
      for (const other of [{ partitions: 3 }, { cleanup: 'compact' as const }])
        await assert.rejects(
          log.createTopic('conformance.again', { ...TOPIC_DEFAULTS, ...other }),
          failsWith('topic_conflict'),
        )
    })

    test('two creations at once make one topic', async () => {
      const made = await Promise.all([1, 2, 3].map(() => log.createTopic('conformance.race', TOPIC_DEFAULTS)))
      assert.equal(new Set(made.map((one) => one.id)).size, 1)
    })

    test('names and partition counts that cannot be are refused', async () => {
      await assert.rejects(log.createTopic('a/b', TOPIC_DEFAULTS), failsWith('option_invalid'))
      await assert.rejects(
        log.createTopic('conformance.zero', { ...TOPIC_DEFAULTS, partitions: 0 }),
        failsWith('option_invalid'),
      )
    })

    test('append to one partition and read back', async () => {
      const t = await topic()
      const first = await log.append({
        entries: [
          entry(t, 0, [
            ['a', '1'],
            ['b', '2'],
          ]),
        ],
      })
      assert.deepEqual(first.baseOffsets, [0])
      const second = await log.append({ entries: [entry(t, 0, [['c', '3']])] })
      assert.deepEqual(second.baseOffsets, [2])
      assert.deepEqual(await log.range(t, 0), { start: 0, end: 3 })
      assert.deepEqual(await readAll(log, t, 0), ['0:a=1', '1:b=2', '2:c=3'])
      assert.deepEqual(await readAll(log, t, 1), [])
    })

    test('what is read are whole batches with right CRCs and offsets', async () => {
      const t = await topic()
      for (let i = 0; i < 5; i++) await log.append({ entries: [entry(t, 0, [['k', `${i}`]])] })
      const { batches } = await log.read(t, 0, 0, 1 << 20)
      let count = 0
      for (let at = 0; at < batches.length; count++) {
        const view = new DataView(batches.buffer, batches.byteOffset + at)
        assert.equal(view.getInt32(4), count)
        const length = view.getInt32(8) + 12
        assert.ok(batchCrcMatches(batches, at, length))
        at += length
      }
      assert.equal(count, 5)
    })

    test('a CRC that is pending is filled in, in shared memory and in other, whatever was in its place', async () => {
      const t = await topic()
      const two = [...textBatch([['a', '1']]), ...textBatch([['b', '2']])]
      const shared = new Uint8Array(new SharedArrayBuffer(two.length))
      let at = 0
      for (const batch of [Uint8Array.from(two), shared]) {
        batch.set(two)
        new DataView(batch.buffer).setUint32(CRC, 0x12345678)
        const append = { topic: t, partition: 0, batch, recordCount: 2 }
        await assert.rejects(log.append({ entries: [append] }), failsWith('batch_invalid'))
        await log.append({ entries: [{ ...append, isCrcPending: true }] })
        at = await expectRange(t, 0, { start: 0, end: at + 2 })
      }
      const { batches } = await log.read(t, 0, 0, 1 << 20)
      let found = 0
      for (let start = 0; start < batches.length; found++) {
        const { byteLength } = readBatchHeader(batches, start)!
        assert.ok(batchCrcMatches(batches, start, byteLength))
        start += byteLength
      }
      assert.ok(found > 0)
      assert.equal((await readAll(log, t, 0)).length, 4)
    })

    test('one request to many partitions is one unit, several batches an entry', async () => {
      const t = await topic({ partitions: 4 })
      const u = await topic()
      const two = Buffer.concat([textBatch([['x', '1']]), textBatch([['y', '2']])])
      const result = await log.append({
        entries: [
          entry(t, 3, [['a', '1']]),
          { topic: t, partition: 1, batch: two, recordCount: 2 },
          entry(u, 0, [['b', '2']]),
          entry(t, 3, [['c', '3']]),
        ],
      })
      assert.deepEqual(result.baseOffsets, [0, 0, 0, 1])
      await expectRecords(t, 3, ['0:a=1', '1:c=3'])
      await expectRecords(t, 1, ['0:x=1', '1:y=2'])
      await expectRecords(u, 0, ['0:b=2'])
    })

    test('append-if-next-offset-is: a conflict leaves nothing of the request', async () => {
      const t = await topic()
      await log.append({ entries: [entry(t, 0, [['a', '1']], { expectedOffset: 0 })] })
      await assert.rejects(
        log.append({
          entries: [entry(t, 1, [['b', '2']]), entry(t, 0, [['c', '3']], { expectedOffset: 0 })],
          positions: [{ stage: 'conflict', topic: t, partition: 0, nextOffset: 1 }],
        }),
        failsWith('offset_conflict'),
      )
      assert.equal(await expectRange(t, 1, { start: 0, end: 0 }), 0)
      const end = await expectRange(t, 0, { start: 0, end: 1 })
      assert.equal(await log.position('conflict', t, 0), undefined)
      const next = await log.append({ entries: [entry(t, 0, [['c', '3']], { expectedOffset: 1 })] })
      assert.deepEqual(next.baseOffsets, [end])
      // The next offset is one above the last record, or the end, whichever the writer knows.
      const { end: at } = await log.range(t, 0)
      await log.append({ entries: [entry(t, 0, [['d', '4']], { expectedOffset: at })] })
      await assert.rejects(
        log.append({ entries: [entry(t, 0, [['e', '5']], { expectedOffset: at + 9 })] }),
        failsWith('offset_conflict'),
      )
      await expectRecords(t, 0, ['0:a=1', '1:c=3', '2:d=4'])
    })

    test('of many writers with one expected offset one wins', async () => {
      const t = await topic()
      const results = await Promise.allSettled(
        Array.from({ length: 8 }, (_, i) =>
          log.append({ entries: [entry(t, 0, [['w', `${i}`]], { expectedOffset: 0 })] }),
        ),
      )
      assert.equal(results.filter((one) => one.status === 'fulfilled').length, 1)
      await expectRange(t, 0, { start: 0, end: 1 })
      assert.equal((await readAll(log, t, 0)).length, 1)
    })

    test('a refused request beside good ones hurts none of them', async () => {
      const t = await topic()
      const bad = entry(t, 0, [['bad', 'x']])
      bad.batch[bad.batch.length - 1]! ^= 1
      const requests: AppendRequest[] = [
        { entries: [entry(t, 0, [['a', '1']])] },
        { entries: [bad] },
        { entries: [entry('conformance.none', 0, [['b', '2']])] },
        { entries: [entry(t, 0, [['c', '3']])] },
      ]
      const results = await Promise.allSettled(requests.map((request) => log.append(request)))
      assert.deepEqual(
        results.map((one) => one.status),
        ['fulfilled', 'rejected', 'rejected', 'fulfilled'],
      )
      assert.deepEqual(await readAll(log, t, 0), ['0:a=1', '1:c=3'])
    })

    test('bytes that are not whole sealed batches are refused', async () => {
      const t = await topic()
      const good = textBatch([
        ['a', '1'],
        ['b', '2'],
      ])
      const refused: [string, Uint8Array, number][] = [
        ['empty', new Uint8Array(0), 0],
        ['cut', good.subarray(0, good.length - 1), 2],
        ['header only', good.subarray(0, RECORDS - 1), 2],
        ['trailing bytes', Buffer.concat([good, new Uint8Array(7)]), 2],
        ['another count', good, 3],
        ['zeros', new Uint8Array(100), 1],
      ]
      const flipped = good.slice()
      flipped[flipped.length - 3]! ^= 0x10
      refused.push(['flipped bit', flipped, 2])
      for (const [what, batch, recordCount] of refused)
        await assert.rejects(
          log.append({ entries: [{ topic: t, partition: 0, batch, recordCount }] }),
          failsWith('batch_invalid'),
          what,
        )
      assert.deepEqual(await log.range(t, 0), { start: 0, end: 0 })
    })

    test('unknown topics and partitions', async () => {
      const t = await topic()
      await assert.rejects(log.append({ entries: [entry(t, 9, [['a', '1']])] }), failsWith('topic_unknown'))
      await assert.rejects(log.read('conformance.none', 0, 0, 100), failsWith('topic_unknown'))
      await assert.rejects(log.range(t, 9), failsWith('topic_unknown'))
      await assert.rejects(log.position('s', 'conformance.none', 0), failsWith('topic_unknown'))
      await assert.rejects(
        log.append({
          entries: [entry(t, 0, [['a', '1']])],
          positions: [{ stage: 's', topic: 'conformance.none', partition: 0, nextOffset: 1 }],
        }),
        failsWith('topic_unknown'),
      )
      assert.equal((await log.range(t, 0)).end, 0)
    })

    test('a reference reads as the batch it names, under its own offset', async () => {
      const raw = await topic()
      const out = await topic()
      await log.append({ entries: [entry(raw, 0, [['x', '0']])] })
      const [baseOffset] = (
        await log.append({
          entries: [
            entry(raw, 0, [
              ['a', '1'],
              ['b', '2'],
            ]),
          ],
        })
      ).baseOffsets as [number]
      const result = await log.append({
        entries: [
          { topic: out, partition: 1, reference: { topic: raw, partition: 0, baseOffset }, recordCount: 2 },
          entry(out, 1, [['c', '3']]),
        ],
        positions: [{ stage: 'normalize', topic: raw, partition: 0, nextOffset: 3 }],
      })
      assert.deepEqual(result.baseOffsets, [0, 2])
      await expectRecords(out, 1, ['0:a=1', '1:b=2', '2:c=3'])
      assert.deepEqual(await readAll(log, raw, 0), ['0:x=0', '1:a=1', '2:b=2'])
      assert.equal(await log.position('normalize', raw, 0), 3)
      for (const missing of [1, 7]) {
        const reference = { topic: out, partition: 1, baseOffset: missing }
        await assert.rejects(
          log.append({ entries: [{ topic: raw, partition: 1, reference, recordCount: 1 }] }),
          failsWith('batch_invalid'),
        )
      }
      // A reference to a reference is the batch itself.
      await log.append({
        entries: [
          {
            topic: raw,
            partition: 1,
            reference: { topic: out, partition: 1, baseOffset: 0 },
            recordCount: 2,
          },
        ],
      })
      assert.deepEqual(await readAll(log, raw, 1), ['0:a=1', '1:b=2'])
    })

    test('reading from the middle of a batch begins with that batch', async () => {
      const t = await topic()
      await log.append({
        entries: [
          entry(t, 0, [
            ['a', '1'],
            ['b', '2'],
            ['c', '3'],
          ]),
        ],
      })
      await log.append({ entries: [entry(t, 0, [['d', '4']])] })
      const result = await log.read(t, 0, 1, 1)
      const reader = new RecordReader()
      reader.reset(result.batches)
      assert.ok(reader.next())
      assert.equal(reader.offset, 0)
      assert.equal(result.nextOffset, 3)
      assert.deepEqual(await readAll(log, t, 0, 2), ['2:c=3', '3:d=4'])
    })

    test('bytesMax bounds an answer, but one batch always comes', async () => {
      const t = await topic()
      for (let i = 0; i < 10; i++) await log.append({ entries: [entry(t, 0, [['k', `${i}`]])] })
      const one = await log.read(t, 0, 0, 1)
      assert.equal(one.nextOffset, 1)
      const three = await log.read(t, 0, 0, one.batches.length * 3)
      assert.equal(three.nextOffset, 3)
      assert.equal((await log.read(t, 0, 3, 1 << 20)).nextOffset, 10)
      assert.equal((await readAll(log, t, 0, 0, 100)).length, 10)
    })

    test('what a read returns is plain bytes, a slice of which is a copy', async () => {
      const t = await topic()
      await log.append({ entries: [entry(t, 0, [['k', 'first']])] })
      await log.append({ entries: [entry(t, 1, [['k', 'other']])] })
      const { batches } = await log.read(t, 0, 0, 1 << 20)
      assert.equal(Object.getPrototypeOf(batches), Uint8Array.prototype)
      const kept = batches.slice()
      await log.read(t, 1, 0, 1 << 20)
      assert.ok(Buffer.from(kept).includes('first'))
    })

    test('at the end an answer is empty, beyond it an error', async () => {
      const t = await topic()
      assert.deepEqual((await log.read(t, 0, 0, 100)).nextOffset, 0)
      await log.append({ entries: [entry(t, 0, [['a', '1']])] })
      const end = await log.read(t, 0, 1, 100)
      assert.equal(end.batches.length, 0)
      assert.equal(end.nextOffset, 1)
      await assert.rejects(log.read(t, 0, 2, 100), failsWith('offset_above_end'))
    })

    test('changes names each partition that grew, once, with its durable end', async () => {
      const t = await topic()
      const isWhole = ({ partitions }: Changes): boolean =>
        partitions.length >= 2 && partitions.every((one) => one.partition === 0 || one.end === 2)
      for (const p of [0, 1]) await log.range(t, p)
      const { sequence: from } = await log.changes(0, 0)
      await log.append({
        entries: [entry(t, 0, [['a', '1']]), entry(t, 1, [['b', '2']])],
        independent: true,
      })
      await log.append({ entries: [entry(t, 1, [['c', '3']])] })
      let first = await log.changes(from, 1000)
      // Partitions may be heard of one by one.
      for (let tries = 0; tries < 20 && !isWhole(first); tries++) {
        await log.changes(first.sequence, 100)
        first = await log.changes(from, 0)
      }
      const mine = first.partitions.filter((one) => one.topic === t)
      assert.deepEqual(
        mine.sort((a, b) => a.partition - b.partition),
        [
          { topic: t, partition: 0, end: 1 },
          { topic: t, partition: 1, end: 2 },
        ],
      )
      assert.deepEqual((await log.changes(first.sequence, 0)).partitions, [])
      const all = await log.changes(0, 0)
      assert.ok(all.partitions.some((one) => one.topic === t && one.partition === 1 && one.end === 2))
    })

    test('changes waits for the next append, and no longer than asked', async () => {
      const t = await topic()
      await log.range(t, 0)
      const { sequence } = await log.changes(0, 0)
      const started = performance.now()
      assert.deepEqual((await log.changes(sequence, 30)).partitions, [])
      assert.ok(performance.now() - started >= 25)
      const waiting = log.changes(sequence, 20_000)
      await log.append({ entries: [entry(t, 0, [['a', '1']])] })
      assert.deepEqual((await waiting).partitions, [{ topic: t, partition: 0, end: 1 }])
      assert.ok(performance.now() - started < 10_000)
    })

    test('positions: none, then the last one registered, with or without entries', async () => {
      const t = await topic()
      assert.equal(await log.position('sink', t, 0), undefined)
      await log.append({ entries: [entry(t, 0, [['a', '1']])] })
      await log.append({
        entries: [],
        positions: [{ stage: 'sink', topic: t, partition: 0, nextOffset: 1 }],
      })
      assert.equal(await log.position('sink', t, 0), 1)
      assert.equal(await log.position('sink', t, 1), undefined)
      assert.equal(await log.position('other', t, 0), undefined)
    })

    test('concurrent appends keep each writer’s order and lose nothing', async () => {
      const t = await topic({ partitions: 3 })
      const writers = Array.from({ length: 6 }, async (_, w) => {
        const pending: Promise<unknown>[] = []
        for (let i = 0; i < 40; i++) {
          pending.push(log.append({ entries: [entry(t, w % 3, [[`w${w}`, `${i}`]])] }))
          if (i % 10 === w) await pending.at(-1)
        }
        await Promise.all(pending)
      })
      await Promise.all(writers)
      for (let p = 0; p < 3; p++) {
        const records = await readAll(log, t, p)
        assert.equal(records.length, 80)
        assert.deepEqual(
          records.map((text) => Number(text.split(':')[0])),
          Array.from({ length: 80 }, (_, i) => i),
        )
        for (const w of [p, p + 3]) {
          const values = records.filter((text) => text.includes(`w${w}=`)).map((text) => text.split('=')[1])
          assert.deepEqual(
            values,
            Array.from({ length: 40 }, (_, i) => `${i}`),
          )
        }
      }
    })

    test('batches in shared memory, large ones, and slices of one buffer', async () => {
      const t = await topic()
      const shared = new Uint8Array(new SharedArrayBuffer(4096))
      const one = textBatch([['s', '1']])
      const two = textBatch([['s', '2']])
      shared.set(one, 100)
      shared.set(two, 1000)
      const slices = [shared.subarray(100, 100 + one.length), shared.subarray(1000, 1000 + two.length)]
      for (const batch of slices)
        await log.append({ entries: [{ topic: t, partition: 0, batch, recordCount: 1 }] })
      const large = 'x'.repeat(300_000)
      await log.append({ entries: [entry(t, 0, [['large', large]])] })
      assert.deepEqual(await readAll(log, t, 0), ['0:s=1', '1:s=2', `2:large=${large}`])
    })

    test('a partition above its backlog quota refuses until its slowest stage moves on', async (context) => {
      if (under.hasBacklog === false) return context.skip('no backlog quota')
      const t = await topic({ backlogBytesMax: 400 })
      const append = () => log.append({ entries: [entry(t, 0, [['k', 'v'.repeat(100)]])] })
      for (let i = 0; i < 5; i++) await append() // no stage, no backlog
      const registered = (stage: string, nextOffset: number) =>
        log.append({ entries: [], positions: [{ stage, topic: t, partition: 0, nextOffset }] })
      await registered('fast', 5)
      await registered('slow', 4)
      await append()
      await assert.rejects(append(), failsWith('backlog_full'))
      await log.append({ entries: [entry(t, 1, [['k', 'other partitions go on']])] })
      await registered('slow', 6)
      await append()
    })

    test('retention by age and bytes', async (context) => {
      if (under.maintain === undefined) return context.skip('no clock to move')
      const aged = await topic({ retentionAgeMs: 10_000 })
      const sized = await topic({ retentionBytes: 400 })
      const timestamp = under.now()
      for (let i = 0; i < 4; i++) {
        await log.append({ entries: [entry(aged, 0, [['k', `${i}`]], { timestamp })] })
        await log.append({ entries: [entry(sized, 0, [['k', 'v'.repeat(100)]], { timestamp })] })
      }
      await under.maintain(5000)
      assert.deepEqual(await log.range(aged, 0), { start: 0, end: 4 })
      assert.deepEqual(await log.range(sized, 0), { start: 2, end: 4 })
      assert.equal((await readAll(log, sized, 0)).length, 2)
      await log.append({ entries: [entry(aged, 0, [['k', 'young']], { timestamp: under.now() })] })
      await under.maintain(6000)
      assert.deepEqual(await log.range(aged, 0), { start: 4, end: 5 })
      assert.deepEqual(await readAll(log, aged, 0), ['4:k=young'])
      await assert.rejects(log.read(aged, 0, 3, 100), failsWith('offset_below_start'))
    })

    test('retention never passes the slowest stage', async (context) => {
      if (under.maintain === undefined) return context.skip('no clock to move')
      const t = await topic({ retentionAgeMs: 1000 })
      const timestamp = under.now()
      for (let i = 0; i < 4; i++)
        for (const p of [0, 1]) await log.append({ entries: [entry(t, p, [['k', `${i}`]], { timestamp })] })
      await log.append({
        entries: [],
        positions: [
          { stage: 'fast', topic: t, partition: 0, nextOffset: 4 },
          { stage: 'slow', topic: t, partition: 0, nextOffset: 2 },
        ],
      })
      await under.maintain(60_000)
      assert.deepEqual(await log.range(t, 0), { start: 2, end: 4 })
      // No stage has registered on partition 1 yet: all of it is still to be read.
      assert.deepEqual(await log.range(t, 1), { start: 0, end: 4 })
      await log.append({
        entries: [],
        positions: [{ stage: 'slow', topic: t, partition: 0, nextOffset: 4 }],
      })
      await under.maintain(0)
      assert.deepEqual(await log.range(t, 0), { start: 4, end: 4 })
      const next = await log.append({ entries: [entry(t, 0, [['k', 'on']])] })
      assert.deepEqual(next.baseOffsets, [4])
    })

    test('a reference outlives the batch it was made from', async (context) => {
      if (under.maintain === undefined) return context.skip('no clock to move')
      const raw = await topic({ retentionAgeMs: 1000 })
      const out = await topic()
      const timestamp = under.now()
      await log.append({ entries: [entry(raw, 0, [['a', '1']], { timestamp })] })
      const reference = { topic: raw, partition: 0, baseOffset: 0 }
      await log.append({ entries: [{ topic: out, partition: 0, reference, recordCount: 1 }] })
      await under.maintain(60_000)
      assert.deepEqual(await log.range(raw, 0), { start: 1, end: 1 })
      assert.deepEqual(await readAll(log, out, 0), ['0:a=1'])
      await assert.rejects(
        log.append({ entries: [{ topic: out, partition: 0, reference, recordCount: 1 }] }),
        failsWith('offset_below_start'),
      )
    })

    test('compaction keeps the latest record of each key under its offset', async (context) => {
      if (under.maintain === undefined) return context.skip('no clock to move')
      const t = await topic({ cleanup: 'compact' })
      const timestamp = under.now()
      for (let i = 0; i < 10; i++)
        await log.append({
          entries: [
            entry(
              t,
              0,
              [
                ['a', `${i}`],
                [`only${i}`, 'x'],
              ],
              { timestamp },
            ),
          ],
        })
      await log.append({ entries: [entry(t, 0, [['only3', null]], { timestamp })] })
      await log.append({ entries: [entry(t, 0, [['end', 'e']], { timestamp })] })
      await under.maintain(1000)
      assert.deepEqual(await readAll(log, t, 0, 0), [
        '1:only0=x',
        '3:only1=x',
        '5:only2=x',
        '9:only4=x',
        '11:only5=x',
        '13:only6=x',
        '15:only7=x',
        '17:only8=x',
        '18:a=9',
        '19:only9=x',
        '20:only3=null',
        '21:end=e',
      ])
      assert.equal((await log.range(t, 0)).end, 22)
      // A reader may stand anywhere in the gaps.
      assert.equal((await readAll(log, t, 0, 6, 1))[0], '9:only4=x')
    })

    test('a tombstone goes too, once it is old', async (context) => {
      if (under.maintain === undefined) return context.skip('no clock to move')
      const t = await topic({ cleanup: 'compact' })
      const timestamp = under.now()
      const write = (key: string, value: string | null, at = timestamp) =>
        log.append({ entries: [entry(t, 0, [[key, value]], { timestamp: at })] })
      for (let i = 0; i < 20; i++) await write('gone', `${i}`)
      await write('gone', null)
      await write('kept', 'k')
      await under.maintain(0)
      assert.deepEqual(await readAll(log, t, 0, 0), ['20:gone=null', '21:kept=k'])
      await under.maintain(under.tombstoneAgeMs + 1)
      for (let i = 0; i < 20; i++) await write('later', `${i}`, under.now())
      await under.maintain(0)
      assert.deepEqual(await readAll(log, t, 0, 0), ['21:kept=k', '41:later=19'])
    })

    test('nothing can be appended to a closed log', async () => {
      const other = await open()
      await other.log.createTopic('conformance.closed', TOPIC_DEFAULTS)
      await other.log.close()
      await assert.rejects(
        other.log.append({ entries: [entry('conformance.closed', 0, [['a', '1']])] }),
        failsWith('log_stopped'),
      )
      await other.close()
    })
  })
}
