// Connections that have not sent their CONNECT take turns: so many are read at a time, and nobody is kept out.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import mqtt from 'mqtt'
import { type Harness, RawClient, startIngest, until } from './ingest-harness.ts'
import { CONNECTING_MAX, CONNECTING_TURN_MS } from './limits.ts'
import { type Newcomer, Newcomers } from './newcomers.ts'
import type { SocketMode } from './transport.ts'

class Client implements Newcomer {
  isRead = false
  firstReads = 0
  readonly transport = {
    pause: () => {
      assert.equal(this.isRead, true)
      this.isRead = false
    },
    resume: () => {
      assert.equal(this.isRead, false)
      this.isRead = true
    },
  }
  onFirstRead(): void {
    this.firstReads++
  }
}

function join(newcomers: Newcomers, count: number): Client[] {
  const clients = Array.from({ length: count }, () => new Client())
  for (const client of clients) newcomers.add(client)
  return clients
}

const readOf = (clients: readonly Client[]): number => clients.filter(({ isRead }) => isRead).length

test('the first are read at once, the next one when one of them is through or gone', () => {
  const newcomers = new Newcomers()
  const clients = join(newcomers, CONNECTING_MAX + 3)
  assert.equal(readOf(clients.slice(0, CONNECTING_MAX)), CONNECTING_MAX)
  assert.equal(readOf(clients), CONNECTING_MAX)
  // One that waits has gone.
  newcomers.remove(clients[CONNECTING_MAX]!)
  assert.equal(readOf(clients), CONNECTING_MAX)
  newcomers.remove(clients[5]!)
  assert.deepEqual(
    clients.slice(CONNECTING_MAX).map(({ isRead }) => isRead),
    [false, true, false],
  )
  assert.equal(newcomers.isFresh(clients.at(-1)!), true)
  newcomers.remove(clients[6]!)
  assert.equal(newcomers.isFresh(clients.at(-1)!), false)
  newcomers.close()
})

test('who says nothing for a turn makes room, and comes again', ({ mock }: TestContext) => {
  mock.timers.enable({ apis: ['setInterval'] })
  const newcomers = new Newcomers()
  const clients = join(newcomers, 2 * CONNECTING_MAX)
  // All of them were read from within the first turn on.
  mock.timers.tick(CONNECTING_TURN_MS)
  assert.equal(readOf(clients.slice(0, CONNECTING_MAX)), CONNECTING_MAX)
  for (let turn = 0; turn < 12; turn++) {
    mock.timers.tick(CONNECTING_TURN_MS)
    assert.equal(readOf(clients), CONNECTING_MAX)
  }
  assert.deepEqual([...new Set(clients.map(({ firstReads }) => firstReads))], [1])
  newcomers.close()
})

test('those that said nothing and those that have not been read come by turns', ({ mock }: TestContext) => {
  mock.timers.enable({ apis: ['setInterval'] })
  const newcomers = new Newcomers()
  const clients = join(newcomers, 4 * CONNECTING_MAX)
  const silent = clients.slice(0, CONNECTING_MAX)
  const fresh = clients.slice(CONNECTING_MAX)
  mock.timers.tick(2 * CONNECTING_TURN_MS)
  assert.deepEqual([readOf(silent), readOf(fresh)], [CONNECTING_MAX / 2, CONNECTING_MAX / 2])
  newcomers.close()
})

const MODES: SocketMode[] = ['auto', 'handle', 'documented']

for (const socketMode of MODES)
  test(`${socketMode}: of CONNECTs that come at once, one turn of the event loop takes only so many`, async (context) => {
    // No turn of theirs ends: who is through makes room.
    context.mock.timers.enable({ apis: ['setInterval'] })
    const harness = await startIngest({ options: { socketMode } })
    context.after(() => harness.close())
    const count = 5 * CONNECTING_MAX
    const clients = await opened(harness, count)
    let before = 0
    let most = 0
    let isWatching = true
    const watch = (): void => {
      const connects = harness.count('connects')
      most = Math.max(most, connects - before)
      before = connects
      if (isWatching) setImmediate(watch)
    }
    for (const [i, client] of clients.entries()) client.sendConnect(`storm-${i}`)
    watch()
    for (const client of clients) assert.equal((await client.take('connack')).returnCode, 0)
    isWatching = false
    assert.equal(harness.count('connects'), count)
    assert.ok(most <= CONNECTING_MAX, `${most} in one turn`)
    for (const client of clients) client.end()
    assert.deepEqual(harness.failures, [])
  })

for (const socketMode of MODES)
  test(`${socketMode}: connections that say nothing do not keep others out, and may say it later`, async (context) => {
    const harness = await startIngest({ options: { socketMode } })
    context.after(() => harness.close())
    const silent = await opened(harness, CONNECTING_MAX + 40)
    const client = await RawClient.connect(harness.ports[0]!.mqtt, 4, 'after-them')
    const overWebSocket = await mqtt.connectAsync(`ws://127.0.0.1:${harness.ports[0]!.ws}/mqtt`, {
      clientId: 'by-websocket',
      reconnectPeriod: 0,
    })
    for (const [i, late] of [silent[0]!, silent[CONNECTING_MAX]!, silent.at(-1)!].entries()) {
      late.sendConnect(`late-${i}`)
      assert.equal((await late.take('connack')).returnCode, 0)
    }
    await overWebSocket.endAsync(true)
    client.end()
    for (const one of silent) one.end()
    await until(() => harness.count('connections') === 0, 'all are gone')
    assert.deepEqual(harness.failures, [])
  })

test('one that goes without a word makes room', async (context) => {
  context.mock.timers.enable({ apis: ['setInterval'] })
  const harness = await startIngest()
  context.after(() => harness.close())
  const silent = await opened(harness, CONNECTING_MAX)
  const client = await RawClient.open(harness.ports[0]!.mqtt, 4)
  client.sendConnect('after-it')
  await until(() => harness.count('connectionsAccepted') === CONNECTING_MAX + 1, 'it is accepted')
  silent[7]!.end()
  await client.take('connack')
  client.end()
  for (const one of silent) one.end()
  assert.deepEqual(harness.failures, [])
})

test('a drain ends those that wait as well', async (context) => {
  const harness = await startIngest()
  context.after(() => harness.close())
  const silent = await opened(harness, CONNECTING_MAX + 40)
  await harness.workers[0]!.drain()
  for (const one of silent) await one.closed()
  assert.equal(harness.count('connections'), 0)
  assert.deepEqual(harness.failures, [])
})

/** Clients that have said nothing, all of them accepted. */
async function opened(harness: Harness, count: number): Promise<RawClient[]> {
  const port = harness.ports[0]!.mqtt
  const clients = await Promise.all(Array.from({ length: count }, () => RawClient.open(port, 4)))
  await until(() => harness.count('connectionsAccepted') === count, 'all have connections')
  return clients
}
