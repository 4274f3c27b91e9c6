import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { patchBaseOffset, RecordBatchBuilder, RecordReader } from './record-batch.ts'
import { RecordStretch, STRETCH_RECORDS } from './record-stretch.ts'

/** What a reader, or a stretch, says of each record. */
interface Seen {
  offset: number
  timestamp: number
  key: [number, number]
  value: [number, number]
  headers: [string, string][]
}

const textOf = (headers: { key: string; value: Uint8Array }[]): [string, string][] =>
  headers.map(({ key, value }) => [key, Buffer.from(value).toString('hex')])

function byReader(bytes: Uint8Array): Seen[] {
  const reader = new RecordReader()
  reader.reset(bytes)
  const seen: Seen[] = []
  while (reader.next())
    seen.push({
      offset: reader.offset,
      timestamp: reader.timestamp,
      key: [reader.keyStart, reader.keyEnd],
      value: [reader.valueStart, reader.valueEnd],
      headers: textOf(reader.headers()),
    })
  return seen
}

function byStretch(bytes: Uint8Array): Seen[] {
  const stretch = new RecordStretch()
  stretch.reset(bytes)
  const seen: Seen[] = []
  while (stretch.next()) {
    let hasHeaders = false
    for (let i = 0; i < stretch.count; i++) {
      seen.push({
        offset: stretch.offsets[i]!,
        timestamp: stretch.timestamps[i]!,
        key: [stretch.keyStarts[i]!, stretch.keyEnds[i]!],
        value: [stretch.valueStarts[i]!, stretch.valueEnds[i]!],
        headers: textOf(stretch.headers(i)),
      })
      hasHeaders ||= stretch.headerCounts[i]! > 0
    }
    assert.equal(stretch.hasHeaders, hasHeaders)
  }
  return seen
}

const bytesOf = (lengthMax: number) =>
  fc.option(fc.nat(lengthMax), { nil: undefined }).map((length) => length && new Uint8Array(length))

test('the records of a stretch are those of a reader', () => {
  const record = fc.record({
    delta: fc.oneof(fc.integer({ min: -100, max: 20_000 }), fc.integer({ min: -(2 ** 45), max: 2 ** 45 })),
    key: bytesOf(300),
    value: bytesOf(20_000),
    headers: fc.array(fc.record({ key: fc.string(), value: fc.uint8Array({ maxLength: 9 }) }), {
      maxLength: 2,
    }),
    repeated: fc.oneof({ weight: 9, arbitrary: fc.constant(1) }, { arbitrary: fc.constant(200), weight: 1 }),
  })
  const batches = fc.array(
    fc.record({ base: fc.nat(2 ** 52), records: fc.array(record, { minLength: 1, maxLength: 8 }) }),
    { maxLength: 6 },
  )
  fc.assert(
    fc.property(batches, (input) => {
      const parts = input.map(({ base, records }) => {
        const builder = new RecordBatchBuilder()
        for (const { delta, key, value, headers, repeated } of records)
          for (let i = 0; i < repeated; i++)
            builder.append(1_760_000_000_000 + delta, key || undefined, value || undefined, headers)
        const batch = builder.finish()
        patchBaseOffset(batch, 0, base)
        return batch
      })
      const bytes = new Uint8Array(Buffer.concat(parts))
      assert.deepEqual(byStretch(bytes), byReader(bytes))
    }),
    { numRuns: 60 },
  )
})

test('a batch may be longer than a stretch, and a stretch than a batch', () => {
  for (const counts of [[STRETCH_RECORDS * 2 + 7], [STRETCH_RECORDS], [1, 1, STRETCH_RECORDS + 1, 3]]) {
    const parts = counts.map((count) => {
      const builder = new RecordBatchBuilder()
      for (let i = 0; i < count; i++) builder.append(i, Uint8Array.of(i & 0xff), new Uint8Array(i % 90))
      return builder.finish()
    })
    const bytes = new Uint8Array(Buffer.concat(parts))
    const seen = byStretch(bytes)
    assert.equal(
      seen.length,
      counts.reduce((sum, count) => sum + count),
    )
    assert.deepEqual(seen, byReader(bytes))
  }
})

test('a record that overruns its batch is refused', () => {
  const builder = new RecordBatchBuilder()
  builder.append(0, Uint8Array.of(1), new Uint8Array(20))
  const batch = builder.finish()
  // The length of the record, the first byte after the header.
  batch[61] = 126
  const stretch = new RecordStretch()
  stretch.reset(batch)
  assert.throws(() => stretch.next(), RangeError)
})
