// What a soak must not show: memory that grows, a stall of what serves connections, latency that is not the same all along.
import { median } from './harness.ts'
import type { Watched } from './thread-watch.ts'

const STALL_MS_MAX = 50
/** Memory of the last third over that of the second: heaps move by some MiB, a leak goes on. */
const GROWTH_SHARE_MAX = 0.04
const GROWTH_MEBIBYTES_MAX = 8
/** p99 of the worst third of the stretches over that of the best, whenever they were: a single bad one is none. */
const P99_TIMES_MAX = 1.5
const P99_MS_MORE_MAX = 2

export interface Soak {
  /** After each stretch of the same length. */
  megabytes: readonly number[]
  p99s: readonly number[]
  threads: readonly Watched[]
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
export function soakProblems({ megabytes, p99s, threads }: Soak): string[] {
  const problems: string[] = []
  const growth = memoryProblem(megabytes)
  if (growth !== undefined) problems.push(growth)
  const serving = threads.filter(({ thread }) => thread === 'main' || thread.startsWith('ingest'))
  if (!serving.some(({ thread }) => thread.startsWith('ingest')))
    problems.push('no ingest thread said how it was')
  for (const { thread, stallMs } of serving)
    if (stallMs > STALL_MS_MAX) problems.push(`${thread} stalled for ${Math.round(stallMs)} ms`)
  const sorted = p99s.toSorted((a, b) => a - b)
  const [best, worst] = [third(sorted, 0), third(sorted, 2)]
  if (worst > best * P99_TIMES_MAX && worst - best > P99_MS_MORE_MAX)
    problems.push(
      `p99 of PUBACK is not stable: ${best} ms in the best third of the stretches, ${worst} in the worst`,
    )
  return problems
}
