// Iceberg specification, "Manifests": an Avro file that lists data files with the values and bounds that
// let a reader skip them. Format v2.
//
// An added file's sequence numbers are null and inherited from the manifest list, so that a manifest stays
// as it is when its commit is tried again on newer metadata; its snapshot id is written out, because the
// snapshot keeps its id through all tries.

import {
  type AvroFieldType,
  type AvroRecordType,
  type AvroType,
  readAvroFile,
  writeAvroFile,
} from './avro-file.ts'
import { type Int64, parseJson, printJson } from './json.ts'
import type { PartitionSpec } from './partition.ts'
import { partitionAvroType, sourceType } from './partition.ts'
import type { Schema } from './schema.ts'

export const EXISTING = 0
export const ADDED = 1
export const DELETED = 2

/** `content` of a data file, and of a manifest (0 data, 1 deletes). */
export const CONTENT_DATA = 0

export interface KeyValue<T> {
  key: number
  value: T
}

/** `data_file` of the specification; names are the specification's. */
export interface DataFile {
  content: number
  file_path: string
  file_format: string
  /** Values by partition field name; an int for `day` and `bucket`, null where the source is null. */
  partition: Record<string, unknown>
  record_count: Int64
  file_size_in_bytes: Int64
  column_sizes: KeyValue<Int64>[] | null
  value_counts: KeyValue<Int64>[] | null
  null_value_counts: KeyValue<Int64>[] | null
  nan_value_counts: KeyValue<Int64>[] | null
  lower_bounds: KeyValue<Uint8Array>[] | null
  upper_bounds: KeyValue<Uint8Array>[] | null
  key_metadata: Uint8Array | null
  split_offsets: Int64[] | null
  equality_ids: number[] | null
  sort_order_id: number | null
}

export interface ManifestEntry {
  status: number
  snapshot_id: Int64 | null
  sequence_number: Int64 | null
  file_sequence_number: Int64 | null
  data_file: DataFile
}

function optional(type: AvroType): AvroType {
  return ['null', type]
}

function field(name: string, id: number, type: AvroType): AvroFieldType {
  return Array.isArray(type) ? { name, type, default: null, 'field-id': id } : { name, type, 'field-id': id }
}

/** A map with int keys: an array of key-value records, ids on both. */
function intMap(keyId: number, valueId: number, value: string): AvroType {
  return {
    type: 'array',
    logicalType: 'map',
    items: {
      type: 'record',
      name: `k${keyId}_v${valueId}`,
      fields: [field('key', keyId, 'int'), field('value', valueId, value)],
    },
  }
}

/** The Avro schema of a manifest's entries; the partition struct is the spec's. */
function entrySchema(schema: Schema, spec: PartitionSpec): AvroRecordType {
  const partition: AvroRecordType = {
    type: 'record',
    name: 'r102',
    fields: spec.fields.map((one) =>
      field(
        one.name,
        one['field-id'],
        optional(
          partitionAvroType(one.transform, sourceType(schema, one['source-id']) ?? 'string') as AvroType,
        ),
      ),
    ),
  }
  const dataFile: AvroRecordType = {
    type: 'record',
    name: 'r2',
    fields: [
      field('content', 134, 'int'),
      field('file_path', 100, 'string'),
      field('file_format', 101, 'string'),
      field('partition', 102, partition),
      field('record_count', 103, 'long'),
      field('file_size_in_bytes', 104, 'long'),
      field('column_sizes', 108, optional(intMap(117, 118, 'long'))),
      field('value_counts', 109, optional(intMap(119, 120, 'long'))),
      field('null_value_counts', 110, optional(intMap(121, 122, 'long'))),
      field('nan_value_counts', 137, optional(intMap(138, 139, 'long'))),
      field('lower_bounds', 125, optional(intMap(126, 127, 'bytes'))),
      field('upper_bounds', 128, optional(intMap(129, 130, 'bytes'))),
      field('key_metadata', 131, optional('bytes')),
      field('split_offsets', 132, optional({ type: 'array', items: 'long', 'element-id': 133 })),
      field('equality_ids', 135, optional({ type: 'array', items: 'int', 'element-id': 136 })),
      field('sort_order_id', 140, optional('int')),
    ],
  }
  return {
    type: 'record',
    name: 'manifest_entry',
    fields: [
      field('status', 0, 'int'),
      field('snapshot_id', 1, optional('long')),
      field('sequence_number', 3, optional('long')),
      field('file_sequence_number', 4, optional('long')),
      field('data_file', 2, dataFile),
    ],
  }
}

/** The names under which entries are read, whatever a file calls its fields. */
const NAMES = new Map<number, string>([
  [0, 'status'],
  [1, 'snapshot_id'],
  [3, 'sequence_number'],
  [4, 'file_sequence_number'],
  [2, 'data_file'],
  [134, 'content'],
  [100, 'file_path'],
  [101, 'file_format'],
  [102, 'partition'],
  [103, 'record_count'],
  [104, 'file_size_in_bytes'],
  [108, 'column_sizes'],
  [109, 'value_counts'],
  [110, 'null_value_counts'],
  [137, 'nan_value_counts'],
  [125, 'lower_bounds'],
  [128, 'upper_bounds'],
  [131, 'key_metadata'],
  [132, 'split_offsets'],
  [135, 'equality_ids'],
  [140, 'sort_order_id'],
])

/** A whole manifest of data files. */
export function writeManifest(
  schema: Schema,
  spec: PartitionSpec,
  entries: readonly ManifestEntry[],
  syncMarker: Uint8Array,
): Uint8Array {
  return writeAvroFile(
    entrySchema(schema, spec),
    entries,
    {
      schema: printJson(schema),
      'schema-id': String(schema['schema-id']),
      'partition-spec': printJson(spec.fields),
      'partition-spec-id': String(spec['spec-id']),
      'format-version': '2',
      content: 'data',
    },
    syncMarker,
  )
}

export interface Manifest {
  schema: Schema
  spec: PartitionSpec
  entries: ManifestEntry[]
}

/**
 * Reads a manifest. `inherited` fills what entries of v2 leave null ("Sequence Number Inheritance"): the
 * manifest's snapshot id and sequence number of its line in the manifest list.
 */
export function readManifest(
  bytes: Uint8Array,
  inherited: { added_snapshot_id: Int64; sequence_number: Int64 },
): Manifest {
  const file = readAvroFile(bytes, NAMES)
  const schema = parseJson(file.metadata.get('schema') ?? '{}') as Schema
  const spec: PartitionSpec = {
    'spec-id': Number(file.metadata.get('partition-spec-id') ?? 0),
    fields: parseJson(file.metadata.get('partition-spec') ?? '[]') as PartitionSpec['fields'],
  }
  const entries = file.records as unknown as ManifestEntry[]
  for (const entry of entries) {
    entry.snapshot_id ??= inherited.added_snapshot_id
    if (entry.status === ADDED) {
      entry.sequence_number ??= inherited.sequence_number
      entry.file_sequence_number ??= inherited.sequence_number
    }
    // A v1 file has neither: everything in it is data of sequence number 0.
    entry.data_file.content ??= CONTENT_DATA
    entry.sequence_number ??= 0
    entry.file_sequence_number ??= null
  }
  return { schema, spec, entries }
}

/** Whether a reader of the snapshot sees the entry's file. */
export function isLive(entry: ManifestEntry): boolean {
  return entry.status !== DELETED
}
