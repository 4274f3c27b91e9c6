// Filling a new segment file with zeros, durably, while commits go on: in steps of the journal's own thread, or by
// libuv's threads. A step of the first kind is a write and a sync of 256 KiB, about a millisecond in which no
// group is committed; the second costs the log thread nothing but shares the disk.
//
// So it is paced: a segment is filled in the time that the one before it is written in, and no faster than a hundred
// megabytes a second where that leaves the time. Zeros as fast as the disk takes them would have groups wait behind
// them, and use up at once what the host of a virtual disk, or a drive's cache, gives for a while.
//
// Zeros have no reason to be in the page cache: where the file system knows O_DIRECT they go to the disk past it,
// which saves the copy of every byte (a tenth of the whole processor time under load) and the cache for what is read.
import { constants } from 'node:fs'
import { type FileHandle, open, unlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { alignedMemory } from '../std/aligned-memory.ts'
import { DirectFile } from '../std/direct-file.ts'
import { DIRECT_BLOCK_BYTES, type Disk, type DiskFile } from '../std/disk.ts'

/** Fills one file at a time. */
export interface ZeroFiller {
  /** Begins with a file that does not exist; with 0 bytes there is nothing to fill. */
  start(file: string, bytes: number): void
  /**
   * `more`: call again soon; `waiting`: others work on it; `done`: the file is full and synced. Throws what the disk
   * throws. `dueBytes`: how many should be filled by now, where it has a pace of its own.
   */
  step(dueBytes: number): 'more' | 'waiting' | 'done'
  /** Drops what was begun, as far as possible: a file that stays behind is removed by the next start. */
  abandon(): void
}

const STEP_BYTES = 256 * 1024
const BACKGROUND_STEP_BYTES = 1 << 20
/** Where zeros are not due yet, how long a step waits for the next. */
const PAUSE_MS = 10
/** Bytes between two syncs through the page cache, so that the last one is short. */
const BACKGROUND_SYNC_BYTES = 8 << 20

export class StepFiller implements ZeroFiller {
  readonly #disk: Disk
  readonly #stepBytes: number
  #file: DiskFile | undefined
  #bytes = 0
  #done = 0
  #zeros: Uint8Array = new Uint8Array(0)

  constructor(disk: Disk, stepBytes = STEP_BYTES) {
    this.#disk = disk
    this.#stepBytes = stepBytes
  }

  start(file: string, bytes: number): void {
    this.#file = this.#disk.open(file, 'create')
    this.#bytes = wholeBlocks(bytes)
    this.#done = 0
    if (this.#bytes === 0) return
    this.#file.close()
    this.#file = new DirectFile(this.#disk, file)
    this.#zeros = this.#disk.directMemory(
      Math.min(this.#stepBytes, Math.max(DIRECT_BLOCK_BYTES, wholeBlocks(bytes >>> 2))),
    )
  }

  step(): 'more' | 'done' {
    const count = Math.min(this.#zeros.length, this.#bytes - this.#done)
    if (count > 0) this.#file!.write([this.#zeros.subarray(0, count)], this.#done)
    this.#file!.sync()
    this.#done += count
    if (this.#done < this.#bytes) return 'more'
    this.close()
    return 'done'
  }

  abandon(): void {
    const path = this.#file?.path
    this.close()
    if (path !== undefined && this.#disk.exists(path)) this.#disk.unlink(path)
  }

  /** Leaves the file as it is. */
  close(): void {
    this.#file?.close()
    this.#file = undefined
  }
}

/** What is left of a size that is no multiple is not filled: groups may use it all the same. */
const wholeBlocks = (bytes: number): number => bytes - (bytes % DIRECT_BLOCK_BYTES)

interface Run {
  state: 'working' | 'done' | 'abandoned'
  error: unknown
  dueBytes: number
}

/** For a real disk only. */
export class BackgroundFiller implements ZeroFiller {
  #run: Run | undefined

  start(file: string, bytes: number): void {
    const run: Run = { state: 'working', error: undefined, dueBytes: 0 }
    this.#run = run
    fill(file, bytes, run)
      .then(async () => {
        if (run.state === 'abandoned') await unlink(file)
        else run.state = 'done'
      })
      .catch((error: unknown) => {
        run.error = error
      })
  }

  step(dueBytes: number): 'waiting' | 'done' {
    const run = this.#run!
    run.dueBytes = dueBytes
    if (run.error !== undefined) throw run.error
    return run.state === 'done' ? 'done' : 'waiting'
  }

  abandon(): void {
    if (this.#run !== undefined) this.#run.state = 'abandoned'
  }
}

/** Of all fills: nobody writes to it. Made when it is needed first. */
let zeros: Uint8Array | undefined

async function fill(file: string, bytes: number, run: Run): Promise<void> {
  const end = wholeBlocks(bytes)
  const direct = await openDirect(file, end)
  const handle = direct ?? (await open(file, 'wx'))
  try {
    zeros ??= alignedMemory(BACKGROUND_STEP_BYTES)
    for (let done = 0; done < end && run.state !== 'abandoned'; ) {
      const { bytesWritten } = await handle.write(zeros, 0, Math.min(zeros.length, end - done), done)
      done += bytesWritten
      if (direct === undefined && done % BACKGROUND_SYNC_BYTES === 0) await handle.datasync()
      if (done >= run.dueBytes) await sleep(PAUSE_MS)
    }
    await handle.datasync()
  } catch (error) {
    // There may be no space for the rest: what is there would keep the little that is left.
    await unlink(file).catch(() => {})
    throw error
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
    const isRefused = (error as NodeJS.ErrnoException).code === 'EINVAL'
    // An `open` that refuses O_DIRECT may have made the file; one that fails otherwise has not.
    if (handle !== undefined || isRefused) await unlink(file).catch(() => {})
    await handle?.close()
    if (!isRefused) throw error
    return undefined
  }
}
