// Segments prepared with zeros: what the fillers leave, and that groups are written into them page by page.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { type DiskFile, NodeDisk, type OpenMode } from '../std/disk.ts'
import { Journal, type PendingAppend } from './journal.ts'
import { BackgroundFiller, StepFiller, type ZeroFiller } from './journal-fill.ts'
import { TOPIC_DEFAULTS } from './log-conformance.ts'
import { RecordBatchBuilder } from './record-batch.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-fill-'))
after(() => fs.rmSync(folder, { recursive: true }))

const MIB = 1 << 20

async function filled(filler: ZeroFiller, name: string, bytes: number): Promise<Buffer> {
  const file = path.join(folder, name)
  filler.start(file, bytes)
  while (filler.step(bytes) !== 'done') await new Promise((resolve) => setTimeout(resolve, 2))
  return fs.readFileSync(file)
}

for (const [name, make] of [
  ['background', () => new BackgroundFiller()],
  ['steps', () => new StepFiller(new NodeDisk())],
] as const)
  test(`${name}: a new file of zeros, whole blocks of it at least; an empty one where nothing is to be filled`, async () => {
    for (const bytes of [0, 4096, 3 * MIB, 3 * MIB + 1000]) {
      const found = await filled(make(), `${name}-${bytes}`, bytes)
      assert.ok(
        found.length <= bytes && found.length >= bytes - (bytes % 4096),
        `${found.length} of ${bytes}`,
      )
      assert.ok(found.every((byte) => byte === 0))
    }
  })

test('a file that exists is not filled', async () => {
  const file = path.join(folder, 'exists')
  fs.writeFileSync(file, 'somebody’s')
  const filler = new BackgroundFiller()
  const fill = async () => {
    filler.start(file, MIB)
    while (filler.step(0) !== 'done') await new Promise((resolve) => setTimeout(resolve, 2))
  }
  await assert.rejects(fill, { code: 'EEXIST' })
  assert.equal(fs.readFileSync(file, 'utf8'), 'somebody’s')
})

test('a file that cannot be filled to its end gives back the space that it took', () => {
  // A limit that any system has: the third MiB is refused.
  const script = `
    const { BackgroundFiller } = await import(process.argv[1])
    const filler = new BackgroundFiller()
    filler.start(process.argv[2], 4 << 20)
    try {
      while (filler.step(4 << 20) !== 'done') await new Promise((resolve) => setTimeout(resolve, 2))
    } catch (error) {
      process.stdout.write(error.code)
    }`
  const file = path.join(folder, 'limited')
  const filler = path.join(import.meta.dirname, 'journal-fill.ts')
  const run = (blocks: number): string =>
    execFileSync(
      '/bin/sh',
      [
        '-c',
        'ulimit -f "$0"; exec "$@"',
        blocks,
        process.execPath,
        '--input-type=module',
        '-e',
        script,
        filler,
        file,
      ].map(String),
      { encoding: 'utf8' },
    )
  // Blocks of 512 bytes in POSIX, of 1,024 in some shells.
  assert.equal(run(2048), 'EFBIG')
  assert.ok(!fs.existsSync(file))
})

/** Remembers what is written, and how. */
class RecordingDisk extends NodeDisk {
  readonly writes: { position: number; length: number; isDirect: boolean }[] = []
  isDirectRefused = false

  override open(file: string, mode: OpenMode): DiskFile {
    return this.#record(super.open(file, mode), false)
  }

  override openDirect(file: string): DiskFile | undefined {
    const inner = super.openDirect(file)
    return inner && this.#record(inner, true)
  }

  #record(inner: DiskFile, isDirect: boolean): DiskFile {
    const write = inner.write.bind(inner)
    inner.write = (parts, position) => {
      if (isDirect && this.isDirectRefused) throw Object.assign(new Error('refused'), { code: 'EINVAL' })
      write(parts, position)
      const length = parts.reduce((sum, part) => sum + part.length, 0)
      this.writes.push({ position, length, isDirect })
    }
    return inner
  }
}

for (const refused of [false, true])
  test(`groups are written in whole blocks, filled segment or not, ${refused ? 'where direct writes are refused' : 'past the page cache'}`, () => {
    const disk = new RecordingDisk()
    disk.isDirectRefused = refused
    const dir = path.join(folder, `journal-${refused}`)
    const options = { disk, dir, segmentBytes: 64 << 10, tailBytes: 32 << 10 }
    const journal = new Journal(options)
    journal.createTopic('t', TOPIC_DEFAULTS)
    let direct = 0
    for (let i = 0; i < 60; i++) {
      const builder = new RecordBatchBuilder()
      // Now and then more than the tail holds.
      builder.append(1, Buffer.from('k'), Buffer.alloc(i % 20 === 19 ? 40_000 : 3000 + i, i))
      const batch = builder.finish()
      const pending: PendingAppend = {
        request: { entries: [{ topic: 't', partition: 0, batch, recordCount: 1 }] },
        baseOffsets: undefined,
        error: undefined,
      }
      while (journal.maintain());
      disk.writes.length = 0
      journal.commit([pending])
      assert.equal(pending.error, undefined)
      const groups = disk.writes.filter(({ length }) => length !== 64)
      assert.ok(
        groups.length > 0 &&
          groups.every(({ position, length }) => position % 4096 === 0 && length % 4096 === 0),
        JSON.stringify(disk.writes),
      )
      direct += groups.filter(({ isDirect }) => isDirect).length
    }
    // A file system without direct writes is no failure of this test.
    if (refused) assert.equal(direct, 0)
    else if (disk.openDirect(path.join(dir, '0000000001.segment')) !== undefined) assert.ok(direct >= 60)
    assert.ok(journal.stats().segments > 3)
    const places: number[] = []
    journal.locate('t', 0, 0, 1 << 30, places)
    const before = Buffer.from(journal.readPlaces(places)!)
    journal.close()
    const again = new Journal(options)
    assert.deepEqual(again.range('t', 0), { start: 0, end: 60 })
    places.length = 0
    again.locate('t', 0, 0, 1 << 30, places)
    assert.deepEqual(Buffer.from(again.readPlaces(places)!), before)
    again.close()
  })

test('the next segment gets zeros unless the groups of the last one were large', () => {
  const disk = new NodeDisk()
  const filler = new StepFiller(disk)
  const asked: number[] = []
  const zeroFiller: ZeroFiller = {
    start: (file, bytes) => {
      asked.push(bytes)
      filler.start(file, bytes)
    },
    step: () => filler.step(),
    abandon: () => filler.abandon(),
  }
  const segmentBytes = MIB
  const journal = new Journal({ disk, dir: path.join(folder, 'rule'), segmentBytes, zeroFiller })
  journal.createTopic('t', TOPIC_DEFAULTS)
  const fillSegment = (bytes: number): void => {
    const { segments } = journal.stats()
    while (journal.stats().segments === segments) {
      while (journal.maintain());
      const builder = new RecordBatchBuilder()
      builder.append(1, Buffer.from('k'), Buffer.alloc(bytes))
      const request = { entries: [{ topic: 't', partition: 0, batch: builder.finish(), recordCount: 1 }] }
      journal.commit([{ request, baseOffsets: undefined, error: undefined }])
    }
    while (journal.maintain());
  }
  for (const bytes of [40_000, 80_000, 80_000, 40_000]) fillSegment(bytes)
  journal.close()
  // Of the second segment, and of those after one of 40,000, 80,000, 80,000 and 40,000 bytes a group.
  assert.deepEqual(asked, [segmentBytes, segmentBytes, 0, 0, segmentBytes])
})
