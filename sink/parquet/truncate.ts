// Bounds of long values cut to a length (Iceberg's metrics mode `truncate(16)`): text is cut between code
// points, never inside one; an upper bound is raised at its last place so that nothing it stands for is above.

const CODE_POINT_MAX = 0x10ffff
const SURROGATE_FIRST = 0xd800
const SURROGATE_LAST = 0xdfff

/** The first `lengthMax` code points of UTF-8 text. */
export function truncateTextLower(text: Uint8Array, lengthMax: number): Uint8Array {
  return text.slice(0, endOfCodePoints(text, lengthMax))
}

/** The least text of at most `lengthMax` code points that is not below `text`; undefined where there is none. */
export function truncateTextUpper(text: Uint8Array, lengthMax: number): Uint8Array | undefined {
  let end = endOfCodePoints(text, lengthMax)
  if (end === text.length) return text
  while (end > 0) {
    let start = end - 1
    while (start > 0 && (text[start]! & 0xc0) === 0x80) start--
    const next = nextCodePoint(codePointAt(text, start, end))
    if (next !== undefined) {
      const last = encodeCodePoint(next)
      const upper = new Uint8Array(start + last.length)
      upper.set(text.subarray(0, start))
      upper.set(last, start)
      return upper
    }
    end = start
  }
  return undefined
}

/** The least bytes of at most `lengthMax` that are not below `bytes`; undefined where there are none. */
export function truncateBinaryUpper(bytes: Uint8Array, lengthMax: number): Uint8Array | undefined {
  if (bytes.length <= lengthMax) return bytes
  let end = lengthMax
  while (end > 0 && bytes[end - 1] === 0xff) end--
  if (end === 0) return undefined
  const upper = bytes.slice(0, end)
  upper[end - 1]!++
  return upper
}

function endOfCodePoints(text: Uint8Array, count: number): number {
  let at = 0
  for (let seen = 0; at < text.length; at++) {
    // Every byte but a continuation begins a code point.
    if ((text[at]! & 0xc0) !== 0x80 && ++seen > count) return at
  }
  return at
}

function nextCodePoint(codePoint: number): number | undefined {
  if (codePoint >= CODE_POINT_MAX) return undefined
  return codePoint + 1 === SURROGATE_FIRST ? SURROGATE_LAST + 1 : codePoint + 1
}

function codePointAt(text: Uint8Array, start: number, end: number): number {
  const lead = text[start]!
  if (end - start === 1) return lead
  let value = lead & (0xff >> (end - start + 1))
  for (let at = start + 1; at < end; at++) value = (value << 6) | (text[at]! & 0x3f)
  return value
}

function encodeCodePoint(codePoint: number): Uint8Array {
  return new TextEncoder().encode(String.fromCodePoint(codePoint))
}
