// Live messages of one worker: telemetry that waits until it is durable, and the way of every message to the
// subscribers of this worker and of the others.
//
// A subscriber never sees a telemetry message that a power failure could still take back. So each one that has
// subscribers is copied and waits for the ticket of its record; the copies count against LIVE_BYTES_MAX, above
// which publishers of topics with subscribers are not read.
import type { Hub, LiveMessage } from './hub.ts'
import type { Ingest } from './ingest.ts'
import { LIVE_BYTES_MAX, TOPIC_CACHE_ENTRIES_MAX } from './limits.ts'
import type { Session } from './session.ts'
import { OPTION_NO_LOCAL } from './subscriptions.ts'
import { TopicEntry } from './topic-cache.ts'

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

interface Held {
  ticket: number
  entry: TopicEntry
  publisher: Session
  qos: number
  properties: Uint8Array
  payload: Uint8Array
}

export class Live {
  readonly #ingest: Ingest
  readonly #hub: Hub
  /** In the order of their tickets. */
  #held: Held[] = []
  #heldBytes = 0
  /** What other workers' messages matched, by tenant and topic. */
  readonly #remoteTopics = new Map<string, TopicEntry>()

  constructor(ingest: Ingest, hub: Hub) {
    this.#ingest = ingest
    this.#hub = hub
  }

  /** Whether a message of this topic must wait: too much is held, or another worker is too far behind. */
  isFull(entry: TopicEntry): boolean {
    return this.#heldBytes > LIVE_BYTES_MAX || (entry.workers.length > 0 && this.#hub.isCongested)
  }

  /** Keeps a message until the record with this ticket is durable. `properties` and `payload` must be copies. */
  hold(
    ticket: number,
    entry: TopicEntry,
    publisher: Session,
    qos: number,
    properties: Uint8Array,
    payload: Uint8Array,
  ): void {
    this.#heldBytes += payload.length + properties.length
    this.#held.push({ ticket, entry, publisher, qos, properties, payload })
  }

  /** Delivers what has become durable. */
  onDurable(durable: number): void {
    if (this.#held.length === 0 || this.#held[0]!.ticket > durable) return
    const kept: Held[] = []
    let at = 0
    for (; at < this.#held.length && this.#held[at]!.ticket <= durable; at++) {
      const held = this.#held[at]!
      const { ticket, entry, publisher, qos, properties, payload } = held
      const refusedFrom = entry.target?.raw.heldSequence ?? 0
      // The log refuses this partition for its backlog: its records are not durable, whatever `durable` says.
      if (refusedFrom !== 0 && ticket >= refusedFrom) {
        kept.push(held)
        continue
      }
      this.#heldBytes -= payload.length + properties.length
      this.deliver(entry, publisher, qos, properties, payload)
    }
    this.#held = kept.concat(this.#held.slice(at))
  }

  /** To everyone who is subscribed now. The views need to hold during the call only. */
  deliver(
    entry: TopicEntry,
    publisher: Session,
    qos: number,
    properties: Uint8Array,
    payload: Uint8Array,
  ): void {
    entry.refreshSubscribers()
    for (const [session, options] of entry.subscribers) {
      if (session === publisher && (options & OPTION_NO_LOCAL) !== 0) continue
      session.delivery?.send(qos, options, entry.bytes, properties, payload)
    }
    if (entry.workers.length === 0) return
    const message = { qos, tenant: entry.tenant.name, topic: entry.bytes, properties, payload }
    for (const [worker] of entry.workers) this.#hub.forward(worker, message)
  }

  /** A message that was published on another worker, to the subscribers of this one. */
  deliverRemote({ tenant, topic, qos, properties, payload }: LiveMessage): void {
    const name = decoder.decode(topic)
    const key = `${tenant} ${name}`
    let entry = this.#remoteTopics.get(key)
    if (entry === undefined) {
      if (this.#remoteTopics.size >= TOPIC_CACHE_ENTRIES_MAX) this.#remoteTopics.clear()
      entry = new TopicEntry(topic.slice(), name, this.#ingest.tenant(tenant))
      this.#remoteTopics.set(key, entry)
    }
    entry.refreshSubscribers()
    for (const [session, options] of entry.subscribers)
      session.delivery?.send(qos, options, entry.bytes, properties, payload)
  }

  /** Bytes of messages that wait to become durable. */
  get heldBytes(): number {
    return this.#heldBytes
  }
}
