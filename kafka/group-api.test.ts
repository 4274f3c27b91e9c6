// Whose groups are whose, and how much of them there may be.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { rawTopic } from '../schemas/names.ts'
import { MillraceError } from '../std/errors.ts'
import type { Caller } from './caller.ts'
import { callerOf, connect, openDoor, RAW, streamOf } from './door-harness.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { Groups } from './group-api.ts'
import { GroupOffsets, type OffsetToCommit } from './group-offsets.ts'
import { PublicTopics } from './public-topics.ts'

const TENANTS = ['default', 'other'] as const
const METADATA_MAX = 'm'.repeat(4096)

async function open(t: TestContext): Promise<Groups> {
  const log = new MemoryLog()
  const topic = { partitions: 4, cleanup: 'delete', retentionAgeMs: 1e9, retentionBytes: 1e9 } as const
  for (const tenant of TENANTS)
    await log.createTopic(rawTopic(tenant, 'telemetry'), { ...topic, backlogBytesMax: 1e9 })
  const topics = new PublicTopics(log)
  await topics.setStreams(TENANTS.map(streamOf))
  const groups = new Groups(topics, await GroupOffsets.open(log), (error) => assert.fail(String(error)))
  t.after(() => groups.close())
  return groups
}

const joining = (groupId: string, instance: string, bytes = 10) => ({
  groupId,
  sessionTimeoutMs: 60_000,
  rebalanceTimeoutMs: 60_000,
  memberId: '',
  groupInstanceId: instance,
  protocolType: 'consumer',
  protocols: [{ name: 'range', metadata: new Uint8Array(bytes) }],
  reason: null,
})

const committing = (groupId: string, topic: string, metadata = '', partitions = [0]) => ({
  groupId,
  generationId: -1,
  memberId: '',
  groupInstanceId: null,
  retentionTimeMs: -1,
  topics: [
    {
      name: topic,
      partitions: partitions.map((partitionIndex) => ({
        partitionIndex,
        committedOffset: 7,
        committedLeaderEpoch: 0,
        committedMetadata: metadata,
      })),
    },
  ],
})

const fetching = (groupId: string, topics: { name: string; partitionIndexes: number[] }[] | null) => ({
  groupId: '',
  topics: null,
  groups: [{ groupId, memberId: null, memberEpoch: -1, topics }],
  requireStable: false,
})

test('a group of the same name is another in each tenant, in every request', async (t) => {
  const groups = await open(t)
  const mine = callerOf('default')
  const theirs = callerOf('other')
  const joined = await groups.joinGroup(joining('shared', 'a'), mine, 9)
  assert.equal(joined.errorCode, KAFKA_ERROR.none)
  const { memberId, generationId } = joined
  const identity = { groupId: 'shared', memberId, generationId, groupInstanceId: 'a' }
  const assignments = [{ memberId, assignment: new Uint8Array(1) }]
  const sync = { ...identity, protocolType: 'consumer', protocolName: 'range', assignments }
  assert.equal((await groups.syncGroup(sync, theirs)).errorCode, KAFKA_ERROR.unknownMemberId)
  assert.equal((await groups.syncGroup(sync, mine)).errorCode, KAFKA_ERROR.none)
  assert.equal(groups.heartbeat(identity, theirs).errorCode, KAFKA_ERROR.unknownMemberId)
  const leaving = {
    groupId: 'shared',
    memberId: '',
    members: [{ memberId, groupInstanceId: 'a', reason: null }],
  }
  const [left] = groups.leaveGroup(leaving, theirs, 5).members
  assert.equal(left!.errorCode, KAFKA_ERROR.unknownMemberId)
  const commit = { ...committing('shared', RAW), ...identity }
  assert.equal((await groups.offsetCommit(commit, mine)).topics[0]!.partitions[0]!.errorCode, 0)
  for (const one of [commit, { ...commit, generationId: -1, memberId: '', groupInstanceId: null }])
    assert.notEqual((await groups.offsetCommit(one, theirs)).topics[0]!.partitions[0]!.errorCode, 0)
  const asked = [{ name: RAW, partitionIndexes: [0] }]
  const offsetOf = (caller: Caller) =>
    groups.offsetFetch(fetching('shared', asked), caller, 8).groups[0]!.topics[0]!.partitions[0]!
      .committedOffset
  assert.equal(offsetOf(mine), 7)
  assert.equal(offsetOf(theirs), -1)
  assert.deepEqual(groups.offsetFetch(fetching('shared', null), theirs, 8).groups[0]!.topics, [])
  const filters = { statesFilter: [], typesFilter: [] }
  assert.equal(groups.listGroups(filters, mine).groups.length, 1)
  assert.deepEqual(groups.listGroups(filters, theirs).groups, [])
  const describing = { groups: ['shared'], includeAuthorizedOperations: false }
  assert.equal(groups.describeGroups(describing, mine).groups[0]!.members.length, 1)
  assert.equal(groups.describeGroups(describing, theirs).groups[0]!.groupState, 'Dead')
  const [deleted] = (await groups.deleteGroups({ groupsNames: ['shared'] }, theirs)).results
  assert.equal(deleted!.errorCode, KAFKA_ERROR.groupIdNotFound)
  assert.equal(groups.heartbeat(identity, mine).errorCode, KAFKA_ERROR.none)
})

test('who may read no stream has no part in groups', async (t) => {
  const groups = await open(t)
  const reader = callerOf('default', ['devices/+/telemetry'])
  assert.equal(
    (await groups.offsetCommit(committing('g', RAW), reader)).topics[0]!.partitions[0]!.errorCode,
    0,
  )
  const refused = KAFKA_ERROR.groupAuthorizationFailed
  for (const subscribe of [undefined, [], ['devices/pump-1/#'], ['alerts/+/x']]) {
    const caller = callerOf('default')
    const device: Caller = { ...caller, principal: { ...caller.principal, subscribe } }
    assert.equal((await groups.joinGroup(joining('g', 'a'), device, 9)).errorCode, refused)
    const [commit] = (await groups.offsetCommit(committing('g', RAW), device)).topics
    assert.equal(commit!.partitions[0]!.errorCode, refused)
    const [fetched] = groups.offsetFetch(fetching('g', null), device, 8).groups
    assert.deepEqual([fetched!.errorCode, fetched!.topics], [refused, []])
    const [deleted] = (await groups.deleteGroups({ groupsNames: ['g'] }, device)).results
    assert.equal(deleted!.errorCode, refused)
    assert.deepEqual(groups.listGroups({ statesFilter: [], typesFilter: [] }, device).groups, [])
    const described = groups.describeGroups({ groups: ['g'], includeAuthorizedOperations: false }, device)
    assert.equal(described.groups[0]!.errorCode, refused)
    const leaving = { groupId: 'g', memberId: '', members: [] }
    assert.equal(groups.leaveGroup(leaving, device, 5).errorCode, refused)
  }
})

test('names and metadata have their bounds', async (t) => {
  const groups = await open(t)
  const caller = callerOf('default')
  const long = 'g'.repeat(256)
  assert.equal((await groups.joinGroup(joining(long, 'a'), caller, 9)).errorCode, KAFKA_ERROR.invalidGroupId)
  const codeOf = async (groupId: string, metadata: string) =>
    (await groups.offsetCommit(committing(groupId, RAW, metadata), caller)).topics[0]!.partitions[0]!
      .errorCode
  assert.equal(await codeOf(long, ''), KAFKA_ERROR.invalidGroupId)
  assert.equal(await codeOf('', ''), KAFKA_ERROR.invalidGroupId)
  assert.equal(await codeOf('g', METADATA_MAX), KAFKA_ERROR.none)
  assert.equal(await codeOf('g', `${METADATA_MAX}m`), KAFKA_ERROR.offsetMetadataTooLarge)
  const many = joining('g', 'a')
  const protocols = Array.from({ length: 33 }, (_, i) => ({ name: `p${i}`, metadata: new Uint8Array(0) }))
  const answer = await groups.joinGroup({ ...many, protocols }, caller, 9)
  assert.equal(answer.errorCode, KAFKA_ERROR.inconsistentGroupProtocol)
})

test('an attacker with many groups fills what its tenant has, and no more; others join and commit as before', async (t) => {
  const { door, failures } = await openDoor(t)
  const before = process.memoryUsage().arrayBuffers
  const clients = await Promise.all(Array.from({ length: 16 }, () => connect(t, door.port)))
  const codes = await Promise.all(
    clients.map(async (client, c) => {
      const told: number[] = []
      for (let i = 0; i < 8; i++)
        told.push((await client.call('joinGroup', 9, joining(`g-${c}-${i}`, 'a', 1 << 20))).errorCode)
      return told
    }),
  )
  const joined = codes.flat().filter((code) => code === KAFKA_ERROR.none).length
  assert.ok(joined > 20 && joined < 32, `${joined} joined`)
  assert.equal(
    codes.flat().filter((code) => code === KAFKA_ERROR.groupMaxSizeReached).length,
    codes.flat().length - joined,
  )
  globalThis.gc?.()
  const grown = process.memoryUsage().arrayBuffers - before
  t.diagnostic(`${joined} members of 1 MiB, ${grown >> 20} MiB more`)
  const [client] = clients
  assert.equal((await client!.call('joinGroup', 9, joining('small', 'a', 100))).errorCode, KAFKA_ERROR.none)
  const members = [{ memberId: '', groupInstanceId: 'a', reason: null }]
  await client!.call('leaveGroup', 5, { groupId: 'g-0-0', memberId: '', members })
  const again = await client!.call('joinGroup', 9, joining('g-again', 'a', 1 << 20))
  assert.equal(again.errorCode, KAFKA_ERROR.none)
  assert.deepEqual(failures, [])
})

test('committed offsets are bounded in bytes, over a restart too; what is there goes on, what is removed makes room', async () => {
  const log = new MemoryLog()
  const bytesMax = 1 << 20
  const offsets = await GroupOffsets.open(log, bytesMax)
  const one = (offset: number): OffsetToCommit => ({
    topic: RAW,
    partition: 0,
    committed: { offset, leaderEpoch: 0, metadata: METADATA_MAX, timeMs: 1 },
  })
  // Together, as from many connections: none passes on the room that another takes.
  const commits = await Promise.all(
    Array.from({ length: 1000 }, (_, i) => offsets.commit('default', `g${i}`, [one(1)])),
  )
  const taken = commits.filter((isTaken) => isTaken).length
  assert.ok(taken > 90 && taken < bytesMax / METADATA_MAX.length / 2, String(taken))
  assert.equal(offsets.groups('default').length, taken)
  assert.equal(await offsets.commit('other', 'g0', [one(1)]), true)
  for (const held of [offsets, await GroupOffsets.open(log, bytesMax)]) {
    assert.equal(await held.commit('default', 'new', [one(1)]), false)
    assert.equal(await held.commit('default', 'g0', [one(2)]), true)
    await held.remove('default', 'g0')
    assert.equal(await held.commit('default', 'g0', [one(3)]), true)
  }
})

test('a commit that finds the disk full is one to be sent again', async (t) => {
  const log = new MemoryLog()
  const { door, failures } = await openDoor(t, log)
  const client = await connect(t, door.port)
  const append = log.append.bind(log)
  log.append = () => Promise.reject(new MillraceError('log_full', 'no room'))
  const codeOf = async () =>
    (await client.call('offsetCommit', 8, committing('g', RAW))).topics[0]!.partitions[0]!.errorCode
  assert.equal(await codeOf(), KAFKA_ERROR.coordinatorNotAvailable)
  log.append = append
  assert.equal(await codeOf(), KAFKA_ERROR.none)
  assert.deepEqual(failures, [])
})

test('an offset that is named many times is told once', async (t) => {
  const { door } = await openDoor(t)
  const client = await connect(t, door.port)
  await client.call('offsetCommit', 8, committing('g', RAW, METADATA_MAX))
  const topics = [
    { name: RAW, partitionIndexes: Array<number>(40_000).fill(0) },
    { name: RAW, partitionIndexes: [0, 1] },
  ]
  const { groups } = await client.call('offsetFetch', 8, fetching('g', topics))
  assert.deepEqual(
    groups[0]!.topics.map(({ partitions }) => partitions.map(({ committedOffset }) => committedOffset)),
    [[7, -1]],
  )
})
