// A case that loads Millrace's ingest and its peers in turn and compares messages per second and CPU.
//
// One server for the whole case on core 0, the generator on core 1; each round measures Millrace, then its
// baseline, then every peer, so that a machine that slows down slows all of them. At QoS 1 a message counts when
// its acknowledgement comes, at QoS 0 when the server has it: with Millrace when it is durable in the log, with
// the others when they have read it, by the bytes that their process read over the bytes of a message. In the end the
// log is read back, and holds what was sent.
import os from 'node:os'
import {
  type CaseArguments,
  calibrate,
  caseMain,
  caseResult,
  median,
  peer,
  type Run,
  round,
  rounds,
  secondsLeft,
  summarise,
} from './harness.ts'
import { type Load, type LoadReport, runLoad } from './load.ts'
import { type Broker, startPeers } from './peers.ts'
import {
  bytesQueuedTo,
  bytesRead,
  cpuSeconds,
  GENERATOR_CORE,
  pinning,
  temporaryFolder,
  threadCpuSeconds,
  threadShares,
} from './processes.ts'
import type { CaseResult, Latency, Peer } from './result.ts'
import { BenchServer, type ServerOptions } from './server.ts'

export interface BrokerCase {
  name: string
  load: Load
  webSocket?: boolean
  /** Another case, whose load the same server gets by turns. */
  baseline?: { case: string; load: Load }
  /** Peers whose ratio is that of CPU per message. Default: none. */
  cpuRatio?: readonly string[]
  /** Whether brokers without contracts can take the load. Default: true. */
  peers?: boolean
  /** What opening the connections takes, where it is more than a moment. */
  openingSeconds?: number
  /** The log is read record by record: of how many devices. */
  countDevices?: boolean
  /** Peers that cannot take the load, by name, and why. */
  leftOut?: Readonly<Record<string, string>>
  /** Connections at smoke size. Default: those of the load. */
  smokeConnections?: number
  /** Server and generator share all cores. Default: each has its own. */
  allCores?: boolean
  /** Options of `up`; may write files into the folder. */
  serverArgs?: (folder: string) => readonly string[] | Promise<readonly string[]>
}

const SECONDS_DEFAULT = 2
/** Of a run; where many brokers share the time, there are fewer runs rather than shorter ones. */
const SECONDS_MIN = 0.5
const WARMUP_SECONDS = 0.7
/** Start and drain of a generator. */
const OVERHEAD_SECONDS = 0.6
/**
 * Each contestant's runs before those that count: as brokers that have run for a while are. V8 takes some seconds of load, and
 * connections that come anew, until all is compiled for what it sees.
 */
const UNCOUNTED_RUNS = 3
const UNCOUNTED_SECONDS = 2.5

/** Rounds of one contestant. */
interface Rounds {
  runs: Run[]
  latencies: Latency[]
  generatorShares: number[]
}

const noRounds = (): Rounds => ({ runs: [], latencies: [], generatorShares: [] })

function addRound(rounds: Rounds, run: Run, report: LoadReport): void {
  rounds.runs.push(run)
  if (report.latencyMs !== undefined) rounds.latencies.push(report.latencyMs)
  rounds.generatorShares.push(report.cpuShare)
}

/** Medians, each of its own. */
export function latencyOf(latencies: readonly Latency[]): Latency | undefined {
  if (latencies.length === 0) return undefined
  const of = (pick: (one: Latency) => number) => round(median(latencies.map(pick)), 3)
  return { p50: of((one) => one.p50), p99: of((one) => one.p99), p999: of((one) => one.p999) }
}

export interface SideOptions {
  /** Server and generator share all cores. */
  allCores?: boolean
  /** Several cases run on it one after the other, and who started it counts its log: `verify` does nothing. */
  isShared?: boolean
}

/** Millrace under a case's load, with everything sent to it counted. */
export class OurSide {
  readonly server: BenchServer
  readonly threads: Record<string, number>[] = []
  readonly #generatorCore: number | undefined
  readonly #isShared: boolean
  #sent = 0

  constructor(server: BenchServer, { allCores = false, isShared = false }: SideOptions = {}) {
    this.server = server
    this.#generatorCore = allCores ? undefined : GENERATOR_CORE
    this.#isShared = isShared
  }

  /** A server of its own for the ingest role. */
  static async start(
    options: Omit<ServerOptions, 'roles'> = {},
    sideOptions: SideOptions = {},
  ): Promise<OurSide> {
    return new OurSide(await BenchServer.start({ ...options, roles: 'ingest' }), sideOptions)
  }

  /** Messages of all runs so far. */
  get sent(): number {
    return this.#sent
  }

  /** One run; throws where an acknowledgement is missing, refuses, or comes out of order. */
  async run(load: Load, webSocket: boolean, timing: { seconds: number; warmup: number; seed: number }) {
    const { server } = this
    const { pid } = server.process
    const url = webSocket ? `ws://127.0.0.1:${server.wsPort}/mqtt` : `mqtt://127.0.0.1:${server.mqttPort}`
    const sample = async () => ({
      cpu: cpuSeconds(pid),
      threads: threadCpuSeconds(pid),
      from: performance.now(),
      // At QoS 1 acknowledgements are counted, and nothing disturbs them.
      raw: load.qos === 0 ? (await server.account()).raw : 0,
      to: performance.now(),
    })
    const { report, started, stopped } = await runLoad(
      url,
      load,
      timing,
      server.schemaIds,
      sample,
      this.#generatorCore,
    )
    this.#sent += report.sent
    checkReport('millrace', load, report)
    const run: Run = {
      // In the short time of a smoke run nothing may have become durable.
      messages: Math.max(1, load.qos === 0 ? stopped.raw - started.raw : report.messagesInWindow),
      // An answer that came late was counted at no known moment: it makes the rate lower, never higher.
      seconds: load.qos === 0 ? (stopped.to - started.from) / 1000 : report.seconds,
      cpuSeconds: stopped.cpu - started.cpu,
    }
    this.threads.push(threadShares(started.threads, stopped.threads, run.messages))
    return { run, report }
  }

  /** The end of a case: its log is counted, unless other cases go on with the server. */
  async verify(countDevices = false): Promise<string> {
    return this.#isShared ? 'the log is counted by who started the server' : this.countAndEnd(countDevices)
  }

  /** Stops the server and compares the log with what was sent. */
  async countAndEnd(countDevices = false): Promise<string> {
    // At QoS 0 nothing told the sender that it is durable.
    const { raw, rejectedAtDoor } = await this.server.accountOf(this.#sent)
    await this.server.stop()
    const found = await this.server.countLog()
    const devices = new Set<string>()
    if (countDevices) await this.server.eachRecord((device) => devices.add(device))
    this.server.removeData()
    if (found !== this.#sent || raw !== this.#sent || rejectedAtDoor !== 0)
      throw new Error(
        `${this.#sent} messages were sent; the account says ${raw} and ${rejectedAtDoor} rejected, the log holds ${found}`,
      )
    const of = countDevices ? `, of ${devices.size} devices` : ''
    return `${found} messages sent = records read back from the log${of}, every batch by its CRC`
  }
}

function checkReport(name: string, load: Load, report: LoadReport): void {
  const { sent, acknowledged, refused, disordered, closedByServer } = report
  if (refused + disordered + closedByServer > 0 || (load.qos === 1 && acknowledged !== sent))
    throw new Error(`${name}: ${JSON.stringify(report)}`)
}

/** More than the messages: CONNECT packets, the broker's own files. Less: it does not use read(2). */
const READ_OF_SENT_MIN = 1
const READ_OF_SENT_MAX = 1.05

async function runPeer(
  broker: Broker,
  load: Load,
  timing: { seconds: number; warmup: number; seed: number },
) {
  const pid = broker.process?.pid
  const read = (): number => (pid === undefined ? Number.NaN : bytesRead(pid))
  const sample = () => ({
    cpu: pid === undefined ? Number.NaN : cpuSeconds(pid),
    read: read(),
    queued: load.qos === 0 ? bytesQueuedTo(broker.port) : 0,
    at: performance.now(),
  })
  const readBefore = read()
  const { report, started, stopped } = await runLoad(
    broker.url,
    load,
    timing,
    new Map(),
    sample,
    GENERATOR_CORE,
  )
  checkReport(broker.name, load, report)
  const run: Run = {
    messages: report.messagesInWindow,
    seconds: report.seconds,
    cpuSeconds: stopped.cpu - started.cpu,
  }
  if (load.qos === 1) return { run, report, countedBy: 'acknowledgements' }
  const messageBytes = report.bytesSent / report.sent
  // By now it has answered a ping after the last message of each connection.
  const readOfSent = (read() - readBefore) / report.bytesSent
  if (readOfSent >= READ_OF_SENT_MIN && readOfSent <= READ_OF_SENT_MAX) {
    run.messages = Math.max(1, Math.round((stopped.read - started.read) / messageBytes))
    run.seconds = (stopped.at - started.at) / 1000
    return { run, report, countedBy: 'bytes read by their process, all sent ones at the end' }
  }
  run.messages -= Math.round((stopped.queued - started.queued) / messageBytes)
  return { run, report, countedBy: 'what was sent, less the growth of the queues of their sockets' }
}

/** A peer and what was measured of it. */
interface Contender extends Rounds {
  broker: Broker
  countedBy: string
  /** Why it gets no more runs. */
  problem: string
}

/** One run of it. What a peer cannot take, or has no time for, is part of the result, and no reason to have none. */
async function runContender(
  one: Contender,
  load: Load,
  timing: { seconds: number; warmup: number; seed: number },
): Promise<void> {
  try {
    if (secondsLeft() < 0) throw new Error('the time of the case is over')
    const { run, report, countedBy } = await runPeer(one.broker, load, timing)
    one.countedBy = countedBy
    addRound(one, run, report)
  } catch (error) {
    one.problem = (error as Error).message
    process.stderr.write(`${one.broker.name}: ${one.problem}\n`)
  }
}

/** From here on a core counts as busy. */
const BUSY_SHARE = 0.9

/** What held it back, as far as CPU says. `cores`: those that server and generator share; undefined: one for each. */
function limitOf(load: Load, { runs, generatorShares }: Rounds, cores: number | undefined): string {
  const server = median(runs.map((run) => run.cpuSeconds / run.seconds))
  const generator = median(generatorShares)
  const used = `the server used ${round(server, 2)} cores, the generator ${round(generator, 2)}`
  if (cores !== undefined)
    return server + generator > BUSY_SHARE * cores
      ? `limit: the ${cores} cores, ${used}`
      : `limit: no core of ours; ${used} of ${cores}, the rest is waiting (commits, other processes)`
  if (generator > BUSY_SHARE) return `limit: the generator; ${used}`
  if (load.rate !== undefined) return `limit: the rate that was asked for; ${used}`
  if (server > BUSY_SHARE) return `limit: the server's core; ${used}`
  return `limit: no core of ours; ${used}, the rest is waiting (commits with what may be in flight, other processes)`
}

/** The last round's threads: by then everything is compiled. */
const lastOf = <T>(values: readonly T[]): T => values.at(-1)!

export async function runBrokerCase(
  definition: BrokerCase,
  args: CaseArguments,
  ours?: OurSide,
  brokers?: readonly Broker[],
): Promise<CaseResult> {
  const { name, webSocket = false, baseline, cpuRatio = [], allCores = false, leftOut = {} } = definition
  const sized = (load: Load): Load =>
    args.smoke && definition.smokeConnections !== undefined
      ? {
          ...load,
          connections: definition.smokeConnections,
          ...(load.rate === undefined
            ? {}
            : { rate: (load.rate / load.connections) * definition.smokeConnections }),
        }
      : load
  const folder = definition.serverArgs === undefined ? undefined : temporaryFolder()
  const side =
    ours ??
    new OurSide(
      await BenchServer.start({
        roles: 'ingest',
        ...(allCores ? { core: null } : {}),
        args: folder === undefined ? [] : await definition.serverArgs!(folder),
      }),
      { allCores },
    )
  const peers =
    definition.peers === false ? [] : (brokers ?? (await startPeers({ ...args, webSocket, leftOut })))
  const contestants = 1 + peers.length + (baseline === undefined ? 0 : 1)
  const warmup = args.smoke ? 0.1 : WARMUP_SECONDS
  const theirs = peers.map((broker): Contender => ({ broker, ...noRounds(), countedBy: '', problem: '' }))
  const mine = noRounds()
  const base = noRounds()
  const runAll = async (timing: { seconds: number; warmup: number; seed: number }): Promise<void> => {
    const one = await side.run(sized(definition.load), webSocket, timing)
    addRound(mine, one.run, one.report)
    if (baseline !== undefined) {
      const other = await side.run(sized(baseline.load), false, timing)
      side.threads.pop()
      addRound(base, other.run, other.report)
    }
    for (const one of theirs) if (one.problem === '') await runContender(one, sized(definition.load), timing)
  }
  for (let i = 0; i < (args.smoke ? 0 : UNCOUNTED_RUNS); i++)
    await runAll({ seconds: UNCOUNTED_SECONDS, warmup: 0, seed: args.seed + i })
  for (const one of [mine, base, ...theirs]) Object.assign(one, noRounds())
  const share = secondsLeft() / (args.runs * contestants)
  const around = warmup + OVERHEAD_SECONDS + (definition.openingSeconds ?? 0)
  const seconds = Math.min(args.seconds, Math.max(SECONDS_MIN, share - around))
  for (const i of rounds(args.runs)) {
    calibrate(args.smoke)
    await runAll({ seconds, warmup, seed: args.seed + i * 10_000 })
  }
  for (const broker of brokers === undefined ? peers : []) await broker.process?.stop()
  const threads = lastOf(side.threads)
  const counted = await side.verify(definition.countDevices)
  const measured = theirs.filter(({ runs }) => runs.length > 0)
  const verified =
    definition.load.qos === 1 || measured.length === 0
      ? counted
      : `${counted}; ${measured.map(({ broker, countedBy }) => `${broker.name} by ${countedBy}`).join(', ')}`

  const summary = summarise(mine.runs)
  const result = caseResult(
    name,
    args,
    'msg/s',
    summary,
    verified,
    measured.map(({ broker, runs, latencies, generatorShares }): Peer => {
      const figures = summarise(runs)
      const latencyMs = latencyOf(latencies)
      const known = Number.isFinite(figures.cpuUsPerMessage)
      const isCpu = cpuRatio.includes(broker.name) && known
      return {
        ...peer(broker.name, broker.version, figures, summary),
        ...(known ? {} : { cpuUsPerMessage: null }),
        ...(isCpu
          ? { ratio: round(figures.cpuUsPerMessage / summary.cpuUsPerMessage, 2), ratioOf: 'cpu' }
          : {}),
        ...(latencyMs === undefined ? {} : { latencyMs }),
        generatorCpuShare: round(median(generatorShares), 2),
      }
    }),
  )
  const latencyMs = latencyOf(mine.latencies)
  const baseSummary = baseline && summarise(base.runs)
  return {
    ...result,
    ...(latencyMs === undefined ? {} : { latencyMs }),
    ...(baseSummary === undefined
      ? {}
      : {
          baseline: {
            case: baseline!.case,
            median: baseSummary.median,
            cpuUsPerMessage: baseSummary.cpuUsPerMessage,
            ratio: round(summary.median / baseSummary.median, 2),
          },
        }),
    generatorCpuShare: round(median(mine.generatorShares), 2),
    threads,
    notes: [
      allCores ? 'server and generator share all cores' : pinning,
      limitOf(definition.load, mine, allCores ? os.availableParallelism() : undefined),
      ...Object.entries(leftOut).map(([peer, reason]) => `${peer} is not measured: ${reason}`),
      ...theirs.flatMap(({ broker, runs, problem }) =>
        problem === '' ? [] : [`${broker.name} was given up after ${runs.length} runs: ${problem}`],
      ),
    ],
  }
}

/** The main program of a case's file. */
export async function brokerMain(definition: BrokerCase): Promise<void> {
  await caseMain((args) => runBrokerCase(definition, args), SECONDS_DEFAULT)
}
