// Makes a table what its contract says: created where there is none, evolved where the contract changed,
// refused where it is not ours or cannot become what is wanted.
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId, type TableId } from './catalog.ts'
import type { CommitTools } from './commit.ts'
import { currentSchema, defaultSpec, type TableMetadata } from './iceberg/metadata.ts'
import { bucketCountOf } from './iceberg/partition.ts'
import { evolveFields, type NestedField, sameFields } from './iceberg/schema.ts'
import { LAST_ADDED, type Update } from './iceberg/updates.ts'
import {
  COLUMNS_PROPERTY,
  columnNamed,
  newTableLayout,
  parseColumns,
  printColumns,
  type TableShape,
} from './table-schema.ts'

/** Schema changes of others that are met before giving up. */
const TRIES_MAX = 5

/**
 * The table, holding `shape`; `onNotice` hears what another engine has done to it. Errors: `table_foreign` (a table of that name that Millrace did not make, or
 * whose partitioning another engine changed), `schema_incompatible`, and the catalog's.
 */
export async function ensureTable(
  tools: CommitTools,
  id: TableId,
  shape: TableShape,
  onNotice: (notice: string) => void = () => {},
): Promise<LoadedTable> {
  for (let tries = 0; ; tries++) {
    try {
      const table = await tools.catalog.load(id)
      if (table !== undefined) {
        const evolved = await evolveTable(tools, table, shape)
        const dropped = droppedColumns(table)
        if (dropped.length > 0)
          onNotice(
            `another engine has dropped ${dropped.join(', ')}: what the contract has is made anew, null in the rows from before`,
          )
        return evolved
      }
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
  /** Undefined: the schema stays, only COLUMNS_PROPERTY is written. */
  fields: NestedField[] | undefined
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
  const owned = parseColumns(columns)
  const current = currentSchema(metadata).fields
  requireNames(table, current, owned, shape)
  const { fields, lastColumnId } = evolveFields(
    current,
    shape.fields,
    metadata['last-column-id'],
    (fieldId) => owned.has(fieldId),
  )
  const mine = fields.filter((field) => shape.fields.some((wanted) => wanted.name === field.name))
  checkPartitioning(table, metadata, fields)
  const printed = printColumns(mine)
  if (!sameFields(current, fields)) return { fields, lastColumnId, columns: printed }
  return columns === printed ? undefined : { fields: undefined, lastColumnId, columns: printed }
}

/**
 * Another engine may add columns. One of ours that it has renamed would look dropped, and its values be lost to the
 * contract: that is refused, and mended by renaming it back or by a contract that follows.
 */
function requireNames(
  table: LoadedTable,
  current: readonly NestedField[],
  owned: ReadonlyMap<number, string | undefined>,
  shape: TableShape,
): void {
  for (const { id, name } of current) {
    const before = owned.get(id)
    if (before === undefined || before === name || shape.fields.some((wanted) => wanted.name === name))
      continue
    throw new MillraceError(
      'table_foreign',
      `table ${printTableId(table.id)}: another engine has renamed column ${before} to ${name}: rename it back, or call the field ${name} in the contract, with aliases: [${before}]`,
      { table: printTableId(table.id), column: before, found: name },
    )
  }
}

/** Columns of ours that another engine has dropped: they are made anew. */
function droppedColumns(table: LoadedTable): string[] {
  const owned = parseColumns(table.metadata.properties[COLUMNS_PROPERTY] ?? '')
  const current = new Set(currentSchema(table.metadata).fields.map((field) => field.id))
  return [...owned].flatMap(([id, name]) => (name === undefined || current.has(id) ? [] : [name]))
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
      ...schemaUpdates(metadata, evolution),
      { action: 'set-properties', updates: { [COLUMNS_PROPERTY]: evolution.columns } },
    ],
  )
}

function schemaUpdates(metadata: TableMetadata, { fields, lastColumnId }: TableEvolution): Update[] {
  if (fields === undefined) return []
  return [
    {
      action: 'add-schema',
      schema: { ...currentSchema(metadata), type: 'struct', fields },
      'last-column-id': lastColumnId,
    },
    { action: 'set-current-schema', 'schema-id': LAST_ADDED },
  ]
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
