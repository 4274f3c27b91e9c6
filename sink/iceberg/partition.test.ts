import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  bucketCountOf,
  bucketOfBytes,
  dayOfMicros,
  murmur3,
  partitionAvroType,
  printDay,
} from './partition.ts'

// Iceberg specification, Appendix B: values and hashes of the table "Hash 32-bit".
test('murmur3 gives the hashes of the specification', () => {
  const utf8 = new TextEncoder()
  assert.equal(murmur3(utf8.encode('iceberg')), 1210000089)
  assert.equal(murmur3(Uint8Array.of(0, 1, 2, 3)), -188683207)
  const long = new DataView(new ArrayBuffer(8))
  long.setBigInt64(0, 34n, true)
  assert.equal(murmur3(new Uint8Array(long.buffer)), 2017239379)
  // date 2017-11-16 = 17486, timestamp 2017-11-16T22:31:08 in micros
  long.setBigInt64(0, 17486n, true)
  assert.equal(murmur3(new Uint8Array(long.buffer)), -653330422)
  long.setBigInt64(0, 1510871468000000n, true)
  assert.equal(murmur3(new Uint8Array(long.buffer)), -2047944441)
  const uuid = Buffer.from('f79c3e09677c4bbda4793f349cb785e7', 'hex')
  assert.equal(murmur3(uuid), 1488055340)
})

test('murmur3 of a part of a buffer, at every length of tail', () => {
  const bytes = new TextEncoder().encode('xxdevice-0042yy')
  for (let end = 2; end <= 13; end++)
    assert.equal(murmur3(bytes, 2, end), murmur3(bytes.slice(2, end)), `length ${end - 2}`)
})

test('a bucket is never negative', () => {
  for (let i = 0; i < 1000; i++) {
    const bytes = new TextEncoder().encode(`device-${i}`)
    const bucket = bucketOfBytes(bytes, 0, bytes.length, 16)
    assert.ok(bucket >= 0 && bucket < 16)
  }
  assert.equal(bucketCountOf('bucket[16]'), 16)
  assert.equal(bucketCountOf('day'), undefined)
})

test('days round down before 1970 too', () => {
  assert.equal(dayOfMicros(0), 0)
  assert.equal(dayOfMicros(86_399_999_999), 0)
  assert.equal(dayOfMicros(86_400_000_000), 1)
  assert.equal(dayOfMicros(-1), -1)
  assert.equal(printDay(17486), '2017-11-16')
  assert.equal(printDay(-1), '1969-12-31')
})

test('a partition struct names the Avro type of the transform', () => {
  assert.deepEqual(partitionAvroType('day', 'timestamptz'), { type: 'int', logicalType: 'date' })
  assert.equal(partitionAvroType('bucket[4]', 'string'), 'int')
  assert.deepEqual(partitionAvroType('identity', 'decimal(9, 2)'), {
    type: 'fixed',
    name: 'decimal_9_2',
    size: 4,
    logicalType: 'decimal',
    precision: 9,
    scale: 2,
  })
})
