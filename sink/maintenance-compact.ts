// Compaction: small files of a partition become few large ones, in the table's order, by REPLACE snapshots that keep
// rows and offsets as they are.
//
//   closed partition   its day is over and it got no file for a while: small files are packed into bins of the target
//                      size, and a file out of order is rewritten alone
//   open partition     files of like size (a factor of `filesToMerge`) are merged when there are that many, so that
//                      each row is rewritten once a size and a day of commits stays readable while it grows
//
// Late rows land in a closed partition by ordinary commits; the next round packs them with what is there.
//
// Safe against a crash at any point: new files are durable before the one compare-and-swap that replaces the old,
// which expiry deletes when no snapshot that stays reaches them. Safe beside commits: an append that comes first
// only moves the parent; another replacement of a file of ours makes this one stale, and its files are thrown away.
// A table with row-level deletes of another engine is left alone: rewriting its rows would bring the deleted back.
import { invariant, isMillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import { type CommitTools, commitSnapshot, discard, hasMoved, isAmbiguous, sumOf } from './commit.ts'
import { rewriteFiles, UNSORTED_ROWS_MAX } from './compact-files.ts'
import { describeFile } from './data-file.ts'
import { madeAtMs } from './file-names.ts'
import {
  ADDED,
  CONTENT_DATA,
  type DataFile,
  DELETED,
  EXISTING,
  isLive,
  type ManifestEntry,
  writeManifest,
} from './iceberg/manifest.ts'
import { describeManifest, type ManifestFile } from './iceberg/manifest-list.ts'
import { currentSchema, currentSnapshot, defaultSpec, type TableMetadata } from './iceberg/metadata.ts'
import { printDay } from './iceberg/partition.ts'
import { printOffsets, tableOffsets } from './offsets.ts'
import type { NewFile } from './store.ts'
import { entriesOf, type LiveFile, liveFiles, manifestsOf } from './table-files.ts'
import { type TableOrder, tableOrder } from './table-order.ts'

export interface CompactionOptions {
  /** Size that files are brought to; one of three quarters of it is large enough. */
  fileBytes: number
  /** Files of like size that are merged in a partition that still grows. */
  filesToMerge: number
  /** A partition is closed that long after its day and its last file. */
  closedAfterMs: number
}

export const COMPACTION_OPTIONS_DEFAULT: CompactionOptions = {
  fileBytes: 128 * 1024 * 1024,
  filesToMerge: 32,
  closedAfterMs: 600_000,
}

/** Share of the target size from which a file is large. */
const LARGE_SHARE = 0.75
/** Rows of one new file: bounds the keys that a rewrite holds in memory. */
const FILE_ROWS_MAX = 8 * 1024 * 1024
/** A merge in an open partition that makes one file of fewer is not worth its reading. */
const OPEN_FILES_MIN = 4
/** Input bytes after which what was rewritten is committed: what a crash makes do again. */
const COMMIT_BYTES = 256 * 1024 * 1024
/** So is what was rewritten that long ago: files must be in the table long before they could pass for orphans. */
const COMMIT_MS = 300_000
/** Commits of one batch that met another's replacement of a manifest. */
const TRIES_MAX = 5
const DAY_MS = 86_400_000

export interface CompactionReport {
  partitions: number
  rows: number
  filesBefore: number
  filesAfter: number
  bytesBefore: number
  bytesAfter: number
  snapshots: number
  /** Why some files were left as they are, a sentence each. */
  skipped: string[]
}

/** Files of one partition that become one. */
export interface CompactionJob {
  partition: Record<string, unknown>
  files: LiveFile[]
}

interface Rewritten {
  job: CompactionJob
  file: DataFile
}

/** Done so far, of all that is to do. */
export type CompactionProgress = (doneBytes: number, totalBytes: number) => void

/** Compacts what is worth it. `signal` ends it between two files, with what is done committed. */
export async function compact(
  tools: CommitTools,
  id: TableId,
  options: CompactionOptions,
  progress: CompactionProgress = () => {},
  signal?: AbortSignal,
): Promise<CompactionReport> {
  const report: CompactionReport = {
    partitions: 0,
    rows: 0,
    filesBefore: 0,
    filesAfter: 0,
    bytesBefore: 0,
    bytesAfter: 0,
    snapshots: 0,
    skipped: [],
  }
  const table = await tools.catalog.load(id)
  if (table === undefined || currentSnapshot(table.metadata) === undefined) return report
  const order = tableOrder(table.metadata)
  if (order === undefined) {
    report.skipped.push('its partitioning or order is not one that Millrace writes')
    return report
  }
  const live = await liveFiles(tools, table.metadata)
  if (live.some((one) => one.manifest.content !== CONTENT_DATA)) {
    report.skipped.push('it has row-level deletes of another engine; let that engine rewrite its data files')
    return report
  }
  const jobs = planCompaction(table.metadata, order, live, options, tools.clock.now())
  const totalBytes = sumOf(jobs, bytesOf)
  let doneBytes = 0
  let batch: Rewritten[] = []
  let batchBytes = 0
  let batchSinceMs = 0
  const flush = async (): Promise<void> => {
    const rewritten = batch
    batch = []
    batchBytes = 0
    if (rewritten.length > 0) await commitBatch(tools, table, rewritten, report)
  }
  try {
    for (const job of jobs) {
      if (signal?.aborted === true) break
      if (batch.length === 0) batchSinceMs = tools.clock.now()
      const rewritten = await rewriteReadable(tools, table, order, job, report.skipped)
      if (rewritten !== undefined) {
        batch.push(rewritten)
        batchBytes += bytesOf(rewritten.job)
      }
      doneBytes += bytesOf(job)
      progress(doneBytes, totalBytes)
      if (batchBytes >= COMMIT_BYTES || tools.clock.now() - batchSinceMs >= COMMIT_MS) await flush()
    }
    await flush()
  } catch (error) {
    await discard(
      tools.store,
      batch.map((one) => one.file.file_path),
    )
    throw error
  }
  return report
}

function bytesOf(job: CompactionJob): number {
  return sumOf(job.files, (one) => one.entry.data_file.file_size_in_bytes)
}

/** What is worth rewriting: see the head of this file. */
export function planCompaction(
  metadata: TableMetadata,
  order: TableOrder,
  live: readonly LiveFile[],
  options: CompactionOptions,
  nowMs: number,
): CompactionJob[] {
  const spec = defaultSpec(metadata)
  const partitions = new Map<string, LiveFile[]>()
  for (const file of live) {
    const { data_file: data } = file.entry
    if (file.manifest.partition_spec_id !== spec['spec-id']) continue
    if (data.file_format.toUpperCase() !== 'PARQUET' || file.manifest.key_metadata !== null) continue
    const key = JSON.stringify(spec.fields.map((field) => data.partition[field.name] ?? null))
    const files = partitions.get(key)
    if (files === undefined) partitions.set(key, [file])
    else files.push(file)
  }
  const jobs: CompactionJob[] = []
  for (const files of partitions.values()) {
    const { partition } = files[0]!.entry.data_file
    // Rows of one device and time stay in the order in which they were committed.
    files.sort((a, b) => Number(a.entry.sequence_number) - Number(b.entry.sequence_number))
    const small = files.filter(({ entry: { data_file: file } }) =>
      isInOrder(file, order)
        ? Number(file.file_size_in_bytes) < options.fileBytes * LARGE_SHARE
        : Number(file.record_count) <= UNSORTED_ROWS_MAX,
    )
    const bins = isClosed(partition, files, order, options, nowMs)
      ? pack(small, options).filter((bin) => bin.length > 1 || !isInOrder(bin[0]!.entry.data_file, order))
      : tiers(small, options.filesToMerge)
          .flatMap((tier) => pack(tier, options))
          .filter((bin) => bin.length >= Math.min(OPEN_FILES_MIN, options.filesToMerge))
    for (const bin of bins) jobs.push({ partition, files: bin })
  }
  return jobs
}

function isInOrder(file: DataFile, order: TableOrder): boolean {
  return file.sort_order_id !== null && file.sort_order_id === order.sortOrderId
}

function isClosed(
  partition: Record<string, unknown>,
  files: readonly LiveFile[],
  order: TableOrder,
  options: CompactionOptions,
  nowMs: number,
): boolean {
  const day = partition[order.layout.dayField]
  const endMs = typeof day === 'number' ? (day + 1) * DAY_MS : 0
  const newestMs = files.reduce(
    (newest, one) => Math.max(newest, madeAtMs(one.entry.data_file.file_path) ?? 0),
    0,
  )
  return nowMs >= Math.max(endMs, newestMs) + options.closedAfterMs
}

/** Groups of at least `count` files whose sizes are within a factor of `count`. */
function tiers(files: readonly LiveFile[], count: number): LiveFile[][] {
  const byTier = new Map<number, LiveFile[]>()
  for (const file of files) {
    const bytes = Math.max(1, Number(file.entry.data_file.file_size_in_bytes))
    const tier = Math.floor(Math.log(bytes) / Math.log(count))
    byTier.set(tier, [...(byTier.get(tier) ?? []), file])
  }
  return [...byTier.values()].filter((tier) => tier.length >= count)
}

/** First fit: bins of at most the target size, each file in the first that has room. */
function pack(files: readonly LiveFile[], options: CompactionOptions): LiveFile[][] {
  const bins: { files: LiveFile[]; bytes: number; rows: number }[] = []
  for (const file of files) {
    const bytes = Number(file.entry.data_file.file_size_in_bytes)
    const rows = Number(file.entry.data_file.record_count)
    const bin = bins.find((one) => one.bytes + bytes <= options.fileBytes && one.rows + rows <= FILE_ROWS_MAX)
    if (bin === undefined) bins.push({ files: [file], bytes, rows })
    else {
      bin.files.push(file)
      bin.bytes += bytes
      bin.rows += rows
    }
  }
  return bins.map((bin) => bin.files)
}

/**
 * A job without the files that cannot be read here (another engine's, without a page index), so that they hold up no
 * other. Undefined where too few are left, or a concurrent maintenance has removed one.
 */
async function rewriteReadable(
  tools: CommitTools,
  table: LoadedTable,
  order: TableOrder,
  job: CompactionJob,
  skipped: string[],
): Promise<Rewritten | undefined> {
  try {
    return { job, file: await rewrite(tools, table, order, job) }
  } catch (error) {
    if (!isMillraceError(error, 'table_foreign')) throw error
    skipped.push(error.message)
    const files = job.files.filter((one) => one.entry.data_file.file_path !== error.details['file'])
    if (files.length === job.files.length || files.length < 2) return undefined
    return rewriteReadable(tools, table, order, { ...job, files }, skipped)
  }
}

/** The rows of a job in one new file, durable. */
async function rewrite(
  tools: CommitTools,
  table: LoadedTable,
  order: TableOrder,
  job: CompactionJob,
): Promise<DataFile> {
  const { layout } = order
  const day = job.partition[layout.dayField] as number | null | undefined
  const bucket = layout.bucket && (job.partition[layout.bucket.field] as number | undefined)
  const place = { day: day ?? undefined, bucket }
  const files = job.files.map((one) => one.entry.data_file)
  const encoded = await rewriteFiles(tools.store, currentSchema(table.metadata), order, files, place)
  const { dataFile, parts } = describeFile(table, layout, place, encoded, tools.names)
  await tools.store.put([{ uri: dataFile.file_path, parts }])
  return dataFile
}

/**
 * Replaces the files of the batch. Each manifest that lists one of them is written anew, the replaced files marked as
 * deleted, and one manifest lists the new ones. Where another maintenance has moved the files into other manifests it
 * is planned again; where it has replaced them, the new files are thrown away.
 */
async function commitBatch(
  tools: CommitTools,
  table: LoadedTable,
  batch: readonly Rewritten[],
  report: CompactionReport,
): Promise<void> {
  const newPaths = batch.map((one) => one.file.file_path)
  const old = new Set(batch.flatMap((one) => one.job.files.map((file) => file.entry.data_file.file_path)))
  const before = batch.flatMap((one) => one.job.files.map((file) => file.entry.data_file))
  const after = batch.map((one) => one.file)
  const rowsBefore = sumOf(before, (file) => file.record_count)
  const rowsAfter = sumOf(after, (file) => file.record_count)
  invariant(rowsAfter === rowsBefore, `compaction of ${rowsBefore} rows made ${rowsAfter}`)
  let mayDelete = true
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const now = await tools.catalog.load(table.id)
    if (now === undefined || now.metadata['table-uuid'] !== table.metadata['table-uuid']) break
    let plan: Replacement | undefined
    try {
      plan = await planReplacement(tools, now, old, after)
    } catch (error) {
      if (await hasMoved(tools, now, error)) continue
      await discard(tools.store, newPaths)
      throw error
    }
    if (plan === undefined) break
    const manifestPaths = plan.newFiles.map((file) => file.uri)
    try {
      const outcome = await commitSnapshot(tools, table.id, plan.snapshotId, {
        operation: 'replace',
        change: {
          addedFiles: after.length,
          addedRows: rowsAfter,
          addedBytes: sumOf(after, (file) => file.file_size_in_bytes),
          deletedFiles: before.length,
          deletedRows: rowsBefore,
          deletedBytes: sumOf(before, (file) => file.file_size_in_bytes),
          changedPartitions: new Set(batch.map((one) => JSON.stringify(one.job.partition))).size,
        },
        newFiles: plan.newFiles,
        holds: ({ metadata }) =>
          metadata['table-uuid'] === table.metadata['table-uuid'] &&
          metadata['default-spec-id'] === table.metadata['default-spec-id'],
        manifests: plan.manifests,
        offsets: ({ metadata }) => printOffsets(tableOffsets(metadata)),
      })
      if (outcome.committed) {
        report.partitions += new Set(batch.map((one) => JSON.stringify(one.job.partition))).size
        report.rows += rowsAfter
        report.filesBefore += before.length
        report.filesAfter += after.length
        report.bytesBefore += sumOf(before, (file) => file.file_size_in_bytes)
        report.bytesAfter += sumOf(after, (file) => file.file_size_in_bytes)
        report.snapshots++
        return
      }
      mayDelete &&= outcome.mayDelete
      if (outcome.mayDelete) await discard(tools.store, manifestPaths)
    } catch (error) {
      if (!isAmbiguous(error)) await discard(tools.store, [...manifestPaths, ...(mayDelete ? newPaths : [])])
      throw error
    }
    // An unanswered try may yet replace the files: a second one could only meet it.
    if (!mayDelete) break
  }
  if (mayDelete) await discard(tools.store, newPaths)
  const days = [...new Set(batch.map((one) => dayText(one.job.partition)))]
  report.skipped.push(
    `${printTableId(table.id)}: files of ${days.join(', ')} were changed meanwhile by another writer; the next round sees them`,
  )
}

function dayText(partition: Record<string, unknown>): string {
  const day = Object.values(partition)[0]
  return typeof day === 'number' ? printDay(day) : 'null'
}

interface Replacement {
  snapshotId: number
  newFiles: NewFile[]
  manifests(
    current: readonly ManifestFile[],
    snapshotId: number,
    sequenceNumber: number | bigint,
  ): ManifestFile[] | undefined
}

/** Undefined where a file of `old` is not in the table any more. */
async function planReplacement(
  tools: CommitTools,
  table: LoadedTable,
  old: ReadonlySet<string>,
  after: readonly DataFile[],
): Promise<Replacement | undefined> {
  const { metadata } = table
  const snapshot = currentSnapshot(metadata)
  if (snapshot === undefined) return undefined
  const { names } = tools
  const spec = defaultSpec(metadata)
  const schema = currentSchema(metadata)
  const snapshotId = names.snapshotId()
  const written: { entries: ManifestEntry[]; path: string; bytes: Uint8Array }[] = []
  const write = (entries: ManifestEntry[]): void => {
    const path = `${metadata.location}/metadata/${names.uuid()}-m.avro`
    written.push({ entries, path, bytes: writeManifest(schema, spec, entries, names.bytes(16)) })
  }
  write(
    after.map((file) => ({
      status: ADDED,
      snapshot_id: snapshotId,
      sequence_number: null,
      file_sequence_number: null,
      data_file: file,
    })),
  )
  const replaced = new Set<string>()
  let found = 0
  for (const manifest of await manifestsOf(tools, snapshot)) {
    if (manifest.content !== CONTENT_DATA) return undefined
    if (manifest.partition_spec_id !== spec['spec-id']) continue
    const entries = (await entriesOf(tools, manifest)).filter(isLive)
    if (!entries.some((entry) => old.has(entry.data_file.file_path))) continue
    replaced.add(manifest.manifest_path)
    write(
      entries.map((entry) => {
        if (!old.has(entry.data_file.file_path)) return { ...entry, status: EXISTING }
        found++
        return { ...entry, status: DELETED, snapshot_id: snapshotId }
      }),
    )
  }
  if (found !== old.size) return undefined
  return {
    snapshotId,
    newFiles: written.map(({ path, bytes }) => ({ uri: path, parts: [bytes] })),
    manifests: (current, id, sequence) => {
      const others = current.filter((one) => !replaced.has(one.manifest_path))
      if (current.length - others.length !== replaced.size) return undefined
      if (others.some((one) => one.content !== CONTENT_DATA)) return undefined
      const lines = written.map(({ entries, path, bytes }) =>
        describeManifest(entries, spec, { path, byteLength: bytes.length }, id, sequence),
      )
      return [...lines, ...others]
    },
  }
}
