// Millrace as a case measures it: the real `./millrace up` with a folder of its own.
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Account } from '../http/server.ts'
import { openEmbeddedLog } from '../log/log-embedded.ts'
import { batchCrcMatches, RecordReader, readBatchHeader } from '../log/record-batch.ts'
import { NodeDisk } from '../std/disk.ts'
import { BenchProcess, removeFolder, SERVER_CORE, temporaryFolder } from './processes.ts'

const LAUNCHER = path.resolve(import.meta.dirname, '../millrace')
const DURABLE_MS_MAX = 15_000
const READ_BYTES = 4 << 20

export interface ServerOptions {
  roles: string
  /** Further options of `up`. */
  args?: readonly string[]
  /** Its core; null: all of them. */
  core?: number | null
  /** How long it may take until it is ready. */
  startMsMax?: number
  /** A data folder that is there already. */
  data?: string
  /** Default: a free one. */
  mqttPort?: number
  env?: Readonly<Record<string, string>>
}

export class BenchServer {
  readonly process: BenchProcess
  readonly data: string
  readonly mqttPort: number
  readonly wsPort: number
  readonly http: string
  /** Schema id of each stream of the tenant `default`. */
  readonly schemaIds: ReadonlyMap<string, number>

  private constructor(process: BenchProcess, data: string, schemaIds: ReadonlyMap<string, number>) {
    this.process = process
    this.data = data
    this.mqttPort = portOf(process.output, 'mqtt')!
    this.wsPort = portOf(process.output, 'ws')!
    this.http = `http://127.0.0.1:${portOf(process.output, 'http')}`
    this.schemaIds = schemaIds
  }

  static async start(options: ServerOptions): Promise<BenchServer> {
    const data = options.data ?? temporaryFolder()
    const any = '127.0.0.1:0'
    const mqtt = `127.0.0.1:${options.mqttPort ?? 0}`
    const args = ['up', '--data', data, '--mqtt', mqtt, '--ws', any, '--http', any]
    // All records stay in the log until they are counted.
    args.push('--roles', options.roles, '--status', 'off', '--log-level', 'warn')
    args.push('--log-retention-bytes', String(1e12), '--log-backlog-bytes', String(1e12))
    const core = options.core === null ? undefined : (options.core ?? SERVER_CORE)
    const process = new BenchProcess(LAUNCHER, [...args, ...(options.args ?? [])], core, options.env)
    const http = await process.until(
      'millrace',
      async () => {
        const port = portOf(process.output, 'http')
        if (port === undefined) return undefined
        const answer = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined)
        return answer?.status === 200 ? `http://127.0.0.1:${port}` : undefined
      },
      options.startMsMax,
    )
    const streams = (await (await fetch(`${http}/v1/streams`)).json()) as {
      tenant: string
      stream: string
      schemaId: number
    }[]
    const ours = streams.filter((stream) => stream.tenant === 'default')
    return new BenchServer(process, data, new Map(ours.map((stream) => [stream.stream, stream.schemaId])))
  }

  async account(): Promise<Account> {
    return (await (await fetch(`${this.http}/v1/account`)).json()) as Account
  }

  /** The account, once it has `raw` messages or these have not become durable for a long time. */
  async accountOf(raw: number): Promise<Account> {
    const deadline = performance.now() + DURABLE_MS_MAX
    for (;;) {
      const account = await this.account()
      if (account.raw >= raw || performance.now() > deadline) return account
      await sleep(20)
    }
  }

  /** Drains and ends it. Throws when it does not end well. */
  async stop(): Promise<void> {
    const code = await this.process.stop()
    if (code !== 0) throw new Error(`millrace ended with code ${code}:\n${this.process.output}`)
  }

  /** After the stop: the records of all raw topics, read batch by batch, each against its CRC. */
  async countLog(): Promise<number> {
    let records = 0
    await this.#readLog((batches) => {
      records += countBatches(batches)
    })
    return records
  }

  /** After the stop: every record of the raw topics, by its key and the bytes of its value. */
  async eachRecord(onRecord: (device: string, value: Uint8Array) => void): Promise<void> {
    const reader = new RecordReader()
    await this.#readLog((batches) => {
      for (let at = 0; at < batches.length; ) {
        const batch = batches.subarray(at, at + readBatchHeader(batches, at)!.byteLength)
        reader.reset(batch)
        while (reader.next()) {
          const key = Buffer.from(
            batch.buffer,
            batch.byteOffset + reader.keyStart,
            reader.keyEnd - reader.keyStart,
          )
          onRecord(key.toString('latin1'), batch.subarray(reader.valueStart, reader.valueEnd))
        }
        at += batch.length
      }
    })
  }

  async #readLog(onBatches: (batches: Uint8Array) => void): Promise<void> {
    const log = openEmbeddedLog({
      dir: path.join(this.data, 'log'),
      disk: new NodeDisk(),
      background: false,
      verifyReads: false,
    })
    for (const { name, config } of await log.listTopics()) {
      if (!name.endsWith('.raw')) continue
      for (let partition = 0; partition < config.partitions; partition++) {
        const { start, end } = await log.range(name, partition)
        for (let offset = start; offset < end; ) {
          const { batches, nextOffset } = await log.read(name, partition, offset, READ_BYTES)
          onBatches(batches)
          offset = nextOffset
        }
      }
    }
    await log.close()
  }

  removeData(): void {
    removeFolder(this.data)
  }
}

function countBatches(batches: Uint8Array): number {
  let records = 0
  for (let at = 0; at < batches.length; ) {
    const header = readBatchHeader(batches, at)
    if (header === undefined || !batchCrcMatches(batches, at, header.byteLength))
      throw new Error('the log holds a damaged batch')
    records += header.recordCount
    at += header.byteLength
  }
  return records
}

function portOf(text: string, scheme: string): number | undefined {
  const match = new RegExp(`${scheme}://127\\.0\\.0\\.1:(\\d+)`).exec(text)
  return match === null ? undefined : Number(match[1])
}
