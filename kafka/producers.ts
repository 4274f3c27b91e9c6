// What is remembered of idempotent producers: for each partition that one has written to, the sequences of its last
// batches, by which a batch that is sent again is known (KIP-98; five, because a client has five requests in flight).
// The record of a batch's sequence is appended in one atomic request with the batch, so after a crash both are there
// or none.
//
//   key    [producer id, topic, partition]
//   value  { epoch, batches: [[first sequence, last sequence, base offset]…], timeMs }, oldest batch first
//
// The newest batch's offset is not known when its record is written: after a restart it is -1, and that batch sent
// again gets DUPLICATE_SEQUENCE_NUMBER, which clients take for success without an offset.
import { randomInt } from 'node:crypto'
import type { BatchAppend, Log } from '../log/log.ts'
import { PRODUCERS_TOPIC } from '../schemas/names.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'
import { type Key, keyedBatch, readKeyedTopic } from './keyed-topic.ts'

const BATCHES_REMEMBERED = 5
const EPOCH_MAX = 32_766
/** A producer that has not written for a day is forgotten, and above so many the oldest. */
const RETENTION_MS = 86_400_000
const PRODUCERS_MAX = 50_000

type RememberedBatch = [first: number, last: number, offset: number]

interface Sequences {
  epoch: number
  batches: RememberedBatch[]
  timeMs: number
}

export interface SequencedBatch {
  producerId: number
  producerEpoch: number
  baseSequence: number
  recordCount: number
}

export type SequenceVerdict =
  /** Append it with `record`, then call `appended` with its offset. */
  | { kind: 'new'; record: BatchAppend; appended: (baseOffset: number) => void }
  /** It is in the log already. */
  | { kind: 'duplicate'; baseOffset: number }
  | { kind: 'refused'; errorCode: Exclude<KafkaError, 0>; message: string }

/** Sequences are int32 and go on from 0 after the largest. */
const after = (sequence: number, count: number): number => (sequence + count) % 2 ** 31

export class Producers {
  /** In the order of use, most recent last. */
  readonly #sequences = new Map<string, Sequences>()
  readonly #log: Log
  readonly #producersMax: number

  private constructor(log: Log, producersMax: number) {
    this.#log = log
    this.#producersMax = producersMax
  }

  static async open(log: Log, producersMax = PRODUCERS_MAX): Promise<Producers> {
    const producers = new Producers(log, producersMax)
    await readKeyedTopic(log, PRODUCERS_TOPIC, (key, value) => {
      const text = JSON.stringify(key)
      producers.#sequences.delete(text)
      if (value !== undefined) producers.#sequences.set(text, value as Sequences)
    })
    return producers
  }

  /** A new producer id, or the next epoch of one that is in use (KIP-360). */
  init(producerId: number, epoch: number): { producerId: number; producerEpoch: number } {
    if (producerId >= 0 && epoch >= 0 && epoch < EPOCH_MAX) return { producerId, producerEpoch: epoch + 1 }
    // 2^48 ids: that two producers of a lifetime get the same is less likely than a failure of the machine.
    return { producerId: randomInt(2 ** 48 - 1), producerEpoch: 0 }
  }

  check(batch: SequencedBatch, topic: string, partition: number, now: number): SequenceVerdict {
    const { producerId, producerEpoch, baseSequence, recordCount } = batch
    const key: Key = [producerId, topic, partition]
    const text = JSON.stringify(key)
    const known = this.#sequences.get(text)
    const refuse = (errorCode: Exclude<KafkaError, 0>, message: string): SequenceVerdict => ({
      kind: 'refused',
      errorCode,
      message,
    })
    if (baseSequence < 0 || producerEpoch < 0)
      return refuse(KAFKA_ERROR.invalidRecord, 'a producer id without epoch or sequence')
    const last = after(baseSequence, recordCount - 1)
    const isNewEpoch = known !== undefined && producerEpoch > known.epoch
    if (known !== undefined && producerEpoch < known.epoch)
      return refuse(
        KAFKA_ERROR.invalidProducerEpoch,
        `epoch ${producerEpoch}, the producer is at ${known.epoch}`,
      )
    if (known !== undefined && !isNewEpoch) {
      const same = known.batches.find(([first, end]) => first === baseSequence && end === last)
      if (same !== undefined) {
        if (same[2] >= 0) return { kind: 'duplicate', baseOffset: same[2] }
        return refuse(KAFKA_ERROR.duplicateSequenceNumber, 'the batch is in the log already')
      }
      const expected = after(known.batches.at(-1)![1], 1)
      if (baseSequence !== expected)
        return refuse(
          KAFKA_ERROR.outOfOrderSequenceNumber,
          `sequence ${baseSequence} where ${expected} was expected`,
        )
    }
    if (isNewEpoch && baseSequence !== 0)
      return refuse(KAFKA_ERROR.outOfOrderSequenceNumber, `sequence ${baseSequence} at the start of an epoch`)
    const before = known === undefined || isNewEpoch ? [] : known.batches
    const remembered: RememberedBatch = [baseSequence, last, -1]
    const value: Sequences = {
      epoch: producerEpoch,
      batches: [...before, remembered].slice(-BATCHES_REMEMBERED),
      timeMs: now,
    }
    const surplus = known === undefined ? this.#surplus() : []
    return {
      kind: 'new',
      // Who has not written for longest makes room, in the same append.
      record: keyedBatch(PRODUCERS_TOPIC, [
        { key, value },
        ...surplus.map((one) => ({ key: JSON.parse(one) as Key, value: undefined })),
      ]),
      appended: (baseOffset) => {
        remembered[2] = baseOffset
        for (const one of surplus) this.#sequences.delete(one)
        this.#sequences.delete(text)
        this.#sequences.set(text, value)
      },
    }
  }

  /** Those above the bound, once there is one more. */
  #surplus(): string[] {
    const surplus: string[] = []
    for (const text of this.#sequences.keys()) {
      if (this.#sequences.size - surplus.length < this.#producersMax) break
      surplus.push(text)
    }
    return surplus
  }

  /** Forgets who has not written for long. */
  async expire(now: number): Promise<void> {
    const old: { key: Key; value: undefined }[] = []
    let left = this.#sequences.size
    for (const [text, { timeMs }] of this.#sequences) {
      if (left <= this.#producersMax && timeMs >= now - RETENTION_MS) break
      old.push({ key: JSON.parse(text) as Key, value: undefined })
      left--
    }
    if (old.length === 0) return
    await this.#log.append({ entries: [keyedBatch(PRODUCERS_TOPIC, old)] })
    for (const { key } of old) this.#sequences.delete(JSON.stringify(key))
  }
}
