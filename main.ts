// Starts a process: opens the data folder, the log thread, registry and contracts, then a thread for each part of
// each role, and HTTP last; drains in the order in which records flow. No record passes through this thread.
import fs from 'node:fs'
import path from 'node:path'
import type { FastifyInstance } from 'fastify'
import { type Address, addressText, type Config } from './config.ts'
import type { DurationMetric, MetricSource } from './http/metrics.ts'
import { type Account, createHttpServer } from './http/server.ts'
import { PayloadCheck } from './ingest/admission.ts'
import { kafkaOptions } from './kafka-config.ts'
import { type DataFolder, lockDataFolder } from './log/data-folder.ts'
import { instanceOf } from './log/instance.ts'
import type { JournalStats } from './log/journal.ts'
import type { TornTail } from './log/journal-recovery.ts'
import type { KafkaOptions } from './log/kafka-options.ts'
import type { Log } from './log/log.ts'
import { type LogThread, startLogThread } from './log/log-service.ts'
import { type LogSource, openLogSource } from './log/log-source.ts'
import { REJECTED_SUBJECT } from './schemas/names.ts'
import { SchemaRegistry } from './schemas/registry.ts'
import { ExternalRegistry } from './schemas/registry-external.ts'
import { REJECTED_SCHEMA } from './schemas/rejected.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import { accountOf, createServices, type ProcessView, recordsLeft, type Status } from './services.ts'
import { Stages } from './stages.ts'
import { isMillraceError, MillraceError } from './std/errors.ts'
import { createLogger, type Logger } from './std/logger.ts'
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

class Millrace implements Running, ProcessView {
  readonly config: Config
  readonly startedAt = Date.now()
  readonly #logger: Logger
  readonly #folder: DataFolder
  #stages: Stages | undefined
  #logThread: LogThread | undefined
  #kafka: KafkaOptions | undefined
  #logWatch: NodeJS.Timeout | undefined
  #registryWatch: NodeJS.Timeout | undefined
  #mirrorTimer: NodeJS.Timeout | undefined
  /** Versions of the external registry that cannot be taken over, and whether it answers: each said once. */
  readonly #mirrorTold = new Set<string>()
  #logAnsweredAt = Date.now()
  #http: FastifyInstance | undefined
  #fail!: (error: unknown) => void
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
    return this.config.credentials === undefined && this.#stages?.hasDoor === true
  }

  async start(): Promise<void> {
    const { config } = this
    await this.#startLog()
    const external = externalRegistry(config, (message) => this.#logger.warn(message))
    this.registry = await SchemaRegistry.open(this.log, external && { external })
    const { id: rejectedSchemaId } = await this.registry.register(REJECTED_SUBJECT, REJECTED_SCHEMA)
    this.served = await ServedStreams.open(
      config,
      this.log,
      this.registry,
      async () => this.#stages?.tellStreams(),
      (message) => this.#logger.info(message),
    )
    if (external !== undefined) this.#mirrorTimer = setTimeout(() => void this.#mirror(), MIRROR_MS).unref()

    const stages = (this.#stages = new Stages({
      config,
      logger: this.#logger,
      logSource: (role) => this.#logSource(role),
      logPort: () => this.#logThread!.newPort(),
      rejectedSchemaId,
      streams: () => this.served.streams,
      onFailure: this.#fail,
    }))
    if (config.roles.includes('sink')) await stages.startSink()
    if (config.roles.includes('sink') && config.tableMaintenanceMs > 0) await stages.startMaintenance()
    if (config.roles.includes('normalize')) await stages.startNormalize()
    const takesIn = config.roles.includes('ingest')
    const ports = takesIn ? await stages.startIngest() : { mqtt: 0, ws: 0, socketMeans: '' }
    const kafka = config.kafka && { host: config.kafka.host, port: await stages.startKafka(config.kafka) }
    this.#http = await createHttpServer(createServices(this))
    const http = await this.#listenHttp(this.#http)
    if (takesIn) this.#logger.info(`clients are served by ${ports.socketMeans}`)
    const at = (address: Address | undefined, port: number): Address | undefined =>
      address !== undefined && takesIn ? { host: address.host, port } : undefined
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

  status(): Status {
    const stages = this.#stages!
    return { ...stages.status(), trouble: [...stages.troubles(), ...this.#journalTroubles()] }
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

  tally(): Promise<{ duplicates: number; rejected: number }> {
    return this.#stages!.tally()
  }

  sources(): MetricSource[] {
    return this.#stages!.sources()
  }

  get ackLatency(): DurationMetric {
    return this.#stages!.ackLatency
  }

  async drain(): Promise<number | undefined> {
    this.isDraining = true
    const end = sleepUntil(Date.now() + DRAIN_MS_MAX)
    const stagesEnd = sleepUntil(Date.now() + STAGES_DRAIN_MS_MAX)
    await this.#stages!.drain(stagesEnd)
    const left = await Promise.race([recordsLeft(this), end])
    await Promise.race([this.#close(), end])
    return left
  }

  async abort(): Promise<void> {
    clearInterval(this.#logWatch)
    clearInterval(this.#registryWatch)
    clearTimeout(this.#mirrorTimer)
    await this.#stages?.terminate()
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
    await this.#stages?.terminate()
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
