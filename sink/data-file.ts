// Rows of a commit become data files: one per partition, its rows in file order, encoded to Parquet
// with the table's field ids, and described with the counts and bounds that a manifest wants.

import type { ColumnField, ColumnType } from '../schemas/columns.ts'
import { MillraceError } from '../std/errors.ts'
import { type LoadedTable, printTableId } from './catalog.ts'
import type { DecodedRows } from './decode.ts'
import type { FileEncoder } from './encoder.ts'
import type { TableLayout } from './ensure-table.ts'
import type { Names } from './file-names.ts'
import { CONTENT_DATA, type DataFile, type KeyValue } from './iceberg/manifest.ts'
import { currentSchema } from './iceberg/metadata.ts'
import { printDay } from './iceberg/partition.ts'
import type { NestedField, Type } from './iceberg/schema.ts'
import type { ParquetField } from './parquet/schema.ts'
import type { ColumnMetrics, EncodedFile } from './parquet/writer.ts'
import { type PartitionRows, sortRows } from './sort.ts'
import { sortOrderId } from './table-order.ts'
import { columnNamed } from './table-schema.ts'

export interface NewDataFile {
  dataFile: DataFile
  parts: readonly Uint8Array[]
}

/** Files that are being encoded while another is being stored; bounds memory to that many files. */
const AHEAD_MAX = 2

/**
 * The columns of `table` that `columns` fill, in the table's order, and where each is among `columns`. Errors:
 * `table_foreign` where a column of ours is not in the table, or a required one of the table is not ours.
 */
export function fileSchema(
  table: LoadedTable,
  columns: readonly ColumnField[],
): { fields: ParquetField[]; sources: number[] } {
  const fields: ParquetField[] = []
  const sources: number[] = []
  for (const field of currentSchema(table.metadata).fields) {
    const source = columns.findIndex((column) => column.name === field.name)
    if (source >= 0) {
      fields.push(parquetField(field, columns[source]!.type))
      sources.push(source)
    } else if (field.required)
      throw new MillraceError(
        'table_foreign',
        `table ${printTableId(table.id)} requires a column ${field.name} that the contract does not have`,
      )
  }
  if (fields.length !== columns.length) {
    const lost = columns.find((column) => !fields.some((field) => field.name === column.name))
    throw new MillraceError(
      'table_foreign',
      `table ${printTableId(table.id)} has lost its column ${lost?.name}: another engine changed the schema`,
    )
  }
  return { fields, sources }
}

function parquetField(field: NestedField, type: ColumnType): ParquetField {
  const children = childrenOf(field.type, type)
  return {
    name: field.name,
    fieldId: field.id,
    required: field.required,
    type,
    ...(children === undefined ? {} : { children }),
  }
}

function childrenOf(type: Type, column: ColumnType): ParquetField[] | undefined {
  if (typeof type === 'string') return undefined
  if (type.type === 'struct' && column.kind === 'struct')
    return column.fields.map((child) => {
      const field = type.fields.find((one) => one.name === child.name)
      if (field === undefined)
        throw new MillraceError('table_foreign', `the table has lost its nested column ${child.name}`)
      return parquetField(field, child.type)
    })
  const part = (name: string, id: number, required: boolean, of: Type, child: ColumnField): ParquetField =>
    parquetField({ id, name, required, type: of }, child.type)
  if (type.type === 'list' && column.kind === 'list')
    return [part('element', type['element-id'], type['element-required'], type.element, column.element)]
  if (type.type === 'map' && column.kind === 'map')
    return [
      part('key', type['key-id'], true, type.key, column.key),
      part('value', type['value-id'], type['value-required'], type.value, column.value),
    ]
  throw new MillraceError(
    'table_foreign',
    `a ${type.type} column of the table is ${column.kind} in the contract`,
  )
}

/** Encodes the rows of a commit, partition after partition. */
export class TableEncoder {
  readonly #files: FileEncoder

  constructor(files: FileEncoder) {
    this.#files = files
  }

  /** Takes the parts of a file that is stored, once. */
  giveBack(parts: readonly Uint8Array[]): void {
    this.#files.giveBack(parts)
  }

  async *encode(
    table: LoadedTable,
    layout: TableLayout,
    rows: DecodedRows,
    names: Names,
  ): AsyncGenerator<NewDataFile> {
    const { fields, sources } = fileSchema(
      table,
      rows.batch.columns.map((column) => column.field),
    )
    const sortingColumns = [layout.deviceColumn, layout.timeColumn].map((name) => ({
      fieldId: fields.find((field) => field.name === name)!.fieldId,
      nullsFirst: true,
    }))
    const partitions = sortRows(rows.order(layout))
    const { rowCount, columns } = rows.batch
    const batch = { rowCount, columns: sources.map((source) => columns[source]!) }
    const ahead: { partition: PartitionRows; encoded: Promise<EncodedFile> }[] = []
    const next = async (): Promise<NewDataFile> => {
      const { partition, encoded } = ahead.shift()!
      return describeFile(table, layout, partition, await encoded, names)
    }
    try {
      for (const partition of partitions) {
        const encoded = this.#files.encode(fields, batch, { sortingColumns }, partition.indices)
        ahead.push({ partition, encoded })
        if (ahead.length >= AHEAD_MAX) yield await next()
      }
      while (ahead.length > 0) yield await next()
    } finally {
      // A consumer that stops early (a full disk) leaves work behind; its failure is nobody's news.
      for (const { encoded } of ahead) encoded.catch(() => {})
    }
  }
}

/** An encoded file of rows of one partition under its new name, sorted by (device, time). */
export function describeFile(
  table: LoadedTable,
  layout: TableLayout,
  rows: Pick<PartitionRows, 'day' | 'bucket'>,
  file: EncodedFile,
  names: Names,
): NewDataFile {
  const { metadata } = table
  const { fields } = currentSchema(metadata)
  const orderId = sortOrderId(
    metadata,
    columnNamed(fields, layout.deviceColumn).id,
    columnNamed(fields, layout.timeColumn).id,
  )
  const partition: Record<string, unknown> = { [layout.dayField]: rows.day ?? null }
  let prefix = rows.day === undefined ? 'null' : printDay(rows.day)
  if (layout.bucket !== undefined) {
    partition[layout.bucket.field] = rows.bucket!
    prefix += `-${rows.bucket}`
  }
  return {
    parts: file.parts,
    dataFile: {
      content: CONTENT_DATA,
      file_path: `${metadata.location}/data/${prefix}-${names.uuid()}.parquet`,
      file_format: 'PARQUET',
      partition,
      record_count: file.recordCount,
      file_size_in_bytes: file.byteLength,
      column_sizes: metric(file.columns, (one) => one.columnBytes),
      value_counts: metric(file.columns, (one) => one.valueCount),
      null_value_counts: metric(file.columns, (one) => one.nullCount),
      nan_value_counts: metric(file.columns, (one) => one.nanCount),
      lower_bounds: metric(file.columns, (one) => one.lowerBound),
      upper_bounds: metric(file.columns, (one) => one.upperBound),
      key_metadata: null,
      split_offsets: file.splitOffsets,
      equality_ids: null,
      // Declared because the rows are in that order, whatever order another engine has made the table's default.
      sort_order_id: orderId,
    },
  }
}

function metric<T>(
  columns: readonly ColumnMetrics[],
  of: (column: ColumnMetrics) => T | undefined,
): KeyValue<T>[] {
  const pairs: KeyValue<T>[] = []
  for (const column of columns) {
    const value = of(column)
    if (value !== undefined) pairs.push({ key: column.fieldId, value })
  }
  return pairs
}
