// Segments prepared with zeros: what the fillers leave, and that groups are written into them page by page.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { type DiskFile, NodeDisk, type OpenMode } from '../std/disk.ts'
import { Journal, type PendingAppend } from './journal.ts'
import { BackgroundFiller, StepFiller, type ZeroFiller } from './journal-fill.ts'
import { RecordBatchBuilder } from './record-batch.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-fill-'))
after(() => fs.rmSync(folder, { recursive: true }))

const MIB = 1 << 20

async function filled(filler: ZeroFiller, name: string, bytes: number): Promise<Buffer> {
  const file = path.join(folder, name)
  filler.start(file, bytes)
  while (filler.step() !== 'done') await new Promise((resolve) => setTimeout(resolve, 2))
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
  filler.start(file, MIB)
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.throws(() => filler.step(), { code: 'EEXIST' })
  assert.equal(fs.readFileSync(file, 'utf8'), 'somebody’s')
})

/** Remembers where each write ends. */
class RecordingDisk extends NodeDisk {
  readonly ends: number[] = []

  override open(file: string, mode: OpenMode): DiskFile {
    const inner = super.open(file, mode)
    const write = inner.write.bind(inner)
    inner.write = (parts, position) => {
      write(parts, position)
      this.ends.push(parts.reduce((sum, part) => sum + part.length, position))
    }
    return inner
  }
}

test('a page that no cache holds is written whole: groups end at a page’s end in a filled segment, and only there', () => {
  const disk = new RecordingDisk()
  const dir = path.join(folder, 'journal')
  const journal = new Journal({ disk, dir, segmentBytes: 64 << 10 })
  const infinite = Number.POSITIVE_INFINITY
  const config = {
    partitions: 1,
    retentionAgeMs: infinite,
    retentionBytes: infinite,
    backlogBytesMax: infinite,
  }
  journal.createTopic('t', { ...config, cleanup: 'delete' })
  const ends: { segment: number; end: number }[] = []
  for (let i = 0; i < 60; i++) {
    const builder = new RecordBatchBuilder()
    builder.append(1, Buffer.from('k'), Buffer.alloc(3000 + i, 7))
    const batch = builder.finish()
    const pending: PendingAppend = {
      request: { entries: [{ topic: 't', partition: 0, batch, recordCount: 1 }] },
      baseOffsets: undefined,
      error: undefined,
    }
    disk.ends.length = 0
    journal.commit([pending])
    assert.equal(pending.error, undefined)
    ends.push({ segment: journal.stats().segments, end: disk.ends.at(-1)! })
    while (journal.maintain());
  }
  assert.ok(
    ends.every(({ segment, end }) => segment === 1 || end % 4096 === 0),
    JSON.stringify(ends),
  )
  // The first segment is made in a hurry, and not filled.
  assert.ok(ends.some(({ segment, end }) => segment === 1 && end % 4096 !== 0))
  assert.ok(ends.at(-1)!.segment > 2)
  journal.close()
  const again = new Journal({ disk, dir, segmentBytes: 64 << 10 })
  assert.deepEqual(again.range('t', 0), { start: 0, end: 60 })
  again.close()
})
