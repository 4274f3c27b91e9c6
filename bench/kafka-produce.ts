// Case (kafka): our batches to a real broker, acks=all, 100-byte values, 8 partitions; CPU against Java's and kafkajs
//
// Batches as ingest makes them, already encoded, are sealed and sent; the peers get values and make the batches. That
// is the difference that is measured: no record becomes an object on its way.
import { randomUUID } from 'node:crypto'
import { openKafkaLog } from '../log/log-kafka.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import {
  type CaseArguments,
  caseMain,
  caseResult,
  packageVersion,
  type Run,
  round,
  type Summary,
  summarise,
} from './harness.ts'
import { BenchKafka, javaClient, KAFKA_VERSION, scriptClient } from './kafka-broker.ts'
import { PARTITIONS, VALUE_BYTES } from './kafka-settings.ts'
import { pinSelf } from './processes.ts'
import type { CaseResult, Peer } from './result.ts'

const TOPIC = 'produce'
const BATCH_RECORDS = 1000
/** Requests under way: ingest has as many workers, each with a few. */
const ROUNDS_IN_FLIGHT = 4
const JAVA_RECORDS = 2_000_000

function batch(): Uint8Array {
  const builder = new RecordBatchBuilder(1 << 17)
  const value = new Uint8Array(VALUE_BYTES).fill(0x61)
  for (let i = 0; i < BATCH_RECORDS; i++) builder.append(Date.now(), undefined, value)
  return builder.finish()
}

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  const log = await openKafkaLog(kafka.options(randomUUID()), 'bench')
  await log.createTopic(TOPIC, {
    partitions: PARTITIONS,
    cleanup: 'delete',
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  })
  pinSelf()
  const bytes = batch()
  const entries = Array.from({ length: PARTITIONS }, (_, partition) => ({
    topic: TOPIC,
    partition,
    batch: bytes,
    recordCount: BATCH_RECORDS,
  }))
  let sent = 0
  const send = async (seconds: number): Promise<Run> => {
    const cpu = process.cpuUsage()
    const started = performance.now()
    let messages = 0
    const until = started + seconds * 1000
    await Promise.all(
      Array.from({ length: ROUNDS_IN_FLIGHT }, async () => {
        while (performance.now() < until) {
          await log.append({ entries, independent: true })
          messages += PARTITIONS * BATCH_RECORDS
        }
      }),
    )
    const { user, system } = process.cpuUsage(cpu)
    sent += messages
    return { messages, seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 }
  }
  await send(args.seconds / 2)
  const runs: Run[] = []
  kafka.cpu()
  for (let i = 0; i < args.runs; i++) runs.push(await send(args.seconds))
  const brokerUs = round((kafka.cpu() * 1e6) / runs.reduce((sum, one) => sum + one.messages, 0), 3)
  let stored = 0
  for (let partition = 0; partition < PARTITIONS; partition++)
    stored += (await log.range(TOPIC, partition)).end
  await log.close()
  if (stored !== sent) throw new Error(`${sent} records were sent, the broker has ${stored}`)
  const ours = summarise(runs)
  const { peers, notes } = args.noPeers ? { peers: [], notes: [] } : measurePeers(kafka, args, ours)
  await kafka.stop()
  const verified = `${sent} records sent and acknowledged = offsets of the topic`
  return {
    ...caseResult('kafka-produce', args, 'records/s', ours, verified, peers),
    brokerUsPerMessage: brokerUs,
    notes,
  }
}

interface Measured {
  peers: Peer[]
  notes: string[]
}

function measurePeers(kafka: BenchKafka, args: CaseArguments, ours: Summary): Measured {
  const { bootstrap } = kafka.brokers
  const java = javaClient(
    'org.apache.kafka.tools.ProducerPerformance',
    (records) => [
      ...['--topic', TOPIC, '--num-records', String(records), '--record-size', String(VALUE_BYTES)],
      ...['--throughput', '-1', '--producer-props', `bootstrap.servers=${bootstrap}`, 'acks=all'],
      // At its best: batches as large as ours.
      ...['batch.size=131072', 'linger.ms=10'],
    ],
    args.smoke ? 50_000 : JAVA_RECORDS,
  )
  const kafkajs = scriptClient(['produce', bootstrap, TOPIC, '0', String(args.seconds)])
  const peers = [
    cpuPeer('java-producer', KAFKA_VERSION, java, ours),
    cpuPeer('kafkajs', packageVersion('kafkajs'), kafkajs, ours),
  ]
  return { peers, notes: [`java-producer with its start: ${java.wholeUs} µs of CPU a record`] }
}

export function cpuPeer(name: string, version: string, run: Run, ours: Summary): Peer {
  const { median, cpuUsPerMessage } = summarise([run])
  return {
    name,
    version,
    median,
    cpuUsPerMessage,
    ratio: round(cpuUsPerMessage / ours.cpuUsPerMessage, 2),
    ratioOf: 'cpu',
  }
}

if (import.meta.main) await caseMain(run, 3, 3)
