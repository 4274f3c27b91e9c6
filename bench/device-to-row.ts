// Case: a device's message to a row of its Iceberg table: all stages and the generator on two cores
//
// 64 devices publish at QoS 1 as fast as acknowledgements come, for --seconds; then the stages catch up. The rate
// is all rows over the whole time, from the first message until the last row is in a committed snapshot, so that
// what waits in the log at the end of the load is paid for. In the end the account is compared with what the
// generator sent, and DuckDB counts the rows of the table's current snapshot.
import { setTimeout as sleep } from 'node:timers/promises'
import { runQuery } from '../cli/query.ts'
import type { Account } from '../http/server.ts'
import { localWarehouse } from '../sink/open-warehouse.ts'
import {
  type CaseArguments,
  caseArguments,
  caseResult,
  median,
  printResult,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { runLoad } from './load.ts'
import { cpuSeconds, threadCpuSeconds, threadShares } from './processes.ts'
import type { CaseResult } from './result.ts'
import { BenchServer } from './server.ts'

const LOAD = { qos: 1, connections: 64, window: 128 } as const
const CATCH_UP_SECONDS_MAX = 100
const POLL_MS = 50

interface Measured {
  run: Run
  threads: Record<string, number>
  notes: string[]
  generatorShare: number
  rows: number
}

async function caughtUp(server: BenchServer, sent: number): Promise<Account> {
  const deadline = performance.now() + CATCH_UP_SECONDS_MAX * 1000
  for (;;) {
    const account = await server.account()
    if (account.rows >= sent || performance.now() > deadline) return account
    await sleep(POLL_MS)
  }
}

async function measure(seconds: number, seed: number): Promise<Measured> {
  const server = await BenchServer.start({ roles: 'ingest,normalize,sink', core: null })
  const { pid } = server.process
  const url = `mqtt://127.0.0.1:${server.mqttPort}`
  const sample = async () => ({
    at: performance.now(),
    cpu: cpuSeconds(pid),
    threads: threadCpuSeconds(pid),
    account: await server.account(),
  })
  const { report, started, stopped } = await runLoad(
    url,
    LOAD,
    { seconds, warmup: 0, seed },
    server.schemaIds,
    sample,
    undefined,
  )
  const account = await caughtUp(server, report.sent)
  const end = await sample()
  const { sent, acknowledged, refused } = report
  const { raw, normalized, rejected, rejectedAtDoor, duplicates, rows, rejectedRows } = account
  if (
    sent !== acknowledged ||
    refused > 0 ||
    raw !== sent ||
    normalized !== sent ||
    rows !== sent ||
    rejected + rejectedAtDoor + duplicates + rejectedRows > 0
  )
    throw new Error(`sent ${sent}, acknowledged ${acknowledged}, account ${JSON.stringify(account)}`)
  await server.stop()
  const answer = await runQuery(localWarehouse(server.data), 'SELECT count(*)::double AS n FROM telemetry')
  const counted = Number(answer.rows[0]![0])
  if (counted !== sent) throw new Error(`DuckDB counts ${counted} rows of ${sent}`)
  server.removeData()
  const elapsed = (end.at - started.at) / 1000
  const rowsAtStop = stopped.account.rows
  const loadSeconds = (stopped.at - started.at) / 1000
  return {
    run: { messages: sent, seconds: elapsed, cpuSeconds: end.cpu - started.cpu },
    threads: {
      ...threadShares(started.threads, end.threads, sent),
      generator: round((report.cpuShare * report.seconds * 1e6) / sent, 4),
    },
    notes: [
      `under load: ${Math.round(sent / loadSeconds)} messages/s acknowledged, ${Math.round(rowsAtStop / loadSeconds)} rows/s committed; ${round((end.at - stopped.at) / 1000, 1)} s to catch up`,
    ],
    generatorShare: report.cpuShare,
    rows: sent,
  }
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const measured: Measured[] = []
  for (const i of rounds(args.runs)) measured.push(await measure(args.seconds, args.seed + i * 10_000))
  const last = measured.at(-1)!
  const rows = measured.reduce((sum, one) => sum + one.rows, 0)
  return {
    ...caseResult(
      'device-to-row',
      args,
      'rows/s',
      summarise(measured.map((one) => one.run)),
      `${rows} messages acknowledged = raw = normalized = rows by the account, and by DuckDB over the current snapshot`,
      [],
    ),
    generatorCpuShare: round(median(measured.map((one) => one.generatorShare)), 2),
    threads: last.threads,
    notes: last.notes,
  }
}

if (import.meta.main) {
  // One run of a minute says more than five short ones: what piles up shows.
  const args = caseArguments(60, 1)
  printResult(await run(args), args)
}
