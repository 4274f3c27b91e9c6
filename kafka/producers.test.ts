// Idempotent producers: a batch that is sent again is there once, before and after a restart; what comes out of turn is
// refused by the error that clients know.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { Producers, type SequencedBatch } from './producers.ts'

const batch = (baseSequence: number, recordCount = 1, producerEpoch = 0): SequencedBatch => ({
  producerId: 4711,
  producerEpoch,
  baseSequence,
  recordCount,
})

async function append(producers: Producers, log: MemoryLog, one: SequencedBatch, offset: number) {
  const verdict = producers.check(one, 'a.b.raw', 0, Date.now())
  if (verdict.kind !== 'new') return verdict
  await log.append({ entries: [verdict.record] })
  verdict.appended(offset)
  return verdict
}

const errorOf = (verdict: Awaited<ReturnType<typeof append>>) =>
  verdict.kind === 'refused' ? verdict.errorCode : verdict.kind

test('duplicates, gaps, old and new epochs', async () => {
  const log = new MemoryLog()
  const producers = await Producers.open(log)
  assert.equal((await append(producers, log, batch(0, 10), 100)).kind, 'new')
  assert.equal((await append(producers, log, batch(10, 5), 110)).kind, 'new')
  assert.deepEqual(await append(producers, log, batch(0, 10), 0), { kind: 'duplicate', baseOffset: 100 })
  assert.deepEqual(await append(producers, log, batch(10, 5), 0), { kind: 'duplicate', baseOffset: 110 })
  assert.equal(errorOf(await append(producers, log, batch(16), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
  assert.equal(errorOf(await append(producers, log, batch(12), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
  assert.equal(errorOf(await append(producers, log, batch(3, 1, 1), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
  assert.equal(errorOf(await append(producers, log, batch(0, 1, 1), 200)), 'new')
  assert.equal(errorOf(await append(producers, log, batch(15), 0)), KAFKA_ERROR.invalidProducerEpoch)
  // An older batch than the five that are remembered is out of order, as with Kafka.
  for (let i = 1; i <= 6; i++) await append(producers, log, batch(i, 1, 1), 200 + i)
  assert.equal(errorOf(await append(producers, log, batch(1, 1, 1), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
})

test('after a restart: what is in the log is known', async () => {
  const log = new MemoryLog()
  const producers = await Producers.open(log)
  await append(producers, log, batch(0, 3), 50)
  await append(producers, log, batch(3, 3), 53)
  const again = await Producers.open(log)
  assert.deepEqual(await append(again, log, batch(0, 3), 0), { kind: 'duplicate', baseOffset: 50 })
  assert.equal(errorOf(await append(again, log, batch(3, 3), 0)), KAFKA_ERROR.duplicateSequenceNumber)
  assert.equal(errorOf(await append(again, log, batch(7), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
  assert.equal(errorOf(await append(again, log, batch(6), 56)), 'new')
})

test('sequences go on from 0 after the largest', async () => {
  const log = new MemoryLog()
  const producers = await Producers.open(log)
  await append(producers, log, batch(2 ** 31 - 2, 4), 0)
  assert.equal(errorOf(await append(producers, log, batch(3), 4)), KAFKA_ERROR.outOfOrderSequenceNumber)
  assert.equal(errorOf(await append(producers, log, batch(2), 4)), 'new')
})

test('who has not written for a day is forgotten', async () => {
  const log = new MemoryLog()
  const producers = await Producers.open(log)
  await append(producers, log, batch(0), 0)
  await producers.expire(Date.now() + 2 * 86_400_000)
  assert.equal(errorOf(await append(await Producers.open(log), log, batch(9), 0)), 'new')
  assert.equal(errorOf(await append(producers, log, batch(9), 0)), 'new')
})

test('a new epoch follows the old one; ids differ', async () => {
  const producers = await Producers.open(new MemoryLog())
  const { producerId, producerEpoch } = producers.init(-1, -1)
  assert.equal(producerEpoch, 0)
  assert.notEqual(producers.init(-1, -1).producerId, producerId)
  assert.deepEqual(producers.init(producerId, 0), { producerId, producerEpoch: 1 })
})

test('a flood of producers makes those forgotten that have not written for longest, here and in the log', async () => {
  const log = new MemoryLog()
  const producers = await Producers.open(log, 100)
  const of = (producerId: number, baseSequence: number): SequencedBatch => ({
    ...batch(baseSequence),
    producerId,
  })
  for (let id = 0; id < 1000; id++) await append(producers, log, of(id, 0), id)
  for (const remembering of [producers, await Producers.open(log, 100)]) {
    assert.equal(errorOf(await append(remembering, log, of(900, 5), 0)), KAFKA_ERROR.outOfOrderSequenceNumber)
    // Of a producer that is not known any sequence is the first.
    const verdict = remembering.check(of(899, 5), 'a.b.raw', 0, Date.now())
    assert.equal(verdict.kind, 'new')
  }
})
