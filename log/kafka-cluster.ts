// Brokers, connections and metadata of one Kafka cluster, as one thread sees them.
//
// A broker answers the requests of a connection one after the other, so what may wait there has a connection of its
// own, called a lane: a fetch that waits for records must not hold up an append.
import { type Connection, findCoordinatorV4, metadataV12 } from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'
import { BrokerConnection } from './kafka-connection.ts'
import { isDisturbance, KAFKA, kafkaError, kafkaErrorCode, mayRetry } from './kafka-errors.ts'
import { AnswerMemory } from './kafka-memory.ts'
import type { KafkaOptions } from './kafka-options.ts'

type MetadataResponse = metadataV12.MetadataResponse

/** `write` appends, `read` fetches what is there, `follow` waits for more, `control` all else. */
export type Lane = 'write' | 'read' | 'follow' | 'control'

export type CoordinatorKind = 'group' | 'transaction'

export interface TopicMetadata {
  /** UUID as the protocol has it. */
  id: string
  /** Node of each partition's leader, -1 while there is none. */
  leaders: number[]
}

const CONNECT_MS_MAX = 5000
/** After so long without an answer a broker counts as gone: its connection is closed, what was asked is asked again. */
const REQUEST_MS_MAX = 12_000
const RETRY_MS_MIN = 20
/** The markers of a transaction that was committed just now are on their way: the next begins in a moment. */
const MARKERS_MS_MIN = 1
const RETRY_MS_MAX = 1000
/** How long the first contact may take. */
const BOOTSTRAP_MS_MAX = 30_000

export class KafkaCluster {
  readonly options: KafkaOptions
  /** Of large answers. */
  readonly memory = new AnswerMemory()
  clusterId = ''
  /** Counts connections that ended and answers that speak of brokers that failed or leaders that moved. */
  disturbances = 0
  readonly #clientId: string
  readonly #nodes = new Map<number, { host: string; port: number }>()
  readonly #topics = new Map<string, TopicMetadata>()
  readonly #coordinators = new Map<string, number>()
  readonly #connections = new Map<string, Promise<BrokerConnection>>()
  #refreshing: Promise<void> | undefined
  #refreshedAt = 0
  #wanted = new Set<string>()
  #closed = false
  readonly #sleeping = new Set<() => void>()

  private constructor(options: KafkaOptions, clientId: string) {
    this.options = options
    this.#clientId = clientId
  }

  /** Errors: `kafka_unreachable` where no broker answers within half a minute, `kafka_refused`. */
  static async connect(options: KafkaOptions, clientId: string): Promise<KafkaCluster> {
    const cluster = new KafkaCluster(options, clientId)
    const brokers = options.brokers.map(({ host, port }) => `${host}:${port}`).join(', ')
    try {
      await cluster.retry(
        `no broker of ${brokers} answers`,
        () => cluster.#loadMetadata([]),
        options.bootstrapMsMax ?? BOOTSTRAP_MS_MAX,
      )
    } catch (error) {
      await cluster.close()
      throw error
    }
    return cluster
  }

  get isClosed(): boolean {
    return this.#closed
  }

  get nodes(): number[] {
    return [...this.#nodes.keys()]
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const wake of this.#sleeping) wake()
    const open = [...this.#connections.values()]
    this.#connections.clear()
    await Promise.all(open.map((one) => one.then((connection) => connection.close()).catch(() => {})))
  }

  throwIfClosed(): void {
    if (this.#closed) throw new MillraceError('log_stopped', 'the log is closed')
  }

  /** Ends early when the cluster is closed. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#sleeping.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, ms)
      this.#sleeping.add(wake)
    })
  }

  /**
   * Runs `attempt` until it settles otherwise than by an answer that may be tried again; for ever where `msMax` is
   * absent, because a cluster that stalls must hold its callers and not fail them. Throws errors of ours.
   */
  async retry<Result>(what: string, attempt: () => Promise<Result>, msMax = Infinity): Promise<Result> {
    const until = performance.now() + msMax
    for (let waitMs = 0; ; ) {
      this.throwIfClosed()
      try {
        return await attempt()
      } catch (error) {
        const code = kafkaErrorCode(error)
        const isMoment = code === KAFKA.CONCURRENT_TRANSACTIONS
        if (code !== undefined && isDisturbance(code)) this.disturbances++
        if (waitMs === 0) waitMs = isMoment ? MARKERS_MS_MIN : RETRY_MS_MIN
        else waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)
        if (!mayRetry(error) || performance.now() + waitMs > until) throw kafkaError(what, error)
        await this.sleep(waitMs)
      }
    }
  }

  /** An established connection to the node. Throws what the library throws. */
  async connection(node: number, lane: Lane): Promise<Connection> {
    const broker = this.#nodes.get(node)
    if (broker === undefined) throw Object.assign(new Error(`no broker ${node}`), { code: 'ENONODE' })
    return this.#connect(`${node}/${lane}`, broker)
  }

  /** A connection to any broker that answers, those known first. */
  async #anyConnection(): Promise<Connection> {
    let failure: unknown
    for (const [node, broker] of this.#nodes) {
      try {
        return await this.#connect(`${node}/control`, broker)
      } catch (error) {
        failure = error
      }
    }
    for (const broker of this.options.brokers) {
      try {
        return await this.#connect(`${broker.host}:${broker.port}`, broker)
      } catch (error) {
        failure = error
      }
    }
    throw failure
  }

  async #connect(key: string, broker: { host: string; port: number }): Promise<Connection> {
    this.throwIfClosed()
    const known = this.#connections.get(key)
    if (known !== undefined) {
      const connection = await known
      if (connection.isUsable && connection.host === broker.host && connection.port === broker.port)
        return connection.forLibrary
      if (this.#connections.get(key) === known) this.#connections.delete(key)
      connection.retire()
      return this.#connect(key, broker)
    }
    const opening = this.#open(broker)
    this.#connections.set(key, opening)
    opening.catch(() => {
      if (this.#connections.get(key) === opening) this.#connections.delete(key)
    })
    return (await opening).forLibrary
  }

  #open({ host, port }: { host: string; port: number }): Promise<BrokerConnection> {
    const { tls, sasl } = this.options
    return BrokerConnection.open(host, port, {
      tls,
      sasl,
      clientId: this.#clientId,
      connectMsMax: CONNECT_MS_MAX,
      requestMsMax: REQUEST_MS_MAX,
      memory: this.memory,
      onEnd: () => this.disturbances++,
    })
  }

  // Metadata

  /** What is known of the topic, without asking. */
  knownTopic(topic: string): TopicMetadata | undefined {
    return this.#topics.get(topic)
  }

  /** The topic by its own name on the cluster; undefined where there is none. */
  async topic(topic: string): Promise<TopicMetadata | undefined> {
    const known = this.#topics.get(topic)
    if (known !== undefined) return known
    await this.retry(`metadata of ${topic}`, () => this.#loadMetadata([topic]))
    return this.#topics.get(topic)
  }

  /** All topics of the cluster that begin with the prefix. */
  async allTopics(): Promise<Map<string, TopicMetadata>> {
    const found = new Map<string, TopicMetadata>()
    await this.retry('list of topics', async () => {
      const answer = await metadataV12.api.async(await this.#anyConnection(), null, false, false)
      this.#noteNodes(answer)
      for (const topic of answer.topics)
        if (topic.errorCode === 0 && topic.name?.startsWith(this.options.prefix))
          found.set(topic.name, this.#noteTopic(topic.name, topic))
    })
    return found
  }

  /** A leader turned out to be another, or a topic new: asks again, once for all who notice within a moment. */
  async refresh(topics: Iterable<string>): Promise<void> {
    for (const topic of topics) this.#wanted.add(topic)
    this.#refreshing ??= (async () => {
      const sinceMs = performance.now() - this.#refreshedAt
      if (sinceMs < 50) await this.sleep(50 - sinceMs)
      const wanted = [...this.#wanted]
      this.#wanted.clear()
      try {
        await this.#loadMetadata(wanted)
      } finally {
        this.#refreshing = undefined
        this.#refreshedAt = performance.now()
      }
    })()
    return this.#refreshing
  }

  forget(topic: string): void {
    this.#topics.delete(topic)
  }

  async #loadMetadata(topics: string[]): Promise<void> {
    let answer: MetadataResponse
    try {
      answer = await metadataV12.api.async(await this.#anyConnection(), topics, false, false)
    } catch (error) {
      // A topic that does not exist, or whose leaders are being elected, is an answer.
      const { response } = error as { response?: MetadataResponse }
      if (kafkaErrorCode(error) === undefined || response?.topics === undefined) throw error
      answer = response
    }
    this.#noteNodes(answer)
    for (const topic of answer.topics) {
      if (topic.name === null || topic.name === undefined) continue
      if (topic.errorCode === KAFKA.UNKNOWN_TOPIC_OR_PARTITION) this.#topics.delete(topic.name)
      else if (topic.errorCode === 0) this.#noteTopic(topic.name, topic)
      else throw new MetadataRefused(topic.name, topic.errorCode)
    }
  }

  #noteNodes({ brokers, clusterId }: MetadataResponse): void {
    this.clusterId = clusterId ?? this.clusterId
    for (const { nodeId, host, port } of brokers) this.#nodes.set(nodeId, { host, port })
  }

  #noteTopic(name: string, topic: MetadataResponse['topics'][number]): TopicMetadata {
    const leaders: number[] = []
    for (const { partitionIndex, leaderId } of topic.partitions) leaders[partitionIndex] = leaderId
    const metadata = { id: topic.topicId, leaders }
    this.#topics.set(name, metadata)
    return metadata
  }

  // Coordinators

  /** Runs `attempt` on the coordinator of the group or transactional id, found again where it has moved. */
  async onCoordinator<Result>(
    kind: CoordinatorKind,
    id: string,
    what: string,
    attempt: (connection: Connection) => Promise<Result>,
    msMax?: number,
  ): Promise<Result> {
    const key = `${kind}/${id}`
    return this.retry(
      what,
      async () => {
        try {
          const node = this.#coordinators.get(key) ?? (await this.#findCoordinator(kind, id, key))
          return await attempt(await this.connection(node, 'control'))
        } catch (error) {
          const code = kafkaErrorCode(error)
          if (code === undefined || code === 14 || code === 15 || code === KAFKA.NOT_COORDINATOR)
            this.#coordinators.delete(key)
          throw error
        }
      },
      msMax,
    )
  }

  async #findCoordinator(kind: CoordinatorKind, id: string, key: string): Promise<number> {
    const keyType = kind === 'group' ? 0 : 1
    const answer = await findCoordinatorV4.api.async(await this.#anyConnection(), keyType, [id])
    const found = answer.coordinators[0]!
    this.#nodes.set(found.nodeId, { host: found.host, port: found.port })
    this.#coordinators.set(key, found.nodeId)
    return found.nodeId
  }

  /** Runs `attempt` on any broker: for requests that every broker passes on. */
  onAny<Result>(
    what: string,
    attempt: (connection: Connection) => Promise<Result>,
    msMax?: number,
  ): Promise<Result> {
    return this.retry(what, async () => attempt(await this.#anyConnection()), msMax)
  }

  /** Runs `attempt` on the leader of a partition, found again where it has moved. Throws `topic_unknown`. */
  async onLeader<Result>(
    topic: string,
    partition: number,
    lane: Lane,
    what: string,
    attempt: (connection: Connection, topic: TopicMetadata) => Promise<Result>,
  ): Promise<Result> {
    return this.retry(what, async () => {
      const metadata = await this.topic(topic)
      const leader = metadata?.leaders[partition]
      if (metadata === undefined || leader === undefined)
        throw new MillraceError('topic_unknown', `no topic ${topic} with partition ${partition}`, {
          topic,
          partition,
        })
      try {
        return await attempt(await this.connection(leader, lane), metadata)
      } catch (error) {
        if (mayRetry(error)) await this.refresh([topic])
        throw error
      }
    })
  }
}

/** An answer about a topic that may be tried again, or refuses us. */
class MetadataRefused extends Error {
  readonly code: string
  constructor(topic: string, code: number) {
    super(`metadata of ${topic}: error ${code}`)
    this.code = `KAFKA_${code}`
  }
}
