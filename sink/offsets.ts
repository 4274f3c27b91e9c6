// How far a table has read the log, kept in the table itself: `millrace.offsets` in the summary of every
// snapshot of ours, so that rows and position are one atomic commit.
//
//   {"<log id>/<topic id>":[next offset of partition 0, of partition 1, …], …}
//
// A log or topic that was made anew has another id and therefore no position. Sources that are not being
// read (a wiped log, another site writing to the same table) are carried on.
//
// Which vector is a table's: the nearest one along the ancestry of the current snapshot, because a rollback
// must bring back the position with the rows. The copy in the table property counts only where the ancestry
// is cut off by expiry before any snapshot carries one; and not where it is of a snapshot after the current one,
// which a rollback has undone: taking it would leave out the rows in between.
import { MillraceError } from '../std/errors.ts'
import { ancestry, currentSnapshot, type TableMetadata } from './iceberg/metadata.ts'
import type { Snapshot } from './iceberg/snapshot.ts'

export const OFFSETS_PROPERTY = 'millrace.offsets'

/** Sources remembered in one table; the ones longest not written go first. */
const SOURCES_MAX = 16

/** Next offsets by source key, least recently written first. */
export type Offsets = ReadonlyMap<string, readonly number[]>

export function sourceKey(logId: string, topicId: string): string {
  return `${logId}/${topicId}`
}

export function parseOffsets(text: string): Offsets {
  try {
    const entries = Object.entries(JSON.parse(text) as Record<string, unknown>)
    if (entries.every(([, next]) => Array.isArray(next) && next.every((one) => Number.isSafeInteger(one))))
      return new Map(entries as [string, number[]][])
  } catch {}
  throw new MillraceError('table_foreign', `${OFFSETS_PROPERTY} is not what Millrace writes: ${text}`)
}

/** The vector with `source` at `next`, as text. */
export function printOffsets(offsets: Offsets, source?: string, next?: readonly number[]): string {
  const all = new Map(offsets)
  if (source !== undefined && next !== undefined) {
    all.delete(source)
    all.set(source, next)
  }
  return JSON.stringify(Object.fromEntries([...all].slice(-SOURCES_MAX)))
}

/** Where the table's current state ends in each source; empty for a table that holds nothing of any log. */
export function tableOffsets(metadata: TableMetadata): Offsets {
  let oldest: Snapshot | undefined
  for (const snapshot of ancestry(metadata)) {
    const text = snapshot.summary?.[OFFSETS_PROPERTY]
    if (text !== undefined) return parseOffsets(text)
    oldest = snapshot
  }
  const cutOff = oldest !== undefined && (oldest['parent-snapshot-id'] ?? null) !== null
  const mirrored = metadata.properties[OFFSETS_PROPERTY]
  if (!cutOff || mirrored === undefined) return new Map()
  const current = currentSnapshot(metadata)!
  const isUndone = metadata.snapshots.some(
    (one) =>
      one.summary?.[OFFSETS_PROPERTY] === mirrored &&
      (one['sequence-number'] ?? 0) > (current['sequence-number'] ?? 0),
  )
  if (isUndone)
    throw new MillraceError(
      'table_foreign',
      `the table was rolled back to snapshot ${current['snapshot-id']} of another engine, and those before it, which said how far the log is in it, have expired: roll it to another snapshot, or set its property ${OFFSETS_PROPERTY} to where to go on`,
      { snapshot: String(current['snapshot-id']) },
    )
  return parseOffsets(mirrored)
}
