import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Waiters } from './waiters.ts'

test('all that wait are woken at once, and each wait ends by itself', async () => {
  const waiters = new Waiters()
  const woken: string[] = []
  const waits = [
    waiters.wait(60_000).then(() => woken.push('long')),
    waiters.wait(60_000).then(() => woken.push('other')),
  ]
  waiters.wake()
  await Promise.all(waits)
  assert.deepEqual(woken, ['long', 'other'])

  const started = performance.now()
  await waiters.wait(20)
  assert.ok(performance.now() - started >= 19)
  // Nobody is left to be woken.
  waiters.wake()
})
