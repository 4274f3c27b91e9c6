// SQL over the current snapshots of the tables, by DuckDB, columns by field id.
import { DuckDBInstance, type DuckDBResultReader } from '@duckdb/node-api'
import type { Fetched } from '../sink/fetch-files.ts'
import { openTables } from '../sink/open-tables.ts'
import type { WarehouseConfig } from '../sink/open-warehouse.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { arrowFile } from './arrow-result.ts'
import type { Command } from './command.ts'
import { bytesText, count, parse, textTable, writeLines } from './command.ts'
import { WAREHOUSE_HELP, warehouseFlags, warehouseOfFlags } from './warehouse-options.ts'

export interface QueryResult {
  columns: string[]
  /** Values as JSON has them: numbers where exact, else text. */
  rows: unknown[][]
}

/** Runs SQL over the tables. Names without a schema are of the tenant `default`. Errors: query_failed, and the catalog's and the store's. */
export function runQuery(
  warehouse: WarehouseConfig,
  sql: string,
  onFetched?: OnFetched,
): Promise<QueryResult> {
  return read(
    warehouse,
    sql,
    (reader) => ({ columns: reader.deduplicatedColumnNames(), rows: reader.getRowsJson() as unknown[][] }),
    onFetched,
  )
}

type OnFetched = (fetched: Fetched) => void

async function read<T>(
  warehouse: WarehouseConfig,
  sql: string,
  take: (reader: DuckDBResultReader) => T,
  onFetched: OnFetched = () => {},
): Promise<T> {
  const tables = openTables(warehouse)
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run("SET TimeZone = 'UTC'")
    const views = await tables.views(sql)
    if (tables.fetched !== undefined) onFetched(tables.fetched)
    for (const statement of views) await connection.run(statement)
    await connection.run('CREATE SCHEMA IF NOT EXISTS "default"')
    await connection.run(`SET search_path = '"default",main'`)
    return take(await connection.runAndReadAll(sql))
  } catch (error) {
    throw isMillraceError(error) ? error : new MillraceError('query_failed', (error as Error).message)
  } finally {
    connection.closeSync()
    instance.closeSync()
    await tables.close()
  }
}

export const query: Command = {
  name: 'query',
  summary: 'Run SQL over the tables',
  help: `Usage: millrace query "SQL" [--data DIR] [--catalog …] [--json | --csv | --arrow]

DuckDB over the current snapshot of every table; works while Millrace runs. Tables are TENANT.TABLE; the tenant
\`default\` may be left out: telemetry, telemetry_rejected, machine. \`_receive_time\`, \`_late_ms\`, \`_quality\`,
\`_log_partition\`, \`_offset\`, \`_schema_id\` are columns too.

Tables in an object store: the files of those that the SQL names are fetched, whole, into a temporary folder, which
is removed at the end. For large ones use an engine that reads from there itself.

  --json       one JSON object per row
  --csv        comma-separated values with a header
  --arrow      an Arrow IPC file (Feather V2), for pandas, polars, DuckDB: … --arrow > rows.arrow

${WAREHOUSE_HELP}

Example: millrace query "SELECT device_id, avg(temperature) FROM telemetry GROUP BY 1 ORDER BY 1"`,
  async run(args) {
    const { values, positionals } = parse(
      args,
      { ...warehouseFlags, json: { type: 'boolean' }, csv: { type: 'boolean' }, arrow: { type: 'boolean' } },
      1,
    )
    const { json, csv, arrow, ...flags } = values
    const sql = positionals[0]
    if (sql === undefined)
      throw new MillraceError('option_invalid', 'name the SQL: millrace query "SELECT …"')
    const formats = Object.entries({ json, csv, arrow }).filter(([, isWanted]) => isWanted)
    if (formats.length > 1)
      throw new MillraceError(
        'option_invalid',
        `read ${formats.map(([name]) => `--${name}`).join(' and ')}, expected one of them`,
      )
    const onFetched: OnFetched = ({ folder, files, bytes }) =>
      process.stderr.write(`fetched ${count(files)} files, ${bytesText(bytes)}, into ${folder}\n`)
    if (arrow === true) {
      const file = await read(warehouseOfFlags(flags), sql, arrowOf, onFetched)
      // A terminal cannot show it, and may do strange things with it.
      if (process.stdout.isTTY)
        throw new MillraceError('option_invalid', '--arrow writes bytes: send them to a file, > rows.arrow')
      process.stdout.write(file)
      return 0
    }
    const { columns, rows } = await runQuery(warehouseOfFlags(flags), sql, onFetched)
    const asJson = (row: (typeof rows)[number]): string =>
      JSON.stringify(Object.fromEntries(columns.map((name, i) => [name, row[i]])))
    if (json === true) await writeLines(rows, asJson)
    else if (csv === true) await writeLines([columns, ...rows], (row) => row.map(csvCell).join(','))
    else {
      process.stdout.write(`${textTable(columns, rows)}\n`)
      process.stdout.write(`(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})\n`)
    }
    return 0
  },
}

const arrowOf = (reader: DuckDBResultReader): Uint8Array =>
  arrowFile(reader.deduplicatedColumnNames(), reader.columnTypes(), reader.getColumns())

function csvCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
