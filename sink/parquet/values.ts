// The values of one leaf for one column chunk, without nulls and in their order: what encodings and
// statistics read. Filled by gather.ts; one instance a thread, its arrays reused from chunk to chunk.
//
//   int32 float      words, one a value (a float as its bits)
//   int64 double     words, two a value: low, high (a double as its bits)
//   boolean fixed    bytes, `width` a value
//   binary           value i is data[starts[i], ends[i])
//   coded            value i is entry ids[i] of `dictionary`: binary that arrived with a dictionary
//
// Arrays may be longer than `count` says, and may be views of the batch that the rows come from: nobody writes.
import { BinaryDictionary } from './dictionary-binary.ts'
import type { ValueKind } from './schema.ts'

export class LeafValues {
  kind: ValueKind = 'int32'
  /** Binary whose values are `ids` into `dictionary` rather than starts and ends. */
  coded = false
  count = 0
  /** All values are known to equal the first one; of int32 and int64 only. */
  isUniform = false
  /** Bytes of a `boolean` (1) or `fixed` value. */
  width = 0
  words: Int32Array = new Int32Array(0)
  bytes: Uint8Array = new Uint8Array(0)
  starts: Int32Array = new Int32Array(0)
  ends: Int32Array = new Int32Array(0)
  data: Uint8Array = new Uint8Array(0)
  ids: Int32Array = new Int32Array(0)
  readonly dictionary = new BinaryDictionary()
  /** Timestamps beyond what int64 microseconds hold, written as the nearest that they do. */
  saturated = 0

  readonly #ownWords = new Grow32()
  readonly #ownBytes = new Grow8()
  readonly #ownStarts = new Grow32()
  readonly #ownEnds = new Grow32()
  readonly #ownData = new Grow8()
  readonly #ownIds = new Grow32()
  #dataLength = 0

  reset(kind: ValueKind, width: number, coded: boolean): void {
    this.kind = kind
    this.width = width
    this.coded = coded
    this.count = 0
    this.isUniform = false
    this.saturated = 0
    this.#dataLength = 0
    if (coded) this.dictionary.clear()
  }

  /** Own room for `count` words in all, what lies there kept. */
  ownWords(count: number): Int32Array {
    return (this.words = this.#ownWords.atLeast(count))
  }

  ownBytes(count: number): Uint8Array {
    return (this.bytes = this.#ownBytes.atLeast(count))
  }

  ownRanges(count: number): void {
    this.starts = this.#ownStarts.atLeast(count)
    this.ends = this.#ownEnds.atLeast(count)
  }

  ownIds(count: number): Int32Array {
    return (this.ids = this.#ownIds.atLeast(count))
  }

  /** Copies bytes behind those of earlier slices; returns where they begin. */
  appendData(bytes: Uint8Array): number {
    const at = this.#dataLength
    this.data = this.#ownData.atLeast(at + bytes.length)
    this.data.set(bytes, at)
    this.#dataLength = at + bytes.length
    return at
  }

  /** Turns coded values into ranges of the dictionary's bytes: what PLAIN needs. */
  expandCodes(): void {
    const { dictionary, ids, count } = this
    this.ownRanges(count)
    const { starts, ends } = this
    const { offsets } = dictionary
    for (let i = 0; i < count; i++) {
      const id = ids[i]!
      starts[i] = offsets[id]!
      ends[i] = offsets[id + 1]!
    }
    this.data = dictionary.data
    this.coded = false
  }
}

/** An Int32Array that grows and is never given back. */
export class Grow32 {
  array = new Int32Array(0)

  atLeast(count: number): Int32Array {
    if (this.array.length < count) {
      const grown = new Int32Array(Math.max(1024, count + (count >> 2)))
      grown.set(this.array)
      this.array = grown
    }
    return this.array
  }
}

export class Grow8 {
  array = new Uint8Array(0)

  atLeast(count: number): Uint8Array {
    if (this.array.length < count) {
      const grown = new Uint8Array(Math.max(4096, count + (count >> 2)))
      grown.set(this.array)
      this.array = grown
    }
    return this.array
  }
}
