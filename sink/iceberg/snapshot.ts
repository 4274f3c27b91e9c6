// Iceberg specification, "Snapshots": one state of the table, its manifest list and what changed, and the
// walk along the ancestry that tells which log offsets a state holds.
import type { Int64 } from './json.ts'

export type Operation = 'append' | 'replace' | 'overwrite' | 'delete'

export interface Snapshot {
  'snapshot-id': Int64
  'parent-snapshot-id'?: Int64
  'sequence-number'?: Int64
  'timestamp-ms': number
  'manifest-list': string
  summary: Record<string, string>
  'schema-id'?: number
}

/** What a commit did, in files, rows and bytes. */
export interface Change {
  addedFiles: number
  addedRows: number
  addedBytes: number
  deletedFiles: number
  deletedRows: number
  deletedBytes: number
  changedPartitions: number
}

/**
 * The summary of a new snapshot ("Optional Snapshot Summary Fields"): changes, and totals carried on from the parent's.
 * Totals are left out after a parent that lacks them, as the reference implementation does.
 */
export function summaryOf(
  operation: Operation,
  change: Change,
  parent: Readonly<Record<string, string>> | undefined,
  extra: Readonly<Record<string, string>>,
): Record<string, string> {
  const summary: Record<string, string> = { operation, ...extra }
  const put = (name: string, value: number) => {
    if (value > 0) summary[name] = String(value)
  }
  put('added-data-files', change.addedFiles)
  put('added-records', change.addedRows)
  put('added-files-size', change.addedBytes)
  put('deleted-data-files', change.deletedFiles)
  put('deleted-records', change.deletedRows)
  put('removed-files-size', change.deletedBytes)
  summary['changed-partition-count'] = String(change.changedPartitions)
  const total = (name: string, delta: number) => {
    const before = parent === undefined ? 0 : Number(parent[name] ?? Number.NaN)
    if (!Number.isNaN(before)) summary[name] = String(before + delta)
  }
  total('total-records', change.addedRows - change.deletedRows)
  total('total-files-size', change.addedBytes - change.deletedBytes)
  total('total-data-files', change.addedFiles - change.deletedFiles)
  total('total-delete-files', 0)
  total('total-position-deletes', 0)
  total('total-equality-deletes', 0)
  return summary
}
