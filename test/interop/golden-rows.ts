// The golden tables as engines are asked for them in SQL, and their rows compared with what was sent.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { parseJson } from '../../sink/iceberg/json.ts'
import type { GoldenTable, GoldenTables } from '../golden-maker.ts'
import type { Row } from './readers.ts'

/** Metadata file of each table by its name. */
export function metadataLocations({ catalog }: GoldenTables): Map<string, string> {
  const db = new DatabaseSync(catalog, { readOnly: true })
  const rows = db.prepare('SELECT table_namespace, table_name, metadata_location FROM iceberg_tables').all()
  db.close()
  return new Map(
    rows.map((row) => [`${row['table_namespace']}.${row['table_name']}`, String(row['metadata_location'])]),
  )
}

/** Every row and every value, to the sign of zero. */
export function compareGolden(engine: string, table: GoldenTable, found: readonly Row[]): void {
  const wanted = fs
    .readFileSync(table.rowsFile, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseJson(line) as Row)
  const order = (row: Row): number => Number(row['_log_partition']) * 2 ** 40 + Number(row['_offset'])
  const what = `${engine}: ${table.name} ${table.snapshot ?? 'now'}`
  const sorted = [...found].sort((a, b) => order(a) - order(b))
  assert.equal(sorted.length, wanted.length, `${what}: rows`)
  assert.deepEqual(Object.keys(sorted[0] ?? {}), Object.keys(wanted[0] ?? {}), `${what}: columns`)
  for (const [i, row] of wanted.entries()) assert.deepEqual(sorted[i], row, `${what}: row ${i}`)
}
