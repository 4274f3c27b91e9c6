// Lists the tables of a data folder: rows, files, bytes, snapshots, last commit.

import { openTables } from '../sink/open-tables.ts'
import type { Command } from './command.ts'
import { bytesText, parse, textTable } from './command.ts'

export const tables: Command = {
  name: 'tables',
  summary: 'List the Iceberg tables',
  help: `Usage: millrace tables [--data DIR] [--json]

Lists the tables of the catalog in DIR with the size of their current snapshot. Works while Millrace runs.

  --data DIR   data folder [./data]
  --json       one JSON object per table`,
  async run(args) {
    const { values } = parse(args, { data: { type: 'string', default: './data' }, json: { type: 'boolean' } })
    const reader = openTables(values.data!)
    try {
      const rows = await reader.stats()
      if (values.json === true) for (const row of rows) process.stdout.write(`${JSON.stringify(row)}\n`)
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
      reader.close()
    }
  },
}
