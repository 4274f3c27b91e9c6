// What is sent to many clients at once, with one system call: the acknowledgements of a commit go to as many connections
// as it has records of.
//
//   add ──► arena, and a request each ──► flush: io_uring_enter ──► all sent, or what is left goes to its socket
//
// Sends never wait (MSG_DONTWAIT), so that all of them have ended when the call returns, and what a batch does to a
// connection is what as many calls of send(2) would have done. What the kernel did not take, for whatever reason, goes to the
// connection's handle, which waits for room or finds out that the connection has failed.
//
// While a connection has something in the batch, what is written to it or closes it must flush the batch first: or bytes
// overtake each other, or reach whoever has its descriptor next.
import { PUBACK, PUBACK_BYTES } from './ack-ring.ts'
import { IoUring, REQUEST_WORDS } from './io-uring.ts'
import { frameHeaderBytes, writeFrameHeader } from './websocket.ts'

/** Largest send worth a copy into the arena. */
const BATCHED_BYTES_MAX = 1024
/** Sends of one system call. */
const SENDS_MAX = 1024
const ARENA_BYTES = 64 << 10
/** Up to here, bytes are copied one by one: a view costs more. */
const SHORT_BYTES = 32

// Words of a request (struct io_uring_sqe), and what all of ours have in common.
const OPCODE = 0
const FD = 1
const ADDRESS = 4
const LENGTH = 6
const FLAGS = 7
const OP_SEND = 26
const MSG_DONTWAIT_NOSIGNAL = 0x4040

/** For whom something is sent. */
export interface Sender {
  /** The kernel did not take `bytes`, which are a copy. */
  onUnsent(bytes: Uint8Array): void
}

/** A connection, as what is sent for it sees it. */
export interface BatchedSender extends Sender {
  /** The batch's: in which one it has something. */
  batchedIn: number
}

export class SendBatch {
  /** Sends that went this way. */
  sendCount = 0
  readonly #ring: IoUring
  readonly #onBroken: () => void
  readonly #arena = new Uint8Array(ARENA_BYTES)
  readonly #address: number
  readonly #senders = new Array<Sender | undefined>(SENDS_MAX).fill(undefined)
  /** Where the bytes of each send end in the arena; they begin where those before end. */
  readonly #ends = new Int32Array(SENDS_MAX)
  readonly #results = new Int32Array(SENDS_MAX)
  #count = 0
  #used = 0
  #number = 1
  /** Between `open` and `close`. */
  #isOpen = false
  #isBroken = false

  /** Undefined where the machine offers no way to it. `onBroken`: it takes nothing from now on. */
  static create(onBroken: () => void): SendBatch | undefined {
    const ring = IoUring.open(SENDS_MAX)
    return ring === undefined ? undefined : new SendBatch(ring, onBroken)
  }

  private constructor(ring: IoUring, onBroken: () => void) {
    this.#ring = ring
    this.#onBroken = onBroken
    this.#address = ring.addressOf(this.#arena.buffer)
    for (let at = 0; at < ring.requests.length; at += REQUEST_WORDS) {
      ring.requests[at + OPCODE] = OP_SEND
      ring.requests[at + FLAGS] = MSG_DONTWAIT_NOSIGNAL
    }
  }

  open(): void {
    this.#isOpen = !this.#isBroken
  }

  close(): void {
    this.flush()
    this.#isOpen = false
  }

  /**
   * Whether so many bytes may be added for a connection. What it has in the batch already is sent first: only then can the
   * connection tell whether it still has its socket, and whether something waits that must go before.
   */
  takes(sender: BatchedSender, byteLength: number): boolean {
    if (!this.#isOpen || byteLength > BATCHED_BYTES_MAX) return false
    const isFull = this.#count === SENDS_MAX || this.#used + byteLength > ARENA_BYTES
    if (isFull || sender.batchedIn === this.#number) this.flush()
    return this.#isOpen
  }

  /** Whether it will never take anything again. */
  get isBroken(): boolean {
    return this.#isBroken
  }

  /** Copies bytes [start, end) to be sent to the socket `fd` by the next `flush`. `takes` must have said so. */
  add(sender: BatchedSender, fd: number, bytes: Uint8Array, start: number, end: number): void {
    const length = end - start
    sender.batchedIn = this.#number
    const used = this.#used
    const arena = this.#arena
    if (length <= SHORT_BYTES) for (let i = 0; i < length; i++) arena[used + i] = bytes[start + i]!
    else arena.set(bytes.subarray(start, end), used)
    this.#request(sender, fd, length)
  }

  /**
   * Adds a PUBACK for the socket `fd`, in a WebSocket frame where it `isFramed`. The caller knows that it may be sent, and
   * flushes before anything else is written to the socket, or closes it.
   */
  addPuback(sender: Sender, fd: number, packetId: number, isFramed: boolean): void {
    const headerBytes = isFramed ? frameHeaderBytes(PUBACK_BYTES) : 0
    const byteLength = headerBytes + PUBACK_BYTES
    if (this.#count === SENDS_MAX || this.#used + byteLength > ARENA_BYTES) this.flush()
    const arena = this.#arena
    if (isFramed) writeFrameHeader(arena, this.#used, PUBACK_BYTES)
    const used = this.#used + headerBytes
    arena[used] = PUBACK
    arena[used + 1] = PUBACK_BYTES - 2
    arena[used + 2] = packetId >>> 8
    arena[used + 3] = packetId
    this.#request(sender, fd, byteLength)
  }

  /** The next `length` bytes of the arena go to `fd`. */
  #request(sender: Sender, fd: number, length: number): void {
    const { requests } = this.#ring
    const at = this.#ring.at(this.#count)
    const address = this.#address + this.#used
    requests[at + FD] = fd
    requests[at + ADDRESS] = address
    requests[at + ADDRESS + 1] = address / 2 ** 32
    requests[at + LENGTH] = length
    this.#senders[this.#count] = sender
    this.#ends[this.#count] = this.#used += length
    this.#count++
  }

  /** Sends what was added. */
  flush(): void {
    const count = this.#count
    if (count === 0) return
    this.#count = 0
    this.#used = 0
    this.#number++
    const results = this.#results
    const wasBroken = this.#isBroken
    if (wasBroken) results.fill(0, 0, count)
    else if (this.#ring.submit(count, results)) this.sendCount += count
    else {
      this.#isBroken = true
      this.#isOpen = false
    }
    let start = 0
    for (let i = 0; i < count; i++) {
      const end = this.#ends[i]!
      const sent = Math.max(0, results[i]!)
      if (sent < end - start) this.#senders[i]!.onUnsent(this.#arena.slice(start + sent, end))
      this.#senders[i] = undefined
      start = end
    }
    if (this.#isBroken && !wasBroken) this.#onBroken()
  }

  /** Gives the ring back; what was added is sent before. From here on it takes nothing. */
  destroy(): void {
    this.close()
    this.#isBroken = true
    this.#ring.close()
  }
}
