// A result and a peer as a run might have stored them, for the tests of what is made of results.
import type { CaseResult, Peer } from './result.ts'

export const sampleResult = (name: string, more: Partial<CaseResult> = {}): CaseResult => ({
  case: name,
  machine: '2 × Processor, 8 GiB, Linux 6',
  node: 'v26.0.0',
  seed: 1,
  runs: 5,
  unit: 'msg/s',
  median: 1_000_000,
  min: 900_000,
  max: 1_100_000,
  cpuUsPerMessage: 0.5,
  verified: 'counted <all>',
  peers: [],
  calibration: { wall: 500, cpu: 500 },
  ...more,
})

export const samplePeer = (name: string, more: Partial<Peer> = {}): Peer => ({
  name,
  version: '1.26.2',
  median: 250_000,
  cpuUsPerMessage: 12.34,
  ratio: 4,
  ratioOf: 'throughput',
  latencyMs: { p50: 3, p99: 9, p999: 12 },
  ...more,
})
