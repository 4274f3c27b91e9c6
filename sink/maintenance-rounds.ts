// Maintenance in the background: round after round over all tables that are ours. Which of them is looked at is told
// by what a catalog lookup says, so that a thousand quiet tables cost little: a table is looked at when it has gained
// some files since the last look, and at the latest after a while, because a day that ends closes a partition.
import { isMillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import type { CommitTools } from './commit.ts'
import { currentSnapshot } from './iceberg/metadata.ts'
import { type FullMaintenanceOptions, type MaintenanceReport, maintainTable } from './maintenance.ts'
import type { MaintenanceCounter } from './maintenance-counters.ts'
import { isOthers, listAllTables } from './read-tables.ts'
import { isOurs } from './table-schema.ts'

export interface RoundTools extends CommitTools {
  options: FullMaintenanceOptions
  counters: { add(name: MaintenanceCounter, count: number): void }
  onEvent(event: { level: 'info' | 'warn'; table: string; message: string }): void
}

/** Files that a table gains before it is looked at again. */
const FILES_GAINED_MIN = 8
/** Longest that a table with rows is not looked at. */
const LOOK_MS_MAX = 3_600_000
/** How often orphans are looked for, as a share of their safety age. */
const ORPHAN_LOOKS = 4

interface Look {
  atMs: number
  files: number
  orphansAtMs: number
}

export class MaintenanceRounds {
  readonly #tools: RoundTools
  readonly #looks = new Map<string, Look>()
  /** When a table of others may be looked at again: a catalog may hold thousands. */
  readonly #othersUntilMs = new Map<string, number>()

  constructor(tools: RoundTools) {
    this.#tools = tools
  }

  /** One round over all tables; the signal ends it between two steps. Throws only defects of ours. */
  async run(signal: AbortSignal): Promise<void> {
    let ids: TableId[]
    try {
      ids = await listAllTables(this.#tools.catalog)
    } catch (error) {
      return this.#failed('catalog', error)
    }
    const known = new Set(ids.map(printTableId))
    for (const names of [this.#looks, this.#othersUntilMs])
      for (const name of names.keys()) if (!known.has(name)) names.delete(name)
    for (const id of ids) {
      if (signal.aborted) return
      const nowMs = this.#tools.clock.now()
      if (nowMs < (this.#othersUntilMs.get(printTableId(id)) ?? 0)) continue
      try {
        const table = await this.#tools.catalog.load(id).catch((error: unknown) => {
          if (!isOthers(error)) throw error
        })
        if (table && isOurs(table.metadata)) await this.#tend(table, signal)
        else this.#othersUntilMs.set(printTableId(id), nowMs + LOOK_MS_MAX)
      } catch (error) {
        this.#failed(printTableId(id), error)
      }
    }
  }

  async #tend(table: LoadedTable, signal: AbortSignal): Promise<void> {
    const { clock, options, counters } = this.#tools
    const name = printTableId(table.id)
    const now = clock.now()
    const files = fileCount(table)
    const last = this.#looks.get(name)
    // The first look of a process for orphans waits too: many starts are no reason to list every folder.
    const orphansAtMs = last?.orphansAtMs ?? now
    const orphansDue =
      options.orphanAgeMs !== undefined && now - orphansAtMs >= options.orphanAgeMs / ORPHAN_LOOKS
    const due = last === undefined || files - last.files >= FILES_GAINED_MIN || now - last.atMs >= LOOK_MS_MAX
    if (!due && !orphansDue) return
    this.#looks.set(name, { atMs: now, files, orphansAtMs: orphansDue ? now : orphansAtMs })
    counters.add('looks', 1)
    const steps = { ...options, orphanAgeMs: orphansDue ? options.orphanAgeMs : undefined }
    const report = await maintainTable(this.#tools, table.id, steps, () => {}, signal)
    if (report === undefined) return
    this.#count(report)
    const after = await this.#tools.catalog.load(table.id)
    if (after !== undefined) this.#looks.get(name)!.files = fileCount(after)
  }

  #count({ table, compaction, manifestsMerged, expiry, orphans }: MaintenanceReport): void {
    const { counters, onEvent } = this.#tools
    counters.add('manifestsMerged', manifestsMerged)
    counters.add('snapshotsExpired', expiry.snapshots)
    counters.add('filesRemoved', expiry.files)
    counters.add('orphansRemoved', orphans.files)
    if (compaction === undefined) return
    counters.add('filesCompacted', compaction.filesBefore)
    counters.add('filesWritten', compaction.filesAfter)
    counters.add('rowsRewritten', compaction.rows)
    counters.add('bytesCompacted', compaction.bytesBefore)
    counters.add('bytesWritten', compaction.bytesAfter)
    if (compaction.filesBefore > 0)
      onEvent({
        level: 'info',
        table,
        message: `compacted ${compaction.filesBefore} files of ${compaction.bytesBefore} bytes into ${compaction.filesAfter} of ${compaction.bytesAfter}, ${compaction.rows} rows`,
      })
    for (const message of compaction.skipped) onEvent({ level: 'warn', table, message: `left: ${message}` })
  }

  /** A table that fails is said and looked at again; what no table can be the reason of is a defect. */
  #failed(table: string, error: unknown): void {
    const { code, message } = error as { code?: unknown; message?: string }
    const isKnown = isMillraceError(error)
      ? error.code !== 'internal'
      : typeof code === 'string' && /^(E[A-Z0-9]+|ERR_SQLITE_ERROR)$/.test(code)
    if (!isKnown) throw error
    this.#tools.counters.add('failures', 1)
    this.#tools.onEvent({ level: 'warn', table, message: `maintenance: ${message}` })
  }
}

function fileCount({ metadata }: LoadedTable): number {
  return Number(currentSnapshot(metadata)?.summary['total-data-files'] ?? 0)
}
