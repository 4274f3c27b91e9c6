// Every request that the door answers, with the versions it knows: Kafka protocol guide, "The Messages"
// (https://kafka.apache.org/protocol). A version is listed when all that it adds is understood; clients choose the
// highest that both know. What is absent here is answered by ApiVersions' silence: no transactions, no
// consumer groups of KIP-848, no ACLs, no quotas.
import {
  array,
  bool,
  bytes,
  int8,
  int16,
  int32,
  int64,
  nullable,
  records,
  since,
  string,
  struct,
  tagged,
  uuid,
  type ValueOf,
  type WireType,
  within,
} from './wire.ts'

interface Api<Request, Response> {
  readonly key: number
  readonly name: string
  readonly min: number
  readonly max: number
  /** First flexible version. */
  readonly flexible: number
  readonly request: WireType<Request>
  readonly response: WireType<Response>
}

const api = <Request, Response>(
  key: number,
  name: string,
  [min, max]: [number, number],
  flexible: number,
  request: WireType<Request>,
  response: WireType<Response>,
): Api<Request, Response> => ({ key, name, min, max, flexible, request, response })

const NEVER = Number.POSITIVE_INFINITY
const throttleTimeMs = int32
const errorMessage = nullable(string)

const topicsOfOffsets = array(struct({ name: string, partitionIndexes: array(int32) }))
const fetchedOffsets = array(
  struct({
    name: string,
    partitions: array(
      struct({
        partitionIndex: int32,
        committedOffset: int64,
        committedLeaderEpoch: since(5, int32),
        metadata: nullable(string),
        errorCode: int16,
      }),
    ),
  }),
)

export const APIS = {
  produce: api(
    0,
    'Produce',
    [3, 11],
    9,
    struct({
      transactionalId: nullable(string),
      acks: int16,
      timeoutMs: int32,
      topics: array(
        struct({ name: string, partitions: array(struct({ index: int32, records: nullable(bytes) })) }),
      ),
    }),
    struct({
      responses: array(
        struct({
          name: string,
          partitionResponses: array(
            struct({
              index: int32,
              errorCode: int16,
              baseOffset: int64,
              logAppendTimeMs: int64,
              logStartOffset: since(5, int64),
              recordErrors: since(
                8,
                array(struct({ batchIndex: int32, batchIndexErrorMessage: errorMessage })),
              ),
              errorMessage: since(8, errorMessage),
            }),
          ),
        }),
      ),
      throttleTimeMs,
    }),
  ),
  fetch: api(
    1,
    'Fetch',
    [4, 17],
    12,
    struct({
      clusterId: tagged(0, 12, nullable(string)),
      replicaId: within(0, 14, int32),
      maxWaitMs: int32,
      minBytes: int32,
      maxBytes: int32,
      isolationLevel: int8,
      sessionId: since(7, int32),
      sessionEpoch: since(7, int32, -1),
      topics: array(
        struct({
          topic: within(0, 12, string),
          topicId: since(13, uuid),
          partitions: array(
            struct({
              partition: int32,
              currentLeaderEpoch: since(9, int32),
              fetchOffset: int64,
              lastFetchedEpoch: since(12, int32),
              logStartOffset: since(5, int64),
              partitionMaxBytes: int32,
            }),
          ),
        }),
      ),
      forgottenTopicsData: since(
        7,
        array(struct({ topic: within(0, 12, string), topicId: since(13, uuid), partitions: array(int32) })),
      ),
      rackId: since(11, string),
    }),
    struct({
      throttleTimeMs,
      errorCode: since(7, int16),
      sessionId: since(7, int32),
      responses: array(
        struct({
          topic: within(0, 12, string),
          topicId: since(13, uuid),
          partitions: array(
            struct({
              partitionIndex: int32,
              errorCode: int16,
              highWatermark: int64,
              lastStableOffset: int64,
              logStartOffset: since(5, int64),
              abortedTransactions: nullable(array(struct({ producerId: int64, firstOffset: int64 }))),
              preferredReadReplica: since(11, int32),
              records,
            }),
          ),
        }),
      ),
    }),
  ),
  listOffsets: api(
    2,
    'ListOffsets',
    [1, 7],
    6,
    struct({
      replicaId: int32,
      isolationLevel: since(2, int8),
      topics: array(
        struct({
          name: string,
          partitions: array(
            struct({ partitionIndex: int32, currentLeaderEpoch: since(4, int32), timestamp: int64 }),
          ),
        }),
      ),
    }),
    struct({
      throttleTimeMs: since(2, int32),
      topics: array(
        struct({
          name: string,
          partitions: array(
            struct({
              partitionIndex: int32,
              errorCode: int16,
              timestamp: int64,
              offset: int64,
              leaderEpoch: since(4, int32),
            }),
          ),
        }),
      ),
    }),
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
  offsetCommit: api(
    8,
    'OffsetCommit',
    [2, 9],
    8,
    struct({
      groupId: string,
      generationId: int32,
      memberId: string,
      groupInstanceId: since(7, nullable(string)),
      retentionTimeMs: within(2, 4, int64),
      topics: array(
        struct({
          name: string,
          partitions: array(
            struct({
              partitionIndex: int32,
              committedOffset: int64,
              committedLeaderEpoch: since(6, int32, -1),
              committedMetadata: nullable(string),
            }),
          ),
        }),
      ),
    }),
    struct({
      throttleTimeMs: since(3, int32),
      topics: array(
        struct({ name: string, partitions: array(struct({ partitionIndex: int32, errorCode: int16 })) }),
      ),
    }),
  ),
  offsetFetch: api(
    9,
    'OffsetFetch',
    [1, 9],
    6,
    struct({
      groupId: within(0, 7, string),
      topics: within(0, 7, nullable(topicsOfOffsets)),
      groups: since(
        8,
        array(
          struct({
            groupId: string,
            memberId: since(9, nullable(string)),
            memberEpoch: since(9, int32),
            topics: nullable(topicsOfOffsets),
          }),
        ),
      ),
      requireStable: since(7, bool),
    }),
    struct({
      throttleTimeMs: since(3, int32),
      topics: within(0, 7, fetchedOffsets),
      errorCode: within(2, 7, int16),
      groups: since(8, array(struct({ groupId: string, topics: fetchedOffsets, errorCode: int16 }))),
    }),
  ),
  findCoordinator: api(
    10,
    'FindCoordinator',
    [0, 6],
    3,
    struct({
      key: within(0, 3, string),
      keyType: since(1, int8),
      coordinatorKeys: since(4, array(string)),
    }),
    struct({
      throttleTimeMs: since(1, int32),
      errorCode: within(0, 3, int16),
      errorMessage: within(1, 3, errorMessage),
      nodeId: within(0, 3, int32),
      host: within(0, 3, string),
      port: within(0, 3, int32),
      coordinators: since(
        4,
        array(
          struct({ key: string, nodeId: int32, host: string, port: int32, errorCode: int16, errorMessage }),
        ),
      ),
    }),
  ),
  joinGroup: api(
    11,
    'JoinGroup',
    [2, 9],
    6,
    struct({
      groupId: string,
      sessionTimeoutMs: int32,
      rebalanceTimeoutMs: int32,
      memberId: string,
      groupInstanceId: since(5, nullable(string)),
      protocolType: string,
      protocols: array(struct({ name: string, metadata: bytes })),
      reason: since(8, nullable(string)),
    }),
    struct({
      throttleTimeMs,
      errorCode: int16,
      generationId: int32,
      protocolType: since(7, nullable(string)),
      protocolName: nullable(string),
      leader: string,
      skipAssignment: since(9, bool),
      memberId: string,
      members: array(
        struct({ memberId: string, groupInstanceId: since(5, nullable(string)), metadata: bytes }),
      ),
    }),
  ),
  heartbeat: api(
    12,
    'Heartbeat',
    [0, 4],
    4,
    struct({
      groupId: string,
      generationId: int32,
      memberId: string,
      groupInstanceId: since(3, nullable(string)),
    }),
    struct({ throttleTimeMs: since(1, int32), errorCode: int16 }),
  ),
  leaveGroup: api(
    13,
    'LeaveGroup',
    [0, 5],
    4,
    struct({
      groupId: string,
      memberId: within(0, 2, string),
      members: since(
        3,
        array(
          struct({ memberId: string, groupInstanceId: nullable(string), reason: since(5, nullable(string)) }),
        ),
      ),
    }),
    struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      members: since(
        3,
        array(struct({ memberId: string, groupInstanceId: nullable(string), errorCode: int16 })),
      ),
    }),
  ),
  syncGroup: api(
    14,
    'SyncGroup',
    [0, 5],
    4,
    struct({
      groupId: string,
      generationId: int32,
      memberId: string,
      groupInstanceId: since(3, nullable(string)),
      protocolType: since(5, nullable(string)),
      protocolName: since(5, nullable(string)),
      assignments: array(struct({ memberId: string, assignment: bytes })),
    }),
    struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      protocolType: since(5, nullable(string)),
      protocolName: since(5, nullable(string)),
      assignment: bytes,
    }),
  ),
  describeGroups: api(
    15,
    'DescribeGroups',
    [0, 5],
    5,
    struct({ groups: array(string), includeAuthorizedOperations: since(3, bool) }),
    struct({
      throttleTimeMs: since(1, int32),
      groups: array(
        struct({
          errorCode: int16,
          groupId: string,
          groupState: string,
          protocolType: string,
          protocolData: string,
          members: array(
            struct({
              memberId: string,
              groupInstanceId: since(4, nullable(string)),
              clientId: string,
              clientHost: string,
              memberMetadata: bytes,
              memberAssignment: bytes,
            }),
          ),
          authorizedOperations: since(3, int32),
        }),
      ),
    }),
  ),
  listGroups: api(
    16,
    'ListGroups',
    [0, 5],
    3,
    struct({ statesFilter: since(4, array(string)), typesFilter: since(5, array(string)) }),
    struct({
      throttleTimeMs: since(1, int32),
      errorCode: int16,
      groups: array(
        struct({
          groupId: string,
          protocolType: string,
          groupState: since(4, string),
          groupType: since(5, string),
        }),
      ),
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
  initProducerId: api(
    22,
    'InitProducerId',
    [0, 5],
    2,
    struct({
      transactionalId: nullable(string),
      transactionTimeoutMs: int32,
      producerId: since(3, int64, -1),
      producerEpoch: since(3, int16, -1),
    }),
    struct({ throttleTimeMs, errorCode: int16, producerId: int64, producerEpoch: int16 }),
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
  saslAuthenticate: api(
    36,
    'SaslAuthenticate',
    [0, 2],
    2,
    struct({ authBytes: bytes }),
    struct({ errorCode: int16, errorMessage, authBytes: bytes, sessionLifetimeMs: since(1, int64) }),
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
  deleteGroups: api(
    42,
    'DeleteGroups',
    [0, 2],
    2,
    struct({ groupsNames: array(string) }),
    struct({ throttleTimeMs, results: array(struct({ groupId: string, errorCode: int16 })) }),
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
} as const

export type ApiName = keyof typeof APIS
export type RequestOf<Name extends ApiName> = ValueOf<(typeof APIS)[Name]['request']>
export type ResponseOf<Name extends ApiName> = ValueOf<(typeof APIS)[Name]['response']>

export const API_BY_KEY: ReadonlyMap<number, ApiName> = new Map(
  (Object.keys(APIS) as ApiName[]).map((name) => [APIS[name].key, name]),
)
