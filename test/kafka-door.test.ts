// The Kafka door with two clients that nobody here wrote: kafkajs and @platformatic/kafka, against the real process.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, test } from 'node:test'
import { Consumer, MessagesStreamModes, Producer } from '@platformatic/kafka'
import { CompressionTypes, type EachMessagePayload, Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import mqtt from 'mqtt'
import { hashPassword } from '../identity/identity-secret.ts'
import { type EnvironmentCodec, environmentCodec, reading } from './environment.ts'
import { account, type MillraceProcess, startProcess, temporaryFolder, until } from './millrace-process.ts'

const RAW = 'default.telemetry.raw'
const NORMALIZED = 'default.telemetry.normalized'

/** A kafkajs consumer that notices a rebalance soon, and ends soon. */
const QUICK = { sessionTimeout: 6000, heartbeatInterval: 100, maxWaitTimeInMs: 100 }

const afterAll: (() => unknown)[] = []
const hooks = { after: (callback: () => unknown) => void afterAll.push(callback) }
const data = temporaryFolder(hooks)
let millrace: MillraceProcess
let codec: EnvironmentCodec

const start = () => startProcess(data, ['--kafka', '127.0.0.1:0'])
const kafkajs = (port = millrace.kafkaPort, sasl?: { username: string; password: string }) =>
  new Kafka({
    brokers: [`127.0.0.1:${port}`],
    logLevel: logLevel.NOTHING,
    retry: { retries: 3, initialRetryTime: 50 },
    ...(sasl && { sasl: { mechanism: 'plain', ...sasl } }),
  })

before(async () => {
  millrace = await start()
  codec = await environmentCodec(millrace.http)
})

after(async () => {
  await millrace.kill()
  for (const callback of afterAll) await callback()
})

/** Messages a kafkajs consumer gets until there are `count`. */
async function consume(kafka: Kafka, topic: string, groupId: string, count: number): Promise<KafkaMessage[]> {
  const consumer = kafka.consumer({ groupId, ...QUICK })
  const messages: KafkaMessage[] = []
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  await consumer.run({
    eachMessage: async ({ message }: EachMessagePayload) => void messages.push(message),
  })
  await until(`${count} messages of ${topic}`, async () => (messages.length >= count ? true : undefined))
  await consumer.disconnect()
  return messages
}

test('kafkajs: what devices published is read from raw and normalized, batch for batch', async () => {
  const device = await mqtt.connectAsync(millrace.url, { clientId: 'kitchen', protocolVersion: 5 })
  const sent = Array.from({ length: 200 }, (_, i) => codec.encode(reading(i)))
  await Promise.all(
    sent.map((payload) => device.publishAsync('devices/kitchen/telemetry', payload, { qos: 1 })),
  )
  await device.endAsync()
  for (const topic of [RAW, NORMALIZED]) {
    const messages = await consume(kafkajs(), topic, `readers-of-${topic}`, 200)
    assert.deepEqual(
      messages.map(({ value }) => value!.toString('hex')).sort(),
      sent.map((value) => value.toString('hex')).sort(),
    )
    assert.ok(messages.every(({ key }) => key!.toString() === 'kitchen'))
    assert.ok(messages.every(({ timestamp }) => Math.abs(Number(timestamp) - Date.now()) < 60_000))
  }
})

test('kafkajs: topics, offsets by time and configuration; making topics is refused with the way that leads there', async () => {
  const admin = kafkajs().admin()
  await admin.connect()
  const topics = await admin.listTopics()
  assert.ok(
    topics.includes(RAW) && topics.includes(NORMALIZED) && topics.includes('default.telemetry.rejected'),
  )
  assert.deepEqual(
    topics.filter((topic) => topic.includes('_') || topic.startsWith('millrace')),
    [],
  )
  const { topics: described } = await admin.fetchTopicMetadata({ topics: [RAW] })
  const sum = (offsets: { offset: string }[]): number =>
    offsets.reduce((total, { offset }) => total + Number(offset), 0)
  assert.equal(described[0]!.partitions.length, (await admin.fetchTopicOffsets(RAW)).length)
  assert.equal(sum(await admin.fetchTopicOffsets(RAW)), 200)
  assert.equal(sum(await admin.fetchTopicOffsetsByTimestamp(RAW, Date.now() - 3_600_000)), 0)
  assert.equal(sum(await admin.fetchTopicOffsetsByTimestamp(RAW, Date.now() + 3_600_000)), 200)
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: RAW }],
  })
  const config = Object.fromEntries(
    resources[0]!.configEntries.map((one) => [one.configName, one.configValue]),
  )
  assert.equal(config['cleanup.policy'], 'delete')
  assert.equal(config['retention.ms'], String(24 * 3_600_000))
  await assert.rejects(admin.createTopics({ topics: [{ topic: 'mine' }] }))
  await assert.rejects(admin.deleteTopics({ topics: [RAW] }))
  await admin.disconnect()
})

test('kafkajs: a record that does not fit is refused, one that fits is in the table', async () => {
  const before = await account(millrace.http)
  const producer = kafkajs().producer()
  await producer.connect()
  const send = (key: string, value: Buffer, compression = CompressionTypes.None, topic = RAW) =>
    producer.send({ topic, compression, messages: [{ key, value, headers: { origin: 'test' } }] })
  await send('pump-1', codec.encode(reading(1)))
  await send('pump-2', codec.encode(reading(2)), CompressionTypes.GZIP)
  await assert.rejects(send('pump-1', Buffer.from('no frame')), /record/i)
  await assert.rejects(send('pump-1', codec.encode(reading(3)).subarray(0, 9)), /record/i)
  await assert.rejects(send('no device id', codec.encode(reading(3))), /record/i)
  await assert.rejects(send('pump-1', codec.encode(reading(3)), CompressionTypes.None, NORMALIZED))
  await assert.rejects(
    producer.send({
      topic: RAW,
      messages: [
        { key: 'pump-1', partition: await wrongPartition('pump-1'), value: codec.encode(reading(3)) },
      ],
    }),
    /record/i,
  )
  await producer.disconnect()
  // And the codecs that kafkajs lacks.
  for (const [seq, compression] of [
    [4, 'snappy'],
    [5, 'lz4'],
  ] as const) {
    const other = new Producer({ clientId: 'other', bootstrapBrokers: [`127.0.0.1:${millrace.kafkaPort}`] })
    const message = { topic: RAW, key: Buffer.from('pump-1'), value: codec.encode(reading(seq)) }
    await other.send({ messages: [message], compression, acks: -1 })
    await other.close()
  }
  const rows = before['raw']! + 4
  await until(`${rows} rows`, async () =>
    (await account(millrace.http))['rows'] === rows ? true : undefined,
  )
  assert.equal((await account(millrace.http))['raw'], rows)
})

/** A partition that is not the key's. */
async function wrongPartition(key: string): Promise<number> {
  const { partitionOfKey } = await import('../std/hash.ts')
  const bytes = Buffer.from(key)
  const admin = kafkajs().admin()
  await admin.connect()
  const { length } = await admin.fetchTopicOffsets(RAW)
  await admin.disconnect()
  return (partitionOfKey(bytes, 0, bytes.length, length) + 1) % length
}

test('kafkajs: idempotent producers are honoured, transactions are refused', async () => {
  const producer = kafkajs().producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  const offsets: number[] = []
  for (let i = 0; i < 5; i++) {
    const [sent] = await producer.send({
      topic: RAW,
      messages: [{ key: 'pump-7', value: codec.encode(reading(i)) }],
    })
    offsets.push(Number(sent!.baseOffset))
  }
  assert.deepEqual(
    offsets.map((offset) => offset - offsets[0]!),
    [0, 1, 2, 3, 4],
  )
  await producer.disconnect()
  const transactional = kafkajs().producer({
    transactionalId: 'mine',
    idempotent: true,
    maxInFlightRequests: 1,
  })
  await transactional.connect()
  await assert.rejects(transactional.transaction(), /coordinator/i)
  await transactional.disconnect()
})

test('kafkajs: two members share the partitions, one leaves, offsets outlive a restart of Millrace', async () => {
  const member = async (seen: string[]) => {
    const consumer = kafkajs().consumer({ groupId: 'shared', ...QUICK })
    let assignment: number[] = []
    consumer.on('consumer.group_join', ({ payload }) => {
      assignment = payload.memberAssignment[RAW] ?? []
    })
    await consumer.connect()
    await consumer.subscribe({ topic: RAW, fromBeginning: true })
    await consumer.run({
      eachMessage: async ({ partition, message }) => void seen.push(`${partition}/${message.offset}`),
    })
    return { consumer, assigned: () => assignment }
  }
  const seen: string[] = []
  const { raw } = await account(millrace.http)
  const first = await member(seen)
  const second = await member(seen)
  const partitions = (await metadataOf(RAW)).length
  await until('both have partitions', async () =>
    first.assigned().length > 0 &&
    second.assigned().length > 0 &&
    first.assigned().length + second.assigned().length === partitions
      ? true
      : undefined,
  )
  await until('all records once', async () => (new Set(seen).size === raw ? true : undefined))
  const admin = kafkajs().admin()
  await admin.connect()
  const described = await admin.describeGroups(['shared'])
  assert.equal(described.groups[0]!.state, 'Stable')
  assert.equal(described.groups[0]!.members.length, 2)
  assert.ok((await admin.listGroups()).groups.some(({ groupId }) => groupId === 'shared'))
  await second.consumer.disconnect()
  await until('the first has all', async () => (first.assigned().length === partitions ? true : undefined))
  await first.consumer.disconnect()
  const committed = await admin.fetchOffsets({ groupId: 'shared', topics: [RAW] })
  const total = committed[0]!.partitions.reduce((sum, one) => sum + Math.max(0, Number(one.offset)), 0)
  assert.equal(total, raw)
  await admin.disconnect()

  // kill -9: what was committed is in the log.
  await millrace.kill()
  millrace = await start()
  const again = kafkajs().admin()
  await again.connect()
  assert.deepEqual(await again.fetchOffsets({ groupId: 'shared', topics: [RAW] }), committed)
  const seenLater: string[] = []
  const third = await member(seenLater)
  await until('the third has all', async () => (third.assigned().length === partitions ? true : undefined))
  const producer = kafkajs().producer()
  await producer.connect()
  await producer.send({ topic: RAW, messages: [{ key: 'pump-9', value: codec.encode(reading(1)) }] })
  await until('the new record', async () => (seenLater.length > 0 ? true : undefined))
  assert.equal(seenLater.length, 1)
  await producer.disconnect()
  await third.consumer.disconnect()
  await again.deleteGroups(['shared'])
  assert.ok(!(await again.listGroups()).groups.some(({ groupId }) => groupId === 'shared'))
  await again.disconnect()
})

async function metadataOf(topic: string) {
  const admin = kafkajs().admin()
  await admin.connect()
  const offsets = await admin.fetchTopicOffsets(topic)
  await admin.disconnect()
  return offsets
}

test('@platformatic/kafka: produces, consumes, commits, and goes on from there', async () => {
  const bootstrapBrokers = [`127.0.0.1:${millrace.kafkaPort}`]
  const producer = new Producer({
    clientId: 'p',
    bootstrapBrokers,
    idempotent: true,
    autocreateTopics: false,
  })
  const messages = Array.from({ length: 50 }, (_, i) => ({
    topic: RAW,
    key: Buffer.from(`valve-${i % 7}`),
    value: codec.encode(reading(i)),
  }))
  await producer.send({ messages, acks: -1 })
  await assert.rejects(
    producer.send({ messages: [{ topic: RAW, key: Buffer.from('valve-1'), value: Buffer.from('x') }] }),
  )
  await producer.close()
  const { raw } = await account(millrace.http)
  const read = async (count: number): Promise<number> => {
    const consumer = new Consumer({
      clientId: 'c',
      groupId: 'platformatic',
      bootstrapBrokers,
      sessionTimeout: 6000,
      heartbeatInterval: 500,
      maxWaitTime: 200,
    })
    const stream = await consumer.consume({
      topics: [RAW],
      mode: MessagesStreamModes.COMMITTED,
      fallbackMode: 'earliest',
      autocommit: false,
    })
    let seen = 0
    for await (const message of stream) {
      await message.commit()
      if (++seen === count) break
    }
    await consumer.close(true)
    return seen
  }
  const half = Math.floor(raw! / 2)
  assert.equal(await read(half), half)
  assert.equal(await read(raw! - half), raw! - half)
})

test('credentials: SASL PLAIN, a tenant sees its own, a device without the right reads nothing', async (t) => {
  const folder = temporaryFolder(t)
  const credentials = path.join(folder, 'credentials.yaml')
  const hash = await hashPassword('secret')
  fs.writeFileSync(
    credentials,
    `credentials:
  - { tenant: default, gateway: reader, devices: ["none"], subscribe: ["devices/+/telemetry"], username: reader, hash: "${hash}" }
  - { tenant: default, device: pump-1, username: pump, hash: "${hash}" }
  - { tenant: other, gateway: stranger, devices: ["*"], subscribe: ["#"], username: stranger, hash: "${hash}" }
`,
  )
  const running = await startProcess(path.join(folder, 'data'), [
    '--kafka',
    '127.0.0.1:0',
    '--credentials',
    credentials,
  ])
  t.after(() => running.kill())
  const as = (username: string, password = 'secret') => kafkajs(running.kafkaPort, { username, password })
  const topicsOf = async (kafka: Kafka): Promise<string[]> => {
    const admin = kafka.admin()
    await admin.connect()
    const topics = await admin.listTopics()
    await admin.disconnect()
    return topics.sort()
  }
  await assert.rejects(topicsOf(as('reader', 'wrong')), /unknown user name or wrong password/)
  await assert.rejects(topicsOf(kafkajs(running.kafkaPort)))
  await until('the reason', async () => (/before SASL PLAIN/.test(running.output()) ? true : undefined))
  assert.deepEqual(
    (await topicsOf(as('reader'))).filter((topic) => !topic.endsWith('.raw')),
    [NORMALIZED, 'default.telemetry.rejected'],
  )
  assert.deepEqual(await topicsOf(as('stranger')), [])
  const { encode } = await environmentCodec(running.http)
  const producer = as('pump').producer()
  await producer.connect()
  const send = (key: string) => producer.send({ topic: RAW, messages: [{ key, value: encode(reading(1)) }] })
  await send('pump-1')
  await assert.rejects(send('pump-2'), /authoriz/i)
  await producer.disconnect()
  assert.equal((await consume(as('reader'), RAW, 'g', 1))[0]!.key!.toString(), 'pump-1')
  const admin = as('pump').admin()
  await admin.connect()
  await assert.rejects(admin.fetchTopicOffsets(RAW), /authoriz/i)
  await admin.disconnect()
  // A credential that is removed ends its connections within a second.
  const reader = as('reader').consumer({ groupId: 'watching', ...QUICK })
  let crashed = false
  reader.on('consumer.disconnect', () => {
    crashed = true
  })
  reader.on('consumer.crash', () => {
    crashed = true
  })
  await reader.connect()
  await reader.subscribe({ topic: RAW })
  await reader.run({ eachMessage: async () => {} })
  fs.writeFileSync(
    credentials,
    `credentials:\n  - { tenant: default, device: pump-1, username: pump, hash: "${hash}" }\n`,
  )
  await until('the reader is cut off', async () =>
    running.output().includes('its credential was removed') ? true : undefined,
  )
  await until('the consumer notices', async () => (crashed ? true : undefined))
  await reader.disconnect()
})
