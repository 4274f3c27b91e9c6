import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { test } from 'node:test'
import { crc32c as platformaticCrc32c } from '@platformatic/kafka'
import fc from 'fast-check'
import { Partitioners } from 'kafkajs'
import { crc32c, crc32cWithHead, murmur2, partitionOfKey } from './hash.ts'

const kafkajsMurmur2 = createRequire(import.meta.url)(
  'kafkajs/src/producer/partitioners/default/murmur2',
) as (key: Buffer) => number

test('crc32c: the check values of RFC 3720 B.4 and of the catalogue of CRCs', () => {
  assert.equal(crc32c(Buffer.from('123456789')), 0xe3069283)
  assert.equal(crc32c(new Uint8Array(32)), 0x8a9136aa)
  assert.equal(crc32c(new Uint8Array(32).fill(0xff)), 0x62a8ab43)
  assert.equal(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e)
})

test('crc32c continues, takes shared memory, and agrees with another implementation', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(300), (bytes, cut) => {
      const whole = crc32c(bytes)
      assert.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), whole)
      const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
      shared.set(bytes)
      assert.equal(crc32c(shared), whole)
      assert.equal(platformaticCrc32c(Buffer.from(bytes)) >>> 0, whole)
    }),
  )
})

test('crc32c of the same bytes after another head', () => {
  const bytes = fc.uint8Array({ maxLength: 300 })
  fc.assert(
    fc.property(bytes, bytes, bytes, (before, after, rest) => {
      const whole = crc32c(rest, crc32c(before))
      assert.equal(
        crc32cWithHead(whole, crc32c(before), crc32c(after), rest.length),
        crc32c(rest, crc32c(after)),
      )
    }),
  )
  const long = new Uint8Array(5_000_001).fill(7)
  assert.equal(crc32cWithHead(crc32c(long, 1), 1, 2, long.length), crc32c(long, 2))
})

test('murmur2: the values of Kafka’s own test (UtilsTest.testMurmur2)', () => {
  const cases: [string, number][] = [
    ['21', -973932308],
    ['foobar', -790332482],
    ['a-little-bit-long-string', -985981536],
    ['a-little-bit-longer-string', -1486304829],
    ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ]
  for (const [text, hash] of cases) assert.equal(murmur2(Buffer.from(text)), hash, text)
  assert.equal(murmur2(Uint8Array.of(0x61, 0x62, 0x63)), 479470107)
})

test('murmur2 and the partition agree with kafkajs, wherever the key lies', () => {
  const partitioner = Partitioners.DefaultPartitioner()
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 40 }),
      fc.nat(7),
      fc.integer({ min: 1, max: 50 }),
      (key, at, n) => {
        const bytes = new Uint8Array(key.length + 10).fill(0xab)
        bytes.set(key, at)
        assert.equal(murmur2(bytes, at, at + key.length), kafkajsMurmur2(Buffer.from(key)))
        const partitionMetadata = Array.from({ length: n }, (_, partitionId) => ({
          partitionId,
          leader: 1,
          isr: [],
          replicas: [],
          partitionErrorCode: 0,
        }))
        const theirs = partitioner({
          topic: 't',
          partitionMetadata,
          message: { key: Buffer.from(key), value: null },
        })
        assert.equal(partitionOfKey(bytes, at, at + key.length, n), theirs)
      },
    ),
  )
})
