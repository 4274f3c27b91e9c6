// One test for each cell of the table in docs/refusals.md, and the table against the code.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { IngestCounter } from './counters.ts'
import { payloadOf, RawClient, recordsOf, startIngest, until } from './ingest-harness.ts'
import { REFUSALS, refusalsMarkdown } from './refusals.ts'

const harness = await startIngest()
const port = harness.ports[0]!.mqtt
const worker = harness.workers[0]!
after(async () => {
  await harness.close()
  assert.deepEqual(harness.failures, [])
})

let serial = 0
const open = async (level: 4 | 5): Promise<[RawClient, string]> => {
  const id = `dev-${++serial}`
  return [await RawClient.connect(port, level, id), id]
}
/** Records of a topic that carry this device. */
const kept = async (kind: string, id: string) =>
  (await recordsOf(harness.log, `default.telemetry.${kind}`)).filter((record) => record.key === id).length
/** Sees that a connection is still served. */
const stillServed = async (client: RawClient) => {
  client.send({ cmd: 'pingreq' })
  await client.take('pingresp')
  client.end()
}
/** Runs `body` and sees that the counter grew by one. */
const counted = async (counter: IngestCounter, body: () => Promise<void>) => {
  const before = harness.count(counter)
  await body()
  await until(() => harness.count(counter) === before + 1, `${counter} counts one`)
}

test('docs/refusals.md holds the table of the code', () => {
  const text = readFileSync(new URL('../docs/refusals.md', import.meta.url), 'utf8')
  assert.ok(
    text.includes(refusalsMarkdown()),
    'run `make docs`, or paste refusalsMarkdown() between the marks',
  )
})

const BAD = Buffer.concat([payloadOf(1).subarray(0, 6), Buffer.from([1, 2, 3])])

test('payload does not fit, 5.0 QoS 1: PUBACK 0x99 names schema, field and offset, once the rejection is durable', async () => {
  const [client, id] = await open(5)
  await counted('refusedPayloadInvalid', async () => {
    client.publish(`devices/${id}/telemetry`, BAD, 1, 1)
    client.publish(`devices/${id}/telemetry`, payloadOf(2), 1, 2)
    const ack = await client.take('puback')
    assert.equal(ack.reasonCode, 0x99)
    assert.match(ack.properties.reasonString, /default\.telemetry-value id 7, field temperature, offset \d+/)
    assert.equal((await client.take('puback')).reasonCode, 0)
  })
  assert.deepEqual([await kept('rejected', id), await kept('raw', id)], [1, 1])
  await stillServed(client)
})

test('payload does not fit, 3.1.1 QoS 1: PUBACK once the rejection is durable', async () => {
  const [client, id] = await open(4)
  harness.log.stall()
  client.publish(`devices/${id}/telemetry`, BAD, 1, 1)
  await sleep(40)
  assert.deepEqual(client.packets, [])
  harness.log.goOn()
  assert.equal((await client.take('puback')).messageId, 1)
  assert.equal(await kept('rejected', id), 1)
  await stillServed(client)
})

for (const level of [4, 5] as const)
  test(`payload does not fit, QoS 0, level ${level}: kept in the rejected topic, nothing is answered`, async () => {
    const [client, id] = await open(level)
    await counted('refusedPayloadInvalid', async () => client.publish(`devices/${id}/telemetry`, BAD, 0))
    await until(async () => (await kept('rejected', id)) === 1, 'a rejected record')
    await stillServed(client)
  })

test('payload does not fit, above the device’s budget of rejected bytes: counted, answered the same', async () => {
  const [client, id] = await open(5)
  const large = Buffer.concat([BAD, Buffer.alloc(60_000)])
  const before = harness.count('rejectedNotKept')
  for (let i = 1; i <= 20; i++) {
    client.publish(`devices/${id}/telemetry`, large, 1, i)
    assert.equal((await client.take('puback')).reasonCode, 0x99)
  }
  assert.equal(await kept('rejected', id), 17)
  assert.equal(harness.count('rejectedNotKept') - before, 3)
  await stillServed(client)
})

interface Row {
  name: string
  counter: IngestCounter
  reason: number
  topic: (id: string) => string
  around?: [before: () => void, after: () => void]
}
const ROWS: Row[] = [
  {
    name: 'not authorised',
    counter: 'refusedNotAuthorized',
    reason: 0x87,
    topic: () => 'devices/somebody-else/telemetry',
  },
  {
    name: 'topic names no stream',
    counter: 'refusedTopicUnknown',
    reason: 0x90,
    topic: (id) => `devices/${id}/telemetri`,
  },
  {
    name: 'storage quota full',
    counter: 'refusedQuotaFull',
    reason: 0x97,
    topic: (id) => `devices/${id}/telemetry`,
    around: [() => worker.setQuotaFull('default', true), () => worker.setQuotaFull('default', false)],
  },
]
for (const { name, counter, reason, topic, around } of ROWS) {
  test(`${name}, 5.0 QoS 1: PUBACK 0x${reason.toString(16)}, the session goes on`, async () => {
    const [client, id] = await open(5)
    around?.[0]()
    await counted(counter, async () => {
      client.publish(topic(id), payloadOf(1), 1, 1)
      const ack = await client.take('puback')
      assert.equal(ack.reasonCode, reason)
      assert.ok(ack.properties.reasonString.length > 10)
    })
    around?.[1]()
    assert.deepEqual([await kept('raw', id), await kept('rejected', id)], [0, 0])
    await stillServed(client)
  })
  test(`${name}, 3.1.1 QoS 1: the connection is closed`, async () => {
    const [client, id] = await open(4)
    around?.[0]()
    await counted(counter, async () => {
      client.publish(topic(id), payloadOf(1), 1, 1)
      await client.closed()
    })
    around?.[1]()
    assert.deepEqual(client.packets, [])
  })
  for (const level of [4, 5] as const)
    test(`${name}, QoS 0, level ${level}: dropped and counted`, async () => {
      const [client, id] = await open(level)
      around?.[0]()
      await counted(counter, async () => client.publish(topic(id), payloadOf(1), 0))
      await stillServed(client)
      around?.[1]()
      assert.deepEqual([await kept('raw', id), await kept('rejected', id)], [0, 0])
    })
}

test('not authorised is audited as a presence record', async () => {
  const [client, id] = await open(5)
  client.publish('devices/somebody-else/telemetry', payloadOf(1), 1, 1)
  await client.take('puback')
  await worker.presence.flush()
  const events = (await recordsOf(harness.log, 'default._presence'))
    .filter((record) => record.key === id)
    .map((record) => JSON.parse(record.value.toString()))
  assert.deepEqual(
    events.map(({ event, reason }) => [event, reason]),
    [
      ['connect', 0],
      ['refusal', 0x87],
    ],
  )
  assert.match(events[1].detail, /does not speak for somebody-else/)
  client.end()
})

for (const qos of [0, 1] as const) {
  test(`packet above the maximum, 5.0 QoS ${qos}: DISCONNECT 0x95`, async () => {
    const [client, id] = await open(5)
    await counted('refusedPacketTooLarge', async () => {
      client.publish(`devices/${id}/telemetry`, Buffer.alloc(70_000), qos, 1)
      assert.equal((await client.take('disconnect')).reasonCode, 0x95)
      await client.closed()
    })
  })
  test(`packet above the maximum, 3.1.1 QoS ${qos}: closed`, async () => {
    const [client, id] = await open(4)
    await counted('refusedPacketTooLarge', async () => {
      client.publish(`devices/${id}/telemetry`, Buffer.alloc(70_000), qos, 1)
      await client.closed()
    })
    assert.deepEqual(client.packets, [])
  })
}

const LACKS: [string, IngestCounter, number, (client: RawClient, id: string) => void][] = [
  [
    'QoS 2',
    'refusedQos2',
    0x9b,
    (client, id) => client.publish(`devices/${id}/telemetry`, payloadOf(1), 2, 1),
  ],
  [
    'RETAIN',
    'refusedRetain',
    0x9a,
    (client, id) => client.publish(`devices/${id}/telemetry`, payloadOf(1), 1, 1, { retain: true }),
  ],
  ['RETAIN at QoS 0', 'refusedRetain', 0x9a, (client) => client.publish('any', 'x', 0, 0, { retain: true })],
]
for (const [name, counter, reason, send] of LACKS) {
  test(`${name}, 5.0: DISCONNECT 0x${reason.toString(16)}`, async () => {
    const [client, id] = await open(5)
    await counted(counter, async () => {
      send(client, id)
      assert.equal((await client.take('disconnect')).reasonCode, reason)
      await client.closed()
    })
    assert.equal(await kept('raw', id), 0)
  })
  test(`${name}, 3.1.1: closed`, async () => {
    const [client, id] = await open(4)
    await counted(counter, async () => {
      send(client, id)
      await client.closed()
    })
    assert.deepEqual(client.packets, [])
  })
}

test('shared subscription: 0x9E in the SUBACK of 5.0, closed in 3.1.1', async () => {
  const subscribe = {
    cmd: 'subscribe',
    messageId: 1,
    subscriptions: [{ topic: '$share/g/a', qos: 0 }],
  } as const
  const [client] = await open(5)
  await counted('refusedSharedSubscription', async () => {
    client.send(subscribe as never)
    assert.deepEqual((await client.take('suback')).granted, [0x9e])
  })
  await stillServed(client)
  const [plain] = await open(4)
  await counted('refusedSharedSubscription', async () => {
    plain.send(subscribe as never)
    await plain.closed()
  })
})

test('subscription identifier: DISCONNECT 0xA1', async () => {
  const [client] = await open(5)
  await counted('refusedSubscriptionIdentifier', async () => {
    const properties = { subscriptionIdentifier: 5 }
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }], properties })
    assert.equal((await client.take('disconnect')).reasonCode, 0xa1)
    await client.closed()
  })
})

test('CONNECT with what we lack: its code in 5.0, closed in 3.1.1', async () => {
  const will = (more: object) => ({
    will: { topic: 'w', payload: Buffer.from('w'), qos: 0, retain: false, ...more },
  })
  const cases: [IngestCounter, number, object][] = [
    ['refusedEnhancedAuthentication', 0x8c, { properties: { authenticationMethod: 'SCRAM' } }],
    ['refusedQos2', 0x9b, will({ qos: 2 })],
    ['refusedRetain', 0x9a, will({ retain: true })],
  ]
  for (const [counter, reason, more] of cases)
    await counted(counter, async () => {
      const client = await RawClient.open(port, 5)
      client.sendConnect('lack', more as never)
      assert.equal((await client.take('connack')).reasonCode, reason)
      await client.closed()
    })
  for (const [counter, , more] of cases.slice(1))
    await counted(counter, async () => {
      const client = await RawClient.open(port, 4)
      client.sendConnect('lack', more as never)
      await client.closed()
      assert.deepEqual(client.packets, [])
    })
})

test('more in flight than Receive Maximum: DISCONNECT 0x93, and what was acknowledged is there; up to it: never', async () => {
  const small = await startIngest({ options: { receiveMaximum: 10 } })
  const publish = (client: RawClient, i: number): void =>
    client.publish('devices/pushy/telemetry', payloadOf(i), 1, i)
  const client = await RawClient.connect(small.ports[0]!.mqtt, 5, 'pushy')
  // Ten in flight at every moment, one more for each PUBACK that came.
  for (let i = 1; i <= 10; i++) publish(client, i)
  for (let i = 1; i <= 300; i++) {
    assert.equal((await client.take('puback')).messageId, i)
    if (i <= 290) publish(client, i + 10)
  }
  small.log.stall()
  for (let i = 301; i <= 310; i++) publish(client, i)
  await sleep(30)
  assert.equal(client.isClosed, false)
  publish(client, 311)
  assert.equal((await client.take('disconnect')).reasonCode, 0x93)
  assert.equal(small.count('refusedInFlightExceeded'), 1)
  small.log.goOn()
  await client.closed()
  const stored = (await recordsOf(small.log, 'default.telemetry.raw')).map(({ value }) => value)
  for (let i = 1; i <= 300; i++)
    assert.ok(stored[i - 1]!.equals(payloadOf(i)), `message ${i} was acknowledged`)
  await small.close()
})

test('above its rate: PUBACKs come later in both versions, nothing is refused', async () => {
  const slow = await startIngest({ options: { deviceRateMax: 100 } })
  for (const level of [4, 5] as const) {
    const id = `fast-${level}`
    const client = await RawClient.connect(slow.ports[0]!.mqtt, level, id)
    const from = Date.now()
    for (let i = 1; i <= 150; i++) client.publish(`devices/${id}/telemetry`, payloadOf(i), 1, i)
    for (let i = 1; i <= 100; i++) assert.equal((await client.take('puback')).messageId, i)
    assert.ok(Date.now() - from < 400, 'the burst is not slowed')
    for (let i = 101; i <= 150; i++) assert.equal((await client.take('puback')).messageId, i)
    const took = Date.now() - from
    assert.ok(took >= 400 && took < 1500, `50 messages above a rate of 100/s took ${took} ms`)
    client.end()
  }
  assert.equal((await recordsOf(slow.log, 'default.telemetry.raw')).length, 300)
  await slow.close()
})

test('above its rate at QoS 0: reads wait, nothing is lost', async () => {
  const slow = await startIngest({ options: { deviceRateMax: 100 } })
  const client = await RawClient.connect(slow.ports[0]!.mqtt, 4, 'flood')
  for (let i = 1; i <= 140; i++) client.publish('devices/flood/telemetry', payloadOf(i), 0)
  await sleep(100)
  assert.ok(slow.count('accepted') < 125)
  await until(() => slow.count('accepted') === 140, 'all accepted')
  client.end()
  await slow.close()
})

test('a greedy client is slowed, its neighbour is not', async (t) => {
  const rate = 200
  const slow = await startIngest({ options: { deviceRateMax: rate } })
  t.after(() => slow.close())
  const greedy = await RawClient.connect(slow.ports[0]!.mqtt, 5, 'greedy')
  const modest = await RawClient.connect(slow.ports[0]!.mqtt, 5, 'modest')
  const started = performance.now()
  const seconds = () => (performance.now() - started) / 1000
  for (let i = 1; i <= 1000; i++) greedy.publish('devices/greedy/telemetry', payloadOf(i), 1, i)
  const waits: number[] = []
  for (let i = 1; i <= 20; i++) {
    const from = performance.now()
    modest.publish('devices/modest/telemetry', payloadOf(i), 1, i)
    await modest.take('puback')
    waits.push(performance.now() - from)
    await sleep(10)
  }
  // The greedy one gets its burst and its rate, and its last message waits four seconds; a neighbour none of them.
  const most = rate + rate * seconds() + 20
  assert.ok(greedy.packets.length <= most, `${greedy.packets.length} acknowledged to the greedy one`)
  const median = waits.sort((a, b) => a - b)[10]!
  assert.ok(median < 500, `the neighbour waited ${median} ms`)
  await until(() => greedy.packets.length === 1000, 'all of the greedy one', 30_000)
  assert.ok(seconds() > 3.5, `1,000 messages at ${rate} a second took ${seconds()} s`)
})

test('every refusal has its reason in the code', () => {
  for (const { reason } of REFUSALS) assert.ok(reason >= 0x80)
})
