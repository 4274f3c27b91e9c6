// What an answer of Kafka means for who asked: try again as it is, give up this request, or stop.
//
// The library throws one error for a whole response; what counts in it is the first protocol error code
// (Kafka protocol guide, "Error Codes"). Network failures and timeouts have none: they may be tried again.
import { protocolErrorsCodesById, ResponseError } from '@platformatic/kafka'
import { MillraceError } from '../std/errors.ts'

export const KAFKA = {
  NONE: 0,
  OFFSET_OUT_OF_RANGE: 1,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  MESSAGE_TOO_LARGE: 10,
  NOT_COORDINATOR: 16,
  ILLEGAL_GENERATION: 22,
  UNKNOWN_MEMBER_ID: 25,
  TOPIC_ALREADY_EXISTS: 36,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  DUPLICATE_SEQUENCE_NUMBER: 46,
  INVALID_PRODUCER_EPOCH: 47,
  INVALID_TXN_STATE: 48,
  INVALID_PRODUCER_ID_MAPPING: 49,
  CONCURRENT_TRANSACTIONS: 51,
  UNKNOWN_PRODUCER_ID: 59,
  GROUP_ID_NOT_FOUND: 69,
  PRODUCER_FENCED: 90,
  INVALID_RECORD: 87,
  UNSTABLE_OFFSET_COMMIT: 88,
  UNKNOWN_TOPIC_ID: 100,
  TRANSACTIONAL_ID_NOT_FOUND: 105,
  FENCED_MEMBER_EPOCH: 110,
  UNSUPPORTED_ASSIGNOR: 112,
  STALE_MEMBER_EPOCH: 113,
  TRANSACTION_ABORTABLE: 120,
} as const

/** Answers after which the same request may be sent again, by a newer view of the cluster where it is stale. */
const RETRIABLE = new Set([
  2, // CORRUPT_MESSAGE: damaged on its way
  3, // UNKNOWN_TOPIC_OR_PARTITION: a broker that has not heard of a new topic yet
  5, // LEADER_NOT_AVAILABLE
  6, // NOT_LEADER_OR_FOLLOWER
  7, // REQUEST_TIMED_OUT
  8, // BROKER_NOT_AVAILABLE
  9, // REPLICA_NOT_AVAILABLE
  13, // NETWORK_EXCEPTION
  14, // COORDINATOR_LOAD_IN_PROGRESS
  15, // COORDINATOR_NOT_AVAILABLE
  16, // NOT_COORDINATOR
  19, // NOT_ENOUGH_REPLICAS
  20, // NOT_ENOUGH_REPLICAS_AFTER_APPEND
  41, // NOT_CONTROLLER
  51, // CONCURRENT_TRANSACTIONS
  56, // KAFKA_STORAGE_ERROR
  74, // FENCED_LEADER_EPOCH
  75, // UNKNOWN_LEADER_EPOCH
  78, // OFFSET_NOT_AVAILABLE
  88, // UNSTABLE_OFFSET_COMMIT
  89, // THROTTLING_QUOTA_EXCEEDED
  100, // UNKNOWN_TOPIC_ID
  103, // INCONSISTENT_TOPIC_ID
])

/** Answers by which the broker refuses us, not the request: rights and credentials. */
const REFUSALS = new Set([29, 30, 31, 33, 34, 53, 58])

export const isRetriable = (code: number): boolean => RETRIABLE.has(code)

export const kafkaErrorName = (code: number): string =>
  (protocolErrorsCodesById as Record<number, string>)[code] ?? `error ${code}`

/** The first protocol error code in what the library threw; undefined for a failure of the connection. */
export function kafkaErrorCode(error: unknown): number | undefined {
  if (!(error instanceof ResponseError)) return undefined
  for (const one of error.errors) {
    const { apiCode } = one as { apiCode?: unknown }
    if (typeof apiCode === 'number') return apiCode
  }
  return undefined
}

/** Whether who caught this may do the same again. */
export function mayRetry(error: unknown): boolean {
  if (error instanceof MillraceError) return false
  const code = kafkaErrorCode(error)
  if (code !== undefined) return isRetriable(code)
  // A defect of ours is no reason to try again; everything of the library and the system is.
  return typeof (error as { code?: unknown }).code === 'string' && !isAuthentication(error)
}

function isAuthentication(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause)
    if ((at as { code?: unknown }).code === 'PLT_KFK_AUTHENTICATION' || REFUSALS.has(kafkaErrorCode(at) ?? 0))
      return true
  return false
}

/** Retriable answers that also a cluster gives that is as it should be: of topics that are new, transactions that end. */
const ORDINARY = new Set<number>([
  KAFKA.UNKNOWN_TOPIC_OR_PARTITION,
  KAFKA.CONCURRENT_TRANSACTIONS,
  KAFKA.UNSTABLE_OFFSET_COMMIT,
  89, // THROTTLING_QUOTA_EXCEEDED
  KAFKA.UNKNOWN_TOPIC_ID,
])

/** Whether the answer may come of a broker that has failed or a leader that moves. */
export const isDisturbance = (code: number): boolean => isRetriable(code) && !ORDINARY.has(code)

/** What went wrong, as an error of ours. */
export function kafkaError(what: string, error: unknown): Error {
  if (error instanceof MillraceError) return error
  const code = kafkaErrorCode(error)
  if (code !== undefined) {
    const message = `Kafka: ${what}: ${kafkaErrorName(code)}`
    return REFUSALS.has(code)
      ? new MillraceError('kafka_refused', message, {}, error)
      : new MillraceError('log_stopped', message, {}, error)
  }
  if (isAuthentication(error))
    return new MillraceError('kafka_refused', `Kafka: ${what}: ${textOf(error)}`, {}, error)
  if (!mayRetry(error)) return error as Error
  return new MillraceError('kafka_unreachable', `Kafka: ${what}: ${textOf(error)}`, {}, error)
}

function textOf(error: unknown): string {
  const texts: string[] = []
  for (let at = error; at instanceof Error; at = at.cause)
    if (at.message !== '') texts.push(at.message.replace(/\.$/, ''))
  return texts.join(': ')
}
