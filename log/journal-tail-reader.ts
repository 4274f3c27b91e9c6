// Thread of journal-tail.test.ts: reads one of the last groups again and again while they are overwritten.
import { parentPort, workerData } from 'node:worker_threads'
import { type SharedTail, TailReader } from './journal-tail.ts'

const { shared, published, groupBytes } = workerData as {
  shared: SharedTail
  published: Int32Array
  groupBytes: number
}
const reader = new TailReader(shared)
const into = new Int32Array(groupBytes / 4)
const bytes = new Uint8Array(into.buffer)
let found = 0
let missed = 0
let wrong = 0
Atomics.store(published, 1, 1)
for (let i = 0; Atomics.load(published, 1) === 1; i++) {
  const n = Atomics.load(published, 0) - 1 - (i % 12)
  if (n < 0) continue
  if (!reader.read(1, n * groupBytes, bytes)) missed++
  else if (into.every((word) => word === n)) found++
  else wrong++
}
parentPort!.postMessage({ found, missed, wrong })
