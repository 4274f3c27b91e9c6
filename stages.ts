// The threads of a process's stages: each started with what it needs, told of the streams, asked how it is, and drained
// in the order in which records flow. The one place that sees more than one stage.
import type { MessagePort, ResourceLimits } from 'node:worker_threads'
import type { Address, Config } from './config.ts'
import type { DurationMetric, MetricSource } from './http/metrics.ts'
import { ACK_LATENCY_BOUNDS_MS, INGEST_COUNTERS, type IngestCounter } from './ingest/counters.ts'
import { joinWorkers } from './ingest/hub.ts'
import { INGEST_RESOURCE_LIMITS } from './ingest/options.ts'
import type { IngestWorkerData } from './ingest/worker.ts'
import { KAFKA_COUNTERS, type KafkaCounter } from './kafka/counters.ts'
import type { KafkaWorkerData } from './kafka/worker.ts'
import { type LogSource, portsOf } from './log/log-source.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from './normalize/counters.ts'
import type { NormalizeWorkerData } from './normalize/worker.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import type { Status } from './services.ts'
import { maintenanceOptions } from './sink/maintenance.ts'
import { MAINTENANCE_COUNTERS, type MaintenanceCounter } from './sink/maintenance-counters.ts'
import type { MaintenanceEvent, MaintenanceWorkerData } from './sink/maintenance-worker.ts'
import { warehouseConfig } from './sink/open-warehouse.ts'
import { SINK_COUNTERS, type SinkCounter } from './sink/sink-counters.ts'
import type { SinkReport, SinkWorkerData } from './sink/worker.ts'
import { CounterBlock } from './std/counters.ts'
import type { Logger } from './std/logger.ts'
import { StageThread, type ThreadMessage } from './std/thread.ts'

export interface StagesSetting {
  config: Config
  logger: Logger
  /** The log for one thread, named by its role in this process. */
  logSource(role: string): LogSource
  /** Of the embedded log. */
  logPort(): MessagePort
  rejectedSchemaId: number
  /** As they are now. */
  streams(): StreamDescriptor[]
  /** A thread failed: the process must end. */
  onFailure(error: unknown): void
}

interface IngestDoors {
  /** Ports; 0 where it does not listen. */
  mqtt: number
  ws: number
  /** By what clients are read and written. */
  socketMeans: string
}

interface Stage<Name extends string> {
  thread: StageThread
  counters: CounterBlock<Name>
}

export class Stages {
  readonly #setting: StagesSetting
  readonly #threads: StageThread[] = []
  readonly #ingest: Stage<IngestCounter>[] = []
  #normalize: Stage<NormalizeCounter> | undefined
  #sink: Stage<SinkCounter> | undefined
  #maintenance: Stage<MaintenanceCounter> | undefined
  #door: Stage<KafkaCounter> | undefined
  #parked: string[] = []
  #tablesMade = false
  /** Changes of the streams are told one after the other. */
  #telling: Promise<void> = Promise.resolve()

  constructor(setting: StagesSetting) {
    this.#setting = setting
  }

  /** Whether clients can come in. */
  get hasDoor(): boolean {
    return this.#ingest.length > 0 || this.#door !== undefined
  }

  /**
   * Whether an end waits until all that the log holds is in the tables: where devices come in here too, and so nothing
   * more does. A process that only takes its share lets the others go on with it.
   */
  get #drainsAll(): boolean {
    return this.#setting.config.roles.includes('ingest')
  }

  #start(
    name: string,
    entry: URL,
    data: unknown,
    transfer: MessagePort[],
    resourceLimits: ResourceLimits = {},
  ): StageThread {
    const thread = new StageThread(name, entry, data, transfer, resourceLimits)
    this.#threads.push(thread)
    thread.failed.catch((error: unknown) => this.#setting.onFailure(error))
    thread.on('warning', (message) => this.#setting.logger.warn({ thread: name }, String(message['message'])))
    thread.on('info', (message) => this.#setting.logger.info({ thread: name }, String(message['message'])))
    return thread
  }

  async startSink(): Promise<void> {
    const { config } = this.#setting
    const counters = new CounterBlock<SinkCounter>(SINK_COUNTERS)
    const log = this.#setting.logSource('sink')
    const data: SinkWorkerData = {
      log,
      warehouse: warehouseConfig(config),
      streams: this.#setting.streams(),
      rejectedSchemaId: this.#setting.rejectedSchemaId,
      counters: counters.buffer,
      options: {
        commitAgeMs: config.sinkCommitAgeMs,
        commitBytesMax: config.sinkCommitBytes,
        maintenance: maintenanceOptions(config),
      },
      drainAll: this.#drainsAll,
      encoders: config.sinkEncoders,
    }
    const thread = this.#start('sink', new URL('./sink/worker.ts', import.meta.url), data, portsOf(log))
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
      this.#setting.logger[level]({ thread: 'sink', ...facts }, text)
    })
    await thread.next('ready')
    this.#sink = { thread, counters }
  }

  async startMaintenance(): Promise<void> {
    const { config } = this.#setting
    const counters = new CounterBlock<MaintenanceCounter>(MAINTENANCE_COUNTERS)
    const data: MaintenanceWorkerData = {
      warehouse: warehouseConfig(config),
      intervalMs: config.tableMaintenanceMs,
      options: maintenanceOptions(config),
      counters: counters.buffer,
    }
    const entry = new URL('./sink/maintenance-worker.ts', import.meta.url)
    const thread = this.#start('maintenance', entry, data, [])
    thread.on('event', (message) => {
      const event = message['event'] as MaintenanceEvent
      this.#setting.logger[event.level](
        { thread: 'maintenance', ...event },
        `${event.table}: ${event.message}`,
      )
    })
    await thread.next('ready')
    this.#maintenance = { thread, counters }
  }

  async startNormalize(): Promise<void> {
    const { config } = this.#setting
    const counters = new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS)
    const log = this.#setting.logSource('normalize')
    const data: NormalizeWorkerData = {
      log,
      streams: this.#setting.streams(),
      rejectedSchemaId: this.#setting.rejectedSchemaId,
      counters: counters.buffer,
      // Kafka has no references: a batch that goes on whole is sent again from what was read.
      options: { references: config.log === 'embedded', drainAll: this.#drainsAll },
    }
    const thread = this.#start(
      'normalize',
      new URL('./normalize/worker.ts', import.meta.url),
      data,
      portsOf(log),
    )
    await thread.next('ready')
    this.#normalize = { thread, counters }
  }

  /** Starts the workers one after the other: the first binds the ports that were given as 0. */
  async startIngest(): Promise<IngestDoors> {
    const { config } = this.#setting
    const { workers } = config
    const hubs = joinWorkers(workers)
    const ports = { mqtt: config.mqtt?.port ?? 0, ws: config.ws?.port ?? 0, socketMeans: '' }
    for (let index = 0; index < workers; index++) {
      const counters = new CounterBlock<IngestCounter>(INGEST_COUNTERS)
      const log = this.#setting.logSource(`ingest-${index}`)
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
          socketMode: config.sockets,
          deviceRateMax: config.deviceRateMax,
          allowAnonymous: config.credentials === undefined,
          credentialsFile: config.credentials,
        },
        streams: this.#setting.streams(),
        rejectedSchemaId: this.#setting.rejectedSchemaId,
        counters: counters.buffer,
      }
      const transfer = [...portsOf(log), ...hubs[index]!.filter((port) => port !== undefined)]
      const thread = this.#start(
        `ingest-${index}`,
        new URL('./ingest/worker.ts', import.meta.url),
        data,
        transfer,
        INGEST_RESOURCE_LIMITS,
      )
      const ready = await thread.next('ready')
      ports.mqtt = Number(ready['mqttPort'])
      ports.ws = Number(ready['wsPort'])
      ports.socketMeans = String(ready['socketMeans'])
      this.#ingest.push({ thread, counters })
    }
    return ports
  }

  /** Starts the Kafka door; returns its port. */
  async startKafka(address: Address): Promise<number> {
    const { config } = this.#setting
    const counters = new CounterBlock<KafkaCounter>(KAFKA_COUNTERS)
    const logPort = this.#setting.logPort()
    const data: KafkaWorkerData = {
      logPort,
      address,
      advertised: config.kafkaAdvertised,
      allowAnonymous: config.credentials === undefined,
      streams: this.#setting.streams(),
      counters: counters.buffer,
    }
    const thread = this.#start('kafka', new URL('./kafka/worker.ts', import.meta.url), data, [logPort])
    const ready = await thread.next('ready')
    this.#door = { thread, counters }
    return Number(ready['port'])
  }

  /**
   * Tells every stage of the streams as they are now, and resolves when all have them: the sink first, so that a table
   * is there before its rows, ingest last, so that no stage meets a record that it cannot read.
   */
  tellStreams(): Promise<void> {
    this.#telling = this.#telling.then(async () => {
      const message: ThreadMessage = { type: 'streams', streams: this.#setting.streams() }
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

  #ingestSum(...names: IngestCounter[]): number {
    let sum = 0
    for (const { counters } of this.#ingest) for (const name of names) sum += counters.get(name)
    return sum
  }

  status(): Omit<Status, 'trouble'> {
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
    }
  }

  troubles(): string[] {
    const trouble = [...this.#parked]
    if (this.#sink !== undefined && !this.#tablesMade) trouble.push('sink: tables are being made')
    const waiting = this.#normalize?.counters.get('streams_waiting') ?? 0
    const streams = this.#normalize?.counters.get('streams_stopped') ?? 0
    if (waiting > 0) trouble.push(`normalize: ${waiting} streams wait for room in the log`)
    if (streams > 0) trouble.push(`normalize: ${streams} streams stopped`)
    return trouble
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

  /** Ends the stages in order, each with what it still holds, as far as that goes until `end`. */
  async drain(end: Promise<undefined>): Promise<void> {
    const stages = [
      // Both doors first: nothing comes in any more.
      [...this.#ingest, ...(this.#door ? [this.#door] : [])].map(({ thread }) => thread),
      this.#normalize ? [this.#normalize.thread] : [],
      [this.#sink, this.#maintenance].flatMap((stage) => (stage ? [stage.thread] : [])),
    ]
    for (const threads of stages)
      await Promise.race([Promise.all(threads.map((thread) => thread.drain())), end])
  }

  /** Ends what is left at once. */
  async terminate(): Promise<void> {
    await Promise.all(this.#threads.map((thread) => thread.terminate()))
  }
}
