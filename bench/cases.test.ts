// Every case at its smoke size, so that none can rot: it runs, checks what it did, and prints one line of JSON as
// bench/README.md has it. Cases of one load on one server share the server here; the others are run as a user does.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type BrokerCase, OurSide, runBrokerCase } from './broker-case.ts'
import type { CaseArguments, CaseResult } from './harness.ts'
import { type Broker, startPeers } from './peers.ts'
import { BenchServer } from './server.ts'

const SEED = 3
const SMOKE: CaseArguments = {
  json: true,
  details: false,
  smoke: true,
  seconds: 0.2,
  runs: 1,
  seed: SEED,
  peers: [],
  noPeers: true,
  url: undefined,
}

/** First line of each case's file, by its name. */
const cases = new Map<string, string>()
for (const file of fs.readdirSync(import.meta.dirname).filter((name) => name.endsWith('.ts'))) {
  const text = fs.readFileSync(path.join(import.meta.dirname, file), 'utf8')
  // Those with a note `(kafka)` need more than npm has.
  if (/^\/\/ Case(?! \(kafka\))/.test(text)) cases.set(path.parse(file).name, text)
}

const shared: { name: string; definition: BrokerCase }[] = []
const alone: string[] = []
for (const [name, text] of cases) {
  const module = text.includes('brokerMain(') ? await import(`./${name}.ts`) : {}
  const { definition } = module as { definition?: BrokerCase }
  if (definition !== undefined && definition.serverArgs === undefined) shared.push({ name, definition })
  else alone.push(name)
}

function check(result: CaseResult, name: string): void {
  const { min, median, max, unit, machine, node, seed, runs, verified, calibration } = result
  assert.equal(result.case, name)
  assert.ok(min <= median && median <= max && max > 0, `${min} ${median} ${max}`)
  assert.match(unit, /^[a-zA-Z]+\/[a-z]+$/)
  assert.ok(machine.length > 5 && node === process.version && seed === SEED && runs > 0)
  assert.ok(verified.length > 10)
  assert.ok(calibration.wall > 0 && calibration.cpu > 0)
  assert.ok(result.cpuUsPerMessage >= 0)
  for (const peer of result.peers) {
    assert.match(peer.version, /^\d/)
    assert.ok(peer.median > 0 && peer.ratio >= 0)
    assert.ok(['throughput', 'cpu', 'memory'].includes(peer.ratioOf))
  }
}

/**
 * Those that take a server or two of their own, or many connections: with the long tests. The others share a server,
 * or need none.
 */
const LONG = [
  'breakdown',
  'connect-storm',
  'device-to-row',
  'fan-in',
  'growth',
  'idle-10k',
  'latency-half',
  'many-tables',
  'many-topics',
  'mixed-topics',
  'soak',
  'two-workers',
]
const isLong = process.env['MILLRACE_LONG'] === '1'

let side: OurSide
let brokers: Broker[]

before(async () => {
  side = new OurSide(await BenchServer.start({ roles: 'ingest' }))
  brokers = await startPeers({ peers: [], noPeers: false, url: undefined, webSocket: false })
})

after(async () => {
  for (const broker of brokers) await broker.process?.stop()
})

for (const { name, definition } of shared)
  test(name, async () => {
    // One of them shows that the peers can be measured.
    const peers = name === 'tcp-qos0' ? brokers : []
    const result = await runBrokerCase(definition, SMOKE, side, peers)
    check(result, name)
    assert.equal(result.peers.length, peers.length)
  })

test('the log holds what all of them sent', async () => {
  assert.match(await side.verify(), /messages sent = records read back from the log/)
})

// Mostly they wait: for a server to start, for a commit.
describe('alone', { concurrency: 4 }, () => {
  for (const name of alone)
    test(name, { skip: LONG.includes(name) && !isLong && 'MILLRACE_LONG=1' }, () => runAlone(name))
})

async function runAlone(name: string): Promise<void> {
  const file = path.join(import.meta.dirname, `${name}.ts`)
  const args = [file, '--smoke', '--json', '--no-peers', '--seed', String(SEED)]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const code = await new Promise((resolve) => child.once('close', resolve))
  assert.equal(code, 0)
  const lines = text.trim().split('\n')
  assert.equal(lines.length, 1)
  check(JSON.parse(lines[0]!) as CaseResult, name)
}
