// Filling a new segment file with zeros, durably, while commits go on: in steps of the journal's own thread, or by
// libuv's threads. A step of the first kind is a write and a sync of 256 KiB, about a millisecond in which no
// group is committed; the second costs the log thread nothing but shares the disk.
//
// Zeros have no reason to be in the page cache: where the file system knows O_DIRECT they go to the disk past it,
// which saves the copy of every byte (a tenth of the whole processor time under load) and the cache for what is read.
import { constants } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { alignedMemory, DIRECT_BLOCK_BYTES, type Disk, type DiskFile } from '../std/disk.ts'

/** Fills one file at a time. */
export interface ZeroFiller {
  /** Begins with a file that does not exist; with 0 bytes there is nothing to fill. */
  start(file: string, bytes: number): void
  /** `more`: call again soon; `waiting`: others work on it; `done`: the file is full and synced. Throws what the disk throws. */
  step(): 'more' | 'waiting' | 'done'
  /** Drops what was begun, as far as possible: a file that stays behind is removed by the next start. */
  abandon(): void
}

const STEP_BYTES = 256 * 1024
const BACKGROUND_STEP_BYTES = 1 << 20
/** Bytes between two syncs, so that the last one is short. */
const BACKGROUND_SYNC_BYTES = 8 << 20

export class StepFiller implements ZeroFiller {
  readonly #disk: Disk
  #file: DiskFile | undefined
  #bytes = 0
  #done = 0
  #zeros = new Uint8Array(0)

  constructor(disk: Disk) {
    this.#disk = disk
  }

  start(file: string, bytes: number): void {
    this.#file = this.#disk.open(file, 'create')
    this.#bytes = bytes
    this.#done = 0
    this.#zeros = new Uint8Array(Math.min(STEP_BYTES, Math.max(4096, bytes >>> 2)))
  }

  step(): 'more' | 'done' {
    const count = Math.min(this.#zeros.length, this.#bytes - this.#done)
    this.#file!.write([this.#zeros.subarray(0, count)], this.#done)
    this.#file!.sync()
    this.#done += count
    if (this.#done < this.#bytes) return 'more'
    this.#file!.close()
    this.#file = undefined
    return 'done'
  }

  abandon(): void {
    const file = this.#file
    this.#file = undefined
    if (file === undefined) return
    const { path } = file
    file.close()
    if (this.#disk.exists(path)) this.#disk.unlink(path)
  }
}

/** For a real disk only. */
export class BackgroundFiller implements ZeroFiller {
  #run: { state: 'working' | 'done' | 'abandoned'; error: unknown } | undefined

  start(file: string, bytes: number): void {
    const run: { state: 'working' | 'done' | 'abandoned'; error: unknown } = {
      state: 'working',
      error: undefined,
    }
    this.#run = run
    fill(file, bytes, () => run.state === 'abandoned')
      .then(async () => {
        if (run.state === 'abandoned') await unlink(file)
        else run.state = 'done'
      })
      .catch((error: unknown) => {
        run.error = error
      })
  }

  step(): 'waiting' | 'done' {
    const run = this.#run!
    if (run.error !== undefined) throw run.error
    return run.state === 'done' ? 'done' : 'waiting'
  }

  abandon(): void {
    if (this.#run !== undefined) this.#run.state = 'abandoned'
  }
}

/** Of all fills: nobody writes to it. Made when it is needed first. */
let zeros: Uint8Array | undefined

async function fill(file: string, bytes: number, isAbandoned: () => boolean): Promise<void> {
  let handle = await openDirect(file, bytes)
  const isDirect = handle !== undefined
  handle ??= await open(file, 'wx')
  try {
    // What is left of a size that is no multiple is not filled: groups may use it all the same.
    const end = isDirect ? bytes - (bytes % DIRECT_BLOCK_BYTES) : bytes
    zeros ??= alignedMemory(BACKGROUND_STEP_BYTES)
    for (let done = 0; done < end && !isAbandoned(); ) {
      const { bytesWritten } = await handle.write(zeros, 0, Math.min(zeros.length, end - done), done)
      done += bytesWritten
      if (done % BACKGROUND_SYNC_BYTES === 0) await handle.datasync()
    }
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

/** A new file that is written past the page cache; undefined where there is nothing to write or no such thing. */
async function openDirect(file: string, bytes: number): Promise<FileHandle | undefined> {
  const { O_CREAT, O_DIRECT, O_EXCL, O_RDWR } = constants
  if (bytes < DIRECT_BLOCK_BYTES || O_DIRECT === undefined) return undefined
  let handle: FileHandle | undefined
  try {
    handle = await open(file, O_RDWR | O_CREAT | O_EXCL | O_DIRECT)
    // Some file systems only say at the first write that they cannot.
    zeros ??= alignedMemory(BACKGROUND_STEP_BYTES)
    await handle.write(zeros, 0, DIRECT_BLOCK_BYTES, 0)
    return handle
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EINVAL') {
      await handle?.close()
      throw error
    }
    await handle?.close()
    await unlink(file).catch(() => {})
    return undefined
  }
}
