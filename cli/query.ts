// SQL over the current snapshots of the tables, by DuckDB, columns by field id.
import { DuckDBInstance } from '@duckdb/node-api'
import { openTables } from '../sink/open-tables.ts'
import { MillraceError } from '../std/errors.ts'
import type { Command } from './command.ts'
import { parse, textTable } from './command.ts'

export interface QueryResult {
  columns: string[]
  /** Values as JSON has them: numbers where exact, else text. */
  rows: unknown[][]
}

/** Runs SQL over the tables of a data folder. Names without a schema are of the tenant `default`. Errors: query_failed. */
export async function runQuery(data: string, sql: string): Promise<QueryResult> {
  const tables = openTables(data)
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  try {
    await connection.run("SET TimeZone = 'UTC'")
    for (const statement of await tables.views()) await connection.run(statement)
    await connection.run('CREATE SCHEMA IF NOT EXISTS "default"')
    await connection.run(`SET search_path = '"default",main'`)
    const reader = await connection.runAndReadAll(sql)
    return {
      columns: reader.deduplicatedColumnNames(),
      rows: reader.getRowsJson().map((row) => row as unknown[]),
    }
  } catch (error) {
    throw new MillraceError('query_failed', (error as Error).message)
  } finally {
    connection.closeSync()
    instance.closeSync()
    tables.close()
  }
}

export const query: Command = {
  name: 'query',
  summary: 'Run SQL over the tables',
  help: `Usage: millrace query "SQL" [--data DIR] [--json | --csv]

DuckDB over the current snapshot of every table in DIR; works while Millrace runs. Tables are TENANT.TABLE; the
tenant \`default\` may be left out: telemetry, telemetry_rejected, machine. \`_receive_time\`, \`_late_ms\`,
\`_quality\`, \`_partition\`, \`_offset\`, \`_schema_id\` are columns too.

  --data DIR   data folder [./data]
  --json       one JSON object per row
  --csv        comma-separated values with a header

Example: millrace query "SELECT device_id, avg(temperature) FROM telemetry GROUP BY 1 ORDER BY 1"`,
  async run(args) {
    const { values, positionals } = parse(
      args,
      { data: { type: 'string', default: './data' }, json: { type: 'boolean' }, csv: { type: 'boolean' } },
      1,
    )
    const sql = positionals[0]
    if (sql === undefined)
      throw new MillraceError('option_invalid', 'name the SQL: millrace query "SELECT …"')
    const { columns, rows } = await runQuery(values.data!, sql)
    if (values.json === true)
      for (const row of rows)
        process.stdout.write(
          `${JSON.stringify(Object.fromEntries(columns.map((name, i) => [name, row[i]])))}\n`,
        )
    else if (values.csv === true) {
      process.stdout.write(`${columns.map(csvCell).join(',')}\n`)
      for (const row of rows) process.stdout.write(`${row.map(csvCell).join(',')}\n`)
    } else {
      process.stdout.write(`${textTable(columns, rows)}\n`)
      process.stdout.write(`(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})\n`)
    }
    return 0
  },
}

function csvCell(value: unknown): string {
  if (value === null || value === undefined) return ''
  const text = typeof value === 'object' ? JSON.stringify(value) : String(value)
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
