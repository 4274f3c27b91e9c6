// Those that wait for the same thing, each for a time of its own at most.

export class Waiters {
  readonly #wakes = new Set<() => void>()

  /** Settles at the next `wake`, or after `timeoutMs`. */
  wait(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#wakes.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, timeoutMs)
      this.#wakes.add(wake)
    })
  }

  /** All that wait now. */
  wake(): void {
    for (const wake of this.#wakes) wake()
  }
}
