// Memory for large answers, used again: what a thread reads from Kafka in a second would otherwise be as much new
// memory, first cleared by the kernel page by page, then found dead by the collector.

/** Sizes are rounded up to it, so that answers of about one size share memory. */
const STEP_BYTES = 256 * 1024
/** What is kept for the next answer by default; above it memory goes back to the system. */
const KEPT_BYTES_MAX = 64 * 1024 * 1024

export class AnswerMemory {
  readonly #keptBytesMax: number
  readonly #free: ArrayBuffer[] = []
  #freeBytes = 0

  constructor(keptBytesMax = KEPT_BYTES_MAX) {
    this.#keptBytesMax = keptBytesMax
  }

  /** Exactly so many bytes, of any content. */
  take(byteLength: number): Buffer {
    let best = -1
    for (let i = 0; i < this.#free.length; i++) {
      const size = this.#free[i]!.byteLength
      if (size >= byteLength && (best < 0 || size < this.#free[best]!.byteLength)) best = i
    }
    if (best < 0) return Buffer.from(new ArrayBuffer(roundUp(byteLength)), 0, byteLength)
    const [memory] = this.#free.splice(best, 1) as [ArrayBuffer]
    this.#freeBytes -= memory.byteLength
    return Buffer.from(memory, 0, byteLength)
  }

  /** Nobody looks at these bytes any more. */
  give(bytes: Buffer): void {
    const memory = bytes.buffer as ArrayBuffer
    if (this.#freeBytes + memory.byteLength > this.#keptBytesMax) return
    this.#free.push(memory)
    this.#freeBytes += memory.byteLength
  }
}

const roundUp = (bytes: number): number => Math.ceil(bytes / STEP_BYTES) * STEP_BYTES
