// Two transactional producers by turns. What a transaction ended is told to its partitions by the brokers, a while after
// the commit was answered, and until then its producer cannot write anything that belongs to another; the other producer can.
//
//   first    Produce … EndTxn │ markers │ …               Produce … EndTxn │ markers
//   second                    Produce … EndTxn │ markers │ …
//
// A transaction begins when the one before was committed. So its batches lie behind that one's, and so do its offsets in the
// group's log, by which Kafka decides what a position is, in whatever order the markers come.
import type { KafkaCluster } from './kafka-cluster.ts'
import { type GroupOffset, TransactionalProducer, type TransactionBatch } from './kafka-transaction.ts'

export class TransactionTurns {
  readonly #producers: readonly TransactionalProducer[]
  /** Of `#producers`, whose turn it is. */
  #turn = 0
  #tail: Promise<unknown> = Promise.resolve()

  constructor(cluster: KafkaCluster, transactionalId: string) {
    this.#producers = ['', '-2'].map((end) => new TransactionalProducer(cluster, transactionalId + end))
  }

  /** Runs one after the other whatever is given; the order is that of the calls. All else is called within it. */
  exclusively<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = this.#tail.then(work)
    this.#tail = result.catch(() => {})
    return result
  }

  /** As `TransactionalProducer.commit`. */
  async commit(batches: readonly TransactionBatch[], offsets: readonly GroupOffset[]): Promise<number[]> {
    const producer = this.#producers[this.#turn]!
    const baseOffsets = await producer.exclusively(() => producer.commit(batches, offsets))
    // Before its next turn, so that its beginning need not.
    void producer.exclusively(() => producer.awaitMarkers()).catch(() => {})
    // One that fails has its turn again: what is left of its transaction holds up readers until it has begun another.
    this.#turn = 1 - this.#turn
    return baseOffsets
  }

  /** Afterwards others can read what was committed. */
  async awaitMarkers(): Promise<void> {
    for (const producer of this.#producers) await producer.exclusively(() => producer.awaitMarkers())
  }

  /** After it no former holder of the ids can commit anything. `group`: whose positions it may have moved. */
  async begin(group: string): Promise<void> {
    for (const producer of this.#producers) await producer.exclusively(() => producer.begin([group]))
  }

  /** Takes the ids over anew, which ends what a former holder left open. */
  async takeOver(group: string): Promise<void> {
    for (const producer of this.#producers) await producer.exclusively(() => producer.takeOver(group))
  }
}
