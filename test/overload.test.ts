// The real process with more than it can take: kill -9 in the middle of the greatest load, and a disk whose syncs
// take two seconds. Nothing acknowledged is lost, each device's messages keep their order, and nobody who keeps to
// the protocol is sent away.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { seededRandom } from '../std/random.ts'
import { environmentCodec } from './environment.ts'
import { Flood, loggedMessages, payloads } from './flood.ts'
import { account, type MillraceProcess, startProcess, temporaryFolder } from './millrace-process.ts'

const LONG = process.env['MILLRACE_LONG'] === '1'
const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_124)

/** What the log holds of a device is messages 0, 1, … in order; a connection begins again at most where the last one was. */
function checkOrder(device: string, messages: readonly number[], count: number, connections: number): void {
  let next = 0
  let restarts = 0
  for (const [i, message] of messages.entries()) {
    if (i > 0 && message !== messages[i - 1]! + 1) restarts++
    assert.ok(message <= next, `${device}: message ${message} where ${next} was never seen`)
    if (message === next) next++
  }
  assert.equal(next, count, `${device}: all messages that were acknowledged`)
  assert.ok(
    restarts < connections,
    `${device}: ${restarts} breaks in the order of ${connections} connections`,
  )
}

const ROUNDS = LONG ? 20 : 3
const DEVICES = 8
const MESSAGES = LONG ? 150_000 : 40_000

test(`kill -9 under full load, ${ROUNDS} times: all that was acknowledged is in the log, in order (seed ${SEED})`, {
  timeout: 600_000,
}, async (t) => {
  const data = temporaryFolder(t)
  const next = seededRandom(SEED)
  let running: MillraceProcess | undefined
  t.after(() => running?.kill())
  const start = async () => {
    running = await startProcess(data, ['--roles', 'ingest', '--workers', '2', '--status', 'off'])
  }
  await start()
  const sent = payloads(await environmentCodec(running!.http), MESSAGES, Date.now())
  const floods = Array.from({ length: DEVICES }, (_, i) => new Flood(`device-${i}`, 4, 1, 4096, sent))
  for (let round = 0; round < ROUNDS; round++) {
    await Promise.all(floods.map((one) => one.connect(running!.mqttPort)))
    const before = floods.map((one) => one.acknowledged)
    // Once the load is there, whenever that is on a busy machine.
    while (floods.filter((one, i) => one.acknowledged > before[i]!).length < DEVICES / 2) await sleep(1)
    await sleep(next() * 20)
    await running!.kill()
    assert.ok(
      floods.some((one) => one.sent > one.acknowledged),
      'nothing was under way',
    )
    while (!floods.every((one) => one.isClosed)) await sleep(1)
    await start()
  }
  await Promise.all(floods.map((one) => one.connect(running!.mqttPort)))
  while (!floods.every((one) => one.isDone)) {
    assert.ok(!floods.some((one) => one.isClosed), 'a connection was closed')
    await sleep(5)
  }
  assert.deepEqual(
    floods.flatMap((one) => one.wrong),
    [],
  )
  assert.equal(await running!.stop(), 0)
  const logged = await loggedMessages(data, sent)
  for (const { device } of floods) checkOrder(device, logged.get(device)!, MESSAGES, ROUNDS + 1)
})

test('syncs that take 2 s: acknowledgements wait, pings do not, memory is bounded, all comes through in order', {
  timeout: 120_000,
}, async (t) => {
  const data = temporaryFolder(t)
  const control = path.join(data, 'sync-ms')
  const budget = 16 << 20
  const server = await startProcess(
    data,
    ['--roles', 'ingest', '--status', 'off', '--ingest-bytes-max', String(budget)],
    {
      NODE_OPTIONS: `--import=${new URL('slow-sync.ts', import.meta.url).href}`,
      MILLRACE_TEST_SLOW_SYNC: control,
    },
  )
  t.after(() => server.kill())
  const sent = payloads(await environmentCodec(server.http), 120_000, Date.now())
  // A 5.0 client within its Receive Maximum, one of 3.1.1 with all ids in flight, and one at QoS 0: 25 MB at once.
  const five = new Flood('five', 5, 1, 2048, sent.slice(0, 20_000))
  const plain = new Flood('plain', 4, 1, 60_000, sent)
  const zero = new Flood('zero', 4, 0, 0, sent)
  const floods = [five, plain, zero]
  const rss = () =>
    Number(/VmRSS:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${server.pid}/status`, 'utf8'))![1]) / 1024
  await five.connect(server.mqttPort)
  while (five.acknowledged < 4096) await sleep(1)
  const before = rss()
  fs.writeFileSync(control, '2000')
  await Promise.all([plain.connect(server.mqttPort), zero.connect(server.mqttPort)])
  await sleep(300)
  let longestPing = 0
  let largest = 0
  let quietest = Number.POSITIVE_INFINITY
  const until = Date.now() + (LONG ? 10_000 : 3000)
  while (Date.now() < until) {
    const acknowledged = five.acknowledged
    const pongs = five.pongs
    const asked = performance.now()
    five.ping()
    while (five.pongs === pongs && performance.now() - asked < 3000) await sleep(1)
    longestPing = Math.max(longestPing, performance.now() - asked)
    largest = Math.max(largest, rss())
    await sleep(200)
    quietest = Math.min(quietest, five.acknowledged - acknowledged)
  }
  assert.equal(quietest, 0, 'acknowledgements wait for the disk')
  assert.ok(longestPing < 500, `a ping was answered after ${Math.round(longestPing)} ms`)
  // The budget, the receive buffers and what the three sockets may keep; no multiple of what was sent.
  assert.ok(
    largest - before < budget / 2 ** 20 + 48,
    `${Math.round(largest - before)} MiB more while the disk slept`,
  )
  assert.ok(!floods.some((one) => one.isClosed), 'a connection was closed')
  assert.ok(!plain.isDone && !five.isDone, 'the disk slept under load')
  fs.rmSync(control)
  while (!floods.every((one) => one.isDone)) {
    assert.ok(!floods.some((one) => one.isClosed), 'a connection was closed')
    await sleep(5)
  }
  while ((await account(server.http))['raw'] !== 260_000) await sleep(20)
  assert.deepEqual(
    floods.flatMap((one) => one.wrong),
    [],
  )
  assert.equal(await server.stop(), 0)
  const logged = await loggedMessages(data, sent)
  checkOrder('five', logged.get('five')!, 20_000, 1)
  checkOrder('plain', logged.get('plain')!, 120_000, 1)
  checkOrder('zero', logged.get('zero')!, 120_000, 1)
})
