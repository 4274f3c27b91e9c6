// An HTTP proxy that stands between a client and a server and does to requests what networks and overloaded servers
// do. A fault before the deed (`status-*`, `reset`, `hang`) means that the server never saw the request; one after it
// (`lost-*`, `partial`) that it did all of it, and the client does not hear so. `lost-409` is what a gateway brings about
// that sends a commit twice: the second meets the first.
//
// Headers pass unchanged, the host with them: signatures of S3 requests cover it.
import http from 'node:http'
import type { AddressInfo } from 'node:net'

/** Faults that pass by themselves: whoever meets one tries again. */
export const PASSING_FAULTS = [
  'status-500',
  'status-503',
  'reset',
  'hang',
  'lost-500',
  'lost-reset',
  'lost-hang',
  'partial',
  'slow',
] as const

const FAULTS = [...PASSING_FAULTS, 'status-401', 'status-409', 'lost-409'] as const

export type Fault = (typeof FAULTS)[number]

/** Bytes of a slow answer, and the pause before each such piece. */
const SLOW_BYTES = 2048
const SLOW_MS = 2

export class FaultProxy {
  /** Asked for each request; undefined lets it pass. */
  plan: (method: string, url: string) => Fault | undefined = () => undefined
  readonly counts = new Map<Fault, number>()
  readonly #server: http.Server
  readonly #targetPort: number
  readonly #agent = new http.Agent({ keepAlive: true })

  private constructor(targetPort: number) {
    this.#targetPort = targetPort
    this.#server = http.createServer((request, response) => this.#serve(request, response))
  }

  /** Listens on a free port of the loopback interface before `targetPort` of the same. */
  static async start(targetPort: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(targetPort)
    await new Promise<void>((resolve) => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    this.#agent.destroy()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const fault = this.plan(request.method!, request.url!)
    if (fault !== undefined) this.counts.set(fault, (this.counts.get(fault) ?? 0) + 1)
    request.on('error', () => {})
    response.on('error', () => {})
    if (fault?.startsWith('status-')) {
      request.resume()
      request.on('end', () => answerStatus(response, fault))
    } else if (fault === 'reset') request.socket.destroy()
    else if (fault === 'hang') request.resume()
    else this.#forward(request, response, fault)
  }

  #forward(request: http.IncomingMessage, response: http.ServerResponse, fault: Fault | undefined): void {
    const onward = http.request(
      {
        host: '127.0.0.1',
        port: this.#targetPort,
        method: request.method,
        path: request.url,
        headers: request.rawHeaders,
        agent: this.#agent,
        setHost: false,
      },
      (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('end', () => void this.#answer(request, response, answer, Buffer.concat(chunks), fault))
      },
    )
    onward.on('error', () => request.socket.destroy())
    request.pipe(onward)
  }

  async #answer(
    request: http.IncomingMessage,
    response: http.ServerResponse,
    answer: http.IncomingMessage,
    body: Buffer,
    fault: Fault | undefined,
  ): Promise<void> {
    if (fault === 'lost-reset') request.socket.destroy()
    else if (fault === 'lost-500' || fault === 'lost-409') answerStatus(response, fault)
    else if (fault !== 'lost-hang') {
      response.writeHead(answer.statusCode!, withLength(answer, body.length, request.method!))
      if (fault === 'partial') {
        if (body.length > 0) response.write(body.subarray(0, body.length >> 1))
        setImmediate(() => request.socket.destroy())
        return
      }
      let at = 0
      if (fault === 'slow')
        for (; at + SLOW_BYTES < body.length; at += SLOW_BYTES) {
          response.write(body.subarray(at, at + SLOW_BYTES))
          await new Promise((resolve) => setTimeout(resolve, SLOW_MS))
        }
      response.end(body.subarray(at))
    }
  }
}

/** A bare status, as a gateway sends it; refusals as the server itself words them, in the form of Iceberg's catalogs. */
function answerStatus(response: http.ServerResponse, fault: Fault): void {
  const status = Number(fault.slice(fault.indexOf('-') + 1))
  if (status >= 500) response.writeHead(status).end()
  else {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ error: { message: `by ${fault}`, type: 'Refused', code: status } }))
  }
}

/** The answer's headers, with the length of a body that came in chunks. */
function withLength(answer: http.IncomingMessage, byteLength: number, method: string): string[] {
  const headers: string[] = []
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    const name = answer.rawHeaders[i]!.toLowerCase()
    if (['transfer-encoding', 'connection', 'keep-alive'].includes(name)) continue
    if (name === 'content-length' && method !== 'HEAD') continue
    headers.push(answer.rawHeaders[i]!, answer.rawHeaders[i + 1]!)
  }
  const hasBody = method !== 'HEAD' && answer.statusCode !== 204 && answer.statusCode !== 304
  if (hasBody) headers.push('content-length', String(byteLength))
  return headers
}
