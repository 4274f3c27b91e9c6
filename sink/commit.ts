// The commit: staged files that nobody sees become a snapshot by one compare-and-swap of the catalog.
//
//   1. data files are durable already (staging); the manifest that lists them is written once
//   2. manifest list = the current snapshot's manifests + that one
//   3. catalog.commit requires the table's identity and that main is still the snapshot of step 2
//
// A conflict repeats 2 and 3 on newer metadata; the manifest stays, because sequence numbers are inherited.
// Before each try the plan is asked whether it still holds: an append holds only while the ancestry of the
// current snapshot ends where its rows begin, so that a zombie writer, or a second sink on the same table,
// commits nothing twice. When the catalog does not answer, the table is looked at first: the snapshot id is
// the same in all tries, so its presence is the answer; and from then on no file of the commit is deleted,
// because an answer that is still under way may yet refer to it.
import { isMillraceError, MillraceError } from '../std/errors.ts'
import type { Catalog, LoadedTable, TableId } from './catalog.ts'
import { printTableId } from './catalog.ts'
import type { Clock, Names } from './file-names.ts'
import { ADDED, type DataFile, type ManifestEntry, writeManifest } from './iceberg/manifest.ts'
import {
  describeManifest,
  holdsFiles,
  type ManifestFile,
  readManifestList,
  writeManifestList,
} from './iceberg/manifest-list.ts'
import { currentSnapshot, defaultSpec, MAIN, schemaById, snapshotById } from './iceberg/metadata.ts'
import { type Change, type Operation, type Snapshot, summaryOf } from './iceberg/snapshot.ts'
import { OFFSETS_PROPERTY, printOffsets, tableOffsets } from './offsets.ts'
import type { NewFile, Store } from './store.ts'

const TRIES_MAX = 8
const BACKOFF_MS_FIRST = 10
const BACKOFF_MS_MAX = 2000

/** What a commit works with. */
export interface CommitTools {
  catalog: Catalog
  store: Store
  names: Names
  clock: Clock
}

/** Of a snapshot that says the same in other files. */
export const NO_CHANGE: Change = {
  addedFiles: 0,
  addedRows: 0,
  addedBytes: 0,
  deletedFiles: 0,
  deletedRows: 0,
  deletedBytes: 0,
  changedPartitions: 0,
}

/** A snapshot in the making. */
export interface SnapshotPlan {
  operation: Operation
  change: Change
  /** Files that must be durable before the first try: manifests of this commit. */
  newFiles: readonly NewFile[]
  /** Whether the plan still holds on this metadata. */
  holds(table: LoadedTable): boolean
  /** Manifests of the new snapshot, given those of the current one that hold files; undefined where the plan does not hold any more. */
  manifests(
    current: readonly ManifestFile[],
    snapshotId: number,
    sequenceNumber: number | bigint,
  ): ManifestFile[] | undefined
  /** `millrace.offsets` of the new snapshot. */
  offsets(table: LoadedTable): string
}

export type CommitOutcome =
  | { committed: true; table: LoadedTable; snapshotId: number; manifestCount: number; conflicts: number }
  /** Not done and never will be. `mayDelete`: no try was left unanswered, so the staged files are refuse. */
  | { committed: false; mayDelete: boolean; conflicts: number }

/**
 * Commits the plan, trying again after conflicts. `snapshotId` must be that of the plan's manifests. Errors:
 * `table_missing`; `table_conflict` after too many conflicts; whatever the store throws. After an error
 * nothing of the plan may be deleted where `isAmbiguous(error)`.
 */
export async function commitSnapshot(
  tools: CommitTools,
  id: TableId,
  snapshotId: number,
  plan: SnapshotPlan,
): Promise<CommitOutcome> {
  const state = { ambiguous: false }
  try {
    return await tryToCommit(tools, id, snapshotId, plan, state)
  } catch (error) {
    // Whatever fails after a try without an answer (a read, a full disk): that try may yet be done.
    throw state.ambiguous && !isAmbiguous(error) ? markAmbiguous(error) : error
  }
}

async function tryToCommit(
  tools: CommitTools,
  id: TableId,
  snapshotId: number,
  plan: SnapshotPlan,
  state: { ambiguous: boolean },
): Promise<CommitOutcome> {
  // The list of a try that met a conflict. Only a look at the table makes it refuse: a gateway that lost the first
  // answer and sent the commit again gets "conflict" for what it has done itself.
  let doubtful: string | undefined
  let conflicts = 0
  let manifestCount = 0
  let unwritten = plan.newFiles
  for (let tries = 0; ; tries++) {
    if (tries > 0) await tools.clock.sleep(backoffMs(tries, tools.names))
    const table = await tools.catalog.load(id).catch((error: unknown) => {
      throw doubtful !== undefined ? markAmbiguous(error) : error
    })
    if (table === undefined)
      throw new MillraceError('table_missing', `table ${printTableId(id)} does not exist`)
    if (snapshotById(table.metadata, snapshotId) !== undefined)
      return { committed: true, table, snapshotId, manifestCount, conflicts }
    if (doubtful !== undefined && !state.ambiguous) await discard(tools.store, [doubtful])
    doubtful = undefined
    if (tries === TRIES_MAX) break
    if (!plan.holds(table)) return { committed: false, mayDelete: !state.ambiguous, conflicts }

    const parent = currentSnapshot(table.metadata)
    const current = await manifestsOfParent(tools, table, parent)
    if (current === undefined) {
      conflicts++
      continue
    }
    const sequenceNumber = BigInt(table.metadata['last-sequence-number']) + 1n
    const sequence = sequenceNumber <= Number.MAX_SAFE_INTEGER ? Number(sequenceNumber) : sequenceNumber
    const manifests = plan.manifests(current, snapshotId, sequence)
    if (manifests === undefined) return { committed: false, mayDelete: !state.ambiguous, conflicts }

    manifestCount = manifests.length
    const parentId = parent?.['snapshot-id']
    const list = `${table.metadata.location}/metadata/snap-${snapshotId}-${tools.names.uuid()}.avro`
    const listBytes = writeManifestList(
      manifests,
      { id: snapshotId, parentId, sequenceNumber: sequence },
      tools.names.bytes(16),
    )
    try {
      await tools.store.put([...unwritten, { uri: list, parts: [listBytes] }])
    } catch (error) {
      // The catalog was never told of this list: whatever came of earlier tries, nothing can refer to it.
      await discard(tools.store, [list])
      throw error
    }
    unwritten = []
    const offsets = plan.offsets(table)
    const snapshot: Snapshot = {
      'snapshot-id': snapshotId,
      ...(parentId === undefined ? {} : { 'parent-snapshot-id': parentId }),
      'sequence-number': sequence,
      'timestamp-ms': Math.max(tools.clock.now(), table.metadata['last-updated-ms']),
      'manifest-list': list,
      summary: summaryOf(plan.operation, plan.change, parent?.summary, { [OFFSETS_PROPERTY]: offsets }),
      'schema-id': table.metadata['current-schema-id'],
    }
    try {
      const after = await tools.catalog.commit(
        id,
        [
          { type: 'assert-table-uuid', uuid: table.metadata['table-uuid'] },
          { type: 'assert-ref-snapshot-id', ref: MAIN, 'snapshot-id': parentId ?? null },
          { type: 'assert-current-schema-id', 'current-schema-id': table.metadata['current-schema-id'] },
        ],
        [
          { action: 'add-snapshot', snapshot },
          {
            action: 'set-snapshot-ref',
            'ref-name': MAIN,
            ...table.metadata.refs[MAIN],
            type: 'branch',
            'snapshot-id': snapshotId,
          },
          { action: 'set-properties', updates: { [OFFSETS_PROPERTY]: offsets } },
        ],
      )
      return { committed: true, table: after, snapshotId, manifestCount, conflicts }
    } catch (error) {
      if (isMillraceError(error, 'commit_ambiguous')) state.ambiguous = true
      else if (isMillraceError(error, 'table_conflict')) {
        conflicts++
        doubtful = list
      } else {
        if (!state.ambiguous) await discard(tools.store, [list])
        throw error
      }
    }
  }
  const message = `${printTableId(id)}: ${TRIES_MAX} tries, each met by a conflict or no answer`
  throw state.ambiguous
    ? new MillraceError('commit_ambiguous', message)
    : new MillraceError('table_conflict', message)
}

/** Manifests of the current snapshot that hold files; undefined where it has expired since the table was loaded. */
async function manifestsOfParent(
  tools: CommitTools,
  table: LoadedTable,
  parent: Snapshot | undefined,
): Promise<ManifestFile[] | undefined> {
  if (parent === undefined) return []
  try {
    // A manifest that only tells of files that are gone has told it in its own snapshot.
    return readManifestList(await tools.store.read(parent['manifest-list'])).filter(holdsFiles)
  } catch (error) {
    if (!(await hasMoved(tools, table, error))) throw error
    return undefined
  }
}

/** Whether an error says that a file is not there because another writer has moved the table on since it was loaded. */
export async function hasMoved(tools: CommitTools, table: LoadedTable, error: unknown): Promise<boolean> {
  if (!isMillraceError(error, 'table_foreign')) return false
  const now = await tools.catalog.load(table.id)
  return now?.metadataLocation !== table.metadataLocation
}

/** Whether a failed commit may yet turn out to be done. */
export function isAmbiguous(error: unknown): boolean {
  return isMillraceError(error, 'commit_ambiguous')
}

function markAmbiguous(error: unknown): MillraceError {
  return new MillraceError(
    'commit_ambiguous',
    `after a commit without an answer: ${String((error as Error).message)}`,
    {},
    error,
  )
}

/** Doubles up to the maximum, and takes half to all of it, so that two writers do not meet again. */
function backoffMs(tries: number, names: Names): number {
  const full = Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** tries)
  return full * (0.5 + names.bytes(1)[0]! / 512)
}

/** Rows of one stretch of a source, encoded and durable, that no snapshot refers to yet. */
export interface Staged {
  tableUuid: string
  /** Schema and spec that the files were written with. */
  schemaId: number
  specId: number
  /** `sourceKey` of log and topic. */
  source: string
  /** Next offset of every partition before and after these rows. */
  from: readonly number[]
  to: readonly number[]
  /** Which partitions these rows are of; the others are other processes', and what the table holds of them stays. */
  owns(partition: number): boolean
  /** Whether the ancestry held `from` (false: the source is new to the table). */
  known: boolean
  files: readonly DataFile[]
}

/** Appends staged rows to their table. Deletes the staged files where the plan turned out stale and nothing is ambiguous. */
export async function commitStaged(
  tools: CommitTools,
  table: LoadedTable,
  staged: Staged,
): Promise<CommitOutcome> {
  const { names, store } = tools
  const snapshotId = names.snapshotId()
  const spec = defaultSpec(table.metadata)
  const schema = schemaById(table.metadata, staged.schemaId)!
  const entries: ManifestEntry[] = staged.files.map((file) => ({
    status: ADDED,
    snapshot_id: snapshotId,
    sequence_number: null,
    file_sequence_number: null,
    data_file: file,
  }))
  const path = `${table.metadata.location}/metadata/${names.uuid()}-m.avro`
  const bytes = writeManifest(schema, spec, entries, names.bytes(16))
  const plan: SnapshotPlan = {
    operation: 'append',
    change: {
      addedFiles: staged.files.length,
      addedRows: sumOf(staged.files, (file) => file.record_count),
      addedBytes: sumOf(staged.files, (file) => file.file_size_in_bytes),
      deletedFiles: 0,
      deletedRows: 0,
      deletedBytes: 0,
      changedPartitions: new Set(staged.files.map((file) => JSON.stringify(file.partition))).size,
    },
    newFiles: [{ uri: path, parts: [bytes] }],
    holds: (now) => stagedHolds(now, staged),
    manifests: (current, id, sequence) => [
      describeManifest(entries, spec, { path, byteLength: bytes.length }, id, sequence),
      ...current,
    ],
    offsets: (now) => {
      const offsets = tableOffsets(now.metadata)
      return printOffsets(offsets, staged.source, mergeNext(offsets.get(staged.source), staged))
    },
  }
  const refuse = [...staged.files.map((file) => file.file_path), path]
  let outcome: CommitOutcome
  try {
    outcome = await commitSnapshot(tools, table.id, snapshotId, plan)
  } catch (error) {
    // Leftovers are refuse unless the commit may yet be done; what cannot be deleted is found by orphan removal.
    if (!isAmbiguous(error)) await discard(store, refuse)
    throw error
  }
  if (!outcome.committed && outcome.mayDelete) await discard(store, refuse)
  return outcome
}

function stagedHolds(table: LoadedTable, staged: Staged): boolean {
  const { metadata } = table
  if (metadata['table-uuid'] !== staged.tableUuid) return false
  if (metadata['current-schema-id'] !== staged.schemaId) return false
  if (metadata['default-spec-id'] !== staged.specId) return false
  const ends = tableOffsets(metadata).get(staged.source)
  if (ends === undefined) return !staged.known
  return staged.from.every((next, partition) => !staged.owns(partition) || (ends[partition] ?? 0) === next)
}

/** What the table holds after these rows, given what it holds now. */
function mergeNext(ends: readonly number[] | undefined, { from, to, owns }: Staged): number[] {
  return to.map((next, partition) => (owns(partition) ? next : (ends?.[partition] ?? from[partition]!)))
}

/** Deletes files that no snapshot refers to; what cannot be deleted is left to orphan removal. */
export async function discard(store: Store, uris: readonly string[]): Promise<void> {
  await store.delete(uris).catch(() => {})
}

/** A sum of 64-bit numbers, for summaries and reports. */
export function sumOf<T>(items: readonly T[], of: (item: T) => number | bigint): number {
  return items.reduce((total, item) => total + Number(of(item)), 0)
}
