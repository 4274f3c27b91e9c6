// Runs the load generator (generator.ts) against one broker and reads its report.
import path from 'node:path'
import { BenchProcess } from './processes.ts'
import type { Latency } from './result.ts'

/** First arguments of the Node that generates load: its node:ffi is experimental (ingest/io-uring.ts). */
export const GENERATOR: readonly string[] = [
  '--disable-warning=ExperimentalWarning',
  path.join(import.meta.dirname, 'generator.ts'),
]

/** What a case asks of the generator: its options, without the values that every run gives. */
export interface Load {
  qos: 0 | 1
  connections: number
  /** Messages in flight on each connection at QoS 1. */
  window?: number
  /** MQTT version; default 3.1.1, because aedes speaks no other: all brokers get the same bytes. */
  level?: 4 | 5
  /** Open loop: messages a second of all connections. */
  rate?: number
  payload?: 'avro' | 'json'
  unbatched?: boolean
  /** Streams to publish on; default `telemetry`. */
  streams?: readonly string[]
  devices?: number
  /** Connection i is of tenant i modulo this: `{tenant}` in the username. */
  tenants?: number
  /** Of client ids and devices. */
  prefix?: string
  username?: string
  password?: string
}

export interface Timing {
  seconds: number
  warmup: number
  seed: number
}

export interface LoadReport {
  connections: number
  sent: number
  acknowledged: number
  refused: number
  disordered: number
  bytesSent: number
  closedByServer: number
  seconds: number
  drainSeconds: number
  connectSeconds: number
  messagesInWindow: number
  cpuShare: number
  latencyMs?: Latency & { max: number }
}

/**
 * One run. `onStarted` and `onStopped` are called at the ends of the measured time, and what they return comes
 * back with the report.
 */
export async function runLoad<T>(
  url: string,
  load: Load,
  timing: Timing,
  schemaIds: ReadonlyMap<string, number>,
  sample: () => T | Promise<T>,
  core: number | undefined,
): Promise<{ report: LoadReport; started: T; stopped: T }> {
  const generator = new BenchProcess(
    process.execPath,
    [...GENERATOR, ...flags(url, load, timing, schemaIds)],
    core,
  )
  let started: Promise<T> | undefined
  let stopped: Promise<T> | undefined
  const onData = (): void => {
    if (generator.output.includes('"started"')) started ??= Promise.resolve(sample())
    if (generator.output.includes('"stopped"')) stopped ??= Promise.resolve(sample())
  }
  generator.stdout.on('data', onData)
  const closed = new Promise((resolve) => generator.stdout.once('close', resolve))
  const code = await generator.exited
  await closed
  const last = generator.output.trim().split('\n').at(-1) ?? ''
  if (code !== 0 || !last.includes('"report"') || started === undefined)
    throw new Error(`the generator ended with code ${code}:\n${generator.output}`)
  const first = await started
  return { report: JSON.parse(last) as LoadReport, started: first, stopped: stopped ? await stopped : first }
}

function flags(url: string, load: Load, timing: Timing, schemaIds: ReadonlyMap<string, number>): string[] {
  const result = ['--url', url, '--qos', String(load.qos), '--connections', String(load.connections)]
  const add = (name: string, value: string | number | undefined): void => {
    if (value !== undefined) result.push(`--${name}`, String(value))
  }
  add('window', load.window)
  add('level', load.level ?? 4)
  add('rate', load.rate)
  add('payload', load.payload)
  add('devices', load.devices)
  add('tenants', load.tenants)
  add('prefix', load.prefix)
  add('username', load.username)
  add('password', load.password)
  for (const stream of load.streams ?? ['telemetry']) add('stream', `${stream}:${schemaIds.get(stream) ?? 1}`)
  if (load.unbatched) result.push('--unbatched')
  add('seconds', timing.seconds)
  add('warmup', timing.warmup)
  add('seed', timing.seed)
  return result
}
