// Batches into partitions, in order, each once: the part that a plain and a transactional producer share.
//
// Every partition has a queue and a sequence. Up to five batches of a partition may be on their way, which is how
// many the broker remembers of each producer; a request carries at most one batch a partition, so there are that many
// requests. When one comes back unsettled (no answer, a leader that moved), those behind it are refused as out of
// sequence: the queue waits until all that were on their way are back, and sends them again, in order, under the
// sequences they had. The broker answers what it has already with the offset it gave it.
//
// In a transaction more may be on their way, so that the broker is not out of work while this thread makes the next one.
// Where so many were written and their answers lost, the broker does not know the first ones again and refuses them as out
// of sequence: then the producer is lost, and the transaction is aborted, which it can be and a plain append cannot.
//
// The first batch of a partition goes alone: of a producer that it does not know there, a broker takes whatever sequence
// comes first. Where the first batch is refused (a topic just made, whose leader has not heard of it) and the
// second is taken, the first could never follow.
//
//   waiting ──► inFlight ──► settled
//      ▲            │ may be tried again
//      └── back ◄───┘  (once nothing is in flight)
import { MillraceError } from '../std/errors.ts'
import { type PreparedBatch, type Producer, sealForSend } from './kafka-batches.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { isDisturbance, isRetriable, KAFKA, kafkaErrorName, mayRetry } from './kafka-errors.ts'
import { type ProducedPartition, type ProducePartition, produce, type Transactional } from './kafka-wire.ts'

const IN_FLIGHT_MAX = 5
const IN_FLIGHT_MAX_TRANSACTION = 32
const REQUEST_BYTES_MAX = 8 * 1024 * 1024
const RETRY_MS_MIN = 10
const RETRY_MS_MAX = 500
const SEQUENCE_END = 2 ** 31
/** Less than brokers remember a producer that sends nothing (`producer.id.expiration.ms`, a day). */
const KNOWN_MS_MAX = 3_600_000

interface Item {
  queue: Queue
  batch: PreparedBatch
  /** Given at the first send. */
  sequence: number
  resolve: (baseOffset: number) => void
  reject: (error: Error) => void
}

interface Queue {
  topic: string
  partition: number
  nextSequence: number
  /** When the broker took a batch last; by then it knows the producer. */
  takenAt: number
  waiting: Item[]
  inFlight: Set<Item>
  /** Came back unsettled; nothing is sent until all are back. */
  back: Item[]
  retryMs: number
  resting: boolean
}

/** The producer's id is not good any more: another took over its transactional id, or the broker forgot it. */
export class ProducerLost extends Error {
  readonly errorCode: number
  constructor(topic: string, partition: number, errorCode: number) {
    super(`${topic}/${partition}: ${kafkaErrorName(errorCode)}`)
    this.errorCode = errorCode
  }
}

export class BatchSender {
  producer: Producer
  readonly #cluster: KafkaCluster
  readonly #transactional: Transactional | null
  /** Batches of a partition, and requests to a leader. */
  readonly #inFlightMax: number
  readonly #queues = new Map<string, Queue>()
  readonly #requestsInFlight = new Map<number, number>()
  /** Resolves when the last request to a leader so far has been handed to its connection. */
  readonly #turns = new Map<number, Promise<void>>()
  #scheduled = false
  #failure: Error | undefined

  constructor(cluster: KafkaCluster, producer: Producer, transactional: Transactional | null) {
    this.#cluster = cluster
    this.producer = producer
    this.#transactional = transactional
    this.#inFlightMax = transactional === null ? IN_FLIGHT_MAX : IN_FLIGHT_MAX_TRANSACTION
  }

  /** Goes on as that producer: under another epoch sequences begin at 0. Nothing may be under way. */
  renew(producer: Producer): void {
    if (producer.id === this.producer.id && producer.epoch === this.producer.epoch) return
    for (const queue of this.#queues.values()) {
      queue.nextSequence = 0
      // Where the id is another, no broker knows it.
      if (producer.id !== this.producer.id) queue.takenAt = -Infinity
    }
    this.producer = producer
  }

  /** Resolves to the batch's base offset when all replicas in sync have it. */
  send(topic: string, partition: number, batch: PreparedBatch): Promise<number> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    const key = `${topic}/${partition}`
    let queue = this.#queues.get(key)
    if (queue === undefined) {
      queue = {
        topic,
        partition,
        nextSequence: 0,
        takenAt: -Infinity,
        waiting: [],
        inFlight: new Set(),
        back: [],
        retryMs: RETRY_MS_MIN,
        resting: false,
      }
      this.#queues.set(key, queue)
    }
    return new Promise((resolve, reject) => {
      queue.waiting.push({ queue, batch, sequence: -1, resolve, reject })
      this.#schedule()
    })
  }

  /** Fails everything that is under way or comes later. */
  fail(error: Error): void {
    this.#failure ??= error
    for (const queue of this.#queues.values())
      for (const item of [...queue.back.splice(0), ...queue.waiting.splice(0)]) item.reject(this.#failure)
  }

  /** At the end of the turn, so that what was sent in it shares requests. */
  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#pump()
    })
  }

  #pump(): void {
    if (this.#failure !== undefined) return
    const now = performance.now()
    for (let sent = true; sent; ) {
      sent = false
      const requests = new Map<number, { items: Item[]; bytes: number }>()
      for (const queue of this.#queues.values()) {
        if (queue.waiting.length === 0 || queue.resting || queue.back.length > 0) continue
        const isKnown = now - queue.takenAt < KNOWN_MS_MAX
        if (queue.inFlight.size >= (isKnown ? this.#inFlightMax : 1)) continue
        const leader = this.#cluster.knownTopic(queue.topic)?.leaders[queue.partition]
        if (leader === undefined || leader < 0) {
          this.#rest(queue)
          continue
        }
        if ((this.#requestsInFlight.get(leader) ?? 0) >= this.#inFlightMax) continue
        const request = requests.get(leader) ?? { items: [], bytes: 0 }
        const bytes = queue.waiting[0]!.batch.records.length
        if (request.items.length > 0 && request.bytes + bytes > REQUEST_BYTES_MAX) continue
        const item = queue.waiting.shift()!
        request.items.push(item)
        request.bytes += bytes
        queue.inFlight.add(item)
        requests.set(leader, request)
      }
      for (const [leader, { items }] of requests) {
        sent = true
        this.#requestsInFlight.set(leader, (this.#requestsInFlight.get(leader) ?? 0) + 1)
        void this.#request(leader, items)
      }
    }
  }

  async #request(leader: number, items: readonly Item[]): Promise<void> {
    const partitions: ProducePartition[] = items.map((item) => {
      const { queue, batch } = item
      if (item.sequence < 0) {
        item.sequence = queue.nextSequence
        queue.nextSequence = (item.sequence + batch.recordCount) % SEQUENCE_END
      }
      const header = sealForSend(batch, this.producer, item.sequence, this.#transactional !== null)
      return { topic: queue.topic, partition: queue.partition, parts: [header, batch.records] }
    })
    let answers: ProducedPartition[] | undefined
    let failure: unknown
    // In the order of the sequences, also while the connection is being made.
    const turn = this.#turns.get(leader)
    const { promise, resolve: started } = Promise.withResolvers<void>()
    this.#turns.set(leader, promise)
    try {
      await turn
      let answer: Promise<ProducedPartition[]>
      try {
        const connection = await this.#cluster.connection(leader, 'write')
        answer = produce(connection, this.#transactional, partitions)
      } finally {
        started()
      }
      answers = await answer
    } catch (error) {
      failure = error
    }
    this.#requestsInFlight.set(leader, this.#requestsInFlight.get(leader)! - 1)
    for (const item of items) {
      const { queue } = item
      queue.inFlight.delete(item)
      const answer = answers?.find((one) => one.topic === queue.topic && one.partition === queue.partition)
      if (answer === undefined) this.#unanswered(item, failure)
      else this.#answered(item, answer)
      if (queue.back.length > 0 && queue.inFlight.size === 0) this.#rest(queue)
    }
    this.#schedule()
  }

  #unanswered(item: Item, failure: unknown): void {
    if (this.#failure !== undefined) item.reject(this.#failure)
    else if (this.#cluster.isClosed) item.reject(new MillraceError('log_stopped', 'the log is closed'))
    else if (failure !== undefined && !mayRetry(failure)) {
      item.reject(failure as Error)
      this.fail(failure as Error)
    } else item.queue.back.push(item)
  }

  #answered(item: Item, { errorCode, baseOffset, message }: ProducedPartition): void {
    const { queue } = item
    const { topic, partition } = queue
    if (isDisturbance(errorCode)) this.#cluster.disturbances++
    if (errorCode === KAFKA.NONE || errorCode === KAFKA.DUPLICATE_SEQUENCE_NUMBER) {
      queue.retryMs = RETRY_MS_MIN
      queue.takenAt = performance.now()
      item.resolve(baseOffset)
    } else if (this.#failure !== undefined) item.reject(this.#failure)
    else if (isRetriable(errorCode)) queue.back.push(item)
    else if (errorCode === KAFKA.OUT_OF_ORDER_SEQUENCE_NUMBER && isBehind(item)) queue.back.push(item)
    else if (
      errorCode === KAFKA.OUT_OF_ORDER_SEQUENCE_NUMBER ||
      errorCode === KAFKA.UNKNOWN_PRODUCER_ID ||
      errorCode === KAFKA.INVALID_PRODUCER_EPOCH ||
      errorCode === KAFKA.INVALID_PRODUCER_ID_MAPPING ||
      errorCode === KAFKA.INVALID_TXN_STATE ||
      errorCode === KAFKA.PRODUCER_FENCED ||
      errorCode === KAFKA.TRANSACTION_ABORTABLE
    ) {
      const lost = new ProducerLost(topic, partition, errorCode)
      item.reject(lost)
      this.fail(lost)
    } else {
      const text = `${topic}/${partition}: Kafka: ${kafkaErrorName(errorCode)}${message === null ? '' : `: ${message}`}`
      const isInvalid = errorCode === KAFKA.MESSAGE_TOO_LARGE || errorCode === KAFKA.INVALID_RECORD
      const refusal = new MillraceError(isInvalid ? 'batch_invalid' : 'kafka_refused', text, {
        topic,
        partition,
      })
      item.reject(refusal)
      // Its sequence is spent for us and not for the broker: nothing can follow it.
      this.fail(refusal)
    }
  }

  /** Sends what came back again after a pause, by a newer view of who leads the partition. */
  #rest(queue: Queue): void {
    if (queue.resting) return
    queue.resting = true
    const { topic, retryMs } = queue
    queue.retryMs = Math.min(RETRY_MS_MAX, retryMs * 2)
    void (async () => {
      await this.#cluster.sleep(retryMs)
      await this.#cluster.refresh([topic]).catch(() => {})
      queue.resting = false
      if (this.#cluster.isClosed) return this.fail(new MillraceError('log_stopped', 'the log is closed'))
      // What is still on its way comes first; its return begins the pause that sends all of them.
      if (queue.inFlight.size === 0) {
        queue.back.sort((a, b) => (a.sequence - b.sequence) | 0)
        queue.waiting.unshift(...queue.back.splice(0))
      }
      this.#schedule()
    })()
  }
}

/** Whether a batch before this one is not settled yet: then it is no wonder that this one is out of sequence. */
function isBehind({ queue, sequence }: Item): boolean {
  const isBefore = (other: Item): boolean => ((other.sequence - sequence) | 0) < 0
  return queue.back.some(isBefore) || [...queue.inFlight].some(isBefore)
}
