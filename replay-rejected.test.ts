import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from './log/log-memory.ts'
import { RecordReader } from './log/record-batch.ts'
import { type PayloadChecker, RejectedReplay } from './replay-rejected.ts'
import { rawTopic, rejectedTopic } from './schemas/names.ts'
import type { RejectedRow } from './sink/rejected-rows.ts'
import { sensorStream } from './sink/sink-harness.ts'
import { isMillraceError, MillraceError } from './std/errors.ts'

const STREAM = sensorStream('telemetry')
const ALL = { dryRun: false, limit: 1_000_000 }
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

/** Accepts what begins with `ok`. */
const checker: PayloadChecker = {
  check: (payload) =>
    payload[0] === bytes('o')[0] ? payload : { code: 'json_invalid', text: 'does not begin with ok' },
}

function row(offset: number, payload: string, change: Partial<RejectedRow> = {}): RejectedRow {
  return {
    code: 'json_invalid',
    device: `d${offset % 3}`,
    payload: bytes(payload),
    receiveTimeMicros: 1_700_000_000_000_000 + offset,
    partition: 0,
    offset,
    ...change,
  }
}

async function world() {
  const log = new MemoryLog()
  const config = {
    partitions: 2,
    cleanup: 'delete' as const,
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  }
  for (const topic of [rawTopic, rejectedTopic]) await log.createTopic(topic('default', 'telemetry'), config)
  const rows: RejectedRow[] = []
  const run = (replay = new RejectedReplay(log), options = ALL, stream = STREAM) =>
    replay.run(
      stream,
      (async function* () {
        yield* rows
      })(),
      checker,
      options,
    )
  const raw = async (): Promise<string[]> => {
    const found: string[] = []
    for (let partition = 0; partition < 2; partition++) {
      const { batches } = await log.read(rawTopic('default', 'telemetry'), partition, 0, 1e9)
      const reader = new RecordReader()
      reader.reset(batches)
      const text = (from: number, to: number) => Buffer.from(batches.slice(from, to)).toString()
      while (reader.next())
        found.push(
          `${text(reader.keyStart, reader.keyEnd)} ${text(reader.valueStart, reader.valueEnd)} ${reader.timestamp}`,
        )
    }
    return found.sort()
  }
  return { log, rows, run, raw }
}

test('what the door accepts now is sent once, with its device and its receive time; the rest is counted', async () => {
  const { rows, run, raw } = await world()
  rows.push(row(0, 'ok 0'), row(1, 'bad'), row(2, 'ok 2'), row(3, 'ok 3', { code: 'rule_failed' }))
  const dry = await run(undefined, { ...ALL, dryRun: true })
  assert.deepEqual([dry.found, dry.sent, await raw()], [4, 3, []])
  const first = await run(undefined, { ...ALL, code: 'json_invalid' } as typeof ALL)
  assert.deepEqual([first.found, first.sent, first.refused], [3, 2, { json_invalid: 1 }])
  const second = await run()
  assert.deepEqual([second.found, second.sent, second.sentBefore], [4, 1, 2])
  const sent = await raw()
  assert.deepEqual(sent, ['d0 ok 0 1700000000000', 'd0 ok 3 1700000000000', 'd2 ok 2 1700000000000'])
  // Again, by another process, which knows only what the log says.
  const third = await run()
  assert.deepEqual([third.sent, third.sentBefore], [0, 3])
  assert.deepEqual(await raw(), sent)
})

test('what is rejected again waits for another contract; twins are two records', async () => {
  const { log, rows, run, raw } = await world()
  rows.push(row(0, 'ok a'), row(1, 'ok a', { device: 'd0', receiveTimeMicros: 1_700_000_000_000_000 }))
  // Both are in the topic before the replay.
  await append(log, 2)
  assert.equal((await run()).sent, 2, 'the same bytes of one device at one moment, rejected twice')
  // Normalize rejects one of them again: a new place, the same content.
  rows.push(row(2, 'ok a', { device: 'd0', receiveTimeMicros: 1_700_000_000_000_000, code: 'rule_failed' }))
  const again = await run()
  assert.deepEqual([again.sent, again.sentBefore, again.rejectedAgain], [0, 2, 1])
  const fixed = { ...STREAM, ruleSets: [{ firmware: 'default', rules: [{ refuse: 'x', when: 'false' }] }] }
  const after = await run(undefined, ALL, fixed)
  assert.deepEqual([after.sent, after.sentBefore, after.rejectedAgain], [1, 2, 0])
  assert.equal((await run(undefined, ALL, fixed)).sent, 0)
  assert.equal((await raw()).length, 3)
})

async function append(log: MemoryLog, count: number): Promise<void> {
  const { RecordBatchBuilder } = await import('./log/record-batch.ts')
  const builder = new RecordBatchBuilder()
  for (let i = 0; i < count; i++) builder.append(0, bytes('d0'), bytes('x'))
  const topic = rejectedTopic('default', 'telemetry')
  await log.append({ entries: [{ topic, partition: 0, batch: builder.finish(), recordCount: count }] })
}

test('many records go in several appends; a crash between or after them sends none twice', async () => {
  const { log, rows, run, raw } = await world()
  for (let i = 0; i < 3500; i++) rows.push(row(i, `ok ${i}`))
  const real = log.append.bind(log)
  let appends = 0
  log.append = async (request) => {
    appends++
    if (appends === 2) throw new MillraceError('log_full', 'no room')
    const result = await real(request)
    // The answer is lost: the append was done.
    if (appends === 4) throw new MillraceError('log_stopped', 'the process ends here')
    return result
  }
  const replay = new RejectedReplay(log)
  await assert.rejects(run(replay), { code: 'log_full' })
  assert.equal((await raw()).length, 1000)
  await assert.rejects(run(replay), { code: 'log_stopped' })
  assert.equal((await raw()).length, 3000)
  const last = await run()
  assert.deepEqual([last.sent, last.sentBefore], [500, 3000])
  assert.equal(new Set(await raw()).size, 3500)
})

test('two processes at once: one sends, the other is told, and nothing is sent twice', async () => {
  const { log, rows, run, raw } = await world()
  rows.push(row(0, 'ok 0'))
  const other = new RejectedReplay(log)
  const real = log.append.bind(log)
  log.append = async (request) => {
    log.append = real
    await run(other)
    return real(request)
  }
  await assert.rejects(run(), (error) => isMillraceError(error, 'offset_conflict'))
  assert.equal((await raw()).length, 1)
})

test('a limit ends a run, and the next goes on', async () => {
  const { rows, run, raw } = await world()
  for (let i = 0; i < 10; i++) rows.push(row(i, `ok ${i}`))
  const replay = new RejectedReplay((await world()).log)
  assert.ok(replay)
  const first = await run(undefined, { dryRun: false, limit: 4 })
  assert.deepEqual([first.sent, first.more], [4, true])
  const second = await run(undefined, { dryRun: false, limit: 100 })
  assert.deepEqual([second.sent, second.sentBefore, second.more], [6, 4, false])
  assert.equal((await raw()).length, 10)
})
