// Who is committed when, of many tables: the budget, its bound, how many at a time, and what a new one costs the others.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Log } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { LocalStore, type NewFile } from './store.ts'

const CONFIG = {
  partitions: 1,
  cleanup: 'delete' as const,
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}
const FIRST = Date.UTC(2026, 2, 1) * 1000

/** A store that answers later, as an object store does, and knows how many it was asked for at a time. */
class SlowStore extends LocalStore {
  underWay = 0
  underWayMost = 0

  override async put(files: readonly NewFile[]): Promise<void> {
    this.underWay++
    this.underWayMost = Math.max(this.underWayMost, this.underWay)
    for (let i = 0; i < 3; i++) await new Promise(setImmediate)
    await super.put(files)
    this.underWay--
  }
}

/** Counts what the sink asks the log about topics. */
function counting(log: Log): { log: Log; described: string[] } {
  const described: string[] = []
  const proxy = new Proxy(log, {
    get(target, name) {
      const value = target[name as keyof Log] as unknown
      if (typeof value !== 'function') return value
      return (...args: unknown[]) => {
        if (name === 'describeTopic') described.push(String(args[0]))
        return (value as (...args: unknown[]) => unknown).apply(target, args)
      }
    },
  })
  return { log: proxy, described }
}

async function world(count: number) {
  const { log, described } = counting(new MemoryLog())
  const names = Array.from({ length: count }, (_, i) => `s${i}`)
  const clock = new ManualClock()
  const store = new SlowStore(new SimulatedDisk())
  const sink = new Harness({ log, pointers: new MemoryPointers(), store, clock, warehouse: 'file:///w' })
  for (const name of names) {
    await log.createTopic(normalizedTopic('default', name), CONFIG)
    await log.createTopic(rejectedTopic('default', name), CONFIG)
  }
  const follow = (of: readonly string[]): Promise<void> =>
    sink.follow(...of.map((name) => sensorStream(name)))
  let seq = 0
  const send = async (name: string, rows = 1): Promise<void> => {
    const records = Array.from({ length: rows }, () => ({ device: 'd', eventMicros: FIRST, seq: seq++ }))
    const topic = normalizedTopic('default', name)
    await log.append({
      entries: [{ topic, partition: 0, batch: sensorBatch(records), recordCount: rows }],
    })
  }
  return { sink, clock, store, names, follow, send, described }
}

test('quiet tables wait for the budget of commits, but none longer than 30 s, and a busy one goes first', async () => {
  const { sink, clock, names, follow, send } = await world(150)
  await follow(names)
  const started = clock.ms
  for (const name of names) await send(name)
  await sink.stage.step()
  const committedAtS = new Map<number, number>()
  let busy = 0
  while (clock.ms < started + 40_000) {
    clock.ms += 500
    await send('s7', 50)
    const before = sink.counters.get('commits')!
    const rows = sink.counters.get('rows')!
    await sink.stage.step()
    if (sink.counters.get('rows')! - rows >= 50) busy++
    const second = Math.floor((clock.ms - started) / 1000)
    committedAtS.set(second, (committedAtS.get(second) ?? 0) + sink.counters.get('commits')! - before)
  }
  // Nobody before 3 s, and then what the budget has saved up and earns: 20 a second.
  assert.equal(committedAtS.get(2), 0)
  for (const [second, commits] of committedAtS)
    assert.ok(commits <= 45, `${commits} commits in second ${second}`)
  // 149 quiet tables of one row and a busy one.
  assert.equal(sink.counters.get('lagRecords')! < 50 * 10, true)
  assert.ok(busy >= 10, `the busy table was committed ${busy} times in 37 s`)
  const waiting = sink.stage.status().filter((one) => one.lagRecords > 0 && one.table !== 'default.s7')
  assert.deepEqual(waiting, [])
})

test('a budget that is spent does not hold a table that has waited 30 s', async () => {
  const { sink, clock, names, follow, send } = await world(120)
  await follow(names)
  for (const name of names) await send(name)
  await sink.stage.step()
  // The stage was away (a catalog that did not answer, a machine asleep): all are overdue at once.
  clock.ms += 31_000
  let rounds = 0
  while (sink.counters.get('rows')! < names.length) {
    assert.ok((await sink.stage.step()) > 0)
    rounds++
  }
  // Twenty a round, so that the order is asked for anew; the clock stood still.
  assert.equal(rounds, 6)
  assert.equal(sink.counters.get('oldestWaitMs'), 0)
})

test('commits of several tables are under way together, at most six', async () => {
  const { sink, clock, store, names, follow, send } = await world(12)
  await follow(names)
  for (const name of names) await send(name)
  store.underWayMost = 0
  await sink.stage.step()
  clock.ms += 3000
  assert.equal(await sink.stage.step(), 12)
  assert.ok(store.underWayMost > 1 && store.underWayMost <= 6, `${store.underWayMost} at a time`)
  for (const name of names) assert.equal((await sink.rows({ namespace: 'default', name })).length, 1)
})

test('a contract that is added opens its own tables and no other', async () => {
  const { names, follow, described, sink, send, clock } = await world(5)
  await follow(names.slice(0, 4))
  described.length = 0
  await follow(names)
  assert.deepEqual(described.sort(), ['default.s4.normalized', 'default.s4.rejected'])
  // Those that were left alone go on.
  await send('s0')
  await sink.stage.step()
  clock.ms += 3000
  assert.equal(await sink.stage.step(), 1)
  // One whose contract changed is opened anew.
  described.length = 0
  const changed = names.map((name) => sensorStream(name, name === 's2' ? { contractVersion: 2 } : {}))
  await sink.follow(...changed)
  assert.deepEqual(described, ['default.s2.normalized'])
})
