// The duplicate windows of one partition: of each device the last records, as 64-bit hashes of their payloads.
//
// A record is a duplicate if an equal one (same device, sequence, event time and payload hash) is among the
// last 2^c records of its device. Sequence and event time lie in the payload, so equal hashes mean equal all
// three; a counter that starts anew after a reboot, or a backfill, hashes differently and is no duplicate.
//
//   #pool      hash pairs (low, high: two int32); each device's ring is a block of 2^c pairs in it, at a multiple of 2^c
//   per slot   ring base, head, length i32; c u8; latest event time and sequence f64; index state u8 + i32
//   #index     open addressing over pool positions, only for devices that need it
//
// Most records carry a later event time or a higher sequence than any in their window: they cannot be
// duplicates, and cost one append to their ring. Only the others look, by scanning a short ring, or through
// an index made then and given up after a ring's length of records that did not need it.
//
// Rings start at 16 and double until 2^c, the largest power of two that gives every device of the partition
// its equal share of the byte budget. When more devices come and the share halves, all longer rings are cut
// at once: what a window holds depends on the records alone, never on memory layout or restarts.
import { grownFloat64, grownInt32, grownUint8 } from './key-table.ts'

const CLASS_MIN = 4
/** 65,536 records: more than the 65,535 packet ids an MQTT client can have in flight. */
const CLASS_MAX = 16
/** Entries up to which a scan of the ring beats making an index. */
const SCAN_ENTRIES_MAX = 32
const INDEX_SLOTS_MIN = 256
const POOL_ENTRIES_MIN = 1024
const ENTRY_BYTES = 8
/**
 * By so many entries a ring begins further on than that of the slot before: a page and a cache line. Devices that send in
 * step write to the same place of rings as long as a power of two, which would all be in the same sets of the caches.
 */
const STAGGER = 512 + 8

export interface WindowLimits {
  /** Records of one device that are remembered at most; rounded down to a power of two in [16, 65,536]. */
  windowRecordsMax: number
  /** Bytes of all rings of the partition. */
  windowBytesMax: number
}

export class DuplicateWindows {
  /** Records that left a window before it had the length of windowRecordsMax. */
  evictions = 0

  readonly #classMax: number
  readonly #entriesMax: number
  #classNow: number

  #base = new Int32Array(0)
  #head = new Int32Array(0)
  #length = new Int32Array(0)
  /** log2 of the ring's capacity; 0 = no ring yet. */
  #class = new Uint8Array(0)
  #eventTime = new Float64Array(0)
  #sequence = new Float64Array(0)
  #indexed = new Uint8Array(0)
  /** Appends since the last look through the index. */
  #quiet = new Int32Array(0)
  #slotCount = 0

  #pool = new Int32Array(POOL_ENTRIES_MIN * 2)
  /** The same memory: little-endian on all machines that Node is built for. */
  #poolBytes = new Uint8Array(this.#pool.buffer)
  #poolEnd = 0
  #liveEntries = 0
  /** Bases of the free blocks of each class. */
  readonly #free = Array.from({ length: CLASS_MAX + 1 }, () => new Set<number>())

  #index = new Int32Array(INDEX_SLOTS_MIN)
  #indexShift = 32 - Math.log2(INDEX_SLOTS_MIN)
  #indexCount = 0

  constructor(limits: WindowLimits) {
    this.#classMax = clampClass(Math.floor(Math.log2(limits.windowRecordsMax)))
    this.#entriesMax = Math.max(1 << CLASS_MIN, Math.floor(limits.windowBytesMax / ENTRY_BYTES))
    this.#classNow = this.#classMax
  }

  /** Records that a window holds at most with the present number of devices. */
  get windowRecords(): number {
    return 1 << this.#classNow
  }

  /** Bytes of the rings. */
  get byteLength(): number {
    return this.#liveEntries * ENTRY_BYTES
  }

  /** Makes room for slots below `capacity`. */
  reserve(capacity: number): void {
    if (capacity <= this.#base.length) return
    this.#base = grownInt32(this.#base, capacity)
    this.#head = grownInt32(this.#head, capacity)
    this.#length = grownInt32(this.#length, capacity)
    this.#class = grownUint8(this.#class, capacity)
    this.#eventTime = grownFloat64(this.#eventTime, capacity)
    this.#sequence = grownFloat64(this.#sequence, capacity)
    this.#indexed = grownUint8(this.#indexed, capacity)
    this.#quiet = grownInt32(this.#quiet, capacity)
  }

  /** The next slot, empty: slots are added in order. May shorten the windows of all. */
  addSlot(): number {
    const slot = this.#slotCount++
    this.#length[slot] = this.#head[slot] = this.#quiet[slot] = 0
    this.#class[slot] = this.#indexed[slot] = 0
    this.#eventTime[slot] = this.#sequence[slot] = -Infinity
    this.#share()
    return slot
  }

  /**
   * Whether the record is a duplicate; if not, it is remembered. `low`, `high`: payload hash. `eventTime` and
   * `sequence`: NaN where the record has none, but one of them it must have.
   */
  seen(slot: number, low: number, high: number, eventTime: number, sequence: number): boolean {
    const later = eventTime > this.#eventTime[slot]!
    const higher = sequence > this.#sequence[slot]!
    if (later) this.#eventTime[slot] = eventTime
    if (higher) this.#sequence[slot] = sequence
    if (!later && !higher) {
      if (this.#holds(slot, low, high)) return true
    } else if (this.#indexed[slot] === 1 && ++this.#quiet[slot]! >= this.#length[slot]!) {
      this.#leaveIndex(slot)
    }
    this.#append(slot, low, high)
    return false
  }

  /** Latest event time of the slot's records, -Infinity for none. */
  latestEventTime(slot: number): number {
    return this.#eventTime[slot]!
  }

  /** Highest sequence of the slot's records, -Infinity for none. */
  highestSequence(slot: number): number {
    return this.#sequence[slot]!
  }

  entryCount(slot: number): number {
    return this.#length[slot]!
  }

  /** Copies the slot's hash pairs, oldest first and little-endian, to into[at …]; returns the position after them. */
  copyEntries(slot: number, into: Uint8Array, at: number): number {
    const length = this.#length[slot]!
    if (length === 0) return at
    const base = this.#base[slot]!
    const capacity = 1 << this.#class[slot]!
    const start = (this.#head[slot]! - length) & (capacity - 1)
    const first = Math.min(length, capacity - start)
    const pool = this.#poolBytes
    into.set(pool.subarray((base + start) * ENTRY_BYTES, (base + start + first) * ENTRY_BYTES), at)
    into.set(
      pool.subarray(base * ENTRY_BYTES, (base + length - first) * ENTRY_BYTES),
      at + first * ENTRY_BYTES,
    )
    return at + length * ENTRY_BYTES
  }

  /** Fills a slot just added with what `copyEntries` gave. */
  restore(slot: number, entries: Int32Array, eventTime: number, sequence: number): void {
    for (let i = 0; i < entries.length; i += 2) this.#append(slot, entries[i]!, entries[i + 1]!)
    this.#eventTime[slot] = eventTime
    this.#sequence[slot] = sequence
  }

  /** Renumbers as KeyTable.keepOnly does. */
  keepOnly(keep: Int32Array): void {
    for (let slot = 0; slot < keep.length; slot++) {
      const from = keep[slot]!
      this.#base[slot] = this.#base[from]!
      this.#head[slot] = this.#head[from]!
      this.#length[slot] = this.#length[from]!
      this.#class[slot] = this.#class[from]!
      this.#eventTime[slot] = this.#eventTime[from]!
      this.#sequence[slot] = this.#sequence[from]!
    }
    this.#slotCount = keep.length
    this.#rebuild(0)
    this.#share()
  }

  /** Adapts the window length to the number of devices. */
  #share(): void {
    const fair = Math.floor(Math.log2(this.#entriesMax / Math.max(1, this.#slotCount)))
    const now = Math.min(this.#classMax, clampClass(fair))
    const shorter = now < this.#classNow
    this.#classNow = now
    if (shorter) this.#rebuild(0)
  }

  #append(slot: number, low: number, high: number): void {
    let capacity = 1 << this.#class[slot]!
    if (this.#class[slot] === 0 || this.#length[slot] === capacity) {
      if (this.#class[slot]! < this.#classNow) {
        this.#growRing(slot)
        capacity = 1 << this.#class[slot]!
      } else {
        if (this.#class[slot]! < this.#classMax) this.evictions++
        if (this.#indexed[slot] === 1) {
          this.#removeFromIndex(this.#base[slot]! + (this.#head[slot]! & (capacity - 1)))
        }
        this.#length[slot]!--
      }
    }
    const head = this.#head[slot]! & (capacity - 1)
    const entry = this.#base[slot]! + head
    this.#pool[entry * 2] = low
    this.#pool[entry * 2 + 1] = high
    this.#head[slot] = (head + 1) & (capacity - 1)
    this.#length[slot]!++
    if (this.#indexed[slot] === 1) this.#enterIndex(entry)
  }

  #holds(slot: number, low: number, high: number): boolean {
    const length = this.#length[slot]!
    if (length > SCAN_ENTRIES_MAX) return this.#indexHolds(slot, low, high)
    const pool = this.#pool
    const base = this.#base[slot]!
    const mask = (1 << this.#class[slot]!) - 1
    const head = this.#head[slot]!
    for (let i = 1; i <= length; i++) {
      const entry = (base + ((head - i) & mask)) * 2
      if (pool[entry] === low && pool[entry + 1] === high) return true
    }
    return false
  }

  // Rings in the pool

  #growRing(slot: number): void {
    this.#leaveIndex(slot)
    const next = this.#class[slot] === 0 ? CLASS_MIN : this.#class[slot]! + 1
    let base = this.#allocate(next)
    if (base < 0) {
      // Compacts, so that the room of all outgrown rings can be used; the ring's own base changes too.
      this.#rebuild(1 << next)
      base = this.#allocate(next)
    }
    const old = this.#base[slot]!
    const oldClass = this.#class[slot]!
    this.#moveRing(slot, this.#pool, base, next, this.#length[slot]!)
    if (oldClass === 0) return
    this.#liveEntries -= 1 << oldClass
    this.#release(old, oldClass)
  }

  /** A block of 2^ringClass entries, or -1 where the pool has no room. */
  #allocate(ringClass: number): number {
    const size = 1 << ringClass
    let base: number
    const found = this.#free.findIndex((blocks, at) => at >= ringClass && blocks.size > 0)
    if (found >= 0) {
      base = this.#free[found]!.values().next().value!
      this.#free[found]!.delete(base)
      for (let half = found - 1; half >= ringClass; half--) this.#free[half]!.add(base + (1 << half))
    } else {
      base = (this.#poolEnd + size - 1) & -size
      if ((base + size) * 2 > this.#pool.length) return -1
      while (this.#poolEnd < base) {
        const skipped = Math.log2(this.#poolEnd & -this.#poolEnd)
        this.#release(this.#poolEnd, skipped)
        this.#poolEnd += 1 << skipped
      }
      this.#poolEnd = base + size
    }
    this.#liveEntries += size
    return base
  }

  /** Gives a block back, joined with free neighbours: so the rings that outgrow theirs leave room for longer ones. */
  #release(base: number, ringClass: number): void {
    let joined = ringClass
    let at = base
    while (joined < CLASS_MAX && this.#free[joined]!.delete(at ^ (1 << joined))) {
      at &= ~(1 << joined)
      joined++
    }
    this.#free[joined]!.add(at)
  }

  /** Copies the newest `length` entries of the slot's ring to a ring of 2^ringClass at `base` of `pool`, which is the slot's then. */
  #moveRing(slot: number, pool: Int32Array, base: number, ringClass: number, length: number): void {
    const old = this.#base[slot]!
    const capacity = 1 << this.#class[slot]!
    const size = 1 << ringClass
    let from = (this.#head[slot]! - length) & (capacity - 1)
    let to = (slot * STAGGER) & (size - 1)
    for (let left = length; left > 0; ) {
      const count = Math.min(left, capacity - from, size - to)
      pool.set(this.#pool.subarray((old + from) * 2, (old + from + count) * 2), (base + to) * 2)
      from = (from + count) & (capacity - 1)
      to = (to + count) & (size - 1)
      left -= count
    }
    this.#base[slot] = base
    this.#class[slot] = ringClass
    this.#length[slot] = length
    this.#head[slot] = to
  }

  /**
   * Moves all rings into a new pool without holes and with a free block of `room` entries (a ring's length, or 0); cuts
   * those above the window.
   */
  #rebuild(room: number): void {
    let live = 0
    for (let slot = 0; slot < this.#slotCount; slot++) {
      if (this.#class[slot] !== 0) live += 1 << Math.min(this.#class[slot]!, this.#classNow)
    }
    let entries = POOL_ENTRIES_MIN
    // Twice the room, as far as the budget goes: else rings that grow one after the other rebuild it every time.
    while (entries < (live + room) * 2) entries *= 2
    const pool = new Int32Array(Math.min(entries, Math.max(live + room, this.#entriesMax)) * 2)
    for (const blocks of this.#free) blocks.clear()
    let end = 0
    // The longest first, so that each lies at a multiple of its length.
    for (let ringClass = this.#classNow; ringClass >= CLASS_MIN; ringClass--) {
      for (let slot = 0; slot < this.#slotCount; slot++) {
        if (Math.min(this.#class[slot]!, this.#classNow) !== ringClass) continue
        const length = Math.min(this.#length[slot]!, 1 << ringClass)
        this.evictions += this.#length[slot]! - length
        this.#moveRing(slot, pool, end, ringClass, length)
        end += 1 << ringClass
      }
      if (room !== 1 << ringClass) continue
      this.#free[ringClass]!.add(end)
      end += room
    }
    this.#pool = pool
    this.#poolBytes = new Uint8Array(pool.buffer)
    this.#poolEnd = end
    this.#liveEntries = live
    this.#index = new Int32Array(INDEX_SLOTS_MIN)
    this.#indexShift = 32 - Math.log2(INDEX_SLOTS_MIN)
    this.#indexCount = 0
    this.#indexed.fill(0)
  }

  // Index: pool position + 1 by hash

  #home(entry: number): number {
    return Math.imul(this.#pool[entry * 2]! ^ this.#pool[entry * 2 + 1]!, 0x9e3779b1) >>> this.#indexShift
  }

  #indexHolds(slot: number, low: number, high: number): boolean {
    this.#quiet[slot] = 0
    const base = this.#base[slot]!
    const end = base + (1 << this.#class[slot]!)
    if (this.#indexed[slot] === 0) {
      const mask = end - base - 1
      const head = this.#head[slot]!
      this.#indexed[slot] = 1
      for (let i = 1; i <= this.#length[slot]!; i++) this.#enterIndex(base + ((head - i) & mask))
    }
    const index = this.#index
    const pool = this.#pool
    const mask = index.length - 1
    for (let at = Math.imul(low ^ high, 0x9e3779b1) >>> this.#indexShift; ; at = (at + 1) & mask) {
      const entry = index[at]! - 1
      if (entry < 0) return false
      // Another device's equal hash lies outside this ring.
      if (pool[entry * 2] === low && pool[entry * 2 + 1] === high && entry >= base && entry < end) return true
    }
  }

  #enterIndex(entry: number): void {
    if ((this.#indexCount + 1) * 2 > this.#index.length) this.#growIndex()
    this.#indexCount++
    const mask = this.#index.length - 1
    let at = this.#home(entry)
    while (this.#index[at] !== 0) at = (at + 1) & mask
    this.#index[at] = entry + 1
  }

  #growIndex(): void {
    const old = this.#index
    this.#index = new Int32Array(old.length * 2)
    this.#indexShift--
    this.#indexCount = 0
    for (let i = 0; i < old.length; i++) if (old[i] !== 0) this.#enterIndex(old[i]! - 1)
  }

  /** Takes one entry out and closes the gap (Knuth 6.4, algorithm R), so that no tombstones pile up. */
  #removeFromIndex(entry: number): void {
    const index = this.#index
    const mask = index.length - 1
    let hole = this.#home(entry)
    while (index[hole] !== entry + 1) hole = (hole + 1) & mask
    for (let at = (hole + 1) & mask; index[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(index[at]! - 1)
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        index[hole] = index[at]!
        hole = at
      }
    }
    index[hole] = 0
    this.#indexCount--
  }

  #leaveIndex(slot: number): void {
    if (this.#indexed[slot] === 0) return
    const base = this.#base[slot]!
    const mask = (1 << this.#class[slot]!) - 1
    const head = this.#head[slot]!
    for (let i = 1; i <= this.#length[slot]!; i++) this.#removeFromIndex(base + ((head - i) & mask))
    this.#indexed[slot] = 0
    if (this.#indexCount === 0 && this.#index.length > INDEX_SLOTS_MIN) {
      this.#index = new Int32Array(INDEX_SLOTS_MIN)
      this.#indexShift = 32 - Math.log2(INDEX_SLOTS_MIN)
    }
  }
}

function clampClass(ringClass: number): number {
  return Math.min(CLASS_MAX, Math.max(CLASS_MIN, ringClass))
}

/**
 * 64-bit payload hashes in two int32 lanes: murmur3's steps with two sets of constants, so that a collision
 * in one lane says nothing about the other. After `hash` the lanes are in `low` and `high`.
 */
export class PayloadHash {
  low = 0
  high = 0

  /** `view`: of the same memory as `bytes`. */
  hash(bytes: Uint8Array, view: DataView, start: number, end: number, seed: number): void {
    let low = seed ^ 0x2f693b52
    let high = Math.imul(seed, 0x9e3779b1) ^ 0x51ed270b
    const whole = start + ((end - start) & ~3)
    let at = start
    for (; at < whole; at += 4) {
      const k = view.getInt32(at, true)
      low = Math.imul(low ^ Math.imul(k, 0xcc9e2d51), 0x1b873593)
      low ^= low >>> 15
      high = Math.imul(high, 0x85ebca77) + Math.imul(k, 0xc2b2ae3d)
      high = (high << 13) | (high >>> 19)
    }
    let tail = end - start
    for (let shift = 8; at < end; at++, shift += 8) tail = Math.imul(tail, 0x01000193) ^ (bytes[at]! << shift)
    low = Math.imul(low ^ tail, 0xcc9e2d51)
    high = Math.imul(high, 0x85ebca77) + Math.imul(tail, 0xc2b2ae3d)
    low ^= low >>> 16
    low = Math.imul(low, 0x85ebca6b)
    high ^= high >>> 15
    high = Math.imul(high, 0x27d4eb2f)
    this.low = low ^ (low >>> 13)
    this.high = high ^ (high >>> 16)
  }
}
