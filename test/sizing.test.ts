// docs/sizing.md: what a rate needs is computed from what a message costs, so that the page cannot contradict itself.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'

const TEXT = fs.readFileSync(path.resolve(import.meta.dirname, '../docs/sizing.md'), 'utf8')
const RATES_MILLION = [1, 10, 100]
const BUSY = 0.6
const CORES_PER_BROKER = 8
const BROKERS_MIN = 3
const PARTITIONS_PER_CORE = 4
const RECORD_BYTES = 79
const TOPICS = 2
const COPIES = 3

/** µs of the row that begins so. */
function costOf(stage: string): number {
  const row = TEXT.split('\n').find((line) => line.startsWith(`| ${stage} |`))
  assert.ok(row, stage)
  return Number(row.split('|')[2])
}

function rowOf(million: number): string {
  const cores = (stage: string): number => Math.ceil(Number(((million * costOf(stage)) / BUSY).toFixed(6)))
  const [passed, rewritten] = [cores('normalize, passed on'), cores('normalize, rewritten')]
  const sink = cores('sink to Parquet and Iceberg')
  const brokers = Math.max(BROKERS_MIN, Math.ceil(cores('brokers, all copies') / CORES_PER_BROKER))
  const partitions = PARTITIONS_PER_CORE * Math.max(rewritten, sink)
  const gigabits = (million * 1e6 * RECORD_BYTES * TOPICS * COPIES * 8) / 1e9
  const cells = [
    `${million} M`,
    cores('ingest to Kafka'),
    `${passed} – ${rewritten}`,
    sink,
    brokers,
    partitions,
    `${gigabits.toFixed(1)} Gbit/s`,
  ]
  return `| ${cells.join(' | ')} |`
}

test('the sizes are those of the costs', () => {
  const expected = RATES_MILLION.map(rowOf).join('\n')
  assert.ok(TEXT.includes(`\n${expected}\n`), `docs/sizing.md: the rows are\n${expected}`)
})
