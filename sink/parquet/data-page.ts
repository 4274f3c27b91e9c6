// Pages (Parquet README, "Data Pages"; parquet.thrift PageHeader). Data pages are of version 1, which every
// reader knows; version 2 would save the length of the levels and, without nulls, nothing else.
//
//   page               header (Thrift), zstd frame of the body
//   data page body     repetition levels, definition levels, values
//   levels             int32 byte length, hybrid runs; left out where the maximum level is 0
//   indices            byte: width of an index, hybrid runs
//   dictionary body    the entries, PLAIN
import zlib from 'node:zlib'
import { appendHybrid, appendRun } from './hybrid.ts'
import type { PageBuffer } from './page-buffer.ts'
import { ThriftWriter } from './thrift.ts'

const DATA_PAGE = 0
const DICTIONARY_PAGE = 2
/** Encodings by number, so that this file needs no more of the choice between them. */
const PLAIN = 0
const RLE = 3

const LENGTH_BYTES = 4
const header = new ThriftWriter()
const optionsOfLevel = new Map<number, zlib.ZstdOptions>()

/**
 * One zstd frame. Node makes a compression context a call, about 20 µs of a page's 100 to 300; input of shared
 * memory is not allowed. The result may be a view of a larger buffer.
 */
export function compressPage(bytes: Uint8Array, level: number): Uint8Array {
  let options = optionsOfLevel.get(level)
  if (options === undefined) {
    options = { params: { [zlib.constants.ZSTD_c_compressionLevel]: level } }
    optionsOfLevel.set(level, options)
  }
  return zlib.zstdCompressSync(bytes, options)
}

/** Appends the levels [from, to) with their length; `constant`: all of them equal this one. */
export function appendLevels(
  page: PageBuffer,
  levels: Int32Array | undefined,
  from: number,
  to: number,
  levelMax: number,
  constant: number | undefined,
): void {
  const width = 32 - Math.clz32(levelMax)
  const at = page.length
  page.reserve(LENGTH_BYTES)
  page.length += LENGTH_BYTES
  if (constant !== undefined) appendRun(page, constant, to - from, width)
  else appendHybrid(page, levels!, from, to, width)
  page.patchInt32(at, page.length - at - LENGTH_BYTES)
}

/** Appends dictionary indices [from, to) with their width. */
export function appendIndices(
  page: PageBuffer,
  ids: Int32Array,
  from: number,
  to: number,
  width: number,
): void {
  page.reserve(1)
  page.byte(width)
  appendHybrid(page, ids, from, to, width)
}

/** The header of a data page; valid until the next header. `valueCount` includes nulls. */
export function dataPageHeader(
  bodyBytes: number,
  compressedBytes: number,
  valueCount: number,
  encoding: number,
): Uint8Array {
  header.reset()
  header.structElement()
  header.i32(1, DATA_PAGE)
  header.i32(2, bodyBytes)
  header.i32(3, compressedBytes)
  header.struct(5)
  header.i32(1, valueCount)
  header.i32(2, encoding)
  header.i32(3, RLE)
  header.i32(4, RLE)
  header.end()
  header.end()
  return header.view()
}

export function dictionaryPageHeader(
  bodyBytes: number,
  compressedBytes: number,
  entryCount: number,
): Uint8Array {
  header.reset()
  header.structElement()
  header.i32(1, DICTIONARY_PAGE)
  header.i32(2, bodyBytes)
  header.i32(3, compressedBytes)
  header.struct(7)
  header.i32(1, entryCount)
  header.i32(2, PLAIN)
  header.end()
  header.end()
  return header.view()
}
