// The figures in the documents are what `./millrace bench docs` makes of stored results, and nothing else of them moves.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { BLOCKS, blocksIn, DOCUMENTS as FILES, renew } from './docs-blocks.ts'
import type { Results } from './docs-text.ts'
import { picture } from './report-picture.ts'
import type { CaseResult, Table } from './result.ts'
import { samplePeer, sampleResult } from './result-sample.ts'

const ROOT = path.resolve(import.meta.dirname, '..')
const DOCUMENTS = FILES.map((file) => fs.readFileSync(path.join(ROOT, file), 'utf8'))
const fails = (block: string, reason: string): never => assert.fail(`${block}: ${reason}`)

/** Every case that a block asks for, so that a new one is not forgotten here. */
function allResults(): Map<string, CaseResult> {
  const asked = new Map<string, CaseResult>()
  const tables: Table[] = [{ title: 'Growth', columns: ['connections', 'ns'], rows: [[4096, 1.5]] }]
  const scaled: Table = {
    title: 'Processes of normalize and sink',
    columns: ['processes', 'records/s in all', 'CPU µs per record'],
    rows: [[4, 1000, 1.5]],
  }
  const rewritten: Table = {
    title: 'What is done with the records',
    columns: ['records', 'records/s', 'CPU µs', 'broker µs'],
    rows: [['rewritten', 1000, 0.75, 0.5]],
  }
  const latencyMs = { p50: 1.04, p99: 7, p999: 10 }
  const any = new Proxy(asked, {
    get: (target, name) =>
      name === 'get'
        ? (key: string) => {
            const made = sampleResult(key, {
              median: 1_234_567,
              tables: { 'normalize-kafka': [rewritten], 'scale-out': [scaled] }[key] ?? tables,
              latencyMs,
              brokerUsPerMessage: 0.25,
              peers: [samplePeer('flashmq', { median: 76_543 })],
            })
            target.set(key, target.get(key) ?? made)
            return target.get(key)
          }
        : Reflect.get(target, name),
  })
  for (const block of Object.values(BLOCKS)) block(any)
  return asked
}

test('the documents have every block once, and no other', () => {
  assert.deepEqual(DOCUMENTS.flatMap(blocksIn).sort(), Object.keys(BLOCKS).sort())
  for (const text of DOCUMENTS)
    assert.equal(text.match(/<!-- bench:/g)?.length, text.match(/<!-- \/bench -->/g)?.length)
})

test('renewed twice is renewed once, and what is outside of the blocks stays', () => {
  const results: Results = allResults()
  const outside = (text: string): string =>
    text.replace(/(<!-- bench:[a-z]+ -->)[\s\S]*?<!-- \/bench -->/g, '$1')
  for (const text of DOCUMENTS) {
    const once = renew(text, results, fails)
    assert.notEqual(once, text)
    assert.equal(renew(once, results, fails), once)
    assert.equal(outside(once), outside(text))
  }
})

test('a cell is what was measured; what was not is said, and its block stays as it is', () => {
  const results = allResults()
  const [readme] = DOCUMENTS as [string]
  const text = renew(readme, results, fails)
  assert.match(text, /\(`tcp-qos0`\) \| 1\.23 M · 0\.50 µs \| – \| – \| 77 k · 12\.3 µs \| – \|/)
  assert.match(text, /FlashMQ 1\.26/)
  assert.match(text, /p50 1\.0 ms, p99 7\.0 ms, p99\.9 10\.0 ms/)
  results.set('json-qos1', sampleResult('json-qos1', { runs: 3 }))
  assert.match(renew(readme, results, fails), /medians\sof\s3\sto\s5\sruns/)
  results.delete('tcp-qos0')
  const told: string[] = []
  const without = renew(readme, results, (block, reason) => told.push(`${block}: ${reason}`))
  assert.deepEqual(told, ['brokers: no result of tcp-qos0'])
  const brokers = (from: string) => from.split('<!-- bench:brokers -->')[1]!.split('<!-- /bench -->')[0]
  assert.equal(brokers(without), brokers(readme))
})

test('the picture shows every case, or is not drawn', () => {
  const results = [...allResults().values()]
  const svg = picture(results)
  for (const name of ['tcp-qos0', 'unbatched-1000', 'Millrace, durable', 'flashmq 1.26.2', '1.23 M'])
    assert.ok(svg?.includes(name), name)
  assert.equal(picture(results.filter((one) => one.case !== 'tcp-qos0')), undefined)
})

test('the sizes follow from the costs as they are shown', () => {
  const results = allResults()
  const [, , sizing, kafka] = DOCUMENTS as [string, string, string, string]
  const text = renew(sizing, results, fails)
  // Two topics of three copies are taken, normalize's fetch with it, and five more fetches: 3 × 0.5 + 5 × 0.25.
  assert.match(text, /\| brokers, all copies \| 2\.75 \|/)
  assert.match(text, /\| normalize, rewritten \| 0\.75 \|/)
  // 0.5 µs, planned to be busy to 60 %, are 0.83 cores of a million messages a second.
  assert.match(text, /\| 10 M \| 9 \| 9 – 13 \| 17 \| 6 \| 68 \| 37\.9 Gbit\/s \|/)
  assert.match(
    renew(kafka, results, fails),
    /rewritten \| 0\.75 µs \| 1 k \| 0\.50 µs.*in 4 processes \| 1\.50 µs \| 1 k/s,
  )
})
