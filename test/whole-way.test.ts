// The whole way through the real process, with clients that nobody here wrote: what a new user does, and what
// the account says of it.
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import mqtt from 'mqtt'
import { environmentCodec, reading } from './environment.ts'
import { account, millrace, query, startProcess, temporaryFolder, until } from './millrace-process.ts'

/** Each way in, by the device that takes it; in the order of their names. */
const DOORS = [
  { device: 'tcp-3', scheme: 'mqtt', protocolVersion: 4 },
  { device: 'tcp-5', scheme: 'mqtt', protocolVersion: 5 },
  { device: 'ws-3', scheme: 'ws', protocolVersion: 4 },
  { device: 'ws-5', scheme: 'ws', protocolVersion: 5 },
] as const
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS

/** Waits until the tables hold all that the log took. */
async function settled(http: string): Promise<Record<string, number>> {
  return until('the tables to hold all records', async () => {
    const now = await account(http)
    const { raw, normalized, rejected, duplicates, rows, rejectedRows, rejectedAtDoor } = now as Record<
      string,
      number
    >
    const done =
      raw === normalized! + rejected! + duplicates! &&
      rows === normalized &&
      rejectedRows === rejected! + rejectedAtDoor!
    return done ? now : undefined
  })
}

// They mostly wait: for the age at which a table commits.
describe('the whole way', { concurrency: 3 }, () => {
  test('a JSON and an Avro message of each version over each transport become rows', async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data)
    t.after(() => running.kill())
    const codec = await environmentCodec(running.http)
    for (const { device, scheme, protocolVersion } of DOORS) {
      const url = scheme === 'mqtt' ? running.url : `ws://127.0.0.1:${running.wsPort}/mqtt`
      const client = await mqtt.connectAsync(url, { clientId: device, protocolVersion })
      await client.publishAsync(`devices/${device}/telemetry`, JSON.stringify(reading(1)), { qos: 1 })
      await client.publishAsync(`devices/${device}/telemetry`, codec.encode(reading(2)), { qos: 1 })
      await client.publishAsync(`devices/${device}/telemetry`, codec.encode(reading(3)), { qos: 0 })
      await client.endAsync()
    }
    const after = await until('three rows of each', async () => {
      const now = await settled(running.http)
      return now['rows'] === 3 * DOORS.length ? now : undefined
    })
    assert.equal(after['acknowledged'], 2 * DOORS.length)
    const rows = await query(
      data,
      'SELECT seq, temperature, pressure, occupancy, device_id FROM telemetry ORDER BY device_id, seq',
    )
    assert.deepEqual(
      rows.map((row) => [
        Number(row['seq']),
        row['temperature'],
        row['pressure'],
        row['occupancy'],
        row['device_id'],
      ]),
      DOORS.flatMap(({ device }) =>
        [1, 2, 3].map((seq) => {
          const expected = reading(seq)
          return [seq, expected.temperature, expected.pressure, expected.occupancy, device]
        }),
      ),
    )
    assert.equal(await running.stop(), 0)
  })

  test('drain and restart: nothing lost, nothing twice, schema ids survive', async (t) => {
    const data = temporaryFolder(t)
    let running = await startProcess(data)
    t.after(() => running.kill())
    const before = await environmentCodec(running.http)
    for (const round of [0, 1, 2]) {
      if (round > 0) running = await startProcess(data)
      const codec = await environmentCodec(running.http)
      assert.equal(codec.schemaId, before.schemaId)
      const client = await mqtt.connectAsync(running.url, { clientId: `d-${round}`, protocolVersion: 5 })
      await Promise.all(
        Array.from({ length: 500 }, (_, i) =>
          client.publishAsync(`devices/d-${round}/telemetry`, codec.encode(reading(i)), { qos: 1 }),
        ),
      )
      await client.endAsync()
      const started = Date.now()
      assert.equal(await running.stop(), 0)
      assert.ok(Date.now() - started < 20_000)
      const [row] = await query(
        data,
        'SELECT count(*) AS n, count(DISTINCT device_id || seq) AS d FROM telemetry',
      )
      assert.deepEqual([Number(row!['n']), Number(row!['d'])], [(round + 1) * 500, (round + 1) * 500])
    }
  })

  test('resets, backfills, resends, far days, equal device names: each with its account', async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data)
    t.after(() => running.kill())
    const codec = await environmentCodec(running.http)
    const now = Date.now()
    const client = await mqtt.connectAsync(running.url, { clientId: 'd', protocolVersion: 5 })
    const send = async (seq: number, timeMs: number): Promise<void> => {
      await client.publishAsync('devices/d/telemetry', codec.encode(reading(seq, timeMs)), { qos: 1 })
    }
    // A reset of the counter: the same numbers again at later times are other messages.
    for (let i = 0; i < 10; i++) await send(i, now - HOUR_MS + i)
    for (let i = 0; i < 10; i++) await send(i, now - HOUR_MS + 1000 + i)
    // A backfill, out of order and over many days.
    for (let i = 0; i < 20; i++) await send(1000 + i, now - ((i * 7) % 20) * DAY_MS)
    // A resend: same sequence, same time, same payload.
    for (let i = 0; i < 10; i++) await send(i, now - HOUR_MS + i)
    // An event time that no sensor can mean.
    await send(5000, now + 30 * DAY_MS)
    await client.endAsync()
    const after = await until('the account', async () => {
      const value = await settled(running.http)
      return value['raw'] === 51 ? value : undefined
    })
    assert.deepEqual(
      { ...after },
      {
        acknowledged: 51,
        raw: 51,
        normalized: 40,
        rejected: 1,
        rejectedAtDoor: 0,
        duplicates: 10,
        rows: 40,
        rejectedRows: 1,
      },
    )
    const [days] = await query(
      data,
      "SELECT count(DISTINCT date_trunc('day', event_time)) AS n, count(*) FILTER (WHERE _late_ms > 0) AS late FROM telemetry",
    )
    assert.ok(Number(days!['n']) >= 20)
    assert.ok(Number(days!['late']) >= 19)
    const [rejected] = await query(data, 'SELECT code, field, reason FROM telemetry_rejected')
    assert.equal(rejected!['field'], 'event_time')
  })

  test('two tenants may have devices of one name', async (t) => {
    const data = temporaryFolder(t)
    const { writeFileSync } = await import('node:fs')
    const contract = (tenant: string): string =>
      `millrace: 1\nfamily: ${tenant}_thing\nversion: 1\ntenant: ${tenant}\nstreams:\n  level:\n    fields:\n      - { name: value, type: long }\n`
    const contracts = temporaryFolder(t)
    writeFileSync(`${contracts}/a.yaml`, contract('acme'))
    writeFileSync(`${contracts}/b.yaml`, contract('blue'))
    const hash = async (password: string): Promise<string> =>
      (await millrace(['credentials', 'hash', '--password', password])).stdout.trim()
    writeFileSync(
      `${data}/credentials.yaml`,
      `credentials:\n  - { tenant: acme, device: pump, hash: "${await hash('one')}" }\n  - { tenant: blue, device: pump, hash: "${await hash('two')}" }\n`,
    )
    const running = await startProcess(data, [
      '--contracts',
      contracts,
      '--credentials',
      `${data}/credentials.yaml`,
    ])
    t.after(() => running.kill())
    for (const [username, password, value] of [
      ['acme/pump', 'one', 1],
      ['blue/pump', 'two', 2],
    ] as const) {
      const client = await mqtt.connectAsync(running.url, {
        clientId: 'pump',
        username,
        password,
        protocolVersion: 5,
      })
      await client.publishAsync('devices/pump/level', JSON.stringify({ value }), { qos: 1 })
      await client.endAsync()
    }
    await until('two rows', async () => ((await settled(running.http))['rows'] === 2 ? true : undefined))
    assert.deepEqual(await query(data, 'SELECT value::INT AS value FROM acme.level'), [{ value: 1 }])
    assert.deepEqual(await query(data, 'SELECT value::INT AS value FROM blue.level'), [{ value: 2 }])
  })

  test('a take-over on another worker: both sessions’ messages are rows, in order, once', async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data, ['--workers', '2'])
    t.after(() => running.kill())
    const codec = await environmentCodec(running.http)
    const now = Date.now()
    let sent = 0
    let takeovers = 0
    let acknowledged = 0
    // The kernel spreads connections over the workers: twenty sessions of one client id meet both.
    let before: mqtt.MqttClient | undefined
    for (let session = 0; session < 20; session++) {
      const closed = before && new Promise((resolve) => before!.once('close', () => resolve(undefined)))
      const client = await mqtt.connectAsync(running.url, {
        clientId: 'mover',
        protocolVersion: 5,
        reconnectPeriod: 0,
      })
      client.on('error', () => {})
      if (closed !== undefined) {
        await closed
        takeovers++
      }
      await Promise.all(
        Array.from({ length: 20 }, () => {
          const seq = sent++
          return client
            .publishAsync('devices/mover/telemetry', codec.encode(reading(seq, now + seq)), { qos: 1 })
            .then(() => acknowledged++)
        }),
      )
      before = client
    }
    await before!.endAsync()
    assert.equal(takeovers, 19)
    const after = await until('all rows', async () => {
      const value = await settled(running.http)
      return value['rows'] === sent ? value : undefined
    })
    assert.deepEqual(
      [acknowledged, after['acknowledged'], after['raw'], after['duplicates'], after['rejected']],
      [sent, sent, sent, 0, 0],
    )
    const rows = await query(data, 'SELECT seq::INT AS seq FROM telemetry ORDER BY _log_partition, _offset')
    assert.deepEqual(
      rows.map((row) => row['seq']),
      Array.from({ length: sent }, (_, i) => i),
    )
    const metrics = await (await fetch(`${running.http}/metrics`)).text()
    const perWorker = [
      ...metrics.matchAll(/millrace_ingest_messages_in_qos1_total\{worker="\d"\} (\d+)/g),
    ].map((match) => Number(match[1]))
    assert.ok(
      perWorker.every((count) => count > 0),
      `both workers took messages: ${perWorker.join(', ')}`,
    )
  })
})
