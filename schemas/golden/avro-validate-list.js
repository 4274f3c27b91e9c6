function walk(bytes, at, end, depth) {
  if ((at = check_List_0(bytes, at, end, depth + 1)) < 0) return at
  return at
}
function check_List_0(bytes, at, end, depth) {
  if (depth > 64) return -12
  // List.head: int
  if (at < end && bytes[at] < 0x80) at++
  else if ((at = skipInt(bytes, at, end)) < 0) return at
  // List.tail: union
  let k1 = at < end ? bytes[at] : 1
  if (k1 <= 2 && (k1 & 1) === 0) { k1 >>= 1; at++ }
  else {
    if ((k1 = readIndex(bytes, at, end, 2, 9)) < 0) return k1
    at = scratch[0]
  }
  if (k1 === 1) {
    if ((at = check_List_0(bytes, at, end, depth + 1)) < 0) return at
  }
  return at
}
function validate(bytes, start, end) {
  const at = walk(bytes, start, end, 0)
  return at === end ? 0 : at < 0 ? -at : 13
}
