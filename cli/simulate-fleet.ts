// A simulated fleet for `millrace simulate`, `make demo` and tests: sensors of the environment contract, each
// with its own MQTT connection, its own climate and its own faults. Seeded: the same seed sends the same
// readings in the same order per device, whatever the network does.
//
// Its account is exact. Of what it sent it knows which messages were acknowledged, and what normalize must make
// of them; a message sent again after a broken connection counts as resent, never twice as sent.
import { encodePlain } from '../schemas/avro-encode.ts'
import type { AvroNode } from '../schemas/avro-node.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { MillraceError } from '../std/errors.ts'
import { seededRandom } from '../std/random.ts'
import { MqttDevice } from './mqtt-device.ts'

export interface FleetOptions {
  mqtt: { host: string; port: number }
  /** Base address of the schema registry (`http://host:port/schema-registry`), which is asked for the schema and its id. */
  registry: string
  tenant?: string
  stream?: string
  devices?: number
  seconds?: number
  /** Of the whole fleet. */
  messagesPerSecond?: number
  seed?: number
  /** Device ids are the prefix and a number. */
  devicePrefix?: string
  /** Parts of all messages, each in [0, 1]. */
  faults?: Partial<FaultShares>
  /** Unacknowledged messages of one device. */
  inFlightMax?: number
  /** How long the end waits for acknowledgements. */
  drainMs?: number
  onProgress?: (progress: FleetProgress) => void
  /** Ends the run early, as if its time were over. */
  signal?: AbortSignal
}

export interface FaultShares {
  /** An earlier message once more, byte for byte: a duplicate. */
  resend: number
  /** A value outside its range: kept and marked. */
  outOfRange: number
  /** A reading an hour old: kept and marked. */
  late: number
  /** A clock that has lost its time: rejected. */
  implausible: number
  /** The device's connection breaks after the message. */
  breaks: number
}

const FAULTS_DEFAULT: FaultShares = {
  resend: 0.01,
  outOfRange: 0.005,
  late: 0.005,
  implausible: 0.001,
  breaks: 0.0005,
}

export interface FleetAccount {
  devices: number
  /** Messages given to the network, duplicates included. */
  sent: number
  /** Of these. Equal to `sent` where the end waited long enough. */
  acknowledged: number
  /** Of `sent`, by what they are; a message has at most one fault. */
  duplicatesSent: number
  outOfRangeSent: number
  lateSent: number
  implausibleSent: number
  /** Sent again because a connection broke before the acknowledgement: more duplicates, at most so many. */
  resent: number
  connections: number
  disconnects: number
  seconds: number
}

export interface FleetProgress {
  sent: number
  acknowledged: number
  connected: number
  /** In [0, 1]. */
  part: number
}

const TICK_MS = 20
const CONNECTS_PER_TICK = 50
const PROGRESS_MS = 250
/** With no connection at all for so long, there is no server. */
const UNREACHABLE_MS = 10_000
const DAY_MS = 86_400_000
const LATE_MS = 3_600_000
/** Late readings begin when there is a watermark to be late against. */
const LATE_FROM_SEQUENCE = 3
/** A controller without time starts at 1970. */
const LOST_CLOCK_MS = 86_400_000

/** Firmwares and their share: 1.x reports °C and hPa, 2.x °F, and before 2.1 Pa (contracts/environment.yaml). */
const FIRMWARES = [
  { version: '1.4.2', upTo: 0.8, fahrenheit: false, pascal: false },
  { version: '2.1.0', upTo: 0.95, fahrenheit: true, pascal: false },
  { version: '2.0.3', upTo: 1, fahrenheit: true, pascal: true },
] as const

/** One room: a day curve of its own, and a walk around it that comes back to it. */
class Room {
  sequence = 0
  /** What was sent last, for duplicates. */
  last: Uint8Array | undefined
  readonly #random: () => number
  readonly #firmware: (typeof FIRMWARES)[number]
  readonly #hasBarometer: boolean
  readonly #mean: number
  readonly #swing: number
  readonly #phase: number
  #temperature = 0
  #humidity = 0
  #pressure = 0
  #air = 60
  #battery: number

  constructor(seed: number) {
    const random = seededRandom(seed)
    this.#random = random
    const share = random()
    this.#firmware = FIRMWARES.find((one) => share < one.upTo)!
    this.#hasBarometer = random() < 0.7
    this.#mean = 19 + 4 * random()
    this.#swing = 1 + 3 * random()
    this.#phase = 0.1 * random()
    this.#battery = 40 + 60 * random()
  }

  /** The next reading at `eventMs`, as values of the contract's fields. */
  next(eventMs: number): Record<string, unknown> {
    const random = this.#random
    const day = Math.sin(2 * Math.PI * ((eventMs % DAY_MS) / DAY_MS - 0.35 - this.#phase))
    const busy = Math.max(0, day) > 0.3
    this.#temperature += 0.2 * (random() - 0.5) - 0.02 * this.#temperature
    this.#humidity += random() - 0.5 - 0.02 * this.#humidity
    this.#pressure += 0.3 * (random() - 0.5) - 0.005 * this.#pressure
    this.#air += 0.05 * ((busy ? 110 : 50) - this.#air) + 4 * (random() - 0.5)
    this.#battery = Math.max(1, this.#battery - 0.0005)
    const celsius = this.#mean + this.#swing * day + this.#temperature
    const hectopascal = 1013 + this.#pressure
    const sequence = this.sequence++
    return {
      event_time: Math.floor(eventMs) * 1000,
      seq: sequence,
      temperature: round(this.#firmware.fahrenheit ? celsius * 1.8 + 32 : celsius),
      humidity: round(Math.min(100, Math.max(0, 45 - 6 * day + this.#humidity))),
      pressure: this.#hasBarometer ? round(this.#firmware.pascal ? hectopascal * 100 : hectopascal) : null,
      air_quality: sequence < 2 ? null : round(Math.min(500, Math.max(0, this.#air))),
      occupancy: sequence === 0 ? 'unknown' : busy && random() < 0.8 ? 'occupied' : 'vacant',
      firmware: this.#firmware.version,
      battery: round(this.#battery),
    }
  }

  random(): number {
    return this.#random()
  }
}

const round = (value: number): number => Math.round(value * 100) / 100

/** Asks the registry for the latest schema of a stream. Errors: `server_unreachable`, `schema_unknown`. */
export async function latestSchema(
  registry: string,
  tenant: string,
  stream: string,
): Promise<{ id: number; schema: AvroNode }> {
  const subject = `${tenant}.${stream}-value`
  const address = `${registry.replace(/\/$/, '')}/subjects/${encodeURIComponent(subject)}/versions/latest`
  let response: Response
  try {
    response = await fetch(address)
  } catch (error) {
    throw new MillraceError(
      'server_unreachable',
      `no schema registry answers at ${registry}`,
      { address },
      error,
    )
  }
  if (!response.ok)
    throw new MillraceError(
      'schema_unknown',
      `${address} answered ${response.status}: ${await response.text()}`,
    )
  const { id, schema } = (await response.json()) as { id: number; schema: string }
  return { id, schema: parseAvroSchema(schema) }
}

/** A payload in the Confluent wire format. */
function frame(id: number, schema: AvroNode, value: unknown): Uint8Array {
  const datum = encodePlain(schema, value)
  const payload = new Uint8Array(5 + datum.length)
  new DataView(payload.buffer).setInt32(1, id)
  payload.set(datum, 5)
  return payload
}

/** Runs a fleet to its end. Errors: `server_unreachable`, `schema_unknown`. */
export async function simulateFleet(options: FleetOptions): Promise<FleetAccount> {
  const { tenant = 'default', stream = 'telemetry' } = options
  const { id, schema } = await latestSchema(options.registry, tenant, stream)
  return new Fleet(options, id, schema).run()
}

class Fleet {
  readonly #options: FleetOptions
  readonly #faults: FaultShares
  readonly #schemaId: number
  readonly #schema: AvroNode
  readonly #rooms: Room[] = []
  readonly #devices: MqttDevice[] = []
  readonly #account: FleetAccount
  #produced = 0
  #connected = 0
  #lastError: Error | undefined

  constructor(options: FleetOptions, schemaId: number, schema: AvroNode) {
    this.#options = options
    this.#faults = { ...FAULTS_DEFAULT, ...options.faults }
    this.#schemaId = schemaId
    this.#schema = schema
    const { devices: count = 1000, seed = 1, devicePrefix = 'sim-', stream = 'telemetry', mqtt } = options
    for (let i = 0; i < count; i++) {
      const clientId = `${devicePrefix}${String(i).padStart(4, '0')}`
      this.#rooms.push(new Room(Math.imul(seed, 0x9e3779b1) + i))
      this.#devices.push(
        new MqttDevice({
          ...mqtt,
          clientId,
          topic: `devices/${clientId}/${stream}`,
          inFlightMax: options.inFlightMax ?? 32,
          random: Math.random,
          onAcknowledged: () => this.#account.acknowledged++,
          onConnect: () => {
            this.#connected++
            this.#account.connections++
          },
          onDisconnect: (error, wasConnected) => {
            this.#lastError = error
            if (!wasConnected) return
            this.#connected--
            this.#account.disconnects++
          },
        }),
      )
    }
    this.#account = {
      devices: count,
      sent: 0,
      acknowledged: 0,
      duplicatesSent: 0,
      outOfRangeSent: 0,
      lateSent: 0,
      implausibleSent: 0,
      resent: 0,
      connections: 0,
      disconnects: 0,
      seconds: 0,
    }
  }

  async run(): Promise<FleetAccount> {
    const { seconds = 20, messagesPerSecond = this.#devices.length, drainMs = 15_000, signal } = this.#options
    const started = performance.now()
    const total = Math.floor(seconds * messagesPerSecond)
    let reported = 0
    let opened = 0
    let waitMs = 0
    try {
      for (;;) {
        const elapsed = performance.now() - started
        for (let i = 0; i < CONNECTS_PER_TICK && opened < this.#devices.length; i++)
          this.#devices[opened++]!.connect()
        const due = Math.min(total, Math.floor((elapsed / 1000) * messagesPerSecond))
        while (this.#produced < due) this.#produce()
        if (elapsed - reported >= PROGRESS_MS) {
          reported = elapsed
          this.#report(Math.min(1, this.#produced / total))
        }
        if (this.#produced >= total || signal?.aborted === true) break
        if (this.#account.connections === 0 && elapsed > UNREACHABLE_MS) throw this.#unreachable()
        await new Promise((resolve) => setTimeout(resolve, TICK_MS))
      }
      waitMs = drainMs
    } finally {
      await Promise.all(this.#devices.map((device) => device.end(waitMs)))
    }
    this.#account.resent = this.#devices.reduce((sum, device) => sum + device.resentCount, 0)
    this.#account.seconds = (performance.now() - started) / 1000
    this.#report(1)
    return this.#account
  }

  /** One message of the next device in turn. */
  #produce(): void {
    const index = this.#produced++ % this.#devices.length
    const room = this.#rooms[index]!
    const device = this.#devices[index]!
    const account = this.#account
    const faults = this.#faults
    let choice = room.random()
    // At most one fault a message: the shares lie side by side in [0, 1).
    const hits = (share: number): boolean => choice >= 0 && (choice -= share) < 0
    account.sent++
    if (room.last !== undefined && hits(faults.resend)) {
      account.duplicatesSent++
      device.publish(room.last)
      return
    }
    let eventMs = Date.now()
    const reading = room.next(eventMs)
    if (room.sequence > LATE_FROM_SEQUENCE && hits(faults.late)) {
      account.lateSent++
      eventMs -= LATE_MS
      reading['event_time'] = Math.floor(eventMs) * 1000
    } else if (hits(faults.implausible)) {
      account.implausibleSent++
      reading['event_time'] = (LOST_CLOCK_MS + room.sequence) * 1000
    } else if (hits(faults.outOfRange)) {
      account.outOfRangeSent++
      reading['humidity'] = round(120 + 20 * room.random())
    }
    const breaks = hits(faults.breaks)
    room.last = frame(this.#schemaId, this.#schema, reading)
    device.publish(room.last)
    if (breaks) device.breakConnection()
  }

  #report(part: number): void {
    const { sent, acknowledged } = this.#account
    this.#options.onProgress?.({ sent, acknowledged, connected: this.#connected, part })
  }

  #unreachable(): MillraceError {
    const { host, port } = this.#options.mqtt
    return new MillraceError(
      'server_unreachable',
      `no MQTT server answers at ${host}:${port}: ${this.#lastError?.message ?? 'no connection was accepted'}`,
      {},
      this.#lastError,
    )
  }
}
