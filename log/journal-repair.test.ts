import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { LogDump } from './dump.ts'
import { Journal } from './journal.ts'
import { repairJournal } from './journal-repair.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'

const DIR = '/data/log'
const NOW = 1_700_000_000_000

/** 40 one-record batches in `t` over several segments; killed, or closed with a checkpoint. */
function journalOf40(closed: boolean): SimulatedDisk {
  const disk = new SimulatedDisk()
  const journal = new Journal({ disk, dir: DIR, segmentBytes: 2048, now: () => NOW })
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1 })
  for (let i = 0; i < 40; i++) {
    const batch = textBatch([['k', `value ${i}.`.padEnd(150)]], NOW)
    const entries = [{ topic: 't', partition: 0, batch, recordCount: 1 }]
    const pending = { request: { entries }, baseOffsets: undefined, error: undefined }
    journal.commit([pending])
    assert.equal(pending.error, undefined)
  }
  if (closed) journal.close()
  disk.kill()
  return disk
}

/** Puts an X where the value of that record begins; returns the file. */
function damage(disk: SimulatedDisk, record: number): string {
  for (const name of disk.list(DIR)) {
    if (!name.endsWith('.segment')) continue
    const file = disk.open(`${DIR}/${name}`, 'write')
    const bytes = Buffer.alloc(file.size())
    file.read(bytes, 0)
    const at = bytes.indexOf(`value ${record}.`)
    if (at >= 0) {
      file.write([Buffer.from('X')], at)
      file.sync()
      file.close()
      return name
    }
    file.close()
  }
  throw new Error(`record ${record} not found`)
}

const offsets = (disk: SimulatedDisk): number[] =>
  [...new LogDump(DIR, disk).records('t', 0)].map((record) => record.offset)

const without = (...lost: number[]): number[] =>
  Array.from({ length: 40 }, (_, i) => i).filter((i) => !lost.includes(i))

for (const record of [0, 5, 13, 20, 38]) {
  test(`damage to record ${record} is cut out, named, and a copy kept`, () => {
    const disk = journalOf40(false)
    const name = damage(disk, record)
    assert.throws(() => new Journal({ disk, dir: DIR }), { code: 'log_corrupt' })
    const report = repairJournal(disk, DIR)
    assert.equal(report.copies, `${DIR}/damaged-1`)
    assert.deepEqual(disk.list(report.copies!), [name])
    assert.equal(report.repaired.length, 1)
    assert.equal(report.repaired[0]!.file, `${DIR}/${name}`)
    assert.deepEqual(report.lost, [{ topic: 't', partition: 0, from: record, to: record + 1 }])
    assert.deepEqual(offsets(disk), without(record))
    const journal = new Journal({ disk, dir: DIR, segmentBytes: 2048 })
    assert.equal(journal.range('t', 0).end, 40)
    journal.close()
    assert.deepEqual(offsets(disk), without(record))
  })
}

test('several damages, one of them in a batch that the checkpoint covers', () => {
  const disk = journalOf40(true)
  for (const record of [3, 4, 30]) damage(disk, record)
  const report = repairJournal(disk, DIR)
  assert.deepEqual(
    report.lost.map((one) => one.from),
    [3, 4, 30],
  )
  assert.deepEqual(offsets(disk), without(3, 4, 30))
  assert.deepEqual(repairJournal(disk, DIR), {
    copies: undefined,
    repaired: [],
    lost: [
      { topic: 't', partition: 0, from: 3, to: 5 },
      { topic: 't', partition: 0, from: 30, to: 31 },
    ],
  })
})

test('a damaged segment header, a missing segment, a damaged checkpoint', () => {
  const disk = journalOf40(false)
  const header = disk.open(`${DIR}/0000000002.segment`, 'write')
  header.write([new Uint8Array(64)], 0)
  header.sync()
  header.close()
  disk.unlink(`${DIR}/0000000003.segment`)
  const report = repairJournal(disk, DIR)
  assert.ok(report.repaired.length >= 2)
  assert.equal(report.lost.length, 1)
  const { from, to } = report.lost[0]!
  assert.deepEqual(offsets(disk), without(...Array.from({ length: to - from }, (_, i) => from + i)))

  const other = journalOf40(true)
  const checkpoint = other.open(`${DIR}/checkpoint`, 'write')
  checkpoint.write([Buffer.from('X')], 30)
  checkpoint.sync()
  checkpoint.close()
  assert.throws(() => new Journal({ disk: other, dir: DIR }), { code: 'log_corrupt' })
  assert.deepEqual(repairJournal(other, DIR).lost, [])
  assert.deepEqual(offsets(other), without())
})

test('a whole journal is left as it is', () => {
  const disk = journalOf40(false)
  const before = disk.operationCount
  assert.deepEqual(repairJournal(disk, DIR), { copies: undefined, repaired: [], lost: [] })
  assert.equal(disk.operationCount, before)
})
