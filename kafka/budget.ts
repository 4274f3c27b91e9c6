/** A bound on what several hold parts of, in bytes; no holder has more than its share. */
export class Budget {
  readonly #bytesMax: number
  readonly #shareMax: number
  readonly #held = new Map<string, number>()
  #used = 0

  constructor(bytesMax: number, shareMax = bytesMax) {
    this.#bytesMax = bytesMax
    this.#shareMax = shareMax
  }

  /** What the holder can still take; below 0 where more was given than there was. */
  left(holder = ''): number {
    return Math.min(this.#bytesMax - this.#used, this.#shareMax - (this.#held.get(holder) ?? 0))
  }

  /** False, and nothing is taken, where there are not so many left. Fewer than none are given back. */
  take(bytes: number, holder = ''): boolean {
    if (bytes > 0 && bytes > this.left(holder)) return false
    this.give(-bytes, holder)
    return true
  }

  give(bytes: number, holder = ''): void {
    this.#used -= bytes
    this.#held.set(holder, (this.#held.get(holder) ?? 0) - bytes)
  }
}
