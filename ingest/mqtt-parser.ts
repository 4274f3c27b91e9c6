// MQTT control packets out of a byte stream (MQTT 3.1.1 section 2, MQTT 5.0 section 2):
//
//   ├─ type, flags ─┼─ remaining length ─┼─ body … ────────────────────────────────────┤
//        1 byte          1 to 4 bytes
//
//   PUBLISH body:  topic length u16 │ topic │ packet id u16 (QoS > 0) │ properties (5.0) │ payload
//
// The parser reads where the bytes lie, in the worker's shared receive buffer, and hands the handler offsets
// into it: no packet objects, no copies, no strings. Only a packet that straddles two reads is copied, into a
// carry buffer of this connection that is allocated then and released once the packet is whole.
//
// Between two reads it is in one of the states below, named by the prefix consumed. Whatever the cutting of
// the stream into reads, the events are the same.
//
// It holds no policy. Authentication, quotas, what QoS 2 and RETAIN get, aliases: all that is the handler's.

import { sameBytes } from '../std/copy.ts'
import { viewOf } from '../std/view.ts'
import {
  AUTH,
  CONNECT,
  DISCONNECT,
  FLAG_DUP,
  FLAG_QOS,
  FLAG_SAME_TOPIC,
  LEVEL_5,
  PINGREQ,
  PUBACK,
  PUBCOMP,
  PUBLISH,
  PUBREC,
  PUBREL,
  REASON,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from './mqtt-codes.ts'
import { decodeAcknowledgement } from './mqtt-packets.ts'
import { isTopicName } from './topic-name.ts'

// What a handler answers, and what `parse` returns.
/** Go on. */
export const CONTINUE = 0
/** The packet is dealt with; what follows is kept until `resume`. */
export const PAUSE = 1
/** The packet is not dealt with: it is kept with what follows, and given again after `resume`. */
export const HOLD = 2
/** The connection is over: nothing more is parsed. */
export const CLOSE = 3

/**
 * Receives what the parser finds. One class implements it, so that the calls stay monomorphic. Offsets point
 * into `bytes` and hold until the call returns. Every call but `onMalformed` answers CONTINUE, PAUSE, HOLD or
 * CLOSE; none may call the parser back.
 */
export interface PacketHandler {
  /** Whether it wants `onTopicsAhead`; asked once a read. */
  readonly looksAhead?: boolean
  /**
   * Before the next PUBLISH packets: where the topics of them are, `count` entries of AHEAD_START, AHEAD_END,
   * AHEAD_KNOWN_AS and what the parser needs, nothing of them checked but that they lie in their packets. Whoever has many
   * topics finds them sooner all at once. What is put into AHEAD_KNOWN_AS, which is 0, comes back with the packet; another
   * number says that the topic is equal to one that was a valid Topic Name, and is not checked again.
   */
  onTopicsAhead?(bytes: Uint8Array, ahead: Int32Array, count: number): void
  /** The body of a CONNECT: `decodeConnect` reads it. The handler sets `level` before it returns CONTINUE or PAUSE. */
  onConnect(bytes: Uint8Array, start: number, end: number): number
  /**
   * `flags`: FLAG_DUP, FLAG_QOS_1 or FLAG_QOS_2, FLAG_RETAIN as sent, and FLAG_SAME_TOPIC. `packetId` is 0 for
   * QoS 0. The topic is a valid Topic Name, or empty (5.0 only: an alias must be among the properties).
   * Properties lie in [propertiesStart, propertiesEnd) without their length and are not checked yet. `knownAs` is
   * what `onTopicsAhead` knew the topic as, else 0.
   */
  onPublish(
    bytes: Uint8Array,
    flags: number,
    topicStart: number,
    topicEnd: number,
    packetId: number,
    propertiesStart: number,
    propertiesEnd: number,
    payloadStart: number,
    payloadEnd: number,
    knownAs: number,
  ): number
  /**
   * After a PUBLISH with a topic that was answered by CONTINUE: how many more of its topic and flags it would take as one
   * run; 0 where each is to come by `onPublish`.
   */
  runMax?(flags: number): number
  /**
   * `count` PUBLISH packets, each with the flags and the topic of the one before and no properties, as entries of
   * RUN_PACKET_ID, RUN_START and RUN_END; at `topicStart` is that topic. Returns how many were dealt with, as if each had
   * been answered by CONTINUE; the others come by `onPublish`.
   */
  onPublishRun?(bytes: Uint8Array, topicStart: number, run: Int32Array, count: number): number
  /** As `runMax`, before PUBLISH packets of these flags that `onTopicsAhead` knows, and nothing is known of what was before. */
  knownRunMax?(flags: number): number
  /** As `onPublishRun`, of packets of which each has a topic of its own: the first `count` entries of `ahead`. */
  onKnownRun?(bytes: Uint8Array, ahead: Int32Array, run: Int32Array, count: number): number
  onPuback(packetId: number, reason: number): number
  /** The body of a SUBSCRIBE, packet id first: `decodeSubscribe` reads it. */
  onSubscribe(bytes: Uint8Array, start: number, end: number): number
  onUnsubscribe(bytes: Uint8Array, start: number, end: number): number
  /** The body of a DISCONNECT, empty in 3.1.1: `decodeDisconnect` reads it. */
  onDisconnect(bytes: Uint8Array, start: number, end: number): number
  onPing(): number
  /** The stream cannot be read on. `reason` is an MQTT 5.0 code, `message` an index into MALFORMED_MESSAGES. */
  onMalformed(reason: number, message: number): void
}

// Messages by number: the hot path carries an index, the cold one looks the sentence up.
export const BAD_FLAGS = 0
export const BAD_TYPE = 1
export const BAD_REMAINING_LENGTH = 2
export const TOO_LARGE = 3
export const NOT_CONNECTED = 4
export const CONNECTED_TWICE = 5
export const BAD_QOS = 6
export const DUP_AT_QOS_0 = 7
export const TOPIC_OVERRUNS = 8
export const TOPIC_EMPTY = 9
export const TOPIC_INVALID = 10
export const PACKET_ID_MISSING = 11
export const PACKET_ID_ZERO = 12
export const PROPERTIES_OVERRUN = 13
export const BODY_LENGTH = 14
export const NOT_FROM_CLIENT = 15
export const QOS_2_EXCHANGE = 16
export const AUTH_NOT_STARTED = 17
export const BAD_ACKNOWLEDGEMENT = 18

/** What each message number means, for logs and Reason Strings. */
export const MALFORMED_MESSAGES: readonly string[] = [
  'reserved flags of the fixed header are set',
  'packet type is reserved',
  'remaining length has more than four bytes',
  'packet is larger than the maximum packet size',
  'first packet is not CONNECT',
  'second CONNECT on one connection',
  'QoS 3 does not exist',
  'DUP is set at QoS 0',
  'topic name is longer than its packet',
  'topic name is empty',
  'topic name has a wildcard, U+0000 or invalid UTF-8',
  'packet ends before its packet identifier',
  'packet identifier is 0',
  'properties are longer than their packet',
  'packet has a wrong length for its type',
  'packet type is sent by servers only',
  'QoS 2 exchange that was never begun',
  'AUTH without an authentication method',
  'acknowledgement is malformed',
]

// States between two reads.
/** Nothing of the next packet. */
const NOTHING = 0
/** Its first byte, and perhaps some of its remaining length. */
const TYPE = 1
/** Its fixed header, and some of its body. */
const FIXED_HEADER = 2
/** Whole packets and perhaps a part of one are kept while the handler pauses. */
const PAUSED = 3
const CLOSED = 4

/** Topics that are looked for ahead at once. */
export const AHEAD_MAX = 128
// Numbers of an entry: the topic is bytes[start, end).
export const AHEAD_START = 0
export const AHEAD_END = 1
export const AHEAD_KNOWN_AS = 2
/** The packet is bytes[at, next). */
const AHEAD_AT = 3
const AHEAD_NEXT = 4
export const AHEAD_ENTRY = 5
// One for all parsers, because none is called while another one reads.
const ahead = new Int32Array(AHEAD_MAX * AHEAD_ENTRY)
/** Entries in it. */
let aheadCount = 0

/** Packets of a run. */
export const RUN_MAX = 128
// Numbers of an entry: the payload is bytes[start, end).
export const RUN_PACKET_ID = 0
export const RUN_START = 1
export const RUN_END = 2
export const RUN_ENTRY = 3
// One for all parsers too.
const run = new Int32Array(RUN_MAX * RUN_ENTRY)
/** Entries in it. */
let runCount = 0

const REMAINING_LENGTH_BYTES_MAX = 4
const CARRY_BYTES_MIN = 64

export class MqttParser {
  /** Protocol level of the connection, 0 until the handler has accepted a CONNECT and set it. */
  level = 0
  readonly #handler: PacketHandler
  readonly #packetBytesMax: number
  #state = NOTHING
  #carry: Uint8Array | undefined
  #carried = 0
  /** Bytes of the packet in the carry buffer, known from state FIXED_HEADER on. */
  #carryNeeded = 0
  /** What the last `#run` ended with. */
  #result = CONTINUE

  /** `packetBytesMax`: whole packet, fixed header included, as Maximum Packet Size counts (5.0 section 3.2.2.3.6). */
  constructor(handler: PacketHandler, packetBytesMax: number) {
    this.#handler = handler
    this.#packetBytesMax = packetBytesMax
  }

  /** Bytes kept for this connection, for the memory account. */
  get carriedBytes(): number {
    return this.#carry === undefined ? 0 : this.#carry.length
  }

  /**
   * Reads bytes[start, end), the next part of the stream. Returns CONTINUE, PAUSE (call `resume` when the
   * handler can go on; bytes that still come are kept) or CLOSE. The bytes may be reused when it returns.
   */
  parse(bytes: Uint8Array, start: number, end: number): number {
    let at = start
    if (this.#state !== NOTHING) {
      if (this.#state === CLOSED) return CLOSE
      if (this.#state === PAUSED) {
        this.#keep(bytes, start, end)
        return PAUSE
      }
      at = this.#complete(bytes, start, end)
      if (this.#result !== CONTINUE) return this.#stop(bytes, at, end)
      if (this.#state !== NOTHING) return CONTINUE
    }
    at = this.#run(bytes, at, end)
    if (this.#result !== CONTINUE) return this.#stop(bytes, at, end)
    if (at < end) this.#carryOver(bytes, at, end)
    return CONTINUE
  }

  /** Goes on after PAUSE with what was kept; same answers as `parse`. */
  resume(): number {
    if (this.#state !== PAUSED) return this.#state === CLOSED ? CLOSE : CONTINUE
    const bytes = this.#carry
    const end = this.#carried
    this.#release()
    if (bytes === undefined) return CONTINUE
    const at = this.#run(bytes, 0, end)
    if (this.#result !== CONTINUE) return this.#stop(bytes, at, end)
    if (at < end) this.#carryOver(bytes, at, end)
    return CONTINUE
  }

  /** Forgets everything kept; later bytes are ignored. For connections closed by us. */
  close(): void {
    this.#release()
    this.#state = CLOSED
  }

  /**
   * Reads the whole packets of bytes[start, end). Returns where the first one begins that is not whole or
   * was not dealt with, and leaves in `#result` why it stopped. The branch for PUBLISH comes first and is
   * written out, because all but a few packets are one.
   */
  #run(bytes: Uint8Array, start: number, end: number): number {
    const handler = this.#handler
    const packetBytesMax = this.#packetBytesMax
    const view = viewOf(bytes)
    let at = start
    // The topic of the PUBLISH before, in the same buffer: equal bytes need no second validation.
    let lastTopic = 0
    let lastTopicLength = -1
    const looksAhead = handler.looksAhead === true
    // Who looks ahead gets runs of what it knows.
    let takesRuns = handler.runMax !== undefined && !looksAhead
    let lookedUntil = start
    // The entry of the next PUBLISH, where it was looked at.
    let entry = 0
    aheadCount = 0
    this.#result = CONTINUE
    while (at < end) {
      if (looksAhead && at >= lookedUntil) {
        lookedUntil = this.#lookAhead(bytes, at, end)
        entry = this.#takeKnown(bytes, at)
        if (entry > 0) {
          const last = (entry - 1) * AHEAD_ENTRY
          lastTopic = ahead[last + AHEAD_START]!
          lastTopicLength = ahead[last + AHEAD_END]! - lastTopic
          at = ahead[last + AHEAD_NEXT]!
          continue
        }
      }
      const first = bytes[at]!
      let body = at + 1
      if (body === end) return at
      let remaining = bytes[body++]!
      if (remaining >= 0x80) {
        remaining &= 0x7f
        let scale = 0x80
        let byte = 0x80
        while (byte >= 0x80) {
          if (body - at > REMAINING_LENGTH_BYTES_MAX)
            return this.#malformed(at, REASON.malformedPacket, BAD_REMAINING_LENGTH)
          if (body === end) return at
          byte = bytes[body++]!
          remaining += (byte & 0x7f) * scale
          scale *= 0x80
        }
      }
      const next = body + remaining
      if (next - at > packetBytesMax) return this.#malformed(at, REASON.packetTooLarge, TOO_LARGE)
      if (next > end) return at

      if (first >>> 4 !== PUBLISH || this.level === 0) {
        const result = this.#packet(bytes, first, body, next)
        if (result !== CONTINUE) {
          this.#result = result
          return result === HOLD ? at : next
        }
        at = next
        continue
      }

      let flags = first & 0x0f
      const topic = body + 2
      if (topic > next) return this.#malformed(at, REASON.malformedPacket, TOPIC_OVERRUNS)
      const topicLength = (bytes[body]! << 8) | bytes[body + 1]!
      let p = topic + topicLength
      if (p > next) return this.#malformed(at, REASON.malformedPacket, TOPIC_OVERRUNS)
      let knownAs = 0
      if (entry < aheadCount) knownAs = ahead[entry++ * AHEAD_ENTRY + AHEAD_KNOWN_AS]!
      if (knownAs !== 0) {
        lastTopicLength = topicLength
      } else if (topicLength === lastTopicLength && sameBytes(view, lastTopic, view, topic, topicLength)) {
        flags |= FLAG_SAME_TOPIC
      } else if (topicLength === 0) {
        if (this.level !== LEVEL_5) return this.#malformed(at, REASON.malformedPacket, TOPIC_EMPTY)
        lastTopicLength = -1
      } else {
        if (!isTopicName(bytes, topic, p)) return this.#malformed(at, REASON.malformedPacket, TOPIC_INVALID)
        lastTopicLength = topicLength
      }
      lastTopic = topic

      let packetId = 0
      if ((flags & FLAG_QOS) !== 0) {
        if ((flags & FLAG_QOS) === FLAG_QOS) return this.#malformed(at, REASON.malformedPacket, BAD_QOS)
        if (p + 2 > next) return this.#malformed(at, REASON.malformedPacket, PACKET_ID_MISSING)
        packetId = (bytes[p]! << 8) | bytes[p + 1]!
        if (packetId === 0) return this.#malformed(at, REASON.protocolError, PACKET_ID_ZERO)
        p += 2
      } else if ((flags & FLAG_DUP) !== 0) return this.#malformed(at, REASON.malformedPacket, DUP_AT_QOS_0)

      let properties = p
      if (this.level === LEVEL_5) {
        if (p === next) return this.#malformed(at, REASON.malformedPacket, PROPERTIES_OVERRUN)
        let length = bytes[p++]!
        if (length >= 0x80) {
          length &= 0x7f
          let scale = 0x80
          let byte = 0x80
          for (let i = 1; byte >= 0x80; i++) {
            if (i === REMAINING_LENGTH_BYTES_MAX || p === next)
              return this.#malformed(at, REASON.malformedPacket, PROPERTIES_OVERRUN)
            byte = bytes[p++]!
            length += (byte & 0x7f) * scale
            scale *= 0x80
          }
        }
        properties = p
        p += length
        if (p > next) return this.#malformed(at, REASON.malformedPacket, PROPERTIES_OVERRUN)
      }

      const result = handler.onPublish(
        bytes,
        flags,
        topic,
        topic + topicLength,
        packetId,
        properties,
        p,
        p,
        next,
        knownAs,
      )
      if (result !== CONTINUE) {
        this.#result = result
        return result === HOLD ? at : next
      }
      at = next
      if (takesRuns && topicLength > 0 && at < end && bytes[at] === first) {
        const runEnd = this.#gatherRun(bytes, at, end, first, topic, topicLength)
        if (runEnd > at) {
          const taken = handler.onPublishRun!(bytes, topic, run, runCount)
          // What stopped it may stop the next one as well: gathering again for each packet would be in vain.
          takesRuns = taken === runCount
          if (takesRuns) at = runEnd
          else if (taken > 0) at = run[(taken - 1) * RUN_ENTRY + RUN_END]!
        }
      }
    }
    return at
  }

  /**
   * Finds the PUBLISH packets from `start` on that differ from the one before in packet id and payload alone, as many as the
   * handler takes: `runCount` entries of `run`. Whatever else there is, or is not right, ends the run. Returns where it ends.
   */
  #gatherRun(
    bytes: Uint8Array,
    start: number,
    end: number,
    first: number,
    topic: number,
    topicLength: number,
  ): number {
    const flags = first & 0x0f
    const countMax = Math.min(this.#handler.runMax!(flags), RUN_MAX)
    const packetBytesMax = this.#packetBytesMax
    const view = viewOf(bytes)
    const idBytes = (flags & FLAG_QOS) === 0 ? 0 : 2
    const propertyBytes = this.level === LEVEL_5 ? 1 : 0
    let count = 0
    let at = start
    // What follows the fixed header must be there as well: two bytes are the least that a topic's length takes.
    while (count < countMax && at + 4 <= end) {
      const head = view.getUint16(at)
      if (head >>> 8 !== first) break
      let body = at + 2
      let remaining = head & 0xff
      if (remaining >= 0x80) {
        const more = bytes[body++]!
        if (more >= 0x80) break
        remaining = (remaining & 0x7f) | (more << 7)
      }
      const next = body + remaining
      const id = body + 2 + topicLength
      const payload = id + idBytes + propertyBytes
      if (next > end || next - at > packetBytesMax || payload > next) break
      if (view.getUint16(body) !== topicLength) break
      if (!sameBytes(view, topic, view, body + 2, topicLength)) break
      let packetId = 0
      if (idBytes > 0) {
        packetId = view.getUint16(id)
        if (packetId === 0) break
      }
      if (propertyBytes > 0 && bytes[id + idBytes] !== 0) break
      const entry = count++ * RUN_ENTRY
      run[entry + RUN_PACKET_ID] = packetId
      run[entry + RUN_START] = payload
      run[entry + RUN_END] = next
      at = next
    }
    runCount = count
    return at
  }

  /** Gives the handler what was looked at and is known, from the packet at `at` on, as a run; returns how many it dealt with. */
  #takeKnown(bytes: Uint8Array, at: number): number {
    const handler = this.#handler
    if (aheadCount === 0 || ahead[AHEAD_KNOWN_AS] === 0 || handler.knownRunMax === undefined) return 0
    const first = bytes[at]!
    const flags = first & 0x0f
    const countMax = Math.min(handler.knownRunMax(flags), aheadCount, RUN_MAX)
    const packetBytesMax = this.#packetBytesMax
    const view = viewOf(bytes)
    const idBytes = (flags & FLAG_QOS) === 0 ? 0 : 2
    const propertyBytes = this.level === LEVEL_5 ? 1 : 0
    let count = 0
    for (; count < countMax; count++) {
      const entry = count * AHEAD_ENTRY
      const start = ahead[entry + AHEAD_AT]!
      const next = ahead[entry + AHEAD_NEXT]!
      const id = ahead[entry + AHEAD_END]!
      const payload = id + idBytes + propertyBytes
      if (ahead[entry + AHEAD_KNOWN_AS] === 0 || bytes[start] !== first) break
      if (payload > next || next - start > packetBytesMax) break
      let packetId = 0
      if (idBytes > 0) {
        packetId = view.getUint16(id)
        if (packetId === 0) break
      }
      if (propertyBytes > 0 && bytes[id + idBytes] !== 0) break
      const one = count * RUN_ENTRY
      run[one + RUN_PACKET_ID] = packetId
      run[one + RUN_START] = payload
      run[one + RUN_END] = next
    }
    return count === 0 ? 0 : handler.onKnownRun!(bytes, ahead, run, count)
  }

  /** Tells the handler of topics that come next; returns the position after the last packet that was looked at. */
  #lookAhead(bytes: Uint8Array, start: number, end: number): number {
    let count = 0
    let at = start
    while (count < AHEAD_MAX && at + 4 <= end && bytes[at]! >>> 4 === PUBLISH) {
      let body = at + 1
      let remaining = bytes[body++]!
      if (remaining >= 0x80) {
        const more = bytes[body++]!
        // Packets of 16 KiB and more are not what this is for.
        if (more >= 0x80) break
        remaining = (remaining & 0x7f) | (more << 7)
      }
      const next = body + remaining
      const topic = body + 2
      if (next > end || topic > next) break
      const topicEnd = topic + ((bytes[body]! << 8) | bytes[body + 1]!)
      if (topicEnd > next) break
      const entry = count++ * AHEAD_ENTRY
      ahead[entry + AHEAD_START] = topic
      ahead[entry + AHEAD_END] = topicEnd
      ahead[entry + AHEAD_KNOWN_AS] = 0
      ahead[entry + AHEAD_AT] = at
      ahead[entry + AHEAD_NEXT] = next
      at = next
    }
    aheadCount = count
    if (count > 0) this.#handler.onTopicsAhead!(bytes, ahead, count)
    return at
  }

  /** Every packet but PUBLISH: rare, so clarity counts. Returns what the handler answered. */
  #packet(bytes: Uint8Array, first: number, start: number, end: number): number {
    const type = first >>> 4
    if (this.level === 0) {
      if (type !== CONNECT) return this.#refuse(REASON.protocolError, NOT_CONNECTED)
    } else if (type === CONNECT) return this.#refuse(REASON.protocolError, CONNECTED_TWICE)
    if (type === 0 || (type === AUTH && this.level !== LEVEL_5 && this.level !== 0))
      return this.#refuse(REASON.malformedPacket, BAD_TYPE)
    // Bit 1 is set in these three, every other reserved bit is clear (section 2.1.3).
    const reserved = type === SUBSCRIBE || type === UNSUBSCRIBE || type === PUBREL ? 2 : 0
    if ((first & 0x0f) !== reserved) return this.#refuse(REASON.malformedPacket, BAD_FLAGS)

    switch (type) {
      case CONNECT:
        return this.#handler.onConnect(bytes, start, end)
      case PUBACK: {
        const reason = decodeAcknowledgement(bytes, start, end, this.level)
        if (reason < 0) return this.#refuse(REASON.malformedPacket, BAD_ACKNOWLEDGEMENT)
        const packetId = (bytes[start]! << 8) | bytes[start + 1]!
        if (packetId === 0) return this.#refuse(REASON.protocolError, PACKET_ID_ZERO)
        return this.#handler.onPuback(packetId, reason)
      }
      case SUBSCRIBE:
      case UNSUBSCRIBE: {
        if (end - start < 2) return this.#refuse(REASON.malformedPacket, PACKET_ID_MISSING)
        if ((bytes[start]! | bytes[start + 1]!) === 0)
          return this.#refuse(REASON.protocolError, PACKET_ID_ZERO)
        return type === SUBSCRIBE
          ? this.#handler.onSubscribe(bytes, start, end)
          : this.#handler.onUnsubscribe(bytes, start, end)
      }
      case PINGREQ:
        return start === end ? this.#handler.onPing() : this.#refuse(REASON.malformedPacket, BODY_LENGTH)
      case DISCONNECT:
        return start === end || this.level === LEVEL_5
          ? this.#handler.onDisconnect(bytes, start, end)
          : this.#refuse(REASON.malformedPacket, BODY_LENGTH)
      case PUBREC:
      case PUBREL:
      case PUBCOMP:
        return this.#refuse(REASON.protocolError, QOS_2_EXCHANGE)
      case AUTH:
        return this.#refuse(REASON.protocolError, AUTH_NOT_STARTED)
      default:
        return this.#refuse(REASON.protocolError, NOT_FROM_CLIENT)
    }
  }

  #refuse(reason: number, message: number): number {
    this.#handler.onMalformed(reason, message)
    return CLOSE
  }

  #malformed(at: number, reason: number, message: number): number {
    this.#result = this.#refuse(reason, message)
    return at
  }

  /** Remembers what the handler asked for: keeps bytes[at, end) for PAUSE and HOLD, drops all for CLOSE. */
  #stop(bytes: Uint8Array, at: number, end: number): number {
    if (this.#result === CLOSE) {
      this.close()
      return CLOSE
    }
    this.#state = PAUSED
    this.#keep(bytes, at, end)
    return PAUSE
  }

  /** Adds bytes[start, end) to the carry buffer, grown by doubling: a client that only announces a large packet gets no memory for it. */
  #keep(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start
    if (length === 0) return
    const total = this.#carried + length
    if (this.#carry === undefined || total > this.#carry.length) {
      const capacity = Math.max(CARRY_BYTES_MIN, total, (this.#carry?.length ?? 0) * 2)
      const grown = new Uint8Array(capacity)
      if (this.#carry !== undefined) grown.set(this.#carry.subarray(0, this.#carried))
      this.#carry = grown
    }
    this.#carry.set(bytes.subarray(start, end), this.#carried)
    this.#carried = total
  }

  /** Begins to carry the packet of which bytes[at, end) is the first part. */
  #carryOver(bytes: Uint8Array, at: number, end: number): void {
    this.#keep(bytes, at, end)
    this.#carryNeeded = packetLength(this.#carry!, this.#carried)
    this.#state = this.#carryNeeded === 0 ? TYPE : FIXED_HEADER
  }

  /**
   * Takes from bytes[start, end) what the carried packet lacks, and reads that packet once it is whole.
   * Returns the position after what was taken.
   */
  #complete(bytes: Uint8Array, start: number, end: number): number {
    this.#result = CONTINUE
    let at = start
    while (this.#state === TYPE) {
      if (at === end) return at
      this.#keep(bytes, at, ++at)
      this.#carryNeeded = packetLength(this.#carry!, this.#carried)
      if (this.#carryNeeded !== 0) this.#state = FIXED_HEADER
      else if (this.#carried > REMAINING_LENGTH_BYTES_MAX)
        return this.#malformed(at, REASON.malformedPacket, BAD_REMAINING_LENGTH)
    }
    if (this.#carryNeeded > this.#packetBytesMax) return this.#malformed(at, REASON.packetTooLarge, TOO_LARGE)
    const taken = Math.min(end - at, this.#carryNeeded - this.#carried)
    this.#keep(bytes, at, at + taken)
    at += taken
    if (this.#carried < this.#carryNeeded) return at
    const packet = this.#carry!
    const packetEnd = this.#carried
    this.#release()
    this.#run(packet, 0, packetEnd)
    if (this.#result === HOLD) this.#keep(packet, 0, packetEnd)
    return at
  }

  #release(): void {
    this.#carry = undefined
    this.#carried = 0
    this.#carryNeeded = 0
    this.#state = NOTHING
  }
}

/** Bytes of the packet that begins at 0, or 0 while its remaining length is not whole. */
function packetLength(bytes: Uint8Array, end: number): number {
  let remaining = 0
  let scale = 1
  for (let at = 1; at < end && at <= REMAINING_LENGTH_BYTES_MAX; at++) {
    const byte = bytes[at]!
    remaining += (byte & 0x7f) * scale
    if (byte < 0x80) return at + 1 + remaining
    scale *= 0x80
  }
  return 0
}
