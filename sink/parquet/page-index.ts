// The page index (Parquet PageIndex.md): where each page of a chunk lies and between which bounds its values
// are, so that a reader with a predicate opens few pages. Both indexes of all chunks stand before the footer.
import type { ColumnChunk, PageInfo } from './column-chunk.ts'
import { LIST_OF, ThriftWriter } from './thrift.ts'

const UNORDERED = 0
const ASCENDING = 1
const DESCENDING = 2

const EMPTY = new Uint8Array(0)
const out = new ThriftWriter()

/**
 * The ColumnIndex of a chunk; valid until the next one is made. Undefined where a page has values but not both bounds (NaN
 * alone; text that begins with 64 of the last code point): the format has no way to say so.
 */
export function columnIndex(chunk: ColumnChunk): Uint8Array | undefined {
  const { pages } = chunk
  if (pages.some((page) => !page.range.present && page.nullCount < page.valueCount)) return undefined
  const bounds = pages.map((page) => (page.range.present ? page.range.parquetBounds() : undefined))
  if (bounds.some((one) => one !== undefined && one.max === undefined)) return undefined
  out.reset()
  out.structElement()
  out.list(1, LIST_OF.boolean, pages.length)
  for (const page of pages) out.booleanElement(!page.range.present)
  out.list(2, LIST_OF.binary, pages.length)
  for (const one of bounds) out.binaryElement(one?.min ?? EMPTY)
  out.list(3, LIST_OF.binary, pages.length)
  for (const one of bounds) out.binaryElement(one?.max ?? EMPTY)
  out.i32(4, boundaryOrder(pages))
  out.list(5, LIST_OF.i64, pages.length)
  for (const page of pages) out.i64Element(page.nullCount)
  out.end()
  return out.view()
}

/** The OffsetIndex of a chunk; valid until the next one is made. */
export function offsetIndex(chunk: ColumnChunk): Uint8Array {
  out.reset()
  out.structElement()
  out.list(1, LIST_OF.struct, chunk.pages.length)
  for (const page of chunk.pages) {
    out.structElement()
    out.i64(1, page.offset)
    out.i32(2, page.byteLength)
    out.i64(3, page.rowIndex)
    out.end()
  }
  out.end()
  return out.view()
}

/** Whether both bounds only rise, or only fall, from page to page; pages of nulls do not count. */
function boundaryOrder(pages: readonly PageInfo[]): number {
  let rises = true
  let falls = true
  let last: PageInfo | undefined
  for (const page of pages) {
    if (!page.range.present) continue
    if (last !== undefined) {
      const min = last.range.compareMin(page.range)
      const max = last.range.compareMax(page.range)
      if (min > 0 || max > 0) rises = false
      if (min < 0 || max < 0) falls = false
    }
    last = page
  }
  return rises ? ASCENDING : falls ? DESCENDING : UNORDERED
}
