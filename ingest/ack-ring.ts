// The acknowledgements of one connection, in the order in which its PUBLISH packets came.
//
//   head                                tail
//   ├── durable ──┼── waiting ──────────┤        entry: sequence, packet id × 256 + reason; two f64
//
// An entry leaves when everything before it has left and its flush sequence is durable, so PUBACKs go out
// in the order of receipt (MQTT 5.0 section 4.6), refusals included, and one drain per durable commit is one
// write per connection. Sequence 0 is durable from the start: refusals and ordinary topics use it.
//
// Memory: 16 bytes an entry, allocated on the first QoS 1 PUBLISH, doubled up to the announced Receive
// Maximum, given back when an idle connection's ring is empty. One array, and as long as a client has no more than
// CAPACITY_MIN in flight one that lies in its own object: with thousands of clients each object is a cache miss.

import { RUN_ENTRY, RUN_PACKET_ID } from './mqtt-parser.ts'

/** Bytes of a PUBACK without reason code: fixed header, remaining length 2, packet id. */
export const PUBACK_BYTES = 4
/** Bytes of a PUBACK with a reason code and no properties. */
const PUBACK_REASON_BYTES = 5
export const PUBACK = 0x40
const CAPACITY_MIN = 4
/** Numbers of an entry. */
const ENTRY = 2

/** Writes a PUBACK with a Reason String at `at`; returns the position after it, or -1 when it does not fit. */
export type DetailWriter = (
  into: Uint8Array,
  at: number,
  packetId: number,
  reason: number,
  detail: string,
) => number

export class AckRing {
  /** Entries waiting. */
  count = 0
  readonly #countMax: number
  #entries = new Float64Array(CAPACITY_MIN * ENTRY)
  #mask = CAPACITY_MIN - 1
  #head = 0
  /** Reason Strings of the few refusals that have one, by slot. */
  #details: Map<number, string> | undefined

  /** `countMax`: entries above which `push` refuses; the Receive Maximum announced to the client. */
  constructor(countMax: number) {
    this.#countMax = countMax
  }

  /** Slots allocated. */
  get capacity(): number {
    return this.#mask + 1
  }

  /** How many more `push` takes. */
  get room(): number {
    return this.#countMax - this.count
  }

  /** Adds an acknowledgement; false when the client has more in flight than it was allowed (0x93). */
  push(packetId: number, reason: number, sequence: number): boolean {
    if (this.count === this.#countMax) return false
    if (this.count > this.#mask) this.#grow()
    const at = ((this.#head + this.count++) & this.#mask) * ENTRY
    this.#entries[at] = sequence
    this.#entries[at + 1] = (packetId << 8) | reason
    return true
  }

  /** As `push` for each PUBLISH of run[from, to) (mqtt-parser.ts), all accepted; there must be `room` for them. */
  pushRun(run: Int32Array, from: number, to: number, sequence: number): void {
    while (this.count + to - from > this.capacity) this.#grow()
    const entries = this.#entries
    const mask = this.#mask
    let slot = this.#head + this.count
    for (let i = from; i < to; i++, slot++) {
      const at = (slot & mask) * ENTRY
      entries[at] = sequence
      entries[at + 1] = run[i * RUN_ENTRY + RUN_PACKET_ID]! << 8
    }
    this.count += to - from
  }

  /** As `push`, with the Reason String that goes with a refusal. */
  pushDetailed(packetId: number, reason: number, sequence: number, detail: string): boolean {
    if (!this.push(packetId, reason, sequence)) return false
    this.#details ??= new Map()
    this.#details.set((this.#head + this.count - 1) & this.#mask, detail)
    return true
  }

  /** The sequence the newest entry waits for; 0 when empty. */
  get lastSequence(): number {
    return this.count === 0 ? 0 : this.#entries[((this.#head + this.count - 1) & this.#mask) * ENTRY]!
  }

  /** Whether the oldest entry could leave now. */
  isReady(durable: number): boolean {
    return this.count > 0 && this.#entries[this.#head * ENTRY]! <= durable
  }

  /**
   * Moves acknowledgements that are durable into `into` from `at`, keeping back the newest `heldBack` ones
   * (a client above its rate gets them later). Returns the position after the last; a full buffer ends it,
   * and the caller writes and calls again while `isReady`.
   */
  drain(durable: number, heldBack: number, into: Uint8Array, at: number, writeDetail: DetailWriter): number {
    const entries = this.#entries
    const mask = this.#mask
    const end = into.length - PUBACK_REASON_BYTES
    let head = this.#head
    let left = this.count - heldBack
    let p = at
    while (left > 0 && entries[head * ENTRY]! <= durable && p <= end) {
      const code = entries[head * ENTRY + 1]! | 0
      const id = code >>> 8
      const reason = code & 0xff
      if (reason === 0) {
        into[p] = PUBACK
        into[p + 1] = PUBACK_BYTES - 2
        into[p + 2] = id >>> 8
        into[p + 3] = id
        p += PUBACK_BYTES
      } else {
        const detail = this.#details?.get(head)
        if (detail !== undefined) {
          const after = writeDetail(into, p, id, reason, detail)
          if (after < 0) break
          p = after
          this.#details!.delete(head)
        } else {
          into[p] = PUBACK
          into[p + 1] = PUBACK_REASON_BYTES - 2
          into[p + 2] = id >>> 8
          into[p + 3] = id
          into[p + 4] = reason
          p += PUBACK_REASON_BYTES
        }
      }
      head = (head + 1) & mask
      this.count--
      left--
    }
    this.#head = head
    return p
  }

  /** Gives memory back when nothing waits; for connections gone quiet. */
  shrink(): void {
    if (this.count > 0 || this.capacity === CAPACITY_MIN) return
    this.#allocate(CAPACITY_MIN)
    this.#head = 0
  }

  #allocate(capacity: number): void {
    this.#entries = new Float64Array(capacity * ENTRY)
    this.#mask = capacity - 1
  }

  #grow(): void {
    const entries = this.#entries
    const details = this.#details
    const head = this.#head
    const mask = this.#mask
    this.#allocate((mask + 1) * 2)
    if (details !== undefined) this.#details = new Map()
    for (let i = 0; i < this.count; i++) {
      const from = (head + i) & mask
      this.#entries[i * ENTRY] = entries[from * ENTRY]!
      this.#entries[i * ENTRY + 1] = entries[from * ENTRY + 1]!
      const detail = details?.get(from)
      if (detail !== undefined) this.#details!.set(i, detail)
    }
    this.#head = 0
  }
}
