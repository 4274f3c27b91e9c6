import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { isMillraceError } from '../std/errors.ts'
import { crc32c } from '../std/hash.ts'
import { prepareBatch, sealForSend, visibleBatches } from './kafka-batches.ts'
import { textBatch } from './log-conformance.ts'
import {
  ATTRIBUTES,
  batchCrcMatches,
  CRC,
  patchBaseOffset,
  RECORDS,
  RecordReader,
  readBatchHeader,
} from './record-batch.ts'

const CONTROL_AND_TRANSACTIONAL = 0b11_0000

/** A batch as a broker would have stored it. */
function stored(
  baseOffset: number,
  values: readonly string[],
  producer: { id: bigint; transactional?: boolean; control?: boolean; compression?: 'lz4' | 'zstd' },
): Uint8Array {
  const batch = textBatch(values.map((value) => ['k', value]))
  const header = readBatchHeader(batch)!
  const prepared = prepareBatch(batch, header, producer.compression ?? 'none')
  const sealed = sealForSend(prepared, { id: producer.id, epoch: 0 }, 0, producer.transactional ?? false)
  const bytes = Buffer.concat([sealed, prepared.records])
  if (producer.control) setAttributes(bytes, CONTROL_AND_TRANSACTIONAL)
  patchBaseOffset(bytes, 0, baseOffset)
  return bytes
}

function setAttributes(bytes: Uint8Array, attributes: number): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, RECORDS)
  view.setInt16(ATTRIBUTES, attributes)
  view.setUint32(CRC, crc32c(bytes.subarray(ATTRIBUTES)))
}

function seen(
  set: readonly Uint8Array[],
  aborted: { producerId: bigint; firstOffset: number }[] = [],
): { values: string[]; nextOffset: number | undefined } {
  const { batches, nextOffset } = visibleBatches(Buffer.concat(set), aborted, 't/0')
  const values: string[] = []
  for (let at = 0; at < batches.length; ) {
    const { byteLength, attributes } = readBatchHeader(batches, at)!
    assert.equal(attributes, 0)
    assert.ok(batchCrcMatches(batches, at, byteLength))
    at += byteLength
  }
  const reader = new RecordReader()
  reader.reset(batches)
  while (reader.next())
    values.push(
      `${reader.offset}=${new TextDecoder().decode(reader.bytes.slice(reader.valueStart, reader.valueEnd))}`,
    )
  return { values, nextOffset }
}

describe('record sets from Kafka', () => {
  test('control batches are left out, their offsets are gaps', () => {
    const set = [
      stored(5, ['a', 'b'], { id: 1n, transactional: true }),
      stored(7, ['commit'], { id: 1n, control: true }),
      stored(8, ['c'], { id: 2n }),
    ]
    assert.deepEqual(seen(set), { values: ['5=a', '6=b', '8=c'], nextOffset: 9 })
    assert.deepEqual(seen(set.slice(1, 2)), { values: [], nextOffset: 8 })
  })

  test('what was aborted is left out, up to its marker; others’ records between stay', () => {
    const set = [
      stored(0, ['gone'], { id: 1n, transactional: true }),
      stored(1, ['stays'], { id: 2n, transactional: true }),
      stored(2, ['plain of the same producer'], { id: 1n }),
      stored(3, ['gone too'], { id: 1n, transactional: true }),
      stored(4, ['abort'], { id: 1n, control: true }),
      stored(5, ['commit'], { id: 2n, control: true }),
      stored(6, ['again'], { id: 1n, transactional: true }),
    ]
    assert.deepEqual(seen(set, [{ producerId: 1n, firstOffset: 0 }]), {
      values: ['1=stays', '2=plain of the same producer', '6=again'],
      nextOffset: 7,
    })
    // A read that begins behind the first record of the transaction.
    assert.deepEqual(seen(set.slice(3), [{ producerId: 1n, firstOffset: 0 }]).values, ['6=again'])
  })

  test('compressed batches come out unpacked, in their place', () => {
    const long = 'x'.repeat(1000)
    const set = [
      stored(0, ['a'], { id: 1n }),
      stored(1, [long, long], { id: 1n, compression: 'lz4' }),
      stored(3, [long, 'y'], { id: 1n, compression: 'zstd', transactional: true }),
      stored(5, ['b'], { id: 1n }),
    ]
    assert.ok(set[1]!.length < 500 && set[2]!.length < 500)
    assert.deepEqual(seen(set), {
      values: ['0=a', `1=${long}`, `2=${long}`, `3=${long}`, '4=y', '5=b'],
      nextOffset: 6,
    })
  })

  test('a batch that another client packed with gzip', () => {
    const batch = textBatch([['k', 'v'.repeat(100)]])
    const packed = Buffer.concat([batch.subarray(0, RECORDS), gzipSync(batch.subarray(RECORDS))])
    new DataView(packed.buffer, packed.byteOffset).setInt32(8, packed.length - 12)
    setAttributes(packed, 1)
    assert.deepEqual(seen([packed]).values, [`0=${'v'.repeat(100)}`])
  })

  test('a last batch that is cut off is not there yet', () => {
    const whole = stored(0, ['a'], { id: 1n })
    const cut = stored(1, ['b'], { id: 1n })
    for (const bytes of [1, 40, RECORDS, cut.length - 1])
      assert.deepEqual(seen([whole, cut.subarray(0, bytes)]), { values: ['0=a'], nextOffset: 1 })
    assert.deepEqual(seen([cut.subarray(0, 20)]), { values: [], nextOffset: undefined })
  })

  test('damage is an error, never fewer records', () => {
    for (const bytes of [
      stored(0, ['a'], { id: 1n }),
      stored(0, ['x'.repeat(999)], { id: 1n, compression: 'zstd' }),
    ]) {
      bytes[bytes.length - 2]! ^= 1
      assert.throws(
        () => seen([bytes]),
        (error) => isMillraceError(error, 'log_corrupt'),
      )
    }
    const untrue = stored(0, ['x'.repeat(999)], { id: 1n, compression: 'zstd' })
    setAttributes(untrue, 3)
    assert.throws(
      () => seen([untrue]),
      (error) => isMillraceError(error, 'log_corrupt'),
    )
  })

  test('sealing leaves the caller’s bytes as they are, also when they were read from a log', () => {
    const batch = stored(77, ['a', 'b'], { id: 9n })
    const before = Buffer.from(batch)
    const prepared = prepareBatch(batch, { recordCount: 2 }, 'none')
    const sealed = sealForSend(prepared, { id: 3n, epoch: 4 }, 5, true)
    assert.deepEqual(Buffer.from(batch), before)
    const sent = Buffer.concat([sealed, prepared.records])
    assert.equal(readBatchHeader(sent)!.baseOffset, 0)
    assert.ok(batchCrcMatches(sent, 0, sent.length))
    assert.deepEqual([sent.readBigInt64BE(43), sent.readInt16BE(51), sent.readInt32BE(53)], [3n, 4, 5])
  })

  test('a CRC that is pending is computed; one that is there tells what the records have become since', () => {
    const batch = stored(0, ['a', 'b'], { id: 9n })
    batch[CRC]! ^= 1
    const send = (hasCrc: boolean): Uint8Array => {
      const prepared = prepareBatch(batch, { recordCount: 2 }, 'none', hasCrc)
      return Buffer.concat([sealForSend(prepared, { id: 3n, epoch: 4 }, 5, true), prepared.records])
    }
    assert.ok(batchCrcMatches(send(false), 0, batch.length))
    assert.ok(!batchCrcMatches(send(true), 0, batch.length))
    batch[CRC]! ^= 1
    assert.ok(batchCrcMatches(send(true), 0, batch.length))
    batch[batch.length - 1]! ^= 1
    assert.ok(!batchCrcMatches(send(true), 0, batch.length))
  })
})
