// The bytes of a file as they come: copied into blocks that can be handed to another thread and written with
// one call.

/** The first block, and what each following one doubles up to: a small file costs no large memory. */
const BLOCK_BYTES_FIRST = 1 << 15
const BLOCK_BYTES_MAX = 1 << 20

export class FileParts {
  byteLength = 0
  readonly #parts: Uint8Array[] = []
  #block = new Uint8Array(0)
  #used = 0
  #nextBytes = BLOCK_BYTES_FIRST

  append(bytes: Uint8Array): void {
    let at = 0
    while (at < bytes.length) {
      if (this.#used === this.#block.length) {
        this.#seal()
        this.#block = new Uint8Array(Math.max(this.#nextBytes, bytes.length - at))
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
    this.#used = 0
    return this.#parts
  }
}
