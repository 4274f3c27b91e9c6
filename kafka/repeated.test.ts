// Requests that name one thing many times: the answer, and the work, are those of naming it once.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Log, ReadResult } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { batchOf, connect, openDoor, PARTITIONS, partitionOf, payloadOf, RAW } from './door-harness.ts'

const TIMES = 5000
const NO_UUID = '00000000-0000-0000-0000-000000000000'
const INVALID_REQUEST = 42
const many = <T>(one: T): T[] => Array.from({ length: TIMES }, () => one)

/** Counts what is asked of it. */
class CountingLog extends MemoryLog {
  calls = 0

  override async read(...asked: Parameters<Log['read']>): Promise<ReadResult> {
    if (asked[0] === RAW) this.calls++
    return super.read(...asked)
  }

  override async range(...asked: Parameters<Log['range']>) {
    if (asked[0] === RAW) this.calls++
    return super.range(...asked)
  }
}

test('metadata, configurations, groups and offsets are told once', async (t) => {
  const { door, failures } = await openDoor(t)
  const client = await connect(t, door.port)
  const metadata = await client.call('metadata', 12, {
    topics: many({ topicId: NO_UUID, name: RAW }),
    allowAutoTopicCreation: false,
    includeClusterAuthorizedOperations: false,
    includeTopicAuthorizedOperations: false,
  })
  assert.deepEqual(
    metadata.topics.map(({ name, partitions }) => [name, partitions.length]),
    [[RAW, PARTITIONS]],
  )
  const configs = await client.call('describeConfigs', 4, {
    resources: many({ resourceType: 2, resourceName: RAW, configurationKeys: null }),
    includeSynonyms: false,
    includeDocumentation: false,
  })
  assert.equal(configs.results.length, 1)
  const described = await client.call('describeGroups', 5, {
    groups: many('group'),
    includeAuthorizedOperations: false,
  })
  assert.equal(described.groups.length, 1)
  const offsets = await client.call('offsetFetch', 8, {
    groupId: '',
    topics: null,
    groups: many({ groupId: 'group', memberId: null, memberEpoch: -1, topics: null }),
    requireStable: false,
  })
  assert.equal(offsets.groups.length, 1)
  assert.deepEqual(failures, [])
})

test('a partition is looked at once', async (t) => {
  const log = new CountingLog()
  const { door } = await openDoor(t, log)
  const partition = partitionOf('pump-1')
  const entry = { topic: RAW, partition, batch: batchOf('pump-1', [payloadOf(1)]), recordCount: 1 }
  await log.append({ entries: [entry] })
  const client = await connect(t, door.port)
  log.calls = 0
  const one = {
    partition,
    currentLeaderEpoch: -1,
    fetchOffset: 0,
    lastFetchedEpoch: -1,
    logStartOffset: -1,
    partitionMaxBytes: 1,
  }
  const fetched = await client.call('fetch', 12, {
    clusterId: null,
    replicaId: -1,
    maxWaitMs: 0,
    minBytes: 1,
    maxBytes: 1 << 20,
    isolationLevel: 0,
    sessionId: 0,
    sessionEpoch: -1,
    topics: [
      { topic: RAW, topicId: NO_UUID, partitions: many(one) },
      { topic: RAW, topicId: NO_UUID, partitions: [one] },
    ],
    forgottenTopicsData: [],
    rackId: '',
  })
  assert.deepEqual(
    fetched.responses.map(({ partitions }) => partitions.length),
    [1, 0],
  )
  const listed = await client.call('listOffsets', 7, {
    replicaId: -1,
    isolationLevel: 0,
    topics: [
      { name: RAW, partitions: many({ partitionIndex: partition, currentLeaderEpoch: -1, timestamp: -1 }) },
    ],
  })
  const [first, ...others] = listed.topics[0]!.partitions
  assert.deepEqual([first!.errorCode, first!.offset], [0, 1])
  assert.ok(others.length === TIMES - 1 && others.every(({ errorCode }) => errorCode === INVALID_REQUEST))
  assert.ok(log.calls <= 2, `${log.calls} calls of the log`)
})
