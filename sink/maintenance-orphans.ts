// Orphan removal: files of ours that no snapshot reaches, left by a crash or by a commit whose answer was lost.
//
// Safe beside commits by age: a file that a commit under way is about to refer to was made moments ago. So what is
// older than the safety age and not reached by the table as it is after the folders were listed never will be.
//
// Safe beside other tables in the same folders (a catalog may give a new table the place of one that was renamed): what
// any of them reaches is no orphan. Safe from spellings: files are compared by place, not by URI, because another engine
// may change the location to `s3a://` or `file:/` while the manifests go on saying `s3://` and `file:///`.
import { isMillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId } from './catalog.ts'
import type { CommitTools } from './commit.ts'
import { madeAtMs } from './file-names.ts'
import { isLive } from './iceberg/manifest.ts'
import { footerByteLength, readFooter } from './parquet/footer-reader.ts'
import { isOthers, listAllTables } from './read-tables.ts'
import { mayDeleteFiles } from './snapshot-retention.ts'
import { placeKey, type Store } from './store.ts'
import { entriesOf, manifestsOf } from './table-files.ts'

export interface OrphanReport {
  files: number
  bytes: number
  /** Of data files that are whole. */
  rows: number
}

export const NO_ORPHANS: OrphanReport = { files: 0, bytes: 0, rows: 0 }

/** The end of a Parquet file where its footer nearly always lies. */
const FOOTER_BYTES_LIKELY = 64 * 1024

/** Files deleted at once. */
const DELETES_MAX = 1000

/**
 * Deletes files of ours in the table's folders that no snapshot reaches and that are older than the safety
 * age (files of a commit under way are young).
 */
export async function removeOrphans(
  tools: CommitTools,
  table: LoadedTable,
  safetyAgeMs: number,
): Promise<OrphanReport> {
  if (!mayDeleteFiles(table.metadata)) return NO_ORPHANS
  const reached = new Set<string>()
  await addReached(tools, table, reached)
  const youngestMs = tools.clock.now() - safetyAgeMs
  const orphans: string[] = []
  for (const folder of ['data', 'metadata'])
    for (const uri of await tools.store.list(`${table.metadata.location}/${folder}`)) {
      const madeAt = madeAtMs(uri)
      if (madeAt !== undefined && madeAt < youngestMs && !reached.has(placeKey(uri))) orphans.push(uri)
    }
  const report = { ...NO_ORPHANS }
  if (orphans.length === 0) return report
  // The table may have moved while its files were listed.
  const now = await tools.catalog.load(table.id)
  if (now?.metadata['table-uuid'] !== table.metadata['table-uuid']) return report
  await addReached(tools, now!, reached)
  for (const other of await neighbours(tools, now!)) await addReached(tools, other, reached)
  const refuse = orphans.filter((uri) => !reached.has(placeKey(uri)))
  for (let from = 0; from < refuse.length; from += DELETES_MAX) {
    const some = refuse.slice(from, from + DELETES_MAX)
    for (const uri of some) await count(tools.store, uri, report)
    await tools.store.delete(some)
    report.files += some.length
  }
  return report
}

/** Other tables of the catalog whose metadata lies in this one's folder. Errors: `table_foreign` where such a one cannot be read here. */
async function neighbours(tools: CommitTools, table: LoadedTable): Promise<LoadedTable[]> {
  const folder = `${placeKey(table.metadata.location)}/`
  const found: LoadedTable[] = []
  for (const id of await listAllTables(tools.catalog)) {
    if (printTableId(id) === printTableId(table.id)) continue
    try {
      const other = await tools.catalog.load(id)
      const places = other === undefined ? [] : [`${other.metadata.location}/`, other.metadataLocation]
      if (places.some((place) => placeKey(place).startsWith(folder))) found.push(other!)
    } catch (error) {
      // A table of others that cannot be read here is no hindrance, unless it lies in this folder.
      if (isMillraceError(error, 'catalog_refused') && isOthers(error)) continue
      if (!isMillraceError(error, 'table_foreign')) throw error
      const { file, uri = file } = error.details
      if (uri === undefined || placeKey(String(uri)).startsWith(folder)) throw error
    }
  }
  return found
}

/** Adds what a file holds to the report. */
async function count(store: Store, uri: string, report: OrphanReport): Promise<void> {
  const isData = uri.endsWith('.parquet')
  let end = await store.readEnd(uri, isData ? FOOTER_BYTES_LIKELY : 1)
  report.bytes += end.byteLength
  if (!isData) return
  try {
    const footerBytes = footerByteLength(end.bytes)
    if (footerBytes > end.bytes.length && footerBytes <= end.byteLength)
      end = await store.readEnd(uri, footerBytes)
    report.rows += readFooter(end.bytes).rowCount
  } catch (error) {
    // Half a file, which a crash left: it has no footer.
    if (!(error instanceof RangeError)) throw error
  }
}

/** Adds the place of every file that the table reaches; manifests that are there already are not read again. */
async function addReached(tools: CommitTools, table: LoadedTable, reached: Set<string>): Promise<void> {
  const { metadata } = table
  /** False where it is there already. */
  const add = (uri: string): boolean => {
    const before = reached.size
    return reached.add(placeKey(uri)).size > before
  }
  add(table.metadataLocation)
  for (const entry of metadata['metadata-log']) add(entry['metadata-file'])
  for (const snapshot of metadata.snapshots) {
    if (!add(snapshot['manifest-list'])) continue
    for (const manifest of await manifestsOf(tools, snapshot)) {
      if (!add(manifest.manifest_path)) continue
      for (const entry of await entriesOf(tools, manifest)) if (isLive(entry)) add(entry.data_file.file_path)
    }
  }
}
