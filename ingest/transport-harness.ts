// What the tests of transports share: real connections, the transport of each, and all that its client gets.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import fs from 'node:fs'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { MqttParser } from './mqtt-parser.ts'
import type { SendBatch } from './send-batch.ts'
import { handleOf } from './socket-handle.ts'
import { type SocketMode, Transport, type TransportUser } from './transport.ts'

class User implements TransportUser {
  readonly parser = new MqttParser({ onMalformed() {} } as never, 1000)
  closed: string[] = []
  beforeRead(): void {}
  afterRead(): void {}
  onIndirect(): void {}
  onClosed(detail: string): void {
    this.closed.push(detail)
  }
}

export interface Pair {
  transport: Transport
  /** Descriptor of the transport's socket. */
  fd: number
  user: User
  client: Socket
}

/** A client that nobody reads yet, and its transport. */
export async function pair(
  mode: SocketMode,
  batch?: SendBatch,
  kind: 'tcp' | 'websocket' = 'tcp',
): Promise<Pair> {
  const server = createServer({ pauseOnConnect: true, noDelay: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = connect((server.address() as AddressInfo).port, '127.0.0.1')
  client.on('error', () => {})
  client.pause()
  const [accepted] = (await once(server, 'connection')) as [Socket]
  server.close()
  const fd = handleOf(accepted)?.fd ?? -1
  const transport = new Transport(accepted, kind, mode, new Uint8Array(65_536), batch)
  const user = new User()
  transport.user = user
  transport.resume()
  return { transport, fd, user, client }
}

/** Ends the transport, and gives all bytes that its client gets from now on. */
export async function received({ transport, client }: Pair): Promise<Buffer> {
  const chunks: Buffer[] = []
  client.on('data', (chunk: Buffer) => chunks.push(chunk))
  client.resume()
  transport.end()
  await once(client, 'end')
  client.destroy()
  return Buffer.concat(chunks)
}

/** What the kernel has for a client, without a turn of the event loop. */
export function readNow(client: Socket): Buffer {
  const { fd } = handleOf(client)!
  const chunks: Buffer[] = []
  for (;;) {
    const chunk = Buffer.alloc(1 << 20)
    try {
      const byteLength = fs.readSync(fd, chunk)
      if (byteLength === 0) return Buffer.concat(chunks)
      chunks.push(chunk.subarray(0, byteLength))
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, 'EAGAIN')
      return Buffer.concat(chunks)
    }
  }
}
