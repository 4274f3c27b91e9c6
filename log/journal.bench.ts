// One commit cycle of the embedded log: a client's append of batches in shared memory until its answer, one in
// flight, through the log thread to fdatasync and back; and the journal alone, which fills no segment ahead. Prints p50
// and p99 in ms, process CPU a cycle, on Linux by thread (libuv's fill segments with zeros, V8's compile), after as many
// cycles again as a warm-up, and checks that every record is there. Run: node log/journal.bench.ts [bytes] [cycles]
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { NodeDisk } from '../std/disk.ts'
import { Journal, type PendingAppend } from './journal.ts'
import type { AppendRequest, TopicConfig } from './log.ts'
import { connectLog } from './log-client.ts'
import { startLogThread } from './log-service.ts'
import { RecordBatchBuilder } from './record-batch.ts'

const bytes = Number(process.argv[2] ?? 46_000)
const cycles = Number(process.argv[3] ?? 2000)
const PARTITIONS = Number(process.argv[4] ?? 4)
const CONFIG: TopicConfig = {
  partitions: PARTITIONS,
  cleanup: 'delete',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}

/** A request of one batch for each partition, `bytes` together, in one shared buffer. */
function makeRequest(): { request: AppendRequest; records: number } {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes * 2))
  let at = 0
  let records = 0
  const entries = Array.from({ length: PARTITIONS }, (_, partition) => {
    const builder = new RecordBatchBuilder()
    while (builder.byteLength < bytes / PARTITIONS)
      builder.append(1_700_000_000_000, Buffer.from('device'), Buffer.alloc(60, 7))
    const recordCount = builder.recordCount
    const batch = builder.finish()
    shared.set(batch, at)
    records += recordCount
    const view = shared.subarray(at, (at += batch.length))
    return { topic: 't', partition, batch: view, recordCount }
  })
  return { request: { entries }, records }
}

/** CPU ns of each thread so far (the kernel's sched-stats, first field); of the process where it does not say. */
function cpuTimes(): Map<string, number> {
  const times = new Map<string, number>()
  try {
    for (const task of fs.readdirSync('/proc/self/task')) {
      const read = (file: string): string => fs.readFileSync(`/proc/self/task/${task}/${file}`, 'utf8').trim()
      const name = read('comm')
      times.set(name, (times.get(name) ?? 0) + Number(read('schedstat').split(' ')[0]))
    }
  } catch {
    const { user, system } = process.cpuUsage()
    return new Map([['process', (user + system) * 1000]])
  }
  return times
}

/** Runs a cycle many times, first unmeasured. */
async function measure(name: string, cycle: () => void | Promise<void>): Promise<void> {
  for (let i = 0; i < cycles; i++) await cycle()
  const times: number[] = []
  const before = cpuTimes()
  for (let i = 0; i < cycles; i++) {
    const started = performance.now()
    await cycle()
    times.push(performance.now() - started)
  }
  const shares = [...cpuTimes()].map(([thread, ns]) => ({
    thread,
    us: (ns - (before.get(thread) ?? 0)) / 1000 / cycles,
  }))
  times.sort((a, b) => a - b)
  const at = (share: number): string => times[Math.floor(times.length * share)]!.toFixed(3)
  const cpu = shares.reduce((sum, { us }) => sum + us, 0).toFixed(0)
  const by = shares.filter(({ us }) => us >= 1).map(({ thread, us }) => `${thread} ${us.toFixed(0)}`)
  console.log(
    `${name}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${cpu} µs CPU a cycle of ${bytes} bytes (${by.join(', ')})`,
  )
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-bench-'))
try {
  const { request, records } = makeRequest()
  const journal = new Journal({ disk: new NodeDisk(), dir: path.join(folder, 'journal') })
  journal.createTopic('t', CONFIG)
  while (journal.maintain());
  await measure('journal alone', () => {
    const pending: PendingAppend = { request, baseOffsets: undefined, error: undefined }
    journal.commit([pending])
    assert.equal(pending.error, undefined)
  })
  journal.close()

  const thread = await startLogThread({ dir: path.join(folder, 'thread') })
  const log = await connectLog(thread.newPort())
  await log.createTopic('t', CONFIG)
  await new Promise((resolve) => setTimeout(resolve, 3000))
  await measure('client of the log thread', async () => {
    await log.append(request)
  })
  let end = 0
  for (let p = 0; p < PARTITIONS; p++) end += (await log.range('t', p)).end
  assert.equal(end, records * cycles * 2)
  await thread.close()
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
