// A contract changes while the process runs: what its table cannot follow is refused with words, before anything is
// stored; what it can is in force, and old rows read as they should.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { account, query, startProcess, temporaryFolder, until } from './millrace-process.ts'

const contract = (version: number, fields: string[], table = '{ bucket_devices: 4 }'): string => `millrace: 1
family: probe
version: ${version}
streams:
  probe:
    fields:
${fields.map((field) => `      - ${field}`).join('\n')}
    table: ${table}
    partitions: 1
`
const AT = '{ name: at, type: timestamp-micros, role: event_time }'
const OTHER = '{ name: other, type: timestamp-micros }'
const N = '{ name: n, type: int }'

test('bucket, event time and types of a table cannot change; additions, renames and widening can', async (t) => {
  const data = temporaryFolder(t)
  const running = await startProcess(data, ['--sink-commit-age-ms', '100'])
  t.after(() => running.kill())
  const register = async (text: string): Promise<{ status: number; body: string }> => {
    const headers = { 'content-type': 'application/yaml' }
    const answer = await fetch(`${running.http}/v1/contracts`, { method: 'POST', headers, body: text })
    return { status: answer.status, body: await answer.text() }
  }
  const refused = async (text: string, why: RegExp): Promise<void> => {
    const { status, body } = await register(text)
    assert.equal(status, 422, body)
    assert.match(body, why)
  }
  const accepted = async (text: string): Promise<void> => {
    const { status, body } = await register(text)
    assert.ok(status < 300, `${status} ${body}`)
  }
  await accepted(contract(1, [AT, OTHER, N]))
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  t.after(() => client.endAsync(true))
  const now = Date.now() * 1000
  const send = (fields: object) =>
    client.publishAsync('devices/dut/probe', JSON.stringify({ at: now, other: now, ...fields }), { qos: 1 })
  const rows = (count: number) =>
    until(`${count} rows`, async () => ((await account(running.http))['rows'] === count ? true : undefined))
  await send({ n: 1 })
  await rows(1)

  await refused(
    contract(2, [AT, OTHER, N], '{ bucket_devices: 8 }'),
    /by bucket\[4\] of the device, the contract says by bucket\[8\] of the device: that is fixed when the table is made; set table\.bucket_devices to 4/,
  )
  await refused(contract(2, [AT, OTHER, N], '{}'), /the contract says not by bucket of the device/)
  await refused(
    contract(2, [AT, OTHER, '{ name: n, type: double }']),
    /n: a table column of type int cannot become double/,
  )
  await refused(
    contract(2, [
      '{ name: at, type: timestamp-micros }',
      '{ name: other, type: timestamp-micros, role: event_time }',
      N,
    ]),
    /a stream's event time cannot move to another field/,
  )
  await refused(
    contract(2, [OTHER.replace(' }', ', role: event_time }'), N]),
    /event time|partitioned by a column that the contract drops/,
  )

  // Where nothing is compared, the table still stands, and rows of the old schema may wait in the log.
  const level = await fetch(`${running.http}/schema-registry/config/default.probe-value`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ compatibility: 'NONE' }),
  })
  assert.equal(level.status, 200)
  const millis = OTHER.replace('micros', 'millis')
  await refused(contract(2, [AT, millis, N]), /other: timestamp-micros cannot be read as timestamp-millis/)

  await accepted(
    contract(2, [
      '{ name: number, type: long, aliases: [n] }',
      AT,
      OTHER,
      '{ name: note, type: string, nullable: true }',
    ]),
  )
  await send({ number: 2 ** 40, note: 'x' })
  await rows(2)
  assert.equal(await running.stop(), 0)
  assert.deepEqual(await query(data, 'SELECT number::VARCHAR AS number, note FROM probe ORDER BY 1'), [
    { number: '1', note: null },
    { number: String(2 ** 40), note: 'x' },
  ])
})

test('partitions: the contract says how many, else the topics that exist, else the configuration', async (t) => {
  const data = temporaryFolder(t)
  const withPartitions = (family: string, version: number, partitions = ''): string => `millrace: 1
family: ${family}
version: ${version}
streams:
  ${family}:
    fields: [{ name: n, type: int }]
${partitions}`
  const served = async (http: string): Promise<Record<string, number>> => {
    const answer = await fetch(`${http}/v1/streams`)
    const streams = (await answer.json()) as { stream: string; partitions: number }[]
    return Object.fromEntries(streams.map(({ stream, partitions }) => [stream, partitions]))
  }
  const register = async (http: string, text: string): Promise<number> => {
    const headers = { 'content-type': 'application/yaml' }
    const answer = await fetch(`${http}/v1/contracts`, { method: 'POST', headers, body: text })
    await answer.body?.cancel()
    return answer.status
  }
  const first = await startProcess(data, ['--log-partitions', '6'])
  t.after(() => first.kill())
  assert.ok((await register(first.http, withPartitions('silent', 1))) < 300)
  assert.ok((await register(first.http, withPartitions('fixed', 1, '    partitions: 2\n'))) < 300)
  assert.deepEqual(await served(first.http), { telemetry: 6, machine: 6, silent: 6, fixed: 2 })
  await first.stop()

  const second = await startProcess(data, ['--log-partitions', '3'])
  t.after(() => second.kill())
  assert.ok((await register(second.http, withPartitions('silent', 2))) < 300)
  assert.ok((await register(second.http, withPartitions('later', 1))) < 300)
  assert.deepEqual(await served(second.http), { telemetry: 6, machine: 6, silent: 6, fixed: 2, later: 3 })
  // What a contract says is meant: other topics are not taken for it.
  assert.equal(await register(second.http, withPartitions('later', 2, '    partitions: 4\n')), 422)
  await second.stop()
})
