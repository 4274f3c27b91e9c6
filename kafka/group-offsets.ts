// The offsets that consumer groups have committed, in memory and in a compacted topic: a commit is answered when it is
// durable. Kept for a week after the last commit of a group that has no members.
//
//   key    [tenant, group, topic, partition]
//   value  { offset, leaderEpoch, metadata, timeMs }
import type { Log } from '../log/log.ts'
import { GROUP_OFFSETS_TOPIC } from '../schemas/names.ts'
import { keyedBatch, readKeyedTopic } from './keyed-topic.ts'

const RETENTION_MS = 7 * 86_400_000

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

const groupKey = (tenant: string, group: string): string => JSON.stringify([tenant, group])
const place = (topic: string, partition: number): string => `${topic}/${partition}`

export class GroupOffsets {
  readonly #log: Log
  readonly #groups = new Map<string, Offsets>()

  private constructor(log: Log) {
    this.#log = log
  }

  static async open(log: Log): Promise<GroupOffsets> {
    const offsets = new GroupOffsets(log)
    await readKeyedTopic(log, GROUP_OFFSETS_TOPIC, (key, value) => {
      const [tenant, group, topic, partition] = key as [string, string, string, number]
      if (value === undefined) offsets.#groups.get(groupKey(tenant, group))?.delete(place(topic, partition))
      else offsets.#set(tenant, group, { topic, partition, committed: value as CommittedOffset })
    })
    return offsets
  }

  find(tenant: string, group: string, topic: string, partition: number): CommittedOffset | undefined {
    return this.#groups.get(groupKey(tenant, group))?.get(place(topic, partition))?.committed
  }

  /** Every offset of a group. */
  all(tenant: string, group: string): OffsetToCommit[] {
    return [...(this.#groups.get(groupKey(tenant, group))?.values() ?? [])]
  }

  /** Ids of the groups that have offsets. */
  groups(tenant: string): string[] {
    return [...this.#groups]
      .filter(([, offsets]) => offsets.size > 0)
      .map(([key]) => JSON.parse(key) as [string, string])
      .filter(([of]) => of === tenant)
      .map(([, group]) => group)
  }

  /** Durable when it resolves. */
  async commit(tenant: string, group: string, offsets: readonly OffsetToCommit[]): Promise<void> {
    if (offsets.length === 0) return
    const records = offsets.map(({ topic, partition, committed }) => ({
      key: [tenant, group, topic, partition],
      value: committed,
    }))
    await this.#log.append({ entries: [keyedBatch(GROUP_OFFSETS_TOPIC, records)] })
    for (const offset of offsets) this.#set(tenant, group, offset)
  }

  async remove(tenant: string, group: string): Promise<void> {
    const records = this.all(tenant, group).map(({ topic, partition }) => ({
      key: [tenant, group, topic, partition],
      value: undefined,
    }))
    if (records.length > 0) await this.#log.append({ entries: [keyedBatch(GROUP_OFFSETS_TOPIC, records)] })
    this.#groups.delete(groupKey(tenant, group))
  }

  /** Removes the groups that nobody has used for the retention. */
  async expire(now: number, hasMembers: (tenant: string, group: string) => boolean): Promise<void> {
    for (const [key, offsets] of [...this.#groups]) {
      const [tenant, group] = JSON.parse(key) as [string, string]
      const newest = Math.max(...[...offsets.values()].map(({ committed }) => committed.timeMs))
      if (newest < now - RETENTION_MS && !hasMembers(tenant, group)) await this.remove(tenant, group)
    }
  }

  #set(tenant: string, group: string, offset: OffsetToCommit): void {
    const key = groupKey(tenant, group)
    const offsets = this.#groups.get(key) ?? new Map<string, OffsetToCommit>()
    offsets.set(place(offset.topic, offset.partition), offset)
    this.#groups.set(key, offsets)
  }
}
