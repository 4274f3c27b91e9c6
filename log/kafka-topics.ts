// Topics of the log on Kafka: how they are made, and what their configuration there says of ours.
//
//   ours                   Kafka's
//   cleanup                cleanup.policy
//   retentionAgeMs         retention.ms      (Infinity: -1)
//   retentionBytes         retention.bytes   (Infinity: -1)
//   backlogBytesMax        none: kept by who made the topic
//
// Besides: min.insync.replicas one less than the copies (at least 1), so that one broker may be gone;
// message.timestamp.type CreateTime, because the timestamp of a record is its receive time; room for large batches.
import {
  createPartitionsV3,
  createTopicsV7,
  describeConfigsV4,
  incrementalAlterConfigsV1,
} from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'
import { checkTopic, topicConflict } from './batch-check.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { isRetriable, KAFKA, kafkaErrorName } from './kafka-errors.ts'
import type { Topic, TopicConfig } from './log.ts'

/** Largest batch that a topic of ours takes. */
export const BATCH_BYTES_MAX = 16 * 1024 * 1024

/** Copies of a partition where nothing is said and there are brokers enough. */
const COPIES_USUAL = 3
const TOPIC_RESOURCE = 2
const SET = 0
const ADMIN_MS_MAX = 10_000

const bound = (value: number): string => (Number.isFinite(value) ? String(value) : '-1')

function configsOf({
  cleanup,
  retentionAgeMs,
  retentionBytes,
}: TopicConfig): { name: string; value: string }[] {
  const retention =
    cleanup === 'delete'
      ? [
          { name: 'retention.ms', value: bound(retentionAgeMs) },
          { name: 'retention.bytes', value: bound(retentionBytes) },
        ]
      : []
  return [{ name: 'cleanup.policy', value: cleanup }, ...retention]
}

export class KafkaTopics {
  readonly #cluster: KafkaCluster
  /** What Kafka has no place for, of topics that were made or updated here. */
  readonly #backlogs = new Map<string, number>()

  constructor(cluster: KafkaCluster) {
    this.#cluster = cluster
  }

  /** Name on the cluster. */
  nameOf(topic: string): string {
    return this.#cluster.options.prefix + topic
  }

  async create(name: string, config: TopicConfig): Promise<Topic> {
    checkTopic(name, config)
    for (;;) {
      const found = await this.describe(name)
      if (found !== undefined) return this.#update(found, config)
      await this.#create(name, config)
      await this.#cluster.retry(`topic ${name} has no leaders`, async () => {
        await this.#cluster.refresh([this.nameOf(name)])
        const leaders = this.#cluster.knownTopic(this.nameOf(name))?.leaders ?? []
        // Every partition, or a follower of the new topic would find holes.
        for (let partition = 0; partition < config.partitions; partition++)
          if ((leaders[partition] ?? -1) < 0)
            throw Object.assign(new Error('no leader'), { code: 'ENOLEADER' })
      })
    }
  }

  async #create(name: string, config: TopicConfig): Promise<void> {
    const replication =
      this.#cluster.options.replication || Math.min(COPIES_USUAL, this.#cluster.nodes.length)
    const topic = {
      name: this.nameOf(name),
      numPartitions: config.partitions,
      replicationFactor: replication,
      assignments: [],
      configs: [
        ...configsOf(config),
        { name: 'min.insync.replicas', value: String(Math.max(1, replication - 1)) },
        { name: 'max.message.bytes', value: String(BATCH_BYTES_MAX) },
        { name: 'message.timestamp.type', value: 'CreateTime' },
      ],
    }
    await this.#cluster.onAny(`topic ${name} cannot be made`, async (connection) => {
      try {
        await createTopicsV7.api.async(connection, [topic], ADMIN_MS_MAX, false)
      } catch (error) {
        const { response } = error as {
          response?: { topics: { errorCode: number; errorMessage: string | null }[] }
        }
        const answer = response?.topics[0]
        if (answer === undefined || isRetriable(answer.errorCode)) throw error
        if (answer.errorCode === KAFKA.TOPIC_ALREADY_EXISTS) return
        const text = `Kafka: topic ${topic.name}: ${kafkaErrorName(answer.errorCode)}: ${answer.errorMessage ?? ''}`
        throw new MillraceError('kafka_refused', text, { topic: topic.name })
      }
    })
    this.#backlogs.set(name, config.backlogBytesMax)
  }

  async #update(found: Topic, config: TopicConfig): Promise<Topic> {
    const { name } = found
    if (found.config.partitions !== config.partitions || found.config.cleanup !== config.cleanup)
      throw topicConflict(name, found.config, config)
    this.#backlogs.set(name, config.backlogBytesMax)
    const changed = configsOf(config).filter((one, i) => one.value !== configsOf(found.config)[i]!.value)
    if (changed.length > 0) {
      const configs = changed.map((one) => ({ ...one, configOperation: SET as 0 }))
      const resource = { resourceType: TOPIC_RESOURCE as 2, resourceName: this.nameOf(name), configs }
      await this.#cluster.onAny(`topic ${name} cannot be changed`, (connection) =>
        incrementalAlterConfigsV1.api.async(connection, [resource], false),
      )
    }
    return { ...found, config: { ...config } }
  }

  /** Adds partitions; devices move to others by it, so the caller has seen to it that nothing is under way. */
  async addPartitions(name: string, count: number): Promise<void> {
    await this.#cluster.onAny(`topic ${name} cannot be given partitions`, (connection) =>
      createPartitionsV3.api.async(connection, [{ name: this.nameOf(name), count }], ADMIN_MS_MAX, false),
    )
    await this.#cluster.retry(`metadata of ${name}`, () => this.#cluster.refresh([this.nameOf(name)]))
  }

  async describe(name: string): Promise<Topic | undefined> {
    await this.#cluster.retry(`metadata of ${name}`, () => this.#cluster.refresh([this.nameOf(name)]))
    const metadata = this.#cluster.knownTopic(this.nameOf(name))
    if (metadata === undefined) return undefined
    const configs = await this.#configs([this.nameOf(name)])
    return this.#topicOf(name, metadata.id, metadata.leaders.length, configs.get(this.nameOf(name)))
  }

  async list(): Promise<Topic[]> {
    const { prefix } = this.#cluster.options
    const found = await this.#cluster.allTopics()
    if (found.size === 0) return []
    const configs = await this.#configs([...found.keys()])
    return [...found].map(([name, { id, leaders }]) =>
      this.#topicOf(name.slice(prefix.length), id, leaders.length, configs.get(name)),
    )
  }

  #topicOf(name: string, id: string, partitions: number, configs: Map<string, string> = new Map()): Topic {
    const number = (key: string): number => {
      const value = Number(configs.get(key) ?? -1)
      return value < 0 ? Infinity : value
    }
    const cleanup = configs.get('cleanup.policy')?.includes('compact') ? 'compact' : 'delete'
    const config: TopicConfig = {
      partitions,
      cleanup,
      retentionAgeMs: cleanup === 'compact' ? Infinity : number('retention.ms'),
      retentionBytes: number('retention.bytes'),
      backlogBytesMax: this.#backlogs.get(name) ?? Infinity,
    }
    return { name, id, config }
  }

  async #configs(names: string[]): Promise<Map<string, Map<string, string>>> {
    const configurationKeys = ['cleanup.policy', 'retention.ms', 'retention.bytes']
    const resources = names.map((resourceName) => ({
      resourceType: TOPIC_RESOURCE as 2,
      resourceName,
      configurationKeys,
    }))
    const answer = await this.#cluster.onAny('configuration of topics', (connection) =>
      describeConfigsV4.api.async(connection, resources, false, false),
    )
    return new Map(
      answer.results.map((one) => [
        one.resourceName,
        new Map(one.configs.map(({ name, value }) => [name, value ?? ''])),
      ]),
    )
  }
}
