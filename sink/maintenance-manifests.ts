// Manifest merging: many small manifests become one, by a REPLACE snapshot that keeps the offsets.
import type { LoadedTable } from './catalog.ts'
import { type CommitTools, commitSnapshot, discard, isAmbiguous, NO_CHANGE } from './commit.ts'
import { EXISTING, isLive, type ManifestEntry, writeManifest } from './iceberg/manifest.ts'
import { canDescribe, describeManifest, holdsFiles, type ManifestFile } from './iceberg/manifest-list.ts'
import { currentSchema, currentSnapshot, specById } from './iceberg/metadata.ts'
import { printOffsets, tableOffsets } from './offsets.ts'
import { entriesOf, manifestsOf } from './table-files.ts'

export interface ManifestMerge {
  table: LoadedTable
  /** Manifests that became one, and the data files that it lists. */
  manifests: number
  files: number
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
): Promise<ManifestMerge | undefined> {
  const { metadata } = table
  const snapshot = currentSnapshot(metadata)
  if (snapshot === undefined) return undefined
  const tiers = new Map<string, ManifestFile[]>()
  for (const manifest of await manifestsOf(tools, snapshot)) {
    const spec = specById(metadata, manifest.partition_spec_id)
    if (manifest.content !== 0 || manifest.key_metadata !== null || !holdsFiles(manifest)) continue
    if (spec === undefined || !canDescribe(spec)) continue
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
      change: NO_CHANGE,
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
    if (outcome.committed) return { table: outcome.table, manifests: small.length, files: entries.length }
    if (outcome.mayDelete) await discard(tools.store, [path])
    return undefined
  } catch (error) {
    if (!isAmbiguous(error)) await discard(tools.store, [path])
    throw error
  }
}
