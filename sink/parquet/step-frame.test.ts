import assert from 'node:assert/strict'
import { test } from 'node:test'
import zlib from 'node:zlib'
import fc from 'fast-check'
import { stepFrame } from './step-frame.ts'

const entries = (first: number, count: number, decimals: number): Float64Array<ArrayBuffer> =>
  Float64Array.from({ length: count }, (_, i) => (first + i) / 10 ** decimals)

const frameOf = (doubles: Float64Array<ArrayBuffer>, step: number): Uint8Array =>
  stepFrame(new Int32Array(doubles.buffer), doubles.length, step)

test('the frame of rounded readings is unpacked by zstd to their bytes', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 6 }),
      fc.oneof(
        fc.integer({ min: -1 << 30, max: (1 << 30) - 1 }),
        // Across zero and powers of two.
        fc.integer({ min: -20_000, max: 70_000 }),
      ),
      fc.oneof(fc.integer({ min: 1, max: 700 }), fc.integer({ min: 1, max: 60_000 })),
      fc.boolean(),
      (decimals, first, count, isMinusZeroLast) => {
        const doubles = entries(first, count, decimals)
        if (isMinusZeroLast) doubles[count - 1] = -0
        const frame = frameOf(doubles, 5 ** decimals)
        assert.deepEqual(zlib.zstdDecompressSync(frame), Buffer.from(doubles.buffer))
      },
    ),
    { numRuns: 200 },
  )
})

test('whatever the entries are, they come back', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double(), { minLength: 1, maxLength: 3000, size: 'max' }),
      fc.integer({ min: 1, max: 700 }),
      (values, step) => {
        const doubles = Float64Array.from(values)
        assert.deepEqual(zlib.zstdDecompressSync(frameOf(doubles, step)), Buffer.from(doubles.buffer))
      },
    ),
    { numRuns: 100 },
  )
})

test('entries that are all alike come back', () => {
  const doubles = new Float64Array(1000).fill(Math.PI)
  assert.deepEqual(zlib.zstdDecompressSync(frameOf(doubles, 5)), Buffer.from(doubles.buffer))
})

test('a hundred thousand readings of three decimals take a fifth of their bytes', () => {
  const doubles = entries(-39_017, 117_831, 3)
  const { length } = frameOf(doubles, 125)
  assert.ok(length < doubles.byteLength / 5, `${length} bytes`)
})
