// A warehouse that cannot be written: full, read-only, or failing now and then. Rows wait in the log, nothing is lost
// and nothing is twice, it goes on by itself, and the tables that are not concerned go on meanwhile.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import type { Disk, OpenMode } from '../std/disk.ts'
import { SimulatedDisk } from '../std/disk-simulated.ts'
import { seededRandom } from '../std/random.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { LocalStore } from './store.ts'

const CONFIG = {
  partitions: 1,
  cleanup: 'delete' as const,
  retentionAgeMs: Infinity,
  retentionBytes: Infinity,
  backlogBytesMax: Infinity,
}
const STREAMS = ['broken', 'sound']
const idOf = (name: string) => ({ namespace: 'default', name })
const DAY = 86_400_000_000
const FIRST = Date.UTC(2026, 2, 1) * 1000
const RETRY_MS_MAX = 60_000

/** Two streams over one disk, whose new files `refuses` may fail with an errno. */
async function world(refuses: (file: string) => string | undefined) {
  const disk = new SimulatedDisk()
  const guarded = new Proxy<Disk>(disk, {
    get(_, name) {
      const method = (disk as Disk)[name as keyof Disk] as ((...args: unknown[]) => unknown) | undefined
      if (name !== 'open') return method?.bind(disk)
      return (file: string, mode: OpenMode) => {
        const code = mode === 'create' ? refuses(file) : undefined
        if (code !== undefined) throw Object.assign(new Error(`${code}: open ${file}`), { code })
        return disk.open(file, mode)
      }
    },
  })
  const log = new MemoryLog()
  for (const name of STREAMS) {
    await log.createTopic(normalizedTopic('default', name), CONFIG)
    await log.createTopic(rejectedTopic('default', name), CONFIG)
  }
  const clock = new ManualClock()
  const pointers = new MemoryPointers()
  const sink = new Harness({ log, pointers, store: new LocalStore(guarded), clock, warehouse: 'file:///w' })
  await sink.follow(...STREAMS.map((name) => sensorStream(name)))
  let sent = 0
  const send = async (count: number): Promise<void> => {
    const records = Array.from({ length: count }, (_, i) => ({
      device: `d${i % 3}`,
      eventMicros: FIRST + (i % 2) * DAY + (sent + i) * 1000,
      seq: sent + i,
    }))
    sent += count
    for (const name of STREAMS) {
      const batch = sensorBatch(records)
      const topic = normalizedTopic('default', name)
      await log.append({ entries: [{ topic, partition: 0, batch, recordCount: count }] })
    }
  }
  const seqs = async (name: string): Promise<number[]> =>
    (await sink.rows(idOf(name))).map((row) => Number(row['3'])).sort((a, b) => a - b)
  const exact = async (): Promise<void> => {
    const all = Array.from({ length: sent }, (_, i) => i)
    for (const name of STREAMS) {
      assert.deepEqual(await seqs(name), all, name)
      const { found, reached } = await sink.census(idOf(name))
      assert.deepEqual(found, reached, `${name}: files that nothing refers to`)
    }
  }
  const statusOf = (name: string) => sink.stage.status().find((one) => one.table === `default.${name}`)!
  return { disk, sink, clock, send, seqs, exact, statusOf, sent: () => sent }
}

for (const [code, what] of [
  ['ENOSPC', 'full'],
  ['EROFS', 'read-only'],
  ['EDQUOT', 'over its quota'],
  ['EIO', 'failing'],
] as const)
  for (const part of ['/data/', '/metadata/'])
    test(`a warehouse that is ${what} under one table’s ${part}: the other goes on, and both are exact afterwards`, async () => {
      let isBroken = false
      const w = await world((file) => (isBroken && file.includes(`/broken${part}`) ? code : undefined))
      await w.send(6)
      await w.sink.commitDue()
      isBroken = true
      for (let i = 0; i < 3; i++) {
        await w.send(6)
        await w.sink.commitDue()
      }
      const status = w.statusOf('broken')
      assert.deepEqual([status.state, status.code], ['parked', 'warehouse_unwritable'])
      assert.match(status.error!, new RegExp(code))
      assert.equal(status.lagRecords, 18)
      assert.equal((await w.seqs('broken')).length, 6)
      assert.equal((await w.seqs('sound')).length, w.sent())
      assert.equal(w.statusOf('sound').state, 'following')
      isBroken = false
      // No one does anything: the next try comes by itself.
      w.clock.ms += RETRY_MS_MAX
      await w.sink.commitDue()
      assert.equal(w.statusOf('broken').state, 'following')
      await w.exact()
    })

test('a disk that fills up in the middle of files, again and again: every row once, and no file left over', async () => {
  const random = seededRandom(20_261_125)
  const w = await world(() => undefined)
  let parked = 0
  for (let round = 0; round < 60; round++) {
    await w.send(1 + Math.floor(random() * 20))
    // Room for a part of what a commit writes: it ends in a data file, a manifest, a list or the metadata.
    w.disk.capacity = random() < 0.7 ? w.disk.usedBytes() + Math.floor(random() * 6000) : Infinity
    w.clock.ms += random() < 0.5 ? RETRY_MS_MAX : 0
    await w.sink.commitDue()
    parked += w.sink.stage.status().filter((one) => one.state === 'parked').length
  }
  assert.ok(parked > 20, `${parked} times a table was parked`)
  w.disk.capacity = Infinity
  w.clock.ms += RETRY_MS_MAX
  await w.sink.commitDue()
  await w.sink.stage.drain()
  await w.exact()
})
