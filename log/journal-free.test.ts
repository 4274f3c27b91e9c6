// Freed segments go piece by piece while the thread does other work; a reader that has one open asks again.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { Journal } from './journal.ts'
import { BackgroundRemover } from './journal-free.ts'
import { SegmentReader } from './journal-read.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-free-'))
after(() => fs.rmSync(folder, { recursive: true }))

const PIECE_BYTES = 2 << 20

function fileOf(name: string, bytes: number): string {
  const file = path.join(folder, name)
  fs.writeFileSync(file, '')
  fs.truncateSync(file, bytes)
  return file
}

async function gone(...files: string[]): Promise<void> {
  while (files.some((file) => fs.existsSync(file))) await new Promise((resolve) => setTimeout(resolve, 2))
}

test('a file goes from its end, in pieces, by other threads; the next ones after it', async () => {
  const first = fileOf('first', 5 * PIECE_BYTES + 1)
  const second = fileOf('second', 0)
  const held = fs.openSync(first, 'r')
  const remover = new BackgroundRemover()
  remover.remove(first)
  remover.remove(second)
  assert.equal(fs.statSync(first).size, 5 * PIECE_BYTES + 1)
  await gone(second)
  assert.ok(!fs.existsSync(first), 'the first one')
  // Its space is free although somebody has it open: nothing large is left for the removal of the name.
  assert.equal(fs.fstatSync(held).size, 1)
  fs.closeSync(held)
  remover.remove(fileOf('third', 1))
  await gone(path.join(folder, 'third'))
})

test('a file that somebody else removed is removed', async () => {
  const remover = new BackgroundRemover()
  const none = path.join(folder, 'none')
  const taken = fileOf('taken', 4 * PIECE_BYTES)
  const last = fileOf('last', 1)
  // Throws what the removals before were refused with.
  const goOn = async (): Promise<void> => {
    remover.remove(none)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  remover.remove(taken)
  while (fs.statSync(taken).size === 4 * PIECE_BYTES) await goOn()
  fs.unlinkSync(taken)
  remover.remove(last)
  while (fs.existsSync(last)) await goOn()
})

test('whoever closes waits for nothing: what is left is removed at once', async () => {
  const files = ['a', 'b'].map((name) => fileOf(name, 100 * PIECE_BYTES))
  const remover = new BackgroundRemover()
  for (const file of files) remover.remove(file)
  while (fs.statSync(files[0]!).size === 100 * PIECE_BYTES)
    await new Promise((resolve) => setTimeout(resolve, 1))
  remover.close()
  for (const file of files) assert.ok(!fs.existsSync(file))
})

test('what the disk refused is told at the next removal', async () => {
  const remover = new BackgroundRemover()
  // No file: it cannot be opened for writing.
  const dir = path.join(folder, 'dir')
  fs.mkdirSync(dir)
  remover.remove(dir)
  const told = async (): Promise<void> => {
    for (;;) {
      remover.remove(dir)
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
  }
  await assert.rejects(told, { code: 'EISDIR' })
  assert.throws(() => remover.remove(dir), { code: 'EISDIR' })
})

test('a reader that has a segment open while it is removed is told to ask again, and gets nothing else', () => {
  const disk = new NodeDisk()
  const dir = path.join(folder, 'journal')
  const removed: string[] = []
  // The moment in which some of the file is cut off.
  const fileRemover = {
    remove: (file: string) => {
      fs.truncateSync(file, 1000)
      removed.push(file)
    },
    close: () => {},
  }
  const journal = new Journal({ disk, dir, segmentBytes: 16 << 10, tailBytes: 16 << 10, fileRemover })
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 1, retentionBytes: 4000 })
  for (let i = 0; i < 10; i++) {
    const batch = textBatch([['k', `${i}`.padEnd(4000)]])
    journal.commit([
      {
        request: { entries: [{ topic: 't', partition: 0, batch, recordCount: 1 }] },
        baseOffsets: undefined,
        error: undefined,
      },
    ])
  }
  // The file of the first segment will be kept for the next one.
  let places: number[] = []
  for (let offset = 0; places[0] !== 2; offset++) {
    places = []
    journal.locate('t', 0, offset, 1, places)
  }
  const reader = new SegmentReader(disk, dir)
  const { generation } = journal
  assert.ok(reader.read(places, generation))
  journal.maintainAll()
  assert.ok(removed.length > 0)
  assert.deepEqual(
    removed.map((file) => path.extname(file)),
    removed.map(() => '.freed'),
  )
  assert.equal(reader.read(places, generation), undefined)
  assert.equal(reader.read(places, journal.generation), undefined)
  reader.close()
  journal.close()
})
