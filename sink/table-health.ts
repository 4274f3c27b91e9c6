// How good a table is to read: what `millrace tables health` prints. Everything comes from metadata and manifests; no
// data file is opened, so that a table of a year is judged in a moment.
import { type Catalog, printTableId, type TableId } from './catalog.ts'
import { sumOf } from './commit.ts'
import { CONTENT_DATA, type DataFile } from './iceberg/manifest.ts'
import { currentSchema, currentSnapshot } from './iceberg/metadata.ts'
import type { Store } from './store.ts'
import { liveFiles, manifestsOf } from './table-files.ts'
import { tableOrder } from './table-order.ts'

export interface TableHealth {
  table: string
  rows: number
  files: number
  bytes: number
  partitions: number
  fileBytesMedian: number
  /** Files below three quarters of the target size where their partition has another such file, and their share. */
  smallFiles: number
  smallFileShare: number
  /** Share of the rows that lie in files which declare the table's order. */
  sortedShare: number
  /** Files of its day that hold a device's rows, on average: 1 is best. */
  filesPerDevice: number
  /** Files that hold late rows, and the latest of them behind its device, in ms. */
  lateFiles: number
  lateMsMax: number
  manifests: number
  snapshots: number
  /** Row-level delete files of other engines. */
  deleteFiles: number
  oldestSnapshotAt: string | undefined
  committedAt: string | undefined
}

const SMALL_SHARE = 0.75

/** Undefined where there is no such table. `fileBytes`: what files are compacted to. */
export async function tableHealth(
  catalog: Catalog,
  store: Store,
  id: TableId,
  fileBytes: number,
): Promise<TableHealth | undefined> {
  const table = await catalog.load(id)
  if (table === undefined) return undefined
  const { metadata } = table
  const snapshot = currentSnapshot(metadata)
  const live = await liveFiles({ store }, metadata)
  const data = live
    .filter(({ manifest }) => manifest.content === CONTENT_DATA)
    .map(({ entry }) => entry.data_file)
  const partitions = Map.groupBy(data, (file) => JSON.stringify(Object.entries(file.partition)))
  const isSmall = (file: DataFile): boolean => Number(file.file_size_in_bytes) < fileBytes * SMALL_SHARE
  let smallFiles = 0
  for (const files of partitions.values()) {
    const small = files.filter(isSmall).length
    if (small > 1) smallFiles += small
  }
  const order = tableOrder(metadata)
  const rows = sumOf(data, (file) => file.record_count)
  const inOrder = data.filter((file) => order !== undefined && file.sort_order_id === order.sortOrderId)
  const lateId = currentSchema(metadata).fields.find((field) => field.name === '_late_ms')?.id
  const lateMs = data.map((file) => longBound(file, lateId))
  const times = metadata.snapshots.map((one) => one['timestamp-ms'])
  const iso = (ms: number): string => new Date(ms).toISOString()
  return {
    table: printTableId(id),
    rows,
    files: data.length,
    bytes: sumOf(data, (file) => file.file_size_in_bytes),
    partitions: partitions.size,
    fileBytesMedian: median(data.map((file) => Number(file.file_size_in_bytes))),
    smallFiles,
    smallFileShare: data.length === 0 ? 0 : smallFiles / data.length,
    sortedShare: rows === 0 ? 1 : sumOf(inOrder, (file) => file.record_count) / rows,
    filesPerDevice: order === undefined ? Number.NaN : depth([...partitions.values()], order.device.id),
    lateFiles: lateMs.filter((ms) => ms > 0).length,
    lateMsMax: Math.max(0, ...lateMs),
    manifests: snapshot === undefined ? 0 : (await manifestsOf({ store }, snapshot)).length,
    snapshots: metadata.snapshots.length,
    deleteFiles: live.length - data.length,
    oldestSnapshotAt: times.length === 0 ? undefined : iso(times.reduce((a, b) => Math.min(a, b))),
    committedAt: snapshot === undefined ? undefined : iso(snapshot['timestamp-ms']),
  }
}

function median(values: number[]): number {
  values.sort((a, b) => a - b)
  return values[values.length >> 1] ?? 0
}

/** The upper bound of a long column; 0 where there is none. */
function longBound(file: DataFile, fieldId: number | undefined): number {
  const bytes = file.upper_bounds?.find((one) => one.key === fieldId)?.value
  return bytes?.length === 8 ? Number(Buffer.from(bytes).readBigInt64LE()) : 0
}

/** For the first device of each file: how many files of its partition may hold it. The average, 1 where there are no files. */
function depth(partitions: readonly (readonly DataFile[])[], deviceId: number): number {
  let files = 0
  let hits = 0
  for (const partition of partitions) {
    const ranges = partition.map((file) => [
      bound(file.lower_bounds, deviceId),
      bound(file.upper_bounds, deviceId),
    ])
    const lower = ranges.map(([low]) => low!).sort(Buffer.compare)
    const upper = ranges.map(([, high]) => high!).sort(Buffer.compare)
    for (const at of lower) {
      // Those that begin at or before it, less those that end before it.
      files++
      hits += countUntil(lower, at, true) - countUntil(upper, at, false)
    }
  }
  return files === 0 ? 1 : hits / files
}

function bound(bounds: DataFile['lower_bounds'], fieldId: number): Buffer {
  return Buffer.from(bounds?.find((one) => one.key === fieldId)?.value ?? [])
}

/** How many of the ascending values are below `at`, or up to it. */
function countUntil(values: readonly Buffer[], at: Buffer, inclusive: boolean): number {
  let low = 0
  let high = values.length
  while (low < high) {
    const middle = (low + high) >> 1
    const order = Buffer.compare(values[middle]!, at)
    if (order < 0 || (inclusive && order === 0)) low = middle + 1
    else high = middle
  }
  return low
}
