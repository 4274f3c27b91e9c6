// The sink's thread as main sees it: a real log thread, a real encoder thread, a SQLite catalog.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { connectLog } from '../log/log-client.ts'
import { startLogThread } from '../log/log-service.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { CounterBlock } from '../std/counters.ts'
import { StageThread } from '../std/thread.ts'
import { openTables } from './open-tables.ts'
import { localWarehouse } from './open-warehouse.ts'
import { SINK_COUNTERS, type SinkCounter } from './sink-counters.ts'
import { REJECTED_SCHEMA_ID, sensorBatch, sensorStream } from './sink-harness.ts'
import type { SinkReport, SinkWorkerData } from './worker.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-sink-worker-'))
test.after(() => fs.rmSync(folder, { recursive: true }))
const TOPIC = normalizedTopic('default', 'telemetry')

async function start(name: string) {
  const dir = path.join(folder, name)
  const logThread = await startLogThread({ dir: path.join(dir, 'log'), segmentBytes: 4 << 20 })
  const log = await connectLog(logThread.newPort())
  for (const topic of [TOPIC, rejectedTopic('default', 'telemetry')])
    await log.createTopic(topic, {
      partitions: 2,
      cleanup: 'delete',
      retentionAgeMs: Infinity,
      retentionBytes: Infinity,
      backlogBytesMax: Infinity,
    })
  const counters = new CounterBlock<SinkCounter>(SINK_COUNTERS)
  const logPort = logThread.newPort()
  const data: SinkWorkerData = {
    log: { kind: 'embedded', port: logPort },
    warehouse: localWarehouse(dir),
    streams: [sensorStream('telemetry')],
    rejectedSchemaId: REJECTED_SCHEMA_ID,
    options: { commitAgeMs: 100 },
    encoders: 1,
    counters: counters.buffer,
  }
  const sink = new StageThread('sink', new URL('./worker.ts', import.meta.url), data, [logPort])
  let sent = 0
  const send = async (count: number): Promise<void> => {
    const records = Array.from({ length: count }, () => {
      const seq = sent++
      return { device: `d${seq % 5}`, eventMicros: Date.UTC(2026, 2, 1) * 1000 + seq, seq }
    })
    const batch = sensorBatch(records)
    await log.append({ entries: [{ topic: TOPIC, partition: sent % 2, batch, recordCount: count }] })
  }
  const stop = async (): Promise<void> => {
    await sink.terminate()
    await log.close()
    await logThread.close()
  }
  return { dir, log, counters, sink, send, stop }
}

async function until(what: string, holds: () => boolean): Promise<void> {
  const end = Date.now() + 10_000
  while (!holds()) {
    if (Date.now() > end) throw new Error(`waited 10 s for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

test('ready means that the tables exist; rows follow; a drain commits the rest', async () => {
  const { dir, counters, sink, send, stop, log } = await start('ready')
  try {
    await sink.next('ready')
    const names = async () => {
      const tables = openTables(localWarehouse(dir))
      try {
        return (await tables.stats()).map((one) => `${one.tenant}.${one.table} ${one.rows}`)
      } finally {
        await tables.close()
      }
    }
    assert.deepEqual(await names(), ['default.telemetry 0', 'default.telemetry_rejected 0'])
    await send(500)
    await until('rows', () => counters.get('rows') === 500)
    assert.ok(counters.get('freshnessMs') > 0)
    // A stream that is new gets its tables while the others go on.
    sink.send({ type: 'streams', streams: [sensorStream('telemetry'), sensorStream('other')] })
    await until('tables', () => counters.get('tables') === 4)
    await send(300)
    await sink.drain()
    assert.deepEqual(await names(), [
      'default.other 0',
      'default.other_rejected 0',
      'default.telemetry 800',
      'default.telemetry_rejected 0',
    ])
    assert.equal((await log.position('sink', TOPIC, 0))! + (await log.position('sink', TOPIC, 1))!, 800)
  } finally {
    await stop()
  }
})

test('a table that fails is told to main, and the drain ends all the same', async () => {
  const { dir, sink, send, stop } = await start('parked')
  try {
    await sink.next('ready')
    // In the place of the folder for data files stands a file: nothing can be written there.
    fs.writeFileSync(path.join(dir, 'warehouse', 'default', 'telemetry', 'data'), '')
    await send(10)
    const { event } = (await sink.next('event')) as unknown as Extract<SinkReport, { type: 'event' }>
    assert.equal(event.level, 'warn')
    assert.match(event.message, /warehouse\/default\/telemetry\/data.*cannot be written/)
    const { tables } = (await sink.next('tables')) as unknown as Extract<SinkReport, { type: 'tables' }>
    assert.deepEqual(
      tables.map((table) => [table.table, table.state, table.code]),
      [
        ['default.telemetry', 'parked', 'warehouse_unwritable'],
        ['default.telemetry_rejected', 'following', undefined],
      ],
    )
    await sink.drain()
  } finally {
    await stop()
  }
})
