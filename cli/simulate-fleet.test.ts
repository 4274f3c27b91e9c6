import assert from 'node:assert/strict'
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { after, test } from 'node:test'
import { Aedes } from 'aedes'
import avsc from 'avsc'
import { isMillraceError } from '../std/errors.ts'
import { simulateFleet } from './simulate-fleet.ts'

const SCHEMA = {
  type: 'record',
  name: 'Telemetry',
  fields: [
    { name: 'event_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'seq', type: 'long' },
    { name: 'temperature', type: 'double' },
    { name: 'humidity', type: 'double' },
    { name: 'pressure', type: ['null', 'double'], default: null },
    { name: 'air_quality', type: ['null', 'double'], default: null },
    {
      name: 'occupancy',
      type: { type: 'enum', name: 'Occupancy', symbols: ['unknown', 'vacant', 'occupied'] },
      default: 'unknown',
    },
    { name: 'firmware', type: 'string' },
    { name: 'battery', type: 'double' },
  ],
} as const
const SCHEMA_ID = 77

interface Reading {
  event_time: number
  seq: number
  humidity: number
}

/** A registry that knows one schema. */
async function registry(): Promise<string> {
  const server = http.createServer((request, response) => {
    if (request.url !== '/schema-registry/subjects/default.telemetry-value/versions/latest') {
      response.writeHead(404).end('{"error_code":40401}')
      return
    }
    response.end(JSON.stringify({ id: SCHEMA_ID, version: 1, schema: JSON.stringify(SCHEMA) }))
  })
  server.listen(0, '127.0.0.1')
  after(() => server.close())
  await new Promise((resolve) => server.once('listening', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/schema-registry`
}

interface Broker {
  port: number
  /** Payloads by client id, in the order received. */
  received: Map<string, Buffer[]>
}

async function broker(): Promise<Broker> {
  const aedes = await Aedes.createBroker()
  const received = new Map<string, Buffer[]>()
  aedes.on('publish', (packet, client) => {
    if (client === null) return
    assert.equal(packet.topic, `devices/${client.id}/telemetry`)
    const payloads = received.get(client.id)
    if (payloads === undefined) received.set(client.id, [packet.payload as Buffer])
    else payloads.push(packet.payload as Buffer)
  })
  const server = net.createServer(aedes.handle)
  server.listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  after(async () => {
    server.close()
    await new Promise<void>((resolve) => aedes.close(() => resolve()))
  })
  return { port: (server.address() as AddressInfo).port, received }
}

test('the account of a fleet equals what a broker received, fault by fault', async () => {
  const { port, received } = await broker()
  const progress: number[] = []
  const account = await simulateFleet({
    mqtt: { host: '127.0.0.1', port },
    registry: await registry(),
    devices: 20,
    seconds: 1.5,
    messagesPerSecond: 2000,
    seed: 7,
    faults: { resend: 0.05, outOfRange: 0.03, late: 0.03, implausible: 0.02, breaks: 0 },
    onProgress: ({ part }) => progress.push(part),
  })
  assert.equal(account.sent, 3000)
  assert.equal(account.acknowledged, 3000)
  assert.equal(account.resent, 0)
  assert.equal(account.connections, 20)
  assert.equal(progress.at(-1), 1)
  assert.ok(progress.length > 2)

  const type = avsc.Type.forSchema(SCHEMA as unknown as avsc.Schema)
  let total = 0
  const found = { duplicates: 0, late: 0, implausible: 0, outOfRange: 0 }
  for (const payloads of received.values()) {
    const seen = new Set<string>()
    let watermark = 0
    for (const payload of payloads) {
      total++
      assert.equal(payload[0], 0)
      assert.equal(payload.readInt32BE(1), SCHEMA_ID)
      const reading = type.fromBuffer(payload.subarray(5)) as Reading
      const text = payload.toString('latin1')
      if (seen.has(text)) {
        found.duplicates++
        continue
      }
      seen.add(text)
      const eventMs = reading.event_time / 1000
      if (eventMs < 1e12) found.implausible++
      else if (eventMs < watermark - 600_000) found.late++
      else watermark = Math.max(watermark, eventMs)
      if (reading.humidity > 100) found.outOfRange++
    }
  }
  assert.equal(total, account.sent)
  assert.deepEqual(found, {
    duplicates: account.duplicatesSent,
    late: account.lateSent,
    implausible: account.implausibleSent,
    outOfRange: account.outOfRangeSent,
  })
  for (const [fault, count] of Object.entries(found)) assert.ok(count > 10, `${fault}: ${count}`)
})

test('broken connections lose nothing: every message is acknowledged in the end', async () => {
  const { port, received } = await broker()
  const account = await simulateFleet({
    mqtt: { host: '127.0.0.1', port },
    registry: await registry(),
    devices: 5,
    seconds: 1,
    messagesPerSecond: 1000,
    faults: { resend: 0, outOfRange: 0, late: 0, implausible: 0, breaks: 0.02 },
  })
  assert.equal(account.acknowledged, account.sent)
  assert.ok(account.disconnects >= 5, `${account.disconnects} disconnects`)
  assert.ok(account.connections > account.disconnects)
  assert.ok(account.resent > 0)
  let distinct = 0
  for (const payloads of received.values())
    distinct += new Set(payloads.map((payload) => payload.toString('latin1'))).size
  assert.equal(distinct, account.sent)
})

test('without a registry there is an error that says where it was looked for', async () => {
  await assert.rejects(
    simulateFleet({ mqtt: { host: '127.0.0.1', port: 1 }, registry: 'http://127.0.0.1:1/schema-registry' }),
    (error) => isMillraceError(error, 'server_unreachable') && error.message.includes('127.0.0.1:1'),
  )
  await assert.rejects(
    simulateFleet({ mqtt: { host: '127.0.0.1', port: 1 }, registry: await registry(), stream: 'other' }),
    (error) => isMillraceError(error, 'schema_unknown'),
  )
})
