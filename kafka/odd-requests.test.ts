// Requests that are unusual, and batches that are wrong: each gets the answer that the protocol has for it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { zstdCompressSync } from 'node:zlib'
import { ATTRIBUTES, BATCH_LENGTH, CRC, RECORDS } from '../log/record-batch.ts'
import { crc32c } from '../std/hash.ts'
import { batchOf, connect, openDoor, PARTITIONS, partitionOf, payloadOf, RAW } from './door-harness.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { APIS } from './messages.ts'
import { WireReader } from './wire.ts'

const NO_UUID = '00000000-0000-0000-0000-000000000000'
const PARTITION = partitionOf('pump-1')
/** Of RecordBatch v2. */
const MAGIC = 16
const LAST_OFFSET_DELTA = 23
const RECORD_COUNT = 57

/** Sends the bytes behind a size; the whole answer, without its size. */
async function exchange(socket: import('node:net').Socket, hex: string): Promise<Buffer> {
  const body = Buffer.from(hex.replaceAll(' ', ''), 'hex')
  const size = Buffer.alloc(4)
  size.writeInt32BE(body.length)
  socket.write(Buffer.concat([size, body]))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  return answer.subarray(4)
}

test('ApiVersions of a version to come: what there is, in version 0, with UNSUPPORTED_VERSION', async (t) => {
  const { door } = await openDoor(t)
  for (const version of ['0005', '0006', '7fff']) {
    const { socket } = await connect(t, door.port)
    // Whatever such a version has after the header's common part.
    const answer = await exchange(socket, `0012 ${version} 00000009 ffff 00 02 61 02 62 ffffff`)
    const from = new WireReader(answer)
    assert.equal(from.int32(), 9)
    const told = APIS.apiVersions.response.read(from, 0, false)
    assert.equal(from.at, answer.length)
    assert.equal(told.errorCode, KAFKA_ERROR.unsupportedVersion)
    assert.deepEqual(
      told.apiKeys.find(({ apiKey }) => apiKey === APIS.apiVersions.key),
      { apiKey: 18, minVersion: 0, maxVersion: 4 },
    )
    // And the client goes on with one that is offered: version 4, with tagged fields that nobody knows.
    const next = new WireReader(
      await exchange(socket, '0012 0004 0000000a ffff 01 63 03 010203 02 61 02 62 02 63 01 00 64 02 0000'),
    )
    assert.equal(next.int32(), 10)
    const { errorCode, apiKeys } = APIS.apiVersions.response.read(next, 4, true)
    assert.deepEqual([errorCode, apiKeys.length], [0, Object.keys(APIS).length])
    socket.destroy()
  }
})

test('Metadata: null is all, none is none, an id is as good as a name', async (t) => {
  const { door, log } = await openDoor(t)
  const { call } = await connect(t, door.port)
  const ask = async (topics: { topicId: string; name: string | null }[] | null) =>
    (
      await call('metadata', 12, {
        topics,
        allowAutoTopicCreation: true,
        includeClusterAuthorizedOperations: false,
        includeTopicAuthorizedOperations: false,
      })
    ).topics.map(({ name, errorCode, partitions }) => [name, errorCode, partitions.length])
  const { id } = (await log.describeTopic(RAW))!
  const theirs = (await log.describeTopic('other.telemetry.raw'))!.id
  assert.equal((await ask(null)).length, 3)
  assert.deepEqual(await ask([]), [])
  assert.deepEqual(await ask([{ topicId: id, name: null }]), [[RAW, 0, PARTITIONS]])
  assert.deepEqual(await ask([{ topicId: theirs, name: null }]), [['', KAFKA_ERROR.unknownTopicId, 0]])
  for (const name of ['other.telemetry.raw', 'default._presence', 'none', ''])
    assert.deepEqual(await ask([{ topicId: NO_UUID, name }]), [
      [name, KAFKA_ERROR.unknownTopicOrPartition, 0],
    ])
})

test('Fetch and ListOffsets of another tenant’s topic, of an unknown id, of a session', async (t) => {
  const { door, log } = await openDoor(t)
  const { call } = await connect(t, door.port)
  const fetch = async (version: number, topic: string, topicId: string, sessionId = 0) => {
    const { errorCode, responses } = await call('fetch', version, {
      clusterId: null,
      replicaId: -1,
      maxWaitMs: 0,
      minBytes: 0,
      maxBytes: 1 << 20,
      isolationLevel: 1,
      sessionId,
      sessionEpoch: sessionId === 0 ? -1 : 1,
      topics: [
        {
          topic,
          topicId,
          partitions: [
            {
              partition: 0,
              currentLeaderEpoch: 0,
              fetchOffset: 0,
              lastFetchedEpoch: -1,
              logStartOffset: -1,
              partitionMaxBytes: 1 << 20,
            },
          ],
        },
      ],
      forgottenTopicsData: [],
      rackId: '',
    })
    return [errorCode, responses[0]?.partitions[0]?.errorCode]
  }
  const mine = (await log.describeTopic(RAW))!.id
  const theirs = (await log.describeTopic('other.telemetry.raw'))!.id
  assert.deepEqual(await fetch(13, '', mine), [0, 0])
  assert.deepEqual(await fetch(13, '', theirs), [0, KAFKA_ERROR.unknownTopicId])
  assert.deepEqual(await fetch(13, '', NO_UUID), [0, KAFKA_ERROR.unknownTopicId])
  assert.deepEqual(await fetch(12, 'other.telemetry.raw', NO_UUID), [0, KAFKA_ERROR.unknownTopicOrPartition])
  assert.deepEqual(await fetch(12, RAW, NO_UUID, 7), [KAFKA_ERROR.fetchSessionIdNotFound, undefined])
  const listed = await call('listOffsets', 7, {
    replicaId: -1,
    isolationLevel: 1,
    topics: ['other.telemetry.raw', RAW].map((name) => ({
      name,
      partitions: [0, PARTITIONS, -1].map((partitionIndex) => ({
        partitionIndex,
        currentLeaderEpoch: -1,
        timestamp: -1,
      })),
    })),
  })
  const unknown = KAFKA_ERROR.unknownTopicOrPartition
  assert.deepEqual(
    listed.topics.map(({ partitions }) => partitions.map(({ errorCode }) => errorCode)),
    [
      [unknown, unknown, unknown],
      [0, unknown, unknown],
    ],
  )
})

test('DescribeConfigs: only the resources that there are', async (t) => {
  const { door } = await openDoor(t)
  const { call } = await connect(t, door.port)
  const resources = [
    { resourceType: 2, resourceName: RAW },
    { resourceType: 2, resourceName: 'other.telemetry.raw' },
    { resourceType: 4, resourceName: '1' },
    { resourceType: 4, resourceName: '' },
    { resourceType: 4, resourceName: '2' },
    { resourceType: 32, resourceName: 'group' },
  ]
  const { results } = await call('describeConfigs', 4, {
    resources: resources.map((one) => ({ ...one, configurationKeys: null })),
    includeSynonyms: false,
    includeDocumentation: false,
  })
  const { unknownTopicOrPartition, invalidRequest } = KAFKA_ERROR
  assert.deepEqual(
    results.map(({ errorCode }) => errorCode),
    [0, unknownTopicOrPartition, 0, 0, invalidRequest, invalidRequest],
  )
})

test('JoinGroup outside its bounds', async (t) => {
  const { door } = await openDoor(t)
  const { call } = await connect(t, door.port)
  const join = async (sessionTimeoutMs: number, memberId = '', protocolType = 'consumer') =>
    (
      await call('joinGroup', 9, {
        groupId: 'g',
        sessionTimeoutMs,
        rebalanceTimeoutMs: 1000,
        memberId,
        groupInstanceId: null,
        protocolType,
        protocols: [{ name: 'range', metadata: new Uint8Array(0) }],
        reason: null,
      })
    ).errorCode
  assert.equal(await join(999), KAFKA_ERROR.invalidSessionTimeout)
  assert.equal(await join(1_800_001), KAFKA_ERROR.invalidSessionTimeout)
  assert.equal(await join(-1), KAFKA_ERROR.invalidSessionTimeout)
  assert.equal(await join(10_000, 'made-up'), KAFKA_ERROR.unknownMemberId)
  assert.equal(await join(10_000, '', ''), KAFKA_ERROR.inconsistentGroupProtocol)
  assert.equal(await join(10_000), KAFKA_ERROR.memberIdRequired)
})

const sealed = (bytes: Uint8Array): Uint8Array => {
  new DataView(bytes.buffer, bytes.byteOffset).setUint32(CRC, crc32c(bytes.subarray(ATTRIBUTES)))
  return bytes
}

/** A batch with other records, of that codec. */
function withRecords(batch: Uint8Array, records: Uint8Array, codec: number): Uint8Array {
  const bytes = new Uint8Array(RECORDS + records.length)
  bytes.set(batch.subarray(0, RECORDS))
  bytes.set(records, RECORDS)
  const view = new DataView(bytes.buffer)
  view.setInt32(BATCH_LENGTH, bytes.length - BATCH_LENGTH - 4)
  view.setInt16(ATTRIBUTES, codec)
  return sealed(bytes)
}

test('batches that are wrong are refused, each by its error, and nothing of them is stored', async (t) => {
  const { door, log, failures } = await openDoor(t)
  const { call } = await connect(t, door.port)
  const good = batchOf('pump-1', [payloadOf(1), payloadOf(2)])
  const changed = (change: (view: DataView) => void, seal = true): Uint8Array => {
    const bytes = Uint8Array.from(good)
    change(new DataView(bytes.buffer))
    return seal ? sealed(bytes) : bytes
  }
  const { corruptMessage, invalidRecord, messageTooLarge } = KAFKA_ERROR
  const cases: [what: string, records: Uint8Array | null, code: number][] = [
    ['no batch', null, invalidRecord],
    ['no bytes', new Uint8Array(0), corruptMessage],
    ['a wrong CRC', changed((view) => view.setUint32(CRC, 1), false), corruptMessage],
    ['an older format', changed((view) => view.setInt8(MAGIC, 1)), corruptMessage],
    ['half of it', good.subarray(0, good.length - 5), corruptMessage],
    ['two batches', Buffer.concat([good, good]), invalidRecord],
    ['a negative length', changed((view) => view.setInt32(BATCH_LENGTH, -1)), corruptMessage],
    ['more records than offsets', changed((view) => view.setInt32(RECORD_COUNT, 3)), corruptMessage],
    [
      'fewer records than it says',
      changed((view) => {
        view.setInt32(RECORD_COUNT, 3)
        view.setInt32(LAST_OFFSET_DELTA, 2)
      }),
      invalidRecord,
    ],
    ['more records than it says', changed((view) => view.setInt32(RECORD_COUNT, 1)), invalidRecord],
    ['no record', changed((view) => view.setInt32(RECORD_COUNT, 0)), invalidRecord],
    ['a control batch', changed((view) => view.setInt16(ATTRIBUTES, 0x20)), invalidRecord],
    [
      'a transaction',
      changed((view) => view.setInt16(ATTRIBUTES, 0x10)),
      KAFKA_ERROR.transactionalIdAuthorizationFailed,
    ],
    [
      'a codec of the future',
      changed((view) => view.setInt16(ATTRIBUTES, 5)),
      KAFKA_ERROR.unsupportedCompressionType,
    ],
    ['what is no zstd', changed((view) => view.setInt16(ATTRIBUTES, 4)), corruptMessage],
    ['a bomb', withRecords(good, zstdCompressSync(Buffer.alloc(256 << 20)), 4), messageTooLarge],
  ]
  for (const [what, records, code] of cases) {
    const { responses } = await call('produce', 9, {
      transactionalId: null,
      acks: -1,
      timeoutMs: 1000,
      topics: [{ name: RAW, partitions: [{ index: PARTITION, records }] }],
    })
    assert.equal(responses[0]!.partitionResponses[0]!.errorCode, code, what)
  }
  const { responses } = await call('produce', 9, {
    transactionalId: 'mine',
    acks: -1,
    timeoutMs: 1000,
    topics: [{ name: RAW, partitions: [{ index: PARTITION, records: good }] }],
  })
  assert.equal(responses[0]!.partitionResponses[0]!.errorCode, KAFKA_ERROR.transactionalIdAuthorizationFailed)
  assert.deepEqual(await log.range(RAW, PARTITION), { start: 0, end: 0 })
  assert.deepEqual(failures, [])
})
