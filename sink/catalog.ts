// The catalog: which metadata file is a table's current one. Everything that a commit means lies in
// iceberg/updates.ts; what a catalog adds is one compare-and-swap.
//
// PointerCatalog is that for any place that can swap a pointer (SQLite, memory in the simulation): it writes
// the new metadata file first, durable, and swaps the pointer from the old location to the new one. A REST
// catalog does the same behind its own door and implements Catalog directly.
import { gunzipSync } from 'node:zlib'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { type Clock, metadataUri, type Names } from './file-names.ts'
import { printJson } from './iceberg/json.ts'
import { newMetadata, parseMetadata, type TableMetadata } from './iceberg/metadata.ts'
import type { PartitionSpec } from './iceberg/partition.ts'
import type { Schema } from './iceberg/schema.ts'
import type { SortOrder } from './iceberg/sort-order.ts'
import { applyUpdates, brokenRequirement, type Requirement, type Update } from './iceberg/updates.ts'
import type { Store } from './store.ts'

export interface TableId {
  /** The tenant. */
  namespace: string
  name: string
}

export const printTableId = (id: TableId): string => `${id.namespace}.${id.name}`

export interface LoadedTable {
  id: TableId
  metadataLocation: string
  metadata: TableMetadata
}

export interface CreateTable {
  schema: Schema
  lastColumnId: number
  spec: PartitionSpec
  sortOrder: SortOrder
  properties: Record<string, string>
}

/** What the tables of a warehouse are reached through. All that settles is durable. */
export interface Catalog {
  readonly name: string
  /** No error where it exists. */
  createNamespace(namespace: string): Promise<void>
  /** Errors: `table_conflict` while it holds tables. */
  dropNamespace(namespace: string): Promise<void>
  listNamespaces(): Promise<string[]>
  listTables(namespace: string): Promise<TableId[]>
  /** Undefined where there is none. Errors: `table_foreign` where its metadata cannot be read. */
  load(id: TableId): Promise<LoadedTable | undefined>
  /** Errors: `table_conflict` where it exists. */
  create(id: TableId, table: CreateTable): Promise<LoadedTable>
  /**
   * All updates, or none. Errors: `table_conflict`: a requirement does not hold (any more), nothing was
   * done; `table_missing`; `commit_ambiguous`: unknown whether it was done.
   */
  commit(id: TableId, requirements: readonly Requirement[], updates: readonly Update[]): Promise<LoadedTable>
  /** Forgets the table; its files stay. False where there was none. */
  drop(id: TableId): Promise<boolean>
  /** Errors: `table_missing`, `table_conflict` where the new name is taken. */
  rename(from: TableId, to: TableId): Promise<void>
  close(): Promise<void>
}

/** A place that keeps one metadata location a table and can swap it atomically and durably. */
export interface Pointers {
  createNamespace(namespace: string): Promise<void>
  dropNamespace(namespace: string): Promise<boolean>
  listNamespaces(): Promise<string[]>
  listTables(namespace: string): Promise<string[]>
  get(id: TableId): Promise<string | undefined>
  /** False where the table exists. */
  insert(id: TableId, location: string): Promise<boolean>
  /** False, and nothing done, unless the pointer is `expected`. Any error but a MillraceError leaves it unknown. */
  swap(id: TableId, expected: string, next: string): Promise<boolean>
  remove(id: TableId): Promise<boolean>
  /** False where there is no `from`. Errors: `table_conflict` where `to` exists. */
  rename(from: TableId, to: TableId): Promise<boolean>
  close(): Promise<void>
}

/** Bytes of metadata text whose parsed form is kept, most recently used; parsed it takes about three times that. */
const CACHE_TEXT_BYTES_MAX = 16 * 1024 * 1024
/** Swaps lost to commits that break no requirement of this one before it gives up. */
const SWAP_TRIES_MAX = 4
/** Metadata files named in `metadata-log`, and kept, beside the current one. */
const PREVIOUS_VERSIONS_DEFAULT = 20

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export class PointerCatalog implements Catalog {
  readonly name: string
  readonly #pointers: Pointers
  readonly #store: Store
  readonly #warehouse: string
  readonly #names: Names
  readonly #clock: Clock
  /** By metadata location, which never changes its content; insertion order is age. */
  readonly #cache = new Map<string, { metadata: TableMetadata; textBytes: number }>()
  #cachedBytes = 0

  /** `warehouse`: absolute URI under which tables get their folders. */
  constructor(name: string, pointers: Pointers, store: Store, warehouse: string, names: Names, clock: Clock) {
    this.name = name
    this.#pointers = pointers
    this.#store = store
    this.#warehouse = warehouse
    this.#names = names
    this.#clock = clock
  }

  createNamespace(namespace: string): Promise<void> {
    return this.#pointers.createNamespace(namespace)
  }

  async dropNamespace(namespace: string): Promise<void> {
    if ((await this.#pointers.listTables(namespace)).length > 0)
      throw new MillraceError('table_conflict', `namespace ${namespace} holds tables`)
    await this.#pointers.dropNamespace(namespace)
  }

  listNamespaces(): Promise<string[]> {
    return this.#pointers.listNamespaces()
  }

  async listTables(namespace: string): Promise<TableId[]> {
    return (await this.#pointers.listTables(namespace)).map((name) => ({ namespace, name }))
  }

  async load(id: TableId): Promise<LoadedTable | undefined> {
    const location = await this.#pointers.get(id)
    if (location === undefined) return undefined
    return { id, metadataLocation: location, metadata: await this.#metadataAt(location) }
  }

  async create(id: TableId, table: CreateTable): Promise<LoadedTable> {
    if ((await this.#pointers.get(id)) !== undefined)
      throw new MillraceError('table_conflict', `table ${printTableId(id)} exists`)
    const location = await freeLocation(
      this.#store,
      `${this.#warehouse}/${id.namespace}/${id.name}`,
      this.#names,
    )
    const metadata = newMetadata({
      uuid: this.#names.uuid(),
      location,
      nowMs: this.#clock.now(),
      ...table,
    })
    const at = metadataUri(location, undefined, this.#names.uuid())
    await this.#write(at, metadata)
    if (!(await this.#unlessAmbiguous(id, () => this.#pointers.insert(id, at)))) {
      await this.#store.delete([at])
      throw new MillraceError('table_conflict', `table ${printTableId(id)} exists`)
    }
    return { id, metadataLocation: at, metadata }
  }

  async commit(
    id: TableId,
    requirements: readonly Requirement[],
    updates: readonly Update[],
  ): Promise<LoadedTable> {
    for (let tries = 0; tries < SWAP_TRIES_MAX; tries++) {
      const base = await this.load(id)
      const broken = brokenRequirement(base?.metadata, requirements)
      if (base === undefined)
        throw new MillraceError('table_missing', `table ${printTableId(id)} does not exist`)
      if (broken !== undefined)
        throw new MillraceError('table_conflict', `${printTableId(id)}: ${broken}`, { requirement: broken })
      const { metadata, outdated } = succeed(
        applyUpdates(base.metadata, updates, Math.max(this.#clock.now(), base.metadata['last-updated-ms'])),
        base,
      )
      const at = metadataUri(metadata.location, base.metadataLocation, this.#names.uuid())
      await this.#write(at, metadata)
      if (await this.#unlessAmbiguous(id, () => this.#pointers.swap(id, base.metadataLocation, at))) {
        this.#forget(base.metadataLocation)
        // Only room is lost if this fails: orphan removal finds them.
        await this.#store.delete(outdated).catch(() => {})
        return { id, metadataLocation: at, metadata }
      }
      this.#forget(at)
      await this.#store.delete([at])
    }
    throw new MillraceError(
      'table_conflict',
      `${printTableId(id)}: ${SWAP_TRIES_MAX} commits of others came first, one after the other`,
    )
  }

  drop(id: TableId): Promise<boolean> {
    return this.#pointers.remove(id)
  }

  async rename(from: TableId, to: TableId): Promise<void> {
    if (!(await this.#pointers.rename(from, to)))
      throw new MillraceError('table_missing', `table ${printTableId(from)} does not exist`)
  }

  close(): Promise<void> {
    return this.#pointers.close()
  }

  /** An error of the pointer store that does not say "nothing was done" may have come after the deed. */
  async #unlessAmbiguous(id: TableId, swap: () => Promise<boolean>): Promise<boolean> {
    try {
      return await swap()
    } catch (error) {
      if (isMillraceError(error)) throw error
      throw new MillraceError(
        'commit_ambiguous',
        `${printTableId(id)}: the catalog failed while committing: ${String(error)}`,
        {},
        error,
      )
    }
  }

  async #metadataAt(location: string): Promise<TableMetadata> {
    const cached = this.#cache.get(location)
    if (cached !== undefined) {
      this.#cache.delete(location)
      this.#cache.set(location, cached)
      return cached.metadata
    }
    const bytes = unzipped(await this.#store.read(location), location)
    const metadata = parseMetadata(decoder.decode(bytes), location)
    this.#remember(location, metadata, bytes.length)
    return metadata
  }

  async #write(location: string, metadata: TableMetadata): Promise<void> {
    const bytes = encoder.encode(printJson(metadata))
    await this.#store.put([{ uri: location, parts: [bytes] }])
    this.#remember(location, metadata, bytes.length)
  }

  #remember(location: string, metadata: TableMetadata, textBytes: number): void {
    // Who loaded it at the same time has put it there.
    this.#forget(location)
    this.#cache.set(location, { metadata, textBytes })
    this.#cachedBytes += textBytes
    for (const oldest of this.#cache.keys()) {
      if (this.#cachedBytes <= CACHE_TEXT_BYTES_MAX || oldest === location) break
      this.#forget(oldest)
    }
  }

  #forget(location: string): void {
    this.#cachedBytes -= this.#cache.get(location)?.textBytes ?? 0
    this.#cache.delete(location)
  }
}

/** Other engines write metadata compressed where `write.metadata.compression-codec` says so. Errors: `table_foreign`. */
function unzipped(bytes: Uint8Array, location: string): Uint8Array {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes
  try {
    return gunzipSync(bytes)
  } catch (error) {
    throw new MillraceError(
      'table_foreign',
      `${location} is not whole: ${String((error as Error).message)}`,
      { file: location },
      error,
    )
  }
}

/** First metadata file of a table. */
const FIRST_METADATA = /\/00000-[^/]*$/

/**
 * The location, or one beside it where a table lies there already: one that was renamed, or dropped and may be registered
 * again, keeps its folder. Two tables in one folder would take each other's files for orphans, and an engine that drops one
 * with its folder would take the other along. A table that was only made has no rows to lose: so several processes that
 * make a table at the same time give it the plain location; and so does who may not list what is there.
 */
export async function freeLocation(store: Store, location: string, names: Names): Promise<string> {
  const found = await store.list(`${location}/metadata`).catch((error: unknown) => {
    if (isMillraceError(error, 'warehouse_unreachable') && error.details['status'] === 403) return []
    throw error
  })
  return found.every((uri) => FIRST_METADATA.test(uri)) ? location : `${location}-${names.uuid()}`
}

/** Adds the line of the predecessor to the metadata log, and says which files fell out of it. */
function succeed(
  metadata: TableMetadata,
  base: LoadedTable,
): { metadata: TableMetadata; outdated: string[] } {
  const setting = Number(metadata.properties['write.metadata.previous-versions-max'])
  const keep = Number.isInteger(setting) && setting > 0 ? setting : PREVIOUS_VERSIONS_DEFAULT
  const log = [
    ...base.metadata['metadata-log'],
    { 'timestamp-ms': base.metadata['last-updated-ms'], 'metadata-file': base.metadataLocation },
  ]
  const gone = log.slice(0, Math.max(0, log.length - keep))
  const deletes = metadata.properties['write.metadata.delete-after-commit.enabled'] === 'true'
  return {
    metadata: { ...metadata, 'metadata-log': log.slice(-keep) },
    outdated: deletes ? gone.map((entry) => entry['metadata-file']) : [],
  }
}
