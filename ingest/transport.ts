// One client's socket: TCP, or the same with WebSocket frames around the MQTT bytes.
//
// Reading is Node's `onread` with one buffer for all connections of the thread: the bytes are dealt with before
// the next read, and an idle connection costs no buffer. Writing hands the caller's buffer to the kernel at once.
// Almost always all of it goes, and the caller may reuse the buffer; `send` says when it may not. Where many clients are
// sent something at once, short writes are gathered (send-batch.ts).
//
// An accepted socket can be given neither by documented means, so both go by its handle (socket-handle.ts). Where
// that is not what we know, the `data` event and `write` do the same, at the cost of a buffer for each read and of
// a stream's bookkeeping for each write.
import type { Socket } from 'node:net'
import type { MqttParser } from './mqtt-parser.ts'
import type { BatchedSender, SendBatch } from './send-batch.ts'
import { type HandleOwner, handleOf, moveHandle, type SocketHandle, writeHandle } from './socket-handle.ts'
import {
  frameHeaderBytes,
  WebSocketReader,
  WS_NORMAL,
  writeClose,
  writeFrameHeader,
  writePong,
} from './websocket.ts'
import { readUpgrade } from './websocket-upgrade.ts'

/** Bytes to leave free before what is sent: the frame header goes there. */
export const HEADROOM = 10
/** Payload of one WebSocket frame. Frames are not gathered, so a large one costs nothing; MQTT packets have their own maximum. */
const FRAME_BYTES_MAX = 64 << 20
/** Milliseconds after our FIN that a client has to close before it is cut off. */
const LINGER_MS = 2000
const SOCKET_CLOSED = 'connection closed without DISCONNECT'

/** By which means: `handle` goes by the handle where it is as expected, `auto` also sends to many sockets at once. */
export type SocketMode = 'auto' | 'handle' | 'documented'

/** The session, as its transport sees it. */
export interface TransportUser {
  readonly parser: MqttParser
  /** Before and after the parser gets bytes of one read. */
  beforeRead(byteLength: number): void
  afterRead(): void
  /** The socket closes, or bytes wait for the kernel: what is to be sent goes by `send` now, not by `directFd`. */
  onIndirect(): void
  /** The peer has gone, or the socket failed. Called once, unless we closed it. */
  onClosed(detail: string): void
}

interface OwnedSocket extends Socket {
  transport?: Transport | undefined
}

export class Transport implements HandleOwner, BatchedSender {
  readonly kind: 'tcp' | 'websocket'
  readonly peer: string
  readonly isLoopback: boolean
  user!: TransportUser
  readonly #socket: OwnedSocket
  /** Undefined where documented means are used. */
  readonly #handle: SocketHandle | undefined
  /** The worker's, where the socket's writes may be gathered. */
  readonly #batch: SendBatch | undefined
  /** -1 from `destroy` on: another socket or file may get it. */
  #fd: number
  batchedIn = 0
  /** Bytes given to the handle that the kernel has not taken. */
  #waitingBytes = 0
  #reader: WebSocketReader | undefined
  /** Bytes of the WebSocket handshake that came so far. */
  #request: Uint8Array | undefined
  #isEnded = false

  /** `socket`: accepted with pauseOnConnect. `buffer`: the thread's receive buffer. `batch`: for mode `auto`. */
  constructor(
    socket: Socket,
    kind: 'tcp' | 'websocket',
    mode: SocketMode,
    buffer: Uint8Array,
    batch?: SendBatch,
  ) {
    this.kind = kind
    const address = socket.remoteAddress ?? ''
    this.peer = `${address}:${socket.remotePort ?? 0}`
    this.isLoopback = /^(::ffff:)?127\.|^::1$/.test(address)
    if (kind === 'websocket') this.#request = new Uint8Array(0)
    this.#handle = mode === 'documented' ? undefined : handleOf(socket)
    this.#socket =
      this.#handle === undefined ? socket : moveHandle(socket, this.#handle, buffer, onRead, onDestroy)
    this.#batch = mode === 'auto' && this.#handle !== undefined ? batch : undefined
    this.#fd = this.#handle?.fd ?? -1
    this.#socket.transport = this
    if (this.#handle === undefined) socket.on('data', onData)
    this.#socket.on('error', ignoreError)
    this.#socket.on('close', onClose)
  }

  /** Whether reads and writes go by the handle. */
  get usesHandle(): boolean {
    return this.#handle !== undefined
  }

  /** Bytes given to `send` that the kernel has not taken. */
  get queuedBytes(): number {
    return this.#handle === undefined ? this.#socket.writableLength : this.#waitingBytes
  }

  /** Whether MQTT goes in WebSocket frames. */
  get isFramed(): boolean {
    return this.#reader !== undefined
  }

  /**
   * The descriptor to which few bytes may be sent past this object (SendBatch.addPuback), until `onIndirect`; -1: by
   * `send` only.
   */
  get directFd(): number {
    const isDirect =
      (this.kind === 'tcp' || this.#reader !== undefined) &&
      this.#batch !== undefined &&
      !this.#batch.isBroken &&
      this.#waitingBytes === 0 &&
      !this.#isEnded
    return isDirect ? this.#fd : -1
  }

  /**
   * Sends bytes[start, end); `start` must be at least HEADROOM. True when the bytes may be changed at once,
   * false when they belong to the socket now.
   */
  send(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#isEnded) return true
    let from = start
    if (this.#reader !== undefined) {
      from -= frameHeaderBytes(end - start)
      writeFrameHeader(bytes, from, end - start)
    }
    const batch = this.#batch
    if (batch?.takes(this, end - from) && this.#waitingBytes === 0) {
      if (this.#fd >= 0) batch.add(this, this.#fd, bytes, from, end)
      return true
    }
    return this.#write(from === HEADROOM ? viewAfterHeadroom(bytes, end) : bytes.subarray(from, end))
  }

  /** Whether the bytes may be changed at once. All writes but gathered ones come this way, so that none overtakes another. */
  #write(bytes: Uint8Array): boolean {
    this.#batch?.flush()
    if (this.#handle === undefined) {
      this.#socket.write(bytes)
      return this.#socket.writableLength === 0
    }
    // A handle that is closed already answers with an error.
    const waiting = writeHandle(this.#handle, this, bytes)
    if (waiting === 0) return true
    if (waiting < 0) {
      this.#socket.destroy()
      return true
    }
    this.#waitingBytes += waiting
    this.user.onIndirect()
    return false
  }

  onUnsent(bytes: Uint8Array): void {
    this.#write(bytes)
  }

  onWritten(byteLength: number, isFailed: boolean): void {
    this.#waitingBytes -= byteLength
    if (isFailed) this.#socket.destroy()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  /**
   * Sends what waits, then FIN; what still comes is read and thrown away, so that no reset overtakes our last
   * packet. `status`: of the WebSocket's close frame.
   */
  end(status = WS_NORMAL): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.user.onIndirect()
    if (this.#reader !== undefined) {
      const frame = Buffer.allocUnsafe(4)
      this.#write(frame.subarray(0, writeClose(frame, 0, status)))
    }
    this.#reader = undefined
    this.#batch?.flush()
    this.#socket.end()
    this.#socket.resume()
    this.#socket.setTimeout(LINGER_MS, destroySocket)
  }

  destroy(): void {
    this.#isEnded = true
    this.#batch?.flush()
    this.#socket.destroy()
  }

  onBytes(bytes: Uint8Array, start: number, end: number): void {
    if (this.#isEnded) return
    if (this.#request !== undefined) {
      this.#handshake(bytes, start, end)
      return
    }
    const user = this.user
    user.beforeRead(end - start)
    if (this.#reader === undefined) user.parser.parse(bytes, start, end)
    else this.#reader.read(bytes, start, end)
    user.afterRead()
  }

  /** The socket is about to close its handle. */
  onSocketDestroyed(): void {
    this.#fd = -1
    this.user.onIndirect()
  }

  onSocketClosed(): void {
    const wasEnded = this.#isEnded
    this.#isEnded = true
    if (!wasEnded) this.user.onClosed(SOCKET_CLOSED)
  }

  /** From the frame reader: a ping is answered whatever MQTT does. */
  onWsPing(payload: Uint8Array): void {
    const frame = Buffer.allocUnsafe(2 + payload.length)
    this.#write(frame.subarray(0, writePong(frame, 0, payload)))
  }

  /** From the frame reader: the WebSocket ends; to MQTT that is a lost connection. */
  onWsClose(status: number): void {
    const frame = Buffer.allocUnsafe(4)
    this.#write(frame.subarray(0, writeClose(frame, 0, status)))
    this.#reader = undefined
    this.end()
    this.user.onClosed(`WebSocket closed with status ${status}`)
  }

  #handshake(bytes: Uint8Array, start: number, end: number): void {
    const before = this.#request!
    const request = new Uint8Array(before.length + end - start)
    request.set(before)
    request.set(bytes.subarray(start, end), before.length)
    const upgrade = readUpgrade(request, 0, request.length)
    if (upgrade === undefined) {
      this.#request = request
      return
    }
    this.#request = undefined
    this.#write(upgrade.response)
    if (upgrade.status !== 101) {
      this.end()
      this.user.onClosed('no WebSocket handshake')
      return
    }
    this.#reader = new WebSocketReader(this, this.user.parser, FRAME_BYTES_MAX)
    if (upgrade.requestBytes < request.length) this.onBytes(request, upgrade.requestBytes, request.length)
  }
}

// Views of the buffer that was sent last, from HEADROOM on, by their length: a few acknowledgements at a time is most
// of what is sent, and to make a view costs as much as to encode them.
const VIEW_BYTES_MAX = 512
let viewed: Uint8Array | undefined
let views: (Uint8Array | undefined)[] = []

function viewAfterHeadroom(bytes: Uint8Array, end: number): Uint8Array {
  if (end > VIEW_BYTES_MAX) return bytes.subarray(HEADROOM, end)
  if (bytes !== viewed) {
    viewed = bytes
    views = new Array(VIEW_BYTES_MAX + 1)
  }
  return (views[end] ??= bytes.subarray(HEADROOM, end))
}

// Shared by all connections, so that one costs no closures; Node calls them with the socket as `this`.

function onRead(this: OwnedSocket, byteLength: number, buffer: Uint8Array): boolean {
  this.transport!.onBytes(buffer, 0, byteLength)
  return true
}

function onData(this: OwnedSocket, chunk: Buffer): void {
  // Not as a Buffer, whose `slice` would be a view: readers of either mode get the same kind of bytes.
  const bytes = new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)
  this.transport!.onBytes(bytes, 0, bytes.length)
}

function onDestroy(socket: OwnedSocket): void {
  socket.transport?.onSocketDestroyed()
}

function onClose(this: OwnedSocket): void {
  this.transport!.onSocketClosed()
}

/** 'close' follows every error, and a reset by a peer is no news. */
function ignoreError(): void {}

function destroySocket(this: Socket): void {
  this.destroy()
}
