// A soak that shows a fault must fail: by figures, and (with the long tests) by a server that leaks and stalls.
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { run } from './soak.ts'
import { type Soak, soakProblems } from './soak-verdict.ts'
import type { Watched } from './thread-watch.ts'

const watched = (thread: string, stallMs: number): Watched => ({
  thread,
  seconds: 60,
  stallMs,
  lateMs: stallMs,
  scavenges: 10,
  markCompacts: 0,
  gcMs: 5,
  heapBytesFirst: 1e7,
  heapBytesLast: 1e7,
  bufferBytesFirst: 1e6,
  bufferBytesLast: 1e6,
})

const GOOD: Soak = {
  // Of a run that was flat: the heap finds its size, and moves by some MiB.
  megabytes: [177, 196, 203, 204, 203, 206, 204, 205, 203, 206],
  p99s: [6.1, 5.9, 7.4, 6.2, 6.6, 6.0, 7.1, 6.4, 6.3, 6.9],
  threads: [watched('main', 4), watched('ingest-0', 21), watched('log', 300)],
}

test('flat memory, short turns of the event loop and a steady p99 are no problem', () => {
  assert.deepEqual(soakProblems(GOOD), [])
})

test('memory that grows to the end is told, wherever it began', () => {
  const leak = GOOD.megabytes.map((one, i) => one + 4 * i)
  assert.match(
    soakProblems({ ...GOOD, megabytes: leak }).join(),
    /^memory grows: 2\d\d MiB .*, 2\d\d in the last$/,
  )
})

test('a stall is told of the threads that serve connections, not of the one that syncs', () => {
  const threads = [watched('main', 4), watched('ingest-1', 51), watched('log', 300)]
  assert.deepEqual(soakProblems({ ...GOOD, threads }), ['ingest-1 stalled for 51 ms'])
  assert.match(soakProblems({ ...GOOD, threads: [watched('main', 4)] }).join(), /no ingest thread/)
})

test('a p99 that is not stable is told, whenever it was bad; one bad stretch is not', () => {
  const rising = [6, 6, 6, 7, 8, 9, 10, 11, 12, 12]
  const moving = [8, 8, 180, 141, 21, 29, 46, 23, 47, 38]
  assert.match(
    soakProblems({ ...GOOD, p99s: rising }).join(),
    /^p99 of PUBACK is not stable: 6 ms .*, 11\.5 in the worst$/,
  )
  assert.match(
    soakProblems({ ...GOOD, p99s: moving }).join(),
    /^p99 of PUBACK is not stable: 14\.5 ms .*, 94 in the worst$/,
  )
  assert.deepEqual(soakProblems({ ...GOOD, p99s: [6, 6, 6, 6, 6, 6, 6, 30, 6, 6] }), [])
})

test('a server that keeps a MiB every 20 ms and turns 200 ms in each second fails a soak of seconds', {
  skip: process.env['MILLRACE_LONG'] !== '1' && 'MILLRACE_LONG=1',
}, async () => {
  const args = { json: true, details: false, smoke: true, seconds: 8, runs: 1, seed: 1 }
  const fault = pathToFileURL(path.join(import.meta.dirname, 'soak-fault.ts')).href
  await assert.rejects(
    run({ ...args, peers: [], noPeers: true, url: undefined }, { NODE_OPTIONS: `--import ${fault}` }),
    (error: Error) => {
      assert.match(error.message, /memory grows: \d+ MiB/)
      assert.match(error.message, /ingest-0 stalled for \d{2,} ms/)
      return true
    },
  )
})
