// The registry's truth: events in the compacted topic `millrace._schemas`, one partition, many writers.
//
// A change is planned on the state up to the topic's end and appended on condition that the end is still there
// (append-if-next-offset-is); where another writer was first, its events are applied and the change is planned anew.
// So any number of processes may write to one topic.
import { type Log, TABLE_TOPIC } from '../log/log.ts'
import { RecordBatchBuilder, RecordReader } from '../log/record-batch.ts'
import { isMillraceError } from '../std/errors.ts'
import { SCHEMAS_TOPIC } from './names.ts'
import { decodeEvent, encodeEvent, type RegistryEvent } from './registry-events.ts'

const READ_BYTES = 1 << 20
/** Each failed attempt means that another writer made progress. */
const ATTEMPTS_MAX = 100

export interface Plan<T> {
  events: readonly RegistryEvent[]
  /** Called once the events are durable and applied. */
  result: () => T
}

export class RegistryTopic {
  readonly #log: Log
  readonly #apply: (event: RegistryEvent) => void
  readonly #now: () => number
  #nextOffset = 0
  /** Changes and refreshes of this process run one after the other. */
  #tail: Promise<unknown> = Promise.resolve()

  /** `apply` is given each event once, in the order of the topic. */
  constructor(log: Log, apply: (event: RegistryEvent) => void, now: () => number) {
    this.#log = log
    this.#apply = apply
    this.#now = now
  }

  /** Makes the topic where there is none, and reads it from its beginning. */
  async open(): Promise<void> {
    await this.#log.createTopic(SCHEMAS_TOPIC, TABLE_TOPIC)
    this.#nextOffset = (await this.#log.range(SCHEMAS_TOPIC, 0)).start
    await this.refresh()
  }

  /** Applies what other writers have appended. */
  refresh(): Promise<void> {
    return this.#serially(() => this.#readToEnd())
  }

  /** Plans on the newest state and appends; without events nothing is appended. */
  change<T>(plan: () => Plan<T>): Promise<T> {
    return this.#serially(async () => {
      for (let attempt = 1; ; attempt++) {
        await this.#readToEnd()
        const { events, result } = plan()
        if (events.length === 0) return result()
        try {
          await this.#append(events)
        } catch (error) {
          if (!isMillraceError(error, 'offset_conflict') || attempt === ATTEMPTS_MAX) throw error
          continue
        }
        await this.#readToEnd()
        return result()
      }
    })
  }

  #serially<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#tail.then(run)
    this.#tail = result.catch(() => undefined)
    return result
  }

  async #append(events: readonly RegistryEvent[]): Promise<void> {
    const builder = new RecordBatchBuilder()
    const now = this.#now()
    for (const event of events) {
      const { key, value } = encodeEvent(event)
      builder.append(now, key, value)
    }
    await this.#log.append({
      entries: [
        {
          topic: SCHEMAS_TOPIC,
          partition: 0,
          batch: builder.finish(),
          recordCount: events.length,
          expectedOffset: this.#nextOffset,
        },
      ],
    })
  }

  async #readToEnd(): Promise<void> {
    const reader = new RecordReader()
    const { end } = await this.#log.range(SCHEMAS_TOPIC, 0)
    while (this.#nextOffset < end) {
      const { batches, nextOffset } = await this.#log.read(SCHEMAS_TOPIC, 0, this.#nextOffset, READ_BYTES)
      reader.reset(batches)
      while (reader.next()) {
        if (reader.offset < this.#nextOffset || reader.keyStart < 0) continue
        const key = reader.bytes.subarray(reader.keyStart, reader.keyEnd)
        const value =
          reader.valueStart < 0 ? undefined : reader.bytes.subarray(reader.valueStart, reader.valueEnd)
        const event = decodeEvent(key, value)
        if (event !== undefined) this.#apply(event)
      }
      // Compaction may have taken the last records away: their offsets count all the same.
      this.#nextOffset = nextOffset > this.#nextOffset ? nextOffset : end
    }
  }
}
