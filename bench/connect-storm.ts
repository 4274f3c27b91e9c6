// Case: 10,000 CONNECTs at once, while others publish
//
// Eight connections publish 20,000 messages a second in an open loop at QoS 1 when 10,000 clients open their
// connections in one go (storm.ts). The rate is 10,000 over the time until the last CONNACK; the latency is the
// publishers' in the seconds of the storm, beside theirs in a calm run of the same length, and in one in which all 10,000
// connections are closed in one go.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { latencyOf, OurSide } from './broker-case.ts'
import {
  type CaseArguments,
  caseArguments,
  caseResult,
  isTimeOver,
  median,
  peer,
  printResult,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { startPeers } from './peers.ts'
import { BenchProcess, cpuSeconds, fileDescriptorsMax, GENERATOR_CORE, pinning } from './processes.ts'
import type { CaseResult, Peer } from './result.ts'

const STORM = path.join(import.meta.dirname, 'storm.ts')
const CONNECTIONS = 10_000
const CONNECTIONS_SMOKE = 200
const LOAD = { qos: 1, connections: 8, window: 1024, rate: 20_000 } as const
/** The publishers run before the storm, and at least as long as it lasts. */
const CALM_SECONDS = 0.3

interface Storm {
  run: Run
  halfMs: number
  mostMs: number
  /** Closes the connections. */
  end: () => Promise<unknown>
}

async function storm(port: number, pid: number, connections: number): Promise<Storm> {
  const cpuBefore = cpuSeconds(pid)
  const args = [STORM, '127.0.0.1', String(port), String(connections)]
  const clients = new BenchProcess(process.execPath, args, GENERATOR_CORE)
  const line = await clients.until('the storm', () => {
    const end = clients.output.indexOf('\n')
    return end < 0 ? undefined : clients.output.slice(0, end)
  })
  const cpu = cpuSeconds(pid) - cpuBefore
  const found = JSON.parse(line) as {
    accepted: number
    refused: number
    halfMs: number
    mostMs: number
    allMs: number
  }
  if (found.accepted !== connections) throw new Error(`of ${connections} connections: ${line}`)
  const run = { messages: connections, seconds: found.allMs / 1000, cpuSeconds: cpu }
  return { run, halfMs: found.halfMs, mostMs: found.mostMs, end: () => clients.stop() }
}

export async function run(args: CaseArguments, shared?: OurSide): Promise<CaseResult> {
  const connections = args.smoke ? CONNECTIONS_SMOKE : Math.min(CONNECTIONS, fileDescriptorsMax() - 200)
  const seconds = args.smoke ? 0.6 : Math.min(args.seconds, 10)
  const side = shared ?? (await OurSide.start())
  const { server } = side
  const { pid } = server.process
  const load = (i: number) => side.run(LOAD, false, { seconds, warmup: 0.2, seed: args.seed + i * 10_000 })
  // Compiled, and with the memory of its connections at hand, as a server that has run for a while.
  await (await storm(server.mqttPort, pid, connections)).end()
  const calm = await load(0)
  const storms: Storm[] = []
  const latencies = []
  for (const i of rounds(args.runs)) {
    await storms.at(-1)?.end()
    const publishing = load(i + 1)
    await sleep(CALM_SECONDS * 1000)
    storms.push(await storm(server.mqttPort, pid, connections))
    latencies.push((await publishing).report.latencyMs!)
  }
  const publishing = load(args.runs + 1)
  await sleep(CALM_SECONDS * 1000)
  await storms.at(-1)!.end()
  const closing = (await publishing).report.latencyMs!
  const verified = await side.verify()
  const ours = summarise(storms.map((one) => one.run))
  const peers: Peer[] = []
  for (const broker of await startPeers({ ...args, webSocket: false })) {
    if (broker.process === undefined || isTimeOver(broker.name)) continue
    const theirs = []
    for (const _ of rounds(args.runs, `runs of ${broker.name}`)) {
      const { run, end } = await storm(broker.port, broker.process.pid, connections)
      theirs.push(run)
      await end()
    }
    await broker.process.stop()
    peers.push(peer(broker.name, broker.version, summarise(theirs), ours))
  }
  const mid = (pick: (one: Storm) => number) => round(median(storms.map(pick)), 0)
  return {
    ...caseResult(
      'connect-storm',
      args,
      'connections/s',
      ours,
      `all ${connections} accepted in each of ${storms.length} storms; ${verified}`,
      peers,
    ),
    latencyMs: latencyOf(latencies)!,
    notes: [
      pinning,
      `half of them after ${mid((one) => one.halfMs)} ms, 99 % after ${mid((one) => one.mostMs)} ms`,
      `PUBACK p99 of the publishers without a storm: ${calm.report.latencyMs!.p99} ms, while all connections are closed: ${closing.p99} ms; the peers had no publishers`,
    ],
  }
}

if (import.meta.main) {
  const args = caseArguments(5)
  printResult(await run(args), args)
}
