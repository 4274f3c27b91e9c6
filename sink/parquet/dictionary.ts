// RLE_DICTIONARY (Parquet Encodings.md, "Dictionary Encoding"): the distinct values of a chunk once, in a
// page of their own, PLAIN; data pages hold indices into it as runs.
//
// Numbers are looked up by their bits, so that -0.0 and 0.0, and NaNs of different payloads, stay apart:
// open addressing with linear probing, a slot being one or two words of key and the entry's number + 1 (0 is
// empty), padded to a power of two so that a probe touches one cache line.
import type { LeafValues } from './values.ts'

/** Entries beyond which a dictionary of numbers is given up: 1 MiB of doubles, what parquet-mr and Arrow stop at. */
export const ENTRIES_MAX = 1 << 17
const SLOTS_MIN = 1 << 10

/** Dictionary of numbers of one word (int32, float) or two (int64, double). One instance a thread. */
export class WordDictionary {
  count = 0
  /** Doubles only: entry k + step is entry k + 1 / 2^d, all through (step-frame.ts); 0 where that is not known. */
  step = 0
  /** The entries in the order of their first appearance: a PLAIN dictionary page. */
  entries = new Int32Array(2 * SLOTS_MIN)
  #slots = new Int32Array(4 * SLOTS_MIN)

  /**
   * Numbers the first `count` values of `values` into its `ids`. False, and nothing to be used, when there are more
   * than `entriesMax` distinct ones. `expected` sizes the table.
   */
  build(values: LeafValues, entriesMax: number, expected: number): boolean {
    const max = Math.min(entriesMax, ENTRIES_MAX)
    const wide = values.kind === 'int64' || values.kind === 'double'
    const ids = values.ownIds(values.count)
    this.count = 0
    this.step = 0
    const slotBits = 32 - Math.clz32(Math.max(SLOTS_MIN, Math.min(expected, max) * 2) - 1)
    return wide
      ? this.#buildWide(values.words, values.count, ids, max, slotBits)
      : this.#buildNarrow(values.words, values.count, ids, max, slotBits)
  }

  /** One entry, the first value; `ids` are not set, as the index of a single entry has no bits. */
  takeFirst(values: LeafValues): void {
    this.count = 1
    this.step = 0
    this.entries[0] = values.words[0]!
    if (values.kind === 'int64') this.entries[1] = values.words[1]!
  }

  /** Room for `count` words of entries, what lies there not kept. */
  ownEntries(count: number): Int32Array {
    if (this.entries.length < count) this.entries = new Int32Array(count)
    return this.entries
  }

  #prepare(slotBits: number, slotWords: number, entryWords: number): Int32Array {
    const words = slotWords << slotBits
    if (this.#slots.length < words) this.#slots = new Int32Array(words)
    else this.#slots.fill(0, 0, words)
    const entries = entryWords << slotBits
    if (this.entries.length < entries) {
      const grown = new Int32Array(entries)
      grown.set(this.entries.subarray(0, this.count * entryWords))
      this.entries = grown
    }
    return this.#slots
  }

  #buildWide(words: Int32Array, count: number, ids: Int32Array, max: number, bits: number): boolean {
    let slotBits = bits
    let slots = this.#prepare(slotBits, 4, 2)
    let entries = this.entries
    let shift = 32 - slotBits
    let mask = (1 << slotBits) - 1
    let entryCount = 0
    for (let i = 0; i < count; i++) {
      const low = words[i << 1]!
      const high = words[(i << 1) | 1]!
      let slot = hashPair(low, high) >>> shift
      for (;;) {
        const at = slot << 2
        const entry = slots[at + 2]!
        if (entry === 0) {
          if (entryCount === max) return false
          if (entryCount << 1 > mask) {
            // Half full: twice the slots, and this value again.
            this.count = entryCount
            slots = this.#rehashWide(++slotBits)
            entries = this.entries
            shift = 32 - slotBits
            mask = (1 << slotBits) - 1
            i--
            break
          }
          entries[entryCount << 1] = low
          entries[(entryCount << 1) | 1] = high
          slots[at] = low
          slots[at + 1] = high
          ids[i] = entryCount
          slots[at + 2] = ++entryCount
          break
        }
        if (slots[at] === low && slots[at + 1] === high) {
          ids[i] = entry - 1
          break
        }
        slot = (slot + 1) & mask
      }
    }
    this.count = entryCount
    return true
  }

  #rehashWide(slotBits: number): Int32Array {
    const slots = this.#prepare(slotBits, 4, 2)
    const { entries } = this
    const shift = 32 - slotBits
    const mask = (1 << slotBits) - 1
    for (let id = 0; id < this.count; id++) {
      const low = entries[id << 1]!
      const high = entries[(id << 1) | 1]!
      let slot = hashPair(low, high) >>> shift
      while (slots[(slot << 2) + 2] !== 0) slot = (slot + 1) & mask
      const at = slot << 2
      slots[at] = low
      slots[at + 1] = high
      slots[at + 2] = id + 1
    }
    return slots
  }

  #buildNarrow(words: Int32Array, count: number, ids: Int32Array, max: number, bits: number): boolean {
    let slotBits = bits
    let slots = this.#prepare(slotBits, 2, 1)
    let entries = this.entries
    let shift = 32 - slotBits
    let mask = (1 << slotBits) - 1
    let entryCount = 0
    for (let i = 0; i < count; i++) {
      const key = words[i]!
      let slot = hashPair(key, 0) >>> shift
      for (;;) {
        const at = slot << 1
        const entry = slots[at + 1]!
        if (entry === 0) {
          if (entryCount === max) return false
          if (entryCount << 1 > mask) {
            this.count = entryCount
            slots = this.#rehashNarrow(++slotBits)
            entries = this.entries
            shift = 32 - slotBits
            mask = (1 << slotBits) - 1
            i--
            break
          }
          entries[entryCount] = key
          slots[at] = key
          ids[i] = entryCount
          slots[at + 1] = ++entryCount
          break
        }
        if (slots[at] === key) {
          ids[i] = entry - 1
          break
        }
        slot = (slot + 1) & mask
      }
    }
    this.count = entryCount
    return true
  }

  #rehashNarrow(slotBits: number): Int32Array {
    const slots = this.#prepare(slotBits, 2, 1)
    const { entries } = this
    const shift = 32 - slotBits
    const mask = (1 << slotBits) - 1
    for (let id = 0; id < this.count; id++) {
      const key = entries[id]!
      let slot = hashPair(key, 0) >>> shift
      while (slots[(slot << 1) + 1] !== 0) slot = (slot + 1) & mask
      slots[slot << 1] = key
      slots[(slot << 1) + 1] = id + 1
    }
    return slots
  }
}

/** Spreads both words over all 32 bits; the top ones choose the slot. */
export function hashPair(low: number, high: number): number {
  const h = Math.imul(low ^ (low >>> 15), 0x9e3779b1) ^ Math.imul(high, 0x85ebca6b)
  return Math.imul(h ^ (h >>> 16), 0xc2b2ae35)
}
