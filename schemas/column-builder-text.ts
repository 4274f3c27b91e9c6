// The builder of strings and binary. Strings start as a dictionary and become plain values when too few of them repeat:
//
//   dictionary   row i is entry indices[i]; entry k is entryData[entryOffsets[k], entryOffsets[k + 1])
//   slots        entry + 1 by the hash of its bytes, 0 is free; open addressing, at most half full
//   plain        row i is data[offsets[i], offsets[i + 1])
import { sameBytes } from '../std/copy.ts'
import { MillraceError } from '../std/errors.ts'
import { newView } from '../std/view.ts'
import { BYTES_MAX, type ColumnBase, ColumnBuilder, type RowScope } from './column-builder.ts'
import type { Column, ColumnField } from './columns.ts'

const BYTES_FIRST = 4096
/** A dictionary gives way to plain values above this many entries, unless most rows repeat one. */
const DICTIONARY_ENTRIES_CHECK = 16_384
const DICTIONARY_ENTRIES_MAX = 65_536
const DICTIONARY_BYTES_MAX = 4 << 20

export class TextBuilder extends ColumnBuilder {
  isDictionary: boolean
  indices: Int32Array
  offsets: Int32Array
  data: Uint8Array
  #entryOffsets: Int32Array
  #entryData!: Uint8Array
  #entryView!: DataView
  #entryHashes = new Int32Array(256)
  #entryCount = 0
  #slots = new Int32Array(512)

  constructor(field: ColumnField, scope: RowScope) {
    super(field, scope)
    const isString = field.type.kind === 'string'
    this.isDictionary = isString
    this.indices = scope.array(Int32Array, isString ? scope.capacity : 0)
    this.offsets = scope.array(Int32Array, isString ? 0 : scope.capacity + 1)
    this.data = scope.array(Uint8Array, isString ? 0 : BYTES_FIRST)
    this.#entryOffsets = scope.array(Int32Array, isString ? 257 : 1)
    this.#setEntryData(scope.array(Uint8Array, isString ? BYTES_FIRST : 0))
  }

  #setEntryData(data: Uint8Array): void {
    this.#entryData = data
    this.#entryView = newView(data)
  }

  /**
   * Puts the string of the row before at `row`, the next one, if it is the same as bytes[from, to): versions and states
   * come in runs. What is put so is known to be well-formed. `view` is of the same memory as `bytes`.
   */
  repeats(row: number, view: DataView, from: number, to: number): boolean {
    if (row === 0 || !this.isDictionary) return false
    const entry = this.indices[row - 1]!
    const at = this.#entryOffsets[entry]!
    const length = to - from
    if (this.#entryOffsets[entry + 1]! - at !== length || !sameBytes(view, from, this.#entryView, at, length))
      return false
    this.indices[row] = entry
    return true
  }

  /** Puts bytes[from, to) at `row`, the next one. */
  append(row: number, bytes: Uint8Array, from: number, to: number): void {
    if (this.isDictionary) {
      const entry = this.#find(bytes, from, to)
      if (entry >= 0) {
        this.indices[row] = entry
        return
      }
      if (!this.#spills(row, to - from)) {
        this.indices[row] = this.#add(bytes, from, to, ~entry)
        return
      }
      this.#spill(row)
    }
    const at = this.offsets[row]!
    const end = at + (to - from)
    if (end > this.data.length) this.data = this.#room(this.data, end)
    copy(bytes, from, to, this.data, at)
    this.offsets[row + 1] = end
  }

  /** Entry of these bytes, or ~slot where it would stand. */
  #find(bytes: Uint8Array, from: number, to: number): number {
    // FNV-1a: firmwares, states and device names are short.
    let hash = 0x811c9dc5
    for (let at = from; at < to; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
    hash ^= hash >>> 15
    const mask = this.#slots.length - 1
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]! - 1
      if (entry < 0) {
        this.#hash = hash
        return ~slot
      }
      if (this.#entryHashes[entry] !== hash) continue
      const at = this.#entryOffsets[entry]!
      if (this.#entryOffsets[entry + 1]! - at !== to - from) continue
      let p = from
      while (p < to && this.#entryData[at + p - from] === bytes[p]) p++
      if (p === to) return entry
    }
  }
  /** Of the bytes that `#find` missed last. */
  #hash = 0

  #spills(row: number, length: number): boolean {
    const entries = this.#entryCount
    return (
      entries >= DICTIONARY_ENTRIES_MAX ||
      (entries >= DICTIONARY_ENTRIES_CHECK && entries * 4 > row) ||
      this.#entryOffsets[entries]! + length > DICTIONARY_BYTES_MAX
    )
  }

  #add(bytes: Uint8Array, from: number, to: number, slot: number): number {
    const entry = this.#entryCount++
    const at = this.#entryOffsets[entry]!
    const end = at + (to - from)
    if (end > this.#entryData.length) this.#setEntryData(this.#room(this.#entryData, end))
    copy(bytes, from, to, this.#entryData, at)
    this.#slots[slot] = entry + 1
    this.#entryHashes[entry] = this.#hash
    this.#entryOffsets[entry + 1] = end
    if (2 * this.#entryCount >= this.#slots.length) this.#rehash()
    return entry
  }

  #rehash(): void {
    this.#entryOffsets = this.grown(this.#entryOffsets, 2 * this.#entryOffsets.length - 1)
    const hashes = new Int32Array(2 * this.#entryHashes.length)
    hashes.set(this.#entryHashes)
    this.#entryHashes = hashes
    const slots = new Int32Array(2 * this.#slots.length)
    const mask = slots.length - 1
    for (let entry = 0; entry < this.#entryCount; entry++) {
      let slot = this.#entryHashes[entry]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = entry + 1
    }
    this.#slots = slots
  }

  /** Turns rows [0, row) from dictionary entries into plain values. */
  #spill(row: number): void {
    const { capacity } = this.scope
    if (this.offsets.length <= capacity) this.offsets = this.scope.array(Int32Array, capacity + 1)
    let end = 0
    for (let i = 0; i < row; i++) {
      end += this.#lengthOf(this.indices[i]!, i)
      if (end > BYTES_MAX) throw new MillraceError('internal', `column ${this.field.name} exceeds 2 GiB`)
      this.offsets[i + 1] = end
    }
    if (this.data.length < end) this.data = this.scope.array(Uint8Array, Math.max(BYTES_FIRST, 2 * end))
    for (let i = 0; i < row; i++) {
      const from = this.#entryOffsets[this.indices[i]!]!
      copy(this.#entryData, from, from + this.offsets[i + 1]! - this.offsets[i]!, this.data, this.offsets[i]!)
    }
    this.isDictionary = false
  }

  #lengthOf(entry: number, row: number): number {
    // The entry of a null row is a placeholder.
    if (this.validity !== undefined && (this.validity[row >> 3]! & (1 << (row & 7))) === 0) return 0
    return this.#entryCount === 0 ? 0 : this.#entryOffsets[entry + 1]! - this.#entryOffsets[entry]!
  }

  #room(array: Uint8Array, bytes: number): Uint8Array {
    if (bytes > BYTES_MAX) throw new MillraceError('internal', `column ${this.field.name} exceeds 2 GiB`)
    let length = Math.max(array.length, BYTES_FIRST)
    while (length < bytes) length *= 2
    return this.grown(array, Math.min(length, BYTES_MAX))
  }

  protected appendEmpty(row: number): void {
    if (this.isDictionary) {
      // A placeholder that is no null needs an entry to point at.
      if (this.#entryCount === 0) this.append(row, this.#entryData, 0, 0)
      else this.indices[row] = 0
    } else this.offsets[row + 1] = this.offsets[row]!
  }
  protected resizeValues(capacity: number): void {
    if (this.isDictionary) this.indices = this.grown(this.indices, capacity)
    else this.offsets = this.grown(this.offsets, capacity + 1)
  }
  protected truncateValues(): void {}
  protected renewValues(capacity: number): void {
    const { scope } = this
    const isString = this.field.type.kind === 'string'
    this.indices = scope.array(Int32Array, isString ? capacity : 0)
    this.offsets = scope.array(Int32Array, isString ? 0 : capacity + 1)
    this.data = scope.array(Uint8Array, isString ? 0 : BYTES_FIRST)
    this.#setEntryData(scope.array(Uint8Array, isString ? BYTES_FIRST : 0))
  }
  protected override clearValues(): void {
    this.isDictionary = this.field.type.kind === 'string'
    if (!this.isDictionary) return
    // The scope may have grown while the rows were plain.
    const { capacity } = this.scope
    if (this.indices.length < capacity) this.indices = this.scope.array(Int32Array, capacity)
    this.#entryCount = 0
    this.#slots.fill(0)
  }
  protected finishValues(base: ColumnBase): Column {
    if (!this.isDictionary) {
      const offsets = this.offsets.subarray(0, base.rowCount + 1)
      return { layout: 'variable', ...base, offsets, data: this.data.subarray(0, offsets[base.rowCount]!) }
    }
    const dictionaryOffsets = this.#entryOffsets.subarray(0, this.#entryCount + 1)
    return {
      layout: 'dictionary',
      ...base,
      indices: this.indices.subarray(0, base.rowCount),
      dictionaryOffsets,
      dictionaryData: this.#entryData.subarray(0, dictionaryOffsets[this.#entryCount]!),
    }
  }
}

/** Short copies by a loop: `set` with a view costs a view. */
function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start > 64) {
    to.set(from.subarray(start, end), at)
    return
  }
  for (let p = start, q = at; p < end; p++, q++) to[q] = from[p]!
}
