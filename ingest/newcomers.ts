// Whose CONNECT is read: of the connections that have not sent one, so many at a time.
//
// libuv deals with all sockets that are readable before anything else has its turn, and asks for more at once where there were
// a thousand. So ten thousand CONNECTs that lie in their sockets, as after a power cut, would be one turn of the event loop
// of 200 ms, in which no acknowledgement and no answer to a ping goes out. Who waits here is not read: its CONNECT waits in the
// kernel.
//
// Who says nothing while it is listened to makes room after a while. It comes again in turns with those that have not been
// listened to yet, so that neither silent connections nor many new ones keep the others out.
import { CONNECTING_MAX, CONNECTING_TURN_MS } from './limits.ts'

export interface Newcomer {
  readonly transport: { pause(): void; resume(): void }
  /** It is read for the first time. */
  onFirstRead(): void
}

export class Newcomers {
  /** Those that are read, by the turn in which that began. */
  readonly #read = new Map<Newcomer, number>()
  /** Those that have not been read yet, and those that said nothing. */
  readonly #fresh = new Set<Newcomer>()
  readonly #silent = new Set<Newcomer>()
  #isFreshNext = true
  #turn = 0
  #timer: NodeJS.Timeout | undefined

  /** `one`: not read so far. */
  add(one: Newcomer): void {
    this.#fresh.add(one)
    this.#fill()
    if (this.#hasWaiting && this.#timer === undefined)
      this.#timer = setInterval(() => this.#endTurn(), CONNECTING_TURN_MS).unref()
  }

  /** It has sent its CONNECT, or has gone; once is enough. */
  remove(one: Newcomer): void {
    if (this.#read.delete(one)) this.#fill()
    else if (!this.#fresh.delete(one)) this.#silent.delete(one)
  }

  /** Whether it could not have said anything yet. */
  isFresh(one: Newcomer): boolean {
    return this.#fresh.has(one)
  }

  /** Nobody else gets a turn. */
  close(): void {
    clearInterval(this.#timer)
    this.#fresh.clear()
    this.#silent.clear()
  }

  get #hasWaiting(): boolean {
    return this.#fresh.size + this.#silent.size > 0
  }

  #fill(): void {
    while (this.#read.size < CONNECTING_MAX && this.#hasWaiting) {
      const line =
        this.#silent.size === 0 || (this.#isFreshNext && this.#fresh.size > 0) ? this.#fresh : this.#silent
      this.#isFreshNext = line === this.#silent
      const one = line.values().next().value!
      line.delete(one)
      this.#read.set(one, this.#turn)
      if (line === this.#fresh) one.onFirstRead()
      one.transport.resume()
    }
  }

  /** Who was read for all of a turn makes room, where somebody waits for it. */
  #endTurn(): void {
    if (!this.#hasWaiting) {
      clearInterval(this.#timer)
      this.#timer = undefined
      return
    }
    for (const [one, since] of this.#read) {
      if (since === this.#turn) continue
      this.#read.delete(one)
      this.#silent.add(one)
      one.transport.pause()
    }
    this.#turn++
    this.#fill()
  }
}
