// Where the pages of a column chunk lie in a file without an offset index (Arrow's and with it PyIceberg's have none): told
// by walking from page header to page header. How many rows a page has is its number of values, or where values repeat
// the number of repetition levels that are 0; then the page is decompressed for it.
import type { FileChunk, PageLocation } from './footer-reader.ts'
import { readHybrid } from './hybrid-reader.ts'
import { type PageHeader, pageBody, readPageHeader } from './page-reader.ts'

const LENGTH_BYTES = 4

/** Throws RangeError where the pages do not hold `rowCount` rows, or one begins within a row. */
export function scanPages(
  bytes: Uint8Array,
  chunk: FileChunk,
  maxRepetition: number,
  rowCount: number,
): PageLocation[] {
  const pages: PageLocation[] = []
  let firstRow = 0
  let at = Math.min(chunk.dataOffset, chunk.dictionaryOffset ?? chunk.dataOffset)
  const end = at + chunk.compressedBytes
  while (at < end) {
    const header = readPageHeader(bytes, at)
    if (!header.isDictionary) {
      pages.push({ offset: at, firstRow })
      firstRow +=
        maxRepetition === 0 ? header.valueCount : repeatedRows(bytes, header, chunk.codec, maxRepetition)
    }
    at = header.bodyAt + header.compressedBytes
  }
  if (firstRow !== rowCount) throw new RangeError(`pages of ${firstRow} rows in a group of ${rowCount}`)
  return pages
}

function repeatedRows(bytes: Uint8Array, header: PageHeader, codec: number, maxRepetition: number): number {
  const body = pageBody(bytes, header, codec)
  const levels = new Int32Array(header.valueCount)
  const length = new DataView(body.buffer, body.byteOffset, LENGTH_BYTES).getInt32(0, true)
  const width = 32 - Math.clz32(maxRepetition)
  readHybrid(body, LENGTH_BYTES, LENGTH_BYTES + length, width, header.valueCount, levels)
  if (header.valueCount > 0 && levels[0] !== 0) throw new RangeError('a page that begins within a row')
  return levels.reduce((rows, level) => (level === 0 ? rows + 1 : rows), 0)
}
