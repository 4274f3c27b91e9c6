import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { LogDump } from './dump.ts'
import { Journal } from './journal.ts'
import { repairJournal } from './journal-repair.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'
import { sealBatch } from './record-batch.ts'

const DIR = '/data/log'
const NOW = 1_700_000_000_000
/** Bytes of a segment of which a page, the least that a disk cannot read, is a small part. */
const LARGE = 1 << 15

/** 40 one-record batches in `t` over four segments; killed, or closed with a checkpoint. */
function journalOf40(closed: boolean, segmentBytes = 2048): SimulatedDisk {
  const disk = new SimulatedDisk()
  const journal = new Journal({ disk, dir: DIR, segmentBytes, now: () => NOW })
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1 })
  for (let i = 0; i < 40; i++) {
    const batch = textBatch([['k', `value ${i}.`.padEnd(segmentBytes >>> 4)]], NOW)
    const entries = [{ topic: 't', partition: 0, batch, recordCount: 1 }]
    const pending = { request: { entries }, baseOffsets: undefined, error: undefined }
    journal.commit([pending])
    assert.equal(pending.error, undefined)
  }
  if (closed) journal.close()
  disk.kill()
  return disk
}

/** File and position at which the value of that record, or that text, begins. */
function placeOf(disk: SimulatedDisk, what: number | string): [name: string, position: number] {
  const text = typeof what === 'number' ? `value ${what}.` : what
  for (const name of disk.list(DIR)) {
    if (!name.endsWith('.segment')) continue
    const file = disk.open(`${DIR}/${name}`, 'read')
    const bytes = Buffer.alloc(file.size())
    file.read(bytes, 0)
    file.close()
    const at = bytes.indexOf(text)
    if (at >= 0) return [name, at]
  }
  throw new Error(`${text} not found`)
}

/** Puts an X there; returns the file. */
function damage(disk: SimulatedDisk, what: number | string): string {
  const [name, at] = placeOf(disk, what)
  const file = disk.open(`${DIR}/${name}`, 'write')
  file.write([Buffer.from('X')], at)
  file.sync()
  file.close()
  return name
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

test('without a checkpoint and the first segment the repair gives up, and touches nothing', () => {
  const disk = journalOf40(false)
  disk.unlink(`${DIR}/0000000001.segment`)
  disk.unlink(`${DIR}/0000000002.segment`)
  const names = disk.list(DIR)
  const before = disk.operationCount
  assert.throws(() => repairJournal(disk, DIR), {
    code: 'log_corrupt',
    message: /neither a checkpoint nor segment 1,/,
  })
  assert.equal(disk.operationCount, before)
  assert.deepEqual(disk.list(DIR), names)
})

test('a missing segment that only an empty one follows', () => {
  const disk = journalOf40(false)
  const journal = new Journal({ disk, dir: DIR, segmentBytes: 2048, now: () => NOW })
  // Prepares the next segment; the power fails before the checkpoint.
  while (journal.stats().checkpoints === 0 && journal.maintain());
  disk.kill()
  if (disk.exists(`${DIR}/checkpoint`)) disk.unlink(`${DIR}/checkpoint`)
  const segments = disk
    .list(DIR)
    .filter((name) => name.endsWith('.segment'))
    .sort()
  disk.unlink(`${DIR}/${segments.at(-2)}`)
  const report = repairJournal(disk, DIR)
  assert.equal(report.repaired.length, 1)
  const kept = offsets(disk)
  assert.deepEqual(kept, without().slice(0, kept.length))
  const again = new Journal({ disk, dir: DIR, segmentBytes: 2048, now: () => NOW })
  assert.equal(again.range('t', 0).end, kept.length)
  again.close()
})

test('a sector that cannot be read is no torn tail; it is written over, and what it was part of cut out', () => {
  for (const record of [17, 39]) {
    const disk = journalOf40(false, LARGE)
    const [name, at] = placeOf(disk, record)
    disk.spoilSector(`${DIR}/${name}`, at)
    assert.throws(() => new Journal({ disk, dir: DIR }), {
      code: 'log_corrupt',
      message: new RegExp(`${name}: the disk cannot read`),
    })
    const report = repairJournal(disk, DIR)
    assert.deepEqual(disk.list(report.copies!), [name])
    const kept = offsets(disk)
    assert.ok(!kept.includes(record) && kept.length > 35, `${kept}`)
    const journal = new Journal({ disk, dir: DIR, segmentBytes: LARGE, now: () => NOW })
    append(journal, 't', 40, 0)
    journal.close()
    assert.deepEqual(offsets(disk).slice(0, kept.length), kept)
  }
})

test('a sector of a batch that a checkpoint covers, of the checkpoint itself, of a segment header', () => {
  const covered = journalOf40(true, LARGE)
  const [name, at] = placeOf(covered, 5)
  covered.spoilSector(`${DIR}/${name}`, at)
  assert.ok(repairJournal(covered, DIR).lost.some(({ from, to }) => from <= 5 && to > 5))
  assert.deepEqual(
    offsets(covered).filter((offset) => offset > 6),
    without().filter((offset) => offset > 6),
  )
  assert.ok(!offsets(covered).includes(5))

  const checkpoint = journalOf40(true)
  checkpoint.spoilSector(`${DIR}/checkpoint`, 0)
  assert.throws(() => new Journal({ disk: checkpoint, dir: DIR }), { code: 'log_corrupt' })
  assert.deepEqual(repairJournal(checkpoint, DIR).lost, [])
  assert.deepEqual(offsets(checkpoint), without())

  const header = journalOf40(false, LARGE)
  header.spoilSector(`${DIR}/0000000002.segment`, 0)
  assert.throws(() => new Journal({ disk: header, dir: DIR }), { code: 'log_corrupt' })
  const lostFrom = repairJournal(header, DIR).lost[0]!.from
  new Journal({ disk: header, dir: DIR, segmentBytes: LARGE, now: () => NOW }).close()
  // The groups behind the first page still say the salt.
  const found = offsets(header)
  assert.ok(found.length > 35)
  assert.deepEqual(
    without().filter((offset) => !found.includes(offset)),
    Array.from({ length: 40 - found.length }, (_, i) => lostFrom + i),
  )
})

test('a payload that imitates groups does not give a lost header its salt', () => {
  const imitated = new SimulatedDisk()
  const stranger = new Journal({ disk: imitated, dir: DIR, segmentBytes: LARGE, now: () => NOW })
  stranger.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1 })
  for (let i = 0; i < 9; i++) append(stranger, 't', i, 0)
  stranger.close()
  const file = imitated.open(`${DIR}/0000000001.segment`, 'read')
  const groups = Buffer.alloc(2000)
  file.read(groups, 64)

  const disk = new SimulatedDisk()
  const journal = new Journal({ disk, dir: DIR, segmentBytes: LARGE, now: () => NOW })
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1 })
  const batch = textBatch([['k', groups.toString('latin1')]], NOW)
  batch.set(groups, batch.length - groups.length - 1)
  sealBatch(batch, 0, batch.length, 1, NOW, NOW)
  for (let i = 0; i < 3; i++) {
    const entries = [{ topic: 't', partition: 0, batch: batch.slice(), recordCount: 1 }]
    journal.commit([{ request: { entries }, baseOffsets: undefined, error: undefined }])
  }
  disk.kill()
  // The header of the segment, and all of the first batch's group that lies before the imitation.
  const segment = disk.open(`${DIR}/0000000001.segment`, 'write')
  const bytes = Buffer.alloc(segment.size())
  segment.read(bytes, 0)
  const imitation = bytes.indexOf(groups.subarray(0, 12))
  const group = bytes.lastIndexOf('MRG1', imitation - 1)
  segment.write([new Uint8Array(64)], 0)
  segment.write([new Uint8Array(imitation - group)], group)
  segment.sync()
  assert.deepEqual(repairJournal(disk, DIR).lost, [{ topic: 't', partition: 0, from: 0, to: 1 }])
  assert.deepEqual(offsets(disk), [1, 2])
})

test('the power fails at any operation of a repair: done again, it comes to the same', () => {
  const made: (() => SimulatedDisk)[] = [
    () => {
      const disk = journalOf40(false)
      for (const record of [0, 13, 38]) damage(disk, record)
      return disk
    },
    () => {
      const disk = journalOf40(true)
      for (const record of [3, 30]) damage(disk, record)
      disk.unlink(`${DIR}/0000000003.segment`)
      disk.syncDir(DIR)
      return disk
    },
  ]
  for (const make of made) {
    const counted = make()
    const before = counted.operationCount
    repairJournal(counted, DIR)
    const expected = offsets(counted)
    for (let n = 1; n <= counted.operationCount - before; n++) {
      for (let seed = 0; seed < 10; seed++) {
        const disk = make()
        disk.powerFailsAt = disk.operationCount + n
        assert.throws(() => repairJournal(disk, DIR), { name: 'PowerLoss' })
        if (seed === 0) disk.kill()
        else disk.crash(seed * 100 + n)
        disk.restart()
        repairJournal(disk, DIR)
        assert.deepEqual(offsets(disk), expected, `operation ${n}, seed ${seed}`)
      }
    }
  }
})

/** Three topics, made one after the other, with ten records each in turn. */
function journalOf3Topics(): SimulatedDisk {
  const disk = new SimulatedDisk()
  const journal = new Journal({ disk, dir: DIR, segmentBytes: 1 << 20, now: () => NOW })
  const topics = ['a', 'b', 'c']
  for (const topic of topics) journal.createTopic(topic, { ...TOPIC_DEFAULTS, partitions: 2 })
  for (let i = 0; i < 30; i++) append(journal, topics[i % 3]!, i)
  disk.kill()
  return disk
}

function append(journal: Journal, topic: string, record: number, partition = 1): void {
  const batch = textBatch([['k', `value ${record}.`]], NOW)
  const pending = {
    request: { entries: [{ topic, partition, batch, recordCount: 1 }] },
    baseOffsets: undefined,
    error: undefined,
  }
  journal.commit([pending])
  assert.equal(pending.error, undefined)
}

const valuesOf = (disk: SimulatedDisk, topic: string): string[] =>
  [...new LogDump(DIR, disk).records(topic, 1)].map((record) => Buffer.from(record.value!).toString())

test('damage to the group that made a topic costs that topic alone, whatever is done with the log then', () => {
  for (const lostTopic of ['a', 'b', 'c']) {
    const disk = journalOf3Topics()
    const kept = ['a', 'b', 'c'].filter((topic) => topic !== lostTopic)
    const before = kept.map((topic) => valuesOf(disk, topic))
    damage(disk, `"name":"${lostTopic}"`)
    const report = repairJournal(disk, DIR)
    assert.deepEqual(
      report.lost,
      [{ topic: undefined, partition: ['a', 'b', 'c'].indexOf(lostTopic) * 2 + 1, from: 0, to: 10 }],
      `topic ${lostTopic}`,
    )
    assert.deepEqual(disk.list(report.copies!), ['0000000001.segment'])
    // Opened, written to, maintained, checkpointed and opened again: none of it may stumble over the number that is
    // nobody's, nor forget what comes after it.
    const journal = new Journal({ disk, dir: DIR, segmentBytes: 1 << 20, now: () => NOW })
    journal.createTopic(lostTopic, { ...TOPIC_DEFAULTS, partitions: 2 })
    append(journal, lostTopic, 100)
    journal.maintainAll()
    append(journal, lostTopic, 101)
    journal.close()
    disk.kill()
    assert.deepEqual(
      kept.map((topic) => valuesOf(disk, topic)),
      before,
    )
    assert.deepEqual(valuesOf(disk, lostTopic), ['value 100.', 'value 101.'])
    const again = new Journal({ disk, dir: DIR, segmentBytes: 1 << 20, now: () => NOW })
    for (const topic of kept) assert.equal(again.range(topic, 1).end, 10)
    assert.equal(again.range(lostTopic, 1).end, 2)
    again.close()
  }
})

test('a whole journal is left as it is', () => {
  const disk = journalOf40(false)
  const before = disk.operationCount
  assert.deepEqual(repairJournal(disk, DIR), { copies: undefined, repaired: [], lost: [] })
  assert.equal(disk.operationCount, before)
})
