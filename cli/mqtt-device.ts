// One device's MQTT 3.1.1 session over TCP, as small as it can be: CONNECT, PUBLISH at QoS 1, PINGREQ,
// DISCONNECT (OASIS MQTT 3.1.1). For simulated devices: what a real one does, without a client library's cost.
//
// It promises what a careful device promises: a message is sent until it is acknowledged, over as many
// connections as that takes, oldest first. At most `inFlightMax` are unacknowledged; the others wait.
import net from 'node:net'

const CONNECT = 0x10
const CONNACK = 2
const PUBLISH_QOS1 = 0x32
const PUBACK = 4
const PINGREQ = new Uint8Array([0xc0, 0])
const DISCONNECT = new Uint8Array([0xe0, 0])

const PROTOCOL_3_1_1 = 4
const CLEAN_SESSION = 0x02
const USERNAME = 0x80
const PASSWORD = 0x40

const KEEP_ALIVE_S = 60
const RECONNECT_MS_MIN = 100
const RECONNECT_MS_MAX = 5000

export interface DeviceOptions {
  host: string
  port: number
  clientId: string
  topic: string
  username?: string
  password?: string
  inFlightMax: number
  /** In [0, 1): spreads reconnects. */
  random: () => number
  onAcknowledged: () => void
  /** A connection that was accepted was lost, or an attempt failed. */
  onDisconnect: (error: Error | undefined, wasConnected: boolean) => void
  onConnect: () => void
}

interface Message {
  payload: Uint8Array
  /** 0 until it is sent on the present connection. */
  packetId: number
  sentBefore: boolean
}

export class MqttDevice {
  /** Messages sent again because the connection broke before their acknowledgement. */
  resentCount = 0
  readonly #options: DeviceOptions
  readonly #topic: Uint8Array
  #socket: net.Socket | undefined
  #connected = false
  #closing = false
  #retryMs = RECONNECT_MS_MIN
  #timer: NodeJS.Timeout | undefined
  #carry: Uint8Array = new Uint8Array(0)
  #packetId = 0
  /** Unacknowledged, oldest first; the first `#sent` of them are in flight. */
  readonly #queue: Message[] = []
  #sent = 0
  #idle: (() => void) | undefined

  constructor(options: DeviceOptions) {
    this.#options = options
    this.#topic = new TextEncoder().encode(options.topic)
  }

  get isConnected(): boolean {
    return this.#connected
  }

  /** Messages given to `publish` and not yet acknowledged. */
  get unacknowledged(): number {
    return this.#queue.length
  }

  connect(): void {
    const { host, port } = this.#options
    const socket = net.connect({ host, port, noDelay: true })
    this.#socket = socket
    this.#carry = new Uint8Array(0)
    let failure: Error | undefined
    socket.on('connect', () => socket.write(this.#connectPacket()))
    socket.on('data', (data) => this.#receive(data as Uint8Array))
    socket.on('error', (error) => {
      failure = error
    })
    socket.on('close', () => this.#closed(failure))
  }

  publish(payload: Uint8Array): void {
    this.#queue.push({ payload, packetId: 0, sentBefore: false })
    this.#send()
  }

  /** Resolves when everything is acknowledged, or after `timeoutMs`; then the session is over. */
  async end(timeoutMs: number): Promise<void> {
    if (this.#queue.length > 0) {
      await new Promise<void>((resolve) => {
        this.#idle = resolve
        setTimeout(resolve, timeoutMs).unref()
      })
    }
    this.#closing = true
    clearTimeout(this.#timer)
    const socket = this.#socket
    if (socket === undefined) return
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
    if (this.#connected) socket.end(DISCONNECT)
    else socket.destroy()
    const abort = setTimeout(() => socket.destroy(), 1000)
    await closed
    clearTimeout(abort)
  }

  /** Drops the TCP connection without a DISCONNECT, as a device does whose network is gone. */
  breakConnection(): void {
    this.#socket?.resetAndDestroy()
  }

  #closed(error: Error | undefined): void {
    const wasConnected = this.#connected
    this.#connected = false
    this.#socket = undefined
    clearTimeout(this.#timer)
    // What was in flight goes out again, in order, on the next connection.
    for (let i = 0; i < this.#sent; i++) this.#queue[i]!.packetId = 0
    this.#sent = 0
    if (this.#closing) return
    this.#options.onDisconnect(error, wasConnected)
    const waitMs = this.#retryMs * (0.5 + this.#options.random())
    this.#retryMs = Math.min(RECONNECT_MS_MAX, this.#retryMs * 2)
    this.#timer = setTimeout(() => this.connect(), waitMs)
  }

  #send(): void {
    const { inFlightMax } = this.#options
    if (!this.#connected || this.#sent >= this.#queue.length || this.#sent >= inFlightMax) return
    const socket = this.#socket!
    socket.cork()
    while (this.#sent < this.#queue.length && this.#sent < inFlightMax) {
      const message = this.#queue[this.#sent++]!
      this.#packetId = (this.#packetId % 0xffff) + 1
      message.packetId = this.#packetId
      if (message.sentBefore) this.resentCount++
      message.sentBefore = true
      socket.write(publishPacket(this.#topic, message.packetId, message.payload))
    }
    socket.uncork()
  }

  #receive(data: Uint8Array): void {
    let bytes = data
    if (this.#carry.length > 0) {
      bytes = new Uint8Array(this.#carry.length + data.length)
      bytes.set(this.#carry)
      bytes.set(data, this.#carry.length)
    }
    let at = 0
    // What a server sends to a device that subscribes to nothing has remaining lengths of one byte.
    while (bytes.length - at >= 2) {
      const end = at + 2 + bytes[at + 1]!
      const type = bytes[at]! >> 4
      if (bytes[at + 1]! > 0x7f) {
        this.#fail(`a packet of type ${type} is too long`)
        return
      }
      if (end > bytes.length) break
      if (type === CONNACK) this.#accepted(bytes[at + 3]!)
      else if (type === PUBACK) this.#acknowledged((bytes[at + 2]! << 8) | bytes[at + 3]!)
      at = end
    }
    this.#carry = bytes.slice(at)
    this.#send()
  }

  #accepted(returnCode: number): void {
    if (returnCode !== 0) {
      this.#fail(`the server refused the connection: return code ${returnCode}`)
      return
    }
    this.#connected = true
    this.#retryMs = RECONNECT_MS_MIN
    this.#options.onConnect()
    this.#timer = setInterval(() => this.#socket?.write(PINGREQ), (KEEP_ALIVE_S * 1000) / 2)
  }

  #acknowledged(packetId: number): void {
    // Servers acknowledge in order, so the first one matches; a search keeps a stray one harmless.
    const index = this.#queue.findIndex((message, i) => i < this.#sent && message.packetId === packetId)
    if (index < 0) return
    this.#queue.splice(index, 1)
    this.#sent--
    this.#options.onAcknowledged()
    if (this.#queue.length === 0) this.#idle?.()
  }

  #fail(reason: string): void {
    this.#socket?.destroy(new Error(reason))
  }

  #connectPacket(): Uint8Array {
    const { clientId, username, password } = this.#options
    const flags =
      CLEAN_SESSION | (username === undefined ? 0 : USERNAME) | (password === undefined ? 0 : PASSWORD)
    const body: number[] = []
    pushText(body, 'MQTT')
    body.push(PROTOCOL_3_1_1, flags, KEEP_ALIVE_S >> 8, KEEP_ALIVE_S & 0xff)
    for (const text of [clientId, username, password]) if (text !== undefined) pushText(body, text)
    const head: number[] = [CONNECT]
    pushLength(head, body.length)
    return Uint8Array.from([...head, ...body])
  }
}

function pushText(into: number[], text: string): void {
  const bytes = new TextEncoder().encode(text)
  into.push(bytes.length >> 8, bytes.length & 0xff, ...bytes)
}

/** Remaining Length (MQTT 3.1.1, 2.2.3). */
function pushLength(into: number[], length: number): void {
  let rest = length
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) into.push((rest & 0x7f) | 0x80)
  into.push(rest)
}

function publishPacket(topic: Uint8Array, packetId: number, payload: Uint8Array): Uint8Array {
  const head: number[] = [PUBLISH_QOS1]
  pushLength(head, 2 + topic.length + 2 + payload.length)
  head.push(topic.length >> 8, topic.length & 0xff)
  const packet = new Uint8Array(head.length + topic.length + 2 + payload.length)
  packet.set(head)
  packet.set(topic, head.length)
  const at = head.length + topic.length
  packet[at] = packetId >> 8
  packet[at + 1] = packetId & 0xff
  packet.set(payload, at + 2)
  return packet
}
