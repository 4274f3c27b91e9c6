// Case: resident memory of an idle connection, 10,000 of them
//
// RSS of the server with all connections open and quiet for --seconds, less its RSS before, over their number. Each
// run has a server of its own, and a hundred connections that came and went before, so that what is allocated once
// is not counted. Peers are measured the same way, one run each.
import { setTimeout as sleep } from 'node:timers/promises'
import {
  type CaseArguments,
  caseArguments,
  caseResult,
  isTimeOver,
  median,
  printResult,
  round,
  rounds,
} from './harness.ts'
import { GENERATOR } from './load.ts'
import { startPeers } from './peers.ts'
import { BenchProcess, cpuSeconds, fileDescriptorsMax, GENERATOR_CORE, residentBytes } from './processes.ts'
import type { CaseResult, Peer } from './result.ts'
import { BenchServer } from './server.ts'

const CONNECTIONS = 10_000
/** Descriptors that a process needs beside its connections. */
const OTHER_FILES = 200
const WARM_CONNECTIONS = 100

interface Idle {
  bytes: number
  cpuSeconds: number
  connectSeconds: number
}

/** Opens connections, and looks at the server while they are idle. */
async function connected(url: string, pid: number, connections: number, seconds: number): Promise<Idle> {
  const flags = ['--url', url, '--level', '4', '--idle', '--connections', String(connections)]
  const generator = new BenchProcess(
    process.execPath,
    [...GENERATOR, ...flags, '--seconds', String(seconds + 1)],
    GENERATOR_CORE,
  )
  await generator.until('connections', () => (generator.output.includes('"started"') ? true : undefined))
  const cpuBefore = cpuSeconds(pid)
  await sleep(seconds * 1000)
  const bytes = residentBytes(pid)
  const cpu = cpuSeconds(pid) - cpuBefore
  const code = await generator.exited
  const report = JSON.parse(generator.output.trim().split('\n').at(-1)!) as {
    connectSeconds: number
    closedByServer: number
  }
  if (code !== 0 || report.closedByServer > 0)
    throw new Error(`the generator ended with code ${code}: ${generator.output}`)
  return { bytes, cpuSeconds: cpu, connectSeconds: report.connectSeconds }
}

async function measure(url: string, pid: number, connections: number, seconds: number): Promise<Idle> {
  await connected(url, pid, Math.min(WARM_CONNECTIONS, connections), 0.2)
  const before = residentBytes(pid)
  const idle = await connected(url, pid, connections, seconds)
  return { ...idle, bytes: (idle.bytes - before) / connections }
}

export async function run(args: CaseArguments, shared?: BenchServer): Promise<CaseResult> {
  const limit = fileDescriptorsMax()
  const connections = args.smoke ? WARM_CONNECTIONS : Math.min(CONNECTIONS, limit - OTHER_FILES)
  const seconds = args.smoke ? args.seconds : Math.min(args.seconds, 8)
  const ours: Idle[] = []
  for (const _ of rounds(args.runs)) {
    const server = shared ?? (await BenchServer.start({ roles: 'ingest' }))
    const before = await server.account()
    ours.push(await measure(`mqtt://127.0.0.1:${server.mqttPort}`, server.process.pid, connections, seconds))
    const { acknowledged, rejectedAtDoor } = await server.account()
    if (acknowledged !== before.acknowledged || rejectedAtDoor !== before.rejectedAtDoor)
      throw new Error('idle connections sent something')
    if (server === shared) continue
    await server.stop()
    server.removeData()
  }
  const bytes = ours.map((one) => one.bytes)
  const figures = {
    runs: bytes.length,
    median: Math.round(median(bytes)),
    min: Math.round(Math.min(...bytes)),
    max: Math.round(Math.max(...bytes)),
    cpuUsPerMessage: 0,
  }
  const peers: Peer[] = []
  for (const broker of await startPeers({ ...args, webSocket: false })) {
    if (broker.process === undefined || isTimeOver(broker.name)) continue
    const theirs = await measure(broker.url, broker.process.pid, connections, seconds)
    await broker.process.stop()
    peers.push({
      name: broker.name,
      version: broker.version,
      median: Math.round(theirs.bytes),
      cpuUsPerMessage: 0,
      ratio: round(theirs.bytes / figures.median, 2),
      ratioOf: 'memory',
    })
  }
  const rate = median(ours.map((one) => connections / one.connectSeconds))
  const cpu = median(ours.map((one) => one.cpuSeconds)) / seconds
  return {
    ...caseResult(
      'idle-10k',
      args,
      'B/connection',
      figures,
      `${connections} connections were open for ${seconds} s and none was closed by the server`,
      peers,
    ),
    notes: [
      `opened at ${Math.round(rate)}/s; ${round(cpu * 100, 2)} % of a core while idle`,
      ...(connections < CONNECTIONS && !args.smoke ? [`only ${connections}: ulimit -n is ${limit}`] : []),
    ],
  }
}

if (import.meta.main) {
  const args = caseArguments(4)
  printResult(await run(args), args)
}
