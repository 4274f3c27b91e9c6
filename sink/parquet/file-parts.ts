// The bytes of a file as they come: copied into blocks that can be handed to another thread and written with
// one call. Blocks that are given back serve the thread's next files: V8 looks for garbage when so much memory is new.

/** The first block, and what each following one doubles up to: a small file costs no large memory. */
const BLOCK_BYTES_FIRST = 1 << 15
const BLOCK_BYTES_MAX = 1 << 20
/** Blocks of that size that a thread keeps. */
export const SPARE_BLOCKS_MAX = 16

const spare: Uint8Array[] = []

/** Whether a part is worth giving back. */
export const isWholeBlock = ({ buffer }: Uint8Array): boolean => buffer.byteLength === BLOCK_BYTES_MAX

/** Takes blocks of a file that nobody reads any more; `parts` as `take` gave them. */
export function giveBackParts(parts: readonly Uint8Array[]): void {
  for (const part of parts)
    if (isWholeBlock(part) && spare.length < SPARE_BLOCKS_MAX) spare.push(new Uint8Array(part.buffer))
}

export class FileParts {
  byteLength = 0
  readonly #parts: Uint8Array[] = []
  #block: Uint8Array = new Uint8Array(0)
  #used = 0
  #nextBytes = BLOCK_BYTES_FIRST

  append(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#used === this.#block.length) {
        this.#seal()
        const blockBytes = Math.max(this.#nextBytes, bytes.length - at)
        this.#block = (blockBytes === BLOCK_BYTES_MAX ? spare.pop() : undefined) ?? new Uint8Array(blockBytes)
        this.#nextBytes = Math.min(BLOCK_BYTES_MAX, this.#nextBytes * 2)
      }
      const count = Math.min(bytes.length - at, this.#block.length - this.#used)
      this.#block.set(bytes.subarray(at, at + count), this.#used)
      this.#used += count
      at += count
    }
    this.byteLength += bytes.length
  }

  #seal(): void {
    if (this.#used > 0) this.#parts.push(this.#block.subarray(0, this.#used))
    this.#used = 0
  }

  /** All parts; nothing may be appended afterwards. The last block gives back what it did not use. */
  take(): Uint8Array[] {
    if (this.#used > 0) this.#parts.push(this.#block.slice(0, this.#used))
    giveBackParts([this.#block])
    this.#block = new Uint8Array(0)
    this.#used = 0
    return this.#parts
  }
}
