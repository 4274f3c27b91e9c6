// What is kept of a message outlives the read that it came with: the receive buffer is shared by all connections
// of a worker, and the next read overwrites it.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { hashPassword } from '../identity/identity-secret.ts'
import { payloadOf, RawClient, recordsOf, startIngest, until } from './ingest-harness.ts'
import type { SocketMode } from './transport.ts'

const PASSWORD = 's3cret'
const DEVICES = 40
const MESSAGES = 400

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-receive-buffer-'))
after(() => fs.rmSync(folder, { recursive: true }))
const credentialsFile = path.join(folder, 'credentials.yaml')
const gateway = {
  tenant: 'default',
  gateway: 'hall',
  devices: ['room-*'],
  hash: await hashPassword(PASSWORD),
}
fs.writeFileSync(credentialsFile, JSON.stringify({ credentials: [gateway] }))

for (const socketMode of ['auto', 'handle', 'documented'] satisfies SocketMode[]) {
  test(`${socketMode}: a gateway's messages keep their devices, whatever else was read meanwhile`, async () => {
    const harness = await startIngest({ options: { credentialsFile, allowAnonymous: false, socketMode } })
    const login = { username: 'default/hall', password: Buffer.from(PASSWORD) }
    const client = await RawClient.connect(harness.ports[0]!.mqtt, 4, 'hall', login)
    const sent: string[] = []
    // Topics of one length at one position of the buffer, a read each: what was kept of the one before lies there.
    for (let i = 0; i < MESSAGES; i++) {
      const device = `room-${String((i * 7) % DEVICES).padStart(2, '0')}`
      client.publish(`devices/${device}/telemetry`, payloadOf(i), 1, i + 1)
      sent.push(`${device} ${payloadOf(i).toString('hex')}`)
      assert.equal((await client.take('puback')).messageId, i + 1)
    }
    client.end()
    const records = await recordsOf(harness.log, 'default.telemetry.raw')
    assert.deepEqual(records.map(({ key, value }) => `${key} ${value.toString('hex')}`).sort(), sent.sort())
    await harness.close()
    assert.deepEqual(harness.failures, [])
  })

  test(`${socketMode}: a live message that waits for its commit keeps its payload`, async () => {
    const harness = await startIngest({ options: { socketMode } })
    const port = harness.ports[0]!.mqtt
    const subscriber = await RawClient.connect(port, 5, 'a')
    subscriber.send({
      cmd: 'subscribe',
      messageId: 1,
      subscriptions: [{ topic: 'devices/a/telemetry', qos: 0 }],
    })
    await subscriber.take('suback')
    const [a, b] = [await RawClient.connect(port, 5, 'b'), await RawClient.connect(port, 5, 'c')]
    harness.log.stall()
    subscriber.publish('devices/a/telemetry', payloadOf(1, 'mine'), 1, 1)
    await until(() => harness.count('messagesInQos1') === 1, 'the first message came')
    a.publish('devices/b/telemetry', payloadOf(2, 'both'), 1, 1)
    b.publish('devices/c/telemetry', payloadOf(3, 'more'), 1, 1)
    await until(() => harness.count('messagesInQos1') === 3, 'the others came')
    harness.log.goOn()
    await until(() => subscriber.packets.length === 2, 'the message and its acknowledgement')
    const live = subscriber.packets.find((packet) => packet.cmd === 'publish')
    assert.deepEqual(live?.cmd === 'publish' && live.payload, payloadOf(1, 'mine'))
    for (const client of [subscriber, a, b]) client.end()
    await harness.close()
    assert.deepEqual(harness.failures, [])
  })
}
