// The picture of the README: brokers under load, throughput and CPU of each, as one SVG.

import { cpuPerMessage, legend, stacked, throughput } from './report-plots.ts'
import type { CaseResult } from './result.ts'

/** The cases that differ from one another. */
const PICTURE = [
  'tcp-qos0',
  'tcp-qos1-8x1024',
  'tcp-qos1-8x64',
  'tcp-qos1-100x16',
  'json-qos1',
  'ws-qos1-8x1024',
  'unbatched-1000',
]
const MESSAGES = 'msg/s'

/** Undefined where one of its cases has no result. */
export function picture(results: readonly CaseResult[]): string | undefined {
  const chosen = PICTURE.flatMap((name) => results.filter((one) => one.case === name))
  if (chosen.length < PICTURE.length) return undefined
  const { machine, node } = chosen[0]!
  return stacked(
    'MQTT in on one core: Millrace syncs, the brokers keep it in memory',
    `${machine}, Node ${node}; server and generator on a core each; medians of ${chosen[0]!.runs} runs by turns`,
    [
      { title: '', svg: legend(chosen) },
      { title: 'Messages per second (right is better)', svg: throughput(chosen, MESSAGES) },
      { title: 'CPU of the server per message (left is better)', svg: cpuPerMessage(chosen, MESSAGES) },
    ],
  )
}
