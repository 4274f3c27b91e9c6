// The acknowledgements of one connection, in the order in which its PUBLISH packets came.
//
//   head                                tail
//   ├── durable ──┼── waiting ──────────┤        entry: packet id u16, reason u8, sequence f64
//
// An entry leaves when everything before it has left and its flush sequence is durable, so PUBACKs go out
// in the order of receipt (MQTT 5.0 section 4.6), refusals included, and one drain per durable commit is one
// write per connection. Sequence 0 is durable from the start: refusals and ordinary topics use it.
//
// Memory: 11 bytes an entry, allocated on the first QoS 1 PUBLISH, doubled up to the announced Receive
// Maximum, given back when an idle connection's ring is empty.

/** Bytes of a PUBACK without reason code: fixed header, remaining length 2, packet id. */
const PUBACK_BYTES = 4
/** Bytes of a PUBACK with a reason code and no properties. */
const PUBACK_REASON_BYTES = 5
const PUBACK = 0x40
const CAPACITY_MIN = 16

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
  #ids = new Uint16Array(CAPACITY_MIN)
  #reasons = new Uint8Array(CAPACITY_MIN)
  #sequences = new Float64Array(CAPACITY_MIN)
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
    return this.#ids.length
  }

  /** Adds an acknowledgement; false when the client has more in flight than it was allowed (0x93). */
  push(packetId: number, reason: number, sequence: number): boolean {
    if (this.count === this.#countMax) return false
    if (this.count > this.#mask) this.#grow()
    const slot = (this.#head + this.count++) & this.#mask
    this.#ids[slot] = packetId
    this.#reasons[slot] = reason
    this.#sequences[slot] = sequence
    return true
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
    return this.count === 0 ? 0 : this.#sequences[(this.#head + this.count - 1) & this.#mask]!
  }

  /** Whether the oldest entry could leave now. */
  isReady(durable: number): boolean {
    return this.count > 0 && this.#sequences[this.#head]! <= durable
  }

  /**
   * Moves acknowledgements that are durable into `into` from `at`, keeping back the newest `heldBack` ones
   * (a client above its rate gets them later). Returns the position after the last; a full buffer ends it,
   * and the caller writes and calls again while `isReady`.
   */
  drain(durable: number, heldBack: number, into: Uint8Array, at: number, writeDetail: DetailWriter): number {
    const ids = this.#ids
    const reasons = this.#reasons
    const sequences = this.#sequences
    const mask = this.#mask
    const end = into.length - PUBACK_REASON_BYTES
    let head = this.#head
    let left = this.count - heldBack
    let p = at
    while (left > 0 && sequences[head]! <= durable && p <= end) {
      const id = ids[head]!
      const reason = reasons[head]!
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
    this.#ids = new Uint16Array(capacity)
    this.#reasons = new Uint8Array(capacity)
    this.#sequences = new Float64Array(capacity)
    this.#mask = capacity - 1
  }

  #grow(): void {
    const ids = this.#ids
    const reasons = this.#reasons
    const sequences = this.#sequences
    const details = this.#details
    const head = this.#head
    const mask = this.#mask
    this.#allocate(ids.length * 2)
    if (details !== undefined) this.#details = new Map()
    for (let i = 0; i < this.count; i++) {
      const from = (head + i) & mask
      this.#ids[i] = ids[from]!
      this.#reasons[i] = reasons[from]!
      this.#sequences[i] = sequences[from]!
      const detail = details?.get(from)
      if (detail !== undefined) this.#details!.set(i, detail)
    }
    this.#head = 0
  }
}
