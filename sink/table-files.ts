// What a snapshot is made of: its manifests, and the data files that they list.
import type { CommitTools } from './commit.ts'
import { isLive, type ManifestEntry, readManifest } from './iceberg/manifest.ts'
import { type ManifestFile, readManifestList } from './iceberg/manifest-list.ts'
import { currentSnapshot, type TableMetadata } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'

type Reader = Pick<CommitTools, 'store'>

export async function manifestsOf(tools: Reader, snapshot: Snapshot): Promise<ManifestFile[]> {
  return readManifestList(await tools.store.read(snapshot['manifest-list']))
}

export async function entriesOf(tools: Reader, manifest: ManifestFile): Promise<ManifestEntry[]> {
  return readManifest(await tools.store.read(manifest.manifest_path), manifest).entries
}

/** A data file of the current snapshot and the manifest that lists it. */
export interface LiveFile {
  manifest: ManifestFile
  entry: ManifestEntry
}

/** The files of the current snapshot, files of row-level deletes included. */
export async function liveFiles(tools: Reader, metadata: TableMetadata): Promise<LiveFile[]> {
  const snapshot = currentSnapshot(metadata)
  const files: LiveFile[] = []
  if (snapshot !== undefined)
    for (const manifest of await manifestsOf(tools, snapshot))
      for (const entry of await entriesOf(tools, manifest)) if (isLive(entry)) files.push({ manifest, entry })
  return files
}
