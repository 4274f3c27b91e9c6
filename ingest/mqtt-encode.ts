// What we send: every packet of MQTT 3.1.1 and 5.0 that goes from server to client.
//
// Each `write…` puts a packet into `into` at `at` and returns the position after it, or -1 where it does not
// fit. PINGRESP and the plain PUBACK are written by whoever sends thousands of them (ack-ring.ts, send-batch.ts).
import {
  CONNACK,
  DISCONNECT,
  FLAG_QOS,
  LEVEL_5,
  PINGRESP,
  PUBACK,
  PUBLISH,
  REASON,
  returnCodeOf,
  SUBACK,
  UNSUBACK,
} from './mqtt-codes.ts'
import { PacketWriter, type Properties } from './mqtt-properties.ts'

const NO_PROPERTIES: Properties = {}

/** CONNACK (section 3.2). 3.1.1 gets the return code nearest to `reason`, and no properties. */
export function writeConnack(
  into: Uint8Array,
  at: number,
  level: number,
  sessionPresent: boolean,
  reason: number,
  properties: Properties = NO_PROPERTIES,
): number {
  const body = new PacketWriter()
  // Session Present must be 0 with a refusal (MQTT-3.2.2-6).
  body.u8(sessionPresent && reason === REASON.success ? 1 : 0)
  if (level === LEVEL_5) {
    body.u8(reason)
    body.properties(properties)
  } else body.u8(returnCodeOf(reason))
  return writePacket(into, at, CONNACK << 4, body.written)
}

/** PUBACK with a Reason String (section 3.4), for refusals in 5.0; the signature of the ring's DetailWriter. */
export function writePubackDetailed(
  into: Uint8Array,
  at: number,
  packetId: number,
  reason: number,
  detail: string,
): number {
  const body = new PacketWriter()
  body.u16(packetId)
  body.u8(reason)
  body.properties({ reasonString: detail })
  return writePacket(into, at, PUBACK << 4, body.written)
}

/** PUBACK in its shortest form: four bytes for success and for 3.1.1, five with a reason code. */
export function writePuback(
  into: Uint8Array,
  at: number,
  level: number,
  packetId: number,
  reason: number,
): number {
  const body = new PacketWriter()
  body.u16(packetId)
  if (level === LEVEL_5 && reason !== REASON.success) body.u8(reason)
  return writePacket(into, at, PUBACK << 4, body.written)
}

/** SUBACK (section 3.9): one granted QoS or reason code per filter; 3.1.1 knows the one failure 0x80. */
export function writeSuback(
  into: Uint8Array,
  at: number,
  level: number,
  packetId: number,
  reasons: readonly number[],
  properties: Properties = NO_PROPERTIES,
): number {
  const body = new PacketWriter()
  body.u16(packetId)
  if (level === LEVEL_5) body.properties(properties)
  for (const reason of reasons)
    body.u8(level === LEVEL_5 || reason < REASON.unspecifiedError ? reason : REASON.unspecifiedError)
  return writePacket(into, at, SUBACK << 4, body.written)
}

/** UNSUBACK (section 3.11); 3.1.1 has no reason codes in it. */
export function writeUnsuback(
  into: Uint8Array,
  at: number,
  level: number,
  packetId: number,
  reasons: readonly number[],
  properties: Properties = NO_PROPERTIES,
): number {
  const body = new PacketWriter()
  body.u16(packetId)
  if (level === LEVEL_5) {
    body.properties(properties)
    for (const reason of reasons) body.u8(reason)
  }
  return writePacket(into, at, UNSUBACK << 4, body.written)
}

/** PINGRESP (section 3.13), ready to send. */
export const PINGRESP_BYTES: Uint8Array = Uint8Array.of(PINGRESP << 4, 0)

/** DISCONNECT (section 3.14). A 3.1.1 server has none: the connection is closed instead, and nothing is written. */
export function writeDisconnect(
  into: Uint8Array,
  at: number,
  level: number,
  reason: number,
  properties: Properties = NO_PROPERTIES,
): number {
  if (level !== LEVEL_5) return at
  const body = new PacketWriter()
  body.u8(reason)
  body.properties(properties)
  return writePacket(into, at, DISCONNECT << 4, body.written)
}

/** Bytes of a PUBLISH that `writePublish` would write. `propertiesBytes`: without their length; ignored in 3.1.1. */
export function publishBytes(
  level: number,
  flags: number,
  topicBytes: number,
  propertiesBytes: number,
  payloadBytes: number,
): number {
  let body = 2 + topicBytes + payloadBytes
  if ((flags & FLAG_QOS) !== 0) body += 2
  if (level === LEVEL_5) body += sizeOfVarint(propertiesBytes) + propertiesBytes
  return 1 + sizeOfVarint(body) + body
}

/**
 * PUBLISH to a subscriber (section 3.3). `flags`: QoS, DUP, RETAIN as on the wire. `properties`: encoded by
 * `encodeProperties`. The payload is bytes[payloadStart, payloadEnd).
 */
export function writePublish(
  into: Uint8Array,
  at: number,
  level: number,
  flags: number,
  packetId: number,
  topic: Uint8Array,
  properties: Uint8Array,
  payload: Uint8Array,
  payloadStart: number,
  payloadEnd: number,
): number {
  const payloadBytes = payloadEnd - payloadStart
  const size = publishBytes(level, flags, topic.length, properties.length, payloadBytes)
  if (at + size > into.length) return -1
  into[at] = (PUBLISH << 4) | (flags & 0x0f)
  // The remaining length is what is left after itself: its own size follows from the total.
  const remainingBytes = remainingLengthBytes(size)
  let p = writeVarint(into, at + 1, size - 1 - remainingBytes)
  into[p++] = topic.length >>> 8
  into[p++] = topic.length
  into.set(topic, p)
  p += topic.length
  if ((flags & FLAG_QOS) !== 0) {
    into[p++] = packetId >>> 8
    into[p++] = packetId
  }
  if (level === LEVEL_5) {
    p = writeVarint(into, p, properties.length)
    into.set(properties, p)
    p += properties.length
  }
  into.set(payload.subarray(payloadStart, payloadEnd), p)
  return p + payloadBytes
}

/** Position of the packet id in a QoS 1 PUBLISH that `writePublish` wrote at `at`: for one packet sent to many. */
export function packetIdPosition(packet: Uint8Array, at: number, topicBytes: number): number {
  let p = at + 1
  while (packet[p]! >= 0x80) p++
  return p + 1 + 2 + topicBytes
}

function writePacket(into: Uint8Array, at: number, first: number, body: Uint8Array): number {
  if (at + 1 + sizeOfVarint(body.length) + body.length > into.length) return -1
  into[at] = first
  const p = writeVarint(into, at + 1, body.length)
  into.set(body, p)
  return p + body.length
}

/** Bytes of a Variable Byte Integer (section 1.5.5). */
function sizeOfVarint(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4
}

function remainingLengthBytes(packetBytes: number): number {
  for (let bytes = 1; ; bytes++) if (sizeOfVarint(packetBytes - 1 - bytes) === bytes) return bytes
}

function writeVarint(into: Uint8Array, at: number, value: number): number {
  let p = at
  let rest = value
  while (rest >= 0x80) {
    into[p++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  into[p++] = rest
  return p
}
