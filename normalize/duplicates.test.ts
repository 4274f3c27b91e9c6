import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DuplicateWindows, PayloadHash, type WindowLimits } from './duplicates.ts'

interface Seen {
  low: number
  high: number
}

/** The definition, word by word: the last `windowRecords` records of each device, compared one by one. */
class WindowsModel {
  readonly devices: Seen[][] = []
  evictions = 0
  readonly limits: WindowLimits

  constructor(limits: WindowLimits) {
    this.limits = limits
  }

  get windowRecords(): number {
    const most = Math.min(
      this.limits.windowRecordsMax,
      this.limits.windowBytesMax / 8 / Math.max(1, this.devices.length),
    )
    return Math.min(65_536, Math.max(16, 2 ** Math.floor(Math.log2(most))))
  }

  addSlot(): number {
    this.devices.push([])
    for (const window of this.devices) this.cut(window)
    return this.devices.length - 1
  }

  seen(slot: number, low: number, high: number): boolean {
    const window = this.devices[slot]!
    if (window.some((one) => one.low === low && one.high === high)) return true
    window.push({ low, high })
    this.cut(window)
    return false
  }

  cut(window: Seen[]): void {
    while (window.length > this.windowRecords) {
      window.shift()
      if (this.windowRecords < this.limits.windowRecordsMax) this.evictions++
    }
  }
}

const hash = new PayloadHash()

/** A record as its event time and sequence; the hash is taken of both, as a payload's would be. */
function fingerprint(eventTime: number, sequence: number, device: number): Seen {
  const bytes = new Uint8Array(new Float64Array([eventTime, sequence]).buffer)
  hash.hash(bytes, new DataView(bytes.buffer), 0, bytes.length, device)
  return { low: hash.low, high: hash.high }
}

const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('next' as const), device: fc.nat(20) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('resend' as const),
      device: fc.nat(20),
      back: fc.nat(90),
      count: fc.integer({ min: 1, max: 90 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('reset' as const), device: fc.nat(20) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('backfill' as const),
      device: fc.nat(20),
      count: fc.integer({ min: 1, max: 120 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('burst' as const),
      device: fc.nat(3),
      count: fc.integer({ min: 30, max: 200 }),
    }),
  },
)

test('windows equal their definition, whatever is resent, reset or filled in', () => {
  let duplicates = 0
  let evictions = 0
  fc.assert(
    fc.property(
      fc.array(step, { minLength: 60, maxLength: 120, size: 'max' }),
      fc.constantFrom(
        { windowRecordsMax: 64, windowBytesMax: 1 << 20 },
        { windowRecordsMax: 4096, windowBytesMax: 16 * 1024 },
        { windowRecordsMax: 16, windowBytesMax: 1024 },
        // Rings of several lengths, in a pool that they fill.
        { windowRecordsMax: 256, windowBytesMax: 42 * 1024 },
      ),
      (steps, limits) => {
        const windows = new DuplicateWindows(limits)
        windows.reserve(64)
        const model = new WindowsModel(limits)
        const slots = new Map<number, number>()
        const sent: { eventTime: number; sequence: number }[][] = []
        const send = (device: number, eventTime: number, sequence: number): void => {
          let slot = slots.get(device)
          if (slot === undefined) {
            slot = windows.addSlot()
            assert.equal(model.addSlot(), slot)
            slots.set(device, slot)
            sent.push([])
          }
          const { low, high } = fingerprint(eventTime, sequence, device)
          const expected = model.seen(slot, low, high)
          assert.equal(windows.seen(slot, low, high, eventTime, sequence), expected)
          if (expected) duplicates++
          else sent[slot]!.push({ eventTime, sequence })
        }
        let clock = 1000
        const counters = new Map<number, number>()
        const next = (device: number): number => {
          const sequence = counters.get(device) ?? 0
          counters.set(device, sequence + 1)
          return sequence
        }
        for (const one of steps) {
          clock += 7
          switch (one.kind) {
            case 'next':
              send(one.device, clock, next(one.device))
              break
            case 'burst':
              for (let i = 0; i < one.count; i++) send(one.device, clock + i / 1000, next(one.device))
              break
            case 'reset':
              counters.set(one.device, 0)
              break
            case 'backfill':
              for (let i = 0; i < one.count; i++) send(one.device, clock - 5000 + i, -1 - i)
              break
            case 'resend': {
              const records = sent[slots.get(one.device) ?? -1]?.slice(-one.back - 1) ?? []
              for (const record of records.slice(0, one.count))
                send(one.device, record.eventTime, record.sequence)
            }
          }
        }
        assert.equal(windows.evictions, model.evictions)
        evictions += model.evictions
        for (const [slot, window] of model.devices.entries()) {
          const entries = new Int32Array(windows.entryCount(slot) * 2)
          windows.copyEntries(slot, new Uint8Array(entries.buffer), 0)
          assert.deepEqual(
            [...entries],
            window.flatMap((one) => [one.low, one.high]),
          )
        }
      },
    ),
    { numRuns: 200 },
  )
  assert.ok(duplicates > 1000 && evictions > 1000, `${duplicates} duplicates, ${evictions} evictions`)
})

test('a window of 65,536 finds every one of 65,535 resent records, and none of the one before', () => {
  const windows = new DuplicateWindows({ windowRecordsMax: 65_536, windowBytesMax: 1 << 20 })
  windows.reserve(1)
  windows.addSlot()
  const send = (i: number): boolean => {
    const { low, high } = fingerprint(i, i, 0)
    return windows.seen(0, low, high, i, i)
  }
  for (let i = 0; i < 70_000; i++) assert.equal(send(i), false)
  for (let i = 70_000 - 65_535; i < 70_000; i++) assert.equal(send(i), true)
  assert.equal(send(70_000 - 65_537), false)
  assert.equal(windows.evictions, 0)
})

test('a device whose sequence is lower and event time later is never taken for a duplicate', () => {
  const windows = new DuplicateWindows({ windowRecordsMax: 1024, windowBytesMax: 1 << 20 })
  windows.reserve(1)
  windows.addSlot()
  for (let boot = 0; boot < 3; boot++) {
    for (let i = 0; i < 500; i++) {
      const eventTime = boot * 1000 + i
      const { low, high } = fingerprint(eventTime, i, 0)
      assert.equal(windows.seen(0, low, high, eventTime, i), false)
    }
  }
})

test('payload hashes have no collision among 100,000 short payloads that differ in one place', () => {
  const lows = new Set<number>()
  const pairs = new Set<string>()
  const payloads = new Set<string>()
  const bytes = new Uint8Array(43)
  const words = new DataView(bytes.buffer)
  for (let i = 0; i < 100_000; i++) {
    words.setUint32(i % 40, i)
    hash.hash(bytes, words, 0, bytes.length - (i & 3), 7)
    payloads.add(Buffer.from(bytes.subarray(0, bytes.length - (i & 3))).toString('latin1'))
    lows.add(hash.low)
    pairs.add(`${hash.low}/${hash.high}`)
    words.setUint32(i % 40, 0)
  }
  assert.ok(payloads.size > 90_000)
  assert.equal(pairs.size, payloads.size)
  // Birthday bound of one 32-bit lane: about one collision in 100,000.
  assert.ok(lows.size >= payloads.size - 20, `${payloads.size - lows.size} collisions in one lane`)
})
