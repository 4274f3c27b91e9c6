// A ring in shared memory for bytes that another thread reads soon after: taken at the head, released from the
// tail in the order in which they were taken.

export class SharedRing {
  readonly buffer: SharedArrayBuffer
  readonly bytes: Buffer
  /** Bytes that the last `take` used up, padding at the end of the ring included: give them to `release`. */
  lastTaken = 0
  #head = 0
  #used = 0

  constructor(capacity: number) {
    this.buffer = new SharedArrayBuffer(capacity)
    this.bytes = Buffer.from(this.buffer)
  }

  /** The position of `length` contiguous bytes, -1 where there is no room. */
  take(length: number): number {
    const capacity = this.bytes.length
    const padding = this.#head + length > capacity ? capacity - this.#head : 0
    if (this.#used + padding + length > capacity) return -1
    const at = padding > 0 ? 0 : this.#head
    this.#head = at + length
    this.#used += padding + length
    this.lastTaken = padding + length
    return at
  }

  /** Gives back the oldest `taken` bytes. */
  release(taken: number): void {
    this.#used -= taken
  }
}
