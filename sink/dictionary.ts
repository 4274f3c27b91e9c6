// Distinct byte strings numbered in the order they first come: device ids of a batch, quality marks. What
// repeats costs one hash and one comparison, and no string is made.

const SLOTS_FIRST = 1024
const BYTES_FIRST = 16 * 1024

export class Dictionary {
  /** Entry i is data[offsets[i], offsets[i + 1]). */
  offsets = new Int32Array(SLOTS_FIRST / 2 + 1)
  data: Uint8Array = new Uint8Array(BYTES_FIRST)
  count = 0

  #hashes = new Int32Array(SLOTS_FIRST / 2)
  /** Open addressing: index + 1, 0 is free. At most half full. */
  #slots = new Int32Array(SLOTS_FIRST)

  /** The index of bytes[start, end), added where it is new. */
  indexOf(bytes: Uint8Array, start: number, end: number): number {
    // FNV-1a over the bytes: device ids are short.
    let hash = 0x811c9dc5
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ bytes[at]!, 0x01000193)
    hash ^= hash >>> 15
    const mask = this.#slots.length - 1
    const length = end - start
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot]! - 1
      if (entry < 0) return this.#add(bytes, start, end, hash, slot)
      if (this.#hashes[entry] !== hash) continue
      const at = this.offsets[entry]!
      if (this.offsets[entry + 1]! - at !== length) continue
      let i = 0
      while (i < length && this.data[at + i] === bytes[start + i]) i++
      if (i === length) return entry
    }
  }

  #add(bytes: Uint8Array, start: number, end: number, hash: number, slot: number): number {
    const index = this.count++
    const at = this.offsets[index]!
    const length = end - start
    if (at + length > this.data.length) {
      const grown = new Uint8Array(Math.max(this.data.length * 2, at + length))
      grown.set(this.data.subarray(0, at))
      this.data = grown
    }
    for (let i = 0; i < length; i++) this.data[at + i] = bytes[start + i]!
    this.offsets[index + 1] = at + length
    this.#hashes[index] = hash
    this.#slots[slot] = index + 1
    if (this.count * 2 >= this.#slots.length) this.#grow()
    return index
  }

  #grow(): void {
    const slots = new Int32Array(this.#slots.length * 2)
    const hashes = new Int32Array(slots.length / 2)
    hashes.set(this.#hashes)
    const offsets = new Int32Array(slots.length / 2 + 1)
    offsets.set(this.offsets)
    const mask = slots.length - 1
    for (let entry = 0; entry < this.count; entry++) {
      let slot = hashes[entry]! & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = entry + 1
    }
    this.#slots = slots
    this.#hashes = hashes
    this.offsets = offsets
  }

  /** The place of each entry in ascending order of bytes. */
  ranks(): Int32Array {
    const order = Array.from({ length: this.count }, (_, i) => i)
    const entries = order.map((i) =>
      Buffer.from(
        this.data.buffer,
        this.data.byteOffset + this.offsets[i]!,
        this.offsets[i + 1]! - this.offsets[i]!,
      ),
    )
    order.sort((a, b) => Buffer.compare(entries[a]!, entries[b]!))
    const ranks = new Int32Array(this.count)
    for (let rank = 0; rank < order.length; rank++) ranks[order[rank]!] = rank
    return ranks
  }
}
