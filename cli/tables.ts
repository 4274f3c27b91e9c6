// Lists the tables of a data folder: rows, files, bytes, snapshots, last commit.

import { openTables } from '../sink/open-tables.ts'
import type { Command } from './command.ts'
import { bytesText, parse, textTable } from './command.ts'
import { WAREHOUSE_HELP, warehouseFlags, warehouseOfFlags } from './warehouse-options.ts'

export const tables: Command = {
  name: 'tables',
  summary: 'List the Iceberg tables',
  help: `Usage: millrace tables [--data DIR] [--catalog …] [--json]

Lists the tables of the catalog with the size of their current snapshot. Works while Millrace runs.

  --json       one JSON object per table

${WAREHOUSE_HELP}`,
  async run(args) {
    const { values } = parse(args, { ...warehouseFlags, json: { type: 'boolean' } })
    const { json, ...flags } = values
    const reader = openTables(warehouseOfFlags(flags))
    try {
      const rows = await reader.stats()
      if (json === true) for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`)
      else
        process.stdout.write(
          `${textTable(
            ['table', 'rows', 'files', 'bytes', 'snapshots', 'last commit'],
            rows.map((row) => [
              `${row.tenant}.${row.table}`,
              row.rows,
              row.files,
              bytesText(row.bytes),
              row.snapshots,
              row.committedAt ?? '–',
            ]),
          )}\n`,
        )
      return 0
    } finally {
      await reader.close()
    }
  },
}
