// Files of a table as paths of this machine. DuckDB reads local files; for an object store it would need its httpfs
// extension, which it downloads when it is first used and which no npm package carries. So files of an object store are
// fetched into a temporary folder, whole, and removed with it. Local files are taken where they lie.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { filePath, type Store } from './store.ts'

const CONCURRENCY = 8

export interface Fetched {
  folder: string
  files: number
  bytes: number
}

export class FileFetcher {
  readonly #store: Store
  readonly #paths = new Map<string, string>()
  #fetched: Fetched | undefined

  constructor(store: Store) {
    this.#store = store
  }

  /** What was fetched; undefined while nothing had to be. */
  get fetched(): Fetched | undefined {
    return this.#fetched
  }

  /** Paths in the order of the URIs. */
  async paths(uris: readonly string[]): Promise<string[]> {
    const missing = uris.filter((uri) => isRemote(uri) && !this.#paths.has(uri))
    let next = 0
    const lane = async (): Promise<void> => {
      while (next < missing.length) await this.#fetch(missing[next++]!)
    }
    await Promise.all(Array.from({ length: Math.min(CONCURRENCY, missing.length) }, lane))
    return uris.map((uri) => this.#paths.get(uri) ?? filePath(uri))
  }

  async #fetch(uri: string): Promise<void> {
    const bytes = await this.#store.read(uri)
    this.#fetched ??= {
      folder: fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-query-')),
      files: 0,
      bytes: 0,
    }
    const file = path.join(this.#fetched.folder, `${this.#paths.size}.parquet`)
    this.#paths.set(uri, file)
    fs.writeFileSync(file, bytes)
    this.#fetched.files++
    this.#fetched.bytes += bytes.length
  }

  close(): void {
    if (this.#fetched !== undefined) fs.rmSync(this.#fetched.folder, { recursive: true, force: true })
  }
}

/** Whether DuckDB cannot read it by itself. */
export function isRemote(uri: string): boolean {
  return !uri.startsWith('/') && !uri.startsWith('file:')
}
