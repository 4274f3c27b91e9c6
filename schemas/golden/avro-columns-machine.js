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
function appendRow(bytes, view, at, end, row) {
  const depth = 0
  const from0 = at
  // event_time: timestamp-millis
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  const v1 = bytes[from0]
  if (v1 < 0x80) {
    b0.words[2 * row] = (v1 >>> 1) ^ -(v1 & 1)
    b0.words[2 * row + 1] = -(v1 & 1)
  }
  else longWordsAt(bytes, from0, b0.words, 2 * row)
  // run: uuid
  let n2 = at < end ? bytes[at] : 0x80
  if ((n2 & 0x81) === 0) {
    n2 >>= 1
    if (n2 > end - ++at) return -1
  }
  else {
    if ((n2 = readLength(bytes, at, end)) < 0) return n2
    at = scratch[0]
  }
  if ((at = uuidEnd(bytes, at, at + n2, b1.data, 16 * row)) < 0) return at
  // position: union
  let k3 = at < end ? bytes[at] : 1
  if (k3 <= 2 && (k3 & 1) === 0) { k3 >>= 1; at++ }
  else {
    if ((k3 = readIndex(bytes, at, end, 2, 9)) < 0) return k3
    at = scratch[0]
  }
  if (k3 === 0) {
    b2.appendNull(row)
  }
  else if (k3 === 1) {
    // position.x: float
    if (end - at < 4) return -1
    b3.values[row] = view.getFloat32(at, true)
    at += 4
    // position.y: float
    if (end - at < 4) return -1
    b4.values[row] = view.getFloat32(at, true)
    at += 4
    // position.label: union
    let k4 = at < end ? bytes[at] : 1
    if (k4 <= 2 && (k4 & 1) === 0) { k4 >>= 1; at++ }
    else {
      if ((k4 = readIndex(bytes, at, end, 2, 9)) < 0) return k4
      at = scratch[0]
    }
    if (k4 === 0) {
      // position.label: string
      let n6 = at < end ? bytes[at] : 0x80
      if ((n6 & 0x81) === 0) {
        n6 >>= 1
        if (n6 > end - ++at) return -1
      }
      else {
        if ((n6 = readLength(bytes, at, end)) < 0) return n6
        at = scratch[0]
      }
      const from5 = at
      const stop7 = at + n6
      while (at < stop7 && bytes[at] < 0x80) at++
      if (at < stop7 && (at = utf8End(bytes, at, stop7)) < 0) return at
      b5.append(row, bytes, from5, at)
    }
    else if (k4 === 1) {
      b5.appendNull(row)
    }
  }
  const elements8 = b6.elements
  // readings: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count10 = readBlock(bytes, at, end, 8)
    if (count10 < 0) return count10
    at = scratch[0]
    if (count10 === 0) break
    const stop11 = scratch[1]
    for (let i12 = 0; i12 < count10; i12++) {
      const row9 = elements8.count
      if (row9 === elements8.capacity) elements8.grow()
      // readings[]: double
      if (end - at < 8) return -1
      b7.values[row9] = view.getFloat64(at, true)
      at += 8
      elements8.count = row9 + 1
    }
    if (stop11 >= 0 && at !== stop11) return -11
  }
  b6.offsets[row + 1] = elements8.count
  const elements13 = b8.elements
  // events: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count15 = readBlock(bytes, at, end, 1)
    if (count15 < 0) return count15
    at = scratch[0]
    if (count15 === 0) break
    const stop16 = scratch[1]
    for (let i17 = 0; i17 < count15; i17++) {
      const row14 = elements13.count
      if (row14 === elements13.capacity) elements13.grow()
      const elements18 = b9.elements
      // events[]: array
      for (;;) {
        if (at < end && bytes[at] === 0) { at++; break }
        const count20 = readBlock(bytes, at, end, 1)
        if (count20 < 0) return count20
        at = scratch[0]
        if (count20 === 0) break
        const stop21 = scratch[1]
        for (let i22 = 0; i22 < count20; i22++) {
          const row19 = elements18.count
          if (row19 === elements18.capacity) elements18.grow()
          // events[][]: union
          let k23 = at < end ? bytes[at] : 1
          if (k23 <= 2 && (k23 & 1) === 0) { k23 >>= 1; at++ }
          else {
            if ((k23 = readIndex(bytes, at, end, 2, 9)) < 0) return k23
            at = scratch[0]
          }
          if (k23 === 0) {
            b10.appendNull(row19)
          }
          else if (k23 === 1) {
            const from24 = at
            // events[][]: int
            if (at < end && bytes[at] < 0x80) at++
            else if ((at = skipInt(bytes, at, end)) < 0) return at
            b10.values[row19] = intAt(bytes, from24)
          }
          elements18.count = row19 + 1
        }
        if (stop21 >= 0 && at !== stop21) return -11
      }
      b9.offsets[row14 + 1] = elements18.count
      elements13.count = row14 + 1
    }
    if (stop16 >= 0 && at !== stop16) return -11
  }
  b8.offsets[row + 1] = elements13.count
  const elements25 = b11.elements
  // labels: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count27 = readBlock(bytes, at, end, 2)
    if (count27 < 0) return count27
    at = scratch[0]
    if (count27 === 0) break
    const stop28 = scratch[1]
    for (let i29 = 0; i29 < count27; i29++) {
      const row26 = elements25.count
      if (row26 === elements25.capacity) elements25.grow()
      // labels key: string
      let n31 = at < end ? bytes[at] : 0x80
      if ((n31 & 0x81) === 0) {
        n31 >>= 1
        if (n31 > end - ++at) return -1
      }
      else {
        if ((n31 = readLength(bytes, at, end)) < 0) return n31
        at = scratch[0]
      }
      const from30 = at
      const stop32 = at + n31
      while (at < stop32 && bytes[at] < 0x80) at++
      if (at < stop32 && (at = utf8End(bytes, at, stop32)) < 0) return at
      b12.append(row26, bytes, from30, at)
      // labels{}: string
      let n34 = at < end ? bytes[at] : 0x80
      if ((n34 & 0x81) === 0) {
        n34 >>= 1
        if (n34 > end - ++at) return -1
      }
      else {
        if ((n34 = readLength(bytes, at, end)) < 0) return n34
        at = scratch[0]
      }
      const from33 = at
      const stop35 = at + n34
      while (at < stop35 && bytes[at] < 0x80) at++
      if (at < stop35 && (at = utf8End(bytes, at, stop35)) < 0) return at
      b13.append(row26, bytes, from33, at)
      elements25.count = row26 + 1
    }
    if (stop28 >= 0 && at !== stop28) return -11
  }
  b11.offsets[row + 1] = elements25.count
  const elements36 = b14.elements
  // axes: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count38 = readBlock(bytes, at, end, 10)
    if (count38 < 0) return count38
    at = scratch[0]
    if (count38 === 0) break
    const stop39 = scratch[1]
    for (let i40 = 0; i40 < count38; i40++) {
      const row37 = elements36.count
      if (row37 === elements36.capacity) elements36.grow()
      // axes key: string
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
      while (at < stop43 && bytes[at] < 0x80) at++
      if (at < stop43 && (at = utf8End(bytes, at, stop43)) < 0) return at
      b15.append(row37, bytes, from41, at)
      // axes{}.angle: double
      if (end - at < 8) return -1
      b16.values[row37] = view.getFloat64(at, true)
      at += 8
      // axes{}.homed: boolean
      if (at >= end) return -1
      if (bytes[at++] > 1) return -5
      b17.values[row37] = bytes[at - 1]
      elements36.count = row37 + 1
    }
    if (stop39 >= 0 && at !== stop39) return -11
  }
  b14.offsets[row + 1] = elements36.count
  // cost: union
  let k44 = at < end ? bytes[at] : 1
  if (k44 <= 2 && (k44 & 1) === 0) { k44 >>= 1; at++ }
  else {
    if ((k44 = readIndex(bytes, at, end, 2, 9)) < 0) return k44
    at = scratch[0]
  }
  if (k44 === 0) {
    b18.appendNull(row)
  }
  else if (k44 === 1) {
    // cost: decimal
    let n45 = at < end ? bytes[at] : 0x80
    if ((n45 & 0x81) === 0) {
      n45 >>= 1
      if (n45 > end - ++at) return -1
    }
    else {
      if ((n45 = readLength(bytes, at, end)) < 0) return n45
      at = scratch[0]
    }
    const from46 = at
    if ((at = decimalEnd(bytes, at, at + n45, 12)) < 0) return at
    storeDecimal(bytes, from46, at, b18.data, 16 * row)
  }
  const from47 = at
  // started: date
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipInt(bytes, at, end)) < 0) return at
  b19.values[row] = intAt(bytes, from47)
  const from48 = at
  // shift_start: time-millis
  if ((at = timeEnd(bytes, at, end, 86400000)) < 0) return at
  b20.values[row] = intAt(bytes, from48)
  const from49 = at
  // cycle: time-micros
  if ((at = timeEnd(bytes, at, end, 86400000000)) < 0) return at
  const v50 = bytes[from49]
  if (v50 < 0x80) {
    b21.words[2 * row] = (v50 >>> 1) ^ -(v50 & 1)
    b21.words[2 * row + 1] = -(v50 & 1)
  }
  else longWordsAt(bytes, from49, b21.words, 2 * row)
  // serial: fixed
  if (end - at < 6) return -1
  copyBytes(bytes, at, 6, b22.data, 6 * row)
  at += 6
  // trace: bytes
  let n52 = at < end ? bytes[at] : 0x80
  if ((n52 & 0x81) === 0) {
    n52 >>= 1
    if (n52 > end - ++at) return -1
  }
  else {
    if ((n52 = readLength(bytes, at, end)) < 0) return n52
    at = scratch[0]
  }
  const from51 = at
  const stop53 = at + n52
  at = stop53
  b23.append(row, bytes, from51, at)
  // mode: enum
  let k54 = at < end ? bytes[at] : 1
  if (k54 <= 4 && (k54 & 1) === 0) { k54 >>= 1; at++ }
  else {
    if ((k54 = readIndex(bytes, at, end, 3, 8)) < 0) return k54
    at = scratch[0]
  }
  b24.values[row] = k54
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
