// Chaos on Kafka: devices send QoS 1 to two ingest processes, two normalize and two sink processes work it off, and a
// seeded hand kills, stops and restarts all of them, the brokers too. Afterwards every acknowledged message must be in
// the normalized topic and in the table exactly once, each device's in the order in which it sent them.
//
//   ./test/node test/kafka/chaos.ts [--minutes 5] [--brokers 3] [--seed N] [--transactions 2] [--keep]
//
// With --keep a run that fails leaves the brokers' folders and the warehouse where they are, and says where.
//
// A device that loses its connection sends again what was not acknowledged, first of all and in order, as MQTT wants
// it; so the raw topic has duplicates, and normalize takes them out.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import mqtt, { type MqttClient } from 'mqtt'
import { seededRandom } from '../../std/random.ts'
import { type EnvironmentCodec, environmentCodec, reading } from '../environment.ts'
import { LAUNCHER, until } from '../millrace-process.ts'
import { type KafkaBrokers, startKafka } from './broker.ts'
import { type Judgement, judge, SETTLE_MS_MAX } from './chaos-judge.ts'

const ROLES = ['ingest', 'normalize', 'sink'] as const
const INSTANCES = 2
const DEVICES = 16
const IN_FLIGHT_MAX = 20
/** Pause of a device between two looks at its window: bounds the load, which is not the point here. */
const DEVICE_PAUSE_MS = 200

/** One of our processes, started again whenever it has ended. */
class Supervised {
  readonly name: string
  readonly #args: string[]
  #child: ChildProcess | undefined
  #text = ''
  #isOver = false
  /** Ends that nobody asked for, with what was said last. */
  readonly ends: { code: number | null; text: string }[] = []
  #expected = false
  starts = 0

  constructor(name: string, args: string[]) {
    this.name = name
    this.#args = args
  }

  start(): void {
    this.starts++
    this.#text = ''
    this.#expected = false
    const child = spawn(LAUNCHER, ['up', ...this.#args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    for (const stream of [child.stdout!, child.stderr!])
      stream.setEncoding('utf8').on('data', (chunk: string) => {
        this.#text = (this.#text + chunk).slice(-20_000)
      })
    child.once('exit', (code) => {
      if (!this.#expected) this.ends.push({ code, text: this.#text.slice(-2000) })
      if (!this.#isOver) setTimeout(() => this.#isOver || this.start(), 300)
    })
  }

  get mqttPort(): number | undefined {
    const match = /mqtt:\/\/127\.0\.0\.1:(\d+)/.exec(this.#text)
    return match ? Number(match[1]) : undefined
  }

  get http(): string | undefined {
    return /http:\/\/127\.0\.0\.1:\d+/.exec(this.#text)?.[0]
  }

  get text(): string {
    return this.#text
  }

  async isReady(): Promise<boolean> {
    if (this.http === undefined) return false
    const answer = await fetch(`${this.http}/readyz`, { signal: AbortSignal.timeout(2000) }).catch(
      () => undefined,
    )
    return answer?.status === 200
  }

  /** For whoever has to find out what stopped: readiness, lags, and what was said last. */
  async condition(): Promise<string> {
    const ask = async (path: string): Promise<string> => {
      const answer = await fetch(`${this.http}${path}`, { signal: AbortSignal.timeout(5000) })
      return answer.text()
    }
    const parts = [`${this.name}, start ${this.starts}`]
    try {
      parts.push(await ask('/readyz'))
      parts.push(
        ...(await ask('/metrics')).split('\n').filter((line) => /^[^#].*(lag|backlog|age)/.test(line)),
      )
    } catch (error) {
      parts.push(String(error))
    }
    return [...parts, this.#text.slice(-4000)].join('\n')
  }

  /** An end on purpose; the supervisor starts it again. */
  end(signal: 'SIGKILL' | 'SIGTERM'): void {
    this.#expected = true
    this.#child?.kill(signal)
  }

  pause(): void {
    this.#child?.kill('SIGSTOP')
  }

  resume(): void {
    this.#child?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    this.#isOver = true
    this.#expected = true
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGCONT')
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
    await ended
    clearTimeout(timer)
  }
}

/** One device: sends in order, sends again what was not acknowledged. */
class Device {
  readonly id: string
  next = 0
  readonly acknowledged = new Set<number>()
  readonly #unacknowledged = new Map<number, Buffer>()
  #client: MqttClient | undefined
  connects = 0

  constructor(id: string) {
    this.id = id
  }

  get waiting(): number {
    return this.#unacknowledged.size
  }

  drop(): void {
    this.#client?.stream?.destroy()
  }

  /** Until `isOver`, and then until all that was sent is acknowledged. */
  async run(port: () => number | undefined, codec: EnvironmentCodec, isOver: () => boolean): Promise<void> {
    while (!isOver() || this.#unacknowledged.size > 0) {
      const at = port()
      if (at === undefined) await sleep(100)
      else await this.#session(at, codec, isOver).catch(() => sleep(100))
    }
  }

  /** Every other device has a firmware that normalize rewrites. */
  #new(codec: EnvironmentCodec, publish: (seq: number, payload: Buffer) => void): void {
    const seq = this.next++
    const changes =
      this.id.endsWith('1') || this.id.endsWith('3') ? { firmware: '2.2.0', temperature: 70 } : {}
    publish(seq, codec.encode(reading(seq, Date.now(), changes)))
  }

  async #session(port: number, codec: EnvironmentCodec, isOver: () => boolean): Promise<void> {
    const options = {
      clientId: this.id,
      protocolVersion: 5,
      reconnectPeriod: 0,
      connectTimeout: 4000,
      keepalive: 5,
    } as const
    // Without retries: a connection that is reset before its CONNACK settles nothing otherwise.
    const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, options, false)
    this.#client = client
    this.connects++
    client.on('error', () => {})
    let inFlight = 0
    const publish = (seq: number, payload: Buffer): void => {
      inFlight++
      this.#unacknowledged.set(seq, payload)
      client.publish(`devices/${this.id}/telemetry`, payload, { qos: 1 }, (error) => {
        inFlight--
        if (error) return
        this.acknowledged.add(seq)
        this.#unacknowledged.delete(seq)
      })
    }
    for (const [seq, payload] of [...this.#unacknowledged]) publish(seq, payload)
    let idleMs = 0
    while (client.connected && !(isOver() && inFlight === 0)) {
      if (!isOver()) while (inFlight < IN_FLIGHT_MAX) this.#new(codec, publish)
      const before = this.acknowledged.size
      await sleep(DEVICE_PAUSE_MS)
      idleMs = this.acknowledged.size > before ? 0 : idleMs + DEVICE_PAUSE_MS
      // A server that says nothing for so long may be stopped: another one is asked.
      if (idleMs > 8000) break
    }
    await client.endAsync(true)
  }
}

export interface ChaosOptions {
  durationMs: number
  brokers: 1 | 3
  seed: number
  /** The version that the cluster has; default 2. */
  transactions?: 1 | 2
  keep?: boolean
  say: (line: string) => void
}

export interface ChaosAccount extends Judgement {
  /** How often each disturbance was done. */
  actions: Record<string, number>
}

/** Runs it and returns the account; throws where something was lost, doubled or out of order. */
export async function chaos({
  durationMs,
  brokers: count,
  seed,
  transactions = 2,
  keep,
  say,
}: ChaosOptions): Promise<ChaosAccount> {
  const next = seededRandom(seed)
  const below = (max: number): number => Math.floor(next() * max)
  const folder = mkdtempSync(join(tmpdir(), 'millrace-chaos-'))
  const kafka = await startKafka({ brokers: count, features: [`transaction.version=${transactions}`] })
  const processes: Supervised[] = []
  let isKept = false
  try {
    for (const role of ROLES)
      for (let i = 0; i < INSTANCES; i++)
        processes.push(new Supervised(`${role}-${i}`, argsOf(folder, kafka, role, `${role}-${i}`)))
    mkdirSync(join(folder, 'shared'))
    for (const one of processes) one.start()
    for (const one of processes)
      await until(
        `${one.name} to be ready: ${one.text}`,
        async () => ((await one.isReady()) ? true : undefined),
        120_000,
      )
    const codec = await environmentCodec(processes[0]!.http!)
    const ingest = processes.filter(({ name }) => name.startsWith('ingest'))
    const devices = Array.from({ length: DEVICES }, (_, i) => new Device(`chaos-${i}`))
    let isOver = false
    const running = devices.map((device) =>
      device.run(
        () => ingest[below(ingest.length)]!.mqttPort,
        codec,
        () => isOver,
      ),
    )
    const actions = await disturb({ kafka, processes, devices, below, say, until: Date.now() + durationMs })
    say('undisturbed from here on: devices send what is left')
    isOver = true
    let found: Judgement
    try {
      await withDeadline(
        Promise.all(running),
        () => `unacknowledged: ${devices.map((one) => one.waiting).join(' ')}`,
      )
      found = await judge(tablesOf(folder), kafka, devices, say)
    } catch (error) {
      for (const one of processes) say(await one.condition())
      isKept = keep === true
      if (isKept) say(`kept: ${kafka.folder}, ${folder}`)
      throw error
    }
    const ends = processes.flatMap(({ name, ends }) => ends.map((end) => ({ name, ...end })))
    for (const { name, code, text } of ends) say(`${name} ended with ${code} by itself:\n${text}`)
    const connects = devices.reduce((sum, one) => sum + one.connects, 0)
    const starts = processes.reduce((sum, one) => sum + one.starts, 0)
    say(
      `account: ${found.acknowledged} acknowledged, ${found.raw} raw, ${found.normalized} normalized, ${found.rows} rows; ` +
        `${connects} connections, ${starts} starts, ${ends.length} ends by themselves; ` +
        Object.entries(actions)
          .map(([name, times]) => `${times} × ${name}`)
          .join(', '),
    )
    assert.ok(!ends.some(({ code }) => code === 70), 'a process ended by a broken invariant')
    return { ...found, actions }
  } finally {
    await Promise.all(processes.map((one) => one.stop()))
    await kafka.stop(isKept)
    if (!isKept) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** Where the tables are that all processes write. */
const tablesOf = (folder: string): string[] => [
  ...['--catalog', `sqlite:${join(folder, 'shared/catalog.db')}`],
  ...['--warehouse', join(folder, 'shared/warehouse')],
]

function argsOf(folder: string, kafka: KafkaBrokers, role: string, name: string): string[] {
  return [
    ...['--roles', role, '--data', join(folder, name), '--log', `kafka://${kafka.bootstrap}`],
    ...tablesOf(folder),
    ...['--mqtt', '127.0.0.1:0', '--ws', 'off', '--http', '127.0.0.1:0'],
    ...['--status', 'off', '--log-level', 'warn'],
    ...['--sink-commit-age-ms', '1000', '--sink-encoders', '0'],
  ]
}

interface Disturbed {
  kafka: KafkaBrokers
  processes: Supervised[]
  devices: Device[]
  below: (max: number) => number
  say: (line: string) => void
  until: number
}

/** One disturbance after the other; all are undone when it returns. */
async function disturb({
  kafka,
  processes,
  devices,
  below,
  say,
  until,
}: Disturbed): Promise<Record<string, number>> {
  const counts: Record<string, number> = {}
  const brokers = kafka.pids.length
  const undone: Promise<void>[] = []
  const started = Date.now()
  let brokerIsDown = false
  let failure: unknown
  const actions: [weight: number, name: string, act: () => Promise<void>][] = [
    [4, 'kill -9', async () => one().end('SIGKILL')],
    [2, 'stop and start', async () => one().end('SIGTERM')],
    [
      3,
      'pause',
      async () => {
        const process = one()
        const ms = 1000 + below(14_000)
        process.pause()
        await sleep(ms)
        process.resume()
      },
    ],
    [
      2,
      'kill -9 of a broker',
      async () => {
        const index = below(brokers)
        await kafka.kill(index)
        await sleep(500 + below(4000))
        kafka.start(index)
        await kafka.ready()
        await sleep(2000)
      },
    ],
    [
      1,
      'pause of a broker',
      async () => {
        const index = below(brokers)
        kafka.signal(index, 'SIGSTOP')
        await sleep(1000 + below(9000))
        kafka.signal(index, 'SIGCONT')
        await sleep(2000)
      },
    ],
    [
      3,
      'dropped connections',
      async () => devices.forEach((device) => void (below(2) === 0 && device.drop())),
    ],
  ]
  const one = (): Supervised => processes[below(processes.length)]!
  const weights = actions.reduce((sum, [weight]) => sum + weight, 0)
  while (Date.now() < until) {
    await sleep(1000 + below(4000))
    let at = below(weights)
    const [, name, act] = actions.find(([weight]) => (at -= weight) < 0)!
    const isBroker = name.endsWith('broker')
    // Of three brokers one may be gone; of one, none for longer than it takes to come back.
    if (isBroker && brokerIsDown) continue
    counts[name] = (counts[name] ?? 0) + 1
    const sent = devices.reduce((sum, device) => sum + device.acknowledged.size, 0)
    say(`${((Date.now() - started) / 1000).toFixed(1)} s: ${name} (${sent} acknowledged)`)
    if (isBroker) brokerIsDown = true
    undone.push(
      act()
        .catch((error: unknown) => {
          failure ??= error
        })
        .finally(() => {
          if (isBroker) brokerIsDown = false
        }),
    )
    if (failure !== undefined) break
  }
  await Promise.all(undone)
  if (failure !== undefined) throw failure
  return counts
}

async function withDeadline<T>(work: Promise<T>, what: () => string): Promise<T> {
  const late = sleep(SETTLE_MS_MAX, undefined, { ref: false }).then(() => assert.fail(`too long: ${what()}`))
  return Promise.race([work, late])
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      minutes: { type: 'string', default: '5' },
      brokers: { type: 'string', default: '3' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000) },
      transactions: { type: 'string', default: '2' },
      keep: { type: 'boolean', default: false },
    },
  })
  const seed = Number(values.seed)
  console.log(`seed ${seed}`)
  await chaos({
    durationMs: Number(values.minutes) * 60_000,
    brokers: Number(values.brokers) === 1 ? 1 : 3,
    seed,
    transactions: values.transactions === '1' ? 1 : 2,
    keep: values.keep,
    say: (line) => console.log(line),
  })
  console.log('every acknowledged message is in the topic and in the table exactly once, in order')
}
