// Case (kafka): fetch from a real broker into column batches; CPU against Java's consumer and kafkajs
//
// What the sink does: record sets are read as they lie and decoded to columns. The peers hand out records with their
// values as bytes, and decode nothing. Java's is there twice: as the whole process that its users start, and warm, which is
// the difference of a long run and a short one.
import { randomUUID } from 'node:crypto'
import { type KafkaLog, openKafkaLog } from '../log/log-kafka.ts'
import { BatchDecoder } from '../sink/decode.ts'
import { environmentStream } from './environment-stream.ts'
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
import { cpuPeer } from './kafka-produce.ts'
import { PARTITIONS } from './kafka-settings.ts'
import { Fleet } from './normalize-case.ts'
import { pinSelf } from './processes.ts'
import type { CaseResult, Peer } from './result.ts'

const TOPIC = 'fetch'
const SCHEMA_ID = 2
const RECORDS = 2_000_000
const RECORDS_SMOKE = 40_000
const READ_BYTES = 2 * 1024 * 1024
const DECODE_ROWS = 250_000

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  const log = await openKafkaLog(kafka.options(randomUUID()), 'bench')
  const records = args.smoke ? RECORDS_SMOKE : RECORDS
  await log.createTopic(TOPIC, {
    partitions: PARTITIONS,
    cleanup: 'delete',
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  })
  const fleet = new Fleet(args.seed, '1.2.0', PARTITIONS)
  for (let sent = 0; sent < records; sent += records / 10) await fleet.send(log, TOPIC, records / 10)
  pinSelf()
  const runs: Run[] = []
  kafka.cpu()
  let brokerRecords = 0
  const stream = environmentStream(SCHEMA_ID)
  const writers = [{ id: SCHEMA_ID, schema: stream.schema }]
  // One for all runs, as the sink keeps its own from commit to commit.
  const decoder = new BatchDecoder({ schema: stream.schema, writers, lineage: 'telemetry' })
  for (let i = 0; i <= args.runs; i++) {
    const one = await readAll(log, decoder, records)
    brokerRecords += one.messages
    // The first run warms up.
    if (i > 0 || args.smoke) runs.push(one)
  }
  const brokerUs = round((kafka.cpu() * 1e6) / brokerRecords, 3)
  await log.close()
  const ours = summarise(runs)
  const { peers, notes } = args.noPeers ? { peers: [], notes: [] } : measurePeers(kafka, records, ours)
  await kafka.stop()
  const verified = `${records} records of the topic = rows decoded, in every run`
  return {
    ...caseResult('kafka-fetch', args, 'records/s', ours, verified, peers),
    brokerUsPerMessage: brokerUs,
    notes,
  }
}

async function readAll(log: KafkaLog, decoder: BatchDecoder, records: number): Promise<Run> {
  const cpu = process.cpuUsage()
  const started = performance.now()
  let rows = 0
  const next = new Array<number>(PARTITIONS).fill(0)
  for (let progress = true; progress; ) {
    progress = false
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const { batches, nextOffset } = await log.read(TOPIC, partition, next[partition]!, READ_BYTES)
      if (nextOffset <= next[partition]!) continue
      decoder.append(batches, partition, next[partition]!)
      next[partition] = nextOffset
      progress = true
      if (decoder.rowCount < DECODE_ROWS) continue
      rows += decoder.take().rowCount
      decoder.reset()
    }
  }
  rows += decoder.take().rowCount
  decoder.reset()
  const { user, system } = process.cpuUsage(cpu)
  if (rows !== records) throw new Error(`${records} records, ${rows} rows`)
  return { messages: rows, seconds: (performance.now() - started) / 1000, cpuSeconds: (user + system) / 1e6 }
}

interface Measured {
  peers: Peer[]
  notes: string[]
}

function measurePeers(kafka: BenchKafka, records: number, ours: Summary): Measured {
  const { bootstrap } = kafka.brokers
  const java = javaClient(
    'org.apache.kafka.tools.ConsumerPerformance',
    (count) => ['--bootstrap-server', bootstrap, '--topic', TOPIC, '--num-records', String(count)],
    records,
  )
  const kafkajs = scriptClient(['consume', bootstrap, TOPIC, String(records), '0'])
  const whole = {
    messages: records,
    seconds: java.wholeSeconds,
    cpuSeconds: (java.wholeUs * records) / 1e6,
  }
  const peers = [
    cpuPeer('java-consumer', KAFKA_VERSION, whole, ours),
    cpuPeer('java-consumer-warm', KAFKA_VERSION, java, ours),
    cpuPeer('kafkajs', packageVersion('kafkajs'), kafkajs, ours),
  ]
  return {
    peers,
    notes: [`java-consumer: the tool's process, its start included; java-consumer-warm: without it`],
  }
}

if (import.meta.main) await caseMain(run, 3, 3)
