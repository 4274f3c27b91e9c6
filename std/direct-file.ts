// A file written past the page cache (O_DIRECT) as long as its file system takes that. Some say that they do not when the
// file is opened, some only at a write, by EINVAL: from then on it is written as any other. A write that ended in the middle
// of a block, on a disk that is nearly full, is met in the same way, and then says ENOSPC.
import type { Disk, DiskFile } from './disk.ts'

export class DirectFile implements DiskFile {
  readonly path: string
  readonly #disk: Disk
  #isDirect: boolean
  #file: DiskFile

  /** The file must exist. What is written must be as `Disk.openDirect` wants it. */
  constructor(disk: Disk, path: string) {
    this.path = path
    this.#disk = disk
    const direct = disk.openDirect(path)
    this.#isDirect = direct !== undefined
    this.#file = direct ?? disk.open(path, 'write')
  }

  /** Whether only whole blocks may be written. */
  get isDirect(): boolean {
    return this.#isDirect
  }

  size(): number {
    return this.#file.size()
  }

  read(into: Uint8Array, position: number): number {
    return this.#file.read(into, position)
  }

  write(parts: readonly Uint8Array[], position: number): void {
    try {
      this.#file.write(parts, position)
    } catch (error) {
      if (!this.#isDirect || (error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
      const file = this.#disk.open(this.path, 'write')
      this.#file.close()
      this.#file = file
      this.#isDirect = false
      file.write(parts, position)
    }
  }

  sync(): void {
    this.#file.sync()
  }

  truncate(size: number): void {
    this.#file.truncate(size)
  }

  close(): void {
    this.#file.close()
  }
}
