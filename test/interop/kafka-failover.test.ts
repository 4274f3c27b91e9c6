// Three real brokers of which one after the other is killed, and then two: what leads a partition moves, appends wait or
// go on, and every one of them is in its partition once and in order.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { entry, readAll, TOPIC_DEFAULTS } from '../../log/log-conformance.ts'
import { type KafkaLog, openKafkaLog } from '../../log/log-kafka.ts'
import { type KafkaBrokers, startKafka } from '../kafka/broker.ts'
import { kafkaOptionsOf } from '../kafka/options.ts'

const BROKERS = 3
const TOPIC = 'failover'
/** Three leaders, one on each broker. */
const PARTITIONS = 3
/** Appends of each partition in one part of the test. */
const APPENDS = 40

let started: KafkaBrokers | undefined
after(() => started?.stop())

/** Appends numbers to every partition, one after the other in each; settles when all are acknowledged. */
class Writers {
  readonly #log: KafkaLog
  written = 0

  constructor(log: KafkaLog) {
    this.#log = log
  }

  /** `pauseMs` stretches it over what happens meanwhile. */
  async run(pauseMs: number): Promise<void> {
    const from = this.written / PARTITIONS
    await Promise.all(
      Array.from({ length: PARTITIONS }, async (_, partition) => {
        for (let i = from; i < from + APPENDS; i++) {
          await this.#log.append({
            entries: [entry(TOPIC, partition, [['k', `${i}`]])],
            independent: true,
          })
          this.written++
          await sleep(pauseMs)
        }
      }),
    )
  }
}

test('brokers that are killed one after the other, and two at a time: every append is there once, in order', {
  timeout: 240_000,
}, async () => {
  started = await startKafka({ brokers: BROKERS })
  const brokers = started
  const log = await openKafkaLog(kafkaOptionsOf(brokers, { replication: BROKERS }), 'test')
  await log.createTopic(TOPIC, { ...TOPIC_DEFAULTS, partitions: PARTITIONS })
  const writers = new Writers(log)
  const back = async (...indexes: number[]): Promise<void> => {
    for (const index of indexes) brokers.start(index)
    await brokers.ready()
  }

  for (let index = 0; index < BROKERS; index++) {
    const appends = writers.run(10)
    await sleep(100)
    await brokers.kill(index)
    // With two of three copies alive they are acknowledged while the broker is away.
    await appends
    await back(index)
  }

  await brokers.kill(0)
  await brokers.kill(1)
  const before = writers.written
  let isDone = false
  const appends = writers.run(0).then(() => {
    isDone = true
  })
  await sleep(3000)
  assert.equal(isDone, false, 'acknowledged with one copy of three')
  assert.equal(writers.written, before, 'acknowledged with one copy of three')
  await back(0, 1)
  await appends

  const expected = Array.from({ length: APPENDS * (BROKERS + 1) }, (_, i) => `${i}:k=${i}`)
  for (let partition = 0; partition < PARTITIONS; partition++)
    assert.deepEqual(await readAll(log, TOPIC, partition), expected)
  await log.close()
})
