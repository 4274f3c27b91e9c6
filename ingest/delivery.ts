// Live messages to one subscriber: what it holds, what it has not acknowledged, and what waits to be written.
//
// QoS 0: a subscriber whose socket is full misses messages, and they are counted. QoS 1: at most its Receive
// Maximum are unacknowledged, more wait; one that falls too far behind is disconnected, because leaving
// messages out would break what QoS 1 says. Nothing is sent again: a session ends with its connection.
import { C } from './counters.ts'
import { DELIVERY_BYTES_MAX } from './limits.ts'
import { FLAG_QOS_1, REASON } from './mqtt-codes.ts'
import { publishBytes, writePublish } from './mqtt-encode.ts'
import type { Session } from './session.ts'
import { OPTION_QOS } from './subscriptions.ts'
import { HEADROOM } from './transport.ts'

const OUT_BYTES_MIN = 4096
const PACKET_ID_MAX = 0xffff

interface Waiting {
  topic: Uint8Array
  properties: Uint8Array
  payload: Uint8Array
  bytes: number
}

export class Delivery {
  /** Options by filter. */
  readonly filters = new Map<string, number>()
  readonly #session: Session
  readonly #inFlight = new Set<number>()
  #waiting: Waiting[] = []
  #waitingBytes = 0
  #lastId = 0
  /** Packets to be written at the end of this turn, from HEADROOM on. */
  #out: Buffer | undefined
  #outEnd = HEADROOM

  constructor(session: Session) {
    this.#session = session
  }

  /** Sends a message at the lower of its QoS and the subscription's; the views need to hold during the call only. */
  send(qos: number, options: number, topic: Uint8Array, properties: Uint8Array, payload: Uint8Array): void {
    const session = this.#session
    const { ingest } = session
    const flags = qos !== 0 && (options & OPTION_QOS) !== 0 ? FLAG_QOS_1 : 0
    const bytes = publishBytes(session.level, flags, topic.length, properties.length, payload.length)
    // A packet above the client's maximum must not be sent to it (MQTT 5.0 section 3.1.2.11.4).
    if (bytes > session.packetBytesMaxOut) {
      ingest.count(C.deliveryDropped)
      return
    }
    if (flags === 0) {
      if (session.transport.queuedBytes + this.#outEnd + bytes > DELIVERY_BYTES_MAX) {
        ingest.count(C.deliveryDropped)
        return
      }
      this.#write(flags, 0, topic, properties, payload, bytes)
      return
    }
    if (this.#waiting.length === 0 && this.#inFlight.size < session.receiveMaximumOut) {
      this.#write(flags, this.#takeId(), topic, properties, payload, bytes)
      return
    }
    if (this.#waitingBytes + bytes > DELIVERY_BYTES_MAX) {
      ingest.count(C.deliveryDropped)
      ingest.endLater(session, REASON.quotaExceeded, 'the subscriber is too slow for its QoS 1 messages')
      return
    }
    this.#waitingBytes += bytes
    this.#waiting.push({
      topic: topic.slice(),
      properties: properties.slice(),
      payload: payload.slice(),
      bytes,
    })
  }

  /** The client acknowledged a message: the next that waits goes out. */
  acknowledged(packetId: number): void {
    if (!this.#inFlight.delete(packetId)) return
    let taken = 0
    while (taken < this.#waiting.length && this.#inFlight.size < this.#session.receiveMaximumOut) {
      const { topic, properties, payload, bytes } = this.#waiting[taken++]!
      this.#waitingBytes -= bytes
      this.#write(FLAG_QOS_1, this.#takeId(), topic, properties, payload, bytes)
    }
    if (taken > 0) this.#waiting.splice(0, taken)
  }

  /** Writes what has gathered in this turn. */
  flush(): void {
    const out = this.#out
    if (out === undefined) return
    this.#out = undefined
    const end = this.#outEnd
    this.#outEnd = HEADROOM
    this.#session.ingest.sent(this.#session, out, end)
  }

  #takeId(): number {
    do this.#lastId = this.#lastId === PACKET_ID_MAX ? 1 : this.#lastId + 1
    while (this.#inFlight.has(this.#lastId))
    this.#inFlight.add(this.#lastId)
    return this.#lastId
  }

  #write(
    flags: number,
    packetId: number,
    topic: Uint8Array,
    properties: Uint8Array,
    payload: Uint8Array,
    bytes: number,
  ): void {
    const { ingest, level } = this.#session
    if (this.#out === undefined) ingest.addWriting(this)
    const needed = this.#outEnd + bytes
    if (this.#out === undefined || needed > this.#out.length) {
      const grown = Buffer.allocUnsafe(Math.max(OUT_BYTES_MIN, needed, (this.#out?.length ?? 0) * 2))
      if (this.#out !== undefined) grown.set(this.#out.subarray(0, this.#outEnd))
      this.#out = grown
    }
    this.#outEnd = writePublish(
      this.#out,
      this.#outEnd,
      level,
      flags,
      packetId,
      topic,
      properties,
      payload,
      0,
      payload.length,
    )
    ingest.values[C.delivered]!++
  }
}
