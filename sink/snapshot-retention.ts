// Which snapshots of a table stay. The options of the process say it, and the table's own properties and references say it
// where they are set (Iceberg, "Table behavior properties"; specification, "Snapshot Retention Policy"), because
// whoever set them relies on them:
//
//   gc.enabled = false                          nothing of the table is deleted: others may refer to its files
//   history.expire.max-snapshot-age-ms          in place of the option's age
//   history.expire.min-snapshots-to-keep        newest of each branch that stay, whatever the options say
//   max-snapshot-age-ms, min-snapshots-to-keep  of a branch's reference: in place of the two above, for that branch
//
// Beside those of the branches, what branches and tags name stays, and what a rollback has left beside the line stays for its
// age, so that it can be undone.
import type { Int64 } from './iceberg/json.ts'
import type { TableMetadata } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'

export interface RetentionOptions {
  /** Snapshots older than this expire. */
  snapshotAgeMs: number
  /** Newest snapshots of a branch that stay at most. */
  snapshotsMax: number
}

/** Whether files that only expired snapshots reach may be deleted. */
export function mayDeleteFiles({ properties }: TableMetadata): boolean {
  return properties['gc.enabled'] !== 'false'
}

/** The snapshots that are to go. `slack`: with limits larger by that share. */
export function expiredSnapshots(
  metadata: TableMetadata,
  options: RetentionOptions,
  nowMs: number,
  slack = 0,
): Snapshot[] {
  if (!mayDeleteFiles(metadata)) return []
  const { properties, refs, snapshots } = metadata
  const byId = new Map(snapshots.map((one) => [one['snapshot-id'], one]))
  const ageMs = settingOf(properties['history.expire.max-snapshot-age-ms']) ?? options.snapshotAgeMs
  const least = settingOf(properties['history.expire.min-snapshots-to-keep']) ?? 1
  const oldestMs = (age: number): number => nowMs - age * (1 + slack)
  const stays = new Set<Int64>()
  const onBranch = new Set<Int64>()
  for (const { type, 'snapshot-id': head, ...own } of Object.values(refs)) {
    stays.add(head)
    if (type !== 'branch') continue
    const branchOldestMs = oldestMs(own['max-snapshot-age-ms'] ?? ageMs)
    const branchLeast = own['min-snapshots-to-keep'] ?? least
    let at = byId.get(head)
    // As many steps as there are snapshots: damaged metadata may lead in a circle.
    for (let place = 0; at !== undefined && place < snapshots.length; place++) {
      const isYoung = at['timestamp-ms'] >= branchOldestMs && place < options.snapshotsMax * (1 + slack)
      if (isYoung || place < branchLeast) stays.add(at['snapshot-id'])
      onBranch.add(at['snapshot-id'])
      at = byId.get(at['parent-snapshot-id'] ?? -1)
    }
  }
  return snapshots.filter(({ 'snapshot-id': id, 'timestamp-ms': ms }) => {
    if (stays.has(id)) return false
    return onBranch.has(id) || ms < oldestMs(ageMs)
  })
}

/** A whole number of a property; undefined where there is none, or it is none. */
function settingOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined
}
