import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { packerOf, packerSource } from './bit-pack.ts'
import { appendByteStreamSplit } from './byte-stream-split.ts'
import { appendDeltaInt32, appendDeltaInt64 } from './delta.ts'
import { appendHybrid } from './hybrid.ts'
import { PageBuffer } from './page-buffer.ts'

/** Values of `width` bits from a stream of bits, least significant first. */
function unpack(bytes: Uint8Array, width: number, count: number): bigint[] {
  let bits = 0n
  for (let i = bytes.length - 1; i >= 0; i--) bits = (bits << 8n) | BigInt(bytes[i]!)
  const mask = (1n << BigInt(width)) - 1n
  return Array.from({ length: count }, (_, k) => (bits >> BigInt(k * width)) & mask)
}

/** A reader of varints that follows the specification with BigInt. */
class Cursor {
  at = 0
  readonly bytes: Uint8Array
  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }
  varint(): bigint {
    let value = 0n
    for (let shift = 0n; ; shift += 7n) {
      const byte = BigInt(this.bytes[this.at++]!)
      value |= (byte & 0x7fn) << shift
      if (byte < 0x80n) return value
    }
  }
  zigzag(): bigint {
    const value = this.varint()
    return (value >> 1n) ^ -(value & 1n)
  }
  take(count: number): Uint8Array {
    this.at += count
    assert.ok(this.at <= this.bytes.length, 'within the page')
    return this.bytes.subarray(this.at - count, this.at)
  }
}

test('every width packs 32 values into as many words as bits', () => {
  for (let width = 1; width <= 32; width++) {
    const max = 2 ** width - 1
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max }), { minLength: 64, maxLength: 64 }), (list) => {
        const into = new Int32Array(width * 2 + 1)
        packerOf(width)(
          Int32Array.from(list, (value) => value | 0),
          0,
          2,
          into,
          1,
        )
        assert.deepEqual(unpack(new Uint8Array(into.buffer, 4), width, 64), list.map(BigInt))
      }),
      { numRuns: 20 },
    )
  }
})

test('the source of a packer is straight-line code', () => {
  assert.equal(
    packerSource(16),
    `return function pack16(values, from, blocks, into, at) {
  let v = from, w = at
  for (let block = 0; block < blocks; block++, v += 32, w += 16) {
${Array.from({ length: 16 }, (_, i) => `    into[w + ${i}] = values[v + ${2 * i}] | values[v + ${2 * i + 1}] << 16`).join('\n')}
  }
}
`,
  )
})

function decodeHybrid(bytes: Uint8Array, width: number, count: number): number[] {
  const cursor = new Cursor(bytes)
  const values: number[] = []
  while (values.length < count) {
    const head = Number(cursor.varint())
    assert.ok(head >> 1 > 0, 'no empty run')
    if ((head & 1) === 0) {
      let value = 0
      cursor.take(Math.ceil(width / 8)).forEach((byte, i) => {
        value += byte * 2 ** (8 * i)
      })
      for (let i = 0; i < head >> 1; i++) values.push(value)
    } else {
      const groups = head >> 1
      values.push(...unpack(cursor.take(groups * width), width, groups * 8).map(Number))
      assert.ok(values.length - count < 8, 'only the last group is padded')
    }
  }
  assert.equal(cursor.at, bytes.length)
  assert.ok(values.slice(count).every((value) => value === 0))
  return values.slice(0, count)
}

test('hybrid runs decode to what went in, runs and literals in any mixture', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: 20 }),
      fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 90 })), { maxLength: 30 }),
      fc.array(fc.nat(), { maxLength: 40 }),
      (width, runs, tail) => {
        const mask = 2 ** width - 1
        const values = Int32Array.from([
          ...runs.flatMap(([value, length]) => new Array<number>(length).fill(value & mask)),
          ...tail.map((value) => value & mask),
        ])
        const page = new PageBuffer()
        const from = Math.min(3, values.length)
        appendHybrid(page, values, from, values.length, width)
        assert.deepEqual(decodeHybrid(page.view(), width, values.length - from), [...values.subarray(from)])
      },
    ),
    { numRuns: 500 },
  )
})

test('a long run costs a few bytes, and random indices cost their bits', () => {
  const page = new PageBuffer()
  appendHybrid(page, new Int32Array(100_000).fill(5), 0, 100_000, 3)
  assert.equal(page.length, 4)
  page.length = 0
  appendHybrid(
    page,
    Int32Array.from({ length: 80_000 }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 15),
    0,
    80_000,
    17,
  )
  assert.ok(page.length < (80_000 * 17) / 8 + 10)
})

function decodeDelta(bytes: Uint8Array, bits: 32 | 64): bigint[] {
  const cursor = new Cursor(bytes)
  const block = Number(cursor.varint())
  const miniblocks = Number(cursor.varint())
  const count = Number(cursor.varint())
  const size = block / miniblocks
  const values: bigint[] = [cursor.zigzag()]
  while (values.length < count) {
    const min = cursor.zigzag()
    for (const width of [...cursor.take(miniblocks)]) {
      if (values.length >= count) {
        assert.equal(width, 0)
        continue
      }
      for (const delta of unpack(cursor.take((size * width) / 8), width, size))
        if (values.length < count) values.push(BigInt.asIntN(bits, values.at(-1)! + min + delta))
    }
  }
  assert.equal(cursor.at, bytes.length)
  return values.slice(0, count)
}

const int64 = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -1000n, max: 1000n }),
  fc.bigInt({ min: 2n ** 32n - 5n, max: 2n ** 32n + 5n }),
)

test('deltas of int64 wrap around and decode to what went in', () => {
  fc.assert(
    fc.property(fc.array(int64, { minLength: 1, maxLength: 400 }), (list) => {
      const page = new PageBuffer()
      appendDeltaInt64(page, new Int32Array(BigInt64Array.from(list).buffer), 0, list.length)
      assert.deepEqual(decodeDelta(page.view(), 64), list)
    }),
    { numRuns: 300 },
  )
})

test('deltas of int32 wrap around and decode to what went in', () => {
  const value = fc.oneof(
    fc.integer(),
    fc.integer({ min: -9, max: 9 }),
    fc.constantFrom(0x7fffffff, -0x80000000),
  )
  fc.assert(
    fc.property(fc.array(value, { minLength: 1, maxLength: 400 }), (list) => {
      const page = new PageBuffer()
      appendDeltaInt32(page, Int32Array.from(list), 0, list.length)
      assert.deepEqual(decodeDelta(page.view(), 32).map(Number), list)
    }),
    { numRuns: 300 },
  )
})

test('byte streams hold byte k of every value one after the other', () => {
  const doubles = Float64Array.of(1.5, -2.25, Number.MAX_VALUE)
  const page = new PageBuffer()
  appendByteStreamSplit(page, new Int32Array(doubles.buffer), 8, 0, 3)
  const bytes = new Uint8Array(doubles.buffer)
  assert.deepEqual(
    [...page.view()],
    Array.from({ length: 24 }, (_, i) => bytes[(i % 3) * 8 + Math.floor(i / 3)]),
  )
})
