import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compressionsAlgorithms } from '@platformatic/kafka'
import fc from 'fast-check'
import { compressFrameSync } from 'lz4-napi'
import { compressSync } from 'snappy'
import { compressLz4, decompressLz4, decompressSnappy, TooLarge } from './compression.ts'

const BYTES_MAX = 1 << 20

/** Bytes of which some repeat. Not none: the other library fails at that once its memory has grown. */
const contents = fc
  .tuple(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.integer({ min: 1, max: 800 }))
  .map(([bytes, times]) => Buffer.concat(Array<Uint8Array>(times).fill(bytes)))

/** As snappy-java's stream has it, blocks of 32 KiB. */
function snappyJava(bytes: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1])]
  for (let at = 0; at < bytes.length; at += 32_768) {
    const block = compressSync(Uint8Array.from(bytes.subarray(at, at + 32_768)))
    const size = Buffer.alloc(4)
    size.writeInt32BE(block.length)
    parts.push(size, block)
  }
  return Buffer.concat(parts)
}

const codecs = [
  ['LZ4', (bytes: Buffer) => compressLz4(bytes), decompressLz4],
  [
    'LZ4 with checksums',
    (bytes: Buffer) => compressFrameSync(bytes, { contentChecksum: true, blockChecksums: true }),
    decompressLz4,
  ],
  ['LZ4 of another library', (b: Buffer) => compressionsAlgorithms.lz4.compressSync(b), decompressLz4],
  ['Snappy', (bytes: Buffer) => compressSync(Uint8Array.from(bytes)), decompressSnappy],
  ['Snappy as Java has it', snappyJava, decompressSnappy],
] as const

test('nothing is packed and comes out', () => {
  for (const [name, compress, decompress] of codecs)
    if (name !== 'LZ4 of another library')
      assert.equal(decompress(compress(Buffer.alloc(0)), BYTES_MAX).length, 0, name)
})

for (const [name, compress, decompress] of codecs) {
  test(`${name}: what was packed comes out`, () => {
    fc.assert(
      fc.property(contents, (bytes) => {
        assert.ok(Buffer.from(decompress(compress(bytes), BYTES_MAX)).equals(bytes))
      }),
      { numRuns: 40 },
    )
  })

  test(`${name}: more than is allowed is not unpacked`, () => {
    const packed = compress(Buffer.alloc(8 << 20))
    assert.throws(() => decompress(packed, BYTES_MAX), TooLarge)
  })

  test(`${name}: damaged bytes are an error or other bytes, within the bound, and harm nothing`, () => {
    const bytes = Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * i) % 37))
    const packed = compress(bytes)
    const damage = fc.array(fc.tuple(fc.nat(packed.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(damage, fc.nat(packed.length), (changes, end) => {
        const damaged = Buffer.from(packed.subarray(0, end))
        for (const [at, value] of changes) if (at < end) damaged[at] = value
        try {
          assert.ok(decompress(damaged, BYTES_MAX).length <= BYTES_MAX)
        } catch (error) {
          assert.ok(error instanceof Error && !(error instanceof assert.AssertionError))
        }
      }),
      { numRuns: 300 },
    )
    assert.ok(Buffer.from(decompress(packed, BYTES_MAX)).equals(bytes))
  })
}

test('a Snappy stream of many blocks that hold next to nothing is refused', () => {
  const empty = Buffer.from([0, 0, 0, 1, 0])
  const hostile = Buffer.concat([snappyJava(Buffer.alloc(0)), ...Array<Buffer>(100_000).fill(empty)])
  assert.throws(() => decompressSnappy(hostile, 4 << 20), /more than \d+ blocks/)
})
