import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { KafkaCluster } from './kafka-cluster.ts'
import { KafkaFollower } from './kafka-follow.ts'

/** A cluster whose metadata names a leader only from the third look on, as that of a broker that has just started. */
class LateLeaders {
  isClosed = false
  looks = 0
  readonly asked: number[] = []

  knownTopic(): { id: string; leaders: number[] } {
    return { id: '', leaders: [this.looks < 3 ? -1 : 7] }
  }

  async refresh(): Promise<void> {
    this.looks++
  }

  async sleep(): Promise<void> {
    await sleep(1)
  }

  connection(node: number): Promise<never> {
    this.asked.push(node)
    this.isClosed = true
    return Promise.reject(new Error('closed'))
  }
}

test('a partition without a leader is looked for until it has one, and followed there', async () => {
  const cluster = new LateLeaders()
  const follower = new KafkaFollower(cluster as unknown as KafkaCluster)
  follower.note('t', 't', 0, 0, 0)
  assert.deepEqual((await follower.changes(0, 500)).partitions, [])
  assert.deepEqual(cluster.asked, [7])
})

/** A partition that has grown by one at each fetch. */
class Growing {
  isClosed = false
  fetches = 0

  knownTopic(): { id: string; leaders: number[] } {
    return { id: 'id', leaders: [7] }
  }

  sleep(): Promise<void> {
    return sleep(1)
  }

  async connection(): Promise<unknown> {
    return {
      send: (...args: unknown[]): void => {
        const answer = args.at(-1) as (error: null, answer: unknown) => void
        const end = ++this.fetches
        const got = { topicId: 'id', partition: 0, errorCode: 0, lastStableOffset: end }
        setImmediate(answer, null, { errorCode: 0, partitions: [got], memory: undefined })
      },
    }
  }
}

test('while nobody waits for news a broker is hardly asked, and at once by who does', async () => {
  const cluster = new Growing()
  const follower = new KafkaFollower(cluster as unknown as KafkaCluster)
  follower.note('t', 't', 0, 0, 0)
  const first = await follower.changes(0, 5000)
  assert.deepEqual(first.partitions, [{ topic: 't', partition: 0, end: 1 }])
  await sleep(60)
  assert.ok(cluster.fetches <= 5, `${cluster.fetches} fetches`)
  const next = await follower.changes(first.sequence, 5000)
  assert.ok(next.partitions[0]!.end > 1)
  cluster.isClosed = true
  follower.close()
})
