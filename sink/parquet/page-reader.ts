// Pages, read (data-page.ts has the format): the levels and values of some rows of a page go to a collector.
import zlib from 'node:zlib'
import { readDelta } from './delta-reader.ts'
import { ENCODING } from './encoding-choice.ts'
import { readHybrid } from './hybrid-reader.ts'
import { CollectedValues, type LeafCollector } from './leaf-collector.ts'
import { CONVERT, type Conversion, type LeafPlan } from './leaf-plan.ts'
import { ThriftReader } from './thrift-reader.ts'
import { Grow32 } from './values.ts'

const DATA_PAGE = 0
const DICTIONARY_PAGE = 2
const CODEC_UNCOMPRESSED = 0
const CODEC_ZSTD = 6
/** Deprecated number of RLE_DICTIONARY, and of PLAIN in a dictionary page. */
const PLAIN_DICTIONARY = 2

const LENGTH_BYTES = 4
/** More values than any writer puts into a page: a damaged header must not ask for gigabytes. */
const PAGE_VALUES_MAX = 1 << 24

export interface PageHeader {
  isDictionary: boolean
  valueCount: number
  encoding: number
  bodyAt: number
  /** Of the body as it lies, and decompressed. */
  compressedBytes: number
  bodyBytes: number
}

/** Throws RangeError for pages that are not written here (version 2). */
export function readPageHeader(bytes: Uint8Array, at: number): PageHeader {
  const reader = new ThriftReader(bytes, at)
  const header: PageHeader = {
    isDictionary: false,
    valueCount: 0,
    encoding: -1,
    bodyAt: 0,
    compressedBytes: 0,
    bodyBytes: 0,
  }
  let type = -1
  const content = (): boolean => {
    reader.struct((id) => {
      if (id === 1) header.valueCount = reader.zigzag()
      else if (id === 2) header.encoding = reader.zigzag()
      else return false
      return true
    })
    return true
  }
  reader.struct((id) => {
    if (id === 1) type = reader.zigzag()
    else if (id === 2) header.bodyBytes = reader.zigzag()
    else if (id === 3) header.compressedBytes = reader.zigzag()
    else if (id === 5 || id === 7) return content()
    else return false
    return true
  })
  if (type !== DATA_PAGE && type !== DICTIONARY_PAGE) throw new RangeError(`a page of type ${type}`)
  if (header.valueCount > PAGE_VALUES_MAX) throw new RangeError(`a page of ${header.valueCount} values`)
  if (header.compressedBytes < 0) throw new RangeError(`a page of ${header.compressedBytes} bytes`)
  header.isDictionary = type === DICTIONARY_PAGE
  header.bodyAt = reader.at
  return header
}

/** The page's bytes, decompressed. Throws RangeError for codecs that are not written here. */
export function pageBody(bytes: Uint8Array, header: PageHeader, codec: number): Uint8Array {
  const stored = bytes.subarray(header.bodyAt, header.bodyAt + header.compressedBytes)
  if (codec !== CODEC_ZSTD && codec !== CODEC_UNCOMPRESSED) throw new RangeError(`compression codec ${codec}`)
  const body = codec === CODEC_ZSTD ? zlib.zstdDecompressSync(stored) : stored
  if (body.length !== header.bodyBytes) throw new RangeError('a page of another length than it says')
  return body
}

export interface Page extends PageHeader {
  body: Uint8Array
}

/** Reads and decompresses the page at `at`. Throws RangeError for pages that are not written here. */
export function readPage(bytes: Uint8Array, at: number, codec: number): Page {
  const header = readPageHeader(bytes, at)
  return { ...header, body: pageBody(bytes, header, codec) }
}

// One page is read at a time, so a thread needs these once.
const definitions = new Grow32()
const repetitions = new Grow32()
const numbers = new Grow32()

/** The entries of a dictionary page. */
export function readDictionary(page: Page, conversion: Conversion, fileBytes: number): CollectedValues {
  if (page.encoding !== ENCODING.PLAIN && page.encoding !== PLAIN_DICTIONARY)
    throw new RangeError(`a dictionary of encoding ${page.encoding}`)
  const entries = new CollectedValues()
  readPlain(page.body, 0, page.valueCount, 0, page.valueCount, conversion, fileBytes, entries)
  return entries
}

/** A dictionary, and whether the collector sees it for the first time. */
export interface OpenDictionary {
  entries: CollectedValues
  fresh: boolean
}

/** Appends rows [from, to) of the page, which has `rowCount`, to the collector. */
export function readDataPage(
  page: Page,
  plan: LeafPlan,
  dictionary: OpenDictionary | undefined,
  from: number,
  to: number,
  rowCount: number,
  into: LeafCollector,
): void {
  const { body, valueCount } = page
  let at = 0
  const levels = (target: Grow32, levelMax: number): Int32Array => {
    const array = target.atLeast(valueCount)
    const width = 32 - Math.clz32(levelMax)
    const byteLength = new DataView(body.buffer, body.byteOffset + at, LENGTH_BYTES).getInt32(0, true)
    at += LENGTH_BYTES
    readHybrid(body, at, at + byteLength, width, valueCount, array)
    at += byteLength
    return array
  }
  const repeats = plan.maxRepetition > 0 ? levels(repetitions, plan.maxRepetition) : undefined
  const defined = plan.maxDefinition > 0 ? levels(definitions, plan.maxDefinition) : undefined
  const [first, end] = levelRange(repeats, valueCount, from, to, rowCount)
  let before = 0
  let within = 0
  let present = valueCount
  if (defined === undefined) {
    before = first
    within = end - first
  } else {
    present = 0
    for (let i = 0; i < valueCount; i++) {
      if (i === first) before = present
      if (i === end) within = present - before
      if (defined[i] === plan.maxDefinition) present++
    }
    if (first === valueCount) before = present
    if (end === valueCount) within = present - before
  }
  appendLevels(plan, repeats, defined, first, end, into)
  if (plan.conversion === undefined) return
  if (page.encoding === ENCODING.RLE_DICTIONARY || page.encoding === PLAIN_DICTIONARY) {
    if (dictionary === undefined) throw new RangeError('indices without a dictionary')
    const ids = numbers.atLeast(before + within)
    if (present > 0) readHybrid(body, at + 1, body.length, body[at]!, before + within, ids)
    into.appendIds(dictionary.entries, dictionary.fresh, ids, before, within, plan.conversion)
    dictionary.fresh = false
    return
  }
  const values = into.direct()
  if (page.encoding === ENCODING.PLAIN)
    readPlain(body, at, present, before, within, plan.conversion, plan.fileBytes, values)
  else if (page.encoding === ENCODING.DELTA_BINARY_PACKED) {
    const width = wordsOf(plan.conversion)
    if (present > 0) readDelta(body, at, width, before + within, numbers.atLeast(width * (before + within)))
    values.appendWords(numbers.array, before, within, plan.conversion)
  } else if (page.encoding === ENCODING.BYTE_STREAM_SPLIT) {
    const width = wordsOf(plan.conversion)
    joinStreams(body, at, width, present, before, within)
    values.appendWords(numbers.array, 0, within, plan.conversion)
  } else throw new RangeError(`a page of encoding ${page.encoding}`)
}

/** Level entries of rows [from, to). */
function levelRange(
  repeats: Int32Array | undefined,
  levelCount: number,
  from: number,
  to: number,
  rowCount: number,
): [number, number] {
  if (repeats === undefined) return [from, to]
  if (from === 0 && to === rowCount) return [0, levelCount]
  let row = -1
  let first = levelCount
  for (let i = 0; i < levelCount; i++) {
    if (repeats[i] !== 0) continue
    row++
    if (row === from) first = i
    if (row === to) return [first, i]
  }
  return [first, levelCount]
}

function appendLevels(
  plan: LeafPlan,
  repeats: Int32Array | undefined,
  defined: Int32Array | undefined,
  first: number,
  end: number,
  into: LeafCollector,
): void {
  const { levelMap, repetitionMax } = plan
  const toDefinitions = into.definitions.atLeast(into.levelCount + end - first)
  const toRepetitions = into.repetitions.atLeast(into.levelCount + end - first)
  let at = into.levelCount
  for (let i = first; i < end; i++) {
    const repeat = repeats === undefined ? 0 : repeats[i]!
    if (repeat > repetitionMax) continue
    toRepetitions[at] = repeat
    toDefinitions[at++] = levelMap[defined === undefined ? 0 : defined[i]!]!
  }
  into.levelCount = at
}

function wordsOf(conversion: Conversion): 1 | 2 {
  switch (conversion) {
    case CONVERT.WORD:
    case CONVERT.INT_TO_LONG:
    case CONVERT.FLOAT_TO_DOUBLE:
    case CONVERT.DECIMAL_INT32:
      return 1
    case CONVERT.PAIR:
    case CONVERT.DECIMAL_INT64:
      return 2
    default:
      throw new RangeError('an encoding of numbers for values that are none')
  }
}

/** PLAIN: of `present` values that begin at `at`, appends [before, before + within). */
function readPlain(
  body: Uint8Array,
  at: number,
  present: number,
  before: number,
  within: number,
  conversion: Conversion,
  fileBytes: number,
  into: CollectedValues,
): void {
  if (conversion === CONVERT.BOOLEAN) {
    const bits = into.bytes.atLeast(into.count + within)
    for (let i = 0; i < within; i++)
      bits[into.count + i] = (body[at + ((before + i) >> 3)]! >> ((before + i) & 7)) & 1
    into.count += within
  } else if (conversion === CONVERT.BINARY) {
    let p = at
    for (let i = 0; i < before + within; i++) {
      const length = body[p]! | (body[p + 1]! << 8) | (body[p + 2]! << 16) | (body[p + 3]! << 24)
      p += LENGTH_BYTES
      if (length < 0 || p + length > body.length) throw new RangeError('byte arrays are cut off')
      if (i >= before) into.appendString(body, p, p + length)
      p += length
    }
  } else if (conversion === CONVERT.FIXED || conversion === CONVERT.DECIMAL_FIXED) {
    if (at + present * fileBytes > body.length) throw new RangeError('values are cut off')
    into.appendBytes(body, at + before * fileBytes, within, fileBytes, conversion)
  } else {
    const width = wordsOf(conversion)
    const words = numbers.atLeast(width * within)
    const from = at + 4 * width * before
    if (from + 4 * width * within > body.length) throw new RangeError('values are cut off')
    // Copied as bytes: a page's values are not aligned.
    new Uint8Array(words.buffer, 0, 4 * width * within).set(body.subarray(from, from + 4 * width * within))
    into.appendWords(words, 0, within, conversion)
  }
}

/** BYTE_STREAM_SPLIT: values [before, before + within) of `present` to the beginning of `numbers`. */
function joinStreams(
  body: Uint8Array,
  at: number,
  width: 1 | 2,
  present: number,
  before: number,
  within: number,
): void {
  if (at + 4 * width * present > body.length) throw new RangeError('byte streams are cut off')
  const words = numbers.atLeast(width * within)
  for (let word = 0; word < width; word++) {
    const p0 = at + 4 * word * present + before
    const p1 = p0 + present
    const p2 = p1 + present
    const p3 = p2 + present
    for (let i = 0; i < within; i++)
      words[width * i + word] =
        body[p0 + i]! | (body[p1 + i]! << 8) | (body[p2 + i]! << 16) | (body[p3 + i]! << 24)
  }
}
