// Fetch as a client sees it: what it gets, and when.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log, ReadResult } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { readBatchHeader } from '../log/record-batch.ts'
import { batchOf, type Client, connect, openDoor, RAW } from './door-harness.ts'
import type { RequestOf } from './messages.ts'

const ASK_BYTES = 256 << 10
const BATCH_BYTES = 64 << 10
const VERSION = 12
/** Longer than any test: an answer comes before, or not at all. */
const WAIT_MS = 60_000
const TEST_MS_MAX = 30_000

async function append(log: Log, partition: number, seq: number): Promise<void> {
  const batch = batchOf('pump-1', [Buffer.alloc(BATCH_BYTES, seq)], 1)
  await log.append({ entries: [{ topic: RAW, partition, batch, recordCount: 1 }] })
}

/** The log in memory, and what is read of it. */
class WatchedLog extends MemoryLog {
  reads = 0
  duringRead: (() => Promise<void>) | undefined

  override async read(...asked: Parameters<Log['read']>): Promise<ReadResult> {
    if (asked[0] === RAW) {
      this.reads++
      const once = this.duringRead
      this.duringRead = undefined
      await once?.()
    }
    return super.read(...asked)
  }
}

test('an answer that cannot take all does not wait for the bytes that it has no room for', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const { door, log } = await openDoor(t)
  for (let i = 0; i < 8; i++) await append(log, 0, i)
  const client = await connect(t, door.port)
  const [partition] = await ask(client, [0], 1 << 30)
  assert.ok(partition!.records.length > ASK_BYTES / 2 && partition!.records.length <= ASK_BYTES)
})

test('what lies there already is not read again until there is more', { timeout: TEST_MS_MAX }, async (t) => {
  const log = new WatchedLog()
  const { door } = await openDoor(t, log)
  await append(log, 0, 1)
  const client = await connect(t, door.port)
  const coming = ask(client, [0], 2 * BATCH_BYTES)
  while (log.reads === 0) await sleep(1)
  await sleep(200)
  assert.equal(log.reads, 1)
  await append(log, 0, 2)
  const [partition] = await coming
  assert.equal(partition!.highWatermark, 2)
  assert.equal(log.reads, 2)
})

test('records that come while an answer is made are in it, or in the next look', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const log = new WatchedLog()
  const { door } = await openDoor(t, log)
  await append(log, 1, 1)
  const client = await connect(t, door.port)
  log.duringRead = async () => {
    await append(log, 0, 2)
    await sleep(50)
  }
  const partitions = await ask(client, [0, 0], 2 * BATCH_BYTES)
  assert.deepEqual(
    partitions.map(({ highWatermark }) => highWatermark),
    [1, 1],
  )
})

test('clients that read a backlog side by side get the batches of the log, beside one that does not read its answers', async (t) => {
  const { door, log, failures } = await openDoor(t)
  for (let i = 0; i < 80; i++) await append(log, i % 4, i)
  const expected = await Promise.all([0, 1, 2, 3].map(async (p) => (await log.read(RAW, p, 0, 1e9)).batches))
  const silent = await connect(t, door.port)
  // It asks again and again, and reads nothing.
  for (let i = 0; i < 20; i++) void silent.call('fetch', VERSION, fetchOf([0, 0, 0, 0])).catch(() => {})
  silent.socket.pause()
  const readers = await Promise.all([0, 1, 2].map(() => connect(t, door.port)))
  for (const got of await Promise.all(readers.map((reader) => readAll(reader))))
    assert.deepEqual(got, expected)
  silent.socket.destroy()
  const late = await connect(t, door.port)
  assert.deepEqual(await readAll(late), expected)
  assert.deepEqual(failures, [])
})

/** A fetch of a partition from each of the offsets. */
function fetchOf(offsets: readonly number[], minBytes = 1): RequestOf<'fetch'> {
  const partitions = offsets.map((fetchOffset, partition) => ({
    partition,
    currentLeaderEpoch: -1,
    fetchOffset,
    lastFetchedEpoch: -1,
    logStartOffset: -1,
    partitionMaxBytes: ASK_BYTES,
  }))
  return {
    clusterId: null,
    replicaId: -1,
    maxWaitMs: WAIT_MS,
    minBytes,
    maxBytes: 1 << 30,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [{ topic: RAW, topicId: '', partitions }],
    forgottenTopicsData: [],
    rackId: '',
  }
}

/** One fetch and its answer. */
async function ask(client: Client, offsets: readonly number[], minBytes?: number) {
  const { responses } = await client.call('fetch', VERSION, fetchOf(offsets, minBytes))
  return responses[0]!.partitions
}

/** Reads all partitions to their ends, one fetch after the other. */
async function readAll(client: Client): Promise<Uint8Array[]> {
  const parts: Uint8Array[][] = [[], [], [], []]
  const next = [0, 0, 0, 0]
  for (;;) {
    let isAtEnd = true
    for (const { partitionIndex, errorCode, highWatermark, records } of await ask(client, next)) {
      assert.equal(errorCode, 0)
      for (let at = 0; at < records.length; ) {
        const { byteLength, baseOffset, lastOffsetDelta } = readBatchHeader(records, at)!
        assert.equal(baseOffset, next[partitionIndex])
        next[partitionIndex] = baseOffset + lastOffsetDelta + 1
        parts[partitionIndex]!.push(Uint8Array.from(records.subarray(at, at + byteLength)))
        at += byteLength
      }
      isAtEnd &&= next[partitionIndex] === highWatermark
    }
    if (isAtEnd) return parts.map((own) => Buffer.concat(own)).map((own) => new Uint8Array(own))
  }
}
