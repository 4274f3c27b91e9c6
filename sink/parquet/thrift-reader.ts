// Thrift's compact protocol, the reading half (thrift.ts has the grammar). Footers and page headers are read
// field by field; what is not wanted is skipped by its type, so files of newer writers can be read too.
//
// Numbers are doubles: exact up to 2^53, which holds every offset and count; statistics are never read here.

const BOOLEAN_TRUE = 1
const BOOLEAN_FALSE = 2
const BYTE = 3
const I16 = 4
const I32 = 5
const I64 = 6
const DOUBLE = 7
const BINARY = 8
const LIST = 9
const SET = 10
const MAP = 11
const STRUCT = 12

const decoder = new TextDecoder()

export class ThriftReader {
  at: number
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array, at: number) {
    this.#bytes = bytes
    this.at = at
  }

  /**
   * Reads a struct: `field` is called with the id and type of each field and reads its value, or returns false
   * to have it skipped. Throws RangeError where the bytes end.
   */
  struct(field: (id: number, type: number) => boolean): void {
    for (let id = 0; ; ) {
      const head = this.byte()
      if (head === 0) return
      const type = head & 15
      id = head >> 4 === 0 ? this.zigzag() : id + (head >> 4)
      if (!field(id, type)) this.#skip(type)
    }
  }

  /** Reads a list: `element` reads one. */
  list(element: () => void): void {
    for (let left = this.#listHead().size; left > 0; left--) element()
  }

  /** Value of a boolean field, which is its type. */
  isTrue(type: number): boolean {
    return type === BOOLEAN_TRUE
  }

  zigzag(): number {
    const value = this.varint()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.byte()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }

  string(): string {
    const length = this.varint()
    const text = decoder.decode(this.#bytes.subarray(this.at, this.at + length))
    this.at += length
    return text
  }

  byte(): number {
    const byte = this.#bytes[this.at++]
    if (byte === undefined) throw new RangeError('Thrift message is cut off')
    return byte
  }

  #listHead(): { type: number; size: number } {
    const head = this.byte()
    return { type: head & 15, size: head >> 4 === 15 ? this.varint() : head >> 4 }
  }

  #skip(type: number): void {
    switch (type) {
      case BOOLEAN_TRUE:
      case BOOLEAN_FALSE:
        return
      case BYTE:
        this.at++
        return
      case I16:
      case I32:
      case I64:
        this.varint()
        return
      case DOUBLE:
        this.at += 8
        return
      case BINARY: {
        const length = this.varint()
        this.at += length
        return
      }
      case LIST:
      case SET: {
        const head = this.#listHead()
        for (let left = head.size; left > 0; left--) this.#skipElement(head.type)
        return
      }
      case MAP: {
        const size = this.varint()
        const types = size === 0 ? 0 : this.byte()
        for (let left = size; left > 0; left--) {
          this.#skipElement(types >> 4)
          this.#skipElement(types & 15)
        }
        return
      }
      case STRUCT:
        this.struct(() => false)
        return
      default:
        throw new RangeError(`Thrift has no type ${type}`)
    }
  }

  /** In a list a boolean is a byte of its own. */
  #skipElement(type: number): void {
    if (type === BOOLEAN_TRUE || type === BOOLEAN_FALSE) this.at++
    else this.#skip(type)
  }
}
