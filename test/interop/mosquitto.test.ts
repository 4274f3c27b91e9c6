// mosquitto_pub and mosquitto_sub as a user would call them.
import assert from 'node:assert/strict'
import { execFile, spawn } from 'node:child_process'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { reading } from '../environment.ts'
import { account, query, startProcess, temporaryFolder, until } from '../millrace-process.ts'

const run = promisify(execFile)

for (const version of ['mqttv311', 'mqttv5']) {
  test(`mosquitto_pub and mosquitto_sub, ${version}: live delivery, then rows`, async (t) => {
    const data = temporaryFolder(t)
    const running = await startProcess(data)
    t.after(() => running.kill())
    const address = ['-h', '127.0.0.1', '-p', String(running.mqttPort), '-V', version]
    const subscriber = spawn(
      'mosquitto_sub',
      [...address, '-i', 'viewer', '-q', '1', '-t', 'devices/+/telemetry', '-t', 'news/#', '-C', '3', '-v'],
      { stdio: ['ignore', 'pipe', 'pipe'] },
    )
    t.after(() => subscriber.kill())
    const exited = new Promise((resolve) => subscriber.once('exit', resolve))
    let received = ''
    subscriber.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      received += chunk
    })
    await until('the subscriptions', async () => {
      const metrics = await (await fetch(`${running.http}/metrics`)).text()
      return /^millrace_ingest_subscriptions\{worker="0"\} 2$/m.test(metrics) ? true : undefined
    })
    for (const seq of [1, 2])
      await run('mosquitto_pub', [
        ...address,
        '-i',
        `sensor-${seq}`,
        '-q',
        '1',
        '-t',
        `devices/sensor-${seq}/telemetry`,
        '-m',
        JSON.stringify(reading(seq)),
      ])
    await run('mosquitto_pub', [
      ...address,
      '-i',
      'writer',
      '-q',
      '1',
      '-t',
      'news/today',
      '-m',
      'ordinary topics work too',
    ])
    await exited
    assert.match(received, /devices\/sensor-1\/telemetry \{/)
    assert.match(received, /devices\/sensor-2\/telemetry \{/)
    assert.match(received, /news\/today ordinary topics work too/)
    await until('two rows', async () => ((await account(running.http))['rows'] === 2 ? true : undefined))
    const rows = await query(data, 'SELECT device_id FROM telemetry ORDER BY 1')
    assert.deepEqual(
      rows.map((row) => row['device_id']),
      ['sensor-1', 'sensor-2'],
    )
  })
}
