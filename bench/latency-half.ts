// Case: PUBACK latency at half of the saturated rate, fsync on, open loop
//
// First the closed loop of tcp-qos1-8x1024 finds the rate of the hour; then messages are sent at half of it, each
// with a time at which it should leave, and latency counts from then to its PUBACK (generator.ts).
import { latencyOf, OurSide } from './broker-case.ts'
import {
  type CaseArguments,
  caseArguments,
  caseResult,
  median,
  printResult,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { pinning } from './processes.ts'
import type { CaseResult } from './result.ts'

const LOAD = { qos: 1, connections: 8, window: 1024 } as const
const SATURATION_SECONDS = 3
const SECONDS_MAX = 25

export async function run(args: CaseArguments, shared?: OurSide): Promise<CaseResult> {
  const side = shared ?? (await OurSide.start())
  const saturation = args.smoke ? args.seconds : SATURATION_SECONDS
  const warmup = args.smoke ? 0.1 : 1
  const timing = { seconds: saturation, warmup, seed: args.seed }
  const full = await side.run(LOAD, false, timing)
  const rate = Math.max(1, Math.floor(full.run.messages / full.run.seconds / 2))
  const runs = []
  const seconds = Math.min(args.seconds, SECONDS_MAX)
  for (const i of rounds(args.runs)) {
    const seed = args.seed + (i + 1) * 10_000
    runs.push(await side.run({ ...LOAD, rate }, false, { seconds, warmup, seed }))
  }
  const verified = await side.verify()
  const result = caseResult(
    'latency-half',
    args,
    'msg/s',
    summarise(runs.map((one) => one.run)),
    verified,
    [],
  )
  const reports = runs.map((one) => one.report)
  const latencyMs = latencyOf(reports.map((report) => report.latencyMs!))!
  return {
    ...result,
    latencyMs,
    generatorCpuShare: round(median(reports.map((report) => report.cpuShare)), 2),
    threads: side.threads.at(-1)!,
    notes: [
      pinning,
      `${rate} msg/s asked for, half of the saturated rate; longest ${Math.max(...reports.map((report) => report.latencyMs!.max))} ms`,
    ],
  }
}

if (import.meta.main) {
  const args = caseArguments(8)
  printResult(await run(args), args)
}
