import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MillraceError } from '../std/errors.ts'
import { partitionOfKey } from '../std/hash.ts'
import { payloadOf, RawClient, recordsOf, startIngest, until } from './ingest-harness.ts'

const NOTE = 'x'.repeat(1000)

test('a log that stalls: acknowledgements wait, pings are answered, memory is bounded, nobody is closed, nothing is lost', async () => {
  const budget = 4 << 20
  const harness = await startIngest({ options: { bytesMax: budget, receiveMaximum: 1000 } })
  const port = harness.ports[0]!.mqtt
  const five = await RawClient.connect(port, 5, 'five', { keepalive: 2 })
  const plain = await RawClient.connect(port, 4, 'plain', { keepalive: 1 })
  const zero = await RawClient.connect(port, 5, 'zero', { keepalive: 1 })
  harness.log.stall()
  const worker = harness.workers[0]!
  // 1 MB within Receive Maximum; 6 MB each of those that must be stopped.
  for (let i = 1; i <= 1000; i++) five.publish('devices/five/telemetry', payloadOf(i, NOTE), 1, i)
  for (let i = 1; i <= 6000; i++) plain.publish('devices/plain/telemetry', payloadOf(i, NOTE), 1, i)
  for (let i = 1; i <= 6000; i++) zero.publish('devices/zero/telemetry', payloadOf(i, NOTE), 0)
  await until(() => worker.flow.isUnderPressure, 'pressure')
  // Longer than the keep-alives of the two that are not read.
  for (let i = 0; i < 4; i++) {
    await sleep(500)
    five.send({ cmd: 'pingreq' })
    await five.take('pingresp')
  }
  assert.ok(worker.accumulator.bytesUsed <= budget)
  assert.equal(harness.count('pausedReads'), 2)
  assert.ok(harness.count('accepted') < 5000)
  assert.deepEqual(
    [five, plain, zero].map((client) => client.isClosed),
    [false, false, false],
  )
  assert.deepEqual([five.packets, plain.packets], [[], []])
  harness.log.goOn()
  await until(() => harness.count('accepted') === 13_000, 'all accepted', 10_000)
  await until(() => plain.packets.length === 6000 && five.packets.length === 1000, 'all acknowledged')
  assert.ok(plain.packets.every((ack, i) => ack.cmd === 'puback' && ack.messageId === i + 1))
  await worker.accumulator.drained()
  const records = await recordsOf(harness.log, 'default.telemetry.raw')
  for (const [device, count] of [
    ['five', 1000],
    ['plain', 6000],
    ['zero', 6000],
  ] as const) {
    const own = records.filter((record) => record.key === device).map((record) => record.value)
    assert.equal(own.length, count)
    assert.ok(own.every((value, i) => value.equals(payloadOf(i + 1, NOTE))))
  }
  assert.equal(harness.count('pausedReads'), 0)
  assert.equal(harness.count('keepAliveTimeouts'), 0)
  await harness.close()
})

test('MQTT 5 above the whole budget: it is not read, and goes on where it stopped', async () => {
  const harness = await startIngest({ options: { bytesMax: 2 << 20, receiveMaximum: 65_535 } })
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'wide')
  harness.log.stall()
  for (let i = 1; i <= 5000; i++) client.publish('devices/wide/telemetry', payloadOf(i, NOTE), 1, i)
  await until(() => harness.count('pausedReads') === 1, 'reads pause')
  await sleep(100)
  assert.ok(harness.workers[0]!.accumulator.bytesUsed <= 2 << 20)
  harness.log.goOn()
  await until(() => client.packets.length === 5000, 'all acknowledged', 10_000)
  assert.ok(client.packets.every((ack, i) => ack.cmd === 'puback' && ack.messageId === i + 1))
  assert.equal((await recordsOf(harness.log, 'default.telemetry.raw')).length, 5000)
  await harness.close()
})

test('a log that is full refuses for a while: no acknowledgement until it takes the records', async () => {
  const harness = await startIngest()
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'full')
  harness.log.refusal = new MillraceError('log_full', 'no space left')
  client.publish('devices/full/telemetry', payloadOf(1), 1, 1)
  await sleep(120)
  client.send({ cmd: 'pingreq' })
  await client.take('pingresp')
  assert.deepEqual(client.packets, [])
  harness.log.refusal = undefined
  assert.equal((await client.take('puback')).messageId, 1)
  assert.equal((await recordsOf(harness.log, 'default.telemetry.raw')).length, 1)
  await harness.close()
})

test('a stream over its backlog: its devices wait, those of other streams go on', async () => {
  const harness = await startIngest({ tenants: ['default', 'other'] })
  const worker = harness.workers[0]!
  const topic = (await harness.log.describeTopic('default.telemetry.raw'))!
  // A registered reader that stays at 0, and room for one batch.
  await harness.log.createTopic('default.telemetry.raw', { ...topic.config, backlogBytesMax: 400 })
  for (let partition = 0; partition < topic.config.partitions; partition++)
    await harness.log.append({
      entries: [],
      positions: [{ stage: 'normalize', topic: 'default.telemetry.raw', partition, nextOffset: 0 }],
    })
  const parked = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'parked')
  for (let i = 1; i <= 5; i++) {
    parked.publish('devices/parked/telemetry', payloadOf(i, 'y'.repeat(100)), 1, i)
    await sleep(30)
  }
  await until(() => worker.accumulator.heldPartitions.size === 1, 'the partition is held')
  const free = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'free')
  for (let i = 1; i <= 50; i++) {
    free.publish('ordinary/topic', 'x', 1, i)
    await free.take('puback')
  }
  const before = parked.packets.length
  assert.ok(before < 5, `${before} acknowledged`)
  await harness.log.createTopic('default.telemetry.raw', topic.config)
  await until(() => parked.packets.length === 5, 'the parked device is acknowledged')
  const values = (await recordsOf(harness.log, 'default.telemetry.raw')).map((record) => record.value)
  assert.deepEqual(
    values,
    [1, 2, 3, 4, 5].map((seq) => payloadOf(seq, 'y'.repeat(100))),
  )
  await harness.close()
})

test('a client whose turn to read on comes when the memory has filled is not read', async (t) => {
  // Room for one batch of each partition; a message that is above its rate for three seconds.
  const harness = await startIngest({
    options: { bytesMax: 1 << 20, packetBytesMax: 1 << 18, deviceRateMax: 0.25 },
  })
  t.after(() => harness.close())
  const [worker] = harness.workers
  const port = harness.ports[0]!.mqtt
  const slow = await RawClient.connect(port, 4, 'slow')
  const publish = (seq: number) => slow.publish('devices/slow/telemetry', payloadOf(seq), 0)
  publish(1)
  publish(2)
  await until(() => harness.count('pausedReads') === 1, 'it is above its rate')
  await worker!.accumulator.drained()
  harness.log.stall()
  const accepted = harness.count('accepted')
  const partitions = new Set<number>()
  for (let i = 0; partitions.size < 4; i++) {
    const key = Buffer.from(`large-${i}`)
    const partition = partitionOfKey(key, 0, key.length, 4)
    if (partitions.has(partition)) continue
    partitions.add(partition)
    const large = await RawClient.connect(port, 5, `large-${i}`)
    large.publish(`devices/large-${i}/telemetry`, payloadOf(1, 'y'.repeat(200_000)), 1)
    await until(() => harness.count('accepted') === accepted + partitions.size, 'it is taken')
    t.after(() => large.end())
  }
  assert.deepEqual([worker!.accumulator.isAboveHighWater, harness.count('readPauses')], [true, 0])
  // Its rate lets it go on, and then the memory does not.
  await until(() => harness.count('readPauses') === 1, 'reads stop')
  const read = harness.count('bytesIn')
  for (let seq = 3; seq <= 2000; seq++) publish(seq)
  await sleep(200)
  assert.equal(harness.count('bytesIn'), read)
  assert.equal(harness.count('pausedReads'), 1)
  slow.end()
  harness.log.goOn()
})

test('what waits for a partition that is held is not acknowledged because its stream has gone meanwhile', async (t) => {
  const harness = await startIngest()
  t.after(() => harness.close())
  const worker = harness.workers[0]!
  const name = 'default.telemetry.raw'
  const { config } = (await harness.log.describeTopic(name))!
  await harness.log.createTopic(name, { ...config, backlogBytesMax: 200 })
  for (let partition = 0; partition < config.partitions; partition++)
    await harness.log.append({
      entries: [],
      positions: [{ stage: 'normalize', topic: name, partition, nextOffset: 0 }],
    })
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'parked')
  const publish = (messageId: number) =>
    client.publish('devices/parked/telemetry', payloadOf(messageId, 'y'.repeat(60)), 1, messageId)
  // Room for one batch.
  publish(1)
  assert.equal((await client.take('puback')).messageId, 1)
  harness.log.stall()
  publish(2)
  await until(() => harness.count('accepted') === 2 && harness.log.waiting > 0, 'the append waits')
  worker.updateStreams([])
  publish(3)
  await until(() => harness.count('refusedTopicUnknown') === 1, 'the stream has gone')
  harness.log.goOn()
  await until(() => worker.accumulator.heldPartitions.size === 1, 'the partition is held')
  client.send({ cmd: 'pingreq' })
  await client.take('pingresp')
  await harness.log.createTopic(name, config)
  await until(() => client.packets.length === 2, 'both are acknowledged, in their order')
  assert.deepEqual(
    client.packets.map((packet) => 'messageId' in packet && packet.messageId),
    [2, 3],
  )
  assert.equal((await recordsOf(harness.log, name)).length, 2)
  client.end()
})

test('a client that does not read its answers is cut off', async () => {
  const harness = await startIngest()
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 4, 'deaf')
  client.socket.pause()
  const pings = Buffer.alloc(1 << 20, Buffer.from([0xc0, 0]))
  for (let i = 0; i < 60 && harness.count('sessions') === 1; i++) {
    client.socket.write(pings)
    await sleep(5)
  }
  await until(() => harness.count('sessions') === 0, 'the session ends', 8000)
  client.end()
  await harness.close()
})

test('a QoS 1 subscriber that never acknowledges is disconnected, a QoS 0 one misses messages', async () => {
  const harness = await startIngest()
  const port = harness.ports[0]!.mqtt
  const subscribe = async (id: string, qos: 0 | 1) => {
    const client = await RawClient.connect(port, 5, id, { properties: { receiveMaximum: 1 } })
    client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'flood', qos }] })
    await client.take('suback')
    return client
  }
  const one = await subscribe('one', 1)
  const zero = await subscribe('zero', 0)
  zero.socket.pause()
  const publisher = await RawClient.connect(port, 5, 'publisher')
  const payload = 'z'.repeat(50_000)
  for (let i = 1; i <= 300; i++) {
    publisher.publish('flood', payload, 1, i)
    if (i % 20 === 0) await until(() => publisher.packets.length === i, `${i} acknowledged`)
  }
  assert.equal((await one.take('publish')).qos, 1)
  assert.equal((await one.take('disconnect')).reasonCode, 0x97)
  assert.ok(harness.count('deliveryDropped') > 0)
  assert.equal(zero.isClosed, false)
  await harness.close()
})
