// Reading ahead, on a real journal whose tail is short, so that nearly all lies on the disk only.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { NodeDisk } from '../std/disk.ts'
import { Journal, type PendingAppend } from './journal.ts'
import { SegmentReader } from './journal-read.ts'
import { connectLog } from './log-client.ts'
import { TOPIC_DEFAULTS, textBatch } from './log-conformance.ts'
import { startLogThread } from './log-service.ts'
import { ReadAhead } from './read-ahead.ts'
import { RecordReader } from './record-batch.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-ahead-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))
let folders = 0

const TAIL_BYTES = 16 * 1024
const READ_BYTES = 64 * 1024
/** Batches of 8 KB. */
const batchOf = (text: string): Uint8Array => textBatch([['k', text.padEnd(8000, '.')]])

function textsOf(batches: Uint8Array): string[] {
  const reader = new RecordReader()
  const texts: string[] = []
  reader.reset(batches)
  while (reader.next())
    texts.push(
      `${reader.offset}:${Buffer.from(reader.bytes.slice(reader.valueStart, reader.valueEnd)).toString().replaceAll('.', '')}`,
    )
  return texts
}

/** A journal whose partitions hold 32 batches each, one after the other's, and what reads ahead of it. */
function open(partitions: number) {
  const dir = path.join(folder, `log${folders++}`)
  const disk = new NodeDisk()
  const journal = new Journal({ disk, dir, segmentBytes: 4 << 20, tailBytes: TAIL_BYTES })
  journal.createTopic('t', { ...TOPIC_DEFAULTS, partitions })
  for (let i = 0; i < 32; i++) {
    const pending = Array.from({ length: partitions }, (_, partition): PendingAppend => {
      const entry = { topic: 't', partition, batch: batchOf(`${partition}-${i}`), recordCount: 1 }
      return { request: { entries: [entry] }, baseOffsets: undefined, error: undefined }
    })
    journal.commit(pending)
    for (const { error } of pending) assert.equal(error, undefined)
  }
  const reader = new SegmentReader(disk, dir, true, journal.tail)
  const ahead = new ReadAhead(reader, async (topic, partition, offset, bytesMax) => {
    const places: number[] = []
    const nextOffset = journal.locate(topic, partition, offset, bytesMax, places)
    return { generation: journal.generation, nextOffset, places }
  })
  const begin = async (partition: number, offset: number): Promise<void> => {
    const found = await ahead.following('t', partition, offset, READ_BYTES)
    ahead.begin('t', partition, offset, READ_BYTES, found)
  }
  const close = (): void => {
    reader.close()
    journal.close()
  }
  return { dir, journal, ahead, begin, close }
}

test('what was read ahead is taken piece by piece, and each piece begins the next', async () => {
  const { ahead, begin, close } = open(2)
  await begin(1, 0)
  const texts: string[] = []
  let offset = 0
  for (let piece = await ahead.take('t', 1, 0, READ_BYTES); piece !== undefined; ) {
    texts.push(...textsOf(piece.batches))
    offset = piece.nextOffset
    piece = await ahead.take('t', 1, offset, READ_BYTES)
  }
  // The last batches are in the journal's tail: nothing to read ahead.
  assert.ok(texts.length >= 24, `${texts.length} of 32 batches`)
  assert.deepEqual(
    texts,
    Array.from({ length: offset }, (_, i) => `${i}:1-${i}`),
  )
  close()
})

test('who asks for something else gets nothing of it, and what is damaged is not given', async () => {
  const { dir, ahead, begin, close } = open(1)
  await begin(0, 0)
  assert.equal(await ahead.take('t', 0, 1, READ_BYTES), undefined, 'another offset')
  assert.equal(await ahead.take('t', 0, 0, READ_BYTES), undefined, 'it was dropped')
  await begin(0, 0)
  assert.equal(await ahead.take('t', 0, 0, READ_BYTES / 2), undefined, 'another size')
  const file = fs.openSync(path.join(dir, '0000000001.segment'), 'r+')
  fs.writeSync(file, Buffer.from('damage'), 0, 6, 20_000)
  fs.closeSync(file)
  await begin(0, 0)
  assert.equal(await ahead.take('t', 0, 0, READ_BYTES), undefined, 'damaged')
  close()
})

test('memory is bounded: partitions that find no room are not read ahead', async () => {
  const partitions = 300
  const { ahead, begin, close } = open(partitions)
  for (let partition = 0; partition < partitions; partition++) await begin(partition, 0)
  let found = 0
  for (let partition = 0; partition < partitions; partition++)
    if ((await ahead.take('t', partition, 0, READ_BYTES)) !== undefined) found++
  // 8 MiB in pieces of up to 64 KiB; those that were taken began others in their place.
  assert.ok(found >= 100 && found <= 150, `${found} of ${partitions} partitions`)
  close()
})

test('a client reads a backlog of several partitions in turns while retention frees segments behind it', async () => {
  const dir = path.join(folder, `log${folders++}`)
  const thread = await startLogThread({ dir, segmentBytes: 1 << 20, tailBytes: TAIL_BYTES })
  const log = await connectLog(thread.newPort())
  await log.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 3, retentionBytes: 0 })
  const position = (partition: number, nextOffset: number) =>
    log.append({ entries: [], positions: [{ stage: 's', topic: 't', partition, nextOffset }] })
  for (let partition = 0; partition < 3; partition++) await position(partition, 0)
  const count = 400
  for (let i = 0; i < count; i++)
    await log.append({
      entries: [0, 1, 2].map((partition) => ({
        topic: 't',
        partition,
        batch: batchOf(`${partition}-${i}`),
        recordCount: 1,
      })),
    })
  const offsets = [0, 0, 0]
  while (offsets.some((offset) => offset < count))
    for (let partition = 0; partition < 3; partition++) {
      const { batches, nextOffset } = await log.read('t', partition, offsets[partition]!, READ_BYTES)
      const texts = textsOf(batches)
      for (const [i, text] of texts.entries()) {
        const offset = offsets[partition]! + i
        assert.equal(text, `${offset}:${partition}-${offset}`)
      }
      assert.equal(texts.length, nextOffset - offsets[partition]!)
      offsets[partition] = nextOffset
      await position(partition, nextOffset)
    }
  await log.close()
  await thread.close()
})
