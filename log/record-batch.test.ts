// RecordBatch v2 against two libraries that nobody here wrote: kafkajs (its decoder and encoder are internal
// modules) and @platformatic/kafka. kafkajs checks no CRC; ours and platformatic's writer agree on it.
import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { createRecordsBatch, Reader, readRecordsBatch, readRecordsBatches } from '@platformatic/kafka'
import fc from 'fast-check'
import { compactBatch } from './batch-compact.ts'
import {
  batchCrcMatches,
  CRC,
  patchBaseOffset,
  patchLeaderEpoch,
  RECORD_COUNT,
  RecordBatchBuilder,
  type RecordHeader,
  RecordReader,
  readBaseOffset,
  readBatchHeader,
} from './record-batch.ts'

const require = createRequire(import.meta.url)
const KafkajsDecoder = require('kafkajs/src/protocol/decoder')
const decodeByKafkajs = require('kafkajs/src/protocol/recordBatch/v0/decoder')
const { RecordBatch: encodeByKafkajs } = require('kafkajs/src/protocol/recordBatch/v0')
const kafkajsRecord = require('kafkajs/src/protocol/recordBatch/record/v0')
const Long = require('kafkajs/src/utils/long')

interface PlainRecord {
  offset: number
  timestamp: number
  key: string | null
  value: string | null
  headers: [string, string][]
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const unhex = (text: string | null): Uint8Array | undefined =>
  text === null ? undefined : new Uint8Array(Buffer.from(text, 'hex'))

const anyBytes = fc
  .oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 60, maxLength: 200 }))
  .map(hex)
const anyRecord = fc.record({
  // Around a base, in both directions, beyond 32 bits.
  timestamp: fc.oneof(
    fc.integer({ min: 1_700_000_000_000, max: 1_700_000_100_000 }),
    fc.integer({ min: 0, max: 2 ** 45 }),
  ),
  key: fc.option(anyBytes),
  value: fc.option(anyBytes),
  headers: fc.array(fc.tuple(fc.string({ maxLength: 5 }), anyBytes), { maxLength: 3 }),
})
type AnyRecord = typeof anyRecord extends fc.Arbitrary<infer T> ? T : never
const anyBatch = fc.array(anyRecord, { minLength: 1, maxLength: 20 })

function build(records: readonly AnyRecord[], baseOffset = 0): Uint8Array {
  const builder = new RecordBatchBuilder(64)
  for (const { timestamp, key, value, headers } of records) {
    const built: RecordHeader[] = headers.map(([name, text]) => ({ key: name, value: unhex(text)! }))
    builder.append(timestamp, unhex(key), unhex(value), built)
  }
  const batch = builder.finish()
  patchBaseOffset(batch, 0, baseOffset)
  return batch
}

function expected(records: readonly AnyRecord[], baseOffset = 0): PlainRecord[] {
  return records.map((record, i) => ({ offset: baseOffset + i, ...record }))
}

function readByUs(bytes: Uint8Array): PlainRecord[] {
  const reader = new RecordReader()
  reader.reset(bytes)
  const found: PlainRecord[] = []
  while (reader.next())
    found.push({
      offset: reader.offset,
      timestamp: reader.timestamp,
      key: reader.keyStart < 0 ? null : hex(bytes.subarray(reader.keyStart, reader.keyEnd)),
      value: reader.valueStart < 0 ? null : hex(bytes.subarray(reader.valueStart, reader.valueEnd)),
      headers: reader.headers().map(({ key, value }) => [key, hex(value)]),
    })
  return found
}

test('what the builder writes the reader reads, alone and back to back', () => {
  fc.assert(
    fc.property(anyBatch, anyBatch, fc.nat(2 ** 31), (one, two, offset) => {
      const baseOffset = offset * 4096
      const first = build(one, baseOffset)
      const second = build(two, baseOffset + one.length)
      assert.ok(batchCrcMatches(first, 0, first.length))
      assert.equal(readBaseOffset(first, 0), baseOffset)
      const header = readBatchHeader(first)!
      assert.equal(header.recordCount, one.length)
      assert.equal(header.byteLength, first.length)
      assert.equal(header.baseTimestamp, one[0]!.timestamp)
      assert.equal(header.maxTimestamp, Math.max(...one.map((record) => record.timestamp)))
      assert.deepEqual(readByUs(Buffer.concat([first, second])), [
        ...expected(one, baseOffset),
        ...expected(two, baseOffset + one.length),
      ])
    }),
  )
})

test('kafkajs reads our batches', async () => {
  await fc.assert(
    fc.asyncProperty(anyBatch, fc.nat(1_000_000), async (records, baseOffset) => {
      // Its headers are an object: equal names would become an array, empty and odd names are its affair.
      const plain = records.map((record) => ({ ...record, headers: [] }))
      const batch = build(plain, baseOffset)
      const decoded = await decodeByKafkajs(new KafkajsDecoder(Buffer.from(batch)))
      assert.equal(decoded.lastOffsetDelta, plain.length - 1)
      assert.deepEqual(
        decoded.records.map((record: Record<string, Buffer | null | string>) => ({
          offset: Number(record['offset']),
          timestamp: Number(record['timestamp']),
          key: record['key'] === null ? null : hex(record['key'] as Buffer),
          value: record['value'] === null ? null : hex(record['value'] as Buffer),
          headers: [],
        })),
        expected(plain, baseOffset),
      )
    }),
  )
})

test('@platformatic/kafka reads our batches, headers too', () => {
  fc.assert(
    fc.property(anyBatch, anyBatch, (one, two) => {
      const bytes = Buffer.concat([build(one, 7), build(two, 7 + one.length)])
      const read = readRecordsBatches(Reader.from(bytes)).flatMap((batch) =>
        batch.records.map((record) => ({
          offset: Number(batch.firstOffset) + record.offsetDelta,
          timestamp: Number(batch.firstTimestamp + record.timestampDelta),
          key: record.key === null ? null : hex(record.key),
          value: record.value === null ? null : hex(record.value),
          headers: record.headers.map(([name, value]) => [name!.toString(), hex(value!)]),
        })),
      )
      assert.deepEqual(read, [...expected(one, 7), ...expected(two, 7 + one.length)])
    }),
  )
})

test('we read the batches of @platformatic/kafka, and its CRC is ours', () => {
  // Its writer (2.12.1) writes timestamp deltas beyond 32 bits wrong; its reader reads them right.
  const near = anyBatch.map((records) =>
    records.map((record) => ({ ...record, timestamp: 1_700_000_000_000 + (record.timestamp % 2 ** 31) })),
  )
  fc.assert(
    fc.property(near, (records) => {
      const messages = records.map(({ timestamp, key, value, headers }) => ({
        topic: 't',
        timestamp: BigInt(timestamp),
        value: Buffer.from(unhex(value ?? '')!),
        headers: new Map(headers.map(([name, text]) => [Buffer.from(name), Buffer.from(unhex(text)!)])),
        ...(key === null ? {} : { key: Buffer.from(unhex(key)!) }),
      }))
      const bytes = new Uint8Array(createRecordsBatch(messages).buffer)
      const found = readByUs(bytes)
      assert.ok(batchCrcMatches(bytes, 0, bytes.length))
      assert.deepEqual(found, expected(records.map((record) => ({ ...record, value: record.value ?? '' }))))
      assert.equal(readRecordsBatch(Reader.from(Buffer.from(bytes))).records.length, found.length)
    }),
  )
})

test('we read the batches of kafkajs', async () => {
  const base = 1_700_000_000_000
  const records = [
    {
      offsetDelta: 0,
      timestampDelta: 0,
      key: Buffer.from('a'),
      value: Buffer.from('1'),
      headers: { h: Buffer.from('x') },
    },
    { offsetDelta: 1, timestampDelta: 5_000_000_000, key: null, value: Buffer.from('2'.repeat(300)) },
    { offsetDelta: 2, timestampDelta: 3, key: Buffer.from('c'), value: null },
  ].map((record) => kafkajsRecord({ ...record, timestampDelta: Long.fromValue(record.timestampDelta) }))
  const encoder = await encodeByKafkajs({
    firstTimestamp: base,
    maxTimestamp: base + 5_000_000_000,
    lastOffsetDelta: 2,
    records,
  })
  const bytes = new Uint8Array(encoder.buffer)
  assert.ok(batchCrcMatches(bytes, 0, bytes.length))
  assert.deepEqual(readByUs(bytes), [
    {
      offset: 0,
      timestamp: base,
      key: hex(Buffer.from('a')),
      value: hex(Buffer.from('1')),
      headers: [['h', hex(Buffer.from('x'))]],
    },
    {
      offset: 1,
      timestamp: base + 5_000_000_000,
      key: null,
      value: hex(Buffer.from('2'.repeat(300))),
      headers: [],
    },
    { offset: 2, timestamp: base + 3, key: hex(Buffer.from('c')), value: null, headers: [] },
  ])
})

test('offset and leader epoch are outside the CRC, everything else is inside', () => {
  const batch = build([{ timestamp: 5, key: 'aa', value: 'bb', headers: [] }])
  patchBaseOffset(batch, 0, 2 ** 52 + 1)
  patchLeaderEpoch(batch, 0, 77)
  assert.equal(readBaseOffset(batch, 0), 2 ** 52 + 1)
  assert.ok(batchCrcMatches(batch, 0, batch.length))
  for (let at = CRC; at < batch.length; at++) {
    batch[at]! ^= 4
    assert.equal(batchCrcMatches(batch, 0, batch.length), false, `byte ${at}`)
    batch[at]! ^= 4
  }
})

test('bytes that are no batch have no header', () => {
  const batch = build([{ timestamp: 5, key: 'aa', value: 'bb', headers: [] }])
  assert.equal(readBatchHeader(batch.subarray(0, batch.length - 1)), undefined)
  assert.equal(readBatchHeader(batch.subarray(0, 60)), undefined)
  assert.equal(readBatchHeader(new Uint8Array(100)), undefined)
  const count = batch.slice()
  new DataView(count.buffer).setInt32(RECORD_COUNT, 5)
  assert.equal(readBatchHeader(count), undefined, 'more records than offsets')
})

test('any bytes as a batch end in records or a RangeError', () => {
  fc.assert(
    fc.property(anyBatch, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 }), (records, flips) => {
      const bytes = build(records)
      for (const [at, value] of flips) bytes[61 + (at % (bytes.length - 61))] = value
      try {
        readByUs(bytes)
      } catch (error) {
        assert.ok(error instanceof RangeError, String(error))
      }
    }),
    { numRuns: 500 },
  )
})

test('a compacted batch keeps offsets and timestamps of what stays', async () => {
  await fc.assert(
    fc.asyncProperty(anyBatch, fc.infiniteStream(fc.boolean()), async (records, coin) => {
      const kept = records.map(() => coin.next().value as boolean)
      const batch = build(records, 100)
      const compacted = compactBatch(batch, new RecordReader(), (reader) => kept[reader.offset - 100]!)
      const left = expected(records, 100).filter((_, i) => kept[i])
      if (left.length === 0) return assert.equal(compacted, undefined)
      if (left.length === records.length) return assert.equal(compacted, batch)
      assert.ok(batchCrcMatches(compacted!, 0, compacted!.length))
      assert.deepEqual(readByUs(compacted!), left)
      const decoded = readRecordsBatch(Reader.from(Buffer.from(compacted!)))
      assert.equal(decoded.records.length, left.length)
      assert.equal(decoded.lastOffsetDelta, records.length - 1)
    }),
  )
})
