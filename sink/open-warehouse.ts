// The catalog and the store that a configuration names: for the sink's thread, and for all who look at tables beside
// it.
//
//   --catalog     --warehouse              tables lie
//   sqlite        a folder, s3://…         where --warehouse says; the pointers in DATA/catalog.db
//   sqlite:FILE   the same                 the same; the pointers in that file
//   http(s)://…   a name, or nothing       where the REST catalog says
//
// Files are reached by the scheme of their URI, whatever the catalog: one that keeps tables in local folders and in
// S3 is served too.
import path from 'node:path'
import { NodeDisk } from '../std/disk.ts'
import { type Catalog, freeLocation, PointerCatalog } from './catalog.ts'
import { RestCatalog } from './catalog-rest.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { Names, systemClock } from './file-names.ts'
import { type FileEnd, fileUri, LocalStore, type NewFile, type Store } from './store.ts'
import type { S3Store } from './store-s3.ts'

/** Name of the catalog in catalog.db; readers must give it as theirs. */
export const CATALOG_NAME = 'millrace'

/** The options that say where tables are (config.ts). */
export interface WarehouseConfig {
  /** Absolute. */
  data: string
  /** `sqlite`, `sqlite:FILE`, or the address of a REST catalog. */
  catalog: string
  /** `s3://…` or an absolute folder; with a REST catalog the name of its warehouse, undefined for its default. */
  warehouse: string | undefined
  /** Of one request to catalog or store. */
  warehouseTimeoutMs: number
  catalogCredential: string | undefined
  catalogToken: string | undefined
  catalogOauth2Uri: string | undefined
  catalogOauth2Scope: string
  s3PathStyle: boolean
}

export interface Warehouse {
  catalog: Catalog
  store: Store
  close(): Promise<void>
}

export const isSqlite = (config: WarehouseConfig): boolean => /^sqlite(:|$)/.test(config.catalog)

export const catalogFile = (config: WarehouseConfig): string =>
  config.catalog === 'sqlite'
    ? path.join(config.data, 'catalog.db')
    : path.resolve(config.catalog.slice('sqlite:'.length))

/** Those options alone, out of a whole configuration: what goes to the sink's thread. */
export function warehouseConfig(config: WarehouseConfig): WarehouseConfig {
  const { data, catalog, warehouse, warehouseTimeoutMs, s3PathStyle } = config
  const { catalogCredential, catalogToken, catalogOauth2Uri, catalogOauth2Scope } = config
  const access = { catalogCredential, catalogToken, catalogOauth2Uri, catalogOauth2Scope }
  return { data, catalog, warehouse, warehouseTimeoutMs, ...access, s3PathStyle }
}

/** The tables of a data folder that was configured with nothing else. */
export function localWarehouse(data: string): WarehouseConfig {
  const folder = path.resolve(data)
  return {
    data: folder,
    catalog: 'sqlite',
    warehouse: path.join(folder, 'warehouse'),
    warehouseTimeoutMs: 0,
    catalogCredential: undefined,
    catalogToken: undefined,
    catalogOauth2Uri: undefined,
    catalogOauth2Scope: '',
    s3PathStyle: false,
  }
}

/** Errors: `data_unwritable` where catalog.db cannot be opened; a REST catalog is asked for nothing yet. */
export function openWarehouse(config: WarehouseConfig, options: { readOnly?: boolean } = {}): Warehouse {
  const store = new AnyStore(config)
  const catalog = openCatalog(config, store, options.readOnly ?? false)
  return {
    catalog,
    store,
    close: async () => {
      await catalog.close()
      await store.close()
    },
  }
}

function openCatalog(config: WarehouseConfig, store: Store, readOnly: boolean): Catalog {
  const names = new Names(systemClock)
  if (!isSqlite(config))
    return new RestCatalog(
      CATALOG_NAME,
      {
        uri: config.catalog,
        warehouse: config.warehouse,
        token: config.catalogToken,
        credential: config.catalogCredential,
        oauth2Uri: config.catalogOauth2Uri,
        scope: config.catalogOauth2Scope,
        requestTimeoutMs: config.warehouseTimeoutMs,
        freeLocation: (location) => freeLocation(store, location, names),
      },
      systemClock,
    )
  const pointers = new SqlitePointers(catalogFile(config), CATALOG_NAME, { readOnly })
  const warehouse = isS3(config.warehouse!) ? config.warehouse! : fileUri(config.warehouse!)
  return new PointerCatalog(CATALOG_NAME, pointers, store, warehouse, names, systemClock)
}

const isS3 = (uri: string): boolean => /^s3[an]?:\/\//.test(uri)

/** Local files and S3 by the scheme of the URI. The S3 client is loaded only where a file lies there. */
class AnyStore implements Store {
  readonly #local = new LocalStore(new NodeDisk())
  readonly #config: WarehouseConfig
  #s3: Promise<S3Store> | undefined

  constructor(config: WarehouseConfig) {
    this.#config = config
  }

  async put(files: readonly NewFile[]): Promise<void> {
    const [remote, local] = partition(files, (file) => isS3(file.uri))
    if (local.length > 0) await this.#local.put(local)
    if (remote.length > 0) await (await this.#remote()).put(remote)
  }

  async read(uri: string): Promise<Uint8Array> {
    return (await this.#of(uri)).read(uri)
  }

  async exists(uri: string): Promise<boolean> {
    return (await this.#of(uri)).exists(uri)
  }

  async readEnd(uri: string, bytesMax: number): Promise<FileEnd> {
    return (await this.#of(uri)).readEnd(uri, bytesMax)
  }

  async list(folderUri: string): Promise<string[]> {
    return (await this.#of(folderUri)).list(folderUri)
  }

  async delete(uris: readonly string[]): Promise<void> {
    const [remote, local] = partition(uris, isS3)
    if (local.length > 0) await this.#local.delete(local)
    if (remote.length > 0) await (await this.#remote()).delete(remote)
  }

  async close(): Promise<void> {
    await (await this.#s3)?.close()
  }

  async #of(uri: string): Promise<Store> {
    return isS3(uri) ? this.#remote() : this.#local
  }

  #remote(): Promise<S3Store> {
    const { s3PathStyle: pathStyle, warehouseTimeoutMs: requestTimeoutMs } = this.#config
    this.#s3 ??= import('./store-s3.ts').then(
      ({ S3Store }) => new S3Store({ endpoint: undefined, pathStyle, requestTimeoutMs }),
    )
    return this.#s3
  }
}

function partition<T>(items: readonly T[], belongs: (item: T) => boolean): [T[], T[]] {
  const yes: T[] = []
  const no: T[] = []
  for (const item of items) (belongs(item) ? yes : no).push(item)
  return [yes, no]
}
