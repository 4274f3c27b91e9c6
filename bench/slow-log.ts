// Case: slow log: fdatasync takes 2 s longer every 3 s, 50,000 messages a second in an open loop
//
// What must hold while the disk stalls: PUBACKs wait for it, pings are answered, memory stays within its bound, no
// connection is closed, and nothing is lost. The rate and the latency are those of all of it, stalls included: latency
// counts from the time at which a message should have left.
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { latencyOf, OurSide } from './broker-case.ts'
import { type CaseArguments, caseMain, caseResult, median, round, rounds, summarise } from './harness.ts'
import { Pinger } from './pinger.ts'
import { pinning, residentBytes } from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'

const STALL_MS = 2000
const PERIOD_MS = 3000
const STALL_MS_SMOKE = 300
const PERIOD_MS_SMOKE = 400
/** MQTT 5: what a client may have in flight is the server's to say. */
const LOAD = { qos: 1, connections: 8, window: 1024, level: 5, rate: 50_000 } as const
/** The server's bounds of what it holds unsynced (docs/backpressure.md), and as much again for the heap to move. */
const GROWTH_BYTES_MAX = 256 << 20
const SECONDS_DEFAULT = 8

export async function run(args: CaseArguments): Promise<CaseResult> {
  const stallMs = args.smoke ? STALL_MS_SMOKE : STALL_MS
  const periodMs = args.smoke ? PERIOD_MS_SMOKE : PERIOD_MS
  const server = await BenchServer.start({
    roles: 'ingest',
    env: {
      NODE_OPTIONS: `--import ${pathToFileURL(path.join(import.meta.dirname, 'stall-disk.ts')).href}`,
      BENCH_STALL_MS: String(stallMs),
      BENCH_STALL_PERIOD_MS: String(periodMs),
    },
  })
  const side = new OurSide(server)
  // Warm, so that the growth of its memory is that of the stalls.
  await side.run(LOAD, false, { seconds: args.smoke ? 0.2 : 2, warmup: 0, seed: args.seed })
  const rssBefore = residentBytes(server.process.pid)
  let rssMax = rssBefore
  const watching = setInterval(() => {
    rssMax = Math.max(rssMax, residentBytes(server.process.pid))
  }, 50)
  const runs = []
  const pings = []
  const seconds = Math.max(args.seconds, (2 * (stallMs + periodMs)) / 1000)
  for (const i of rounds(args.runs)) {
    const pinger = await Pinger.connect(server.mqttPort)
    runs.push(await side.run(LOAD, false, { seconds, warmup: 0, seed: args.seed + (i + 1) * 10_000 }))
    pings.push(pinger.close())
  }
  clearInterval(watching)
  const verified = await side.verify()
  const growth = rssMax - rssBefore
  const longest = median(runs.map((one) => one.report.latencyMs!.max))
  const pingMax = Math.max(...pings.map((one) => one.max))
  if (longest < stallMs)
    throw new Error(`the longest PUBACK took ${longest} ms: it did not wait for the disk`)
  if (pingMax > stallMs / 2 && !args.smoke) throw new Error(`a ping took ${pingMax} ms during a stall`)
  if (growth > GROWTH_BYTES_MAX) throw new Error(`the server grew by ${growth} bytes`)
  return {
    ...caseResult(
      'slow-log',
      args,
      'msg/s',
      summarise(runs.map((one) => one.run)),
      `${verified}; no connection closed, no PUBACK refused or out of order`,
      [],
    ),
    latencyMs: latencyOf(runs.map((one) => one.report.latencyMs!))!,
    threads: side.threads.at(-1)!,
    notes: [
      pinning,
      `fdatasync stalled for ${stallMs} ms every ${periodMs} ms; ${LOAD.rate} msg/s asked for`,
      `longest PUBACK ${round(longest, 0)} ms; ${pings.reduce((sum, one) => sum + one.count, 0)} pings answered, p99 ${round(Math.max(...pings.map((one) => one.p99)), 1)} ms, longest ${round(pingMax, 1)} ms`,
      `RSS grew by at most ${round(growth / 2 ** 20, 1)} MiB`,
    ],
  }
}

if (import.meta.main) await caseMain(run, SECONDS_DEFAULT)
