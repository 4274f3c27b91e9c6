// Which encoding a column chunk gets: the one whose compressed size is least, judged by a sample.
//
//   PLAIN, DELTA_BINARY_PACKED, BYTE_STREAM_SPLIT   eight runs of 512 values spread over the chunk, encoded and
//                                                   compressed as a page would be
//   RLE_DICTIONARY                                  4,096 values spread evenly: of s such values drawn from D
//                                                   distinct ones about s² / 2D pairs collide, so the pairs
//                                                   that did say how large D is
//
// The dictionary is then built over the whole chunk, and dropped again where its true size turns out worse.
import { bitsForCount } from './bit-pack.ts'
import { appendByteStreamSplit } from './byte-stream-split.ts'
import { compressPage } from './data-page.ts'
import { appendDeltaInt32, appendDeltaInt64 } from './delta.ts'
import { ENTRIES_MAX, hashPair } from './dictionary.ts'
import { hashBytes } from './dictionary-binary.ts'
import { PageBuffer } from './page-buffer.ts'
import { appendPlain } from './plain.ts'
import type { LeafValues } from './values.ts'

/** parquet.thrift Encoding. */
export const ENCODING = {
  PLAIN: 0,
  RLE: 3,
  DELTA_BINARY_PACKED: 5,
  RLE_DICTIONARY: 8,
  BYTE_STREAM_SPLIT: 9,
} as const

export type Encoding = (typeof ENCODING)[keyof typeof ENCODING]

const SAMPLE_RUNS = 8
const RUN_VALUES = 512
const SAMPLE_VALUES = SAMPLE_RUNS * RUN_VALUES

const sample = new PageBuffer()

export interface Estimate {
  /** The best encoding without a dictionary. */
  encoding: Encoding
  /** Its compressed bytes a value. */
  bytesPerValue: number
  /** Estimated distinct values of the chunk. */
  distinct: number
  /** Whether a dictionary is worth building. */
  tryDictionary: boolean
  /** Bytes a value that a dictionary of so many entries would cost. */
  dictionaryBytes(distinct: number): number
}

/** Judges a chunk that did not arrive with a dictionary and has at least one value. */
export function estimate(values: LeafValues, level: number, byteStreamSplit: boolean): Estimate {
  const { kind } = values
  if (kind === 'boolean')
    return {
      encoding: ENCODING.PLAIN,
      bytesPerValue: 1 / 8,
      distinct: 2,
      tryDictionary: false,
      dictionaryBytes: () => 1,
    }
  const plain = sampleBytes(values, ENCODING.PLAIN, level)
  const repeats = sampleRepeats(values)
  const best: Estimate = {
    encoding: ENCODING.PLAIN,
    bytesPerValue: plain,
    distinct: estimateDistinct(values),
    tryDictionary: false,
    dictionaryBytes: (distinct) => dictionaryBytesPerValue(distinct, values.count, plain, repeats),
  }
  if (kind === 'int32' || kind === 'int64') take(best, values, ENCODING.DELTA_BINARY_PACKED, level)
  if (byteStreamSplit && (kind === 'float' || kind === 'double'))
    take(best, values, ENCODING.BYTE_STREAM_SPLIT, level)
  // The estimate of D has a wide error: what is within a half is tried.
  best.tryDictionary =
    best.distinct < ENTRIES_MAX * 1.5 && best.dictionaryBytes(best.distinct) < best.bytesPerValue * 1.5
  return best
}

function take(best: Estimate, values: LeafValues, encoding: Encoding, level: number): void {
  const bytes = sampleBytes(values, encoding, level)
  if (bytes >= best.bytesPerValue) return
  best.encoding = encoding
  best.bytesPerValue = bytes
}

/** Expected bytes a value of indices and of the dictionary page; `repeats`: the share of values that repeat the last. */
export function dictionaryBytesPerValue(
  distinct: number,
  count: number,
  plainBytesPerValue: number,
  repeats: number,
): number {
  return ((1 - repeats) * bitsForCount(distinct)) / 8 + (distinct * plainBytesPerValue) / count
}

/** Compressed bytes a value of the sampled runs. */
function sampleBytes(values: LeafValues, encoding: Encoding, level: number): number {
  const { count } = values
  sample.length = 0
  if (count <= SAMPLE_VALUES) append(values, encoding, 0, count)
  else
    for (let run = 0; run < SAMPLE_RUNS; run++) {
      const from = Math.floor((run * (count - RUN_VALUES)) / (SAMPLE_RUNS - 1))
      append(values, encoding, from, from + RUN_VALUES)
    }
  return compressPage(sample.view(), level).length / Math.min(count, SAMPLE_VALUES)
}

function append(values: LeafValues, encoding: Encoding, from: number, to: number): void {
  appendValues(sample, values, encoding, from, to)
}

/** Appends values[from, to) in an encoding that needs no dictionary. */
export function appendValues(
  page: PageBuffer,
  values: LeafValues,
  encoding: Encoding,
  from: number,
  to: number,
): void {
  if (encoding === ENCODING.PLAIN) appendPlain(page, values, from, to)
  else if (encoding === ENCODING.BYTE_STREAM_SPLIT)
    appendByteStreamSplit(page, values.words, values.kind === 'float' ? 4 : 8, from, to)
  else if (values.kind === 'int32') appendDeltaInt32(page, values.words, from, to)
  else appendDeltaInt64(page, values.words, from, to)
}

function hashValue(values: LeafValues, i: number): number {
  switch (values.kind) {
    case 'int32':
    case 'float':
      return hashPair(values.words[i]!, 0)
    case 'int64':
    case 'double':
      return hashPair(values.words[i << 1]!, values.words[(i << 1) | 1]!)
    case 'fixed':
      return hashBytes(values.bytes, i * values.width, (i + 1) * values.width)
    default:
      return hashBytes(values.data, values.starts[i]!, values.ends[i]!)
  }
}

const TABLE_BITS = 14
/** Hash of each slot's value; 0 is empty. Equal hashes pass for equal values: an estimate can bear it. */
const table = new Int32Array(1 << TABLE_BITS)
const counts = new Int32Array(1 << TABLE_BITS)

/** Estimated number of distinct values, at least the number seen. */
export function estimateDistinct(values: LeafValues): number {
  const { count } = values
  const size = Math.min(count, SAMPLE_VALUES)
  table.fill(0)
  counts.fill(0)
  const mask = table.length - 1
  let distinct = 0
  let pairs = 0
  for (let k = 0; k < size; k++) {
    const hash = hashValue(values, Math.floor((k * count) / size)) | 1
    let slot = hash >>> (32 - TABLE_BITS)
    while (table[slot] !== 0 && table[slot] !== hash) slot = (slot + 1) & mask
    if (table[slot] === 0) {
      table[slot] = hash
      distinct++
    }
    pairs += counts[slot]!++
  }
  if (size === count) return distinct
  if (pairs === 0) return count
  return Math.max(distinct, Math.min(count, Math.round((size * size) / (2 * pairs))))
}

/** Share of values in the sampled runs that equal the one before. */
function sampleRepeats(values: LeafValues): number {
  const { count } = values
  let repeats = 0
  let seen = 0
  const runs = count <= SAMPLE_VALUES ? 1 : SAMPLE_RUNS
  const length = runs === 1 ? count : RUN_VALUES
  for (let run = 0; run < runs; run++) {
    const from = runs === 1 ? 0 : Math.floor((run * (count - RUN_VALUES)) / (SAMPLE_RUNS - 1))
    let last = hashValue(values, from)
    for (let i = from + 1; i < from + length; i++) {
      const hash = hashValue(values, i)
      if (hash === last) repeats++
      last = hash
      seen++
    }
  }
  return seen === 0 ? 0 : repeats / seen
}
