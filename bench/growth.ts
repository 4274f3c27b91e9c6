// Case: how the cost of one message grows with connections, topics, tenants, size of the schema and of the payload
//
// Connections, topics and tenants are measured on a server under load, CPU of its process per message; schemas and
// payloads in memory, on the path of hot-path: parse, validate, copy. The figure of the case is its first load.
import fs from 'node:fs'
import path from 'node:path'
import { hashPassword } from '../identity/identity-secret.ts'
import { OurSide } from './broker-case.ts'
import { GATEWAY_LOGIN, gatewayArgs } from './gateways.ts'
import { nanosPerMessage, type Shape } from './growth-memory.ts'
import {
  type CaseArguments,
  calibrate,
  caseMain,
  caseResult,
  median,
  type Run,
  round,
  summarise,
} from './harness.ts'
import type { Load } from './load.ts'
import { pinning, residentBytes, temporaryFolder } from './processes.ts'
import type { CaseResult, Table } from './result.ts'
import { figure } from './result-text.ts'

const IN_FLIGHT = 8192
const CONNECTIONS = [8, 64, 512, 4096]
const GATEWAYS = 8
const DEVICES = [1, 100, 1000, 10_000]
const TENANTS = [1, 10, 100]
const TENANT_CONNECTIONS = 100
const TENANT_CONNECTIONS_SMOKE = 4
const FIELDS = [4, 16, 64, 256]
const PAYLOAD_BYTES = [32, 128, 512, 2048, 8192]
const PASSWORD = 'bench'
const SECONDS_DEFAULT = 1
/** Eleven loads, three runs each, and what starts and counts them. */
const SECONDS_MAX = 2

interface Point {
  runs: Run[]
  mebibytes: number
}

const messagesPerSecond = (runs: readonly Run[]): string => figure(summarise(runs).median)

/** Servers that run already. */
export interface Lent {
  ingest?: OurSide
  gateways?: OurSide
}

class Growth {
  readonly #args: CaseArguments
  readonly #lent: Lent
  readonly verified: string[] = []

  constructor(args: CaseArguments, lent: Lent) {
    this.#args = args
    this.#lent = lent
  }

  /** The load on a server, and its memory while the connections are open. */
  async measure(side: OurSide, load: Load): Promise<Point> {
    const { smoke, seconds, seed, runs: count } = this.#args
    const runs: Run[] = []
    let bytes = 0
    const watching = setInterval(() => {
      bytes = Math.max(bytes, residentBytes(side.server.process.pid))
    }, 100)
    for (let i = 0; i < count; i++) {
      calibrate(smoke)
      const timing = { seconds, warmup: smoke ? 0.1 : 0.5, seed: seed + i * 10_000 }
      runs.push((await side.run(load, false, timing)).run)
    }
    clearInterval(watching)
    bytes = Math.max(bytes, residentBytes(side.server.process.pid))
    return { runs, mebibytes: Math.round(bytes / 2 ** 20) }
  }

  async finish(side: OurSide): Promise<void> {
    this.verified.push(await side.verify())
  }

  async connections(): Promise<{ table: Table; first: Run[] }> {
    const rows: (string | number)[][] = []
    let first: Run[] = []
    for (const connections of this.#args.smoke ? CONNECTIONS.slice(0, 1) : CONNECTIONS) {
      // A server for each: memory that was once needed does not go back.
      const side = this.#lent.ingest ?? (await OurSide.start())
      const point = await this.measure(side, { qos: 1, connections, window: IN_FLIGHT / connections })
      await this.finish(side)
      if (first.length === 0) first = point.runs
      rows.push([
        connections,
        messagesPerSecond(point.runs),
        summarise(point.runs).cpuUsPerMessage,
        point.mebibytes,
      ])
    }
    const title = `Connections, ${IN_FLIGHT} messages in flight on all of them together`
    return { table: { title, columns: ['connections', 'msg/s', 'CPU µs', 'RSS MiB'], rows }, first }
  }

  async topics(): Promise<Table> {
    const side =
      this.#lent.gateways ??
      (await OurSide.start({ args: await gatewayArgs(temporaryFolder(), GATEWAYS, []) }))
    const rows: (string | number)[][] = []
    for (const devices of this.#args.smoke ? DEVICES.slice(0, 1) : DEVICES) {
      const load = { qos: 1, connections: GATEWAYS, window: 1024, devices, ...GATEWAY_LOGIN } as const
      const { runs } = await this.measure(side, load)
      rows.push([devices * GATEWAYS, messagesPerSecond(runs), summarise(runs).cpuUsPerMessage])
    }
    await this.finish(side)
    const title = `Topics, ${GATEWAYS} gateways, each message on a random one`
    return { title, columns: ['topics', 'msg/s', 'CPU µs'], rows }
  }

  /** A contract and logins of each tenant; JSON payloads, because each tenant's schema has another id. */
  async tenants(): Promise<Table> {
    const folder = temporaryFolder()
    const contracts = path.join(folder, 'contracts')
    fs.mkdirSync(contracts)
    const most = Math.max(...TENANTS)
    const environment = fs.readFileSync(
      path.join(import.meta.dirname, '../contracts/environment.yaml'),
      'utf8',
    )
    for (let i = 0; i < most; i++)
      fs.writeFileSync(
        path.join(contracts, `t${i}.yaml`),
        environment
          .replace('tenant: default', `tenant: t${i}`)
          .replace('family: environment', `family: environment_${i}`),
      )
    const hash = await hashPassword(PASSWORD)
    const credentials = TENANTS.flatMap((tenants) =>
      Array.from({ length: TENANT_CONNECTIONS }, (_, i) => ({
        tenant: `t${i % tenants}`,
        device: `of${tenants}-${i}`,
        hash,
      })),
    )
    const file = path.join(folder, 'credentials.yaml')
    fs.writeFileSync(file, JSON.stringify({ credentials }))
    const args = ['--contracts', contracts, '--credentials', file]
    const side = await OurSide.start({ args })
    const rows: (string | number)[][] = []
    const connections = this.#args.smoke ? TENANT_CONNECTIONS_SMOKE : TENANT_CONNECTIONS
    for (const tenants of this.#args.smoke ? TENANTS.slice(0, 1) : TENANTS) {
      const { runs } = await this.measure(side, {
        qos: 1,
        connections,
        window: 64,
        payload: 'json',
        prefix: `of${tenants}`,
        tenants,
        username: 't{tenant}/{client}',
        password: PASSWORD,
      })
      rows.push([tenants, messagesPerSecond(runs), summarise(runs).cpuUsPerMessage])
    }
    await this.finish(side)
    const title = `Tenants, ${TENANT_CONNECTIONS} connections of them in all, JSON payloads`
    return { title, columns: ['tenants', 'msg/s', 'CPU µs'], rows }
  }

  async memory(
    title: string,
    column: string,
    shapes: readonly { at: number; shape: Shape }[],
  ): Promise<Table> {
    const { smoke, seconds, seed, runs } = this.#args
    const rows: (string | number)[][] = []
    for (const { at, shape } of smoke ? shapes.slice(0, 1) : shapes) {
      const { payloadBytes, nanos } = await nanosPerMessage(shape, smoke ? 0.02 : seconds / 5, runs, seed)
      const each = median(nanos)
      rows.push([at, payloadBytes, round(each, 0), round((payloadBytes / each) * 1000, 0)])
    }
    return { title, columns: [column, 'payload bytes', 'ns', 'MB/s'], rows }
  }
}

export async function run(args: CaseArguments, lent: Lent = {}): Promise<CaseResult> {
  const growth = new Growth({ ...args, seconds: Math.min(args.seconds, SECONDS_MAX) }, lent)
  const { table: connections, first } = await growth.connections()
  const tables = [
    connections,
    await growth.topics(),
    await growth.tenants(),
    await growth.memory(
      'Size of the schema: fields, all of them doubles, in memory',
      'fields',
      FIELDS.map((fields) => ({ at: fields, shape: { doubles: fields, textBytes: 0 } })),
    ),
    await growth.memory(
      'Size of the payload: one string, in memory',
      'string bytes',
      PAYLOAD_BYTES.map((bytes) => ({ at: bytes, shape: { doubles: 0, textBytes: bytes } })),
    ),
  ]
  return {
    ...caseResult('growth', args, 'msg/s', summarise(first), growth.verified.join('; '), []),
    tables,
    notes: [pinning],
  }
}

if (import.meta.main) await caseMain(run, SECONDS_DEFAULT, 3)
