// The sender against a partition's leader that deals with sequences as Kafka's does, and is late now and then.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Connection, Reader, type Writer } from '@platformatic/kafka'
import { prepareBatch } from './kafka-batches.ts'
import type { KafkaCluster } from './kafka-cluster.ts'
import { BatchSender } from './kafka-sender.ts'
import type { ProducedPartition, Transactional } from './kafka-wire.ts'
import { textBatch } from './log-conformance.ts'
import { BASE_SEQUENCE, RECORD_COUNT } from './record-batch.ts'

const UNKNOWN_TOPIC_OR_PARTITION = 3
const OUT_OF_ORDER_SEQUENCE_NUMBER = 45

/** What the leader took, as the sequences of batches, and how many requests it had at a time. */
class Leader {
  readonly taken: number[] = []
  requestsMax = 0
  readonly #knowsFrom: number
  #requests = 0
  #inFlight = 0
  #nextSequence = -1

  /** It hears of the topic before the request of this number. */
  constructor(knowsFrom: number) {
    this.#knowsFrom = knowsFrom
  }

  answer(sequence: number, recordCount: number): number {
    if (this.#requests++ < this.#knowsFrom) return UNKNOWN_TOPIC_OR_PARTITION
    // Of a producer without a state here, any sequence.
    if (this.#nextSequence >= 0 && sequence !== this.#nextSequence) return OUT_OF_ORDER_SEQUENCE_NUMBER
    this.#nextSequence = sequence + recordCount
    this.taken.push(sequence)
    return 0
  }

  get connection(): Connection {
    const send = (
      _key: number,
      _version: number,
      make: () => Writer,
      _parse: unknown,
      _flexible: boolean,
      _answerFlexible: boolean,
      callback: (error: null, answer: ProducedPartition[]) => void,
    ): void => {
      const { topic, partition, batch } = readProduce(make())
      this.requestsMax = Math.max(this.requestsMax, ++this.#inFlight)
      // Requests are dealt with in order, each after the sender has had its turn.
      setImmediate(() => {
        this.#inFlight--
        const errorCode = this.answer(batch.readInt32BE(BASE_SEQUENCE), batch.readInt32BE(RECORD_COUNT))
        callback(null, [{ topic, partition, errorCode, baseOffset: this.taken.length - 1, message: null }])
      })
    }
    return { send } as unknown as Connection
  }
}

function readProduce(writer: Writer): { topic: string; partition: number; batch: Buffer } {
  const reader = Reader.from(writer)
  let found: { topic: string; partition: number; batch: Buffer } | undefined
  reader.readNullableString()
  reader.readInt16()
  reader.readInt32()
  reader.readArray((r) => {
    const topic = r.readString()
    r.readArray((r) => {
      found = { topic, partition: r.readInt32(), batch: r.readNullableBytes()! }
    })
  })
  return found!
}

function senderTo(leader: Leader, transactional: Transactional | null = null): BatchSender {
  const cluster: Partial<KafkaCluster> = {
    isClosed: false,
    knownTopic: () => ({ id: 'id', leaders: [0] }),
    connection: async () => leader.connection,
    sleep: () => new Promise((resolve) => setImmediate(resolve)),
    refresh: async () => {},
  }
  return new BatchSender(cluster as KafkaCluster, { id: 1n, epoch: 0 }, transactional)
}

const batch = (i: number) => prepareBatch(textBatch([['k', `${i}`]]), { recordCount: 1 }, 'none')

for (const knowsFrom of [0, 1, 2, 5])
  test(`eight batches at once, to a leader that refuses ${knowsFrom} before it knows the topic: each once, in order`, async () => {
    const leader = new Leader(knowsFrom)
    const sender = senderTo(leader)
    const sent = Array.from({ length: 8 }, (_, i) => sender.send('t', 0, batch(i)))
    assert.deepEqual(await Promise.all(sent), [0, 1, 2, 3, 4, 5, 6, 7])
    assert.deepEqual(leader.taken, [0, 1, 2, 3, 4, 5, 6, 7])
    // Only the first goes alone.
    assert.equal(leader.requestsMax, 5)
  })

test('in a transaction more than five requests are on their way, and batches stay in order', async () => {
  const leader = new Leader(0)
  const sender = senderTo(leader, { id: 'transactional', version: 2 })
  const sequences = Array.from({ length: 40 }, (_, i) => i)
  const sent = sequences.map((i) => sender.send('t', 0, batch(i)))
  assert.deepEqual(await Promise.all(sent), sequences)
  assert.deepEqual(leader.taken, sequences)
  assert.equal(leader.requestsMax, 32)
})
