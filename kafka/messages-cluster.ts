// Requests about the cluster: versions, who asks, brokers, topics and their settings (messages.ts).
import { api, errorMessage, NEVER, throttleTimeMs } from './message-api.ts'
import {
  array,
  bool,
  bytes,
  int8,
  int16,
  int32,
  int64,
  nullable,
  since,
  string,
  struct,
  uuid,
  within,
} from './wire.ts'

export const CLUSTER_APIS = {
  apiVersions: api(
    18,
    'ApiVersions',
    [0, 4],
    3,
    struct({ clientSoftwareName: since(3, string), clientSoftwareVersion: since(3, string) }),
    struct({
      errorCode: int16,
      apiKeys: array(struct({ apiKey: int16, minVersion: int16, maxVersion: int16 })),
      throttleTimeMs: since(1, int32),
    }),
  ),
  saslHandshake: api(
    17,
    'SaslHandshake',
    [1, 1],
    NEVER,
    struct({ mechanism: string }),
    struct({ errorCode: int16, mechanisms: array(string) }),
  ),
  saslAuthenticate: api(
    36,
    'SaslAuthenticate',
    [0, 2],
    2,
    struct({ authBytes: bytes }),
    struct({ errorCode: int16, errorMessage, authBytes: bytes, sessionLifetimeMs: since(1, int64) }),
  ),
  metadata: api(
    3,
    'Metadata',
    [1, 12],
    9,
    struct({
      topics: nullable(array(struct({ topicId: since(10, uuid), name: nullable(string) }))),
      allowAutoTopicCreation: since(4, bool),
      includeClusterAuthorizedOperations: within(8, 10, bool),
      includeTopicAuthorizedOperations: since(8, bool),
    }),
    struct({
      throttleTimeMs: since(3, int32),
      brokers: array(struct({ nodeId: int32, host: string, port: int32, rack: nullable(string) })),
      clusterId: since(2, nullable(string)),
      controllerId: int32,
      topics: array(
        struct({
          errorCode: int16,
          name: nullable(string),
          topicId: since(10, uuid),
          isInternal: bool,
          partitions: array(
            struct({
              errorCode: int16,
              partitionIndex: int32,
              leaderId: int32,
              leaderEpoch: since(7, int32),
              replicaNodes: array(int32),
              isrNodes: array(int32),
              offlineReplicas: since(5, array(int32)),
            }),
          ),
          topicAuthorizedOperations: since(8, int32),
        }),
      ),
      clusterAuthorizedOperations: within(8, 10, int32),
    }),
  ),
  describeCluster: api(
    60,
    'DescribeCluster',
    [0, 1],
    0,
    struct({ includeClusterAuthorizedOperations: bool, endpointType: since(1, int8, 1) }),
    struct({
      throttleTimeMs,
      errorCode: int16,
      errorMessage,
      endpointType: since(1, int8),
      clusterId: string,
      controllerId: int32,
      brokers: array(struct({ brokerId: int32, host: string, port: int32, rack: nullable(string) })),
      clusterAuthorizedOperations: int32,
    }),
  ),
  createTopics: api(
    19,
    'CreateTopics',
    [2, 7],
    5,
    struct({
      topics: array(
        struct({
          name: string,
          numPartitions: int32,
          replicationFactor: int16,
          assignments: array(struct({ partitionIndex: int32, brokerIds: array(int32) })),
          configs: array(struct({ name: string, value: nullable(string) })),
        }),
      ),
      timeoutMs: int32,
      validateOnly: bool,
    }),
    struct({
      throttleTimeMs,
      topics: array(
        struct({
          name: string,
          topicId: since(7, uuid),
          errorCode: int16,
          errorMessage,
          numPartitions: since(5, int32),
          replicationFactor: since(5, int16),
          configs: since(
            5,
            nullable(
              array(
                struct({
                  name: string,
                  value: nullable(string),
                  readOnly: bool,
                  configSource: int8,
                  isSensitive: bool,
                }),
              ),
            ),
          ),
        }),
      ),
    }),
  ),
  deleteTopics: api(
    20,
    'DeleteTopics',
    [1, 6],
    4,
    struct({
      topics: since(6, array(struct({ name: nullable(string), topicId: uuid }))),
      topicNames: within(0, 5, array(string)),
      timeoutMs: int32,
    }),
    struct({
      throttleTimeMs,
      responses: array(
        struct({
          name: nullable(string),
          topicId: since(6, uuid),
          errorCode: int16,
          errorMessage: since(5, errorMessage),
        }),
      ),
    }),
  ),
  createPartitions: api(
    37,
    'CreatePartitions',
    [0, 3],
    2,
    struct({
      topics: array(
        struct({
          name: string,
          count: int32,
          assignments: nullable(array(struct({ brokerIds: array(int32) }))),
        }),
      ),
      timeoutMs: int32,
      validateOnly: bool,
    }),
    struct({ throttleTimeMs, results: array(struct({ name: string, errorCode: int16, errorMessage })) }),
  ),
  describeConfigs: api(
    32,
    'DescribeConfigs',
    [1, 4],
    4,
    struct({
      resources: array(
        struct({ resourceType: int8, resourceName: string, configurationKeys: nullable(array(string)) }),
      ),
      includeSynonyms: bool,
      includeDocumentation: since(3, bool),
    }),
    struct({
      throttleTimeMs,
      results: array(
        struct({
          errorCode: int16,
          errorMessage,
          resourceType: int8,
          resourceName: string,
          configs: array(
            struct({
              name: string,
              value: nullable(string),
              readOnly: bool,
              configSource: int8,
              isSensitive: bool,
              synonyms: array(struct({ name: string, value: nullable(string), source: int8 })),
              configType: since(3, int8),
              documentation: since(3, nullable(string)),
            }),
          ),
        }),
      ),
    }),
  ),
} as const
