// Pings a broker every 10 ms over a connection of its own: how long its event loop is busy with something else.
import net from 'node:net'
import { build } from 'hdr-histogram-js'
import mqttPacket from 'mqtt-packet'

const INTERVAL_MS = 10
const PINGREQ = Uint8Array.of(0xc0, 0)
const PINGRESP_BYTES = 2

export class Pinger {
  readonly #socket: net.Socket
  readonly #histogram = build({ highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3 })
  /** When each unanswered ping was sent, oldest first. */
  readonly #sentAt: number[] = []
  readonly #timer: NodeJS.Timeout
  #bytes = 0

  private constructor(socket: net.Socket) {
    this.#socket = socket
    socket.on('data', (bytes: Buffer) => {
      const now = performance.now()
      for (this.#bytes += bytes.length; this.#bytes >= PINGRESP_BYTES; this.#bytes -= PINGRESP_BYTES)
        this.#histogram.recordValue(Math.round((now - this.#sentAt.shift()!) * 1000))
    })
    this.#timer = setInterval(() => {
      this.#sentAt.push(performance.now())
      socket.write(PINGREQ)
    }, INTERVAL_MS)
  }

  static connect(port: number): Promise<Pinger> {
    return new Promise((resolve, reject) => {
      const socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
      socket.once('error', reject)
      socket.write(
        mqttPacket.generate({
          cmd: 'connect',
          protocolId: 'MQTT',
          protocolVersion: 4,
          clientId: 'pinger',
          clean: true,
          keepalive: 0,
        }),
      )
      // CONNACK is alone: nothing else is sent before it.
      socket.once('data', () => resolve(new Pinger(socket)))
    })
  }

  /** Ends it; milliseconds. */
  close(): { p99: number; max: number; count: number } {
    clearInterval(this.#timer)
    this.#socket.destroy()
    const { totalCount: count, maxValue } = this.#histogram
    return { p99: this.#histogram.getValueAtPercentile(99) / 1000, max: maxValue / 1000, count }
  }
}
