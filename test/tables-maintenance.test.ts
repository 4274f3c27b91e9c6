// Maintenance of the real process and by the real command, side by side, killed at any moment: the table holds exactly
// what was acknowledged, in fewer files.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt from 'mqtt'
import { environmentCodec, reading } from './environment.ts'
import {
  account,
  LAUNCHER,
  millrace,
  query,
  startProcess,
  temporaryFolder,
  until,
} from './millrace-process.ts'

const KILLS = process.env['MILLRACE_LONG'] === '1' ? 100 : 3
const DAY_MS = 86_400_000

test(`tables are maintained beside a running process, by itself and by command, under ${KILLS} kill -9`, async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data, ['--sink-commit-age-ms', '100', '--table-maintenance-ms', '500'])
  t.after(() => running.kill())
  const { encode } = await environmentCodec(running.http)
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  t.after(() => client.endAsync(true))
  let sent = 0
  const publish = async (): Promise<void> => {
    // Today, which is open, and two days that are closed but for late rows.
    const at = Date.now() - (sent % 3) * DAY_MS
    await client.publishAsync('devices/dut/telemetry', encode(reading(sent++, at)), { qos: 1 })
  }
  const publishing = (async () => {
    for (let i = 0; i < 40; i++) {
      await publish()
      await sleep(40)
    }
  })()
  const rowsArrived = (): Promise<true> =>
    until('all rows', async () => ((await account(running.http))['rows'] === sent ? true : undefined))
  const tables = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await millrace(['tables', ...args, '--data', data])
    assert.equal(code, 0, stderr)
    return stdout
  }
  const health = async (): Promise<Record<string, number>> =>
    JSON.parse(await tables('health', 'telemetry', '--json')) as Record<string, number>
  // Killed while it works, at moments spread over its run.
  for (let kill = 0; kill < KILLS; kill++) {
    const child = spawn(LAUNCHER, ['tables', 'maintain', '--data', data, '--table-snapshots-max', '3'], {
      stdio: 'ignore',
    })
    const exited = new Promise((resolve) => child.once('exit', resolve))
    await sleep(200 + ((kill * 137) % 800))
    child.kill('SIGKILL')
    await exited
  }
  await publishing
  await rowsArrived()
  for (let i = 0; i < 9; i++) await publish()
  await rowsArrived()
  const before = await health()
  const said = await tables('maintain', '--table-snapshots-max', '3')
  assert.match(said, /default\.telemetry\n {2}compaction {2}\d+ files .* into 2 .*, \d+ rows of 2 partitions/)
  const after = await health()
  assert.ok(after['files']! < before['files']!, JSON.stringify([before, after]))
  assert.equal(after['rows'], sent)
  assert.equal(after['sortedShare'], 1)
  await publish()
  await rowsArrived()
  const metrics = await (await fetch(`${running.http}/metrics`)).text()
  assert.match(metrics, /millrace_maintenance_looks(_total)?(\{[^}]*\})? [1-9]/)
  assert.equal(await running.stop(), 0)
  const [row] = await query(
    data,
    'SELECT count(*)::INT AS n, count(DISTINCT seq)::INT AS seqs FROM telemetry',
  )
  assert.deepEqual(row, { n: sent, seqs: sent })
  // With nobody beside it.
  assert.match(await tables('maintain'), /default\.telemetry_rejected/)
})
