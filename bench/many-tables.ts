// Case (long): a thousand tenants of two streams, a row a second each, in one process
//
// Every tenant has a contract and a device of its own, which publishes at QoS 1 to both streams for --seconds. What is
// asked is not throughput: no row may wait longer than a minute for its snapshot, memory must not grow, and CPU and
// disk are reported. 4,000 tables exist (a table of rejected records beside each), 2,000 of them get rows. Start-up
// is measured twice: with everything to be made, and again over what is there. In the end the account, the totals of all
// snapshots, and DuckDB over three of the tables agree.
import { randomBytes, scryptSync } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runQuery } from '../cli/query.ts'
import { openTables } from '../sink/open-tables.ts'
import { localWarehouse } from '../sink/open-warehouse.ts'
import { type CaseArguments, caseArguments, caseResult, printResult, round } from './harness.ts'
import { type LoadReport, runLoad } from './load.ts'
import {
  cpuSeconds,
  removeFolder,
  residentBytes,
  temporaryFolder,
  threadCpuSeconds,
  threadShares,
} from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'
import { memoryProblem, third } from './soak-verdict.ts'

const TENANTS = 1000
const TENANTS_SMOKE = 3
/** Every table gets a row in it. */
const SECONDS_SMOKE = 2
const STREAMS = ['telemetry', 'climate']
/** Starting makes seven topics and four tables a tenant, each synced. */
const START_MS_MAX = 300_000
const CATCH_UP_MS_MAX = 90_000
const FRESH_MS_MAX = 60_000
const SAMPLE_MS = 500
const SHIPPED = path.resolve(import.meta.dirname, '../contracts/environment.yaml')

/** A contract and a credential for each tenant: the environment family with its stream under two names. */
function writeTenants(folder: string, tenants: number): void {
  const text = fs.readFileSync(SHIPPED, 'utf8')
  const at = text.indexOf('  telemetry:')
  const [head, stream] = [text.slice(0, at), text.slice(at)]
  fs.mkdirSync(path.join(folder, 'contracts'))
  // The cheapest scrypt: what a thousand logins cost is another case's question.
  const salt = randomBytes(16)
  const base64 = (bytes: Buffer): string => bytes.toString('base64').replaceAll('=', '')
  const hash = `$scrypt$ln=1,r=1,p=1$${base64(salt)}$${base64(scryptSync('secret', salt, 32, { N: 2, r: 1, p: 1 }))}`
  let credentials = 'credentials:\n'
  for (let i = 0; i < tenants; i++) {
    const streams = STREAMS.map((name) => stream.replace('  telemetry:', `  ${name}:`)).join('')
    const contract = head.replace('tenant: default', `tenant: tenant_${i}`) + streams
    fs.writeFileSync(path.join(folder, 'contracts', `tenant_${i}.yaml`), contract)
    credentials += `  - { tenant: tenant_${i}, device: bench-${i}, username: bench-${i}, hash: "${hash}" }\n`
  }
  fs.writeFileSync(path.join(folder, 'credentials.yaml'), credentials)
}

interface Sample {
  oldestWaitMs: number
  residentBytes: number
}

async function gauge(http: string, name: string): Promise<number> {
  const text = await (await fetch(`${http}/metrics`)).text()
  const match = new RegExp(`^millrace_sink_${name}(?:\\{[^}]*\\})? ([0-9.e+]+)`, 'm').exec(text)
  if (match === null) throw new Error(`no metric millrace_sink_${name}`)
  return Number(match[1])
}

/** Bytes that the process caused to be written to disk (proc(5), `write_bytes`). */
function bytesWritten(pid: number): number {
  return Number(/^write_bytes: (\d+)$/m.exec(fs.readFileSync(`/proc/${pid}/io`, 'utf8'))![1])
}

interface Outcome {
  report: LoadReport
  notes: string[]
  cpuSeconds: number
  threads: Record<string, number>
  rows: number
}

async function measure(tenants: number, args: CaseArguments): Promise<Outcome> {
  const folder = temporaryFolder()
  writeTenants(folder, tenants)
  const options = {
    roles: 'ingest,normalize,sink',
    core: null,
    startMsMax: START_MS_MAX,
    args: [
      '--contracts',
      path.join(folder, 'contracts'),
      '--credentials',
      path.join(folder, 'credentials.yaml'),
    ],
  }
  let started = performance.now()
  const server = await BenchServer.start(options)
  const startSeconds = round((performance.now() - started) / 1000, 1)
  const { pid } = server.process
  const samples: Sample[] = []
  let sampling = true
  const sampler = (async () => {
    while (sampling) {
      samples.push({
        oldestWaitMs: await gauge(server.http, 'oldest_wait_ms'),
        residentBytes: residentBytes(pid),
      })
      await sleep(SAMPLE_MS)
    }
  })()
  const load = {
    qos: 1,
    connections: tenants,
    level: 5,
    // Each tenant's schemas have ids of their own; JSON needs none.
    payload: 'json',
    rate: tenants * STREAMS.length,
    streams: STREAMS,
    username: '{client}',
    password: 'secret',
  } as const
  const before = { threads: threadCpuSeconds(pid), written: bytesWritten(pid), cpu: cpuSeconds(pid) }
  const run = await runLoad(
    `mqtt://127.0.0.1:${server.mqttPort}`,
    load,
    { seconds: args.smoke ? SECONDS_SMOKE : args.seconds, warmup: 0, seed: args.seed },
    new Map(),
    () => performance.now(),
    undefined,
  )
  const loaded = samples.map((one) => one.residentBytes)
  const { report } = run
  const loadSeconds = report.seconds
  const caughtUpBy = performance.now() + CATCH_UP_MS_MAX
  while ((await server.account()).rows < report.sent && performance.now() < caughtUpBy) await sleep(100)
  sampling = false
  await sampler
  const commits = await gauge(server.http, 'commits_total')
  const cpu = cpuSeconds(pid) - before.cpu
  const threads = threadShares(before.threads, threadCpuSeconds(pid), report.sent)
  const written = bytesWritten(pid) - before.written
  const account = await server.account()
  if (
    report.sent !== report.acknowledged ||
    account.rows !== report.sent ||
    account.normalized !== report.sent
  )
    throw new Error(`sent ${report.sent}, acknowledged ${report.acknowledged}: ${JSON.stringify(account)}`)
  const stalest = Math.max(...samples.map((one) => one.oldestWaitMs))
  await server.stop()
  await checkTables(server.data, tenants, report.sent)

  started = performance.now()
  const again = await BenchServer.start({ ...options, data: server.data })
  const restartSeconds = round((performance.now() - started) / 1000, 1)
  await again.stop()
  server.removeData()
  removeFolder(folder)
  const mib = (bytes: number): number => Math.round(bytes / 2 ** 20)
  // Of the time under load: asking for the account takes memory of its own.
  const memory = ([0, 1, 2] as const).map((index) => mib(third(loaded, index)))
  return {
    report,
    rows: report.sent,
    cpuSeconds: cpu,
    threads,
    notes: [
      `${tenants} tenants, ${tenants * STREAMS.length} streams: the stalest row waited ${round(stalest / 1000, 1)} s for its snapshot, goal ${FRESH_MS_MAX / 1000}; ${commits} commits`,
      `CPU ${round(cpu / loadSeconds, 2)} cores; ${round(written / loadSeconds / 2 ** 20, 1)} MiB/s written to disk`,
      `resident ${memory.join(', ')} MiB: medians of the three thirds of the load, at most ${mib(Math.max(...loaded))}; ${memoryProblem(loaded.map(mib)) ?? 'memory is flat'}`,
      `ready after ${startSeconds} s with everything to be made, after ${restartSeconds} s over what is there`,
    ],
  }
}

/** Totals of all snapshots, and three tables by DuckDB. */
async function checkTables(data: string, tenants: number, sent: number): Promise<void> {
  const tables = openTables(localWarehouse(data))
  const stats = await tables.stats((id) => !id.name.endsWith('_rejected'))
  await tables.close()
  const filled = stats.filter((one) => one.rows > 0)
  const total = filled.reduce((sum, one) => sum + one.rows, 0)
  if (total !== sent || (tenants === TENANTS && filled.length !== tenants * STREAMS.length))
    throw new Error(`${sent} rows were sent; ${filled.length} tables hold ${total}`)
  for (const tenant of [0, tenants >> 1, tenants - 1]) {
    const name = `tenant_${tenant}.telemetry`
    const answer = await runQuery(localWarehouse(data), `SELECT count(*)::double AS n FROM ${name}`)
    const counted = Number(answer.rows[0]![0])
    const rows = stats.find((one) => `${one.tenant}.${one.table}` === name)?.rows
    if (counted !== rows) throw new Error(`DuckDB counts ${counted} rows in ${name}, its snapshot ${rows}`)
  }
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const outcome = await measure(args.smoke ? TENANTS_SMOKE : TENANTS, args)
  const perSecond = Math.round(outcome.rows / outcome.report.seconds)
  return {
    ...caseResult(
      'many-tables',
      args,
      'rows/s',
      {
        runs: 1,
        median: perSecond,
        min: perSecond,
        max: perSecond,
        cpuUsPerMessage: round((outcome.cpuSeconds * 1e6) / outcome.rows, 1),
      },
      `${outcome.rows} messages acknowledged = normalized = rows of all snapshots; the rows of three tables by DuckDB`,
      [],
    ),
    threads: outcome.threads,
    generatorCpuShare: round(outcome.report.cpuShare, 2),
    notes: outcome.notes,
  }
}

if (import.meta.main) {
  const args = caseArguments(60, 1)
  printResult(await run(args), args)
}
