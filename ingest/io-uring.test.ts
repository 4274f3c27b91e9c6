// The ring against the real kernel: outcomes come back to the slots of their requests, however many went before, and whatever
// else happens, nothing reaches memory or descriptors that are no longer its own.
//
// The kernel's count of requests passes 2^32 after hours of load; nothing of it can be set, so no test waits for it.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { IoUring, REQUEST_WORDS } from './io-uring.ts'

const ENTRIES = 16
const OP_NOP = 0
const OP_CLOSE = 19
const OP_UNKNOWN = 255
const EBADF = -9
const EINVAL = -22

const probe = IoUring.open(ENTRIES)
probe?.close()
const options = { skip: probe === undefined && 'this machine offers no io_uring' }

const open = (): IoUring => {
  const ring = IoUring.open(ENTRIES)
  assert.ok(ring)
  return ring
}

function put(ring: IoUring, index: number, operation: number, fd = -1): void {
  const at = ring.at(index)
  ring.requests[at] = operation
  ring.requests[at + 1] = fd
}

test('outcomes come back in the order of the requests, past one that the kernel stops at', options, () => {
  const ring = open()
  const results = new Int32Array(ENTRIES)
  for (let round = 0; round < 100; round++) {
    // Sizes that do not divide the ring, so that each slot has its turn at each place.
    const count = 1 + ((round * 7) % ENTRIES)
    const expected = Array.from({ length: count }, (_, i) => [0, EINVAL, EBADF][(round + i) % 3]!)
    for (const [index, outcome] of expected.entries())
      if (outcome === EBADF) put(ring, index, OP_CLOSE, 1_000_000)
      else put(ring, index, outcome === 0 ? OP_NOP : OP_UNKNOWN)
    assert.equal(ring.submit(count, results), true)
    assert.deepEqual([...results.subarray(0, count)], expected, `round ${round}`)
  }
  ring.close()
})

test('closed, its memory is empty, and what it is asked for then fails', options, () => {
  const ring = open()
  const { requests } = ring
  assert.equal(requests.length, ring.entries * REQUEST_WORDS)
  ring.close()
  ring.close()
  assert.equal(requests.length, 0)
  assert.throws(() => ring.submit(1, new Int32Array(1)), TypeError)
})

test('a thread that is terminated while it submits takes nothing with it', options, async () => {
  const worker = new Worker(
    `const { IoUring } = await import(${JSON.stringify(import.meta.resolve('./io-uring.ts'))})
    const { parentPort } = await import('node:worker_threads')
    const ring = IoUring.open(${ENTRIES})
    const results = new Int32Array(${ENTRIES})
    for (let i = 0; ; i++) {
      ring.submit(${ENTRIES}, results)
      if (i === 1000) parentPort.postMessage('busy')
    }`,
    { eval: true },
  )
  await once(worker, 'message')
  assert.equal(await worker.terminate(), 1)
  const ring = open()
  put(ring, 0, OP_NOP)
  assert.equal(ring.submit(1, new Int32Array(1)), true)
  ring.close()
})
