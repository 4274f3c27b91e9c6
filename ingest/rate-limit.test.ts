import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TokenBucket } from './rate-limit.ts'

test('a bucket lets its rate and burst through and counts the rest as debt that time pays', () => {
  const bucket = new TokenBucket(100, 10, 0)
  for (let i = 0; i < 10; i++) assert.equal(bucket.take(0), 0)
  assert.equal(bucket.take(0), 1)
  assert.equal(bucket.take(0), 2)
  assert.equal(bucket.waitMs(0), 20)
  assert.equal(bucket.debt(10), 1)
  assert.equal(bucket.debt(20), 0)
  assert.equal(bucket.take(30), 0)
})

test('a bucket never saves more than its burst and ignores a clock that goes back', () => {
  const bucket = new TokenBucket(1000, 5, 1000)
  bucket.take(1000)
  bucket.take(10_000)
  let within = 0
  while (bucket.take(10_000) === 0) within++
  assert.equal(within, 4)
  assert.ok(bucket.debt(5000) > 0)
})
