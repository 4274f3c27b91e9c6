const b0 = builders[0]
const b1 = builders[1]
const b2 = builders[2]
const b3 = builders[3]
const b4 = builders[4]
const b5 = builders[5]
const b6 = builders[6]
const b7 = builders[7]
const b8 = builders[8]
function appendRow(bytes, view, at, end, row) {
  const depth = 0
  const from0 = at
  // event_time: timestamp-micros
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  const v1 = bytes[from0]
  if (v1 < 0x80) {
    b0.words[2 * row] = (v1 >>> 1) ^ -(v1 & 1)
    b0.words[2 * row + 1] = -(v1 & 1)
  }
  else longWordsAt(bytes, from0, b0.words, 2 * row)
  const from2 = at
  // seq: long
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  const v3 = bytes[from2]
  if (v3 < 0x80) {
    b1.words[2 * row] = (v3 >>> 1) ^ -(v3 & 1)
    b1.words[2 * row + 1] = -(v3 & 1)
  }
  else longWordsAt(bytes, from2, b1.words, 2 * row)
  // temperature: double
  if (end - at < 8) return -1
  b2.values[row] = view.getFloat64(at, true)
  at += 8
  // humidity: double
  if (end - at < 8) return -1
  b3.values[row] = view.getFloat64(at, true)
  at += 8
  // pressure: union
  let k4 = at < end ? bytes[at] : 1
  if (k4 <= 2 && (k4 & 1) === 0) { k4 >>= 1; at++ }
  else {
    if ((k4 = readIndex(bytes, at, end, 2, 9)) < 0) return k4
    at = scratch[0]
  }
  if (k4 === 0) {
    b4.appendNull(row)
  }
  else if (k4 === 1) {
    // pressure: double
    if (end - at < 8) return -1
    b4.values[row] = view.getFloat64(at, true)
    at += 8
  }
  // air_quality: union
  let k5 = at < end ? bytes[at] : 1
  if (k5 <= 2 && (k5 & 1) === 0) { k5 >>= 1; at++ }
  else {
    if ((k5 = readIndex(bytes, at, end, 2, 9)) < 0) return k5
    at = scratch[0]
  }
  if (k5 === 0) {
    b5.appendNull(row)
  }
  else if (k5 === 1) {
    // air_quality: double
    if (end - at < 8) return -1
    b5.values[row] = view.getFloat64(at, true)
    at += 8
  }
  // occupancy: enum
  let k6 = at < end ? bytes[at] : 1
  if (k6 <= 4 && (k6 & 1) === 0) { k6 >>= 1; at++ }
  else {
    if ((k6 = readIndex(bytes, at, end, 3, 8)) < 0) return k6
    at = scratch[0]
  }
  b6.values[row] = k6
  // firmware: string
  let n8 = at < end ? bytes[at] : 0x80
  if ((n8 & 0x81) === 0) {
    n8 >>= 1
    if (n8 > end - ++at) return -1
  }
  else {
    if ((n8 = readLength(bytes, at, end)) < 0) return n8
    at = scratch[0]
  }
  const from7 = at
  const stop9 = at + n8
  while (at < stop9 && bytes[at] < 0x80) at++
  if (at < stop9 && (at = utf8End(bytes, at, stop9)) < 0) return at
  b7.append(row, bytes, from7, at)
  // battery: double
  if (end - at < 8) return -1
  b8.values[row] = view.getFloat64(at, true)
  at += 8
  return at
}
let view = new DataView(new ArrayBuffer(0))
let viewed = new Uint8Array(view.buffer)
function decode(bytes, start, end) {
  if (bytes !== viewed) {
    view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    viewed = bytes
  }
  const row = scope.count
  if (row === scope.capacity) scope.grow()
  const at = appendRow(bytes, view, start, end, row)
  if (at !== end) {
    scope.rollback(row)
    return at < 0 ? -at : 13
  }
  scope.count = row + 1
  return 0
}
