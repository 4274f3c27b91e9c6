// Whether something got slower: cases measured now, without peers, against the stored medians of the same kind of machine
// (baseline.json). `./millrace bench compare [CASE...] [--stored] [--save] [--tolerance PERCENT] [--seconds S] [--runs N]`
import { spawnSync } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { cases } from '../cli/bench.ts'
import { benchArguments, refuse } from './arguments.ts'
import { type Figures, verdict } from './compare-verdict.ts'
import { RESULTS, round } from './harness.ts'
import type { CaseResult } from './result.ts'

const BASELINE = path.join(import.meta.dirname, 'baseline.json')
const TOLERANCE_PERCENT = 25
/** What is measured when no case is named: each door, and each stage. */
const CASES_DEFAULT = [
  'hot-path',
  'tcp-qos0',
  'tcp-qos1-8x1024',
  'tcp-qos1-8x64',
  'unbatched-1000',
  'ws-qos1-8x1024',
  'json-qos1',
  'normalize-pass',
  'normalize-rewrite',
  'parquet-encode',
  'sink-commit',
]
const RUNS_DEFAULT = '3'
const SLOWER = 1
const NOTHING_TO_COMPARE = 2

/** Kind of machine → case → figures. */
type Baseline = Record<string, Record<string, Figures>>

const { values: flags, positionals } = benchArguments(
  {
    stored: { type: 'boolean', default: false },
    save: { type: 'boolean', default: false },
    tolerance: { type: 'string', default: String(TOLERANCE_PERCENT) },
    seconds: { type: 'string' },
    runs: { type: 'string', default: RUNS_DEFAULT },
  },
  Infinity,
)

/** Cores, processor and memory: not the kernel. */
const kindOf = (result: CaseResult): string => result.machine.split(', ').slice(0, 2).join(', ')

function measure(name: string): CaseResult | undefined {
  const args = [
    '--expose-gc',
    path.join(import.meta.dirname, `${name}.ts`),
    '--json',
    '--no-peers',
    '--runs',
    flags.runs,
  ]
  if (flags.seconds !== undefined) args.push('--seconds', flags.seconds)
  const { status, stdout } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  return status === 0 ? (JSON.parse(stdout) as CaseResult) : undefined
}

function stored(name: string): CaseResult | undefined {
  const file = path.join(RESULTS, `${name}.json`)
  return fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, 'utf8')) as CaseResult) : undefined
}

const baseline: Baseline = fs.existsSync(BASELINE)
  ? (JSON.parse(fs.readFileSync(BASELINE, 'utf8')) as Baseline)
  : {}

function save(results: readonly CaseResult[]): void {
  for (const result of results) {
    const { unit, median, cpuUsPerMessage, calibration, runs, node } = result
    const kind = (baseline[kindOf(result)] ??= {})
    kind[result.case] = { unit, median, cpuUsPerMessage, calibration, runs, node }
  }
  fs.writeFileSync(BASELINE, `${JSON.stringify(baseline, null, 2)}\n`)
  process.stdout.write(`${BASELINE}: ${results.length} cases\n`)
}

/** One line; true where it is slower by more than the tolerance. */
function compare(now: CaseResult, before: Figures, tolerance: number): boolean {
  const { cpu, rate, core, machine, isSlower } = verdict(now, before, tolerance)
  process.stdout.write(
    `${now.case.padEnd(18)} cpu × ${round(cpu, 2)}, rate × ${round(rate, 2)}, core × ${round(core, 2)}, machine × ${round(machine, 2)}  ${isSlower ? 'SLOWER' : 'ok'}\n`,
  )
  return isSlower
}

const tolerance = Number(flags.tolerance) / 100
if (!(tolerance > 0))
  refuse(`--tolerance: read ${JSON.stringify(flags.tolerance)}, expected per cent above 0`)
const known = cases()
for (const name of positionals)
  if (!known.has(name))
    refuse(`compare: no case ${JSON.stringify(name)}; \`millrace bench --help\` lists them`)
const names =
  positionals.length > 0 ? positionals : flags.save && flags.stored ? storedNames() : CASES_DEFAULT
const results: CaseResult[] = []
let failed = false
let compared = 0
for (const name of names) {
  const result = flags.stored ? stored(name) : measure(name)
  if (result === undefined) {
    process.stdout.write(`${name.padEnd(18)} ${flags.stored ? 'no stored result' : 'FAILED'}\n`)
    failed ||= !flags.stored
    continue
  }
  results.push(result)
  const before = baseline[kindOf(result)]?.[name]
  if (before === undefined) process.stdout.write(`${name.padEnd(18)} nothing stored for ${kindOf(result)}\n`)
  else {
    compared++
    if (compare(result, before, tolerance)) failed = true
  }
}
if (flags.save) save(results)
else if (failed) process.exitCode = SLOWER
else if (compared === 0) process.exitCode = NOTHING_TO_COMPARE

function storedNames(): string[] {
  return fs
    .readdirSync(RESULTS)
    .filter((name) => name.endsWith('.json'))
    .map((name) => path.parse(name).name)
    .sort()
}
