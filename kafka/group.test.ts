// The state machine of a consumer group under a clock of the test's own.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Budget } from './budget.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { Group, type JoinAnswer, type JoinRequest } from './group.ts'

const ASSIGNED = Buffer.from('assigned')

const request = (changes: Partial<JoinRequest> = {}): JoinRequest => ({
  memberId: '',
  instanceId: null,
  clientId: 'client',
  clientHost: '/127.0.0.1',
  sessionTimeoutMs: 10_000,
  rebalanceTimeoutMs: 30_000,
  protocolType: 'consumer',
  protocols: [{ name: 'range', metadata: Buffer.from('topics') }],
  needsMemberId: false,
  maySkipAssignment: true,
  ...changes,
})

const protocol = { type: 'consumer', name: 'range' }

/** Lets members join an empty group and brings it to rest. */
async function stable(group: Group, ...requests: JoinRequest[]): Promise<JoinAnswer[]> {
  const joins = requests.map((one) => Promise.resolve(group.join(one, 0)))
  group.sweep(1000)
  const answers = await Promise.all(joins)
  const assignments = answers.map(({ memberId }) => ({ memberId, assignment: ASSIGNED }))
  await Promise.all(
    answers.map(({ memberId, leader, generationId }) =>
      group.sync(memberId, null, generationId, protocol, memberId === leader ? assignments : [], 1000),
    ),
  )
  return answers
}

test('members that start together share one round; the leader gets all of them', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const [first, second] = await stable(group, request(), request())
  assert.equal(group.state, 'Stable')
  assert.equal(first!.generationId, 1)
  assert.equal(second!.generationId, 1)
  assert.equal(first!.members.length + second!.members.length, 2)
  assert.equal(group.heartbeat(first!.memberId, null, 1, 2000), KAFKA_ERROR.none)
  assert.equal(group.heartbeat(first!.memberId, null, 2, 2000), KAFKA_ERROR.illegalGeneration)
  assert.equal(group.heartbeat('nobody', null, 1, 2000), KAFKA_ERROR.unknownMemberId)
})

test('a new member comes again with the id that it was given', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const told = await group.join(request({ needsMemberId: true }), 0)
  assert.equal(told.errorCode, KAFKA_ERROR.memberIdRequired)
  assert.equal(group.members.size, 0)
  const [joined] = await stable(group, request({ memberId: told.memberId, needsMemberId: true }))
  assert.equal(joined!.errorCode, KAFKA_ERROR.none)
  const unknown = await group.join(request({ memberId: 'made-up' }), 0)
  assert.equal(unknown.errorCode, KAFKA_ERROR.unknownMemberId)
})

test('a join makes the others come again; who does not come is left out when time is over', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const [first, second] = await stable(group, request(), request())
  const third = Promise.resolve(group.join(request(), 2000))
  assert.equal(group.heartbeat(first!.memberId, null, 1, 3000), KAFKA_ERROR.rebalanceInProgress)
  const again = Promise.resolve(group.join(request({ memberId: first!.memberId }), 3000))
  // The second keeps its session alive but does not join.
  assert.equal(group.heartbeat(second!.memberId, null, 1, 31_000), KAFKA_ERROR.rebalanceInProgress)
  group.sweep(31_999)
  assert.equal(group.state, 'PreparingRebalance')
  group.sweep(32_000)
  assert.equal((await third).generationId, 2)
  assert.equal((await again).generationId, 2)
  assert.equal(group.members.size, 2)
  assert.equal(group.heartbeat(second!.memberId, null, 1, 33_000), KAFKA_ERROR.unknownMemberId)
})

test('a member without a sign of life is removed, and the rest share anew', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const [first, second] = await stable(group, request(), request())
  group.heartbeat(first!.memberId, null, 1, 9000)
  group.sweep(11_500)
  assert.deepEqual([...group.members.keys()], [first!.memberId])
  assert.equal(group.state, 'PreparingRebalance')
  const answer = await group.join(request({ memberId: first!.memberId }), 12_000)
  assert.equal(answer.generationId, 2)
  assert.equal(answer.members.length, 1)
  assert.equal(group.heartbeat(second!.memberId, null, 1, 12_000), KAFKA_ERROR.unknownMemberId)
})

test('who does not sync in time is removed', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const joins = [request(), request()].map((one) => Promise.resolve(group.join(one, 0)))
  group.sweep(300)
  const answers = await Promise.all(joins)
  const follower = answers.find(({ memberId, leader }) => memberId !== leader)!
  const waits = Promise.resolve(group.sync(follower.memberId, null, 1, protocol, [], 400))
  group.sweep(31_000)
  assert.equal((await waits).errorCode, KAFKA_ERROR.rebalanceInProgress)
  assert.deepEqual([...group.members.keys()], [follower.memberId])
})

test('a static member that comes back takes its former place without a rebalance, and its former self is fenced', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const [first, second] = await stable(
    group,
    request({ instanceId: 'a', sessionTimeoutMs: 60_000 }),
    request({ instanceId: 'b', sessionTimeoutMs: 60_000 }),
  )
  const back = await group.join(request({ instanceId: 'b', sessionTimeoutMs: 60_000 }), 20_000)
  assert.equal(group.state, 'Stable')
  assert.equal(back.generationId, 1)
  assert.notEqual(back.memberId, second!.memberId)
  assert.equal(group.heartbeat(second!.memberId, 'b', 1, 20_000), KAFKA_ERROR.fencedInstanceId)
  const synced = await group.sync(back.memberId, 'b', 1, protocol, [], 20_000)
  assert.deepEqual(Buffer.from(synced.assignment), ASSIGNED)
  assert.equal(group.leave('', 'b', 21_000), KAFKA_ERROR.none)
  assert.deepEqual([...group.members.keys()], [first!.memberId])
})

test('members that share no protocol are refused; of several the best liked is taken', async () => {
  const group = new Group('g', new Budget(1 << 20))
  const both = [
    { name: 'range', metadata: Buffer.from('') },
    { name: 'sticky', metadata: Buffer.from('') },
  ]
  const joins = [request({ protocols: both }), request({ protocols: [...both].reverse() }), request()].map(
    (one) => Promise.resolve(group.join(one, 0)),
  )
  const other = await group.join(request({ protocols: [{ name: 'own', metadata: Buffer.from('') }] }), 0)
  assert.equal(other.errorCode, KAFKA_ERROR.inconsistentGroupProtocol)
  group.sweep(1000)
  assert.ok((await Promise.all(joins)).every(({ protocolName }) => protocolName === 'range'))
  const connect = await group.join(request({ protocolType: 'connect' }), 0)
  assert.equal(connect.errorCode, KAFKA_ERROR.inconsistentGroupProtocol)
})

test('only members of the generation commit; anybody may while there are none', async () => {
  const group = new Group('g', new Budget(1 << 20))
  assert.equal(group.commitProblem('', null, -1, 0), KAFKA_ERROR.none)
  const [member] = await stable(group, request())
  assert.equal(group.commitProblem('', null, -1, 0), KAFKA_ERROR.unknownMemberId)
  assert.equal(group.commitProblem(member!.memberId, null, 1, 0), KAFKA_ERROR.none)
  assert.equal(group.commitProblem(member!.memberId, null, 0, 0), KAFKA_ERROR.illegalGeneration)
  assert.equal(group.leave(member!.memberId, null, 0), KAFKA_ERROR.none)
  assert.equal(group.state, 'Empty')
  assert.ok(group.isIdle)
})

test('what members and given ids cost is taken from the budget, and given back when they go', async () => {
  const bytesMax = 1 << 20
  const budget = new Budget(bytesMax)
  const isFree = (): boolean => {
    if (!budget.take(bytesMax)) return false
    budget.give(bytesMax)
    return true
  }
  const group = new Group('g', budget)
  const protocols = [{ name: 'range', metadata: new Uint8Array(300_000) }]
  await stable(group, request({ protocols }), request({ protocols }), request())
  const full = await group.join(request({ protocols: [...protocols, ...protocols] }), 2000)
  assert.equal(full.errorCode, KAFKA_ERROR.groupMaxSizeReached)
  assert.equal(group.state, 'Stable')
  // Ids with the client's name in them.
  const clientId = 'c'.repeat(30_000)
  let given = 0
  while (
    (await group.join(request({ clientId, needsMemberId: true }), 2000)).errorCode ===
    KAFKA_ERROR.memberIdRequired
  )
    given++
  assert.ok(given > 1 && given < 10, String(given))
  group.sweep(12_001)
  // All are gone: their sessions have ended, and the ids are void.
  assert.equal(group.members.size, 0)
  assert.ok(isFree())
})

test('an assignment that is too large is refused, and a static member that comes back is not counted twice', async () => {
  const budget = new Budget(1 << 20)
  const group = new Group('g', budget)
  const large = request({
    instanceId: 'a',
    protocols: [{ name: 'range', metadata: new Uint8Array(700_000) }],
  })
  const joining = Promise.resolve(group.join(large, 0))
  group.sweep(1000)
  const { memberId } = await joining
  const sync = (bytes: number) =>
    group.sync(memberId, 'a', 1, protocol, [{ memberId, assignment: new Uint8Array(bytes) }], 1000)
  assert.equal((await sync(500_000)).errorCode, KAFKA_ERROR.groupMaxSizeReached)
  assert.equal((await sync(200_000)).errorCode, KAFKA_ERROR.none)
  const back = await group.join(large, 2000)
  assert.equal(back.errorCode, KAFKA_ERROR.none)
  assert.equal(group.leave(back.memberId, 'a', 3000), KAFKA_ERROR.none)
  assert.ok(budget.take(1 << 20))
})
