// Token buckets: what a device or a tenant may publish per second. A client above its rate is slowed, never
// refused: the bucket goes into debt, and the debt is what its newest acknowledgements wait for.

export class TokenBucket {
  readonly #perMs: number
  readonly #burst: number
  #level: number
  #at: number

  /** `ratePerSecond` messages, and as many as `burst` at once. `now` in milliseconds. */
  constructor(ratePerSecond: number, burst: number, now: number) {
    this.#perMs = ratePerSecond / 1000
    this.#burst = burst
    this.#level = burst
    this.#at = now
  }

  /** Takes one token. Returns the debt in messages: 0 while within the rate. */
  take(now: number): number {
    this.#fill(now)
    this.#level--
    return this.#level < 0 ? Math.ceil(-this.#level) : 0
  }

  /** Messages that are above the rate right now. */
  debt(now: number): number {
    this.#fill(now)
    return this.#level < 0 ? Math.ceil(-this.#level) : 0
  }

  /** Milliseconds until the debt is paid. */
  waitMs(now: number): number {
    return this.debt(now) === 0 ? 0 : Math.ceil(-this.#level / this.#perMs)
  }

  #fill(now: number): void {
    if (now <= this.#at) return
    this.#level = Math.min(this.#burst, this.#level + (now - this.#at) * this.#perMs)
    this.#at = now
  }
}
