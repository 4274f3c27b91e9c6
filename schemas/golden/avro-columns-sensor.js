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
  const validity5 = b4.validity
  const values6 = b5.values
  const validity7 = b5.validity
  const values8 = b6.values
  const values9 = b7.values
  for (let i = 0, row = scope.count; i < rowCount; i++) {
    const end = ends[i]
    let at = starts[i]
    // event_time: timestamp-micros
    if ((at = readLongWords(bytes, view, at, end, words0, 2 * row)) < 0) return at
    // seq: long
    if ((at = readLongWords(bytes, view, at, end, words1, 2 * row)) < 0) return at
    // temperature: double
    if (end - at < 8) return -1
    values2[row] = view.getFloat64(at, true)
    at += 8
    // humidity: double
    if (end - at < 8) return -1
    values3[row] = view.getFloat64(at, true)
    at += 8
    // pressure: union
    let k10 = at < end ? bytes[at] : 1
    if (k10 <= 2 && (k10 & 1) === 0) { k10 >>= 1; at++ }
    else {
      if ((k10 = readIndex(bytes, at, end, 2, 9)) < 0) return k10
      at = scratch[0]
    }
    if (k10 === 0) {
      validity5[row >> 3] &= ~(1 << (row & 7))
      b4.nullCount++
      values4[row] = 0
    }
    else if (k10 === 1) {
      // pressure: double
      if (end - at < 8) return -1
      values4[row] = view.getFloat64(at, true)
      at += 8
    }
    // air_quality: union
    let k11 = at < end ? bytes[at] : 1
    if (k11 <= 2 && (k11 & 1) === 0) { k11 >>= 1; at++ }
    else {
      if ((k11 = readIndex(bytes, at, end, 2, 9)) < 0) return k11
      at = scratch[0]
    }
    if (k11 === 0) {
      validity7[row >> 3] &= ~(1 << (row & 7))
      b5.nullCount++
      values6[row] = 0
    }
    else if (k11 === 1) {
      // air_quality: double
      if (end - at < 8) return -1
      values6[row] = view.getFloat64(at, true)
      at += 8
    }
    // occupancy: enum
    let k12 = at < end ? bytes[at] : 1
    if (k12 <= 4 && (k12 & 1) === 0) { k12 >>= 1; at++ }
    else {
      if ((k12 = readIndex(bytes, at, end, 3, 8)) < 0) return k12
      at = scratch[0]
    }
    values8[row] = k12
    // firmware: string
    let n14 = at < end ? bytes[at] : 0x80
    if ((n14 & 0x81) === 0) {
      n14 >>= 1
      if (n14 > end - ++at) return -1
    }
    else {
      if ((n14 = readLength(bytes, at, end)) < 0) return n14
      at = scratch[0]
    }
    const from13 = at
    const stop15 = at + n14
    if (b8.repeats(row, view, from13, stop15)) at = stop15
    else {
      while (at < stop15 && bytes[at] < 0x80) at++
      if (at < stop15 && (at = utf8End(bytes, at, stop15)) < 0) return at
      b8.append(row, bytes, from13, at)
    }
    // battery: double
    if (end - at < 8) return -1
    values9[row] = view.getFloat64(at, true)
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
