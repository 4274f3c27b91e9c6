import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { BinaryDictionary } from './parquet/dictionary-binary.ts'
import { ranksOf } from './ranks.ts'
import { sortRows } from './sort.ts'

const DAY = 86_400_000_000

test('rows come by partition, device and time, equal ones in the order of the log', () => {
  const row = fc.record({
    rank: fc.integer({ min: 0, max: 3 }),
    time: fc.oneof(
      fc.constant(-Infinity),
      fc.integer({ min: -3 * DAY, max: 3 * DAY }),
      fc.integer({ min: 0, max: 4 }),
    ),
  })
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), fc.boolean(), (rows, bucketed) => {
      const buckets = bucketed ? Int32Array.of(1, 0, 1, 2) : undefined
      // Devices are numbered as they came, which is not the order of their ids.
      const rankOf = Int32Array.of(2, 0, 3, 1)
      const result = sortRows({
        deviceOf: Int32Array.from(rows, (one) => rankOf.indexOf(one.rank)),
        rankOf,
        times: Float64Array.from(rows, (one) => one.time),
        buckets: buckets === undefined ? undefined : rankOf.map((rank) => buckets[rank]!),
      })
      const day = (i: number) => Math.floor(rows[i]!.time / DAY)
      const bucket = (i: number) => buckets?.[rows[i]!.rank] ?? 0
      const expected = rows.map((_, i) => i)
      expected.sort(
        (a, b) =>
          (day(a) === day(b) ? 0 : day(a) - day(b)) ||
          bucket(a) - bucket(b) ||
          rows[a]!.rank - rows[b]!.rank ||
          (rows[a]!.time === rows[b]!.time ? 0 : rows[a]!.time - rows[b]!.time) ||
          a - b,
      )
      assert.deepEqual(
        result.flatMap((one) => [...one.indices]),
        expected,
      )
      for (const one of result)
        for (const i of one.indices) {
          assert.equal(day(i), one.day ?? -Infinity)
          assert.equal(bucket(i), one.bucket ?? 0)
        }
      const keys = result.map((one) => `${one.day}/${one.bucket}`)
      assert.equal(new Set(keys).size, keys.length, 'each partition once')
    }),
  )
})

test('a dictionary numbers distinct byte strings and ranks them by their bytes', () => {
  const utf8 = new TextEncoder()
  const words = fc.array(fc.string({ maxLength: 6 }), { maxLength: 40 })
  fc.assert(
    fc.property(words, (list) => {
      const dictionary = new BinaryDictionary()
      const seen: string[] = []
      for (const word of list) {
        const bytes = utf8.encode(`..${word}`)
        if (!seen.includes(word)) seen.push(word)
        assert.equal(dictionary.intern(bytes, 2, bytes.length), seen.indexOf(word))
      }
      const sorted = [...seen].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      assert.deepEqual(
        [...ranksOf(dictionary)],
        seen.map((word) => sorted.indexOf(word)),
      )
    }),
  )
})

test('a dictionary grows', () => {
  const dictionary = new BinaryDictionary()
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < 20_000; i++) {
      const bytes = Buffer.from(`device-${i}`)
      assert.equal(dictionary.intern(bytes, 0, bytes.length), i)
    }
  const last = dictionary.offsets.subarray(19_999, 20_001)
  assert.equal(Buffer.from(dictionary.data.subarray(last[0], last[1])).toString(), 'device-19999')
})
