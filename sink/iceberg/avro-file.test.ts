import assert from 'node:assert/strict'
import { test } from 'node:test'
import zlib from 'node:zlib'
import avsc from 'avsc'
import { type AvroRecordType, readAvroFile, writeAvroFile } from './avro-file.ts'
import { ADDED, DELETED, EXISTING, type ManifestEntry, readManifest, writeManifest } from './manifest.ts'
import { describeManifest, readManifestList, writeManifestList } from './manifest-list.ts'

const SYNC = Uint8Array.from({ length: 16 }, (_, i) => i)

const schema: AvroRecordType = {
  type: 'record',
  name: 'r',
  fields: [
    { name: 'a', type: 'long', 'field-id': 1 },
    { name: 'b', type: ['null', 'string'], 'field-id': 2 },
    { name: 'c', type: { type: 'array', items: 'double' }, 'field-id': 3 },
    { name: 'd', type: { type: 'fixed', name: 'four', size: 4 }, 'field-id': 4 },
    { name: 'e', type: 'boolean', 'field-id': 5 },
    { name: 'f', type: 'bytes', 'field-id': 6 },
  ],
}

const rows = Array.from({ length: 5000 }, (_, i) => ({
  a: i % 3 === 0 ? -(2n ** 63n) + BigInt(i) : i,
  b: i % 2 === 0 ? null : `text ${i} ü`,
  c: [i / 3, -i],
  d: Uint8Array.of(i & 255, 1, 2, 3),
  e: i % 5 === 0,
  f: new Uint8Array(i % 7),
}))

test('what is written is read back, over many blocks, longs exact', () => {
  const file = readAvroFile(writeAvroFile(schema, rows, { extra: 'x' }, SYNC))
  assert.equal(file.records.length, rows.length)
  for (let i = 0; i < rows.length; i++) assert.deepEqual(file.records[i], rows[i])
  assert.equal(file.metadata.get('extra'), 'x')
})

test('an independent reader agrees', async () => {
  const small = rows.slice(0, 200).map((row) => ({ ...row, a: Number(row.a) % 1e15 }))
  const bytes = writeAvroFile(schema, small, {}, SYNC)
  const decoder = new avsc.streams.BlockDecoder({
    codecs: { deflate: (data, done) => zlib.inflateRaw(data, done) },
  })
  const seen: Record<string, unknown>[] = []
  decoder.on('data', (row) => seen.push(row as Record<string, unknown>))
  decoder.end(Buffer.from(bytes))
  await new Promise((resolve) => decoder.on('end', resolve))
  assert.equal(seen.length, small.length)
  assert.deepEqual(
    seen.map((row) => [
      row['a'],
      (row['b'] as { string?: string } | null)?.string ?? row['b'],
      row['c'],
      row['e'],
    ]),
    small.map((row) => [row.a, row.b, row.c, row.e]),
  )
})

test('fields are found by id, whatever the file calls them', () => {
  const bytes = writeAvroFile(schema, rows.slice(0, 1), {}, SYNC)
  assert.deepEqual(Object.keys(readAvroFile(bytes, new Map([[2, 'other']])).records[0]!), [
    'a',
    'other',
    'c',
    'd',
    'e',
    'f',
  ])
})

test('cut or damaged files are errors, never values', () => {
  const bytes = writeAvroFile(schema, rows.slice(0, 50), {}, SYNC)
  for (let length = 0; length < bytes.length; length += 7) {
    let records: unknown[] | undefined
    try {
      records = readAvroFile(bytes.subarray(0, length)).records
    } catch {
      continue
    }
    assert.equal(records.length, 0, `cut at ${length}: only the header was there`)
  }
})

const table = {
  type: 'struct' as const,
  'schema-id': 0,
  fields: [{ id: 1, name: 'event_time', required: true, type: 'timestamptz' }],
}
const spec = {
  'spec-id': 0,
  fields: [{ 'source-id': 1, 'field-id': 1000, name: 'event_time_day', transform: 'day' }],
}

function entry(status: number, day: number | null, rowCount: number): ManifestEntry {
  const added = status === ADDED
  return {
    status,
    snapshot_id: 9223372036854775807n,
    sequence_number: added ? null : 3,
    file_sequence_number: added ? null : 3,
    data_file: {
      content: 0,
      file_path: `file:///w/${day}.parquet`,
      file_format: 'PARQUET',
      partition: { event_time_day: day },
      record_count: rowCount,
      file_size_in_bytes: 1000,
      column_sizes: [{ key: 1, value: 10 }],
      value_counts: [{ key: 1, value: rowCount }],
      null_value_counts: [{ key: 1, value: 0 }],
      nan_value_counts: null,
      lower_bounds: [{ key: 1, value: new Uint8Array(8) }],
      upper_bounds: [{ key: 1, value: new Uint8Array(8).fill(1) }],
      key_metadata: null,
      split_offsets: [4],
      equality_ids: null,
      sort_order_id: 1,
    },
  }
}

test('a manifest is read back, with sequence numbers inherited by added entries only', () => {
  const entries = [entry(ADDED, 20000, 5), entry(EXISTING, -3, 7), entry(DELETED, null, 1)]
  const manifest = readManifest(writeManifest(table, spec, entries, SYNC), {
    added_snapshot_id: 1,
    sequence_number: 9,
  })
  assert.deepEqual(manifest.schema, table)
  assert.deepEqual(manifest.spec, spec)
  assert.deepEqual(manifest.entries, [
    { ...entries[0]!, sequence_number: 9, file_sequence_number: 9 },
    entries[1],
    entries[2],
  ])
})

test('every list and map of a manifest carries its element ids', () => {
  const { schema: written } = readAvroFile(writeManifest(table, spec, [entry(ADDED, 1, 1)], SYNC))
  let lists = 0
  const walk = (type: unknown): void => {
    if (Array.isArray(type)) for (const one of type) walk(one)
    else if (typeof type === 'object' && type !== null) {
      const node = type as Record<string, unknown>
      if (node['type'] === 'array') {
        lists++
        if (node['logicalType'] !== 'map') assert.equal(typeof node['element-id'], 'number')
        walk(node['items'])
      } else if (node['type'] === 'record')
        for (const field of node['fields'] as Record<string, unknown>[]) {
          assert.equal(typeof field['field-id'], 'number', String(field['name']))
          walk(field['type'])
        }
      else walk(node['type'])
    }
  }
  walk(written)
  assert.equal(lists, 8)
})

test('a manifest list sums its manifest and bounds its partitions', () => {
  const line = describeManifest(
    [entry(ADDED, 20000, 5), entry(EXISTING, -3, 7), entry(DELETED, null, 1)],
    spec,
    { path: 'file:///w/m.avro', byteLength: 123 },
    77,
    9,
  )
  const [read] = readManifestList(
    writeManifestList([line], { id: 77, parentId: undefined, sequenceNumber: 9 }, SYNC),
  )
  assert.deepEqual(read, line)
  assert.deepEqual(
    [line.added_rows_count, line.existing_rows_count, line.deleted_rows_count, line.min_sequence_number],
    [5, 7, 1, 3],
  )
  const bounds = line.partitions![0]!
  assert.equal(bounds.contains_null, true)
  assert.equal(new DataView(bounds.lower_bound!.buffer).getInt32(0, true), -3)
  assert.equal(new DataView(bounds.upper_bound!.buffer).getInt32(0, true), 20000)
})
