const c0 = constants[0]
function walk(bytes, at, end, into, to, depth) {
  const run0 = at
  // event_time: timestamp-micros
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  // seq: int
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipInt(bytes, at, end)) < 0) return at
  // temperature: double
  if (end - at < 8) return -1
  at += 8
  // humidity: double
  if (end - at < 8) return -1
  at += 8
  // pressure: union
  let k1 = at < end ? bytes[at] : 1
  if (k1 <= 2 && (k1 & 1) === 0) { k1 >>= 1; at++ }
  else {
    if ((k1 = readIndex(bytes, at, end, 2, 9)) < 0) return k1
    at = scratch[0]
  }
  if (k1 === 1) {
    // pressure: double
    if (end - at < 8) return -1
    at += 8
  }
  to = copySpan(bytes, run0, at, into, to)
  // air_quality: default
  to = writeRaw(into, to, c0)
  const run2 = at
  // occupancy: enum
  let k3 = at < end ? bytes[at] : 1
  if (k3 <= 4 && (k3 & 1) === 0) { k3 >>= 1; at++ }
  else {
    if ((k3 = readIndex(bytes, at, end, 3, 8)) < 0) return k3
    at = scratch[0]
  }
  // firmware: string
  let n4 = at < end ? bytes[at] : 0x80
  if ((n4 & 0x81) === 0) {
    n4 >>= 1
    if (n4 > end - ++at) return -1
  }
  else {
    if ((n4 = readLength(bytes, at, end)) < 0) return n4
    at = scratch[0]
  }
  const stop5 = at + n4
  if ((at = textEnd(bytes, at, stop5)) < 0) return at
  // battery: double
  if (end - at < 8) return -1
  at += 8
  to = copySpan(bytes, run2, at, into, to)
  written[0] = to
  return at
}
function rewrite(bytes, start, end, into, at) {
  const last = walk(bytes, start, end, into, at, 0)
  return last === end ? written[0] : last < 0 ? last : -13
}
