// What a worker keeps of one tenant: its subscriptions, its rate and its quota.
import type { TokenBucket } from './rate-limit.ts'
import type { Session } from './session.ts'
import { SubscriptionTree } from './subscriptions.ts'

export class Tenant {
  readonly name: string
  /** Subscriptions of this worker's clients. */
  readonly local = new SubscriptionTree<Session>()
  /** Filters that other workers' clients hold. */
  readonly remote: SubscriptionTree<number>
  readonly bucket: TokenBucket | undefined
  /** Its storage quota is full: telemetry is refused. */
  isFull = false

  constructor(name: string, remote: SubscriptionTree<number>, bucket: TokenBucket | undefined) {
    this.name = name
    this.remote = remote
    this.bucket = bucket
  }

  /** Another number after every change of a subscription. */
  get subscriptionsVersion(): number {
    return this.local.version + this.remote.version
  }
}
