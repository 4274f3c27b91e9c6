// A soak that shows a fault must fail: by figures, and (with the long tests) by a server that leaks and stalls.
import assert from 'node:assert/strict'
import path from 'node:path'
import { test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { run } from './soak.ts'
import { diskP99, p99Text, type Soak, soakProblems } from './soak-verdict.ts'
import type { Watched } from './thread-watch.ts'

const watched = (thread: string, stallMs: number): Watched => ({
  thread,
  seconds: 60,
  stallMs,
  lateMs: stallMs,
  diskMs: [],
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
  diskP99s: new Array<number>(10).fill(3),
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
    /^p99 of PUBACK is not stable: 6 ms .*, 11\.5 in the worst, which/,
  )
  assert.match(
    soakProblems({ ...GOOD, p99s: moving }).join(),
    /^p99 of PUBACK is not stable: 14\.5 ms .*, 94 in the worst, which/,
  )
  assert.deepEqual(soakProblems({ ...GOOD, p99s: [6, 6, 6, 6, 6, 6, 6, 30, 6, 6] }), [])
})

test('a p99 that is what the disk makes of it is no problem, and is said to be that', () => {
  const p99s = [14, 16, 90, 15, 14, 160, 13, 70, 15, 14]
  const diskP99s = [3, 4, 72, 5, 3, 120, 3, 58, 4, 4]
  const soak = { ...GOOD, p99s, diskP99s }
  assert.deepEqual(soakProblems(soak), [])
  assert.equal(p99Text(soak), 'p99 as stable as the disk')
  assert.equal(p99Text(GOOD), 'p99 stable')
  const other = diskP99s.map((one, i) => (i === 2 || i === 5 ? 3 : one))
  assert.match(soakProblems({ ...soak, diskP99s: other }).join(), /p99 of PUBACK is not stable/)
})

test('what waits for the disk make of p99: messages wait with it, and as long again behind those that gathered', () => {
  assert.equal(diskP99([], 60), 0)
  // 600 ms of a minute are one per cent: those of 5 ms are not long enough to be seen.
  assert.equal(diskP99(new Array(50).fill(5), 60), 0)
  assert.equal(diskP99([5, 500, 5], 60), 200)
  assert.equal(diskP99([400, 100, 350, 2], 60), 225)
})

test('p99 of a simulated queue behind a disk that stands still is what its waits say', () => {
  // Messages come every 0.01 ms, and are served in half of that while the disk works.
  const seconds = 2
  const stalls = new Map([
    [300, 40],
    [900, 25],
    [1500, 60],
  ])
  const latencies: number[] = []
  let freeAt = 0
  for (let i = 0; i < seconds * 100_000; i++) {
    const atMs = i / 100
    freeAt = Math.max(freeAt, atMs)
    const stalled = stalls.get(Math.floor(freeAt))
    if (stalled !== undefined) {
      stalls.delete(Math.floor(freeAt))
      freeAt += stalled
    }
    freeAt += 0.005
    latencies.push(freeAt - atMs)
  }
  latencies.sort((a, b) => a - b)
  const p99 = latencies[Math.floor(latencies.length * 0.99)]!
  assert.ok(Math.abs(diskP99([40, 25, 60], seconds) - p99) < 1, `${p99} ms`)
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
