// What a soak must not show: memory that grows, a stall of what serves connections, latency that is not the same all along.
import { median } from './harness.ts'
import type { Watched } from './thread-watch.ts'

const STALL_MS_MAX = 50
/** Memory of the last third over that of the second: heaps move by some MiB, a leak goes on. */
const GROWTH_SHARE_MAX = 0.04
const GROWTH_MEBIBYTES_MAX = 8
/**
 * p99 of the worst third of the stretches over that of the best, or over what the disk made of it, whenever they were: a single
 * bad one is none.
 */
const P99_TIMES_MAX = 1.5
const P99_MS_MORE_MAX = 2

/** Each of a stretch, which are all as long. */
export interface Soak {
  /** After it. */
  megabytes: readonly number[]
  p99s: readonly number[]
  /** What the disk alone would make of p99 (`diskP99`). */
  diskP99s: readonly number[]
  /** Of the whole time. */
  threads: readonly Watched[]
}

/**
 * The p99 of PUBACK, ms, in `seconds` of an even load at half of what the server can do, if all but the disk took no time. Who
 * sends during a wait of `diskMs` is acknowledged when it ends, and what has gathered by then takes as long again.
 */
export function diskP99(diskMs: readonly number[], seconds: number): number {
  const sorted = diskMs.toSorted((a, b) => b - a)
  const late = seconds * 1000 * 0.01
  let total = 0
  for (const [i, one] of sorted.entries()) {
    total += one
    // Among the i + 1 longest: where the time above p99 in all of them is one per cent.
    const p99 = (2 * total - late) / (2 * (i + 1))
    if (p99 >= (sorted[i + 1] ?? 0)) return Math.max(0, p99)
  }
  return 0
}

/** The median of a third of the values, 0 the first. */
export function third(values: readonly number[], index: 0 | 1 | 2): number {
  const length = values.length / 3
  return median(values.slice(Math.floor(index * length), Math.max(1, Math.ceil((index + 1) * length))))
}

/** Whether resident memory, in equal stretches of time, grows after the first third, in which the heap finds its size. */
export function memoryProblem(megabytes: readonly number[]): string | undefined {
  const [before, after] = [third(megabytes, 1), third(megabytes, 2)]
  if (after - before <= Math.max(GROWTH_MEBIBYTES_MAX, before * GROWTH_SHARE_MAX)) return undefined
  return `memory grows: ${Math.round(before)} MiB in the second third of the time, ${Math.round(after)} in the last`
}

/** A sentence for each. */
export function soakProblems({ megabytes, p99s, diskP99s, threads }: Soak): string[] {
  const problems: string[] = []
  const growth = memoryProblem(megabytes)
  if (growth !== undefined) problems.push(growth)
  const serving = threads.filter(({ thread }) => thread === 'main' || thread.startsWith('ingest'))
  if (!serving.some(({ thread }) => thread.startsWith('ingest')))
    problems.push('no ingest thread said how it was')
  for (const { thread, stallMs } of serving)
    if (stallMs > STALL_MS_MAX) problems.push(`${thread} stalled for ${Math.round(stallMs)} ms`)
  const { best, worst } = spread(p99s)
  const unexplained = p99s.map((p99, i) => Number(isFarAbove(p99, Math.max(best, diskP99s[i]!))))
  if (isFarAbove(worst, best) && spread(unexplained).worst > 0)
    problems.push(
      `p99 of PUBACK is not stable: ${best} ms in the best third of the stretches, ${worst} in the worst, which the disk does not explain`,
    )
  return problems
}

/** What is said of a p99 that passed. */
export function p99Text({ p99s }: Soak): string {
  const { best, worst } = spread(p99s)
  return isFarAbove(worst, best) ? 'p99 as stable as the disk' : 'p99 stable'
}

/** The lowest and the highest third of the values, whenever they were. */
function spread(values: readonly number[]): { best: number; worst: number } {
  const sorted = values.toSorted((a, b) => a - b)
  return { best: third(sorted, 0), worst: third(sorted, 2) }
}

const isFarAbove = (value: number, other: number): boolean =>
  value > other * P99_TIMES_MAX && value - other > P99_MS_MORE_MAX
