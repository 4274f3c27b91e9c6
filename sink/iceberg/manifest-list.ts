// Iceberg specification, "Manifest Lists": the Avro file that a snapshot points to, one line a manifest,
// with the counts and partition ranges that let a planner skip whole manifests. Format v2.

import { invariant } from '../../std/errors.ts'
import {
  type AvroFieldType,
  type AvroRecordType,
  type AvroType,
  readAvroFile,
  writeAvroFile,
} from './avro-file.ts'
import type { Int64 } from './json.ts'
import { ADDED, DELETED, EXISTING, type ManifestEntry } from './manifest.ts'
import type { PartitionSpec } from './partition.ts'

export interface FieldSummary {
  contains_null: boolean
  contains_nan: boolean | null
  lower_bound: Uint8Array | null
  upper_bound: Uint8Array | null
}

/** `manifest_file` of the specification. */
export interface ManifestFile {
  manifest_path: string
  manifest_length: Int64
  partition_spec_id: number
  /** 0 data, 1 deletes. */
  content: number
  sequence_number: Int64
  min_sequence_number: Int64
  added_snapshot_id: Int64
  added_files_count: number
  existing_files_count: number
  deleted_files_count: number
  added_rows_count: Int64
  existing_rows_count: Int64
  deleted_rows_count: Int64
  partitions: FieldSummary[] | null
  key_metadata: Uint8Array | null
}

const FIELDS: readonly [name: keyof ManifestFile, id: number, type: AvroType][] = [
  ['manifest_path', 500, 'string'],
  ['manifest_length', 501, 'long'],
  ['partition_spec_id', 502, 'int'],
  ['content', 517, 'int'],
  ['sequence_number', 515, 'long'],
  ['min_sequence_number', 516, 'long'],
  ['added_snapshot_id', 503, 'long'],
  ['added_files_count', 504, 'int'],
  ['existing_files_count', 505, 'int'],
  ['deleted_files_count', 506, 'int'],
  ['added_rows_count', 512, 'long'],
  ['existing_rows_count', 513, 'long'],
  ['deleted_rows_count', 514, 'long'],
  [
    'partitions',
    507,
    [
      'null',
      {
        type: 'array',
        'element-id': 508,
        items: {
          type: 'record',
          name: 'r508',
          fields: [
            { name: 'contains_null', type: 'boolean', 'field-id': 509 },
            { name: 'contains_nan', type: ['null', 'boolean'], default: null, 'field-id': 518 },
            { name: 'lower_bound', type: ['null', 'bytes'], default: null, 'field-id': 510 },
            { name: 'upper_bound', type: ['null', 'bytes'], default: null, 'field-id': 511 },
          ],
        },
      },
    ],
  ],
  ['key_metadata', 519, ['null', 'bytes']],
]

const SCHEMA: AvroRecordType = {
  type: 'record',
  name: 'manifest_file',
  fields: FIELDS.map(
    ([name, id, type]): AvroFieldType =>
      Array.isArray(type) ? { name, type, default: null, 'field-id': id } : { name, type, 'field-id': id },
  ),
}

const NAMES = new Map<number, string>([
  ...FIELDS.map(([name, id]): [number, string] => [id, name]),
  [509, 'contains_null'],
  [518, 'contains_nan'],
  [510, 'lower_bound'],
  [511, 'upper_bound'],
])

export function writeManifestList(
  manifests: readonly ManifestFile[],
  snapshot: { id: Int64; parentId: Int64 | undefined; sequenceNumber: Int64 },
  syncMarker: Uint8Array,
): Uint8Array {
  return writeAvroFile(
    SCHEMA,
    manifests,
    {
      'snapshot-id': String(snapshot.id),
      'parent-snapshot-id': String(snapshot.parentId ?? null),
      'sequence-number': String(snapshot.sequenceNumber),
      'format-version': '2',
    },
    syncMarker,
  )
}

export function readManifestList(bytes: Uint8Array): ManifestFile[] {
  const records = readAvroFile(bytes, NAMES).records as unknown as ManifestFile[]
  for (const manifest of records) {
    // What a v1 list lacks has these values by the specification.
    manifest.content ??= 0
    manifest.sequence_number ??= 0
    manifest.min_sequence_number ??= 0
    manifest.partitions ??= null
    manifest.key_metadata ??= null
  }
  return records
}

/** Whether a manifest lists files that a reader of its snapshot sees. */
export function holdsFiles(manifest: ManifestFile): boolean {
  return manifest.added_files_count + manifest.existing_files_count > 0
}

/**
 * The line of a manifest with these entries. `sequenceNumber` is that of the commit that writes it; added
 * entries inherit it, so it bounds `min_sequence_number` too.
 */
export function describeManifest(
  entries: readonly ManifestEntry[],
  spec: PartitionSpec,
  place: { path: string; byteLength: number },
  snapshotId: Int64,
  sequenceNumber: Int64,
): ManifestFile {
  invariant(canDescribe(spec), 'partition values of a manifest are ints')
  const files = [0, 0, 0]
  const rows = [0, 0, 0]
  let min = sequenceNumber
  for (const entry of entries) {
    files[entry.status]!++
    rows[entry.status]! += Number(entry.data_file.record_count)
    const own = entry.status === ADDED ? (entry.sequence_number ?? sequenceNumber) : entry.sequence_number!
    if (entry.status !== DELETED && own < min) min = own
  }
  return {
    manifest_path: place.path,
    manifest_length: place.byteLength,
    partition_spec_id: spec['spec-id'],
    content: 0,
    sequence_number: sequenceNumber,
    min_sequence_number: min,
    added_snapshot_id: snapshotId,
    added_files_count: files[ADDED]!,
    existing_files_count: files[EXISTING]!,
    deleted_files_count: files[DELETED]!,
    added_rows_count: rows[ADDED]!,
    existing_rows_count: rows[EXISTING]!,
    deleted_rows_count: rows[DELETED]!,
    partitions: spec.fields.map((field) =>
      summarize(entries.map((entry) => entry.data_file.partition[field.name] ?? null)),
    ),
    key_metadata: null,
  }
}

/**
 * Whether lines of this spec's manifests can be written here: partition values are ints (day, bucket, …).
 * A bound left out would not mean "unknown" but "all null", and readers would skip the manifest.
 */
export function canDescribe(spec: PartitionSpec): boolean {
  return spec.fields.every((field) => /^(year|month|day|hour|bucket\[\d+\])$/.test(field.transform))
}

function summarize(values: readonly unknown[]): FieldSummary {
  let lower = Infinity
  let upper = -Infinity
  let containsNull = false
  for (const value of values) {
    if (typeof value !== 'number') containsNull = true
    else {
      lower = Math.min(lower, value)
      upper = Math.max(upper, value)
    }
  }
  return {
    contains_null: containsNull,
    contains_nan: false,
    lower_bound: lower <= upper ? int32Bytes(lower) : null,
    upper_bound: lower <= upper ? int32Bytes(upper) : null,
  }
}

/** Single-value serialization of an int ("Appendix D"): 4 bytes, little-endian. */
function int32Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, value, true)
  return bytes
}
