// Where tables' files lie: local folders here, an object store behind the same five verbs. Files are only
// ever made whole under a new name, read and deleted; none is changed or renamed, because an object store
// could not do that.
//
// URIs are absolute. A `file://` URI is the path as it is, without percent-encoding: that is how the engines
// that share a warehouse read it (PyIceberg and Hadoop take the path literally).
import path from 'node:path'
import { DirectWriter, partsAfter } from '../std/direct-writer.ts'
import { type Disk, makeDirDurable } from '../std/disk.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'

export interface NewFile {
  uri: string
  /** Content, part after part. */
  parts: readonly Uint8Array[]
}

export interface FileEnd {
  bytes: Uint8Array
  /** Of the whole file. */
  byteLength: number
}

export const NO_FILE: FileEnd = { bytes: new Uint8Array(0), byteLength: 0 }

export interface Store {
  /** Writes new files; all are durable, under their names, when it settles. After an error some may be there. Errors: `warehouse_unwritable`. */
  put(files: readonly NewFile[]): Promise<void>
  /** The whole file. Errors: `table_foreign` with the URI where there is none. */
  read(uri: string): Promise<Uint8Array>
  exists(uri: string): Promise<boolean>
  /** The last bytes of a file, at most so many, and its size; nothing and 0 where there is none. */
  readEnd(uri: string, bytesMax: number): Promise<FileEnd>
  /** URIs of the files in a folder, not in folders below it; empty where there is no such folder. */
  list(folderUri: string): Promise<string[]>
  /** Deletes; a file that is not there is no error. */
  delete(uris: readonly string[]): Promise<void>
}

const SCHEME = 'file://'

export function fileUri(file: string): string {
  return SCHEME + path.resolve(file)
}

/** Path of a `file://` (or Hadoop's `file:/`) URI or of a bare absolute path. Errors: `table_foreign` for another scheme. */
export function filePath(uri: string): string {
  if (uri.startsWith(SCHEME)) return uri.slice(SCHEME.length)
  if (uri.startsWith('file:/')) return uri.slice('file:'.length)
  if (path.isAbsolute(uri)) return uri
  throw new MillraceError(
    'table_foreign',
    `${uri} is neither a local path nor in S3: Millrace reads and writes no other store`,
    { uri },
  )
}

/**
 * One text for all URIs of a file, to compare them by: engines write `s3a://` for `s3://`, and `file:/x` or a bare `/x` for
 * `file:///x`.
 */
export function placeKey(uri: string): string {
  const local = /^(?:file:(?:\/\/)?)?(\/.*)$/.exec(uri)
  return local === null ? uri.replace(/^s3[an]:/, 's3:') : path.normalize(local[1]!)
}

/** Files from this size on are written past the page cache; smaller ones, manifests among them, are soon read again. */
const DIRECT_BYTES_MIN = 1 << 20

/** A local warehouse over a Disk. */
export class LocalStore implements Store {
  readonly #disk: Disk
  readonly #directBytesMin: number
  readonly #direct: DirectWriter

  constructor(disk: Disk, directBytesMin = DIRECT_BYTES_MIN) {
    this.#disk = disk
    this.#directBytesMin = directBytesMin
    this.#direct = new DirectWriter(disk)
  }

  async put(files: readonly NewFile[]): Promise<void> {
    const folders = new Set<string>()
    await this.#each(files, (file) => {
      const at = filePath(file.uri)
      const folder = path.dirname(at)
      if (!folders.has(folder)) makeDirDurable(this.#disk, folder)
      folders.add(folder)
      return this.#write(at, file.parts)
    })
    // The names are durable only now; one sync serves all files of a folder.
    const uris = [...folders].map((folder) => ({ uri: fileUri(folder), folder }))
    await this.#each(uris, async ({ folder }) => {
      if (this.#disk.syncDirLater === undefined) this.#disk.syncDir(folder)
      else await this.#disk.syncDirLater(folder)
    })
  }

  /** One after the other on a disk that knows no better; else their syncs are under way together. */
  async #each<T extends { uri: string }>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
    const pending: Promise<void>[] = []
    for (const one of all) {
      const done = (async () => {
        try {
          await work(one)
        } catch (error) {
          throw unwritable(error, one.uri)
        }
      })()
      if (this.#disk.syncDirLater === undefined) await done
      else pending.push(done)
    }
    const failed = (await Promise.allSettled(pending)).find((one) => one.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  async #write(at: string, parts: readonly Uint8Array[]): Promise<void> {
    const file = this.#disk.open(at, 'create')
    try {
      const bytes = parts.reduce((sum, part) => sum + part.length, 0)
      const written = bytes < this.#directBytesMin ? 0 : this.#direct.write(at, parts)
      if (written < bytes) file.write(partsAfter(parts, written), written)
      if (file.syncLater === undefined) file.sync()
      else await file.syncLater()
    } catch (error) {
      // Half a file under a name that nothing refers to: it only takes room.
      try {
        this.#disk.unlink(at)
      } catch {}
      throw error
    } finally {
      file.close()
    }
  }

  async read(uri: string): Promise<Uint8Array> {
    let file: ReturnType<Disk['open']>
    try {
      file = this.#disk.open(filePath(uri), 'read')
    } catch (error) {
      throw unreadable(error, uri)
    }
    try {
      const bytes = new Uint8Array(file.size())
      return bytes.subarray(0, file.read(bytes, 0))
    } catch (error) {
      throw unreadable(error, uri)
    } finally {
      file.close()
    }
  }

  async exists(uri: string): Promise<boolean> {
    return this.#disk.exists(filePath(uri))
  }

  async readEnd(uri: string, bytesMax: number): Promise<FileEnd> {
    if (!this.#disk.exists(filePath(uri))) return NO_FILE
    const file = this.#disk.open(filePath(uri), 'read')
    try {
      const byteLength = file.size()
      const bytes = new Uint8Array(Math.min(bytesMax, byteLength))
      return { bytes: bytes.subarray(0, file.read(bytes, byteLength - bytes.length)), byteLength }
    } finally {
      file.close()
    }
  }

  async list(folderUri: string): Promise<string[]> {
    // Files of tables have an extension, folders of partitions (other engines' habit) do not.
    return this.#disk
      .list(filePath(folderUri))
      .filter((name) => /\.[a-z0-9]+$/.test(name))
      .map((name) => `${folderUri}/${name}`)
  }

  async delete(uris: readonly string[]): Promise<void> {
    for (const uri of uris) {
      try {
        this.#disk.unlink(filePath(uri))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw unwritable(error, uri)
      }
    }
  }
}

/** Only where the file is not there is the table to blame: a disk that fails, or rights that lack, may be mended. */
function unreadable(error: unknown, uri: string): unknown {
  const code = errnoOf(error)
  if (code === undefined) return error
  const isMissing = code === 'ENOENT' || code === 'ENOTDIR'
  return new MillraceError(
    isMissing ? 'table_foreign' : 'warehouse_unreachable',
    `${uri} cannot be read (${code})${isMissing ? ': the table refers to a file that is not there' : ''}`,
    { uri, errno: code },
    error,
  )
}

/** The code of an error of the operating system. */
function errnoOf(error: unknown): string | undefined {
  const { code } = error as NodeJS.ErrnoException
  return isMillraceError(error) || typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code) ? undefined : code
}

function unwritable(error: unknown, uri: string): unknown {
  const code = errnoOf(error)
  if (code === undefined) return error
  return new MillraceError(
    'warehouse_unwritable',
    `${uri} cannot be written (${code}): rows wait in the log until it can`,
    { uri, errno: code },
    error,
  )
}
