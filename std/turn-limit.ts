// Work that may come for thousands at once, such as the ends of connections: so much of it in a turn of the event loop, so that
// everything else has its turn in between.

export class TurnLimit {
  readonly #max: number
  #waiting: (() => void)[] = []
  #countOfTurn = 0

  /** `max`: pieces of work a turn. */
  constructor(max: number) {
    this.#max = max
  }

  /** Does it now, or in a later turn. */
  run(work: () => void): void {
    if (this.#countOfTurn === 0) setImmediate(() => this.#nextTurn())
    if (this.#countOfTurn++ < this.#max) work()
    else this.#waiting.push(work)
  }

  #nextTurn(): void {
    this.#countOfTurn = 0
    const now = this.#waiting
    this.#waiting = now.splice(this.#max)
    for (const work of now) this.run(work)
  }
}
