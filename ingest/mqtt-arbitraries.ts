// Test support: random valid packets of clients, as mqtt-packet writes them.
import fc from 'fast-check'
import mqttPacket, { type Packet } from 'mqtt-packet'

const text = fc
  .string({ unit: 'grapheme', maxLength: 12 })
  .filter((s) => !s.includes('\0') && s.isWellFormed())
const topic = text.filter((s) => s.length > 0 && !/[+#]/.test(s))
const bytes = fc.uint8Array({ maxLength: 40 }).map((b) => Buffer.from(b))
const u16 = fc.integer({ min: 0, max: 0xffff })
const packetId = fc.integer({ min: 1, max: 0xffff })
const u32 = fc.integer({ min: 0, max: 0xffffffff })
// Never empty: mqtt-packet writes no packet at all for an empty set.
const userProperties = fc.dictionary(text, fc.oneof(text, fc.array(text, { minLength: 2, maxLength: 3 })), {
  minKeys: 1,
  maxKeys: 3,
  noNullPrototype: true,
})

const some = <T extends Record<string, fc.Arbitrary<unknown>>>(model: T) =>
  fc.record(model, { requiredKeys: [] })

const forwarded = {
  payloadFormatIndicator: fc.boolean(),
  messageExpiryInterval: u32,
  contentType: text,
  responseTopic: topic,
  correlationData: bytes,
  userProperties,
}

export const willProperties = some({ ...forwarded, willDelayInterval: u32 })
export const publishProperties = some({ ...forwarded, topicAlias: packetId })
export const connectProperties = some({
  sessionExpiryInterval: u32,
  receiveMaximum: packetId,
  maximumPacketSize: u32.filter((n) => n > 0),
  topicAliasMaximum: u16,
  requestResponseInformation: fc.boolean(),
  requestProblemInformation: fc.boolean(),
  userProperties,
  authenticationMethod: text,
})

export function connect(level: 4 | 5): fc.Arbitrary<Packet> {
  const will = fc.record({
    topic,
    payload: bytes,
    qos: fc.constantFrom(0, 1, 2),
    retain: fc.boolean(),
    ...(level === 5 ? { properties: willProperties } : {}),
  })
  return fc
    .record({
      cmd: fc.constant('connect'),
      protocolId: fc.constant('MQTT'),
      protocolVersion: fc.constant(level),
      clean: fc.boolean(),
      clientId: text.filter((s) => s.length > 0),
      keepalive: u16,
      will: fc.option(will, { nil: undefined }),
      credentials: fc.option(fc.tuple(text, fc.option(bytes)), { nil: undefined }),
      ...(level === 5 ? { properties: connectProperties } : {}),
    })
    .map(({ credentials, will, ...rest }) => ({
      ...rest,
      ...(will === undefined ? {} : { will }),
      ...(credentials === undefined ? {} : { username: credentials[0] }),
      ...(credentials?.[1] == null ? {} : { password: credentials[1] }),
    })) as unknown as fc.Arbitrary<Packet>
}

export function publish(level: 4 | 5): fc.Arbitrary<Packet> {
  return fc
    .record({
      cmd: fc.constant('publish'),
      topic: fc.oneof(fc.constantFrom('devices/a/telemetry', 'devices/b/telemetry'), topic),
      payload: bytes,
      qos: fc.constantFrom(0, 1, 2),
      retain: fc.boolean(),
      dup: fc.boolean(),
      messageId: packetId,
      ...(level === 5 ? { properties: publishProperties } : {}),
    })
    .map((packet) => ({ ...packet, dup: packet.dup && packet.qos > 0 })) as unknown as fc.Arbitrary<Packet>
}

export function subscribe(level: 4 | 5): fc.Arbitrary<Packet> {
  const options = level === 5 ? { nl: fc.boolean(), rap: fc.boolean(), rh: fc.constantFrom(0, 1, 2) } : {}
  return fc.record({
    cmd: fc.constant('subscribe'),
    messageId: packetId,
    subscriptions: fc.array(fc.record({ topic, qos: fc.constantFrom(0, 1, 2), ...options }), {
      minLength: 1,
      maxLength: 4,
    }),
    ...(level === 5
      ? {
          properties: some({
            subscriptionIdentifier: fc.integer({ min: 1, max: 268_435_455 }),
            userProperties,
          }),
        }
      : {}),
  }) as unknown as fc.Arbitrary<Packet>
}

export function unsubscribe(level: 4 | 5): fc.Arbitrary<Packet> {
  return fc.record({
    cmd: fc.constant('unsubscribe'),
    messageId: packetId,
    unsubscriptions: fc.array(topic, { minLength: 1, maxLength: 4 }),
    ...(level === 5 ? { properties: some({ userProperties }) } : {}),
  }) as unknown as fc.Arbitrary<Packet>
}

export function disconnect(level: 4 | 5): fc.Arbitrary<Packet> {
  if (level === 4) return fc.constant({ cmd: 'disconnect' } as Packet)
  return fc.record({
    cmd: fc.constant('disconnect'),
    reasonCode: fc.constantFrom(0x00, 0x04, 0x80, 0x93),
    properties: some({ sessionExpiryInterval: u32, reasonString: text, userProperties }),
  }) as unknown as fc.Arbitrary<Packet>
}

export function puback(level: 4 | 5): fc.Arbitrary<Packet> {
  return fc.record({
    cmd: fc.constant('puback'),
    messageId: packetId,
    ...(level === 5
      ? {
          reasonCode: fc.constantFrom(0x00, 0x10, 0x80, 0x97),
          properties: some({ reasonString: text, userProperties }),
        }
      : {}),
  }) as unknown as fc.Arbitrary<Packet>
}

/** CONNECT and then whatever a client may send. */
export function conversation(level: 4 | 5): fc.Arbitrary<Packet[]> {
  const others = fc.oneof(
    { weight: 6, arbitrary: publish(level) },
    subscribe(level),
    unsubscribe(level),
    puback(level),
    fc.constant({ cmd: 'pingreq' } as Packet),
  )
  return fc
    .tuple(connect(level), fc.array(others, { maxLength: 8 }), fc.option(disconnect(level)))
    .map(([first, rest, last]) => [first, ...rest, ...(last === null ? [] : [last])])
}

export function encode(packets: readonly Packet[], level: 4 | 5): Uint8Array {
  return Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: level })))
}
