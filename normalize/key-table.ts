// Key bytes (device ids, firmware versions) → a dense slot number, without a string or an object per key.
//
//   #table      open addressing, linear probing, load ≤ 0.5: pairs of slot + 1 (0 = empty) and hash
//   per slot    hash i32, key start i32, key length u8
//   #keys       key bytes back to back, in slot order
//
// Slots are dense (0 … count − 1), so that what belongs to a key lies in arrays beside this one. They only
// change when keys are given up, and then all of them at once: `keepOnly` renumbers.
//
// Bytes a key: 9 + 16 to 32 for the table + the key itself.
import { sameBytes } from '../std/copy.ts'
import { murmur2 } from '../std/hash.ts'

/** Longest key: a device id has at most 128 bytes (schemas/names.ts), a length here one byte. */
export const KEY_BYTES_MAX = 128

const SLOTS_MIN = 64
const KEY_BYTES_MIN = 2048
/** 2^32 / golden ratio: spreads hashes whose low bits are all equal, as those of one partition are. */
const SPREAD = 0x9e3779b1

export class KeyTable {
  count = 0
  /** Hash of each slot's key: also the seed of its payload hashes. */
  hashes = new Int32Array(SLOTS_MIN)
  #keyStarts = new Int32Array(SLOTS_MIN)
  #keyLengths = new Uint8Array(SLOTS_MIN)
  #keys = new Uint8Array(KEY_BYTES_MIN)
  #keysView = new DataView(this.#keys.buffer)
  #keysEnd = 0
  #table = new Int32Array(SLOTS_MIN * 4)
  #shift = 32 - Math.log2(SLOTS_MIN * 2)
  /** Slot of the last find: equal keys come in runs. */
  #last = -1

  /** Slots that fit without growing; arrays beside this one are at least as long. */
  get capacity(): number {
    return this.hashes.length
  }

  /** The slot of the key bytes[start, end), or -1. `view`: of the same memory as `bytes`. */
  find(bytes: Uint8Array, view: DataView, start: number, end: number): number {
    const last = this.#last
    if (last >= 0 && this.#equals(last, view, start, end)) return last
    const found = this.#probe(murmur2(bytes, start, end), view, start, end)
    if (found >= 0) this.#last = found
    return found
  }

  /** Adds a key that `find` did not know; at most KEY_BYTES_MAX bytes. Returns its slot. */
  add(bytes: Uint8Array, start: number, end: number): number {
    if (this.count === this.capacity) this.#grow()
    const slot = this.count++
    const length = end - start
    if (this.#keysEnd + length > this.#keys.length) {
      const grown = new Uint8Array(this.#keys.length * 2)
      grown.set(this.#keys)
      this.#keys = grown
      this.#keysView = new DataView(grown.buffer)
    }
    for (let i = 0; i < length; i++) this.#keys[this.#keysEnd + i] = bytes[start + i]!
    this.hashes[slot] = murmur2(bytes, start, end)
    this.#keyStarts[slot] = this.#keysEnd
    this.#keyLengths[slot] = length
    this.#keysEnd += length
    this.#enter(slot)
    this.#last = slot
    return slot
  }

  /** A view of the slot's key; valid until the next `add` or `keepOnly`. */
  key(slot: number): Uint8Array {
    const start = this.#keyStarts[slot]!
    return this.#keys.subarray(start, start + this.#keyLengths[slot]!)
  }

  /** Keeps the slots `keep` (ascending) and renumbers them 0, 1, 2 … in that order. */
  keepOnly(keep: Int32Array): void {
    let keysEnd = 0
    for (let slot = 0; slot < keep.length; slot++) {
      const from = keep[slot]!
      const start = this.#keyStarts[from]!
      const length = this.#keyLengths[from]!
      // Keys lie in slot order, so a move never passes what is still to be moved.
      this.#keys.copyWithin(keysEnd, start, start + length)
      this.hashes[slot] = this.hashes[from]!
      this.#keyStarts[slot] = keysEnd
      this.#keyLengths[slot] = length
      keysEnd += length
    }
    this.count = keep.length
    this.#keysEnd = keysEnd
    this.#last = -1
    this.#table.fill(0)
    for (let slot = 0; slot < this.count; slot++) this.#enter(slot)
  }

  #probe(hash: number, view: DataView, start: number, end: number): number {
    const table = this.#table
    const mask = table.length - 1
    for (let at = (Math.imul(hash, SPREAD) >>> this.#shift) * 2; ; at = (at + 2) & mask) {
      const slot = table[at]! - 1
      if (slot < 0) return -1
      if (table[at + 1] === hash && this.#equals(slot, view, start, end)) return slot
    }
  }

  #equals(slot: number, view: DataView, start: number, end: number): boolean {
    const length = end - start
    return (
      this.#keyLengths[slot] === length &&
      sameBytes(view, start, this.#keysView, this.#keyStarts[slot]!, length)
    )
  }

  #enter(slot: number): void {
    const table = this.#table
    const mask = table.length - 1
    const hash = this.hashes[slot]!
    let at = (Math.imul(hash, SPREAD) >>> this.#shift) * 2
    while (table[at] !== 0) at = (at + 2) & mask
    table[at] = slot + 1
    table[at + 1] = hash
  }

  #grow(): void {
    const capacity = this.capacity * 2
    this.hashes = grownInt32(this.hashes, capacity)
    this.#keyStarts = grownInt32(this.#keyStarts, capacity)
    this.#keyLengths = grownUint8(this.#keyLengths, capacity)
    this.#table = new Int32Array(capacity * 4)
    this.#shift--
    for (let slot = 0; slot < this.count; slot++) this.#enter(slot)
  }
}

export function grownInt32(from: Int32Array, length: number): Int32Array<ArrayBuffer> {
  const grown = new Int32Array(length)
  grown.set(from)
  return grown
}

export function grownFloat64(from: Float64Array, length: number): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(length)
  grown.set(from)
  return grown
}

export function grownUint8(from: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const grown = new Uint8Array(length)
  grown.set(from)
  return grown
}
