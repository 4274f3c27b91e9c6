// Reads ahead of a client, and memory that is used again: what a client gets is what lies in the log, whatever it and
// others ask for meanwhile.
import assert from 'node:assert/strict'
import net from 'node:net'
import { type TestContext, test } from 'node:test'
import type { Log } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { readBatchHeader } from '../log/record-batch.ts'
import { isMillraceError } from '../std/errors.ts'
import { batchOf, openDoor, RAW } from './door-harness.ts'
import { FetchReads, type Piece } from './fetch-reads.ts'
import { APIS, type ResponseOf } from './messages.ts'
import { WireReader, WireWriter } from './wire.ts'

const TOPIC = 'readings'
const ASK_BYTES = 256 << 10
const VERSION = 12
const WAIT_MS = 10_000

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
  for (let i = 0; i < batches; i++) await append(log, TOPIC, 0, i)
  return log
}

async function append(log: Log, topic: string, partition: number, seq: number): Promise<void> {
  const batch = batchOf('pump-1', [Buffer.alloc(64 << 10, seq)], 1)
  await log.append({ entries: [{ topic, partition, batch, recordCount: 1 }] })
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
    await append(log, TOPIC, 0, 99)
    await append(log, TOPIC, 0, 99)
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

test('clients that read a backlog side by side get the batches of the log, beside one that does not read its answers', async (t) => {
  const { door, log, failures } = await openDoor(t)
  for (let i = 0; i < 80; i++) await append(log, RAW, i % 4, i)
  const expected = await Promise.all([0, 1, 2, 3].map(async (p) => (await log.read(RAW, p, 0, 1e9)).batches))
  const silent = await connect(t, door.port)
  // It asks again and again, and reads nothing.
  for (let i = 0; i < 20; i++) silent.socket.write(fetchOf([0, 0, 0, 0]))
  silent.socket.pause()
  const readers = await Promise.all([0, 1, 2].map(() => connect(t, door.port)))
  for (const got of await Promise.all(readers.map((reader) => readAll(reader))))
    assert.deepEqual(got, expected)
  silent.socket.destroy()
  const late = await connect(t, door.port)
  assert.deepEqual(await readAll(late), expected)
  assert.deepEqual(failures, [])
})

interface Client {
  socket: net.Socket
  /** The next answer without its size. */
  answer(): Promise<Buffer>
}

async function connect(t: TestContext, port: number): Promise<Client> {
  const socket = net.connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  await new Promise((resolve) => socket.once('connect', resolve))
  let received: Buffer = Buffer.alloc(0)
  const waiting: ((answer: Buffer) => void)[] = []
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    received = Buffer.concat([received, chunk])
    while (received.length >= 4 && received.length >= 4 + received.readInt32BE()) {
      const end = 4 + received.readInt32BE()
      waiting.shift()?.(received.subarray(4, end))
      received = received.subarray(end)
    }
  })
  return { socket, answer: () => new Promise((resolve) => waiting.push(resolve)) }
}

function fetchOf(offsets: readonly number[]): Buffer {
  const to = new WireWriter()
  to.int16(APIS.fetch.key)
  to.int16(VERSION)
  to.int32(1)
  to.int16(-1)
  to.unsignedVarint(0)
  const partitions = offsets.map((fetchOffset, partition) => ({
    partition,
    currentLeaderEpoch: -1,
    fetchOffset,
    lastFetchedEpoch: -1,
    logStartOffset: -1,
    partitionMaxBytes: ASK_BYTES,
  }))
  const request = {
    clusterId: null,
    replicaId: -1,
    maxWaitMs: WAIT_MS,
    minBytes: 1,
    maxBytes: 1 << 30,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [{ topic: RAW, topicId: '', partitions }],
    forgottenTopicsData: [],
    rackId: '',
  }
  APIS.fetch.request.write(to, request, VERSION, true)
  const { chunks, length } = to.finish()
  const size = Buffer.alloc(4)
  size.writeInt32BE(length)
  return Buffer.concat([size, ...chunks])
}

/** Reads all partitions to their ends, one fetch after the other. */
async function readAll({ socket, answer }: Client): Promise<Uint8Array[]> {
  const parts: Uint8Array[][] = [[], [], [], []]
  const next = [0, 0, 0, 0]
  for (;;) {
    const coming = answer()
    socket.write(fetchOf(next))
    const from = new WireReader(await coming)
    from.int32()
    from.taggedFields()
    const { responses } = APIS.fetch.response.read(from, VERSION, true) as ResponseOf<'fetch'>
    let isAtEnd = true
    for (const { partitionIndex, errorCode, highWatermark, records } of responses[0]!.partitions) {
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
