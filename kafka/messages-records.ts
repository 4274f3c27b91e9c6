// Requests about records: who writes them, who reads them, from where on (messages.ts).
import { api, errorMessage, throttleTimeMs } from './message-api.ts'
import {
  array,
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
  within,
} from './wire.ts'

export const RECORD_APIS = {
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
} as const
