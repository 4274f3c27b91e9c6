// Who asks, as the handlers of requests see it.
import type { Principal } from '../identity/identity.ts'

export interface Caller {
  readonly principal: Principal
  readonly clientId: string
  /** As Kafka writes it in group descriptions: `/127.0.0.1`. */
  readonly clientHost: string
  /** Where this client reaches the door: what Metadata tells it. */
  readonly host: string
  readonly port: number
  /** Aborts when the connection ends: nobody waits for the answer any more. */
  readonly closed: AbortSignal
  /** To be called when the answer has been handed to the system, or never will be: what it is made of is free again. */
  whenSent(release: () => void): void
}
