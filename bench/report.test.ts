// What is made of results: the page of plots, and whether a case got slower.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { verdict } from './compare-verdict.ts'
import { page } from './report-page.ts'
import type { CaseResult } from './result.ts'
import { samplePeer, sampleResult } from './result-sample.ts'

test('the page shows every case with its peers, needs no network, and no text of a result is HTML', () => {
  const html = page([
    sampleResult('tcp-qos1-8x64', {
      peers: [samplePeer('flashmq'), samplePeer('mosquitto')],
      latencyMs: { p50: 1, p99: 2, p999: 3 },
      notes: ['limit: the disk'],
    }),
    sampleResult('normalize-pass', { unit: 'records/s' }),
    sampleResult('growth', {
      tables: [
        {
          title: 'Connections',
          columns: ['connections', 'RSS MiB'],
          rows: [
            [0, 100],
            [5000, 120],
          ],
        },
      ],
    }),
  ])
  // Plots are drawn as paths and bars of SVG; one of each kind of figure is there.
  const plots = html.split('<svg').length - 1
  assert.ok(plots >= 5, `${plots} plots`)
  for (const text of [
    'tcp-qos1-8x64',
    'normalize-pass',
    'flashmq',
    'mosquitto',
    'RSS MiB',
    'records/s',
    'limit: the disk',
  ])
    assert.ok(html.includes(text), text)
  assert.ok(html.includes('verified: counted &#60;all&#62;') && !html.includes('<all>'))
  assert.doesNotMatch(html, /(?:src|href)="(?!#)|<script/)
})

test('a case is slower by its CPU, or by its rate with twice the tolerance, and not because the machine is', () => {
  const before = sampleResult('tcp-qos0')
  const of = (more: Partial<CaseResult>) => verdict(sampleResult('tcp-qos0', more), before, 0.25).isSlower
  assert.equal(of({}), false)
  assert.equal(of({ cpuUsPerMessage: 0.62 }), false)
  assert.equal(of({ cpuUsPerMessage: 0.63 }), true)
  assert.equal(of({ median: 670_000 }), false)
  assert.equal(of({ median: 660_000 }), true)
  // Half as fast in all: the loop too.
  assert.equal(of({ cpuUsPerMessage: 1, median: 500_000, calibration: { wall: 250, cpu: 250 } }), false)
  // What a faster machine hides.
  assert.equal(of({ calibration: { wall: 800, cpu: 800 } }), true)
  // A closed loop has latencies too, and its rate counts.
  assert.equal(of({ median: 660_000, latencyMs: { p50: 1, p99: 2, p999: 3 } }), true)
  // At a given rate there is nothing to be slower in but CPU.
  assert.equal(of({ case: 'latency-half', median: 100_000 }), false)
  assert.equal(of({ case: 'latency-half', cpuUsPerMessage: 0.63 }), true)
  // More bytes of a connection are worse.
  const size = sampleResult('idle-10k', { unit: 'B/connection', median: 4000, cpuUsPerMessage: 0 })
  assert.equal(verdict({ ...size, median: 7000 }, size, 0.25).isSlower, true)
  assert.equal(verdict({ ...size, median: 2000 }, size, 0.25).isSlower, false)
})
