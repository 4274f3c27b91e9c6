// A warehouse that cannot be written: devices are acknowledged, the log keeps their records, /readyz says what and
// where, and when it can be written again everything arrives without a restart.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import net, { type AddressInfo } from 'node:net'
import path from 'node:path'
import { test } from 'node:test'
import mqtt from 'mqtt'
import { environmentCodec, reading } from './environment.ts'
import { account, startProcess, temporaryFolder, until } from './millrace-process.ts'

test('a warehouse that turns unwritable, and back', async (t) => {
  const data = temporaryFolder(t)
  const warehouse = path.join(data, 'warehouse')
  const running = await startProcess(data, ['--sink-commit-age-ms', '100'])
  t.after(() => running.kill())
  const { encode } = await environmentCodec(running.http)
  const client = await mqtt.connectAsync(running.url, { clientId: 'dut', protocolVersion: 5 })
  t.after(() => client.endAsync(true))
  const send = (seq: number) => client.publishAsync('devices/dut/telemetry', encode(reading(seq)), { qos: 1 })
  const rows = (count: number) =>
    until(`${count} rows`, async () => ((await account(running.http))['rows'] === count ? true : undefined))
  await send(0)
  await rows(1)
  // Root may write a folder without permissions, but nobody below a file. One table's data folder is the trouble.
  const folder = path.join(warehouse, 'default', 'telemetry', 'data')
  fs.renameSync(folder, `${folder}-away`)
  fs.writeFileSync(folder, '')
  for (let seq = 1; seq <= 5; seq++) await send(seq)
  const said = await until('trouble', async () => {
    const answer = await fetch(`${running.http}/readyz`)
    return answer.status === 503 ? await answer.text() : undefined
  })
  assert.match(said, /table default\.telemetry: .*warehouse\/default\/telemetry\/data.* cannot be written/)
  // The rejected table is another one, and goes on.
  await assert.rejects(client.publishAsync('devices/dut/telemetry', Buffer.from('{'), { qos: 1 }))
  await until('a rejected row', async () =>
    (await account(running.http))['rejectedRows'] === 1 ? true : undefined,
  )
  fs.unlinkSync(folder)
  fs.renameSync(`${folder}-away`, folder)
  await rows(6)
  await until('ready again', async () =>
    (await fetch(`${running.http}/readyz`)).status === 200 ? true : undefined,
  )
  assert.equal(await running.stop(), 0)
})

// Three seconds of waiting: with `make soak`.
const isSkipped = process.env['MILLRACE_LONG'] !== '1'

test('a catalog that accepts and never answers: the start says what it waits for', {
  skip: isSkipped,
}, async (t) => {
  const silent = net.createServer()
  const sockets = new Set<net.Socket>()
  silent.on('connection', (socket) => sockets.add(socket))
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    silent.close()
    for (const socket of sockets) socket.destroy()
  })
  const catalog = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`
  const args = ['--catalog', catalog, '--warehouse-timeout-ms', '3000']
  const running = await startProcess(temporaryFolder(t), args, {}, { ready: false })
  t.after(() => running.kill())
  const told = `stream default.telemetry: waiting for its table, 2 s so far (catalog ${catalog})`
  assert.ok(running.output().includes(told), running.output())
})
