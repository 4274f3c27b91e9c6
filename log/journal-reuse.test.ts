// Segments made of freed ones: what a file held before is seen by nobody, neither by a start nor by who still has it open.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { LogDump } from './dump.ts'
import { Journal, type JournalOptions } from './journal.ts'
import { decodeSegmentHeader, SEGMENT_HEADER, segmentName } from './journal-format.ts'
import { SegmentReader } from './journal-read.ts'
import { repairJournal } from './journal-repair.ts'
import { TailReader } from './journal-tail.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-reuse-'))
after(() => fs.rmSync(folder, { recursive: true }))

const SEGMENT_BYTES = 64 << 10
/** Sixteen of them do not fit a segment. */
const VALUE_BYTES = 4000
const RETENTION_BYTES = 80_000
/** Of a group with such a value. */
const GROUP_BYTES = VALUE_BYTES + 128

const open = (name: string, more: Partial<JournalOptions> = {}): Journal =>
  new Journal({
    disk: new NodeDisk(),
    dir: path.join(folder, name),
    segmentBytes: SEGMENT_BYTES,
    tailBytes: 16 << 10,
    ...more,
  })

const make = (name: string, more: Partial<JournalOptions> = {}): Journal => {
  const journal = open(name, more)
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1, retentionBytes: RETENTION_BYTES })
  return journal
}

/** The value says which offset it has. */
function append(journal: Journal, valueBytes = VALUE_BYTES): void {
  const { end } = journal.range('t', 0)
  const batch = textBatch([['k', `${end}`.padEnd(valueBytes)]])
  const entries = [{ topic: 't', partition: 0, batch, recordCount: 1 }]
  const pending = { request: { entries }, baseOffsets: undefined, error: undefined as Error | undefined }
  journal.commit([pending])
  assert.equal(pending.error, undefined)
}

/** With all that is due afterwards. */
function appendAndMaintain(journal: Journal, valueBytes = VALUE_BYTES): void {
  append(journal, valueBytes)
  journal.maintainAll()
}

const placeOf = (journal: Journal, offset: number): number[] => {
  const places: number[] = []
  journal.locate('t', 0, offset, 1, places)
  return places
}

/** The number that the value of a batch begins with. */
const valueIn = (batch: Uint8Array | undefined): number | undefined => {
  if (batch === undefined) return undefined
  return Number(/k(?:..)(\d+) /s.exec(Buffer.from(batch).toString('latin1'))?.[1])
}

function assertWhole(journal: Journal): void {
  const { start, end } = journal.range('t', 0)
  assert.ok(end - start >= 10, `${start} to ${end}`)
  for (let offset = start; offset < end; offset++)
    assert.equal(valueIn(journal.readPlaces(placeOf(journal, offset))), offset)
}

const inodes = (name: string): Set<number> =>
  new Set(
    fs
      .readdirSync(path.join(folder, name))
      .filter((file) => file.includes('.segment'))
      .map((file) => fs.statSync(path.join(folder, name, file)).ino),
  )

test('a log that goes round uses the same files; each start finds what is in it, and nothing of before', () => {
  let journal = make('round')
  while (journal.stats().segmentsReused === 0) appendAndMaintain(journal)
  const files = inodes('round')
  for (let i = 0; i < 100; i++) appendAndMaintain(journal)
  assert.ok(journal.stats().segmentsReused >= 6)
  assert.deepEqual(inodes('round').difference(files), new Set(), 'no new file')
  assertWhole(journal)
  // As a process that is killed leaves it, at every place of a segment.
  for (let i = 0; i < 40; i++) {
    // Some end so close to the end of a block that the next header would reach into another one.
    const before = journal.durablePosition
    const block = Math.ceil((before + GROUP_BYTES) / 4096) * 4096
    appendAndMaintain(journal, VALUE_BYTES + block - before - GROUP_BYTES - (i % 5) * 9)
    if (journal.durablePosition > before) assert.equal(journal.durablePosition, block - (i % 5) * 9)
    const copy = path.join(folder, `killed-${i}`)
    fs.cpSync(path.join(folder, 'round'), copy, { recursive: true })
    const again = open(`killed-${i}`)
    assert.equal(again.stats().tornTail, undefined)
    assert.deepEqual(again.range('t', 0), journal.range('t', 0))
    assertWhole(again)
    appendAndMaintain(again)
    assertWhole(again)
    again.close()
    fs.rmSync(copy, { recursive: true })
  }
  journal.close()
  assert.ok(
    fs.readdirSync(path.join(folder, 'round')).every((name) => !name.endsWith('.freed')),
    'the file that was kept goes with the process',
  )
  journal = open('round')
  assertWhole(journal)
  journal.close()
})

test('who has a file open that is used again is told to ask again, and never gets what is in it now', () => {
  const journal = make('readers')
  const disk = new NodeDisk()
  while (journal.stats().segmentsReused < 2) appendAndMaintain(journal)
  const dir = path.join(folder, 'readers')
  // By the number of the free, as in this process, and by the header, as in another one.
  const readers = [
    new SegmentReader(disk, dir, true, new TailReader(journal.tail)),
    new SegmentReader(disk, dir),
  ]
  for (let round = 0; round < 40; round++) {
    const { start } = journal.range('t', 0)
    const places = placeOf(journal, start)
    const { generation } = journal
    for (const reader of readers) assert.equal(valueIn(reader.read(places, generation)), start)
    const file = fs.openSync(path.join(dir, segmentName(places[0]!)), 'r')
    // Until another batch of the same length lies at the place.
    const bytes = Buffer.alloc(places[2]!)
    const header = Buffer.alloc(SEGMENT_HEADER)
    for (let found: number | undefined = start; found === undefined || found <= start; ) {
      appendAndMaintain(journal)
      fs.readSync(file, bytes, 0, bytes.length, places[1]!)
      found = valueIn(bytes)
      fs.readSync(file, header, 0, header.length, 0)
      const isReused = decodeSegmentHeader(header)!.segment !== places[0]
      for (const reader of readers)
        assert.equal(
          valueIn(reader.read(places, generation)),
          isReused ? undefined : start,
          `${found} lies there`,
        )
    }
    fs.closeSync(file)
  }
  for (const reader of readers) reader.close()
  assertWhole(journal)
  assert.equal(
    [...new LogDump(dir).records('t', 0)].length,
    journal.range('t', 0).end - journal.range('t', 0).start,
  )
  journal.close()
})

test('a file whose segment lost its header is repaired with the salt of its own groups, not of those before', () => {
  const journal = make('salt')
  while (journal.stats().segmentsReused < 4) appendAndMaintain(journal)
  const { segment } = journal
  // Just begun, so that most of the file is of the segment before, and no checkpoint knows of it.
  while (journal.segment === segment) append(journal)
  append(journal)
  const range = journal.range('t', 0)
  const dir = path.join(folder, 'salt')
  const copy = path.join(folder, 'salt-killed')
  fs.cpSync(dir, copy, { recursive: true })
  journal.close()
  const file = path.join(copy, segmentName(segment + 1))
  const bytes = fs.readFileSync(file)
  bytes.fill(0xee, 0, 64)
  fs.writeFileSync(file, bytes)
  assert.throws(() => open('salt-killed'), { code: 'log_corrupt' })
  const { lost } = repairJournal(new NodeDisk(), copy)
  assert.deepEqual(lost, [])
  const again = open('salt-killed')
  assert.deepEqual(again.range('t', 0), range)
  assertWhole(again)
  again.close()
})

test('on a disk that gets full the file that was kept is given back', () => {
  const disk = new NodeDisk()
  let freeBytes = Number.MAX_SAFE_INTEGER
  const small = Object.assign(Object.create(disk) as NodeDisk, { freeBytes: () => freeBytes })
  const dir = path.join(folder, 'full')
  let now = 1e12
  const journal = make('full', { disk: small, reserveBytes: 1000, now: () => (now += 200) })
  const kept = (): string[] => fs.readdirSync(dir).filter((name) => name.endsWith('.freed'))
  while (kept().length === 0) appendAndMaintain(journal)
  // Or somebody else has removed it.
  fs.unlinkSync(path.join(dir, kept()[0]!))
  const { segmentsReused } = journal.stats()
  while (kept().length === 0) appendAndMaintain(journal)
  assert.equal(journal.stats().segmentsReused, segmentsReused)
  freeBytes = 500
  journal.maintain()
  assert.deepEqual(kept(), [])
  freeBytes = Number.MAX_SAFE_INTEGER
  assertWhole(journal)
  journal.close()
})
