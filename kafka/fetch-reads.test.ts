// Reads ahead of a client, and memory that is used again: what a client gets is what lies in the log, whatever it and
// others ask for meanwhile.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Log, ReadResult } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { readBatchHeader } from '../log/record-batch.ts'
import { isMillraceError } from '../std/errors.ts'
import { batchOf } from './door-harness.ts'
import { FetchReads, type Piece } from './fetch-reads.ts'

const TOPIC = 'readings'
const ASK_BYTES = 256 << 10

/** A log whose only partition has batches of about 64 KiB; retention, when it is asked for, leaves only the last. */
async function logOf(batches: number): Promise<MemoryLog> {
  const log = new MemoryLog()
  await log.createTopic(TOPIC, {
    partitions: 1,
    cleanup: 'delete',
    retentionAgeMs: 0,
    retentionBytes: 1,
    backlogBytesMax: Number.POSITIVE_INFINITY,
  })
  for (let i = 0; i < batches; i++) await append(log, i)
  return log
}

async function append(log: Log, seq: number): Promise<void> {
  const batch = batchOf('pump-1', [Buffer.alloc(64 << 10, seq)], 1)
  await log.append({ entries: [{ topic: TOPIC, partition: 0, batch, recordCount: 1 }] })
}

/** What lies in the log from `offset` on, as a copy. */
const stored = async (log: Log, offset: number): Promise<Uint8Array> =>
  Uint8Array.from((await log.read(TOPIC, 0, offset, ASK_BYTES)).batches)

const isGone = (error: unknown): boolean => isMillraceError(error, 'offset_below_start')

test('the next piece of a backlog is read before its client asks', async () => {
  const log = await logOf(20)
  const reads = new FetchReads(log)
  const { signal } = new AbortController()
  const first = await reads.read(signal, TOPIC, 0, 0, ASK_BYTES)
  const expected = await stored(log, first.nextOffset)
  reads.readAhead(signal, first)
  log.maintain()
  const second = await reads.read(signal, TOPIC, 0, first.nextOffset, ASK_BYTES)
  assert.deepEqual(Uint8Array.from(second.batches), expected)
  // Once, and for this client only.
  await assert.rejects(reads.read(signal, TOPIC, 0, first.nextOffset, ASK_BYTES), isGone)
})

test('nothing is read ahead of who is at the end, asks for little, or is gone', async () => {
  for (const { batches, bytes, ended } of [
    { batches: 2, bytes: 8 * ASK_BYTES, ended: false },
    { batches: 20, bytes: 64 << 10, ended: false },
    { batches: 20, bytes: ASK_BYTES, ended: true },
  ]) {
    const log = await logOf(batches)
    const reads = new FetchReads(log)
    const connection = new AbortController()
    const first = await reads.read(connection.signal, TOPIC, 0, 0, bytes)
    if (ended) connection.abort()
    await append(log, 99)
    await append(log, 99)
    reads.readAhead(connection.signal, first)
    log.maintain()
    await assert.rejects(reads.read(connection.signal, TOPIC, 0, first.nextOffset, bytes), isGone)
  }
})

test('what was read ahead is dropped with its connection', async () => {
  const log = await logOf(20)
  const reads = new FetchReads(log)
  const connection = new AbortController()
  const first = await reads.read(connection.signal, TOPIC, 0, 0, ASK_BYTES)
  reads.readAhead(connection.signal, first)
  connection.abort()
  log.maintain()
  await assert.rejects(reads.read(connection.signal, TOPIC, 0, first.nextOffset, ASK_BYTES), isGone)
})

test('who asks for another offset, or for less, gets that', async () => {
  const log = await logOf(20)
  const reads = new FetchReads(log)
  const { signal } = new AbortController()
  const readAhead = async (): Promise<Piece> => {
    const piece = await reads.read(signal, TOPIC, 0, 0, ASK_BYTES)
    reads.readAhead(signal, piece)
    return piece
  }
  await readAhead()
  const { batches } = await reads.read(signal, TOPIC, 0, 7, ASK_BYTES)
  assert.deepEqual(Uint8Array.from(batches), await stored(log, 7))
  const { nextOffset } = await readAhead()
  const less = await reads.read(signal, TOPIC, 0, nextOffset, ASK_BYTES / 2)
  assert.equal(readBatchHeader(less.batches)!.baseOffset, nextOffset)
  assert.ok(less.batches.length <= ASK_BYTES / 2, `${less.batches.length} bytes`)
})

test('memory is used again once it is released, and not before', async () => {
  const log = await logOf(20)
  const reads = new FetchReads(log)
  const { signal } = new AbortController()
  const first = await reads.read(signal, TOPIC, 0, 0, ASK_BYTES)
  const before = Uint8Array.from(first.batches)
  const second = await reads.read(signal, TOPIC, 0, first.nextOffset, ASK_BYTES)
  assert.deepEqual(Uint8Array.from(first.batches), before)
  assert.notEqual(first.memory!.buffer, second.memory!.buffer)
  reads.release(first)
  const third = await reads.read(signal, TOPIC, 0, second.nextOffset, ASK_BYTES)
  assert.equal(third.memory!.buffer, first.memory!.buffer)
})

/** A log of batches that are larger than what is asked for, which counts how often it is read. */
class LargeBatches extends MemoryLog {
  reads = 0

  override async read(...asked: Parameters<Log['read']>): Promise<ReadResult> {
    this.reads++
    return { batches: Buffer.alloc(4 << 20), nextOffset: asked[2] + 1 }
  }
}

test('what is read ahead is counted as it is, not as it was asked for', async () => {
  const log = new LargeBatches()
  const reads = new FetchReads(log)
  const signals = Array.from({ length: 20 }, () => new AbortController().signal)
  for (const signal of signals) {
    const piece = await reads.read(signal, TOPIC, 0, 0, ASK_BYTES)
    reads.readAhead(signal, piece)
    reads.release(piece)
    await new Promise(setImmediate)
  }
  log.reads = 0
  for (const signal of signals) await reads.read(signal, TOPIC, 0, 1, ASK_BYTES)
  // 32 MiB are eight of them; the others are read when they are asked for.
  assert.equal(log.reads, 12)
})
