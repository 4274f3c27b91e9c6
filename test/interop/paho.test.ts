// paho (Python) over TCP and WebSocket, 3.1.1 and 5.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { test } from 'node:test'
import { reading } from '../environment.ts'
import { account, startProcess, temporaryFolder, until } from '../millrace-process.ts'

const PYTHON = path.resolve(import.meta.dirname, '../../.interop/venv/bin/python')
const SCRIPT = path.join(import.meta.dirname, 'paho_publish.py')
const COUNT = 200

test('paho: every message acknowledged and in the table; a bad one refused by its reason', async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data)
  t.after(() => running.kill())
  let sent = 0
  for (const [transport, version] of [
    ['tcp', '3'],
    ['tcp', '5'],
    ['websockets', '3'],
    ['websockets', '5'],
  ] as const) {
    const port = transport === 'tcp' ? running.mqttPort : running.wsPort
    const lines = Array.from({ length: COUNT }, (_, i) => JSON.stringify(reading(i)))
    if (version === '5') lines[COUNT - 1] = '{"temperature":"warm"}'
    const output = execFileSync(
      PYTHON,
      [SCRIPT, '127.0.0.1', String(port), transport, version, `paho-${transport}-${version}`, String(COUNT)],
      { input: lines.join('\n'), encoding: 'utf8' },
    )
    const told = JSON.parse(output) as { acknowledged: number; refused: [number, string][] }
    assert.equal(told.acknowledged, version === '5' ? COUNT - 1 : COUNT)
    if (version === '5') assert.match(told.refused[0]![1], /format invalid/i)
    sent += told.acknowledged
  }
  const after = await until('all rows', async () => {
    const now = await account(running.http)
    return now['rows'] === sent && now['rejectedRows'] === 2 ? now : undefined
  })
  assert.equal(after['raw'], sent)
  assert.equal(after['rejectedAtDoor'], 2)
})
