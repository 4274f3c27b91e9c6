// The acknowledgements of connections that have one message in flight, of all of them in one queue of the worker.
//
//   head                      tail
//   ├── durable ──┼── waiting ─┤      entry: ticket, packet id, whether in a frame, descriptor; and whose it is
//
// With a thousand clients a commit is told to hundreds of them, each of whose objects (session, ring, transport, socket) is
// a cache miss. What they would say of a client with one message in flight is known when that comes: the four bytes of a
// PUBACK, or six in a WebSocket frame, go to its descriptor. So it is noted here, and a commit reads this queue alone.
//
// An entry holds only while nothing else happens to its connection. A second acknowledgement, bytes that the kernel has no
// room for, the end of the connection: each of them first moves it to the connection's own ring (ack-ring.ts), by `cancel`.
//
// Tickets are taken in order, so what is durable is at the head.
import type { SendBatch, Sender } from './send-batch.ts'

const CAPACITY_MIN = 64
/** Descriptor of an entry that was cancelled. */
const NONE = -1
/** Beside the packet id: the PUBACK goes in a WebSocket frame. */
const FRAMED = 0x10000
const ID = 0xffff

/** Whose acknowledgement it is. */
export interface SingleAcked extends Sender {
  /** Which entry is its, where one waits. */
  singleAt: number
}

export class SingleAcks<Owner extends SingleAcked> {
  /** The newest ticket whose acknowledgements have gone from here. */
  durable = 0
  readonly #batch: SendBatch
  #owners: (Owner | undefined)[] = new Array<Owner | undefined>(CAPACITY_MIN).fill(undefined)
  #tickets = new Float64Array(CAPACITY_MIN)
  #packets = new Int32Array(CAPACITY_MIN)
  #fds = new Int32Array(CAPACITY_MIN)
  #mask = CAPACITY_MIN - 1
  #head = 0
  /** Entries between head and tail, cancelled ones included. */
  #count = 0

  constructor(batch: SendBatch) {
    this.#batch = batch
  }

  /** Notes that `fd` is sent a PUBACK when `ticket` is durable, which is not below any before. Sets `owner.singleAt`. */
  push(owner: Owner, fd: number, packetId: number, ticket: number, isFramed: boolean): void {
    if (this.#count > this.#mask) this.#grow()
    const at = (this.#head + this.#count++) & this.#mask
    this.#owners[at] = owner
    this.#tickets[at] = ticket
    this.#packets[at] = isFramed ? packetId | FRAMED : packetId
    this.#fds[at] = fd
    owner.singleAt = at
  }

  /** Takes the entry of an owner out, of which it must know that it still waits; returns its packet id. */
  cancel(owner: Owner): number {
    const at = owner.singleAt
    this.#owners[at] = undefined
    this.#fds[at] = NONE
    return this.#packets[at]! & ID
  }

  /** Everyone whose entry waits. */
  owners(): Owner[] {
    const found: Owner[] = []
    for (let i = 0; i < this.#count; i++) {
      const owner = this.#owners[(this.#head + i) & this.#mask]
      if (owner !== undefined) found.push(owner)
    }
    return found
  }

  /** Sends what `durable` allows; returns how many. */
  send(durable: number): number {
    this.durable = durable
    const batch = this.#batch
    const mask = this.#mask
    let head = this.#head
    let left = this.#count
    let sent = 0
    while (left > 0 && this.#tickets[head]! <= durable) {
      const fd = this.#fds[head]!
      if (fd !== NONE) {
        const packet = this.#packets[head]!
        batch.addPuback(this.#owners[head]!, fd, packet & ID, (packet & FRAMED) !== 0)
        this.#owners[head] = undefined
        sent++
      }
      head = (head + 1) & mask
      left--
    }
    this.#head = head
    this.#count = left
    // Before anything else is written to one of them.
    batch.flush()
    return sent
  }

  #grow(): void {
    const [owners, tickets, packets, fds] = [this.#owners, this.#tickets, this.#packets, this.#fds]
    const capacity = owners.length
    this.#owners = new Array<Owner | undefined>(capacity * 2).fill(undefined)
    this.#tickets = new Float64Array(capacity * 2)
    this.#packets = new Int32Array(capacity * 2)
    this.#fds = new Int32Array(capacity * 2)
    for (let i = 0; i < this.#count; i++) {
      const from = (this.#head + i) & this.#mask
      const owner = owners[from]
      this.#owners[i] = owner
      if (owner !== undefined) owner.singleAt = i
      this.#tickets[i] = tickets[from]!
      this.#packets[i] = packets[from]!
      this.#fds[i] = fds[from]!
    }
    this.#mask = capacity * 2 - 1
    this.#head = 0
  }
}
