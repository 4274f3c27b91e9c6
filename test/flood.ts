// Devices that publish as fast as the server takes it: raw sockets, packets made beforehand, a window in flight.
// What was not acknowledged when a connection ends is sent again on the next one, from the first such message on,
// as an MQTT client does.
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import path from 'node:path'
import { openEmbeddedLog } from '../log/log-embedded.ts'
import { RecordReader } from '../log/record-batch.ts'
import { NodeDisk } from '../std/disk.ts'
import { type EnvironmentCodec, reading } from './environment.ts'

const PUBACK = 0x40
const PINGRESP = 0xd0
const PACKET_IDS = 60_000

/** Payloads of messages 0, 1, …; all devices send the same ones. */
export function payloads(codec: EnvironmentCodec, count: number, startMs: number): Buffer[] {
  return Array.from({ length: count }, (_, seq) => codec.encode(reading(seq, startMs + seq)))
}

export class Flood {
  readonly device: string
  /** Messages [0, acknowledged) are acknowledged. */
  acknowledged = 0
  /** Messages [0, sent) were sent, on this connection or before. */
  sent = 0
  pongs = 0
  isClosed = true
  /** Acknowledgements that are no success, or came out of order. */
  readonly wrong: string[] = []
  readonly #level: 4 | 5
  readonly #qos: 0 | 1
  readonly #window: number
  readonly #packets: Buffer[]
  #socket: Socket | undefined
  #isConnected = false
  #rest: Buffer = Buffer.alloc(0)

  /** `window`: messages in flight at QoS 1; at QoS 0 what the socket takes. */
  constructor(device: string, level: 4 | 5, qos: 0 | 1, window: number, payloads: readonly Buffer[]) {
    this.device = device
    this.#level = level
    this.#qos = qos
    this.#window = window
    this.#packets = payloads.map((payload, i) => this.#publish(i, payload))
  }

  get isDone(): boolean {
    return (this.#qos === 0 ? this.sent : this.acknowledged) === this.#packets.length
  }

  async connect(port: number): Promise<void> {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
    this.#socket = socket
    this.#isConnected = false
    this.#rest = Buffer.alloc(0)
    if (this.#qos === 1) this.sent = this.acknowledged
    socket.on('error', () => {})
    socket.on('close', () => {
      this.isClosed = true
    })
    socket.on('drain', () => this.#fill())
    socket.on('data', (bytes: Buffer) => this.#receive(bytes))
    await once(socket, 'connect')
    this.isClosed = false
    const id = Buffer.from(this.device)
    const properties = this.#level === 5 ? [0] : []
    const body = Buffer.from([
      0,
      4,
      ...Buffer.from('MQTT'),
      this.#level,
      2,
      0,
      0,
      ...properties,
      0,
      id.length,
      ...id,
    ])
    socket.write(Buffer.from([0x10, body.length, ...body]))
  }

  ping(): void {
    this.#socket!.write(Buffer.from([0xc0, 0]))
  }

  end(): void {
    this.#socket?.destroy()
  }

  #publish(i: number, payload: Buffer): Buffer {
    const topic = Buffer.from(`devices/${this.device}/telemetry`)
    const id = (i % PACKET_IDS) + 1
    const head = [topic.length >>> 8, topic.length & 0xff, ...topic]
    const tail = [...(this.#qos === 1 ? [id >>> 8, id & 0xff] : []), ...(this.#level === 5 ? [0] : [])]
    const remaining = head.length + tail.length + payload.length
    const length = remaining < 0x80 ? [remaining] : [(remaining & 0x7f) | 0x80, remaining >>> 7]
    return Buffer.concat([Buffer.from([0x30 | (this.#qos << 1), ...length, ...head, ...tail]), payload])
  }

  #fill(): void {
    const socket = this.#socket!
    if (!this.#isConnected) return
    const most = this.#qos === 0 ? this.#packets.length : this.acknowledged + this.#window
    const end = Math.min(most, this.#packets.length)
    while (this.sent < end && !socket.writableNeedDrain) {
      const to = Math.min(end, this.sent + 512)
      socket.write(Buffer.concat(this.#packets.slice(this.sent, to)))
      this.sent = to
    }
  }

  #receive(bytes: Buffer): void {
    let data = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes])
    while (data.length >= 2 && data.length >= 2 + data[1]!) {
      const type = data[0]!
      const length = data[1]!
      if (!this.#isConnected) {
        if (type !== 0x20 || data[3] !== 0)
          this.wrong.push(`CONNACK ${data.subarray(0, 2 + length).toString('hex')}`)
        this.#isConnected = true
      } else if (type === PUBACK) {
        if (data.readUInt16BE(2) !== (this.acknowledged % PACKET_IDS) + 1 || (length > 2 && data[4]! >= 0x80))
          this.wrong.push(`${data.subarray(0, 2 + length).toString('hex')} for message ${this.acknowledged}`)
        this.acknowledged++
      } else if (type === PINGRESP) this.pongs++
      else this.wrong.push(data.subarray(0, 2 + length).toString('hex'))
      data = data.subarray(2 + length)
    }
    this.#rest = Buffer.from(data)
    this.#fill()
  }
}

/** The messages of each device in the order of the raw topic, by their number; the process must have ended. */
export async function loggedMessages(data: string, sent: readonly Buffer[]): Promise<Map<string, number[]>> {
  const numbers = new Map(sent.map((payload, i) => [payload.toString('latin1'), i]))
  const log = openEmbeddedLog({ dir: path.join(data, 'log'), disk: new NodeDisk(), background: false })
  const found = new Map<string, number[]>()
  const topic = 'default.telemetry.raw'
  const reader = new RecordReader()
  const { config } = (await log.describeTopic(topic))!
  for (let partition = 0; partition < config.partitions; partition++) {
    const { start, end } = await log.range(topic, partition)
    for (let offset = start; offset < end; ) {
      const { batches, nextOffset } = await log.read(topic, partition, offset, 4 << 20)
      const text = Buffer.from(batches.buffer, batches.byteOffset, batches.length)
      reader.reset(batches)
      while (reader.next()) {
        const device = text.toString('latin1', reader.keyStart, reader.keyEnd)
        const number = numbers.get(text.toString('latin1', reader.valueStart, reader.valueEnd)) ?? Number.NaN
        const own = found.get(device)
        if (own === undefined) found.set(device, [number])
        else own.push(number)
      }
      offset = nextOffset
    }
  }
  await log.close()
  return found
}
