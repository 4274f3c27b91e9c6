import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { AckRing, type DetailWriter } from './ack-ring.ts'
import { RUN_ENTRY, RUN_PACKET_ID } from './mqtt-parser.ts'

/** Detail as one byte of length and ASCII after the packet id: enough to see that it came out whole. */
const writeDetail: DetailWriter = (into, at, packetId, reason, detail) => {
  if (at + 5 + detail.length > into.length) return -1
  into.set([0x40, 3 + detail.length, packetId >>> 8, packetId & 0xff, reason], at)
  into.set(new TextEncoder().encode(detail), at + 5)
  return at + 5 + detail.length
}

interface Acknowledgement {
  id: number
  reason: number
  detail: string
}

function parse(bytes: Uint8Array): Acknowledgement[] {
  const found: Acknowledgement[] = []
  for (let at = 0; at < bytes.length; at += 2 + bytes[at + 1]!) {
    assert.equal(bytes[at], 0x40)
    const end = at + 2 + bytes[at + 1]!
    const detail = new TextDecoder().decode(bytes.subarray(Math.min(at + 5, end), end))
    found.push({
      id: bytes[at + 2]! * 256 + bytes[at + 3]!,
      reason: end > at + 4 ? bytes[at + 4]! : 0,
      detail,
    })
  }
  return found
}

test('acknowledgements leave in order of receipt, each once, none before its commit, in any mix of pushes and drains', () => {
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('push' as const),
      reason: fc.constantFrom(0, 0, 0, 0x87, 0x99),
      wait: fc.nat(3),
    }),
    fc.record({ kind: fc.constant('run' as const), count: fc.nat(70), skipped: fc.nat(3), wait: fc.nat(3) }),
    fc.record({
      kind: fc.constant('commit' as const),
      room: fc.integer({ min: 16, max: 300 }),
      heldBack: fc.nat(3),
    }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const ring = new AckRing(200)
      const expected: (Acknowledgement & { sequence: number })[] = []
      let sequence = 0
      let id = 0
      for (const one of steps) {
        if (one.kind === 'push') {
          sequence += one.wait
          id = (id % 65_535) + 1
          const entry = { id, reason: one.reason, detail: one.reason === 0x99 ? `field ${id}` : '', sequence }
          const taken =
            one.reason === 0x99
              ? ring.pushDetailed(id, one.reason, sequence, entry.detail)
              : ring.push(id, one.reason, sequence)
          assert.equal(taken, expected.length < 200)
          if (taken) expected.push(entry)
        } else if (one.kind === 'run') {
          sequence += one.wait
          assert.equal(ring.room, 200 - expected.length)
          const count = Math.min(one.count, ring.room)
          const run = new Int32Array((one.skipped + count) * RUN_ENTRY)
          for (let i = one.skipped; i < one.skipped + count; i++) {
            id = (id % 65_535) + 1
            run[i * RUN_ENTRY + RUN_PACKET_ID] = id
            expected.push({ id, reason: 0, detail: '', sequence })
          }
          ring.pushRun(run, one.skipped, one.skipped + count, sequence)
        } else {
          const durable = sequence - 1
          const into = new Uint8Array(one.room)
          const out = parse(into.subarray(0, ring.drain(durable, one.heldBack, into, 0, writeDetail)))
          for (const got of out) {
            const { sequence: due, ...want } = expected.shift()!
            assert.deepEqual(got, want)
            assert.ok(due <= durable)
          }
          assert.equal(ring.count, expected.length)
        }
      }
      const into = new Uint8Array(200 * 20)
      const rest = parse(into.subarray(0, ring.drain(sequence, 0, into, 0, writeDetail)))
      assert.deepEqual(
        rest,
        expected.map(({ sequence: _, ...want }) => want),
      )
    }),
    { numRuns: 300 },
  )
})

test('the newest entries are held back from a client above its rate', () => {
  const ring = new AckRing(10)
  for (let id = 1; id <= 5; id++) ring.push(id, 0, 1)
  const into = new Uint8Array(64)
  assert.deepEqual(
    parse(into.subarray(0, ring.drain(1, 2, into, 0, writeDetail))).map((ack) => ack.id),
    [1, 2, 3],
  )
  assert.equal(ring.lastSequence, 1)
  assert.equal(ring.count, 2)
})

test('memory grows with what is in flight and goes back when nothing is', () => {
  const ring = new AckRing(1024)
  assert.equal(ring.capacity, 4)
  for (let id = 1; id <= 1000; id++) ring.push(id, 0, 1)
  assert.equal(ring.capacity, 1024)
  ring.shrink()
  assert.equal(ring.capacity, 1024)
  ring.drain(1, 0, new Uint8Array(8192), 0, writeDetail)
  ring.shrink()
  assert.equal(ring.capacity, 4)
})
