// Worker threads as main runs them: two workers on one port, one log thread, real fdatasync.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { connectLog } from '../log/log-client.ts'
import { startLogThread } from '../log/log-service.ts'
import { rawTopic, rejectedTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { isMillraceError } from '../std/errors.ts'
import { StageThread } from '../std/thread.ts'
import { INGEST_COUNTERS } from './counters.ts'
import { joinWorkers } from './hub.ts'
import { payloadOf, RawClient, recordsOf, streamOf, TOPIC, until } from './ingest-harness.ts'
import type { IngestWorkerData } from './worker.ts'

const ENTRY = new URL('./worker.ts', import.meta.url)

test('two worker threads on one port: telemetry, take-over, live messages, drain', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-ingest-'))
  const logThread = await startLogThread({ dir: folder, segmentBytes: 4 << 20, reserveBytes: 0 })
  const log = await connectLog(logThread.newPort())
  const threads: StageThread[] = []
  t.after(async () => {
    for (const thread of threads) await thread.terminate()
    await log.close()
    await logThread.close()
    rmSync(folder, { recursive: true })
  })
  for (const topic of [rawTopic, rejectedTopic]) await log.createTopic(topic('default', 'telemetry'), TOPIC)
  const hubPorts = joinWorkers(2)
  const counters: CounterBlock<(typeof INGEST_COUNTERS)[number]>[] = []
  let port = 0
  const start = (index: number, mqttPort: number, hub = hubPorts[index]!) => {
    const block = new CounterBlock(INGEST_COUNTERS)
    const logPort = logThread.newPort()
    const data: IngestWorkerData = {
      log: { kind: 'embedded', port: logPort },
      index,
      hubPorts: hub,
      addresses: { mqtt: { host: '127.0.0.1', port: mqttPort }, ws: undefined },
      options: {},
      streams: [streamOf('default')],
      rejectedSchemaId: 1,
      counters: block.buffer,
    }
    const ports = [logPort, ...hub.filter((one) => one !== undefined)]
    threads.push(new StageThread(`ingest-${index}`, ENTRY, data, ports))
    counters.push(block)
    return threads.at(-1)!.next('ready')
  }
  port = Number((await start(0, 0))['mqttPort'])
  const { socketMeans, ...ready } = await start(1, port)
  assert.deepEqual(ready, { type: 'ready', mqttPort: port, wsPort: 0 })
  assert.match(String(socketMeans), /^handles/)

  const clients: RawClient[] = []
  // The kernel spreads connections by their ports; until both workers have some.
  while (counters.some((block) => block.get('sessions') < 2) && clients.length < 200)
    clients.push(await RawClient.connect(port, 5, `d${clients.length}`))
  assert.ok(clients.length < 200, 'both workers get connections')
  const watcher = await RawClient.connect(port, 5, 'watcher')
  watcher.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'devices/+/telemetry', qos: 1 }] })
  await watcher.take('suback')
  for (const [i, client] of clients.entries())
    for (let seq = 1; seq <= 20; seq++) client.publish(`devices/d${i}/telemetry`, payloadOf(seq), 1, seq)
  for (const client of clients)
    for (let seq = 1; seq <= 20; seq++) assert.equal((await client.take('puback')).messageId, seq)
  await until(() => watcher.packets.length === clients.length * 20, 'the watcher hears every message')
  const records = await recordsOf(log, 'default.telemetry.raw')
  for (const i of clients.keys())
    assert.deepEqual(
      records.filter(({ key }) => key === `d${i}`).map(({ value }) => value),
      Array.from({ length: 20 }, (_, seq) => payloadOf(seq + 1)),
    )
  for (let i = 0; i < 8; i++) await RawClient.connect(port, 5, 'd0')
  assert.equal((await clients[0]!.take('disconnect')).reasonCode, 0x8e)

  // The port is ours: another first worker is told so.
  await assert.rejects(start(0, port, [undefined]), (error) => isMillraceError(error, 'address_in_use'))
  await threads.pop()!.terminate()

  await Promise.all(threads.map((thread) => thread.drain()))
  assert.equal((await clients[1]!.take('disconnect')).reasonCode, 0x8b)
  assert.equal(counters[0]!.get('sessions') + counters[1]!.get('sessions'), 0)
})
