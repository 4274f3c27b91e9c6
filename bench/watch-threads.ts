// Loaded into the server before anything else (`node --import`): what each of its threads says of itself, a line of JSON
// every half second in a file of its own (BENCH_WATCH_FOLDER), read by thread-watch.ts. A timer every 10 ms shows how
// long the event loop was busy with something else; what the thread waited for a core meanwhile is kept apart, because
// other processes of the machine cause it. Every garbage collection is counted, by kind, with its time, and every
// synchronous write and fdatasync that took longer than a millisecond is told.
import fs from 'node:fs'
import path from 'node:path'
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { isMainThread, threadId, threadName } from 'node:worker_threads'

// Of the whole process: V8 writes a line for each collection to stdout.
if (isMainThread && process.env['BENCH_TRACE_GC'] === '1') setFlagsFromString('--trace-gc')

const TICK_MS = 10
const LINE_MS = 500
/** A shorter wait for the disk is none. */
const DISK_MS_MIN = 1

const name = isMainThread ? 'main' : threadName || `thread-${threadId}`
const file = path.join(process.env['BENCH_WATCH_FOLDER']!, `${threadId}.jsonl`)
/**
 * Stays open, and is read into the same memory: `readFile` takes new memory outside the heap each time, which a hundred times
 * a second has V8 collect everything every few seconds, in the thread that is watched.
 */
const schedstat = openSchedstat()
const stats = Buffer.alloc(128)
let stallMs = 0
let lateMs = 0
let last = performance.now()
let lastWaited = waitedMs()
const collections = { scavenges: 0, scavengeMs: 0, markCompacts: 0, markCompactMs: 0 }

setInterval(() => {
  const now = performance.now()
  const waited = waitedMs()
  const late = now - last - TICK_MS
  lateMs = Math.max(lateMs, late)
  stallMs = Math.max(stallMs, late - (waited - lastWaited))
  last = now
  lastWaited = waited
}, TICK_MS).unref()

// Incremental steps and weak callbacks belong to a mark-compact, which has an entry of its own.
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    const { duration, detail } = entry as PerformanceEntry & { detail: { kind: number } }
    const { kind } = detail
    if (kind === constants.NODE_PERFORMANCE_GC_MINOR) {
      collections.scavenges++
      collections.scavengeMs += duration
    } else {
      if (kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections.markCompacts++
      collections.markCompactMs += duration
    }
  }
}).observe({ entryTypes: ['gc'] })

/** What the disk took, in ms, since the last line. */
let diskMs: number[] = []

function timed<Args extends unknown[], Result>(call: (...args: Args) => Result): (...args: Args) => Result {
  return (...args) => {
    const started = performance.now()
    const result = call(...args)
    const tookMs = performance.now() - started
    if (tookMs >= DISK_MS_MIN) diskMs.push(Math.round(tookMs * 10) / 10)
    return result
  }
}
fs.fdatasyncSync = timed(fs.fdatasyncSync)
fs.writeSync = timed(fs.writeSync) as typeof fs.writeSync
fs.writevSync = timed(fs.writevSync)

setInterval(() => {
  const { heapUsed: heapBytes, arrayBuffers: bufferBytes } = process.memoryUsage()
  const memory = { heapBytes, bufferBytes }
  const line = { thread: name, atMs: Date.now(), stallMs, lateMs, diskMs, ...collections, ...memory }
  // Not synchronously: on a disk that syncs for others a write can wait, and would be the stall that is looked for.
  fs.appendFile(file, `${JSON.stringify(line)}\n`, () => {})
  stallMs = 0
  lateMs = 0
  diskMs = []
}, LINE_MS).unref()

/** Milliseconds that this thread could have run and had no core (the kernel's sched-stats, second field); 0 where it does not say. */
function waitedMs(): number {
  if (schedstat === undefined) return 0
  const length = fs.readSync(schedstat, stats, 0, stats.length, 0)
  return Number(stats.toString('latin1', 0, length).split(' ')[1]) / 1e6
}

function openSchedstat(): number | undefined {
  try {
    return fs.openSync('/proc/thread-self/schedstat', 'r')
  } catch {
    return undefined
  }
}
