// The tables of a configured warehouse, read-only and beside a running process: for `query`, `tables`, the account,
// and the question whether a table can follow a changed contract.
import fs from 'node:fs'
import type { CompiledStream } from '../schemas/contract.ts'
import { tableOf } from '../schemas/names.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import type { TableId } from './catalog.ts'
import { layoutOf, planEvolution } from './ensure-table.ts'
import { type Fetched, FileFetcher } from './fetch-files.ts'
import { catalogFile, isSqlite, openWarehouse, type WarehouseConfig } from './open-warehouse.ts'
import { isOthers, listAllTables, type TableStats, tableStats, viewStatements } from './read-tables.ts'
import { shapeOf } from './streams.ts'

export interface TablesReader {
  /** Of those tables, or of all; without those that cannot be read here, which `onLeft` hears of. */
  stats(
    isWanted?: (id: TableId) => boolean,
    onLeft?: (id: TableId, reason: string) => void,
  ): Promise<TableStats[]>
  /**
   * Statements that make a view of each table (`tenant.table`). DuckDB reads local files only: those of an object
   * store are fetched first, of the tables that the SQL names. They stay until `close`.
   */
  views(sql: string): Promise<string[]>
  /** What `views` has fetched. */
  readonly fetched: Fetched | undefined
  /** Throws why the stream's table cannot become what the stream wants: `schema_incompatible`, `table_foreign`. */
  requireFit(stream: CompiledStream): Promise<void>
  close(): Promise<void>
}

/** Whether there is a catalog to open: the SQLite one is made at the first start. */
export function tablesExist(config: WarehouseConfig): boolean {
  return !isSqlite(config) || fs.existsSync(catalogFile(config))
}

/** Errors: `option_invalid` where there is no catalog to open, with the option that said where. */
export function requireTables(config: WarehouseConfig): void {
  if (tablesExist(config)) return
  throw new MillraceError(
    'option_invalid',
    config.catalog === 'sqlite'
      ? `--data ${config.data}: no catalog.db there; start Millrace with that folder first`
      : `--catalog ${config.catalog}: no such file; start Millrace with that catalog first`,
  )
}

/** Errors: those of `requireTables`. */
export function openTables(config: WarehouseConfig): TablesReader {
  requireTables(config)
  const { catalog, store, close } = openWarehouse(config, { readOnly: true })
  const files = new FileFetcher(store)
  return {
    stats: async (isWanted = () => true, onLeft = () => {}) => {
      const stats: TableStats[] = []
      for (const id of (await listAllTables(catalog)).filter(isWanted)) {
        const one = await tableStats(catalog, store, id).catch((error: unknown) => {
          if (!isMillraceError(error, 'table_foreign') && !isOthers(error)) throw error
          onLeft(id, (error as Error).message)
        })
        if (one) stats.push(one)
      }
      return stats
    },
    views: (sql) => viewStatements(catalog, store, files, sql),
    get fetched() {
      return files.fetched
    },
    requireFit: async (stream) => {
      const table = await catalog.load({ namespace: stream.tenant, name: tableOf(stream.stream) })
      if (table === undefined) return
      const shape = shapeOf(stream)
      layoutOf(table, shape, planEvolution(table, shape)?.fields)
    },
    close: async () => {
      files.close()
      await close()
    },
  }
}
