// A thread of the encoder pool (encoder.ts): one task at a time, the file's blocks moved back.
import { move, transferableSymbol, valueSymbol } from 'piscina'
import { type EncodeTask, encodeInline } from './encoder.ts'
import type { EncodedFile } from './parquet/writer.ts'

/** What Piscina moves: the file, with the buffers of its parts. */
class MovedFile {
  readonly #file: EncodedFile

  constructor(file: EncodedFile) {
    this.#file = file
  }

  get [transferableSymbol](): ArrayBufferLike[] {
    return this.#file.parts.map((part) => part.buffer)
  }

  get [valueSymbol](): EncodedFile {
    return this.#file
  }
}

export default function encode(task: EncodeTask): unknown {
  return move(new MovedFile(encodeInline(task)) as never)
}
