// What an acknowledgement costs from us to the kernel and a read from the kernel to us, by all means
// (docs/decisions/0006-socket-handles.md, 0013-one-call-for-many-sends.md): one read of 80 bytes and one write of 4 on each of
// many connections, CPU of this thread per exchange, all by turns in short slices.
// Answers go at once, or when so many connections wait for one, as acknowledgements do for their commit.
// `./test/node ingest/transport.bench.ts [SECONDS [ROUNDS]]`, of a slice.
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { MqttParser } from './mqtt-parser.ts'
import { SendBatch } from './send-batch.ts'
import { HEADROOM, type SocketMode, Transport, type TransportUser } from './transport.ts'

const REQUEST_BYTES = 80
const ANSWER_BYTES = 4

/** The other side: sends a request again when its answer has come. */
const CLIENT = `
const { workerData } = require('node:worker_threads')
const net = require('node:net')
const request = Buffer.alloc(${REQUEST_BYTES})
for (let i = 0; i < workerData.connections; i++) {
  const socket = net.connect({ port: workerData.port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.on('data', () => socket.write(request))
  socket.write(request)
}
`

/** Sends answers when `together` of them are due, and none meanwhile that it is held. */
class Answers {
  readonly #together: number
  readonly #batch: SendBatch | undefined
  #waiting: Answering[] = []
  isHeld = true

  constructor(together: number, batch: SendBatch | undefined) {
    this.#together = together
    this.#batch = batch
  }

  get waitingCount(): number {
    return this.#waiting.length
  }

  add(user: Answering): void {
    this.#waiting.push(user)
    if (this.#waiting.length >= this.#together && !this.isHeld) this.send()
  }

  send(): void {
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length > 1) this.#batch?.open()
    for (const one of waiting) one.answer()
    this.#batch?.close()
  }
}

class Answering implements TransportUser {
  /** Parses nothing: its carry would only cost. */
  readonly parser = new MqttParser({} as never, 1000)
  static count = 0
  readonly #transport: Transport
  readonly #out: Buffer
  readonly #answers: Answers

  constructor(transport: Transport, out: Buffer, answers: Answers) {
    this.#transport = transport
    this.#out = out
    this.#answers = answers
  }

  beforeRead(): void {
    this.parser.close()
  }

  afterRead(): void {
    this.#answers.add(this)
  }

  answer(): void {
    Answering.count++
    this.#transport.send(this.#out, HEADROOM, HEADROOM + ANSWER_BYTES)
  }

  onIndirect(): void {}
  onClosed(): void {}
}

/** Connections that are written by one of the means. */
class Fleet {
  readonly #transports: Transport[] = []
  readonly #batch: SendBatch | undefined
  readonly #answers: Answers
  readonly #clients: Worker
  readonly #server: Server
  readonly #connections: number

  static async open(mode: SocketMode, connections: number, together: number): Promise<Fleet> {
    const server = createServer({ pauseOnConnect: true, noDelay: true })
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
    await once(server, 'listening')
    const fleet = new Fleet(server, mode, connections, together)
    await fleet.#settled()
    return fleet
  }

  private constructor(server: Server, mode: SocketMode, connections: number, together: number) {
    this.#server = server
    this.#connections = connections
    const buffer = new Uint8Array(65_536)
    const out = Buffer.allocUnsafeSlow(64)
    this.#batch = mode === 'auto' ? SendBatch.create(() => {}) : undefined
    this.#answers = new Answers(together, this.#batch)
    server.on('connection', (socket) => {
      const transport = new Transport(socket, 'tcp', mode, buffer, this.#batch)
      transport.user = new Answering(transport, out, this.#answers)
      this.#transports.push(transport)
      transport.resume()
    })
    const { port } = server.address() as AddressInfo
    this.#clients = new Worker(CLIENT, { eval: true, workerData: { port, connections } })
  }

  /** All clients wait for an answer. */
  async #settled(): Promise<void> {
    while (this.#answers.waitingCount < this.#connections) await sleep(1)
  }

  /** CPU µs of this thread per exchange. */
  async cost(seconds: number): Promise<number> {
    const before = Answering.count
    const cpu = process.threadCpuUsage()
    this.#answers.isHeld = false
    this.#answers.send()
    await sleep(seconds * 1000)
    this.#answers.isHeld = true
    await this.#settled()
    const spent = process.threadCpuUsage(cpu)
    return (spent.user + spent.system) / (Answering.count - before)
  }

  async close(): Promise<void> {
    for (const transport of this.#transports) transport.destroy()
    await this.#clients.terminate()
    this.#server.close()
    this.#batch?.destroy()
  }
}

const MODES = ['documented', 'handle', 'auto'] satisfies SocketMode[]

const median = (values: number[]): number => values.toSorted((a, b) => a - b)[values.length >> 1]!

/** µs by mode and round, of slices by turns. `together`: answers that are sent together. */
export async function benchmark(
  connections: number,
  together: number,
  rounds: number,
  seconds: number,
): Promise<number[][]> {
  const fleets: Fleet[] = []
  for (const mode of MODES) fleets.push(await Fleet.open(mode, connections, together))
  const costs = MODES.map((): number[] => [])
  // The first round warms up.
  for (let round = 0; round <= rounds; round++)
    for (const [index, fleet] of fleets.entries()) {
      const cost = await fleet.cost(seconds)
      if (round > 0) costs[index]!.push(cost)
    }
  for (const fleet of fleets) await fleet.close()
  return costs
}

function textOf(costs: number[][]): string {
  const texts = MODES.map((mode, index) => {
    const own = costs[index]!
    return `${mode} ${median(own).toFixed(1)} (${Math.min(...own).toFixed(1)} to ${Math.max(...own).toFixed(1)})`
  })
  const [, handle, auto] = costs
  const ratio = median(auto!.map((cost, round) => cost / handle![round]!))
  return `${texts.join(', ')} µs; auto / handle ${ratio.toFixed(2)}`
}

if (import.meta.main) {
  const seconds = Number(process.argv[2] ?? 0.3)
  const rounds = Number(process.argv[3] ?? 21)
  for (const together of [1, 10, 100, 1000]) {
    const text = textOf(await benchmark(1000, together, rounds, seconds))
    process.stdout.write(`${together} of 1000 together: ${text}\n`)
  }
}
