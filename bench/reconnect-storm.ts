// Case: reconnect storm: 5,000 publishing clients lose their connections in one go and come back at once
//
// As after a load balancer failed: every connection is reset, every client connects again under its client id and sends
// again what was not acknowledged. The rate is that of the connections, from the cut until the last CONNACK. Last,
// Millrace itself is killed (SIGKILL) and started again on the same folder. In the end the log is read: for each device
// every sequence up to the last acknowledged one must be there, in order, and again only what was sent again.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarintCursor } from '../std/varint.ts'
import {
  type CaseArguments,
  calibrate,
  caseMain,
  caseResult,
  isTimeOver,
  median,
  peer,
  type Run,
  round,
  rounds,
  summarise,
} from './harness.ts'
import { startPeers } from './peers.ts'
import { BenchProcess, cpuSeconds, GENERATOR_CORE, pinning } from './processes.ts'
import type { CaseResult, Peer } from './result.ts'
import { BenchServer } from './server.ts'

const FLEET = path.join(import.meta.dirname, 'fleet.ts')
const CLIENTS = 5_000
const CLIENTS_SMOKE = 100
/** Between two storms: each client publishes once a second. */
const CALM_MS = 1200
const CALM_MS_SMOKE = 100
/** Magic byte and schema id before the Avro value. */
const FRAME_BYTES = 5

interface Back {
  halfMs: number
  mostMs: number
  allMs: number
  resent: number
}

class Fleet {
  readonly #process: BenchProcess
  readonly #clients: number
  #seen = 0

  constructor(port: number, clients: number, schemaId: number, seed: number) {
    this.#clients = clients
    const args = [FLEET, '127.0.0.1', String(port), String(clients), String(schemaId), String(seed)]
    this.#process = new BenchProcess(process.execPath, args, GENERATOR_CORE)
  }

  async #next(): Promise<string> {
    const line = await this.#process.until('the fleet', () => {
      const end = this.#process.output.indexOf('\n', this.#seen)
      return end < 0 ? undefined : this.#process.output.slice(this.#seen, end)
    })
    this.#seen += line.length + 1
    return line
  }

  /** All clients are connected. */
  async back(): Promise<Back> {
    return JSON.parse(await this.#next()) as Back
  }

  /** The server goes away now. */
  begin(): void {
    this.#process.signal('SIGHUP')
  }

  async storm(pid: number): Promise<{ back: Back; run: Run }> {
    const cpu = cpuSeconds(pid)
    this.#process.signal('SIGUSR2')
    const back = await this.back()
    const run = { messages: this.#clients, seconds: back.allMs / 1000, cpuSeconds: cpuSeconds(pid) - cpu }
    return { back, run }
  }

  /** Last acknowledged sequence of each device. */
  async end(): Promise<Map<string, number>> {
    this.#process.signal('SIGTERM')
    const { acknowledged } = JSON.parse(await this.#next()) as { acknowledged: Record<string, number> }
    await this.#process.exited
    return new Map(Object.entries(acknowledged))
  }
}

/** Throws unless the log holds all sequences of each device up to the acknowledged one, in order. */
async function verify(server: BenchServer, acknowledged: ReadonlyMap<string, number>): Promise<string> {
  const last = new Map<string, number>()
  let records = 0
  let again = 0
  await server.eachRecord((device, value) => {
    const cursor = new VarintCursor(value, FRAME_BYTES)
    cursor.zigzagLong()
    const sequence = cursor.zigzagLong()
    const before = last.get(device) ?? 0
    if (sequence > before + 1) throw new Error(`${device}: ${sequence} follows ${before} in the log`)
    records++
    if (sequence <= before) again++
    else last.set(device, sequence)
  })
  let sum = 0
  for (const [device, sequence] of acknowledged) {
    sum += sequence
    if ((last.get(device) ?? 0) < sequence)
      throw new Error(`${device}: ${sequence} was acknowledged, the log ends with ${last.get(device)}`)
  }
  return `${sum} acknowledged messages of ${acknowledged.size} devices are in the log, each device's in order without a gap; ${records} records, ${again} of them sent again`
}

export async function run(args: CaseArguments): Promise<CaseResult> {
  const clients = args.smoke ? CLIENTS_SMOKE : CLIENTS
  const calmMs = args.smoke ? CALM_MS_SMOKE : CALM_MS
  const server = await BenchServer.start({ roles: 'ingest' })
  const schemaId = server.schemaIds.get('telemetry')!
  const fleet = new Fleet(server.mqttPort, clients, schemaId, args.seed)
  await fleet.back()
  const storms: { back: Back; run: Run }[] = []
  for (const i of rounds(args.runs + 1, 'runs', 2)) {
    await sleep(calmMs)
    calibrate(args.smoke)
    const storm = await fleet.storm(server.process.pid)
    // The first one warms up.
    if (i > 0 || args.smoke) storms.push(storm)
  }
  await sleep(calmMs)
  fleet.begin()
  await server.process.kill()
  const again = await BenchServer.start({ roles: 'ingest', data: server.data, mqttPort: server.mqttPort })
  const afterKill = await fleet.back()
  await sleep(calmMs)
  const acknowledged = await fleet.end()
  await again.stop()
  const verified = await verify(again, acknowledged)
  again.removeData()

  const ours = summarise(storms.map((one) => one.run))
  const peers: Peer[] = []
  for (const broker of await startPeers({ ...args, webSocket: false })) {
    if (broker.process === undefined || isTimeOver(broker.name)) continue
    const others = new Fleet(broker.port, clients, schemaId, args.seed)
    await others.back()
    const theirs = []
    for (const _ of rounds(args.runs, `runs of ${broker.name}`)) {
      await sleep(calmMs)
      theirs.push((await others.storm(broker.process.pid)).run)
    }
    await others.end()
    await broker.process.stop()
    peers.push(peer(broker.name, broker.version, summarise(theirs), ours))
  }
  const mid = (pick: (one: Back) => number) => round(median(storms.map((one) => pick(one.back))), 0)
  return {
    ...caseResult('reconnect-storm', args, 'connections/s', ours, verified, peers),
    notes: [
      pinning,
      `half of ${clients} clients were back after ${mid((one) => one.halfMs)} ms, 99 % after ${mid((one) => one.mostMs)} ms, all after ${mid((one) => one.allMs)} ms; ${mid((one) => one.resent)} had a message to send again`,
      `after SIGKILL and a start on the same folder all were back within ${afterKill.allMs} ms, recovery included`,
    ],
  }
}

if (import.meta.main) await caseMain(run, 1)
