// Pieces against the plain file: whatever is asked for in whatever order, what they give is what the file holds and was durable;
// and that a backlog comes from them alone, while a reader whom they do not serve leaves them.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { type DiskFile, NodeDisk, type OpenMode } from '../std/disk.ts'
import { seededRandom } from '../std/random.ts'
import { AheadReader, PIECE_BYTES } from './journal-ahead.ts'
import { segmentName } from './journal-format.ts'
import { PLACE } from './journal-read.ts'
import { JournalTail, TailReader } from './journal-tail.ts'
import { connectLog } from './log-client.ts'
import { TOPIC_DEFAULTS } from './log-conformance.ts'
import { startLogThread } from './log-service.ts'
import { RecordBatchBuilder, RecordReader } from './record-batch.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-ahead-'))
after(() => fs.rmSync(folder, { recursive: true, force: true }))
const seed = Number(process.env.MILLRACE_SEED ?? Date.now() % 1e9)

/** Counts what is read past the page cache, and by it; can say that there is no such thing. */
class CountingDisk extends NodeDisk {
  readBytes = 0
  cachedBytes = 0
  reads = 0
  answer: 'reads' | 'none' | 'EINVAL' | 'EIO' = 'reads'
  onRead: (() => void) | undefined

  override open(file: string, mode: OpenMode): DiskFile {
    const inner = super.open(file, mode)
    const read = inner.read.bind(inner)
    inner.read = (into, position) => {
      this.cachedBytes += into.length
      return read(into, position)
    }
    return inner
  }

  override openDirect(file: string): DiskFile | undefined {
    const inner = this.answer === 'none' ? undefined : super.openDirect(file)
    if (inner === undefined) return undefined
    const read = (inner as Required<DiskFile>).readLater.bind(inner)
    inner.readLater = async (into, position) => {
      this.reads++
      this.onRead?.()
      if (this.answer !== 'reads') throw Object.assign(new Error(this.answer), { code: this.answer })
      const count = await read(into, position)
      this.readBytes += count
      return count
    }
    return inner
  }
}

/** A tail that holds nothing of the segments below. */
function emptyTail(disk: NodeDisk, dir: string): TailReader {
  const tail = new JournalTail(disk.directMemory(4 * 4096))
  const name = path.join(dir, 'tail')
  fs.writeFileSync(name, Buffer.alloc(4096))
  const file = disk.open(name, 'read')
  tail.open(1000, file, 0)
  file.close()
  return new TailReader(tail.shared)
}

function noise(bytes: number, random: () => number): Buffer {
  const words = new Uint32Array(bytes / 4)
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32
  return Buffer.from(words.buffer)
}

let folders = 0
function segments(...contents: Buffer[]): { disk: CountingDisk; dir: string; ahead: AheadReader } {
  const dir = path.join(folder, `${folders++}`)
  fs.mkdirSync(dir)
  for (const [i, content] of contents.entries()) fs.writeFileSync(path.join(dir, segmentName(i + 1)), content)
  const disk = new CountingDisk()
  return { disk, dir, ahead: new AheadReader(disk, dir, emptyTail(disk, dir)) }
}

/** Whether a file system that tests run on has direct reads at all. */
const hasDirect = await (async () => {
  const { disk, ahead } = segments(Buffer.alloc(1 << 20))
  await ahead.prepare([1, 0, 1 << 20, 0], 2, 0)
  return disk.readBytes > 0
})()

test(`places in any order, of callers beside each other, while the segment grows (seed ${seed})`, async () => {
  const random = seededRandom(seed)
  const contents = [noise(10 * PIECE_BYTES + 4096, random), noise(12 * PIECE_BYTES, random)]
  const { disk, ahead } = segments(...contents)
  let durable = Math.floor(random() * PIECE_BYTES)
  let taken = 0
  const caller = async (): Promise<void> => {
    for (let call = 0; call < 60; call++) {
      durable = Math.min(contents[1]!.length, durable + Math.floor(random() * 700_000))
      const segment = random() < 0.3 ? 1 : 2
      const end = segment === 1 ? contents[0]!.length : durable
      const places: number[] = []
      let at = Math.floor(random() ** 2 * Math.max(0, end - 3_000_000))
      const stride = random() < 0.5 ? 1 : 4
      for (let i = 0; i < 20; i++) {
        const length = Math.min(1 + Math.floor(random() * 100_000), end - at)
        if (length <= 0) break
        places.push(segment, at, length, 0)
        at += length * stride
      }
      await ahead.prepare(places, 2, durable)
      for (let i = 0; i < places.length; i += PLACE) {
        const into = new Uint8Array(places[i + 2]!)
        if (!ahead.take(segment, places[i + 1]!, into)) continue
        taken++
        assert.ok(
          contents[segment - 1]!.subarray(places[i + 1], places[i + 1]! + into.length).equals(into),
          `segment ${segment}, ${places[i + 1]} to ${places[i + 1]! + into.length}`,
        )
      }
    }
  }
  await Promise.all([caller(), caller(), caller()])
  if (hasDirect) assert.ok(taken > 500 && disk.reads > 10, `${taken} taken, ${disk.reads} reads`)
})

test('what was not durable when its piece was read is read again, and not given before', async () => {
  const random = seededRandom(seed)
  const content = noise(PIECE_BYTES, random)
  const { dir, ahead } = segments(Buffer.alloc(PIECE_BYTES))
  const name = path.join(dir, segmentName(1))
  const write = (from: number, to: number) => {
    const file = fs.openSync(name, 'r+')
    fs.writeSync(file, content, from, to - from, from)
    fs.fsyncSync(file)
    fs.closeSync(file)
  }
  const into = new Uint8Array(300_000)
  write(0, 500_001)
  await ahead.prepare([1, 200_001, 300_000, 0], 1, 500_001)
  assert.equal(ahead.take(1, 200_001, into), hasDirect)
  assert.equal(ahead.take(1, 200_002, into), false)
  write(500_001, 900_000)
  await ahead.prepare([1, 600_000, 300_000, 0], 1, 900_000)
  assert.equal(ahead.take(1, 600_000, into), hasDirect)
  if (hasDirect) assert.ok(content.subarray(600_000, 900_000).equals(into))
})

test('a backlog of four partitions is read once, past the page cache, whatever they leave of a piece', async () => {
  const thread = await startLogThread({ dir: path.join(folder, 'backlog') })
  const writer = await connectLog(thread.newPort())
  await writer.createTopic('t', { ...TOPIC_DEFAULTS, partitions: 4 })
  const value = noise(1000, seededRandom(seed))
  let total = 0
  for (let round = 0; round < 300; round++) {
    const entries = [0, 1, 2, 3].map((partition) => {
      const builder = new RecordBatchBuilder(1 << 16)
      for (let i = 0; i < 40; i++) builder.append(round, Buffer.from(`${partition}/${round}/${i}`), value)
      const { recordCount } = builder
      const batch = builder.finish()
      total += batch.length
      return { topic: 't', partition, batch, recordCount }
    })
    await writer.append({ entries })
  }
  const disk = new CountingDisk()
  const log = await connectLog(thread.newPort(), { readsAhead: true, disk })
  const next = [0, 0, 0, 0]
  const records = new RecordReader()
  for (let left = 4; left > 0; ) {
    left = 4
    for (const partition of next.keys()) {
      const read = await log.read('t', partition, next[partition]!, 2 << 20)
      records.reset(read.batches)
      for (let offset = next[partition]!; records.next(); offset++) {
        assert.equal(records.offset, offset)
        const { bytes, keyStart, keyEnd } = records
        const key = `${partition}/${Math.floor(offset / 40)}/${offset % 40}`
        assert.equal(Buffer.from(bytes.subarray(keyStart, keyEnd)).toString(), key)
      }
      next[partition] = read.nextOffset
      if (read.nextOffset === 300 * 40) left--
    }
  }
  assert.deepEqual(next, [12_000, 12_000, 12_000, 12_000])
  if (hasDirect) {
    assert.ok(disk.readBytes < 1.1 * total, `${disk.readBytes} of ${total} bytes past the page cache`)
    assert.ok(disk.cachedBytes < 0.1 * total, `${disk.cachedBytes} of ${total} bytes by the page cache`)
  } else assert.ok(disk.cachedBytes > total / 2)
  await log.close()
  if (hasDirect) {
    const last = await connectLog(thread.newPort(), { readsAhead: true, disk })
    disk.onRead = () => void last.close()
    disk.cachedBytes = 0
    await assert.rejects(last.read('t', 0, 0, 2 << 20), { code: 'log_stopped' })
    assert.equal(disk.cachedBytes, 0, 'who is closed opens no file any more')
  }
  await writer.close()
  await thread.close()
})

test('who takes little of what is read is left to the page cache for a while, longer each time', async (t) => {
  if (!hasDirect) return t.skip('no direct reads here')
  const { disk, dir, ahead } = segments(Buffer.alloc(0))
  // A hole is read as any other file is.
  const pieces = 1024
  fs.truncateSync(path.join(dir, segmentName(1)), pieces * PIECE_BYTES)
  // A batch at the beginning of each piece, two pieces a call: a sequence, but for what lies between.
  const into = new Uint8Array(500_000)
  const pauses: number[] = []
  let paused = 0
  for (let piece = 0; piece < pieces; piece += 2) {
    const starts = [piece, piece + 1].map((one) => one * PIECE_BYTES)
    const before = disk.readBytes
    await ahead.prepare(
      starts.flatMap((start) => [1, start, into.length, 0]),
      2,
      0,
    )
    const taken = starts.filter((start) => ahead.take(1, start, into)).length
    if (taken === 2) {
      if (paused > 0) pauses.push(paused)
      paused = 0
    } else if (disk.readBytes === before) paused += 2 * into.length
  }
  const mib = pauses.map((bytes) => Math.round(bytes / 2 ** 20))
  const about = (value: number | undefined, of: number): boolean => Math.abs(value! / of - 1) < 0.1
  assert.ok(mib.length >= 2 && about(mib[0], 64) && about(mib[1], 128), `pauses of ${mib.join(', ')} MiB`)
})

for (const answer of ['none', 'EINVAL', 'EIO'] as const)
  test(`where the answer is ${answer}, nothing is taken, and the reader goes on`, async () => {
    const { disk, ahead } = segments(Buffer.alloc(8 * PIECE_BYTES))
    disk.answer = answer
    for (let piece = 0; piece < 4; piece++) {
      await ahead.prepare([1, piece * PIECE_BYTES, 300_000, 0], 2, 0)
      assert.equal(ahead.take(1, piece * PIECE_BYTES, new Uint8Array(300_000)), false)
    }
    // What is no fault of the file system's kind is tried again.
    if (hasDirect) assert.equal(disk.reads > 1, answer === 'EIO', `${disk.reads} reads`)
  })
