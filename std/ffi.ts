// node:ffi, as far as it is used here: functions of the C library, which is part of this process. It is experimental in Node
// 26, and its types came into @types/node after the version that is pinned here.

export interface Ffi {
  /** `path`: null, what the process has loaded. */
  dlopen<Functions>(
    path: null,
    symbols: Record<keyof Functions, { arguments: string[]; return: string }>,
  ): { functions: Functions }
  getRawPointer(memory: ArrayBufferLike): bigint
  toArrayBuffer(address: bigint, byteLength: number, copy: false): ArrayBuffer
}

/** Undefined with --no-experimental-ffi; with --permission it throws. */
export function nodeFfi(): Ffi | undefined {
  return process.getBuiltinModule('node:ffi') as unknown as Ffi | undefined
}
