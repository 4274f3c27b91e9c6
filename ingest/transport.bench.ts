// What an acknowledgement costs from us to the kernel and a read from the kernel to us, by the handle and by
// documented means (docs/decisions/0006-socket-handles.md): one read of 80 bytes and one write of 4 on each of many
// connections, CPU of this thread per exchange, both ways by turns. `./test/node ingest/transport.bench.ts`
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import { MqttParser } from './mqtt-parser.ts'
import { HEADROOM, type SocketMode, Transport, type TransportUser } from './transport.ts'

const REQUEST_BYTES = 80
const ANSWER_BYTES = 4

/** The other side: sends a request again when its answer has come. */
const CLIENT = `
const { workerData, parentPort } = require('node:worker_threads')
const net = require('node:net')
const request = Buffer.alloc(${REQUEST_BYTES})
let open = 0
for (let i = 0; i < workerData.connections; i++) {
  const socket = net.connect({ port: workerData.port, host: '127.0.0.1', noDelay: true })
  socket.on('error', () => {})
  socket.on('connect', () => { if (++open === workerData.connections) parentPort.postMessage('open') })
  socket.on('data', () => socket.write(request))
  socket.write(request)
}
`

class Answering implements TransportUser {
  /** Parses nothing: its carry would only cost. */
  readonly parser = new MqttParser({} as never, 1000)
  static count = 0
  readonly #transport: Transport
  readonly #out: Buffer

  constructor(transport: Transport, out: Buffer) {
    this.#transport = transport
    this.#out = out
  }

  beforeRead(): void {
    this.parser.close()
  }

  afterRead(): void {
    Answering.count++
    this.#transport.send(this.#out, HEADROOM, HEADROOM + ANSWER_BYTES)
  }

  onClosed(): void {}
}

/** CPU µs of this thread per exchange. */
export async function benchmark(mode: SocketMode, connections: number, seconds: number): Promise<number> {
  const transports: Transport[] = []
  const buffer = new Uint8Array(65_536)
  const out = Buffer.allocUnsafeSlow(64)
  const server = createServer({ pauseOnConnect: true, noDelay: true }, (socket: Socket) => {
    const transport = new Transport(socket, 'tcp', mode, buffer)
    transport.user = new Answering(transport, out)
    transports.push(transport)
    transport.resume()
  }).listen({ port: 0, host: '127.0.0.1', backlog: 4096 })
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clients = new Worker(CLIENT, { eval: true, workerData: { port, connections } })
  await once(clients, 'message')
  const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  await sleep(seconds * 300)
  const before = Answering.count
  const cpu = process.threadCpuUsage()
  await sleep(seconds * 1000)
  const spent = process.threadCpuUsage(cpu)
  const count = Answering.count - before
  for (const transport of transports) transport.destroy()
  await clients.terminate()
  server.close()
  return (spent.user + spent.system) / count
}

if (import.meta.main) {
  const seconds = Number(process.argv[2] ?? 2)
  for (let round = 0; round < 3; round++)
    for (const mode of ['documented', 'auto'] satisfies SocketMode[])
      process.stdout.write(`${mode}: ${(await benchmark(mode, 200, seconds)).toFixed(2)} µs per exchange\n`)
}
