// The picture of sink/year.test.ts: what a table costs over a year, one panel a measure, as SVG.
import * as Plot from '@observablehq/plot'
import { parseHTML } from 'linkedom'

export interface YearSample {
  day: number
  /** Mean since the last sample. */
  commitMs: number
  planMs: number
  metadataBytes: number
  manifestBytes: number
  manifests: number
  filesOfToday: number
  snapshots: number
}

const PANELS: [title: string, of: (sample: YearSample) => number][] = [
  ['ms a commit, with the maintenance after it', (one) => one.commitMs],
  ['ms to plan a query over the last day', (one) => one.planMs],
  ['KiB of table metadata', (one) => one.metadataBytes / 1024],
  ['KiB of manifests', (one) => one.manifestBytes / 1024],
  ['manifests', (one) => one.manifests],
  ['files of the open day', (one) => one.filesOfToday],
]
const WIDTH = 420
const HEIGHT = 170

export function yearPlot(samples: readonly YearSample[]): string {
  const { document } = parseHTML('<html><body></body></html>')
  const panels = PANELS.map(([label, of], i) => {
    const points = samples.map((one) => ({ day: one.day, value: of(one) }))
    const svg = Plot.plot({
      document: document as never,
      width: WIDTH,
      height: HEIGHT,
      x: { label: 'day' },
      y: { label, zero: true, grid: true },
      marks: [Plot.lineY(points, { x: 'day', y: 'value', stroke: 'steelblue' })],
    })
    svg.setAttribute('x', String((i % 2) * WIDTH))
    svg.setAttribute('y', String(Math.floor(i / 2) * HEIGHT))
    return svg.outerHTML
  })
  const height = Math.ceil(PANELS.length / 2) * HEIGHT
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${2 * WIDTH}" height="${height}" font-family="sans-serif">
<rect width="100%" height="100%" fill="white"/>
${panels.join('\n')}
</svg>
`
}
