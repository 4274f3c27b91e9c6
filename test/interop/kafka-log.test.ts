// The contract of the log against a real Kafka: the same suite that the embedded log passes.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  Admin,
  addOffsetsToTxnV3,
  type Connection,
  consumerGroupHeartbeatV1,
  endTxnV3,
  initProducerIdV4,
  Producer,
  stringSerializers,
  txnOffsetCommitV3,
} from '@platformatic/kafka'
import { prepareBatch, sealForSend } from '../../log/kafka-batches.ts'
import { KafkaCluster } from '../../log/kafka-cluster.ts'
import type { KafkaOptions } from '../../log/kafka-options.ts'
import { addPartitionsToTransaction, produce, txnOffsetCommitV5 } from '../../log/kafka-wire.ts'
import type { Assignment, Log, Membership } from '../../log/log.ts'
import { describeLog, entry, readAll, TOPIC_DEFAULTS, textBatch } from '../../log/log-conformance.ts'
import { type KafkaLog, openKafkaLog } from '../../log/log-kafka.ts'
import { isMillraceError } from '../../std/errors.ts'
import { type KafkaBrokers, kafkaClassPath, startKafka } from '../kafka/broker.ts'
import { kafkaOptionsOf } from '../kafka/options.ts'
import { type StoredRecord, storedRecords } from '../kafka/segments.ts'

const USER = { username: 'millrace', password: 'a-secret' }
let brokers: Promise<KafkaBrokers> | undefined
after(async () => (await brokers)?.stop())

/**
 * As of a cluster that came from an older Kafka; whoever writes need not have added the partition to the transaction. Groups
 * have the one assignor that we do not ask for.
 */
let oldBrokers: Promise<KafkaBrokers> | undefined
after(async () => (await oldBrokers)?.stop())

async function options(): Promise<KafkaOptions> {
  brokers ??= startKafka({ secured: USER })
  return optionsOf(await brokers)
}

async function oldOptions(): Promise<KafkaOptions> {
  oldBrokers ??= startKafka({
    features: ['transaction.version=1'],
    properties: ['transaction.partition.verification.enable=false', 'group.consumer.assignors=uniform'],
  })
  return optionsOf(await oldBrokers)
}

const optionsOf = (on: KafkaBrokers): KafkaOptions =>
  kafkaOptionsOf(on, { prefix: `${randomUUID().slice(0, 8)}.` })

for (const [name, settings] of [
  ['kafka', options],
  ['kafka with transactions of version 1', oldOptions],
] as const)
  describeLog(name, async () => {
    const log = await openKafkaLog(await settings(), 'test')
    return {
      log,
      now: Date.now,
      tombstoneAgeMs: 0,
      hasGaps: true,
      hasBacklog: false,
      // Markers of a committed transaction reach the partitions a moment after the commit.
      settled: (topic, partition) => log.settled(topic, partition),
      close: () => log.close(),
    }
  })

/** Ends of the transactional ids that a log has by turns. */
const TURNS = ['', '-2']

/** Begins a transaction of a producer of its own and moves a position of partition 0 in it; whoever calls ends it, or does not. */
async function openTransaction(
  cluster: KafkaCluster,
  to: { id: string; group: string; topic: string; offset: bigint; metadata: string },
): Promise<{ producerId: bigint; producerEpoch: number }> {
  const { id, group } = to
  const attempt = <T>(kind: 'group' | 'transaction', key: string, act: (c: Connection) => Promise<T>) =>
    cluster.onCoordinator(kind, key, 'left open', act)
  const producer = await attempt('transaction', id, (c) => initProducerIdV4.api.async(c, id, 60_000, -1n, -1))
  const { producerId, producerEpoch } = producer
  await attempt('transaction', id, (c) =>
    addOffsetsToTxnV3.api.async(c, id, producerId, producerEpoch, group),
  )
  const partition = {
    partitionIndex: 0,
    committedOffset: to.offset,
    committedLeaderEpoch: -1,
    committedMetadata: to.metadata,
  }
  const topics = [{ name: to.topic, partitions: [partition] }]
  await attempt('group', group, (c) =>
    txnOffsetCommitV3.api.async(c, id, group, producerId, producerEpoch, -1, '', null, topics),
  )
  return producer
}

for (const turn of TURNS)
  test(`a transaction that a former self left open under its id${turn} holds nobody for long`, async () => {
    const settings = await options()
    const role = 'left'
    const log = await openKafkaLog(settings, role)
    const t = (await log.createTopic('left', { ...TOPIC_DEFAULTS, partitions: 1 })).name
    await log.append({
      entries: [entry(t, 0, [['a', 'b']])],
      positions: [{ stage: 'left', topic: t, partition: 0, nextOffset: 1 }],
    })
    const cluster = await KafkaCluster.connect(settings, 'former')
    await openTransaction(cluster, {
      id: `${settings.prefix}millrace-${settings.instance}-${role}${turn}`,
      group: `${settings.prefix}millrace-left`,
      topic: settings.prefix + t,
      offset: 7n,
      metadata: '',
    })
    const startedAt = performance.now()
    assert.equal(await log.position('left', t, 0), 1)
    const tookMs = performance.now() - startedAt
    assert.ok(tookMs > 1000 && tookMs < 20_000, `${tookMs} ms: open, and ended long before its 60 s`)
    await log.close()
    await cluster.close()
  })

test('a member that was dropped and has joined again commits nothing that it began before', async () => {
  const settings = await options()
  const log = await openKafkaLog(settings, 'dropped')
  const t = (await log.createTopic('dropped', { ...TOPIC_DEFAULTS, partitions: 1 })).name
  const stage = 'dropped'
  const group = `${settings.prefix}millrace-${stage}`
  const fail = (error: unknown): void => assert.fail(String(error))
  const member = await log.join(stage, [t], () => {}, fail)
  const assigned = async (generation: number): Promise<void> => {
    while (member.generation !== generation || member.target.get(t)?.has(0) !== true) await sleep(20)
    member.own(member.target, generation)
  }
  const positions = [{ stage, topic: t, partition: 0, nextOffset: 1 }]
  const append = () => log.append({ entries: [entry(t, 0, [['a', 'b']])], positions })
  const isLost = (error: unknown): boolean => isMillraceError(error, 'partition_lost')
  await assigned(0)
  await append()

  // What the group does to a member that has been silent for too long.
  const cluster = await KafkaCluster.connect(settings, 'test')
  await cluster.onCoordinator('group', group, 'leave', (connection) =>
    consumerGroupHeartbeatV1.api.async(
      connection,
      group,
      member.id,
      -1,
      null,
      null,
      60_000,
      null,
      null,
      null,
      null,
    ),
  )
  while (member.generation !== 1 || member.target.get(t)?.has(0) !== true) await sleep(20)
  await assert.rejects(append(), isLost)
  await assert.rejects(log.append({ entries: [], positions }), isLost)
  member.own(new Map(), 0)
  await assert.rejects(append(), isLost, 'what it owned in another generation is no matter')
  await assigned(1)
  await append()

  await log.append({ entries: [], positions: [{ stage, topic: t, partition: 0, nextOffset: 2 }] })
  assert.equal(await log.position(stage, t, 0), 2)
  const { folder } = await brokers!
  const commits = [0, 1, 2, 3]
    .flatMap((partition) => storedRecords(join(folder, 'data-0'), '__consumer_offsets', partition))
    .filter(({ key }) => key.includes(group) && key.includes(settings.prefix + t))
  assert.equal(commits.length, 3)
  assert.ok(commits.every(({ isTransactional }) => isTransactional))
  await member.leave()
  await log.close()
  await cluster.close()
})

/** How many partitions of topics `busy` and `quiet`, with two each, two members of a group get. */
async function shared(settings: KafkaOptions): Promise<{ busy: number; quiet: number }[]> {
  const logs: KafkaLog[] = []
  const members: Membership[] = []
  const owned: Assignment[] = []
  const count = (topic: string): number[] => owned.map((assignment) => assignment.get(topic)?.size ?? 0)
  for (let i = 0; i < 2; i++) {
    const log = await openKafkaLog({ ...settings, instance: randomUUID() }, 'sharing')
    logs.push(log)
    for (const name of ['busy', 'quiet']) await log.createTopic(name, { ...TOPIC_DEFAULTS, partitions: 2 })
    members.push(
      await log.join(
        'sharing',
        ['busy', 'quiet'],
        () => {},
        (error) => assert.fail(String(error)),
      ),
    )
    const all = (): boolean => [...count('busy'), ...count('quiet')].reduce((sum, one) => sum + one, 0) === 4
    // By then each has something, and nothing is under way from one to the other.
    while (!all() || owned.length <= i || owned.some(({ size }) => size === 0)) {
      for (const [j, member] of members.entries()) {
        if (owned[j] === member.target) continue
        owned[j] = member.target
        member.own(member.target, member.generation)
      }
      await sleep(20)
    }
  }
  for (const log of logs) await log.close()
  return owned.map((assignment) => ({
    busy: assignment.get('busy')?.size ?? 0,
    quiet: assignment.get('quiet')?.size ?? 0,
  }))
}

test('members of a group share the partitions of each topic', async () => {
  assert.deepEqual(await shared(await options()), [
    { busy: 1, quiet: 1 },
    { busy: 1, quiet: 1 },
  ])
})

test('members share all partitions as the brokers have it, where those lack the assignor', async () => {
  assert.deepEqual(
    (await shared(await oldOptions())).map(({ busy, quiet }) => busy + quiet),
    [2, 2],
  )
})

test('what is left of an ended transaction is refused, however late it comes', async () => {
  const settings = await options()
  const log = await openKafkaLog(settings, 'late')
  const t = (await log.createTopic('late', { ...TOPIC_DEFAULTS, partitions: 1 })).name
  const commit = (nextOffset: number) =>
    log.append({
      entries: [entry(t, 0, [['a', 'b']])],
      positions: [{ stage: 'late', topic: t, partition: 0, nextOffset }],
    })
  for (const nextOffset of [1, 2, 3, 4]) await commit(nextOffset)
  await log.settled(t, 0)
  const { folder } = await brokers!
  const written = storedRecords(join(folder, 'data-0'), settings.prefix + t, 0)
  const batches = written.filter(({ marker }) => marker === undefined)
  const [first, second, ...later] = batches as [StoredRecord, StoredRecord, ...StoredRecord[]]
  assert.notEqual(second.producerId, first.producerId, 'two producers by turns')
  const next = ({ producerId, producerEpoch }: StoredRecord) => [producerId, producerEpoch + 1]
  assert.deepEqual(
    later.map(({ producerId, producerEpoch }) => [producerId, producerEpoch]),
    [next(first), next(second)],
    'each transaction has an epoch of its own',
  )

  const cluster = await KafkaCluster.connect(settings, 'test')
  const id = `${settings.prefix}millrace-${settings.instance}-late`
  const group = `${settings.prefix}millrace-late`
  const partition = {
    partitionIndex: 0,
    committedOffset: 7n,
    committedLeaderEpoch: -1,
    committedMetadata: '',
  }
  const topics = [{ name: settings.prefix + t, partitions: [partition] }]
  for (const [i, { producerId, producerEpoch }] of batches.entries())
    await assert.rejects(
      cluster.onCoordinator('group', group, 'late', (connection) =>
        txnOffsetCommitV5.async(
          connection,
          id + TURNS[i % 2],
          group,
          producerId,
          producerEpoch,
          -1,
          '',
          null,
          topics,
        ),
      ),
      /INVALID_PRODUCER_EPOCH|PRODUCER_FENCED/,
    )
  assert.equal(await log.position('late', t, 0), 4)
  await log.close()
  await cluster.close()
})

for (const turn of TURNS)
  test(`what a committed transaction wrote where its marker is missing is committed by who takes over its id${turn}`, async () => {
    const settings = await oldOptions()
    const setup = await openKafkaLog(settings, 'setup')
    const topic = await setup.createTopic('half', { ...TOPIC_DEFAULTS, partitions: 2 })
    await setup.close()
    const name = settings.prefix + topic.name
    const cluster = await KafkaCluster.connect(settings, 'former')
    const id = `${settings.prefix}millrace-${settings.instance}-half${turn}`
    const group = `${settings.prefix}millrace-half`
    const attempt = <T>(kind: 'group' | 'transaction', key: string, act: (c: Connection) => Promise<T>) =>
      cluster.onCoordinator(kind, key, 'half', act)
    const begun = await attempt('transaction', id, (c) => initProducerIdV4.api.async(c, id, 60_000, -1n, -1))
    const producer = { id: begun.producerId, epoch: begun.producerEpoch }
    await attempt('transaction', id, (c) =>
      addPartitionsToTransaction(c, id, producer.id, producer.epoch, [{ name, partitions: [1] }]),
    )
    await attempt('transaction', id, (c) => endTxnV3.api.async(c, id, producer.id, producer.epoch, true))
    // Like the coordinator that did without them: a partition and a group that it does not think of.
    const batch = prepareBatch(textBatch([['a', 'b']]), { recordCount: 1 }, 'none')
    const parts = [sealForSend(batch, producer, 0, true), batch.records]
    const [produced] = await cluster.onLeader(name, 0, 'write', 'half', (c) =>
      produce(c, { id, version: 1 }, [{ topic: name, partition: 0, parts }]),
    )
    assert.equal(produced!.errorCode, 0)
    const position = {
      partitionIndex: 0,
      committedOffset: 7n,
      committedLeaderEpoch: -1,
      committedMetadata: topic.id,
    }
    await attempt('group', group, (c) =>
      txnOffsetCommitV3.api.async(c, id, group, producer.id, producer.epoch, -1, '', null, [
        { name, partitions: [position] },
      ]),
    )

    const log = await openKafkaLog(settings, 'half')
    assert.deepEqual(await readAll(log, topic.name, 0), [])
    assert.equal(await log.position('half', topic.name, 0), 7)
    await log.settled(topic.name, 0)
    assert.deepEqual(await readAll(log, topic.name, 0), ['0:a=b'])
    await log.close()
    await cluster.close()
  })

test('of two transactions that move a position the later offset stays, whichever ends last', async () => {
  const settings = await options()
  const log = await openKafkaLog(settings, 'order')
  const topic = await log.createTopic('order', { ...TOPIC_DEFAULTS, partitions: 1 })
  const cluster = await KafkaCluster.connect(settings, 'test')
  const ends: (() => Promise<unknown>)[] = []
  for (const [i, turn] of TURNS.entries()) {
    const id = `${settings.prefix}millrace-order${turn}`
    const { producerId, producerEpoch } = await openTransaction(cluster, {
      id,
      group: `${settings.prefix}millrace-order`,
      topic: settings.prefix + topic.name,
      offset: BigInt(i + 1),
      metadata: topic.id,
    })
    ends.push(() =>
      cluster.onCoordinator('transaction', id, 'order', (c) =>
        endTxnV3.api.async(c, id, producerId, producerEpoch, true),
      ),
    )
  }
  await ends[1]!()
  await ends[0]!()
  assert.equal(await log.position('order', topic.name, 0), 2)
  await log.close()
  await cluster.close()
})

test('compressed batches: ours in both codecs, and those of another client', async () => {
  const settings = await options()
  const long = 'x'.repeat(2000)
  const plain = await openKafkaLog(settings, 'plain')
  const t = (await plain.createTopic('compressed', { ...TOPIC_DEFAULTS, partitions: 1 })).name
  for (const compression of ['lz4', 'zstd'] as const) {
    const log = await openKafkaLog({ ...settings, compression }, compression)
    await log.append({ entries: [entry(t, 0, [['ours', `${compression}${long}`]])] })
    await log.close()
  }
  const { bootstrap } = await brokers!
  for (const compression of ['gzip', 'snappy', 'lz4', 'zstd'] as const) {
    const producer = new Producer({
      clientId: 'other',
      bootstrapBrokers: [bootstrap],
      serializers: stringSerializers,
    })
    const messages = [
      { topic: settings.prefix + t, partition: 0, key: 'theirs', value: `${compression}${long}` },
    ]
    await producer.send({ messages, compression, acks: -1 })
    await producer.close()
  }
  // Java's snappy is a format of its own.
  const console = ['org.apache.kafka.tools.ConsoleProducer', '--bootstrap-server', bootstrap]
  const args = [...console, '--topic', settings.prefix + t, '--compression-codec', 'snappy']
  execFileSync('java', ['-cp', kafkaClassPath(), ...args], { input: `java${long}\n`, stdio: 'pipe' })
  const found = (await readAll(plain, t, 0)).map((text) => text.replace(long, ''))
  assert.deepEqual(found, [
    '0:ours=lz4',
    '1:ours=zstd',
    '2:theirs=gzip',
    '3:theirs=snappy',
    '4:theirs=lz4',
    '5:theirs=zstd',
    '6:=java',
  ])
  await plain.close()
})

test('a topic that is made again has another id, and none of the positions of the one before', async () => {
  const settings = await options()
  const log = await openKafkaLog(settings, 'test')
  const { id } = await log.createTopic('again', TOPIC_DEFAULTS)
  await log.append({ entries: [entry('again', 0, [['a', '1']])] })
  await log.append({
    entries: [],
    positions: [{ stage: 'sink', topic: 'again', partition: 0, nextOffset: 1 }],
  })
  assert.equal(await log.position('sink', 'again', 0), 1)
  const { bootstrap } = await brokers!
  const admin = new Admin({ clientId: 'admin', bootstrapBrokers: [bootstrap] })
  await admin.deleteTopics({ topics: [`${settings.prefix}again`] })
  await admin.close()
  await sleep(500)
  const made = await log.createTopic('again', TOPIC_DEFAULTS)
  assert.notEqual(made.id, id)
  assert.equal(await log.position('sink', 'again', 0), undefined)
  assert.deepEqual(await log.range('again', 0), { start: 0, end: 0 })
  await log.append({ entries: [entry('again', 0, [['b', '2']])] })
  assert.deepEqual(await readAll(log, 'again', 0), ['0:b=2'])
  await log.close()
})

test('of two writers of a partition the later fences the earlier, who finds out by a conflict', async () => {
  const settings = await options()
  const [first, second] = await Promise.all([
    openKafkaLog(settings, 'first'),
    openKafkaLog({ ...settings, instance: randomUUID() }, 'second'),
  ])
  await first.createTopic('single', { ...TOPIC_DEFAULTS, partitions: 1, cleanup: 'compact' })
  const append = (log: Log, value: string, expectedOffset: number) =>
    log.append({ entries: [entry('single', 0, [['k', value]], { expectedOffset })] })
  await append(first, '1', 0)
  await assert.rejects(append(second, 'stale', 0), (error) => isMillraceError(error, 'offset_conflict'))
  await append(second, '2', (await second.range('single', 0)).end)
  // The first has not read what the second wrote, and was fenced by it.
  await assert.rejects(append(first, 'stale', 2), (error) => isMillraceError(error, 'offset_conflict'))
  await append(first, '3', (await first.range('single', 0)).end)
  const records = await readAll(second, 'single', 0)
  assert.deepEqual(
    records.map((text) => text.slice(-1)),
    ['1', '2', '3'],
  )
  await Promise.all([first.close(), second.close()])
})

test('what another has committed atomically can be read once it is settled', async () => {
  const settings = await options()
  const [writer, reader] = await Promise.all([
    openKafkaLog(settings, 'writer'),
    openKafkaLog(settings, 'reader'),
  ])
  const t = (await writer.createTopic('settled', TOPIC_DEFAULTS)).name
  for (let i = 1; i <= 30; i++) {
    await writer.append({ entries: [entry(t, 0, [['k', `${i}`]]), entry(t, 1, [['k', `${i}`]])] })
    await reader.settled(t, 0)
    assert.equal((await readAll(reader, t, 0)).length, i)
  }
  await Promise.all([writer.close(), reader.close()])
})

test('what was committed can be read by others when the log is closed', async () => {
  const settings = await options()
  const reader = await openKafkaLog(settings, 'reader')
  const t = (await reader.createTopic('closed', { ...TOPIC_DEFAULTS, partitions: 2 })).name
  for (let round = 0; round < 5; round++) {
    const log = await openKafkaLog(settings, 'writer')
    for (const partition of [0, 1])
      await log.append({
        entries: [entry(t, partition, [['a', `${round}`]])],
        positions: [{ stage: 'closed', topic: t, partition, nextOffset: 1 }],
      })
    await log.close()
    for (const partition of [0, 1])
      assert.equal((await readAll(reader, t, partition)).at(-1)?.split('=')[1], `${round}`)
  }
  await reader.close()
})

test('no broker at the address', async () => {
  const nowhere = { ...(await options()), brokers: [{ host: '127.0.0.1', port: 1 }], bootstrapMsMax: 500 }
  await assert.rejects(openKafkaLog(nowhere, 'test'), (error) => isMillraceError(error, 'kafka_unreachable'))
})

for (const mechanism of ['PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'] as const)
  test(`TLS and SASL ${mechanism}: let in with the password, refused without`, async () => {
    const settings = await options()
    const { address, ca } = (await brokers!).secured!
    const [host, port] = address.split(':') as [string, string]
    const secured: KafkaOptions = {
      ...settings,
      brokers: [{ host, port: Number(port) }],
      tls: { ca: readFileSync(ca, 'utf8'), cert: undefined, key: undefined },
      sasl: { mechanism, ...USER },
    }
    const log = await openKafkaLog(secured, 'secured')
    await log.createTopic('secured', TOPIC_DEFAULTS)
    await log.append({ entries: [entry('secured', 0, [['a', mechanism]])] })
    assert.deepEqual(await readAll(log, 'secured', 0), [`0:a=${mechanism}`])
    await log.close()
    const refused = { ...secured, sasl: { mechanism, ...USER, password: 'wrong' }, bootstrapMsMax: 2000 }
    await assert.rejects(openKafkaLog(refused, 'secured'), (error) => isMillraceError(error, 'kafka_refused'))
    if (mechanism !== 'PLAIN') return
    const untrusted = {
      ...secured,
      tls: { ca: undefined, cert: undefined, key: undefined },
      bootstrapMsMax: 2000,
    }
    await assert.rejects(openKafkaLog(untrusted, 'secured'), (error) =>
      isMillraceError(error, 'kafka_unreachable'),
    )
  })
