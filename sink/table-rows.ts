// The rows of a table's current snapshot as column batches, file after file: for replays of rejected records, and
// for tests. Row-level deletes of other engines are refused, not ignored.
import type { ColumnBatch } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId } from './catalog.ts'
import { CONTENT_DATA } from './iceberg/manifest.ts'
import { currentSchema } from './iceberg/metadata.ts'
import { ParquetFile, readRows } from './parquet/reader.ts'
import type { Store } from './store.ts'
import { tableColumns } from './table-columns.ts'
import { liveFiles } from './table-files.ts'

/** Rows of one batch, which bounds memory. */
const BATCH_ROWS_MAX = 50_000

/** Batches with the table's columns, or with those named. Errors: `table_foreign`. */
export async function* tableRows(
  store: Store,
  table: LoadedTable,
  names?: readonly string[],
): AsyncGenerator<ColumnBatch> {
  const all = tableColumns(
    currentSchema(table.metadata).fields.filter((field) => names?.includes(field.name) ?? true),
  )
  const live = await liveFiles({ store }, table.metadata)
  // Before the first row: a reader that acts on rows must not get those that are deleted.
  if (live.some(({ manifest }) => manifest.content !== CONTENT_DATA))
    throw new MillraceError(
      'table_foreign',
      `table ${printTableId(table.id)} has row-level deletes of another engine, which are not applied here: let that engine rewrite its data files`,
    )
  for (const { entry } of live) {
    const { file_path: name } = entry.data_file
    const file = new ParquetFile(name, await store.read(name))
    const plans = file.plan(all)
    for (let from = 0; from < file.rowCount; from += BATCH_ROWS_MAX)
      yield readRows(all, [{ file, plans, from, to: Math.min(file.rowCount, from + BATCH_ROWS_MAX) }])
  }
}
