// Membership in a consumer group (KIP-848): which partitions of its topics a process deals with, and by what it is
// known to the group when it commits. The broker assigns; a member only says what it has and is told what it should.
//
//   heartbeat: my epoch, what I own (when that changed) ──► my epoch, my assignment (when that changed)
//
// The partitions of each topic are spread over the members (assignor `range`): streams differ by thousands of times in
// what they carry, and the brokers' default, `uniform`, makes only the numbers of all partitions even; it may give all
// those of the one busy stream to one member.
//
// A partition that the assignment lacks is still this member's until it says otherwise: `owned` changes by `own`,
// called when the stage has let go of what it loses. One that the assignment adds is free already. A member that the
// group has dropped (it did not answer for a session timeout) has lost all it owned and joins again as a new one.
import { consumerGroupHeartbeatV1 } from '@platformatic/kafka'
import type { KafkaCluster } from './kafka-cluster.ts'
import { KAFKA, kafkaErrorCode } from './kafka-errors.ts'
import type { Assignment, Membership } from './log.ts'

/** By when a member must have let go of what was taken from it, or the group drops it. */
const REBALANCE_MS_MAX = 60_000
/** Brokers have it unless `group.consumer.assignors` leaves it out; then theirs is taken. */
const ASSIGNOR = 'range'
const EPOCH_JOIN = 0
const EPOCH_LEAVE = -1
const HEARTBEAT_MS_DEFAULT = 3000
const EPOCH_WAIT_MS_MAX = 20_000

export interface GroupMember {
  readonly id: string
  /**
   * Under which it commits for what it deals with; undefined once it was dropped, until it deals with what it was given since.
   * The group checks member and epoch of a commit and not whose the partitions are: under the epoch of a member that
   * has joined again, it would take what was begun before others got them.
   */
  readonly commitEpoch: number | undefined
  /** Waits until the group has given an epoch above that one; false where the member was dropped instead. */
  catchUp(epoch: number): Promise<boolean>
  /** A commit was refused: ask the group now. */
  suspect(): void
}

export interface GroupOptions {
  cluster: KafkaCluster
  group: string
  memberId: string
  topics: readonly string[]
  /** `target` differs from `owned`, or members were dropped. */
  onChange: () => void
  onFailure: (error: unknown) => void
  /** What this member deals with is another from now on. */
  onOwn: (topics: readonly string[], partitions: Assignment) => void
}

export class KafkaGroup implements GroupMember, Membership {
  readonly id: string
  readonly #cluster: KafkaCluster
  readonly #group: string
  readonly #onChange: () => void
  readonly #onFailure: (error: unknown) => void
  readonly #onOwn: GroupOptions['onOwn']
  #topics: readonly string[]
  #topicsSent = false
  #assignor: string | null = ASSIGNOR
  #epoch = EPOCH_JOIN
  #target: Assignment = new Map()
  #owned: Assignment = new Map()
  #ownedSent = true
  #generation = 0
  /** The generation that `#owned` is of. */
  #ownedGeneration = -1
  #wake: (() => void) | undefined
  #woken = false
  #left = false
  readonly #waiting = new Set<() => void>()
  #loop: Promise<void>
  /** Resolves when the group has answered for the first time. */
  readonly joined: Promise<void>
  #hasJoined!: () => void

  constructor(options: GroupOptions) {
    this.id = options.memberId
    this.#cluster = options.cluster
    this.#group = options.group
    this.#topics = options.topics
    this.#onChange = options.onChange
    this.#onFailure = options.onFailure
    this.#onOwn = options.onOwn
    this.joined = new Promise((resolve) => {
      this.#hasJoined = resolve
    })
    this.#loop = this.#run()
  }

  get commitEpoch(): number | undefined {
    return this.#ownedGeneration === this.#generation ? this.#epoch : undefined
  }

  /** What this member should deal with. */
  get target(): Assignment {
    return this.#target
  }

  /** Counts how often everything was lost: what was owned under another count is others' by now. */
  get generation(): number {
    return this.#generation
  }

  /** From now on this member deals with these partitions and no others; `target` of that generation. */
  own(partitions: Assignment, generation: number): void {
    // It was dropped meanwhile: what it was given before is others'.
    if (generation !== this.#generation) return
    this.#ownedGeneration = generation
    this.#owned = partitions
    this.#ownedSent = false
    this.#onOwn(this.#topics, partitions)
    this.suspect()
  }

  subscribe(topics: readonly string[]): void {
    this.#topics = topics
    this.#topicsSent = false
    this.suspect()
  }

  suspect(): void {
    this.#woken = true
    this.#wake?.()
  }

  async catchUp(epoch: number): Promise<boolean> {
    const generation = this.#generation
    const until = performance.now() + EPOCH_WAIT_MS_MAX
    while (!this.#left && this.#generation === generation && this.#epoch <= epoch) {
      if (performance.now() > until) return false
      this.suspect()
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve)
        setTimeout(resolve, 100)
      })
    }
    return !this.#left && this.#generation === generation
  }

  /** Gives everything back at once, so that others need not wait for a timeout. */
  async leave(): Promise<void> {
    if (this.#left) return
    this.#left = true
    this.suspect()
    await this.#loop
    if (this.#epoch === EPOCH_JOIN) return
    await this.#cluster
      .onCoordinator('group', this.#group, 'leave', (c) => this.#send(c, EPOCH_LEAVE, null, null), 3000)
      .catch(() => {})
  }

  #send(
    connection: Parameters<typeof consumerGroupHeartbeatV1.api.async>[0],
    epoch: number,
    topics: string[] | null,
    owned: { topicId: string; partitions: number[] }[] | null,
  ): ReturnType<typeof consumerGroupHeartbeatV1.api.async> {
    return consumerGroupHeartbeatV1.api.async(
      connection,
      this.#group,
      this.id,
      epoch,
      null,
      null,
      REBALANCE_MS_MAX,
      topics,
      null,
      this.#assignor,
      owned,
    )
  }

  async #run(): Promise<void> {
    while (!this.#left && !this.#cluster.isClosed) {
      let waitMs = HEARTBEAT_MS_DEFAULT
      try {
        waitMs = await this.#heartbeat()
      } catch (error) {
        const code = kafkaErrorCode((error as { cause?: unknown }).cause)
        if (code === KAFKA.UNKNOWN_MEMBER_ID || code === KAFKA.FENCED_MEMBER_EPOCH) {
          this.#lose()
          waitMs = 0
        } else if (code === KAFKA.UNSUPPORTED_ASSIGNOR && this.#assignor !== null) {
          this.#assignor = null
          waitMs = 0
        } else if (!this.#cluster.isClosed) {
          this.#onFailure(error)
          return
        }
      }
      for (const resolve of this.#waiting) resolve()
      this.#waiting.clear()
      if (this.#woken || waitMs === 0) this.#woken = false
      else
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, waitMs)
          this.#wake = () => {
            clearTimeout(timer)
            this.#woken = false
            resolve()
          }
        })
      this.#wake = undefined
    }
  }

  async #heartbeat(): Promise<number> {
    const isJoin = this.#epoch === EPOCH_JOIN
    let isFull = isJoin
    const withTopics = !this.#topicsSent
    this.#topicsSent = true
    const withOwned = !this.#ownedSent
    this.#ownedSent = true
    const answer = await this.#cluster.onCoordinator('group', this.#group, `group ${this.#group}`, (c) => {
      const topics = isFull || withTopics ? this.#topics.map((topic) => this.#nameOf(topic)) : null
      const owned = isJoin ? [] : isFull || withOwned ? this.#withIds(this.#owned) : null
      // What is told is told once: where an answer was lost, only a request with everything brings the assignment again.
      isFull = true
      return this.#send(c, this.#epoch, topics, owned)
    })
    this.#epoch = answer.memberEpoch
    this.#hasJoined()
    if (answer.assignment !== null) {
      this.#target = await this.#withNames(answer.assignment.topicPartitions)
      this.#onChange()
    }
    return answer.heartbeatIntervalMs
  }

  #lose(): void {
    this.#generation++
    this.#epoch = EPOCH_JOIN
    this.#target = new Map()
    this.#owned = new Map()
    this.#ownedSent = true
    this.#onChange()
  }

  #nameOf(topic: string): string {
    return this.#cluster.options.prefix + topic
  }

  #withIds(partitions: Assignment): { topicId: string; partitions: number[] }[] {
    return [...partitions].flatMap(([topic, numbers]) => {
      const known = this.#cluster.knownTopic(this.#nameOf(topic))
      return known === undefined || numbers.size === 0
        ? []
        : [{ topicId: known.id, partitions: [...numbers] }]
    })
  }

  async #withNames(assigned: readonly { topicId: string; partitions: number[] }[]): Promise<Assignment> {
    const names = new Map<string, string>()
    for (const topic of this.#topics) {
      const metadata = await this.#cluster.topic(this.#nameOf(topic))
      if (metadata !== undefined) names.set(metadata.id, topic)
    }
    const partitions = new Map<string, Set<number>>()
    for (const { topicId, partitions: numbers } of assigned) {
      const topic = names.get(topicId)
      if (topic !== undefined) partitions.set(topic, new Set(numbers))
    }
    return partitions
  }
}
