// Runs the pipeline: prints what listens where and how to send a first message, then a status line, and drains
// on SIGINT or SIGTERM.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Config } from '../config.ts'
import { addressText, configOf, mergeOptions, unknownVariables } from '../config.ts'
import { optionsHelp } from '../config-text.ts'
import { type Running, startMillrace } from '../main.ts'
import { catalogFile, isSqlite } from '../sink/open-warehouse.ts'
import { EXIT } from '../std/errors.ts'
import { VERSION } from '../std/version.ts'
import type { Command } from './command.ts'
import { count, parse, reportError } from './command.ts'
import { configFlags } from './config.ts'
import { stopRequested } from './stop-signal.ts'

/** A status line for people looking on; every 10 s where the output is kept in a file. */
const LIVE_INTERVAL_MS = 1000
const LINES_INTERVAL_MS = 10_000
/** What a start may still take after a signal, and what the end may take after the drain: 20 s are promised for all. */
const START_GRACE_MS = 10_000
const END_GRACE_MS = 1000

export const up: Command = {
  name: 'up',
  summary: 'Run the pipeline',
  help: `Usage: millrace up [options]

Starts ingest, normalize and sink in one process. SIGINT or SIGTERM drains: everything acknowledged is in the
tables or in the log, and the next start goes on from there.

Each option is also a variable (--log-level is MILLRACE_LOG_LEVEL) and a key of the configuration file;
flag > variable > file > default. docs/config.md has them all with their ranges.

${optionsHelp()}`,
  async run(args) {
    const { values } = parse(args, configFlags)
    const config = configOf(mergeOptions(values as Record<string, string>))
    for (const warning of unknownVariables()) process.stderr.write(`warning: ${warning}\n`)
    const signal = stopRequested()
    keepRunningWithoutReader()
    const running = await startUnlessStopped(config, signal)
    if (running === undefined) {
      process.stdout.write('stopped before it was ready; nothing was acknowledged\n')
      return ended(EXIT.ok)
    }
    process.stdout.write(`${banner(config, running)}\n`)
    const status = showStatus(running, config.status)
    try {
      await Promise.race([signal, running.failed])
      status.end()
      process.stdout.write('draining: no new connections; what was acknowledged goes to the tables\n')
      process.stdout.write(`${drainedText(await running.drain())}\n`)
      return ended(EXIT.ok)
    } catch (error) {
      status.end()
      // The reason first: the end may take a while where a thread is stuck.
      const code = ended(reportError(error, 'up'))
      await running.abort()
      return code
    }
  },
}

/** A terminal or a reader that goes away takes what is said with it, not the pipeline. */
function keepRunningWithoutReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.removeAllListeners('error')
    stream.on('error', () => {})
  }
}

/** A signal during the start lets it come to its end, so that it leaves nothing half made, and then ends it; undefined where that takes too long. */
async function startUnlessStopped(config: Config, signal: Promise<void>): Promise<Running | undefined> {
  const starting = startMillrace(config)
  const tooLong = signal.then(() => sleep(START_GRACE_MS, undefined, { ref: false }))
  return Promise.race([starting, tooLong])
}

/** Whatever still holds the process, a stuck thread for one, gets a moment. */
function ended(code: number): number {
  setTimeout(() => process.exit(code), END_GRACE_MS).unref()
  return code
}

function drainedText(left: number | undefined): string {
  if (left === undefined) return 'stopped: a stage did not settle in time; what it left waits in the log'
  if (left === 0) return 'drained: everything acknowledged is in the tables'
  return `stopped: ${count(left)} records wait in the log for the next start`
}

function banner(config: Config, running: Running): string {
  const { mqtt, ws, kafka, http } = running.addresses
  const lines = [`Millrace ${VERSION}: ${config.roles.join(', ')}; data in ${config.data}`]
  if (config.log !== 'embedded') lines.push(`  log                ${config.log}`)
  if (mqtt) lines.push(`  MQTT 3.1.1, 5      mqtt://${addressText(mqtt)}`)
  if (ws) lines.push(`  MQTT, WebSocket    ws://${addressText(ws)}/mqtt`)
  if (kafka) lines.push(`  Kafka              ${addressText(kafka)}`)
  lines.push(
    `  HTTP               http://${addressText(http)}   /readyz /metrics /schema-registry /v1/openapi.json`,
  )
  lines.push(`  Iceberg catalog    ${catalogText(config)}`)
  if (running.anonymous)
    lines.push('  warning: no --credentials: anonymous clients are accepted from this machine')
  if (mqtt) {
    const sample = (seq: number): string =>
      `{"event_time":"${new Date().toISOString()}","seq":${seq},"temperature":21.5,"humidity":40,"pressure":null,"air_quality":null,"occupancy":"vacant","firmware":"1.0.0","battery":90}`
    lines.push(
      '',
      running.anonymous
        ? 'Send a first message:'
        : 'Send a first message, with -u TENANT/DEVICE -P SECRET of the credentials file and its device for sensor-1:',
      `  mosquitto_pub -h ${mqtt.host} -p ${mqtt.port} -V mqttv5 -q 1 -i sensor-1 -t devices/sensor-1/telemetry -m '${sample(1)}'`,
      `  node_modules/.bin/mqtt publish -h ${mqtt.host} -p ${mqtt.port} -q 1 -i sensor-1 -t devices/sensor-1/telemetry -m '${sample(2)}'`,
      '',
      'and a few seconds later:',
      `  ./millrace query "SELECT * FROM telemetry"${queryFlags(config)}`,
      '',
    )
  }
  return lines.join('\n')
}

function catalogText(config: Config): string {
  const { catalog, warehouse } = config
  if (!isSqlite(config))
    return `${catalog} (Iceberg REST)${warehouse === undefined ? '' : `, warehouse ${warehouse}`}`
  const files = warehouse!.startsWith('s3://') ? warehouse : `file://${warehouse}`
  return `sqlite:///${catalogFile(config)} (name millrace), warehouse ${files}`
}

/** What `millrace query` must be told to find the same tables; secrets come by variable or file. */
function queryFlags({ data, catalog, warehouse }: Config): string {
  const flags: string[] = []
  if (data !== path.resolve('data')) flags.push(`--data ${data}`)
  if (catalog !== 'sqlite') flags.push(`--catalog ${catalog}`)
  if (warehouse !== undefined && warehouse !== path.join(data, 'warehouse'))
    flags.push(`--warehouse ${warehouse}`)
  return flags.map((flag) => ` ${flag}`).join('')
}

function showStatus(running: Running, mode: Config['status']): { end(): void } {
  const live = mode === 'live' || (mode === 'auto' && process.stdout.isTTY)
  if (mode === 'off') return { end: () => {} }
  let before = running.status()
  let at = performance.now()
  const timer = setInterval(
    () => {
      const now = performance.now()
      const status = running.status()
      const perSecond = (key: 'messagesIn' | 'refused'): string =>
        count(((status[key] - before[key]) * 1000) / (now - at))
      const line =
        `${count(status.connections)} connections · ${perSecond('messagesIn')} messages/s in · ${perSecond('refused')} refused/s · ` +
        `${count(status.rowsCommitted)} rows committed · freshness ${status.freshnessMs === undefined ? '–' : `${(status.freshnessMs / 1000).toFixed(1)} s`}`
      const trouble = status.trouble.length > 0 ? ` · ${status.trouble.join('; ')}` : ''
      process.stdout.write(
        live ? `\r${line}${trouble}\x1b[K` : `${new Date().toISOString()} ${line}${trouble}\n`,
      )
      before = status
      at = now
    },
    live ? LIVE_INTERVAL_MS : LINES_INTERVAL_MS,
  )
  return {
    end: () => {
      clearInterval(timer)
      if (live) process.stdout.write('\n')
    },
  }
}
