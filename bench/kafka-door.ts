// Case (kafka): Kafka's own consumer-perf-test reads a stream from the Kafka door, and the same records from a real broker
//
// Server on one core, the Java consumer on the other. The records of both are the same batches: those of the journal
// were appended before the server starts, those of the broker by acks=all. Time is what the tool says that it fetched for
// (the start of its virtual machine and the joining of its group are not in it), CPU that of its whole process. It
// fails unless it has read the number of records that it was told.
import { execFileSync, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import type { Log, TopicConfig } from '../log/log.ts'
import { openEmbeddedLog } from '../log/log-embedded.ts'
import { openKafkaLog } from '../log/log-kafka.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { rawTopic } from '../schemas/names.ts'
import { NodeDisk } from '../std/disk.ts'
import { type KafkaBrokers, kafkaClassPath, startKafka } from '../test/kafka/broker.ts'
import { kafkaOptionsOf } from '../test/kafka/options.ts'
import {
  type CaseArguments,
  calibrate,
  caseMain,
  caseResult,
  peer,
  Random,
  type Run,
  round,
  summarise,
} from './harness.ts'
import { PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'
import { cpuSeconds, GENERATOR_CORE, pinning, SERVER_CORE, temporaryFolder } from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'

const KAFKA_JAR = /^kafka-clients-(.+)\.jar$/
const TOPIC = rawTopic('default', 'telemetry')
const RECORDS = 4_000_000
const RECORDS_SMOKE = 80_000
const BATCH_RECORDS = 1000
const DEVICES = 1000
const SCHEMA_ID = 2
const TOPIC_CONFIG: TopicConfig = {
  partitions: 4,
  cleanup: 'delete',
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}

/** The same records into either log, one batch of each partition at a time. */
async function fill(log: Log, records: number, seed: number): Promise<void> {
  await log.createTopic(TOPIC, TOPIC_CONFIG)
  const random = new Random(seed)
  const now = Date.now()
  const sensors = Array.from({ length: DEVICES }, () => new Sensor(random, now, false, 1, '1.2.0'))
  const payload = new Uint8Array(PAYLOAD_BYTES_MAX)
  const appends: Promise<unknown>[] = []
  for (let sent = 0; sent < records; sent += BATCH_RECORDS) {
    const builder = new RecordBatchBuilder(1 << 17)
    for (let i = 0; i < BATCH_RECORDS; i++) {
      const end = sensors[i]!.writeAvro(payload, 0, SCHEMA_ID)
      builder.append(now, Buffer.from(`sensor-${String(i).padStart(6, '0')}`), payload.subarray(0, end))
    }
    const partition = (sent / BATCH_RECORDS) % TOPIC_CONFIG.partitions
    const entry = { topic: TOPIC, partition, batch: builder.finish(), recordCount: BATCH_RECORDS }
    appends.push(log.append({ entries: [entry] }))
    if (appends.length === TOPIC_CONFIG.partitions) await Promise.all(appends.splice(0))
  }
  await Promise.all(appends)
}

/** One run of the consumer: records, the seconds that it fetched for, CPU of its process. */
function consume(bootstrap: string, records: number): Run {
  const pin = pinning.startsWith('cores shared') ? [] : ['taskset', '-c', String(SERVER_CORE)]
  const command = [
    ...pin,
    ...['java', '-Xmx512m', '-XX:+UseSerialGC', '-cp', kafkaClassPath()],
    ...['org.apache.kafka.tools.ConsumerPerformance', '--bootstrap-server', bootstrap, '--topic', TOPIC],
    ...['--num-records', String(records), '--group', randomUUID(), '--timeout', '20000'],
  ]
  const script = '"$@" 2>&1; code=$?; times; exit $code'
  const done = spawnSync('bash', ['-c', script, 'bash', ...command], { encoding: 'utf8' })
  const lines = done.stdout.trim().split('\n')
  // start, end, MB, MB/s, records, records/s, rebalance ms, fetch ms, …
  const columns = lines.map((line) => line.split(', ')).find((line) => Number(line[4]) >= records)
  if (done.status !== 0 || columns === undefined)
    throw new Error(`the consumer of ${bootstrap}:\n${done.stdout}`)
  // The last line of `times`: user and system of all children.
  const cpu = [...lines.at(-1)!.matchAll(/(\d+)m([\d.]+)s/g)]
  return {
    messages: Number(columns[4]),
    seconds: Number(columns[7]) / 1000,
    cpuSeconds: cpu.reduce((sum, [, m, s]) => sum + Number(m) * 60 + Number(s), 0),
  }
}

interface Contestant {
  bootstrap: string
  pids: readonly number[]
  runs: Run[]
  /** CPU seconds of the server in its runs. */
  serverSeconds: number
}

function measure(one: Contestant, records: number): void {
  const server = (): number => one.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
  calibrate()
  const before = server()
  one.runs.push(consume(one.bootstrap, records))
  one.serverSeconds += server() - before
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const records = args.smoke ? RECORDS_SMOKE : RECORDS
  const data = temporaryFolder()
  const journal = openEmbeddedLog({ dir: path.join(data, 'log'), disk: new NodeDisk(), background: false })
  await fill(journal, records, args.seed)
  await journal.close()
  const server = await BenchServer.start({
    roles: 'ingest',
    data,
    core: GENERATOR_CORE,
    args: ['--kafka', '127.0.0.1:0'],
  })
  const port = /Kafka\s+127\.0\.0\.1:(\d+)/.exec(server.process.output)![1]!
  const ours: Contestant = {
    bootstrap: `127.0.0.1:${port}`,
    pids: [server.process.pid],
    runs: [],
    serverSeconds: 0,
  }
  const broker = args.noPeers ? undefined : await startBroker()
  const contestants = [ours]
  const notes: string[] = []
  try {
    if (broker !== undefined) {
      const before = broker.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0)
      await fillBroker(broker, records, args.seed)
      const took = broker.pids.reduce((sum, pid) => sum + cpuSeconds(pid), 0) - before
      notes.push(`the broker took ${round((took * 1e6) / records, 3)} µs of CPU to take a record, one copy`)
      contestants.push({ bootstrap: broker.bootstrap, pids: broker.pids, runs: [], serverSeconds: 0 })
    }
    for (let i = 0; i < args.runs; i++) for (const one of contestants) measure(one, records)
  } finally {
    await broker?.stop()
  }
  await server.stop()
  const summary = summarise(ours.runs)
  const serverUs = ({ serverSeconds }: Contestant): number =>
    round((serverSeconds * 1e6) / (records * args.runs), 3)
  const verified = `${records} records read by the Java consumer in every run`
  const peers = contestants
    .slice(1)
    .map((one) => peer('kafka', brokerVersion(), summarise(one.runs), summary))
  return {
    ...caseResult('kafka-door', args, 'records/s', summary, verified, peers),
    notes: [
      ...notes,
      `CPU µs a record are the consumer's; the servers used ${contestants.map((one, i) => `${serverUs(one)} (${i === 0 ? 'millrace' : 'kafka'})`).join(', ')} µs a record`,
    ],
  }
}

async function startBroker(): Promise<KafkaBrokers> {
  const broker = await startKafka({ measured: true })
  process.on('exit', () => {
    for (const pid of broker.pids) process.kill(pid, 'SIGKILL')
  })
  if (!pinning.startsWith('cores shared'))
    for (const pid of broker.pids)
      execFileSync('taskset', ['-a', '-c', '-p', String(GENERATOR_CORE), String(pid)], { stdio: 'ignore' })
  return broker
}

async function fillBroker(broker: KafkaBrokers, records: number, seed: number): Promise<void> {
  const log = await openKafkaLog(kafkaOptionsOf(broker), 'bench')
  await fill(log, records, seed)
  await log.close()
}

function brokerVersion(): string {
  const jars = fs.readdirSync(path.dirname(kafkaClassPath()))
  return jars.map((name) => KAFKA_JAR.exec(name)?.[1]).find((version) => version !== undefined) ?? ''
}

if (import.meta.main) await caseMain(run, 1, 3)
