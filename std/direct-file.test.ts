import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DirectFile } from './direct-file.ts'
import { DIRECT_BLOCK_BYTES } from './disk.ts'
import { SimulatedDisk } from './disk-simulated.ts'

test('blocks are written whatever the file system says, and are durable after the sync', () => {
  for (const directWrites of ['work', 'no', 'refused'] as const) {
    const disk = new SimulatedDisk()
    disk.directWrites = directWrites
    disk.makeDir('/d')
    disk.open('/d/f', 'create').close()
    disk.syncDir('/d')
    disk.syncDir('/')
    const file = new DirectFile(disk, '/d/f')
    assert.equal(file.isDirect, directWrites !== 'no')
    const memory = disk.directMemory(2 * DIRECT_BLOCK_BYTES).fill(7)
    file.write([memory], 0)
    assert.equal(file.isDirect, directWrites === 'work')
    file.write([memory], memory.length)
    assert.equal(file.size(), 2 * memory.length)
    file.sync()
    file.close()
    const found = new Uint8Array(2 * memory.length)
    const again = disk.open('/d/f', 'read')
    assert.equal(again.read(found, 0), found.length)
    again.close()
    assert.ok(found.every((byte) => byte === 7))
  }
})

test('what ends in the middle of a block goes the other way, and other errors are said as they are', () => {
  const disk = new SimulatedDisk()
  disk.makeDir('/d')
  disk.open('/d/f', 'create').close()
  const file = new DirectFile(disk, '/d/f')
  file.write([new Uint8Array(100).fill(1)], 0)
  assert.ok(!file.isDirect)
  assert.equal(file.size(), 100)
  disk.capacity = DIRECT_BLOCK_BYTES
  assert.throws(() => file.write([new Uint8Array(2 * DIRECT_BLOCK_BYTES)], 0), { code: 'ENOSPC' })
  file.close()
})
