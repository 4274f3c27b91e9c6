// A column chunk: the values of one leaf in one row group, as a dictionary page where there is one and data
// pages of one encoding. Pages are never mixed: readers that keep dictionary indices (Iceberg's vectorised
// one) then know from the encoding statistics that they may.
//
// Working memory is one chunk's: 8 bytes a value, 4 an index, 4 to 8 a level entry, the dictionary's table;
// for a row group of a million rows without lists about 20 MiB, kept by the thread for the next chunk.
import { bitsForCount } from './bit-pack.ts'
import {
  appendIndices,
  appendLevels,
  compressPage,
  dataPageHeader,
  dictionaryPageHeader,
} from './data-page.ts'
import { WordDictionary } from './dictionary.ts'
import { buildDirect } from './dictionary-direct.ts'
import {
  appendValues,
  dictionaryBytesPerValue,
  ENCODING,
  type Encoding,
  estimate,
} from './encoding-choice.ts'
import type { FileParts } from './file-parts.ts'
import { gather, isCoded } from './gather.ts'
import { PageBuffer } from './page-buffer.ts'
import { planPages } from './page-plan.ts'
import { appendBinary } from './plain.ts'
import type { Leaf } from './schema.ts'
import { columnOf, type OrderedSlice, Shredder } from './shred.ts'
import { ValueRange } from './statistics.ts'
import { stepFrame } from './step-frame.ts'
import { PageCompressor } from './stored-frame.ts'
import { LeafValues } from './values.ts'

export interface ChunkOptions {
  compressionLevel: number
  pageRowsMax: number
  byteStreamSplit: boolean
}

export interface PageInfo {
  /** Of the header in the file. */
  offset: number
  /** Header and compressed body. */
  byteLength: number
  /** First row, in the row group. */
  rowIndex: number
  range: ValueRange
  nullCount: number
  valueCount: number
}

export interface ColumnChunk {
  leaf: Leaf
  /** Of the data pages. */
  encoding: Encoding
  dictionaryPageOffset: number | undefined
  pages: PageInfo[]
  /** Level entries: values and nulls. */
  valueCount: number
  nullCount: number
  range: ValueRange
  /** Headers included. */
  uncompressedBytes: number
  compressedBytes: number
  saturated: number
}

const PAGE_BYTES_MAX = 1 << 20
/** Dictionaries of byte strings beyond this are given up. */
const DICTIONARY_BYTES_MAX = 4 << 20
const DICTIONARY_ENTRIES_MAX = 1 << 17

/** A frame written by the steps of its entries is taken up to this share of them: zstd comes to a sixth. */
const STEPPED_MAX = 1 / 4

/** Fewer values than this are PLAIN unjudged: judging costs a compression or two, and headers outweigh them. */
const JUDGED_VALUES_MIN = 128

// One chunk is encoded at a time, so a thread needs these once.
const shredded = new Shredder()
const values = new LeafValues()
const words = new WordDictionary()
const page = new PageBuffer()

/** Encodes the leaf's values of all slices, in their order, and appends the chunk to the file. */
export function writeColumnChunk(
  leaf: Leaf,
  slices: readonly OrderedSlice[],
  file: FileParts,
  options: ChunkOptions,
): ColumnChunk {
  collect(leaf, slices)
  const segments = scanSegments(leaf, options.pageRowsMax)
  const encoding = chooseEncoding(options, segments)
  const chunk: ColumnChunk = {
    leaf,
    encoding,
    dictionaryPageOffset: undefined,
    pages: [],
    valueCount: shredded.levelCount,
    nullCount: shredded.levelCount - values.count,
    range: new ValueRange(leaf),
    uncompressedBytes: 0,
    compressedBytes: 0,
    saturated: values.saturated,
  }
  const compressor = new PageCompressor((bytes) => compressPage(bytes, options.compressionLevel))
  if (encoding === ENCODING.RLE_DICTIONARY) writeDictionaryPage(chunk, file, compressor)
  writeDataPages(chunk, file, options, segments, compressor)
  return chunk
}

function collect(leaf: Leaf, slices: readonly OrderedSlice[]): void {
  let coded = leaf.kind === 'binary'
  if (coded)
    for (const { batch } of slices) {
      // Of the leaves of nested columns only enums are kept coded; what else has a dictionary there is expanded.
      coded &&=
        leaf.nodes.length === 1
          ? isCoded(leaf, columnOf(batch, leaf.fieldIndex, leaf.path[0]!))
          : leaf.field.type.kind === 'enum'
    }
  shredded.reset()
  values.reset(leaf.kind, leaf.kind === 'boolean' ? 1 : leaf.fixedBytes, coded)
  for (const slice of slices) {
    shredded.append(leaf, slice)
    gather(leaf, shredded, values, slices.length === 1)
  }
}

/**
 * Ranges of every `size` numbers, which are the pages' where no row is null: the choice of the encoding wants to
 * know the bounds of the chunk, and scanning once is enough. Empty for other kinds.
 */
function scanSegments(leaf: Leaf, size: number): ValueRange[] {
  const segments: ValueRange[] = []
  if (leaf.kind === 'binary' || leaf.kind === 'fixed') return segments
  for (let from = 0; from < values.count; from += size) {
    const range = new ValueRange(leaf)
    range.scan(values, from, values.isUniform ? from + 1 : Math.min(values.count, from + size))
    segments.push(range)
  }
  return segments
}

/** After it, where it says RLE_DICTIONARY, `values.ids` are set and the dictionary stands in `words` or `values`. */
function chooseEncoding(options: ChunkOptions, segments: readonly ValueRange[]): Encoding {
  const { count, kind } = values
  if (count === 0) {
    if (values.coded) values.expandCodes()
    return ENCODING.PLAIN
  }
  if (values.coded) {
    const { dictionary } = values
    const entryBytes = dictionary.byteLength / dictionary.count + 4
    const coded = dictionaryBytesPerValue(dictionary.count, count, entryBytes, 0)
    if (coded < entryBytes) return ENCODING.RLE_DICTIONARY
    values.expandCodes()
  }
  if (count < JUDGED_VALUES_MIN) return ENCODING.PLAIN
  if (values.isUniform) {
    words.takeFirst(values)
    return ENCODING.RLE_DICTIONARY
  }
  const judged = estimate(values, options.compressionLevel, options.byteStreamSplit)
  if (!judged.tryDictionary) return judged.encoding
  const isBytes = kind === 'binary' || kind === 'fixed'
  // More entries than this cannot pay, whatever the repeats.
  const entriesMax = Math.min(count, DICTIONARY_ENTRIES_MAX)
  const built = isBytes
    ? internAll(entriesMax)
    : buildDirect(words, values, segments, entriesMax) || words.build(values, entriesMax, judged.distinct)
  if (!built) return judged.encoding
  const distinct = isBytes ? values.dictionary.count : words.count
  if (judged.dictionaryBytes(distinct) >= judged.bytesPerValue) return judged.encoding
  // From here on statistics and pages read the ids.
  if (kind === 'binary') values.coded = true
  return ENCODING.RLE_DICTIONARY
}

function internAll(entriesMax: number): boolean {
  const { count, dictionary, kind, starts, ends, data, bytes, width } = values
  const ids = values.ownIds(count)
  dictionary.clear()
  for (let i = 0; i < count; i++) {
    ids[i] =
      kind === 'binary'
        ? dictionary.intern(data, starts[i]!, ends[i]!)
        : dictionary.intern(bytes, i * width, (i + 1) * width)
    if (dictionary.count > entriesMax || dictionary.byteLength > DICTIONARY_BYTES_MAX) return false
  }
  return true
}

function entryCount(): number {
  return values.kind === 'binary' || values.kind === 'fixed' ? values.dictionary.count : words.count
}

function writeDictionaryPage(chunk: ColumnChunk, file: FileParts, compressor: PageCompressor): void {
  const entries = dictionaryEntries()
  const isBytes = values.kind === 'binary' || values.kind === 'fixed'
  const stepped = isBytes || words.step === 0 ? undefined : stepFrame(words.entries, words.count, words.step)
  const body =
    stepped !== undefined && stepped.length <= entries.length * STEPPED_MAX
      ? stepped
      : compressor.alone(entries)
  const header = dictionaryPageHeader(entries.length, body.length, entryCount())
  chunk.dictionaryPageOffset = file.byteLength
  appendPage(chunk, file, header, body, entries.length)
}

/** The entries, PLAIN; valid until the next page. */
function dictionaryEntries(): Uint8Array {
  const { dictionary, kind } = values
  if (kind === 'fixed') return dictionary.data.subarray(0, dictionary.byteLength)
  if (kind !== 'binary') {
    const width = kind === 'int64' || kind === 'double' ? 8 : 4
    return new Uint8Array(words.entries.buffer, 0, words.count * width)
  }
  page.length = 0
  appendBinary(page, dictionary.offsets, dictionary.offsets.subarray(1), dictionary.data, 0, dictionary.count)
  return page.view()
}

function writeDataPages(
  chunk: ColumnChunk,
  file: FileParts,
  options: ChunkOptions,
  segments: readonly ValueRange[],
  compressor: PageCompressor,
): void {
  const { leaf, encoding } = chunk
  const coded = encoding === ENCODING.RLE_DICTIONARY
  const indexBits = coded ? bitsForCount(entryCount()) : 0
  const plan = planPages(
    shredded,
    values,
    leaf.maxDefinition,
    coded ? Math.max(1, indexBits) / 8 : plainBytes(),
    options.pageRowsMax,
    PAGE_BYTES_MAX,
  )
  for (let i = 0; i + 1 < plan.rows.length; i++) {
    const level = plan.levels[i]!
    const levelEnd = plan.levels[i + 1]!
    const from = plan.values[i]!
    const to = plan.values[i + 1]!
    const definition = definitionOfAll(leaf, to - from, levelEnd - level)
    page.length = 0
    if (leaf.maxRepetition > 0)
      appendLevels(page, shredded.repetitions, level, levelEnd, leaf.maxRepetition, undefined)
    if (leaf.maxDefinition > 0)
      appendLevels(page, shredded.definitions, level, levelEnd, leaf.maxDefinition, definition)
    if (coded) appendIndices(page, values.ids, from, to, indexBits)
    else appendValues(page, values, encoding, from, to)
    let range = segments[i]
    const size = options.pageRowsMax
    if (range === undefined || from !== i * size || to !== Math.min(values.count, from + size)) {
      range = new ValueRange(leaf)
      range.scan(values, from, to)
    }
    chunk.range.merge(range)
    const body = compressor.page(page.view())
    const header = dataPageHeader(page.length, body.length, levelEnd - level, encoding)
    chunk.pages.push({
      offset: file.byteLength,
      byteLength: header.length + body.length,
      rowIndex: plan.rows[i]!,
      range,
      nullCount: levelEnd - level - (to - from),
      valueCount: levelEnd - level,
    })
    appendPage(chunk, file, header, body, page.length)
  }
}

/** The definition level of all entries of a page; undefined where they differ. */
function definitionOfAll(leaf: Leaf, valueCount: number, levelCount: number): number | undefined {
  if (valueCount === levelCount) return leaf.maxDefinition
  return valueCount === 0 && leaf.maxDefinition === 1 ? 0 : undefined
}

/** Bytes of a PLAIN value; 0 for binary, whose values have a length each. */
function plainBytes(): number {
  switch (values.kind) {
    case 'boolean':
      return 1 / 8
    case 'int32':
    case 'float':
      return 4
    case 'int64':
    case 'double':
      return 8
    case 'fixed':
      return values.width
    default:
      return 0
  }
}

function appendPage(
  chunk: ColumnChunk,
  file: FileParts,
  header: Uint8Array,
  body: Uint8Array,
  bodyBytes: number,
): void {
  chunk.uncompressedBytes += header.length + bodyBytes
  chunk.compressedBytes += header.length + body.length
  file.append(header)
  file.append(body)
}
