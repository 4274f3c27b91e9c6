// The uncompressed bytes of the page under construction. One buffer a thread: a page is compressed into the
// file before the next one is begun.
import { writeUnsigned } from '../../std/varint.ts'

export class PageBuffer {
  bytes = new Uint8Array(1 << 16)
  length = 0

  view(): Uint8Array {
    return this.bytes.subarray(0, this.length)
  }

  /** Makes room for `count` more bytes. */
  reserve(count: number): void {
    if (this.length + count <= this.bytes.length) return
    const grown = new Uint8Array(Math.max(this.bytes.length * 2, this.length + count))
    grown.set(this.bytes.subarray(0, this.length))
    this.bytes = grown
  }

  /** Needs one byte of room. */
  byte(value: number): void {
    this.bytes[this.length++] = value
  }

  /** An unsigned varint; needs five bytes of room. */
  varint(value: number): void {
    this.length = writeUnsigned(this.bytes, this.length, value)
  }

  append(bytes: Uint8Array): void {
    this.reserve(bytes.length)
    this.bytes.set(bytes, this.length)
    this.length += bytes.length
  }

  /** A 32-bit little-endian number at a place already written. */
  patchInt32(at: number, value: number): void {
    this.bytes[at] = value
    this.bytes[at + 1] = value >>> 8
    this.bytes[at + 2] = value >>> 16
    this.bytes[at + 3] = value >>> 24
  }
}
