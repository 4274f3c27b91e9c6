// One block of shared memory per worker, out of which batches under construction get their chunks.
//
// A buddy allocator: chunks are powers of two from CHUNK_BYTES_MIN to the slab, a chunk lies at a multiple of its
// size, and a freed chunk merges with its buddy. So a thousand quiet partitions cost a kilobyte each, a busy
// one gets a slab, and what one gives back the other can use. One SharedArrayBuffer instead of many: hot code
// sees a single typed array, and the log thread needs one handle. Its pages cost nothing before they are
// touched; the free lists are last in, first out, so that few are.
//
// Bookkeeping: 9 bytes per CHUNK_BYTES_MIN.

const ORDER_MIN = 10
export const CHUNK_BYTES_MIN: number = 1 << ORDER_MIN
const NONE = -1
/** Mark of a block that is not the head of a free chunk. */
const IN_USE = 0

/** The smallest order whose chunk holds `bytes`. */
export function orderOf(bytes: number): number {
  return bytes <= CHUNK_BYTES_MIN ? ORDER_MIN : 32 - Math.clz32(bytes - 1)
}

export class SlabArena {
  /** The whole arena. */
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Order of a slab: the largest chunk there is. */
  readonly orderMax: number
  /** Bytes in chunks handed out. */
  bytesUsed = 0
  /** Head of the free list of each order, as a block number. */
  readonly #heads: Int32Array
  readonly #next: Int32Array
  readonly #previous: Int32Array
  /** Order of the free chunk that begins at a block; IN_USE elsewhere. */
  readonly #freeOrder: Uint8Array

  /** `arenaBytes` is rounded up to whole slabs; `slabBytes` to a power of two. */
  constructor(arenaBytes: number, slabBytes: number) {
    this.orderMax = orderOf(slabBytes)
    const slab = 1 << this.orderMax
    const size = Math.ceil(arenaBytes / slab) * slab
    const memory = new SharedArrayBuffer(size)
    this.bytes = new Uint8Array(memory)
    this.view = new DataView(memory)
    const blocks = size >>> ORDER_MIN
    this.#heads = new Int32Array(this.orderMax + 1).fill(NONE)
    this.#next = new Int32Array(blocks)
    this.#previous = new Int32Array(blocks)
    this.#freeOrder = new Uint8Array(blocks)
    for (let at = size - slab; at >= 0; at -= slab) this.#link(at >>> ORDER_MIN, this.orderMax)
  }

  /** Offset of a chunk of 2^order bytes, or -1 when there is none. Its content is whatever was there. */
  allocate(order: number): number {
    let from = order
    while (from <= this.orderMax && this.#heads[from] === NONE) from++
    if (from > this.orderMax) return NONE
    const block = this.#heads[from]!
    this.#unlink(block, from)
    // The upper half of what is too large goes back, down to the size asked for.
    while (from > order) {
      from--
      this.#link(block + (1 << (from - ORDER_MIN)), from)
    }
    this.bytesUsed += 1 << order
    return block << ORDER_MIN
  }

  free(offset: number, order: number): void {
    this.bytesUsed -= 1 << order
    let block = offset >>> ORDER_MIN
    let size = order
    while (size < this.orderMax) {
      const buddy = block ^ (1 << (size - ORDER_MIN))
      if (this.#freeOrder[buddy] !== size) break
      this.#unlink(buddy, size)
      block &= ~(1 << (size - ORDER_MIN))
      size++
    }
    this.#link(block, size)
  }

  #link(block: number, order: number): void {
    const head = this.#heads[order]!
    this.#next[block] = head
    this.#previous[block] = NONE
    if (head !== NONE) this.#previous[head] = block
    this.#heads[order] = block
    this.#freeOrder[block] = order
  }

  #unlink(block: number, order: number): void {
    const next = this.#next[block]!
    const previous = this.#previous[block]!
    if (next !== NONE) this.#previous[next] = previous
    if (previous !== NONE) this.#next[previous] = next
    else this.#heads[order] = next
    this.#freeOrder[block] = IN_USE
  }
}
