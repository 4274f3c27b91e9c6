import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isPlausible, Watermarks } from './lateness.ts'

test('a record is late by its distance to the watermark, once that exceeds what is allowed', () => {
  const watermarks = new Watermarks()
  watermarks.reserve(2)
  const latenessMs = 1000
  assert.equal(watermarks.observe(0, 50_000, latenessMs), 0, 'the first record is never late')
  assert.equal(watermarks.observe(0, 49_000, latenessMs), 0, 'as far behind as allowed')
  assert.equal(watermarks.observe(0, 48_999.5, latenessMs), 1000, 'a fraction more; whole milliseconds')
  assert.equal(watermarks.observe(0, 20_000, latenessMs), 30_000)
  assert.equal(watermarks.values[0], 50_000, 'a late record does not move the watermark')
  assert.equal(watermarks.observe(1, 1, latenessMs), 0, 'another device has its own')
  assert.equal(watermarks.observe(0, Number.NaN, latenessMs), 0, 'without event time nothing is late')
  assert.equal(watermarks.values[0], 50_000)
})

test('the plausible window is inclusive at both ends and around the receive time', () => {
  const past = 10_000
  const future = 500
  for (const [eventMs, expected] of [
    [90_000, true],
    [89_999.999, false],
    [100_500, true],
    [100_500.001, false],
    [Number.NaN, true],
  ] as const)
    assert.equal(isPlausible(eventMs, 100_000, past, future), expected, String(eventMs))
})
