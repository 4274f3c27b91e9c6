import assert from 'node:assert/strict'
import { test } from 'node:test'
import { makeDirDurable } from './disk.ts'
import { PowerLoss, SimulatedDisk } from './disk-simulated.ts'

const SEEDS = Array.from({ length: 200 }, (_, i) => i)

function read(disk: SimulatedDisk, file: string): Uint8Array {
  const handle = disk.open(file, 'read')
  const bytes = new Uint8Array(handle.size())
  assert.equal(handle.read(bytes, 0), bytes.length)
  return bytes
}

/** A durable file of `size` ones in /d. */
function diskWithFile(size: number): SimulatedDisk {
  const disk = new SimulatedDisk()
  makeDirDurable(disk, '/d')
  const file = disk.open('/d/f', 'create')
  file.write([new Uint8Array(size).fill(1)], 0)
  file.sync()
  file.close()
  disk.syncDir('/d')
  return disk
}

test('what was synced survives every crash', () => {
  for (const seed of SEEDS) {
    const disk = diskWithFile(3000)
    disk.crash(seed)
    disk.restart()
    assert.deepEqual(read(disk, '/d/f'), new Uint8Array(3000).fill(1))
  }
})

test('unsynced writes survive sector by sector: all, none, torn, reordered', () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const disk = diskWithFile(2048)
    const file = disk.open('/d/f', 'write')
    file.write([new Uint8Array(1024).fill(2)], 0)
    file.write([new Uint8Array(1024).fill(3)], 1024)
    assert.equal(read(disk, '/d/f')[1024], 3, 'readable at once')
    disk.crash(seed)
    disk.restart()
    const bytes = read(disk, '/d/f')
    assert.equal(bytes.length, 2048)
    for (let sector = 0; sector < 4; sector++) {
      const values = new Set(bytes.subarray(sector * 512, sector * 512 + 512))
      assert.equal(values.size, 1, 'a sector is whole')
      assert.ok(values.has(1) || values.has(sector < 2 ? 2 : 3))
    }
    seen.add([0, 512, 1024, 1536].map((at) => bytes[at]).join(''))
  }
  for (const outcome of ['1111', '2233', '2111', '1113', '1133', '2211'])
    assert.ok(seen.has(outcome), outcome)
})

test('a sector written twice holds one of its states, never the later write without the earlier', () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const disk = diskWithFile(512)
    const file = disk.open('/d/f', 'write')
    file.write([Uint8Array.of(2)], 0)
    file.write([Uint8Array.of(3)], 1)
    disk.crash(seed)
    disk.restart()
    const bytes = read(disk, '/d/f')
    seen.add(`${bytes[0]}${bytes[1]}`)
  }
  assert.deepEqual([...seen].sort(), ['11', '21', '23'])
})

test('a size that grew unsynced may be lost, or kept with zeros', () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const disk = diskWithFile(512)
    disk.open('/d/f', 'write').write([new Uint8Array(512).fill(2)], 512)
    disk.crash(seed)
    disk.restart()
    const bytes = read(disk, '/d/f')
    seen.add(`${bytes.length}:${bytes[512]}`)
  }
  assert.deepEqual([...seen].sort(), ['1024:0', '1024:2', '512:undefined'])
})

test('names: creates, renames and unlinks without syncDir may be lost; with it they hold', () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const disk = diskWithFile(10)
    disk.open('/d/new', 'create').sync()
    disk.rename('/d/f', '/d/g')
    disk.crash(seed)
    disk.restart()
    seen.add(disk.list('/d').sort().join())
  }
  assert.deepEqual([...seen].sort(), ['f', 'f,new', 'g', 'g,new'])
  const disk = diskWithFile(10)
  disk.rename('/d/f', '/d/g')
  disk.syncDir('/d')
  disk.unlink('/d/g')
  disk.open('/d/h', 'create')
  disk.syncDir('/d')
  disk.crash(1)
  disk.restart()
  assert.deepEqual(disk.list('/d'), ['h'])
})

test('a folder whose own name is not durable takes its files with it', () => {
  const seen = new Set<number>()
  for (const seed of SEEDS) {
    const disk = new SimulatedDisk()
    disk.makeDir('/a/b')
    disk.open('/a/b/f', 'create').sync()
    disk.syncDir('/a/b')
    disk.crash(seed)
    disk.restart()
    seen.add(disk.list('/a/b').length)
    if (!disk.exists('/a')) assert.equal(disk.exists('/a/b/f'), false)
  }
  assert.deepEqual(seen, new Set([0, 1]))
})

test('a failed sync: the data is readable, the next sync succeeds without it, the power takes it', () => {
  const disk = diskWithFile(512)
  const file = disk.open('/d/f', 'write')
  file.write([new Uint8Array(512).fill(2)], 0)
  disk.syncFailsAfter = 0
  assert.throws(() => file.sync(), { code: 'EIO' })
  file.sync()
  assert.equal(read(disk, '/d/f')[0], 2)
  disk.crash(1)
  disk.restart()
  assert.equal(read(disk, '/d/f')[0], 1)
})

test('a full disk stops a write short, and frees what is unlinked', () => {
  const disk = diskWithFile(1000)
  disk.capacity = 1500
  assert.equal(disk.freeBytes('/d'), 500)
  const file = disk.open('/d/g', 'create')
  assert.throws(() => file.write([new Uint8Array(300), new Uint8Array(300)], 0), { code: 'ENOSPC' })
  assert.equal(file.size(), 500)
  assert.equal(disk.freeBytes('/d'), 0)
  file.write([new Uint8Array(500).fill(1)], 0)
  disk.unlink('/d/f')
  assert.equal(disk.freeBytes('/d'), 1000)
})

test('direct writes: whole blocks only, readable at once, torn sector by sector until they are synced', () => {
  const seen = new Set<string>()
  for (const seed of SEEDS) {
    const disk = diskWithFile(8192)
    const file = disk.openDirect('/d/f')!
    const memory = disk.directMemory(8192).fill(2)
    file.write([memory.subarray(0, 4096)], 4096)
    assert.equal(read(disk, '/d/f')[4096], 2, 'readable at once')
    disk.crash(seed)
    disk.restart()
    const bytes = read(disk, '/d/f')
    for (let at = 0; at < 8192; at += 512)
      assert.equal(new Set(bytes.subarray(at, at + 512)).size, 1, 'a sector is whole')
    assert.ok(bytes.subarray(0, 4096).every((byte) => byte === 1))
    seen.add([4096, 4608, 5120, 5632].map((at) => bytes[at]).join(''))
  }
  for (const outcome of ['1111', '2222', '2111', '1222']) assert.ok(seen.has(outcome), outcome)
  const disk = diskWithFile(8192)
  const file = disk.openDirect('/d/f')!
  const memory = disk.directMemory(8192)
  assert.throws(() => file.write([memory.subarray(0, 100)], 0), { code: 'EINVAL' })
  assert.throws(() => file.write([memory.subarray(0, 4096)], 512), { code: 'EINVAL' })
  assert.throws(() => file.write([memory.subarray(512, 4608)], 0), { code: 'EINVAL' })
  file.write([memory.subarray(0, 4096)], 4096)
  file.sync()
  disk.crash(1)
  disk.restart()
  assert.equal(read(disk, '/d/f')[4096], 0)
  disk.directWrites = 'refused'
  assert.throws(() => disk.openDirect('/d/f')!.write([memory.subarray(0, 4096)], 0), { code: 'EINVAL' })
  disk.directWrites = 'no'
  assert.equal(disk.openDirect('/d/f'), undefined)
})

test('the power fails at the chosen operation, and everything after it too', () => {
  const work = (disk: SimulatedDisk): void => {
    disk.makeDir('/d')
    const file = disk.open('/d/f', 'create')
    file.write([Uint8Array.of(1)], 0)
    file.sync()
    disk.rename('/d/f', '/d/g')
    disk.syncDir('/d')
    disk.syncDir('/')
    disk.unlink('/d/g')
  }
  const counting = new SimulatedDisk()
  work(counting)
  assert.equal(counting.operationCount, 8)
  for (let n = 1; n <= counting.operationCount; n++) {
    const disk = new SimulatedDisk()
    disk.powerFailsAt = n
    assert.throws(() => work(disk), PowerLoss, `operation ${n}`)
    assert.throws(() => disk.exists('/d'), PowerLoss)
    disk.crash(n)
    disk.restart()
    assert.equal(disk.exists('/d/g'), n === 8, `after operation ${n}`)
  }
})

test('handles die with the power and with the process; a killed process loses nothing', () => {
  const disk = diskWithFile(10)
  const file = disk.open('/d/f', 'write')
  file.write([Uint8Array.of(9)], 0)
  disk.kill()
  assert.throws(() => file.size(), { code: 'EBADF' })
  assert.equal(read(disk, '/d/f')[0], 9)
})

test('the same seed leaves the same bytes', () => {
  const left = [5, 5].map((seed) => {
    const disk = diskWithFile(8192)
    disk.open('/d/f', 'write').write([new Uint8Array(8192).fill(2)], 0)
    disk.crash(seed)
    disk.restart()
    return Buffer.from(read(disk, '/d/f')).toString('hex')
  })
  assert.equal(left[0], left[1])
})

test('errors are those of the system', () => {
  const disk = diskWithFile(10)
  assert.throws(() => disk.open('/d/none', 'read'), { code: 'ENOENT' })
  assert.throws(() => disk.open('/d/f', 'create'), { code: 'EEXIST' })
  assert.throws(() => disk.open('/none/f', 'create'), { code: 'ENOENT' })
  assert.throws(() => disk.rename('/d/none', '/d/g'), { code: 'ENOENT' })
  assert.throws(() => disk.unlink('/d/none'), { code: 'ENOENT' })
  assert.deepEqual(disk.list('/none'), [])
})

test('a sector that cannot be read reports it until it is written again', () => {
  const disk = diskWithFile(1300)
  disk.spoilSector('/d/f', 600)
  const file = disk.open('/d/f', 'write')
  assert.equal(file.read(new Uint8Array(512), 0), 512)
  assert.throws(() => file.read(new Uint8Array(513), 0), { code: 'EIO' })
  file.write([new Uint8Array(100)], 600)
  assert.throws(() => file.read(new Uint8Array(10), 1020), { code: 'EIO' })
  assert.equal(file.read(new Uint8Array(100), 1024), 100)
  file.write([new Uint8Array(512)], 512)
  assert.equal(file.read(new Uint8Array(1300), 0), 1300)
})
