// kill -9 of the real process under QoS 1 load, again and again, on two workers; clients resend what was not
// acknowledged. Whatever was acknowledged is in the table exactly once. The page cache survives kill -9, so what
// this cannot show is a missing sync: test/crash.test.ts does, on the simulated disk.
//
// Twice: with the load on the door, and with the load on the sink, which commits ten times a second to three days at
// once, in encoder threads, while expiry, merging and compaction go on beside it.
import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt, { type MqttClient } from 'mqtt'
import { seededRandom } from '../std/random.ts'
import { environmentCodec, reading } from './environment.ts'
import {
  account,
  type MillraceProcess,
  query,
  startProcess,
  temporaryFolder,
  until,
} from './millrace-process.ts'

const IS_LONG = process.env['MILLRACE_LONG'] !== undefined
const DAY_MS = 86_400_000

interface Setting {
  what: string
  rounds: number
  args: readonly string[]
  /** Event time of a device's message in ms. */
  eventMs(startedMs: number, seq: number): number
  /** Milliseconds of load until the kill, at least and at most. */
  killMs: readonly [number, number]
}

const DOOR: Setting = {
  what: 'under load',
  rounds: IS_LONG ? 100 : 30,
  // Maintenance has its turn below; without its thread each of the many starts takes a tenth of a second less.
  args: [
    ...['--workers', '2', '--sink-commit-age-ms', '200', '--sink-encoders', '0'],
    ...['--table-maintenance-ms', '0'],
  ],
  eventMs: (startedMs, seq) => startedMs + seq,
  killMs: [50, 450],
}

const SINK: Setting = {
  what: 'while the sink commits and maintains its table',
  rounds: IS_LONG ? 60 : 3,
  args: [
    ...['--sink-commit-age-ms', '100', '--sink-encoders', '2', '--table-maintenance-ms', '200'],
    ...['--table-snapshots-max', '3', '--table-snapshot-age-ms', '0'],
  ],
  eventMs: (startedMs, seq) => startedMs - (seq % 3) * DAY_MS + seq,
  killMs: [200, 1200],
}

const DEVICES = 8
const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_124)

interface Device {
  id: string
  /** Next message to send; what is below and not acknowledged is sent again after a crash. */
  next: number
  acknowledged: Set<number>
  unacknowledged: Map<number, Buffer>
}

/** Publishes until the connection breaks: first what was never acknowledged, then new messages. */
async function run(
  device: Device,
  url: string,
  encode: (seq: number) => Buffer,
  isOver: () => boolean,
): Promise<void> {
  const options = {
    clientId: device.id,
    protocolVersion: 5,
    reconnectPeriod: 0,
    connectTimeout: 5000,
  } as const
  // Without retries: otherwise a connection that is reset before its CONNACK settles nothing, and the round never ends.
  const client: MqttClient = await mqtt.connectAsync(url, options, false)
  client.on('error', () => {})
  let inFlight = 0
  const publish = (seq: number, payload: Buffer): void => {
    inFlight++
    device.unacknowledged.set(seq, payload)
    client.publish(`devices/${device.id}/telemetry`, payload, { qos: 1 }, (error) => {
      inFlight--
      if (error) return
      device.acknowledged.add(seq)
      device.unacknowledged.delete(seq)
    })
  }
  for (const [seq, payload] of [...device.unacknowledged]) publish(seq, payload)
  while (!isOver() && client.connected) {
    while (inFlight < 50 && client.connected && !isOver()) {
      const seq = device.next++
      publish(seq, encode(seq))
    }
    await sleep(1)
  }
  // A last chance for acknowledgements that are under way when nothing was killed.
  for (let i = 0; i < 200 && client.connected && inFlight > 0; i++) await sleep(5)
  await client.endAsync(true)
}

async function kill(t: TestContext, setting: Setting): Promise<void> {
  const data = temporaryFolder(t)
  const next = seededRandom(SEED)
  const { rounds } = setting
  const [least, most] = setting.killMs
  const devices: Device[] = Array.from({ length: DEVICES }, (_, i) => ({
    id: `device-${i}`,
    next: 0,
    acknowledged: new Set(),
    unacknowledged: new Map(),
  }))
  const started = Date.now()
  let running: MillraceProcess | undefined
  t.after(() => running?.kill())
  for (let round = 0; round <= rounds; round++) {
    const last = round === rounds
    running = await startProcess(data, ['--status', 'off', ...setting.args])
    const codec = await environmentCodec(running.http)
    let over = false
    const sending = devices.map((device) =>
      // The round itself may kill the process while a client connects.
      run(
        device,
        running!.url,
        (seq) => codec.encode(reading(seq, setting.eventMs(started, seq))),
        () => over,
      ).catch(() => {}),
    )
    await sleep(last ? 300 : least + next() * (most - least))
    if (last) {
      over = true
      await Promise.all(sending)
      break
    }
    // In the middle of it: the clients stop only because their connections break.
    await running.kill()
    over = true
    await Promise.all(sending)
  }
  for (const device of devices)
    assert.equal(device.unacknowledged.size, 0, `${device.id}: the last round leaves nothing open`)
  await until('normalize and sink to be done', async () => {
    const now = await account(running!.http)
    return now['rows'] === now['normalized'] &&
      now['raw'] === now['normalized']! + now['duplicates']! + now['rejected']!
      ? now
      : undefined
  })
  assert.equal(await running!.stop(), 0)
  const rows = await query(
    data,
    'SELECT device_id, seq::INT AS seq, count(*)::INT AS n FROM telemetry GROUP BY ALL',
  )
  const twice = rows.filter((row) => row['n'] !== 1)
  assert.deepEqual(twice, [])
  const stored = new Set(rows.map((row) => `${row['device_id']}/${row['seq']}`))
  let acknowledged = 0
  for (const device of devices)
    for (const seq of device.acknowledged) {
      acknowledged++
      assert.ok(
        stored.has(`${device.id}/${seq}`),
        `${device.id} seq ${seq} was acknowledged and is not in the table`,
      )
    }
  assert.ok(acknowledged > rounds * DEVICES, `only ${acknowledged} messages got through`)
  assert.equal(stored.size, acknowledged)
}

for (const setting of [DOOR, SINK])
  test(
    `${setting.rounds} rounds of kill -9 ${setting.what}: acknowledged means in the table, exactly once (seed ${SEED})`,
    {
      timeout: 900_000,
    },
    (t) => kill(t, setting),
  )
