// Copies of some dozen to some hundred bytes from one buffer to another, of which records and their fields are made:
// a call of TypedArray.set costs more than they do, views included.

/** Above this `set` is faster. */
const LOOP_BYTES_MAX = 256

/** Copies from[start, end) to `at` of `into`, which has the room. The two must not overlap. */
export function copyView(from: DataView, start: number, end: number, into: DataView, at: number): void {
  const length = end - start
  if (length > LOOP_BYTES_MAX) {
    const source = new Uint8Array(from.buffer, from.byteOffset + start, length)
    new Uint8Array(into.buffer, into.byteOffset + at, length).set(source)
    return
  }
  let i = 0
  for (; i + 4 <= length; i += 4) into.setInt32(at + i, from.getInt32(start + i, true), true)
  for (; i < length; i++) into.setUint8(at + i, from.getUint8(start + i))
}

/** A view with the same positions, made anew: for buffers that stay, unlike last-view.ts. */
export function newView({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}
