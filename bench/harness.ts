// What the cases of the benchmark share: arguments, seeded random numbers, medians, the machine, and the result that a
// case prints. bench/README.md says how a case is made.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { seededRandom } from '../std/random.ts'
import { benchArguments, refuse } from './arguments.ts'
import type { Calibration, CaseResult, Peer } from './result.ts'
import { detailsOf, lineOf } from './result-text.ts'

export interface CaseArguments {
  json: boolean
  /** More lines for people. */
  details: boolean
  seconds: number
  runs: number
  seed: number
  /** A run that only shows that the case works: for the tests. */
  smoke: boolean
  /** Further brokers to measure: NAME=COMMAND (peers.ts). */
  peers: string[]
  /** Only Millrace. */
  noPeers: boolean
  /** A broker that runs already. */
  url: string | undefined
}

export function caseArguments(secondsDefault: number, runsDefault = 5): CaseArguments {
  const { values } = benchArguments({
    json: { type: 'boolean', default: false },
    details: { type: 'boolean', default: false },
    smoke: { type: 'boolean', default: false },
    seconds: { type: 'string', default: String(secondsDefault) },
    runs: { type: 'string', default: String(runsDefault) },
    seed: { type: 'string', default: '1' },
    peer: { type: 'string', multiple: true, default: [] },
    'no-peers': { type: 'boolean', default: false },
    url: { type: 'string' },
  })
  for (const text of values.peer)
    if (!/^[^=]+=./.test(text)) refuse(`--peer: read ${JSON.stringify(text)}, expected NAME='COMMAND'`)
  if (values.url !== undefined && !/^(mqtt|ws):\/\/[^:/]+:\d+(\/|$)/.test(values.url))
    refuse(`--url: read ${JSON.stringify(values.url)}, expected mqtt://HOST:PORT or ws://HOST:PORT/mqtt`)
  const smoke = values.smoke
  calibrate(smoke)
  return {
    json: values.json,
    details: values.details,
    smoke,
    seconds: smoke ? 0.2 : positive('seconds', values.seconds),
    runs: smoke ? 1 : Math.max(1, Math.round(positive('runs', values.runs))),
    seed: Math.round(positive('seed', values.seed)),
    peers: values.peer,
    noPeers: values['no-peers'],
    url: values.url,
  }
}

/** Cases whose rate says what was asked for, not what the server takes. */
export const GIVEN_RATE: readonly string[] = [
  'connect-storm',
  'fan-in',
  'latency-half',
  'many-tables',
  'slow-log',
  'soak',
]

/** The main program of a case's file. */
export async function caseMain(
  run: (args: CaseArguments) => Promise<CaseResult>,
  secondsDefault: number,
  runsDefault?: number,
): Promise<void> {
  const args = caseArguments(secondsDefault, runsDefault)
  printResult(await run(args), args)
}

/** No run begins that would end later, counted from the start of the process: a case is through within 180 s. */
const MEASURING_SECONDS_MAX = 140

/** Seconds that are left for measuring; what is counted and stopped after it has the rest. */
export const secondsLeft = (): number => MEASURING_SECONDS_MAX - performance.now() / 1000

/** Whether nothing more may be measured; says so. */
export function isTimeOver(what: string): boolean {
  if (secondsLeft() > 0) return false
  process.stderr.write(`${what} is not measured: the time of the case is over\n`)
  return true
}

/**
 * The numbers of the runs, from 0. When another one, as long as the longest so far, does not fit into the time of a
 * case, it ends and says so: fewer runs are reported then, and never fewer than `min`.
 */
export function* rounds(count: number, what = 'runs', min = 1): Generator<number> {
  let longest = 0
  for (let i = 0; i < count; i++) {
    if (i >= min && secondsLeft() < longest) {
      process.stderr.write(`${i} of ${count} ${what}: another does not fit into the time of a case\n`)
      return
    }
    const started = performance.now()
    yield i
    longest = Math.max(longest, (performance.now() - started) / 1000)
  }
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (Number.isFinite(value) && value > 0) return value
  return refuse(`--${name}: read ${JSON.stringify(text)}, expected a number above 0`)
}

/** Numbers from a seed. */
export class Random {
  /** In [0, 1). */
  readonly next: () => number

  constructor(seed: number) {
    this.next = seededRandom(seed)
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

const CALIBRATION_BYTES = 64 << 10
const CALIBRATION_ROUNDS = 400
const CALIBRATION_ROUNDS_SHORT = 20
const calibrations: Calibration[] = []

/** The loop: bytes in, integers multiplied. */
function calibrationLoop(bytes: Uint8Array, rounds: number): number {
  let hash = 0x811c9dc5
  for (let round = 0; round < rounds; round++)
    for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193)
  return hash
}

/**
 * Notes the speed of a fixed loop over bytes. Called between runs, never during one; results of other hours and
 * other machines of the same kind are compared as ratios to it (compare.ts).
 */
export function calibrate(short = false): void {
  const bytes = new Uint8Array(CALIBRATION_BYTES).map((_, i) => i)
  const rounds = short ? CALIBRATION_ROUNDS_SHORT : CALIBRATION_ROUNDS
  // Not compiled yet.
  if (calibrations.length === 0) calibrationLoop(bytes, rounds)
  const cpuBefore = process.threadCpuUsage()
  const started = performance.now()
  calibrationLoop(bytes, rounds)
  const elapsedUs = (performance.now() - started) * 1000
  const { user, system } = process.threadCpuUsage(cpuBefore)
  const done = bytes.length * rounds
  calibrations.push({ wall: done / elapsedUs, cpu: done / Math.max(1, user + system) })
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
  calibrate(seconds < 0.5)
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

/** Adds to a run what `work`, of so many messages, takes: for a run of several pieces with something between them. */
export async function addTo(run: Run, messages: number, work: () => Promise<void>): Promise<void> {
  const cpuBefore = process.cpuUsage()
  const started = performance.now()
  await work()
  run.seconds += (performance.now() - started) / 1000
  const { user, system } = process.cpuUsage(cpuBefore)
  run.cpuSeconds += (user + system) / 1e6
  run.messages += messages
}

export interface Summary {
  /** That it is of. */
  runs: number
  median: number
  min: number
  max: number
  cpuUsPerMessage: number
}

export function summarise(runs: readonly Run[]): Summary {
  const rates = runs.map((run) => run.messages / run.seconds)
  return {
    runs: runs.length,
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
  calibrate(args.smoke)
  return {
    case: name,
    machine: machine(),
    node: process.version,
    seed: args.seed,
    unit,
    ...ours,
    verified,
    peers,
    calibration: {
      wall: Math.round(median(calibrations.map((one) => one.wall))),
      cpu: Math.round(median(calibrations.map((one) => one.cpu))),
    },
  }
}

/** Where the newest result of each case lies. */
export const RESULTS = path.join(import.meta.dirname, 'results')

/** The newest result of each case, by the name of the case. */
export function readResults(): CaseResult[] {
  const names = fs.existsSync(RESULTS) ? fs.readdirSync(RESULTS) : []
  return names
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => JSON.parse(fs.readFileSync(path.join(RESULTS, name), 'utf8')) as CaseResult)
}

/** Prints the result, one line of JSON or of text, and keeps it for the report. */
export function printResult(result: CaseResult, args: CaseArguments): void {
  const lines = args.json ? [JSON.stringify(result)] : [lineOf(result)]
  if (args.details && !args.json) lines.push(...detailsOf(result))
  process.stdout.write(`${lines.join('\n')}\n`)
  if (args.smoke) return
  fs.mkdirSync(RESULTS, { recursive: true })
  fs.writeFileSync(path.join(RESULTS, `${result.case}.json`), `${JSON.stringify(result)}\n`)
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
