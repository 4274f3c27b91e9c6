// Counters that the sink's thread writes and the main thread reads (std/counters.ts).

export const SINK_COUNTERS = [
  /** Rows in committed snapshots since the start of the process, and their files and bytes. */
  'rows',
  'files',
  'bytes',
  'commits',
  /** Commits that met another writer's and were tried again. */
  'conflicts',
  /** Rows that were encoded and not committed, because the table had moved: they are read again. */
  'rowsDiscarded',
  /** Milliseconds from the receive time of the oldest row of the last commit to its snapshot. */
  'freshnessMs',
  /** How long the row that waits longest has waited for its snapshot, milliseconds: the freshness of the stalest table. */
  'oldestWaitMs',
  /** Records in the log that no snapshot holds yet. */
  'lagRecords',
  'tables',
  /** Tables that failed and wait to be tried again. */
  'tablesParked',
  'snapshotsExpired',
  'filesRemoved',
  'manifestMerges',
] as const

export type SinkCounter = (typeof SINK_COUNTERS)[number]
