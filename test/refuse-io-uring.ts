// To be imported before a program: from then on its system calls that make an io_uring fail, as under the seccomp filters of
// container runtimes (seccomp(2)). The filter is inherited by the threads that this one starts.
import { nodeFfi } from '../std/ffi.ts'

// struct sock_filter: code u16, jump if true u8, if false u8, k u32.
const LOAD_SYSTEM_CALL = [0x20, 0, 0, 0]
const JUMP_IF_IO_URING_SETUP = [0x15, 0, 1, 425]
const RETURN_EPERM = [0x06, 0, 0, 0x0005_0001]
const RETURN_ALLOW = [0x06, 0, 0, 0x7fff_0000]
const FILTER = [LOAD_SYSTEM_CALL, JUMP_IF_IO_URING_SETUP, RETURN_EPERM, RETURN_ALLOW]

const PR_SET_SECCOMP = 22
const SECCOMP_MODE_FILTER = 2n
const PR_SET_NO_NEW_PRIVS = 38

interface Libc {
  prctl(option: number, a: bigint, b: bigint, c: bigint, d: bigint): number
}

const { dlopen, getRawPointer } = nodeFfi()!
const { prctl } = dlopen<Libc>(null, {
  prctl: { arguments: ['i32', 'u64', 'u64', 'u64', 'u64'], return: 'i32' },
}).functions

const filter = new DataView(new ArrayBuffer(FILTER.length * 8 + 128))
FILTER.forEach(([code, jumpTrue, jumpFalse, k], i) => {
  filter.setUint16(i * 8, code!, true)
  filter.setUint8(i * 8 + 2, jumpTrue!)
  filter.setUint8(i * 8 + 3, jumpFalse!)
  filter.setUint32(i * 8 + 4, k!, true)
})
// struct sock_fprog: length u16, at 8 the address.
const program = new DataView(new ArrayBuffer(128))
program.setUint16(0, FILTER.length, true)
program.setBigUint64(8, getRawPointer(filter.buffer), true)
if (
  prctl(PR_SET_NO_NEW_PRIVS, 1n, 0n, 0n, 0n) !== 0 ||
  prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, getRawPointer(program.buffer), 0n, 0n) !== 0
)
  throw new Error('seccomp filters are refused here')
