// The result of a case for people: one line, and more lines with --details.
import type { CaseResult, Latency, Peer } from './result.ts'

/** `tcp-qos0: 4.1 M msg/s (3.9 M to 4.2 M, 5 runs), 0.24 µs CPU each; aedes 1.2.0: 0.5 M, 1.9 µs, ratio 8.2; …` */
export function lineOf(result: CaseResult): string {
  const { unit, runs, min, max, generatorCpuShare, baseline, bytesPerRow, brokerUsPerMessage } = result
  const parts = [
    `${result.case}: ${figure(result.median)} ${unit} (${figure(min)} to ${figure(max)}, ${runs} ${runs === 1 ? 'run' : 'runs'})${cpu(result.cpuUsPerMessage)}${size(bytesPerRow)}${latency(result.latencyMs)}`,
    ...result.peers.map(peerText),
  ]
  if (baseline !== undefined)
    parts.push(`${baseline.case}: ${figure(baseline.median)}, this is ${baseline.ratio} of it`)
  if (generatorCpuShare !== undefined)
    parts.push(`generator ${Math.round(generatorCpuShare * 100)} % of its core`)
  if (brokerUsPerMessage !== undefined) parts.push(`the broker ${brokerUsPerMessage} µs CPU each`)
  return parts.join('; ')
}

export function detailsOf(result: CaseResult): string[] {
  const { threads, tables = [], notes = [] } = result
  const lines: string[] = []
  if (threads !== undefined) {
    const each = Object.entries(threads).map(([name, us]) => `${name} ${us}`)
    lines.push(`threads, µs each: ${each.join(', ')}`)
  }
  for (const table of tables)
    lines.push(table.title, ...[table.columns, ...table.rows].map((row) => row.join(' | ')))
  lines.push(...notes, `verified: ${result.verified}`)
  lines.push(`${result.machine}, Node ${result.node}, seed ${result.seed}`)
  return lines.map((line) => `  ${line}`)
}

function peerText(peer: Peer): string {
  return `${peer.name} ${peer.version}: ${figure(peer.median)}${cpu(peer.cpuUsPerMessage)}${size(peer.bytesPerRow)}${latency(peer.latencyMs)}, ratio of ${peer.ratioOf} ${peer.ratio}`
}

const cpu = (us: number | null): string => (us === null || us === 0 ? '' : `, ${us} µs CPU each`)
const size = (bytes: number | undefined): string => (bytes === undefined ? '' : `, ${bytes} B/row`)
const latency = (ms: Latency | undefined): string =>
  ms === undefined ? '' : `, PUBACK p50 ${ms.p50} p99 ${ms.p99} p99.9 ${ms.p999} ms`

export function figure(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)} M`
  return value >= 1e4 ? `${(value / 1e3).toFixed(1)} k` : String(Number(value.toFixed(1)))
}
