// Expiry: old snapshots leave the table by one compare-and-swap, and then the files that only they reached are
// deleted. A crash in between leaves orphans, which orphan removal finds.
//
// The usual case: history is a line, so a file that left it never comes back. Then it is enough to compare the
// expired snapshots with the oldest that stays. After a rollback or a branch history is a tree, and everything
// that stays is read.
import { isMillraceError } from '../std/errors.ts'
import type { LoadedTable } from './catalog.ts'
import { type CommitTools, discard, hasMoved, isAmbiguous, sumOf } from './commit.ts'
import { type DataFile, DELETED, isLive } from './iceberg/manifest.ts'
import type { ManifestFile } from './iceberg/manifest-list.ts'
import { ancestry, MAIN, type TableMetadata } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'
import type { Requirement } from './iceberg/updates.ts'
import { expiredSnapshots, type RetentionOptions } from './snapshot-retention.ts'
import { entriesOf, manifestsOf } from './table-files.ts'

export interface Expiry {
  table: LoadedTable
  /** Another commit came first, or there was no answer: nothing was removed, and it is worth another look. */
  conflict: boolean
  snapshots: number
  /** Files deleted: data, manifests, manifest lists. */
  files: number
  /** Rows and bytes of the data files among them, bytes of the manifests too. */
  rows: number
  bytes: number
}

/** Removes the snapshots that are to go (snapshot-retention.ts), then the files that only they reached. */
export async function expireSnapshots(
  tools: CommitTools,
  table: LoadedTable,
  options: RetentionOptions,
): Promise<Expiry> {
  const { metadata } = table
  const expired = expiredSnapshots(metadata, options, tools.clock.now())
  const none = { table, snapshots: 0, files: 0, rows: 0, bytes: 0 }
  if (expired.length === 0) return { ...none, conflict: false }
  let after: LoadedTable
  try {
    after = await tools.catalog.commit(
      table.id,
      [
        { type: 'assert-table-uuid', uuid: metadata['table-uuid'] },
        // A catalog drops a reference whose snapshot goes: none may have moved to one of those meanwhile.
        ...[MAIN, ...Object.keys(metadata.refs)].map(
          (ref): Requirement => ({
            type: 'assert-ref-snapshot-id',
            ref,
            'snapshot-id': metadata.refs[ref]?.['snapshot-id'] ?? null,
          }),
        ),
      ],
      [{ action: 'remove-snapshots', 'snapshot-ids': expired.map((one) => one['snapshot-id']) }],
    )
  } catch (error) {
    if (!isMillraceError(error, 'table_conflict') && !isAmbiguous(error)) throw error
    return { ...none, conflict: true }
  }
  // What stays is what the table has after the commit: another writer may have made a branch meanwhile.
  const kept = after.metadata.snapshots
  const refuse = await unreachableFiles(tools, [...ancestry(metadata)], expired, kept).catch(
    async (error: unknown) => {
      // Another expiry has been here meanwhile; what this one leaves are orphans.
      if (!(await hasMoved(tools, after, error))) throw error
      return { uris: [], rows: 0, bytes: 0 }
    },
  )
  const { rows, bytes } = refuse
  const uris = [...refuse.uris, ...lostStatistics(metadata, after.metadata)]
  await discard(tools.store, uris)
  return { table: after, conflict: false, snapshots: expired.length, files: uris.length, rows, bytes }
}

/** Statistics that another engine made of snapshots that have gone. */
function lostStatistics(before: TableMetadata, after: TableMetadata): string[] {
  const paths = ({ statistics = [], 'partition-statistics': ofPartitions = [] }: TableMetadata): string[] =>
    [...statistics, ...ofPartitions].map((one) => one['statistics-path'])
  const kept = new Set(paths(after))
  return paths(before).filter((uri) => !kept.has(uri))
}

interface Refuse {
  uris: string[]
  rows: number
  bytes: number
}

/** Files that only expired snapshots reached: data files first, so that a crash never hides one behind a deleted manifest list. */
async function unreachableFiles(
  tools: CommitTools,
  line: readonly Snapshot[],
  expired: readonly Snapshot[],
  kept: readonly Snapshot[],
): Promise<Refuse> {
  const keptIds = new Set(kept.map((one) => one['snapshot-id']))
  const oldest = line.findLast((one) => keptIds.has(one['snapshot-id']))
  // A line: all that stays descends from `oldest`, all that goes is before it.
  const after = new Set(line.slice(0, oldest === undefined ? 0 : line.indexOf(oldest) + 1))
  const before = new Set(line.slice(after.size))
  const isLine = kept.every((one) => after.has(one)) && expired.every((one) => before.has(one))

  const reached = new Map<string, ManifestFile>()
  for (const snapshot of isLine ? [oldest!] : kept)
    for (const manifest of await manifestsOf(tools, snapshot)) reached.set(manifest.manifest_path, manifest)
  const lost = new Map<string, ManifestFile>()
  const all = new Map(reached)
  for (const snapshot of expired)
    for (const manifest of await manifestsOf(tools, snapshot)) {
      all.set(manifest.manifest_path, manifest)
      if (!reached.has(manifest.manifest_path)) lost.set(manifest.manifest_path, manifest)
    }

  const files = new Map<string, DataFile>()
  if (isLine) {
    // A file left the line where a manifest says so; it was live in a snapshot before, which is gone.
    const gone = new Set(expired.map((one) => one['snapshot-id']))
    for (const manifest of all.values()) {
      if (manifest.deleted_files_count === 0) continue
      if (!gone.has(manifest.added_snapshot_id) && manifest.added_snapshot_id !== oldest!['snapshot-id'])
        continue
      for (const entry of await entriesOf(tools, manifest))
        if (entry.status === DELETED) files.set(entry.data_file.file_path, entry.data_file)
    }
  } else {
    for (const manifest of lost.values())
      for (const entry of await entriesOf(tools, manifest))
        files.set(entry.data_file.file_path, entry.data_file)
    for (const manifest of reached.values()) {
      if (files.size === 0) break
      for (const entry of await entriesOf(tools, manifest))
        if (isLive(entry)) files.delete(entry.data_file.file_path)
    }
  }
  const data = [...files.values()]
  return {
    uris: [...files.keys(), ...lost.keys(), ...expired.map((one) => one['manifest-list'])],
    rows: sumOf(data, (file) => file.record_count),
    bytes:
      sumOf(data, (file) => file.file_size_in_bytes) +
      sumOf([...lost.values()], (manifest) => manifest.manifest_length),
  }
}
