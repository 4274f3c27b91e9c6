// Chaos on Kafka: devices send QoS 1 to two ingest processes, two normalize and two sink processes work it off, and a
// seeded hand kills, stops and restarts all of them, the brokers too, and lets members of the groups come and go
// (chaos-disturb.ts). Afterwards every acknowledged message must be in the normalized topic and in the table exactly
// once, each device's in the order in which it sent them.
//
//   ./test/node test/kafka/chaos.ts [--minutes 5] [--brokers 3] [--seed N] [--transactions 2] [--keep]
//
// With --keep a run that fails leaves the brokers' folders and the warehouse where they are, and says where.
//
// A device that loses its connection sends again what was not acknowledged, first of all and in order, as MQTT wants
// it; so the raw topic has duplicates, and normalize takes them out.
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import mqtt, { type MqttClient } from 'mqtt'
import { seededRandom } from '../../std/random.ts'
import { type EnvironmentCodec, environmentCodec, reading } from '../environment.ts'
import { until } from '../millrace-process.ts'
import { type KafkaBrokers, startKafka } from './broker.ts'
import { disturb, type GroupRole } from './chaos-disturb.ts'
import { type Judgement, judge, SETTLE_MS_MAX } from './chaos-judge.ts'
import { Supervised } from './supervised.ts'

const ROLES = ['ingest', 'normalize', 'sink'] as const
const INSTANCES = 2
const DEVICES = 16
const IN_FLIGHT_MAX = 20
/** Pause of a device between two looks at its window: bounds the load, which is not the point here. */
const DEVICE_PAUSE_MS = 200

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
    const guests: Supervised[] = []
    const another = (role: GroupRole): Supervised => {
      const name = `${role}-${INSTANCES + guests.length}`
      const guest = new Supervised(name, argsOf(folder, kafka, role, name))
      guests.push(guest)
      return guest
    }
    let isOver = false
    const running = devices.map((device) =>
      device.run(
        () => ingest[below(ingest.length)]!.mqttPort,
        codec,
        () => isOver,
      ),
    )
    const actions = await disturb({
      kafka,
      processes,
      devices,
      another,
      below,
      say,
      until: Date.now() + durationMs,
    })
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
    const ends = [...processes, ...guests].flatMap(({ name, ends }) => ends.map((end) => ({ name, ...end })))
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
