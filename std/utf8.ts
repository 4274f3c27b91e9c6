// UTF-8 as RFC 3629 defines it, checked where the bytes lie: no overlong forms, no surrogates, nothing above
// U+10FFFF.

/** Whether bytes[start, end) are well-formed UTF-8. */
export function isUtf8(bytes: Uint8Array, start: number, end: number): boolean {
  let at = start
  while (at < end) {
    const lead = bytes[at++]!
    if (lead < 0x80) continue
    if (lead < 0xc2 || lead > 0xf4) return false
    // The second byte's range excludes overlong forms (E0, F0), surrogates (ED) and what is above U+10FFFF (F4).
    let low = 0x80
    let high = 0xbf
    let more = 1
    if (lead >= 0xe0) {
      more = 2
      if (lead === 0xe0) low = 0xa0
      else if (lead === 0xed) high = 0x9f
      else if (lead >= 0xf0) {
        more = 3
        if (lead === 0xf0) low = 0x90
        else if (lead === 0xf4) high = 0x8f
      }
    }
    if (at + more > end) return false
    const second = bytes[at++]!
    if (second < low || second > high) return false
    for (; more > 1; more--) if ((bytes[at++]! & 0xc0) !== 0x80) return false
  }
  return true
}
