// What the cases of the benchmark share: arguments, seeded random numbers, medians, the machine, and the one
// line of JSON that a case prints.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'

/** Milliseconds from the (intended) sending to PUBACK; medians over the runs. */
export interface Latency {
  p50: number
  p99: number
  p999: number
}

export interface Peer {
  name: string
  version: string
  /** In the unit of the case. */
  median: number
  /** Null where the peer's process is not ours to look at. */
  cpuUsPerMessage: number | null
  /** Ours over the peer's (throughput), or the peer's over ours (cpu, memory): above 1 we are ahead. */
  ratio: number
  ratioOf: 'throughput' | 'cpu' | 'memory'
  latencyMs?: Latency
}

/** Another case, on the same server in the same run. */
export interface Baseline {
  case: string
  median: number
  cpuUsPerMessage: number
  /** This case's median over it. */
  ratio: number
}

export interface CaseResult {
  case: string
  machine: string
  node: string
  seed: number
  runs: number
  /** `msg/s`, `rows/s`, `records/s`. */
  unit: string
  median: number
  min: number
  max: number
  cpuUsPerMessage: number
  /** What was counted and compared after the runs. */
  verified: string
  peers: Peer[]
  baseline?: Baseline
  latencyMs?: Latency
  /** Share of its core that the load generator used; near 1 it is the limit. */
  generatorCpuShare?: number
  /** CPU µs per message of each thread of the server, by the thread's name. */
  threads?: Record<string, number>
  /** What else was seen, in sentences. */
  notes?: string[]
}

export interface CaseArguments {
  json: boolean
  seconds: number
  runs: number
  seed: number
  /** A run that only shows that the case works: for the tests. */
  smoke: boolean
  /** Further brokers to measure: `NAME=COMMAND` or `NAME@VERSION=COMMAND`, with `{port}` in the command. */
  peers: string[]
  /** A broker that runs already. */
  url: string | undefined
}

export function caseArguments(secondsDefault: number, runsDefault = 5): CaseArguments {
  const { values } = parseArgs({
    options: {
      json: { type: 'boolean', default: false },
      smoke: { type: 'boolean', default: false },
      seconds: { type: 'string', default: String(secondsDefault) },
      runs: { type: 'string', default: String(runsDefault) },
      seed: { type: 'string', default: '1' },
      peer: { type: 'string', multiple: true, default: [] },
      url: { type: 'string' },
    },
  })
  const smoke = values.smoke
  return {
    json: values.json,
    smoke,
    seconds: smoke ? 0.2 : positive('seconds', values.seconds),
    runs: smoke ? 1 : Math.max(1, Math.round(positive('runs', values.runs))),
    seed: Math.round(positive('seed', values.seed)),
    peers: values.peer,
    url: values.url,
  }
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  process.stderr.write(`--${name}: a number above 0 is expected, not '${text}'\n`)
  process.exit(2)
}

/** Mulberry32: small, fast, the same on every machine for a seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed | 0
  }

  /** In [0, 1). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x100000000
  }

  /** An integer in [0, below). */
  below(below: number): number {
    return Math.floor(this.next() * below)
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

export function machine(): string {
  const cpus = os.cpus()
  const [cpu] = cpus
  const memory = Math.round(os.totalmem() / 2 ** 30)
  return `${cpus.length} × ${cpu?.model.trim() ?? os.arch()}, ${memory} GiB, ${os.type()} ${os.release()}`
}

/** One timed run. */
export interface Run {
  messages: number
  seconds: number
  /** CPU of the thread or process measured. */
  cpuSeconds: number
}

/** Calls `run` for about `seconds` and says what it took. `run` returns the messages it dealt with. */
export function timed(seconds: number, run: () => number): Run {
  const cpuBefore = process.cpuUsage()
  const started = performance.now()
  let messages = 0
  let elapsed = 0
  while (elapsed < seconds) {
    messages += run()
    elapsed = (performance.now() - started) / 1000
  }
  const cpu = process.cpuUsage(cpuBefore)
  return { messages, seconds: elapsed, cpuSeconds: (cpu.user + cpu.system) / 1e6 }
}

export interface Summary {
  median: number
  min: number
  max: number
  cpuUsPerMessage: number
}

export function summarise(runs: readonly Run[]): Summary {
  const rates = runs.map((run) => run.messages / run.seconds)
  return {
    median: Math.round(median(rates)),
    min: Math.round(Math.min(...rates)),
    max: Math.round(Math.max(...rates)),
    cpuUsPerMessage: round(median(runs.map((run) => (run.cpuSeconds * 1e6) / run.messages)), 4),
  }
}

export function peer(name: string, version: string, theirs: Summary, ours: Summary): Peer {
  return {
    name,
    version,
    median: theirs.median,
    cpuUsPerMessage: theirs.cpuUsPerMessage,
    ratio: round(ours.median / theirs.median, 2),
    ratioOf: 'throughput',
  }
}

/** Version of an installed npm package. */
export function packageVersion(name: string): string {
  const file = path.join(import.meta.dirname, '../node_modules', name, 'package.json')
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version
}

export function round(value: number, digits: number): number {
  return Number(value.toFixed(digits))
}

/** The result of a case, with what every one of them holds. */
export function caseResult(
  name: string,
  args: CaseArguments,
  unit: string,
  ours: Summary,
  verified: string,
  peers: Peer[],
): CaseResult {
  return {
    case: name,
    machine: machine(),
    node: process.version,
    seed: args.seed,
    runs: args.runs,
    unit,
    ...ours,
    verified,
    peers,
  }
}

/** Prints the result: one line of JSON, or lines for people. */
export function printResult(result: CaseResult, args: CaseArguments): void {
  process.stdout.write(args.json ? `${JSON.stringify(result)}\n` : `${linesOf(result).join('\n')}\n`)
}

/** As `printResult`, for a case without more to say. */
export function report(
  name: string,
  args: CaseArguments,
  unit: string,
  ours: Summary,
  verified: string,
  peers: Peer[],
): void {
  printResult(caseResult(name, args, unit, ours, verified, peers), args)
}

function linesOf(result: CaseResult): string[] {
  const { unit } = result
  const cpu = (us: number | null) => (us === null ? '' : `, ${us} µs CPU each`)
  const latency = (ms: Latency | undefined) =>
    ms === undefined ? '' : `, PUBACK p50 ${ms.p50} p99 ${ms.p99} p99.9 ${ms.p999} ms`
  const lines = [
    `${result.case}: ${figure(result.median)} ${unit} (${figure(result.min)} to ${figure(result.max)}, ${result.runs} runs)${cpu(result.cpuUsPerMessage)}${latency(result.latencyMs)}`,
  ]
  for (const one of result.peers)
    lines.push(
      `  ${one.name} ${one.version}: ${figure(one.median)} ${unit}${cpu(one.cpuUsPerMessage)}${latency(one.latencyMs)}; ratio of ${one.ratioOf} ${one.ratio}`,
    )
  const { baseline, threads, generatorCpuShare, notes = [] } = result
  if (baseline !== undefined)
    lines.push(
      `  ${baseline.case}: ${figure(baseline.median)} ${unit}${cpu(baseline.cpuUsPerMessage)}; this is ${baseline.ratio} of it`,
    )
  if (threads !== undefined) {
    const each = Object.entries(threads).map(([name, us]) => `${name} ${us}`)
    lines.push(`  threads, µs each: ${each.join(', ')}`)
  }
  if (generatorCpuShare !== undefined) lines.push(`  the generator used ${generatorCpuShare} of its core`)
  lines.push(...notes.map((note) => `  ${note}`))
  lines.push(`  verified: ${result.verified}`)
  lines.push(`  ${result.machine}, Node ${result.node}, seed ${result.seed}`)
  return lines
}

function figure(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : String(round(value, 1))
}
