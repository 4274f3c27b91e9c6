// Who owns a data folder: one process, by an exclusive SQLite transaction on `lock.db` in it. The lock is the
// operating system's (fcntl), so it ends with the process however that ends; a pid file would have to be
// removed by hand after kill -9. `lock.db` holds no data.
import fs from 'node:fs'
import path from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { makeDirDurable, NodeDisk } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'

export const LOCK_NAME = 'lock.db'

/** SQLITE_BUSY: another connection holds the lock. */
const SQLITE_BUSY = 5

export interface DataFolder {
  /** Absolute. */
  readonly path: string
  /** Gives the folder up. */
  release(): void
}

/**
 * Makes the folder where it is missing, and takes it. Throws `data_unwritable` where it cannot be made or
 * written, `data_in_use` where another process (or this one) has it.
 */
export function lockDataFolder(dir: string): DataFolder {
  const folder = path.resolve(dir)
  const unwritable = (error: unknown): MillraceError =>
    new MillraceError(
      'data_unwritable',
      `data folder ${folder} cannot be written: ${(error as Error).message}`,
      { dir: folder },
      error,
    )
  try {
    makeDirDurable(new NodeDisk(), folder)
    // What is there already may be a file.
    fs.opendirSync(folder).closeSync()
    fs.accessSync(folder, fs.constants.W_OK | fs.constants.X_OK)
  } catch (error) {
    throw unwritable(error)
  }
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path.join(folder, LOCK_NAME))
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database?.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY)
      throw new MillraceError(
        'data_in_use',
        `data folder ${folder} is in use by another process; for roles in several, give each a folder of its own and Kafka as the log (--log kafka://…)`,
        { dir: folder },
        error,
      )
    throw unwritable(error)
  }
  const held = database
  return { path: folder, release: () => held.close() }
}
