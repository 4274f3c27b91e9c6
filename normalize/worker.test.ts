// The thread as main runs it: a log thread with a real journal beside it.
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Log } from '../log/log.ts'
import { connectLog } from '../log/log-client.ts'
import { type LogThread, startLogThread } from '../log/log-service.ts'
import { normalizedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import { StageThread } from '../std/thread.ts'
import { NORMALIZE_COUNTERS } from './counters.ts'
import { appendRaw, createTopics, descriptor, outcomeOf, type RawRecord, REJECTED_ID } from './model.ts'
import type { NormalizeWorkerData } from './worker.ts'

const EPOCH_MS = 1_760_000_000_000

function record(i: number, changes: Partial<RawRecord['reading']> = {}): RawRecord {
  const receiveMs = EPOCH_MS + i
  const reading = {
    event_time: receiveMs * 1000,
    seq: i,
    temperature: 20,
    humidity: 40,
    firmware: '1.0',
    battery: 50,
    ...changes,
  }
  return { device: 'd', receiveMs, kind: 'current', reading }
}

async function journal(
  t: TestContext,
): Promise<{ logThread: LogThread; log: Log; close: () => Promise<void> }> {
  const folder = mkdtempSync(path.join(tmpdir(), 'millrace-normalize-'))
  const logThread = await startLogThread({ dir: folder, segmentBytes: 4 << 20, reserveBytes: 0 })
  const log = await connectLog(logThread.newPort())
  let open = true
  const close = async (): Promise<void> => {
    if (!open) return
    open = false
    await log.close()
    await logThread.close()
  }
  t.after(async () => {
    await close()
    rmSync(folder, { recursive: true })
  })
  return { logThread, log, close }
}

function startWorker(t: TestContext, logThread: LogThread, streams: StreamDescriptor[]): StageThread {
  const logPort = logThread.newPort()
  const data: NormalizeWorkerData = {
    log: { kind: 'embedded', port: logPort },
    streams,
    rejectedSchemaId: REJECTED_ID,
    counters: new CounterBlock(NORMALIZE_COUNTERS).buffer,
    options: { stepBytesMax: 256 * 1024 },
  }
  const thread = new StageThread('normalize', new URL('./worker.ts', import.meta.url), data, [logPort])
  t.after(() => thread.terminate())
  return thread
}

test('ready, new streams, the tally, drain, and a second life that goes on', async (t) => {
  const { logThread, log } = await journal(t)
  const first = descriptor({ partitions: 1 })
  const second = descriptor({ stream: 'second', partitions: 1 })
  await createTopics(log, first)
  const thread = startWorker(t, logThread, [first])
  await thread.next('ready')
  await appendRaw(log, first, 0, [
    record(0),
    record(0),
    record(1, { temperature: 900 }),
    record(2, { battery: -1 }),
  ])
  await createTopics(log, second)
  thread.send({ type: 'streams', streams: [first, second] })
  await appendRaw(log, second, 0, [record(0)])
  await thread.drain()
  const outcome = await outcomeOf(log, first, 0)
  assert.deepEqual(
    outcome.normalized.map((row) => [row.reading.seq, row.quality]),
    [
      [0, undefined],
      [1, 'temperature'],
    ],
  )
  assert.deepEqual(
    outcome.rejected.map((row) => [row.offset, row.code]),
    [[3, 'range_refused']],
  )
  assert.equal((await log.range(normalizedTopic('default', 'second'), 0)).end, 1)

  const again = startWorker(t, logThread, [first, second])
  await again.next('ready')
  await appendRaw(log, first, 0, [record(1, { temperature: 900 }), record(3)])
  while ((await log.range(normalizedTopic('default', 'telemetry'), 0)).end < 3)
    await new Promise((resolve) => setTimeout(resolve, 5))
  const tally = again.next('tally')
  again.send({ type: 'tally' })
  assert.deepEqual(await tally, { type: 'tally', duplicates: 2, rejected: 1 })
  await again.drain()
})

test('many batches through the real log: passed by reference, nothing lost, in order', async (t) => {
  const { logThread, log } = await journal(t)
  const stream = descriptor({ partitions: 1 })
  await createTopics(log, stream)
  const thread = startWorker(t, logThread, [stream])
  await thread.next('ready')
  for (let i = 0; i < 40; i++) {
    const records = Array.from({ length: 500 }, (_, k) =>
      record(i * 500 + k, k === 0 && i % 3 === 0 ? { firmware: '2.0' } : {}),
    )
    await appendRaw(log, stream, 0, records)
  }
  await thread.drain()
  const { normalized } = await outcomeOf(log, stream, 0)
  assert.deepEqual(
    normalized.map((row) => row.reading.seq),
    Array.from({ length: 20_000 }, (_, i) => i),
  )
  assert.equal(normalized.filter((row) => row.source !== undefined).length, 14)
})

test('a log that is gone ends the thread with its error', async (t) => {
  const { logThread, log, close } = await journal(t)
  const stream = descriptor({ partitions: 1 })
  await createTopics(log, stream)
  const thread = startWorker(t, logThread, [stream])
  await thread.next('ready')
  await close()
  await assert.rejects(thread.failed, { code: 'log_stopped' })
})
