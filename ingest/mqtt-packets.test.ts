import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import mqttPacket, { type IConnectPacket, type ISubscribePacket, type Packet } from 'mqtt-packet'
import { connect, disconnect, encode, publish, subscribe, unsubscribe } from './mqtt-arbitraries.ts'
import { FLAG_DUP, FLAG_QOS_1, FLAG_RETAIN, REASON } from './mqtt-codes.ts'
import {
  packetIdPosition,
  publishBytes,
  writeConnack,
  writeDisconnect,
  writePuback,
  writePubackDetailed,
  writePublish,
  writeSuback,
  writeUnsuback,
} from './mqtt-encode.ts'
import {
  type Connect,
  decodeAcknowledgement,
  decodeConnect,
  decodeDisconnect,
  decodePublishProperties,
  decodeSubscribe,
  decodeUnsubscribe,
  onlyTopicAlias,
} from './mqtt-packets.ts'
import { encodeProperties, PacketReader, type Properties } from './mqtt-properties.ts'
import { Recorder } from './mqtt-recorder.ts'

const level = fc.constantFrom(4 as const, 5 as const)
const BOOLEANS = [
  'payloadFormatIndicator',
  'requestResponseInformation',
  'requestProblemInformation',
  'retainAvailable',
  'wildcardSubscriptionAvailable',
  'subscriptionIdentifiersAvailable',
  'sharedSubscriptionAvailable',
]

/** The body of a packet that mqtt-packet writes. */
function bodyOf(packet: Packet, one: 4 | 5): Uint8Array {
  const bytes = encode([packet], one)
  let at = 1
  while (bytes[at++]! >= 0x80);
  return bytes.subarray(at)
}

/** mqtt-packet's form of properties in ours. */
function ours(theirs: Record<string, unknown> | undefined): Properties {
  const properties: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(theirs ?? {})) {
    if (value === undefined) continue
    if (name === 'userProperties')
      properties[name] = Object.entries(value as Record<string, string | string[]>).flatMap(([key, one]) =>
        [one].flat().map((text) => [key, text]),
      )
    else if (value instanceof Uint8Array) properties[name] = Uint8Array.from(value)
    else if (BOOLEANS.includes(name)) properties[name.replace('Identifiers', 'Identifier')] = Number(value)
    else properties[name] = value
  }
  return properties as Properties
}

test('CONNECT as mqtt-packet writes it', () => {
  fc.assert(
    fc.property(
      level.chain((one) => fc.tuple(fc.constant(one), connect(one))),
      ([one, packet]) => {
        const sent = packet as IConnectPacket
        // A password without a user name cannot be written by mqtt-packet, an empty will payload can.
        const body = bodyOf(packet, one)
        const read = decodeConnect(body, 0, body.length)
        assert.ok(!('reason' in read))
        assert.deepEqual(read, {
          level: one,
          cleanStart: sent.clean!,
          keepAlive: sent.keepalive!,
          properties: ours(sent.properties),
          clientId: sent.clientId,
          will: sent.will && {
            topic: sent.will.topic,
            payload: Uint8Array.from(sent.will.payload as Buffer),
            qos: sent.will.qos!,
            retain: sent.will.retain!,
            properties: ours(sent.will.properties),
          },
          username: sent.username,
          password: sent.password === undefined ? undefined : Uint8Array.from(sent.password as Buffer),
        } satisfies Connect)
      },
    ),
    { numRuns: 300 },
  )
})

test('SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and PUBLISH properties as mqtt-packet writes them', () => {
  const packets = level.chain((one) =>
    fc.tuple(fc.constant(one), subscribe(one), unsubscribe(one), disconnect(one), publish(5)),
  )
  fc.assert(
    fc.property(packets, ([one, sub, unsub, disc, pub]) => {
      const sent = sub as ISubscribePacket
      let body = bodyOf(sub, one)
      assert.deepEqual(decodeSubscribe(body, 0, body.length, one), {
        packetId: sent.messageId,
        properties: ours(sent.properties),
        subscriptions: sent.subscriptions.map(({ topic, qos, nl, rap, rh }) => ({
          filter: topic,
          options: qos | (nl ? 4 : 0) | (rap ? 8 : 0) | ((rh ?? 0) << 4),
        })),
      })
      body = bodyOf(unsub, one)
      assert.deepEqual(decodeUnsubscribe(body, 0, body.length, one), {
        packetId: unsub.messageId,
        properties: ours((unsub as { properties?: object }).properties as Record<string, unknown>),
        filters: (unsub as { unsubscriptions: string[] }).unsubscriptions,
      })
      body = bodyOf(disc, one)
      assert.deepEqual(decodeDisconnect(body, 0, body.length), {
        reason: (disc as { reasonCode?: number }).reasonCode ?? 0,
        properties: ours((disc as { properties?: object }).properties as Record<string, unknown>),
      })
      const properties = Buffer.from(
        new Recorder(65_536, 5).feed(encode([pub], 5)).events[0]!['properties'] as string,
        'hex',
      )
      assert.deepEqual(
        decodePublishProperties(properties, 0, properties.length),
        ours((pub as { properties?: object }).properties as Record<string, unknown>),
      )
    }),
    { numRuns: 300 },
  )
})

/** What mqtt-packet reads out of one packet of ours. */
function read(bytes: Uint8Array, one: number): Record<string, unknown> {
  const parser = mqttPacket.parser({ protocolVersion: one })
  const packets: Record<string, unknown>[] = []
  parser.on('packet', (packet) => packets.push(packet as unknown as Record<string, unknown>))
  parser.on('error', (error) => assert.fail(error as Error))
  parser.parse(Buffer.from(bytes))
  assert.equal(packets.length, 1)
  return packets[0]!
}

const into = new Uint8Array(4096)
/** Bytes of what a writer writes at 10, and that it refuses a buffer that is one byte too short. */
function written(write: (into: Uint8Array, at: number) => number): Uint8Array {
  const end = write(into, 10)
  assert.ok(end > 10)
  assert.equal(write(into.subarray(0, end - 1), 10), -1)
  return into.slice(10, end)
}

test('what we write, mqtt-packet reads', () => {
  const all: Properties = {
    sessionExpiryInterval: 5,
    assignedClientIdentifier: 'c-1',
    serverKeepAlive: 60,
    reasonString: 'why ⚙',
    receiveMaximum: 1024,
    topicAliasMaximum: 32,
    maximumQoS: 1,
    retainAvailable: 0,
    userProperties: [['a', 'b']],
    maximumPacketSize: 262_144,
    wildcardSubscriptionAvailable: 1,
    subscriptionIdentifierAvailable: 0,
    sharedSubscriptionAvailable: 0,
  }
  const connack = read(
    written((b, at) => writeConnack(b, at, 5, true, 0, all)),
    5,
  )
  assert.deepEqual(ours(connack['properties'] as Record<string, unknown>), all)
  assert.equal(connack['sessionPresent'], true)
  assert.equal(connack['reasonCode'], 0)
  const refusal = read(
    written((b, at) => writeConnack(b, at, 4, true, REASON.notAuthorized)),
    4,
  )
  assert.equal(refusal['returnCode'], 5)
  assert.equal(refusal['sessionPresent'], false)

  assert.equal(
    read(
      written((b, at) => writePuback(b, at, 4, 513, 0x99)),
      4,
    )['messageId'],
    513,
  )
  assert.equal(
    read(
      written((b, at) => writePuback(b, at, 5, 513, 0x99)),
      5,
    )['reasonCode'],
    0x99,
  )
  const puback = written((b, at) => writePubackDetailed(b, at, 7, 0x99, 'field x'))
  assert.equal(decodeAcknowledgement(puback, 2, puback.length, 5), 0x99)
  assert.deepEqual({ ...(read(puback, 5)['properties'] as object) }, { reasonString: 'field x' })

  assert.deepEqual(
    read(
      written((b, at) => writeSuback(b, at, 5, 9, [0, 1, 0x8f])),
      5,
    )['granted'],
    [0, 1, 0x8f],
  )
  assert.deepEqual(
    read(
      written((b, at) => writeSuback(b, at, 4, 9, [0, 1, 0x8f])),
      4,
    )['granted'],
    [0, 1, 0x80],
  )
  assert.deepEqual(
    read(
      written((b, at) => writeUnsuback(b, at, 5, 9, [0, 0x11])),
      5,
    )['granted'],
    [0, 0x11],
  )
  assert.equal(
    read(
      written((b, at) => writeUnsuback(b, at, 4, 9, [0])),
      4,
    )['messageId'],
    9,
  )
  const bye = read(
    written((b, at) => writeDisconnect(b, at, 5, 0x8e, { reasonString: 'elsewhere' })),
    5,
  )
  assert.equal(bye['reasonCode'], 0x8e)
  assert.equal(writeDisconnect(into, 10, 4, 0x8e), 10)
})

test('PUBLISH to subscribers of any size', () => {
  const input = fc.record({
    one: level,
    topic: fc.string({ minLength: 1, maxLength: 40 }).filter((s) => !/[+#\0]/.test(s)),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.integer({ min: 100, max: 20_000 }).map((n) => new Uint8Array(n).fill(7)),
    ),
    qos: fc.constantFrom(0, FLAG_QOS_1, FLAG_QOS_1 | FLAG_DUP),
    retain: fc.constantFrom(0, FLAG_RETAIN),
    packetId: fc.integer({ min: 1, max: 65_535 }),
    properties: fc.record(
      { contentType: fc.string(), messageExpiryInterval: fc.nat() },
      { requiredKeys: [], noNullPrototype: true },
    ),
  })
  fc.assert(
    fc.property(input, ({ one, topic, payload, qos, retain, packetId, properties }) => {
      const topicBytes = Buffer.from(topic)
      const encoded = encodeProperties(properties)
      const flags = qos | retain
      const size = publishBytes(one, flags, topicBytes.length, encoded.length, payload.length)
      const out = new Uint8Array(size)
      const write = (b: Uint8Array) =>
        writePublish(b, 0, one, flags, packetId, topicBytes, encoded, payload, 0, payload.length)
      assert.equal(write(new Uint8Array(size - 1)), -1)
      assert.equal(write(out), size)
      const packet = read(out, one)
      assert.equal(packet['topic'], topic)
      assert.deepEqual(Uint8Array.from(packet['payload'] as Buffer), payload)
      assert.equal(packet['qos'], (qos & FLAG_QOS_1) >> 1)
      assert.equal(packet['dup'], (qos & FLAG_DUP) !== 0)
      assert.equal(packet['retain'], retain !== 0)
      if (one === 5) assert.deepEqual(ours(packet['properties'] as Record<string, unknown>), properties)
      if (qos !== 0) {
        assert.equal(packet['messageId'], packetId)
        assert.equal(Buffer.from(out).readUInt16BE(packetIdPosition(out, 0, topicBytes.length)), packetId)
      }
    }),
    { numRuns: 300 },
  )
})

const bytesOf = (hex: string) => Uint8Array.from(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

test('what CONNECT may not hold', () => {
  const fault = (hex: string) => {
    const body = bytesOf(hex)
    const result = decodeConnect(body, 0, body.length)
    return 'reason' in result ? [result.reason, result.level] : 'accepted'
  }
  const MQTT = '0004 4d515454'
  assert.equal(fault(`${MQTT} 04 02 003c 0000`), 'accepted')
  assert.equal(fault(`${MQTT} 05 02 003c 00 0000`), 'accepted')
  assert.deepEqual(fault(`${MQTT} 06 02 003c 00 0000`), [0x84, 5])
  assert.deepEqual(fault(`${MQTT} 03 02 003c 0000`), [0x84, 4])
  assert.deepEqual(fault('0006 4d5149736470 03 02 003c 0000'), [0x84, 4])
  assert.deepEqual(fault('0004 4d51'), [0x81, 0])
  assert.deepEqual(fault(`${MQTT} 04 03 003c 0000`), [0x81, 4], 'reserved flag')
  assert.deepEqual(fault(`${MQTT} 04 00 003c 0000`), [0x85, 4], 'empty id, session kept')
  assert.deepEqual(fault(`${MQTT} 04 42 003c 0000 0001 61`), [0x81, 4], 'password alone in 3.1.1')
  assert.equal(fault(`${MQTT} 05 42 003c 00 0000 0001 61`), 'accepted')
  assert.deepEqual(fault(`${MQTT} 04 1e 003c 0000 0001 61 0000`), [0x81, 4], 'will QoS 3')
  assert.deepEqual(fault(`${MQTT} 04 22 003c 0000`), [0x81, 4], 'will retain without will')
  assert.deepEqual(fault(`${MQTT} 04 06 003c 0000 0003 612f23 0000`), [0x81, 4], 'will topic with wildcard')
  assert.deepEqual(fault(`${MQTT} 04 02 003c 0000 00`), [0x81, 4], 'bytes left over')
  assert.deepEqual(fault(`${MQTT} 04 02 003c 0002 6100`), [0x81, 4], 'U+0000 in client id')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 03 210000 0000`), [0x82, 5], 'Receive Maximum 0')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 05 2700000000 0000`), [0x82, 5], 'Maximum Packet Size 0')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 06 210001 210001 0000`), [0x82, 5], 'twice')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 02 1702 0000`), [0x82, 5], 'not 0 or 1')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 03 230001 0000`), [0x81, 5], 'property of another packet')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 02 2101 0000`), [0x81, 5], 'value overruns its block')
  assert.deepEqual(fault(`${MQTT} 05 02 003c 04 16000161 0000`), [0x82, 5], 'data without method')
})

test('what SUBSCRIBE, UNSUBSCRIBE, DISCONNECT and PUBLISH properties may not hold', () => {
  const decode = (
    f: (bytes: Uint8Array, start: number, end: number, one: number) => unknown,
    hex: string,
    one = 5,
  ) => {
    const body = bytesOf(hex)
    const result = f(body, 0, body.length, one)
    return typeof result === 'number' ? result : 'accepted'
  }
  assert.equal(decode(decodeSubscribe, '0001 00 0001 61 2e'), 'accepted')
  assert.equal(decode(decodeSubscribe, '0001 00'), 0x82, 'no filter')
  assert.equal(decode(decodeSubscribe, '0001 00 0001 61 03'), 0x81, 'QoS 3')
  assert.equal(decode(decodeSubscribe, '0001 00 0001 61 40'), 0x81, 'reserved bits')
  assert.equal(decode(decodeSubscribe, '0001 00 0001 61 30'), 0x82, 'Retain Handling 3')
  assert.equal(decode(decodeSubscribe, '0001 0001 61 04', 4), 0x81, 'options of 5.0 in 3.1.1')
  assert.equal(decode(decodeSubscribe, '0001 02 0b00 0001 61 00'), 0x82, 'Subscription Identifier 0')
  assert.equal(decode(decodeSubscribe, '0001 00 0002 61'), 0x81, 'filter overruns')
  assert.equal(decode(decodeUnsubscribe, '0001 00'), 0x82, 'no filter')
  assert.equal(decode(decodeUnsubscribe, '0001 00 0001 ff'), 0x81, 'not UTF-8')
  assert.equal(decode(decodeDisconnect, '04'), 'accepted')
  assert.equal(decode(decodeDisconnect, '04 00 00'), 0x81, 'bytes left over')
  assert.equal(decode(decodePublishProperties, '230000'), 0x94, 'alias 0')
  assert.equal(decode(decodePublishProperties, '0b01'), 0x82, 'Subscription Identifier from a client')
  assert.equal(decode(decodePublishProperties, '08 0001 23'), 0x82, 'wildcard in Response Topic')
  assert.equal(decode(decodePublishProperties, '0102'), 0x82, 'format indicator 2')
  assert.equal(decode(decodePublishProperties, '7f'), 0x81, 'unknown property')
})

test('a lone topic alias is read without the cold path', () => {
  const alias = (hex: string) => {
    const bytes = bytesOf(hex)
    return onlyTopicAlias(bytes, 0, bytes.length)
  }
  assert.equal(alias(''), 0)
  assert.equal(alias('230102'), 258)
  assert.equal(alias('230000'), -1)
  assert.equal(alias('0101'), -1)
  assert.equal(alias('230001 0101'), -1)
})

test('variable byte integers come in their shortest form', () => {
  const reader = new PacketReader(bytesOf('ff7f 8000'), 0, 4)
  assert.equal(reader.varint(), 16_383)
  assert.equal(reader.varint(), 0)
  assert.equal(reader.reason, 0x81)
})
