// Loaded into the server before anything else (`node --import`): a disk whose fdatasync stalls now and then. In each
// thread that syncs, the first fdatasync of every BENCH_STALL_PERIOD_MS takes BENCH_STALL_MS longer.
import fs from 'node:fs'

const stallMs = Number(process.env['BENCH_STALL_MS'])
const periodMs = Number(process.env['BENCH_STALL_PERIOD_MS'])
const { fdatasyncSync } = fs
const asleep = new Int32Array(new SharedArrayBuffer(4))
let nextAt = performance.now() + periodMs

fs.fdatasyncSync = (fd: number): void => {
  if (performance.now() >= nextAt) {
    Atomics.wait(asleep, 0, 0, stallMs)
    nextAt = performance.now() + periodMs
  }
  fdatasyncSync(fd)
}
