// The cases of the benchmark that need a Kafka broker, at their smoke size and with their peers, each as a user runs it:
// one line of JSON, with the fields and the names of peers that bench/README.md tells.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { promisify } from 'node:util'

const ROOT = path.resolve(import.meta.dirname, '../..')
const SEED = 5

/** By case. `kafka` is the broker that the records lie in as well. */
const PEERS: Readonly<Record<string, readonly string[]>> = {
  'kafka-door': ['kafka'],
  'kafka-fetch': ['java-consumer', 'java-consumer-warm', 'kafkajs'],
  'kafka-produce': ['java-producer', 'kafkajs'],
  'mqtt-to-kafka': [],
  'normalize-kafka': [],
  'scale-out': [],
}

interface Line {
  case: string
  seed: number
  unit: string
  min: number
  median: number
  max: number
  cpuUsPerMessage: number
  verified: string
  peers: { name: string; version: string; median: number; ratio: number; ratioOf: string }[]
}

test('those are all', () => {
  const marked = fs.readdirSync(path.join(ROOT, 'bench')).filter((name) => {
    const text = name.endsWith('.ts') ? fs.readFileSync(path.join(ROOT, 'bench', name), 'utf8') : ''
    return text.startsWith('// Case (kafka): ')
  })
  assert.deepEqual(marked.map((name) => path.parse(name).name).sort(), Object.keys(PEERS))
})

describe('on a real broker', () => {
  for (const [name, peers] of Object.entries(PEERS))
    test(name, { timeout: 180_000 }, async () => {
      const { stdout } = await promisify(execFile)(
        path.join(ROOT, 'millrace'),
        ['bench', name, '--smoke', '--json', '--seed', String(SEED)],
        { cwd: ROOT },
      )
      const lines = stdout.trim().split('\n')
      assert.equal(lines.length, 1)
      const line = JSON.parse(lines[0]!) as Line
      assert.deepEqual(
        [line.case, line.seed, line.unit],
        [name, SEED, name === 'mqtt-to-kafka' ? 'msg/s' : 'records/s'],
      )
      assert.ok(0 < line.min && line.min <= line.median && line.median <= line.max, stdout)
      assert.ok(line.cpuUsPerMessage > 0 && line.verified.length > 10, stdout)
      assert.deepEqual(line.peers.map((peer) => peer.name).sort(), peers)
      for (const peer of line.peers) {
        assert.match(peer.version, /^\d/)
        // No more than numbers: at this size what Java takes beside its start may be less than the noise.
        assert.ok(Number.isFinite(peer.median) && Number.isFinite(peer.ratio), stdout)
        assert.equal(peer.ratioOf, name === 'kafka-door' ? 'throughput' : 'cpu')
      }
    })
})
