// The golden tables are read by engines of others, and all values compared with their source. Spark reads them in the
// one start of rest-s3.test.ts.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { makeGoldenTables } from '../golden-tables.ts'
import { temporaryFolder } from '../millrace-process.ts'
import { compareGolden, metadataLocations } from './golden-rows.ts'
import { readDuckDb } from './readers.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')

test('PyIceberg reads every golden table, and finds rows by every column', async (t) => {
  const dir = temporaryFolder(t)
  await makeGoldenTables(dir)
  // What differs is printed, and it exits 1.
  execFileSync(PYTHON, [path.join(import.meta.dirname, 'golden_pyiceberg.py'), dir], { stdio: 'inherit' })
})

test('DuckDB’s Iceberg extension reads every golden table', async (t) => {
  const golden = await makeGoldenTables(temporaryFolder(t))
  const at = metadataLocations(golden)
  const found = await readDuckDb(
    {},
    golden.tables.map(({ name, snapshot }) => {
      const asOf = snapshot === undefined ? '' : `, snapshot_from_id => ${snapshot}`
      return `SELECT * FROM iceberg_scan('${at.get(name)}'${asOf})`
    }),
  )
  for (const [i, table] of golden.tables.entries()) compareGolden('DuckDB', table, found[i]!)
})
