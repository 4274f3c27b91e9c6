// Any bytes at all: valid conversations with bytes changed, dropped, doubled and cut anywhere. No exception
// reaches the worker, no failure is reported, and a bystander is served all the while.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mqttPacket, { type Packet } from 'mqtt-packet'
import { seededRandom } from '../std/random.ts'
import { payloadOf, RawClient, startIngest, until } from './ingest-harness.ts'

const ROUNDS = process.env.MILLRACE_LONG === '1' ? 20_000 : 400
const SEED = Number(process.env.MILLRACE_SEED ?? 20_261_124)

function randomOf(seed: number): (below: number) => number {
  const random = seededRandom(seed)
  return (below) => Math.floor(random() * below)
}

function conversation(random: (below: number) => number, id: string, level: 4 | 5): Buffer {
  const packets: Packet[] = [
    {
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: level,
      clean: true,
      clientId: id,
      keepalive: random(100),
      ...(random(3) === 0 && {
        will: { topic: `wills/${id}`, payload: Buffer.from('w'), qos: 1, retain: false },
      }),
    } as Packet,
  ]
  for (let i = 1 + random(12); i > 0; i--) {
    const choices: Packet[] = [
      {
        cmd: 'publish',
        topic: `devices/${id}/telemetry`,
        payload: payloadOf(i),
        qos: 1,
        messageId: i,
        dup: false,
        retain: false,
      },
      { cmd: 'publish', topic: `ordinary/${i}`, payload: 'x', qos: 0, dup: false, retain: false },
      {
        cmd: 'publish',
        topic: 'aliased',
        payload: 'x',
        qos: 0,
        dup: false,
        retain: false,
        ...(level === 5 && { properties: { topicAlias: 1 } }),
      },
      {
        cmd: 'subscribe',
        messageId: i,
        subscriptions: [
          { topic: `ordinary/#`, qos: 1 },
          { topic: 'wills/+', qos: 0 },
        ],
      },
      { cmd: 'unsubscribe', messageId: i, unsubscriptions: ['ordinary/#'] },
      { cmd: 'pingreq' },
      { cmd: 'puback', messageId: i },
      { cmd: 'disconnect' } as Packet,
    ]
    packets.push(choices[random(choices.length)]!)
  }
  return Buffer.concat(packets.map((packet) => mqttPacket.generate(packet, { protocolVersion: level })))
}

function damage(random: (below: number) => number, bytes: Buffer): Buffer {
  const out = Buffer.from(bytes)
  for (let i = random(4); i > 0; i--) out[random(out.length)] = random(256)
  const at = random(out.length)
  switch (random(4)) {
    case 0:
      return Buffer.concat([out.subarray(0, at), out.subarray(at + random(8))])
    case 1:
      return Buffer.concat([out, out.subarray(at)])
    case 2:
      return out.subarray(0, at)
    default:
      return out
  }
}

test(`${ROUNDS} damaged conversations, seed ${SEED}: no failure, nobody else disturbed`, async () => {
  const harness = await startIngest({ workers: 2 })
  const bystander = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'bystander')
  const random = randomOf(SEED)
  const left: RawClient[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const level = random(2) === 0 ? 4 : 5
    const client = await RawClient.open(harness.ports[random(2)]!.mqtt, level)
    // What comes back may be anything; mqtt-packet need not understand it.
    client.socket.removeAllListeners('data').resume()
    const bytes = damage(random, conversation(random, `fuzz-${random(5)}`, level))
    const cut = random(bytes.length + 1)
    client.socket.write(bytes.subarray(0, cut))
    if (random(2) === 0) await sleep(1)
    client.socket.write(bytes.subarray(cut))
    left.push(client)
    if (left.length > 20) left.shift()!.end()
    if (round % 100 === 0) {
      bystander.publish('devices/bystander/telemetry', payloadOf(round), 1, round + 1)
      assert.equal((await bystander.take('puback')).reasonCode, 0)
    }
  }
  for (const client of left) client.end()
  bystander.send({ cmd: 'pingreq' })
  await bystander.take('pingresp')
  bystander.end()
  await until(() => harness.count('connections') === 0, 'all have gone')
  assert.deepEqual(
    [harness.count('sessions'), harness.count('subscriptions'), harness.count('pausedReads')],
    [0, 0, 0],
  )
  assert.ok(harness.count('malformedPackets') > ROUNDS / 20)
  await harness.close()
  assert.deepEqual(harness.failures, [])
})
