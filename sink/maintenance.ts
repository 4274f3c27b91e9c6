// What keeps a table good to read after a year of small commits: small files become large ones (compaction), many
// small manifests become one, old snapshots expire, and files that nothing refers to are removed.
//
// Each step is safe against a crash at any point and against commits of others: it first changes the table by
// one compare-and-swap, and only then deletes what the new state does not reach. A crash in between leaves
// orphans, which the last step finds.
//
// Two places run them: the sink itself, after a commit, the two that cost little (manifests, expiry), so that
// metadata stays small whatever else happens; and a thread of its own, or `millrace tables maintain`, all of them.
import { isMillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import { type CommitTools, hasMoved } from './commit.ts'
import {
  COMPACTION_OPTIONS_DEFAULT,
  type CompactionOptions,
  type CompactionProgress,
  type CompactionReport,
  compact,
} from './maintenance-compact.ts'
import { type Expiry, expireSnapshots } from './maintenance-expire.ts'
import { mergeManifests } from './maintenance-manifests.ts'
import { NO_ORPHANS, type OrphanReport, removeOrphans } from './maintenance-orphans.ts'
import type { SinkCounter } from './sink-counters.ts'
import { expiredSnapshots, mayDeleteFiles, type RetentionOptions } from './snapshot-retention.ts'

export interface MaintenanceOptions extends RetentionOptions {
  /** Manifests of like size that are merged into one. */
  manifestsToMerge: number
}

export const MAINTENANCE_OPTIONS_DEFAULT: MaintenanceOptions = {
  snapshotAgeMs: 3_600_000,
  snapshotsMax: 200,
  manifestsToMerge: 32,
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
      now = merged.table
      counters.add('manifestMerges', 1)
    }
  }
  if (expiredSnapshots(now.metadata, options, tools.clock.now(), EXPIRY_SLACK).length > 0) {
    const expired = await expireSnapshots(tools, now, options)
    now = expired.table
    counters.add('snapshotsExpired', expired.snapshots)
    counters.add('filesRemoved', expired.files)
  }
  return now
}

export interface FullMaintenanceOptions extends MaintenanceOptions {
  /** Undefined: no compaction. */
  compaction: CompactionOptions | undefined
  /** Age from which a file that nothing refers to is removed; undefined: none is looked for. */
  orphanAgeMs: number | undefined
}

/** The options of a configuration (config.ts). */
export function maintenanceOptions(config: {
  tableFileBytes: number
  tableSnapshotAgeMs: number
  tableSnapshotsMax: number
  tableOrphanAgeMs: number
}): FullMaintenanceOptions & { compaction: CompactionOptions } {
  return {
    ...MAINTENANCE_OPTIONS_DEFAULT,
    snapshotAgeMs: config.tableSnapshotAgeMs,
    snapshotsMax: config.tableSnapshotsMax,
    compaction: { ...COMPACTION_OPTIONS_DEFAULT, fileBytes: config.tableFileBytes },
    orphanAgeMs: config.tableOrphanAgeMs,
  }
}

export interface MaintenanceReport {
  table: string
  compaction: CompactionReport | undefined
  /** Manifests that became one. */
  manifestsMerged: number
  /** False: the table forbids that files of it are deleted, so neither snapshots nor orphans go. */
  mayDelete: boolean
  expiry: Omit<Expiry, 'table' | 'conflict'>
  orphans: OrphanReport
}

/** What a table's maintenance is at; `done` of `total` in bytes, where it is compaction. */
export type MaintenanceProgress = (
  step: 'compaction' | 'manifests' | 'expiry' | 'orphans',
  done: number,
  total: number,
) => void

/** All steps on one table, whether due or not. Undefined where there is no such table. */
export async function maintainTable(
  tools: CommitTools,
  id: TableId,
  options: FullMaintenanceOptions,
  progress: MaintenanceProgress = () => {},
  signal?: AbortSignal,
): Promise<MaintenanceReport | undefined> {
  const table = await tools.catalog.load(id)
  if (table === undefined) return undefined
  const onBytes: CompactionProgress = (done, total) => progress('compaction', done, total)
  // A full disk fails compaction first, and the other steps make room.
  let failure: unknown
  const compaction =
    options.compaction &&
    (await retried(tools, id, () => compact(tools, id, options.compaction!, onBytes, signal)).catch(
      (error: unknown) => {
        if (!isMillraceError(error) || error.action !== 'retry') throw error
        failure = error
        return undefined
      },
    ))
  progress('manifests', 0, 0)
  const manifestsMerged = await mergeAllManifests(tools, id, options.manifestsToMerge)
  progress('expiry', 0, 0)
  const expiry = await expireAfterAll(tools, id, options)
  let orphans: OrphanReport | undefined
  const { orphanAgeMs } = options
  if (orphanAgeMs !== undefined) {
    progress('orphans', 0, 0)
    orphans = await retried(tools, id, (table) => removeOrphans(tools, table, orphanAgeMs))
  }
  if (failure !== undefined) throw failure
  return {
    table: printTableId(id),
    compaction,
    manifestsMerged,
    mayDelete: mayDeleteFiles(table.metadata),
    expiry,
    orphans: orphans ?? NO_ORPHANS,
  }
}

const TRIES_MAX = 5
/** Tiers of manifests of one table, at the utmost. */
const MERGES_MAX = 32

/**
 * Runs a step on the table as it is now, again where another writer has moved the table on and removed what the step was
 * about to read. Undefined where there is no table.
 */
async function retried<T>(
  tools: CommitTools,
  id: TableId,
  step: (table: LoadedTable) => Promise<T>,
): Promise<T | undefined> {
  for (let tries = 1; ; tries++) {
    const table = await tools.catalog.load(id)
    if (table === undefined) return undefined
    try {
      return await step(table)
    } catch (error) {
      if (tries === TRIES_MAX || !(await hasMoved(tools, table, error))) throw error
    }
  }
}

/** A commit that comes first makes expiry stand back: it looks again, some times. */
async function expireAfterAll(
  tools: CommitTools,
  id: TableId,
  options: RetentionOptions,
): Promise<MaintenanceReport['expiry']> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const expired = await retried(tools, id, (table) => expireSnapshots(tools, table, options))
    if (expired === undefined) break
    const { table: _, conflict, ...done } = expired
    if (!conflict) return done
  }
  return { snapshots: 0, files: 0, rows: 0, bytes: 0 }
}

async function mergeAllManifests(tools: CommitTools, id: TableId, count: number): Promise<number> {
  let merged = 0
  for (let round = 0; round < MERGES_MAX; round++) {
    const one = await retried(tools, id, (table) => mergeManifests(tools, table, count)).catch(standBack)
    if (one === undefined) break
    merged += one.manifests
  }
  return merged
}

/** Another writer was faster, again and again: the next round merges. */
function standBack(error: unknown): undefined {
  if (!isMillraceError(error, 'table_conflict')) throw error
  return undefined
}
