// Every file that the log and the sink touch is touched through this interface, so that a simulated
// disk (disk-simulated.ts) can lose, tear and refuse exactly what a real one may.
//
// It is synchronous on purpose: its callers are threads of their own whose whole work is the disk, and a
// synchronous write + fdatasync costs half the CPU of libuv's (docs/decisions). What is durable:
//   - file content after `sync()` of the file returned;
//   - a name (create, rename, unlink) after `syncDir()` of its directory returned;
//   - nothing else.
import fs from 'node:fs'
import path from 'node:path'
import { alignedMemory } from './aligned-memory.ts'

export type OpenMode = 'read' | 'write' | 'create'

/** What position, length and memory of a write past the page cache are multiples of, on any disk of today. */
export const DIRECT_BLOCK_BYTES = 4096

export interface DiskFile {
  readonly path: string
  size(): number
  /** Reads up to `into.length` bytes at `position`; returns the count, short only at the end of the file. */
  read(into: Uint8Array, position: number): number
  /** The same beside the thread's other work, in one go: short where the system says so. */
  readLater?(into: Uint8Array, position: number): Promise<number>
  /** Writes all parts, one after the other, from `position`. Parts may view shared memory. */
  write(parts: readonly Uint8Array[], position: number): void
  /** fdatasync: content and size are durable when it returns. Never retried after a failure. */
  sync(): void
  /** The same beside the thread's other work, where the disk can: many files at a time share what the sync costs. */
  syncLater?(): Promise<void>
  truncate(size: number): void
  close(): void
}

export interface Disk {
  /** `read`: must exist. `write`: must exist, read and write. `create`: must not exist. Throws the errno error. */
  open(file: string, mode: OpenMode): DiskFile
  /**
   * The file, which must exist, to be written past the page cache (O_DIRECT): whole blocks of DIRECT_BLOCK_BYTES out
   * of `directMemory`, one part a write or more. They are durable after `sync`, as other writes are. Undefined where
   * the file system has no such thing; some only say so at the first write, by EINVAL.
   */
  openDirect(file: string): DiskFile | undefined
  /** Shared memory that direct writes may come from. */
  directMemory(bytes: number): Uint8Array<SharedArrayBuffer>
  exists(file: string): boolean
  /** Makes the folder and its parents; durable after `syncDir` of each parent that gained an entry. */
  makeDir(dir: string): void
  /** Names in the folder, unsorted; empty when the folder does not exist. */
  list(dir: string): string[]
  rename(from: string, to: string): void
  unlink(file: string): void
  syncDir(dir: string): void
  /** As `syncLater` of a file. */
  syncDirLater?(dir: string): Promise<void>
  /** Bytes that may still be written to the file system that holds `dir`. */
  freeBytes(dir: string): number
}

/** Linux's IOV_MAX: more parts than this need several calls. */
const PARTS_PER_WRITE_MAX = 1024

class NodeFile implements DiskFile {
  readonly path: string
  readonly #fd: number

  constructor(file: string, fd: number) {
    this.path = file
    this.#fd = fd
  }

  size(): number {
    return fs.fstatSync(this.#fd).size
  }

  read(into: Uint8Array, position: number): number {
    let done = 0
    while (done < into.length) {
      const count = fs.readSync(this.#fd, into, done, into.length - done, position + done)
      if (count === 0) break
      done += count
    }
    return done
  }

  readLater(into: Uint8Array, position: number): Promise<number> {
    return new Promise((resolve, reject) =>
      fs.read(this.#fd, into, 0, into.length, position, (error, count) =>
        error ? reject(error) : resolve(count),
      ),
    )
  }

  write(parts: readonly Uint8Array[], position: number): void {
    let at = position
    for (let first = 0; first < parts.length; first += PARTS_PER_WRITE_MAX) {
      const some =
        parts.length <= PARTS_PER_WRITE_MAX ? parts : parts.slice(first, first + PARTS_PER_WRITE_MAX)
      at += this.#writeAll(some, at)
    }
  }

  #writeAll(parts: readonly Uint8Array[], position: number): number {
    let total = 0
    for (const part of parts) total += part.length
    let done =
      parts.length === 1
        ? fs.writeSync(this.#fd, parts[0]!, 0, parts[0]!.length, position)
        : fs.writevSync(this.#fd, parts, position)
    // A short write is legal; what is left goes part by part.
    if (done < total) {
      let skipped = 0
      for (const part of parts) {
        const from = Math.max(0, done - skipped)
        skipped += part.length
        let offset = from
        while (offset < part.length) {
          const count = fs.writeSync(this.#fd, part, offset, part.length - offset, position + done)
          offset += count
          done += count
        }
      }
    }
    return total
  }

  sync(): void {
    fs.fdatasyncSync(this.#fd)
  }

  syncLater(): Promise<void> {
    return new Promise((resolve, reject) =>
      fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve())),
    )
  }

  truncate(size: number): void {
    fs.ftruncateSync(this.#fd, size)
  }

  close(): void {
    fs.closeSync(this.#fd)
  }
}

export class NodeDisk implements Disk {
  open(file: string, mode: OpenMode): DiskFile {
    return new NodeFile(file, fs.openSync(file, mode === 'read' ? 'r' : mode === 'write' ? 'r+' : 'wx+'))
  }

  openDirect(file: string): DiskFile | undefined {
    const { O_DIRECT, O_RDWR } = fs.constants
    if (O_DIRECT === undefined) return undefined
    try {
      return new NodeFile(file, fs.openSync(file, O_RDWR | O_DIRECT))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
      return undefined
    }
  }

  directMemory(bytes: number): Uint8Array<SharedArrayBuffer> {
    return alignedMemory(bytes)
  }

  exists(file: string): boolean {
    return fs.existsSync(file)
  }

  makeDir(dir: string): void {
    // One by one: `recursive` never returns where a file system answers ENOENT to the last of them (/proc, autofs).
    const missing: string[] = []
    for (let at = path.resolve(dir); !fs.existsSync(at); at = path.dirname(at)) missing.push(at)
    for (const one of missing.reverse()) {
      try {
        fs.mkdirSync(one)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST' || !fs.statSync(one).isDirectory()) throw error
      }
    }
  }

  list(dir: string): string[] {
    try {
      return fs.readdirSync(dir)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
      throw error
    }
  }

  rename(from: string, to: string): void {
    fs.renameSync(from, to)
  }

  unlink(file: string): void {
    fs.unlinkSync(file)
  }

  async syncDirLater(dir: string): Promise<void> {
    const fd = fs.openSync(dir, 'r')
    try {
      await new Promise<void>((resolve, reject) =>
        fs.fsync(fd, (error) => (error ? reject(error) : resolve())),
      )
    } finally {
      fs.closeSync(fd)
    }
  }

  syncDir(dir: string): void {
    const fd = fs.openSync(dir, 'r')
    try {
      fs.fsyncSync(fd)
    } finally {
      fs.closeSync(fd)
    }
  }

  freeBytes(dir: string): number {
    const stats = fs.statfsSync(dir)
    return stats.bavail * stats.bsize
  }
}

/** Makes `dir` with its parents and syncs each parent that gained an entry. */
export function makeDirDurable(disk: Disk, dir: string): void {
  const created: string[] = []
  for (let at = path.resolve(dir); !disk.exists(at); at = path.dirname(at)) created.push(at)
  if (created.length === 0) return
  disk.makeDir(dir)
  for (const one of created) disk.syncDir(path.dirname(one))
}
