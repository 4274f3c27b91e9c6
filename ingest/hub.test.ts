import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { Hub, type HubHandler, type LiveMessage } from './hub.ts'

const hubs: Hub[] = []
afterEach(() => {
  for (const hub of hubs.splice(0)) hub.close()
})

interface Worker extends HubHandler {
  hub: Hub
  /** Claims that this worker's sessions hold, with what they got. */
  held: Map<number, { key: string; epoch: number; tookOver: boolean }>
  evicted: number[]
  /** Set to keep evicted sessions from releasing, as a slow log would. */
  slow: boolean
  received: { tenant: string; topic: string; payload: string; qos: number }[]
}

function makeWorkers(count: number): Worker[] {
  const ports: (MessagePort | undefined)[][] = Array.from({ length: count }, () => new Array(count))
  for (let a = 0; a < count; a++)
    for (let b = a + 1; b < count; b++) {
      const channel = new MessageChannel()
      ports[a]![b] = channel.port1
      ports[b]![a] = channel.port2
    }
  return ports.map((own, index) => {
    const worker: Worker = {
      held: new Map(),
      evicted: [],
      slow: false,
      received: [],
      hub: undefined as unknown as Hub,
      evict(claim) {
        worker.evicted.push(claim)
        const held = worker.held.get(claim)
        if (held === undefined || worker.slow) return
        worker.held.delete(claim)
        worker.hub.release(held.key, claim)
      },
      deliver(message: LiveMessage) {
        worker.received.push({
          tenant: message.tenant,
          topic: Buffer.from(message.topic).toString(),
          payload: Buffer.from(message.payload).toString(),
          qos: message.qos,
        })
      },
      delivered() {},
      relieved() {},
    }
    worker.hub = new Hub(index, own, worker)
    hubs.push(worker.hub)
    return worker
  })
}

function claim(worker: Worker, key: string): Promise<number> {
  return new Promise((resolve) => {
    worker.hub.claim(key, (claim, epoch, tookOver) => {
      worker.held.set(claim, { key, epoch, tookOver })
      resolve(claim)
    })
  })
}

test('a client id has one owner, and the newest claim takes it over from any worker', async () => {
  const workers = makeWorkers(3)
  let lastEpoch = 0
  for (let round = 0; round < 12; round++) {
    const worker = workers[round % 3]!
    const id = await claim(worker, 'tenant/client')
    const owners = workers.flatMap((one) => [...one.held.keys()])
    assert.deepEqual(owners, [id])
    const held = worker.held.get(id)!
    assert.equal(held.tookOver, round > 0)
    assert.ok(held.epoch > lastEpoch)
    lastEpoch = held.epoch
  }
})

test('claims made at once on all workers end with one owner, and everyone else was told to give way', async () => {
  const workers = makeWorkers(4)
  for (let round = 0; round < 20; round++) {
    const key = `tenant/client-${round}`
    await Promise.all(workers.flatMap((worker) => [claim(worker, key), claim(worker, key)]))
    await sleep(5)
    const owners = workers.flatMap((worker) => [...worker.held.values()]).filter((held) => held.key === key)
    assert.equal(owners.length, 1, `round ${round}`)
  }
  assert.equal(
    workers.reduce((sum, worker) => sum + worker.evicted.length, 0),
    20 * 7,
  )
})

test('a claim is not granted before the old owner has released, and one given up leaves the line', async () => {
  const [a, b] = makeWorkers(2) as [Worker, Worker]
  a.slow = true
  const first = await claim(a, 'k')
  let granted = 0
  const second = b.hub.claim('k', () => granted++)
  const third = b.hub.claim('k', () => (granted += 10))
  await sleep(30)
  assert.equal(granted, 0)
  assert.deepEqual(a.evicted, [first])
  b.hub.release('k', second)
  await sleep(10)
  a.hub.release('k', first)
  await sleep(30)
  assert.equal(granted, 10)
  b.hub.release('k', third)
  await sleep(10)
  const again = await claim(a, 'k')
  assert.equal(a.held.get(again)!.tookOver, false)
})

test('interest is known to all workers before it is confirmed, and messages arrive whole and in order', async () => {
  const [a, b, c] = makeWorkers(3) as [Worker, Worker, Worker]
  await new Promise<void>((resolve) => a.hub.addInterest('acme', 'x/+', resolve))
  for (const worker of [b, c]) {
    const found = new Map<number, number>()
    worker.hub.remoteInterest('acme').match('x/1', found)
    assert.deepEqual([...found.keys()], [0])
  }
  const text = new TextEncoder()
  for (let i = 0; i < 2000; i++) {
    const payload = text.encode(`${i}:${'z'.repeat(i % 100)}`)
    b.hub.forward(0, {
      tenant: 'acme',
      topic: text.encode(`x/${i}`),
      properties: payload,
      payload,
      qos: i % 2,
    })
    if (i % 700 === 0) b.hub.flush()
  }
  b.hub.flush()
  await sleep(50)
  assert.equal(a.received.length, 2000)
  a.received.forEach((message, i) => {
    const payload = `${i}:${'z'.repeat(i % 100)}`
    assert.deepEqual(message, { tenant: 'acme', topic: `x/${i}`, payload, qos: i % 2 })
  })
  assert.equal(b.hub.isCongested, false)
})

test('interest ends with the last client that holds the filter', async () => {
  const [a, b] = makeWorkers(2) as [Worker, Worker]
  const add = () => new Promise<void>((resolve) => a.hub.addInterest('t', 'f', resolve))
  await add()
  await add()
  a.hub.removeInterest('t', 'f')
  await sleep(10)
  assert.equal(b.hub.remoteInterest('t').size, 1)
  a.hub.removeInterest('t', 'f')
  for (let i = 0; i < 500 && b.hub.remoteInterest('t').size > 0; i++) await sleep(10)
  assert.equal(b.hub.remoteInterest('t').size, 0)
})

test('a worker that does not read its post is seen as congested', async () => {
  const [a, b] = makeWorkers(2) as [Worker, Worker]
  const message = {
    tenant: 't',
    topic: new Uint8Array(1),
    properties: new Uint8Array(0),
    payload: new Uint8Array(1 << 20),
    qos: 0,
  }
  for (let i = 0; i < 17; i++) a.hub.forward(1, message)
  assert.equal(a.hub.isCongested, true)
  a.hub.flush()
  assert.equal(a.hub.isCongested, true)
  // Posts take as long as the machine is busy.
  for (let i = 0; i < 500 && a.hub.isCongested; i++) await sleep(10)
  assert.equal(a.hub.isCongested, false)
  assert.equal(b.received.length, 17)
})
