// The Kafka door: a listener over the embedded log and the registry's schemas, so that any Kafka client reads a stream's
// topics, and with permission writes its raw topic, as it would a cluster's. worker.ts runs it in a thread; tests run
// it in theirs. The log is its only connection to the stages.
import net from 'node:net'
import type { IdentityProvider, Principal } from '../identity/identity.ts'
import { ANONYMOUS_TENANT } from '../identity/identity.ts'
import { TopicIdentity } from '../identity/identity-topic.ts'
import type { Log } from '../log/log.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { Budget } from './budget.ts'
import type { Caller } from './caller.ts'
import { Cluster } from './cluster.ts'
import { Connection, type ConnectionHost } from './connection.ts'
import { KAFKA_COUNTERS, type KafkaCounter } from './counters.ts'
import { Fetcher } from './fetch.ts'
import { Groups } from './group-api.ts'
import { GroupOffsets } from './group-offsets.ts'
import { listOffsets } from './list-offsets.ts'
import type { ApiName, RequestOf, ResponseOf } from './messages.ts'
import { PartitionEnds } from './partition-ends.ts'
import { ProduceHandler } from './produce.ts'
import { Producers } from './producers.ts'
import { PublicTopics } from './public-topics.ts'

const CONNECTIONS_MAX = 1000
/** Of requests that are being received, beyond the first 64 KiB of each, over all connections. */
const REQUESTS_BYTES_MAX = 128 << 20
/** Of answers that wait for their clients, but for the batches in them (fetch.ts bounds those), over all connections. */
const ANSWERS_BYTES_MAX = 128 << 20
/** Of either, of one tenant. */
const TENANT_BYTES_MAX = 96 << 20
/** Reasons that are written to the log in one second; others are counted. */
const WARNINGS_PER_SECOND_MAX = 10
const EXPIRE_MS = 3_600_000

/** Clients without credentials, from this machine only: the whole of the default tenant. */
const ANONYMOUS: Principal = {
  tenant: ANONYMOUS_TENANT,
  kind: 'gateway',
  id: 'anonymous',
  family: '',
  credentialId: '',
  ownershipEpoch: 0,
  devices: ['*'],
  publish: undefined,
  subscribe: ['#'],
}

export interface KafkaDoorOptions {
  log: Log
  streams: readonly StreamDescriptor[]
  address: { host: string; port: number }
  /** What Metadata tells clients; undefined: the address by which each has come. */
  advertised: { host: string; port: number } | undefined
  allowAnonymous: boolean
  /** KAFKA_COUNTERS. */
  counters?: SharedArrayBuffer
  /** The door must end. */
  onFailure: (error: unknown) => void
  onWarning: (message: string) => void
}

type Handlers = {
  [Name in Exclude<ApiName, 'saslHandshake' | 'saslAuthenticate'>]: (
    request: RequestOf<Name>,
    caller: Caller,
    version: number,
  ) => ResponseOf<Name> | Promise<ResponseOf<Name>>
}

export class KafkaDoor implements ConnectionHost {
  readonly advertised: { host: string; port: number } | undefined
  readonly identity: IdentityProvider
  readonly requests = new Budget(REQUESTS_BYTES_MAX, TENANT_BYTES_MAX)
  readonly answers = new Budget(ANSWERS_BYTES_MAX, TENANT_BYTES_MAX)
  readonly #counters: CounterBlock<KafkaCounter>
  readonly #options: KafkaDoorOptions
  readonly #topics: PublicTopics
  readonly #ends: PartitionEnds
  readonly #fetcher: Fetcher
  readonly #producing: ProduceHandler
  readonly #groups: Groups
  readonly #server: net.Server
  readonly #connections = new Set<Connection>()
  readonly #handlers: Handlers
  readonly #expireTimer: NodeJS.Timeout
  #warningsSecond = 0
  #warnings = 0
  #isClosed = false

  private constructor(
    options: KafkaDoorOptions,
    identity: IdentityProvider,
    topics: PublicTopics,
    offsets: GroupOffsets,
    producers: Producers,
  ) {
    const { log } = options
    this.#options = options
    this.identity = identity
    this.advertised = options.advertised
    this.#counters = new CounterBlock(KAFKA_COUNTERS, options.counters)
    this.#topics = topics
    this.#ends = new PartitionEnds(log)
    this.#fetcher = new Fetcher(log, topics, this.#ends)
    this.#producing = new ProduceHandler(log, topics, producers)
    const fail = (error: unknown): void => this.#fail(error)
    this.#groups = new Groups(topics, offsets, fail)
    this.#expireTimer = setInterval(() => void producers.expire(Date.now()).catch(fail), EXPIRE_MS)
    const cluster = new Cluster(log.id, topics)
    const groups = this.#groups
    this.#handlers = {
      produce: (request, caller) => this.#producing.produce(request, caller),
      fetch: (request, caller, version) => this.#fetcher.fetch(request, caller, version),
      listOffsets: (request, caller) => listOffsets(log, topics, request, caller),
      metadata: (request, caller) => cluster.metadata(request, caller),
      offsetCommit: (request, caller) => groups.offsetCommit(request, caller),
      offsetFetch: (request, caller, version) => groups.offsetFetch(request, caller, version),
      findCoordinator: (request, caller, version) => cluster.findCoordinator(request, caller, version),
      joinGroup: (request, caller, version) => groups.joinGroup(request, caller, version),
      heartbeat: (request, caller) => groups.heartbeat(request, caller),
      leaveGroup: (request, caller, version) => groups.leaveGroup(request, caller, version),
      syncGroup: (request, caller) => groups.syncGroup(request, caller),
      describeGroups: (request, caller) => groups.describeGroups(request, caller),
      listGroups: (request, caller) => groups.listGroups(request, caller),
      apiVersions: () => cluster.apiVersions(),
      createTopics: (request) => cluster.createTopics(request),
      deleteTopics: (request, _, version) => cluster.deleteTopics(request, version),
      initProducerId: (request) => this.#producing.initProducerId(request),
      describeConfigs: (request, caller) => cluster.describeConfigs(request, caller),
      createPartitions: (request) => cluster.createPartitions(request),
      deleteGroups: (request, caller) => groups.deleteGroups(request, caller),
      describeCluster: (request, caller) => cluster.describeCluster(request, caller),
    }
    identity.onRevoked = (credentialId) => {
      for (const connection of [...this.#connections])
        if (connection.credentialId === credentialId) connection.close('its credential was removed')
    }
    this.#server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket))
  }

  /** Reads what is remembered and listens. Errors: address_in_use, option_invalid, and the log's. */
  static async open(options: KafkaDoorOptions): Promise<KafkaDoor> {
    const { log, allowAnonymous } = options
    const onError = (error: unknown): void => options.onWarning(`credentials: ${(error as Error).message}`)
    const identity = await TopicIdentity.open(log, { allowAnonymous, onError })
    const topics = new PublicTopics(log)
    await topics.setStreams(options.streams)
    const door = new KafkaDoor(
      options,
      identity,
      topics,
      await GroupOffsets.open(log),
      await Producers.open(log),
    )
    door.#ends.follow().catch((error: unknown) => door.#fail(error))
    try {
      await door.#listen()
    } catch (error) {
      await door.close()
      throw error
    }
    return door
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port
  }

  setStreams(streams: readonly StreamDescriptor[]): Promise<void> {
    return this.#topics.setStreams(streams)
  }

  /** Ends all connections. What was answered is durable; who was not answered asks again. */
  async close(): Promise<void> {
    this.#isClosed = true
    clearInterval(this.#expireTimer)
    this.#groups.close()
    this.#ends.close()
    this.identity.close()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of [...this.#connections]) connection.close(undefined)
    await closed
  }

  #listen(): Promise<void> {
    const { host, port } = this.#options.address
    return new Promise((resolve, reject) => {
      this.#server.once('error', (error: NodeJS.ErrnoException) => {
        const where = `--kafka: ${host}:${port}`
        reject(
          error.code === 'EADDRINUSE'
            ? new MillraceError(
                'address_in_use',
                `${where} is taken by another process; choose another port, or 0`,
              )
            : new MillraceError('option_invalid', `${where} cannot be listened on: ${error.message}`),
        )
      })
      this.#server.listen({ host, port }, resolve)
    })
  }

  #accept(socket: net.Socket): void {
    // Whoever has shown no credentials yet makes room, the oldest first: so they cannot keep out those who have some.
    if (this.#connections.size >= CONNECTIONS_MAX)
      this.#connections
        .values()
        .find((one) => !one.isKnown)
        ?.close('it made room for another')
    if (this.#connections.size >= CONNECTIONS_MAX) {
      this.#counters.add('connectionsRefused', 1)
      this.#warn(`a connection was refused: ${CONNECTIONS_MAX} are open`)
      socket.destroy()
      return
    }
    this.#connections.add(new Connection(socket, this))
    this.#counters.set('connections', this.#connections.size)
  }

  #fail(error: unknown): void {
    if (!this.#isClosed) this.#options.onFailure(error)
  }

  #warn(message: string): void {
    const second = Math.floor(Date.now() / 1000)
    if (second !== this.#warningsSecond) {
      this.#warningsSecond = second
      this.#warnings = 0
    }
    if (this.#warnings++ < WARNINGS_PER_SECOND_MAX) this.#options.onWarning(message)
  }

  // For connections

  anonymous(isLoopback: boolean): Principal | undefined {
    return this.#options.allowAnonymous && isLoopback ? ANONYMOUS : undefined
  }

  async handle(api: ApiName, request: never, caller: Caller, version: number): Promise<unknown> {
    return this.#handlers[api as keyof Handlers](request, caller, version)
  }

  failed(error: unknown): void {
    // What the log refuses once (a topic that is gone) costs its client the connection; a log that has stopped, and a
    // defect, end the process.
    if (!isMillraceError(error) || error.action === 'stop') this.#fail(error)
  }

  countRequest(bytesIn: number, bytesOut: number): void {
    this.#counters.add('requests', 1)
    this.#counters.add('bytesIn', bytesIn)
    this.#counters.add('bytesOut', bytesOut)
    this.#counters.set('recordsProduced', this.#producing.records)
    this.#counters.set('batchesRefused', this.#producing.refused)
  }

  closed(connection: Connection, reason: string | undefined): void {
    this.#connections.delete(connection)
    this.#counters.set('connections', this.#connections.size)
    if (reason === undefined || this.#isClosed) return
    this.#counters.add('connectionsRefused', 1)
    this.#warn(`Kafka connection of ${connection.name} closed: ${reason}`)
  }
}
