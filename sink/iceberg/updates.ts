// Iceberg REST catalog specification, "TableUpdate" and "TableRequirement": the vocabulary of a commit. A
// commit is a list of requirements and a list of updates; what they mean is written here once, free of
// where a catalog keeps its pointer.
import { MillraceError } from '../../std/errors.ts'
import type { Int64 } from './json.ts'
import {
  currentSchema,
  MAIN,
  NO_SNAPSHOT,
  type SnapshotReference,
  snapshotById,
  type TableMetadata,
} from './metadata.ts'
import type { PartitionSpec } from './partition.ts'
import { highestFieldId, type Schema } from './schema.ts'
import type { Snapshot } from './snapshot.ts'
import type { SortOrder } from './sort-order.ts'

export type Requirement =
  | { type: 'assert-create' }
  | { type: 'assert-table-uuid'; uuid: string }
  | { type: 'assert-ref-snapshot-id'; ref: string; 'snapshot-id': Int64 | null }
  | { type: 'assert-last-assigned-field-id'; 'last-assigned-field-id': number }
  | { type: 'assert-current-schema-id'; 'current-schema-id': number }
  | { type: 'assert-last-assigned-partition-id'; 'last-assigned-partition-id': number }
  | { type: 'assert-default-spec-id'; 'default-spec-id': number }
  | { type: 'assert-default-sort-order-id'; 'default-sort-order-id': number }

export type Update =
  | { action: 'assign-uuid'; uuid: string }
  | { action: 'upgrade-format-version'; 'format-version': number }
  | { action: 'add-schema'; schema: Schema; 'last-column-id'?: number }
  | { action: 'set-current-schema'; 'schema-id': number }
  | { action: 'add-spec'; spec: PartitionSpec }
  | { action: 'set-default-spec'; 'spec-id': number }
  | { action: 'add-sort-order'; 'sort-order': SortOrder }
  | { action: 'set-default-sort-order'; 'sort-order-id': number }
  | { action: 'add-snapshot'; snapshot: Snapshot }
  | ({ action: 'set-snapshot-ref'; 'ref-name': string } & SnapshotReference)
  | { action: 'remove-snapshots'; 'snapshot-ids': Int64[] }
  | { action: 'remove-snapshot-ref'; 'ref-name': string }
  | { action: 'set-location'; location: string }
  | { action: 'set-properties'; updates: Record<string, string> }
  | { action: 'remove-properties'; removals: string[] }

/** "the last one added in this list of updates", for set-current-schema, set-default-spec and set-default-sort-order. */
export const LAST_ADDED = -1

/** The first requirement that does not hold, as a sentence; undefined where all do. `metadata` undefined: no such table. */
export function brokenRequirement(
  metadata: TableMetadata | undefined,
  requirements: readonly Requirement[],
): string | undefined {
  for (const one of requirements) {
    if (one.type === 'assert-create') {
      if (metadata !== undefined) return 'the table exists already'
      continue
    }
    if (metadata === undefined) return 'the table does not exist'
    const broken = brokenAssertion(metadata, one)
    if (broken !== undefined) return broken
  }
  return undefined
}

function brokenAssertion(
  metadata: TableMetadata,
  one: Exclude<Requirement, { type: 'assert-create' }>,
): string | undefined {
  const compare = (what: string, wanted: unknown, found: unknown): string | undefined =>
    wanted === found ? undefined : `${what} is ${String(found)}, required was ${String(wanted)}`
  switch (one.type) {
    case 'assert-table-uuid':
      return compare('table uuid', one.uuid, metadata['table-uuid'])
    case 'assert-ref-snapshot-id':
      return compare(
        `snapshot of ${one.ref}`,
        one['snapshot-id'] ?? null,
        metadata.refs[one.ref]?.['snapshot-id'] ?? null,
      )
    case 'assert-last-assigned-field-id':
      return compare('last field id', one['last-assigned-field-id'], metadata['last-column-id'])
    case 'assert-current-schema-id':
      return compare('current schema id', one['current-schema-id'], metadata['current-schema-id'])
    case 'assert-last-assigned-partition-id':
      return compare('last partition id', one['last-assigned-partition-id'], metadata['last-partition-id'])
    case 'assert-default-spec-id':
      return compare('default spec id', one['default-spec-id'], metadata['default-spec-id'])
    case 'assert-default-sort-order-id':
      return compare('default sort order id', one['default-sort-order-id'], metadata['default-sort-order-id'])
    default:
      return `requirement ${String((one as { type: string }).type)} is not known here`
  }
}

const invalid = (message: string): MillraceError => new MillraceError('table_conflict', message)

/**
 * The metadata after the updates, in order. Errors: `table_conflict` where an update does not fit the
 * metadata (a snapshot whose sequence number is not above the last, an unknown schema, …).
 */
export function applyUpdates(base: TableMetadata, updates: readonly Update[], nowMs: number): TableMetadata {
  const next: TableMetadata = { ...base, 'last-updated-ms': nowMs }
  for (const update of updates) applyUpdate(next, update, nowMs)
  return next
}

function applyUpdate(next: TableMetadata, update: Update, nowMs: number): void {
  switch (update.action) {
    case 'assign-uuid':
      next['table-uuid'] = update.uuid
      return
    case 'upgrade-format-version':
      if (update['format-version'] !== next['format-version'])
        throw invalid(`format version ${update['format-version']} is not written here`)
      return
    case 'add-schema': {
      const id = Math.max(-1, ...next.schemas.map((one) => one['schema-id'])) + 1
      next.schemas = [...next.schemas, { ...update.schema, 'schema-id': id }]
      next['last-column-id'] = Math.max(
        next['last-column-id'],
        update['last-column-id'] ?? 0,
        highestFieldId(update.schema.fields),
      )
      return
    }
    case 'set-current-schema':
      next['current-schema-id'] =
        update['schema-id'] === LAST_ADDED ? next.schemas.at(-1)!['schema-id'] : update['schema-id']
      if (currentSchema(next) === undefined) throw invalid(`no schema ${update['schema-id']}`)
      return
    case 'add-spec': {
      const id = Math.max(-1, ...next['partition-specs'].map((one) => one['spec-id'])) + 1
      next['partition-specs'] = [...next['partition-specs'], { ...update.spec, 'spec-id': id }]
      for (const field of update.spec.fields)
        next['last-partition-id'] = Math.max(next['last-partition-id'], field['field-id'])
      return
    }
    case 'set-default-spec':
      next['default-spec-id'] =
        update['spec-id'] === LAST_ADDED ? next['partition-specs'].at(-1)!['spec-id'] : update['spec-id']
      return
    case 'add-sort-order': {
      const id = Math.max(0, ...next['sort-orders'].map((one) => one['order-id'])) + 1
      next['sort-orders'] = [...next['sort-orders'], { ...update['sort-order'], 'order-id': id }]
      return
    }
    case 'set-default-sort-order':
      next['default-sort-order-id'] =
        update['sort-order-id'] === LAST_ADDED
          ? next['sort-orders'].at(-1)!['order-id']
          : update['sort-order-id']
      return
    case 'add-snapshot':
      addSnapshot(next, update.snapshot)
      return
    case 'set-snapshot-ref':
      setReference(next, update, nowMs)
      return
    case 'remove-snapshots':
      removeSnapshots(next, new Set(update['snapshot-ids']))
      return
    case 'remove-snapshot-ref': {
      const { [update['ref-name']]: _, ...refs } = next.refs
      next.refs = refs
      if (update['ref-name'] === MAIN) next['current-snapshot-id'] = NO_SNAPSHOT
      return
    }
    case 'set-location':
      next.location = update.location
      return
    case 'set-properties':
      next.properties = { ...next.properties, ...update.updates }
      return
    case 'remove-properties': {
      const properties = { ...next.properties }
      for (const name of update.removals) delete properties[name]
      next.properties = properties
      return
    }
    default:
      throw invalid(`update ${String((update as { action: string }).action)} is not known here`)
  }
}

function addSnapshot(next: TableMetadata, snapshot: Snapshot): void {
  const sequenceNumber = snapshot['sequence-number'] ?? 0
  if (snapshotById(next, snapshot['snapshot-id']) !== undefined)
    throw invalid(`snapshot ${snapshot['snapshot-id']} is there already`)
  if (snapshot['parent-snapshot-id'] !== undefined && sequenceNumber <= next['last-sequence-number'])
    throw invalid(`sequence number ${sequenceNumber} is not above ${next['last-sequence-number']}`)
  next.snapshots = [...next.snapshots, snapshot]
  next['last-sequence-number'] = sequenceNumber
  next['last-updated-ms'] = snapshot['timestamp-ms']
}

function setReference(
  next: TableMetadata,
  update: Extract<Update, { action: 'set-snapshot-ref' }>,
  nowMs: number,
): void {
  const { action: _, 'ref-name': name, ...reference } = update
  const snapshot = snapshotById(next, reference['snapshot-id'])
  if (snapshot === undefined) throw invalid(`no snapshot ${reference['snapshot-id']}`)
  const added = next.refs[name]?.['snapshot-id'] !== reference['snapshot-id']
  next.refs = { ...next.refs, [name]: reference }
  if (name !== MAIN || !added) return
  next['current-snapshot-id'] = reference['snapshot-id']
  // A new snapshot is logged with its own time, a rollback with the time it was done at.
  const isNewest = next.snapshots.at(-1) === snapshot
  next['snapshot-log'] = [
    ...next['snapshot-log'],
    {
      'timestamp-ms': isNewest ? snapshot['timestamp-ms'] : nowMs,
      'snapshot-id': reference['snapshot-id'],
    },
  ]
}

function removeSnapshots(next: TableMetadata, ids: ReadonlySet<Int64>): void {
  for (const [name, reference] of Object.entries(next.refs))
    if (ids.has(reference['snapshot-id']))
      throw invalid(`snapshot ${reference['snapshot-id']} is what ${name} points to`)
  const keep = (one: { 'snapshot-id': Int64 }) => !ids.has(one['snapshot-id'])
  next.snapshots = next.snapshots.filter(keep)
  // The log may only begin later: an entry before a removed one would claim a state for its time ("Point in Time Reads").
  const lastGone = next['snapshot-log'].findLastIndex((entry) => !keep(entry))
  next['snapshot-log'] = next['snapshot-log'].slice(lastGone + 1)
  if (next.statistics !== undefined) next.statistics = next.statistics.filter(keep)
  if (next['partition-statistics'] !== undefined)
    next['partition-statistics'] = next['partition-statistics'].filter(keep)
}
