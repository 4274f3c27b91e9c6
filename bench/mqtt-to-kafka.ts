// Case (kafka): QoS 1 over TCP into a real broker, acks=all, 200 connections with 64 messages in flight
//
// Ingest has a core; generator and broker share the other, so the broker's CPU is shown: where it and the generator
// use that core up, they are the limit.
import { randomUUID } from 'node:crypto'
import { openKafkaLog } from '../log/log-kafka.ts'
import { latencyOf, OurSide } from './broker-case.ts'
import {
  type CaseArguments,
  caseMain,
  caseResult,
  median,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { BenchKafka } from './kafka-broker.ts'
import { countRecords } from './normalize-case.ts'
import { pinning } from './processes.ts'
import type { CaseResult, Latency } from './result.ts'
import { BenchServer } from './server.ts'

const LOAD = { qos: 1, connections: 200, window: 64 } as const
const START_MS_MAX = 60_000

async function run(args: CaseArguments): Promise<CaseResult> {
  const kafka = await BenchKafka.start()
  const log = ['--log', `kafka://${kafka.brokers.bootstrap}`]
  const server = await BenchServer.start({ roles: 'ingest', args: log, startMsMax: START_MS_MAX })
  const side = new OurSide(server)
  const runs: Run[] = []
  const latencies: Latency[] = []
  const generator: number[] = []
  const brokerUs: number[] = []
  for (const i of rounds(args.runs)) {
    kafka.cpu()
    const before = side.sent
    const timing = { seconds: args.seconds, warmup: args.smoke ? 0.1 : 1, seed: args.seed + i * 10_000 }
    const one = await side.run(LOAD, false, timing)
    brokerUs.push((kafka.cpu() * 1e6) / (side.sent - before))
    runs.push(one.run)
    if (one.report.latencyMs !== undefined) latencies.push(one.report.latencyMs)
    generator.push(one.report.cpuShare)
  }
  await server.stop()
  server.removeData()
  const reader = await openKafkaLog(kafka.options(randomUUID()), 'count')
  let found = 0
  for (const { name, config } of await reader.listTopics())
    if (name.endsWith('.raw')) found += await countRecords(reader, name, config.partitions)
  await reader.close()
  await kafka.stop()
  if (found !== side.sent) throw new Error(`${side.sent} messages were sent, the raw topics hold ${found}`)
  const verified = `${found} messages sent = records read back from the broker`
  const latencyMs = latencyOf(latencies)
  return {
    ...caseResult('mqtt-to-kafka', args, 'msg/s', summarise(runs), verified, []),
    ...(latencyMs === undefined ? {} : { latencyMs }),
    generatorCpuShare: round(median(generator), 2),
    threads: side.threads.at(-1)!,
    brokerUsPerMessage: round(median(brokerUs), 3),
    notes: [`${pinning}; the broker is on the generator’s core`],
  }
}

if (import.meta.main) await caseMain(run, 4, 3)
