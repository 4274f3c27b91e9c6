let result
function walk(bytes, at, end, depth) {
  const from1 = at
  // event_time: timestamp-millis
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  const value2 = longValue(bytes, from1)
  // run: uuid
  let n5 = at < end ? bytes[at] : 0x80
  if ((n5 & 0x81) === 0) {
    n5 >>= 1
    if (n5 > end - ++at) return -1
  }
  else {
    if ((n5 = readLength(bytes, at, end)) < 0) return n5
    at = scratch[0]
  }
  const from4 = at
  if ((at = uuidEnd(bytes, at, at + n5)) < 0) return at
  const value6 = textAt(bytes, from4, at)
  // position: union
  let union8 = null
  let k9 = at < end ? bytes[at] : 1
  if (k9 <= 2 && (k9 & 1) === 0) { k9 >>= 1; at++ }
  else {
    if ((k9 = readIndex(bytes, at, end, 2, 9)) < 0) return k9
    at = scratch[0]
  }
  if (k9 === 1) {
    // position.x: float
    if (end - at < 4) return -1
    at += 4
    const value12 = floatAt(bytes, at - 4)
    // position.y: float
    if (end - at < 4) return -1
    at += 4
    const value14 = floatAt(bytes, at - 4)
    // position.label: union
    let union16 = null
    let k17 = at < end ? bytes[at] : 1
    if (k17 <= 2 && (k17 & 1) === 0) { k17 >>= 1; at++ }
    else {
      if ((k17 = readIndex(bytes, at, end, 2, 9)) < 0) return k17
      at = scratch[0]
    }
    if (k17 === 0) {
      // position.label: string
      let n20 = at < end ? bytes[at] : 0x80
      if ((n20 & 0x81) === 0) {
        n20 >>= 1
        if (n20 > end - ++at) return -1
      }
      else {
        if ((n20 = readLength(bytes, at, end)) < 0) return n20
        at = scratch[0]
      }
      const from19 = at
      if ((at = utf8End(bytes, at, at + n20)) < 0) return at
      const value21 = textAt(bytes, from19, at)
      union16 = value21
    }
    const value22 = { x: value12, y: value14, label: union16 }
    union8 = value22
  }
  const list24 = []
  // readings: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count25 = readBlock(bytes, at, end, 8)
    if (count25 < 0) return count25
    at = scratch[0]
    if (count25 === 0) break
    const stop26 = scratch[1]
    for (let i27 = 0; i27 < count25; i27++) {
      // readings[]: double
      if (end - at < 8) return -1
      at += 8
      const value29 = doubleAt(bytes, at - 8)
      list24.push(value29)
    }
    if (stop26 >= 0 && at !== stop26) return -11
  }
  const list31 = []
  // events: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count32 = readBlock(bytes, at, end, 1)
    if (count32 < 0) return count32
    at = scratch[0]
    if (count32 === 0) break
    const stop33 = scratch[1]
    for (let i34 = 0; i34 < count32; i34++) {
      const list36 = []
      // events[]: array
      for (;;) {
        if (at < end && bytes[at] === 0) { at++; break }
        const count37 = readBlock(bytes, at, end, 1)
        if (count37 < 0) return count37
        at = scratch[0]
        if (count37 === 0) break
        const stop38 = scratch[1]
        for (let i39 = 0; i39 < count37; i39++) {
          // events[][]: union
          let union41 = null
          let k42 = at < end ? bytes[at] : 1
          if (k42 <= 2 && (k42 & 1) === 0) { k42 >>= 1; at++ }
          else {
            if ((k42 = readIndex(bytes, at, end, 2, 9)) < 0) return k42
            at = scratch[0]
          }
          if (k42 === 1) {
            const from43 = at
            // events[][]: int
            if (at < end && bytes[at] < 0x80) at++
            else if ((at = skipInt(bytes, at, end)) < 0) return at
            const value44 = intAt(bytes, from43)
            union41 = value44
          }
          list36.push(union41)
        }
        if (stop38 >= 0 && at !== stop38) return -11
      }
      list31.push(list36)
    }
    if (stop33 >= 0 && at !== stop33) return -11
  }
  const map46 = {}
  // labels: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count47 = readBlock(bytes, at, end, 2)
    if (count47 < 0) return count47
    at = scratch[0]
    if (count47 === 0) break
    const stop48 = scratch[1]
    for (let i49 = 0; i49 < count47; i49++) {
      // labels key: string
      let n51 = at < end ? bytes[at] : 0x80
      if ((n51 & 0x81) === 0) {
        n51 >>= 1
        if (n51 > end - ++at) return -1
      }
      else {
        if ((n51 = readLength(bytes, at, end)) < 0) return n51
        at = scratch[0]
      }
      const from50 = at
      if ((at = utf8End(bytes, at, at + n51)) < 0) return at
      const value52 = textAt(bytes, from50, at)
      // labels{}: string
      let n55 = at < end ? bytes[at] : 0x80
      if ((n55 & 0x81) === 0) {
        n55 >>= 1
        if (n55 > end - ++at) return -1
      }
      else {
        if ((n55 = readLength(bytes, at, end)) < 0) return n55
        at = scratch[0]
      }
      const from54 = at
      if ((at = utf8End(bytes, at, at + n55)) < 0) return at
      const value56 = textAt(bytes, from54, at)
      if (value52 !== '__proto__') map46[value52] = value56
      else Object.defineProperty(map46, value52, { value: value56, enumerable: true, configurable: true, writable: true })
    }
    if (stop48 >= 0 && at !== stop48) return -11
  }
  const map58 = {}
  // axes: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count59 = readBlock(bytes, at, end, 10)
    if (count59 < 0) return count59
    at = scratch[0]
    if (count59 === 0) break
    const stop60 = scratch[1]
    for (let i61 = 0; i61 < count59; i61++) {
      // axes key: string
      let n63 = at < end ? bytes[at] : 0x80
      if ((n63 & 0x81) === 0) {
        n63 >>= 1
        if (n63 > end - ++at) return -1
      }
      else {
        if ((n63 = readLength(bytes, at, end)) < 0) return n63
        at = scratch[0]
      }
      const from62 = at
      if ((at = utf8End(bytes, at, at + n63)) < 0) return at
      const value64 = textAt(bytes, from62, at)
      // axes{}.angle: double
      if (end - at < 8) return -1
      at += 8
      const value67 = doubleAt(bytes, at - 8)
      // axes{}.homed: boolean
      if (at >= end) return -1
      if (bytes[at++] > 1) return -5
      const value69 = bytes[at - 1] === 1
      const value70 = { angle: value67, homed: value69 }
      if (value64 !== '__proto__') map58[value64] = value70
      else Object.defineProperty(map58, value64, { value: value70, enumerable: true, configurable: true, writable: true })
    }
    if (stop60 >= 0 && at !== stop60) return -11
  }
  // cost: union
  let union72 = null
  let k73 = at < end ? bytes[at] : 1
  if (k73 <= 2 && (k73 & 1) === 0) { k73 >>= 1; at++ }
  else {
    if ((k73 = readIndex(bytes, at, end, 2, 9)) < 0) return k73
    at = scratch[0]
  }
  if (k73 === 1) {
    // cost: bytes
    let n75 = at < end ? bytes[at] : 0x80
    if ((n75 & 0x81) === 0) {
      n75 >>= 1
      if (n75 > end - ++at) return -1
    }
    else {
      if ((n75 = readLength(bytes, at, end)) < 0) return n75
      at = scratch[0]
    }
    const from74 = at
    if ((at = decimalEnd(bytes, at, at + n75, 12)) < 0) return at
    const value76 = decimalText(bytes, from74, at, 3)
    union72 = value76
  }
  const from77 = at
  // started: date
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipInt(bytes, at, end)) < 0) return at
  const value78 = intAt(bytes, from77)
  const from79 = at
  // shift_start: time-millis
  if ((at = timeEnd(bytes, at, end, 86400000)) < 0) return at
  const value80 = intAt(bytes, from79)
  const from81 = at
  // cycle: time-micros
  if ((at = timeEnd(bytes, at, end, 86400000000)) < 0) return at
  const value82 = longValue(bytes, from81)
  const from83 = at
  // serial: fixed
  if (end - at < 6) return -1
  at += 6
  const value84 = bytesAt(bytes, from83, at)
  // trace: bytes
  let n86 = at < end ? bytes[at] : 0x80
  if ((n86 & 0x81) === 0) {
    n86 >>= 1
    if (n86 > end - ++at) return -1
  }
  else {
    if ((n86 = readLength(bytes, at, end)) < 0) return n86
    at = scratch[0]
  }
  const from85 = at
  at += n86
  const value87 = bytesAt(bytes, from85, at)
  // mode: enum
  let k89 = at < end ? bytes[at] : 1
  if (k89 <= 4 && (k89 & 1) === 0) { k89 >>= 1; at++ }
  else {
    if ((k89 = readIndex(bytes, at, end, 3, 8)) < 0) return k89
    at = scratch[0]
  }
  const value90 = { event_time: value2, run: value6, position: union8, readings: list24, events: list31, labels: map46, axes: map58, cost: union72, started: value78, shift_start: value80, cycle: value82, serial: value84, trace: value87, mode: symbols[0][k89] }
  result = value90
  return at
}
function decode(bytes, start, end) {
  let at = walk(bytes, start, end, 0)
  if (at >= 0 && at !== end) at = -13
  state.at = at
  const value = result
  result = undefined
  return at < 0 ? undefined : value
}
