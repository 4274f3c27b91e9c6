const b0 = builders[0]
const b1 = builders[1]
const b2 = builders[2]
const b3 = builders[3]
const b4 = builders[4]
const b5 = builders[5]
const b6 = builders[6]
const b7 = builders[7]
const b8 = builders[8]
function appendRows(bytes, starts, ends, rowCount) {
  scope.reserve(rowCount)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const depth = 0
  const words0 = b0.words
  const words1 = b1.words
  const values2 = b2.values
  const values3 = b3.values
  const values4 = b4.values
  const values5 = b5.values
  const values6 = b6.values
  const values7 = b7.values
  for (let i = 0, row = scope.count; i < rowCount; i++) {
    const end = ends[i]
    let at = starts[i]
    // event_time: timestamp-micros
    if ((at = readLongWords(bytes, at, end, words0, 2 * row)) < 0) return at
    // seq: long
    if ((at = readLongWords(bytes, at, end, words1, 2 * row)) < 0) return at
    // temperature: double
    if (end - at < 8) return -1
    values2[row] = view.getFloat64(at, true)
    at += 8
    // humidity: double
    if (end - at < 8) return -1
    values3[row] = view.getFloat64(at, true)
    at += 8
    // pressure: union
    let k8 = at < end ? bytes[at] : 1
    if (k8 <= 2 && (k8 & 1) === 0) { k8 >>= 1; at++ }
    else {
      if ((k8 = readIndex(bytes, at, end, 2, 9)) < 0) return k8
      at = scratch[0]
    }
    if (k8 === 0) {
      b4.appendNull(row)
    }
    else if (k8 === 1) {
      // pressure: double
      if (end - at < 8) return -1
      values4[row] = view.getFloat64(at, true)
      at += 8
    }
    // air_quality: union
    let k9 = at < end ? bytes[at] : 1
    if (k9 <= 2 && (k9 & 1) === 0) { k9 >>= 1; at++ }
    else {
      if ((k9 = readIndex(bytes, at, end, 2, 9)) < 0) return k9
      at = scratch[0]
    }
    if (k9 === 0) {
      b5.appendNull(row)
    }
    else if (k9 === 1) {
      // air_quality: double
      if (end - at < 8) return -1
      values5[row] = view.getFloat64(at, true)
      at += 8
    }
    // occupancy: enum
    let k10 = at < end ? bytes[at] : 1
    if (k10 <= 4 && (k10 & 1) === 0) { k10 >>= 1; at++ }
    else {
      if ((k10 = readIndex(bytes, at, end, 3, 8)) < 0) return k10
      at = scratch[0]
    }
    values6[row] = k10
    // firmware: string
    let n12 = at < end ? bytes[at] : 0x80
    if ((n12 & 0x81) === 0) {
      n12 >>= 1
      if (n12 > end - ++at) return -1
    }
    else {
      if ((n12 = readLength(bytes, at, end)) < 0) return n12
      at = scratch[0]
    }
    const from11 = at
    const stop13 = at + n12
    while (at < stop13 && bytes[at] < 0x80) at++
    if (at < stop13 && (at = utf8End(bytes, at, stop13)) < 0) return at
    b8.append(row, bytes, from11, at)
    // battery: double
    if (end - at < 8) return -1
    values7[row] = view.getFloat64(at, true)
    at += 8
    if (at !== end) return -13
    scope.count = ++row
  }
  return 0
}
function decodeRows(bytes, starts, ends, rowCount) {
  const code = appendRows(bytes, starts, ends, rowCount)
  if (code === 0) return 0
  scope.rollback(scope.count)
  return -code
}
const oneStart = new Int32Array(1)
const oneEnd = new Int32Array(1)
function decode(bytes, start, end) {
  oneStart[0] = start
  oneEnd[0] = end
  return decodeRows(bytes, oneStart, oneEnd, 1)
}
