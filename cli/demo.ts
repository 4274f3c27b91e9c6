// The whole of it in half a minute: a fresh pipeline, a simulated fleet, then the tables and the account.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { configOf, mergeOptions } from '../config.ts'
import type { Account } from '../http/server.ts'
import { type Running, startMillrace } from '../main.ts'
import { EXIT, MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { count, parse, textTable } from './command.ts'
import { progressBar } from './progress.ts'
import { runQuery } from './query.ts'
import { printFleet } from './simulate.ts'
import { type FleetAccount, simulateFleet } from './simulate-fleet.ts'
import { stopRequested } from './stop-signal.ts'

const SETTLE_MS_MAX = 60_000

const QUERIES = [
  [
    'rows by firmware',
    `SELECT firmware, count(*) AS rows, round(avg(temperature), 2) AS avg_celsius, round(avg(pressure), 1) AS avg_hpa FROM telemetry GROUP BY 1 ORDER BY 1`,
  ],
  [
    'marked by quality and lateness',
    `SELECT coalesce(_quality, 'good') AS quality, count(*) AS rows, count(*) FILTER (WHERE _late_ms > 0) AS late FROM telemetry GROUP BY 1 ORDER BY 2 DESC LIMIT 8`,
  ],
  [
    'rejected, by reason',
    `SELECT code, field, count(*) AS records FROM telemetry_rejected GROUP BY ALL ORDER BY 3 DESC`,
  ],
  [
    'devices and the span of their event times',
    `SELECT count(DISTINCT device_id) AS devices, min(event_time) AS first, max(event_time) AS last FROM telemetry`,
  ],
] as const

/** The equations that the account must fulfil, each with its numbers; false where one is broken. */
export function checkAccount(account: Account, acknowledged: number): { lines: string[]; holds: boolean } {
  const { raw, normalized, rejected, rejectedAtDoor, duplicates, rows, rejectedRows } = account
  const checks: [string, boolean][] = [
    [
      `acknowledged ${count(acknowledged)} ≤ raw ${count(raw)} + refused at the door ${count(rejectedAtDoor)}`,
      acknowledged <= raw + rejectedAtDoor,
    ],
    [
      `raw ${count(raw)} = normalized ${count(normalized)} + rejected ${count(rejected)} + duplicates ${count(duplicates)}`,
      raw === normalized + rejected + duplicates,
    ],
    [
      `rows in the tables ${count(rows)} + ${count(rejectedRows)} = normalized ${count(normalized)} + rejected ${count(rejected + rejectedAtDoor)}`,
      rows === normalized && rejectedRows === rejected + rejectedAtDoor,
    ],
  ]
  return {
    lines: checks.map(([text, holds]) => `  ${holds ? '✓' : '✗'} ${text}`),
    holds: checks.every(([, holds]) => holds),
  }
}

export const demo: Command = {
  name: 'demo',
  summary: 'Run the pipeline with a simulated fleet, then show tables and account',
  help: `Usage: millrace demo [--devices N] [--seconds S] [--rate N] [--data DIR]

Starts the pipeline on free ports with a fresh folder, simulates a fleet, waits until the tables hold everything,
prints some queries and the account of every message. Exit code 0 when the account holds.

  --devices N   devices [1000]
  --seconds S   duration [20]
  --rate N      messages a second of the fleet [10000]
  --data DIR    folder to keep [a temporary one, removed at the end]`,
  async run(args) {
    const { values } = parse(args, {
      devices: { type: 'string', default: '1000' },
      seconds: { type: 'string', default: '20' },
      rate: { type: 'string', default: '10000' },
      data: { type: 'string' },
    })
    const number = (name: 'devices' | 'seconds' | 'rate'): number => {
      const value = Number(values[name])
      if (!(value > 0))
        throw new MillraceError(
          'option_invalid',
          `--${name}: read ${JSON.stringify(values[name])}, expected a number above 0`,
        )
      return value
    }
    const [devices, seconds, rate] = [Math.floor(number('devices')), number('seconds'), number('rate')]
    const temporary =
      values.data === undefined ? fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-demo-')) : undefined
    const data = temporary ?? values.data!
    try {
      return await runDemo(data, devices, seconds, rate)
    } finally {
      if (temporary !== undefined) fs.rmSync(temporary, { recursive: true, force: true })
    }
  },
}

const out = (text: string): boolean => process.stdout.write(`${text}\n`)

async function runDemo(data: string, devices: number, seconds: number, rate: number): Promise<number> {
  const free = '127.0.0.1:0'
  // The variables are those of a pipeline that is run for good: credentials, for one, that the fleet does not have.
  const config = configOf(mergeOptions({ data, mqtt: free, ws: free, http: free, 'log-level': 'warn' }, {}))
  const running = await startMillrace(config)
  const stopped = new AbortController()
  void stopRequested().then(() => stopped.abort())
  try {
    const { fleet, account } = await simulateInto(running, devices, seconds, rate, stopped.signal)
    await running.drain()
    for (const [title, sql] of QUERIES) {
      const { columns, rows } = await runQuery(config, sql)
      out(`\n${title}\n${textTable(columns, rows)}`)
    }
    const { lines, holds } = checkAccount(account, fleet.acknowledged)
    out(`\nthe account\n${lines.join('\n')}`)
    return holds ? EXIT.ok : EXIT.failure
  } catch (error) {
    await running.abort()
    throw error
  }
}

/** Runs the fleet and waits until the tables hold everything; a signal cuts the fleet short, not the account. */
async function simulateInto(
  running: Running,
  devices: number,
  seconds: number,
  rate: number,
  signal: AbortSignal,
): Promise<{ fleet: FleetAccount; account: Account }> {
  const { mqtt, http } = running.addresses
  out(
    `${count(devices)} devices for ${seconds} s, ${count(rate)} messages/s, to mqtt://127.0.0.1:${mqtt!.port}`,
  )
  const bar = progressBar('simulating')
  const fleet = await Promise.race([
    simulateFleet({
      mqtt: { host: '127.0.0.1', port: mqtt!.port },
      registry: `http://127.0.0.1:${http.port}/schema-registry`,
      devices,
      seconds,
      messagesPerSecond: rate,
      signal,
      onProgress: (progress) => bar.update(progress.part, 1),
    }),
    running.failed,
  ])
  bar.end()
  out(printFleet(fleet))
  const started = performance.now()
  let account = await running.account()
  while (!checkAccount(account, fleet.acknowledged).holds && performance.now() - started < SETTLE_MS_MAX) {
    await sleep(100)
    account = await running.account()
  }
  out(`all of it in the tables ${((performance.now() - started) / 1000).toFixed(1)} s after the last message`)
  return { fleet, account }
}
