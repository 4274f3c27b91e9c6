// Clients that take more than their share: of requests, of answers that they do not read, of batches. What the door
// holds for all of them together is bounded, and it goes on serving the others.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { zstdCompressSync } from 'node:zlib'
import { IdentityRefusal } from '../identity/identity.ts'
import { type Log, type ReadResult, TABLE_TOPIC } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { ATTRIBUTES, BATCH_LENGTH, CRC, RECORDS } from '../log/record-batch.ts'
import { rawTopic } from '../schemas/names.ts'
import { crc32c } from '../std/hash.ts'
import {
  batchOf,
  type Client,
  callerOf,
  connect,
  frameOf,
  openDoor,
  PARTITIONS,
  partitionOf,
  payloadOf,
  RAW,
  streamOf,
} from './door-harness.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { Fetcher } from './fetch.ts'
import type { RequestOf } from './messages.ts'
import { PartitionEnds } from './partition-ends.ts'
import { ProduceHandler } from './produce.ts'
import { Producers } from './producers.ts'
import { PublicTopics } from './public-topics.ts'

const TEST_MS_MAX = 60_000
const DEVICE = 'pump-1'
const PARTITION = partitionOf(DEVICE)
const ALIVE = { groupId: 'nobody', generationId: 1, memberId: 'x', groupInstanceId: null }

/** The door answers a small request of another connection. */
async function serves(t: TestContext, port: number): Promise<void> {
  const client = await connect(t, port)
  assert.equal((await client.call('heartbeat', 4, ALIVE)).errorCode, KAFKA_ERROR.unknownMemberId)
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let i = 0; !isSo(); i++) {
    assert.ok(i < 3000, what)
    await sleep(10)
  }
}

const producing = (
  records: Uint8Array,
  changes: Partial<RequestOf<'produce'>> = {},
): RequestOf<'produce'> => ({
  transactionalId: null,
  acks: -1,
  timeoutMs: 60_000,
  topics: [{ name: RAW, partitions: [{ index: PARTITION, records }] }],
  ...changes,
})

/** The batch with its records packed by zstd. */
function packed(batch: Uint8Array): Uint8Array {
  const records = zstdCompressSync(batch.subarray(RECORDS))
  const bytes = new Uint8Array(RECORDS + records.length)
  bytes.set(batch.subarray(0, RECORDS))
  bytes.set(records, RECORDS)
  const view = new DataView(bytes.buffer)
  view.setInt32(BATCH_LENGTH, bytes.length - BATCH_LENGTH - 4)
  view.setInt16(ATTRIBUTES, 4)
  view.setUint32(CRC, crc32c(bytes.subarray(ATTRIBUTES)))
  return bytes
}

test('large requests that never come whole leave room for small ones', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const { door, warnings, failures } = await openDoor(t)
  const half = Buffer.alloc(15 << 20)
  half.writeInt32BE(16 << 20)
  for (let i = 0; i < 7; i++) {
    const { socket } = await connect(t, door.port)
    await new Promise((resolve) => socket.write(half, resolve))
  }
  await until('a request too many', () => warnings.some((one) => /too many bytes of requests/.test(one)))
  assert.equal(warnings.length, 1)
  await serves(t, door.port)
  assert.deepEqual(failures, [])
})

test('answers that nobody reads are bounded over all connections', { timeout: TEST_MS_MAX }, async (t) => {
  const { door, warnings, failures } = await openDoor(t)
  const client = await connect(t, door.port)
  const groups = Array.from({ length: 1200 }, (_, i) => `g${i}`)
  for (const groupId of groups) {
    const partitions = [0, 1].map((partitionIndex) => ({
      partitionIndex,
      committedOffset: 1,
      committedLeaderEpoch: 0,
      committedMetadata: 'm'.repeat(4096),
    }))
    await client.call('offsetCommit', 8, {
      groupId,
      generationId: -1,
      memberId: '',
      groupInstanceId: null,
      retentionTimeMs: -1,
      topics: [{ name: RAW, partitions }],
    })
  }
  // About 9 MiB each.
  const asking = frameOf('offsetFetch', 8, {
    groupId: '',
    topics: null,
    groups: groups.map((groupId) => ({ groupId, memberId: null, memberEpoch: -1, topics: null })),
    requireStable: false,
  })
  const deaf: Client[] = []
  for (let i = 0; i < 20; i++) {
    const one = await connect(t, door.port)
    one.socket.pause()
    one.socket.write(asking)
    deaf.push(one)
  }
  await until('one too many', () =>
    warnings.some((one) => /too many bytes of answers are not read/.test(one)),
  )
  await serves(t, door.port)
  for (const { socket } of deaf) socket.destroy()
  // What they held is free again.
  await sleep(200)
  const later = await connect(t, door.port)
  const { groups: told } = await later.call('offsetFetch', 8, {
    groupId: '',
    topics: null,
    groups: [{ groupId: 'g1', memberId: null, memberEpoch: -1, topics: null }],
    requireStable: false,
  })
  assert.equal(told[0]!.topics[0]!.partitions.length, 2)
  assert.deepEqual(failures, [])
})

test('requests that are sent without reading an answer are not taken up', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const { door, failures } = await openDoor(t)
  const { socket } = await connect(t, door.port)
  socket.pause()
  const one = frameOf('metadata', 12, {
    topics: null,
    allowAutoTopicCreation: false,
    includeClusterAuthorizedOperations: false,
    includeTopicAuthorizedOperations: false,
  })
  const many = Buffer.concat(Array<Buffer>(20_000).fill(one))
  let written = 0
  for (let i = 0; i < 50; i++) if (socket.write(many)) written++
  await sleep(500)
  // What the kernel and one read of each side take; the rest waits at the client.
  assert.ok(socket.writableLength > 0)
  t.diagnostic(`${written} of 50 writes taken at once, ${socket.writableLength} bytes wait at the client`)
  await serves(t, door.port)
  assert.deepEqual(failures, [])
})

/** Holds appends to the raw topic back until it is told to go on. */
class HoldingLog extends MemoryLog {
  bytes = 0
  readonly #held: (() => void)[] = []
  #isOpen = false

  override async append(...asked: Parameters<Log['append']>): ReturnType<Log['append']> {
    const [{ entries }] = asked
    let bytes = 0
    for (const entry of entries) if (entry.topic === RAW && 'batch' in entry) bytes += entry.batch.length
    if (bytes > 0 && !this.#isOpen) {
      this.bytes += bytes
      await new Promise<void>((resolve) => this.#held.push(resolve))
    }
    return super.append(...asked)
  }

  open(): void {
    this.#isOpen = true
    for (const resolve of this.#held) resolve()
  }
}

test('small requests that hold large batches wait for each other', { timeout: TEST_MS_MAX }, async (t) => {
  const log = new HoldingLog()
  const { door, failures } = await openDoor(t, log)
  const batch = batchOf(
    DEVICE,
    Array.from({ length: 99_000 }, (_, i) => payloadOf(i % 50)),
  )
  assert.ok(batch.length > 1 << 20)
  const bomb = packed(batch)
  assert.ok(bomb.length < batch.length / 20, `${bomb.length} of ${batch.length}`)
  const clients = await Promise.all(Array.from({ length: 20 }, () => connect(t, door.port)))
  const answers = clients.map((client) => client.call('produce', 9, producing(bomb)))
  let seen = -1
  while (seen !== log.bytes) {
    seen = log.bytes
    await sleep(500)
  }
  t.diagnostic(`${clients.length} requests of ${bomb.length} bytes: ${log.bytes} under way`)
  assert.ok(log.bytes > 0 && log.bytes < (32 << 20) + 2 * batch.length, `${log.bytes} bytes`)
  log.open()
  for (const { responses } of await Promise.all(answers))
    assert.equal(responses[0]!.partitionResponses[0]!.errorCode, KAFKA_ERROR.none)
  assert.deepEqual(failures, [])
})

test('a tenant whose batches are held back holds back no other', { timeout: TEST_MS_MAX }, async () => {
  const log = new HoldingLog()
  const topics = new PublicTopics(log)
  for (const { tenant } of [streamOf('default'), streamOf('other')])
    await log.createTopic(rawTopic(tenant, 'telemetry'), TABLE_TOPIC)
  await topics.setStreams([streamOf('default'), streamOf('other')])
  const handler = new ProduceHandler(log, topics, await Producers.open(log))
  const values = Array.from({ length: 99_000 }, (_, i) => payloadOf(i % 50))
  const into = (topic: string, records: Uint8Array) =>
    producing(records, { topics: [{ name: topic, partitions: [{ index: 0, records }] }] })
  const large = into(RAW, packed(batchOf(DEVICE, values)))
  const held = Array.from({ length: 20 }, () => handler.produce(large, callerOf('default')))
  await until('all that one tenant may hold', () => log.bytes >= 32 << 20)
  const small = into('other.telemetry.raw', batchOf(DEVICE, [payloadOf(1)]))
  const { responses } = await handler.produce(small, callerOf('other'))
  assert.equal(responses[0]!.partitionResponses[0]!.errorCode, KAFKA_ERROR.none)
  log.open()
  await Promise.all(held)
})

test('a partition is written once a request, acks are those that there are', async (t) => {
  const { door } = await openDoor(t)
  const client = await connect(t, door.port)
  const records = batchOf(DEVICE, [payloadOf(1)])
  const partitions = [
    { index: PARTITION, records },
    { index: PARTITION, records },
  ]
  const twice = await client.call('produce', 9, producing(records, { topics: [{ name: RAW, partitions }] }))
  assert.deepEqual(
    twice.responses[0]!.partitionResponses.map(({ errorCode }) => errorCode),
    [KAFKA_ERROR.none, KAFKA_ERROR.invalidRequest],
  )
  for (const [acks, code] of [
    [1, KAFKA_ERROR.none],
    [2, KAFKA_ERROR.invalidRequiredAcks],
    [-2, KAFKA_ERROR.invalidRequiredAcks],
  ] as const) {
    const { responses } = await client.call('produce', 9, producing(records, { acks }))
    assert.equal(responses[0]!.partitionResponses[0]!.errorCode, code)
  }
})

test('without acknowledgement: what is taken gets no answer, what is refused ends the connection with its reason', async (t) => {
  const { door, log, warnings } = await openDoor(t)
  const { socket, call } = await connect(t, door.port)
  const write = (value: Uint8Array) =>
    socket.write(frameOf('produce', 9, producing(batchOf(DEVICE, [value]), { acks: 0 })))
  write(payloadOf(1))
  // The next answer is that of the next request.
  assert.equal((await call('heartbeat', 4, ALIVE)).errorCode, KAFKA_ERROR.unknownMemberId)
  assert.equal((await log.range(RAW, PARTITION)).end, 1)
  const closed = once(socket, 'close')
  write(Buffer.from('no frame'))
  await closed
  assert.match(
    warnings.join('\n'),
    /without acknowledgement to default\.telemetry\.raw\/\d: .*Confluent frame/,
  )
})

/** SaslHandshake 1, which has no flexible version. */
const HANDSHAKE = Buffer.from('000000110011000100000001ffff0005504c41494e', 'hex')

test('a wrong password is told, and another guess costs another connection', async (t) => {
  const { door, warnings } = await openDoor(t, undefined, false)
  const { socket, call } = await connect(t, door.port)
  socket.write(HANDSHAKE)
  await once(socket, 'data')
  const closed = once(socket, 'close')
  const { errorCode } = await call('saslAuthenticate', 2, { authBytes: Buffer.from('\0user\0wrong') })
  assert.equal(errorCode, KAFKA_ERROR.saslAuthenticationFailed)
  await closed
  assert.match(warnings.join('\n'), /authentication failed/)
})

test('a password that there is no time for is not called wrong', async (t) => {
  const { door, warnings } = await openDoor(t, undefined, false)
  door.identity.authenticate = () => IdentityRefusal.busy
  const { socket, call } = await connect(t, door.port)
  socket.write(HANDSHAKE)
  await once(socket, 'data')
  const answered = call('saslAuthenticate', 2, { authBytes: Buffer.from('\0user\0right') }).then(
    () => 'answered',
  )
  const closed = once(socket, 'close').then(() => 'closed')
  assert.equal(await Promise.race([answered, closed]), 'closed')
  assert.match(warnings.join('\n'), /too many passwords/)
})

test('a request that does not come whole in two minutes ends its connection', async (t) => {
  const { door, warnings } = await openDoor(t)
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const { socket } = await connect(t, door.port)
  const whole = frameOf('heartbeat', 4, ALIVE)
  socket.write(whole.subarray(0, 9))
  const turns = async (): Promise<void> => {
    for (let i = 0; i < 1000; i++) await new Promise(setImmediate)
  }
  await turns()
  t.mock.timers.tick(119_999)
  await turns()
  assert.deepEqual(warnings, [])
  const closed = once(socket, 'close')
  t.mock.timers.tick(1)
  await closed
  assert.match(warnings.join('\n'), /not come whole in 120 s/)
  // What was begun with real timers is ended with them.
  t.mock.timers.reset()
})

test('connections without credentials do not keep out those that come after them', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const { door, failures } = await openDoor(t, undefined, false)
  const idle: Client[] = []
  for (let i = 0; i < 1000; i++) idle.push(await connect(t, door.port))
  const client = await connect(t, door.port)
  client.socket.write(HANDSHAKE)
  await once(client.socket, 'data')
  await until('the oldest is closed', () => idle[0]!.socket.closed)
  assert.ok(!idle[1]!.socket.closed)
  assert.deepEqual(failures, [])
})

const BATCH_BYTES = 4 << 20

/** A log whose reads of raw topics are one batch of 4 MiB each. */
class LargeBatches extends MemoryLog {
  readonly #batch = Buffer.alloc(BATCH_BYTES)

  override async read(...asked: Parameters<Log['read']>): Promise<ReadResult> {
    const [topic, , offset] = asked
    return topic.endsWith('.raw') ? { batches: this.#batch, nextOffset: offset + 1 } : super.read(...asked)
  }
}

const fetching = (bytes: number): RequestOf<'fetch'> => ({
  clusterId: null,
  replicaId: -1,
  maxWaitMs: 100,
  minBytes: 1,
  maxBytes: bytes,
  isolationLevel: 0,
  sessionId: 0,
  sessionEpoch: -1,
  topics: [
    {
      topic: RAW,
      topicId: '00000000-0000-0000-0000-000000000000',
      partitions: [
        {
          partition: PARTITION,
          currentLeaderEpoch: -1,
          fetchOffset: 0,
          lastFetchedEpoch: -1,
          logStartOffset: -1,
          partitionMaxBytes: bytes,
        },
      ],
    },
  ],
  forgottenTopicsData: [],
  rackId: '',
})

test('batches that are fetched and not read are bounded, also those larger than what was asked for', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const log = new LargeBatches()
  const { door, failures } = await openDoor(t, log)
  const entry = { topic: RAW, partition: PARTITION, batch: batchOf(DEVICE, [payloadOf(1)]), recordCount: 1 }
  for (let i = 0; i < 3; i++) await log.append({ entries: [entry] })
  const deaf: Client[] = []
  for (let i = 0; i < 40; i++) {
    const one = await connect(t, door.port)
    one.socket.pause()
    one.socket.write(frameOf('fetch', 12, fetching(1)))
    deaf.push(one)
  }
  await sleep(500)
  const client = await connect(t, door.port)
  const bytesOf = async (): Promise<number> =>
    (await client.call('fetch', 12, fetching(1))).responses[0]!.partitions[0]!.records.length
  // 24 of them hold 96 MiB.
  assert.equal(await bytesOf(), 0)
  for (const { socket } of deaf.slice(0, 20)) socket.destroy()
  let bytes = 0
  while (bytes === 0) bytes = await bytesOf()
  assert.equal(bytes, BATCH_BYTES)
  assert.deepEqual(failures, [])
})

test('a tenant that does not read what it fetches leaves room for others', {
  timeout: TEST_MS_MAX,
}, async (t) => {
  const log = new LargeBatches()
  const topics = new PublicTopics(log)
  const ends = new PartitionEnds(log)
  t.after(() => ends.close())
  for (const tenant of ['default', 'other']) {
    const topic = rawTopic(tenant, 'telemetry')
    await log.createTopic(topic, { ...TABLE_TOPIC, partitions: PARTITIONS })
    const batch = batchOf(DEVICE, [payloadOf(1)])
    await log.append({ entries: [{ topic, partition: PARTITION, batch, recordCount: 1 }] })
  }
  await topics.setStreams([streamOf('default'), streamOf('other')])
  void ends.follow()
  const fetcher = new Fetcher(log, topics, ends)
  const bytesOf = async (tenant: string): Promise<number> => {
    const request = fetching(1)
    request.topics[0]!.topic = rawTopic(tenant, 'telemetry')
    const { responses } = await fetcher.fetch(request, callerOf(tenant), 12)
    return responses[0]!.partitions[0]!.records.length
  }
  await until(
    'both are known',
    () => ends.end(RAW, PARTITION) + ends.end('other.telemetry.raw', PARTITION) === 2,
  )
  let answers = 0
  while ((await bytesOf('default')) > 0) answers++
  assert.equal(answers, 24)
  assert.equal(await bytesOf('other'), BATCH_BYTES)
})
