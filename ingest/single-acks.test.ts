// Acknowledgements past a connection's objects: whatever happens to the connection meanwhile, its client gets each of them
// once, in order, and nobody else does.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt'
import { MillraceError } from '../std/errors.ts'
import { seededRandom } from '../std/random.ts'
import { type Harness, payloadOf, RawClient, startIngest, until } from './ingest-harness.ts'
import { SendBatch } from './send-batch.ts'
import { SingleAcks } from './single-acks.ts'
import { type Pair, pair, readNow, received } from './transport-harness.ts'

const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_126)

const probe = SendBatch.create(() => {})
probe?.destroy()
const options = { skip: probe === undefined && 'this machine offers no io_uring' }

const idOf = (index: number, ticket: number): number => (index * 251 + ticket * 7) & 0xffff

test(
  `entries go when their ticket is durable, once, unless they are cancelled (MILLRACE_SEED=${SEED})`,
  options,
  async () => {
    const random = seededRandom(SEED)
    const batch = SendBatch.create(() => assert.fail('the ring has failed'))!
    const acks = new SingleAcks<Owner>(batch)
    class Owner {
      singleAt = 0
      ticket = 0
      readonly expected: number[] = []
      readonly pair: Pair
      constructor(one: Pair) {
        this.pair = one
      }
      onUnsent(): void {
        assert.fail('there was room')
      }
    }
    const owners: Owner[] = []
    for (let i = 0; i < 150; i++) owners.push(new Owner(await pair('auto', batch)))
    let sent = 0
    let cancelled = 0
    for (let ticket = 1, durable = 0; ticket <= 400; ticket++) {
      for (const [index, owner] of owners.entries()) {
        if (owner.ticket > acks.durable || random() < 0.6) continue
        owner.ticket = ticket
        acks.push(owner, owner.pair.fd, idOf(index, ticket), ticket, index % 3 === 0)
      }
      for (const [index, owner] of owners.entries()) {
        if (owner.ticket <= acks.durable || random() < 0.9) continue
        assert.equal(acks.cancel(owner), idOf(index, owner.ticket))
        owner.ticket = 0
        cancelled++
      }
      assert.deepEqual(new Set(acks.owners()), new Set(owners.filter((owner) => owner.ticket > acks.durable)))
      // Commits may become durable several at a time, and not at all for a while.
      if (random() < 0.5) continue
      durable += Math.floor(random() * (ticket - durable + 1))
      const due = owners.filter((owner) => owner.ticket > acks.durable && owner.ticket <= durable)
      for (const owner of due) owner.expected.push(idOf(owners.indexOf(owner), owner.ticket))
      assert.equal(acks.send(durable), due.length)
      sent += due.length
    }
    assert.ok(sent > 5000 && cancelled > 1000)
    for (const [index, { pair: one, expected }] of owners.entries()) {
      const header = index % 3 === 0 ? [0x82, 4] : []
      const bytes = Buffer.from(expected.flatMap((id) => [...header, 0x40, 2, id >>> 8, id & 0xff]))
      assert.deepEqual(await received(one), bytes)
    }
    batch.destroy()
  },
)

/** Acknowledgements that went by io_uring. */
const gathered = (harness: Harness): number => harness.count('sendsGathered')
const idsOf = (client: RawClient): unknown[] =>
  client.packets.map((packet) => (packet.cmd === 'puback' ? packet.messageId : packet.cmd))

/** Lets the log go on when others have connected, who then must have got nothing of those before. */
async function nextGetNothing(harness: Harness, name: string): Promise<void> {
  const next: RawClient[] = []
  for (let i = 0; i < 16; i++)
    next.push(await RawClient.connect(harness.ports[0]!.mqtt, 5, `${name}-next-${i}`))
  harness.log.goOn()
  await harness.workers[0]!.accumulator.drained()
  for (const client of next) {
    client.send({ cmd: 'pingreq' })
    await client.take('pingresp')
    assert.deepEqual(client.packets, [], name)
    client.end()
  }
}

test(
  'one message in flight at a time: each is acknowledged when it is durable, not before',
  options,
  async () => {
    const harness = await startIngest()
    const port = harness.ports[0]!.mqtt
    for (const level of [4, 5] as const) {
      const before = gathered(harness)
      const client = await RawClient.connect(port, level, `single-${level}`)
      for (let id = 1; id <= 20; id++) {
        harness.log.stall()
        client.publish(`devices/single-${level}/telemetry`, payloadOf(id), 1, id)
        await until(() => harness.log.waiting > 0, 'the commit waits')
        assert.deepEqual(client.packets, [])
        harness.log.goOn()
        assert.equal((await client.take('puback')).messageId, id)
      }
      assert.equal(gathered(harness) - before, 20)
      client.end()
    }
    assert.equal(harness.count('acknowledged'), 40)
    await harness.close()
  },
)

test('over WebSocket the acknowledgement is a frame', options, async () => {
  const harness = await startIngest()
  const client = await mqtt.connectAsync(`ws://127.0.0.1:${harness.ports[0]!.ws}/mqtt`, {
    clientId: 'framed',
    protocolVersion: 5,
  })
  for (let seq = 1; seq <= 20; seq++)
    await client.publishAsync('devices/framed/telemetry', payloadOf(seq), { qos: 1 })
  assert.equal(gathered(harness), 20)
  // The frames around them are whole: what is sent by the handle still comes.
  await client.subscribeAsync('a')
  await client.endAsync()
  await harness.close()
})

test(
  'a second message, and a refused one, while the first waits: acknowledged in the order in which they came',
  options,
  async () => {
    const harness = await startIngest()
    const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'pile')
    harness.log.stall()
    client.publish('devices/pile/telemetry', payloadOf(1), 1, 11)
    await until(() => harness.log.waiting > 0, 'the commit waits')
    client.publish('devices/other/telemetry', payloadOf(2), 1, 12)
    client.publish('devices/pile/telemetry', payloadOf(3), 1, 13)
    client.send({ cmd: 'pingreq' })
    await client.take('pingresp')
    assert.deepEqual(client.packets, [])
    harness.log.goOn()
    await until(() => client.packets.length === 3, 'all acknowledged')
    assert.deepEqual(idsOf(client), [11, 12, 13])
    // One at a time again: back to the short way.
    for (let id = 14; id < 18; id++) {
      client.publish('devices/pile/telemetry', payloadOf(id), 1, id)
      await until(() => client.packets.length === id - 10, 'acknowledged')
    }
    assert.deepEqual(idsOf(client), [11, 12, 13, 14, 15, 16, 17])
    assert.ok(gathered(harness) >= 3)
    await harness.close()
  },
)

test(
  'a message behind a refused one that is kept: acknowledged in the order in which they came',
  options,
  async () => {
    const harness = await startIngest()
    const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'mixed')
    harness.log.stall()
    client.publish('devices/mixed/telemetry', 'no datum', 1, 1)
    client.publish('devices/mixed/telemetry', payloadOf(2), 1, 2)
    await until(() => harness.count('accepted') === 1, 'both came')
    harness.log.goOn()
    await until(() => client.packets.length === 2, 'both acknowledged')
    assert.deepEqual(idsOf(client), [1, 2])
    await harness.close()
  },
)

test('Receive Maximum counts what waits there', options, async () => {
  const harness = await startIngest({ options: { receiveMaximum: 1 } })
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'greedy')
  harness.log.stall()
  client.publish('devices/greedy/telemetry', payloadOf(1), 1, 1)
  await until(() => harness.log.waiting > 0, 'the commit waits')
  client.publish('devices/greedy/telemetry', payloadOf(2), 1, 2)
  assert.equal((await client.take('disconnect')).reasonCode, 0x93)
  harness.log.goOn()
  await harness.close()
})

test(
  'a connection that ends while its acknowledgement waits: who has its descriptor next gets nothing of it',
  options,
  async () => {
    const harness = await startIngest()
    const port = harness.ports[0]!.mqtt
    for (const how of ['reset', 'end', 'disconnect', 'refused'] as const) {
      const gone: RawClient[] = []
      for (let i = 0; i < 8; i++) gone.push(await RawClient.connect(port, 5, `${how}-${i}`))
      harness.log.stall()
      for (const [i, client] of gone.entries())
        client.publish(`devices/${how}-${i}/telemetry`, payloadOf(i), 1, 100 + i)
      await until(() => harness.count('accepted') >= gone.length, 'all came')
      const closed = harness.count('disconnects') + gone.length
      for (const client of gone) {
        if (how === 'reset') client.socket.resetAndDestroy()
        else if (how === 'end') client.socket.end()
        else if (how === 'disconnect') client.send({ cmd: 'disconnect', reasonCode: 0 } as never)
        else client.publish('devices/x/telemetry', payloadOf(0), 2 as never, 1)
      }
      await until(() => harness.count('disconnects') === closed, 'all are gone')
      await nextGetNothing(harness, how)
    }
    assert.deepEqual(harness.failures, [])
    await harness.close()
  },
)

test(
  'a write that fails in the middle of a read: what is published behind it is acknowledged to nobody',
  options,
  async () => {
    const harness = await startIngest()
    const port = harness.ports[0]!.mqtt
    const gone: RawClient[] = []
    for (let i = 0; i < 8; i++) gone.push(await RawClient.connect(port, 5, `torn-${i}`))
    harness.log.stall()
    for (const [i, client] of gone.entries()) {
      client.atOnce(() => {
        client.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'a', qos: 0 }] })
        client.publish(`devices/torn-${i}/telemetry`, payloadOf(i), 1, 100 + i)
      })
      client.socket.resetAndDestroy()
    }
    await until(() => harness.count('disconnects') === gone.length, 'all are gone')
    assert.equal(harness.count('accepted'), gone.length)
    await nextGetNothing(harness, 'torn')
    await harness.close()
  },
)

test('a client that is told goodbye while its acknowledgement waits is not cut off', options, async () => {
  const harness = await startIngest()
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'goodbye')
  harness.log.stall()
  client.publish('devices/goodbye/telemetry', payloadOf(1), 1, 1)
  await until(() => harness.count('accepted') === 1, 'it came')
  client.socket.pause()
  client.publish('devices/goodbye/telemetry', payloadOf(2), 2, 2)
  await until(() => harness.count('disconnects') === 1, 'the session has ended')
  harness.log.goOn()
  await harness.workers[0]!.accumulator.drained()
  // To a socket that is closed this would be a reset, by which other systems lose the goodbye.
  const errors: Error[] = []
  client.socket.on('error', (error) => errors.push(error))
  client.send({ cmd: 'pingreq' })
  await sleep(50)
  client.socket.resume()
  assert.equal((await client.take('disconnect')).reasonCode, 0x9b)
  await client.closed()
  assert.deepEqual(client.packets, [])
  assert.deepEqual(errors, [])
  await harness.close()
})

for (const when of ['before', 'after'] as const)
  test(
    `a client whose packets wait in the kernel ${when} it publishes gets whole packets only`,
    options,
    async () => {
      const harness = await startIngest()
      const port = harness.ports[0]!.mqtt
      const slow = await RawClient.connect(port, 5, 'slow')
      const loud = await RawClient.connect(port, 5, 'loud')
      slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'flood/#', qos: 0 }] })
      await slow.take('suback')
      slow.socket.pause()
      const text = Buffer.alloc(5000, 'flood')
      let flooded = 0
      // A message is left out when megabytes wait that the kernel does not take.
      const flood = async () => {
        while (harness.count('deliveryDropped') === 0) {
          for (let i = 0; i < 50; i++, flooded++) loud.publish('flood/1', text, 0)
          loud.send({ cmd: 'pingreq' })
          await loud.take('pingresp')
        }
      }
      harness.log.stall()
      const publish = async () => {
        const { waiting } = harness.log
        slow.publish('devices/slow/telemetry', payloadOf(1), 1, 7)
        await until(() => harness.log.waiting > waiting, 'the commit waits')
      }
      if (when === 'before') await flood()
      await publish()
      if (when === 'after') await flood()
      // There is room in the kernel again before the event loop could write the rest of the packet that it has begun.
      while (slow.socket.read() !== null);
      slow.socket.emit('data', readNow(slow.socket))
      harness.log.goOn()
      await harness.workers[0]!.accumulator.drained()
      slow.socket.resume()
      await until(() => slow.packets.some(({ cmd }) => cmd === 'puback'), 'acknowledged')
      await until(() => slow.packets.length === flooded - harness.count('deliveryDropped') + 1, 'all came')
      for (const packet of slow.packets)
        if (packet.cmd === 'publish') assert.ok(text.equals(packet.payload as Buffer))
      await harness.close()
    },
  )

test('a partition over its backlog: its clients wait, one message in flight or not', options, async () => {
  const harness = await startIngest()
  const client = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'held')
  harness.log.refusal = new MillraceError('backlog_full', 'the stage is behind')
  client.publish('devices/held/telemetry', payloadOf(1), 1, 1)
  const { accumulator } = harness.workers[0]!
  await until(() => accumulator.heldPartitions.size > 0, 'the partition is held')
  // Another stream's commits go on.
  const other = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'other')
  for (let id = 1; id <= 3; id++) {
    other.publish('ordinary/topic', payloadOf(id), 1, id)
    await other.take('puback')
  }
  client.send({ cmd: 'pingreq' })
  await client.take('pingresp')
  assert.deepEqual(client.packets, [])
  harness.log.refusal = undefined
  assert.equal((await client.take('puback', 5000)).messageId, 1)
  await harness.close()
})
