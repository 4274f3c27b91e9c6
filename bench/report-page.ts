// The page of plots: throughput with peers, CPU per message, latency, memory against connections, and every result in
// words, in one file that needs no network.

import { GIVEN_RATE } from './harness.ts'
import { cpuPerMessage, latencies, legend, residentMemory, throughput } from './report-plots.ts'
import type { CaseResult, Table } from './result.ts'
import { lineOf } from './result-text.ts'

const MESSAGES = 'msg/s'
/** Of the tables of a case. */
const HEADINGS: Readonly<Record<string, string>> = {
  breakdown: 'Breakdown',
  gc: 'Garbage collection',
  growth: 'How cost grows',
}

const escapeHtml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

const cellText = (cell: string | number): string =>
  typeof cell === 'number' ? cell.toLocaleString('en-US', { maximumFractionDigits: 4 }) : cell

function tableHtml(table: Table): string {
  const isText = table.columns.map((_, i) => table.rows.every((row) => !/^\d/.test(String(row[i]))))
  const row = (cells: readonly (string | number)[], tag: string) =>
    `<tr>${cells.map((cell, i) => `<${tag}${isText[i] ? ' class="text"' : ''}>${escapeHtml(cellText(cell))}</${tag}>`).join('')}</tr>`
  return `<h3>${escapeHtml(table.title)}</h3><table>${row(table.columns, 'th')}${table.rows.map((cells) => row(cells, 'td')).join('')}</table>`
}

function memoryPlot(results: readonly CaseResult[]): string {
  const table = results.flatMap((one) => one.tables ?? []).find((one) => one.columns.includes('RSS MiB'))
  if (table === undefined) return '<p>No result of the case growth yet.</p>'
  const [connections, mebibytes] = [table.columns.indexOf('connections'), table.columns.indexOf('RSS MiB')]
  return residentMemory(
    table.rows.map((row) => ({ connections: Number(row[connections]), mebibytes: Number(row[mebibytes]) })),
  )
}

export function page(results: readonly CaseResult[]): string {
  const others = [...new Set(results.map((one) => one.unit))].filter(
    (unit) => !['msg/s', 'B/connection'].includes(unit),
  )
  const withPeers = results.filter((one) => one.peers.length > 0)
  const withoutPeers = results.filter((one) => one.peers.length === 0)
  const isThroughput = (one: CaseResult): boolean => !GIVEN_RATE.includes(one.case)
  const [compared, alone] = [withPeers.filter(isThroughput), withoutPeers.filter(isThroughput)]
  const tables = results
    .filter((one) => (one.tables ?? []).length > 0)
    .map((result) => ({ result, heading: HEADINGS[result.case] ?? escapeHtml(result.case) }))
  const machines = [...new Set(results.map((one) => `${one.machine}, Node ${one.node}`))]
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Millrace: benchmark</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 960px; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem } svg { max-width: 100%; height: auto }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; border-bottom: 1px solid #ddd; text-align: right }
.text { text-align: left }
pre { white-space: pre-wrap; font-size: 12.5px } .fine { color: #555 }
</style></head><body>
<h1>Millrace: benchmark</h1>
<p class="fine">${machines.map(escapeHtml).join('<br>')}. Medians of the newest run of each case. Millrace validates every payload and
syncs it to disk before it acknowledges; the brokers look at no payload and sync nothing.</p>
${legend(results)}
<h2>Throughput</h2>
${throughput(compared, MESSAGES)}
<h3>Millrace alone, msg/s</h3>
${throughput(alone, MESSAGES)}
${others.map((unit) => `<h3>${escapeHtml(unit)}</h3>${throughput(results, unit)}`).join('\n')}
<h2>CPU per message</h2>
${cpuPerMessage(withPeers, MESSAGES)}
<h3>Millrace alone</h3>
${cpuPerMessage(withoutPeers, MESSAGES)}
<h2>Latency to PUBACK</h2>
<p class="fine">Closed loops (QoS 1 with a window) wait for what is in flight; ${GIVEN_RATE.map((name) => `<code>${name}</code>`).join(', ')} send at a given rate, and count
from the time at which a message should have left.</p>
${latencies(results)}
<h2>Memory against connections</h2>
${memoryPlot(results)}
${tables.map(({ heading, result }) => `<h2>${heading}</h2>\n${(result.tables ?? []).map(tableHtml).join('\n')}`).join('\n')}
<h2>All results</h2>
<p class="fine">With what limited each, as far as the case can tell; why, and where a goal is not reached: docs/performance.md and docs/limits.md.</p>
<pre>${results.map((one) => escapeHtml([lineOf(one), ...(one.notes ?? []), `verified: ${one.verified}`].join('\n  '))).join('\n')}</pre>
</body></html>
`
}
