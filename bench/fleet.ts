// A fleet of clients that comes back: each publishes at QoS 1, one message in flight, one every second; when its
// connection is gone it connects again at once, and sends first what was not acknowledged, with DUP set.
// `fleet.ts HOST PORT COUNT SCHEMA_ID SEED`. SIGUSR2 cuts all connections in one go; SIGTERM lets the messages in flight
// be acknowledged and ends it. On stdout, one JSON object a line: {"event":"back", …} when all clients are connected
// (the first time too), and {"event":"end","acknowledged":{device: last sequence}} at the end.
import net from 'node:net'
import mqttPacket from 'mqtt-packet'
import { Random, round } from './harness.ts'
import { PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'

const [, , host, port, count, schemaId, seed] = process.argv
const CONNACK = 0x20
const PUBACK = 0x40
const INTERVAL_MS = 1000
/** Nothing listens while the server starts again. */
const RETRY_MS = 50
const END_MS_MAX = 20_000

const random = new Random(Number(seed))
let cutAt = performance.now()
let ending = false
let backMs: number[] = []
let resent = 0

function say(event: string, fields: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`)
}

class Client {
  readonly device: string
  readonly #sensor: Sensor
  readonly #payload = Buffer.alloc(PAYLOAD_BYTES_MAX)
  #socket: net.Socket | undefined
  #connected = false
  #sequence = 0
  acknowledged = 0
  #payloadBytes = 0

  constructor(index: number) {
    this.device = `fleet-${index}`
    this.#sensor = new Sensor(random, Date.now(), false)
    setTimeout(() => setInterval(() => this.#publish(), INTERVAL_MS), random.below(INTERVAL_MS))
    this.connect()
  }

  get isInFlight(): boolean {
    return this.#sequence > this.acknowledged
  }

  connect(): void {
    const socket = net.connect({ host: host!, port: Number(port), noDelay: true })
    this.#socket = socket
    this.#connected = false
    socket.on('connect', () =>
      socket.write(
        mqttPacket.generate({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 4,
          clientId: this.device,
          clean: true,
          keepalive: 0,
        }),
      ),
    )
    socket.on('data', (bytes: Buffer) => this.#onData(bytes))
    socket.on('error', () => {})
    socket.on('close', () => {
      if (socket === this.#socket && !ending) setTimeout(() => this.connect(), RETRY_MS)
    })
  }

  cut(): void {
    const socket = this.#socket
    this.#socket = undefined
    socket?.resetAndDestroy()
    this.connect()
  }

  end(): void {
    this.#socket?.destroy()
  }

  /** Both kinds of acknowledgement have four bytes. */
  #onData(bytes: Buffer): void {
    for (let at = 0; at + 4 <= bytes.length; at += 4) {
      if (bytes[at] === CONNACK && bytes[at + 3] === 0) {
        this.#connected = true
        back()
        if (this.isInFlight) {
          resent++
          this.#send(true)
        }
      } else if (bytes[at] === PUBACK) this.acknowledged = this.#sequence
    }
  }

  #publish(): void {
    if (ending || !this.#connected || this.isInFlight) return
    this.#sequence++
    this.#payloadBytes = this.#sensor.writeAvro(this.#payload, 0, Number(schemaId))
    this.#send(false)
  }

  #send(dup: boolean): void {
    this.#socket!.write(
      mqttPacket.generate({
        cmd: 'publish',
        topic: `devices/${this.device}/telemetry`,
        payload: this.#payload.subarray(0, this.#payloadBytes),
        qos: 1,
        dup,
        retain: false,
        messageId: (this.#sequence % 65_535) + 1,
      }),
    )
  }
}

function back(): void {
  backMs.push(performance.now() - cutAt)
  if (backMs.length !== Number(count)) return
  const at = (part: number) =>
    round(backMs[Math.min(backMs.length - 1, Math.floor(backMs.length * part))]!, 1)
  say('back', { halfMs: at(0.5), mostMs: at(0.99), allMs: at(1), resent })
}

function begin(): void {
  cutAt = performance.now()
  backMs = []
  resent = 0
}

const clients = Array.from({ length: Number(count) }, (_, i) => new Client(i))

process.on('SIGUSR2', () => {
  begin()
  for (const client of clients) client.cut()
})
// The server is about to be killed: who comes back is counted from here.
process.on('SIGHUP', begin)
process.once('SIGTERM', () => {
  ending = true
  const deadline = performance.now() + END_MS_MAX
  const waiting = setInterval(() => {
    if (clients.some((client) => client.isInFlight) && performance.now() < deadline) return
    clearInterval(waiting)
    for (const client of clients) client.end()
    say('end', { acknowledged: Object.fromEntries(clients.map((one) => [one.device, one.acknowledged])) })
    process.exit(0)
  }, 20)
})
