// Iceberg specification, "Table Metadata" (Appendix C, format v2): the JSON document that is a table. It is
// kept in the very shape of the file, so that fields of other engines that mean nothing here survive.
//
// Metadata is never changed in place: an update (updates.ts) makes a new document that shares what stayed.
import { MillraceError } from '../../std/errors.ts'
import { type Int64, parseJson } from './json.ts'
import { PARTITION_FIELD_ID_FIRST, type PartitionSpec } from './partition.ts'
import type { Schema } from './schema.ts'
import type { Snapshot } from './snapshot.ts'
import type { SortOrder } from './sort-order.ts'

export interface SnapshotReference {
  'snapshot-id': Int64
  type: 'branch' | 'tag'
  'min-snapshots-to-keep'?: number
  'max-snapshot-age-ms'?: number
  'max-ref-age-ms'?: number
}

/** What of it matters here: Millrace makes none. */
export interface StatisticsFile {
  'snapshot-id': Int64
  'statistics-path': string
}

export interface TableMetadata {
  'format-version': number
  'table-uuid': string
  location: string
  'last-sequence-number': Int64
  'last-updated-ms': number
  'last-column-id': number
  'current-schema-id': number
  schemas: Schema[]
  'default-spec-id': number
  'partition-specs': PartitionSpec[]
  'last-partition-id': number
  'default-sort-order-id': number
  'sort-orders': SortOrder[]
  properties: Record<string, string>
  /** -1 or absent: none. */
  'current-snapshot-id'?: Int64 | null
  refs: Record<string, SnapshotReference>
  snapshots: Snapshot[]
  statistics?: StatisticsFile[]
  'partition-statistics'?: StatisticsFile[]
  'snapshot-log': { 'timestamp-ms': number; 'snapshot-id': Int64 }[]
  'metadata-log': { 'timestamp-ms': number; 'metadata-file': string }[]
}

export const MAIN = 'main'
export const NO_SNAPSHOT = -1

export interface NewTable {
  uuid: string
  /** Absolute URI without a slash at the end. */
  location: string
  schema: Schema
  lastColumnId: number
  spec: PartitionSpec
  sortOrder: SortOrder
  properties: Record<string, string>
  nowMs: number
}

/** The first metadata of a table. */
export function newMetadata(table: NewTable): TableMetadata {
  return {
    'format-version': 2,
    'table-uuid': table.uuid,
    location: table.location,
    'last-sequence-number': 0,
    'last-updated-ms': table.nowMs,
    'last-column-id': table.lastColumnId,
    'current-schema-id': table.schema['schema-id'],
    schemas: [table.schema],
    'default-spec-id': table.spec['spec-id'],
    'partition-specs': [table.spec],
    'last-partition-id': table.spec.fields.reduce(
      (last, field) => Math.max(last, field['field-id']),
      PARTITION_FIELD_ID_FIRST - 1,
    ),
    'default-sort-order-id': table.sortOrder['order-id'],
    'sort-orders': [table.sortOrder],
    properties: table.properties,
    'current-snapshot-id': NO_SNAPSHOT,
    refs: {},
    snapshots: [],
    statistics: [],
    'partition-statistics': [],
    'snapshot-log': [],
    'metadata-log': [],
  }
}

/** Reads a metadata file. Errors: `table_foreign` where it is not format v2 or not metadata at all; `where` names the file. */
export function parseMetadata(text: string, where: string): TableMetadata {
  let parsed: unknown
  try {
    parsed = parseJson(text)
  } catch (error) {
    throw new MillraceError('table_foreign', `${where} is not JSON: ${String(error)}`, { file: where }, error)
  }
  return adoptMetadata(parsed, where)
}

/** Takes over what was parsed, filling in what may be absent. Errors: as of `parseMetadata`. */
export function adoptMetadata(parsed: unknown, where: string): TableMetadata {
  const metadata = parsed as TableMetadata
  if (metadata?.['format-version'] !== 2)
    throw new MillraceError(
      'table_foreign',
      `${where} has Iceberg format version ${metadata?.['format-version']}; 2 is what is read and written here`,
      { file: where, formatVersion: metadata?.['format-version'] },
    )
  // As the reference implementation does, so that no file's name has two slashes.
  metadata.location = metadata.location.replace(/\/+$/, '')
  metadata.snapshots ??= []
  metadata['snapshot-log'] ??= []
  metadata['metadata-log'] ??= []
  metadata.properties ??= {}
  metadata.refs ??= {}
  const current = metadata['current-snapshot-id']
  if (current !== undefined && current !== null && current !== NO_SNAPSHOT)
    metadata.refs[MAIN] ??= { 'snapshot-id': current, type: 'branch' }
  return metadata
}

export function currentSchema(metadata: TableMetadata): Schema {
  return schemaById(metadata, metadata['current-schema-id'])!
}

export function schemaById(metadata: TableMetadata, id: number): Schema | undefined {
  return metadata.schemas.find((schema) => schema['schema-id'] === id)
}

export function specById(metadata: TableMetadata, id: number): PartitionSpec | undefined {
  return metadata['partition-specs'].find((spec) => spec['spec-id'] === id)
}

export function defaultSpec(metadata: TableMetadata): PartitionSpec {
  return specById(metadata, metadata['default-spec-id'])!
}

export function snapshotById(metadata: TableMetadata, id: Int64): Snapshot | undefined {
  return metadata.snapshots.find((snapshot) => snapshot['snapshot-id'] === id)
}

/** The snapshot that readers see; undefined in an empty table. */
export function currentSnapshot(metadata: TableMetadata): Snapshot | undefined {
  const main = metadata.refs[MAIN]
  return main === undefined ? undefined : snapshotById(metadata, main['snapshot-id'])
}

/** The current snapshot and its ancestors, newest first, as far as metadata still has them. */
export function* ancestry(metadata: TableMetadata): Generator<Snapshot> {
  let at = currentSnapshot(metadata)
  // As many steps as there are snapshots: damaged metadata may lead in a circle.
  for (let steps = metadata.snapshots.length; at !== undefined && steps > 0; steps--) {
    yield at
    const parent: Int64 | undefined = at['parent-snapshot-id']
    at = parent === undefined || parent === null ? undefined : snapshotById(metadata, parent)
  }
}
