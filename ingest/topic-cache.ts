// What a topic of one connection resolved to, remembered: a device that publishes to one topic compares bytes
// once per message, a gateway with thousands finds them in a table that is allocated when a second topic comes.
//
// The table is open addressing over a hash of the topic's bytes. It is emptied when it is full: a client that
// invents topics cannot make it grow, and one that needs a few more than fit pays a resolution now and then.
import { murmur2 } from '../std/hash.ts'
import { viewOf } from '../std/last-view.ts'
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
const TEXT_BYTES_MIN = 512
// A row of the table: what decides about a topic lies together, because with thousands of topics in random order
// each object that is looked at is a cache miss, and four of them cost more than all the rest of a message.
const HASH = 0
const TEXT = 1
/** 0: the row is free. */
const LENGTH = 2
const ROW = 3

export class TopicCache {
  /** Entries held. */
  count = 0
  /** Whether entries were dropped to make room: what this connection used is no longer known in full. */
  isIncomplete = false
  #entries: (TopicEntry | undefined)[] = new Array(CAPACITY_MIN)
  #rows = new Int32Array(CAPACITY_MIN * ROW)
  #mask = CAPACITY_MIN - 1
  /** The topics, one after the other. */
  #text = new Uint8Array(TEXT_BYTES_MIN)
  #textView = new DataView(this.#text.buffer)
  #textEnd = 0

  get(bytes: Uint8Array, start: number, end: number): TopicEntry | undefined {
    const hash = murmur2(bytes, start, end)
    const rows = this.#rows
    const mask = this.#mask
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const row = slot * ROW
      const length = rows[row + LENGTH]!
      if (length === 0) return undefined
      if (
        rows[row + HASH] === hash &&
        length === end - start &&
        this.#isText(rows[row + TEXT]!, bytes, start, length)
      )
        return this.#entries[slot]
    }
  }

  /** Adds an entry whose topic is not held. */
  add(entry: TopicEntry): void {
    if (this.count >= TOPIC_CACHE_ENTRIES_MAX) {
      this.isIncomplete = true
      this.#textEnd = 0
      this.#allocate(CAPACITY_MIN)
    } else if (this.count * 2 > this.#mask) {
      const held = this.#entries
      this.#textEnd = 0
      this.#allocate((this.#mask + 1) * 2)
      for (const one of held) if (one !== undefined) this.#insert(one)
    }
    this.#insert(entry)
  }

  /** Every entry held. */
  *entries(): Generator<TopicEntry> {
    for (const entry of this.#entries) if (entry !== undefined) yield entry
  }

  #insert(entry: TopicEntry): void {
    const hash = murmur2(entry.bytes)
    const { length } = entry.bytes
    let slot = hash & this.#mask
    while (this.#entries[slot] !== undefined) slot = (slot + 1) & this.#mask
    if (this.#textEnd + length > this.#text.length) this.#growText(length)
    this.#text.set(entry.bytes, this.#textEnd)
    this.#entries[slot] = entry
    this.#rows[slot * ROW + HASH] = hash
    this.#rows[slot * ROW + TEXT] = this.#textEnd
    this.#rows[slot * ROW + LENGTH] = length
    this.#textEnd += length
    this.count++
  }

  #growText(length: number): void {
    const grown = new Uint8Array(Math.max(this.#text.length * 2, this.#textEnd + length))
    grown.set(this.#text.subarray(0, this.#textEnd))
    this.#text = grown
    this.#textView = new DataView(grown.buffer)
  }

  /** A word at a time, the last one overlapping the one before. */
  #isText(at: number, bytes: Uint8Array, start: number, length: number): boolean {
    if (length < 4) {
      for (let i = 0; i < length; i++) if (this.#text[at + i] !== bytes[start + i]) return false
      return true
    }
    const own = this.#textView
    const view = viewOf(bytes)
    const last = length - 4
    for (let i = 0; i < last; i += 4) if (own.getInt32(at + i) !== view.getInt32(start + i)) return false
    return own.getInt32(at + last) === view.getInt32(start + last)
  }

  #allocate(capacity: number): void {
    this.#entries = new Array(capacity)
    this.#rows = new Int32Array(capacity * ROW)
    this.#mask = capacity - 1
    this.count = 0
  }
}
