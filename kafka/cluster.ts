// The requests about the cluster, which is one broker, and about topics, which contracts make: asked for they are
// described, to make or change them is refused with the way that leads there.
import type { Caller } from './caller.ts'
import { distinct } from './distinct.ts'
import { KAFKA_ERROR } from './error-codes.ts'
import { APIS, type ApiName, type RequestOf, type ResponseOf } from './messages.ts'
import type { PublicTopic, PublicTopics } from './public-topics.ts'

const NODE_ID = 1
const LEADER_EPOCH = 0
/** "Nothing was asked": what authorizedOperations says then. */
const OPERATIONS_UNKNOWN = -2147483648
const RESOURCE_TOPIC = 2
const RESOURCE_BROKER = 4
/** Config sources: the topic's own, the broker's default. */
const SOURCE_TOPIC = 1
const SOURCE_DEFAULT = 5
/** Config types. */
const TYPE_INT = 3
const TYPE_LONG = 5
const TYPE_STRING = 2
const NO_UUID = '00000000-0000-0000-0000-000000000000'
const KEY_TYPE_GROUP = 0

const CONTRACTS_MAKE_TOPICS =
  'topics are made from contracts: register one over HTTP (POST /v1/contracts) or put it into --contracts'

export class Cluster {
  readonly #id: string
  readonly #topics: PublicTopics

  /** `id` is the log's. */
  constructor(id: string, topics: PublicTopics) {
    this.#id = id
    this.#topics = topics
  }

  apiVersions(): ResponseOf<'apiVersions'> {
    const apiKeys = (Object.keys(APIS) as ApiName[]).map((name) => {
      const { key, min, max } = APIS[name]
      return { apiKey: key, minVersion: min, maxVersion: max }
    })
    return { errorCode: KAFKA_ERROR.none, apiKeys, throttleTimeMs: 0 }
  }

  metadata(request: RequestOf<'metadata'>, caller: Caller): ResponseOf<'metadata'> {
    const { principal } = caller
    const topics =
      request.topics === null
        ? this.#topics.visible(principal).map(describe)
        : distinct(request.topics, ({ topicId, name }) => name ?? topicId).map(({ topicId, name }) => {
            const topic =
              name === null ? this.#topics.findById(principal, topicId) : this.#topics.find(principal, name)
            if (topic !== undefined) return describe(topic)
            // Another tenant's topic, an internal one and none at all look alike.
            return {
              errorCode: name === null ? KAFKA_ERROR.unknownTopicId : KAFKA_ERROR.unknownTopicOrPartition,
              name: name ?? '',
              topicId,
              isInternal: false,
              partitions: [],
              topicAuthorizedOperations: OPERATIONS_UNKNOWN,
            }
          })
    return {
      throttleTimeMs: 0,
      brokers: [{ nodeId: NODE_ID, host: caller.host, port: caller.port, rack: null }],
      clusterId: this.#id,
      controllerId: NODE_ID,
      topics,
      clusterAuthorizedOperations: OPERATIONS_UNKNOWN,
    }
  }

  describeCluster(_: RequestOf<'describeCluster'>, caller: Caller): ResponseOf<'describeCluster'> {
    return {
      throttleTimeMs: 0,
      errorCode: KAFKA_ERROR.none,
      errorMessage: null,
      endpointType: 1,
      clusterId: this.#id,
      controllerId: NODE_ID,
      brokers: [{ brokerId: NODE_ID, host: caller.host, port: caller.port, rack: null }],
      clusterAuthorizedOperations: OPERATIONS_UNKNOWN,
    }
  }

  findCoordinator(
    request: RequestOf<'findCoordinator'>,
    caller: Caller,
    version: number,
  ): ResponseOf<'findCoordinator'> {
    const isGroup = request.keyType === KEY_TYPE_GROUP
    const errorCode = isGroup ? KAFKA_ERROR.none : KAFKA_ERROR.transactionalIdAuthorizationFailed
    const errorMessage = isGroup ? null : 'the embedded log has no transactions for clients'
    const broker = isGroup
      ? { nodeId: NODE_ID, host: caller.host, port: caller.port }
      : { nodeId: -1, host: '', port: -1 }
    const keys = version >= 4 ? request.coordinatorKeys : []
    return {
      throttleTimeMs: 0,
      errorCode,
      errorMessage,
      ...broker,
      coordinators: keys.map((key) => ({ key, ...broker, errorCode, errorMessage })),
    }
  }

  describeConfigs(request: RequestOf<'describeConfigs'>, caller: Caller): ResponseOf<'describeConfigs'> {
    const asked = distinct(request.resources, (one) => `${one.resourceType} ${one.resourceName}`)
    const results = asked.map(({ resourceType, resourceName, configurationKeys }) => {
      const topic =
        resourceType === RESOURCE_TOPIC ? this.#topics.find(caller.principal, resourceName) : undefined
      const result = { resourceType, resourceName, errorMessage: null, configs: [] }
      if (resourceType === RESOURCE_TOPIC && topic === undefined)
        return { ...result, errorCode: KAFKA_ERROR.unknownTopicOrPartition }
      if (resourceType !== RESOURCE_TOPIC && resourceType !== RESOURCE_BROKER)
        return {
          ...result,
          errorCode: KAFKA_ERROR.invalidRequest,
          errorMessage: `resources of type ${resourceType} are not known here`,
        }
      if (resourceType === RESOURCE_BROKER && resourceName !== '' && resourceName !== String(NODE_ID))
        return {
          ...result,
          errorCode: KAFKA_ERROR.invalidRequest,
          errorMessage: `broker ${resourceName} is not known: there is ${NODE_ID}`,
        }
      const configs = topic === undefined ? brokerConfigs() : topicConfigs(topic)
      return {
        ...result,
        errorCode: KAFKA_ERROR.none,
        configs: configs
          .filter(({ name }) => configurationKeys === null || configurationKeys.includes(name))
          .map(({ name, value, type }) => ({
            name,
            value,
            readOnly: true,
            configSource: topic === undefined ? SOURCE_DEFAULT : SOURCE_TOPIC,
            isSensitive: false,
            synonyms: [],
            configType: type,
            documentation: null,
          })),
      }
    })
    return { throttleTimeMs: 0, results }
  }

  createTopics({ topics }: RequestOf<'createTopics'>): ResponseOf<'createTopics'> {
    return {
      throttleTimeMs: 0,
      topics: topics.map(({ name }) => ({
        name,
        topicId: NO_UUID,
        errorCode: KAFKA_ERROR.policyViolation,
        errorMessage: CONTRACTS_MAKE_TOPICS,
        numPartitions: -1,
        replicationFactor: -1,
        configs: null,
      })),
    }
  }

  deleteTopics(request: RequestOf<'deleteTopics'>, version: number): ResponseOf<'deleteTopics'> {
    const named = request.topicNames.map((name) => ({ name, topicId: NO_UUID }))
    return {
      throttleTimeMs: 0,
      responses: (version >= 6 ? request.topics : named).map(({ name, topicId }) => ({
        name: name ?? (version >= 6 ? null : ''),
        topicId,
        errorCode: KAFKA_ERROR.policyViolation,
        errorMessage: CONTRACTS_MAKE_TOPICS,
      })),
    }
  }

  createPartitions({ topics }: RequestOf<'createPartitions'>): ResponseOf<'createPartitions'> {
    return {
      throttleTimeMs: 0,
      results: topics.map(({ name }) => ({
        name,
        errorCode: KAFKA_ERROR.policyViolation,
        errorMessage: 'the number of partitions is fixed when a stream is made: devices keep their partition',
      })),
    }
  }
}

function describe(topic: PublicTopic): ResponseOf<'metadata'>['topics'][number] {
  return {
    errorCode: KAFKA_ERROR.none,
    name: topic.name,
    topicId: topic.id,
    isInternal: false,
    partitions: Array.from({ length: topic.partitions }, (_, partitionIndex) => ({
      errorCode: KAFKA_ERROR.none,
      partitionIndex,
      leaderId: NODE_ID,
      leaderEpoch: LEADER_EPOCH,
      replicaNodes: [NODE_ID],
      isrNodes: [NODE_ID],
      offlineReplicas: [],
    })),
    topicAuthorizedOperations: OPERATIONS_UNKNOWN,
  }
}

interface ConfigEntry {
  name: string
  value: string
  type: number
}

/** Kafka writes "no limit" as -1. */
const limitText = (value: number): string => (Number.isSafeInteger(value) ? String(value) : '-1')

function topicConfigs({ config }: PublicTopic): ConfigEntry[] {
  return [
    { name: 'cleanup.policy', value: config.cleanup, type: TYPE_STRING },
    { name: 'retention.ms', value: limitText(config.retentionAgeMs), type: TYPE_LONG },
    { name: 'retention.bytes', value: limitText(config.retentionBytes), type: TYPE_LONG },
    { name: 'compression.type', value: 'uncompressed', type: TYPE_STRING },
    { name: 'message.timestamp.type', value: 'LogAppendTime', type: TYPE_STRING },
    { name: 'min.insync.replicas', value: '1', type: TYPE_INT },
  ]
}

function brokerConfigs(): ConfigEntry[] {
  return [
    { name: 'auto.create.topics.enable', value: 'false', type: TYPE_STRING },
    { name: 'compression.type', value: 'uncompressed', type: TYPE_STRING },
    { name: 'log.message.timestamp.type', value: 'LogAppendTime', type: TYPE_STRING },
  ]
}
