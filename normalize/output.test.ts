import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  batchCrcMatches,
  RecordBatchBuilder,
  type RecordHeader,
  RecordReader,
  readBatchHeader,
} from '../log/record-batch.ts'
import { BATCH_BYTES_MAX, carriesMarks, Marks, OutputBatches } from './output.ts'

interface Plain {
  timestamp: number
  key: string | undefined
  value: string | undefined
  headers: [string, string][]
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString()

function build(records: readonly Plain[]): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const { timestamp, key, value, headers } of records)
    builder.append(
      timestamp,
      key === undefined ? undefined : Buffer.from(key),
      value === undefined ? undefined : Buffer.from(value),
      headers.map(([name, content]): RecordHeader => ({ key: name, value: Buffer.from(content) })),
    )
  return builder.finish()
}

function parse(bytes: Uint8Array): Plain[] {
  const reader = new RecordReader()
  reader.reset(bytes)
  const records: Plain[] = []
  while (reader.next())
    records.push({
      timestamp: reader.timestamp,
      key: reader.keyStart < 0 ? undefined : text(bytes.subarray(reader.keyStart, reader.keyEnd)),
      value: reader.valueStart < 0 ? undefined : text(bytes.subarray(reader.valueStart, reader.valueEnd)),
      headers: reader.headers().map(({ key, value }) => [key, text(value)]),
    })
  return records
}

const record = fc.record(
  {
    timestamp: fc.integer({ min: 1_700_000_000_000, max: 1_800_000_000_000 }),
    key: fc.option(fc.stringMatching(/^[a-z]{1,12}$/), { nil: undefined }),
    value: fc.option(fc.string({ maxLength: 300 }), { nil: undefined }),
    headers: fc.array(fc.tuple(fc.stringMatching(/^[a-z.]{1,20}$/), fc.string({ maxLength: 20 })), {
      maxLength: 3,
    }),
  },
  { noNullPrototype: true },
)

test('copied records equal their source but for what was left out', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(record, { minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 5 }),
      fc.func(fc.boolean()),
      (batches, keeps) => {
        const output = new OutputBatches()
        output.clear()
        const expected: Plain[] = []
        const reader = new RecordReader()
        for (const records of batches) {
          reader.reset(build(records))
          for (let i = 0; reader.next(); i++) {
            if (!keeps(records[i])) continue
            output.copy(reader)
            expected.push(records[i]!)
          }
        }
        const segments = output.take()
        const written = segments.flatMap((segment) => {
          assert.equal(segment.kind, 'written')
          if (segment.kind !== 'written') return []
          const bytes = output.bytes.slice(segment.start, segment.end)
          assert.ok(batchCrcMatches(bytes, 0, bytes.length))
          const header = readBatchHeader(bytes)!
          const parsed = parse(bytes)
          assert.equal(header.recordCount, segment.recordCount)
          assert.equal(header.maxTimestamp, Math.max(...parsed.map((one) => one.timestamp)))
          return parsed
        })
        assert.deepEqual(written, expected)
      },
    ),
  )
})

test('marks follow the record’s own headers, and a forged mark does not survive', () => {
  const source: Plain = {
    timestamp: 1_750_000_000_000,
    key: 'device',
    value: 'old',
    headers: [
      ['trace', 'abc'],
      ['millrace.quality', 'forged'],
      ['z', ''],
    ],
  }
  const reader = new RecordReader()
  reader.reset(build([source]))
  assert.ok(reader.next())
  assert.ok(carriesMarks(reader))
  const output = new OutputBatches()
  output.clear()
  const marks = new Marks()
  const value = Buffer.from('the new value')
  for (const forged of [false, true]) {
    marks.clear()
    if (forged) marks.replaceHeaders(reader)
    marks.late(600_001)
    marks.quality(Buffer.from('temperature,humidity'))
    marks.source(3, 9_007_199_254_740_990, 0)
    output.write(reader, new DataView(value.buffer, value.byteOffset, value.length), 4, 7, marks)
  }
  const [segment] = output.take()
  assert.ok(segment?.kind === 'written')
  const added: [string, string][] = [
    ['millrace.late_ms', '600001'],
    ['millrace.quality', 'temperature,humidity'],
    ['millrace.source', '3/9007199254740990/0'],
  ]
  const [plain, cleaned] = parse(output.bytes.slice(segment.start, segment.end))
  assert.deepEqual(plain, { ...source, value: 'new', headers: [...source.headers, ...added] })
  assert.deepEqual(cleaned, { ...source, value: 'new', headers: [['trace', 'abc'], ['z', ''], ...added] })
})

test('passed batches stand between written ones in the order they came; big output becomes several batches', () => {
  const output = new OutputBatches()
  output.clear()
  const reader = new RecordReader()
  const big: Plain = { timestamp: 1, key: 'k', value: 'x'.repeat(200_000), headers: [] }
  const bytes = build([big])
  const copyOnce = (): void => {
    reader.reset(bytes)
    assert.ok(reader.next())
    output.copy(reader)
  }
  copyOnce()
  output.passReference(77, 5)
  output.passCopy(bytes, 0, bytes.length, 1)
  for (let i = 0; i < 7; i++) copyOnce()
  const segments = output.take()
  assert.deepEqual(
    segments.map((segment) => [segment.kind, segment.recordCount]),
    [
      ['written', 1],
      ['passed', 5],
      ['written', 1],
      ['written', 3],
      ['written', 3],
      ['written', 1],
    ],
  )
  for (const segment of segments) {
    if (segment.kind === 'passed') assert.equal(segment.baseOffset, 77)
    else assert.ok(segment.end - segment.start < BATCH_BYTES_MAX + 200_100)
  }
  assert.deepEqual(output.take(), [])
})
