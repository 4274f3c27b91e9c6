function scan(bytes, view, at, end) {
  const depth = 0
  let outside = 0
  // event_time: timestamp-micros
  if ((at = readLong(bytes, view, at, end, numbers, 0)) < 0) return at
  // seq: long
  if ((at = readLong(bytes, view, at, end, numbers, 1)) < 0) return at
  // temperature: double
  if (end - at < 8) return -1
  at += 8
  const value3 = view.getFloat64(at - 8, true)
  if (!(value3 >= -40 && value3 <= 85)) outside = 1
  // humidity: double
  if (end - at < 8) return -1
  at += 8
  // pressure: union
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
    const value6 = view.getFloat64(at - 8, true)
    numbers[2] = value6
    ranges[4] = at - 8
    ranges[5] = at
  }
  else {
    numbers[2] = NaN
    ranges[4] = ranges[5] = -1
  }
  // air_quality: union
  let k7 = at < end ? bytes[at] : 1
  if (k7 <= 2 && (k7 & 1) === 0) { k7 >>= 1; at++ }
  else {
    if ((k7 = readIndex(bytes, at, end, 2, 9)) < 0) return k7
    at = scratch[0]
  }
  if (k7 === 1) {
    // air_quality: double
    if (end - at < 8) return -1
    at += 8
  }
  // occupancy: enum
  let k8 = at < end ? bytes[at] : 1
  if (k8 <= 4 && (k8 & 1) === 0) { k8 >>= 1; at++ }
  else {
    if ((k8 = readIndex(bytes, at, end, 3, 8)) < 0) return k8
    at = scratch[0]
  }
  // firmware: string
  let n10 = at < end ? bytes[at] : 0x80
  if ((n10 & 0x81) === 0) {
    n10 >>= 1
    if (n10 > end - ++at) return -1
  }
  else {
    if ((n10 = readLength(bytes, at, end)) < 0) return n10
    at = scratch[0]
  }
  const from9 = at
  const stop11 = at + n10
  if ((at = textEnd(bytes, at, stop11)) < 0) return at
  ranges[6] = from9
  ranges[7] = at
  // battery: double
  if (end - at < 8) return -1
  at += 8
  return at === end ? outside : -13
}
