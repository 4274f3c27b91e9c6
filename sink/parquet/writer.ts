// A Parquet file from column batches, with what Iceberg's manifests want to know of it.
//
//   "PAR1" │ row group: column chunk of each leaf … │ column indexes │ offset indexes │ footer │ "PAR1"
//
// Memory: the file's compressed bytes, the working arrays of one column chunk (column-chunk.ts: about 20 MiB
// for a million rows, at most about the 128 MiB of a row group where lists are long), and the batches, which
// belong to the caller and are free again after each call.
import type { Column, ColumnBatch } from '../../schemas/columns.ts'
import { invariant } from '../../std/errors.ts'
import { type ColumnChunk, writeColumnChunk } from './column-chunk.ts'
import { FileParts } from './file-parts.ts'
import { chunkOffset, type Extent, footer, MAGIC, type RowGroup, type SortingColumn } from './footer.ts'
import { columnIndex, offsetIndex } from './page-index.ts'
import { type Leaf, leavesOf, type ParquetField } from './schema.ts'
import { type OrderedSlice, orderedSlice, type RowSlice } from './shred.ts'
import { ValueRange } from './statistics.ts'

export type { SortingColumn } from './footer.ts'
export type { ParquetField } from './schema.ts'
export type { RowSlice } from './shred.ts'

export interface ParquetOptions {
  /** zstd; default 1. */
  compressionLevel?: number
  /** Rows of a page, default 20,000; a page also ends at 1 MiB. */
  pageRowsMax?: number
  /** Rows of a row group, default 1,000,000; one also ends at about 128 MiB of column data. */
  rowGroupRowsMax?: number
  /**
   * Lets float and double columns be BYTE_STREAM_SPLIT where that is smaller. Off by default: Spark's
   * vectorised reader knows it with Iceberg 1.11, not before.
   */
  byteStreamSplit?: boolean
  /** `iceberg.schema`, for one. */
  keyValueMetadata?: Record<string, string>
  /** What the rows of each row group are sorted by; only top-level primitive columns. */
  sortingColumns?: readonly SortingColumn[]
}

/** What a manifest says of a column; columns inside lists and maps have none. */
export interface ColumnMetrics {
  fieldId: number
  /** Compressed, headers and dictionary included. */
  columnBytes: number
  /** Nulls and NaNs included. */
  valueCount: number
  nullCount: number
  /** float and double. */
  nanCount?: number
  /** Iceberg's single-value serialization (specification, Appendix D); text and binary cut to 16. */
  lowerBound?: Uint8Array
  upperBound?: Uint8Array
}

export interface EncodedFile {
  parts: Uint8Array[]
  byteLength: number
  recordCount: number
  /** Where each row group begins. */
  splitOffsets: number[]
  columns: ColumnMetrics[]
  /** Timestamps in milliseconds that int64 microseconds cannot hold, written as the nearest that they can. */
  saturatedCount: number
}

const COMPRESSION_LEVEL = 1
const PAGE_ROWS_MAX = 20_000
const ROW_GROUP_ROWS_MAX = 1_000_000
const ROW_GROUP_BYTES_MAX = 128 << 20

interface FileColumn {
  columnBytes: number
  valueCount: number
  nullCount: number
  range: ValueRange
}

export class ParquetWriter {
  readonly #fields: readonly ParquetField[]
  readonly #options: ParquetOptions
  readonly #leaves: Leaf[]
  readonly #columns: FileColumn[]
  readonly #file = new FileParts()
  readonly #rowGroups: RowGroup[] = []
  #saturated = 0

  /** Fields are matched with the columns of batches by name; a batch may lack optional ones. */
  constructor(fields: readonly ParquetField[], options: ParquetOptions = {}) {
    this.#fields = fields
    this.#options = options
    this.#leaves = leavesOf(fields)
    this.#columns = this.#leaves.map((leaf) => ({
      columnBytes: 0,
      valueCount: 0,
      nullCount: 0,
      range: new ValueRange(leaf),
    }))
    this.#file.append(MAGIC)
  }

  /** Bytes of the file so far, without footer. */
  get byteLength(): number {
    return this.#file.byteLength
  }

  /** Rows [from, to) of the batch as a row group, or several where they exceed its limits. */
  writeRowGroup(batch: ColumnBatch, from = 0, to = batch.rowCount): void {
    this.writeSlices([{ batch, from, to }])
  }

  /**
   * The rows of all slices, in their order, as a row group, or several where they exceed its limits. A required
   * field that is null in a row is a defect of the caller and throws.
   */
  writeSlices(slices: readonly RowSlice[]): void {
    let group: OrderedSlice[] = []
    let rows = 0
    let bytes = 0
    const rowsMax = this.#options.rowGroupRowsMax ?? ROW_GROUP_ROWS_MAX
    for (const slice of slices.map(orderedSlice)) {
      const rowBytes = Math.max(1, bytesOfBatch(slice.batch) / Math.max(1, slice.batch.rowCount))
      for (let from = slice.from; from < slice.to; ) {
        const room = Math.min(rowsMax - rows, Math.ceil((ROW_GROUP_BYTES_MAX - bytes) / rowBytes))
        const to = Math.min(slice.to, from + room)
        group.push({ ...slice, from, to })
        rows += to - from
        bytes += (to - from) * rowBytes
        from = to
        if (rows >= rowsMax || bytes >= ROW_GROUP_BYTES_MAX) {
          this.#writeGroup(group, rows)
          group = []
          rows = bytes = 0
        }
      }
    }
    if (rows > 0) this.#writeGroup(group, rows)
  }

  #writeGroup(slices: readonly OrderedSlice[], rowCount: number): void {
    const options = {
      compressionLevel: this.#options.compressionLevel ?? COMPRESSION_LEVEL,
      pageRowsMax: this.#options.pageRowsMax ?? PAGE_ROWS_MAX,
      byteStreamSplit: this.#options.byteStreamSplit ?? false,
    }
    const chunks = this.#leaves.map((leaf, i) => {
      const chunk = writeColumnChunk(leaf, slices, this.#file, options)
      this.#count(this.#columns[i]!, chunk)
      return chunk
    })
    this.#rowGroups.push({ rowCount, chunks, columnIndexes: [], offsetIndexes: [] })
  }

  #count(column: FileColumn, chunk: ColumnChunk): void {
    column.columnBytes += chunk.compressedBytes
    column.valueCount += chunk.valueCount
    column.nullCount += chunk.nullCount
    column.range.merge(chunk.range)
    this.#saturated += chunk.saturated
  }

  /** Writes indexes and footer; the writer is spent. */
  finish(): EncodedFile {
    const file = this.#file
    for (const group of this.#rowGroups) {
      group.columnIndexes = group.chunks.map((chunk) => this.#append(columnIndex(chunk)))
    }
    for (const group of this.#rowGroups) {
      group.offsetIndexes = group.chunks.map((chunk) => this.#append(offsetIndex(chunk)))
    }
    file.append(
      footer({
        fields: this.#fields,
        leaves: this.#leaves,
        rowGroups: this.#rowGroups,
        keyValueMetadata: this.#options.keyValueMetadata ?? {},
        sortingColumns: this.#options.sortingColumns ?? [],
      }),
    )
    let recordCount = 0
    for (const group of this.#rowGroups) recordCount += group.rowCount
    return {
      parts: file.take(),
      byteLength: file.byteLength,
      recordCount,
      splitOffsets: this.#rowGroups.map((group) => chunkOffset(group.chunks[0]!)),
      columns: this.#metrics(),
      saturatedCount: this.#saturated,
    }
  }

  #append(bytes: Uint8Array | undefined): Extent | undefined {
    if (bytes === undefined) return undefined
    const offset = this.#file.byteLength
    this.#file.append(bytes)
    return { offset, byteLength: bytes.length }
  }

  #metrics(): ColumnMetrics[] {
    const metrics: ColumnMetrics[] = []
    this.#leaves.forEach((leaf, i) => {
      if (leaf.maxRepetition > 0) return
      const { columnBytes, valueCount, nullCount, range } = this.#columns[i]!
      const { lower, upper } = range.icebergBounds()
      const floating = leaf.kind === 'float' || leaf.kind === 'double'
      metrics.push({
        fieldId: leaf.field.fieldId,
        columnBytes,
        valueCount,
        nullCount,
        ...(floating ? { nanCount: range.nanCount } : {}),
        ...(lower === undefined ? {} : { lowerBound: lower }),
        ...(upper === undefined ? {} : { upperBound: upper }),
      })
    })
    return metrics
  }
}

/** What the levels of an element take while its chunk is made (shred.ts): a list of booleans is not free. */
const ELEMENT_LEVEL_BYTES = 36

/** Bytes that a batch's rows take in memory, all of them, levels included. */
export function bytesOfBatch(batch: ColumnBatch): number {
  let bytes = 0
  for (const column of batch.columns) bytes += bytesOfColumn(column)
  return bytes
}

function bytesOfColumn(column: Column): number {
  switch (column.layout) {
    case 'words':
      return column.values.byteLength
    case 'longs':
      return column.words.byteLength
    case 'bytes':
      return column.data.byteLength
    case 'variable':
      return column.offsets[column.rowCount]! - column.offsets[0]! + column.rowCount * 4
    case 'dictionary':
      return column.rowCount * 4
    case 'struct':
      return column.children.reduce((sum, child) => sum + bytesOfColumn(child), 0)
    case 'list':
      return column.rowCount * 4 + bytesOfElements(column.element)
    case 'map':
      return column.rowCount * 4 + bytesOfElements(column.key) + bytesOfColumn(column.value)
    default:
      invariant(false, `layout ${(column as Column).layout}`)
  }
}

function bytesOfElements(column: Column): number {
  return column.rowCount * ELEMENT_LEVEL_BYTES + bytesOfColumn(column)
}
