import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { DirectWriter, partsAfter } from './direct-writer.ts'
import { DIRECT_BLOCK_BYTES, type Disk, NodeDisk } from './disk.ts'
import { SimulatedDisk } from './disk-simulated.ts'

/** Parts of odd lengths, of so many bytes in all, and all of them in one. */
function content(bytes: number): { parts: Uint8Array[]; whole: Buffer } {
  const whole = Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 24))
  const parts: Uint8Array[] = []
  for (let at = 0; at < bytes; at += 99_991) parts.push(whole.subarray(at, at + 99_991))
  return { parts, whole }
}

function writeNew(disk: Disk, writer: DirectWriter, name: string, parts: readonly Uint8Array[]): number {
  const file = disk.open(name, 'create')
  const written = writer.write(name, parts)
  file.write(partsAfter(parts, written), written)
  file.sync()
  file.close()
  return written
}

function readAll(disk: Disk, name: string): Buffer {
  const file = disk.open(name, 'read')
  const bytes = Buffer.alloc(file.size())
  file.read(bytes, 0)
  file.close()
  return bytes
}

const SIZES = [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_456_789]

test('what is written is read, whatever the sizes', () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-direct-'))
  try {
    const disk = new NodeDisk()
    const writer = new DirectWriter(disk)
    for (const bytes of SIZES) {
      const { parts, whole } = content(bytes)
      const written = writeNew(disk, writer, path.join(folder, String(bytes)), parts)
      assert.equal(written, bytes - (bytes % DIRECT_BLOCK_BYTES))
      assert.deepEqual(readAll(disk, path.join(folder, String(bytes))), whole)
    }
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
})

test('what is written is read, whatever the file system says to direct writes', () => {
  for (const directWrites of ['work', 'no', 'refused'] as const) {
    const disk = new SimulatedDisk()
    disk.directWrites = directWrites
    disk.makeDir('/d')
    const writer = new DirectWriter(disk)
    for (const bytes of SIZES) {
      const { parts, whole } = content(bytes)
      const written = writeNew(disk, writer, `/d/${bytes}`, parts)
      assert.equal(written, bytes - (bytes % DIRECT_BLOCK_BYTES))
      assert.deepEqual(readAll(disk, `/d/${bytes}`), whole)
    }
  }
})

test('a full disk is said as it is', () => {
  const disk = new SimulatedDisk()
  disk.makeDir('/d')
  disk.capacity = 2_000_000
  const { parts } = content(3_000_000)
  assert.throws(() => writeNew(disk, new DirectWriter(disk), '/d/f', parts), { code: 'ENOSPC' })
})
