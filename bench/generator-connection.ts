// One connection of the load generator: raw socket, MQTT over TCP or WebSocket, as little work per message as
// possible, because the generator must not be what is measured. All connections read into one buffer, and what they
// write in one turn of the event loop goes with one system call where the machine offers that (ingest/send-batch.ts).
import { randomBytes } from 'node:crypto'
import net from 'node:net'
import type { Histogram } from 'hdr-histogram-js'
import mqttPacket, { type IConnackPacket } from 'mqtt-packet'
import { type BatchedSender, SendBatch } from '../ingest/send-batch.ts'
import { handleOf, type SocketHandle } from '../ingest/socket-handle.ts'
import type { PacketRing } from './generator-packets.ts'

export interface ConnectionOptions {
  host: string
  port: number
  webSocket: boolean
  level: 4 | 5
  clientId: string
  username: string | undefined
  password: string | undefined
  /** Whether short writes of one turn go together; `onWritable` tells nothing of them. */
  gathers: boolean
}

/** Counts of all connections together. */
export class Totals {
  sent = 0
  acknowledged = 0
  /** Acknowledgements with a reason code of a refusal. */
  refused = 0
  /** Acknowledgements out of the order sent. */
  disordered = 0
  bytesSent = 0
  closedByServer = 0
}

const CONNECT_MS_MAX = 30_000
const PINGREQ = Uint8Array.of(0xc0, 0)
const DISCONNECT = Uint8Array.of(0xe0, 0)
const PUBACK = 0x40
const PINGRESP = 0xd0

export class GeneratorConnection implements BatchedSender {
  /** PUBLISH packets that may wait for their acknowledgement; what CONNACK allows of what was asked for. */
  window: number
  outstanding = 0
  sent = 0
  onWritable: () => void = () => {}
  onAcknowledged: () => void = () => {}
  readonly #options: ConnectionOptions
  readonly #totals: Totals
  readonly #histogram: Histogram
  readonly #ring: PacketRing
  /** When each slot was, or should have been, sent; ms of performance.now(). */
  readonly #sentAt: Float64Array
  #socket!: net.Socket
  #nextSlot = 0
  #ackSlot = 0
  #writing = 0
  #opened = false
  #ending = false
  #onPingResponse: (() => void) | undefined
  /** Bytes of a packet that straddles reads; acknowledgements are short. */
  #rest: Uint8Array = new Uint8Array(0)
  readonly #frames = new FrameReader()
  batchedIn = 0
  /** Undefined where its writes are not gathered. */
  #handle: SocketHandle | undefined

  constructor(
    options: ConnectionOptions,
    window: number,
    ring: PacketRing,
    totals: Totals,
    histogram: Histogram,
  ) {
    this.#options = options
    this.window = window
    this.#ring = ring
    this.#totals = totals
    this.#histogram = histogram
    this.#sentAt = new Float64Array(ring.slots)
  }

  /** Whether a write of ours has not been taken by the kernel yet. */
  get isWriting(): boolean {
    return this.#writing > 0
  }

  /** Connects and settles when CONNACK accepts. */
  open(): Promise<void> {
    const { host, port, webSocket } = this.#options
    return new Promise((resolve, reject) => {
      let onRead: (bytes: Buffer) => void
      const callback = (byteLength: number, buffer: Uint8Array) => {
        onRead(Buffer.from(buffer.buffer, 0, byteLength))
        return true
      }
      const socket = net.connect({ host, port, noDelay: true, onread: { buffer: RECEIVED, callback } })
      this.#socket = socket
      const late = setTimeout(() => reject(new Error('no CONNACK in time')), CONNECT_MS_MAX)
      socket.on('error', reject)
      socket.on('close', () => {
        if (!this.#ending && this.#opened) this.#totals.closedByServer++
        this.#onPingResponse?.()
        reject(new Error('the server closed the connection'))
      })
      let head: Uint8Array = NOTHING
      const connack: Uint8Array[] = []
      let upgraded = !webSocket
      onRead = (data: Buffer) => {
        head = Buffer.concat([head, data])
        if (!upgraded) {
          const text = Buffer.from(head).toString('latin1')
          const end = text.indexOf('\r\n\r\n')
          if (end < 0) return
          if (!text.slice(0, 12).includes(' 101')) {
            reject(new Error(text.slice(0, end)))
            return
          }
          upgraded = true
          head = head.subarray(end + 4)
          this.#write(this.#connectPacket())
        }
        // Its frames, as many as the server likes, become one packet.
        if (webSocket) this.#frames.read(head, (payload) => connack.push(payload))
        else connack.push(head)
        head = NOTHING
        const packet = this.#readConnack(Buffer.concat(connack))
        if (packet === undefined) return
        const code = packet.reasonCode ?? packet.returnCode ?? 0
        if (code !== 0) {
          reject(new Error(`CONNACK ${code} ${packet.properties?.reasonString ?? ''}`))
          return
        }
        clearTimeout(late)
        this.window = Math.min(this.window, packet.properties?.receiveMaximum ?? 65_535)
        this.#opened = true
        onRead = (bytes) => this.#onData(bytes)
        if (this.#options.gathers && BATCH !== undefined) this.#handle = handleOf(socket)
        resolve()
      }
      socket.once('connect', () => {
        if (webSocket)
          socket.write(
            `GET /mqtt HTTP/1.1\r\nHost: ${host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n`,
          )
        else this.#write(this.#connectPacket())
      })
    })
  }

  #connectPacket(): Buffer {
    const { clientId, level, username, password } = this.#options
    return mqttPacket.generate({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: level,
      clientId,
      clean: true,
      keepalive: 0,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password: Buffer.from(password) }),
    }) as Buffer
  }

  #readConnack(bytes: Uint8Array): IConnackPacket | undefined {
    let connack: IConnackPacket | undefined
    const parser = mqttPacket.parser({ protocolVersion: this.#options.level })
    parser.on('packet', (packet) => {
      connack = packet as IConnackPacket
    })
    parser.parse(Buffer.from(bytes))
    return connack
  }

  /**
   * Sends the next `count` packets in as few writes as the ring allows. `dueMs`: when the first should have left;
   * `stepMs`: the time between two. The caller has looked at the window.
   */
  send(count: number, dueMs: number, stepMs: number): void {
    const ring = this.#ring
    let left = count
    let due = dueMs
    while (left > 0) {
      const from = this.#nextSlot
      const to = Math.min(ring.slots, from + left)
      ring.renew(from, to)
      for (let slot = from; slot < to; slot++, due += stepMs) this.#sentAt[slot] = due
      this.#write(ring.bytes.subarray(ring.starts[from], ring.starts[to]))
      this.#nextSlot = to === ring.slots ? 0 : to
      left -= to - from
    }
    this.sent += count
    this.outstanding += count
    this.#totals.sent += count
  }

  onUnsent(bytes: Uint8Array): void {
    this.#socket.write(bytes)
  }

  #write(bytes: Uint8Array): void {
    this.#totals.bytesSent += bytes.length
    const { webSocket } = this.#options
    if (
      this.#handle !== undefined &&
      BATCH!.takes(this, bytes.length + (webSocket ? FRAME_HEADER_BYTES_MAX : 0))
    ) {
      const frame = webSocket ? Buffer.concat([frameHeader(bytes.length), bytes]) : bytes
      if (this.#socket.writableLength > 0) this.#socket.write(frame)
      else if (!this.#socket.destroyed) gather(this, this.#handle.fd, frame)
      return
    }
    BATCH?.flush()
    this.#writing++
    // A write that failed is told at once: to write again would leave no turn to anything else.
    const written = (error?: Error | null) => {
      if (--this.#writing === 0 && !error) this.onWritable()
    }
    if (!webSocket) {
      this.#socket.write(bytes, written)
      return
    }
    // A mask key of zeros is a mask like any other to the server, and saves the generator's time.
    this.#socket.cork()
    this.#socket.write(frameHeader(bytes.length))
    this.#socket.write(bytes, written)
    this.#socket.uncork()
  }

  #onData(bytes: Uint8Array): void {
    if (!this.#options.webSocket) {
      this.#onPackets(bytes)
      return
    }
    this.#frames.read(bytes, (payload) => this.#onPackets(payload))
  }

  #onPackets(read: Uint8Array): void {
    let bytes = read
    if (this.#rest.length > 0) bytes = Buffer.concat([this.#rest, read])
    const now = performance.now()
    let at = 0
    let acknowledged = 0
    while (bytes.length - at >= 2) {
      // Acknowledgements with a Reason String are the longest packets that come.
      let remaining = bytes[at + 1]!
      let head = 2
      if (remaining >= 0x80) {
        if (bytes.length - at < 3) break
        remaining = (remaining & 0x7f) | (bytes[at + 2]! << 7)
        head = 3
      }
      const next = at + head + remaining
      if (next > bytes.length) break
      const type = bytes[at]!
      if (type === PUBACK) {
        const slot = this.#ackSlot
        if (((bytes[at + head]! << 8) | bytes[at + head + 1]!) !== slot + 1) this.#totals.disordered++
        if (remaining > 2 && bytes[at + head + 2]! >= 0x80) this.#totals.refused++
        this.#histogram.recordValue(Math.max(0, Math.round((now - this.#sentAt[slot]!) * 1000)))
        this.#ackSlot = slot + 1 === this.#ring.slots ? 0 : slot + 1
        acknowledged++
      } else if (type === PINGRESP) this.#onPingResponse?.()
      at = next
    }
    this.#rest = at === bytes.length ? NOTHING : Uint8Array.from(bytes.subarray(at))
    if (acknowledged === 0) return
    this.outstanding -= acknowledged
    this.#totals.acknowledged += acknowledged
    this.onAcknowledged()
  }

  /** Settles when the server has read everything sent: it answers a ping after it. */
  flushed(): Promise<void> {
    if (this.#socket.destroyed) return Promise.resolve()
    return new Promise((resolve) => {
      this.#onPingResponse = resolve
      this.#write(PINGREQ)
    })
  }

  close(): void {
    this.#ending = true
    this.#write(DISCONNECT)
    BATCH?.flush()
    this.#socket.end()
  }
}

const NOTHING = new Uint8Array(0)
const RECEIVED = new Uint8Array(64 << 10)

// Should it break, writes go one by one.
const BATCH = SendBatch.create(() => {})
BATCH?.open()
const FRAME_HEADER_BYTES_MAX = 14
let isGathering = false

/** Sends at the end of this turn of the event loop. */
function gather(sender: BatchedSender, fd: number, bytes: Uint8Array): void {
  BATCH!.add(sender, fd, bytes, 0, bytes.length)
  if (isGathering) return
  isGathering = true
  setImmediate(() => {
    isGathering = false
    BATCH!.flush()
  })
}

/** Header of a final binary frame of a client, mask key 0. */
function frameHeader(length: number): Uint8Array {
  if (length < 126) return Uint8Array.of(0x82, 0x80 | length, 0, 0, 0, 0)
  if (length < 65_536) return Uint8Array.of(0x82, 0xfe, length >>> 8, length, 0, 0, 0, 0)
  const header = new Uint8Array(14)
  header.set([0x82, 0xff])
  new DataView(header.buffer).setUint32(6, length)
  return header
}

/** Payload bytes of a server's frame, or -1 while its header is not whole. */
function payloadLength(header: readonly number[]): number {
  if (header.length < 2) return -1
  const length = header[1]! & 0x7f
  if (length < 126) return length
  const bytes = length === 126 ? 2 : 8
  if (header.length < 2 + bytes) return -1
  return header.slice(2, 2 + bytes).reduce((value, byte) => value * 256 + byte, 0)
}

/** The payloads of a server's frames, however they are cut. */
class FrameReader {
  #left = 0
  #header: number[] = []

  read(bytes: Uint8Array, onPayload: (payload: Uint8Array) => void): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#left > 0) {
        const end = Math.min(bytes.length, at + this.#left)
        this.#left -= end - at
        onPayload(bytes.subarray(at, end))
        at = end
        continue
      }
      this.#header.push(bytes[at++]!)
      const length = payloadLength(this.#header)
      if (length < 0) continue
      this.#header = []
      this.#left = length
    }
  }
}
