// The other side of watch-threads.ts: starts a server that is watched, and reads what its threads said of a time.
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { temporaryFolder } from './processes.ts'

const WATCHER = pathToFileURL(path.join(import.meta.dirname, 'watch-threads.ts')).href

/** As the thread writes it: counts since its start; the longest stall, and what the disk took, since its last line. */
interface Line {
  thread: string
  atMs: number
  stallMs: number
  lateMs: number
  diskMs: number[]
  scavenges: number
  scavengeMs: number
  markCompacts: number
  markCompactMs: number
  heapBytes: number
  bufferBytes: number
}

/** Of one thread, within a time. */
export interface Watched {
  thread: string
  /** What was seen, first to last line. */
  seconds: number
  /** The longest time in which its event loop did something else than its next event. */
  stallMs: number
  /** The same with what it waited for a core: what a client saw. */
  lateMs: number
  /** Of each write or sync of more than a millisecond. */
  diskMs: number[]
  scavenges: number
  markCompacts: number
  /** Time in all collections. */
  gcMs: number
  heapBytesFirst: number
  heapBytesLast: number
  /** Outside of the heap: those shared with other threads count in each. */
  bufferBytesFirst: number
  bufferBytesLast: number
}

export class ThreadWatch {
  readonly folder = temporaryFolder()

  /** Environment of a server that is watched. */
  get env(): Readonly<Record<string, string>> {
    return { NODE_OPTIONS: `--import ${WATCHER}`, BENCH_WATCH_FOLDER: this.folder }
  }

  /** Of each thread that wrote twice in the time, by Date.now(). */
  read(fromMs: number, toMs: number): Watched[] {
    return fs.readdirSync(this.folder).flatMap((name) => {
      const text = fs.readFileSync(path.join(this.folder, name), 'utf8')
      // A line that is being written has no end yet.
      const lines = text
        .slice(0, text.lastIndexOf('\n') + 1)
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line)
        .filter(({ atMs }) => atMs >= fromMs && atMs <= toMs)
        .sort((a, b) => a.atMs - b.atMs)
      const [first, last] = [lines[0], lines.at(-1)]
      if (first === undefined || last === undefined || first === last) return []
      return {
        thread: first.thread,
        seconds: (last.atMs - first.atMs) / 1000,
        // The first line's stall may be from before.
        stallMs: Math.max(...lines.slice(1).map(({ stallMs }) => stallMs)),
        lateMs: Math.max(...lines.slice(1).map(({ lateMs }) => lateMs)),
        diskMs: lines.slice(1).flatMap(({ diskMs }) => diskMs),
        scavenges: last.scavenges - first.scavenges,
        markCompacts: last.markCompacts - first.markCompacts,
        gcMs: last.scavengeMs + last.markCompactMs - first.scavengeMs - first.markCompactMs,
        heapBytesFirst: first.heapBytes,
        heapBytesLast: last.heapBytes,
        bufferBytesFirst: first.bufferBytes,
        bufferBytesLast: last.bufferBytes,
      }
    })
  }
}
