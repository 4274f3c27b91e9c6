// Topic Names as bytes (MQTT 5.0 sections 4.7.1 and 4.7.3); what a topic means is in topics.ts.
import { isUtf8 } from '../std/utf8.ts'
import { viewOf } from '../std/view.ts'

const PLUS = 0x2b
const HASH = 0x23
// The same in every byte of a word. A word has a byte 0 where (word - ONES) & ~word & HIGHS is not 0.
const ONES = 0x01010101
const HIGHS = 0x80808080 | 0
const PLUSES = PLUS * ONES
const HASHES = HASH * ONES

/** Whether a word has a byte that a topic name of ASCII characters cannot have. */
function isSpecial(word: number): boolean {
  const plus = word ^ PLUSES
  const hash = word ^ HASHES
  const found = ((word - ONES) & ~word) | ((plus - ONES) & ~plus) | ((hash - ONES) & ~hash) | word
  return (found & HIGHS) !== 0
}

/** Whether bytes[start, end) are a Topic Name (5.0 sections 4.7.1 and 4.7.3): UTF-8 without wildcards and U+0000. */
export function isTopicName(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end) return false
  if (end - start >= 4) {
    // A word at a time, the last one overlapping the one before.
    const view = viewOf(bytes)
    let at = start
    while (at < end - 4 && !isSpecial(view.getInt32(at))) at += 4
    if (at >= end - 4 && !isSpecial(view.getInt32(end - 4))) return true
  }
  let above = 0
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!
    if (byte === 0 || byte === PLUS || byte === HASH) return false
    above |= byte
  }
  return above < 0x80 || isUtf8(bytes, start, end)
}
