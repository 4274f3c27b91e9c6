// Clients that nobody here wrote: mqtt (npm) over TCP and WebSocket, 3.1.1 and 5.0.
import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { connectAsync, type IClientOptions } from 'mqtt'
import { payloadOf, recordsOf, startIngest, until } from './ingest-harness.ts'

const harness = await startIngest({ workers: 2 })
after(async () => {
  await harness.close()
  assert.deepEqual(harness.failures, [])
})

const urls = (worker: number) => ({
  tcp: `mqtt://127.0.0.1:${harness.ports[worker]!.mqtt}`,
  ws: `ws://127.0.0.1:${harness.ports[worker]!.ws}/mqtt`,
})

for (const transport of ['tcp', 'ws'] as const)
  for (const protocolVersion of [4, 5] as const) {
    const name = `${transport}-${protocolVersion}`
    const options: IClientOptions = { protocolVersion, reconnectPeriod: 0, connectTimeout: 5000 }

    test(`mqtt.js over ${transport}, level ${protocolVersion}: telemetry, live messages across workers, unsubscribe, end`, async () => {
      const subscriber = await connectAsync(urls(0)[transport], { ...options, clientId: `sub-${name}` })
      const heard: [string, string | Buffer][] = []
      subscriber.on('message', (topic, payload) =>
        heard.push([topic, topic.startsWith('devices') ? payload : payload.toString()]),
      )
      await subscriber.subscribeAsync([`devices/pub-${name}/+`, `talk-${name}/#`], { qos: 1 })
      const publisher = await connectAsync(urls(1)[transport], { ...options, clientId: `pub-${name}` })
      for (let i = 1; i <= 200; i++)
        await publisher.publishAsync(`devices/pub-${name}/telemetry`, payloadOf(i), {
          qos: i % 5 === 0 ? 0 : 1,
        })
      await publisher.publishAsync(`talk-${name}/a/b`, 'hello', { qos: 1 })
      await until(() => heard.length === 201, `201 messages, ${heard.length} came`)
      assert.deepEqual(
        heard.filter(([topic]) => topic.startsWith('devices')).map(([, payload]) => payload),
        Array.from({ length: 200 }, (_, i) => payloadOf(i + 1)),
      )
      assert.deepEqual(
        heard.filter(([topic]) => topic.startsWith('talk')),
        [[`talk-${name}/a/b`, 'hello']],
      )
      await subscriber.unsubscribeAsync(`talk-${name}/#`)
      await publisher.endAsync()
      await subscriber.endAsync()
      const records = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(
        ({ key }) => key === `pub-${name}`,
      )
      assert.equal(records.length, 200)
    })

    test(`mqtt.js over ${transport}, level ${protocolVersion}: a large message and many in flight`, async () => {
      const client = await connectAsync(urls(0)[transport], { ...options, clientId: `large-${name}` })
      const topic = `devices/large-${name}/telemetry`
      await client.publishAsync(topic, payloadOf(0, 'x'.repeat(60_000)), { qos: 1 })
      await Promise.all(
        Array.from({ length: 500 }, (_, i) =>
          client.publishAsync(topic, payloadOf(i + 1, 'y'.repeat(200)), { qos: 1 }),
        ),
      )
      await client.endAsync()
      const records = (await recordsOf(harness.log, 'default.telemetry.raw')).filter(
        ({ key }) => key === `large-${name}`,
      )
      assert.equal(records.length, 501)
      assert.deepEqual(records[0]!.value, payloadOf(0, 'x'.repeat(60_000)))
    })
  }

test('mqtt.js sees the reason of a refusal in 5.0', async () => {
  const client = await connectAsync(urls(0).tcp, {
    protocolVersion: 5,
    clientId: 'refused',
    reconnectPeriod: 0,
  })
  await assert.rejects(client.publishAsync('devices/refused/nothing', 'x', { qos: 1 }), /Topic Name invalid/i)
  await client.endAsync()
})

test('mqtt.js with topic aliases assigned by itself', async () => {
  const client = await connectAsync(urls(0).tcp, {
    protocolVersion: 5,
    clientId: 'aliases',
    autoAssignTopicAlias: true,
    reconnectPeriod: 0,
  })
  for (let i = 1; i <= 20; i++)
    await client.publishAsync('devices/aliases/telemetry', payloadOf(i), { qos: 1 })
  await client.endAsync()
  assert.equal(
    (await recordsOf(harness.log, 'default.telemetry.raw')).filter(({ key }) => key === 'aliases').length,
    20,
  )
})

test('WebSocket: another path or subprotocol is refused with an HTTP status', async () => {
  const base = `http://127.0.0.1:${harness.ports[0]!.ws}`
  assert.equal((await fetch(`${base}/elsewhere`)).status, 404)
  assert.equal((await fetch(`${base}/mqtt`)).status, 426)
})
