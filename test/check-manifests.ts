// Recomputes what a table's manifests say from its data files and compares: counts, bounds, partition values, sizes,
// offsets, field ids, row order; and the manifest list from the manifests. Footers are read by hyparquet.
import assert from 'node:assert/strict'
import { type FileMetaData, parquetMetadata, type SchemaElement } from 'hyparquet'
import { readCell } from '../schemas/column-rows.ts'
import type { Column } from '../schemas/columns.ts'
import type { LoadedTable } from '../sink/catalog.ts'
import { ADDED, type DataFile, DELETED, EXISTING, isLive, readManifest } from '../sink/iceberg/manifest.ts'
import { readManifestList } from '../sink/iceberg/manifest-list.ts'
import { specById } from '../sink/iceberg/metadata.ts'
import { bucketCountOf, bucketOfBytes } from '../sink/iceberg/partition.ts'
import type { NestedField, Schema, Type } from '../sink/iceberg/schema.ts'
import { ParquetFile, readRows } from '../sink/parquet/reader.ts'
import type { Store } from '../sink/store.ts'
import { tableColumns } from '../sink/table-columns.ts'

const BOUND_LENGTH_MAX = 16
const MICROS_PER_DAY = 86_400_000_000n

/** Checks every manifest that any snapshot of the table reaches; returns the number of data files seen. */
export async function checkManifests(store: Store, table: LoadedTable): Promise<number> {
  const seen = new Set<string>()
  for (const snapshot of table.metadata.snapshots) {
    let rows = 0
    let files = 0
    for (const line of readManifestList(await store.read(snapshot['manifest-list']))) {
      const bytes = await store.read(line.manifest_path)
      const { entries, schema } = readManifest(bytes, line)
      assert.equal(Number(line.manifest_length), bytes.length)
      const spec = specById(table.metadata, line.partition_spec_id)!
      const of = (status: number) => entries.filter((entry) => entry.status === status)
      const rowsOf = (status: number): number =>
        of(status).reduce((sum, entry) => sum + Number(entry.data_file.record_count), 0)
      assert.deepEqual(
        [line.added_files_count, line.existing_files_count, line.deleted_files_count],
        [of(ADDED).length, of(EXISTING).length, of(DELETED).length],
      )
      assert.deepEqual(
        [line.added_rows_count, line.existing_rows_count, line.deleted_rows_count].map(Number),
        [rowsOf(ADDED), rowsOf(EXISTING), rowsOf(DELETED)],
      )
      const sequences = entries.filter(isLive).map((entry) => Number(entry.sequence_number))
      if (sequences.length > 0) assert.equal(Number(line.min_sequence_number), Math.min(...sequences))
      spec.fields.forEach((field, i) => {
        const values = entries.map((entry) => entry.data_file.partition[field.name] as number | null)
        const numbers = values.filter((value) => value !== null)
        const summary = line.partitions![i]!
        const int = (value: Uint8Array | null) => value && Buffer.from(value).readInt32LE()
        assert.equal(summary.contains_null, numbers.length < values.length)
        assert.deepEqual(
          [int(summary.lower_bound), int(summary.upper_bound)],
          numbers.length === 0 ? [null, null] : [Math.min(...numbers), Math.max(...numbers)],
        )
      })
      for (const { data_file: file, status } of entries) {
        if (status === DELETED) continue
        rows += Number(file.record_count)
        files++
        if (seen.has(file.file_path)) continue
        seen.add(file.file_path)
        await checkFile(store, table, file, schema, line.partition_spec_id)
      }
    }
    assert.equal(snapshot.summary['total-records'], String(rows))
    assert.equal(snapshot.summary['total-data-files'], String(files))
  }
  return seen.size
}

async function checkFile(
  store: Store,
  table: LoadedTable,
  file: DataFile,
  manifestSchema: Schema,
  specId: number,
): Promise<void> {
  const bytes = await store.read(file.file_path)
  assert.equal(Number(file.file_size_in_bytes), bytes.length)
  const footer = parquetMetadata(bytes.slice().buffer)
  assert.equal(Number(file.record_count), Number(footer.num_rows))
  const ids = fieldIds(footer)
  // A rewritten manifest carries a later schema than its files were written with: their ids are among all ever given.
  const known = new Map(table.metadata.schemas.flatMap((schema) => flatten(schema.fields)))
  for (const [id, name] of ids)
    assert.ok(known.has(id), `column ${name} has field id ${id}, which no schema knows`)
  if (table.metadata.schemas.length === 1)
    assert.deepEqual(new Map([...ids].sort(byKey)), new Map([...flatten(manifestSchema.fields)].sort(byKey)))
  assert.deepEqual(
    file.split_offsets!.map(Number),
    footer.row_groups.map((group) => chunkStart(group.columns[0]!.meta_data!)),
  )

  // Read in the schema of the table that knows every column of the file.
  const schema = table.metadata.schemas.find(({ fields }) => {
    const own = new Set(flatten(fields).map(([id]) => id))
    return [...ids.keys()].every((id) => own.has(id))
  })!
  const fields = tableColumns(schema.fields)
  const parquet = new ParquetFile(file.file_path, bytes)
  const { columns } = readRows(fields, [
    { file: parquet, plans: parquet.plan(fields), from: 0, to: parquet.rowCount },
  ])
  const top = new Map(schema.fields.map((field, i) => [field.id, columns[i]!]))
  const sizes = new Map<number, number>()
  const leafIds = leafFieldIds(footer)
  for (const group of footer.row_groups)
    for (const [i, chunk] of group.columns.entries())
      sizes.set(leafIds[i]!, (sizes.get(leafIds[i]!) ?? 0) + Number(chunk.meta_data!.total_compressed_size))
  let leaves = 0
  for (const [field, values] of leavesOf(
    schema.fields,
    columns.map((column) => cells(column)),
  )) {
    if (!ids.has(field.id)) continue
    leaves++
    checkLeaf(file, field, values, sizes)
  }
  assert.equal(
    file.value_counts!.length,
    leaves,
    'a count for every column outside lists and maps, and no other',
  )
  checkPlace(table, file, specId, top)
}

const byKey = ([a]: [number, string], [b]: [number, string]): number => a - b

function checkLeaf(
  file: DataFile,
  field: NestedField,
  values: readonly unknown[],
  sizes: ReadonlyMap<number, number>,
): void {
  const of = <T>(list: { key: number; value: T }[] | null): T | undefined =>
    list!.find((one) => one.key === field.id)?.value
  const where = `${field.name} of ${file.file_path}`
  const present = values.filter((value) => value !== null)
  assert.equal(Number(of(file.value_counts)), values.length, where)
  assert.equal(Number(of(file.null_value_counts)), values.length - present.length, where)
  assert.equal(Number(of(file.column_sizes)), sizes.get(field.id), where)
  const type = field.type as string
  const isFloating = type === 'float' || type === 'double'
  const nans = present.filter((value) => Number.isNaN(value)).length
  assert.equal(of(file.nan_value_counts), isFloating ? nans : undefined, where)
  const [lower, upper] = [of(file.lower_bounds), of(file.upper_bounds)]
  const ordered = present.filter((value) => !Number.isNaN(value))
  if (ordered.length === 0) {
    assert.deepEqual([lower, upper], [undefined, undefined], where)
    return
  }
  if (type === 'string' || type === 'binary') {
    const texts = (ordered as string[]).map((value) => Buffer.from(value, type === 'string' ? 'utf8' : 'hex'))
    texts.sort(Buffer.compare)
    checkCut(type, texts[0]!, texts.at(-1)!, lower!, upper, where)
    return
  }
  if (type === 'uuid') {
    // Bounds are left out where engines order differently; where they are, they hold.
    const sorted = (ordered as string[]).sort()
    if (lower !== undefined) assert.ok(hex(lower) <= sorted[0]! && hex(upper!) >= sorted.at(-1)!, where)
    return
  }
  const sorted = [...ordered].sort(compare)
  assert.equal(boundText(lower!, type), valueText(sorted[0], type, true), where)
  assert.equal(boundText(upper!, type), valueText(sorted.at(-1), type, false), where)
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')

function compare(a: unknown, b: unknown): number {
  const [x, y] = [a as number, b as number]
  return x < y ? -1 : x > y ? 1 : 0
}

/** A bound is cut to 16 code points (bytes), the upper one so that nothing is above it. */
function checkCut(
  type: string,
  min: Buffer,
  max: Buffer,
  lower: Uint8Array,
  upper: Uint8Array | undefined,
  where: string,
): void {
  const cut = (value: Buffer): Buffer =>
    type === 'string'
      ? Buffer.from([...value.toString('utf8')].slice(0, BOUND_LENGTH_MAX).join(''))
      : value.subarray(0, BOUND_LENGTH_MAX)
  assert.equal(hex(lower), hex(cut(min)), where)
  if (upper === undefined) {
    assert.ok(cut(max).length < max.length, where)
    return
  }
  assert.ok(Buffer.compare(Buffer.from(upper), max) >= 0, where)
  const length = type === 'string' ? [...Buffer.from(upper).toString('utf8')].length : upper.length
  assert.ok(length <= BOUND_LENGTH_MAX, where)
  if (cut(max).length === max.length) assert.equal(hex(upper), hex(max), where)
}

/** A bound in Iceberg's single-value serialization (specification, Appendix D), as text. */
function boundText(bytes: Uint8Array, type: string): string {
  const buffer = Buffer.from(bytes)
  if (type.startsWith('decimal')) {
    let value = BigInt.asIntN(8, BigInt(buffer[0]!))
    for (const byte of buffer.subarray(1)) value = (value << 8n) | BigInt(byte)
    return String(value)
  }
  switch (type) {
    case 'boolean':
      return String(buffer[0] === 1)
    case 'int':
    case 'date':
      return String(buffer.readInt32LE())
    case 'float':
      return floatText(buffer.readFloatLE())
    case 'double':
      return floatText(buffer.readDoubleLE())
    case 'long':
    case 'time':
    case 'timestamptz':
      return String(buffer.readBigInt64LE())
    default:
      return hex(buffer)
  }
}

const floatText = (value: number): string => (Object.is(value, -0) ? '-0' : String(value))

/** Zeros are -0 in a lower bound and 0 in an upper one: engines disagree on their order. */
function valueText(value: unknown, type: string, isLower: boolean): string {
  if ((type === 'float' || type === 'double') && value === 0) return isLower ? '-0' : '0'
  return String(value)
}

/** Partition values are those of every row; rows are in the order (device, time) where the file says so. */
function checkPlace(
  table: LoadedTable,
  file: DataFile,
  specId: number,
  top: ReadonlyMap<number, Column>,
): void {
  for (const part of specById(table.metadata, specId)!.fields) {
    const bucket = bucketCountOf(part.transform)
    const wanted = file.partition[part.name]
    for (const value of cells(top.get(part['source-id'])!)) {
      if (bucket === undefined) assert.equal(Number(floorDiv(value as bigint, MICROS_PER_DAY)), wanted)
      else {
        const text = Buffer.from(value as string)
        assert.equal(bucketOfBytes(text, 0, text.length, bucket), wanted)
      }
    }
  }
  const order = table.metadata['sort-orders'].find((one) => one['order-id'] === file.sort_order_id)!
  const keys = order.fields.map((field) => cells(top.get(field['source-id'])!))
  for (let row = 1; row < keys[0]!.length; row++) {
    const [device, before] = [Buffer.from(keys[0]![row] as string), Buffer.from(keys[0]![row - 1] as string)]
    const step = Buffer.compare(before, device)
    assert.ok(step < 0 || (step === 0 && (keys[1]![row - 1] as bigint) <= (keys[1]![row] as bigint)))
  }
}

function floorDiv(a: bigint, b: bigint): bigint {
  return a >= 0n ? a / b : -((-a + b - 1n) / b)
}

function cells(column: Column): unknown[] {
  return Array.from({ length: column.rowCount }, (_, row) => readCell(column, row))
}

/** Primitive fields outside lists and maps, with the value of every row. */
function* leavesOf(
  fields: readonly NestedField[],
  columns: readonly (readonly unknown[])[],
): Generator<[NestedField, readonly unknown[]]> {
  for (const [i, field] of fields.entries()) {
    const { type } = field
    if (typeof type === 'string') yield [field, columns[i]!]
    else if (type.type === 'struct')
      yield* leavesOf(
        type.fields,
        type.fields.map((child) =>
          columns[i]!.map((value) =>
            value === null ? null : (value as Record<string, unknown>)[child.name],
          ),
        ),
      )
  }
}

/** Every id of a schema, with the name that its Parquet node has. */
function flatten(fields: readonly NestedField[]): [number, string][] {
  const nested = (type: Type): [number, string][] => {
    if (typeof type === 'string') return []
    switch (type.type) {
      case 'struct':
        return flatten(type.fields)
      case 'list':
        return [[type['element-id'], 'element'], ...nested(type.element)]
      case 'map':
        return [[type['key-id'], 'key'], [type['value-id'], 'value'], ...nested(type.value)]
    }
  }
  return fields.flatMap((field): [number, string][] => [[field.id, field.name], ...nested(field.type)])
}

/** The field id of every node but the root and the repeated groups, which must have none. */
function fieldIds(footer: FileMetaData): Map<number, string> {
  const ids = new Map<number, string>()
  for (const element of footer.schema.slice(1)) {
    if (element.repetition_type === 'REPEATED') {
      assert.equal(element.field_id, undefined)
      continue
    }
    assert.ok(element.field_id !== undefined, `${element.name} has no field id`)
    assert.ok(!ids.has(element.field_id), `field id ${element.field_id} twice`)
    ids.set(element.field_id, element.name)
  }
  return ids
}

function leafFieldIds(footer: FileMetaData): number[] {
  return footer.schema
    .filter((element: SchemaElement) => element.type !== undefined)
    .map((one) => one.field_id!)
}

function chunkStart(chunk: { dictionary_page_offset?: bigint; data_page_offset: bigint }): number {
  return Number(chunk.dictionary_page_offset ?? chunk.data_page_offset)
}
