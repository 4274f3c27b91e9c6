// Starts a process: opens the data folder, the log thread, registry and contracts, then a thread for each part of
// each role, and HTTP last; drains in the order in which records flow. No record passes through this thread.
import fs from 'node:fs'
import path from 'node:path'
import { MessageChannel, type MessagePort, type ResourceLimits } from 'node:worker_threads'
import type { FastifyInstance } from 'fastify'
import { type Address, addressText, type Config } from './config.ts'
import type { DurationMetric, MetricSource } from './http/metrics.ts'
import { type Account, createHttpServer } from './http/server.ts'
import { PayloadCheck } from './ingest/admission.ts'
import { ACK_LATENCY_BOUNDS_MS, INGEST_COUNTERS, type IngestCounter } from './ingest/counters.ts'
import { INGEST_RESOURCE_LIMITS } from './ingest/options.ts'
import type { IngestWorkerData } from './ingest/worker.ts'
import { KAFKA_COUNTERS, type KafkaCounter } from './kafka/counters.ts'
import type { KafkaWorkerData } from './kafka/worker.ts'
import { kafkaOptions } from './kafka-config.ts'
import { type DataFolder, lockDataFolder } from './log/data-folder.ts'
import { instanceOf } from './log/instance.ts'
import type { JournalStats } from './log/journal.ts'
import type { TornTail } from './log/journal-recovery.ts'
import type { KafkaOptions } from './log/kafka-options.ts'
import type { Log } from './log/log.ts'
import { type LogThread, startLogThread } from './log/log-service.ts'
import { type LogSource, openLogSource, portsOf } from './log/log-source.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from './normalize/counters.ts'
import type { NormalizeWorkerData } from './normalize/worker.ts'
import { REJECTED_SUBJECT } from './schemas/names.ts'
import { SchemaRegistry } from './schemas/registry.ts'
import { ExternalRegistry } from './schemas/registry-external.ts'
import { REJECTED_SCHEMA } from './schemas/rejected.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import { accountOf, createServices, type ProcessView, recordsLeft, type Status } from './services.ts'
import { maintenanceOptions } from './sink/maintenance.ts'
import { MAINTENANCE_COUNTERS, type MaintenanceCounter } from './sink/maintenance-counters.ts'
import type { MaintenanceEvent, MaintenanceWorkerData } from './sink/maintenance-worker.ts'
import { warehouseConfig } from './sink/open-warehouse.ts'
import { SINK_COUNTERS, type SinkCounter } from './sink/sink-counters.ts'
import type { SinkReport, SinkWorkerData } from './sink/worker.ts'
import { CounterBlock } from './std/counters.ts'
import { isMillraceError, MillraceError } from './std/errors.ts'
import { createLogger, type Logger } from './std/logger.ts'
import { StageThread, type ThreadMessage } from './std/thread.ts'
import { ServedStreams } from './streams.ts'

export interface Running {
  readonly addresses: {
    mqtt: Address | undefined
    ws: Address | undefined
    kafka: Address | undefined
    http: Address
  }
  readonly anonymous: boolean
  /** Rejects when a thread or the log fails: the process must end. */
  readonly failed: Promise<never>
  status(): Status
  account(): Promise<Account>
  /** Ends in order within DRAIN_MS_MAX; resolves to the records that wait in the log for the next start, undefined where nobody could tell in time. */
  drain(): Promise<number | undefined>
  /** Ends at once, as a crash would, but for the lock. */
  abort(): Promise<void>
}

/** SIGTERM is promised to end within 20 s. A stage that is stuck may use up the first part; the rest is for closing. */
const STAGES_DRAIN_MS_MAX = 14_000
const DRAIN_MS_MAX = 18_000
/** How often the log thread is asked how it is, and after how long without an answer it counts as stuck. */
const LOG_WATCH_MS = 1000
/** How often schemas of other processes are looked for, where there can be others. */
const REGISTRY_WATCH_MS = 1000
/** How often an external registry is asked for new versions of our subjects. */
const MIRROR_MS = 2000
const LOG_SILENT_MS_MAX = 5000

interface Stage<Name extends string> {
  thread: StageThread
  counters: CounterBlock<Name>
}

class Millrace implements Running, ProcessView {
  readonly config: Config
  readonly startedAt = Date.now()
  readonly #logger: Logger
  readonly #folder: DataFolder
  readonly #threads: StageThread[] = []
  readonly #ingest: Stage<IngestCounter>[] = []
  #normalize: Stage<NormalizeCounter> | undefined
  #sink: Stage<SinkCounter> | undefined
  #maintenance: Stage<MaintenanceCounter> | undefined
  #door: Stage<KafkaCounter> | undefined
  #logThread: LogThread | undefined
  #kafka: KafkaOptions | undefined
  #logWatch: NodeJS.Timeout | undefined
  #registryWatch: NodeJS.Timeout | undefined
  #mirrorTimer: NodeJS.Timeout | undefined
  /** Versions of the external registry that cannot be taken over, and whether it answers: each said once. */
  readonly #mirrorTold = new Set<string>()
  #logAnsweredAt = Date.now()
  #rejectedSchemaId = 0
  #http: FastifyInstance | undefined
  #fail!: (error: unknown) => void
  #parked: string[] = []
  #tablesMade = false
  /** Changes of the streams are told one after the other. */
  #telling: Promise<void> = Promise.resolve()
  readonly failed: Promise<never>
  isDraining = false
  log!: Log
  logStats: JournalStats | undefined
  registry!: SchemaRegistry
  served!: ServedStreams
  addresses!: Running['addresses']

  constructor(config: Config, logger: Logger, folder: DataFolder) {
    this.config = config
    this.#logger = logger
    this.#folder = folder
    this.failed = new Promise<never>((_, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  get anonymous(): boolean {
    return this.config.credentials === undefined && (this.#ingest.length > 0 || this.#door !== undefined)
  }

  async start(): Promise<void> {
    const { config } = this
    await this.#startLog()
    const external = externalRegistry(config, (message) => this.#logger.warn(message))
    this.registry = await SchemaRegistry.open(this.log, external && { external })
    this.#rejectedSchemaId = (await this.registry.register(REJECTED_SUBJECT, REJECTED_SCHEMA)).id
    this.served = await ServedStreams.open(
      config,
      this.log,
      this.registry,
      () => this.#streamsChanged(),
      (message) => this.#logger.info(message),
    )
    if (external !== undefined) this.#mirrorTimer = setTimeout(() => void this.#mirror(), MIRROR_MS).unref()

    if (config.roles.includes('sink')) this.#sink = await this.#startSink()
    if (this.#sink && config.tableMaintenanceMs > 0) this.#maintenance = await this.#startMaintenance()
    if (config.roles.includes('normalize')) this.#normalize = await this.#startNormalize()
    const ports = config.roles.includes('ingest') ? await this.#startIngest() : { mqtt: 0, ws: 0 }
    const kafka = config.kafka && { host: config.kafka.host, port: await this.#startKafka(config.kafka) }
    this.#http = await createHttpServer(createServices(this))
    const http = await this.#listenHttp(this.#http)
    const at = (address: Address | undefined, port: number): Address | undefined =>
      address !== undefined && this.#ingest.length > 0 ? { host: address.host, port } : undefined
    this.addresses = { mqtt: at(config.mqtt, ports.mqtt), ws: at(config.ws, ports.ws), kafka, http }
  }

  async #startLog(): Promise<void> {
    const { config } = this
    if (config.log !== 'embedded') {
      this.#kafka = kafkaOptions(config, instanceOf(config.data))
      this.log = await openLogSource(this.#logSource('main'))
      this.#registryWatch = setInterval(() => void this.#watchRegistry(), REGISTRY_WATCH_MS).unref()
      return
    }
    this.#logThread = await startLogThread({
      dir: path.join(config.data, 'log'),
      segmentBytes: config.logSegmentBytes,
      reserveBytes: config.logReserveBytes,
    }).catch((error: unknown) => {
      throw isMillraceError(error, 'log_corrupt') ? withRepairHint(error, config.data) : error
    })
    this.#logThread.failed.catch((error: unknown) => this.#fail(error))
    const { tornTail } = this.#logThread
    if (tornTail !== undefined)
      this.#logger.warn(
        { tornTail },
        `${tornTail.file}: ${tornTail.bytes} bytes after ${tornTail.position}${tornOffsets(tornTail)} were torn by a crash and are cut: none of it was acknowledged`,
      )
    this.log = await openLogSource(this.#logSource('main'))
    this.logStats = await this.#logThread.stats()
    this.#logWatch = setInterval(() => void this.#watchLog(), LOG_WATCH_MS).unref()
  }

  /**
   * Whether an end waits until all that the log holds is in the tables: where devices come in here too, and so nothing
   * more does. A process that only takes its share lets the others go on with it.
   */
  get #drainsAll(): boolean {
    return this.config.roles.includes('ingest')
  }

  /** For one thread, named by its role in this process. */
  #logSource(role: string): LogSource {
    if (this.#kafka !== undefined) return { kind: 'kafka', options: this.#kafka, role }
    return { kind: 'embedded', port: this.#logThread!.newPort() }
  }

  /** Takes over what others have registered at the external registry; goes on as it is while that does not answer. */
  async #mirror(): Promise<void> {
    const tell = (message: string): void => {
      if (!this.#mirrorTold.has(message)) this.#logger.warn(message)
      this.#mirrorTold.add(message)
    }
    try {
      await this.registry.mirror((subject, version, error) =>
        tell(`subject ${subject}, version ${version}, is left out: ${error.message}`),
      )
    } catch (error) {
      if (this.isDraining) return
      if (!isMillraceError(error, 'registry_unreachable')) return this.#fail(error)
      tell(`${error.message}; known schemas go on`)
    }
    if (!this.isDraining) this.#mirrorTimer = setTimeout(() => void this.#mirror(), MIRROR_MS).unref()
  }

  /** Schemas that another process has registered. */
  async #watchRegistry(): Promise<void> {
    try {
      await this.registry?.refresh()
    } catch (error) {
      if (isMillraceError(error, 'kafka_refused')) this.#fail(error)
      else if (!this.isDraining) this.#logger.warn(`schemas: ${(error as Error).message}`)
    }
  }

  /** Asks the log thread how it is. A failure of the thread ends the process by `failed`. */
  async #watchLog(): Promise<void> {
    const stats = await this.#logThread!.stats().catch(() => undefined)
    if (stats === undefined) return
    this.logStats = stats
    this.#logAnsweredAt = Date.now()
  }

  #startThread(
    name: string,
    entry: URL,
    data: unknown,
    transfer: MessagePort[],
    resourceLimits: ResourceLimits = {},
  ): StageThread {
    const thread = new StageThread(name, entry, data, transfer, resourceLimits)
    this.#threads.push(thread)
    thread.failed.catch((error: unknown) => this.#fail(error))
    thread.on('warning', (message) => this.#logger.warn({ thread: name }, String(message['message'])))
    thread.on('info', (message) => this.#logger.info({ thread: name }, String(message['message'])))
    return thread
  }

  async #startSink(): Promise<Stage<SinkCounter>> {
    const config = this.config
    const counters = new CounterBlock<SinkCounter>(SINK_COUNTERS)
    const log = this.#logSource('sink')
    const data: SinkWorkerData = {
      log,
      warehouse: warehouseConfig(config),
      streams: this.served.streams,
      rejectedSchemaId: this.#rejectedSchemaId,
      counters: counters.buffer,
      options: {
        commitAgeMs: config.sinkCommitAgeMs,
        commitBytesMax: config.sinkCommitBytes,
        maintenance: maintenanceOptions(config),
      },
      drainAll: this.#drainsAll,
      encoders: config.sinkEncoders,
    }
    const thread = this.#startThread('sink', new URL('./sink/worker.ts', import.meta.url), data, portsOf(log))
    thread.on('tables', (message) => {
      const tables = (message as unknown as Extract<SinkReport, { type: 'tables' }>).tables
      this.#parked = tables
        .filter((table) => table.state === 'parked')
        .map((table) => `table ${table.table}: ${table.error}`)
    })
    thread.on('made', () => {
      this.#tablesMade = true
    })
    thread.on('event', (message) => {
      const { event } = message as unknown as Extract<SinkReport, { type: 'event' }>
      const { level, message: text, ...facts } = event
      this.#logger[level]({ thread: 'sink', ...facts }, text)
    })
    await thread.next('ready')
    return { thread, counters }
  }

  async #startMaintenance(): Promise<Stage<MaintenanceCounter>> {
    const { config } = this
    const counters = new CounterBlock<MaintenanceCounter>(MAINTENANCE_COUNTERS)
    const data: MaintenanceWorkerData = {
      warehouse: warehouseConfig(config),
      intervalMs: config.tableMaintenanceMs,
      options: maintenanceOptions(config),
      counters: counters.buffer,
    }
    const entry = new URL('./sink/maintenance-worker.ts', import.meta.url)
    const thread = this.#startThread('maintenance', entry, data, [])
    thread.on('event', (message) => {
      const event = message['event'] as MaintenanceEvent
      this.#logger[event.level]({ thread: 'maintenance', ...event }, `${event.table}: ${event.message}`)
    })
    await thread.next('ready')
    return { thread, counters }
  }

  async #startNormalize(): Promise<Stage<NormalizeCounter>> {
    const counters = new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS)
    const log = this.#logSource('normalize')
    const data: NormalizeWorkerData = {
      log,
      streams: this.served.streams,
      rejectedSchemaId: this.#rejectedSchemaId,
      counters: counters.buffer,
      // Kafka has no references: a batch that goes on whole is sent again from what was read.
      options: { references: this.#kafka === undefined, drainAll: this.#drainsAll },
    }
    const thread = this.#startThread(
      'normalize',
      new URL('./normalize/worker.ts', import.meta.url),
      data,
      portsOf(log),
    )
    await thread.next('ready')
    return { thread, counters }
  }

  /** Starts the workers one after the other: the first binds the ports that were given as 0. */
  async #startIngest(): Promise<{ mqtt: number; ws: number }> {
    const { config, workers } = { config: this.config, workers: this.config.workers }
    const hubs = hubPorts(workers)
    const ports = { mqtt: config.mqtt?.port ?? 0, ws: config.ws?.port ?? 0 }
    for (let index = 0; index < workers; index++) {
      const counters = new CounterBlock<IngestCounter>(INGEST_COUNTERS)
      const log = this.#logSource(`ingest-${index}`)
      const data: IngestWorkerData = {
        log,
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
        streams: this.served.streams,
        rejectedSchemaId: this.#rejectedSchemaId,
        counters: counters.buffer,
      }
      const transfer = [...portsOf(log), ...hubs[index]!.filter((port) => port !== undefined)]
      const thread = this.#startThread(
        `ingest-${index}`,
        new URL('./ingest/worker.ts', import.meta.url),
        data,
        transfer,
        INGEST_RESOURCE_LIMITS,
      )
      const ready = await thread.next('ready')
      ports.mqtt = Number(ready['mqttPort'])
      ports.ws = Number(ready['wsPort'])
      this.#ingest.push({ thread, counters })
    }
    return ports
  }

  /** Starts the Kafka door; returns its port. */
  async #startKafka(address: Address): Promise<number> {
    const { config } = this
    const counters = new CounterBlock<KafkaCounter>(KAFKA_COUNTERS)
    const logPort = this.#logThread!.newPort()
    const data: KafkaWorkerData = {
      logPort,
      address,
      advertised: config.kafkaAdvertised,
      allowAnonymous: config.credentials === undefined,
      streams: this.served.streams,
      counters: counters.buffer,
    }
    const thread = this.#startThread('kafka', new URL('./kafka/worker.ts', import.meta.url), data, [logPort])
    const ready = await thread.next('ready')
    this.#door = { thread, counters }
    return Number(ready['port'])
  }

  /**
   * Tells every stage of the streams as they are now, and resolves when all have them: the sink first, so that a table
   * is there before its rows, ingest last, so that no stage meets a record that it cannot read.
   */
  #streamsChanged(): Promise<void> {
    this.#telling = this.#telling.then(async () => {
      const message: ThreadMessage = { type: 'streams', streams: this.served.streams }
      const tell = ({ thread }: { thread: StageThread }): Promise<ThreadMessage> => {
        const answer = thread.next('streams')
        thread.send(message)
        return answer
      }
      // A thread that fails meanwhile ends the process by `failed`; who registered a contract hears of it too.
      if (this.#sink) await tell(this.#sink)
      if (this.#normalize) await tell(this.#normalize)
      await Promise.all([...this.#ingest, ...(this.#door ? [this.#door] : [])].map(tell))
    })
    this.#telling.catch(() => {})
    return this.#telling
  }

  async #listenHttp(server: FastifyInstance): Promise<Address> {
    const { http } = this.config
    try {
      await server.listen({ host: http.host, port: http.port })
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code === 'EADDRINUSE')
        throw new MillraceError(
          'address_in_use',
          `--http: ${addressText(http)} is taken by another process; choose another port, or 0`,
        )
      throw new MillraceError('option_invalid', `--http: cannot listen on ${addressText(http)}: ${message}`)
    }
    return { host: http.host, port: (server.server.address() as { port: number }).port }
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
    if (this.#sink !== undefined && !this.#tablesMade) trouble.push('sink: tables are being made')
    trouble.push(...this.#journalTroubles())
    const waiting = this.#normalize?.counters.get('streams_waiting') ?? 0
    const streams = this.#normalize?.counters.get('streams_stopped') ?? 0
    if (waiting > 0) trouble.push(`normalize: ${waiting} streams wait for room in the log`)
    if (streams > 0) trouble.push(`normalize: ${streams} streams stopped`)
    return trouble
  }

  #journalTroubles(): string[] {
    const trouble: string[] = []
    if (this.logStats === undefined) return trouble
    const { freeBytes, stopped } = this.logStats
    const silentMs = Date.now() - this.#logAnsweredAt
    if (stopped) trouble.push('log: stopped by a failed write or sync')
    else if (freeBytes < this.config.logReserveBytes)
      trouble.push(
        `log: full: ${freeBytes} bytes of disk are free, --log-reserve-bytes keeps ${this.config.logReserveBytes}; nothing is accepted until space is freed`,
      )
    if (silentMs > LOG_SILENT_MS_MAX)
      trouble.push(`log: no answer for ${Math.round(silentMs / 1000)} s: a write or sync takes that long`)
    return trouble
  }

  payloadChecker(stream: StreamDescriptor): PayloadCheck {
    return new PayloadCheck(stream, this.config.mqttPacketBytesMax)
  }

  account(): Promise<Account> {
    return accountOf(this)
  }

  async tally(): Promise<{ duplicates: number; rejected: number }> {
    if (this.#normalize === undefined) return { duplicates: 0, rejected: 0 }
    const { thread } = this.#normalize
    const answer = thread.next('tally')
    thread.send({ type: 'tally' })
    const { duplicates, rejected } = await answer
    return { duplicates: Number(duplicates), rejected: Number(rejected) }
  }

  sources(): MetricSource[] {
    return [
      ...this.#ingest.map(({ counters }, i) => ({ stage: 'ingest', worker: String(i), block: counters })),
      ...(this.#normalize ? [{ stage: 'normalize', worker: '0', block: this.#normalize.counters }] : []),
      ...(this.#sink ? [{ stage: 'sink', worker: '0', block: this.#sink.counters }] : []),
      ...(this.#maintenance
        ? [{ stage: 'maintenance', worker: '0', block: this.#maintenance.counters }]
        : []),
      ...(this.#door ? [{ stage: 'kafka', worker: '0', block: this.#door.counters }] : []),
    ]
  }

  get ackLatency(): DurationMetric {
    return {
      name: 'millrace_ingest_ack_seconds',
      help: 'From the receipt of the first message of a commit to its PUBACKs',
      boundsMs: ACK_LATENCY_BOUNDS_MS,
      read: () => ({
        counts: [...ACK_LATENCY_BOUNDS_MS, 'More' as const].map((bound) =>
          this.#ingestSum(`ackLatencyMs${bound}`),
        ),
        sumMs: this.#ingestSum('ackLatencyMsSum'),
      }),
    }
  }

  async drain(): Promise<number | undefined> {
    this.isDraining = true
    const end = sleepUntil(Date.now() + DRAIN_MS_MAX)
    const stagesEnd = sleepUntil(Date.now() + STAGES_DRAIN_MS_MAX)
    const stages = [
      // Both doors first: nothing comes in any more.
      [...this.#ingest, ...(this.#door ? [this.#door] : [])].map(({ thread }) => thread),
      this.#normalize ? [this.#normalize.thread] : [],
      [this.#sink, this.#maintenance].flatMap((stage) => (stage ? [stage.thread] : [])),
    ]
    for (const threads of stages)
      await Promise.race([Promise.all(threads.map((thread) => thread.drain())), stagesEnd])
    const left = await Promise.race([recordsLeft(this), end])
    await Promise.race([this.#close(), end])
    return left
  }

  async abort(): Promise<void> {
    clearInterval(this.#logWatch)
    clearInterval(this.#registryWatch)
    clearTimeout(this.#mirrorTimer)
    await Promise.all(this.#threads.map((thread) => thread.terminate()))
    await this.log?.close().catch(() => {})
    await this.#logThread?.close().catch(() => {})
    await this.#http?.close()
    this.#folder.release()
  }

  async #close(): Promise<void> {
    clearInterval(this.#logWatch)
    clearInterval(this.#registryWatch)
    clearTimeout(this.#mirrorTimer)
    await this.#http?.close()
    await Promise.all(this.#threads.map((thread) => thread.terminate()))
    await this.log.close()
    await this.#logThread?.close()
    this.#folder.release()
  }
}

function withRepairHint(error: MillraceError, data: string): MillraceError {
  return new MillraceError(
    error.code,
    `${error.message}; \`millrace log repair --data ${data}\` keeps a copy, cuts the damage out and names what is lost`,
    error.details,
    error,
  )
}

function tornOffsets({ offsets }: TornTail): string {
  if (offsets.length === 0) return ''
  const list = offsets.map(({ topic, partition, baseOffset }) => `${topic}/${partition} from ${baseOffset}`)
  return ` (${list.join(', ')})`
}

/** The registry of `--schema-registry`; undefined where the embedded one gives the ids. */
function externalRegistry(
  config: Config,
  onWarning: (message: string) => void,
): ExternalRegistry | undefined {
  if (config.schemaRegistry === 'off') return undefined
  const { schemaRegistryCa: ca } = config
  let pem: string | undefined
  try {
    pem = ca === undefined ? undefined : fs.readFileSync(ca, 'utf8')
  } catch (error) {
    throw new MillraceError('option_invalid', `--schema-registry-ca: ${(error as Error).message}`)
  }
  return new ExternalRegistry({
    url: config.schemaRegistry,
    username: config.schemaRegistryUsername,
    password: config.schemaRegistryPassword,
    ca: pem,
    unknown: config.schemaRegistryUnknown,
    onWarning,
  })
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

function sleepUntil(time: number): Promise<undefined> {
  return new Promise((resolve) =>
    setTimeout(() => resolve(undefined), Math.max(0, time - Date.now())).unref(),
  )
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
