// Rows of tables as engines of others find them, each in its own process, all in one form: see pyiceberg_read.py.
// Integers are exact (iceberg/json.ts).
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { text } from 'node:stream/consumers'
import { parseJson } from '../../sink/iceberg/json.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')
/** Spark takes half a minute to a minute on two free cores. */
const READ_MS_MAX = 300_000

export type Row = Record<string, unknown>

/** Not synchronously: who writes the output of servers away is this process. */
async function run(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  input = '',
): Promise<Row[]> {
  const child = spawn(PYTHON, [path.join(import.meta.dirname, script), ...args], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
    timeout: READ_MS_MAX,
    killSignal: 'SIGKILL',
  })
  child.stdin.end(input)
  const [stdout, stderr, [code]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'exit'),
  ])
  assert.equal(code, 0, `${script} ${args.join(' ')}:\n${stderr.slice(-4000)}`)
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => parseJson(line) as Row)
}

/** `where`: a data folder, or the address of a REST catalog. */
export function readPyIceberg(where: string, table: string, env: NodeJS.ProcessEnv = {}): Promise<Row[]> {
  return run('pyiceberg_read.py', [where, table], env)
}

/** Rows of each query. Tables of a REST catalog are `lake.NAMESPACE.TABLE`, others `iceberg_scan('METADATA_LOCATION')`. */
export function readDuckDb(
  where: { rest?: string },
  queries: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Row[][]> {
  return runQueries('duckdb_read.py', where, queries, env)
}

/**
 * Rows of each query, in one start of Spark (about half a minute). Tables of a data folder are
 * `millrace.NAMESPACE.TABLE`, those of a REST catalog `rest.NAMESPACE.TABLE`.
 */
export function readSpark(
  where: { data?: string; rest?: string },
  queries: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Row[][]> {
  return runQueries('spark_read.py', where, queries, env)
}

async function runQueries(
  script: string,
  where: object,
  queries: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<Row[][]> {
  const results: Row[][] = []
  for (const row of await run(script, [], env, JSON.stringify({ ...where, queries }))) {
    const [first] = Object.keys(row)
    if (first === 'query') results.push([])
    else if (first === 'error') assert.fail(`${queries[results.length - 1]}: ${row['error']}`)
    else results.at(-1)!.push(row)
  }
  return results
}
