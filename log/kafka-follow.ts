// Which partitions have grown: one waiting fetch to each broker that leads some of those that are followed.
//
// A fetch waits at the end that is known and comes back when there is more; with it comes the new end (the last
// stable offset: what is behind it may yet be aborted), and that is all that is used of it: the records are read when
// a stage wants them. A pause between two fetches bounds what that costs under load. It is longer while nobody waits for
// news, because a stage is at work, or waits for a commit's time: each process that shares a stage fetches for itself, and
// without it would ask as often as the one that has all the records.
import { Waiters } from '../std/waiters.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { kafkaErrorCode, mayRetry } from './kafka-errors.ts'
import { fetchBatches } from './kafka-wire.ts'
import type { Change, Changes } from './log.ts'

/** Also bounds how late a partition that was added meanwhile is followed. */
const WAIT_MS = 1000
const PAUSE_MS = 5
/** What a stage that does not wait hears of may be so old. */
const PAUSE_MS_UNATTENDED = 100
const RETRY_MS = 200

interface Followed {
  /** By its name in the log, and on the cluster. */
  topic: string
  name: string
  partition: number
  start: number
  end: number
  /** When it was seen to grow last. */
  sequence: number
}

export class KafkaFollower {
  readonly #cluster: KafkaCluster
  readonly #followed = new Map<string, Followed>()
  readonly #busy = new Set<number>()
  readonly #waiting = new Waiters()
  /** How many of `changes` wait, and the loops that pause until one does. */
  #attendants = 0
  readonly #unattended = new Waiters()
  #started = false
  #isLooking = false
  #sequence = 0

  constructor(cluster: KafkaCluster) {
    this.#cluster = cluster
  }

  /** From now on the partition is followed, and its range is this. */
  note(topic: string, name: string, partition: number, start: number, end: number): void {
    const key = `${name}/${partition}`
    const known = this.#followed.get(key)
    if (known === undefined) {
      const sequence = end > start ? ++this.#sequence : 0
      this.#followed.set(key, { topic, name, partition, start, end, sequence })
      if (this.#started) this.#run()
    } else {
      known.start = start
      this.#grow(known, end)
      return
    }
    this.#wake()
  }

  /** Of the topic only these partitions are followed on. */
  keep(topic: string, partitions: ReadonlySet<number>): void {
    for (const [key, one] of this.#followed)
      if (one.topic === topic && !partitions.has(one.partition)) this.#followed.delete(key)
  }

  /** As `Log.changes`, for the partitions noted. */
  async changes(sequence: number, timeoutMs: number): Promise<Changes> {
    this.#started = true
    this.#run()
    const now = this.#since(sequence)
    if (now.partitions.length > 0 || timeoutMs <= 0) return now
    this.#attendants++
    this.#unattended.wake()
    await this.#waiting.wait(timeoutMs)
    this.#attendants--
    return this.#since(sequence)
  }

  close(): void {
    this.#wake()
    this.#unattended.wake()
  }

  #wake(): void {
    this.#waiting.wake()
  }

  #since(sequence: number): Changes {
    const partitions: Change[] = []
    for (const one of this.#followed.values())
      if (one.sequence > sequence && one.end > one.start)
        partitions.push({ topic: one.topic, partition: one.partition, end: one.end })
    return { sequence: this.#sequence, partitions }
  }

  #grow(one: Followed, end: number): void {
    if (end <= one.end) return
    one.end = end
    one.sequence = ++this.#sequence
    this.#wake()
  }

  /** One loop for each broker that leads something, and one that looks for the leaders that are missing. */
  #run(): void {
    let isLeaderMissing = false
    for (const one of this.#followed.values()) {
      const leader = this.#cluster.knownTopic(one.name)?.leaders[one.partition]
      if (leader === undefined || leader < 0) isLeaderMissing = true
      else if (!this.#busy.has(leader)) {
        this.#busy.add(leader)
        void this.#follow(leader)
      }
    }
    if (isLeaderMissing && !this.#isLooking) void this.#look()
  }

  /** A broker that has just started names no leaders for a moment: nobody else may ask again, so this does. */
  async #look(): Promise<void> {
    this.#isLooking = true
    await this.#refreshed()
    this.#isLooking = false
    if (!this.#cluster.isClosed) this.#run()
  }

  async #follow(leader: number): Promise<void> {
    while (!this.#cluster.isClosed) {
      const asked = new Map<string, Followed>()
      const partitions = []
      for (const one of this.#followed.values()) {
        const metadata = this.#cluster.knownTopic(one.name)
        if (metadata?.leaders[one.partition] !== leader) continue
        asked.set(`${metadata.id}/${one.partition}`, one)
        partitions.push({ topicId: metadata.id, partition: one.partition, offset: one.end, bytesMax: 1 })
      }
      if (partitions.length === 0) break
      try {
        const connection = await this.#cluster.connection(leader, 'follow')
        const answer = await fetchBatches(connection, WAIT_MS, 1, partitions)
        if (answer.memory !== undefined) this.#cluster.memory.give(answer.memory)
        let isStale = answer.errorCode !== 0
        for (const got of answer.partitions) {
          const one = asked.get(`${got.topicId}/${got.partition}`)
          if (one === undefined) continue
          if (got.errorCode !== 0) isStale = true
          else this.#grow(one, got.lastStableOffset)
        }
        await this.#cluster.sleep(PAUSE_MS)
        if (this.#attendants === 0) await this.#unattended.wait(PAUSE_MS_UNATTENDED)
        if (isStale) await this.#refresh()
      } catch (error) {
        if (this.#cluster.isClosed) break
        // Another who asks the cluster hears what cannot be mended; following just goes on.
        if (!mayRetry(error) && kafkaErrorCode(error) === undefined) await this.#cluster.sleep(RETRY_MS)
        await this.#refresh()
      }
    }
    this.#busy.delete(leader)
  }

  async #refresh(): Promise<void> {
    await this.#refreshed()
    this.#run()
  }

  async #refreshed(): Promise<void> {
    await this.#cluster.sleep(RETRY_MS)
    const names = new Set([...this.#followed.values()].map(({ name }) => name))
    await this.#cluster.refresh(names).catch(() => {})
  }
}
