// PyIceberg opens catalog.db and reads back every value of both shipped contracts; payloads are encoded by avsc.
// Between the two stands all of Millrace, and no code of either is ours.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import avsc from 'avsc'
import mqtt from 'mqtt'
import { account, startProcess, temporaryFolder, until } from '../millrace-process.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')
const SCRIPT = path.join(import.meta.dirname, 'pyiceberg_read.py')
const DAY_MS = 86_400_000
const LINEAGE = ['_partition', '_offset', '_receive_time', '_schema_id', '_late_ms', '_quality']

type Row = Record<string, unknown>

function readTable(data: string, table: string): Row[] {
  const output = execFileSync(PYTHON, [SCRIPT, data, table], { encoding: 'utf8', maxBuffer: 1 << 28 })
  return output
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Row)
}

async function codec(http: string, subject: string): Promise<(record: unknown) => Buffer> {
  const answer = await fetch(`${http}/schema-registry/subjects/${subject}/versions/latest`)
  const { id, schema } = (await answer.json()) as { id: number; schema: string }
  const type = avsc.Type.forSchema(JSON.parse(schema) as avsc.Schema, { wrapUnions: false, logicalTypes: {} })
  return (record) => {
    const frame = Buffer.alloc(5)
    frame.writeInt32BE(id, 1)
    return Buffer.concat([frame, type.toBuffer(record)])
  }
}

function environment(i: number, now: number): Row {
  return {
    event_time: (now - (i % 5) * DAY_MS) * 1000 + i,
    seq: i,
    temperature: i === 7 ? 1e-300 : -40 + i * 0.37,
    humidity: (i * 13) % 100,
    pressure: i % 3 === 0 ? null : 990 + i / 7,
    air_quality: i % 4 === 0 ? null : i % 500,
    occupancy: ['unknown', 'vacant', 'occupied'][i % 3],
    firmware: i % 2 === 0 ? '1.4.0' : 'über-ünknown ✓',
    battery: 100 - (i % 100),
  }
}

/** Avro's decimal: the unscaled value, big-endian two's complement, of the least length. */
function decimalBytes(unscaled: bigint): Buffer {
  let hex = BigInt.asUintN(80, unscaled).toString(16).padStart(20, '0')
  while (
    hex.length > 2 &&
    ((hex.startsWith('00') && hex[2]! < '8') || (hex.startsWith('ff') && hex[2]! >= '8'))
  )
    hex = hex.slice(2)
  return Buffer.from(hex, 'hex')
}

function machine(i: number, now: number): { sent: Row; expected: Row } {
  const uuid = `00000000-0000-4000-8000-${i.toString(16).padStart(12, '0')}`
  const unscaled = (i % 2 === 0 ? 1n : -1n) * (123_456_789_012n + BigInt(i))
  const text = (unscaled < 0n ? -unscaled : unscaled).toString()
  const axes = Array.from({ length: i % 4 }, (_, n) => ({
    name: `axis-${n}`,
    position: n * 1.5 + i,
    torque: n % 2 === 0 ? null : n / 3,
  }))
  const greasedMs = i % 5 === 0 ? null : now - i
  const common = {
    event_time: (now - (i % 3) * DAY_MS) * 1000 + i,
    seq: i,
    firmware: i % 3 === 0 ? null : '2.0.1',
    run: uuid,
    state: ['off', 'idle', 'running', 'alarm'][i % 4],
    cycles: i * 1000 - 5,
    feed_override: Math.fround(i * 1.1),
    door_open: i % 2 === 1,
    alarms: Array.from({ length: i % 3 }, (_, n) => `E${n}-${'x'.repeat(n)}`),
    counters: Object.fromEntries(Array.from({ length: i % 4 }, (_, n) => [`counter ${n}`, 2 ** 40 + n])),
    axes,
  }
  const toolsAt = now * 1000 + i
  const spindle = { speed: i * 10.5, load: i % 2 === 0 ? null : i / 2, temperature: 20 + i }
  const tool = { tool: 'drill', wear: i % 2 === 0 ? null : 0.5 }
  return {
    sent: {
      ...common,
      clock: i % 2 === 0 ? null : now - 12_345 + i,
      energy: decimalBytes(unscaled),
      serviced_on: i % 4 === 0 ? null : 19_000 - i * 300,
      program_hash: Buffer.alloc(16, i),
      trace: i % 3 === 0 ? null : Buffer.from([0, 255, i]),
      spindle: { ...spindle, bearing: i % 2 === 0 ? null : { vibration: i / 9, greased_at: greasedMs } },
      tools: i % 2 === 0 ? {} : { T1: { ...tool, changed_at: toolsAt }, T2: { ...tool, changed_at: null } },
    },
    expected: {
      ...common,
      clock: i % 2 === 0 ? null : (now - 12_345 + i) * 1000,
      energy: `${unscaled < 0n ? '-' : ''}${text.slice(0, -3)}.${text.slice(-3)}`,
      serviced_on: i % 4 === 0 ? null : new Date((19_000 - i * 300) * DAY_MS).toISOString().slice(0, 10),
      program_hash: Buffer.alloc(16, i).toString('hex'),
      trace: i % 3 === 0 ? null : Buffer.from([0, 255, i]).toString('hex'),
      spindle: {
        ...spindle,
        bearing:
          i % 2 === 0 ? null : { vibration: i / 9, greased_at: greasedMs === null ? null : greasedMs * 1000 },
      },
      tools: i % 2 === 0 ? [] : { T1: { ...tool, changed_at: toolsAt }, T2: { ...tool, changed_at: null } },
    },
  }
}

/** An empty map and an empty list look alike in the script's JSON. */
const withoutEmptyMaps = (row: Row): Row =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'object' && value !== null && Object.keys(value).length === 0 ? [] : value,
    ]),
  )

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
  const rows = readTable(data, 'default.telemetry')
  const bySeq = (a: Row, b: Row): number => Number(a['seq']) - Number(b['seq'])
  assert.deepEqual(Object.keys(rows[0]!), ['device_id', ...Object.keys(sent[0]!), ...LINEAGE])
  assert.deepEqual(
    rows.sort(bySeq).map((row) => Object.fromEntries(Object.keys(sent[0]!).map((name) => [name, row[name]]))),
    sent,
  )
  for (const row of rows) {
    assert.equal(row['device_id'], 'dut')
    assert.ok(Math.abs(Number(row['_receive_time']) / 1000 - now) < 120_000)
  }
  assert.equal(new Set(rows.map((row) => `${row['_partition']}/${row['_offset']}`)).size, 300)
  const machineRows = readTable(data, 'default.machine').sort(bySeq)
  assert.deepEqual(
    machineRows.map((row) =>
      withoutEmptyMaps(Object.fromEntries(Object.keys(machines[0]!).map((name) => [name, row[name]]))),
    ),
    machines.map(withoutEmptyMaps),
  )
  const [rejected] = readTable(data, 'default.telemetry_rejected')
  assert.equal(rejected!['device'], 'dut')
  assert.equal(Buffer.from(String(rejected!['payload']), 'hex').toString(), '{"seq":"x"}')
  // What a running writer adds is there for a reader that opens the table again, and after the drain too.
  assert.equal(await running.stop(), 0)
  assert.equal(readTable(data, 'default.telemetry').length, 300)
})
