// Fetch: stored batches as they lie in the log, whole ones, the first perhaps beginning before the offset asked for.
// An answer waits until it holds `minBytes`, has no room for all that there is, a partition has an error, or `maxWaitMs`
// is over. Fetch sessions (KIP-227) are not kept: the answer's session id is 0, which tells the client so.
import type { Log } from '../log/log.ts'
import { isMillraceError } from '../std/errors.ts'
import { Budget } from './budget.ts'
import type { Caller } from './caller.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'
import { FetchReads, type Piece } from './fetch-reads.ts'
import type { RequestOf, ResponseOf } from './messages.ts'
import { type PartitionEnds, partitionKey } from './partition-ends.ts'
import { mayRead, type PublicTopic, type PublicTopics } from './public-topics.ts'

/** Bytes of one answer, whatever the client asks for, but for a batch that is larger. */
const RESPONSE_BYTES_MAX = 8 << 20
/** Of all answers that are not yet sent, and of one tenant's: above it each has at most so much, and no larger batch. */
const RESPONSES_BYTES_MAX = 128 << 20
const RESPONSES_BYTES_PER_TENANT_MAX = 96 << 20
const RESPONSE_BYTES_MIN = 64 << 10
const WAIT_MS_MAX = 60_000
/** A fetch that waits for more than one byte looks again at most this often. */
const GATHER_MS = 10

type Request = RequestOf<'fetch'>
type Response = ResponseOf<'fetch'>
type Topic = Request['topics'][number]
type Partition = Topic['partitions'][number]
type PartitionData = Response['responses'][number]['partitions'][number]

const EMPTY = new Uint8Array(0)

/** What an answer is made of. */
interface Gathered {
  readonly bytesMax: number
  readonly pieces: Piece[]
  bytes: number
  /** It will not grow by waiting: there is more than it takes, or there is an error to tell. */
  isFinal: boolean
}

export class Fetcher {
  readonly #log: Log
  readonly #topics: PublicTopics
  readonly #ends: PartitionEnds
  readonly #reads: FetchReads
  /** Of answers that are being made, or not yet sent. */
  readonly #unsent = new Budget(RESPONSES_BYTES_MAX, RESPONSES_BYTES_PER_TENANT_MAX)

  constructor(log: Log, topics: PublicTopics, ends: PartitionEnds) {
    this.#log = log
    this.#topics = topics
    this.#ends = ends
    this.#reads = new FetchReads(log)
  }

  async fetch(request: Request, caller: Caller, version: number): Promise<Response> {
    const answer = (errorCode: KafkaError, responses: Response['responses']): Response => ({
      throttleTimeMs: 0,
      errorCode,
      sessionId: 0,
      responses,
    })
    if (request.sessionId !== 0) return answer(KAFKA_ERROR.fetchSessionIdNotFound, [])
    const deadline = Date.now() + Math.min(Math.max(request.maxWaitMs, 0), WAIT_MS_MAX)
    const keys = this.#keysOf(request, caller, version)
    let pieces: readonly Piece[] = []
    caller.whenSent(() => {
      this.#release(pieces, caller)
      for (const piece of pieces)
        if (piece.nextOffset < this.#ends.end(piece.topic, piece.partition))
          this.#reads.readAhead(caller.closed, piece)
    })
    for (;;) {
      this.#release(pieces, caller)
      const into = this.#nothing(request, caller)
      pieces = into.pieces
      const seen = this.#ends.sumOf(keys)
      const responses = await this.#collect(request, caller, version, into)
      const waitMs = deadline - Date.now()
      if (into.bytes >= request.minBytes || into.isFinal || waitMs <= 0 || caller.closed.aborted)
        return answer(KAFKA_ERROR.none, responses)
      if (into.bytes > 0) await this.#ends.wait([], 0, Math.min(waitMs, GATHER_MS), caller.closed)
      await this.#ends.wait(keys, seen, deadline - Date.now(), caller.closed)
    }
  }

  #release(pieces: readonly Piece[], { principal }: Caller): void {
    for (const piece of pieces) {
      this.#unsent.give(piece.batches.length, principal.tenant)
      this.#reads.release(piece)
    }
  }

  #find(topic: Topic, caller: Caller, version: number): PublicTopic | undefined {
    return version >= 13
      ? this.#topics.findById(caller.principal, topic.topicId)
      : this.#topics.find(caller.principal, topic.topic)
  }

  /** The partitions that are asked for, as far as there are such. */
  #keysOf(request: Request, caller: Caller, version: number): ReadonlySet<string> {
    const keys = new Set<string>()
    for (const topic of request.topics) {
      const found = this.#find(topic, caller, version)
      for (const { partition } of found === undefined ? [] : topic.partitions)
        if (partition >= 0 && partition < found!.partitions) keys.add(partitionKey(found!.name, partition))
    }
    return keys
  }

  #nothing(request: Request, { principal }: Caller): Gathered {
    const room = Math.max(RESPONSE_BYTES_MIN, this.#unsent.left(principal.tenant))
    const bytesMax = Math.min(Math.max(request.maxBytes, 1), RESPONSE_BYTES_MAX, room)
    return { bytesMax, pieces: [], bytes: 0, isFinal: false }
  }

  async #collect(
    request: Request,
    caller: Caller,
    version: number,
    into: Gathered,
  ): Promise<Response['responses']> {
    const responses: Response['responses'] = []
    // Of a partition that is named again only the first is read: what a request costs is bounded by what there is.
    const asked = new Set<string>()
    for (const topic of request.topics) {
      const found = this.#find(topic, caller, version)
      const partitions: PartitionData[] = []
      for (const partition of topic.partitions) {
        const key = `${topic.topicId} ${partitionKey(topic.topic, partition.partition)}`
        if (asked.has(key)) continue
        asked.add(key)
        const data = await this.#read(found, partition, caller, version, into)
        into.isFinal ||= data.errorCode !== KAFKA_ERROR.none
        partitions.push(data)
      }
      responses.push({ topic: topic.topic, topicId: topic.topicId, partitions })
    }
    return responses
  }

  async #read(
    topic: PublicTopic | undefined,
    { partition, fetchOffset, partitionMaxBytes }: Partition,
    caller: Caller,
    version: number,
    into: Gathered,
  ): Promise<PartitionData> {
    const data = (errorCode: KafkaError, highWatermark = -1, records: Uint8Array = EMPTY): PartitionData => ({
      partitionIndex: partition,
      errorCode,
      highWatermark,
      lastStableOffset: highWatermark,
      logStartOffset: -1,
      abortedTransactions: null,
      preferredReadReplica: -1,
      records,
    })
    if (topic === undefined)
      return data(version >= 13 ? KAFKA_ERROR.unknownTopicId : KAFKA_ERROR.unknownTopicOrPartition)
    if (!mayRead(caller.principal, topic)) return data(KAFKA_ERROR.topicAuthorizationFailed)
    if (partition < 0 || partition >= topic.partitions) return data(KAFKA_ERROR.unknownTopicOrPartition)
    let end = this.#ends.end(topic.name, partition)
    if (fetchOffset === end) return data(KAFKA_ERROR.none, end)
    const bytesLeft = into.bytesMax - into.bytes
    if (bytesLeft <= 0 && fetchOffset < end) {
      into.isFinal = true
      return data(KAFKA_ERROR.none, end)
    }
    try {
      // What is known here may be a moment old; who asks beyond it may know more.
      if (fetchOffset > end) ({ end } = await this.#log.range(topic.name, partition))
      if (fetchOffset === end) return data(KAFKA_ERROR.none, end)
      if (fetchOffset < 0) return data(KAFKA_ERROR.offsetOutOfRange, end)
      const want = Math.max(1, Math.min(partitionMaxBytes, bytesLeft))
      const piece = await this.#reads.read(caller.closed, topic.name, partition, fetchOffset, want)
      // Who does not read its answers must not make others pile up behind them: this one is asked for again.
      const { length } = piece.batches
      const { tenant } = caller.principal
      if (length > bytesLeft && length > this.#unsent.left(tenant)) {
        this.#reads.release(piece)
        return data(KAFKA_ERROR.none, end)
      }
      into.pieces.push(piece)
      into.bytes += length
      into.isFinal ||= piece.nextOffset < end
      // Less than the least that an answer may have is taken although there is no room for it.
      this.#unsent.give(-length, tenant)
      return data(KAFKA_ERROR.none, Math.max(end, piece.nextOffset), piece.batches)
    } catch (error) {
      if (isMillraceError(error, 'offset_below_start') || isMillraceError(error, 'offset_above_end'))
        return data(KAFKA_ERROR.offsetOutOfRange, end)
      throw error
    }
  }
}
