// Properties of MQTT 5.0 packets (section 2.2.2): one table of all of them, and the cold code that reads and
// writes them.
//
//   ├─ property length, varint ─┼─ id │ value ─┼─ id │ value ─┼ …
//
// A value is a byte, a u16, a u32, a varint, a UTF-8 string or binary data (both u16 length first), or a pair
// of strings. Each property may stand once, User Property and (from a server) Subscription Identifier apart.
import { isUtf8 } from '../std/utf8.ts'
import {
  CONNACK,
  CONNECT,
  DISCONNECT,
  PUBACK,
  PUBLISH,
  REASON,
  SUBACK,
  SUBSCRIBE,
  UNSUBACK,
  UNSUBSCRIBE,
} from './mqtt-codes.ts'

export interface Properties {
  /** 1: the payload is UTF-8 text. */
  payloadFormatIndicator?: number
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Uint8Array
  subscriptionIdentifier?: number
  /** Seconds; 0xffffffff: never. */
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  /** Seconds. */
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Uint8Array
  requestProblemInformation?: number
  /** Seconds. */
  willDelayInterval?: number
  requestResponseInformation?: number
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQoS?: number
  retainAvailable?: number
  userProperties?: [name: string, value: string][]
  /** Bytes of a whole packet. */
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: number
  subscriptionIdentifierAvailable?: number
  sharedSubscriptionAvailable?: number
}

type Kind = 'boolean' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair'

interface Definition {
  id: number
  name: keyof Properties
  kind: Kind
  /** Bit `type` for each packet type it may stand in; bit 0 stands for the Will Properties of CONNECT. */
  packets: number
  /** 0 is a protocol error. */
  positive: boolean
}

/** Stands for the Will Properties inside CONNECT where a packet type is asked for. */
export const WILL = 0

function define(
  id: number,
  name: keyof Properties,
  kind: Kind,
  packets: number[],
  positive = false,
): Definition {
  return { id, name, kind, packets: packets.reduce((mask, type) => mask | (1 << type), 0), positive }
}

const EVERYWHERE = [
  CONNECT,
  CONNACK,
  PUBLISH,
  WILL,
  PUBACK,
  SUBSCRIBE,
  SUBACK,
  UNSUBSCRIBE,
  UNSUBACK,
  DISCONNECT,
]

/** Section 2.2.2.2, table 2-4, without AUTH and the packets of QoS 2, which we neither send nor take. */
const DEFINITIONS: readonly Definition[] = [
  define(0x01, 'payloadFormatIndicator', 'boolean', [PUBLISH, WILL]),
  define(0x02, 'messageExpiryInterval', 'u32', [PUBLISH, WILL]),
  define(0x03, 'contentType', 'string', [PUBLISH, WILL]),
  define(0x08, 'responseTopic', 'string', [PUBLISH, WILL]),
  define(0x09, 'correlationData', 'binary', [PUBLISH, WILL]),
  define(0x0b, 'subscriptionIdentifier', 'varint', [PUBLISH, SUBSCRIBE], true),
  define(0x11, 'sessionExpiryInterval', 'u32', [CONNECT, CONNACK, DISCONNECT]),
  define(0x12, 'assignedClientIdentifier', 'string', [CONNACK]),
  define(0x13, 'serverKeepAlive', 'u16', [CONNACK]),
  define(0x15, 'authenticationMethod', 'string', [CONNECT, CONNACK]),
  define(0x16, 'authenticationData', 'binary', [CONNECT, CONNACK]),
  define(0x17, 'requestProblemInformation', 'boolean', [CONNECT]),
  define(0x18, 'willDelayInterval', 'u32', [WILL]),
  define(0x19, 'requestResponseInformation', 'boolean', [CONNECT]),
  define(0x1a, 'responseInformation', 'string', [CONNACK]),
  define(0x1c, 'serverReference', 'string', [CONNACK, DISCONNECT]),
  define(0x1f, 'reasonString', 'string', [CONNACK, PUBACK, SUBACK, UNSUBACK, DISCONNECT]),
  define(0x21, 'receiveMaximum', 'u16', [CONNECT, CONNACK], true),
  define(0x22, 'topicAliasMaximum', 'u16', [CONNECT, CONNACK]),
  define(0x23, 'topicAlias', 'u16', [PUBLISH]),
  define(0x24, 'maximumQoS', 'boolean', [CONNACK]),
  define(0x25, 'retainAvailable', 'boolean', [CONNACK]),
  define(0x26, 'userProperties', 'pair', EVERYWHERE),
  define(0x27, 'maximumPacketSize', 'u32', [CONNECT, CONNACK], true),
  define(0x28, 'wildcardSubscriptionAvailable', 'boolean', [CONNACK]),
  define(0x29, 'subscriptionIdentifierAvailable', 'boolean', [CONNACK]),
  define(0x2a, 'sharedSubscriptionAvailable', 'boolean', [CONNACK]),
]

const BY_ID: (Definition | undefined)[] = []
for (const definition of DEFINITIONS) BY_ID[definition.id] = definition

const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
const encoder = new TextEncoder()

/**
 * Reads the parts of a packet one after the other. The first thing that is wrong sets `reason` and every
 * later read returns an empty value, so that a decoder checks once at its end.
 */
export class PacketReader {
  readonly bytes: Uint8Array
  at: number
  readonly end: number
  /** 0, or the reason code of the first fault. */
  reason = 0

  constructor(bytes: Uint8Array, start: number, end: number) {
    this.bytes = bytes
    this.at = start
    this.end = end
  }

  /** Bytes not read yet. */
  get left(): number {
    return this.end - this.at
  }

  fail(reason: number): void {
    if (this.reason === 0) this.reason = reason
    this.at = this.end
  }

  u8(): number {
    if (this.left < 1) {
      this.fail(REASON.malformedPacket)
      return 0
    }
    return this.bytes[this.at++]!
  }

  u16(): number {
    return (this.u8() << 8) | this.u8()
  }

  u32(): number {
    return this.u16() * 0x10000 + this.u16()
  }

  /** Variable Byte Integer (section 1.5.5): up to four bytes, in the fewest that hold the value. */
  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 4; i++) {
      const byte = this.u8()
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (byte === 0 && i > 0) this.fail(REASON.malformedPacket)
        return value
      }
      scale *= 0x80
    }
    this.fail(REASON.malformedPacket)
    return 0
  }

  /** A UTF-8 string (section 1.5.4): well-formed, without U+0000. */
  string(): string {
    const length = this.u16()
    if (length > this.left) this.fail(REASON.malformedPacket)
    if (this.reason !== 0) return ''
    const start = this.at
    this.at += length
    if (!isUtf8(this.bytes, start, this.at) || this.bytes.subarray(start, this.at).includes(0)) {
      this.fail(REASON.malformedPacket)
      return ''
    }
    return decoder.decode(this.bytes.subarray(start, start + length))
  }

  /** Binary data (section 1.5.6), copied out of the receive buffer. */
  binary(): Uint8Array {
    const length = this.u16()
    if (length > this.left) this.fail(REASON.malformedPacket)
    if (this.reason !== 0) return new Uint8Array(0)
    this.at += length
    // Not slice: that of a Buffer would be a view of memory that the next read overwrites.
    return new Uint8Array(this.bytes.subarray(this.at - length, this.at))
  }

  /** Property length and properties of a packet of this type (or WILL). */
  properties(type: number): Properties {
    const length = this.varint()
    if (length > this.left) this.fail(REASON.malformedPacket)
    return this.propertiesUntil(type, this.at + length)
  }

  /** Properties up to `end`, their length having been read. */
  propertiesUntil(type: number, end: number): Properties {
    const properties: Properties = {}
    while (this.reason === 0 && this.at < end) readProperty(this, type, properties)
    // A value that runs out of its property block into the rest of the packet.
    if (this.reason === 0 && this.at !== end) this.fail(REASON.malformedPacket)
    return properties
  }
}

function readProperty(reader: PacketReader, type: number, properties: Properties): void {
  const definition = BY_ID[reader.varint()]
  if (definition === undefined || (definition.packets & (1 << type)) === 0) {
    reader.fail(REASON.malformedPacket)
    return
  }
  if (definition.kind === 'pair') {
    properties.userProperties ??= []
    properties.userProperties.push([reader.string(), reader.string()])
    return
  }
  const name = definition.name
  if (properties[name] !== undefined) {
    reader.fail(REASON.protocolError)
    return
  }
  const value = readValue(reader, definition.kind)
  if (definition.positive && value === 0) reader.fail(REASON.protocolError)
  Object.assign(properties, { [name]: value })
}

function readValue(reader: PacketReader, kind: Kind): number | string | Uint8Array {
  switch (kind) {
    case 'boolean': {
      const value = reader.u8()
      if (value > 1) reader.fail(REASON.protocolError)
      return value
    }
    case 'u16':
      return reader.u16()
    case 'u32':
      return reader.u32()
    case 'varint':
      return reader.varint()
    case 'string':
    case 'pair':
      return reader.string()
    case 'binary':
      return reader.binary()
  }
}

/** Grows as packets are put together; for packets that are written rarely. */
export class PacketWriter {
  #bytes = new Uint8Array(128)
  length = 0

  /** What was written; valid until the next write. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.length)
  }

  u8(value: number): void {
    this.#reserve(1)
    this.#bytes[this.length++] = value
  }

  u16(value: number): void {
    this.u8(value >>> 8)
    this.u8(value)
  }

  u32(value: number): void {
    this.u16(value >>> 16)
    this.u16(value)
  }

  varint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.u8((rest & 0x7f) | 0x80)
      rest >>>= 7
    }
    this.u8(rest)
  }

  string(value: string): void {
    this.binary(encoder.encode(value))
  }

  binary(value: Uint8Array): void {
    this.u16(value.length)
    this.raw(value)
  }

  raw(value: Uint8Array): void {
    this.#reserve(value.length)
    this.#bytes.set(value, this.length)
    this.length += value.length
  }

  /** Property length and properties. */
  properties(properties: Properties): void {
    const inner = encodeProperties(properties)
    this.varint(inner.length)
    this.raw(inner)
  }

  #reserve(bytes: number): void {
    if (this.length + bytes <= this.#bytes.length) return
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.length + bytes))
    grown.set(this.#bytes)
    this.#bytes = grown
  }
}

/** The properties in the order of their ids, without the length in front. */
export function encodeProperties(properties: Properties): Uint8Array {
  const writer = new PacketWriter()
  for (const { id, name, kind } of DEFINITIONS) {
    const value = properties[name]
    if (value === undefined) continue
    if (kind === 'pair') {
      for (const [key, text] of properties.userProperties!) {
        writer.u8(id)
        writer.string(key)
        writer.string(text)
      }
      continue
    }
    writer.u8(id)
    if (kind === 'string') writer.string(value as string)
    else if (kind === 'binary') writer.binary(value as Uint8Array)
    else if (kind === 'u16') writer.u16(value as number)
    else if (kind === 'u32') writer.u32(value as number)
    else if (kind === 'varint') writer.varint(value as number)
    else writer.u8(value as number)
  }
  return writer.written
}
