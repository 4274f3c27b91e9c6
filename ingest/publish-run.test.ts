// Messages of one topic that come together: each gets the answer, the record and the place that it would have had alone.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { partitionOfKey } from '../std/hash.ts'
import { payloadOf, RawClient, recordsOf, startIngest, TOPIC, until } from './ingest-harness.ts'

const COUNT = 200
const topicOf = (id: string): string => `devices/${id}/telemetry`

for (const level of [4, 5] as const) {
  test(`${level === 4 ? '3.1.1' : '5.0'}: payloads of all kinds get the answers and the records that they get one by one`, async (t) => {
    const valid = (i: number): Buffer => payloadOf(i, 'n'.repeat(i))
    const misfits = [
      (i: number) => valid(i),
      () => Buffer.from([0, 0, 0, 0, 7, 1]),
      (i: number) => Buffer.from(`{"seq":${i},"temperature":1.5,"note":"json"}`),
      () => Buffer.from([0, 0, 0]),
      () => Buffer.alloc(0),
      // Of a schema that the stream does not have.
      (i: number) => Buffer.concat([Buffer.from([0, 0, 0, 0, 8]), valid(i).subarray(5)]),
      (i: number) => Buffer.concat([Buffer.from([1]), valid(i).subarray(1)]),
      (i: number) => Buffer.concat([valid(i), Buffer.from([0])]),
    ]
    // The first of each batch that does not fit ends its run.
    const batches = misfits.map((misfit, k) =>
      Array.from({ length: 40 + k }, (_, i) => (i === 10 + 3 * k || i === 30 ? misfit(i) : valid(i))),
    )
    const outcomes = []
    for (const isAtOnce of [false, true]) {
      const harness = await startIngest()
      t.after(() => harness.close())
      const client = await RawClient.connect(harness.ports[0]!.mqtt, level, 'mixed')
      const answers: unknown[] = []
      const answer = async () => {
        const { messageId, reasonCode, properties } = await client.take('puback')
        answers.push([messageId, reasonCode, properties?.reasonString])
      }
      // One before each, so that there has been only one in flight.
      for (const batch of batches.flatMap((batch) => [[valid(0)], batch])) {
        if (isAtOnce)
          client.atOnce(() => {
            for (const [i, payload] of batch.entries()) client.publish(topicOf('mixed'), payload, 1, i + 1)
          })
        for (const [i, payload] of batch.entries()) {
          if (!isAtOnce) client.publish(topicOf('mixed'), payload, 1, i + 1)
          await answer()
        }
      }
      const records = async (topic: string) =>
        (await recordsOf(harness.log, topic)).map(({ key, value }) => `${key} ${value.toString('hex')}`)
      const rejected = await recordsOf(harness.log, 'default.telemetry.rejected')
      outcomes.push({
        answers,
        raw: await records('default.telemetry.raw'),
        // They hold the time.
        rejected: rejected.length,
        counted: (['accepted', 'rejected', 'messagesInQos0', 'messagesInQos1'] as const).map(harness.count),
      })
      client.end()
    }
    assert.deepEqual(outcomes[1], outcomes[0])
    assert.ok(outcomes[0]!.raw.length > 300 && outcomes[0]!.rejected > 10)
  })

  test(`${level === 4 ? '3.1.1' : '5.0'}: QoS 0 is kept and counted, and changes of QoS and topic are seen`, async (t) => {
    const harness = await startIngest()
    t.after(() => harness.close())
    const client = await RawClient.connect(harness.ports[0]!.mqtt, level, 'changing')
    const numbers = Array.from({ length: COUNT }, (_, i) => i + 1)
    const qosOf = (i: number): 0 | 1 => (i % 50 < 25 ? 0 : 1)
    // In the last fifth only: from its second topic on a connection has a table of them.
    const isOrdinary = (i: number): boolean => i > 0.8 * COUNT && i % 3 === 0
    const device = numbers.filter((i) => !isOrdinary(i))
    client.atOnce(() => {
      for (const i of numbers)
        client.publish(isOrdinary(i) ? 'ordinary/topic' : topicOf('changing'), payloadOf(i), qosOf(i), i)
    })
    const acknowledged = numbers.filter((i) => qosOf(i) === 1)
    for (const i of acknowledged) assert.equal((await client.take('puback')).messageId, i)
    await until(() => harness.count('accepted') === device.length, 'all accepted')
    await harness.workers[0]!.accumulator.drained()
    assert.deepEqual(
      (await recordsOf(harness.log, 'default.telemetry.raw')).map(({ value }) => value.toString('hex')),
      device.map((i) => payloadOf(i).toString('hex')),
    )
    assert.deepEqual(
      [harness.count('messagesInQos0'), harness.count('messagesInQos1'), harness.count('ordinary')],
      [COUNT - acknowledged.length, acknowledged.length, COUNT - device.length],
    )
    client.end()
  })
}

test('an alias and no topic: what follows without either is refused', async (t) => {
  const harness = await startIngest()
  t.after(() => harness.close())
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'short')
  const properties = { topicAlias: 1 }
  client.atOnce(() => {
    client.publish(topicOf('short'), payloadOf(1), 1, 1, { properties })
    client.publish('', payloadOf(2), 1, 2, { properties })
    // Topic of no bytes, packet id 3, no properties.
    const payload = payloadOf(3)
    client.socket.write(Buffer.concat([Buffer.from([0x32, payload.length + 5, 0, 0, 0, 3, 0]), payload]))
  })
  assert.equal((await client.take('disconnect')).reasonCode, 0x82)
  await harness.workers[0]!.accumulator.drained()
  assert.equal((await recordsOf(harness.log, 'default.telemetry.raw')).length, 2)
})

test('a live subscriber gets each of them', async (t) => {
  const harness = await startIngest()
  t.after(() => harness.close())
  const port = harness.ports[0]!.mqtt
  const watcher = await RawClient.connect(port, 4, 'watcher')
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'devices/+/telemetry', qos: 0 }] })
  await watcher.take('suback')
  const device = await RawClient.connect(port, 4, 'seen')
  device.atOnce(() => {
    for (let i = 1; i <= COUNT; i++) device.publish(topicOf('seen'), payloadOf(i), 1, i)
  })
  for (let i = 1; i <= COUNT; i++) assert.deepEqual((await watcher.take('publish')).payload, payloadOf(i))
  watcher.end()
  device.end()
})

test('a full quota refuses each of them', async (t) => {
  const harness = await startIngest()
  t.after(() => harness.close())
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'full')
  // So that the connection has had more than one in flight.
  client.atOnce(() => {
    for (let i = 1; i <= 10; i++) client.publish(topicOf('full'), payloadOf(i), 1, i)
  })
  for (let i = 1; i <= 10; i++) assert.equal((await client.take('puback')).reasonCode, 0)
  harness.workers[0]!.setQuotaFull('default', true)
  client.atOnce(() => {
    for (let i = 1; i <= COUNT; i++) client.publish(topicOf('full'), payloadOf(i), 1, i)
  })
  for (let i = 1; i <= COUNT; i++) assert.equal((await client.take('puback')).reasonCode, 0x97)
  assert.equal((await recordsOf(harness.log, 'default.telemetry.raw')).length, 10)
  client.end()
})

test('more than Receive Maximum in one piece: as many as are allowed are kept, then the connection ends', async (t) => {
  const harness = await startIngest({ options: { receiveMaximum: 30 } })
  t.after(() => harness.close())
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'pushy')
  harness.log.stall()
  client.atOnce(() => {
    for (let i = 1; i <= COUNT; i++) client.publish(topicOf('pushy'), payloadOf(i), 1, i)
  })
  assert.equal((await client.take('disconnect')).reasonCode, 0x93)
  await client.closed()
  harness.log.goOn()
  await harness.workers[0]!.accumulator.drained()
  // The one too many was in its batch when its acknowledgement had no place.
  const records = await recordsOf(harness.log, 'default.telemetry.raw')
  assert.deepEqual(
    records.map(({ value }) => value.toString('hex')),
    Array.from({ length: 31 }, (_, i) => payloadOf(i + 1).toString('hex')),
  )
})

test('where the memory ends within them, they wait there, and go on with the next one', async (t) => {
  const harness = await startIngest({ options: { bytesMax: 1 << 20 } })
  t.after(() => harness.close())
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 4, 'wide')
  const note = 'w'.repeat(400)
  harness.log.stall()
  const count = 5000
  client.atOnce(() => {
    for (let i = 1; i <= count; i++) client.publish(topicOf('wide'), payloadOf(i, note), 1, i)
  })
  await until(() => harness.count('pausedReads') === 1, 'the read waits')
  await sleep(50)
  assert.ok(harness.count('accepted') < count)
  assert.deepEqual(client.packets, [])
  harness.log.goOn()
  for (let i = 1; i <= count; i++) assert.equal((await client.take('puback')).messageId, i)
  const records = await recordsOf(harness.log, 'default.telemetry.raw')
  assert.deepEqual(
    records.map(({ value }) => value.toString('hex')),
    Array.from({ length: count }, (_, i) => payloadOf(i + 1, note).toString('hex')),
  )
  client.end()
})

test('a commit that goes in the middle of them: a take-over waits for the next one as well', async (t) => {
  const harness = await startIngest({ options: { bytesMax: 16 << 20 } })
  t.after(() => harness.close())
  const { mqtt } = harness.ports[0]!
  const note = 'm'.repeat(400)
  const count = 120
  // Together more than two batches of 1 MiB, all for one partition, and read in one turn: a commit goes with the second.
  const ids = Array.from({ length: 300 }, (_, i) => `part-${i}`)
    .filter((id) => partitionOfKey(Buffer.from(id), 0, id.length, TOPIC.partitions) === 0)
    .slice(0, 48)
  const clients = await Promise.all(ids.map((id) => RawClient.connect(mqtt, 5, id)))
  // What connecting wrote is in the log.
  await sleep(100)
  harness.log.stall()
  for (const [k, client] of clients.entries())
    client.atOnce(() => {
      for (let i = 1; i <= count; i++) client.publish(topicOf(ids[k]!), payloadOf(i, note), 1, i)
    })
  await until(() => harness.count('accepted') === clients.length * count, 'all of them are taken')
  // The first commit alone goes through.
  harness.log.goOn()
  harness.log.stall()
  const isPart = (client: RawClient) => client.packets.length > 0 && client.packets.length < count
  await until(() => clients.some(isPart), 'one is acknowledged in part')
  const k = clients.findIndex(isPart)
  const fresh = await RawClient.open(mqtt, 5)
  fresh.sendConnect(ids[k]!)
  await sleep(50)
  assert.deepEqual([fresh.packets, clients[k]!.isClosed], [[], false])
  harness.log.goOn()
  assert.equal((await fresh.take('connack')).reasonCode, 0)
  for (let i = 1; i <= count; i++) assert.equal((await clients[k]!.take('puback')).messageId, i)
  assert.equal((await clients[k]!.take('disconnect')).reasonCode, 0x8e)
  fresh.end()
  for (const client of clients) client.end()
})

test('above its rate: what is above it is answered later, all the same', async (t) => {
  const harness = await startIngest({ options: { deviceRateMax: 100 } })
  t.after(() => harness.close())
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 4, 'fast')
  const from = performance.now()
  client.atOnce(() => {
    for (let i = 1; i <= 150; i++) client.publish(topicOf('fast'), payloadOf(i), 1, i)
  })
  for (let i = 1; i <= 150; i++) assert.equal((await client.take('puback')).messageId, i)
  assert.ok(performance.now() - from >= 400)
  client.end()
})
