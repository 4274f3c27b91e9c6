import assert from 'node:assert/strict'
import { test } from 'node:test'
import { retrying } from './retry.ts'

/** A clock that notes the pauses, and a request that takes so long. */
function world(requestMs: number) {
  let ms = 0
  const pauses: number[] = []
  const clock = {
    now: () => ms,
    sleep: async (pauseMs: number) => {
      pauses.push(pauseMs)
      ms += pauseMs
    },
  }
  let tries = 0
  const fail = async (): Promise<never> => {
    ms += requestMs
    throw new Error(`try ${++tries}`)
  }
  return { clock, pauses, fail, elapsed: () => ms }
}

test('pauses double, each with a random half, and the last error is thrown', async () => {
  const seen = new Set<number>()
  for (let round = 0; round < 50; round++) {
    const { clock, pauses, fail } = world(0)
    await assert.rejects(
      retrying(clock, fail, () => true),
      /try 6/,
    )
    assert.equal(pauses.length, 5)
    for (const [i, pause] of pauses.entries()) {
      const full = 100 * 2 ** i
      assert.ok(pause >= full / 2 && pause <= full, `${pause} of ${full}`)
      seen.add(pause)
    }
  }
  assert.ok(seen.size > 200, 'writers do not come back at once')
})

test('no try begins when ten seconds are over, so that others do not wait long', async () => {
  const { clock, fail, elapsed } = world(4000)
  await assert.rejects(
    retrying(clock, fail, () => true),
    /try 3/,
  )
  assert.ok(elapsed() < 14_000)
})

test('what may not be tried again is not, and what goes well in the end is given back', async () => {
  const { clock, pauses, fail } = world(0)
  await assert.rejects(
    retrying(clock, fail, () => false),
    /try 1/,
  )
  assert.deepEqual(pauses, [])
  let left = 2
  const settled = await retrying(
    clock,
    async () => (left-- > 0 ? fail() : 'done'),
    () => true,
  )
  assert.equal(settled, 'done')
})
