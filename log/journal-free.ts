// Removing segment files while commits go on: at once, or by libuv's threads, in pieces.
//
// Where the file system tells the disk of every block that it frees (ext4 mounted with `discard`), the removal of a file of
// 128 MiB is 25 ms of work of the disk, and a group that is written meanwhile waits for all of it, whoever asked for the
// removal. Cut off from the end two MiB at a time, it waits for half a millisecond.
//
// A reader that still has the file open finds it too short, and asks for the place again, as where the file is gone
// (journal-read.ts).
import fs from 'node:fs'
import { open, unlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Disk } from '../std/disk.ts'
import { removeIfThere } from './journal-checkpoint.ts'

export interface FileRemover {
  /** Removes a file of which nobody needs anything. Throws what the disk said, now or since the last call. */
  remove(file: string): void
  /** Removes at once what is still there. */
  close(): void
}

const PIECE_BYTES = 2 << 20
/** Between two pieces, where one file waits; half of it where two do. A segment takes 0.3 s, less than to write one. */
const PAUSE_MS = 4

export class DirectRemover implements FileRemover {
  readonly #disk: Disk

  constructor(disk: Disk) {
    this.#disk = disk
  }

  remove(file: string): void {
    removeIfThere(this.#disk, file)
  }

  close(): void {}
}

/** For a real disk only. */
export class BackgroundRemover implements FileRemover {
  /** The first one is being removed. */
  #files: string[] = []
  #error: unknown

  remove(file: string): void {
    if (this.#error !== undefined) throw this.#error
    this.#files.push(file)
    if (this.#files.length === 1) void this.#run()
  }

  close(): void {
    for (const file of this.#files) fs.rmSync(file, { force: true })
    this.#files = []
  }

  async #run(): Promise<void> {
    try {
      for (let file = this.#files[0]; file !== undefined; file = this.#files[0]) {
        await this.#remove(file)
        this.#files.shift()
      }
    } catch (error) {
      if (this.#files.length > 0) this.#error = error
    }
  }

  /** Somebody who wants the space may have been quicker. */
  async #remove(file: string): Promise<void> {
    try {
      await this.#shrink(file)
      await unlink(file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }

  async #shrink(file: string): Promise<void> {
    const handle = await open(file, 'r+')
    try {
      for (let { size } = await handle.stat(); size > PIECE_BYTES && this.#files.length > 0; ) {
        size -= PIECE_BYTES
        await handle.truncate(size)
        await sleep(PAUSE_MS / Math.max(1, this.#files.length))
      }
    } finally {
      await handle.close()
    }
  }
}
