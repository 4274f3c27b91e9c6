// How to copy a few dozen bytes from the receive buffer into shared memory: the choice that `append` makes.
// Run: node ingest/batch-accumulator.bench.ts
const source = new Uint8Array(1 << 16)
const target = new Uint8Array(new SharedArrayBuffer(1 << 20))
const from = new DataView(source.buffer)
const to = new DataView(target.buffer)

const ways: Record<string, (start: number, end: number, at: number) => void> = {
  'byte loop': (start, end, at) => {
    for (let i = start, p = at; i < end; i++) target[p++] = source[i]!
  },
  'set(subarray)': (start, end, at) => target.set(source.subarray(start, end), at),
  '32-bit words': (start, end, at) => {
    const last = end - start - 4
    for (let i = 0; i < last; i += 4) to.setInt32(at + i, from.getInt32(start + i, true), true)
    to.setInt32(at + last, from.getInt32(start + last, true), true)
  },
  '64-bit integers': (start, end, at) => {
    // No BigInt is made where optimised code passes one on to such a store.
    const last = end - start - 8
    for (let i = 0; i < last; i += 8) to.setBigInt64(at + i, from.getBigInt64(start + i, true), true)
    to.setBigInt64(at + last, from.getBigInt64(start + last, true), true)
  },
  '64-bit doubles': (start, end, at) => {
    // Not usable: a NaN may change its bits on the way. Here to show what it would bring.
    const last = end - start - 8
    for (let i = 0; i < last; i += 8) to.setFloat64(at + i, from.getFloat64(start + i, true), true)
    to.setFloat64(at + last, from.getFloat64(start + last, true), true)
  },
}

const ROUNDS = 400_000
for (const size of [16, 45, 64, 128, 256, 512, 1024]) {
  const figures = Object.entries(ways).map(([name, copy]) => {
    let best = Infinity
    for (let run = 0; run < 6; run++) {
      const started = performance.now()
      for (let i = 0, at = 3, p = 1; i < ROUNDS; i++) {
        copy(at, at + size, p)
        at = (at + size + 7) % (source.length - size)
        p = (p + size + 12) % (target.length - size)
      }
      best = Math.min(best, performance.now() - started)
    }
    return `${name} ${((best * 1e6) / ROUNDS).toFixed(1)}`
  })
  process.stdout.write(`${size} bytes, ns: ${figures.join(', ')}\n`)
}
