import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { payloadOf, RawClient, recordsOf, startIngest, streamOf, until } from './ingest-harness.ts'
import type { SocketMode } from './transport.ts'

const harness = await startIngest({ tenants: ['default', 'acme'] })
const port = harness.ports[0]!.mqtt
after(async () => {
  await harness.close()
  assert.deepEqual(harness.failures, [])
})

for (const level of [4, 5] as const) {
  const version = level === 4 ? '3.1.1' : '5.0'

  test(`${version}: QoS 1 telemetry is acknowledged in the order of receipt and lies in the raw topic as it was sent`, async () => {
    const id = `order-${level}`
    const client = await RawClient.connect(port, level, id)
    for (let i = 1; i <= 300; i++) client.publish(`devices/${id}/telemetry`, payloadOf(i), 1, i)
    for (let i = 1; i <= 300; i++) {
      const ack = await client.take('puback')
      assert.equal(ack.messageId, i)
    }
    const records = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(
      (record) => record.key === id,
    )
    assert.deepEqual(
      records.map((record) => record.value),
      Array.from({ length: 300 }, (_, i) => payloadOf(i + 1)),
    )
    assert.equal(new Set(records.map((record) => record.partition)).size, 1)
    client.end()
  })

  test(`${version}: QoS 0 telemetry reaches the log`, async () => {
    const id = `qos0-${level}`
    const client = await RawClient.connect(port, level, id)
    for (let i = 1; i <= 50; i++) client.publish(`devices/${id}/telemetry`, payloadOf(i), 0)
    await until(
      async () =>
        (await recordsOf(harness.log, 'default.telemetry.raw')).filter((record) => record.key === id)
          .length === 50,
      '50 records',
    )
    client.end()
  })

  test(`${version}: a ping is answered, and silence above one and a half keep-alives ends the session with its will`, async () => {
    const watcher = await RawClient.connect(port, level, `watch-${level}`)
    watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'wills/#', qos: 0 }] })
    await watcher.take('suback')
    const will = { topic: `wills/silent-${level}`, payload: Buffer.from('gone'), qos: 0, retain: false }
    const client = await RawClient.connect(port, level, `silent-${level}`, { keepalive: 1, will })
    client.send({ cmd: 'pingreq' })
    await client.take('pingresp')
    const from = Date.now()
    if (level === 5) assert.equal((await client.take('disconnect', 4000)).reasonCode, 0x8d)
    await client.closed(4000)
    assert.ok(Date.now() - from >= 1400)
    const message = await watcher.take('publish')
    assert.equal(message.topic, `wills/silent-${level}`)
    assert.equal(message.payload.toString(), 'gone')
    watcher.end()
  })

  test(`${version}: DISCONNECT withdraws the will, a lost connection does not`, async () => {
    const watcher = await RawClient.connect(port, level, `watch2-${level}`)
    watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'wills/#', qos: 1 }] })
    await watcher.take('suback')
    const will = (name: string) => ({
      topic: `wills/${name}`,
      payload: Buffer.from(name),
      qos: 1,
      retain: false,
    })
    const polite = await RawClient.connect(port, level, `polite-${level}`, { will: will('polite') })
    polite.send({ cmd: 'disconnect', reasonCode: 0 } as never)
    await polite.closed()
    const lost = await RawClient.connect(port, level, `lost-${level}`, { will: will('lost') })
    lost.end()
    const message = await watcher.take('publish')
    assert.deepEqual([message.payload.toString(), message.qos], ['lost', 1])
    watcher.end()
  })

  test(`${version}: ordinary topics go to subscribers by wildcard, QoS and order`, async () => {
    const subscriber = await RawClient.connect(port, level, `sub-${level}`)
    subscriber.send({
      cmd: 'subscribe',
      messageId: 9,
      subscriptions: [
        { topic: `room${level}/+/alarm`, qos: 1 },
        { topic: `room${level}/#`, qos: 0 },
        { topic: 'bad/#/filter', qos: 0 },
        { topic: 'two', qos: 2 },
      ],
    })
    const suback = await subscriber.take('suback')
    assert.deepEqual(suback.granted, [1, 0, level === 5 ? 0x8f : 0x80, 1])
    const publisher = await RawClient.connect(port, level, `pub-${level}`)
    for (let i = 1; i <= 20; i++) publisher.publish(`room${level}/a/alarm`, `m${i}`, 1, i)
    for (let i = 1; i <= 20; i++) assert.equal((await publisher.take('puback')).messageId, i)
    for (let i = 1; i <= 20; i++) {
      const message = await subscriber.take('publish')
      assert.deepEqual([message.payload.toString(), message.qos, message.retain], [`m${i}`, 1, false])
      subscriber.send({ cmd: 'puback', messageId: message.messageId })
    }
    publisher.publish(`room${level}/b`, 'zero', 1, 21)
    assert.equal((await subscriber.take('publish')).qos, 0)
    subscriber.send({ cmd: 'unsubscribe', messageId: 10, unsubscriptions: [`room${level}/#`, 'never'] })
    const unsuback = await subscriber.take('unsuback')
    if (level === 5) assert.deepEqual(unsuback.granted, [0, 0x11])
    await publisher.take('puback')
    publisher.publish(`room${level}/b`, 'unheard', 1, 22)
    const last = await publisher.take('puback')
    if (level === 5) assert.equal(last.reasonCode, 0x10)
    await sleep(20)
    assert.deepEqual(subscriber.packets, [])
    subscriber.end()
    publisher.end()
  })
}

test('CONNACK announces what there is and what there is not', async () => {
  const client = await RawClient.open(port, 5)
  client.sendConnect('')
  const { properties, reasonCode, sessionPresent } = await client.take('connack')
  assert.equal(reasonCode, 0)
  assert.equal(sessionPresent, false)
  assert.match(properties.assignedClientIdentifier, /^auto-[0-9a-f]{24}$/)
  delete properties.assignedClientIdentifier
  assert.deepEqual(properties, {
    sessionExpiryInterval: 0,
    receiveMaximum: 2048,
    maximumQoS: 1,
    retainAvailable: false,
    maximumPacketSize: 65_536,
    topicAliasMaximum: 32,
    wildcardSubscriptionAvailable: true,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: false,
  })
  client.end()
})

test('an anonymous client id must be a device id', async () => {
  for (const level of [4, 5] as const) {
    const client = await RawClient.open(port, level)
    client.sendConnect('not a device')
    const connack = await client.take('connack')
    assert.equal(level === 5 ? connack.reasonCode : connack.returnCode, level === 5 ? 0x85 : 2)
    await client.closed()
  }
})

test('topic aliases stand for their topic, can be moved, and an unknown one ends the session', async () => {
  const client = await RawClient.connect(port, 5, 'alias')
  client.publish('devices/alias/telemetry', payloadOf(1), 1, 1, { properties: { topicAlias: 3 } })
  client.publish('', payloadOf(2), 1, 2, { properties: { topicAlias: 3 } })
  client.publish('', payloadOf(3), 1, 3, { properties: { topicAlias: 3, userProperties: { a: 'b' } } })
  client.publish('ordinary', 'x', 1, 4, { properties: { topicAlias: 3 } })
  client.publish('', 'y', 1, 5, { properties: { topicAlias: 3 } })
  const reasons = []
  for (let i = 1; i <= 5; i++) reasons.push((await client.take('puback')).reasonCode)
  assert.deepEqual(reasons, [0, 0, 0, 0x10, 0x10])
  client.publish('', payloadOf(4), 1, 6, { properties: { topicAlias: 4 } })
  assert.equal((await client.take('disconnect')).reasonCode, 0x82)
  await client.closed()
  const records = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(
    (record) => record.key === 'alias',
  )
  assert.deepEqual(
    records.map((record) => record.value),
    [1, 2, 3].map((seq) => payloadOf(seq)),
  )
  const above = await RawClient.connect(port, 5, 'alias-above')
  above.publish('x', 'x', 0, 0, { properties: { topicAlias: 33 } })
  assert.equal((await above.take('disconnect')).reasonCode, 0x94)
})

test('No Local keeps a client’s own messages away, and properties travel with a message', async () => {
  const client = await RawClient.connect(port, 5, 'local')
  client.send({
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: 'chat', qos: 1, nl: true }],
  } as never)
  await client.take('suback')
  const other = await RawClient.connect(port, 5, 'remote')
  client.publish('chat', 'own', 1, 1)
  await client.take('puback')
  const properties = {
    topicAlias: 1,
    contentType: 'text/plain',
    responseTopic: 'answers',
    correlationData: Buffer.from([1, 2]),
    userProperties: { a: ['1', '2'] },
  }
  other.publish('chat', 'theirs', 1, 1, { properties })
  const message = await client.take('publish')
  assert.equal(message.payload.toString(), 'theirs')
  assert.equal(message.properties.topicAlias, undefined)
  assert.equal(message.properties.contentType, 'text/plain')
  assert.equal(message.properties.responseTopic, 'answers')
  assert.deepEqual(message.properties.correlationData, Buffer.from([1, 2]))
  assert.deepEqual({ ...message.properties.userProperties }, { a: ['1', '2'] })
  client.end()
  other.end()
})

test('a subscriber’s Receive Maximum bounds what is in flight to it', async () => {
  const subscriber = await RawClient.connect(port, 5, 'narrow', { properties: { receiveMaximum: 2 } })
  subscriber.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'n', qos: 1 }] })
  await subscriber.take('suback')
  const publisher = await RawClient.connect(port, 5, 'wide')
  for (let i = 1; i <= 5; i++) publisher.publish('n', `${i}`, 1, i)
  for (let i = 1; i <= 5; i++) await publisher.take('puback')
  await sleep(30)
  assert.equal(subscriber.packets.length, 2)
  const seen = []
  for (let i = 0; i < 5; i++) {
    const message = await subscriber.take('publish')
    seen.push(message.payload.toString())
    subscriber.send({ cmd: 'puback', messageId: message.messageId })
  }
  assert.deepEqual(seen, ['1', '2', '3', '4', '5'])
  subscriber.end()
  publisher.end()
})

test('telemetry reaches live subscribers only once it is durable', async () => {
  const watcher = await RawClient.connect(port, 5, 'live-watcher')
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'devices/+/telemetry', qos: 1 }] })
  await watcher.take('suback')
  harness.log.stall()
  const device = await RawClient.connect(port, 5, 'live-device')
  device.publish('devices/live-device/telemetry', payloadOf(1), 1, 1)
  device.publish('devices/live-device/telemetry', Buffer.from('nonsense'), 1, 2)
  await sleep(50)
  assert.deepEqual([watcher.packets, device.packets], [[], []])
  harness.log.goOn()
  const message = await watcher.take('publish')
  assert.deepEqual([message.payload, message.qos], [payloadOf(1), 1])
  assert.deepEqual(
    [(await device.take('puback')).reasonCode, (await device.take('puback')).reasonCode],
    [0, 0x99],
  )
  await sleep(20)
  assert.deepEqual(watcher.packets, [])
  watcher.end()
  device.end()
})

test('a new contract version and a removed stream reach connections that publish already', async () => {
  const client = await RawClient.connect(port, 5, 'follow')
  const worker = harness.workers[0]!
  client.publish('devices/follow/extra', payloadOf(1), 1, 1)
  assert.equal((await client.take('puback')).reasonCode, 0x90)
  const config = (await harness.log.describeTopic('default.telemetry.raw'))!.config
  await harness.log.createTopic('default.extra.raw', config)
  await harness.log.createTopic('default.extra.rejected', config)
  worker.updateStreams([streamOf('default'), streamOf('acme'), streamOf('default', 'extra')])
  client.publish('devices/follow/extra', payloadOf(1), 1, 2)
  assert.equal((await client.take('puback')).reasonCode, 0)
  worker.updateStreams([streamOf('default'), streamOf('acme')])
  client.publish('devices/follow/extra', payloadOf(1), 1, 3)
  assert.equal((await client.take('puback')).reasonCode, 0x90)
  client.end()
})

test('malformed packets close their own connection with the reason, and nobody else’s', async () => {
  const bystander = await RawClient.connect(port, 5, 'bystander')
  const cases: [name: string, bytes: number[], reason: number][] = [
    ['reserved type', [0x00, 0x00], 0x81],
    ['remaining length of five bytes', [0x30, 0xff, 0xff, 0xff, 0xff, 0x01], 0x81],
    ['QoS 3', [0x36, 0x07, 0, 1, 0x61, 0, 1, 0, 0], 0x81],
    ['second CONNECT', [0x10, 0x0d, 0, 4, 77, 81, 84, 84, 5, 2, 0, 0, 0, 0, 0], 0x82],
    ['wildcard in a topic', [0x30, 0x04, 0, 1, 0x2b, 0], 0x81],
    ['SUBSCRIBE without a filter', [0x82, 0x03, 0, 1, 0], 0x82],
  ]
  for (const [name, bytes, reason] of cases) {
    const client = await RawClient.connect(port, 5, 'malformed')
    client.socket.write(Buffer.from(bytes))
    const disconnect = await client.take('disconnect')
    assert.equal(disconnect.reasonCode, reason, name)
    await client.closed()
  }
  const silent = await RawClient.open(port, 4)
  silent.socket.write(`GET / HTTP/1.1\r\nHost: ${'h'.repeat(100)}\r\n\r\n`)
  await silent.closed()
  bystander.send({ cmd: 'pingreq' })
  await bystander.take('pingresp')
  bystander.end()
})

test('connections above the limit are refused', async () => {
  const small = await startIngest({ options: { connectionsMax: 1 } })
  const first = await RawClient.connect(small.ports[0]!.mqtt, 5, 'a')
  const second = await RawClient.open(small.ports[0]!.mqtt, 5)
  await second.closed()
  assert.equal(small.count('connectionsOverLimit'), 1)
  first.end()
  await until(() => small.count('connections') === 0, 'the first has gone')
  ;(await RawClient.connect(small.ports[0]!.mqtt, 5, 'a')).end()
  await small.close()
})

for (const socketMode of ['auto', 'handle', 'documented'] satisfies SocketMode[])
  test(`${socketMode}: each of many clients gets its acknowledgements, in order`, async () => {
    const own = await startIngest({ options: { socketMode } })
    const clients: RawClient[] = []
    for (let c = 0; c < 10; c++) clients.push(await RawClient.connect(own.ports[0]!.mqtt, 5, `c${c}`))
    for (let i = 1; i <= 200; i++)
      for (const [c, client] of clients.entries())
        client.publish(`devices/c${c}/telemetry`, payloadOf(i), 1, c * 1000 + i)
    for (const [c, client] of clients.entries()) {
      for (let i = 1; i <= 200; i++) assert.equal((await client.take('puback')).messageId, c * 1000 + i)
      client.end()
    }
    assert.equal((await recordsOf(own.log, 'default.telemetry.raw')).length, 2000)
    await own.close()
    assert.deepEqual(own.failures, [])
  })

test('the commit of a client that publishes as it is acknowledged does not linger, others do', async (t) => {
  const own = await startIngest()
  const { mqtt } = own.ports[0]!
  const [eager, rare] = [await RawClient.connect(mqtt, 5, 'eager'), await RawClient.connect(mqtt, 5, 'rare')]
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const publish = (client: RawClient, i: number) =>
    client.publish(`devices/${client === eager ? 'eager' : 'rare'}/telemetry`, payloadOf(i), 1, i)
  for (let i = 1; i <= 20; i++) {
    publish(eager, i)
    await eager.take('puback')
  }
  const received = own.count('messagesInQos1')
  publish(rare, 1)
  // Nothing but turns of the event loop: time stands still.
  while (own.count('messagesInQos1') === received) await new Promise(setImmediate)
  for (let i = 0; i < 20; i++) await new Promise(setImmediate)
  assert.equal(own.count('acknowledged'), 20)
  publish(eager, 21)
  await eager.take('puback')
  await rare.take('puback')
  for (const client of [eager, rare]) client.end()
  await own.close()
})
