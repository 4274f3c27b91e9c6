// The tables of a data folder, read-only and beside a running process: for `query`, `tables`, the account, and the
// question whether a table can follow a changed contract.
import fs from 'node:fs'
import path from 'node:path'
import type { CompiledStream } from '../schemas/contract.ts'
import { tableOf } from '../schemas/names.ts'
import { NodeDisk } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { PointerCatalog } from './catalog.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { layoutOf, planEvolution } from './ensure-table.ts'
import { Names, systemClock } from './file-names.ts'
import { listAllTables, type TableStats, tableStats, viewStatements } from './read-tables.ts'
import { fileUri, LocalStore } from './store.ts'
import { shapeOf } from './streams.ts'

/** Name of the catalog in catalog.db, which readers must give as theirs. */
const CATALOG_NAME = 'millrace'

export interface TablesReader {
  stats(): Promise<TableStats[]>
  /** Statements that make a view of each table (`tenant.table`). */
  views(): Promise<string[]>
  /** Throws why the stream's table cannot become what the stream wants: `schema_incompatible`, `table_foreign`. */
  requireFit(stream: CompiledStream): Promise<void>
  close(): void
}

/** Errors: option_invalid where the folder holds no catalog. */
export function openTables(data: string): TablesReader {
  const folder = path.resolve(data)
  const file = path.join(folder, 'catalog.db')
  if (!fs.existsSync(file))
    throw new MillraceError(
      'option_invalid',
      `--data ${data}: no catalog.db there; start Millrace with that folder first`,
    )
  const pointers = new SqlitePointers(file, CATALOG_NAME, { readOnly: true })
  const store = new LocalStore(new NodeDisk())
  const catalog = new PointerCatalog(
    CATALOG_NAME,
    pointers,
    store,
    fileUri(path.join(folder, 'warehouse')),
    new Names(systemClock),
    systemClock,
  )
  return {
    stats: async () => {
      const stats: TableStats[] = []
      for (const id of await listAllTables(catalog)) {
        const one = await tableStats(catalog, store, id)
        if (one !== undefined) stats.push(one)
      }
      return stats
    },
    views: () => viewStatements(catalog, store),
    requireFit: async (stream) => {
      const table = await catalog.load({ namespace: stream.tenant, name: tableOf(stream.stream) })
      if (table === undefined) return
      const shape = shapeOf(stream)
      layoutOf(table, shape, planEvolution(table, shape)?.fields)
    },
    close: () => pointers.close(),
  }
}
