// Linux's io_uring (io_uring(7), io_uring_enter(2)), as far as send-batch.ts needs it: many requests for one system call,
// all of which end while they are submitted.
//
//   requests (SQE, 64 bytes each) ──► io_uring_enter ──► results (CQE, 16 bytes each)
//
// Both rings are memory that we share with the kernel. Request i of a ring always lies in slot i, and carries i as its
// user data, so that who makes requests fills in what they have in common once.
//
// Node reaches system calls by `node:ffi` only, which is experimental (docs/decisions/0013-one-call-for-many-sends.md). `open`
// says undefined where it is not as expected, and where the kernel has no io_uring or does not let us have it, as many
// container runtimes do not.
import { type Ffi, nodeFfi } from '../std/ffi.ts'

interface Libc {
  /** -1 on failure. */
  syscall(call: bigint, a: bigint, b: bigint, c: bigint, d: bigint, e: bigint, f: bigint): bigint
  /** All ones on failure. */
  mmap(address: bigint, byteLength: bigint, protection: number, flags: number, fd: number, at: bigint): bigint
  munmap(address: bigint, byteLength: bigint): number
  close(fd: number): number
}

/** Little-endian, 64 bits, and with the numbers of system calls below. */
const ARCHITECTURES = ['x64', 'arm64']
const IO_URING_SETUP = 425n
const IO_URING_ENTER = 426n

// struct io_uring_params, and the offsets in it of what the kernel tells: io_sqring_offsets, io_cqring_offsets.
const PARAMS_BYTES = 120
const PARAMS_SQ_ENTRIES = 0
const PARAMS_CQ_ENTRIES = 4
const PARAMS_FEATURES = 20
const PARAMS_SQ = 40
const SQ_TAIL = 4
const SQ_ARRAY = 24
const PARAMS_CQ = 80
const CQ_HEAD = 0
const CQ_TAIL = 4
const CQ_CQES = 20

const ENTER_GETEVENTS = 1n

const FEATURE_SINGLE_MMAP = 1 << 0
const FEATURE_SUBMIT_STABLE = 1 << 2
/** Linux 5.7, by which OP_SEND (5.6) is known to be there. */
const FEATURE_FAST_POLL = 1 << 5
const FEATURES = FEATURE_SINGLE_MMAP | FEATURE_SUBMIT_STABLE | FEATURE_FAST_POLL

const PROT_READ_WRITE = 3
const MAP_SHARED_POPULATE = 0x8001
const OFFSET_RINGS = 0n
const OFFSET_REQUESTS = 0x1000_0000n

const REQUEST_BYTES = 64
const RESULT_BYTES = 16
/** 32-bit words of a request; its user data, and where a result keeps that and its outcome. */
export const REQUEST_WORDS = REQUEST_BYTES / 4
const REQUEST_USER_DATA = 8
const RESULT_WORDS = RESULT_BYTES / 4
const RESULT_OUTCOME = 2

export class IoUring {
  /** Requests that one `submit` takes at most; a power of two. */
  readonly entries: number
  /** REQUEST_WORDS for each slot. */
  readonly requests: Int32Array
  readonly #ffi: Ffi
  readonly #libc: Libc
  /** -1 when it is closed. */
  #fd: number
  readonly #mapped: { address: bigint; memory: ArrayBuffer }[] = []
  /** Both rings, in words. */
  readonly #rings: Int32Array
  readonly #sqTail: number
  readonly #cqHead: number
  readonly #cqTail: number
  readonly #cqes: number
  readonly #cqMask: number
  /** Requests submitted so far, as the kernel counts them: 32 bits. */
  #tail = 0

  /** A ring of at least `entries`, undefined where there is no way to one. It belongs to the thread that opened it. */
  static open(entries: number): IoUring | undefined {
    if (process.platform !== 'linux' || !ARCHITECTURES.includes(process.arch)) return undefined
    try {
      const ffi = nodeFfi()
      return ffi === undefined ? undefined : new IoUring(ffi, entries)
    } catch {
      return undefined
    }
  }

  private constructor(ffi: Ffi, entries: number) {
    const { functions } = ffi.dlopen<Libc>(null, {
      syscall: { arguments: new Array<string>(7).fill('i64'), return: 'i64' },
      mmap: { arguments: ['u64', 'u64', 'i32', 'i32', 'i32', 'i64'], return: 'u64' },
      munmap: { arguments: ['u64', 'u64'], return: 'i32' },
      close: { arguments: ['i32'], return: 'i32' },
    })
    this.#ffi = ffi
    this.#libc = functions
    const params = new DataView(new ArrayBuffer(PARAMS_BYTES))
    const address = ffi.getRawPointer(params.buffer)
    this.#fd = Number(functions.syscall(IO_URING_SETUP, BigInt(entries), address, 0n, 0n, 0n, 0n))
    if (this.#fd < 0) throw new Error('the kernel has no io_uring for us')
    const read = (at: number) => params.getUint32(at, true)
    try {
      if ((read(PARAMS_FEATURES) & FEATURES) !== FEATURES) throw new Error('its io_uring is too old')
      this.entries = read(PARAMS_SQ_ENTRIES)
      const cqEntries = read(PARAMS_CQ_ENTRIES)
      const sqArray = read(PARAMS_SQ + SQ_ARRAY)
      const cqes = read(PARAMS_CQ + CQ_CQES)
      const ringBytes = Math.max(sqArray + this.entries * 4, cqes + cqEntries * RESULT_BYTES)
      this.#rings = new Int32Array(this.#map(OFFSET_RINGS, ringBytes))
      this.requests = new Int32Array(this.#map(OFFSET_REQUESTS, this.entries * REQUEST_BYTES))
      for (let slot = 0; slot < this.entries; slot++) {
        this.#rings[sqArray / 4 + slot] = slot
        this.requests[slot * REQUEST_WORDS + REQUEST_USER_DATA] = slot
      }
      this.#sqTail = read(PARAMS_SQ + SQ_TAIL) / 4
      this.#cqHead = read(PARAMS_CQ + CQ_HEAD) / 4
      this.#cqTail = read(PARAMS_CQ + CQ_TAIL) / 4
      this.#cqes = cqes / 4
      this.#cqMask = cqEntries - 1
    } catch (error) {
      this.close()
      throw error
    }
  }

  /** Address of memory outside V8's heap, which must be kept as long as requests name it. */
  addressOf(memory: ArrayBuffer): number {
    // Below 2^53: user space ends at 2^47, at 2^56 with five levels of page tables only where it is asked for.
    return Number(this.#ffi.getRawPointer(memory))
  }

  /** Where request `index` of the next `submit` lies, in words of `requests`. */
  at(index: number): number {
    return ((this.#tail + index) & (this.entries - 1)) * REQUEST_WORDS
  }

  /**
   * Submits `count` requests, all of such a kind that they end at once, and puts their outcomes into `results`: what the
   * system call would return, or the error number below 0. Returns false where the kernel did not take all of them; their
   * outcome is 0, and nothing may be submitted any more, because they still lie in the ring.
   */
  submit(count: number, results: Int32Array): boolean {
    const first = this.#tail
    results.fill(0, 0, count)
    this.#tail = (first + count) | 0
    Atomics.store(this.#rings, this.#sqTail, this.#tail)
    let taken = 0
    while (taken < count) {
      const now = this.#enter(count - taken, 0, 0n)
      if (now <= 0) break
      taken += now
    }
    let ended = this.#reap(first, results)
    // Not with such requests; but what the kernel may still do must not be taken for undone.
    while (ended < taken) {
      this.#enter(0, taken - ended, ENTER_GETEVENTS)
      ended += this.#reap(first, results)
    }
    return ended === count
  }

  /** How many requests the kernel took; below 0 where it failed. */
  #enter(count: number, endedMin: number, flags: bigint): number {
    const { syscall } = this.#libc
    return Number(syscall(IO_URING_ENTER, BigInt(this.#fd), BigInt(count), BigInt(endedMin), flags, 0n, 0n))
  }

  /** Takes what is in the completion queue; returns how many. */
  #reap(first: number, results: Int32Array): number {
    const rings = this.#rings
    const start = rings[this.#cqHead]!
    const end = Atomics.load(rings, this.#cqTail)
    for (let head = start; head !== end; head = (head + 1) | 0) {
      const at = this.#cqes + (head & this.#cqMask) * RESULT_WORDS
      results[(rings[at]! - first) & (this.entries - 1)] = rings[at + RESULT_OUTCOME]!
    }
    Atomics.store(rings, this.#cqHead, end)
    return (end - start) | 0
  }

  /** A second time it does nothing: the descriptor may be someone else's by then. */
  close(): void {
    if (this.#fd < 0) return
    this.#libc.close(this.#fd)
    this.#fd = -1
    for (const { address, memory } of this.#mapped.splice(0)) {
      const byteLength = BigInt(memory.byteLength)
      // Views of it are empty from here on; they would reach whatever is mapped there next.
      memory.transfer()
      this.#libc.munmap(address, byteLength)
    }
  }

  #map(offset: bigint, byteLength: number): ArrayBuffer {
    const { mmap } = this.#libc
    const address = mmap(0n, BigInt(byteLength), PROT_READ_WRITE, MAP_SHARED_POPULATE, this.#fd, offset)
    if (address === 0xffff_ffff_ffff_ffffn) throw new Error('its rings cannot be mapped')
    const memory = this.#ffi.toArrayBuffer(address, byteLength, false)
    this.#mapped.push({ address, memory })
    return memory
  }
}
