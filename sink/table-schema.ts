// From a stream's Avro schema to its table: columns, partitioning, sort order, properties.
//
//   <tenant>.<stream>            device_id │ every field of the contract │ _log_partition _offset _receive_time
//                                _schema_id _late_ms _quality
//   <tenant>.<stream>_rejected   every field of the rejected schema │ _log_partition _offset
//
// A table is partitioned by day of its time column and sorted by (device, time). Field ids live in the
// table's metadata alone; a field of the contract finds its column by name, then by its former names.

import { type AvroNode, nullableOf, type RecordNode } from '../schemas/avro-node.ts'
import { type ResolutionFault, resolve } from '../schemas/avro-resolution.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { MillraceError } from '../std/errors.ts'
import { PARTITION_FIELD_ID_FIRST, type PartitionSpec } from './iceberg/partition.ts'
import {
  assignFieldIds,
  evolveFields,
  type NestedField,
  type Schema,
  type WantedField,
  type WantedType,
} from './iceberg/schema.ts'
import { type SortOrder, sortOrderBy } from './iceberg/sort-order.ts'

export const DEVICE_ID = 'device_id'

/**
 * Not `_partition`, as it was called in tables of earlier days: that is a metadata column of Iceberg, and Spark reads no
 * table column of that name.
 */
const LOG_PARTITION = {
  name: '_log_partition',
  aliases: ['_partition'],
  required: true,
  type: 'int',
} as const

/** Columns that say where a row comes from, behind the contract's; names are LINEAGE_COLUMNS of schemas/names.ts. */
const TELEMETRY_LINEAGE: readonly WantedField[] = [
  { ...LOG_PARTITION, doc: 'Partition of the normalized topic' },
  { name: '_offset', required: true, type: 'long', doc: 'Offset in that partition' },
  { name: '_receive_time', required: true, type: 'timestamptz', doc: 'When ingest received the message' },
  { name: '_schema_id', required: true, type: 'int', doc: 'Registry id of the schema of the record' },
  {
    name: '_late_ms',
    required: true,
    type: 'long',
    doc: 'Milliseconds behind the newest event time of the device; 0 when on time',
  },
  { name: '_quality', required: false, type: 'string', doc: 'Fields outside their range; null when good' },
]

const REJECTED_LINEAGE: readonly WantedField[] = [
  { ...LOG_PARTITION, doc: 'Partition of the rejected topic' },
  { name: '_offset', required: true, type: 'long', doc: 'Offset in that partition' },
]

/**
 * Our top-level columns as we left them, in a table property, `1:device_id,2:event_time,…`: what a contract may drop,
 * by which a change of another engine is told from one of the contract, and the sign of our tables.
 */
export const COLUMNS_PROPERTY = 'millrace.columns'

/** Whether Millrace made the table. */
export function isOurs(metadata: { properties: Readonly<Record<string, string>> }): boolean {
  return metadata.properties[COLUMNS_PROPERTY] !== undefined
}

/** What a table should be. */
export interface TableShape {
  fields: WantedField[]
  /** Column whose day is the partition. */
  timeColumn: string
  deviceColumn: string
  /** Beside the day, `bucket[N]` of the device; fixed when the table is made. */
  bucketDevices?: number
}

export interface TelemetryShapeOptions {
  /** Avro JSON of the stream's current schema. */
  schema: string
  /** Name of the event-time field; without one the receive time takes its place. */
  eventTime?: string
  /** Former names of top-level fields, beside the schema's own aliases. */
  aliases?: ReadonlyMap<string, readonly string[]>
  bucketDevices?: number
}

/** The table of a stream. Errors: `schema_invalid` where a table cannot hold the schema, with the field's path. */
export function telemetryShape(options: TelemetryShapeOptions): TableShape {
  const contract = contractFields(options.schema, options.aliases)
  return {
    fields: joinUnique([
      { name: DEVICE_ID, required: true, type: 'string', doc: 'Device that sent the record' },
      ...contract,
      ...TELEMETRY_LINEAGE,
    ]),
    timeColumn: options.eventTime ?? '_receive_time',
    deviceColumn: DEVICE_ID,
    ...(options.bucketDevices === undefined ? {} : { bucketDevices: options.bucketDevices }),
  }
}

/** The table of rejected records; `schema` is the Avro JSON of the one rejected schema. */
export function rejectedShape(schema: string, timeColumn: string, deviceColumn: string): TableShape {
  return { fields: joinUnique([...contractFields(schema), ...REJECTED_LINEAGE]), timeColumn, deviceColumn }
}

function joinUnique(fields: WantedField[]): WantedField[] {
  const seen = new Set<string>()
  for (const field of fields) {
    // Engines compare column names without case.
    const name = field.name.toLowerCase()
    if (seen.has(name))
      throw new MillraceError(
        'schema_invalid',
        `${field.name}: a table has one column of that name already`,
        {
          path: field.name,
        },
      )
    seen.add(name)
  }
  return fields
}

function contractFields(
  schema: string,
  aliases: ReadonlyMap<string, readonly string[]> = new Map(),
): WantedField[] {
  const node = parseAvroSchema(schema)
  if (node.kind !== 'record') throw unfit('', 'a table needs a record at the top')
  return recordFields(node, '', aliases)
}

function recordFields(
  node: RecordNode,
  path: string,
  aliases: ReadonlyMap<string, readonly string[]> = new Map(),
): WantedField[] {
  if (node.recursive) throw unfit(path, 'a table cannot hold a record inside itself')
  return node.fields.map((field) => {
    const at = path === '' ? field.name : `${path}.${field.name}`
    const nullable = nullableOf(field.node)
    return {
      name: field.name,
      aliases: [...field.aliases, ...(aliases.get(field.name) ?? [])],
      required: nullable === undefined,
      type: wantedType(nullable?.value ?? field.node, at),
      ...(field.doc === undefined ? {} : { doc: field.doc }),
    }
  })
}

function wantedType(node: AvroNode, path: string): WantedType {
  switch (node.kind) {
    case 'boolean':
    case 'float':
    case 'double':
      return node.kind
    case 'int':
      return node.logical === 'date' ? 'date' : node.logical === 'time-millis' ? 'time' : 'int'
    case 'long':
      return node.logical === undefined ? 'long' : node.logical === 'time-micros' ? 'time' : 'timestamptz'
    case 'string':
      return node.logical === 'uuid' ? 'uuid' : 'string'
    case 'enum':
      return 'string'
    case 'bytes':
      return node.decimal === undefined ? 'binary' : decimalType(node.decimal, path)
    case 'fixed':
      if (node.decimal !== undefined) return decimalType(node.decimal, path)
      return node.logical === 'uuid' ? 'uuid' : `fixed[${node.size}]`
    case 'record':
      return { kind: 'struct', fields: recordFields(node, path) }
    case 'array': {
      const nullable = nullableOf(node.items)
      return {
        kind: 'list',
        element: wantedType(nullable?.value ?? node.items, `${path}[]`),
        elementRequired: nullable === undefined,
      }
    }
    case 'map': {
      const nullable = nullableOf(node.values)
      return {
        kind: 'map',
        key: 'string',
        value: wantedType(nullable?.value ?? node.values, `${path}{}`),
        valueRequired: nullable === undefined,
      }
    }
    default:
      throw unfit(
        path,
        `a table cannot hold ${node.kind === 'union' ? 'a union of several types' : node.kind}`,
      )
  }
}

function decimalType(decimal: { precision: number; scale: number }, path: string): WantedType {
  if (decimal.precision > 38) throw unfit(path, 'a table holds at most 38 decimal digits')
  return `decimal(${decimal.precision}, ${decimal.scale})`
}

function unfit(path: string, reason: string): MillraceError {
  return new MillraceError('schema_invalid', `${path}: ${reason}`, { path, reason })
}

/**
 * Why a table of `previous` cannot become one of `next` (both Avro JSON), or undefined where it can: a column cannot
 * follow, or rows of `previous` that wait in the log could not be read any more. The registry asks before it takes a
 * contract, at every level of compatibility, so that no accepted contract can stop a sink.
 */
export function tableEvolutionProblem(previous: string, next: string): string | undefined {
  try {
    const before = assignFieldIds(contractFields(previous))
    evolveFields(before.fields, contractFields(next), before.lastColumnId)
  } catch (error) {
    if (error instanceof MillraceError && error.action === 'reject') return error.message
    throw error
  }
  const { faults = [] } = resolve(parseAvroSchema(previous), parseAvroSchema(next))
  if (faults.length === 0) return undefined
  const [{ path, reason, rule }] = faults as [ResolutionFault]
  return `${path}: ${reason} (${rule}): rows of the schema before this one, which may wait in the log, could not be read`
}

export interface NewTableLayout {
  schema: Schema
  lastColumnId: number
  spec: PartitionSpec
  sortOrder: SortOrder
  properties: Record<string, string>
}

/** The first schema, partitioning and order of a table. */
export function newTableLayout(shape: TableShape): NewTableLayout {
  const { fields, lastColumnId } = assignFieldIds(shape.fields)
  const time = columnNamed(fields, shape.timeColumn)
  const device = columnNamed(fields, shape.deviceColumn)
  const spec: PartitionSpec = {
    'spec-id': 0,
    fields: [
      {
        'source-id': time.id,
        'field-id': PARTITION_FIELD_ID_FIRST,
        name: `${shape.timeColumn}_day`,
        transform: 'day',
      },
    ],
  }
  if (shape.bucketDevices !== undefined)
    spec.fields.push({
      'source-id': device.id,
      'field-id': PARTITION_FIELD_ID_FIRST + 1,
      name: `${shape.deviceColumn}_bucket`,
      transform: `bucket[${shape.bucketDevices}]`,
    })
  return {
    schema: { type: 'struct', 'schema-id': 0, fields },
    lastColumnId,
    spec,
    sortOrder: sortOrderBy(1, [device.id, time.id]),
    properties: {
      'write.format.default': 'parquet',
      'write.parquet.compression-codec': 'zstd',
      'write.metadata.delete-after-commit.enabled': 'true',
      'write.metadata.previous-versions-max': '20',
      [COLUMNS_PROPERTY]: printColumns(fields),
    },
  }
}

export function printColumns(fields: readonly NestedField[]): string {
  return fields.map((field) => `${field.id}:${field.name}`).join(',')
}

/** Names by id. A table of earlier days has ids alone. */
export function parseColumns(text: string): Map<number, string | undefined> {
  return new Map(
    text.split(',').map((one) => {
      const [id, name] = one.split(':')
      return [Number(id), name]
    }),
  )
}

export function columnNamed(fields: readonly NestedField[], name: string): NestedField {
  const found = fields.find((field) => field.name === name)
  if (found === undefined) throw new MillraceError('table_foreign', `the table has no column ${name}`)
  return found
}
