import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import { CHUNK_BYTES, PartitionState, STATE_LIMITS_DEFAULT, type StateLimits } from './state.ts'

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength)

const limits: StateLimits = { windowRecordsMax: 64, windowBytesMax: 64 * 1024, devicesMax: 64 }

/** Deals with record `offset` of device `name`; the hash is a function of both. */
function touch(state: PartitionState, name: string, offset: number): boolean {
  const key = Buffer.from(name)
  const slot = state.slotOf(key, viewOf(key), 0, key.length)
  state.lastOffsets[slot] = offset
  state.watermarks.observe(slot, offset * 10, 0)
  return state.windows.seen(slot, Math.imul(offset, 0x9e3779b1), offset, offset * 10, offset)
}

function restored(from: PartitionState, into: StateLimits): PartitionState {
  const state = new PartitionState(into)
  for (const chunk of from.chunks()) state.restoreChunk(chunk)
  return state
}

test('a restored state is equal, and goes on as the one it was taken from', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(90), { minLength: 1, maxLength: 600, size: 'max' }),
      fc.nat(600),
      (devices, cut) => {
        const whole = new PartitionState(limits)
        let broken = new PartitionState(limits)
        for (const [offset, device] of devices.entries()) {
          if (offset === cut) broken = restored(broken, limits)
          touch(whole, `d${device}`, offset)
          touch(broken, `d${device}`, offset)
        }
        assert.deepEqual(broken.chunks(), whole.chunks())
      },
    ),
  )
})

test('devices beyond the limit go, those silent longest first, and are counted', () => {
  const state = new PartitionState(limits)
  for (let i = 0; i < 64; i++) touch(state, `d${i}`, i)
  // The first ten speak again, so that the next ones are the oldest.
  for (let i = 0; i < 10; i++) touch(state, `d${i}`, 100 + i)
  touch(state, 'new', 200)
  assert.equal(state.deviceEvictions, 4)
  assert.equal(state.devices.count, 61)
  const isKnown = (name: string): boolean => {
    const key = Buffer.from(name)
    return state.devices.find(key, viewOf(key), 0, key.length) >= 0
  }
  for (let i = 0; i < 64; i++) assert.equal(isKnown(`d${i}`), i < 10 || i >= 14, `d${i}`)
  assert.ok(isKnown('new'))
  // What the survivors remember moved with them.
  const key = Buffer.from('d20')
  const slot = state.devices.find(key, viewOf(key), 0, key.length)
  assert.equal(state.watermarks.values[slot], 200)
  assert.equal(state.lastOffsets[slot], 20)
  assert.ok(state.windows.seen(slot, Math.imul(20, 0x9e3779b1), 20, 200, 20))
})

test('a big state becomes several chunks of bounded size; one device is never split', () => {
  const state = new PartitionState(STATE_LIMITS_DEFAULT)
  for (let offset = 0; offset < 200_000; offset++) touch(state, `device-${offset % 60}`, offset)
  const chunks = state.chunks()
  assert.ok(chunks.length > 4, `${chunks.length} chunks`)
  for (const chunk of chunks) assert.ok(chunk.length < 2 * CHUNK_BYTES)
  assert.deepEqual(restored(state, STATE_LIMITS_DEFAULT).chunks(), chunks)
})

test('bytes a device: 37, its id, and 8 for every record in its window', () => {
  const state = new PartitionState(limits)
  for (let offset = 0; offset < 5; offset++) touch(state, 'abc', offset)
  assert.deepEqual(
    state.chunks().map((chunk) => chunk.length),
    [5 + 37 + 3 + 5 * 8],
  )
})

test('a snapshot with longer windows than the limits now allow is cut to them', () => {
  const state = new PartitionState(limits)
  for (let offset = 0; offset < 64; offset++) touch(state, 'd', offset)
  const smaller = restored(state, { ...limits, windowRecordsMax: 16 })
  assert.equal(smaller.windows.entryCount(0), 16)
  const holds = (offset: number): boolean =>
    smaller.windows.seen(0, Math.imul(offset, 0x9e3779b1), offset, offset * 10, offset)
  assert.ok(holds(63) && holds(48))
  assert.equal(holds(47), false)
})

test('bytes that are no chunk are told, not guessed at', () => {
  const state = new PartitionState(limits)
  touch(state, 'd', 1)
  const [chunk] = state.chunks()
  for (const bytes of [chunk!.subarray(0, chunk!.length - 1), Uint8Array.from([9, 0, 0, 0, 0])])
    assert.throws(
      () => new PartitionState(limits).restoreChunk(bytes),
      (error) => isMillraceError(error, 'internal'),
    )
})
