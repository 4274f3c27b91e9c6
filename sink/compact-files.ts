// Several data files of one partition become one, in the order (device, time).
//
//   1. keys     device and time of all rows; a file whose rows are not in order is put in order first, alone
//   2. order    one sort over the keys: the place of every row
//   3. rewrite  a stretch of that order at a time: because each file is in order, the rows of a stretch are one
//               range of each file, and only the pages of that range are decoded
//
// Memory: the files' compressed bytes, 25 bytes of keys and order a row, and one decoded stretch.
import type { ColumnBatch } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import { orderOf } from './decode.ts'
import type { DataFile } from './iceberg/manifest.ts'
import type { Schema } from './iceberg/schema.ts'
import { type FileRows, ParquetFile, readRows } from './parquet/reader.ts'
import { leavesOf, type ParquetField } from './parquet/schema.ts'
import { type EncodedFile, ParquetWriter } from './parquet/writer.ts'
import { type RowOrder, sortRows } from './sort.ts'
import type { Store } from './store.ts'
import { tableColumns } from './table-columns.ts'
import type { TableOrder } from './table-order.ts'

/** Rows of a stretch, and so of a row group, at most. */
const STRETCH_ROWS_MAX = 1_000_000
/** About how many bytes a stretch takes decoded. */
const STRETCH_BYTES_MAX = 64 * 1024 * 1024
/** Rows of a file out of order that is put in order in memory. */
export const UNSORTED_ROWS_MAX = 2_000_000

/** Rows with the order of their file. */
interface Run {
  name: string
  file: ParquetFile
  plans: FileRows['plans']
}

/**
 * One file of all rows of `files`, which must be of the partition `day` (and `bucket`); rows of one device and time stay
 * in the order of the files. Errors: `table_foreign` where a file cannot be read here, is not what its entry says, or
 * holds rows of another partition.
 */
export async function rewriteFiles(
  store: Store,
  schema: Schema,
  order: TableOrder,
  files: readonly DataFile[],
  partition: { day: number | undefined; bucket: number | undefined },
  stretchBytes = STRETCH_BYTES_MAX,
): Promise<EncodedFile> {
  const fields = tableColumns(schema.fields)
  const keyFields = fields.filter((one) => one.fieldId === order.device.id || one.fieldId === order.time.id)
  const runs: Run[] = []
  for (const file of files) runs.push(await openRun(store, fields, file))
  let keys = keysOf(keyFields, runs, order)
  const unsorted = unsortedRuns(runs, keys)
  if (unsorted.length > 0) {
    for (const at of unsorted) runs[at] = sortedRun(fields, runs[at]!, order)
    keys = keysOf(keyFields, runs, order)
  }
  const partitions = sortRows(keys)
  const [only] = partitions
  if (partitions.length !== 1 || only!.day !== partition.day || only!.bucket !== partition.bucket)
    throw new MillraceError(
      'table_foreign',
      `${files[0]!.file_path} or a file beside it has rows of another day`,
    )
  const writer = new ParquetWriter(fields, { sortingColumns: sortingColumns(order) })
  for (const stretch of stretches(fields, runs, only!.indices, stretchRows(fields, files, stretchBytes)))
    writer.writeSlices([stretch])
  return writer.finish()
}

export function sortingColumns(order: TableOrder): { fieldId: number; nullsFirst: boolean }[] {
  return [order.device, order.time].map((field) => ({ fieldId: field.id, nullsFirst: true }))
}

async function openRun(store: Store, fields: readonly ParquetField[], dataFile: DataFile): Promise<Run> {
  const name = dataFile.file_path
  const file = new ParquetFile(name, await store.read(name))
  if (file.rowCount !== Number(dataFile.record_count))
    throw new MillraceError(
      'table_foreign',
      `${name} has ${file.rowCount} rows, its manifest says ${dataFile.record_count}`,
      { file: name },
    )
  return { name, file, plans: file.plan(fields) }
}

/** The same rows in order, as a file in memory. */
function sortedRun(fields: readonly ParquetField[], run: Run, order: TableOrder): Run {
  const { name, file } = run
  if (file.rowCount > UNSORTED_ROWS_MAX)
    throw new MillraceError(
      'table_foreign',
      `${name} has ${file.rowCount} rows that are not in the table's order; at most ${UNSORTED_ROWS_MAX} are put in order here`,
      { file: name },
    )
  const batch = readRows(fields, [{ ...run, from: 0, to: file.rowCount }])
  const keys = orderOf(batch, { ...order.layout, bucket: undefined })
  const writer = new ParquetWriter(fields)
  for (const { indices } of sortRows(keys))
    writer.writeSlices([{ batch, from: 0, to: indices.length, order: indices }])
  const sorted = new ParquetFile(name, new Uint8Array(Buffer.concat(writer.finish().parts)))
  return { name, file: sorted, plans: sorted.plan(fields) }
}

/** Of all rows, one run after the other. */
function keysOf(keyFields: readonly ParquetField[], runs: readonly Run[], order: TableOrder): RowOrder {
  const slices = runs.map(({ file }) => ({ file, plans: file.plan(keyFields), from: 0, to: file.rowCount }))
  return orderOf(readRows(keyFields, slices), order.layout)
}

/** Runs whose rows are not in order, whatever their entries say. */
function unsortedRuns(runs: readonly Run[], { deviceOf, rankOf, times }: RowOrder): number[] {
  const unsorted: number[] = []
  let first = 0
  runs.forEach(({ file }, run) => {
    const end = first + file.rowCount
    for (let row = first + 1; row < end; row++) {
      const step = rankOf[deviceOf[row]!]! - rankOf[deviceOf[row - 1]!]!
      if (step > 0 || (step === 0 && times[row]! >= times[row - 1]!)) continue
      unsorted.push(run)
      break
    }
    first = end
  })
  return unsorted
}

function stretchRows(
  fields: readonly ParquetField[],
  files: readonly DataFile[],
  stretchBytes: number,
): number {
  let bytes = 0
  let rows = 0
  for (const file of files) {
    bytes += Number(file.file_size_in_bytes)
    rows += Number(file.record_count)
  }
  // Decoded, a value takes 8 bytes or what its text takes, which compresses to a half at best guess.
  const rowBytes = 8 * leavesOf(fields).length + (2 * bytes) / rows
  return Math.max(1, Math.min(STRETCH_ROWS_MAX, Math.floor(stretchBytes / rowBytes)))
}

interface Stretch {
  batch: ColumnBatch
  from: number
  to: number
  order: Uint32Array
}

/** The rows of all runs in `order` (places in the runs, one after the other), some at a time. */
function* stretches(
  fields: readonly ParquetField[],
  runs: readonly Run[],
  order: Uint32Array,
  rowsMax: number,
): Generator<Stretch> {
  const firstRow = new Float64Array(runs.length)
  const runOf = new Uint32Array(order.length)
  let rows = 0
  runs.forEach(({ file }, run) => {
    firstRow[run] = rows
    runOf.fill(run, rows, rows + file.rowCount)
    rows += file.rowCount
  })
  /** Row of each run that comes next, and how many of it are in the stretch. */
  const next = new Float64Array(runs.length)
  const counts = new Float64Array(runs.length)
  const base = new Float64Array(runs.length)
  for (let from = 0; from < order.length; from += rowsMax) {
    const to = Math.min(order.length, from + rowsMax)
    counts.fill(0)
    for (let at = from; at < to; at++) counts[runOf[order[at]!]!]!++
    const slices: FileRows[] = []
    let placed = 0
    runs.forEach(({ file, plans }, run) => {
      base[run] = placed
      if (counts[run] === 0) return
      slices.push({ file, plans, from: next[run]!, to: next[run]! + counts[run]! })
      placed += counts[run]!
    })
    const places = new Uint32Array(to - from)
    for (let at = from; at < to; at++) {
      const run = runOf[order[at]!]!
      places[at - from] = base[run]! + (order[at]! - firstRow[run]! - next[run]!)
    }
    for (let run = 0; run < runs.length; run++) next[run]! += counts[run]!
    yield { batch: readRows(fields, slices), from: 0, to: to - from, order: places }
  }
}
