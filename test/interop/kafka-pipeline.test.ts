// The whole way over a real Kafka: one process and several, the log exchanged under a data folder, topics made again,
// partitions added, and a broker that wants to know who comes.
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Admin } from '@platformatic/kafka'
import mqtt from 'mqtt'
import { environmentCodec, reading } from '../environment.ts'
import { type KafkaBrokers, kafkaClassPath, startKafka } from '../kafka/broker.ts'
import { millrace, query, startProcess, temporaryFolder, until } from '../millrace-process.ts'

let kafka: KafkaBrokers

before(async () => {
  kafka = await startKafka()
})
after(() => kafka.stop())

const logArgs = (prefix: string): string[] => [
  ...['--log', `kafka://${kafka.bootstrap}`, '--log-kafka-prefix', prefix],
  ...['--sink-commit-age-ms', '500', '--status', 'off'],
]

/** Sends readings of one device, waits for their PUBACKs. */
async function send(
  running: { url: string; http: string },
  device: string,
  seqs: readonly number[],
): Promise<void> {
  const codec = await environmentCodec(running.http)
  const client = await mqtt.connectAsync(running.url, { clientId: device, protocolVersion: 5 })
  for (const seq of seqs)
    await client.publishAsync(`devices/${device}/telemetry`, codec.encode(reading(seq)), { qos: 1 })
  await client.endAsync()
}

async function seqsOf(data: string): Promise<string[]> {
  const rows = await query(data, 'SELECT device_id, seq FROM telemetry ORDER BY device_id, seq')
  return rows.map((row) => `${row['device_id']}:${row['seq']}`)
}

/** Offset and lag of a group in a topic, all partitions together, as Kafka's own tool tells them. */
async function lagByTool(group: string, topic: string): Promise<{ offset: number; lag: number }> {
  const { stdout } = await promisify(execFile)('java', [
    ...['-cp', kafkaClassPath(), 'org.apache.kafka.tools.consumer.group.ConsumerGroupCommand'],
    ...['--bootstrap-server', kafka.bootstrap, '--describe', '--group', group],
  ])
  // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG
  const lines = stdout.split('\n').map((line) => line.trim().split(/\s+/))
  const own = lines.filter((columns) => columns[1] === topic)
  assert.ok(own.length > 0, stdout)
  // A member’s partition that nobody has committed yet has no offset.
  const sum = (column: number): number =>
    own.reduce((total, columns) => total + Number(columns[column]!.replace(/^-$/, '0')), 0)
  return { offset: sum(3), lag: sum(5) }
}

const expected = (device: string, seqs: readonly number[]): string[] => seqs.map((seq) => `${device}:${seq}`)

describe('Kafka as the log of the pipeline', () => {
  test('a data folder goes from the embedded log to Kafka and back: nothing is lost, nothing twice', async (t) => {
    const data = temporaryFolder(t)
    const prefix = `${randomUUID().slice(0, 8)}.`
    const places = [[], logArgs(prefix), [], logArgs(prefix)]
    const all: string[] = []
    for (const [i, args] of places.entries()) {
      const running = await startProcess(data, args)
      t.after(() => running.kill())
      const seqs = Array.from({ length: 20 }, (_, n) => i * 100 + n)
      await send(running, 'd', seqs)
      all.push(...expected('d', seqs))
      // A drain brings everything into the tables; a kill leaves it in the log, for the start after next.
      if (i === 1) await running.kill()
      else assert.equal(await running.stop(), 0)
    }
    await until(
      'all rows',
      async () => ((await seqsOf(data)).length >= all.length ? true : undefined),
      60_000,
    )
    assert.deepEqual(await seqsOf(data), all)
  })

  test('Kafka’s own tool, /metrics and `streams list` tell how far normalize and the sink are', async (t) => {
    const data = temporaryFolder(t)
    const prefix = `${randomUUID().slice(0, 8)}.`
    const [normalize, sink] = ['normalize', 'sink'].map((stage) => `${prefix}millrace-${stage}`)
    const [raw, normalized] = ['raw', 'normalized'].map((kind) => `${prefix}default.telemetry.${kind}`)
    const whole = await startProcess(data, logArgs(prefix))
    t.after(() => whole.kill())
    await send(whole, 'd', [1, 2, 3, 4])
    await send(whole, 'e', [1, 2, 3])
    await until('rows', async () => ((await seqsOf(data)).length === 7 ? true : undefined), 60_000)
    // The position is committed with the rows, the group has it a little later.
    const done = await until('the groups', async () => {
      const both = [await lagByTool(normalize!, raw!), await lagByTool(sink!, normalized!)]
      return both.every(({ lag }) => lag === 0) ? both : undefined
    })
    assert.equal(done[0]!.offset, 7)
    // Of its markers too.
    assert.ok(done[1]!.offset >= 7)
    const metrics = await (await fetch(`${whole.http}/metrics`)).text()
    for (const stage of ['normalize', 'sink'])
      assert.match(metrics, new RegExp(`^millrace_${stage}_lag_records(\\{[^}]*\\})? 0$`, 'm'))
    assert.equal(await whole.stop(), 0)
    const ingest = await startProcess(data, [...logArgs(prefix), '--roles', 'ingest'])
    t.after(() => ingest.kill())
    await send(ingest, 'd', [5, 6, 7, 8, 9])
    assert.deepEqual(await lagByTool(normalize!, raw!), { offset: 7, lag: 5 })
    const { code, stdout, stderr } = await millrace(['streams', 'list', ...logArgs(prefix)])
    assert.equal(code, 0, stderr)
    assert.match(stdout, /^default\.telemetry +4 +5 +0$/m)
    assert.equal(await ingest.stop(), 0)
  })

  test('topics that are made again begin anew, and the rows of the old ones stay', async (t) => {
    const data = temporaryFolder(t)
    const prefix = `${randomUUID().slice(0, 8)}.`
    const first = await startProcess(data, logArgs(prefix))
    t.after(() => first.kill())
    await send(first, 'd', [1, 2, 3])
    assert.equal(await first.stop(), 0)
    const admin = new Admin({ clientId: 'test', bootstrapBrokers: [kafka.bootstrap] })
    const topics = ['raw', 'normalized', 'rejected'].map((kind) => `${prefix}default.telemetry.${kind}`)
    await admin.deleteTopics({ topics })
    await admin.close()
    await sleep(1000)
    const second = await startProcess(data, logArgs(prefix))
    t.after(() => second.kill())
    await send(second, 'd', [4, 5, 6])
    assert.equal(await second.stop(), 0)
    assert.deepEqual(await seqsOf(data), expected('d', [1, 2, 3, 4, 5, 6]))
  })

  test('more partitions: refused while records are under way, then every device goes on', async (t) => {
    const data = temporaryFolder(t)
    const prefix = `${randomUUID().slice(0, 8)}.`
    const contracts = path.join(data, 'mine')
    fs.mkdirSync(contracts)
    const contract = fs
      .readFileSync('contracts/environment.yaml', 'utf8')
      .replace('family: environment', 'family: moved')
      .replace('  telemetry:', '  moved:\n    partitions: 2')
    fs.writeFileSync(path.join(contracts, 'moved.yaml'), contract)
    const args = [...logArgs(prefix), '--contracts', contracts]
    const ingest = await startProcess(data, [...args, '--roles', 'ingest'])
    t.after(() => ingest.kill())
    const client = await mqtt.connectAsync(ingest.url, { clientId: 'd', protocolVersion: 5 })
    const publish = (from: mqtt.MqttClient, seq: number) =>
      from.publishAsync('devices/d/moved', JSON.stringify(reading(seq)), { qos: 1 })
    await publish(client, 1)
    await client.endAsync()
    assert.equal(await ingest.stop(), 0)
    const repartition = () =>
      millrace(['streams', 'repartition', 'moved', '--partitions', '6', ...logArgs(prefix)])
    const refused = await repartition()
    assert.equal(refused.code, 75, refused.stderr)
    assert.match(refused.stderr, /1 records wait for normalize.*\[stream_undrained\]/)
    const rest = await startProcess(data, args)
    t.after(() => rest.kill())
    assert.equal(await rest.stop(), 0)
    const done = await repartition()
    assert.equal(done.code, 0, done.stderr)
    // The contract still says 2.
    const early = await millrace(['up', '--data', data, '--http', '127.0.0.1:0', '--mqtt', 'off', ...args])
    assert.match(early.stderr, /partitions: read 2, expected 6/)
    fs.writeFileSync(path.join(contracts, 'moved.yaml'), contract.replace('partitions: 2', 'partitions: 6'))
    const second = await startProcess(data, args)
    t.after(() => second.kill())
    const again = await mqtt.connectAsync(second.url, { clientId: 'd', protocolVersion: 5 })
    for (let seq = 2; seq < 6; seq++) await publish(again, seq)
    await again.endAsync()
    assert.equal(await second.stop(), 0)
    const rows = await query(data, 'SELECT seq FROM moved ORDER BY seq')
    assert.deepEqual(
      rows.map((row) => Number(row['seq'])),
      [1, 2, 3, 4, 5],
    )
  })
})
