// One connection to a broker: requests in order, each answered in order. The library makes the requests and takes the
// answers apart (its `createAPI` calls `send` of whatever it is given); the bytes come and go here, because records by the
// hundred megabytes a second must not each be new memory: the collector's marking, which such memory sets off,
// was 40 % of a reader's CPU (docs/decisions/0011-kafka-connection.md).
//
//   received   size int32 │ correlation id int32 │ tagged fields │ answer …
//              └─ into the thread's shared buffer ─┘└─ what is missing: straight into the answer's own memory
//   sent       small pieces joined, records from where they lie, one system call
//
// Answers of `ANSWER_BYTES_POOLED` and more lie in memory of the pool, which goes back to it after the answer was taken apart;
// or, where the result says so by a field `memory`, when whoever has it gives it back.
import { connect, isIP, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import {
  type Connection,
  NetworkError,
  Reader,
  saslAuthenticateV2,
  saslHandshakeV1,
  saslPlain,
  saslScramSha,
  TimeoutError,
  UserError,
  Writer,
} from '@platformatic/kafka'
import type { AnswerMemory } from './kafka-memory.ts'
import type { KafkaOptions, KafkaSasl } from './kafka-options.ts'

const SIZE_BYTES = 4
const PREFIX_BYTES = SIZE_BYTES + 4
/** Largest answer that is believed: a fetch asks for a few MiB, and gets one batch more at most. */
const ANSWER_BYTES_MAX = 256 * 1024 * 1024
const ANSWER_BYTES_POOLED = 64 * 1024
const RECEIVE_BYTES = 128 * 1024
/** Below so much it is not worth a read of its own. */
const DIRECT_BYTES_MIN = 32 * 1024
/** Pieces of a request that are smaller are joined. */
const PIECE_BYTES_JOINED = 4096
/** A broker deals with one at a time: what is behind it waits in the sockets and is there at once. */
const IN_FLIGHT_MAX = 32
/** Of the life that a broker gives to a login, the part that is used. */
const SESSION_PART = 0.8
const TLS_ALERT = 0x15

type Callback = (error: Error | null, answer?: unknown) => void

interface Request {
  correlationId: number
  apiKey: number
  apiVersion: number
  make: () => Writer
  parse: (correlationId: number, apiKey: number, apiVersion: number, reader: Reader) => unknown
  isFlexible: boolean
  isAnswerFlexible: boolean
  callback: Callback
  timer: NodeJS.Timeout | undefined
}

export interface ConnectionOptions extends Pick<KafkaOptions, 'tls' | 'sasl'> {
  clientId: string
  connectMsMax: number
  requestMsMax: number
  memory: AnswerMemory
  /** It failed, or was closed. */
  onEnd?: () => void
}

/** One for all connections of a thread: what is read is dealt with before the next read. */
const received = Buffer.allocUnsafeSlow(RECEIVE_BYTES)

export class BrokerConnection {
  readonly host: string
  readonly port: number
  readonly #options: ConnectionOptions
  readonly #waiting: Request[] = []
  readonly #inFlight: Request[] = []
  #socket!: Socket
  #failure: Error | undefined
  #correlationId = 0
  /** When the broker will want to see the credentials again. */
  #expiresAt = Infinity

  /** Size and correlation id of the answer that is coming, as far as they are here. */
  readonly #prefix = Buffer.alloc(PREFIX_BYTES)
  #prefixBytes = 0
  /** What follows them, as far as it is here. */
  #answer: Buffer | undefined
  #answerBytes = 0

  private constructor(host: string, port: number, options: ConnectionOptions) {
    this.host = host
    this.port = port
    this.#options = options
  }

  /** Throws errors of the library and the system, as `mayRetry` knows them. */
  static async open(host: string, port: number, options: ConnectionOptions): Promise<BrokerConnection> {
    const connection = new BrokerConnection(host, port, options)
    await connection.#connect()
    try {
      if (options.sasl !== undefined) await connection.#authenticate(options.sasl)
    } catch (error) {
      connection.close()
      throw error
    }
    return connection
  }

  /** What the library's requests take: they use `send` of it and nothing else. */
  get forLibrary(): Connection {
    return this as unknown as Connection
  }

  get isUsable(): boolean {
    return this.#failure === undefined && performance.now() < this.#expiresAt
  }

  /** Closes when all that was asked is answered. */
  retire(): void {
    this.#isRetired = true
    this.#closeRetired()
  }
  #isRetired = false

  #closeRetired(): void {
    if (this.#isRetired && this.#inFlight.length + this.#waiting.length === 0) this.close()
  }

  /** Whoever waits for an answer hears that there will be none. */
  close(): void {
    this.#fail(new NetworkError('Connection closed'))
  }

  /** As the library's own connection has it. */
  send(
    apiKey: number,
    apiVersion: number,
    make: () => Writer,
    parse: Request['parse'],
    isFlexible: boolean,
    isAnswerFlexible: boolean,
    callback: Callback,
  ): void {
    if (this.#failure !== undefined) {
      callback(this.#failure)
      return
    }
    this.#waiting.push({
      correlationId: 0,
      apiKey,
      apiVersion,
      make,
      parse,
      isFlexible,
      isAnswerFlexible,
      callback,
      timer: undefined,
    })
    this.#pump()
  }

  // Opening

  async #connect(): Promise<void> {
    const { tls, connectMsMax } = this.#options
    const { host, port } = this
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const socket =
      tls === undefined
        ? connect({
            host,
            port,
            onread: {
              buffer: () => this.#room(),
              callback: (byteLength, buffer) => {
                this.#onBytes(buffer as Buffer, byteLength)
                return true
              },
            },
          })
        : connectTls({
            host,
            port,
            ...(isIP(host) === 0 ? { servername: host } : {}),
            ...(tls.ca === undefined ? {} : { ca: tls.ca }),
            ...(tls.cert === undefined ? {} : { cert: tls.cert }),
            ...(tls.key === undefined ? {} : { key: tls.key }),
          })
    this.#socket = socket
    socket.setNoDelay(true)
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#fail(new NetworkError('Connection closed')))
    socket.once(tls === undefined ? 'connect' : 'secureConnect', resolve)
    if (tls !== undefined) socket.on('data', (bytes: Buffer) => this.#onBytes(bytes, bytes.length))
    const timer = setTimeout(
      () => this.#fail(new TimeoutError(`Connection to ${host}:${port} timed out.`)),
      connectMsMax,
    )
    this.#onFailure = reject
    try {
      await promise
    } catch (error) {
      throw new NetworkError(`Connection to ${host}:${port} failed.`, { cause: error as Error })
    } finally {
      clearTimeout(timer)
      this.#onFailure = undefined
    }
  }
  #onFailure: ((error: Error) => void) | undefined

  async #authenticate({ mechanism, username, password }: KafkaSasl): Promise<void> {
    await saslHandshakeV1.api.async(this.forLibrary, mechanism)
    const answer = await new Promise<{ sessionLifetimeMs: bigint }>((resolve, reject) => {
      const done = (error?: Error | null, result?: { sessionLifetimeMs: bigint }): void =>
        error ? reject(error) : resolve(result!)
      const { api } = saslAuthenticateV2
      if (mechanism === 'PLAIN') saslPlain.authenticate(api, this.forLibrary, username, password, done)
      else {
        const algorithm = mechanism === 'SCRAM-SHA-256' ? 'SHA-256' : 'SHA-512'
        const { defaultCrypto } = saslScramSha
        saslScramSha.authenticate(api, this.forLibrary, algorithm, username, password, defaultCrypto, done)
      }
    })
    const lifeMs = Number(answer.sessionLifetimeMs)
    if (lifeMs > 0) this.#expiresAt = performance.now() + lifeMs * SESSION_PART
  }

  #fail(failure: Error): void {
    if (this.#failure !== undefined) return
    this.#failure = failure
    this.#socket.destroy()
    this.#options.onEnd?.()
    this.#onFailure?.(failure)
    for (const { timer, callback } of [...this.#inFlight.splice(0), ...this.#waiting.splice(0)]) {
      clearTimeout(timer)
      callback(failure)
    }
  }

  // Sending

  #pump(): void {
    while (this.#failure === undefined && this.#waiting.length > 0 && this.#inFlight.length < IN_FLIGHT_MAX) {
      const request = this.#waiting.shift()!
      try {
        this.#write(request)
      } catch (error) {
        request.callback(error as Error)
      }
    }
  }

  #write(request: Request): void {
    const { apiKey, apiVersion, make, isFlexible } = request
    request.correlationId = this.#correlationId = (this.#correlationId + 1) & 0x7fffffff
    const writer = Writer.create()
      .appendInt16(apiKey)
      .appendInt16(apiVersion)
      .appendInt32(request.correlationId)
      .appendString(this.#options.clientId, false)
    if (isFlexible) writer.appendTaggedFields()
    writer.appendFrom(make()).prependLength()
    request.timer = setTimeout(
      () => this.#fail(new TimeoutError('Request timed out')),
      this.#options.requestMsMax,
    )
    this.#inFlight.push(request)
    this.#socket.cork()
    for (const piece of joined(writer.buffers)) this.#socket.write(piece)
    this.#socket.uncork()
  }

  // Receiving

  /** Where the next bytes go. */
  #room(): Uint8Array {
    const answer = this.#answer
    return answer !== undefined && answer.length - this.#answerBytes >= DIRECT_BYTES_MIN
      ? answer.subarray(this.#answerBytes)
      : received
  }

  #onBytes(bytes: Buffer, byteLength: number): void {
    if (bytes !== received && this.#options.tls === undefined) {
      // They lie where they belong.
      this.#answerBytes += byteLength
      if (this.#answerBytes === this.#answer!.length) this.#onAnswer()
      return
    }
    for (let at = 0; at < byteLength && this.#failure === undefined; ) {
      if (this.#answer === undefined) {
        const count = Math.min(PREFIX_BYTES - this.#prefixBytes, byteLength - at)
        bytes.copy(this.#prefix, this.#prefixBytes, at, at + count)
        this.#prefixBytes += count
        at += count
        if (this.#prefixBytes < PREFIX_BYTES) return
        if (!this.#begin()) return
      }
      const answer: Buffer = this.#answer!
      const count = Math.min(answer.length - this.#answerBytes, byteLength - at)
      bytes.copy(answer, this.#answerBytes, at, at + count)
      this.#answerBytes += count
      at += count
      if (this.#answerBytes === answer.length) this.#onAnswer()
    }
  }

  /** The prefix is here: what it announces gets its memory. */
  #begin(): boolean {
    const size = this.#prefix.readInt32BE(0) - (PREFIX_BYTES - SIZE_BYTES)
    if (size < 0 || size > ANSWER_BYTES_MAX) {
      const isTls = this.#options.tls === undefined && this.#prefix[0] === TLS_ALERT
      const text = isTls ? 'Broker requires TLS.' : `An answer of ${size} bytes`
      this.#fail(isTls ? new UserError(text) : new NetworkError(text))
      return false
    }
    if (this.#inFlight[0]?.correlationId !== this.#prefix.readInt32BE(SIZE_BYTES)) {
      this.#fail(new NetworkError('An answer to another request'))
      return false
    }
    this.#answer = size < ANSWER_BYTES_POOLED ? Buffer.allocUnsafe(size) : this.#options.memory.take(size)
    this.#answerBytes = 0
    return true
  }

  #onAnswer(): void {
    const answer = this.#answer!
    this.#answer = undefined
    this.#prefixBytes = 0
    const { correlationId, apiKey, apiVersion, parse, isAnswerFlexible, callback, timer } =
      this.#inFlight.shift()!
    clearTimeout(timer)
    let result: unknown
    let failure: Error | null = null
    try {
      const reader = Reader.from(answer)
      // Tagged fields of the header: brokers send none.
      if (isAnswerFlexible) reader.skip(1)
      result = parse(correlationId, apiKey, apiVersion, reader)
    } catch (error) {
      failure = error as Error
    }
    if (answer.length >= ANSWER_BYTES_POOLED) {
      if (isHolder(result)) result.memory = answer
      else this.#options.memory.give(answer)
    }
    this.#pump()
    callback(failure, result)
    this.#closeRetired()
  }
}

/** An answer that is made of views of the bytes it came in. */
export interface MemoryHolder {
  memory: Buffer | undefined
}

const isHolder = (result: unknown): result is MemoryHolder =>
  typeof result === 'object' && result !== null && 'memory' in result

/** The same bytes in few pieces. */
function joined(pieces: readonly Buffer[]): Buffer[] {
  const into: Buffer[] = []
  let small: Buffer[] = []
  const flush = (): void => {
    if (small.length > 0) into.push(small.length === 1 ? small[0]! : Buffer.concat(small))
    small = []
  }
  for (const piece of pieces) {
    if (piece.length < PIECE_BYTES_JOINED) small.push(piece)
    else {
      flush()
      into.push(piece)
    }
  }
  flush()
  return into
}
