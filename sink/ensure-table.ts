// Makes a table what its contract says: created where there is none, evolved where the contract changed,
// refused where it is not ours or cannot become what is wanted.
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import type { CommitTools } from './commit.ts'
import { currentSchema, defaultSpec, type TableMetadata } from './iceberg/metadata.ts'
import { bucketCountOf } from './iceberg/partition.ts'
import { evolveFields, type NestedField, sameFields } from './iceberg/schema.ts'
import { LAST_ADDED } from './iceberg/updates.ts'
import {
  COLUMNS_PROPERTY,
  columnNamed,
  newTableLayout,
  printColumns,
  type TableShape,
} from './table-schema.ts'

/** Schema changes of others that are met before giving up. */
const TRIES_MAX = 5

/**
 * The table, holding `shape`. Errors: `table_foreign` (a table of that name that Millrace did not make, or
 * whose partitioning another engine changed), `schema_incompatible`, and the catalog's.
 */
export async function ensureTable(tools: CommitTools, id: TableId, shape: TableShape): Promise<LoadedTable> {
  for (let tries = 0; ; tries++) {
    try {
      const table = await tools.catalog.load(id)
      if (table !== undefined) return await evolveTable(tools, table, shape)
      await tools.catalog.createNamespace(id.namespace)
      return await tools.catalog.create(id, newTableLayout(shape))
    } catch (error) {
      // Another process made or changed it in between: look again.
      const passing = isMillraceError(error, 'table_conflict') || isMillraceError(error, 'commit_ambiguous')
      if (!passing || tries >= TRIES_MAX) throw error
    }
  }
}

export interface TableEvolution {
  fields: NestedField[]
  lastColumnId: number
  /** Of COLUMNS_PROPERTY. */
  columns: string
}

/** What the table becomes to hold `shape`; undefined where it holds it already. Errors: as of `ensureTable`. */
export function planEvolution(table: LoadedTable, shape: TableShape): TableEvolution | undefined {
  const { metadata } = table
  const columns = metadata.properties[COLUMNS_PROPERTY]
  if (columns === undefined)
    throw new MillraceError(
      'table_foreign',
      `table ${printTableId(table.id)} exists and was not made by Millrace (no property ${COLUMNS_PROPERTY}): rename or drop it; the log keeps the data meanwhile`,
      { table: printTableId(table.id) },
    )
  const owned = new Set(columns.split(',').map(Number))
  const current = currentSchema(metadata).fields
  const { fields, lastColumnId } = evolveFields(
    current,
    shape.fields,
    metadata['last-column-id'],
    (fieldId) => owned.has(fieldId),
  )
  const mine = fields.filter((field) => shape.fields.some((wanted) => wanted.name === field.name))
  checkPartitioning(table, metadata, fields)
  if (sameFields(current, fields) && columns === printColumns(mine)) return undefined
  return { fields, lastColumnId, columns: printColumns(mine) }
}

async function evolveTable(tools: CommitTools, table: LoadedTable, shape: TableShape): Promise<LoadedTable> {
  const { metadata } = table
  const evolution = planEvolution(table, shape)
  if (evolution === undefined) return table
  return tools.catalog.commit(
    table.id,
    [
      { type: 'assert-table-uuid', uuid: metadata['table-uuid'] },
      { type: 'assert-current-schema-id', 'current-schema-id': metadata['current-schema-id'] },
      { type: 'assert-last-assigned-field-id', 'last-assigned-field-id': metadata['last-column-id'] },
    ],
    [
      {
        action: 'add-schema',
        schema: { ...currentSchema(metadata), type: 'struct', fields: evolution.fields },
        'last-column-id': evolution.lastColumnId,
      },
      { action: 'set-current-schema', 'schema-id': LAST_ADDED },
      { action: 'set-properties', updates: { [COLUMNS_PROPERTY]: evolution.columns } },
    ],
  )
}

/** Rows can be put into partitions here only by the day of a time column and a bucket of a string. */
function checkPartitioning(
  table: LoadedTable,
  metadata: TableMetadata,
  fields: readonly NestedField[],
): void {
  for (const part of defaultSpec(metadata).fields) {
    const known = part.transform === 'day' || bucketCountOf(part.transform) !== undefined
    const source = fields.find((field) => field.id === part['source-id'])
    if (!known)
      throw new MillraceError(
        'table_foreign',
        `table ${printTableId(table.id)} is partitioned by ${part.transform} (field ${part.name}), which Millrace does not write`,
      )
    if (source === undefined)
      throw new MillraceError(
        'schema_incompatible',
        `table ${printTableId(table.id)} is partitioned by a column that the contract drops (${part.name}): keep the field, or rename it with an alias`,
      )
  }
}

/** The refusal of another number of buckets than a table has; undefined: none. */
function bucketsFixed(id: TableId, has: number | undefined, wanted: number | undefined): MillraceError {
  const buckets = (count: number | undefined): string =>
    count === undefined ? 'not by bucket of the device' : `by bucket[${count}] of the device`
  return new MillraceError(
    'schema_incompatible',
    `table ${printTableId(id)} is partitioned ${buckets(has)}, the contract says ${buckets(wanted)}: that is fixed when the table is made; ${has === undefined ? 'leave table.bucket_devices out' : `set table.bucket_devices to ${has}`}`,
    { table: printTableId(id), has, wanted },
  )
}

/** What rows need to know of a table to be put into its files. */
export interface TableLayout {
  timeColumn: string
  deviceColumn: string
  /** Name of the partition field that holds the day. */
  dayField: string
  /** Name and count of the bucket field, where there is one. */
  bucket: { field: string; count: number } | undefined
}

/**
 * The layout of a table with these fields. Errors: `table_foreign` where the shape's columns are not what the table is
 * partitioned by, `schema_incompatible` where the number of buckets is another one.
 */
export function layoutOf(
  table: LoadedTable,
  shape: TableShape,
  fields: readonly NestedField[] = currentSchema(table.metadata).fields,
): TableLayout {
  const time = columnNamed(fields, shape.timeColumn)
  const device = columnNamed(fields, shape.deviceColumn)
  let dayField: string | undefined
  let bucket: TableLayout['bucket']
  for (const part of defaultSpec(table.metadata).fields) {
    const count = bucketCountOf(part.transform)
    if (part.transform === 'day' && part['source-id'] === time.id) dayField = part.name
    else if (count !== undefined && part['source-id'] === device.id) bucket = { field: part.name, count }
    else
      throw new MillraceError(
        // A day of another column is how a table of ours looks whose contract has moved its event time.
        part.transform === 'day' ? 'schema_incompatible' : 'table_foreign',
        `table ${printTableId(table.id)} is partitioned by ${part.name}, not by the day of ${shape.timeColumn}: a stream's event time cannot move to another field`,
      )
  }
  if (dayField === undefined)
    throw new MillraceError(
      'table_foreign',
      `table ${printTableId(table.id)} is not partitioned by the day of ${shape.timeColumn}`,
    )
  if (bucket?.count !== shape.bucketDevices) throw bucketsFixed(table.id, bucket?.count, shape.bucketDevices)
  return { timeColumn: shape.timeColumn, deviceColumn: shape.deviceColumn, dayField, bucket }
}
