let result
function walk(bytes, at, end, depth) {
  // event_time: timestamp-micros
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  // seq: long
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  places[0] = at
  // temperature: double
  if (end - at < 8) return -1
  at += 8
  const value1 = doubleAt(bytes, at - 8)
  places[1] = at
  // humidity: double
  if (end - at < 8) return -1
  at += 8
  // pressure: union
  let union3 = null
  let k4 = at < end ? bytes[at] : 1
  if (k4 <= 2 && (k4 & 1) === 0) { k4 >>= 1; at++ }
  else {
    if ((k4 = readIndex(bytes, at, end, 2, 9)) < 0) return k4
    at = scratch[0]
  }
  if (k4 === 1) {
    // pressure: double
    if (end - at < 8) return -1
    at += 8
    const value6 = doubleAt(bytes, at - 8)
    union3 = value6
  }
  result = { temperature: value1, pressure: union3 }
  return at
}
function decode(bytes, start, end) {
  walk(bytes, start, end, 0)
  return result
}
