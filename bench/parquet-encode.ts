// Case: column batches to Parquet files with zstd 1: rows a second of one core, bytes a row
//
// A million rows of 10,000 devices, sorted by device and event time: device id, event time, six random walks
// rounded to three decimals, a status of four values. One file a run, in memory. Before the runs DuckDB reads a
// file back and its sums are compared with the rows'.
//
// Peers on the same rows, run by run in turn: parquet-wasm from an Arrow stream, in this process, and pyarrow, where
// `make bench-peers` has installed it, with its dictionary columns as they come, on one thread and to memory (to a
// file or to a Python stream it takes no less). All are one thread's work, so the ratio is that of CPU time, which a busy
// machine changes least.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { DuckDBInstance } from '@duckdb/node-api'
import { tableToIPC } from 'apache-arrow'
import { Compression, Table, WriterPropertiesBuilder, writeParquet } from 'parquet-wasm/node'
import type { ColumnBatch } from '../schemas/columns.ts'
import { parquetFields } from '../sink/parquet/number-fields.ts'
import { TELEMETRY_FIELDS, telemetryRows } from '../sink/parquet/telemetry-rows.ts'
import { type EncodedFile, ParquetWriter } from '../sink/parquet/writer.ts'
import { arrowTable } from './arrow-table.ts'
import {
  caseArguments,
  caseResult,
  packageVersion,
  peer,
  printResult,
  type Run,
  round,
  rounds,
  type Summary,
  summarise,
  timed,
} from './harness.ts'
import type { Peer } from './result.ts'

const ROWS = 1_000_000
const ROWS_SMOKE = 20_000
const DEVICES = 10_000
const FIELDS = parquetFields(TELEMETRY_FIELDS)
/** Where `make bench-peers` and `make test-interop` install it. */
const PYTHONS = ['.peers', '.interop'].map((folder) =>
  path.resolve(import.meta.dirname, '..', folder, 'venv/bin/python'),
)
const INSTALL_PEERS = path.join(import.meta.dirname, 'install-peers')
const PYARROW = path.join(import.meta.dirname, 'parquet_pyarrow.py')

function encode(batch: ColumnBatch): EncodedFile {
  const writer = new ParquetWriter(FIELDS)
  writer.writeRowGroup(batch)
  return writer.finish()
}

/** What DuckDB finds in the file against what the batch holds. */
async function verify(file: string, batch: ColumnBatch): Promise<string> {
  const instance = await DuckDBInstance.create(':memory:')
  const connection = await instance.connect()
  const found = await connection.runAndReadAll(
    `select count(*)::double n, count(distinct device_id)::double devices, sum(reading_0) total from '${file}'`,
  )
  connection.closeSync()
  const row = found.getRowObjects()[0]!
  const readings = batch.columns[2]!
  let total = 0
  if (readings.layout === 'words') for (const value of readings.values) total += value
  if (row['n'] !== batch.rowCount || Math.abs((row['total'] as number) - total) > 1e-3)
    throw new Error(`DuckDB reads ${JSON.stringify(row)}, not ${batch.rowCount} rows of total ${total}`)
  return `${row['n']} rows of ${row['devices']} devices read back by DuckDB`
}

function cpuPeer(name: string, version: string, bytesPerRow: number, theirs: Summary, ours: Summary): Peer {
  const ratio = round(theirs.cpuUsPerMessage / ours.cpuUsPerMessage, 2)
  return { ...peer(name, version, theirs, ours), ratio, ratioOf: 'cpu', bytesPerRow: round(bytesPerRow, 2) }
}

interface PyarrowRun {
  files: number
  seconds: number
  cpuSeconds: number
  byteLength: number
}

/** pyarrow in a process of its own, which encodes when it is told to: so the runs take turns. */
class Pyarrow {
  readonly version: string
  byteLength = 0
  readonly #process: ChildProcess
  readonly #answers: AsyncIterator<string>

  private constructor(process: ChildProcess, answers: AsyncIterator<string>, version: string) {
    this.#process = process
    this.#answers = answers
    this.version = version
  }

  /** Undefined where it is not installed, and cannot be. */
  static async start(file: string, mayInstall: boolean): Promise<Pyarrow | undefined> {
    const installed = (): string | undefined =>
      PYTHONS.find((one) => spawnSync(one, ['-c', 'import pyarrow']).status === 0)
    // What it says is no result: not to stdout.
    if (mayInstall && installed() === undefined)
      spawnSync(INSTALL_PEERS, ['pyarrow'], { stdio: ['ignore', process.stderr, 'inherit'] })
    const python = installed()
    if (python === undefined) return undefined
    const child = spawn(python, [PYARROW, file], { stdio: ['pipe', 'pipe', 'inherit'] })
    const answers = createInterface(child.stdout)[Symbol.asyncIterator]()
    const { version } = JSON.parse((await answers.next()).value as string) as { version: string }
    return new Pyarrow(child, answers, version)
  }

  async run(seconds: number, rowCount: number): Promise<Run> {
    this.#process.stdin!.write(`${seconds}\n`)
    const run = JSON.parse((await this.#answers.next()).value as string) as PyarrowRun
    this.byteLength = run.byteLength
    return { messages: run.files * rowCount, seconds: run.seconds, cpuSeconds: run.cpuSeconds }
  }

  stop(): void {
    this.#process.stdin!.end()
  }
}

async function main(): Promise<void> {
  const args = caseArguments(1)
  const rowCount = args.smoke ? ROWS_SMOKE : ROWS
  const batch = telemetryRows(rowCount, Math.min(DEVICES, rowCount / 100), args.seed)
  const ipc = tableToIPC(arrowTable(batch), 'stream')
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-bench-'))
  const file = path.join(folder, 'ours.parquet')
  let python: Pyarrow | undefined
  try {
    const encoded = encode(batch)
    fs.writeFileSync(file, Buffer.concat(encoded.parts))
    const verified = await verify(file, batch)
    let wasmBytes = 0
    const wasm = (): number => {
      const properties = new WriterPropertiesBuilder().setCompression(Compression.ZSTD).build()
      wasmBytes = writeParquet(Table.fromIPCStream(ipc), properties).length
      return rowCount
    }
    if (!args.noPeers) python = await Pyarrow.start(file, !args.smoke)
    const ours: Run[] = []
    const theirs: Run[] = []
    const pythons: Run[] = []
    for (const run of rounds(args.runs + 1, 'runs', 2)) {
      const mine = timed(args.seconds, () => encode(batch).recordCount)
      const pyarrow = await python?.run(args.seconds, rowCount)
      const other = args.noPeers ? undefined : timed(args.seconds / 2, wasm)
      // The first run of each warms up.
      if (run === 0 && !args.smoke) continue
      ours.push(mine)
      if (other !== undefined) theirs.push(other)
      if (pyarrow !== undefined) pythons.push(pyarrow)
    }
    const summary = summarise(ours)
    const peers: Peer[] = []
    if (theirs.length > 0)
      peers.push(
        cpuPeer(
          'parquet-wasm',
          packageVersion('parquet-wasm'),
          wasmBytes / rowCount,
          summarise(theirs),
          summary,
        ),
      )
    if (python !== undefined)
      peers.push(
        cpuPeer('pyarrow', python.version, python.byteLength / rowCount, summarise(pythons), summary),
      )
    const bytesPerRow = round(encoded.byteLength / rowCount, 2)
    printResult(
      {
        ...caseResult('parquet-encode', args, 'rows/s', summary, verified, peers),
        bytesPerRow,
        ...(python !== undefined || args.noPeers
          ? {}
          : { notes: ['pyarrow is not measured: it is not installed (make bench-peers)'] }),
      },
      args,
    )
  } finally {
    python?.stop()
    fs.rmSync(folder, { recursive: true })
  }
}

await main()
