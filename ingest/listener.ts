// The listening sockets of one worker. All workers listen on the same ports with SO_REUSEPORT, and the kernel
// spreads new connections over them; nothing is handed from thread to thread.
//
// Port 0: the first worker lets the kernel pick, and the others are given the port it got.
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { MillraceError } from '../std/errors.ts'

/** Bytes of the thread's receive buffer: the most that one read takes. */
export const RECEIVE_BUFFER_BYTES = 64 << 10
const BACKLOG = 4096

export interface ListenAddress {
  host: string
  port: number
}

export interface Listener {
  readonly port: number
  /** Accepts no more; connections that exist go on. */
  stop(): void
}

/**
 * Listens, and gives each connection to `onConnection`, paused. `option` names the option in errors. The first
 * worker passes `isFirst`. Throws `address_in_use`, or `option_invalid` for a host that is none of ours.
 */
export async function listen(
  address: ListenAddress,
  option: string,
  isFirst: boolean,
  onConnection: (socket: Socket) => void,
): Promise<Listener> {
  // With SO_REUSEPORT a port that another process of ours holds would be shared with it without a word, so
  // the first worker asks for it alone before it does.
  if (isFirst && address.port !== 0) {
    const probe = createServer()
    await bind(probe, address, option, false)
    await new Promise((resolve) => probe.close(resolve))
  }
  const server = createServer({ pauseOnConnect: true, noDelay: true }, onConnection)
  await bind(server, address, option, true)
  // Accepting can fail later (no file descriptors left): the client retries, the worker goes on.
  server.on('error', () => {})
  return { port: (server.address() as AddressInfo).port, stop: () => stop(server) }
}

function bind(server: Server, address: ListenAddress, option: string, reusePort: boolean): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(describe(error, address, option)))
    server.listen({ ...address, backlog: BACKLOG, reusePort, exclusive: true }, resolve)
  })
}

function stop(server: Server): void {
  server.close()
}

function describe(error: NodeJS.ErrnoException, address: ListenAddress, option: string): MillraceError {
  const where = `${address.host}:${address.port}`
  if (error.code === 'EADDRINUSE')
    return new MillraceError(
      'address_in_use',
      `${option}: ${where} is taken by another process; choose another port, or 0`,
      {},
      error,
    )
  return new MillraceError(
    'option_invalid',
    `${option}: cannot listen on ${where}: ${error.message}`,
    {},
    error,
  )
}
