function walk(bytes, at, end, depth) {
  // event_time: timestamp-millis
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipLong(bytes, at, end)) < 0) return at
  // run: uuid
  let n0 = at < end ? bytes[at] : 0x80
  if ((n0 & 0x81) === 0) {
    n0 >>= 1
    if (n0 > end - ++at) return -1
  }
  else {
    if ((n0 = readLength(bytes, at, end)) < 0) return n0
    at = scratch[0]
  }
  if ((at = uuidEnd(bytes, at, at + n0)) < 0) return at
  // position: union
  let k1 = at < end ? bytes[at] : 1
  if (k1 <= 2 && (k1 & 1) === 0) { k1 >>= 1; at++ }
  else {
    if ((k1 = readIndex(bytes, at, end, 2, 9)) < 0) return k1
    at = scratch[0]
  }
  if (k1 === 1) {
    // position.x: float, position.y: float
    if (end - at < 8) return -1
    at += 8
    // position.label: union
    let k2 = at < end ? bytes[at] : 1
    if (k2 <= 2 && (k2 & 1) === 0) { k2 >>= 1; at++ }
    else {
      if ((k2 = readIndex(bytes, at, end, 2, 9)) < 0) return k2
      at = scratch[0]
    }
    if (k2 === 0) {
      // position.label: string
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
    }
  }
  // readings: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count5 = readBlock(bytes, at, end, 8)
    if (count5 < 0) return count5
    at = scratch[0]
    if (count5 === 0) break
    const stop6 = scratch[1]
    for (let i7 = 0; i7 < count5; i7++) {
      // readings[]: double
      if (end - at < 8) return -1
      at += 8
    }
    if (stop6 >= 0 && at !== stop6) return -11
  }
  // events: array
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count8 = readBlock(bytes, at, end, 1)
    if (count8 < 0) return count8
    at = scratch[0]
    if (count8 === 0) break
    const stop9 = scratch[1]
    for (let i10 = 0; i10 < count8; i10++) {
      // events[]: array
      for (;;) {
        if (at < end && bytes[at] === 0) { at++; break }
        const count11 = readBlock(bytes, at, end, 1)
        if (count11 < 0) return count11
        at = scratch[0]
        if (count11 === 0) break
        const stop12 = scratch[1]
        for (let i13 = 0; i13 < count11; i13++) {
          // events[][]: union
          let k14 = at < end ? bytes[at] : 1
          if (k14 <= 2 && (k14 & 1) === 0) { k14 >>= 1; at++ }
          else {
            if ((k14 = readIndex(bytes, at, end, 2, 9)) < 0) return k14
            at = scratch[0]
          }
          if (k14 === 1) {
            // events[][]: int
            if (at < end && bytes[at] < 0x80) at++
            else if ((at = skipInt(bytes, at, end)) < 0) return at
          }
        }
        if (stop12 >= 0 && at !== stop12) return -11
      }
    }
    if (stop9 >= 0 && at !== stop9) return -11
  }
  // labels: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count15 = readBlock(bytes, at, end, 2)
    if (count15 < 0) return count15
    at = scratch[0]
    if (count15 === 0) break
    const stop16 = scratch[1]
    for (let i17 = 0; i17 < count15; i17++) {
      // labels key: string
      let n18 = at < end ? bytes[at] : 0x80
      if ((n18 & 0x81) === 0) {
        n18 >>= 1
        if (n18 > end - ++at) return -1
      }
      else {
        if ((n18 = readLength(bytes, at, end)) < 0) return n18
        at = scratch[0]
      }
      const stop19 = at + n18
      if ((at = textEnd(bytes, at, stop19)) < 0) return at
      // labels{}: string
      let n20 = at < end ? bytes[at] : 0x80
      if ((n20 & 0x81) === 0) {
        n20 >>= 1
        if (n20 > end - ++at) return -1
      }
      else {
        if ((n20 = readLength(bytes, at, end)) < 0) return n20
        at = scratch[0]
      }
      const stop21 = at + n20
      if ((at = textEnd(bytes, at, stop21)) < 0) return at
    }
    if (stop16 >= 0 && at !== stop16) return -11
  }
  // axes: map
  for (;;) {
    if (at < end && bytes[at] === 0) { at++; break }
    const count22 = readBlock(bytes, at, end, 10)
    if (count22 < 0) return count22
    at = scratch[0]
    if (count22 === 0) break
    const stop23 = scratch[1]
    for (let i24 = 0; i24 < count22; i24++) {
      // axes key: string
      let n25 = at < end ? bytes[at] : 0x80
      if ((n25 & 0x81) === 0) {
        n25 >>= 1
        if (n25 > end - ++at) return -1
      }
      else {
        if ((n25 = readLength(bytes, at, end)) < 0) return n25
        at = scratch[0]
      }
      const stop26 = at + n25
      if ((at = textEnd(bytes, at, stop26)) < 0) return at
      // axes{}.angle: double
      if (end - at < 8) return -1
      at += 8
      // axes{}.homed: boolean
      if (at >= end) return -1
      if (bytes[at++] > 1) return -5
    }
    if (stop23 >= 0 && at !== stop23) return -11
  }
  // cost: union
  let k27 = at < end ? bytes[at] : 1
  if (k27 <= 2 && (k27 & 1) === 0) { k27 >>= 1; at++ }
  else {
    if ((k27 = readIndex(bytes, at, end, 2, 9)) < 0) return k27
    at = scratch[0]
  }
  if (k27 === 1) {
    // cost: bytes
    let n28 = at < end ? bytes[at] : 0x80
    if ((n28 & 0x81) === 0) {
      n28 >>= 1
      if (n28 > end - ++at) return -1
    }
    else {
      if ((n28 = readLength(bytes, at, end)) < 0) return n28
      at = scratch[0]
    }
    if ((at = decimalEnd(bytes, at, at + n28, 12)) < 0) return at
  }
  // started: date
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipInt(bytes, at, end)) < 0) return at
  // shift_start: time-millis
  if ((at = timeEnd(bytes, at, end, 86400000)) < 0) return at
  // cycle: time-micros
  if ((at = timeEnd(bytes, at, end, 86400000000)) < 0) return at
  // serial: fixed
  if (end - at < 6) return -1
  at += 6
  // trace: bytes
  let n29 = at < end ? bytes[at] : 0x80
  if ((n29 & 0x81) === 0) {
    n29 >>= 1
    if (n29 > end - ++at) return -1
  }
  else {
    if ((n29 = readLength(bytes, at, end)) < 0) return n29
    at = scratch[0]
  }
  at += n29
  // mode: enum
  let k30 = at < end ? bytes[at] : 1
  if (k30 <= 4 && (k30 & 1) === 0) { k30 >>= 1; at++ }
  else {
    if ((k30 = readIndex(bytes, at, end, 3, 8)) < 0) return k30
    at = scratch[0]
  }
  return at
}
function validate(bytes, start, end) {
  const at = walk(bytes, start, end, 0)
  return at === end ? 0 : at < 0 ? -at : 13
}
