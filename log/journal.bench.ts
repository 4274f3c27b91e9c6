// One commit cycle of the embedded log: a client's append of batches in shared memory until its answer, one in
// flight, through the log thread to fdatasync and back; and the journal alone. Prints p50 and p99 in ms, process CPU
// a cycle, and checks that every record is there. Run: node log/journal.bench.ts [bytes] [cycles]
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

function report(name: string, times: number[], cpu: NodeJS.CpuUsage): void {
  times.sort((a, b) => a - b)
  const at = (share: number): string => times[Math.floor(times.length * share)]!.toFixed(3)
  const cpuUs = (cpu.user + cpu.system) / times.length
  console.log(
    `${name}: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, ${cpuUs.toFixed(0)} µs CPU a cycle of ${bytes} bytes`,
  )
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-bench-'))
try {
  const { request, records } = makeRequest()
  const journal = new Journal({ disk: new NodeDisk(), dir: path.join(folder, 'journal') })
  journal.createTopic('t', CONFIG)
  while (journal.maintain());
  let times: number[] = []
  let cpu = process.cpuUsage()
  for (let i = 0; i < cycles; i++) {
    const started = performance.now()
    const pending: PendingAppend = { request, baseOffsets: undefined, error: undefined }
    journal.commit([pending])
    assert.equal(pending.error, undefined)
    times.push(performance.now() - started)
  }
  report('journal alone', times, process.cpuUsage(cpu))
  journal.close()

  const thread = await startLogThread({ dir: path.join(folder, 'thread') })
  const log = await connectLog(thread.newPort())
  await log.createTopic('t', CONFIG)
  await new Promise((resolve) => setTimeout(resolve, 3000))
  times = []
  cpu = process.cpuUsage()
  for (let i = 0; i < cycles; i++) {
    const started = performance.now()
    await log.append(request)
    times.push(performance.now() - started)
  }
  report('client of the log thread', times, process.cpuUsage(cpu))
  let end = 0
  for (let p = 0; p < PARTITIONS; p++) end += (await log.range('t', p)).end
  assert.equal(end, records * cycles)
  await thread.close()
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
