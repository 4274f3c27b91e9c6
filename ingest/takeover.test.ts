// Several workers of one process: client ids, interest and live messages across them.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { payloadOf, RawClient, recordsOf, startIngest, until } from './ingest-harness.ts'

const harness = await startIngest({ workers: 3 })
const port = (worker: number) => harness.ports[worker]!.mqtt
after(async () => {
  await harness.close()
  assert.deepEqual(harness.failures, [])
})

test('a take-over on another worker: the old records are durable before the new CONNACK, in order', async () => {
  for (let round = 0; round < 9; round++) {
    const id = `device-${round}`
    const old = await RawClient.connect(port(round % 3), 5, id)
    harness.log.stall()
    for (let i = 1; i <= 20; i++) old.publish(`devices/${id}/telemetry`, payloadOf(i), 1, i)
    await until(() => harness.log.waiting > 0, 'the log has something to do')
    const fresh = await RawClient.open(port((round + 1) % 3), 5)
    fresh.sendConnect(id)
    // The client does not wait for the CONNACK, as the protocol allows.
    fresh.publish(`devices/${id}/telemetry`, payloadOf(21), 1, 1)
    await sleep(30)
    assert.deepEqual([fresh.packets, old.packets, old.isClosed], [[], [], false])
    harness.log.goOn()
    assert.equal((await fresh.take('connack')).reasonCode, 0)
    const durable = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(({ key }) => key === id)
    assert.ok(durable.length >= 20)
    assert.equal((await fresh.take('puback')).reasonCode, 0)
    for (let i = 1; i <= 20; i++) assert.equal((await old.take('puback')).messageId, i)
    assert.equal((await old.take('disconnect')).reasonCode, 0x8e)
    await old.closed()
    const all = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(({ key }) => key === id)
    assert.deepEqual(
      all.map(({ value }) => value),
      Array.from({ length: 21 }, (_, i) => payloadOf(i + 1)),
    )
    fresh.end()
  }
  assert.equal(harness.count('takeovers'), 9)
})

test('clients with one id on all workers at once: one stays, whatever the order', async () => {
  for (let round = 0; round < 10; round++) {
    const clients = await Promise.all([0, 1, 2, 0, 1, 2].map((worker) => RawClient.open(port(worker), 5)))
    for (const client of clients) client.sendConnect(`race-${round}`)
    await until(() => clients.filter((client) => client.isClosed).length === 5, 'five give way')
    await sleep(10)
    const left = clients.filter((client) => !client.isClosed)
    assert.equal(left.length, 1)
    assert.equal((await left[0]!.take('connack')).reasonCode, 0)
    for (const client of clients.filter((one) => one.isClosed)) {
      assert.equal((await client.take('connack')).reasonCode, 0)
      assert.equal((await client.take('disconnect')).reasonCode, 0x8e)
    }
    left[0]!.end()
  }
})

test('a session epoch rises with every session of a device, across workers, and tells its records apart', async () => {
  const id = 'epochs'
  for (let i = 0; i < 6; i++) {
    const client = await RawClient.connect(port(i % 3), 4, id)
    client.send({ cmd: 'disconnect' } as never)
    await client.closed()
  }
  await until(() => harness.count('sessions') === 0, 'all have gone')
  for (const worker of harness.workers) await worker.presence.flush()
  const events = (await recordsOf(harness.log, 'default._presence'))
    .filter(({ key }) => key === id)
    .map(({ value }) => JSON.parse(value.toString()))
  const epochs = events.filter(({ event }) => event === 'connect').map(({ sessionEpoch }) => sessionEpoch)
  assert.equal(new Set(epochs).size, 6)
  for (const epoch of epochs) {
    const own = events.filter(({ sessionEpoch }) => sessionEpoch === epoch).map(({ event }) => event)
    assert.deepEqual(own, ['connect', 'disconnect'])
  }
  const { clientId, kind, credential, protocol, transport, peer } = events[0]
  assert.deepEqual([clientId, kind, credential, protocol, transport], [id, 'device', '', '3.1.1', 'tcp'])
  assert.match(peer, /^127\.0\.0\.1:\d+$/)
})

test('after its SUBACK a client hears what is published on any worker: ordinary at once, telemetry when durable', async () => {
  for (let round = 0; round < 6; round++) {
    const subscriber = await RawClient.connect(port(round % 3), 5, `sub-${round}`)
    const publisher = await RawClient.connect(port((round + 1) % 3), 5, `pub-${round}`)
    subscriber.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [
        { topic: `cross-${round}/+`, qos: 1 },
        { topic: `devices/pub-${round}/telemetry`, qos: 0 },
      ],
    })
    await subscriber.take('suback')
    publisher.publish(`cross-${round}/a`, 'hello', 1, 1, { properties: { contentType: 'text/plain' } })
    assert.equal((await publisher.take('puback')).reasonCode, 0)
    const message = await subscriber.take('publish')
    assert.deepEqual(
      [message.payload.toString(), message.qos, message.properties.contentType],
      ['hello', 1, 'text/plain'],
    )
    harness.log.stall()
    for (let i = 1; i <= 10; i++) publisher.publish(`devices/pub-${round}/telemetry`, payloadOf(i), 1, i)
    await sleep(20)
    assert.deepEqual(subscriber.packets, [])
    harness.log.goOn()
    for (let i = 1; i <= 10; i++) assert.deepEqual((await subscriber.take('publish')).payload, payloadOf(i))
    for (let i = 1; i <= 10; i++) await publisher.take('puback')
    subscriber.end()
    await until(() => harness.count('subscriptions') === 0, 'subscriptions end with the session')
    await sleep(10)
    publisher.publish(`cross-${round}/a`, 'nobody', 1, 11)
    assert.equal((await publisher.take('puback')).reasonCode, 0x10)
    publisher.end()
  }
})

test('tenants do not hear each other, and equal device names are two devices', async () => {
  // Anonymous clients are all of tenant `default`; what other tenants do is in identity.test.ts. Here: the
  // trees of two tenants on two workers are apart.
  const [a, b] = harness.workers
  await new Promise<void>((resolve) => a!.hub.addInterest('acme', 'x', resolve))
  const matched = new Map<number, number>()
  b!.tenant('default').remote.match('x', matched)
  assert.equal(matched.size, 0)
  b!.tenant('acme').remote.match('x', matched)
  assert.deepEqual([...matched.keys()], [0])
})

test('drain: everything received is durable and acknowledged, then 0x8B', async () => {
  const other = await startIngest({ workers: 2 })
  const clients = await Promise.all(
    [0, 1].map((worker) => RawClient.connect(other.ports[worker]!.mqtt, 5, `d${worker}`)),
  )
  other.log.stall()
  clients.forEach((client, worker) => {
    for (let i = 1; i <= 50; i++) client.publish(`devices/d${worker}/telemetry`, payloadOf(i), 1, i)
  })
  await until(() => other.count('accepted') === 100, 'all received')
  const drained = Promise.all(other.workers.map((worker) => worker.drain()))
  await sleep(20)
  other.log.goOn()
  await drained
  for (const client of clients) {
    for (let i = 1; i <= 50; i++) assert.equal((await client.take('puback')).messageId, i)
    assert.equal((await client.take('disconnect')).reasonCode, 0x8b)
    await client.closed()
  }
  await assert.rejects(RawClient.open(other.ports[0]!.mqtt, 5))
  const events = (await recordsOf(other.log, 'default._presence')).map(({ value }) =>
    JSON.parse(value.toString()),
  )
  assert.equal(events.filter(({ event, reason }) => event === 'disconnect' && reason === 0x8b).length, 2)
  await other.log.close()
})
