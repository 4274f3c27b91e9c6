// Whether a case got slower than it was, on the same kind of machine.
//
// Both sides are divided by their calibration loop, which ran between their runs: a machine that is slower today is
// slower in both. CPU per message is compared first, because waiting for a noisy neighbour or a slow disk costs none;
// throughput with twice the tolerance, and not where the rate is given.

import { GIVEN_RATE } from './harness.ts'
import type { CaseResult } from './result.ts'

export type Figures = Pick<
  CaseResult,
  'unit' | 'median' | 'cpuUsPerMessage' | 'calibration' | 'runs' | 'node'
>

export interface Verdict {
  /** CPU of a message, now over before. */
  cpu: number
  /** Rate, now over before; of sizes the other way round, so that more is better. */
  rate: number
  /** How much faster a core, and the machine by the clock, is now. */
  core: number
  machine: number
  isSlower: boolean
}

export function verdict(now: CaseResult, before: Figures, tolerance: number): Verdict {
  // Faster machine: more MB/s in the loop, less CPU time a message, more messages a second.
  const core = now.calibration.cpu / before.calibration.cpu
  const machine = now.calibration.wall / before.calibration.wall
  const cpu = before.cpuUsPerMessage === 0 ? 1 : (now.cpuUsPerMessage / before.cpuUsPerMessage) * core
  // Bytes per connection are better when there are fewer, and do not depend on the speed of the machine.
  const isSize = now.unit.startsWith('B/')
  const rate = isSize ? before.median / now.median : now.median / before.median / machine
  const slowerRate = !GIVEN_RATE.includes(now.case) && rate < 1 / (1 + 2 * tolerance)
  return { cpu, rate, core, machine, isSlower: cpu > 1 + tolerance || slowerRate }
}
