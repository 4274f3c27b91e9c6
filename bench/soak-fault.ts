// Loaded into the server by soak.test.ts (`node --import`): every thread keeps a MiB every 20 ms, which is a leak, and does
// nothing but turn for 200 ms in each second, which is a stall.
const KEPT_BYTES = 1 << 20
const TURN_MS = 200
const kept: Buffer[] = []

setInterval(() => kept.push(Buffer.alloc(KEPT_BYTES, 1)), 20).unref()
setInterval(() => {
  const until = performance.now() + TURN_MS
  while (performance.now() < until);
}, 1000).unref()
