// Rejected records go through again after their contract was fixed: from device to row, twice changes nothing.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { account, millrace, query, startProcess, temporaryFolder, until } from './millrace-process.ts'

const contract = (version: number, m: string, range: string): string => `millrace: 1
family: probe
version: ${version}
streams:
  probe:
    fields:
      - { name: at, type: timestamp-micros, role: event_time }
      - { name: n, type: int, range: ${range}, enforce: refuse }
      - ${m}
    partitions: 2
`

test('replay-rejected: fixed records become rows once, the others wait for the next fix', async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data, ['--sink-commit-age-ms', '100'])
  t.after(() => running.kill())
  const register = async (text: string): Promise<void> => {
    const headers = { 'content-type': 'application/yaml' }
    const answer = await fetch(`${running.http}/v1/contracts`, { method: 'POST', headers, body: text })
    assert.equal(answer.status, 201, await answer.text())
  }
  const arrived = (rows: number, rejectedRows: number): Promise<true> =>
    until(`${rows} rows, ${rejectedRows} rejected`, async () => {
      const found = await account(running.http)
      return found['rows'] === rows && found['rejectedRows'] === rejectedRows ? true : undefined
    })
  const replay = async (...args: string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await millrace([
      'replay-rejected',
      'probe',
      '--http',
      running.http,
      '--json',
      ...args,
    ])
    assert.equal(code, 0, stderr)
    const { sent, sentBefore, rejectedAgain, refused } = JSON.parse(stdout) as Record<string, unknown>
    return { sent, sentBefore, rejectedAgain, refused }
  }
  await register(contract(1, '{ name: m, type: string }', '[0, 10]'))
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  t.after(() => client.endAsync(true))
  const now = Date.now() * 1000
  const send = (n: unknown, m?: string) =>
    client.publishAsync('devices/dut/probe', JSON.stringify({ at: now + Number(n), n, m }), { qos: 1 })
  await send(1, 'fits')
  await assert.rejects(send(2), /payload format/i, 'm is missing')
  await assert.rejects(send('x', 'never'), /payload format/i)
  await send(50, 'out of range')
  await send(500, 'far out of range')
  await arrived(1, 4)

  assert.deepEqual(await replay(), { sent: 2, sentBefore: 0, rejectedAgain: 0, refused: { json_invalid: 2 } })
  // Nothing was fixed: those that only normalize can judge are rejected again, once.
  await arrived(1, 6)
  assert.deepEqual(await replay(), { sent: 0, sentBefore: 2, rejectedAgain: 2, refused: { json_invalid: 2 } })

  await register(contract(2, '{ name: m, type: string, nullable: true }', '[0, 100]'))
  assert.deepEqual(await replay('--dry-run'), {
    sent: 3,
    sentBefore: 2,
    rejectedAgain: 0,
    refused: { json_invalid: 1 },
  })
  assert.deepEqual(await replay('--code', 'json_invalid'), {
    sent: 1,
    sentBefore: 0,
    rejectedAgain: 0,
    refused: { json_invalid: 1 },
  })
  assert.deepEqual(await replay(), { sent: 2, sentBefore: 3, rejectedAgain: 0, refused: { json_invalid: 1 } })
  await arrived(3, 7)
  assert.deepEqual(await replay(), { sent: 0, sentBefore: 5, rejectedAgain: 1, refused: { json_invalid: 1 } })

  await register(contract(3, '{ name: m, type: string, nullable: true }', '[0, 1000]'))
  assert.equal((await replay())['sent'], 1)
  await arrived(4, 7)
  assert.equal((await replay())['sent'], 0)
  assert.equal(await running.stop(), 0)
  // A row has the time at which its record was first received.
  const rows = await query(
    data,
    `SELECT n, m, epoch_us(_receive_time) < ${now + 60_000_000} AS early FROM probe ORDER BY n`,
  )
  assert.deepEqual(rows, [
    { n: 1, m: 'fits', early: true },
    { n: 2, m: null, early: true },
    { n: 50, m: 'out of range', early: true },
    { n: 500, m: 'far out of range', early: true },
  ])
})

test('replay-rejected says what is wrong', async () => {
  const { code, stderr } = await millrace(['replay-rejected', 'probe', '--http', 'http://127.0.0.1:1'])
  assert.equal(code, 75)
  assert.match(stderr, /no Millrace answers at http:\/\/127\.0\.0\.1:1/)
  assert.equal((await millrace(['replay-rejected'])).code, 2)
})
