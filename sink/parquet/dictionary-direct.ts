// A dictionary without hashing, for numbers that are small multiples of one step: integers and times within
// a narrow range, and readings rounded to a few decimals, which are most of what sensors send.
//
// A value v of at most six decimals is k / 10^d for an integer k, and exactly so: the double nearest to k / 10^d
// is the one that rounding and parsing gave. The chunk's bounds say which k can occur; k - smallest is the
// index of the entry. Readings of one device follow each other closely, so the marks that are touched lie in
// the first-level cache, where a hash table would miss; entries come out sorted, which zstd rewards.
//
// -0.0, whose bits k / 10^d does not have and which rounding makes, has a place of its own behind the others. At
// the first value that is no such multiple this gives up, and the hash table takes over. NaN and infinities are
// seen in the bounds.
import { bitsForCount } from './bit-pack.ts'
import type { WordDictionary } from './dictionary.ts'
import { ValueRange } from './statistics.ts'
import { Grow32, type LeafValues } from './values.ts'

const SPAN_MAX = 1 << 21
const DECIMALS_MAX = 6
const SAMPLE_VALUES = 64
/** Unused entries, of all entries and of all values, that are cheaper to write than to renumber every value. */
const WASTE_MAX = 1 / 8
const WASTE_VALUES_MAX = 1 / 64

const TWO_32 = 0x1_0000_0000
/** Microseconds of a second and of a millisecond: what times that came as such are multiples of. */
const TIME_STEPS = [1_000_000, 1000]

const marks = new Grow32()

/**
 * Fills `dictionary.entries` and `values.ids`; false, and nothing to be used, where the values are of another sort or
 * there are more than `entriesMax`. `segments` hold the bounds of all values.
 */
export function buildDirect(
  dictionary: WordDictionary,
  values: LeafValues,
  segments: readonly ValueRange[],
  entriesMax: number,
): boolean {
  const bounds = new ValueRange(segments[0]!.leaf)
  for (const segment of segments) bounds.merge(segment)
  if (!bounds.present || bounds.nanCount > 0) return false
  dictionary.step = 0
  switch (values.kind) {
    case 'int32':
      return directInt32(dictionary, values, bounds, entriesMax)
    case 'int64':
      return directInt64(dictionary, values, bounds, entriesMax)
    case 'double': {
      const { words } = values
      const doubles = new Float64Array(words.buffer, words.byteOffset, values.count)
      return directDouble(dictionary, values, doubles, bounds, entriesMax)
    }
    default:
      return false
  }
}

/** Most steps that are worth a table: with fewer than one value in four of them a hash table is smaller. */
const spanMax = (count: number): number => Math.min(SPAN_MAX, Math.max(1024, count * 4))

function directInt32(
  dictionary: WordDictionary,
  values: LeafValues,
  bounds: ValueRange,
  entriesMax: number,
): boolean {
  const first = bounds.min
  const span = bounds.max - first + 1
  if (span > spanMax(values.count)) return false
  const { words, count } = values
  const ids = values.ownIds(count)
  const used = marks.atLeast(span).fill(0, 0, span)
  for (let i = 0; i < count; i++) {
    const at = words[i]! - first
    used[at] = 1
    ids[i] = at
  }
  const entryCount = number(used, span, ids, count)
  if (entryCount > entriesMax) return false
  const entries = dictionary.ownEntries(entryCount)
  for (let at = 0; at < span; at++) if (used[at]! >= 0) entries[used[at]!] = first + at
  dictionary.count = entryCount
  return true
}

function directInt64(
  dictionary: WordDictionary,
  values: LeafValues,
  bounds: ValueRange,
  entriesMax: number,
): boolean {
  const { minLow, minHigh, maxLow, maxHigh } = bounds
  const { words, count } = values
  const width = (maxHigh - minHigh) * TWO_32 + (maxLow >>> 0) - (minLow >>> 0)
  if (width > Number.MAX_SAFE_INTEGER) return false
  if (width === 0) {
    values.ownIds(count).fill(0, 0, count)
    const entries = dictionary.ownEntries(2)
    entries[0] = minLow
    entries[1] = minHigh
    dictionary.count = 1
    return true
  }
  const step = stepOf(words, count, minLow, minHigh)
  const span = width / step + 1
  if (!(span <= spanMax(count) && Number.isInteger(span))) return false
  const ids = values.ownIds(count)
  const used = marks.atLeast(span).fill(0, 0, span)
  const fits =
    width < TWO_32
      ? placeNear(words, count, ids, used, minLow, step)
      : placeFar(words, count, ids, used, minLow, minHigh, step)
  if (!fits) return false
  const entryCount = number(used, span, ids, count)
  if (entryCount > entriesMax) return false
  const entries = dictionary.ownEntries(entryCount * 2)
  for (let at = 0; at < span; at++) {
    const id = used[at]!
    if (id < 0) continue
    const low = (minLow >>> 0) + at * step
    entries[id << 1] = low
    entries[(id << 1) | 1] = minHigh + Math.floor(low / TWO_32)
  }
  dictionary.count = entryCount
  return true
}

/** Marks the place of each value; false where one is no multiple of `step` away. The distances are below 2^32. */
function placeNear(
  words: Int32Array,
  count: number,
  ids: Int32Array,
  used: Int32Array,
  minLow: number,
  step: number,
): boolean {
  // Whatever rounding makes of the product, the place is right where it multiplies back.
  const inverse = 1 / step
  for (let i = 0; i < count; i++) {
    const distance = words[i << 1]! - minLow
    const at = ((distance >>> 0) * inverse + 0.5) | 0
    if (Math.imul(at, step) !== (distance | 0)) return false
    used[at] = 1
    ids[i] = at
  }
  return true
}

/** As `placeNear`, for distances of more than 32 bits. */
function placeFar(
  words: Int32Array,
  count: number,
  ids: Int32Array,
  used: Int32Array,
  minLow: number,
  minHigh: number,
  step: number,
): boolean {
  for (let i = 0; i < count; i++) {
    const low = words[i << 1]!
    const distance = (words[(i << 1) | 1]! - minHigh) * TWO_32 + (low >>> 0) - (minLow >>> 0)
    const at = (distance / step) | 0
    if (at * step !== distance) return false
    used[at] = 1
    ids[i] = at
  }
  return true
}

/** The largest of the steps that the distances of a sample from the smallest value are multiples of. */
function stepOf(words: Int32Array, count: number, minLow: number, minHigh: number): number {
  const stride = Math.max(1, Math.floor(count / SAMPLE_VALUES))
  for (const step of TIME_STEPS) {
    let fits = true
    for (let i = 0; fits && i < count; i += stride) {
      const distance = (words[(i << 1) | 1]! - minHigh) * TWO_32 + (words[i << 1]! >>> 0) - (minLow >>> 0)
      fits = distance % step === 0
    }
    if (fits) return step
  }
  return 1
}

function directDouble(
  dictionary: WordDictionary,
  values: LeafValues,
  doubles: Float64Array,
  bounds: ValueRange,
  entriesMax: number,
): boolean {
  const { count, words } = values
  const scale = scaleOf(doubles, count)
  const first = Math.floor(bounds.min * scale + 0.5)
  const negativeZero = Math.floor(bounds.max * scale + 0.5) - first + 1
  const span = negativeZero + 1
  // Beyond int32 the indices below would wrap; NaN (infinite bounds) fails every comparison.
  if (!(span <= spanMax(count) && first >= -0x4000_0000 && first + span <= 0x4000_0000)) return false
  const ids = values.ownIds(count)
  const used = marks.atLeast(span).fill(0, 0, span)
  // The bounds make every sum at least 0, but for the last bit: cutting it off rounds to the nearest place.
  const bias = 0.5 - first
  for (let i = 0; i < count; i++) {
    const value = doubles[i]!
    const at = (value * scale + bias) | 0
    if ((at + first) / scale !== value) return false
    used[at] = 1
    ids[i] = at
  }
  const zero = 0 - first
  if (zero >= 0 && zero < negativeZero && used[zero] === 1)
    moveNegativeZeros(words, count, ids, used, negativeZero)
  const entryCount = number(used, span, ids, count)
  if (entryCount > entriesMax) return false
  const entries = dictionary.ownEntries(entryCount * 2)
  const entryDoubles = new Float64Array(entries.buffer, entries.byteOffset, entryCount)
  for (let at = 0; at < negativeZero; at++) if (used[at]! >= 0) entryDoubles[used[at]!] = (first + at) / scale
  if (used[negativeZero]! >= 0) entryDoubles[used[negativeZero]!] = -0
  dictionary.count = entryCount
  if (entryCount === span) dictionary.step = 5 ** Math.round(Math.log10(scale))
  return true
}

const NEGATIVE_ZERO = -(2n ** 63n)

/** Gives the values that are -0.0 their own place; they are so few that asking for them above would cost a quarter. */
function moveNegativeZeros(
  words: Int32Array,
  count: number,
  ids: Int32Array,
  used: Int32Array,
  negativeZero: number,
): void {
  const bits = new BigInt64Array(words.buffer, words.byteOffset, count)
  for (let i = bits.indexOf(NEGATIVE_ZERO); i >= 0; i = bits.indexOf(NEGATIVE_ZERO, i + 1)) {
    used[negativeZero] = 1
    ids[i] = negativeZero
  }
}

/** The power of ten that makes a sample of the values integers; 1 where none does. */
function scaleOf(doubles: Float64Array, count: number): number {
  const step = Math.max(1, Math.floor(count / SAMPLE_VALUES))
  let scale = 1
  for (let decimals = 0; decimals <= DECIMALS_MAX; decimals++, scale *= 10) {
    let fits = true
    for (let i = 0; fits && i < count; i += step) {
      const value = doubles[i]!
      fits = Math.floor(value * scale + 0.5) / scale === value
    }
    if (fits) return scale
  }
  return 1
}

/**
 * Turns marks into entry numbers, ascending, -1 for what is unused, and renumbers `ids`; where hardly anything
 * is unused, all places become entries and `ids` stay. Returns the number of entries.
 */
function number(used: Int32Array, span: number, ids: Int32Array, count: number): number {
  let distinct = 0
  for (let at = 0; at < span; at++) distinct += used[at]!
  const unused = span - distinct
  const isCheap = unused <= span * WASTE_MAX && unused <= count * WASTE_VALUES_MAX
  if (unused === 0 || (isCheap && bitsForCount(span) === bitsForCount(distinct))) {
    for (let at = 0; at < span; at++) used[at] = at
    return span
  }
  let id = 0
  for (let at = 0; at < span; at++) used[at] = used[at] === 0 ? -1 : id++
  for (let i = 0; i < count; i++) ids[i] = used[ids[i]!]!
  return distinct
}
