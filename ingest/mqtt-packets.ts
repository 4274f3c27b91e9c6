// The packets of MQTT 3.1.1 and 5.0 that come rarely: CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, and the
// properties of a PUBLISH. Strict: whatever the specification forbids comes back as a reason code, never as
// an exception. What we send is in mqtt-encode.ts.
import {
  CONNECT,
  DISCONNECT,
  LEVEL_3_1_1,
  LEVEL_5,
  PUBACK,
  PUBLISH,
  REASON,
  SUBSCRIBE,
  UNSUBSCRIBE,
} from './mqtt-codes.ts'
import { PacketReader, type Properties, WILL } from './mqtt-properties.ts'
import { isTopicName } from './topic-name.ts'

export interface Will {
  topic: string
  payload: Uint8Array
  qos: number
  retain: boolean
  properties: Properties
}

export interface Connect {
  /** LEVEL_3_1_1 or LEVEL_5; what the client asked for where that is the fault. */
  level: number
  cleanStart: boolean
  /** Seconds; 0: none. */
  keepAlive: number
  properties: Properties
  clientId: string
  will: Will | undefined
  username: string | undefined
  password: Uint8Array | undefined
}

export interface Subscription {
  filter: string
  /** Subscription Options (5.0 section 3.8.3.1): QoS in bits 0–1, No Local 2, Retain As Published 3, Retain Handling 4–5. */
  options: number
}

export interface Subscribe {
  packetId: number
  properties: Properties
  subscriptions: Subscription[]
}

export interface Unsubscribe {
  packetId: number
  properties: Properties
  filters: string[]
}

export interface Disconnect {
  reason: number
  properties: Properties
}

/** A fault: `level` tells which form of CONNACK the client understands (0: it sent no MQTT at all). */
export interface ConnectFault {
  reason: number
  level: number
}

// Connect Flags (section 3.1.2.3).
const FLAG_RESERVED = 0x01
const FLAG_CLEAN_START = 0x02
const FLAG_WILL = 0x04
const FLAG_WILL_RETAIN = 0x20
const FLAG_PASSWORD = 0x40
const FLAG_USERNAME = 0x80
const FLAGS_OF_WILL = 0x38

/** Reads the body of a CONNECT (section 3.1). */
export function decodeConnect(bytes: Uint8Array, start: number, end: number): Connect | ConnectFault {
  const reader = new PacketReader(bytes, start, end)
  const protocol = reader.string()
  const level = reader.u8()
  if (reader.reason !== 0) return { reason: reader.reason, level: 0 }
  if (protocol !== 'MQTT' || (level !== LEVEL_3_1_1 && level !== LEVEL_5))
    return {
      reason: REASON.unsupportedProtocolVersion,
      level: protocol === 'MQTT' && level > LEVEL_5 ? LEVEL_5 : LEVEL_3_1_1,
    }
  const connect = readConnect(reader, level)
  if (reader.reason === 0 && reader.left > 0) reader.fail(REASON.malformedPacket)
  return reader.reason === 0 ? connect : { reason: reader.reason, level }
}

function readConnect(reader: PacketReader, level: number): Connect {
  const flags = reader.u8()
  const hasWill = (flags & FLAG_WILL) !== 0
  const willQos = (flags >>> 3) & 3
  if ((flags & FLAG_RESERVED) !== 0 || willQos === 3 || (!hasWill && (flags & FLAGS_OF_WILL) !== 0))
    reader.fail(REASON.malformedPacket)
  // A password without a user name is allowed in 5.0 only (3.1.1: MQTT-3.1.2-22).
  if (level !== LEVEL_5 && (flags & (FLAG_PASSWORD | FLAG_USERNAME)) === FLAG_PASSWORD)
    reader.fail(REASON.malformedPacket)
  const keepAlive = reader.u16()
  const properties = level === LEVEL_5 ? reader.properties(CONNECT) : {}
  if (properties.authenticationData !== undefined && properties.authenticationMethod === undefined)
    reader.fail(REASON.protocolError)
  const cleanStart = (flags & FLAG_CLEAN_START) !== 0
  const clientId = reader.string()
  // 3.1.1 allows an empty client id only for a clean session (MQTT-3.1.3-8).
  if (reader.reason === 0 && level !== LEVEL_5 && clientId === '' && !cleanStart)
    reader.fail(REASON.clientIdentifierNotValid)
  let will: Will | undefined
  if (hasWill) {
    const willProperties = level === LEVEL_5 ? reader.properties(WILL) : {}
    const topic = topicName(reader)
    will = {
      topic,
      payload: reader.binary(),
      qos: willQos,
      retain: (flags & FLAG_WILL_RETAIN) !== 0,
      properties: willProperties,
    }
    if (isBadResponseTopic(willProperties)) reader.fail(REASON.protocolError)
  }
  const username = (flags & FLAG_USERNAME) !== 0 ? reader.string() : undefined
  const password = (flags & FLAG_PASSWORD) !== 0 ? reader.binary() : undefined
  return { level, cleanStart, keepAlive, properties, clientId, will, username, password }
}

/** Reads a string that must be a Topic Name. */
function topicName(reader: PacketReader): string {
  const start = reader.at + 2
  const topic = reader.string()
  if (reader.reason === 0 && !isTopicName(reader.bytes, start, reader.at)) reader.fail(REASON.malformedPacket)
  return topic
}

/** Wildcards in a Response Topic are forbidden (MQTT-3.3.2-14). */
function isBadResponseTopic(properties: Properties): boolean {
  return properties.responseTopic !== undefined && /^$|[+#]/.test(properties.responseTopic)
}

/** Reads the body of a SUBSCRIBE (section 3.8); a number is the reason code of what is wrong. */
export function decodeSubscribe(
  bytes: Uint8Array,
  start: number,
  end: number,
  level: number,
): Subscribe | number {
  const reader = new PacketReader(bytes, start, end)
  const packetId = reader.u16()
  const properties = level === LEVEL_5 ? reader.properties(SUBSCRIBE) : {}
  const subscriptions: Subscription[] = []
  while (reader.left > 0) {
    const filter = reader.string()
    const options = reader.u8()
    // Reserved bits and QoS 3 are malformed, Retain Handling 3 is a protocol error.
    if ((options & (level === LEVEL_5 ? 0xc0 : 0xfc)) !== 0 || (options & 3) === 3)
      reader.fail(REASON.malformedPacket)
    else if ((options & 0x30) === 0x30) reader.fail(REASON.protocolError)
    subscriptions.push({ filter, options })
  }
  if (reader.reason === 0 && subscriptions.length === 0) reader.fail(REASON.protocolError)
  return reader.reason === 0 ? { packetId, properties, subscriptions } : reader.reason
}

/** Reads the body of an UNSUBSCRIBE (section 3.10); a number is the reason code of what is wrong. */
export function decodeUnsubscribe(
  bytes: Uint8Array,
  start: number,
  end: number,
  level: number,
): Unsubscribe | number {
  const reader = new PacketReader(bytes, start, end)
  const packetId = reader.u16()
  const properties = level === LEVEL_5 ? reader.properties(UNSUBSCRIBE) : {}
  const filters: string[] = []
  while (reader.left > 0) filters.push(reader.string())
  if (reader.reason === 0 && filters.length === 0) reader.fail(REASON.protocolError)
  return reader.reason === 0 ? { packetId, properties, filters } : reader.reason
}

/** Reads the body of a DISCONNECT (section 3.14): empty means Normal disconnection. */
export function decodeDisconnect(bytes: Uint8Array, start: number, end: number): Disconnect | number {
  if (start === end) return { reason: REASON.success, properties: {} }
  const reader = new PacketReader(bytes, start, end)
  const reason = reader.u8()
  const properties = reader.left > 0 ? reader.properties(DISCONNECT) : {}
  if (reader.left > 0) reader.fail(REASON.malformedPacket)
  return reader.reason === 0 ? { reason, properties } : reader.reason
}

/** Reads the properties of a PUBLISH from a client (section 3.3.2.3), as the parser delimits them. */
export function decodePublishProperties(bytes: Uint8Array, start: number, end: number): Properties | number {
  // The property length was read by the parser: the reader is given the block alone.
  const reader = new PacketReader(bytes, start, end)
  const properties = reader.propertiesUntil(PUBLISH, end)
  // A client must not send a Subscription Identifier (MQTT-3.3.4-6).
  if (properties.subscriptionIdentifier !== undefined || isBadResponseTopic(properties))
    reader.fail(REASON.protocolError)
  if (properties.topicAlias === 0) reader.fail(REASON.topicAliasInvalid)
  return reader.reason === 0 ? properties : reader.reason
}

/** The id of the only property a device's PUBLISH usually has. */
const TOPIC_ALIAS = 0x23
const TOPIC_ALIAS_BYTES = 3

/**
 * The alias where the properties are one Topic Alias and nothing else; 0 where there are none at all; -1
 * where they need `decodePublishProperties`. Spares devices that use aliases the cold path. An alias of 0 is
 * left to the cold path too.
 */
export function onlyTopicAlias(bytes: Uint8Array, start: number, end: number): number {
  if (start === end) return 0
  if (end - start !== TOPIC_ALIAS_BYTES || bytes[start] !== TOPIC_ALIAS) return -1
  const alias = (bytes[start + 1]! << 8) | bytes[start + 2]!
  return alias === 0 ? -1 : alias
}

/** Checks the body of a PUBACK (section 3.4) from its packet id on: its reason code, or -1 where it is malformed. */
export function decodeAcknowledgement(bytes: Uint8Array, start: number, end: number, level: number): number {
  const length = end - start
  if (length === 2) return REASON.success
  if (length < 2 || level !== LEVEL_5) return -1
  const reader = new PacketReader(bytes, start + 2, end)
  const reason = reader.u8()
  if (reader.left > 0) reader.properties(PUBACK)
  return reader.reason === 0 && reader.left === 0 ? reason : -1
}
