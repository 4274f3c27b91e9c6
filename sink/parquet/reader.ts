// Rows of our Parquet files as column batches again: what the encoder writes (writer.ts), read by field id into the
// columns that the table has now. A column that a file lacks is null, int becomes long, float double, a decimal
// more precise. Any range of rows is read by decoding the pages that hold it, so that a large file need never be
// in memory decoded.
//
// Read are: data pages of version 1 in zstd or uncompressed, levels in RLE, PLAIN, RLE_DICTIONARY,
// DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT, with an offset index or without (page-scan.ts). A file of another writer that has anything else is
// refused with `table_foreign`, before or while it is read; nothing is guessed.
import type { ColumnBatch } from '../../schemas/columns.ts'
import { isMillraceError, MillraceError } from '../../std/errors.ts'
import { assembleColumns } from './assemble.ts'
import { type FileFooter, type FileGroup, readFooter, readOffsetIndex } from './footer-reader.ts'
import { LeafCollector } from './leaf-collector.ts'
import { type LeafPlan, planLeaves } from './leaf-plan.ts'
import { type OpenDictionary, readDataPage, readDictionary, readPage } from './page-reader.ts'
import { scanPages } from './page-scan.ts'
import { leavesOf, type ParquetField } from './schema.ts'

export class ParquetFile {
  readonly rowCount: number
  readonly #name: string
  readonly #bytes: Uint8Array
  readonly #footer: FileFooter

  /** `name` stands in errors. Errors: `table_foreign` where the bytes are no Parquet file. */
  constructor(name: string, bytes: Uint8Array) {
    this.#name = name
    this.#bytes = bytes
    this.#footer = this.#guard(() => readFooter(bytes))
    this.rowCount = this.#footer.rowCount
  }

  /** How the leaves of the fields are read here. Errors: `table_foreign` where the file's columns do not fit. */
  plan(fields: readonly ParquetField[]): LeafPlan[] {
    return this.#guard(() => planLeaves(fields, this.#footer.root))
  }

  /** Appends rows [from, to) of one leaf to the collector. */
  readLeaf(plan: LeafPlan, from: number, to: number, into: LeafCollector): void {
    if (plan.fileLeaf < 0) {
      into.appendAbsent(to - from)
      return
    }
    this.#guard(() => {
      let first = 0
      for (const group of this.#footer.groups) {
        const start = Math.max(from - first, 0)
        const end = Math.min(to - first, group.rowCount)
        if (start < end) this.#readGroup(group, plan, start, end, into)
        first += group.rowCount
      }
    })
  }

  #readGroup(group: FileGroup, plan: LeafPlan, from: number, to: number, into: LeafCollector): void {
    const chunk = group.chunks[plan.fileLeaf]
    if (chunk === undefined) throw new RangeError('a row group without a column of the schema')
    chunk.pages ??=
      chunk.offsetIndexAt === undefined
        ? scanPages(this.#bytes, chunk, plan.maxRepetition, group.rowCount)
        : readOffsetIndex(this.#bytes, chunk.offsetIndexAt)
    const { pages } = chunk
    let dictionary: OpenDictionary | undefined
    if (chunk.dictionaryOffset !== undefined && plan.conversion !== undefined) {
      const page = readPage(this.#bytes, chunk.dictionaryOffset, chunk.codec)
      if (!page.isDictionary) throw new RangeError('no dictionary page where the footer says')
      dictionary = { entries: readDictionary(page, plan.conversion, plan.fileBytes), fresh: true }
    }
    pages.forEach((location, i) => {
      const rows = (pages[i + 1]?.firstRow ?? group.rowCount) - location.firstRow
      const start = Math.max(0, from - location.firstRow)
      const end = Math.min(rows, to - location.firstRow)
      if (start >= end) return
      const page = readPage(this.#bytes, location.offset, chunk.codec)
      if (page.isDictionary) throw new RangeError('a dictionary page where the offset index has data')
      readDataPage(page, plan, dictionary, start, end, rows, into)
    })
  }

  /** What the bytes cannot be read for is a RangeError within, or one of zlib's. */
  #guard<T>(read: () => T): T {
    try {
      return read()
    } catch (error) {
      if (isMillraceError(error)) throw error
      throw new MillraceError(
        'table_foreign',
        `${this.#name} cannot be read here: ${String((error as Error).message)}`,
        { file: this.#name },
        error,
      )
    }
  }
}

/** Rows [from, to) of a file. */
export interface FileRows {
  file: ParquetFile
  /** `file.plan(fields)`. */
  plans: readonly LeafPlan[]
  from: number
  to: number
}

/** The rows of all slices, in their order, as one batch with the columns of `fields`. Errors: `table_foreign`. */
export function readRows(fields: readonly ParquetField[], slices: readonly FileRows[]): ColumnBatch {
  const collectors = leavesOf(fields).map((leaf) => new LeafCollector(leaf))
  let rowCount = 0
  for (const { file, plans, from, to } of slices) {
    collectors.forEach((collector, i) => {
      file.readLeaf(plans[i]!, from, to, collector)
    })
    rowCount += to - from
  }
  return { rowCount, columns: assembleColumns(fields, collectors) }
}
