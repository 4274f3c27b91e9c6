function walk(bytes, at, end, depth) {
  // event_time: timestamp-micros
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  // seq: long
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  // temperature: double, humidity: double
  if (end - at < 16) return -1
  at += 16
  // pressure: union
  let k0 = at < end ? bytes[at] : 1
  if (k0 <= 2 && (k0 & 1) === 0) { k0 >>= 1; at++ }
  else {
    if ((k0 = readIndex(bytes, at, end, 2, 9)) < 0) return k0
    at = scratch[0]
  }
  if (k0 === 1) {
    // pressure: double
    if (end - at < 8) return -1
    at += 8
  }
  // air_quality: union
  let k1 = at < end ? bytes[at] : 1
  if (k1 <= 2 && (k1 & 1) === 0) { k1 >>= 1; at++ }
  else {
    if ((k1 = readIndex(bytes, at, end, 2, 9)) < 0) return k1
    at = scratch[0]
  }
  if (k1 === 1) {
    // air_quality: double
    if (end - at < 8) return -1
    at += 8
  }
  // occupancy: enum
  let k2 = at < end ? bytes[at] : 1
  if (k2 <= 4 && (k2 & 1) === 0) { k2 >>= 1; at++ }
  else {
    if ((k2 = readIndex(bytes, at, end, 3, 8)) < 0) return k2
    at = scratch[0]
  }
  // firmware: string
  let n3 = at < end ? bytes[at] : 0x80
  if ((n3 & 0x81) === 0) {
    n3 >>= 1
    if (n3 > end - ++at) return -1
  }
  else {
    if ((n3 = readLength(bytes, at, end)) < 0) return n3
    at = scratch[0]
  }
  const stop4 = at + n3
  if ((at = textEnd(bytes, at, stop4)) < 0) return at
  // battery: double
  if (end - at < 8) return -1
  at += 8
  return at
}
function validate(bytes, start, end) {
  const at = walk(bytes, start, end, 0)
  return at === end ? 0 : at < 0 ? -at : 13
}
