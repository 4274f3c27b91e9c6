// Loaded into the server before anything else (`node --import`): what each of its threads says of itself, a line of JSON
// every half second in a file of its own (BENCH_WATCH_FOLDER), read by thread-watch.ts. A timer every 10 ms shows how
// long the event loop was busy with something else; every garbage collection is counted, by kind, with its time.
import fs from 'node:fs'
import path from 'node:path'
import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { isMainThread, threadId, threadName } from 'node:worker_threads'

// Of the whole process: V8 writes a line for each collection to stdout.
if (isMainThread && process.env['BENCH_TRACE_GC'] === '1') setFlagsFromString('--trace-gc')

const TICK_MS = 10
const LINE_MS = 500

const name = isMainThread ? 'main' : threadName || `thread-${threadId}`
const file = path.join(process.env['BENCH_WATCH_FOLDER']!, `${threadId}.jsonl`)
let stallMs = 0
let last = performance.now()
const collections = { scavenges: 0, scavengeMs: 0, markCompacts: 0, markCompactMs: 0 }

setInterval(() => {
  const now = performance.now()
  stallMs = Math.max(stallMs, now - last - TICK_MS)
  last = now
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

setInterval(() => {
  const heapBytes = process.memoryUsage().heapUsed
  const line = { thread: name, atMs: Date.now(), stallMs, ...collections, heapBytes }
  fs.appendFileSync(file, `${JSON.stringify(line)}\n`)
  stallMs = 0
}, LINE_MS).unref()
