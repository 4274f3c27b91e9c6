// The tail against a plain copy of the file: whatever is written, wherever it wraps, the file holds it, and a reader
// gets either exactly that or nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Worker } from 'node:worker_threads'
import { makeDirDurable } from '../std/disk.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { seededRandom } from '../std/random.ts'
import { JournalTail, TailReader } from './journal-tail.ts'

const BLOCK = 4096

function diskWith(...files: string[]): SimulatedDisk {
  const disk = new SimulatedDisk()
  makeDirDurable(disk, '/d')
  for (const file of files) disk.open(file, 'create').close()
  return disk
}

test('groups of any size over many turns of the ring: file and readers have the same bytes', () => {
  let found = 0
  let missed = 0
  for (let seed = 1; seed <= 15; seed++) {
    const random = seededRandom(seed)
    const blocks = 4 << Math.floor(random() * 3)
    const disk = diskWith('/d/1', '/d/2', '/d/3')
    const tail = new JournalTail(disk.directMemory(blocks * BLOCK))
    const reader = new TailReader(structuredClone(tail.shared))
    for (let segment = 1; segment <= 3; segment++) {
      const name = `/d/${segment}`
      const plain = disk.open(name, 'write')
      const head = Buffer.alloc(Math.floor(random() * 2 * BLOCK), 0xee)
      plain.write([head], 0)
      const content: Buffer[] = [head]
      let position = head.length
      tail.open(segment, plain, position)
      const file = disk.openDirect(name)!
      const groups: { segment: number; position: number; bytes: Buffer }[] = []
      for (let i = 0; i < 40; i++) {
        const largest = random() < 0.1 ? 2 * blocks * BLOCK : 3000
        const parts = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
          Buffer.alloc(1 + Math.floor(random() * largest), 1 + Math.floor(random() * 250)),
        )
        if (random() < 0.1) {
          // What failed counts for nothing: the next group goes to the same place.
          disk.capacity = disk.usedBytes() + Math.floor(random() * 3) * BLOCK
          try {
            tail.write(file, [Buffer.alloc(parts[0]!.length * 3, 0xff), ...parts], position, 0)
          } catch (error) {
            assert.equal((error as { code?: string }).code, 'ENOSPC')
          }
          disk.capacity = Number.POSITIVE_INFINITY
          tail.reload(plain, position)
        }
        tail.write(file, parts, position, 0)
        const bytes = Buffer.concat(parts)
        content.push(bytes)
        groups.push({ segment, position, bytes })
        position += bytes.length
        for (const one of groups) {
          const into = new Uint8Array(one.bytes.length)
          if (!reader.read(one.segment, one.position, into)) missed++
          else {
            found++
            assert.deepEqual(Buffer.from(into), one.bytes, `seed ${seed}`)
          }
        }
        assert.equal(reader.read(segment + 1, position, new Uint8Array(1)), false, 'another segment')
      }
      const expected = Buffer.concat(content)
      const written = Buffer.alloc(expected.length)
      plain.read(written, 0)
      assert.deepEqual(written, expected, `seed ${seed}: the file`)
      const rest = Buffer.alloc(BLOCK)
      plain.read(rest, position)
      const end = BLOCK - (position % BLOCK)
      assert.ok(
        rest.subarray(0, end % BLOCK).every((byte) => byte === 0),
        'zeros up to the end of the block',
      )
    }
  }
  assert.ok(found > 1000 && missed > 1000, `${found} found, ${missed} missed`)
})

test('nothing is found in what lies before the place at which the journal was opened', () => {
  const disk = diskWith('/d/1')
  const plain = disk.open('/d/1', 'write')
  plain.write([Buffer.alloc(10 * BLOCK, 7)], 0)
  const tail = new JournalTail(disk.directMemory(8 * BLOCK))
  tail.open(1, plain, 9 * BLOCK + 100)
  const reader = new TailReader(tail.shared)
  for (let block = 0; block < 9; block++)
    assert.equal(reader.read(1, block * BLOCK, new Uint8Array(BLOCK)), false)
  const into = new Uint8Array(100)
  assert.ok(reader.read(1, 9 * BLOCK, into) && into.every((byte) => byte === 7))
})

test('a reader in another thread is never given what was overwritten while it copied', async () => {
  const disk = diskWith('/d/1')
  const tail = new JournalTail(disk.directMemory(8 * BLOCK))
  const file = disk.open('/d/1', 'write')
  tail.open(1, file, 0)
  const published = new Int32Array(new SharedArrayBuffer(8))
  const worker = new Worker(new URL('./journal-tail-reader.ts', import.meta.url), {
    workerData: { shared: tail.shared, published, groupBytes: BLOCK },
  })
  const done = new Promise<{ found: number; missed: number; wrong: number }>((resolve, reject) => {
    worker.on('message', resolve)
    worker.on('error', reject)
  })
  const nothing = { write: () => {} } as unknown as typeof file
  const group = new Uint8Array(BLOCK)
  const view = new Int32Array(group.buffer)
  while (Atomics.load(published, 1) === 0) await new Promise((resolve) => setImmediate(resolve))
  const started = performance.now()
  for (let n = 0; performance.now() - started < 300; n++) {
    view.fill(n)
    tail.write(nothing, [group], n * BLOCK, 0)
    Atomics.store(published, 0, n + 1)
  }
  Atomics.store(published, 1, 2)
  const { found, missed, wrong } = await done
  await worker.terminate()
  assert.equal(wrong, 0)
  assert.ok(found + missed > 1000, `${found} found, ${missed} missed`)
})
