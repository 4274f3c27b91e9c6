const c0 = constants[0]
const c1 = constants[1]
const c2 = constants[2]
const c3 = constants[3]
const c4 = constants[4]
function encode(value, into, at) {
  const depth = 0
  if (!isObject(value)) return -1
  let known0 = 0
  // event_time: long
  const x1 = value.event_time
  if (x1 !== undefined) {
    known0++
    if (Number.isSafeInteger(x1)) at = writeZigzagLong(into, at, x1)
    else if ((at = writeOtherLong(into, at, x1, "timestamp-micros")) < 0) return -1
  }
  else return -1
  // seq: long
  const x2 = value.seq
  if (x2 !== undefined) {
    known0++
    if (Number.isSafeInteger(x2)) at = writeZigzagLong(into, at, x2)
    else if ((at = writeOtherLong(into, at, x2, undefined)) < 0) return -1
  }
  else return -1
  // temperature: double
  const x3 = value.temperature
  if (x3 !== undefined) {
    known0++
    const number4 = toNumber(x3)
    if (number4 === undefined) return -1
    at = writeDouble(into, at, number4)
  }
  else return -1
  // humidity: double
  const x5 = value.humidity
  if (x5 !== undefined) {
    known0++
    const number6 = toNumber(x5)
    if (number6 === undefined) return -1
    at = writeDouble(into, at, number6)
  }
  else return -1
  // pressure: union
  const x7 = value.pressure
  if (x7 !== undefined) {
    known0++
    if (x7 === null) into[at++] = 0
    else if (typeof x7 !== 'object') {
      into[at++] = 2
      const number8 = toNumber(x7)
      if (number8 === undefined) return -1
      at = writeDouble(into, at, number8)
    }
    else {
      const index9 = choose(c0, x7)
      if (index9 < 0) return -1
      const inner10 = chosen.inner
      at = writeUnsigned(into, at, index9 * 2)
      if (index9 === 0) {
        if (inner10 !== null) return -1
      }
      else if (index9 === 1) {
        const number11 = toNumber(inner10)
        if (number11 === undefined) return -1
        at = writeDouble(into, at, number11)
      }
    }
  }
  else at = writeRaw(into, at, c1)
  // air_quality: union
  const x12 = value.air_quality
  if (x12 !== undefined) {
    known0++
    if (x12 === null) into[at++] = 0
    else if (typeof x12 !== 'object') {
      into[at++] = 2
      const number13 = toNumber(x12)
      if (number13 === undefined) return -1
      at = writeDouble(into, at, number13)
    }
    else {
      const index14 = choose(c2, x12)
      if (index14 < 0) return -1
      const inner15 = chosen.inner
      at = writeUnsigned(into, at, index14 * 2)
      if (index14 === 0) {
        if (inner15 !== null) return -1
      }
      else if (index14 === 1) {
        const number16 = toNumber(inner15)
        if (number16 === undefined) return -1
        at = writeDouble(into, at, number16)
      }
    }
  }
  else at = writeRaw(into, at, c3)
  // occupancy: enum
  const x17 = value.occupancy
  if (x17 !== undefined) {
    known0++
    const index18 = c4.get(x17)
    if (index18 === undefined) return -1
    at = writeUnsigned(into, at, index18)
  }
  else return -1
  // firmware: string
  const x19 = value.firmware
  if (x19 !== undefined) {
    known0++
    if (typeof x19 !== 'string') return -1
    if ((at = writeText(into, at, x19)) < 0) return -1
  }
  else return -1
  // battery: double
  const x20 = value.battery
  if (x20 !== undefined) {
    known0++
    const number21 = toNumber(x20)
    if (number21 === undefined) return -1
    at = writeDouble(into, at, number21)
  }
  else return -1
  // A field that the schema does not have.
  for (const key22 in value) known0--
  if (known0 !== 0) return -1
  return at
}
