// A case ends in time: rounds stop when another does not fit, and never before the fewest that a case can do with.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { rounds, summarise } from './harness.ts'

/** How many rounds there are when each takes `seconds`, on a clock of our own. */
function roundsOf(t: TestContext, seconds: (round: number) => number, count: number, min?: number): number {
  let now = 0
  const clock = t.mock.method(performance, 'now', () => now * 1000)
  const told = t.mock.method(process.stderr, 'write', () => true)
  let done = 0
  for (const round of rounds(count, 'runs', min)) {
    assert.equal(round, done)
    now += seconds(round)
    done++
  }
  const said = told.mock.calls.map((call) => String(call.arguments[0])).join('')
  told.mock.restore()
  clock.mock.restore()
  if (done === count) assert.equal(said, '')
  else assert.match(said, new RegExp(`^${done} of ${count} runs: another does not fit`))
  return done
}

test('all rounds that fit', (t) => {
  assert.equal(
    roundsOf(t, () => 10, 5),
    5,
  )
  // 140 s are there: four of 30, because the fifth would end at 150.
  assert.equal(
    roundsOf(t, () => 30, 5),
    4,
  )
  // By the longest so far, not by the last: 55 s are left after two.
  assert.equal(
    roundsOf(t, (round) => (round === 0 ? 60 : 25), 5),
    2,
  )
})

test('one round at least, or as many as are needed', (t) => {
  assert.equal(
    roundsOf(t, () => 200, 5),
    1,
  )
  assert.equal(
    roundsOf(t, () => 200, 6, 2),
    2,
  )
})

test('a summary says of how many runs it is', () => {
  const run = { messages: 100, seconds: 1, cpuSeconds: 0.1 }
  assert.deepEqual(summarise([run, { ...run, messages: 300 }, { ...run, messages: 200 }]), {
    runs: 3,
    median: 200,
    min: 100,
    max: 300,
    cpuUsPerMessage: 500,
  })
})
