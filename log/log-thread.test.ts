// The log behind a message port, with a real disk: the contract, several clients, and restarts.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { connectLog } from './log-client.ts'
import { describeLog, entry, readAll, TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'
import { startLogThread } from './log-service.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-log-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))
let folders = 0
const options = () => ({ dir: path.join(folder, `log${folders++}`), segmentBytes: 4 << 20 })

describeLog('client of the log thread', async () => {
  const thread = await startLogThread(options())
  const log = await connectLog(thread.newPort())
  return {
    log,
    now: Date.now,
    tombstoneAgeMs: 0,
    close: async () => {
      await log.close()
      await thread.close()
    },
  }
})

test('many clients, one sequence; what each appended the others read', async () => {
  const thread = await startLogThread(options())
  const clients = await Promise.all([1, 2, 3].map(() => connectLog(thread.newPort())))
  const t = (await clients[0]!.createTopic('t', TOPIC_DEFAULTS)).name
  await Promise.all(
    clients.flatMap((client, c) =>
      Array.from({ length: 50 }, (_, i) => client.append({ entries: [entry(t, 0, [[`c${c}`, `${i}`]])] })),
    ),
  )
  const [first, ...others] = await Promise.all(clients.map((client) => readAll(client, t, 0)))
  assert.equal(first!.length, 150)
  for (const other of others) assert.deepEqual(other, first)
  const stats = await thread.stats()
  assert.ok(stats.groups < 150, `${stats.groups} groups for 150 appends and one topic`)
  await clients[0]!.close()
  await assert.rejects(clients[0]!.append({ entries: [] }), { code: 'log_stopped' })
  assert.equal((await clients[1]!.range(t, 0)).end, 150)
  await thread.close()
  await assert.rejects(clients[1]!.range(t, 0), { code: 'log_stopped' })
})

test('batches handed in as shared memory are patched in place', async () => {
  const thread = await startLogThread(options())
  const log = await connectLog(thread.newPort())
  await log.createTopic('t', TOPIC_DEFAULTS)
  await log.append({ entries: [entry('t', 0, [['a', '1']])] })
  const source = textBatch([['b', '2']])
  const shared = new Uint8Array(new SharedArrayBuffer(source.length + 10)).subarray(10)
  shared.set(source)
  await log.append({ entries: [{ topic: 't', partition: 0, batch: shared, recordCount: 1 }] })
  assert.equal(shared[7], 1)
  await thread.close()
})

test('more bytes in flight than the ring holds', async () => {
  const thread = await startLogThread(options())
  const log = await connectLog(thread.newPort())
  await log.createTopic('t', TOPIC_DEFAULTS)
  const values = Array.from({ length: 60 }, (_, i) => `${i}`.repeat(20_000))
  await Promise.all(values.map((value) => log.append({ entries: [entry('t', 0, [['k', value]])] })))
  assert.deepEqual(
    await readAll(log, 't', 0),
    values.map((value, i) => `${i}:k=${value}`),
  )
  await thread.close()
})

test('a log that is opened again goes on where it was, with the same id', async () => {
  const where = options()
  const first = await startLogThread(where)
  const log = await connectLog(first.newPort())
  await log.createTopic('t', TOPIC_DEFAULTS)
  for (let i = 0; i < 20; i++) await log.append({ entries: [entry('t', 1, [['k', `${i}`]])] })
  await log.append({ entries: [], positions: [{ stage: 's', topic: 't', partition: 1, nextOffset: 7 }] })
  await first.close()
  const second = await startLogThread(where)
  assert.equal(second.id, first.id)
  assert.equal((await second.stats()).recoveredGroups, 0, 'a closed log leaves nothing to replay')
  const again = await connectLog(second.newPort())
  assert.equal((await readAll(again, 't', 1)).length, 20)
  assert.equal(await again.position('s', 't', 1), 7)
  assert.deepEqual((await again.append({ entries: [entry('t', 1, [['k', 'on']])] })).baseOffsets, [20])
  await second.close()
})

test('a damaged checkpoint fails the start with its file', async () => {
  const where = options()
  const first = await startLogThread(where)
  await (await connectLog(first.newPort())).createTopic('t', TOPIC_DEFAULTS)
  await first.close()
  const file = path.join(where.dir, 'checkpoint')
  const bytes = fs.readFileSync(file)
  bytes[20]! ^= 1
  fs.writeFileSync(file, bytes)
  await assert.rejects(startLogThread(where), { code: 'log_corrupt', message: /checkpoint/ })
})
