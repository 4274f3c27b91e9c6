// Event time against two clocks: the device's own watermark, which makes a record late, and the time it was
// received, which makes it implausible. Never against this machine's clock: a replay must decide the same.
//
//   watermark   latest event time of a device's accepted records
//   late        event time < watermark − allowed lateness: kept, marked with its distance to the watermark
//   plausible   receive time − past ≤ event time ≤ receive time + future: else rejected
//
// Times are milliseconds as doubles; microseconds are the fraction.
import { grownFloat64 } from './key-table.ts'

/** How far behind its device's watermark a record may be before it is marked late, where the contract does not say. */
export const LATENESS_MS_DEFAULT = 600_000

/** Whether an event time lies in the contract's window around the receive time. NaN (none) is plausible. */
export function isPlausible(eventMs: number, receiveMs: number, pastMs: number, futureMs: number): boolean {
  return !(eventMs < receiveMs - pastMs || eventMs > receiveMs + futureMs)
}

/** The watermark of each device slot. */
export class Watermarks {
  /** -Infinity: no record with an event time yet. */
  values = new Float64Array(0)

  /** Makes room for slots below `capacity`. */
  reserve(capacity: number): void {
    const before = this.values.length
    if (capacity <= before) return
    this.values = grownFloat64(this.values, capacity)
    this.values.fill(-Infinity, before)
  }

  reset(slot: number): void {
    this.values[slot] = -Infinity
  }

  /** Takes an accepted record's event time; returns by how many whole milliseconds it is late, 0 if it is not. */
  observe(slot: number, eventMs: number, latenessMs: number): number {
    const watermark = this.values[slot]!
    if (eventMs >= watermark) {
      this.values[slot] = eventMs
      return 0
    }
    // NaN, a record without event time, fails both comparisons.
    return eventMs < watermark - latenessMs ? Math.floor(watermark - eventMs) : 0
  }

  /** Renumbers as KeyTable.keepOnly does. */
  keepOnly(keep: Int32Array): void {
    for (let slot = 0; slot < keep.length; slot++) this.values[slot] = this.values[keep[slot]!]!
  }
}
