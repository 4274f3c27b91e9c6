// The footer (Parquet README, "Metadata"; parquet.thrift FileMetaData):
//
//   file     "PAR1", row groups, page indexes, FileMetaData, int32 length of FileMetaData, "PAR1"
import type { ColumnChunk } from './column-chunk.ts'
import { ENCODING } from './encoding-choice.ts'
import { type Leaf, type ParquetField, writeSchema } from './schema.ts'
import { LIST_OF, ThriftWriter } from './thrift.ts'

export const MAGIC = new TextEncoder().encode('PAR1')

const FORMAT_VERSION = 2
const CREATED_BY = 'millrace version 0.1.0'
const CODEC_ZSTD = 6
const DATA_PAGE = 0
const DICTIONARY_PAGE = 2

/** A place in the file. */
export interface Extent {
  offset: number
  byteLength: number
}

export interface RowGroup {
  rowCount: number
  chunks: ColumnChunk[]
  columnIndexes: (Extent | undefined)[]
  offsetIndexes: (Extent | undefined)[]
}

/** One column that the rows of every row group are sorted by; the earlier one counts more. */
export interface SortingColumn {
  fieldId: number
  descending?: boolean
  nullsFirst?: boolean
}

/** Where a chunk begins: at its dictionary page, or its first data page. */
export function chunkOffset(chunk: ColumnChunk): number {
  return chunk.dictionaryPageOffset ?? chunk.pages[0]!.offset
}

export interface FooterInput {
  fields: readonly ParquetField[]
  leaves: readonly Leaf[]
  rowGroups: readonly RowGroup[]
  keyValueMetadata: Readonly<Record<string, string>>
  sortingColumns: readonly SortingColumn[]
}

/** FileMetaData, its length and the magic. */
export function footer(input: FooterInput): Uint8Array {
  const out = new ThriftWriter()
  out.structElement()
  out.i32(1, FORMAT_VERSION)
  writeSchema(out, 2, input.fields)
  let rowCount = 0
  for (const group of input.rowGroups) rowCount += group.rowCount
  out.i64(3, rowCount)
  out.list(4, LIST_OF.struct, input.rowGroups.length)
  for (const group of input.rowGroups) writeRowGroup(out, group, input)
  const entries = Object.entries(input.keyValueMetadata)
  if (entries.length > 0) {
    out.list(5, LIST_OF.struct, entries.length)
    for (const [key, value] of entries) {
      out.structElement()
      out.string(1, key)
      out.string(2, value)
      out.end()
    }
  }
  out.string(6, CREATED_BY)
  // ColumnOrder: TYPE_ORDER for every leaf; without it readers distrust min_value and max_value.
  out.list(7, LIST_OF.struct, input.leaves.length)
  for (let i = 0; i < input.leaves.length; i++) {
    out.structElement()
    out.struct(1)
    out.end()
    out.end()
  }
  out.end()
  const metadata = out.view()
  const bytes = new Uint8Array(metadata.length + 4 + MAGIC.length)
  bytes.set(metadata)
  new DataView(bytes.buffer).setInt32(metadata.length, metadata.length, true)
  bytes.set(MAGIC, metadata.length + 4)
  return bytes
}

function writeRowGroup(out: ThriftWriter, group: RowGroup, input: FooterInput): void {
  let uncompressed = 0
  let compressed = 0
  for (const chunk of group.chunks) {
    uncompressed += chunk.uncompressedBytes
    compressed += chunk.compressedBytes
  }
  out.structElement()
  out.list(1, LIST_OF.struct, group.chunks.length)
  group.chunks.forEach((chunk, i) => {
    writeChunk(out, chunk, group.columnIndexes[i], group.offsetIndexes[i])
  })
  out.i64(2, uncompressed)
  out.i64(3, group.rowCount)
  const sorting = input.sortingColumns
  if (sorting.length > 0) {
    out.list(4, LIST_OF.struct, sorting.length)
    for (const column of sorting) {
      out.structElement()
      out.i32(
        1,
        input.leaves.findIndex((leaf) => leaf.field.fieldId === column.fieldId),
      )
      out.boolean(2, column.descending ?? false)
      out.boolean(3, column.nullsFirst ?? true)
      out.end()
    }
  }
  out.i64(5, chunkOffset(group.chunks[0]!))
  out.i64(6, compressed)
  out.end()
}

function writeChunk(
  out: ThriftWriter,
  chunk: ColumnChunk,
  column: Extent | undefined,
  offset: Extent | undefined,
): void {
  const { leaf, encoding } = chunk
  const coded = encoding === ENCODING.RLE_DICTIONARY
  out.structElement()
  out.i64(2, chunkOffset(chunk))
  out.struct(3)
  out.i32(1, leaf.physicalType)
  const encodings = coded ? [ENCODING.PLAIN, ENCODING.RLE, encoding] : [ENCODING.RLE, encoding]
  out.list(2, LIST_OF.i32, encodings.length)
  for (const one of encodings) out.i32Element(one)
  out.list(3, LIST_OF.binary, leaf.path.length)
  for (const name of leaf.path) out.stringElement(name)
  out.i32(4, CODEC_ZSTD)
  out.i64(5, chunk.valueCount)
  out.i64(6, chunk.uncompressedBytes)
  out.i64(7, chunk.compressedBytes)
  out.i64(9, chunk.pages[0]!.offset)
  if (chunk.dictionaryPageOffset !== undefined) out.i64(11, chunk.dictionaryPageOffset)
  writeStatistics(out, chunk)
  writeEncodingStats(out, chunk, coded)
  out.end()
  if (offset !== undefined) {
    out.i64(4, offset.offset)
    out.i32(5, offset.byteLength)
  }
  if (column !== undefined) {
    out.i64(6, column.offset)
    out.i32(7, column.byteLength)
  }
  out.end()
}

function writeStatistics(out: ThriftWriter, chunk: ColumnChunk): void {
  out.struct(12)
  out.i64(3, chunk.nullCount)
  if (chunk.range.present) {
    const bounds = chunk.range.parquetBounds()
    if (bounds.max !== undefined) out.binary(5, bounds.max)
    out.binary(6, bounds.min)
    if (bounds.max !== undefined) out.boolean(7, bounds.maxExact)
    out.boolean(8, bounds.minExact)
  }
  out.end()
}

/** PageEncodingStats: says that all data pages are of one encoding. */
function writeEncodingStats(out: ThriftWriter, chunk: ColumnChunk, coded: boolean): void {
  out.list(13, LIST_OF.struct, coded ? 2 : 1)
  if (coded) {
    out.structElement()
    out.i32(1, DICTIONARY_PAGE)
    out.i32(2, ENCODING.PLAIN)
    out.i32(3, 1)
    out.end()
  }
  out.structElement()
  out.i32(1, DATA_PAGE)
  out.i32(2, chunk.encoding)
  out.i32(3, chunk.pages.length)
  out.end()
}
