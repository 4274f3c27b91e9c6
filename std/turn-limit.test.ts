import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { TurnLimit } from './turn-limit.ts'

test('so much a turn, in order, what comes meanwhile included; a few at once', async () => {
  const limit = new TurnLimit(4)
  const done: number[] = []
  for (let i = 0; i < 10; i++) limit.run(() => done.push(i))
  const counts = [done.length]
  for (let turn = 0; turn < 4; turn++) {
    await nextTurn()
    counts.push(done.length)
    if (turn === 0) limit.run(() => done.push(10))
  }
  assert.deepEqual(counts, [4, 8, 11, 11, 11])
  assert.deepEqual(done, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  limit.run(() => done.push(11))
  assert.equal(done.length, 12)
})
