// The requests of consumer groups: each tenant has groups of its own, for whoever may read one of its streams.
// Membership lives in memory, so after a restart members join again; committed offsets are durable (group-offsets.ts).

import { isMillraceError } from '../std/errors.ts'
import { Budget } from './budget.ts'
import type { Caller } from './caller.ts'
import { distinct } from './distinct.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'
import { Group } from './group.ts'
import type { CommittedOffset, GroupOffsets, OffsetToCommit } from './group-offsets.ts'
import type { RequestOf, ResponseOf } from './messages.ts'
import { mayRead, mayReadSome, type PublicTopics } from './public-topics.ts'

const SESSION_TIMEOUT_MS_MIN = 1000
const SESSION_TIMEOUT_MS_MAX = 1_800_000
const GROUP_ID_LENGTH_MAX = 255
const METADATA_CHARACTERS_MAX = 4096
const GROUPS_PER_TENANT_MAX = 1000
/** Of all members of one tenant's groups: what they have joined with, and their assignments. */
const MEMBERS_BYTES_PER_TENANT_MAX = 32 << 20
/** Names of assignors; a choice among them looks at those of all members. */
const PROTOCOLS_MAX = 32
const SWEEP_MS = 100
const EXPIRE_MS = 3_600_000
/** "Nothing was asked": what authorizedOperations says then. */
const OPERATIONS_UNKNOWN = -2147483648
/** From OffsetFetch: no offset was committed. */
const NO_OFFSET = -1

/** Groups that have members, or are about to. */
interface TenantGroups {
  readonly groups: Map<string, Group>
  readonly budget: Budget
}

export class Groups {
  readonly #topics: PublicTopics
  readonly #offsets: GroupOffsets
  readonly #tenants = new Map<string, TenantGroups>()
  readonly #timers: NodeJS.Timeout[]

  constructor(topics: PublicTopics, offsets: GroupOffsets, onFailure: (error: unknown) => void) {
    this.#topics = topics
    this.#offsets = offsets
    this.#timers = [
      setInterval(() => this.#sweep(), SWEEP_MS),
      setInterval(() => {
        offsets
          .expire(Date.now(), (tenant, group) => (this.#find(tenant, group)?.members.size ?? 0) > 0)
          .catch(onFailure)
      }, EXPIRE_MS),
    ]
  }

  close(): void {
    for (const timer of this.#timers) clearInterval(timer)
  }

  async joinGroup(
    request: RequestOf<'joinGroup'>,
    caller: Caller,
    version: number,
  ): Promise<ResponseOf<'joinGroup'>> {
    const refused = (errorCode: KafkaError): ResponseOf<'joinGroup'> => ({
      throttleTimeMs: 0,
      errorCode,
      generationId: -1,
      protocolType: null,
      protocolName: version >= 7 ? null : '',
      leader: '',
      skipAssignment: false,
      memberId: request.memberId,
      members: [],
    })
    const { groupId, sessionTimeoutMs } = request
    if (!mayReadSome(caller.principal)) return refused(KAFKA_ERROR.groupAuthorizationFailed)
    if (!isGroupId(groupId)) return refused(KAFKA_ERROR.invalidGroupId)
    if (sessionTimeoutMs < SESSION_TIMEOUT_MS_MIN || sessionTimeoutMs > SESSION_TIMEOUT_MS_MAX)
      return refused(KAFKA_ERROR.invalidSessionTimeout)
    const { length } = request.protocols
    if (length === 0 || length > PROTOCOLS_MAX || request.protocolType === '')
      return refused(KAFKA_ERROR.inconsistentGroupProtocol)
    const group = this.#open(caller.principal.tenant, groupId, request.memberId === '')
    if (group === 'many') return refused(KAFKA_ERROR.groupMaxSizeReached)
    if (group === undefined) return refused(KAFKA_ERROR.unknownMemberId)
    const answer = await group.join(
      {
        memberId: request.memberId,
        instanceId: request.groupInstanceId,
        clientId: caller.clientId,
        clientHost: caller.clientHost,
        sessionTimeoutMs,
        rebalanceTimeoutMs: Math.min(Math.max(request.rebalanceTimeoutMs, 0), SESSION_TIMEOUT_MS_MAX),
        protocolType: request.protocolType,
        protocols: request.protocols,
        needsMemberId: version >= 4,
        maySkipAssignment: version >= 9,
      },
      Date.now(),
    )
    return {
      throttleTimeMs: 0,
      ...answer,
      protocolName: answer.protocolName ?? (version >= 7 ? null : ''),
    }
  }

  async syncGroup(request: RequestOf<'syncGroup'>, caller: Caller): Promise<ResponseOf<'syncGroup'>> {
    const group = this.#findFor(caller, request.groupId)
    const answer =
      typeof group === 'number'
        ? { errorCode: group, protocolType: null, protocolName: null, assignment: new Uint8Array(0) }
        : await group.sync(
            request.memberId,
            request.groupInstanceId,
            request.generationId,
            { type: request.protocolType, name: request.protocolName },
            request.assignments,
            Date.now(),
          )
    return { throttleTimeMs: 0, ...answer }
  }

  heartbeat(request: RequestOf<'heartbeat'>, caller: Caller): ResponseOf<'heartbeat'> {
    const { groupId, memberId, groupInstanceId, generationId } = request
    const group = this.#findFor(caller, groupId)
    return {
      throttleTimeMs: 0,
      errorCode:
        typeof group === 'number'
          ? group
          : group.heartbeat(memberId, groupInstanceId, generationId, Date.now()),
    }
  }

  leaveGroup(request: RequestOf<'leaveGroup'>, caller: Caller, version: number): ResponseOf<'leaveGroup'> {
    const group = this.#findFor(caller, request.groupId)
    if (group === KAFKA_ERROR.groupAuthorizationFailed)
      return { throttleTimeMs: 0, errorCode: group, members: [] }
    const leave = (memberId: string, instanceId: string | null): KafkaError =>
      typeof group === 'number' ? group : group.leave(memberId, instanceId, Date.now())
    if (version < 3) return { throttleTimeMs: 0, errorCode: leave(request.memberId, null), members: [] }
    const members = request.members.map(({ memberId, groupInstanceId }) => ({
      memberId,
      groupInstanceId,
      errorCode: leave(memberId, groupInstanceId),
    }))
    return { throttleTimeMs: 0, errorCode: KAFKA_ERROR.none, members }
  }

  async offsetCommit(
    request: RequestOf<'offsetCommit'>,
    caller: Caller,
  ): Promise<ResponseOf<'offsetCommit'>> {
    const { tenant } = caller.principal
    const now = Date.now()
    const { groupId, memberId, groupInstanceId, generationId } = request
    const group = this.#find(tenant, groupId)
    let problem: KafkaError = KAFKA_ERROR.none
    if (!mayReadSome(caller.principal)) problem = KAFKA_ERROR.groupAuthorizationFailed
    else if (!isGroupId(groupId)) problem = KAFKA_ERROR.invalidGroupId
    else if (group !== undefined) problem = group.commitProblem(memberId, groupInstanceId, generationId, now)
    else if (generationId >= 0) problem = KAFKA_ERROR.illegalGeneration
    const commits: OffsetToCommit[] = []
    const topics = request.topics.map(({ name, partitions }) => {
      const topic = this.#topics.find(caller.principal, name)
      return {
        name,
        partitions: partitions.map((one) => {
          const metadata = one.committedMetadata ?? ''
          let errorCode = problem
          if (problem === KAFKA_ERROR.none) {
            if (topic === undefined || one.partitionIndex < 0 || one.partitionIndex >= topic.partitions)
              errorCode = KAFKA_ERROR.unknownTopicOrPartition
            else if (!mayRead(caller.principal, topic)) errorCode = KAFKA_ERROR.topicAuthorizationFailed
            else if (metadata.length > METADATA_CHARACTERS_MAX) errorCode = KAFKA_ERROR.offsetMetadataTooLarge
            else if (!Number.isSafeInteger(one.committedOffset) || one.committedOffset < 0)
              errorCode = KAFKA_ERROR.offsetOutOfRange
            else
              commits.push({
                topic: name,
                partition: one.partitionIndex,
                committed: {
                  offset: one.committedOffset,
                  leaderEpoch: one.committedLeaderEpoch,
                  metadata,
                  timeMs: now,
                },
              })
          }
          return { partitionIndex: one.partitionIndex, errorCode }
        }),
      }
    })
    const failure = await this.#commit(tenant, groupId, commits)
    if (failure === KAFKA_ERROR.none) return { throttleTimeMs: 0, topics }
    return {
      throttleTimeMs: 0,
      topics: topics.map(({ name, partitions }) => ({
        name,
        partitions: partitions.map((one) => ({ ...one, errorCode: one.errorCode || failure })),
      })),
    }
  }

  offsetFetch(request: RequestOf<'offsetFetch'>, caller: Caller, version: number): ResponseOf<'offsetFetch'> {
    const { tenant } = caller.principal
    const isAllowed = mayReadSome(caller.principal)
    const errorCode = isAllowed ? KAFKA_ERROR.none : KAFKA_ERROR.groupAuthorizationFailed
    const partitionOf = (partitionIndex: number, found: CommittedOffset | undefined) => ({
      partitionIndex,
      committedOffset: found?.offset ?? NO_OFFSET,
      committedLeaderEpoch: found?.leaderEpoch ?? -1,
      metadata: found?.metadata ?? '',
      errorCode,
    })
    const offsetsOf = (groupId: string, topics: RequestOf<'offsetFetch'>['topics']) => {
      if (topics !== null)
        return [...Map.groupBy(topics, ({ name }) => name)].map(([name, all]) => ({
          name,
          partitions: [...new Set(all.flatMap(({ partitionIndexes }) => partitionIndexes))].map((index) =>
            partitionOf(index, isAllowed ? this.#offsets.find(tenant, groupId, name, index) : undefined),
          ),
        }))
      if (!isAllowed) return []
      const byTopic = Map.groupBy(this.#offsets.all(tenant, groupId), ({ topic }) => topic)
      return [...byTopic].map(([name, offsets]) => ({
        name,
        partitions: offsets.map(({ partition, committed }) => partitionOf(partition, committed)),
      }))
    }
    return {
      throttleTimeMs: 0,
      errorCode,
      topics: version < 8 ? offsetsOf(request.groupId, request.topics) : [],
      groups: distinct(request.groups, ({ groupId }) => groupId).map(({ groupId, topics }) => ({
        groupId,
        topics: offsetsOf(groupId, topics),
        errorCode,
      })),
    }
  }

  describeGroups(request: RequestOf<'describeGroups'>, caller: Caller): ResponseOf<'describeGroups'> {
    const { tenant } = caller.principal
    const isAllowed = mayReadSome(caller.principal)
    const groups = distinct(request.groups, (groupId) => groupId).map((groupId) => {
      if (!isAllowed) return refusedDescription(groupId)
      const group = this.#find(tenant, groupId)
      const hasOffsets = this.#offsets.all(tenant, groupId).length > 0
      const isStable = group?.state === 'Stable'
      return {
        errorCode: KAFKA_ERROR.none,
        groupId,
        groupState: group?.state ?? (hasOffsets ? 'Empty' : 'Dead'),
        protocolType: group?.protocolType ?? (hasOffsets ? 'consumer' : ''),
        protocolData: isStable ? group.protocolName : '',
        members: [...(group?.members.values() ?? [])].map((member) => ({
          memberId: member.id,
          groupInstanceId: member.instanceId,
          clientId: member.clientId,
          clientHost: member.clientHost,
          memberMetadata: isStable ? member.metadata(group!.protocolName) : new Uint8Array(0),
          memberAssignment: isStable ? member.assignment : new Uint8Array(0),
        })),
        authorizedOperations: OPERATIONS_UNKNOWN,
      }
    })
    return { throttleTimeMs: 0, groups }
  }

  listGroups(request: RequestOf<'listGroups'>, caller: Caller): ResponseOf<'listGroups'> {
    const { tenant } = caller.principal
    const ids = mayReadSome(caller.principal)
      ? new Set([...(this.#tenants.get(tenant)?.groups.keys() ?? []), ...this.#offsets.groups(tenant)])
      : []
    const groups = [...ids].map((groupId) => {
      const group = this.#find(tenant, groupId)
      return {
        groupId,
        protocolType: group?.protocolType || 'consumer',
        groupState: group?.state ?? 'Empty',
        groupType: 'classic',
      }
    })
    const isAsked = (filter: readonly string[], value: string): boolean =>
      filter.length === 0 || filter.some((one) => one.toLowerCase() === value.toLowerCase())
    return {
      throttleTimeMs: 0,
      errorCode: KAFKA_ERROR.none,
      groups: groups.filter(
        ({ groupState, groupType }) =>
          isAsked(request.statesFilter, groupState) && isAsked(request.typesFilter, groupType),
      ),
    }
  }

  async deleteGroups(
    request: RequestOf<'deleteGroups'>,
    caller: Caller,
  ): Promise<ResponseOf<'deleteGroups'>> {
    const { tenant } = caller.principal
    const results: ResponseOf<'deleteGroups'>['results'] = []
    const isAllowed = mayReadSome(caller.principal)
    for (const groupId of new Set(request.groupsNames)) {
      const group = this.#find(tenant, groupId)
      let errorCode: KafkaError = KAFKA_ERROR.none
      if (!isAllowed) errorCode = KAFKA_ERROR.groupAuthorizationFailed
      else if (group !== undefined && !group.isIdle) errorCode = KAFKA_ERROR.nonEmptyGroup
      else if (group === undefined && this.#offsets.all(tenant, groupId).length === 0)
        errorCode = KAFKA_ERROR.groupIdNotFound
      else {
        await this.#offsets.remove(tenant, groupId)
        this.#tenants.get(tenant)?.groups.delete(groupId)
      }
      results.push({ groupId, errorCode })
    }
    return { throttleTimeMs: 0, results }
  }

  async #commit(tenant: string, groupId: string, commits: readonly OffsetToCommit[]): Promise<KafkaError> {
    try {
      const isCommitted = await this.#offsets.commit(tenant, groupId, commits)
      return isCommitted ? KAFKA_ERROR.none : KAFKA_ERROR.invalidCommitOffsetSize
    } catch (error) {
      // A disk that is full now: clients commit again.
      if (!isMillraceError(error, 'log_full')) throw error
      return KAFKA_ERROR.coordinatorNotAvailable
    }
  }

  #find(tenant: string, groupId: string): Group | undefined {
    return this.#tenants.get(tenant)?.groups.get(groupId)
  }

  /** The group that the caller is a member of, as far as that can be. */
  #findFor({ principal }: Caller, groupId: string): Group | KafkaError {
    if (!mayReadSome(principal)) return KAFKA_ERROR.groupAuthorizationFailed
    return this.#find(principal.tenant, groupId) ?? KAFKA_ERROR.unknownMemberId
  }

  /** The group, made where a new member comes to none. */
  #open(tenant: string, groupId: string, isNew: boolean): Group | 'many' | undefined {
    let of = this.#tenants.get(tenant)
    const group = of?.groups.get(groupId)
    if (group !== undefined || !isNew) return group
    if (of === undefined)
      this.#tenants.set(
        tenant,
        (of = { groups: new Map(), budget: new Budget(MEMBERS_BYTES_PER_TENANT_MAX) }),
      )
    if (of.groups.size >= GROUPS_PER_TENANT_MAX) return 'many'
    const made = new Group(groupId, of.budget)
    of.groups.set(groupId, made)
    return made
  }

  #sweep(): void {
    const now = Date.now()
    for (const { groups } of this.#tenants.values())
      for (const group of groups.values()) {
        group.sweep(now)
        if (group.isIdle) groups.delete(group.id)
      }
  }
}

const isGroupId = (groupId: string): boolean => groupId !== '' && groupId.length <= GROUP_ID_LENGTH_MAX

const refusedDescription = (groupId: string): ResponseOf<'describeGroups'>['groups'][number] => ({
  errorCode: KAFKA_ERROR.groupAuthorizationFailed,
  groupId,
  groupState: '',
  protocolType: '',
  protocolData: '',
  members: [],
  authorizedOperations: OPERATIONS_UNKNOWN,
})
