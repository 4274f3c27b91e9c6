// DataViews of the bytes that a loop works on. Reading and writing four bytes at any position through one is a
// single instruction in optimised code, where single bytes cost one each. Hot code comes with the same buffer
// again and again (the worker's receive buffer), or with two by turns (a record as it was read, and as it was
// rewritten), so the last two views are remembered: making one costs as much as checking a whole record.
let viewed: Uint8Array = new Uint8Array(0)
let view: DataView = new DataView(viewed.buffer)
let viewedBefore = viewed
let viewBefore = view

/** A view with the same positions as `bytes`. It keeps that buffer alive until two others were asked for. */
export function viewOf(bytes: Uint8Array): DataView {
  return bytes === viewed ? view : changeTo(bytes)
}

function changeTo(bytes: Uint8Array): DataView {
  const next = bytes === viewedBefore ? viewBefore : newView(bytes)
  viewedBefore = viewed
  viewBefore = view
  viewed = bytes
  view = next
  return next
}

/** A view with the same positions, made anew: for buffers that stay. */
export function newView({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}
