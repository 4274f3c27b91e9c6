// Counters that the maintenance thread writes and the main thread reads (std/counters.ts).

export const MAINTENANCE_COUNTERS = [
  /** Looks at a table, and those that ended with an error. */
  'looks',
  'failures',
  /** Compaction: files before and after, rows that were written again, bytes before and after. */
  'filesCompacted',
  'filesWritten',
  'rowsRewritten',
  'bytesCompacted',
  'bytesWritten',
  'manifestsMerged',
  'snapshotsExpired',
  'filesRemoved',
  'orphansRemoved',
] as const

export type MaintenanceCounter = (typeof MAINTENANCE_COUNTERS)[number]
