// Starts a process: opens the data folder, the log thread, registry and contracts, then a thread for each part of
// each role, and HTTP last; drains in the order in which records flow. No record passes through this thread.
import fs from 'node:fs'
import path from 'node:path'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import { type Address, addressText, type Config } from './config.ts'
import { Metrics } from './http/metrics.ts'
import { schemaRegistryRoutes } from './http/schema-registry-routes.ts'
import {
  type Account,
  type Check,
  createHttpServer,
  type Services,
  type TableSummary,
} from './http/server.ts'
import { INGEST_COUNTERS, type IngestCounter } from './ingest/counters.ts'
import type { IngestWorkerData } from './ingest/worker.ts'
import { type DataFolder, lockDataFolder } from './log/data-folder.ts'
import type { Log, TopicConfig } from './log/log.ts'
import { connectLog } from './log/log-client.ts'
import { type LogThread, startLogThread } from './log/log-service.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from './normalize/counters.ts'
import type { NormalizeWorkerData } from './normalize/worker.ts'
import { type Contract, compileContracts, parseContract } from './schemas/contract.ts'
import { keepContract, newestOfEachFamily, readContracts } from './schemas/contract-folder.ts'
import { normalizedTopic, presenceTopic, REJECTED_SUBJECT, rawTopic, rejectedTopic } from './schemas/names.ts'
import { SchemaRegistry } from './schemas/registry.ts'
import { describeStream, registerStreams } from './schemas/registry-streams.ts'
import { REJECTED_SCHEMA } from './schemas/rejected.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import { openTables } from './sink/open-tables.ts'
import { SINK_COUNTERS, type SinkCounter } from './sink/sink-counters.ts'
import type { SinkReport, SinkWorkerData } from './sink/worker.ts'
import { CounterBlock } from './std/counters.ts'
import { MillraceError } from './std/errors.ts'
import { createLogger, type Logger } from './std/logger.ts'
import { StageThread, type ThreadMessage } from './std/thread.ts'
import { VERSION } from './std/version.ts'

export interface Status {
  connections: number
  messagesIn: number
  refused: number
  acknowledged: number
  rowsCommitted: number
  /** Age of the oldest row at the last commit; undefined before the first. */
  freshnessMs: number | undefined
  /** What keeps the process from being ready, in words. */
  trouble: string[]
}

export interface Running {
  readonly addresses: { mqtt: Address | undefined; ws: Address | undefined; http: Address }
  readonly anonymous: boolean
  /** Rejects when a thread or the log fails: the process must end. */
  readonly failed: Promise<never>
  status(): Status
  account(): Promise<Account>
  /** Ends in order; resolves to the records that wait in the log for the next start. */
  drain(): Promise<number>
  /** Ends at once, as a crash would, but for the lock. */
  abort(): Promise<void>
}

const SHIPPED_CONTRACTS = path.join(import.meta.dirname, 'contracts')
/** Slots that may fall; all others only grow. */
const GAUGES = new Set([
  ...['connections', 'sessions', 'subscriptions', 'pausedReads', 'slowedClients', 'bytesWaiting'].map(
    (name) => `ingest.${name}`,
  ),
  ...['lag_records', 'devices', 'streams_stopped', 'streams_waiting'].map((name) => `normalize.${name}`),
  ...['freshnessMs', 'lagRecords', 'tables', 'tablesParked'].map((name) => `sink.${name}`),
])
/** SIGTERM is promised to end within 20 s: stages get less, so that closing has its time too. */
const DRAIN_MS_MAX = 15_000

interface Stage<Name extends string> {
  thread: StageThread
  counters: CounterBlock<Name>
}

class Millrace implements Running {
  readonly #config: Config
  readonly #logger: Logger
  readonly #folder: DataFolder
  readonly #threads: StageThread[] = []
  readonly #ingest: Stage<IngestCounter>[] = []
  readonly #startedAt = Date.now()
  #normalize: Stage<NormalizeCounter> | undefined
  #sink: Stage<SinkCounter> | undefined
  #logThread: LogThread | undefined
  #log!: Log
  #registry!: SchemaRegistry
  #contracts: Contract[] = []
  #streams: StreamDescriptor[] = []
  #rejectedSchemaId = 0
  #http: FastifyInstance | undefined
  #isDraining = false
  #fail!: (error: unknown) => void
  #parked: string[] = []
  readonly failed: Promise<never>
  addresses!: Running['addresses']

  constructor(config: Config, logger: Logger, folder: DataFolder) {
    this.#config = config
    this.#logger = logger
    this.#folder = folder
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  get anonymous(): boolean {
    return this.#config.credentials === undefined && this.#ingest.length > 0
  }

  async start(): Promise<void> {
    const config = this.#config
    await this.#startLog()
    this.#registry = await SchemaRegistry.open(this.#log)
    this.#rejectedSchemaId = (await this.#registry.register(REJECTED_SUBJECT, REJECTED_SCHEMA)).id
    const folders = [SHIPPED_CONTRACTS, path.join(config.data, 'contracts')]
    if (config.contracts !== undefined) {
      if (!fs.existsSync(config.contracts))
        throw new MillraceError(
          'option_invalid',
          `--contracts: read ${JSON.stringify(config.contracts)}, expected a folder that exists`,
        )
      folders.splice(1, 0, config.contracts)
    }
    this.#contracts = readContracts(folders)
    this.#streams = await registerStreams(this.#registry, compileContracts(this.#contracts))
    await this.#createTopics(this.#streams)
    // A schema that a client registers is one more that its stream's devices may write with.
    this.#registry.onChange(() => this.#streamsChanged())

    if (config.roles.includes('sink')) this.#sink = await this.#startSink()
    if (config.roles.includes('normalize')) this.#normalize = await this.#startNormalize()
    const ports = config.roles.includes('ingest') ? await this.#startIngest() : { mqtt: 0, ws: 0 }
    this.#http = await createHttpServer(this.#services())
    const http = await this.#listenHttp(this.#http)
    const at = (address: Address | undefined, port: number): Address | undefined =>
      address !== undefined && this.#ingest.length > 0 ? { host: address.host, port } : undefined
    this.addresses = { mqtt: at(config.mqtt, ports.mqtt), ws: at(config.ws, ports.ws), http }
  }

  async #startLog(): Promise<void> {
    const config = this.#config
    this.#logThread = await startLogThread({
      dir: path.join(config.data, 'log'),
      segmentBytes: config.logSegmentBytes,
      reserveBytes: config.logReserveBytes,
    })
    this.#logThread.failed.catch((error: unknown) => this.#fail(error))
    const { tornTail } = this.#logThread
    if (tornTail !== undefined)
      this.#logger.warn(
        { tornTail },
        `${tornTail.file}: ${tornTail.bytes} bytes after ${tornTail.position} were torn by a crash and are cut: none of it was acknowledged`,
      )
    this.#log = await connectLog(this.#logThread.newPort())
  }

  #startThread(name: string, entry: URL, data: unknown, transfer: MessagePort[]): StageThread {
    const thread = new StageThread(name, entry, data, transfer)
    this.#threads.push(thread)
    thread.failed.catch((error: unknown) => this.#fail(error))
    thread.on('warning', (message) => this.#logger.warn({ thread: name }, String(message['message'])))
    thread.on('info', (message) => this.#logger.info({ thread: name }, String(message['message'])))
    return thread
  }

  async #startSink(): Promise<Stage<SinkCounter>> {
    const config = this.#config
    const counters = new CounterBlock<SinkCounter>(SINK_COUNTERS)
    const logPort = this.#logThread!.newPort()
    const data: SinkWorkerData = {
      logPort,
      catalogFile: path.join(config.data, 'catalog.db'),
      warehouse: path.join(config.data, 'warehouse'),
      streams: this.#streams,
      rejectedSchemaId: this.#rejectedSchemaId,
      counters: counters.buffer,
      options: { commitAgeMs: config.sinkCommitAgeMs, commitBytesMax: config.sinkCommitBytes },
      encoders: config.sinkEncoders,
    }
    const thread = this.#startThread('sink', new URL('./sink/worker.ts', import.meta.url), data, [logPort])
    thread.on('tables', (message) => {
      const tables = (message as unknown as Extract<SinkReport, { type: 'tables' }>).tables
      this.#parked = tables
        .filter((table) => table.state === 'parked')
        .map((table) => `table ${table.table}: ${table.error}`)
    })
    thread.on('event', (message) => {
      const { event } = message as unknown as Extract<SinkReport, { type: 'event' }>
      this.#logger[event.level]({ thread: 'sink', ...event }, event.message)
    })
    await thread.next('ready')
    return { thread, counters }
  }

  async #startNormalize(): Promise<Stage<NormalizeCounter>> {
    const counters = new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS)
    const logPort = this.#logThread!.newPort()
    const data: NormalizeWorkerData = {
      logPort,
      streams: this.#streams,
      rejectedSchemaId: this.#rejectedSchemaId,
      counters: counters.buffer,
    }
    const thread = this.#startThread('normalize', new URL('./normalize/worker.ts', import.meta.url), data, [
      logPort,
    ])
    await thread.next('ready')
    return { thread, counters }
  }

  /** Starts the workers one after the other: the first binds the ports that were given as 0. */
  async #startIngest(): Promise<{ mqtt: number; ws: number }> {
    const { config, workers } = { config: this.#config, workers: this.#config.workers }
    const hubs = hubPorts(workers)
    const ports = { mqtt: config.mqtt?.port ?? 0, ws: config.ws?.port ?? 0 }
    for (let index = 0; index < workers; index++) {
      const counters = new CounterBlock<IngestCounter>(INGEST_COUNTERS)
      const logPort = this.#logThread!.newPort()
      const data: IngestWorkerData = {
        logPort,
        index,
        hubPorts: hubs[index]!,
        addresses: {
          mqtt: config.mqtt && { host: config.mqtt.host, port: ports.mqtt },
          ws: config.ws && { host: config.ws.host, port: ports.ws },
        },
        options: {
          packetBytesMax: config.mqttPacketBytesMax,
          receiveMaximum: config.mqttReceiveMaximum,
          connectionsMax: config.mqttConnectionsMax,
          bytesMax: config.ingestBytesMax,
          deviceRateMax: config.deviceRateMax,
          allowAnonymous: config.credentials === undefined,
          credentialsFile: config.credentials,
        },
        streams: this.#streams,
        rejectedSchemaId: this.#rejectedSchemaId,
        counters: counters.buffer,
      }
      const transfer = [logPort, ...hubs[index]!.filter((port) => port !== undefined)]
      const thread = this.#startThread(
        `ingest-${index}`,
        new URL('./ingest/worker.ts', import.meta.url),
        data,
        transfer,
      )
      const ready = await thread.next('ready')
      ports.mqtt = Number(ready['mqttPort'])
      ports.ws = Number(ready['wsPort'])
      this.#ingest.push({ thread, counters })
    }
    return ports
  }

  async #createTopics(streams: readonly StreamDescriptor[]): Promise<void> {
    const config = this.#config
    for (const stream of streams) {
      const topic: TopicConfig = {
        partitions: stream.partitions,
        cleanup: 'delete',
        retentionAgeMs: config.logRetentionAgeMs,
        retentionBytes: config.logRetentionBytes,
        backlogBytesMax: config.logBacklogBytes,
      }
      for (const name of [rawTopic, normalizedTopic, rejectedTopic])
        await this.#log.createTopic(name(stream.tenant, stream.stream), topic)
    }
    for (const tenant of new Set(streams.map((stream) => stream.tenant)))
      await this.#log.createTopic(presenceTopic(tenant), {
        partitions: 1,
        cleanup: 'delete',
        retentionAgeMs: config.logRetentionAgeMs,
        retentionBytes: config.logRetentionBytes,
        backlogBytesMax: Number.POSITIVE_INFINITY,
      })
  }

  /** Tells every stage of the streams as they are now; the sink first, so that a table is there before its rows. */
  #streamsChanged(): void {
    this.#streams = this.#streams.map((stream) =>
      describeStream(this.#registry, stream, this.#registry.lookup(stream.subject, stream.schema, true)),
    )
    const message: ThreadMessage = { type: 'streams', streams: this.#streams }
    for (const thread of this.#stageThreads()) thread.send(message)
  }

  async #registerContract(text: string): Promise<{ family: string; version: number; streams: string[] }> {
    const contract = parseContract(text, 'contract')
    const current = this.#contracts.find(
      (one) => one.tenant === contract.tenant && one.family === contract.family,
    )
    if (current !== undefined && contract.version <= current.version)
      throw new MillraceError(
        'contract_invalid',
        `family ${contract.family} is at version ${current.version}: a changed contract needs a higher one, this is ${contract.version}`,
      )
    const contracts = newestOfEachFamily([...this.#contracts, contract])
    const streams = await registerStreams(this.#registry, compileContracts(contracts))
    await this.#createTopics(streams)
    keepContract(path.join(this.#config.data, 'contracts'), contract, text)
    this.#contracts = contracts
    this.#streams = streams
    this.#streamsChanged()
    return {
      family: contract.family,
      version: contract.version,
      streams: contract.streams.map((stream) => stream.name),
    }
  }

  async #listenHttp(server: FastifyInstance): Promise<Address> {
    const { http } = this.#config
    try {
      await server.listen({ host: http.host, port: http.port })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE')
        throw new MillraceError(
          'address_in_use',
          `--http ${addressText(http)}: the port is in use; choose another, or 0`,
        )
      throw error
    }
    return { host: http.host, port: (server.server.address() as { port: number }).port }
  }

  *#stageThreads(): Iterable<StageThread> {
    if (this.#sink) yield this.#sink.thread
    if (this.#normalize) yield this.#normalize.thread
    for (const { thread } of this.#ingest) yield thread
  }

  #ingestSum(...names: IngestCounter[]): number {
    let sum = 0
    for (const { counters } of this.#ingest) for (const name of names) sum += counters.get(name)
    return sum
  }

  status(): Status {
    const refused = INGEST_COUNTERS.filter((name) => name.startsWith('refused'))
    return {
      connections: this.#ingestSum('connections'),
      messagesIn: this.#ingestSum('messagesInQos0', 'messagesInQos1'),
      refused: this.#ingestSum(...refused),
      acknowledged: this.#ingestSum('acknowledged'),
      rowsCommitted: this.#sink?.counters.get('rows') ?? 0,
      freshnessMs:
        this.#sink && this.#sink.counters.get('commits') > 0
          ? this.#sink.counters.get('freshnessMs')
          : undefined,
      trouble: this.#troubles(),
    }
  }

  #troubles(): string[] {
    const trouble = [...this.#parked]
    const waiting = this.#normalize?.counters.get('streams_waiting') ?? 0
    const stopped = this.#normalize?.counters.get('streams_stopped') ?? 0
    if (waiting > 0) trouble.push(`normalize: ${waiting} streams wait for room in the log`)
    if (stopped > 0) trouble.push(`normalize: ${stopped} streams stopped`)
    return trouble
  }

  async #readiness(): Promise<Check[]> {
    const trouble = this.#troubles()
    return [
      this.#isDraining ? { name: 'process', ok: false, reason: 'draining' } : { name: 'process', ok: true },
      trouble.length === 0
        ? { name: 'streams', ok: true }
        : { name: 'streams', ok: false, reason: trouble.join('; ') },
    ]
  }

  /** Where every record is. Offsets count records, because the embedded log leaves no gaps. */
  async account(): Promise<Account> {
    const sums = { raw: 0, normalized: 0, rejected: 0 }
    for (const { tenant, stream, partitions } of this.#streams)
      for (let partition = 0; partition < partitions; partition++) {
        sums.raw += (await this.#log.range(rawTopic(tenant, stream), partition)).end
        sums.normalized += (await this.#log.range(normalizedTopic(tenant, stream), partition)).end
        sums.rejected += (await this.#log.range(rejectedTopic(tenant, stream), partition)).end
      }
    const tally = this.#normalize
      ? await this.#ask(this.#normalize.thread, 'tally')
      : { duplicates: 0, rejected: 0 }
    const rejected = Number(tally['rejected'])
    const tables = await this.#tables()
    const rowsOf = (isRejected: boolean): number =>
      tables
        .filter((table) => table.table.endsWith('_rejected') === isRejected)
        .reduce((sum, table) => sum + table.rows, 0)
    return {
      acknowledged: this.#ingestSum('acknowledged'),
      raw: sums.raw,
      normalized: sums.normalized,
      rejected,
      rejectedAtDoor: sums.rejected - rejected,
      duplicates: Number(tally['duplicates']),
      rows: rowsOf(false),
      rejectedRows: rowsOf(true),
    }
  }

  async #tables(): Promise<TableSummary[]> {
    if (!fs.existsSync(path.join(this.#config.data, 'catalog.db'))) return []
    const tables = openTables(this.#config.data)
    try {
      return (await tables.stats()).map((table) => ({ ...table, committedAt: table.committedAt ?? null }))
    } finally {
      tables.close()
    }
  }

  async #ask(thread: StageThread, type: string): Promise<ThreadMessage> {
    const answer = thread.next(type)
    thread.send({ type })
    return answer
  }

  #services(): Services {
    const metrics = new Metrics({
      sources: () => [
        ...this.#ingest.map(({ counters }, i) => ({ stage: 'ingest', worker: String(i), block: counters })),
        ...(this.#normalize ? [{ stage: 'normalize', worker: '0', block: this.#normalize.counters }] : []),
        ...(this.#sink ? [{ stage: 'sink', worker: '0', block: this.#sink.counters }] : []),
      ],
      gauges: GAUGES,
      computed: [
        {
          name: 'millrace_uptime_seconds',
          help: 'Seconds since the start',
          read: () => [{ value: (Date.now() - this.#startedAt) / 1000 }],
        },
        {
          name: 'millrace_resident_bytes',
          help: 'Resident memory of the process',
          read: () => [{ value: process.memoryUsage.rss() }],
        },
        {
          name: 'millrace_ready',
          help: '1 when the process is ready',
          read: () => [{ value: this.#isDraining || this.#troubles().length > 0 ? 0 : 1 }],
        },
      ],
    })
    return {
      version: VERSION,
      readiness: () => this.#readiness(),
      scrape: () => metrics.scrape(),
      status: () => ({
        version: VERSION,
        roles: this.#config.roles,
        uptimeSeconds: Math.floor((Date.now() - this.#startedAt) / 1000),
        addresses: Object.fromEntries(
          Object.entries(this.addresses).map(([name, address]) => [
            name,
            address ? addressText(address) : null,
          ]),
        ),
        ...this.status(),
      }),
      streams: () =>
        this.#streams.map(({ tenant, stream, family, contractVersion, subject, schemaId, partitions }) => ({
          tenant,
          stream,
          family,
          contractVersion,
          subject,
          schemaId,
          partitions,
        })),
      stream: (tenant, stream) => {
        const found = this.#streams.find((one) => one.tenant === tenant && one.stream === stream)
        return (
          found && {
            ...found,
            schema: JSON.parse(found.schema) as unknown,
            writers: found.writers.map(({ id }) => id),
          }
        )
      },
      tables: () => this.#tables(),
      account: () => this.account(),
      contracts: () =>
        this.#contracts.map(({ family, tenant, version, streams }) => ({
          family,
          tenant,
          version,
          streams: streams.map((stream) => stream.name),
        })),
      registerContract: (text) => this.#registerContract(text),
      mounts: [{ prefix: '/schema-registry', routes: schemaRegistryRoutes(this.#registry) }],
    }
  }

  async drain(): Promise<number> {
    this.#isDraining = true
    const deadline = Date.now() + DRAIN_MS_MAX
    const stages = [
      this.#ingest.map(({ thread }) => thread),
      this.#normalize ? [this.#normalize.thread] : [],
      this.#sink ? [this.#sink.thread] : [],
    ]
    for (const threads of stages)
      await Promise.race([Promise.all(threads.map((thread) => thread.drain())), sleepUntil(deadline)])
    const left = await this.#recordsLeft()
    await this.#close()
    return left
  }

  /** Records that no table holds yet. */
  async #recordsLeft(): Promise<number> {
    let left = 0
    for (const { tenant, stream, partitions } of this.#streams)
      for (let partition = 0; partition < partitions; partition++) {
        for (const [stage, topic] of [
          ['normalize', rawTopic(tenant, stream)],
          ['sink', normalizedTopic(tenant, stream)],
          ['sink', rejectedTopic(tenant, stream)],
        ] as const)
          left +=
            (await this.#log.range(topic, partition)).end -
            ((await this.#log.position(stage, topic, partition)) ?? 0)
      }
    return left
  }

  async abort(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()))
    await this.#logThread?.close().catch(() => {})
    await this.#http?.close()
    this.#folder.release()
  }

  async #close(): Promise<void> {
    await this.#http?.close()
    for (const thread of this.#stageThreads()) await thread.terminate()
    await this.#log.close()
    await this.#logThread?.close()
    this.#folder.release()
  }
}

/** A MessageChannel between every two of `count` workers: row w holds worker w's ends. */
function hubPorts(count: number): (MessagePort | undefined)[][] {
  const ports: (MessagePort | undefined)[][] = Array.from({ length: count }, () =>
    new Array<undefined>(count).fill(undefined),
  )
  for (let a = 0; a < count; a++)
    for (let b = a + 1; b < count; b++) {
      const { port1, port2 } = new MessageChannel()
      ports[a]![b] = port1
      ports[b]![a] = port2
    }
  return ports
}

function sleepUntil(time: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(0, time - Date.now())).unref())
}

/** Starts a process with that configuration; ready when it resolves. On failure everything is ended again. */
export async function startMillrace(config: Config): Promise<Running> {
  const folder = lockDataFolder(config.data)
  const millrace = new Millrace(config, createLogger(config.logLevel), folder)
  try {
    await Promise.race([millrace.start(), millrace.failed])
  } catch (error) {
    await millrace.abort()
    throw error
  }
  return millrace
}
