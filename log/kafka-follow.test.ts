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
