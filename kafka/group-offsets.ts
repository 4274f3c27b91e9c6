// The offsets that consumer groups have committed, in memory and in a compacted topic: a commit is answered when it is
// durable. Kept for a week after the last commit of a group that has no members, and so much of each tenant's.
//
//   key    [tenant, group, topic, partition]
//   value  { offset, leaderEpoch, metadata, timeMs }
import type { Log } from '../log/log.ts'
import { GROUP_OFFSETS_TOPIC } from '../schemas/names.ts'
import { Budget } from './budget.ts'
import { keyedBatch, readKeyedTopic } from './keyed-topic.ts'

const RETENTION_MS = 7 * 86_400_000
/** Of all groups of one tenant: what is kept in memory, as it is counted here. */
const TENANT_BYTES_MAX = 64 << 20
/** Objects and map entries, beside the texts. */
const GROUP_BYTES = 512
const OFFSET_BYTES = 256

export interface CommittedOffset {
  offset: number
  leaderEpoch: number
  metadata: string
  /** When it was committed. */
  timeMs: number
}

export interface OffsetToCommit {
  topic: string
  partition: number
  committed: CommittedOffset
}

type Offsets = Map<string, OffsetToCommit>

/** Of one tenant. */
interface TenantOffsets {
  readonly groups: Map<string, Offsets>
  readonly budget: Budget
}

const place = (topic: string, partition: number): string => `${topic}/${partition}`

const bytesOfGroup = (group: string): number => GROUP_BYTES + 2 * group.length

const bytesOf = ({ topic, committed }: OffsetToCommit): number =>
  OFFSET_BYTES + 4 * topic.length + 2 * committed.metadata.length

export class GroupOffsets {
  readonly #log: Log
  readonly #bytesMax: number
  readonly #tenants = new Map<string, TenantOffsets>()

  private constructor(log: Log, bytesMax: number) {
    this.#log = log
    this.#bytesMax = bytesMax
  }

  static async open(log: Log, bytesMax = TENANT_BYTES_MAX): Promise<GroupOffsets> {
    const offsets = new GroupOffsets(log, bytesMax)
    await readKeyedTopic(log, GROUP_OFFSETS_TOPIC, (key, value) => {
      const [tenant, group, topic, partition] = key as [string, string, string, number]
      if (value === undefined) offsets.#delete(tenant, group, place(topic, partition))
      else offsets.#set(tenant, group, { topic, partition, committed: value as CommittedOffset })
    })
    return offsets
  }

  find(tenant: string, group: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#find(tenant, group)?.get(place(topic, partition))?.committed
  }

  /** Every offset of a group. */
  all(tenant: string, group: string): OffsetToCommit[] {
    return [...(this.#find(tenant, group)?.values() ?? [])]
  }

  /** Ids of the groups that have offsets. */
  groups(tenant: string): string[] {
    return [...(this.#tenants.get(tenant)?.groups.keys() ?? [])]
  }

  /** Durable when it resolves to true; false, and nothing is committed, where the tenant has no room for more. */
  async commit(tenant: string, group: string, offsets: readonly OffsetToCommit[]): Promise<boolean> {
    if (offsets.length === 0) return true
    // What is under way counts, so that commits that wait together do not pass together; what takes the place of as
    // much passes always.
    const { budget } = this.#of(tenant)
    const grown = Math.max(0, this.#growthBy(tenant, group, offsets))
    if (!budget.take(grown)) return false
    try {
      const records = offsets.map(({ topic, partition, committed }) => ({
        key: [tenant, group, topic, partition],
        value: committed,
      }))
      await this.#log.append({ entries: [keyedBatch(GROUP_OFFSETS_TOPIC, records)] })
    } finally {
      budget.give(grown)
    }
    for (const offset of offsets) this.#set(tenant, group, offset)
    return true
  }

  async remove(tenant: string, group: string): Promise<void> {
    const offsets = this.all(tenant, group)
    const records = offsets.map(({ topic, partition }) => ({
      key: [tenant, group, topic, partition],
      value: undefined,
    }))
    if (records.length > 0) await this.#log.append({ entries: [keyedBatch(GROUP_OFFSETS_TOPIC, records)] })
    for (const { topic, partition } of offsets) this.#delete(tenant, group, place(topic, partition))
  }

  /** Removes the groups that nobody has used for the retention. */
  async expire(now: number, hasMembers: (tenant: string, group: string) => boolean): Promise<void> {
    for (const [tenant, { groups }] of this.#tenants)
      for (const [group, offsets] of [...groups]) {
        let newest = 0
        for (const { committed } of offsets.values()) newest = Math.max(newest, committed.timeMs)
        if (newest < now - RETENTION_MS && !hasMembers(tenant, group)) await this.remove(tenant, group)
      }
  }

  #of(tenant: string): TenantOffsets {
    let of = this.#tenants.get(tenant)
    if (of === undefined)
      this.#tenants.set(tenant, (of = { groups: new Map(), budget: new Budget(this.#bytesMax) }))
    return of
  }

  #find(tenant: string, group: string): Offsets | undefined {
    return this.#tenants.get(tenant)?.groups.get(group)
  }

  /** Bytes that these would add. */
  #growthBy(tenant: string, group: string, offsets: readonly OffsetToCommit[]): number {
    const held = this.#find(tenant, group)
    let grown = held === undefined ? bytesOfGroup(group) : 0
    for (const offset of offsets) {
      const before = held?.get(place(offset.topic, offset.partition))
      grown += bytesOf(offset) - (before === undefined ? 0 : bytesOf(before))
    }
    return grown
  }

  #set(tenant: string, group: string, offset: OffsetToCommit): void {
    const { groups, budget } = this.#of(tenant)
    budget.give(-this.#growthBy(tenant, group, [offset]))
    const offsets = groups.get(group) ?? new Map<string, OffsetToCommit>()
    offsets.set(place(offset.topic, offset.partition), offset)
    groups.set(group, offsets)
  }

  #delete(tenant: string, group: string, key: string): void {
    const { groups, budget } = this.#of(tenant)
    const offsets = groups.get(group)
    const before = offsets?.get(key)
    if (offsets === undefined || before === undefined) return
    offsets.delete(key)
    budget.give(bytesOf(before))
    if (offsets.size > 0) return
    groups.delete(group)
    budget.give(bytesOfGroup(group))
  }
}
