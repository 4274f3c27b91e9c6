// Case (long): ten minutes at half of the saturated rate: memory, stalls, latency
//
// The load of latency-half in ten stretches of --seconds / 10 each. Another connection sends a PINGREQ every 10 ms:
// it is answered by the event loop without the log, so that its longest answer is the longest stall. RSS is read
// after each stretch.
import { latencyOf, OurSide } from './broker-case.ts'
import {
  type CaseArguments,
  type CaseResult,
  caseArguments,
  caseResult,
  printResult,
  round,
  summarise,
} from './harness.ts'
import { Pinger } from './pinger.ts'
import { pinning, residentBytes } from './processes.ts'
import { BenchServer } from './server.ts'

const LOAD = { qos: 1, connections: 8, window: 1024 } as const
const STRETCHES = 10
const SATURATION_SECONDS = 3
/** The log of ten minutes would not fit on every disk: its end says how many records there were. */
const RETENTION_BYTES = 1 << 30

export async function run(args: CaseArguments): Promise<CaseResult> {
  const server = await BenchServer.start({
    roles: 'ingest',
    args: ['--log-retention-bytes', String(RETENTION_BYTES)],
  })
  const side = new OurSide(server)
  const warmup = args.smoke ? 0 : 1
  const saturation = args.smoke ? args.seconds : SATURATION_SECONDS
  const full = await side.run(LOAD, false, { seconds: saturation, warmup, seed: args.seed })
  const rate = Math.max(1, Math.floor(full.run.messages / full.run.seconds / 2))
  const stretches = args.smoke ? 2 : STRETCHES
  const seconds = args.seconds / stretches
  const pinger = await Pinger.connect(server.mqttPort)
  const runs = []
  const megabytes: number[] = []
  for (let i = 1; i <= stretches; i++) {
    runs.push(await side.run({ ...LOAD, rate }, false, { seconds, warmup: 0, seed: args.seed + i * 10_000 }))
    megabytes.push(Math.round(residentBytes(server.process.pid) / 2 ** 20))
  }
  const stalls = pinger.close()
  const { raw, rejectedAtDoor } = await server.account()
  if (raw !== side.sent || rejectedAtDoor !== 0)
    throw new Error(`${side.sent} messages were sent, the log ends after ${raw}, ${rejectedAtDoor} rejected`)
  await server.stop()
  server.removeData()
  const latencies = runs.map((one) => one.report.latencyMs!)
  return {
    ...caseResult(
      'soak',
      { ...args, runs: stretches },
      'msg/s',
      summarise(runs.map((one) => one.run)),
      `${side.sent} messages acknowledged = offsets of the log`,
      [],
    ),
    latencyMs: latencyOf(latencies)!,
    threads: side.threads.at(-1)!,
    notes: [
      pinning,
      `RSS after each stretch, MiB: ${megabytes.join(' ')}`,
      `PUBACK p99 of each stretch, ms: ${latencies.map((one) => one.p99).join(' ')}`,
      `answer to a ping, ms: p99 ${round(stalls.p99, 1)}, longest ${round(stalls.max, 1)} of ${stalls.count}`,
    ],
  }
}

if (import.meta.main) {
  const args = caseArguments(600, 1)
  printResult(await run(args), args)
}
