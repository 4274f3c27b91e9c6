// Requests of classic consumer groups: their members, and how far they have read (messages.ts).
import { api, errorMessage, throttleTimeMs } from './message-api.ts'
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
  within,
} from './wire.ts'

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

export const GROUP_APIS = {
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
  deleteGroups: api(
    42,
    'DeleteGroups',
    [0, 2],
    2,
    struct({ groupsNames: array(string) }),
    struct({ throttleTimeMs, results: array(struct({ groupId: string, errorCode: int16 })) }),
  ),
} as const
