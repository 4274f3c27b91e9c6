/** A bound on what several hold parts of, in bytes. */
export class Budget {
  readonly #bytesMax: number
  #used = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** False, and nothing is taken, where there are not so many left. Fewer than none are given back. */
  take(bytes: number): boolean {
    if (bytes > 0 && this.#used + bytes > this.#bytesMax) return false
    this.#used += bytes
    return true
  }

  give(bytes: number): void {
    this.#used -= bytes
  }
}
