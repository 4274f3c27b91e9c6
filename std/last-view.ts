// A DataView of the bytes that a loop works on. Reading and writing four bytes at any position through one is a
// single instruction in optimised code, where single bytes cost one each. Hot code comes with the same buffer
// again and again (the worker's receive buffer), so the last view is remembered.
let viewed: Uint8Array = new Uint8Array(0)
let view: DataView = new DataView(viewed.buffer)

/** A view with the same positions as `bytes`. It keeps that buffer alive until another is asked for. */
export function viewOf(bytes: Uint8Array): DataView {
  if (bytes !== viewed) {
    viewed = bytes
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }
  return view
}
