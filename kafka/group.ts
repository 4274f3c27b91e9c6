// One consumer group of the classic protocol: a state machine (Kafka protocol guide, "Group Membership API"; KIP-394
// member ids, KIP-345 static members). It knows no connection and no clock but what it is given; group-api.ts turns
// requests into calls.
//
//   empty ── join ──► preparing ── all joined, or time is over ──► completing ── leader's sync ──► stable
//                        ▲                                             │                            │
//                        └── join, leave, expiry, new metadata ────────┴────────────────────────────┘
//
// A member's session is not watched while its JoinGroup or SyncGroup waits here: the protocol's own deadlines are.
// What members and ids cost is taken from a budget, which all groups of the tenant share.
import { randomUUID } from 'node:crypto'
import type { Budget } from './budget.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'

export const MEMBERS_MAX = 1000
/** How long the first join of an empty group waits for others, so that members that start together share one round. */
const INITIAL_DELAY_MS = 200
/** Objects and map entries, beside the bytes that the client has sent. */
const MEMBER_BYTES = 2048
const PROTOCOL_BYTES = 256
const PENDING_BYTES = 512

export type GroupState = 'Empty' | 'PreparingRebalance' | 'CompletingRebalance' | 'Stable'

export interface Protocol {
  name: string
  metadata: Uint8Array
}

export interface JoinRequest {
  memberId: string
  instanceId: string | null
  clientId: string
  clientHost: string
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  protocolType: string
  protocols: Protocol[]
  /** Whether a new member must come again with the id that it is given (JoinGroup 4 and later). */
  needsMemberId: boolean
  /** Whether a leader can be told to leave the assignment as it is (JoinGroup 9 and later). */
  maySkipAssignment: boolean
}

export interface JoinAnswer {
  errorCode: KafkaError
  generationId: number
  protocolType: string | null
  protocolName: string | null
  leader: string
  memberId: string
  skipAssignment: boolean
  members: { memberId: string; groupInstanceId: string | null; metadata: Uint8Array }[]
}

export interface SyncAnswer {
  errorCode: KafkaError
  protocolType: string | null
  protocolName: string | null
  assignment: Uint8Array
}

export class Member {
  readonly id: string
  readonly instanceId: string | null
  readonly clientId: string
  readonly clientHost: string
  sessionTimeoutMs = 0
  rebalanceTimeoutMs = 0
  protocols: Protocol[] = []
  /** Taken from the budget for what it has joined with. */
  bytes = 0
  assignment: Uint8Array = new Uint8Array(0)
  /** Time at which the session ends without a sign of life. */
  expiresAt = 0
  onJoined: ((answer: JoinAnswer) => void) | undefined
  onSynced: ((answer: SyncAnswer) => void) | undefined

  constructor(id: string, request: JoinRequest) {
    this.id = id
    this.instanceId = request.instanceId
    this.clientId = request.clientId
    this.clientHost = request.clientHost
  }

  metadata(protocol: string): Uint8Array {
    return this.protocols.find(({ name }) => name === protocol)?.metadata ?? new Uint8Array(0)
  }
}

const NOTHING = new Uint8Array(0)

const refusedJoin = (errorCode: KafkaError, memberId: string): JoinAnswer => ({
  errorCode,
  generationId: -1,
  protocolType: null,
  protocolName: null,
  leader: '',
  memberId,
  skipAssignment: false,
  members: [],
})

const refusedSync = (errorCode: KafkaError): SyncAnswer => ({
  errorCode,
  protocolType: null,
  protocolName: null,
  assignment: NOTHING,
})

export class Group {
  readonly id: string
  readonly members = new Map<string, Member>()
  state: GroupState = 'Empty'
  generation = 0
  protocolType = ''
  protocolName = ''
  leader = ''
  /** Ids given out, not yet used, with the time at which they are void. */
  readonly #pending = new Map<string, number>()
  readonly #budget: Budget
  /** Member id of each static member. */
  readonly #static = new Map<string, string>()
  /** Time at which the phase of a rebalance ends, whoever is missing. */
  #phaseEndsAt = 0
  /** A first round waits until then even when all have joined. */
  #waitsForMore = false

  constructor(id: string, budget: Budget) {
    this.id = id
    this.#budget = budget
  }

  join(request: JoinRequest, now: number): JoinAnswer | Promise<JoinAnswer> {
    if (this.members.size > 0 && !this.#fits(request))
      return refusedJoin(KAFKA_ERROR.inconsistentGroupProtocol, request.memberId)
    const full = refusedJoin(KAFKA_ERROR.groupMaxSizeReached, request.memberId)
    const bytes = bytesOf(request)
    let member: Member
    if (request.memberId === '') {
      const id = `${request.clientId}-${randomUUID()}`
      const before = request.instanceId === null ? undefined : this.#static.get(request.instanceId)
      if (before !== undefined) return this.#replace(this.members.get(before)!, id, request, now)
      if (this.members.size + this.#pending.size >= MEMBERS_MAX) return full
      if (request.needsMemberId && request.instanceId === null) {
        if (!this.#budget.take(bytesPending(id))) return full
        this.#pending.set(id, now + request.sessionTimeoutMs)
        return refusedJoin(KAFKA_ERROR.memberIdRequired, id)
      }
      if (!this.#budget.take(bytes)) return full
      member = this.#add(id, request)
    } else if (this.#pending.has(request.memberId)) {
      if (!this.#budget.take(bytes)) return full
      this.#forget(request.memberId)
      member = this.#add(request.memberId, request)
    } else {
      const problem = this.#problemOf(request.memberId, request.instanceId)
      if (problem !== undefined) return refusedJoin(problem, request.memberId)
      member = this.members.get(request.memberId)!
      if (!this.#budget.take(bytes - member.bytes)) return full
    }
    const isChanged = !isSame(member.protocols, request.protocols)
    this.#update(member, request, now)
    if (!isChanged && this.#isSettledFor(member)) return this.#joined(member)
    return this.#awaitJoin(member, now)
  }

  sync(
    memberId: string,
    instanceId: string | null,
    generation: number,
    protocol: { type: string | null; name: string | null },
    assignments: readonly { memberId: string; assignment: Uint8Array }[],
    now: number,
  ): SyncAnswer | Promise<SyncAnswer> {
    const problem = this.#problemOf(memberId, instanceId, generation)
    if (problem !== undefined) return refusedSync(problem)
    if (
      (protocol.type !== null && protocol.type !== this.protocolType) ||
      (protocol.name !== null && protocol.name !== this.protocolName)
    )
      return refusedSync(KAFKA_ERROR.inconsistentGroupProtocol)
    const member = this.members.get(memberId)!
    member.expiresAt = now + member.sessionTimeoutMs
    if (this.state === 'PreparingRebalance') return refusedSync(KAFKA_ERROR.rebalanceInProgress)
    if (this.state === 'Stable') return this.#synced(member)
    const isLeader = memberId === this.leader
    if (isLeader && !this.#assign(assignments)) return refusedSync(KAFKA_ERROR.groupMaxSizeReached)
    const answer = new Promise<SyncAnswer>((resolve) => {
      member.onSynced = resolve
    })
    if (isLeader) {
      this.state = 'Stable'
      for (const one of this.members.values()) {
        one.onSynced?.(this.#synced(one))
        one.onSynced = undefined
        one.expiresAt = now + one.sessionTimeoutMs
      }
    }
    return answer
  }

  heartbeat(memberId: string, instanceId: string | null, generation: number, now: number): KafkaError {
    const problem = this.#problemOf(memberId, instanceId, generation)
    if (problem !== undefined) return problem
    const member = this.members.get(memberId)!
    member.expiresAt = now + member.sessionTimeoutMs
    return this.state === 'PreparingRebalance' ? KAFKA_ERROR.rebalanceInProgress : KAFKA_ERROR.none
  }

  leave(memberId: string, instanceId: string | null, now: number): KafkaError {
    if (this.#forget(memberId)) return KAFKA_ERROR.none
    const id = memberId === '' && instanceId !== null ? (this.#static.get(instanceId) ?? '') : memberId
    const problem = this.#problemOf(id, instanceId)
    if (problem !== undefined) return problem
    this.#remove(this.members.get(id)!)
    this.#rebalanceWithout(now)
    return KAFKA_ERROR.none
  }

  /** Whether that member may commit offsets now. */
  commitProblem(memberId: string, instanceId: string | null, generation: number, now: number): KafkaError {
    // Who is no member commits under generation -1: allowed while nobody else is one.
    if (generation < 0 && memberId === '' && instanceId === null)
      return this.members.size === 0 ? KAFKA_ERROR.none : KAFKA_ERROR.unknownMemberId
    const problem = this.#problemOf(memberId, instanceId, generation)
    if (problem !== undefined) return problem
    if (this.state === 'CompletingRebalance') return KAFKA_ERROR.rebalanceInProgress
    const member = this.members.get(memberId)!
    member.expiresAt = now + member.sessionTimeoutMs
    return KAFKA_ERROR.none
  }

  /** Ends sessions, given ids and phases whose time is over. */
  sweep(now: number): void {
    for (const [id, voidAt] of this.#pending) if (voidAt <= now) this.#forget(id)
    const isOver = now >= this.#phaseEndsAt
    if (this.state === 'PreparingRebalance' && isOver) this.#completeJoin(now)
    else if (this.state === 'CompletingRebalance' && isOver) {
      for (const member of [...this.members.values()]) if (member.onSynced === undefined) this.#remove(member)
      this.#rebalanceWithout(now)
    }
    let expired = false
    for (const member of [...this.members.values()]) {
      if (member.onJoined !== undefined || member.onSynced !== undefined || member.expiresAt > now) continue
      this.#remove(member)
      expired = true
    }
    if (expired) this.#rebalanceWithout(now)
  }

  /** Nothing is left that anybody could come back to. */
  get isIdle(): boolean {
    return this.members.size === 0 && this.#pending.size === 0
  }

  #fits(request: JoinRequest): boolean {
    if (request.protocolType !== this.protocolType) return false
    const others = [...this.members.values()].filter(({ id }) => id !== request.memberId)
    return request.protocols.some(({ name }) => others.every((member) => hasProtocol(member, name)))
  }

  #problemOf(memberId: string, instanceId: string | null, generation?: number): KafkaError | undefined {
    const owner = instanceId === null ? undefined : this.#static.get(instanceId)
    if (owner !== undefined && owner !== memberId) return KAFKA_ERROR.fencedInstanceId
    if (!this.members.has(memberId)) return KAFKA_ERROR.unknownMemberId
    if (generation !== undefined && generation !== this.generation) return KAFKA_ERROR.illegalGeneration
    return undefined
  }

  #add(id: string, request: JoinRequest): Member {
    const member = new Member(id, request)
    if (this.members.size === 0) this.protocolType = request.protocolType
    this.members.set(id, member)
    if (request.instanceId !== null) this.#static.set(request.instanceId, id)
    return member
  }

  /** What the leader has decided; false, and nothing is changed, where there is no room for it. */
  #assign(assignments: readonly { memberId: string; assignment: Uint8Array }[]): boolean {
    const given = new Map(assignments.map((one) => [one.memberId, one.assignment]))
    let grown = 0
    for (const { id, assignment } of this.members.values())
      grown += (given.get(id) ?? NOTHING).length - assignment.length
    if (!this.#budget.take(grown)) return false
    // Copies: the request's memory is used again.
    for (const one of this.members.values()) one.assignment = Uint8Array.from(given.get(one.id) ?? NOTHING)
    return true
  }

  /** An id that was given out is used, or void. */
  #forget(id: string): boolean {
    if (!this.#pending.delete(id)) return false
    this.#budget.give(bytesPending(id))
    return true
  }

  /** Its bytes have been taken from the budget. */
  #update(member: Member, request: JoinRequest, now: number): void {
    member.bytes = bytesOf(request)
    member.sessionTimeoutMs = request.sessionTimeoutMs
    member.rebalanceTimeoutMs = request.rebalanceTimeoutMs
    member.protocols = request.protocols.map(({ name, metadata }) => ({
      name,
      metadata: Uint8Array.from(metadata),
    }))
    member.expiresAt = now + member.sessionTimeoutMs
  }

  #remove(member: Member): void {
    this.members.delete(member.id)
    this.#budget.give(member.bytes + member.assignment.length)
    if (member.instanceId !== null) this.#static.delete(member.instanceId)
    if (this.leader === member.id) this.leader = ''
    member.onJoined?.(refusedJoin(KAFKA_ERROR.unknownMemberId, member.id))
    member.onSynced?.(refusedSync(KAFKA_ERROR.unknownMemberId))
  }

  /** A static member has come back: it takes the place of its former self, without a rebalance where nothing else changed. */
  #replace(before: Member, id: string, request: JoinRequest, now: number): JoinAnswer | Promise<JoinAnswer> {
    if (!this.#budget.take(bytesOf(request) - before.bytes))
      return refusedJoin(KAFKA_ERROR.groupMaxSizeReached, '')
    const wasLeader = this.leader === before.id
    const isChanged = !isSame(before.protocols, request.protocols)
    before.onJoined?.(refusedJoin(KAFKA_ERROR.fencedInstanceId, before.id))
    before.onSynced?.(refusedSync(KAFKA_ERROR.fencedInstanceId))
    this.members.delete(before.id)
    const member = this.#add(id, request)
    member.assignment = before.assignment
    if (wasLeader) this.leader = id
    this.#update(member, request, now)
    if (this.state === 'Stable' && !isChanged && (!wasLeader || request.maySkipAssignment))
      return { ...this.#joined(member), skipAssignment: wasLeader }
    return this.#awaitJoin(member, now)
  }

  /** Whether a member that joins again, unchanged, can be told what holds already. */
  #isSettledFor(member: Member): boolean {
    if (this.state === 'CompletingRebalance') return member.onSynced === undefined
    return this.state === 'Stable' && member.id !== this.leader
  }

  #awaitJoin(member: Member, now: number): Promise<JoinAnswer> {
    // The client has asked again; its former question has no reader.
    member.onJoined?.(refusedJoin(KAFKA_ERROR.unknownMemberId, member.id))
    const answer = new Promise<JoinAnswer>((resolve) => {
      member.onJoined = resolve
    })
    if (this.state !== 'PreparingRebalance') this.#prepare(now)
    this.#completeJoinIfAll(now)
    return answer
  }

  #prepare(now: number): void {
    this.#waitsForMore = this.state === 'Empty'
    this.state = 'PreparingRebalance'
    this.#phaseEndsAt = now + (this.#waitsForMore ? INITIAL_DELAY_MS : this.#rebalanceTimeoutMs())
    for (const member of this.members.values()) {
      if (member.onSynced === undefined) continue
      member.onSynced(refusedSync(KAFKA_ERROR.rebalanceInProgress))
      member.onSynced = undefined
      // It could give no sign of life while it waited.
      member.expiresAt = now + member.sessionTimeoutMs
    }
  }

  #rebalanceTimeoutMs(): number {
    return Math.max(0, ...[...this.members.values()].map((member) => member.rebalanceTimeoutMs))
  }

  /** After members are gone. */
  #rebalanceWithout(now: number): void {
    if (this.members.size === 0) {
      this.state = 'Empty'
      this.generation++
      this.protocolName = ''
      return
    }
    if (this.state !== 'PreparingRebalance') this.#prepare(now)
    this.#completeJoinIfAll(now)
  }

  #completeJoinIfAll(now: number): void {
    if (this.#waitsForMore) return
    for (const member of this.members.values()) if (member.onJoined === undefined) return
    this.#completeJoin(now)
  }

  #completeJoin(now: number): void {
    this.#waitsForMore = false
    // A static member may be away until its session ends.
    for (const member of [...this.members.values()])
      if (member.onJoined === undefined && member.instanceId === null) this.#remove(member)
    if (this.members.size === 0) {
      this.#rebalanceWithout(now)
      return
    }
    this.generation++
    this.protocolName = this.#choose()
    const present = [...this.members.values()].filter((member) => member.onJoined !== undefined)
    if (this.members.get(this.leader)?.onJoined === undefined)
      this.leader = present[0]?.id ?? [...this.members.keys()][0]!
    this.state = 'CompletingRebalance'
    this.#phaseEndsAt = now + this.#rebalanceTimeoutMs()
    for (const member of present) {
      const answer = member.onJoined!
      member.onJoined = undefined
      member.expiresAt = now + member.sessionTimeoutMs
      answer(this.#joined(member))
    }
  }

  /** The protocol that most members like best of those that all have. */
  #choose(): string {
    const members = [...this.members.values()]
    const common = members[0]!.protocols
      .map(({ name }) => name)
      .filter((name) => members.every((member) => hasProtocol(member, name)))
    const votes = new Map(common.map((name) => [name, 0]))
    for (const member of members) {
      const best = member.protocols.find(({ name }) => votes.has(name))
      if (best !== undefined) votes.set(best.name, votes.get(best.name)! + 1)
    }
    return common.reduce((best, name) => (votes.get(name)! > votes.get(best)! ? name : best), common[0] ?? '')
  }

  #joined(member: Member): JoinAnswer {
    const isLeader = member.id === this.leader
    return {
      errorCode: KAFKA_ERROR.none,
      generationId: this.generation,
      protocolType: this.protocolType,
      protocolName: this.protocolName,
      leader: this.leader,
      memberId: member.id,
      skipAssignment: false,
      members: isLeader
        ? [...this.members.values()].map((one) => ({
            memberId: one.id,
            groupInstanceId: one.instanceId,
            metadata: one.metadata(this.protocolName),
          }))
        : [],
    }
  }

  #synced(member: Member): SyncAnswer {
    return {
      errorCode: KAFKA_ERROR.none,
      protocolType: this.protocolType,
      protocolName: this.protocolName,
      assignment: member.assignment,
    }
  }
}

const hasProtocol = (member: Member, name: string): boolean =>
  member.protocols.some((protocol) => protocol.name === name)

function isSame(a: readonly Protocol[], b: readonly Protocol[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, metadata }, i) => name === b[i]!.name && Buffer.compare(metadata, b[i]!.metadata) === 0)
  )
}

/** What a member of that request costs but for its assignment. Its id has the client's in it. */
function bytesOf({ clientId, instanceId, protocolType, protocols }: JoinRequest): number {
  let bytes = MEMBER_BYTES + 4 * clientId.length + 4 * (instanceId?.length ?? 0) + 2 * protocolType.length
  for (const { name, metadata } of protocols) bytes += PROTOCOL_BYTES + 2 * name.length + metadata.length
  return bytes
}

const bytesPending = (id: string): number => PENDING_BYTES + 2 * id.length
