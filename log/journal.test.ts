// The journal on a simulated disk: what a crash or damage leaves, a full or failing disk, and what the
// background work gives back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { Journal, type JournalOptions, type PendingAppend } from './journal.ts'
import type { TornTail } from './journal-recovery.ts'
import type { AppendRequest } from './log.ts'
import { type TestRecord, TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'
import { RecordReader } from './record-batch.ts'

const DIR = '/data/log'
const NOW = 1_700_000_000_000
const SEGMENT = `${DIR}/0000000001.segment`

function open(disk: SimulatedDisk, more: Partial<JournalOptions> = {}): Journal {
  return new Journal({ disk, dir: DIR, segmentBytes: 16_384, now: () => NOW, ...more })
}

function append(journal: Journal, ...requests: AppendRequest[]): PendingAppend[] {
  const pending = requests.map((request) => ({ request, baseOffsets: undefined, error: undefined }))
  journal.commit(pending)
  return pending
}

function request(topic: string, partition: number, ...records: TestRecord[]): AppendRequest {
  return { entries: [{ topic, partition, batch: textBatch(records, NOW), recordCount: records.length }] }
}

/** Throws what the one request was refused with. */
function write(journal: Journal, topic: string, partition: number, ...records: TestRecord[]): void {
  const [{ error }] = append(journal, request(topic, partition, ...records)) as [PendingAppend]
  if (error !== undefined) throw error
}

function contents(journal: Journal, topic: string, partition = 0): string[] {
  const { start, end } = journal.range(topic, partition)
  const found: string[] = []
  const reader = new RecordReader()
  const text = (from: number, to: number): string => Buffer.from(reader.bytes.slice(from, to)).toString()
  for (let at = start; at < end; ) {
    const places: number[] = []
    at = journal.locate(topic, partition, at, 10_000, places)
    const batches = journal.readPlaces(places)
    if (batches === undefined) return [...found, 'unreadable']
    reader.reset(batches)
    while (reader.next())
      found.push(`${text(reader.keyStart, reader.keyEnd)}=${text(reader.valueStart, reader.valueEnd)}`)
  }
  return found
}

function bytesOf(disk: SimulatedDisk, file: string): Uint8Array {
  const handle = disk.open(file, 'read')
  const bytes = new Uint8Array(handle.size())
  handle.read(bytes, 0)
  handle.close()
  return bytes
}

function overwrite(disk: SimulatedDisk, file: string, position: number, bytes: Uint8Array): void {
  const handle = disk.open(file, 'write')
  handle.write([bytes], position)
  handle.sync()
  handle.close()
}

/** A journal with three groups of data, killed without a checkpoint; and where its last group begins and ends. */
function threeGroups(): { disk: SimulatedDisk; last: number; end: number } {
  const disk = new SimulatedDisk()
  const journal = open(disk)
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 0, ['a', '1'])
  write(journal, 't', 0, ['b', '2'], ['c', '3'])
  const last = contentEnd(bytesOf(disk, SEGMENT))
  append(journal, {
    entries: [...request('t', 0, ['d', '4']).entries, ...request('t', 1, ['e', '5']).entries],
    positions: [{ stage: 's', topic: 't', partition: 0, nextOffset: 3 }],
  })
  const end = contentEnd(bytesOf(disk, SEGMENT))
  disk.kill()
  return { disk, last, end }
}

/** Where the last group ends: its last record ends with a header count of zero. */
const contentEnd = (bytes: Uint8Array): number => bytes.findLastIndex((byte) => byte !== 0) + 2

test('a torn tail at every byte of the last group is cut and reported; appends go on', () => {
  const { disk: whole, last, end } = threeGroups()
  const bytes = bytesOf(whole, SEGMENT)
  for (let cut = last; cut < end - 1; cut++) {
    const { disk } = threeGroups()
    // Salts differ from journal to journal: the whole image is taken from one.
    overwrite(disk, SEGMENT, 0, bytes)
    overwrite(disk, SEGMENT, cut, new Uint8Array(end - cut))
    let tail: TornTail | undefined
    const journal = open(disk, { onTornTail: (found) => (tail = found) })
    assert.deepEqual(contents(journal, 't'), ['a=1', 'b=2', 'c=3'], `cut at ${cut}`)
    assert.deepEqual(journal.range('t', 1), { start: 0, end: 0 })
    assert.equal(journal.position('s', 't', 0), undefined)
    if (cut > last) {
      assert.equal(tail!.position, last)
      assert.equal(tail!.file, SEGMENT)
      assert.ok(tail!.bytes > 0 && tail!.bytes <= cut - last)
    } else assert.equal(tail, undefined)
    disk.kill()
    tail = undefined
    const again = open(disk, { onTornTail: (found) => (tail = found) })
    assert.equal(tail, undefined, 'it is cut once')
    write(again, 't', 0, ['f', '6'])
    disk.kill()
    assert.deepEqual(contents(open(disk), 't'), ['a=1', 'b=2', 'c=3', 'f=6'])
  }
})

test('the torn group names the offsets it would have given', () => {
  const { disk, end } = threeGroups()
  overwrite(disk, SEGMENT, end - 5, new Uint8Array(5))
  let tail: TornTail | undefined
  open(disk, { onTornTail: (found) => (tail = found) })
  assert.deepEqual(tail!.offsets, [
    { topic: 't', partition: 0, baseOffset: 3 },
    { topic: 't', partition: 1, baseOffset: 0 },
  ])
})

test('one flipped bit anywhere: the last group is cut, or the start refused with the place; never wrong data', () => {
  const { disk: whole, last, end } = threeGroups()
  const bytes = bytesOf(whole, SEGMENT)
  const outcomes = { corrupt: 0, cut: 0, whole: 0 }
  for (let at = 0; at < end + 20; at++) {
    const disk = new SimulatedDisk()
    open(disk)
    disk.kill()
    overwrite(disk, SEGMENT, 0, bytes)
    overwrite(disk, SEGMENT, at, Uint8Array.of(bytes[at]! ^ (1 << (at % 8))))
    try {
      const journal = open(disk)
      const found = contents(journal, 't')
      if (found.length === 4) {
        // Behind the last group, or in the unused bytes of the header.
        assert.ok(at >= end || (at >= 40 && at < 64), `unseen flip at ${at}`)
        outcomes.whole++
      } else {
        assert.deepEqual(found, ['a=1', 'b=2', 'c=3'], `flip at ${at}`)
        assert.ok(at >= last)
        outcomes.cut++
      }
    } catch (error) {
      const { code, details } = error as { code: string; details: { file: string; position: number } }
      assert.equal(code, 'log_corrupt', `flip at ${at}: ${error}`)
      assert.ok(at < last, `flip at ${at}`)
      assert.equal(details.file, SEGMENT)
      assert.ok(details.position <= at)
      outcomes.corrupt++
    }
  }
  assert.equal(outcomes.cut, end - last)
  assert.ok(outcomes.corrupt > 300)
})

test('bytes damaged after the checkpoint was written are found by the reader', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk)
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 0, ['a', 'value'])
  journal.close()
  const bytes = bytesOf(disk, SEGMENT)
  const at = Buffer.from(bytes).indexOf('value')
  overwrite(disk, SEGMENT, at, Uint8Array.of(0))
  assert.deepEqual(contents(open(disk), 't'), ['unreadable'])
})

test('a payload that holds a copy of a group is no group', () => {
  const { disk, last, end } = threeGroups()
  const group = Buffer.from(bytesOf(disk, SEGMENT).slice(last, end)).toString('latin1')
  const other = new SimulatedDisk()
  const journal = open(other)
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 0, ['a', '1'])
  const torn = contentEnd(bytesOf(other, SEGMENT))
  const batch = textBatch([['k', 'x'.repeat(group.length)]], NOW)
  batch.set(Buffer.from(group, 'latin1'), batch.length - group.length - 1)
  other.kill()
  overwrite(other, SEGMENT, torn, batch)
  assert.deepEqual(contents(open(other), 't'), ['a=1'])
})

test('a missing segment is damage', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk, { segmentBytes: 2048 })
  journal.createTopic('t', TOPIC_DEFAULTS)
  for (let i = 0; i < 30; i++) write(journal, 't', 0, ['k', 'v'.repeat(200)])
  disk.kill()
  disk.unlink(`${DIR}/0000000002.segment`)
  assert.throws(() => open(disk), { code: 'log_corrupt', message: /0000000002\.segment.*missing/ })
})

test('what a killed process had not removed or not prepared to the end goes with the next start', () => {
  const disk = new SimulatedDisk()
  open(disk).close()
  const names = ['0000000001.segment.freed', 'next0.segment.preparing']
  for (const name of names) disk.open(`${DIR}/${name}`, 'create').close()
  open(disk).close()
  for (const name of names) assert.ok(!disk.exists(`${DIR}/${name}`), name)
})

test('unknown files in the folder are left alone', () => {
  const disk = new SimulatedDisk()
  open(disk).close()
  for (const name of ['notes.txt', '1.segment', 'x.preparing', 'x.freed'])
    disk.open(`${DIR}/${name}`, 'create').close()
  open(disk).close()
  for (const name of ['notes.txt', '1.segment', 'x.preparing', 'x.freed'])
    assert.ok(disk.exists(`${DIR}/${name}`))
})

test('a failed sync stops the log for good, and what was not acknowledged may be there or not', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk)
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 0, ['a', '1'])
  disk.syncFailsAfter = 0
  assert.throws(() => write(journal, 't', 0, ['b', '2']), { code: 'log_stopped' })
  assert.throws(() => write(journal, 't', 0, ['c', '3']), { code: 'log_stopped' })
  assert.throws(() => journal.createTopic('u', TOPIC_DEFAULTS), { code: 'log_stopped' })
  assert.deepEqual(contents(journal, 't'), ['a=1'], 'what was durable can still be read')
  assert.equal(journal.maintain(), false)
  // The process starts again while the page cache still shows the group: now it must become durable.
  disk.kill()
  disk.restart()
  const again = open(disk)
  assert.deepEqual(contents(again, 't'), ['a=1', 'b=2'])
  disk.crash(1)
  disk.restart()
  assert.deepEqual(contents(open(disk), 't'), ['a=1', 'b=2'])
})

test('below the reserve appends are refused, positions are not; with space it goes on', () => {
  const disk = new SimulatedDisk()
  let now = NOW
  const journal = open(disk, { reserveBytes: 10_000, now: () => now })
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 0, ['a', '1'])
  disk.capacity = disk.usedBytes() + 9_000
  now += 1000
  assert.throws(() => write(journal, 't', 0, ['b', '2']), { code: 'log_full' })
  const [position] = append(journal, {
    entries: [],
    positions: [{ stage: 's', topic: 't', partition: 0, nextOffset: 1 }],
  })
  assert.equal(position!.error, undefined)
  disk.capacity += 5_000
  now += 1000
  write(journal, 't', 0, ['c', '3'])
  assert.deepEqual(contents(journal, 't'), ['a=1', 'c=3'])
})

/** A journal that goes on in a segment that nobody had prepared, and that has no zeros therefore. */
function unprepared(disk: SimulatedDisk): Journal {
  const journal = open(disk)
  journal.createTopic('t', TOPIC_DEFAULTS)
  for (let i = 0; i < 3; i++) write(journal, 't', 1, ['x', '.'.repeat(6000)])
  assert.equal(journal.stats().segments, 2)
  return journal
}

test('no space for a write: refused, nothing of it counts, the next group takes its place', () => {
  const disk = new SimulatedDisk()
  const journal = unprepared(disk)
  write(journal, 't', 0, ['a', '1'])
  disk.capacity = disk.usedBytes() + 70
  assert.throws(() => write(journal, 't', 0, ['b', '2'.repeat(5000)]), { code: 'log_full' })
  disk.capacity += 10_000
  write(journal, 't', 0, ['c', '3'])
  disk.crash(3)
  disk.restart()
  assert.deepEqual(contents(open(disk), 't'), ['a=1', 'c=3'])
})

test('a segment for which there is no space takes none, however often it is tried', () => {
  for (const room of [0, 40]) {
    const disk = new SimulatedDisk()
    const journal = unprepared(disk)
    write(journal, 't', 1, ['x', '.'.repeat(6000)])
    disk.capacity = disk.usedBytes() + room
    const used = disk.usedBytes()
    // As many handles as tries would be as many files that nobody can remove.
    for (let i = 0; i < 5; i++) {
      assert.throws(() => write(journal, 't', 1, ['x', '.'.repeat(9000)]), { code: 'log_full' })
      assert.equal(disk.usedBytes(), used)
      assert.ok(!disk.list(DIR).some((name) => name.endsWith('.preparing')))
    }
    disk.capacity += 20_000
    write(journal, 't', 0, ['a', '1'])
    write(journal, 't', 1, ['x', '.'.repeat(9000)])
    assert.deepEqual(contents(journal, 't'), ['a=1'])
  }
})

test('a clock that was wrong for a while and is set back stops nothing', () => {
  const disk = new SimulatedDisk()
  let now = NOW
  const journal = open(disk, { now: () => now, survivorsIdleMs: 100 })
  journal.createTopic('parked', TOPIC_DEFAULTS)
  journal.createTopic('t', { ...TOPIC_DEFAULTS, retentionBytes: 1 })
  const settle = (): void => {
    for (let i = 0; i < 200; i++) journal.maintain()
  }
  now += 365 * 24 * 3_600_000
  write(journal, 'parked', 0, ['p', '1'])
  for (let i = 0; i < 4; i++) write(journal, 't', 0, ['x', '.'.repeat(6000)])
  disk.capacity = disk.usedBytes()
  settle()
  now = NOW
  disk.capacity = Number.POSITIVE_INFINITY
  for (let i = 0; i < 20; i++) {
    now += 1000
    write(journal, 't', 0, ['x', '.'.repeat(6000)])
    settle()
  }
  assert.ok(journal.stats().segments < 5, `${journal.stats().segments} segments`)
  assert.ok(journal.stats().checkpoints > 2)
  assert.deepEqual(contents(journal, 'parked'), ['p=1'])
  journal.close()
})

test('what the disk cannot read is damage to whoever reads it, and nothing to the others', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk, { tailBytes: 16_384, compactionBytesMin: 1000 })
  journal.createTopic('keyed', { ...TOPIC_DEFAULTS, cleanup: 'compact' })
  for (let i = 0; i < 40; i++) write(journal, 'keyed', 0, ['k', '.'.repeat(1500)])
  const { length } = bytesOf(disk, SEGMENT)
  for (let at = 0; at < length; at += 512) disk.spoilSector(SEGMENT, at)
  assert.deepEqual(contents(journal, 'keyed'), ['unreadable'])
  journal.maintainAll()
  assert.equal(journal.stopped, undefined)
  write(journal, 'keyed', 1, ['a', '1'])
  assert.deepEqual(contents(journal, 'keyed', 1), ['a=1'])
})

test('a group that was whole on the disk when the space ended behind it does not come back', () => {
  for (let room = 0; room < 4096; room += 61) {
    const disk = new SimulatedDisk()
    const journal = unprepared(disk)
    write(journal, 't', 0, ['a', '1'])
    disk.capacity = disk.usedBytes() + room
    // It ends in the next block, somewhere in the middle.
    assert.throws(() => write(journal, 't', 0, ['b', '2'.repeat(5000)]), { code: 'log_full' })
    if (room % 2 === 0) disk.kill()
    else disk.crash(room)
    disk.restart()
    disk.capacity = Number.POSITIVE_INFINITY
    assert.deepEqual(contents(open(disk), 't'), ['a=1'])
  }
})

test('nor with the first sector of the next group, when the power fails in that one', () => {
  const [sector, block, magicAndSalt] = [512, 4096, 12]
  let tried = 0
  for (const directWrites of ['work', 'no'] as const)
    for (let bytes = 1340; bytes < 1880; bytes++) {
      for (let round = 0; round < 32; round++) {
        const disk = new SimulatedDisk()
        disk.directWrites = directWrites
        const journal = unprepared(disk)
        write(journal, 't', 0, ['a', '1'.repeat(bytes)])
        const places: number[] = []
        journal.locate('t', 0, 0, 1, places)
        const end = (places[1]! + places[2]!) % block
        // In one of the last sectors of a block, and nothing but what both groups begin with before its end.
        if (end < block - 2 * sector || sector - (end % sector) > magicAndSalt) break
        disk.capacity = disk.usedBytes() + 4096 + round * 128
        const [refused] = append(journal, request('t', 0, ['b', '2'.repeat(5000)]))
        if (refused!.error === undefined) continue
        assert.equal((refused!.error as { code?: string }).code, 'log_full')
        disk.capacity = Number.POSITIVE_INFINITY
        disk.powerFailsAt = disk.operationCount + 2
        assert.throws(() => write(journal, 't', 0, ['c', '3'.repeat(300)]), { code: 'log_stopped' })
        disk.crash(round)
        disk.restart()
        tried++
        const found = contents(open(disk), 't')
        assert.ok(!found.some((text) => text.startsWith('b=')), `${directWrites}, ${end}, round ${round}`)
      }
    }
  assert.ok(tried > 300, `${tried} tried`)
})

test('one group whatever number of appends wait, several when they are large', () => {
  const journal = open(new SimulatedDisk(), { groupBytesMax: 3000 })
  journal.createTopic('t', TOPIC_DEFAULTS)
  const before = journal.stats().groups
  append(journal, ...Array.from({ length: 10 }, (_, i) => request('t', i % 2, ['k', `${i}`])))
  assert.equal(journal.stats().groups, before + 1)
  append(journal, ...Array.from({ length: 10 }, () => request('t', 0, ['k', 'v'.repeat(900)])))
  const groups = journal.stats().groups - before - 1
  assert.ok(groups >= 4 && groups <= 6, `${groups} groups`)
  const [huge] = append(journal, request('t', 0, ['k', 'v'.repeat(20_000)]))
  assert.equal((huge!.error as { code?: string }).code, 'batch_invalid')
})

test('one buffer given for two entries is stored right under both', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk)
  journal.createTopic('t', TOPIC_DEFAULTS)
  write(journal, 't', 1, ['x', '0'])
  const batch = textBatch([['a', '1']], NOW)
  const [done] = append(journal, {
    entries: [0, 1, 0].map((partition) => ({ topic: 't', partition, batch, recordCount: 1 })),
  })
  assert.deepEqual(done!.baseOffsets, [0, 1, 1])
  disk.kill()
  const again = open(disk)
  assert.deepEqual(contents(again, 't', 0), ['a=1', 'a=1'])
  assert.deepEqual(contents(again, 't', 1), ['x=0', 'a=1'])
})

test('segments are freed when nothing in them is needed; few survivors move; a restart agrees', () => {
  const disk = new SimulatedDisk()
  let now = NOW
  const settings = { segmentBytes: 4096, survivorsIdleMs: 1000, now: () => now }
  const journal = open(disk, settings)
  journal.createTopic('t', { ...TOPIC_DEFAULTS, retentionAgeMs: 10_000 })
  journal.createTopic('parked', TOPIC_DEFAULTS)
  journal.createTopic('copy', TOPIC_DEFAULTS)
  write(journal, 'parked', 0, ['p', '1'])
  for (let i = 0; i < 60; i++) write(journal, 't', 0, ['k', `${i}`.padEnd(200)])
  // A reference holds the bytes of a batch that retention takes from its topic.
  append(journal, {
    entries: [
      {
        topic: 'copy',
        partition: 0,
        reference: { topic: 't', partition: 0, baseOffset: 30 },
        recordCount: 1,
      },
    ],
  })
  const full = journal.stats().segments
  assert.ok(full > 4)
  now += 60_000
  journal.maintainAll()
  assert.deepEqual(journal.range('t', 0), { start: 60, end: 60 })
  assert.ok(journal.stats().segments <= 4, `${journal.stats().segments} of ${full} segments`)
  now += 2000
  journal.maintainAll()
  const { segments } = journal.stats()
  assert.ok(segments <= 3, `${segments} segments`)
  const files = disk.list(DIR).filter((name) => name.endsWith('.segment')).length
  assert.ok(files <= segments + 1, `${files} files for ${segments} segments`)
  disk.kill()
  for (const one of [open(disk, settings), open(disk, settings)]) {
    assert.deepEqual(contents(one, 'parked'), ['p=1'])
    assert.deepEqual(contents(one, 'copy'), [`k=${'30'.padEnd(200)}`])
    assert.deepEqual(one.range('t', 0), { start: 60, end: 60 })
  }
})

test('a short segment that is needed as a whole is not moved', () => {
  const disk = new SimulatedDisk()
  let now = NOW
  const settings = { survivorsIdleMs: 1000, now: () => now }
  const before = open(disk, { ...settings, segmentBytes: 4096 })
  before.createTopic('t', TOPIC_DEFAULTS)
  for (let i = 0; i < 60; i++) write(before, 't', 0, ['k', `${i}`.padEnd(200)])
  before.close()
  const journal = open(disk, { ...settings, segmentBytes: 65_536 })
  while (!disk.list(DIR).some((name) => disk.open(`${DIR}/${name}`, 'read').size() > 60_000))
    write(journal, 't', 0, ['k', 'more'.padEnd(200)])
  const { segments, bytes } = journal.stats()
  assert.ok(segments > 4)
  now += 2000
  journal.maintainAll()
  assert.equal(journal.stats().segments, segments)
  assert.equal(journal.stats().bytes, bytes)
})

test('a checkpoint bounds what a start reads again', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk, { segmentBytes: 4096 })
  journal.createTopic('t', TOPIC_DEFAULTS)
  for (let i = 0; i < 300; i++) {
    write(journal, 't', 0, ['k', 'v'.repeat(100)])
    while (journal.maintain());
  }
  disk.kill()
  const again = open(disk, { segmentBytes: 4096 })
  assert.ok(journal.stats().checkpoints > 3)
  assert.ok(again.stats().recoveredBytes < journal.stats().bytes / 3)
  assert.equal(again.range('t', 0).end, 300)
})

test('a segment that was prepared is used by the next process', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk, { segmentBytes: 4096 })
  journal.createTopic('t', TOPIC_DEFAULTS)
  journal.maintainAll()
  journal.close()
  const next = `${DIR}/0000000002.segment`
  const header = bytesOf(disk, next).slice(0, 64)
  const again = open(disk, { segmentBytes: 4096 })
  for (let i = 0; i < 20; i++) write(again, 't', 0, ['k', 'v'.repeat(300)])
  assert.deepEqual(bytesOf(disk, next).slice(0, 64), header)
  disk.kill()
  assert.equal(open(disk).range('t', 0).end, 20)
})

test('topics, their ids and changed settings outlive a restart, with and without a checkpoint', () => {
  const disk = new SimulatedDisk()
  const journal = open(disk)
  const made = journal.createTopic('t', TOPIC_DEFAULTS)
  journal.createTopic('t', { ...TOPIC_DEFAULTS, retentionAgeMs: 5 })
  disk.kill()
  const second = open(disk)
  assert.equal(second.id, journal.id)
  assert.deepEqual(second.describeTopic('t'), {
    ...made,
    config: { ...TOPIC_DEFAULTS, retentionAgeMs: 5 },
  })
  second.close()
  assert.deepEqual(open(disk).describeTopic('t'), second.describeTopic('t'))
})

test('any sequence of appends, restarts and maintenance reads back as it was written', () => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ append: fc.array(fc.nat(3), { minLength: 1, maxLength: 5 }) }) },
    { weight: 1, arbitrary: fc.constant('restart' as const) },
    { weight: 1, arbitrary: fc.constant('close' as const) },
    { weight: 2, arbitrary: fc.constant('maintain' as const) },
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const disk = new SimulatedDisk()
      const settings = { segmentBytes: 2048 }
      let journal = open(disk, settings)
      journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 4 })
      const model: string[][] = [[], [], [], []]
      let n = 0
      for (const one of steps) {
        if (one === 'maintain') journal.maintainAll()
        else if (one === 'restart' || one === 'close') {
          if (one === 'close') journal.close()
          else disk.kill()
          journal = open(disk, settings)
        } else {
          const requests = one.append.map((p) => request('t', p, ['k', `${n++}`.padEnd((n * 37) % 300)]))
          for (const [i, pending] of append(journal, ...requests).entries()) {
            assert.equal(pending.error, undefined)
            const p: number = one.append[i]!
            assert.deepEqual(pending.baseOffsets, [model[p]!.length])
            model[p]!.push(
              `k=${`${n - one.append.length + i}`.padEnd(((n - one.append.length + i + 1) * 37) % 300)}`,
            )
          }
        }
      }
      for (let p = 0; p < 4; p++) assert.deepEqual(contents(journal, 't', p), model[p])
    }),
    { numRuns: 60 },
  )
})
