// What the tests of ingest share: a log that can be stalled and made to fail, workers joined as main joins
// them, raw MQTT clients built on mqtt-packet (so that nothing of ours judges itself), and the records that
// came out.
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import avsc from 'avsc'
import mqttPacket, { type Packet } from 'mqtt-packet'
import type { AppendRequest, AppendResult, Log, TopicConfig } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordReader } from '../log/record-batch.ts'
import { rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import type { IngestCounter } from './counters.ts'
import { joinWorkers } from './hub.ts'
import { createIngest, type Ingest } from './ingest.ts'
import type { IngestOptions } from './options.ts'

const SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'seq', type: 'long' },
    { name: 'temperature', type: 'double' },
    { name: 'note', type: 'string' },
  ],
})
export const SCHEMA_ID = 7
const REJECTED_SCHEMA_ID = 1
const PARTITIONS = 4
const type = avsc.Type.forSchema(JSON.parse(SCHEMA))

/** A payload that fits, in Avro with the Confluent frame. */
export function payloadOf(seq: number, note = 'n'): Buffer {
  return Buffer.concat([
    Buffer.from([0, 0, 0, 0, SCHEMA_ID]),
    type.toBuffer({ seq, temperature: 20.5, note }),
  ])
}

export function streamOf(tenant: string, stream = 'telemetry'): StreamDescriptor {
  return {
    tenant,
    stream,
    family: 'sensor',
    contractVersion: 1,
    partitions: PARTITIONS,
    subject: `${tenant}.${stream}-value`,
    schemaId: SCHEMA_ID,
    schema: SCHEMA,
    writers: [{ id: SCHEMA_ID, schema: SCHEMA }],
    fields: ['seq', 'temperature', 'note'].map((name) => ({ name, nullable: false })),
    ruleSets: [],
    plausible: { pastMs: 1e12, futureMs: 1e9 },
    table: {},
  }
}

export const TOPIC: TopicConfig = {
  partitions: PARTITIONS,
  cleanup: 'delete',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

/** The log in memory, whose appends wait while it is stalled. */
export class StallingLog extends MemoryLog {
  /** Appends that have come and not been let through. */
  waiting = 0
  /** Set: appends to telemetry topics fail with it. */
  refusal: Error | undefined
  #gate: Promise<void> | undefined
  #open: (() => void) | undefined

  stall(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve
    })
  }

  goOn(): void {
    this.#open?.()
    this.#gate = undefined
  }

  override async append(request: AppendRequest): Promise<AppendResult> {
    this.waiting++
    await this.#gate
    this.waiting--
    if (this.refusal !== undefined && request.entries.some((entry) => !entry.topic.includes('._')))
      throw this.refusal
    return super.append(request)
  }
}

export interface Harness {
  log: StallingLog
  workers: Ingest[]
  /** MQTT and WebSocket ports by worker: each has its own here, so that a test chooses. */
  ports: { mqtt: number; ws: number }[]
  failures: unknown[]
  warnings: unknown[]
  /** Sum of a counter over all workers. */
  count(name: IngestCounter): number
  close(): Promise<void>
}

export interface HarnessOptions {
  workers?: number
  options?: Partial<IngestOptions>
  tenants?: string[]
}

export async function startIngest(config: HarnessOptions = {}): Promise<Harness> {
  const workerCount = config.workers ?? 1
  const log = new StallingLog()
  const streams = (config.tenants ?? ['default']).map((tenant) => streamOf(tenant))
  for (const { tenant, stream } of streams) {
    await log.createTopic(rawTopic(tenant, stream), TOPIC)
    await log.createTopic(rejectedTopic(tenant, stream), TOPIC)
  }
  const hubPorts = joinWorkers(workerCount)
  const failures: unknown[] = []
  const warnings: unknown[] = []
  const workers: Ingest[] = []
  const ports: Harness['ports'] = []
  for (let index = 0; index < workerCount; index++) {
    const worker = await createIngest({
      log,
      streams,
      rejectedSchemaId: REJECTED_SCHEMA_ID,
      options: { bytesMax: 4 << 20, packetBytesMax: 65_536, ...config.options },
      index,
      ports: hubPorts[index]!,
      onFailure: (error) => failures.push(error),
      onWarning: (error) => warnings.push(error),
    })
    const any = { host: '127.0.0.1', port: 0 }
    const { mqttPort, wsPort } = await worker.listen({ mqtt: any, ws: any })
    workers.push(worker)
    ports.push({ mqtt: mqttPort, ws: wsPort })
  }
  return {
    log,
    workers,
    ports,
    failures,
    warnings,
    count: (name) => workers.reduce((sum, worker) => sum + worker.counters.get(name), 0),
    close: async () => {
      log.goOn()
      for (const worker of workers) worker.destroy()
      await sleep(0)
      await log.close()
    },
  }
}

export interface LoggedRecord {
  key: string
  value: Buffer
  partition: number
  offset: number
}

/** All records of a topic, by partition and offset. */
export async function recordsOf(log: Log, topic: string): Promise<LoggedRecord[]> {
  const found: LoggedRecord[] = []
  const described = await log.describeTopic(topic)
  const reader = new RecordReader()
  for (let partition = 0; partition < (described?.config.partitions ?? 0); partition++) {
    const { start, end } = await log.range(topic, partition)
    for (let offset = start; offset < end; ) {
      const { batches, nextOffset } = await log.read(topic, partition, offset, 1 << 20)
      reader.reset(batches)
      while (reader.next())
        found.push({
          key: Buffer.from(reader.bytes.slice(reader.keyStart, reader.keyEnd)).toString(),
          value: Buffer.from(reader.bytes.slice(reader.valueStart, reader.valueEnd)),
          partition,
          offset: reader.offset,
        })
      offset = nextOffset
    }
  }
  return found
}

/** Waits until `condition` holds; fails after `ms`. */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  ms = 5000,
): Promise<void> {
  const limit = Date.now() + ms
  while (!(await condition())) {
    if (Date.now() > limit) throw new Error(`timed out: ${what}`)
    await sleep(5)
  }
}

/** A client that sends exactly what it is told to. */
export class RawClient {
  readonly socket: Socket
  /** Packets that came and were not taken. */
  readonly packets: Packet[] = []
  isClosed = false
  readonly #level: 4 | 5
  readonly #parser
  #news: (() => void) | undefined

  private constructor(socket: Socket, level: 4 | 5) {
    this.socket = socket
    this.#level = level
    this.#parser = mqttPacket.parser({ protocolVersion: level })
    this.#parser.on('packet', (packet) => {
      this.packets.push(packet)
      this.#news?.()
    })
    socket.on('data', (bytes: Buffer) => this.#parser.parse(bytes))
    socket.on('close', () => {
      this.isClosed = true
      this.#news?.()
    })
    socket.on('error', () => {})
  }

  /** Opens a connection without a word. */
  static async open(port: number, level: 4 | 5): Promise<RawClient> {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true })
    await once(socket, 'connect')
    return new RawClient(socket, level)
  }

  /** Opens, sends CONNECT and takes the CONNACK, which must accept. */
  static async connect(
    port: number,
    level: 4 | 5,
    clientId: string,
    more: Record<string, unknown> = {},
  ): Promise<RawClient> {
    const client = await RawClient.open(port, level)
    client.sendConnect(clientId, more)
    const connack = await client.take('connack')
    const code = level === 5 ? connack.reasonCode : connack.returnCode
    if (code !== 0) throw new Error(`CONNACK ${code}`)
    return client
  }

  sendConnect(clientId: string, more: Record<string, unknown> = {}): void {
    this.send({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: this.#level,
      clean: true,
      clientId,
      keepalive: 0,
      ...more,
    } as Packet)
  }

  send(packet: Packet): void {
    this.socket.write(mqttPacket.generate(packet, { protocolVersion: this.#level }))
  }

  publish(topic: string, payload: Buffer | string, qos: 0 | 1 | 2, messageId = 1, more = {}): void {
    this.send({
      cmd: 'publish',
      topic,
      payload,
      qos,
      messageId,
      dup: false,
      retain: false,
      ...more,
    } as Packet)
  }

  /** Sends all that `write` writes as one piece. */
  atOnce(write: () => void): void {
    this.socket.cork()
    write()
    this.socket.uncork()
  }

  // biome-ignore lint/suspicious/noExplicitAny: tests look at whatever the packet has
  async take(cmd: string, ms = 3000): Promise<any> {
    // Not by asking every few milliseconds: a round trip takes half of one.
    if (this.packets.length === 0 && !this.isClosed)
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`waited ${ms} ms for a packet ${cmd}`)), ms)
        this.#news = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    const packet = this.packets.shift()
    if (packet?.cmd !== cmd)
      throw new Error(`expected ${cmd}, got ${JSON.stringify(packet ?? 'a closed connection')}`)
    return packet
  }

  async closed(ms = 3000): Promise<void> {
    await until(() => this.isClosed, 'the connection closes', ms)
  }

  end(): void {
    this.socket.destroy()
  }
}
