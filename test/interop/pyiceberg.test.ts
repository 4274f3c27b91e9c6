// PyIceberg opens catalog.db and reads back every value of both shipped contracts; payloads are encoded by avsc.
// Between the two stands all of Millrace, and no code of either is ours.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { account, startProcess, temporaryFolder, until } from '../millrace-process.ts'
import { bySeq, codec, environment, machine, withoutEmptyMaps } from './contract-rows.ts'
import { type Row, readPyIceberg } from './readers.ts'

const LINEAGE = ['_log_partition', '_offset', '_receive_time', '_schema_id', '_late_ms', '_quality']

test('PyIceberg reads every value of both contracts, rejected records too', async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data)
  t.after(() => running.kill())
  const now = Date.now()
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  const telemetry = await codec(running.http, 'default.telemetry-value')
  const nested = await codec(running.http, 'default.machine-value')
  const sent: Row[] = []
  const machines: Row[] = []
  for (let i = 0; i < 300; i++) {
    sent.push(environment(i, now))
    await client.publishAsync('devices/dut/telemetry', telemetry(sent[i]), { qos: 1 })
  }
  for (let i = 0; i < 100; i++) {
    const one = machine(i, now)
    machines.push(one.expected)
    await client.publishAsync('devices/dut/machine', nested(one.sent), { qos: 1 })
  }
  await assert.rejects(
    client.publishAsync('devices/dut/telemetry', Buffer.from('{"seq":"x"}'), { qos: 1 }),
    /Payload format invalid|payload format/i,
  )
  await client.endAsync()
  await until('all rows', async () => {
    const value = await account(running.http)
    return value['rows'] === 400 && value['rejectedRows'] === 1 ? true : undefined
  })
  const rows = await readPyIceberg(data, 'default.telemetry')
  assert.deepEqual(Object.keys(rows[0]!), ['device_id', ...Object.keys(sent[0]!), ...LINEAGE])
  assert.deepEqual(
    rows.sort(bySeq).map((row) => Object.fromEntries(Object.keys(sent[0]!).map((name) => [name, row[name]]))),
    sent,
  )
  for (const row of rows) {
    assert.equal(row['device_id'], 'dut')
    assert.ok(Math.abs(Number(row['_receive_time']) / 1000 - now) < 120_000)
  }
  assert.equal(new Set(rows.map((row) => `${row['_log_partition']}/${row['_offset']}`)).size, 300)
  const machineRows = (await readPyIceberg(data, 'default.machine')).sort(bySeq)
  assert.deepEqual(
    machineRows.map((row) =>
      withoutEmptyMaps(Object.fromEntries(Object.keys(machines[0]!).map((name) => [name, row[name]]))),
    ),
    machines.map(withoutEmptyMaps),
  )
  const [rejected] = await readPyIceberg(data, 'default.telemetry_rejected')
  assert.equal(rejected!['device'], 'dut')
  assert.equal(Buffer.from(String(rejected!['payload']), 'hex').toString(), '{"seq":"x"}')
  // What a running writer adds is there for a reader that opens the table again, and after the drain too.
  assert.equal(await running.stop(), 0)
  assert.equal((await readPyIceberg(data, 'default.telemetry')).length, 300)
})
