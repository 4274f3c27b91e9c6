function encode(record, view, start, end, into, intoView, at) {
  const depth = 0
  at = copySpan(view, start, places[0], intoView, at)
  // temperature: double
  const x0 = record.temperature
  const number1 = toNumber(x0)
  if (number1 === undefined) return -1
  at = writeDouble(into, at, number1)
  return copySpan(view, places[1], end, intoView, at)
}
