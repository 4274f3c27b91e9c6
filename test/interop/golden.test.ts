// The golden tables are read by engines of others, and all values compared with their source.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { makeGoldenTables } from '../golden-tables.ts'
import { temporaryFolder } from '../millrace-process.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')

test('PyIceberg reads every golden table, and finds rows by every column', async (t) => {
  const dir = temporaryFolder(t)
  await makeGoldenTables(dir)
  // What differs is printed, and it exits 1.
  execFileSync(PYTHON, [path.join(import.meta.dirname, 'golden_pyiceberg.py'), dir], { stdio: 'inherit' })
})
