/** Each once: an answer is as large as what there is to tell, however often it was asked for in one request. */
export function distinct<T>(asked: readonly T[], nameOf: (one: T) => string): T[] {
  return [...new Map(asked.map((one) => [nameOf(one), one])).values()]
}
