// Who was there when: connect, disconnect, take-over and refusal as records of `<tenant>._presence`.
//
//   key    device id, or the gateway's name
//   value  JSON of a PresenceEvent
//   time   when it happened
//
// Two events of one key are put in order by `sessionEpoch`, which rises with every session of a client id;
// a disconnect that is written after the next session's connect is thereby seen to be older.
//
// Events wait for at most PRESENCE_FLUSH_MS and travel together, those of all tenants in one append, but no more of them than
// the thread puts together in a few milliseconds. They are a record of what happened, not part of what an acknowledgement
// promises: when the log cannot take them, the newest are counted instead of kept.
import type { Log, TopicConfig } from '../log/log.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { presenceTopic } from '../schemas/names.ts'
import { isMillraceError } from '../std/errors.ts'
import { PRESENCE_RECORDS_PER_APPEND_MAX, PRESENCE_WAITING_MAX } from './limits.ts'

export const PRESENCE_FLUSH_MS = 100

export const PRESENCE_TOPIC_CONFIG: TopicConfig = {
  partitions: 1,
  cleanup: 'delete',
  retentionAgeMs: 30 * 86_400_000,
  retentionBytes: 1 << 30,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

export interface PresenceEvent {
  event: 'connect' | 'disconnect' | 'takeover' | 'refusal'
  /** Milliseconds since 1970. */
  time: number
  clientId: string
  kind: 'device' | 'gateway'
  /** Empty for anonymous sessions. */
  credential: string
  family: string
  ownershipEpoch: number
  sessionEpoch: number
  protocol: '3.1.1' | '5.0'
  transport: 'tcp' | 'websocket'
  peer: string
  /** MQTT reason code (MQTT 5.0 section 2.4) of a disconnect or refusal, whatever the client's version. */
  reason: number
  /** What the reason code leaves open: the topic refused, how the connection ended. */
  detail: string
}

interface Waiting {
  key: string
  event: PresenceEvent
}

export class PresenceLog {
  /** Events that found the queue full. */
  overflowCount = 0
  readonly #log: Log
  readonly #onError: (error: unknown) => void
  readonly #waiting = new Map<string, Waiting[]>()
  readonly #created = new Set<string>()
  #waitingCount = 0
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined

  constructor(log: Log, onError: (error: unknown) => void) {
    this.#log = log
    this.#onError = onError
  }

  record(tenant: string, key: string, event: PresenceEvent): void {
    if (this.#waitingCount === PRESENCE_WAITING_MAX) {
      this.overflowCount++
      return
    }
    this.#waitingCount++
    const waiting = this.#waiting.get(tenant)
    if (waiting === undefined) this.#waiting.set(tenant, [{ key, event }])
    else waiting.push({ key, event })
    this.#timer ??= setTimeout(() => void this.flush().catch(this.#onError), PRESENCE_FLUSH_MS)
  }

  /** Settles when all events recorded so far are durable; rejects where the log has stopped. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    while (this.#flushing !== undefined || this.#waitingCount > 0) {
      this.#flushing ??= this.#flushOnce().finally(() => {
        this.#flushing = undefined
      })
      await this.#flushing
    }
  }

  close(): void {
    clearTimeout(this.#timer)
  }

  /** The oldest events of each tenant, as many as one append takes. */
  #take(): Map<string, Waiting[]> {
    const taken = new Map<string, Waiting[]>()
    let room = PRESENCE_RECORDS_PER_APPEND_MAX
    for (const [tenant, events] of this.#waiting) {
      if (events.length <= room) this.#waiting.delete(tenant)
      const some = events.length <= room ? events : events.splice(0, room)
      taken.set(tenant, some)
      room -= some.length
      if (room === 0) break
    }
    this.#waitingCount -= PRESENCE_RECORDS_PER_APPEND_MAX - room
    return taken
  }

  async #flushOnce(): Promise<void> {
    const encoder = new TextEncoder()
    const entries = []
    for (const [tenant, events] of this.#take()) {
      const topic = presenceTopic(tenant)
      if (!this.#created.has(tenant)) {
        // Made at start with the configured retention; here for tenants that came with a credential.
        if ((await this.#log.describeTopic(topic)) === undefined)
          await this.#log.createTopic(topic, PRESENCE_TOPIC_CONFIG)
        this.#created.add(tenant)
      }
      const builder = new RecordBatchBuilder()
      for (const { key, event } of events)
        builder.append(event.time, encoder.encode(key), encoder.encode(JSON.stringify(event)))
      const recordCount = builder.recordCount
      entries.push({ topic, partition: 0, batch: builder.finish(), recordCount })
    }
    for (;;) {
      try {
        await this.#log.append({ entries, independent: true })
        return
      } catch (error) {
        // Nothing of a refused request was stored; the events go on waiting for space.
        if (!isMillraceError(error) || error.action !== 'retry') throw error
        await new Promise((resolve) => setTimeout(resolve, PRESENCE_FLUSH_MS).unref())
      }
    }
  }
}
