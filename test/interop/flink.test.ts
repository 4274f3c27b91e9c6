// Flink reads the streams through the Kafka door, by the tables that `schema show --flink` writes: with its Kafka
// connector, and Confluent's own registry client in its format avro-confluent. The statements are those of
// docs/consumers.md.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { parseJson } from '../../sink/iceberg/json.ts'
import { account, LAUNCHER, startProcess, temporaryFolder, until } from '../millrace-process.ts'
import { block, runUntil } from './consumers-page.ts'
import { bySeq, codec, environment, machine } from './contract-rows.ts'
import type { Row } from './readers.ts'

const LIBS = path.resolve(import.meta.dirname, '../../.interop/flink/libs/*')
const COUNT = 24
const SECOND_MS = 1000
const MINUTE_MS = 60 * SECOND_MS

/**
 * Runs the script; resolves when it has ended, or has printed `enough` rows of its last statement, which never ends. What
 * Flink unpacks lies in `folder`.
 */
function flink(script: string, enough: number, folder: string): Promise<Row[][]> {
  const statements = script.split(/;\s*\n/).filter((statement) => statement.trim() !== '').length
  return runUntil(
    [
      'java',
      ...['-Xmx512m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1', '-Duser.timezone=UTC'],
      ...['-Dorg.slf4j.simpleLogger.defaultLogLevel=error', `-Djava.io.tmpdir=${folder}`, '-cp', LIBS],
      path.join(import.meta.dirname, 'flink/Sql.java'),
    ],
    (output) => {
      const results = output.split(/^;\n/m).map((rows) => rows.split('\n').slice(0, -1))
      if (results.length < statements || results.at(-1)!.length < enough) return undefined
      return results.map((rows) => rows.map((row) => parseJson(row) as Row))
    },
    { input: script },
  )
}

test('Flink finds every value as the device sent it, and windows of event time close', async (t) => {
  const running = await startProcess(temporaryFolder(t), ['--kafka', '127.0.0.1:0'])
  t.after(() => running.kill())
  const [flat, nested] = [
    await codec(running.http, 'default.telemetry-value'),
    await codec(running.http, 'default.machine-value'),
  ]
  // One reading every ten seconds of whole minutes: the watermark lies half a minute behind the newest.
  const now = Date.now()
  const startMs = Math.floor(now / MINUTE_MS) * MINUTE_MS - 10 * MINUTE_MS
  const readings = Array.from(
    { length: COUNT },
    (_, i): Row => ({
      ...environment(i, now),
      event_time: (startMs + i * 10 * SECOND_MS) * 1000 + i,
    }),
  )
  const machines = Array.from({ length: COUNT }, (_, i) => machine(i, now))
  const before = Date.now()
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  for (const [i, reading] of readings.entries()) {
    await client.publishAsync('devices/dut/telemetry', flat(reading), { qos: 1 })
    await client.publishAsync('devices/dut/machine', nested(machines[i]!.sent), { qos: 1 })
  }
  await client.endAsync()
  await until('all normalized', async () =>
    (await account(running.http))['normalized'] === 2 * COUNT ? true : undefined,
  )
  const tables = execFileSync(
    LAUNCHER,
    ['schema', 'show', 'environment', 'machine', '--flink'].concat([
      ...['--bootstrap', `127.0.0.1:${running.kafkaPort}`],
      ...['--registry', `${running.http}/schema-registry`],
    ]),
    { encoding: 'utf8' },
  )
  const bounded = block('sql', 'scan.bounded.mode')
  const [, , telemetry, nestedRows, , windows] = await flink(
    [tables, bounded, bounded.replace('telemetry', 'machine'), block('sql', 'WATERMARK')].join('\n'),
    // Minutes 0 to 2; the newest reading is of 3:50, so the watermark of 3:20.
    3,
    temporaryFolder(t),
  )

  for (const row of [...telemetry!, ...nestedRows!]) {
    assert.equal(row['device_id'], 'dut')
    assert.ok(Number(row['_receive_time']) >= before && Number(row['_receive_time']) <= Date.now())
  }
  const place = ({ device_id, _log_partition, _offset, _receive_time, ...fields }: Row): Row => fields
  assert.deepEqual(
    telemetry!.sort(bySeq).map(place),
    readings.map((reading) => ({
      ...reading,
      event_time_ts: Math.floor(Number(reading['event_time']) / 1000),
    })),
  )
  assert.deepEqual(
    telemetry!.map((row) => row['_offset']),
    readings.map((_, i) => i),
  )
  assert.deepEqual(
    nestedRows!.sort(bySeq).map(place),
    machines.map(({ sent, expected }) => ({
      ...expected,
      clock: sent['clock'],
      spindle: sent['spindle'],
      tools: sent['tools'],
      event_time_ts: Math.floor(Number(sent['event_time']) / 1000),
      clock_ts: sent['clock'],
    })),
  )
  assert.deepEqual(
    windows!.map((row) => [row['window_start'], row['device_id'], row['readings']]),
    [0, 1, 2].map((minute) => [new Date(startMs + minute * MINUTE_MS).toISOString().slice(0, 16), 'dut', 6]),
  )
})
