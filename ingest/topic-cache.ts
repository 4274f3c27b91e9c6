// What a topic of one connection resolved to, remembered: a device that publishes to one topic compares bytes
// once per message, a gateway with thousands finds them in a table that is allocated when a second topic comes.
//
// The table is open addressing over a hash of the topic's bytes. It is emptied when it is full: a client that
// invents topics cannot make it grow, and one that needs a few more than fit pays a resolution now and then.
import { murmur2 } from '../std/hash.ts'
import type { AdmissionTarget } from './admission.ts'
import { TOPIC_CACHE_ENTRIES_MAX } from './limits.ts'
import type { TokenBucket } from './rate-limit.ts'
import type { Refusal } from './refusals.ts'
import type { Session } from './session.ts'
import type { Tenant } from './tenant.ts'

export const KIND_TELEMETRY = 0
export const KIND_ORDINARY = 1
export const KIND_REFUSED = 2

/** One topic name as one connection's principal may use it. One shape for all kinds, so that hot code stays monomorphic. */
export class TopicEntry {
  /** The topic name in UTF-8; our own copy. */
  readonly bytes: Uint8Array
  readonly name: string
  readonly tenant: Tenant
  /** Version of the topic table that it was resolved with. */
  version = 0
  kind = KIND_REFUSED
  // Telemetry
  target: AdmissionTarget | undefined
  bucket: TokenBucket | undefined
  // Refused
  refusal: Refusal = 0
  detail = ''
  // Live subscribers, as of `subscribersVersion` of the tenant
  subscribersVersion = -1
  hasSubscribers = false
  subscribers: readonly (readonly [session: Session, options: number])[] = []
  workers: readonly (readonly [worker: number, options: number])[] = []

  constructor(bytes: Uint8Array, name: string, tenant: Tenant) {
    this.bytes = bytes
    this.name = name
    this.tenant = tenant
  }

  /** Whether bytes[start, end) are this topic. */
  equals(bytes: Uint8Array, start: number, end: number): boolean {
    const own = this.bytes
    let i = end - start
    if (own.length !== i) return false
    // Backwards: topics of one client differ at their ends.
    while (--i >= 0) if (own[i] !== bytes[start + i]) return false
    return true
  }

  /** Looks the subscribers up again where a subscription has changed since. */
  refreshSubscribers(): void {
    const { tenant } = this
    const version = tenant.local.version + tenant.remote.version
    if (version === this.subscribersVersion) return
    this.subscribersVersion = version
    const local = new Map<Session, number>()
    const remote = new Map<number, number>()
    tenant.local.match(this.name, local)
    tenant.remote.match(this.name, remote)
    this.subscribers = [...local]
    this.workers = [...remote]
    this.hasSubscribers = local.size + remote.size > 0
  }
}

const CAPACITY_MIN = 16

export class TopicCache {
  /** Entries held. */
  count = 0
  /** Whether entries were dropped to make room: what this connection used is no longer known in full. */
  isIncomplete = false
  #slots: (TopicEntry | undefined)[] = new Array(CAPACITY_MIN)
  #hashes = new Int32Array(CAPACITY_MIN)

  get(bytes: Uint8Array, start: number, end: number): TopicEntry | undefined {
    const hash = murmur2(bytes, start, end)
    const mask = this.#hashes.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]
      if (entry === undefined) return undefined
      if (this.#hashes[slot] === hash && entry.equals(bytes, start, end)) return entry
    }
  }

  /** Adds an entry whose topic is not held. */
  add(entry: TopicEntry): void {
    if (this.count >= TOPIC_CACHE_ENTRIES_MAX) {
      this.isIncomplete = true
      this.#allocate(CAPACITY_MIN)
    } else if (this.count * 2 >= this.#hashes.length) {
      const held = this.#slots
      this.#allocate(this.#hashes.length * 2)
      for (const one of held) if (one !== undefined) this.#insert(one)
    }
    this.#insert(entry)
  }

  /** Every entry held. */
  *entries(): Generator<TopicEntry> {
    for (const entry of this.#slots) if (entry !== undefined) yield entry
  }

  #insert(entry: TopicEntry): void {
    const hash = murmur2(entry.bytes)
    const mask = this.#hashes.length - 1
    let slot = hash & mask
    while (this.#slots[slot] !== undefined) slot = (slot + 1) & mask
    this.#slots[slot] = entry
    this.#hashes[slot] = hash
    this.count++
  }

  #allocate(capacity: number): void {
    this.#slots = new Array(capacity)
    this.#hashes = new Int32Array(capacity)
    this.count = 0
  }
}
