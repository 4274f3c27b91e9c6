const b0 = builders[0]
const b1 = builders[1]
const b2 = builders[2]
const b3 = builders[3]
const b4 = builders[4]
const b5 = builders[5]
const b6 = builders[6]
const b7 = builders[7]
const b8 = builders[8]
const b9 = builders[9]
const b10 = builders[10]
const b11 = builders[11]
const b12 = builders[12]
const b13 = builders[13]
const b14 = builders[14]
const b15 = builders[15]
const b16 = builders[16]
const b17 = builders[17]
const b18 = builders[18]
const b19 = builders[19]
const b20 = builders[20]
const b21 = builders[21]
const b22 = builders[22]
const b23 = builders[23]
const b24 = builders[24]
function appendRows(bytes, starts, ends, rowCount) {
  scope.reserve(rowCount)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const depth = 0
  const words0 = b0.words
  const data1 = b1.data
  const values2 = b2.values
  const values3 = b3.values
  const data4 = b4.data
  const values5 = b5.values
  const values6 = b6.values
  const words7 = b7.words
  const data8 = b8.data
  const values9 = b9.values
  for (let i = 0, row = scope.count; i < rowCount; i++) {
    const end = ends[i]
    let at = starts[i]
    // event_time: timestamp-millis
    if ((at = readLongWords(bytes, view, at, end, words0, 2 * row)) < 0) return at
    // run: uuid
    let n10 = at < end ? bytes[at] : 0x80
    if ((n10 & 0x81) === 0) {
      n10 >>= 1
      if (n10 > end - ++at) return -1
    }
    else {
      if ((n10 = readLength(bytes, at, end)) < 0) return n10
      at = scratch[0]
    }
    if ((at = uuidEnd(bytes, at, at + n10, data1, 16 * row)) < 0) return at
    // position: union
    let k11 = at < end ? bytes[at] : 1
    if (k11 <= 2 && (k11 & 1) === 0) { k11 >>= 1; at++ }
    else {
      if ((k11 = readIndex(bytes, at, end, 2, 9)) < 0) return k11
      at = scratch[0]
    }
    if (k11 === 0) {
      b10.appendNull(row)
    }
    else if (k11 === 1) {
      // position.x: float
      if (end - at < 4) return -1
      values2[row] = view.getFloat32(at, true)
      at += 4
      // position.y: float
      if (end - at < 4) return -1
      values3[row] = view.getFloat32(at, true)
      at += 4
      // position.label: union
      let k12 = at < end ? bytes[at] : 1
      if (k12 <= 2 && (k12 & 1) === 0) { k12 >>= 1; at++ }
      else {
        if ((k12 = readIndex(bytes, at, end, 2, 9)) < 0) return k12
        at = scratch[0]
      }
      if (k12 === 0) {
        // position.label: string
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
        if (b11.repeats(row, view, from13, stop15)) at = stop15
        else {
          while (at < stop15 && bytes[at] < 0x80) at++
          if (at < stop15 && (at = utf8End(bytes, at, stop15)) < 0) return at
          b11.append(row, bytes, from13, at)
        }
      }
      else if (k12 === 1) {
        b11.appendNull(row)
      }
    }
    const elements16 = b12.elements
    // readings: array
    for (;;) {
      if (at < end && bytes[at] === 0) { at++; break }
      const count18 = readBlock(bytes, at, end, 8)
      if (count18 < 0) return count18
      at = scratch[0]
      if (count18 === 0) break
      const stop19 = scratch[1]
      for (let i20 = 0; i20 < count18; i20++) {
        const row17 = elements16.count
        if (row17 === elements16.capacity) elements16.grow()
        // readings[]: double
        if (end - at < 8) return -1
        b13.values[row17] = view.getFloat64(at, true)
        at += 8
        elements16.count = row17 + 1
      }
      if (stop19 >= 0 && at !== stop19) return -11
    }
    b12.offsets[row + 1] = elements16.count
    const elements21 = b14.elements
    // events: array
    for (;;) {
      if (at < end && bytes[at] === 0) { at++; break }
      const count23 = readBlock(bytes, at, end, 1)
      if (count23 < 0) return count23
      at = scratch[0]
      if (count23 === 0) break
      const stop24 = scratch[1]
      for (let i25 = 0; i25 < count23; i25++) {
        const row22 = elements21.count
        if (row22 === elements21.capacity) elements21.grow()
        const elements26 = b15.elements
        // events[]: array
        for (;;) {
          if (at < end && bytes[at] === 0) { at++; break }
          const count28 = readBlock(bytes, at, end, 1)
          if (count28 < 0) return count28
          at = scratch[0]
          if (count28 === 0) break
          const stop29 = scratch[1]
          for (let i30 = 0; i30 < count28; i30++) {
            const row27 = elements26.count
            if (row27 === elements26.capacity) elements26.grow()
            // events[][]: union
            let k31 = at < end ? bytes[at] : 1
            if (k31 <= 2 && (k31 & 1) === 0) { k31 >>= 1; at++ }
            else {
              if ((k31 = readIndex(bytes, at, end, 2, 9)) < 0) return k31
              at = scratch[0]
            }
            if (k31 === 0) {
              b16.appendNull(row27)
            }
            else if (k31 === 1) {
              const from32 = at
              // events[][]: int
              if (at < end && bytes[at] < 0x80) at++
              else if ((at = skipInt(bytes, at, end)) < 0) return at
              b16.values[row27] = intAt(bytes, from32)
            }
            elements26.count = row27 + 1
          }
          if (stop29 >= 0 && at !== stop29) return -11
        }
        b15.offsets[row22 + 1] = elements26.count
        elements21.count = row22 + 1
      }
      if (stop24 >= 0 && at !== stop24) return -11
    }
    b14.offsets[row + 1] = elements21.count
    const elements33 = b17.elements
    // labels: map
    for (;;) {
      if (at < end && bytes[at] === 0) { at++; break }
      const count35 = readBlock(bytes, at, end, 2)
      if (count35 < 0) return count35
      at = scratch[0]
      if (count35 === 0) break
      const stop36 = scratch[1]
      for (let i37 = 0; i37 < count35; i37++) {
        const row34 = elements33.count
        if (row34 === elements33.capacity) elements33.grow()
        // labels key: string
        let n39 = at < end ? bytes[at] : 0x80
        if ((n39 & 0x81) === 0) {
          n39 >>= 1
          if (n39 > end - ++at) return -1
        }
        else {
          if ((n39 = readLength(bytes, at, end)) < 0) return n39
          at = scratch[0]
        }
        const from38 = at
        const stop40 = at + n39
        if (b18.repeats(row34, view, from38, stop40)) at = stop40
        else {
          while (at < stop40 && bytes[at] < 0x80) at++
          if (at < stop40 && (at = utf8End(bytes, at, stop40)) < 0) return at
          b18.append(row34, bytes, from38, at)
        }
        // labels{}: string
        let n42 = at < end ? bytes[at] : 0x80
        if ((n42 & 0x81) === 0) {
          n42 >>= 1
          if (n42 > end - ++at) return -1
        }
        else {
          if ((n42 = readLength(bytes, at, end)) < 0) return n42
          at = scratch[0]
        }
        const from41 = at
        const stop43 = at + n42
        if (b19.repeats(row34, view, from41, stop43)) at = stop43
        else {
          while (at < stop43 && bytes[at] < 0x80) at++
          if (at < stop43 && (at = utf8End(bytes, at, stop43)) < 0) return at
          b19.append(row34, bytes, from41, at)
        }
        elements33.count = row34 + 1
      }
      if (stop36 >= 0 && at !== stop36) return -11
    }
    b17.offsets[row + 1] = elements33.count
    const elements44 = b20.elements
    // axes: map
    for (;;) {
      if (at < end && bytes[at] === 0) { at++; break }
      const count46 = readBlock(bytes, at, end, 10)
      if (count46 < 0) return count46
      at = scratch[0]
      if (count46 === 0) break
      const stop47 = scratch[1]
      for (let i48 = 0; i48 < count46; i48++) {
        const row45 = elements44.count
        if (row45 === elements44.capacity) elements44.grow()
        // axes key: string
        let n50 = at < end ? bytes[at] : 0x80
        if ((n50 & 0x81) === 0) {
          n50 >>= 1
          if (n50 > end - ++at) return -1
        }
        else {
          if ((n50 = readLength(bytes, at, end)) < 0) return n50
          at = scratch[0]
        }
        const from49 = at
        const stop51 = at + n50
        if (b21.repeats(row45, view, from49, stop51)) at = stop51
        else {
          while (at < stop51 && bytes[at] < 0x80) at++
          if (at < stop51 && (at = utf8End(bytes, at, stop51)) < 0) return at
          b21.append(row45, bytes, from49, at)
        }
        // axes{}.angle: double
        if (end - at < 8) return -1
        b22.values[row45] = view.getFloat64(at, true)
        at += 8
        // axes{}.homed: boolean
        if (at >= end) return -1
        if (bytes[at++] > 1) return -5
        b23.values[row45] = bytes[at - 1]
        elements44.count = row45 + 1
      }
      if (stop47 >= 0 && at !== stop47) return -11
    }
    b20.offsets[row + 1] = elements44.count
    // cost: union
    let k52 = at < end ? bytes[at] : 1
    if (k52 <= 2 && (k52 & 1) === 0) { k52 >>= 1; at++ }
    else {
      if ((k52 = readIndex(bytes, at, end, 2, 9)) < 0) return k52
      at = scratch[0]
    }
    if (k52 === 0) {
      b4.appendNull(row)
    }
    else if (k52 === 1) {
      // cost: decimal
      let n53 = at < end ? bytes[at] : 0x80
      if ((n53 & 0x81) === 0) {
        n53 >>= 1
        if (n53 > end - ++at) return -1
      }
      else {
        if ((n53 = readLength(bytes, at, end)) < 0) return n53
        at = scratch[0]
      }
      const from54 = at
      if ((at = decimalEnd(bytes, at, at + n53, 12)) < 0) return at
      storeDecimal(bytes, from54, at, data4, 16 * row)
    }
    const from55 = at
    // started: date
    if (at < end && bytes[at] < 0x80) at++
    else if ((at = skipInt(bytes, at, end)) < 0) return at
    values5[row] = intAt(bytes, from55)
    const from56 = at
    // shift_start: time-millis
    if ((at = timeEnd(bytes, at, end, 86400000)) < 0) return at
    values6[row] = intAt(bytes, from56)
    const from57 = at
    // cycle: time-micros
    if ((at = timeEnd(bytes, at, end, 86400000000)) < 0) return at
    longWordsAt(bytes, from57, words7, 2 * row)
    // serial: fixed
    if (end - at < 6) return -1
    copyBytes(bytes, at, 6, data8, 6 * row)
    at += 6
    // trace: bytes
    let n59 = at < end ? bytes[at] : 0x80
    if ((n59 & 0x81) === 0) {
      n59 >>= 1
      if (n59 > end - ++at) return -1
    }
    else {
      if ((n59 = readLength(bytes, at, end)) < 0) return n59
      at = scratch[0]
    }
    const from58 = at
    const stop60 = at + n59
    at = stop60
    b24.append(row, bytes, from58, at)
    // mode: enum
    let k61 = at < end ? bytes[at] : 1
    if (k61 <= 4 && (k61 & 1) === 0) { k61 >>= 1; at++ }
    else {
      if ((k61 = readIndex(bytes, at, end, 3, 8)) < 0) return k61
      at = scratch[0]
    }
    values9[row] = k61
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
