// A gateway with many topics, against a model: whatever happens to a topic between two messages (somebody subscribes
// or goes, its stream goes or comes back, the quota fills), each message gets the answer that is due, its record has
// the right device, and subscribers get what they are subscribed to. What a connection remembers of its topics
// (topic-cache.ts) must never be seen.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { hashPassword } from '../identity/identity-secret.ts'
import { partitionOfKey } from '../std/hash.ts'
import { payloadOf, RawClient, recordsOf, startIngest, streamOf, until } from './ingest-harness.ts'

const PASSWORD = 's3cret'
const SEED = 20261126
const STEPS = 300
const SUCCESS = 0
const NOT_AUTHORIZED = 0x87
const TOPIC_NAME_INVALID = 0x90
const QUOTA_EXCEEDED = 0x97
const PAYLOAD_FORMAT_INVALID = 0x99
const NO_MATCHING_SUBSCRIBERS = 0x10

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-gateway-'))
after(() => fs.rmSync(folder, { recursive: true }))
const credentialsFile = path.join(folder, 'credentials.yaml')
const hash = await hashPassword(PASSWORD)
fs.writeFileSync(
  credentialsFile,
  JSON.stringify({ credentials: [{ tenant: 'default', gateway: 'hall', devices: ['room-*'], hash }] }),
)

function randomOf(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

for (const deviceRateMax of [0, 1e6])
  test(`${STEPS} steps of a gateway, device rate ${deviceRateMax}, seed ${SEED}`, async () => {
    const random = randomOf(SEED)
    const harness = await startIngest({ options: { credentialsFile, deviceRateMax } })
    const [worker] = harness.workers
    const port = harness.ports[0]!.mqtt
    const login = { username: 'default/hall', password: Buffer.from(PASSWORD) }
    const gateway = await RawClient.connect(port, 5, 'hall', login)
    const watcher = await RawClient.connect(port, 5, 'watcher')
    const expected: string[] = []
    const subscribed = new Set<string>()
    let hasStream = true
    let isFull = false
    let messageId = 0

    const dueAcks: { messageId: number; reasonCode: number }[] = []
    let duePings = 0
    const dueLive: { topic: string; payload: Buffer }[] = []

    /** Sends one message, its topic perhaps by an alias; what it must lead to is in the model. */
    function publish(
      topic: string,
      payload: Buffer,
      reasonCode: number,
      { sentTopic = topic, properties = {} } = {},
    ): void {
      messageId = (messageId % 65_535) + 1
      // What is sent until `settle` comes with one read.
      if (dueAcks.length === 0) gateway.socket.cork()
      gateway.publish(sentTopic, payload, 1, messageId, { properties })
      dueAcks.push({ messageId, reasonCode })
      if (reasonCode === SUCCESS && subscribed.has(topic)) dueLive.push({ topic, payload })
    }

    async function settle(): Promise<void> {
      if (dueAcks.length === 0) return
      gateway.socket.uncork()
      await until(() => gateway.packets.length === dueAcks.length + duePings, 'all answers')
      duePings = 0
      const acks = gateway.packets.splice(0).filter((packet) => packet.cmd === 'puback')
      assert.deepEqual(
        acks.map(({ messageId, reasonCode }) => ({ messageId, reasonCode })),
        dueAcks.splice(0),
      )
      await until(() => watcher.packets.length === dueLive.length, 'all live messages')
      const live = watcher.packets.splice(0).map((packet) => packet.cmd === 'publish' && packet)
      assert.deepEqual(
        live.map((packet) => packet && { topic: packet.topic, payload: packet.payload }),
        dueLive.splice(0),
      )
    }

    async function change(): Promise<void> {
      const topic = `devices/room-${random(12)}/telemetry`
      const cmd = subscribed.has(topic) ? 'unsubscribe' : 'subscribe'
      switch (random(3)) {
        case 0:
          hasStream = !hasStream
          worker!.updateStreams(hasStream ? [streamOf('default')] : [])
          break
        case 1:
          isFull = !isFull
          worker!.setQuotaFull('default', isFull)
          break
        default:
          watcher.send(
            cmd === 'subscribe'
              ? { cmd, messageId: 1, subscriptions: [{ topic, qos: 0 }] }
              : { cmd, messageId: 1, unsubscriptions: [topic] },
          )
          await watcher.take(cmd === 'subscribe' ? 'suback' : 'unsuback')
          if (cmd === 'subscribe') subscribed.add(topic)
          else subscribed.delete(topic)
      }
    }

    for (let step = 0; step < STEPS; step++) {
      if (random(3) === 0) await settle()
      if (random(12) === 0) {
        await settle()
        await change()
      }
      // Between two messages of one read.
      if (dueAcks.length > 0 && random(10) === 0) {
        gateway.send({ cmd: 'pingreq' })
        duePings++
      }
      const device = `room-${random(12)}`
      const topic = `devices/${device}/telemetry`
      const due = !hasStream ? TOPIC_NAME_INVALID : isFull ? QUOTA_EXCEEDED : SUCCESS
      const payload = payloadOf(step)
      switch (random(8)) {
        case 0:
          publish(`devices/other-${random(3)}/telemetry`, payload, NOT_AUTHORIZED)
          break
        case 1:
          publish(`hall/${random(4)}`, payload, NO_MATCHING_SUBSCRIBERS)
          break
        case 2:
          publish(topic, Buffer.from([0, 0, 0, 0, 7, 1]), due === SUCCESS ? PAYLOAD_FORMAT_INVALID : due)
          break
        case 3: {
          // With an alias given now, then by the alias alone.
          const properties = { topicAlias: 1 + random(4) }
          publish(topic, payload, due, { properties })
          publish(topic, payload, due, { sentTopic: '', properties })
          if (due === SUCCESS)
            for (let i = 0; i < 2; i++) expected.push(`${device} ${payload.toString('hex')}`)
          break
        }
        default:
          publish(topic, payload, due)
          if (due === SUCCESS) expected.push(`${device} ${payload.toString('hex')}`)
      }
    }
    await settle()
    const records = await recordsOf(harness.log, 'default.telemetry.raw')
    const found = records.map(({ key, value }) => `${key} ${value.toString('hex')}`)
    assert.deepEqual(found.sort(), expected.sort())
    const rejected = await recordsOf(harness.log, 'default.telemetry.rejected')
    assert.ok(rejected.length > 0 && rejected.every(({ key }) => key.startsWith('room-')))
    assert.deepEqual([gateway.packets, watcher.packets], [[], []])
    gateway.end()
    watcher.end()
    await harness.close()
    assert.deepEqual(harness.failures, [])
  })

test('a topic that is sent again in one read, after a SUBSCRIBE, is still the one that it says', async (t) => {
  const harness = await startIngest({ options: { credentialsFile } })
  t.after(() => harness.close())
  const gateway = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'hall', {
    username: 'default/hall',
    password: Buffer.from(PASSWORD),
  })
  const publish = (device: string, messageId: number) =>
    gateway.publish(`devices/${device}/telemetry`, payloadOf(messageId), 1, messageId)
  // A second topic makes the table; the last one that needed an entry is that of the longer device id.
  publish('room-1', 1)
  publish('room-22', 2)
  await until(() => gateway.packets.length === 2, 'both acknowledgements')
  gateway.atOnce(() => {
    publish('room-1', 3)
    gateway.send({ cmd: 'subscribe', messageId: 9, subscriptions: [{ topic: 'hall/1', qos: 0 }] })
    publish('room-1', 4)
  })
  await until(() => gateway.packets.length === 5, 'all answers')
  const records = await recordsOf(harness.log, 'default.telemetry.raw')
  assert.deepEqual(records.map(({ key }) => key).sort(), ['room-1', 'room-1', 'room-1', 'room-22'])
  gateway.end()
  assert.deepEqual(harness.failures, [])
})

test('a gateway’s devices by turns: each record lies in its device’s partition', async (t) => {
  const harness = await startIngest({ options: { credentialsFile } })
  t.after(() => harness.close())
  const login = { username: 'default/hall', password: Buffer.from(PASSWORD) }
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'hall', login)
  const count = 200
  const devices = Array.from({ length: 8 }, (_, i) => `room-${i}`)
  const deviceOf = (i: number): string => devices[Math.floor(i / 7) % devices.length]!
  const sent: number[] = []
  // All of them, by which the table is made; then one alone, and all of them again.
  for (const size of [count, 1, count, 1, count]) {
    client.atOnce(() => {
      for (let i = 0; i < size; i++) {
        client.publish(`devices/${deviceOf(i)}/telemetry`, payloadOf(i), 1, i + 1)
        sent.push(i)
      }
    })
    for (let i = 0; i < size; i++) {
      const { messageId, reasonCode } = await client.take('puback')
      assert.deepEqual([messageId, reasonCode], [i + 1, 0])
    }
  }
  assert.deepEqual([harness.count('accepted'), harness.count('messagesInQos1')], [sent.length, sent.length])
  const records = await recordsOf(harness.log, 'default.telemetry.raw')
  const described = await harness.log.describeTopic('default.telemetry.raw')
  for (const device of devices) {
    const own = records.filter(({ key }) => key === device)
    const expected = sent.filter((i) => deviceOf(i) === device)
    assert.deepEqual(
      own.map(({ value }) => value.toString('hex')),
      expected.map((i) => payloadOf(i).toString('hex')),
    )
    const partition = partitionOfKey(Buffer.from(device), 0, device.length, described!.config.partitions)
    assert.deepEqual([...new Set(own.map((record) => record.partition))], [partition])
  }
  client.end()
})

test('what a session must not send is refused among known topics too, and a full quota refuses each of them', async (t) => {
  const harness = await startIngest({ options: { credentialsFile } })
  t.after(() => harness.close())
  const login = { username: 'default/hall', password: Buffer.from(PASSWORD) }
  const topics = ['devices/room-1/telemetry', 'devices/room-2/telemetry']
  const publish = (client: RawClient, count: number, more = {}): void =>
    client.atOnce(() => {
      for (let i = 1; i <= count; i++) client.publish(topics[i % 2]!, payloadOf(i), 1, i, more)
    })
  for (const [more, reason] of [
    [{ qos: 2 }, 0x9b],
    [{ retain: true }, 0x9a],
    [{ qos: 0, dup: true }, 0x81],
  ] as const) {
    const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'hall', login)
    publish(client, 10)
    for (let i = 1; i <= 10; i++) assert.equal((await client.take('puback')).reasonCode, 0)
    const before = harness.count('accepted')
    publish(client, 10, more)
    assert.equal((await client.take('disconnect')).reasonCode, reason)
    await client.closed()
    assert.equal(harness.count('accepted'), before)
  }
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'hall', login)
  publish(client, 10)
  for (let i = 1; i <= 10; i++) assert.equal((await client.take('puback')).reasonCode, 0)
  harness.workers[0]!.setQuotaFull('default', true)
  publish(client, 50)
  for (let i = 1; i <= 50; i++) assert.equal((await client.take('puback')).reasonCode, 0x97)
  client.end()
})
