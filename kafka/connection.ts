// One connection: frames in, answers out, one request at a time in the order of receipt, as Kafka's own broker does it
// (a client that waits long for one answer opens a second connection).
//
//   size int32 │ apiKey int16 │ apiVersion int16 │ correlationId int32 │ clientId │ tagged fields │ request
//   size int32 │ correlationId int32 │ tagged fields │ response
//
// Tagged fields stand in the header only where the request is of a flexible version; ApiVersions answers without them
// in any version, because its client does not know yet what we know. What cannot be read ends the connection with
// a reason: a client that has lost the frame cannot be answered.
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type IdentityProvider, IdentityRefusal, type Principal } from '../identity/identity.ts'
import type { Budget } from './budget.ts'
import type { Caller } from './caller.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { API_BY_KEY, APIS, type ApiName, type RequestOf, type ResponseOf } from './messages.ts'
import { Malformed, WireReader, type WireType, WireWriter } from './wire.ts'

const SIZE_BYTES = 4
const REQUEST_BYTES_MIN = 8
const REQUEST_BYTES_MAX = 16 << 20
/** Before a client is known it has nothing large to say. */
const REQUEST_BYTES_MAX_UNKNOWN = 64 << 10
const FRAME_BYTES_START = 16 << 10
/** So much of a request needs no room among those of others: who holds that keeps nobody from asking. */
const FRAME_BYTES_FREE = 64 << 10
/** Kafka's `connections.max.idle.ms`. */
const IDLE_MS_MAX = 600_000
/** From the first byte of a request to its last: Kafka's `delivery.timeout.ms`, after which a producer has given up. */
const RECEIVE_MS_MAX = 120_000
const AUTHENTICATE_MS_MAX = 30_000

/** What a connection needs of the door. */
export interface ConnectionHost {
  readonly identity: IdentityProvider
  /** The principal of clients without credentials; undefined where they are not let in. */
  anonymous(isLoopback: boolean): Principal | undefined
  /** Where Metadata says that the door is; undefined: where the client has reached it. */
  readonly advertised: { host: string; port: number } | undefined
  handle(api: ApiName, request: never, caller: Caller, version: number): Promise<unknown>
  /** Of large requests that are received and not yet handled, over all connections. */
  readonly requests: Budget
  /** Of answers that their clients have not taken, but for the batches in them, over all connections. */
  readonly answers: Budget
  countRequest(bytesIn: number, bytesOut: number): void
  closed(connection: Connection, reason: string | undefined): void
  /** What was thrown was not the client's fault. */
  failed(error: unknown): void
}

export class Connection {
  /** Of the credential that it was let in by; empty for anonymous clients. */
  credentialId = ''
  readonly #socket: Socket
  readonly #host: ConnectionHost
  readonly #ended = new AbortController()
  readonly #isLoopback: boolean
  readonly #reach: { host: string; port: number }
  readonly #peer: string
  readonly #authenticateTimer: NodeJS.Timeout
  #principal: Principal | undefined
  #mechanism: string | undefined
  /** The frame that is being received: what has come of it, and its whole length once that is known. */
  #frame = new Uint8Array(0)
  #frameBytes = 0
  #frameLength = -1
  #reserved = 0
  /** For whom: the request may be the one by which the connection becomes another's. */
  #holder = ''
  #receiveTimer: NodeJS.Timeout | undefined
  /** Received while a request is handled. */
  readonly #waiting: Uint8Array[] = []
  #isBusy = false

  constructor(socket: Socket, host: ConnectionHost) {
    this.#socket = socket
    this.#host = host
    const address = (socket.remoteAddress ?? '').replace(/^::ffff:/, '')
    this.#isLoopback = /^127\.|^::1$/.test(address)
    this.#peer = address
    this.#reach = host.advertised ?? {
      host: (socket.localAddress ?? '').replace(/^::ffff:/, ''),
      port: socket.localPort ?? 0,
    }
    this.#principal = host.anonymous(this.#isLoopback)
    socket.setNoDelay(true)
    socket.setTimeout(IDLE_MS_MAX, () => this.close(undefined))
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', () => this.close(undefined))
    socket.on('close', () => this.close(undefined))
    this.#authenticateTimer = setTimeout(() => {
      if (this.#principal === undefined) this.close('did not authenticate in time')
    }, AUTHENTICATE_MS_MAX)
  }

  /** Address and, once known, credential: for the log. */
  get name(): string {
    return this.credentialId === '' ? this.#peer : `${this.#peer} (${this.credentialId})`
  }

  get #tenant(): string {
    return this.#principal?.tenant ?? ''
  }

  get isKnown(): boolean {
    return this.#principal !== undefined
  }

  close(reason: string | undefined): void {
    this.#close(reason, () => this.#socket.destroy())
  }

  #close(reason: string | undefined, endSocket: () => void): void {
    if (this.#ended.signal.aborted) return
    this.#ended.abort()
    clearTimeout(this.#authenticateTimer)
    clearTimeout(this.#receiveTimer)
    this.#host.requests.give(this.#reserved, this.#holder)
    this.#reserved = 0
    endSocket()
    this.#host.closed(this, reason)
  }

  #receive(chunk: Uint8Array): void {
    if (this.#isBusy) {
      // Nothing more is read until the request is answered; what the socket had read already waits here.
      this.#waiting.push(chunk)
      this.#socket.pause()
    } else void this.#take(chunk)
  }

  async #take(chunk: Uint8Array): Promise<void> {
    this.#isBusy = true
    try {
      for (let at = 0; at < chunk.length && !this.#ended.signal.aborted; ) {
        at += this.#fill(chunk, at)
        if (this.#frameBytes < this.#frameLength || this.#frameLength < 0) continue
        const frame = this.#frame.subarray(0, this.#frameLength)
        const bytes = this.#reserved
        this.#frame = new Uint8Array(0)
        this.#frameBytes = 0
        this.#frameLength = -1
        clearTimeout(this.#receiveTimer)
        this.#receiveTimer = undefined
        await this.#request(frame)
        if (this.#ended.signal.aborted) return
        this.#host.requests.give(bytes, this.#holder)
        this.#reserved = 0
      }
    } catch (error) {
      // A socket that ends while it is written to is no news.
      if (this.#ended.signal.aborted) return
      this.close(error instanceof Malformed ? `malformed request: ${error.message}` : `${error}`)
      if (!(error instanceof Malformed)) this.#host.failed(error)
    } finally {
      this.#isBusy = false
    }
    if (this.#ended.signal.aborted) return
    if (this.#frameBytes > 0 || this.#frameLength >= 0)
      this.#receiveTimer ??= setTimeout(
        () => this.close(`a request has not come whole in ${RECEIVE_MS_MAX / 1000} s`),
        RECEIVE_MS_MAX,
      )
    const next = this.#waiting.shift()
    if (next !== undefined) void this.#take(next)
    else this.#socket.resume()
  }

  /** Adds to the frame; memory grows with what has come, not with what was announced. Returns the bytes used. */
  #fill(chunk: Uint8Array, at: number): number {
    const isSize = this.#frameLength < 0
    const want = (isSize ? SIZE_BYTES : this.#frameLength) - this.#frameBytes
    const used = Math.min(want, chunk.length - at)
    const end = this.#frameBytes + used
    if (end > this.#frame.length) {
      const bytes = isSize
        ? SIZE_BYTES
        : Math.min(this.#frameLength, Math.max(FRAME_BYTES_START, this.#frame.length * 2, end))
      const grown = bytes - FRAME_BYTES_FREE - this.#reserved
      if (grown > 0) {
        this.#holder = this.#tenant
        if (!this.#host.requests.take(grown, this.#holder))
          throw new Malformed('too many bytes of requests are being received')
        this.#reserved += grown
      }
      const frame = new Uint8Array(bytes)
      frame.set(this.#frame.subarray(0, this.#frameBytes))
      this.#frame = frame
    }
    this.#frame.set(chunk.subarray(at, at + used), this.#frameBytes)
    this.#frameBytes = end
    if (isSize && end === SIZE_BYTES) {
      const size = new DataView(this.#frame.buffer).getInt32(0)
      const max = this.#principal === undefined ? REQUEST_BYTES_MAX_UNKNOWN : REQUEST_BYTES_MAX
      if (size < REQUEST_BYTES_MIN || size > max)
        throw new Malformed(`a request of ${size} bytes, allowed are ${REQUEST_BYTES_MIN} to ${max}`)
      this.#frameLength = size
      this.#frameBytes = 0
    }
    return used
  }

  async #request(frame: Uint8Array): Promise<void> {
    const from = new WireReader(frame)
    const key = from.int16()
    const version = from.int16()
    const correlationId = from.int32()
    const name = API_BY_KEY.get(key)
    if (name === undefined) throw new Malformed(`API key ${key} is not offered`)
    const api = APIS[name]
    if (version < api.min || version > api.max) {
      if (name !== 'apiVersions')
        throw new Malformed(`${api.name} ${version}, offered is ${api.min} to ${api.max}`)
      // The one request that may be of a version that we do not know: answered in version 0 with what we do.
      const versions = (await this.#host.handle(
        name,
        {} as never,
        this.#caller(''),
        0,
      )) as ResponseOf<'apiVersions'>
      await this.#answer(name, correlationId, 0, { ...versions, errorCode: KAFKA_ERROR.unsupportedVersion })
      return
    }
    const flexible = version >= api.flexible
    const idLength = from.int16()
    const clientId = idLength < 0 ? '' : from.text(idLength)
    if (flexible) from.taggedFields()
    const request = (api.request as WireType<unknown>).read(from, version, flexible)
    if (from.at !== from.end)
      throw new Malformed(`${from.end - from.at} bytes after the end of ${api.name} ${version}`)
    const releases: (() => void)[] = []
    const caller = this.#caller(clientId, releases)
    let response: unknown
    try {
      response = await this.#dispatch(name, request, caller, version)
    } catch (error) {
      run(releases)
      throw error
    }
    const bytesOut =
      response === undefined ? 0 : await this.#answer(name, correlationId, version, response, releases)
    this.#host.countRequest(frame.length, bytesOut)
    const isRefused =
      name === 'saslAuthenticate' &&
      (response as ResponseOf<'saslAuthenticate'>).errorCode !== KAFKA_ERROR.none
    // Another guess costs another connection.
    if (isRefused) this.#close('authentication failed', () => this.#socket.destroySoon())
  }

  async #dispatch(name: ApiName, request: unknown, caller: Caller, version: number): Promise<unknown> {
    if (name === 'saslHandshake') return this.#handshake(request as RequestOf<'saslHandshake'>)
    if (name === 'saslAuthenticate') return this.#authenticate(request as RequestOf<'saslAuthenticate'>)
    if (this.#principal === undefined && name !== 'apiVersions')
      throw new Malformed(`${APIS[name].name} before SASL PLAIN: clients need credentials here`)
    const response = await this.#host.handle(name, request as never, caller, version)
    if (name !== 'produce' || (request as RequestOf<'produce'>).acks !== 0) return response
    // Nothing is answered; that something was refused is said in the only way that is left, as Kafka's broker does it.
    for (const { name: topic, partitionResponses } of (response as ResponseOf<'produce'>).responses)
      for (const { index, errorCode, errorMessage } of partitionResponses)
        if (errorCode !== KAFKA_ERROR.none)
          this.close(
            `Produce without acknowledgement to ${topic}/${index}: ${errorMessage ?? `error ${errorCode}`}`,
          )
    return undefined
  }

  #caller(clientId: string, releases: (() => void)[] = []): Caller {
    return {
      // ApiVersions comes before anybody is known, and asks for nothing of a principal.
      principal: this.#principal!,
      clientId,
      clientHost: `/${this.#peer}`,
      ...this.#reach,
      closed: this.#ended.signal,
      whenSent: (release) => releases.push(release),
    }
  }

  async #answer(
    name: ApiName,
    correlationId: number,
    version: number,
    response: unknown,
    releases: readonly (() => void)[] = [],
  ): Promise<number> {
    const api = APIS[name]
    const flexible = version >= api.flexible
    const to = new WireWriter()
    to.int32(correlationId)
    if (flexible && name !== 'apiVersions') to.unsignedVarint(0)
    ;(api.response as WireType<unknown>).write(to, response, version, flexible)
    const { chunks, length, ownLength } = to.finish()
    const size = Buffer.allocUnsafe(SIZE_BYTES)
    size.writeInt32BE(length)
    const socket = this.#socket
    if (socket.destroyed) {
      run(releases)
      return 0
    }
    socket.cork()
    socket.write(size)
    for (let i = 0; i < chunks.length - 1; i++) socket.write(chunks[i]!)
    const hasRoom = socket.write(chunks.at(-1)!, () => run(releases))
    socket.uncork()
    // Whoever does not read its answers gets no more of them.
    if (!hasRoom && !socket.destroyed) await this.#drained(ownLength)
    return length + SIZE_BYTES
  }

  async #drained(bytes: number): Promise<void> {
    const { answers } = this.#host
    const tenant = this.#tenant
    if (!answers.take(bytes, tenant)) return this.close('too many bytes of answers are not read')
    await once(this.#socket, 'drain', { signal: this.#ended.signal }).catch(() => {})
    answers.give(bytes, tenant)
  }

  // SASL PLAIN (KIP-152; RFC 4616)

  #handshake({ mechanism }: RequestOf<'saslHandshake'>): ResponseOf<'saslHandshake'> {
    const isKnown = mechanism === 'PLAIN'
    if (isKnown) this.#mechanism = mechanism
    return {
      errorCode: isKnown ? KAFKA_ERROR.none : KAFKA_ERROR.unsupportedSaslMechanism,
      mechanisms: ['PLAIN'],
    }
  }

  async #authenticate({ authBytes }: RequestOf<'saslAuthenticate'>): Promise<ResponseOf<'saslAuthenticate'>> {
    const answer = (errorCode: number, errorMessage: string | null): ResponseOf<'saslAuthenticate'> => ({
      errorCode,
      errorMessage,
      authBytes: new Uint8Array(0),
      sessionLifetimeMs: 0,
    })
    if (this.#mechanism === undefined)
      return answer(KAFKA_ERROR.illegalSaslState, 'SaslHandshake comes first')
    // [authorization id] NUL user name NUL password
    const first = authBytes.indexOf(0)
    const second = first < 0 ? -1 : authBytes.indexOf(0, first + 1)
    const found =
      second < 0
        ? undefined
        : await this.#host.identity.authenticate({
            clientId: '',
            username: Buffer.from(authBytes.subarray(first + 1, second)).toString('utf8'),
            password: authBytes.subarray(second + 1),
            isLoopback: this.#isLoopback,
          })
    // No answer is better than one that its client takes for a wrong password: it comes again.
    if (found === IdentityRefusal.busy) this.close('too many passwords are being verified')
    if (found === undefined || typeof found === 'number')
      return answer(KAFKA_ERROR.saslAuthenticationFailed, 'unknown user name or wrong password')
    if (this.credentialId !== '' && this.credentialId !== found.credentialId)
      return answer(KAFKA_ERROR.illegalSaslState, 'a connection keeps its user')
    this.#principal = found
    this.credentialId = found.credentialId
    return answer(KAFKA_ERROR.none, null)
  }
}

function run(releases: readonly (() => void)[]): void {
  for (const release of releases) release()
}
