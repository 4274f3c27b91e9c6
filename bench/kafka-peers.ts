// kafkajs as the cases on Kafka measure it, in a process of its own: kafka-peers.ts produce|consume BOOTSTRAP TOPIC
// RECORDS SECONDS. Prints what its run took, after a warm-up.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel, Partitioners } from 'kafkajs'
import { PARTITIONS, VALUE_BYTES } from './kafka-settings.ts'

const WARM_PART = 0.2
const BATCH_RECORDS = 1000

const [mode, bootstrap, topic, recordsText, secondsText] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
]
const kafka = new Kafka({ clientId: 'bench', brokers: [bootstrap], logLevel: logLevel.ERROR })
const records = Number(recordsText)

function measure(): () => { seconds: number; cpuSeconds: number } {
  const started = performance.now()
  const cpu = process.cpuUsage()
  return () => {
    const { user, system } = process.cpuUsage(cpu)
    return { seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 }
  }
}

async function produce(): Promise<void> {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner, idempotent: false })
  await producer.connect()
  const value = Buffer.alloc(VALUE_BYTES, 0x61)
  const send = async (seconds: number): Promise<number> => {
    const until = performance.now() + seconds * 1000
    let sent = 0
    const writers = Array.from({ length: PARTITIONS }, async (_, partition) => {
      while (performance.now() < until) {
        const messages = Array.from({ length: BATCH_RECORDS }, () => ({ partition, value }))
        await producer.send({ topic, acks: -1, messages })
        sent += BATCH_RECORDS
      }
    })
    await Promise.all(writers)
    return sent
  }
  const seconds = Number(secondsText)
  await send(seconds * WARM_PART)
  const end = measure()
  const messages = await send(seconds)
  console.log(JSON.stringify({ messages, ...end() }))
  await producer.disconnect()
}

async function consume(): Promise<void> {
  const consumer = kafka.consumer({ groupId: randomUUID(), maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  let seen = 0
  let warm = 0
  let end: ReturnType<typeof measure> | undefined
  await consumer.run({
    eachBatch: async ({ batch }) => {
      seen += batch.messages.length
      if (end === undefined && seen >= records * WARM_PART) {
        warm = seen
        end = measure()
      }
    },
  })
  while (seen < records) await sleep(5)
  console.log(JSON.stringify({ messages: seen - warm, ...end!() }))
  await consumer.disconnect()
}

await (mode === 'produce' ? produce() : consume())
process.exit(0)
