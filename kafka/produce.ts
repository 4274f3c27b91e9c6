// Produce and InitProducerId: batches into raw topics. An answer means durable, whatever `acks` says; acks=0 gets
// none. A log that is full or a stream that is behind holds the request until there is room or its timeout is over:
// nothing was appended then, and the client sends it again.
import { setTimeout as sleep } from 'node:timers/promises'
import type { BatchAppend, Log } from '../log/log.ts'
import { isMillraceError } from '../std/errors.ts'
import type { Caller } from './caller.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'
import type { RequestOf, ResponseOf } from './messages.ts'
import { partitionKey } from './partition-ends.ts'
import { checkBatch, type RefusedBatch, StreamValidators } from './produce-check.ts'
import type { Producers } from './producers.ts'
import type { PublicTopic, PublicTopics } from './public-topics.ts'

const TIMEOUT_MS_MAX = 60_000
const RETRY_MS = 100
/** Of one tenant's batches that are checked and not yet durable: a small request may hold what decompresses to gigabytes. */
const UNDER_WAY_BYTES_MAX = 32 << 20

/** Of one tenant: another's stream that is behind holds nobody else up. */
interface UnderWay {
  bytes: number
  /** Who waits for others' batches to be durable, in the order in which they came. */
  readonly waiting: (() => void)[]
}
/** Of a log that has no room now. */
const RETRIABLE = ['backlog_full', 'log_full'] as const

type PartitionResponse = ResponseOf<'produce'>['responses'][number]['partitionResponses'][number]

const ACKS: ReadonlySet<number> = new Set([-1, 0, 1])

const NO_TRANSACTIONS = 'the embedded log has no transactions for clients; idempotent producers are honoured'

export class ProduceHandler {
  /** Records appended, and batches refused. */
  records = 0
  refused = 0
  readonly #log: Log
  readonly #topics: PublicTopics
  readonly #producers: Producers
  /** Of the stream as it was last described: a new description is another object. */
  readonly #validators = new WeakMap<object, StreamValidators>()
  /** Appends of idempotent producers, one after the other in each partition: a sequence is checked against the last. */
  readonly #tails = new Map<string, Promise<unknown>>()
  readonly #underWay = new Map<string, UnderWay>()

  constructor(log: Log, topics: PublicTopics, producers: Producers) {
    this.#log = log
    this.#topics = topics
    this.#producers = producers
  }

  initProducerId(request: RequestOf<'initProducerId'>): ResponseOf<'initProducerId'> {
    if (request.transactionalId !== null)
      return {
        throttleTimeMs: 0,
        errorCode: KAFKA_ERROR.transactionalIdAuthorizationFailed,
        producerId: -1,
        producerEpoch: -1,
      }
    const { producerId, producerEpoch } = request
    return { throttleTimeMs: 0, errorCode: 0, ...this.#producers.init(producerId, producerEpoch) }
  }

  async produce(request: RequestOf<'produce'>, caller: Caller): Promise<ResponseOf<'produce'>> {
    const deadline = Date.now() + Math.min(Math.max(request.timeoutMs, 0), TIMEOUT_MS_MAX)
    const named = new Set<string>()
    // Together, so that they are one commit group of the log.
    const responses = await Promise.all(
      request.topics.map(async ({ name, partitions }) => ({
        name,
        partitionResponses: await Promise.all(
          partitions.map(async ({ index, records }) => {
            if (request.transactionalId !== null)
              return answer(index, KAFKA_ERROR.transactionalIdAuthorizationFailed, NO_TRANSACTIONS)
            if (!ACKS.has(request.acks))
              return answer(index, KAFKA_ERROR.invalidRequiredAcks, 'acks is 0, 1 or -1 (all)')
            const key = partitionKey(name, index)
            if (named.has(key))
              return answer(index, KAFKA_ERROR.invalidRequest, 'a request names a partition once')
            named.add(key)
            return this.#append(name, index, records, caller, deadline)
          }),
        ),
      })),
    )
    return { responses, throttleTimeMs: 0 }
  }

  async #append(
    name: string,
    index: number,
    records: Uint8Array | null,
    caller: Caller,
    deadline: number,
  ): Promise<PartitionResponse> {
    const { principal } = caller
    const topic = this.#topics.find(principal, name)
    if (topic === undefined || index < 0 || index >= topic.partitions)
      return answer(index, KAFKA_ERROR.unknownTopicOrPartition)
    if (topic.kind !== 'raw')
      return answer(index, KAFKA_ERROR.topicAuthorizationFailed, `${name} is written by Millrace alone`)
    if (records === null) return answer(index, KAFKA_ERROR.invalidRecord, 'no batch')
    const target = {
      stream: topic.stream,
      validators: this.#validatorsOf(topic),
      partition: index,
      partitions: topic.partitions,
    }
    const underWay = this.#underWayOf(principal.tenant)
    while (underWay.bytes >= UNDER_WAY_BYTES_MAX) {
      await new Promise<void>((resolve) => underWay.waiting.push(resolve))
      if (Date.now() > deadline || caller.closed.aborted)
        return answer(index, KAFKA_ERROR.requestTimedOut, 'the log has no room')
    }
    const now = Date.now()
    const checked = checkBatch(records, target, principal, now)
    if (checked.errorCode !== KAFKA_ERROR.none) {
      this.refused++
      return refusal(index, checked)
    }
    const { batch, recordCount } = checked
    const entry: BatchAppend = { topic: name, partition: index, batch, recordCount }
    const append = async (): Promise<PartitionResponse> => {
      const verdict = checked.producerId < 0 ? undefined : this.#producers.check(checked, name, index, now)
      if (verdict?.kind === 'duplicate') return answer(index, KAFKA_ERROR.none, null, verdict.baseOffset, now)
      if (verdict?.kind === 'refused') return answer(index, verdict.errorCode, verdict.message)
      const entries = verdict === undefined ? [entry] : [entry, verdict.record]
      const baseOffset = await this.#appendInTime(entries, deadline, caller)
      if (baseOffset === undefined) return answer(index, KAFKA_ERROR.requestTimedOut, 'the log has no room')
      verdict?.appended(baseOffset)
      this.records += recordCount
      return answer(index, KAFKA_ERROR.none, null, baseOffset, now)
    }
    underWay.bytes += batch.length
    try {
      return await (checked.producerId < 0 ? append() : this.#inTurn(partitionKey(name, index), append))
    } finally {
      underWay.bytes -= batch.length
      for (const resolve of underWay.waiting.splice(0)) resolve()
    }
  }

  #underWayOf(tenant: string): UnderWay {
    let underWay = this.#underWay.get(tenant)
    if (underWay === undefined) this.#underWay.set(tenant, (underWay = { bytes: 0, waiting: [] }))
    return underWay
  }

  async #appendInTime(entries: BatchAppend[], deadline: number, caller: Caller): Promise<number | undefined> {
    for (;;) {
      try {
        return (await this.#log.append({ entries })).baseOffsets[0]!
      } catch (error) {
        if (!RETRIABLE.some((code) => isMillraceError(error, code))) throw error
        if (Date.now() + RETRY_MS > deadline || caller.closed.aborted) return undefined
      }
      await sleep(RETRY_MS)
    }
  }

  #inTurn<T>(key: string, run: () => Promise<T>): Promise<T> {
    const turn = (this.#tails.get(key) ?? Promise.resolve()).then(run)
    const tail = turn
      .catch(() => {})
      .then(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key)
      })
    this.#tails.set(key, tail)
    return turn
  }

  #validatorsOf({ stream }: PublicTopic): StreamValidators {
    let validators = this.#validators.get(stream)
    if (validators === undefined) {
      validators = new StreamValidators(stream)
      this.#validators.set(stream, validators)
    }
    return validators
  }
}

function answer(
  index: number,
  errorCode: KafkaError,
  errorMessage: string | null = null,
  baseOffset = -1,
  logAppendTimeMs = -1,
): PartitionResponse {
  return { index, errorCode, baseOffset, logAppendTimeMs, logStartOffset: -1, recordErrors: [], errorMessage }
}

function refusal(index: number, { errorCode, message, batchIndex }: RefusedBatch): PartitionResponse {
  const recordErrors = batchIndex === undefined ? [] : [{ batchIndex, batchIndexErrorMessage: message }]
  return { ...answer(index, errorCode, message), recordErrors }
}
