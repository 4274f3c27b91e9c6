// The name that a misspelt one is nearest to (Levenshtein distance), for errors that say so.

export function nearest(wrong: string, known: readonly string[]): string {
  return [...known].sort((a, b) => distance(wrong, a) - distance(wrong, b))[0]!
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    row = next
  }
  return row[b.length]!
}
