// The load generator: a process of its own that opens MQTT connections and publishes telemetry of the
// environment contract, as fast as acknowledgements allow or at a fixed rate. Its input comes from a seed and is
// made before the clock starts; its own CPU is in the report, so that it is seen when it is the limit.
//
// On stdout, one JSON object a line: {"event":"started"} when all connections are open and warm,
// {"event":"stopped"} when the measured time is over, and {"event":"report", …} when everything sent was
// acknowledged (QoS 1) or read (QoS 0, by a ping after it).
//
// Closed loop: a connection keeps `window` messages in flight. Open loop (--rate): each message has a time at
// which it should leave, and its latency counts from then, so that a server that stalls is not forgiven the
// messages that were not sent meanwhile (coordinated omission).
import { parseArgs } from 'node:util'
import { build } from 'hdr-histogram-js'
import { GeneratorConnection, Totals } from './generator-connection.ts'
import { PacketRing } from './generator-packets.ts'
import { round } from './harness.ts'

const USAGE = `Usage: generator.ts --url mqtt://HOST:PORT|ws://HOST:PORT [options]
  --level 4|5          MQTT 3.1.1 or 5 (5)
  --qos 0|1            (1)
  --connections N      (8)
  --window N           messages in flight on each connection at QoS 1 (64)
  --seconds S          measured time (5); --warmup S before it (1)
  --messages N         stop after N messages instead, all of them measured
  --rate R             open loop: messages a second of all connections together
  --unbatched          one write, and so one segment, for each message
  --idle               connect only, and stay for --seconds
  --payload avro|json  (avro)
  --stream NAME:ID     stream and schema id of the payload, repeatable (telemetry:1)
  --devices N          devices on each connection, drawn at random (1)
  --prefix NAME        device i of connection c is NAME-c, or NAME-c-i with several (bench)
  --username U --password P   CONNECT with these; {client} in them is the client id, {tenant} the number of
                       the connection modulo --tenants
  --tenants N          (1)
  --seed N             (1)
`

const { values: flags } = parseArgs({
  options: {
    url: { type: 'string' },
    level: { type: 'string', default: '5' },
    qos: { type: 'string', default: '1' },
    connections: { type: 'string', default: '8' },
    window: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '5' },
    warmup: { type: 'string', default: '1' },
    messages: { type: 'string' },
    rate: { type: 'string' },
    unbatched: { type: 'boolean', default: false },
    idle: { type: 'boolean', default: false },
    payload: { type: 'string', default: 'avro' },
    stream: { type: 'string', multiple: true, default: ['telemetry:1'] },
    devices: { type: 'string', default: '1' },
    prefix: { type: 'string', default: 'bench' },
    username: { type: 'string' },
    tenants: { type: 'string', default: '1' },
    password: { type: 'string' },
    seed: { type: 'string', default: '1' },
    help: { type: 'boolean', default: false },
  },
})

/** Bytes of a QoS 0 write: as much as a socket takes at once. */
const FLOOD_BYTES = 256 << 10
/** Connections that are opened at the same time. */
const OPENING_MAX = 200
/** For what is in flight, and again for what is read: a server that takes longer is reported as one that lost it. */
const DRAIN_SECONDS_MAX = 15

function usage(problem: string): never {
  process.stderr.write(`${problem}\n${USAGE}`)
  process.exit(2)
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (!(value >= min && value <= max)) usage(`--${name}: read '${text}', expected ${min} to ${max}`)
  return value
}

function oneOf<T extends string>(name: string, text: string, allowed: readonly T[]): T {
  if (!allowed.includes(text as T)) usage(`--${name}: read '${text}', expected ${allowed.join(' or ')}`)
  return text as T
}

function say(event: string, fields: Record<string, unknown> = {}): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
}

const level = Number(oneOf('level', flags.level, ['4', '5'])) as 4 | 5
const qos = Number(oneOf('qos', flags.qos, ['0', '1'])) as 0 | 1
const payload = oneOf('payload', flags.payload, ['avro', 'json'])
const connectionCount = number('connections', flags.connections, 1, 100_000)
const window = number('window', flags.window, 1, 65_535)
const seconds = number('seconds', flags.seconds, 0.01, 86_400)
const warmup = flags.messages === undefined ? number('warmup', flags.warmup, 0, 3600) : 0
const messagesMax = flags.messages === undefined ? Infinity : number('messages', flags.messages, 1, 1e12)
const rate = flags.rate === undefined ? undefined : number('rate', flags.rate, 0.01, 1e8)
const devices = number('devices', flags.devices, 1, 100_000)
const tenants = number('tenants', flags.tenants, 1, 100_000)
const seed = number('seed', flags.seed, 0, 2 ** 31)

const totals = new Totals()
const histogram = build({
  lowestDiscernibleValue: 1,
  highestTrackableValue: 600_000_000,
  numberOfSignificantValueDigits: 3,
})
const startMs = Date.now()

function topicsOf(connection: number): { topic: string; schemaId: number }[] {
  const own =
    devices === 1
      ? [`${flags.prefix}-${connection}`]
      : Array.from({ length: devices }, (_, i) => `${flags.prefix}-${connection}-${i}`)
  return own.flatMap((device) =>
    flags.stream.map((stream) => {
      const [name, id] = stream.split(':')
      return { topic: `devices/${device}/${name}`, schemaId: number('stream', id ?? '', 0, 2 ** 31) }
    }),
  )
}

function makeConnection(index: number, host: string, port: number, webSocket: boolean): GeneratorConnection {
  const topics = topicsOf(index)
  // At QoS 0 a write is half of the ring; many topics want a ring that holds most of them.
  const slots = Math.min(
    65_535,
    Math.max(
      qos === 1 ? window : 2 * Math.ceil(FLOOD_BYTES / 75),
      topics.length === 1 ? 1 : Math.min(16_384, 4 * topics.length),
    ),
  )
  const ring = new PacketRing({
    slots,
    level,
    qos,
    topics,
    payload,
    seed: seed + index,
    startMs: startMs + index,
  })
  const clientId = `${flags.prefix}-${index}`
  const fill = (text: string | undefined) =>
    text?.replaceAll('{client}', clientId).replaceAll('{tenant}', String(index % tenants))
  return new GeneratorConnection(
    {
      host,
      port,
      webSocket,
      level,
      clientId,
      username: fill(flags.username),
      password: fill(flags.password),
      // At QoS 0 nothing but a write that is over says when to send on.
      gathers: qos === 1,
    },
    Math.min(window, slots),
    ring,
    totals,
    histogram,
  )
}

/** True from the start of the measured load until its end. */
let running = false
let loadStartMs = 0

/** What connection i may send now is sent. */
function pump(connection: GeneratorConnection, index: number): void {
  if (!running) return
  const now = performance.now()
  let count: number
  let due = now
  let step = 0
  if (qos === 1) count = connection.window - connection.outstanding
  else count = connection.isWriting ? 0 : flags.unbatched ? 1 : Math.floor(FLOOD_BYTES / 75)
  if (rate !== undefined) {
    // Message n of connection i should leave at start + (n × connections + i) / rate.
    step = (connectionCount * 1000) / rate
    due = loadStartMs + connection.sent * step + (index * 1000) / rate
    count = Math.min(count, Math.floor((now - due) / step) + 1)
  }
  count = Math.min(count, messagesMax - totals.sent)
  if (count <= 0) return
  if (flags.unbatched) for (let i = 0; i < count; i++) connection.send(1, due + i * step, 0)
  else connection.send(count, due, step)
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

async function main(): Promise<void> {
  if (flags.help) {
    process.stdout.write(USAGE)
    return
  }
  if (flags.url === undefined) usage('--url is missing')
  const url = new URL(flags.url)
  const webSocket = oneOf('url', url.protocol, ['mqtt:', 'ws:']) === 'ws:'
  const connections = Array.from({ length: connectionCount }, (_, i) =>
    makeConnection(i, url.hostname, Number(url.port), webSocket),
  )
  const connectStarted = performance.now()
  let next = 0
  await Promise.all(
    Array.from({ length: Math.min(OPENING_MAX, connectionCount) }, async () => {
      while (next < connectionCount) await connections[next++]!.open()
    }),
  )
  const connectSeconds = (performance.now() - connectStarted) / 1000

  if (flags.idle) {
    say('started', { connectSeconds })
    await sleep(seconds * 1000)
    for (const connection of connections) connection.close()
    say('report', { connections: connectionCount, connectSeconds, closedByServer: totals.closedByServer })
    return
  }

  running = true
  loadStartMs = performance.now()
  for (const [index, connection] of connections.entries()) {
    connection.onAcknowledged = () => pump(connection, index)
    connection.onWritable = () => {
      if (qos === 0) pump(connection, index)
    }
    pump(connection, index)
  }
  // Message k is that of connection k modulo their number: only those whose next one is due are looked at.
  let released = 0
  const pumpDue = () => {
    const due = Math.floor(((performance.now() - loadStartMs) * rate!) / 1000) + 1
    const from = Math.max(released, due - connectionCount)
    for (let k = from; k < due; k++) pump(connections[k % connectionCount]!, k % connectionCount)
    released = due
  }
  const ticker = rate === undefined ? undefined : setInterval(pumpDue, 1)
  await sleep(warmup * 1000)
  const before = { ...totals }
  histogram.reset()
  const cpuBefore = process.cpuUsage()
  const measureStarted = performance.now()
  say('started', { connectSeconds })
  if (messagesMax === Infinity) await sleep(seconds * 1000)
  else while (totals.sent < messagesMax && totals.closedByServer === 0) await sleep(5)
  const measured = (performance.now() - measureStarted) / 1000
  const cpu = process.cpuUsage(cpuBefore)
  const inWindow = qos === 1 ? totals.acknowledged - before.acknowledged : totals.sent - before.sent
  say('stopped')
  running = false
  clearInterval(ticker)

  const drainStarted = performance.now()
  const isDrained = () => qos === 0 || totals.acknowledged >= totals.sent || totals.closedByServer > 0
  while (!isDrained() && performance.now() - drainStarted < DRAIN_SECONDS_MAX * 1000) await sleep(2)
  const patience = new Promise((resolve) => setTimeout(resolve, DRAIN_SECONDS_MAX * 1000).unref())
  await Promise.race([Promise.all(connections.map((one) => one.flushed())), patience])
  const drainSeconds = (performance.now() - drainStarted) / 1000
  for (const connection of connections) connection.close()

  const milliseconds = (percentile: number) => round(histogram.getValueAtPercentile(percentile) / 1000, 3)
  const cpuSeconds = (cpu.user + cpu.system) / 1e6
  say('report', {
    connections: connectionCount,
    /** All messages since the first, warm-up included: what the log must hold. */
    ...totals,
    seconds: round(measured, 3),
    drainSeconds: round(drainSeconds, 3),
    connectSeconds: round(connectSeconds, 3),
    /** At QoS 0 what was handed to the kernel: count at the server. */
    messagesInWindow: inWindow,
    messagesPerSecond: Math.round(inWindow / measured),
    cpuShare: round(cpuSeconds / measured, 3),
    cpuUsPerMessage: round((cpuSeconds * 1e6) / Math.max(1, inWindow), 4),
    ...(qos === 0
      ? {}
      : {
          latencyMs: {
            p50: milliseconds(50),
            p90: milliseconds(90),
            p99: milliseconds(99),
            p999: milliseconds(99.9),
            max: round(histogram.maxValue / 1000, 3),
          },
        }),
  })
}

await main()
