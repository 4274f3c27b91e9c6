// A dictionary of byte strings under construction: open addressing over a 32-bit hash of the bytes, entries
// numbered in the order of their first appearance.
//
//   slots     entry number + 1, 0 is empty; at most half full, linear probing
//   hashes    the hash of each entry: what a probe compares before it looks at bytes
//   offsets   entry i is data[offsets[i], offsets[i + 1])

import { sameBytes } from '../../std/copy.ts'
import { newView, viewOf } from '../../std/view.ts'

const SLOTS_MIN = 1 << 10

export class BinaryDictionary {
  count = 0
  offsets = new Int32Array(1024)
  data = new Uint8Array(1 << 14)
  #dataView = newView(this.data)
  #hashes = new Int32Array(1024)
  #slots = new Int32Array(SLOTS_MIN)
  /** The entry that was asked for after each entry, when `internAfter` was last told. */
  #after = new Int32Array(1024)

  clear(): void {
    this.count = 0
    this.#slots.fill(0)
  }

  get byteLength(): number {
    return this.offsets[this.count]!
  }

  /** The number of the entry that equals bytes[start, end), which is added where there is none. */
  intern(bytes: Uint8Array, start: number, end: number): number {
    const hash = hashBytes(bytes, start, end)
    const mask = this.#slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]!
      if (entry === 0) {
        this.#slots[slot] = this.count + 1
        return this.#add(bytes, start, end, hash)
      }
      if (this.#hashes[entry - 1] === hash && this.#equals(entry - 1, bytes, start, end)) return entry - 1
    }
  }

  /**
   * As `intern`, for strings that keep coming in much the same order, as a fleet's devices do: what followed
   * `previous` the last time is compared first, which needs no hash and touches no slot.
   */
  internAfter(previous: number, bytes: Uint8Array, start: number, end: number): number {
    const guess = this.#after[previous]!
    if (guess < this.count && this.#equals(guess, bytes, start, end)) return guess
    const entry = this.intern(bytes, start, end)
    this.#after[previous] = entry
    return entry
  }

  #equals(id: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.offsets[id]!
    const length = end - start
    return (
      this.offsets[id + 1]! - from === length && sameBytes(viewOf(bytes), start, this.#dataView, from, length)
    )
  }

  #add(bytes: Uint8Array, start: number, end: number, hash: number): number {
    const id = this.count++
    if (id + 2 > this.offsets.length) this.offsets = grow32(this.offsets)
    if (id === this.#hashes.length) {
      this.#hashes = grow32(this.#hashes)
      this.#after = grow32(this.#after)
    }
    const at = this.offsets[id]!
    const length = end - start
    if (at + length > this.data.length) {
      const grown = new Uint8Array(Math.max(this.data.length * 2, at + length))
      grown.set(this.data.subarray(0, at))
      this.data = grown
      this.#dataView = newView(grown)
    }
    if (length > 32) this.data.set(bytes.subarray(start, end), at)
    else for (let i = 0; i < length; i++) this.data[at + i] = bytes[start + i]!
    this.offsets[id + 1] = at + length
    this.#hashes[id] = hash
    if (this.count * 2 > this.#slots.length) this.#rehash()
    return id
  }

  #rehash(): void {
    const slots = new Int32Array(this.#slots.length * 2)
    const mask = slots.length - 1
    for (let id = 0; id < this.count; id++) {
      let slot = this.#hashes[id]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = id + 1
    }
    this.#slots = slots
  }
}

function grow32(array: Int32Array): Int32Array<ArrayBuffer> {
  const grown = new Int32Array(array.length * 2)
  grown.set(array)
  return grown
}

/** Four bytes a step; the end is mixed so that the low bits, which choose the slot, depend on all. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let h = 0x9747b28c ^ (end - start)
  let at = start
  for (; at + 4 <= end; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    h = Math.imul((h << 5) | (h >>> 27), 0x9e3779b1) ^ Math.imul(word, 0x85ebca6b)
  }
  for (; at < end; at++) h = Math.imul(h ^ bytes[at]!, 0x01000193)
  h = Math.imul(h ^ (h >>> 15), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}
