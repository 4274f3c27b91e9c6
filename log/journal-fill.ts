// Filling a new segment file with zeros, durably, while commits go on: in steps of the journal's own thread, or by
// libuv's threads. A step of the first kind is a write and a sync of 256 KiB, about a millisecond in which no
// group is committed; the second costs the log thread nothing but shares the disk.
import { open, unlink } from 'node:fs/promises'
import type { Disk, DiskFile } from '../std/disk.ts'

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

async function fill(file: string, bytes: number, isAbandoned: () => boolean): Promise<void> {
  const handle = await open(file, 'wx')
  try {
    const zeros = new Uint8Array(Math.min(BACKGROUND_STEP_BYTES, bytes))
    for (let done = 0; done < bytes && !isAbandoned(); ) {
      const { bytesWritten } = await handle.write(zeros, 0, Math.min(zeros.length, bytes - done), done)
      done += bytesWritten
      if (done % BACKGROUND_SYNC_BYTES === 0) await handle.datasync()
    }
    await handle.datasync()
  } finally {
    await handle.close()
  }
}
