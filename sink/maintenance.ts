// What keeps a table good to read after a year of small commits: old snapshots expire, many small manifests
// become one, files that nothing refers to are removed. Each step is safe against a crash at any point and
// against commits of others: it first changes the table by one compare-and-swap, and only then deletes what
// the new state does not reach. A crash in between leaves orphans, which the last step finds.
//
// Expiry, the usual case: history is a line, so a file that left it never comes back. Then it is enough to
// compare the expired snapshots with the oldest that stays. After a rollback or a branch history is a tree,
// and everything that stays is read.
import { isMillraceError } from '../std/errors.ts'
import type { LoadedTable } from './catalog.ts'
import { type CommitTools, commitSnapshot, discard, isAmbiguous } from './commit.ts'
import { madeAtMs } from './file-names.ts'
import type { Int64 } from './iceberg/json.ts'
import {
  DELETED,
  EXISTING,
  isLive,
  type ManifestEntry,
  readManifest,
  writeManifest,
} from './iceberg/manifest.ts'
import {
  canDescribe,
  describeManifest,
  type ManifestFile,
  readManifestList,
} from './iceberg/manifest-list.ts'
import { ancestry, currentSchema, currentSnapshot, MAIN, specById } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'
import { printOffsets, tableOffsets } from './offsets.ts'
import type { SinkCounter } from './sink-counters.ts'

export interface MaintenanceOptions {
  /** Snapshots older than this expire. */
  snapshotAgeMs: number
  /** Newest snapshots that stay, whatever their age. */
  snapshotsMax: number
  /** Manifests of like size that are merged into one. */
  manifestsToMerge: number
}

type Counters = { add(name: SinkCounter, count: number): void }

/** Share of the limits by which expiry waits, so that it is one commit for many snapshots. */
const EXPIRY_SLACK = 0.1

/** Does what is due after a commit and returns the table as it is then. `manifestCount`: of the current snapshot. */
export async function maintain(
  tools: CommitTools,
  table: LoadedTable,
  manifestCount: number,
  options: MaintenanceOptions,
  counters: Counters,
): Promise<LoadedTable> {
  let now = table
  if (manifestCount >= options.manifestsToMerge) {
    const merged = await mergeManifests(tools, now, options.manifestsToMerge)
    if (merged !== undefined) {
      now = merged
      counters.add('manifestMerges', 1)
    }
  }
  if (expiryIsDue(now, options, tools.clock.now())) {
    const expired = await expireSnapshots(tools, now, options)
    now = expired.table
    counters.add('snapshotsExpired', expired.snapshots)
    counters.add('filesRemoved', expired.files)
  }
  return now
}

function expiryIsDue(table: LoadedTable, options: MaintenanceOptions, nowMs: number): boolean {
  const { snapshots } = table.metadata
  const oldestMs = snapshots.reduce((oldest, one) => Math.min(oldest, one['timestamp-ms']), nowMs)
  return (
    snapshots.length > options.snapshotsMax * (1 + EXPIRY_SLACK) ||
    (snapshots.length > 1 && nowMs - oldestMs > options.snapshotAgeMs * (1 + EXPIRY_SLACK))
  )
}

export interface Expiry {
  table: LoadedTable
  snapshots: number
  files: number
}

/** Removes snapshots above the limits, then the files that only they reached. The current one and those of branches and tags stay. */
export async function expireSnapshots(
  tools: CommitTools,
  table: LoadedTable,
  options: Pick<MaintenanceOptions, 'snapshotAgeMs' | 'snapshotsMax'>,
): Promise<Expiry> {
  const { metadata } = table
  const oldestMs = tools.clock.now() - options.snapshotAgeMs
  const referenced = new Set<Int64>(Object.values(metadata.refs).map((one) => one['snapshot-id']))
  const line = [...ancestry(metadata)]
  const stays = new Set<Int64>(referenced)
  for (const snapshot of line.slice(0, options.snapshotsMax))
    if (snapshot['timestamp-ms'] >= oldestMs) stays.add(snapshot['snapshot-id'])
  // What a rollback left beside the line stays for its age, so that it can be undone.
  const onLine = new Set(line.map((one) => one['snapshot-id']))
  for (const snapshot of metadata.snapshots)
    if (!onLine.has(snapshot['snapshot-id']) && snapshot['timestamp-ms'] >= oldestMs)
      stays.add(snapshot['snapshot-id'])
  const expired = metadata.snapshots.filter((one) => !stays.has(one['snapshot-id']))
  if (expired.length === 0) return { table, snapshots: 0, files: 0 }
  const kept = metadata.snapshots.filter((one) => stays.has(one['snapshot-id']))
  let after: LoadedTable
  try {
    after = await tools.catalog.commit(
      table.id,
      [
        { type: 'assert-table-uuid', uuid: metadata['table-uuid'] },
        {
          type: 'assert-ref-snapshot-id',
          ref: MAIN,
          'snapshot-id': metadata.refs[MAIN]?.['snapshot-id'] ?? null,
        },
      ],
      [{ action: 'remove-snapshots', 'snapshot-ids': expired.map((one) => one['snapshot-id']) }],
    )
  } catch (error) {
    // Another commit was first, or there was no answer: the next round sees what is so.
    if (!isMillraceError(error, 'table_conflict') && !isAmbiguous(error)) throw error
    return { table, snapshots: 0, files: 0 }
  }
  const refuse = await unreachableFiles(tools, line, expired, kept)
  await discard(tools.store, refuse)
  return { table: after, snapshots: expired.length, files: refuse.length }
}

/** Files that only expired snapshots reached: data files first, so that a crash never hides one behind a deleted manifest list. */
async function unreachableFiles(
  tools: CommitTools,
  line: readonly Snapshot[],
  expired: readonly Snapshot[],
  kept: readonly Snapshot[],
): Promise<string[]> {
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

  const files = new Set<string>()
  if (isLine) {
    // A file left the line where a manifest says so; it was live in a snapshot before, which is gone.
    const gone = new Set(expired.map((one) => one['snapshot-id']))
    for (const manifest of all.values()) {
      if (manifest.deleted_files_count === 0) continue
      if (!gone.has(manifest.added_snapshot_id) && manifest.added_snapshot_id !== oldest!['snapshot-id'])
        continue
      for (const entry of await entriesOf(tools, manifest))
        if (entry.status === DELETED) files.add(entry.data_file.file_path)
    }
  } else {
    for (const manifest of lost.values())
      for (const entry of await entriesOf(tools, manifest)) files.add(entry.data_file.file_path)
    for (const manifest of reached.values()) {
      if (files.size === 0) break
      for (const entry of await entriesOf(tools, manifest))
        if (isLive(entry)) files.delete(entry.data_file.file_path)
    }
  }
  return [...files, ...lost.keys(), ...expired.map((one) => one['manifest-list'])]
}

async function manifestsOf(tools: CommitTools, snapshot: Snapshot): Promise<ManifestFile[]> {
  return readManifestList(await tools.store.read(snapshot['manifest-list']))
}

async function entriesOf(tools: CommitTools, manifest: ManifestFile): Promise<ManifestEntry[]> {
  return readManifest(await tools.store.read(manifest.manifest_path), manifest).entries
}

/**
 * Merges the first `count` or more manifests of one tier into one, by a REPLACE snapshot that keeps the
 * offsets. A tier holds manifests of `count`^k to `count`^(k+1) files, so each entry is rewritten once a tier,
 * and a table of n files has about `count` × log n manifests. Undefined where there was nothing to merge,
 * or another commit came first.
 */
export async function mergeManifests(
  tools: CommitTools,
  table: LoadedTable,
  count: number,
): Promise<LoadedTable | undefined> {
  const { metadata } = table
  const snapshot = currentSnapshot(metadata)
  if (snapshot === undefined) return undefined
  const tiers = new Map<string, ManifestFile[]>()
  for (const manifest of await manifestsOf(tools, snapshot)) {
    const spec = specById(metadata, manifest.partition_spec_id)
    if (manifest.content !== 0 || manifest.key_metadata !== null || spec === undefined || !canDescribe(spec))
      continue
    const files = manifest.added_files_count + manifest.existing_files_count
    const tier = files <= 1 ? 0 : Math.floor(Math.log(files) / Math.log(count) + 1e-9)
    const key = `${spec['spec-id']}/${tier}`
    tiers.set(key, [...(tiers.get(key) ?? []), manifest])
  }
  const small = [...tiers.values()].find((one) => one.length >= count)
  if (small === undefined) return undefined

  const spec = specById(metadata, small[0]!.partition_spec_id)!
  const entries: ManifestEntry[] = []
  for (const manifest of small)
    for (const entry of await entriesOf(tools, manifest))
      if (isLive(entry)) entries.push({ ...entry, status: EXISTING })
  const snapshotId = tools.names.snapshotId()
  const path = `${metadata.location}/metadata/${tools.names.uuid()}-m.avro`
  const bytes = writeManifest(currentSchema(metadata), spec, entries, tools.names.bytes(16))
  const mergedPaths = new Set(small.map((one) => one.manifest_path))
  try {
    const outcome = await commitSnapshot(tools, table.id, snapshotId, {
      operation: 'replace',
      change: {
        addedFiles: 0,
        addedRows: 0,
        addedBytes: 0,
        deletedFiles: 0,
        deletedRows: 0,
        deletedBytes: 0,
        changedPartitions: 0,
      },
      newFiles: [{ uri: path, parts: [bytes] }],
      holds: (now) => now.metadata['table-uuid'] === metadata['table-uuid'],
      manifests: (current, id, sequence) => {
        const others = current.filter((one) => !mergedPaths.has(one.manifest_path))
        if (current.length - others.length !== mergedPaths.size) return undefined
        const merged = describeManifest(entries, spec, { path, byteLength: bytes.length }, id, sequence)
        return [merged, ...others]
      },
      offsets: (now) => printOffsets(tableOffsets(now.metadata)),
    })
    if (outcome.committed) return outcome.table
    if (outcome.mayDelete) await discard(tools.store, [path])
    return undefined
  } catch (error) {
    if (!isAmbiguous(error)) await discard(tools.store, [path])
    throw error
  }
}

/**
 * Deletes files of ours in the table's folders that no snapshot reaches and that are older than the safety
 * age (files of a commit under way are young). Returns their number.
 */
export async function removeOrphans(
  tools: CommitTools,
  table: LoadedTable,
  safetyAgeMs: number,
): Promise<number> {
  const { metadata } = table
  const reached = new Set<string>([table.metadataLocation])
  for (const entry of metadata['metadata-log']) reached.add(entry['metadata-file'])
  const manifests = new Map<string, ManifestFile>()
  for (const snapshot of metadata.snapshots) {
    reached.add(snapshot['manifest-list'])
    for (const manifest of await manifestsOf(tools, snapshot)) manifests.set(manifest.manifest_path, manifest)
  }
  for (const manifest of manifests.values()) {
    reached.add(manifest.manifest_path)
    for (const entry of await entriesOf(tools, manifest)) reached.add(entry.data_file.file_path)
  }
  const youngestMs = tools.clock.now() - safetyAgeMs
  const orphans: string[] = []
  for (const folder of ['data', 'metadata'])
    for (const uri of await tools.store.list(`${metadata.location}/${folder}`)) {
      const madeAt = madeAtMs(uri)
      if (madeAt !== undefined && madeAt < youngestMs && !reached.has(uri)) orphans.push(uri)
    }
  // The table may have moved while its files were listed; what a newer snapshot reaches must stay.
  const now = await tools.catalog.load(table.id)
  if (now === undefined || now.metadataLocation !== table.metadataLocation) return 0
  await tools.store.delete(orphans)
  return orphans.length
}
