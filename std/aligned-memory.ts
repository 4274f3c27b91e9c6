// Memory for reads and writes past the page cache: aligned, and of huge pages where there is enough of it.
//
// The kernel looks up each page of what is written, and gives the disk a list of them: 256 for a MiB, or one where the MiB lies
// in a huge page (2 MiB on x86-64). Linux gives huge pages to who asks for them (`transparent_hugepage/enabled`: madvise,
// its default), by madvise(2), which JavaScript reaches through node:ffi only. Where there is none all works as well.
import { nodeFfi } from './ffi.ts'

const WASM_PAGE_BYTES = 65_536
const HUGE_PAGE_BYTES = 2 << 20
/** From here on memory takes whole huge pages. */
const HUGE_FROM_BYTES = HUGE_PAGE_BYTES / 2
/** Linux, `include/uapi/asm-generic/mman-common.h`: the same on x86-64 and arm64. */
const MADV_HUGEPAGE = 14

/** Declared with browsers' types only. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Memory: new (pages: { initial: number; maximum: number; shared: true }) => { buffer: SharedArrayBuffer }
  }
}

/**
 * `bytes` of zeros. WebAssembly's memory begins at a page of its own, by which any JavaScript has aligned memory, and V8 has it
 * begin at a huge one.
 */
export function alignedMemory(bytes: number): Uint8Array<SharedArrayBuffer> {
  const isHuge = bytes >= HUGE_FROM_BYTES
  const unit = isHuge ? HUGE_PAGE_BYTES : WASM_PAGE_BYTES
  const pages = (Math.ceil(bytes / unit) * unit) / WASM_PAGE_BYTES
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true })
  if (isHuge) adviseHugePages(buffer)
  return new Uint8Array(buffer, 0, bytes)
}

/** Whether the kernel takes the advice, and then has huge pages to give, makes no difference but to speed. */
function adviseHugePages(memory: SharedArrayBuffer): void {
  if (process.platform !== 'linux') return
  try {
    const ffi = nodeFfi()
    const madvise = { arguments: ['u64', 'u64', 'i32'], return: 'i32' }
    const libc = ffi?.dlopen<{ madvise(address: bigint, bytes: bigint, advice: number): number }>(null, {
      madvise,
    })
    libc?.functions.madvise(ffi!.getRawPointer(memory), BigInt(memory.byteLength), MADV_HUGEPAGE)
  } catch {
    // Node does not let us (--permission).
  }
}
