// A disk in memory that loses exactly what a real one may lose, replayable from a seed.
//
//   write       reaches the page cache only: readable at once, gone at a power loss unless `sync` returned
//   sync        makes content and size of one file durable
//   create, rename, unlink, makeDir
//               change a directory: durable after `syncDir` of that directory, else perhaps
//   power loss  (at an operation chosen before, or by `crash`) each 512-byte sector of an unsynced write
//               is kept or lost on its own, later writes may survive earlier ones, a grown size may be lost
//               or kept without its data, unsynced directory changes survive as a prefix or as any subset
//   failed sync reports EIO; the pages count as clean afterwards, so that the next sync succeeds without
//               having written them (as Linux does): readable until the power fails, then gone
//   direct      a write past the page cache is the disk's when it returns, but only in its own volatile cache: until
//               `sync` it may be lost or torn sector by sector as any other. What is no whole block gets EINVAL
//   bad sector  reads that touch it report EIO until it is written again
//   full        writes stop short with ENOSPC
//
// A sector that was written several times holds the state after one of those writes: the page cache keeps
// their order within a page.
//
// A harness runs a workload once to learn `operationCount`, chooses n below it, sets `powerFailsAt`, runs the
// workload again, catches PowerLoss, calls `crash(seed)` and `restart()`, and looks at what is there.
import path from 'node:path'
import { DIRECT_BLOCK_BYTES, type Disk, type DiskFile, type OpenMode } from './disk.ts'
import { seededRandom } from './random.ts'

const SECTOR = 512

/** Thrown by the operation at which the power fails and by each one after it. Not an error of the program. */
export class PowerLoss extends Error {
  constructor() {
    super('the power failed')
    this.name = 'PowerLoss'
  }
}

function errno(code: string, what: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${code}: ${what}`)
  error.code = code
  return error
}

/** An unsynced change of a file: bytes at a position, or (without bytes) a new size. */
interface PendingWrite {
  position: number
  bytes: Uint8Array | undefined
}

class Inode {
  current = new Uint8Array(0)
  size = 0
  durable = new Uint8Array(0)
  durableSize = 0
  pending: PendingWrite[] = []
  /** Names and open handles: at none the space is free again. */
  references = 0
  /** Numbers of the sectors that cannot be read. */
  readonly badSectors = new Set<number>()

  write(bytes: Uint8Array, position: number): void {
    const end = position + bytes.length
    for (const sector of this.badSectors)
      if (sector * SECTOR >= position && Math.min((sector + 1) * SECTOR, this.size) <= end)
        this.badSectors.delete(sector)
    if (end > this.current.length) this.current = grown(this.current, Math.max(end, this.current.length * 2))
    this.current.set(bytes, position)
    if (end > this.size) this.size = end
    this.pending.push({ position, bytes: this.current.slice(position, end) })
  }

  truncate(size: number): void {
    if (size > this.current.length) this.current = grown(this.current, size)
    if (size < this.size) this.current.fill(0, size, this.size)
    this.size = size
    this.pending.push({ position: size, bytes: undefined })
  }

  sync(): void {
    for (const { position, bytes } of this.pending) this.#persist(position, bytes)
    this.pending.length = 0
  }

  #persist(position: number, bytes: Uint8Array | undefined): void {
    if (bytes === undefined) {
      if (position > this.durable.length) this.durable = grown(this.durable, position)
      if (position < this.durableSize) this.durable.fill(0, position, this.durableSize)
      this.durableSize = position
      return
    }
    const end = position + bytes.length
    if (end > this.durable.length) this.durable = grown(this.durable, Math.max(end, this.durable.length * 2))
    this.durable.set(bytes, position)
    if (end > this.durableSize) this.durableSize = end
  }

  /** Makes what the power left the content; each dirty sector keeps the state after some of its writes. */
  crash(random: () => number): void {
    const pending = this.pending
    if (pending.length > 0) {
      // A style for the whole file, so that "all", "nothing" and "one stray sector" all happen often.
      const style = random()
      const keep = style < 0.15 ? 0 : style < 0.3 ? 1 : style < 0.5 ? 0.9 : style < 0.7 ? 0.1 : random()
      const sizes = [this.durableSize]
      let reached = this.durableSize
      const sectors = new Map<number, PendingWrite[]>()
      for (const write of pending) {
        if (write.bytes === undefined) sizes.push((reached = write.position))
        else {
          const end = write.position + write.bytes.length
          if (end > reached) sizes.push((reached = end))
          for (let sector = Math.floor(write.position / SECTOR); sector * SECTOR < end; sector++) {
            const writes = sectors.get(sector)
            if (writes) writes.push(write)
            else sectors.set(sector, [write])
          }
        }
      }
      const size = random() < keep ? this.size : sizes[Math.floor(random() * sizes.length)]!
      for (const [sector, writes] of sectors) {
        const count = random() < keep ? writes.length : Math.floor(random() * writes.length)
        for (let i = 0; i < count; i++) this.#persistSector(sector, writes[i]!)
      }
      if (size > this.durable.length) this.durable = grown(this.durable, size)
      this.durable.fill(0, size)
      this.durableSize = size
      pending.length = 0
    }
    this.current = this.durable.slice()
    this.size = this.durableSize
  }

  #persistSector(sector: number, write: PendingWrite): void {
    const from = Math.max(sector * SECTOR, write.position)
    const to = Math.min((sector + 1) * SECTOR, write.position + write.bytes!.length)
    this.#persist(from, write.bytes!.subarray(from - write.position, to - write.position))
  }
}

const isWholeBlocks = (position: number, length: number): boolean =>
  position % DIRECT_BLOCK_BYTES === 0 && length % DIRECT_BLOCK_BYTES === 0

function grown(bytes: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(length)
  larger.set(bytes)
  return larger
}

/** A change of one directory entry. `from` is the other name of a rename within or between directories. */
interface EntryChange {
  name: string
  inode: Inode | 'dir' | undefined
  from?: string
}

class SimulatedFile implements DiskFile {
  readonly path: string
  readonly #disk: SimulatedDisk
  readonly #inode: Inode
  readonly #boot: number
  readonly #isDirect: boolean
  #open = true

  constructor(disk: SimulatedDisk, file: string, inode: Inode, isDirect = false) {
    this.path = file
    this.#disk = disk
    this.#inode = inode
    this.#isDirect = isDirect
    this.#boot = disk.boot
  }

  size(): number {
    this.#check()
    return this.#inode.size
  }

  read(into: Uint8Array, position: number): number {
    this.#check()
    const count = Math.max(0, Math.min(into.length, this.#inode.size - position))
    for (const sector of this.#inode.badSectors)
      if (sector * SECTOR < position + count && (sector + 1) * SECTOR > position)
        throw errno('EIO', `i/o error, read '${this.path}'`)
    into.set(this.#inode.current.subarray(position, position + count))
    return count
  }

  write(parts: readonly Uint8Array[], position: number): void {
    this.#check()
    let at = position
    if (this.#isDirect) {
      const { directWrites } = this.#disk
      for (const part of parts)
        if (
          directWrites !== 'work' ||
          !isWholeBlocks(position, part.length) ||
          !isWholeBlocks(part.byteOffset, 0)
        )
          throw errno('EINVAL', `invalid argument, write '${this.path}'`)
    }
    const lost = this.#disk.countOperation()
    for (const part of parts) {
      let room = this.#disk.reserve(this.#inode, at, at + part.length)
      if (this.#isDirect && room < part.length) room -= room % DIRECT_BLOCK_BYTES
      this.#inode.write(room >= part.length ? part : part.subarray(0, room), at)
      at += part.length
      if (room < part.length) throw errno('ENOSPC', `no space left on device, write '${this.path}'`)
    }
    if (lost) this.#disk.losePower()
  }

  sync(): void {
    this.#check()
    if (this.#disk.countOperation()) this.#disk.losePower()
    if (this.#disk.takeSyncFailure()) {
      this.#inode.pending.length = 0
      throw errno('EIO', `i/o error, fdatasync '${this.path}'`)
    }
    this.#inode.sync()
  }

  /** Others go on before it is done, as on a real disk. */
  async syncLater(): Promise<void> {
    this.#check()
    await Promise.resolve()
    this.sync()
  }

  truncate(size: number): void {
    this.#check()
    const lost = this.#disk.countOperation()
    this.#inode.truncate(size)
    if (lost) this.#disk.losePower()
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    // Closing is no operation of the disk: it must also work while an error unwinds after a power loss.
    if (this.#boot === this.#disk.boot) this.#inode.references--
  }

  #check(): void {
    this.#disk.checkPower()
    if (!this.#open || this.#boot !== this.#disk.boot) throw errno('EBADF', `closed file '${this.path}'`)
  }
}

export class SimulatedDisk implements Disk {
  /** Operations so far that change the disk; the power can fail at each. */
  operationCount = 0
  /** The power fails at the operation that brings `operationCount` to this. */
  powerFailsAt = Number.POSITIVE_INFINITY
  /** Bytes that all files together may have. */
  capacity = Number.POSITIVE_INFINITY
  /** This many syncs succeed before one fails with EIO. */
  syncFailsAfter = Number.POSITIVE_INFINITY
  /** What the file system says to direct writes: `no` when the file is opened, `refused` at the first write. */
  directWrites: 'work' | 'no' | 'refused' = 'work'
  /** Number of the boot; a handle of an earlier one is dead. */
  boot = 0

  #entries = new Map<string, Inode | 'dir'>([['/', 'dir']])
  #durableEntries = new Map<string, Inode | 'dir'>([['/', 'dir']])
  /** Changes since the last syncDir, by directory. */
  readonly #changes = new Map<string, EntryChange[]>()
  readonly #inodes = new Set<Inode>()
  #off = false

  openDirect(file: string): DiskFile | undefined {
    this.checkPower()
    const inode = this.#entries.get(path.resolve(file))
    if (inode === undefined || inode === 'dir')
      throw errno('ENOENT', `no such file or directory, open '${file}'`)
    if (this.directWrites === 'no') return undefined
    inode.references++
    return new SimulatedFile(this, file, inode, true)
  }

  directMemory(bytes: number): Uint8Array<SharedArrayBuffer> {
    return new Uint8Array(new SharedArrayBuffer(bytes))
  }

  open(file: string, mode: OpenMode): DiskFile {
    this.checkPower()
    const name = path.resolve(file)
    let inode = this.#entries.get(name)
    if (inode === 'dir') throw errno('EISDIR', `illegal operation on a directory, open '${file}'`)
    if (mode === 'create') {
      if (inode !== undefined) throw errno('EEXIST', `file already exists, open '${file}'`)
      this.#requireDir(name)
      this.#operation()
      inode = new Inode()
      this.#inodes.add(inode)
      this.#change(name, inode)
    }
    if (inode === undefined) throw errno('ENOENT', `no such file or directory, open '${file}'`)
    inode.references++
    return new SimulatedFile(this, file, inode)
  }

  exists(file: string): boolean {
    this.checkPower()
    return this.#entries.has(path.resolve(file))
  }

  makeDir(dir: string): void {
    this.checkPower()
    const missing: string[] = []
    for (let at = path.resolve(dir); !this.#entries.has(at); at = path.dirname(at)) missing.unshift(at)
    for (const name of missing) {
      this.#operation()
      this.#change(name, 'dir')
    }
  }

  list(dir: string): string[] {
    this.checkPower()
    const folder = path.resolve(dir)
    const names: string[] = []
    for (const name of this.#entries.keys())
      if (name !== '/' && path.dirname(name) === folder) names.push(path.basename(name))
    return names
  }

  rename(from: string, to: string): void {
    this.checkPower()
    const source = path.resolve(from)
    const target = path.resolve(to)
    const inode = this.#entries.get(source)
    if (inode === undefined || inode === 'dir')
      throw errno('ENOENT', `no such file or directory, rename '${from}' -> '${to}'`)
    this.#requireDir(target)
    this.#operation()
    this.#release(this.#entries.get(target))
    this.#entries.delete(source)
    this.#entries.set(target, inode)
    this.#pend(target, { name: target, inode, from: source })
  }

  unlink(file: string): void {
    this.checkPower()
    const name = path.resolve(file)
    const inode = this.#entries.get(name)
    if (inode === undefined || inode === 'dir')
      throw errno('ENOENT', `no such file or directory, unlink '${file}'`)
    this.#operation()
    this.#entries.delete(name)
    this.#release(inode)
    this.#pend(name, { name, inode: undefined })
  }

  syncDir(dir: string): void {
    this.checkPower()
    const folder = path.resolve(dir)
    if (this.#entries.get(folder) !== 'dir') throw errno('ENOENT', `no such file or directory, open '${dir}'`)
    this.#operation()
    if (this.takeSyncFailure()) throw errno('EIO', `i/o error, fsync '${dir}'`)
    for (const change of this.#changes.get(folder) ?? []) apply(this.#durableEntries, change)
    this.#changes.delete(folder)
  }

  /** As `syncLater` of a file; a process that died meanwhile syncs nothing any more. */
  async syncDirLater(dir: string): Promise<void> {
    const { boot } = this
    this.checkPower()
    await Promise.resolve()
    if (this.boot !== boot) throw new PowerLoss()
    this.syncDir(dir)
  }

  /** The sector of that position cannot be read any more. */
  spoilSector(file: string, position: number): void {
    const inode = this.#entries.get(path.resolve(file))
    if (inode === undefined || inode === 'dir') throw errno('ENOENT', `no such file '${file}'`)
    inode.badSectors.add(Math.floor(position / SECTOR))
  }

  freeBytes(_dir: string): number {
    this.checkPower()
    if (this.capacity === Number.POSITIVE_INFINITY) return this.capacity
    return Math.max(0, this.capacity - this.usedBytes())
  }

  /** Bytes of all files that have a name or are open. */
  usedBytes(): number {
    let bytes = 0
    for (const inode of this.#inodes) if (inode.references > 0) bytes += inode.size
    return bytes
  }

  /** Applies the power loss: what was not synced is torn, kept or gone, as the seed says. The disk stays off. */
  crash(seed: number): void {
    const random = seededRandom(seed)
    this.#off = true
    this.boot++
    for (const changes of this.#changes.values()) {
      const prefix = random() < 0.5 ? Math.floor(random() * (changes.length + 1)) : -1
      changes.forEach((change, i) => {
        if (prefix < 0 ? random() < 0.5 : i < prefix) apply(this.#durableEntries, change)
      })
    }
    this.#changes.clear()
    this.#dropOrphans()
    this.#entries = new Map(this.#durableEntries)
    this.#recount()
    for (const inode of this.#inodes) inode.crash(random)
  }

  /** Ends the process but not the machine (kill -9): handles are dead, the page cache lives. */
  kill(): void {
    this.boot++
    this.#recount()
  }

  /** Power on again, without planned faults. */
  restart(): void {
    this.#off = false
    this.powerFailsAt = Number.POSITIVE_INFINITY
    this.syncFailsAfter = Number.POSITIVE_INFINITY
  }

  /** @internal Counts an operation; true when the power fails at it. */
  countOperation(): boolean {
    return ++this.operationCount >= this.powerFailsAt
  }

  /** @internal */
  losePower(): never {
    this.#off = true
    throw new PowerLoss()
  }

  /** @internal */
  checkPower(): void {
    if (this.#off) throw new PowerLoss()
  }

  /** @internal */
  takeSyncFailure(): boolean {
    if (this.syncFailsAfter-- > 0) return false
    this.syncFailsAfter = Number.POSITIVE_INFINITY
    return true
  }

  /** @internal Bytes of [at, end) that the file may have now. */
  reserve(inode: Inode, at: number, end: number): number {
    if (end <= inode.size || this.capacity === Number.POSITIVE_INFINITY) return Number.POSITIVE_INFINITY
    const free = this.capacity - this.usedBytes()
    return end - inode.size <= free ? Number.POSITIVE_INFINITY : Math.max(0, inode.size + free - at)
  }

  #operation(): void {
    if (this.countOperation()) this.losePower()
  }

  #requireDir(name: string): void {
    if (this.#entries.get(path.dirname(name)) !== 'dir')
      throw errno('ENOENT', `no such file or directory '${path.dirname(name)}'`)
  }

  #change(name: string, inode: Inode | 'dir'): void {
    this.#entries.set(name, inode)
    if (inode !== 'dir') inode.references++
    this.#pend(name, { name, inode })
  }

  #pend(name: string, change: EntryChange): void {
    const dir = path.dirname(name)
    const changes = this.#changes.get(dir)
    if (changes) changes.push(change)
    else this.#changes.set(dir, [change])
  }

  #release(inode: Inode | 'dir' | undefined): void {
    if (inode !== undefined && inode !== 'dir') inode.references--
  }

  /** A file whose directory did not survive is gone with it. */
  #dropOrphans(): void {
    for (let dropped = true; dropped; ) {
      dropped = false
      for (const name of this.#durableEntries.keys()) {
        if (name !== '/' && this.#durableEntries.get(path.dirname(name)) !== 'dir') {
          this.#durableEntries.delete(name)
          dropped = true
        }
      }
    }
  }

  /** After the handles died only names hold inodes. */
  #recount(): void {
    const named = new Set<Inode>()
    for (const entries of [this.#entries, this.#durableEntries])
      for (const inode of entries.values()) if (inode !== 'dir') named.add(inode)
    for (const changes of this.#changes.values())
      for (const { inode } of changes) if (inode !== undefined && inode !== 'dir') named.add(inode)
    for (const inode of this.#inodes) {
      if (!named.has(inode)) this.#inodes.delete(inode)
      inode.references = 0
    }
    for (const inode of this.#entries.values()) if (inode !== 'dir') inode.references++
  }
}

function apply(entries: Map<string, Inode | 'dir'>, change: EntryChange): void {
  // The old name goes only while it still is this file: another one may have been made there since.
  if (change.from !== undefined && entries.get(change.from) === change.inode) entries.delete(change.from)
  if (change.inode === undefined) entries.delete(change.name)
  else entries.set(change.name, change.inode)
}
