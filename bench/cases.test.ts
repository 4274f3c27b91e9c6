// Every case at its smoke size, so that none can rot: it runs, checks what it did, and prints one line of JSON as
// bench/README.md has it. Cases that load ingest and need nothing special share one server here, those with gateways
// another; its log is counted after the last of them. The others are run as a user does, each a process.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type BrokerCase, OurSide, runBrokerCase } from './broker-case.ts'
import { run as connectStorm } from './connect-storm.ts'
import { gatewayArgs } from './gateways.ts'
import { run as growth } from './growth.ts'
import type { CaseArguments } from './harness.ts'
import { run as idle } from './idle-10k.ts'
import { run as latencyHalf } from './latency-half.ts'
import { type Broker, startPeers } from './peers.ts'
import { temporaryFolder } from './processes.ts'
import type { CaseResult } from './result.ts'

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

/** Loads of a broker, by the server that they share. */
const onIngest: BrokerCase[] = []
const onGateways: BrokerCase[] = []
/** Other cases that take a server that runs. */
const lent: Record<string, (ingest: OurSide, gateways: OurSide) => Promise<CaseResult>> = {
  'connect-storm': (side) => connectStorm(SMOKE, side),
  growth: (ingest, gateways) => growth(SMOKE, { ingest, gateways }),
  'idle-10k': (side) => idle(SMOKE, side.server),
  'latency-half': (side) => latencyHalf(SMOKE, side),
}
/** Those of gateways, and the streams that they need. */
const GATEWAY_CASES = ['many-topics', 'mixed-topics']
const GATEWAYS = 8
const FURTHER_STREAMS = ['corridor', 'basement']
const alone: string[] = []
for (const [name, text] of cases) {
  const module = text.includes('brokerMain(') ? await import(`./${name}.ts`) : {}
  const { definition } = module as { definition?: BrokerCase }
  if (definition !== undefined) (GATEWAY_CASES.includes(name) ? onGateways : onIngest).push(definition)
  else if (!(name in lent)) alone.push(name)
}

function check(result: CaseResult, name: string): void {
  const { min, median, max, unit, machine, node, seed, runs, verified, calibration } = result
  assert.equal(result.case, name)
  // A hundred idle connections: what the collector gives back meanwhile can be more.
  const isAboveZero = max > 0 || name === 'idle-10k'
  assert.ok(min <= median && median <= max && isAboveZero, `${min} ${median} ${max}`)
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

let ingest: OurSide
let gateways: OurSide
let brokers: Broker[]

before(async () => {
  // Two workers, because `two-workers` is one of them.
  const [one, other, peers] = await Promise.all([
    OurSide.start({ args: ['--workers', '2'] }, { isShared: true }),
    gatewayArgs(temporaryFolder(), GATEWAYS, FURTHER_STREAMS).then((args) =>
      OurSide.start({ args }, { isShared: true }),
    ),
    startPeers({ peers: [], noPeers: false, url: undefined, webSocket: false }),
  ])
  ingest = one
  gateways = other
  brokers = peers
})

after(async () => {
  for (const broker of brokers) await broker.process?.stop()
})

for (const definition of onIngest)
  test(definition.name, async () => {
    // One of them shows that the peers can be measured.
    const peers = definition.name === 'tcp-qos0' ? brokers : []
    const result = await runBrokerCase(definition, SMOKE, ingest, peers)
    check(result, definition.name)
    assert.equal(result.peers.length, peers.length)
  })

for (const definition of onGateways)
  test(definition.name, async () =>
    check(await runBrokerCase(definition, SMOKE, gateways, []), definition.name),
  )

for (const [name, run] of Object.entries(lent))
  test(name, async () => check(await run(ingest, gateways), name))

test('the logs hold what all of them sent', async () => {
  assert.match(await ingest.countAndEnd(), /messages sent = records read back from the log/)
  assert.match(await gateways.countAndEnd(true), /messages sent = records .* of \d{3,} devices/)
})

// Mostly they wait: for a server to start, for a commit.
describe('alone', { concurrency: 4 }, () => {
  for (const name of alone) test(name, () => runAlone(name))
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
  const result = JSON.parse(lines[0]!) as CaseResult
  check(result, name)
  assert.deepEqual(result.peers, [], 'it was to be alone')
}
