// All that Millrace knows about Node's sockets beyond their documentation (docs/decisions/0006-socket-handles.md):
//
//   reading   an accepted socket's handle moves into a socket of ours that reads into the thread's one buffer, and not
//             before `resume` (`pauseOnCreate`)
//   writing   bytes go to the handle, which hands them to the kernel at once, past the stream in between
//   many      the handle tells its file descriptor, by which send-batch.ts sends to many sockets at once
//   ending    an end or an error is what `push(null)` or `_destroy` of the socket says; so many of them in a turn
//
// Node may change both in any version, so they are used with the versions they were tested with, and where the
// handle has the methods. Everywhere else transport.ts does the same by documented means.
import { Socket } from 'node:net'
import { TurnLimit } from '../std/turn-limit.ts'
import { ENDS_OF_TURN_MAX } from './limits.ts'

interface WriteRequest {
  /** Set by Node where the write ended before it could be told whom to call. */
  writeStatus: number | null
  oncomplete: (this: WriteRequest, status: number) => void
  /** Keeps the bytes alive until they are written. */
  buffer: Uint8Array
  /** Ours. */
  owner: HandleOwner
}

/** Part of libuv's stream as Node wraps it. */
export interface SocketHandle {
  /** Of the open socket. */
  readonly fd: number
  useUserBuffer(buffer: Uint8Array): void
  /** 0 or an error number where the kernel took all or failed; a request where some of it waits. */
  writeBuffer(request: null, bytes: Uint8Array): number | WriteRequest
}

/** Who writes to a handle. */
export interface HandleOwner {
  /** Bytes of a write that waited are gone, or it failed. */
  onWritten(byteLength: number, isFailed: boolean): void
}

const NODE_MAJOR = 26
/** First minor version in which the handle makes its own write requests. */
const NODE_MINOR_MIN = 10
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
/** Whether handles are as they are here. */
export const isKnownNode = major === NODE_MAJOR && minor >= NODE_MINOR_MIN

/** The handle of an accepted socket, undefined where it is not what we know. */
export function handleOf(socket: Socket): SocketHandle | undefined {
  const handle = (socket as unknown as { _handle?: Partial<SocketHandle> | null })._handle
  const isKnown =
    isKnownNode && typeof handle?.useUserBuffer === 'function' && typeof handle.writeBuffer === 'function'
  return isKnown ? (handle as SocketHandle) : undefined
}

/** Ten thousand connections that end at once would be turns of the event loop of 100 to 200 ms. */
const ends = new TurnLimit(ENDS_OF_TURN_MAX)

/** Says so before it gives its descriptor back, which another socket may get at once. */
class HandleSocket extends Socket {
  readonly #onDestroy: (socket: Socket) => void

  constructor(options: ConstructorParameters<typeof Socket>[0], onDestroy: (socket: Socket) => void) {
    super(options)
    this.#onDestroy = onDestroy
  }

  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    if (chunk !== null) return super.push(chunk, encoding)
    ends.run(() => {
      if (!this.destroyed) super.push(null)
    })
    return false
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#onDestroy(this)
    // Without an error it had its turn at its end, or it is we who close it.
    if (error === null) super._destroy(error, callback)
    else ends.run(() => super._destroy(error, callback))
  }
}

/** A socket of ours around the accepted one's handle, reading into `buffer`. `onDestroy`: before its handle closes. */
export function moveHandle(
  accepted: Socket,
  handle: SocketHandle,
  buffer: Uint8Array,
  onRead: (byteLength: number, buffer: Uint8Array) => boolean,
  onDestroy: (socket: Socket) => void,
): Socket {
  // Not read until `resume`, as what `pauseOnConnect` made of the accepted one.
  const options = { handle, onread: { buffer, callback: onRead }, pauseOnCreate: true }
  const socket = new HandleSocket(options as unknown as ConstructorParameters<typeof Socket>[0], onDestroy)
  // The shell must not close the handle when it is collected or destroyed.
  ;(accepted as unknown as { _handle: SocketHandle | null })._handle = null
  return socket
}

/**
 * Hands bytes to the kernel. Returns how many of them belong to the socket until `onWritten`: 0 where all are on
 * their way, -1 where the socket has failed. Order is kept: libuv queues behind what waits.
 */
export function writeHandle(handle: SocketHandle, owner: HandleOwner, bytes: Uint8Array): number {
  const result = handle.writeBuffer(null, bytes)
  if (typeof result === 'number') return result === 0 ? 0 : -1
  result.buffer = bytes
  result.owner = owner
  result.oncomplete = onComplete
  const status = result.writeStatus
  if (status === null) return bytes.length
  result.writeStatus = null
  return status === 0 ? 0 : -1
}

function onComplete(this: WriteRequest, status: number): void {
  this.owner.onWritten(this.buffer.length, status !== 0)
}
