// Which connections are not read for now, and when they go on: back-pressure from the log (docs/backpressure.md)
// and rates.
//
// Held sessions wait in one line and are let go in its order, so that under lasting pressure each gets its turn.
import { C } from './counters.ts'
import { LEVEL_5 } from './mqtt-codes.ts'
import type { TokenBucket } from './rate-limit.ts'
import { CONNECTED, type Session } from './session.ts'

const RATE_TICK_MS = 20

export class ReadFlow {
  /** Batches not yet durable fill most of their memory: reads stop where the protocol has no other way. */
  isUnderPressure = false
  readonly #values: Float64Array
  readonly #onTick: () => void
  #held: Session[] = []
  readonly #slowed = new Set<Session>()
  #timer: NodeJS.Timeout | undefined

  /** `onTick` runs before slowed sessions are looked at: it takes the time. */
  constructor(values: Float64Array, onTick: () => void) {
    this.#values = values
    this.#onTick = onTick
  }

  /** Stops the reads of every publisher among `sessions` that the protocol lets us slow down no other way. */
  raisePressure(sessions: Iterable<Session>): void {
    if (this.isUnderPressure) return
    this.isUnderPressure = true
    this.#values[C.readPauses]!++
    for (const session of sessions) {
      const isPublisher = session.state === CONNECTED && session.topic !== undefined
      if (isPublisher && (session.level !== LEVEL_5 || session.hasSentQos0)) session.hold()
    }
  }

  /** From `Session.hold`: it has stopped reading, and `release` is owed to it. */
  addHeld(session: Session): void {
    this.#held.push(session)
    this.#values[C.pausedReads]!++
  }

  /** Lets those read on whose reason to wait is gone, in the order they came. */
  releaseHeld(): void {
    if (this.#held.length === 0 || this.isUnderPressure) return
    const held = this.#held
    const waiting: Session[] = []
    this.#held = []
    for (const session of held) {
      const isSlowed = session.slowedBy !== undefined && session.state === CONNECTED
      const isRefused = session.heldFor !== undefined && session.heldFor.heldSequence !== 0
      if (this.isUnderPressure || isSlowed || isRefused) waiting.push(session)
      else {
        this.#values[C.pausedReads]!--
        session.release()
      }
    }
    // Who has not been let go comes before who was and had to stop again.
    this.#held = waiting.concat(this.#held)
  }

  /** The session is above the rate that `bucket` measures: its newest acknowledgements, or its reads, wait. */
  slow(session: Session, bucket: TokenBucket): void {
    session.slowedBy = bucket
    if (this.#slowed.has(session)) return
    this.#slowed.add(session)
    this.#values[C.slowed]!++
    this.#values[C.slowedClients]!++
    this.#timer ??= setInterval(() => this.#tick(), RATE_TICK_MS)
  }

  /** Forgets a session that has ended. */
  remove(session: Session): void {
    if (this.#slowed.delete(session)) this.#values[C.slowedClients]!--
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #tick(): void {
    this.#onTick()
    for (const session of this.#slowed) {
      const { ingest, slowedBy } = session
      if (slowedBy?.debt(ingest.now) === 0) {
        session.slowedBy = undefined
        this.remove(session)
      }
      session.acknowledge(ingest.durableSequence)
    }
    if (this.#slowed.size === 0) {
      clearInterval(this.#timer)
      this.#timer = undefined
    }
    this.releaseHeld()
  }
}
