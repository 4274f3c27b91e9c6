// What the topics of one connection resolved to, remembered. A device that publishes to one topic compares bytes
// once per message. A gateway with thousands finds them in a table that is made when a second topic comes:
//
//   index   slot of a hash ──► 12 bits of the hash │ 20 bits: where the row begins, in words of 4 bytes; 0: free
//
//   row     0               1           2                       3 …
//           ├───────────────┼───────────┼───────────────────────┼──────────────
//           │ topic bytes 16│ target, or│ version of the        │ topic, padded
//           │ key at       8│ -1: has a │ subscriptions that it │ with zeros to
//           │ key bytes    8│ TopicEntry│ was looked up with    │ whole words
//
// A row is all that a message of an accepted topic needs, because each object that is looked at costs a cache miss
// once there are thousands, and a miss costs more than all the work on a message: 40 to 50 bytes instead of the 700
// of a TopicEntry and what hangs on it. The record's key is taken from the packet, where the topic has just been read.
// Topics that need more (subscribers, a rate, ordinary and refused ones) have a TopicEntry beside their row.
//
// The table is emptied when it is full: a client that invents topics cannot make it grow, and one that needs a few
// more than fit pays a resolution now and then. The hash has a seed of this process, so that nobody can choose topics
// that fall on one slot.
import { viewOf } from '../std/view.ts'
import type { AdmissionTarget } from './admission.ts'
import { TOPIC_CACHE_BYTES_MAX, TOPIC_CACHE_ENTRIES_MAX, TOPIC_CACHE_ROWS_MAX } from './limits.ts'
import { AHEAD_END, AHEAD_ENTRY, AHEAD_KNOWN_AS, AHEAD_MAX, AHEAD_START } from './mqtt-parser.ts'
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
  // Telemetry. The record's key is bytes[keyStart, keyEnd) of the topic
  target: AdmissionTarget | undefined
  keyStart = 0
  keyEnd = 0
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

  /** Whether a row of the table is enough for it. */
  get isPlain(): boolean {
    return this.kind === KIND_TELEMETRY && !this.hasSubscribers && this.bucket === undefined
  }

  /** Looks the subscribers up again where a subscription has changed since. */
  refreshSubscribers(): void {
    const { tenant } = this
    const version = tenant.subscriptionsVersion
    if (version === this.subscribersVersion) return
    this.subscribersVersion = version
    if (tenant.local.size + tenant.remote.size === 0) {
      this.subscribers = this.workers = []
      this.hasSubscribers = false
      return
    }
    const local = new Map<Session, number>()
    const remote = new Map<number, number>()
    tenant.local.match(this.name, local)
    tenant.remote.match(this.name, remote)
    this.subscribers = [...local]
    this.workers = [...remote]
    this.hasSubscribers = local.size + remote.size > 0
  }
}

const SLOTS_MIN = 16
/** Words from which on a row of usual length lies in the next line of the cache. */
const LINE_WORDS = 10
const WORDS_MIN = 128
// Words of a row
const LENGTHS = 0
const LEADS_TO = 1
const SUBSCRIPTIONS = 2
const TEXT = 3
/** In LEADS_TO: the topic has a TopicEntry. */
const HAS_ENTRY = -1
const KEY_AT_SHIFT = 16
const KEY_BYTES_SHIFT = 24
/** Where a row begins, in a slot of the index; above it is a part of the hash. */
const ROW_MASK = TOPIC_CACHE_BYTES_MAX / 4 - 1
const SEED = (Math.random() * 2 ** 32) | 0
const MULTIPLIER = 0x9e3779b1

const mix = (hash: number, word: number): number => {
  const product = Math.imul(hash ^ word, MULTIPLIER)
  return product ^ (product >>> 15)
}

/**
 * Of the words of [start, end), the last one overlapping the one before: how many bytes are left over depends on the
 * topic, and a branch that is taken for each other one costs as much as three words.
 */
function hashOf(view: DataView, start: number, end: number): number {
  const last = end - 4
  let hash = SEED ^ (end - start)
  if (last < start) {
    for (let at = start; at < end; at++) hash = mix(hash, view.getUint8(at))
    return hash
  }
  for (let at = start; at < last; at += 4) hash = mix(hash, view.getInt32(at, true))
  return mix(hash, view.getInt32(last, true))
}

/** Whether `length` bytes at `a` are those at `b`; by words as in `hashOf`. */
function isEqual(view: DataView, a: number, other: DataView, b: number, length: number): boolean {
  const last = length - 8
  if (last < 0) {
    for (let i = 0; i < length; i++) if (view.getUint8(a + i) !== other.getUint8(b + i)) return false
    return true
  }
  for (let i = 0; i < last; i += 8) if (view.getBigInt64(a + i) !== other.getBigInt64(b + i)) return false
  return view.getBigInt64(a + last) === other.getBigInt64(b + last)
}

// Of the topics that are looked up ahead.
const hashes = new Int32Array(AHEAD_MAX)
const aheadRows = new Int32Array(AHEAD_MAX)

export class TopicCache {
  readonly tenant: Tenant
  /** Version of the topic table that all rows were resolved with. */
  version: number
  /** Rows held. */
  count = 0
  /** Every target that the connection has used, those of rows that were dropped too. */
  readonly targets = new Set<AdmissionTarget>()
  readonly #entries = new Map<number, TopicEntry>()
  #index = new Int32Array(SLOTS_MIN)
  #rows = new Int32Array(WORDS_MIN)
  /** The same. */
  #view = new DataView(this.#rows.buffer)
  /** Where the next row begins; 0 is no row. */
  #end = 1
  /** Where the parser was told what it asked for last. */
  #ahead: Int32Array | undefined

  constructor(tenant: Tenant, version: number) {
    this.tenant = tenant
    this.version = version
  }

  /** The row of the topic bytes[start, end), 0 where it is not held. It is valid until `put`. */
  find(bytes: Uint8Array, start: number, end: number): number {
    const view = viewOf(bytes)
    return this.#match(hashOf(view, start, end), view, start, end)
  }

  /** As `find`, where the row is all that a message needs: a stream takes it, and nobody is subscribed. */
  findPlain(bytes: Uint8Array, start: number, end: number, version: number): number {
    if (this.version !== version) this.clear(version)
    const row = this.find(bytes, start, end)
    return row !== 0 && this.isPlain(row, this.tenant.subscriptionsVersion) ? row : 0
  }

  /**
   * As `findPlain`, of topics that come next, as PacketHandler.onTopicsAhead says. One after the other, each waits for
   * a slot of the index and then for a row; like this the processor waits for all slots together, and then for all
   * rows. What is found is valid until a packet of another kind: a row that another topic takes its place from is
   * forgotten there too.
   */
  lookAhead(bytes: Uint8Array, ahead: Int32Array, count: number, version: number): void {
    if (this.version !== version) this.clear(version)
    const view = viewOf(bytes)
    const index = this.#index
    const rows = this.#rows
    const mask = index.length - 1
    const { subscriptionsVersion } = this.tenant
    let touched = 0
    for (let i = 0, at = 0; i < count; i++, at += AHEAD_ENTRY)
      hashes[i] = hashOf(view, ahead[at + AHEAD_START]!, ahead[at + AHEAD_END]!)
    for (let i = 0; i < count; i++) aheadRows[i] = index[hashes[i]! & mask]! & ROW_MASK
    // A row and the line of the cache that its text may reach into.
    for (let i = 0; i < count; i++) touched ^= rows[aheadRows[i]!]! ^ rows[aheadRows[i]! + LINE_WORDS]!
    for (let i = 0, at = 0; i < count; i++, at += AHEAD_ENTRY) {
      const row = this.#match(hashes[i]!, view, ahead[at + AHEAD_START]!, ahead[at + AHEAD_END]!)
      if (row !== 0 && this.isPlain(row, subscriptionsVersion)) ahead[at + AHEAD_KNOWN_AS] = row
    }
    this.#ahead = ahead
    // Used for nothing, but kept, so that the reads are made.
    hashes[0] = touched
  }

  #match(hash: number, view: DataView, start: number, end: number): number {
    const length = end - start
    const index = this.#index
    const rows = this.#rows
    const mask = index.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const held = index[slot]!
      if (held === 0) return 0
      if (((held ^ hash) & ~ROW_MASK) !== 0) continue
      const row = held & ROW_MASK
      if ((rows[row]! & 0xffff) !== length) continue
      if (isEqual(this.#view, (row + TEXT) << 2, view, start, length)) return row
    }
  }

  /** Whether the row is all that a message needs: a stream takes it, nobody was subscribed at `subscriptionsVersion`. */
  isPlain(row: number, subscriptionsVersion: number): boolean {
    return this.#rows[row + LEADS_TO]! >= 0 && this.#rows[row + SUBSCRIPTIONS] === (subscriptionsVersion | 0)
  }

  /** Index of the target of a plain row. */
  targetOf(row: number): number {
    return this.#rows[row + LEADS_TO]!
  }

  /** Where the key begins in the topic of a plain row. */
  keyStartOf(row: number): number {
    return (this.#rows[row]! >>> KEY_AT_SHIFT) & 0xff
  }

  keyBytesOf(row: number): number {
    return this.#rows[row]! >>> KEY_BYTES_SHIFT
  }

  /** The entry of a row that is not plain. */
  entryOf(row: number): TopicEntry | undefined {
    return this.#entries.get(row)
  }

  /** Remembers what a topic resolved to: in its row where there is one, else (`row` 0) in a new one. */
  put(entry: TopicEntry, row = 0): void {
    const { bytes, isPlain, target } = entry
    if (target !== undefined) this.targets.add(target)
    const isFull = !isPlain && this.#entries.size >= TOPIC_CACHE_ENTRIES_MAX
    if (isFull && this.#entries.get(row) !== entry) {
      this.clear(this.version)
      row = 0
    }
    const at = row === 0 ? this.#makeRow(bytes) : row
    const rows = this.#rows
    if (isPlain) this.#entries.delete(at)
    else this.#entries.set(at, entry)
    rows[at + LENGTHS] =
      bytes.length |
      (isPlain ? (entry.keyStart << KEY_AT_SHIFT) | ((entry.keyEnd - entry.keyStart) << KEY_BYTES_SHIFT) : 0)
    rows[at + LEADS_TO] = isPlain ? target!.index : HAS_ENTRY
    rows[at + SUBSCRIPTIONS] = entry.subscribersVersion
  }

  /** Forgets all rows: they were resolved with another version of the topic table. */
  clear(version: number): void {
    // What was found ahead is found no more.
    for (let at = AHEAD_KNOWN_AS; this.#ahead !== undefined && at < this.#ahead.length; at += AHEAD_ENTRY)
      this.#ahead[at] = 0
    this.version = version
    this.count = 0
    this.#entries.clear()
    this.#index = new Int32Array(SLOTS_MIN)
    this.#setRows(new Int32Array(WORDS_MIN))
    this.#end = 1
  }

  #setRows(rows: Int32Array<ArrayBuffer>): void {
    this.#rows = rows
    this.#view = new DataView(rows.buffer)
  }

  #makeRow(topic: Uint8Array): number {
    const words = TEXT + ((topic.length + 3) >>> 2)
    if (this.count >= TOPIC_CACHE_ROWS_MAX || this.#end + words > ROW_MASK) this.clear(this.version)
    // LINE_WORDS more, so that `lookAhead` never reads beyond the end.
    if (this.#end + words + LINE_WORDS > this.#rows.length) {
      const grown = new Int32Array(Math.max(this.#rows.length * 2, this.#end + words + LINE_WORDS))
      grown.set(this.#rows)
      this.#setRows(grown)
    }
    const row = this.#end
    this.#end += words
    this.#rows[row + LENGTHS] = topic.length
    for (let i = 0; i < topic.length; i++) this.#view.setUint8(((row + TEXT) << 2) + i, topic[i]!)
    if (++this.count * 2 > this.#index.length) {
      this.#index = new Int32Array(this.#index.length * 2)
      for (let at = 1; at < this.#end; at += TEXT + (((this.#rows[at]! & 0xffff) + 3) >>> 2)) this.#link(at)
    } else this.#link(row)
    return row
  }

  #link(row: number): void {
    const index = this.#index
    const mask = index.length - 1
    const text = (row + TEXT) << 2
    const hash = hashOf(this.#view, text, text + (this.#rows[row]! & 0xffff))
    let slot = hash & mask
    while (index[slot] !== 0) slot = (slot + 1) & mask
    index[slot] = (hash & ~ROW_MASK) | row
  }
}
