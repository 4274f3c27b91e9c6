// The plots of the report: results in, SVG out, without a browser.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'
import type { CaseResult } from './result.ts'

const { document } = parseHTML('<!doctype html><html><body></body></html>')
const WIDTH = 860
const ROW_HEIGHT = 38
const LATENCY_ROW_HEIGHT = 18
const MARGIN_LEFT = 150
const FONT = 'system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif'

/** One colour a contestant, everywhere; those not named here share the last. */
const COLORS: Record<string, string> = {
  millrace: '#0b6e99',
  flashmq: '#d1495b',
  'mosquitto-2.1': '#7a9e3a',
  mosquitto: '#b8a23d',
  aedes: '#8d6a9f',
  'mqtt-packet+avsc': '#c77d4f',
  pyarrow: '#4f7942',
  'parquet-wasm': '#777777',
}
const COLOR_OTHER = '#444444'

/** A figure of a contestant in a case. */
interface Point {
  case: string
  who: string
  value: number
}

const colorOf = (who: string): string => COLORS[who] ?? COLOR_OTHER

function contestants(
  result: CaseResult,
  pick: (one: { median: number; cpuUsPerMessage: number | null }) => number | null,
): Point[] {
  const all = [{ name: 'millrace', ...result }, ...result.peers]
  return all.flatMap((one) => {
    const value = pick(one)
    return value === null || value <= 0 ? [] : [{ case: result.case, who: one.name, value }]
  })
}

function si(value: number): string {
  if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))} M`
  if (value >= 1e3) return `${Number((value / 1e3).toPrecision(3))} k`
  return String(Number(value.toPrecision(3)))
}

/** Dots on a logarithmic axis, a row a case; Millrace's with its figure. */
function dots(points: readonly Point[], label: string): string {
  const ours = points.filter((point) => point.who === 'millrace')
  const cases = [...new Set(points.map((point) => point.case))]
  return svgOf({
    height: cases.length * ROW_HEIGHT + 80,
    marginTop: 24,
    marginBottom: 52,
    marginLeft: MARGIN_LEFT,
    marginRight: 40,
    x: {
      type: 'log',
      grid: true,
      label,
      labelAnchor: 'center',
      labelOffset: 46,
      tickFormat: si,
      ticks: 6,
      inset: 14,
    },
    y: { domain: cases, label: null, tickSize: 0 },
    marks: [
      Plot.ruleY(cases, { stroke: '#e4e4e4' }),
      Plot.dot(ours, { x: 'value', y: 'case', fill: colorOf('millrace'), r: 7, symbol: 'diamond' }),
      // Above the diamond: one that is level with it would not be seen.
      Plot.dot(
        points.filter((point) => point.who !== 'millrace'),
        { x: 'value', y: 'case', fill: (point: Point) => colorOf(point.who), r: 5, stroke: 'white' },
      ),
      Plot.text(ours, {
        x: 'value',
        y: 'case',
        text: (point: Point) => si(point.value),
        dy: -17,
        fill: colorOf('millrace'),
        fontWeight: 600,
      }),
    ],
  })
}

/** Messages per second of each contestant in the cases of one unit. */
export function throughput(results: readonly CaseResult[], unit: string): string {
  const points = results
    .filter((result) => result.unit === unit)
    .flatMap((result) => contestants(result, (one) => one.median))
  return dots(points, `${unit}, logarithmic`)
}

export function cpuPerMessage(results: readonly CaseResult[], unit: string): string {
  const points = results
    .filter((result) => result.unit === unit)
    .flatMap((result) => contestants(result, (one) => one.cpuUsPerMessage))
  return dots(points, 'CPU of the server, µs per message, logarithmic')
}

/** A line of the latency plot: the name of a case, or a contestant in it. */
interface LatencyRow {
  key: string
  label: string
  isCase: boolean
}

/** From p50 to p99.9 of each contestant, a mark at each percentile; only those that were measured. */
export function latencies(results: readonly CaseResult[]): string {
  const rows: LatencyRow[] = []
  const points: { key: string; who: string; percentile: string; ms: number }[] = []
  for (const result of results) {
    const measured = [{ name: 'millrace', latencyMs: result.latencyMs }, ...result.peers].filter(
      (one) => one.latencyMs !== undefined,
    )
    if (measured.length === 0) continue
    rows.push({ key: result.case, label: result.case, isCase: true })
    for (const { name, latencyMs } of measured) {
      const key = `${result.case} ${name}`
      rows.push({ key, label: name, isCase: false })
      points.push(
        { key, who: name, percentile: 'p50', ms: latencyMs!.p50 },
        { key, who: name, percentile: 'p99', ms: latencyMs!.p99 },
        { key, who: name, percentile: 'p99.9', ms: latencyMs!.p999 },
      )
    }
  }
  if (points.length === 0) return '<p>No result with latencies yet.</p>'
  const colored = (point: { who: string }): string => colorOf(point.who)
  // The names stand left of the axis, where its ticks would be.
  const names = (isCase: boolean, style: object): Plot.Markish =>
    Plot.text(
      rows.filter((row) => row.isCase === isCase),
      { y: 'key', text: 'label', frameAnchor: 'left', dx: -10, textAnchor: 'end', clip: false, ...style },
    )
  return svgOf({
    height: rows.length * LATENCY_ROW_HEIGHT + 80,
    marginTop: 8,
    marginBottom: 52,
    marginLeft: MARGIN_LEFT,
    marginRight: 40,
    x: {
      type: 'log',
      grid: true,
      labelAnchor: 'center',
      labelOffset: 46,
      inset: 10,
      label: 'PUBACK latency, ms, logarithmic: ● p50, ▲ p99, ■ p99.9',
      tickFormat: si,
      ticks: 6,
    },
    y: { type: 'point', domain: rows.map((row) => row.key), axis: null, padding: 0.5 },
    symbol: { domain: ['p50', 'p99', 'p99.9'], range: ['circle', 'triangle', 'square'] },
    marks: [
      Plot.ruleY(
        rows.filter((row) => row.isCase),
        { y: 'key', stroke: '#cccccc' },
      ),
      names(true, { fontWeight: 600 }),
      names(false, { fill: '#444444' }),
      Plot.line(points, { x: 'ms', y: 'key', z: 'key', stroke: colored }),
      Plot.dot(points, { x: 'ms', y: 'key', symbol: 'percentile', fill: colored, r: 4 }),
    ],
  })
}

/** Resident bytes of the server against its connections. */
export function residentMemory(rows: readonly { connections: number; mebibytes: number }[]): string {
  return svgOf({
    height: 320,
    marginTop: 30,
    marginBottom: 52,
    marginLeft: 60,
    marginRight: 40,
    x: {
      type: 'log',
      grid: true,
      label: 'connections, logarithmic',
      labelAnchor: 'center',
      labelOffset: 46,
      // Those of growth are eight times apart: a tick at each.
      base: 8,
      tickFormat: (value: number) => value.toLocaleString('en-US'),
      inset: 20,
    },
    y: { grid: true, label: '↑ RSS of the server, MiB', zero: true },
    marks: [
      Plot.line(rows, { x: 'connections', y: 'mebibytes', stroke: colorOf('millrace'), strokeWidth: 2 }),
      Plot.dot(rows, { x: 'connections', y: 'mebibytes', fill: colorOf('millrace'), r: 4 }),
      Plot.text(rows, {
        x: 'connections',
        y: 'mebibytes',
        text: (row: { mebibytes: number }) => String(Math.round(row.mebibytes)),
        dy: -14,
      }),
    ],
  })
}

function svgOf(options: Plot.PlotOptions): string {
  const plot = Plot.plot({
    width: WIDTH,
    style: { fontFamily: FONT, fontSize: '13px', background: 'white' },
    ...options,
    // linkedom's document has what Plot asks of one.
    document: document as never,
  })
  const svg = plot.tagName.toLowerCase() === 'svg' ? plot : plot.querySelector('svg')!
  svg.setAttribute('xmlns', 'http://www.w3.org/2000/svg')
  return svg.outerHTML
}

const escapeXml = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

const LEGEND_ROW_HEIGHT = 24

/** Names and colours of all contestants in the results, in as many rows of SVG as they need. */
export function legend(results: readonly CaseResult[]): string {
  const names = ['millrace', ...new Set(results.flatMap((result) => result.peers.map((one) => one.name)))]
  let x = 0
  let y = 0
  const items = names.map((name) => {
    const version = results.flatMap((result) => result.peers).find((one) => one.name === name)?.version
    const label = name === 'millrace' ? 'Millrace, durable' : `${name}${version ? ` ${version}` : ''}`
    const width = 36 + label.length * 7.4
    if (x > 0 && x + width > WIDTH) {
      x = 0
      y += LEGEND_ROW_HEIGHT
    }
    const mark =
      name === 'millrace'
        ? `<path d="M${x + 7},${y + 2} l7,8 l-7,8 l-7,-8 z" fill="${colorOf(name)}"/>`
        : `<circle cx="${x + 7}" cy="${y + 10}" r="5" fill="${colorOf(name)}"/>`
    const item = `${mark}<text x="${x + 20}" y="${y + 15}">${escapeXml(label)}</text>`
    x += width
    return item
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y + LEGEND_ROW_HEIGHT}" font-family="${escapeXml(FONT)}" font-size="13">${items.join('')}</svg>`
}

/** Plots below one another in one SVG, each under its title. */
export function stacked(
  title: string,
  subtitle: string,
  parts: readonly { title: string; svg: string }[],
): string {
  const font = `font-family="${escapeXml(FONT)}"`
  let y = 64
  const body = parts.map((part) => {
    const sizeOf = (name: string) => Number(new RegExp(`<svg[^>]*? ${name}="([\\d.]+)"`).exec(part.svg)![1])
    const [width, height] = [sizeOf('width'), sizeOf('height')]
    const top = part.title === '' ? 0 : 26
    const text =
      part.title === ''
        ? ''
        : `<text x="24" y="${y + 16}" ${font} font-size="15" font-weight="600">${escapeXml(part.title)}</text>`
    const placed = `${text}<g transform="translate(24,${y + top})">${part.svg.replace('<svg', `<svg overflow="visible"`)}</g>`
    y += top + height + 18
    return { placed, width }
  })
  const width = Math.max(...body.map((one) => one.width)) + 48
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${y}" viewBox="0 0 ${width} ${y}"><rect width="100%" height="100%" fill="white"/><text x="24" y="34" ${font} font-size="20" font-weight="700">${escapeXml(title)}</text><text x="24" y="54" ${font} font-size="12.5" fill="#555">${escapeXml(subtitle)}</text>${body.map((one) => one.placed).join('')}</svg>\n`
}
