// Thrift's compact protocol (Apache Thrift, "Thrift Compact protocol encoding"), the writing half: what
// Parquet's page headers, indexes and footer are made of.
//
//   struct   field*, 0x00
//   field    (id - previous id) << 4 | type, then the value; ids ascend by at most 15 here
//   bool     is its type: 1 true, 2 false
//   i32 i64  zigzag varint
//   binary   varint length, bytes
//   list     size << 4 | type for sizes below 15, otherwise 0xf0 | type and the size as a varint
import { writeUnsigned, writeZigzagInt, writeZigzagLong } from '../../std/varint.ts'

const BOOLEAN_TRUE = 1
const BOOLEAN_FALSE = 2
const I32 = 5
const I64 = 6
const BINARY = 8
const LIST = 9
const STRUCT = 12

/** Element types of lists. */
export const LIST_OF = { boolean: BOOLEAN_TRUE, i32: I32, i64: I64, binary: BINARY, struct: STRUCT } as const

const VARINT_BYTES_MAX = 10
const encoder = new TextEncoder()

export class ThriftWriter {
  #bytes = new Uint8Array(1024)
  #length = 0
  #fieldId = 0
  readonly #outer: number[] = []

  /** What was written so far; valid until the next call. */
  view(): Uint8Array {
    return this.#bytes.subarray(0, this.#length)
  }

  get length(): number {
    return this.#length
  }

  reset(): void {
    this.#length = 0
    this.#fieldId = 0
    this.#outer.length = 0
  }

  boolean(field: number, value: boolean): void {
    this.#field(field, value ? BOOLEAN_TRUE : BOOLEAN_FALSE)
  }

  i32(field: number, value: number): void {
    this.#field(field, I32)
    this.i32Element(value)
  }

  /** `value` is a safe integer. */
  i64(field: number, value: number): void {
    this.#field(field, I64)
    this.i64Element(value)
  }

  binary(field: number, value: Uint8Array): void {
    this.#field(field, BINARY)
    this.binaryElement(value)
  }

  string(field: number, value: string): void {
    this.binary(field, encoder.encode(value))
  }

  /** Opens a struct in a field; `end` closes it. */
  struct(field: number): void {
    this.#field(field, STRUCT)
    this.structElement()
  }

  /** Opens a struct that is the top of a message or an element of a list; `end` closes it. */
  structElement(): void {
    this.#outer.push(this.#fieldId)
    this.#fieldId = 0
  }

  end(): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = 0
    this.#fieldId = this.#outer.pop()!
  }

  /** Head of a list; `size` elements follow through the `…Element` methods. */
  list(field: number, of: number, size: number): void {
    this.#field(field, LIST)
    this.#reserve(1 + VARINT_BYTES_MAX)
    if (size < 15) this.#bytes[this.#length++] = (size << 4) | of
    else {
      this.#bytes[this.#length++] = 0xf0 | of
      this.#length = writeUnsigned(this.#bytes, this.#length, size)
    }
  }

  booleanElement(value: boolean): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = value ? BOOLEAN_TRUE : BOOLEAN_FALSE
  }

  i32Element(value: number): void {
    this.#reserve(VARINT_BYTES_MAX)
    this.#length = writeZigzagInt(this.#bytes, this.#length, value)
  }

  i64Element(value: number): void {
    this.#reserve(VARINT_BYTES_MAX)
    this.#length = writeZigzagLong(this.#bytes, this.#length, value)
  }

  binaryElement(value: Uint8Array): void {
    this.#reserve(VARINT_BYTES_MAX + value.length)
    this.#length = writeUnsigned(this.#bytes, this.#length, value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
  }

  stringElement(value: string): void {
    this.binaryElement(encoder.encode(value))
  }

  #field(id: number, type: number): void {
    this.#reserve(1)
    this.#bytes[this.#length++] = ((id - this.#fieldId) << 4) | type
    this.#fieldId = id
  }

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count))
    grown.set(this.#bytes.subarray(0, this.#length))
    this.#bytes = grown
  }
}
