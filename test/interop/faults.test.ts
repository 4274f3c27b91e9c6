// The real process on real servers, with everything in between that networks, overloaded servers and full disks do to
// it: nothing acknowledged is lost, nothing comes twice, devices are slowed where their stream stands and no others, the
// status says what and where, and all of it goes on by itself.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import mqtt, { type MqttClient } from 'mqtt'
import { seededRandom } from '../../std/random.ts'
import { environmentCodec, reading } from '../environment.ts'
import { type Fault, FaultProxy, PASSING_FAULTS } from '../fault-proxy.ts'
import {
  account,
  type MillraceProcess,
  millrace,
  startProcess,
  temporaryFolder,
  until,
} from '../millrace-process.ts'
import { codec, machine } from './contract-rows.ts'
import { readPyIceberg } from './readers.ts'
import { S3_SECRET_KEY, s3Environment, startRestCatalog, startS3 } from './servers.ts'

const SEED = Number(process.env['MILLRACE_SEED'] ?? 20_261_125)
/** Parked tables are tried again after at most a minute. */
const RECOVERY_MS_MAX = 90_000
const PUBLISH_MS_MAX = 60_000

async function proxyOf(t: { after(end: () => Promise<void>): void }, port: number): Promise<FaultProxy> {
  const proxy = await FaultProxy.start(port)
  t.after(() => proxy.close())
  return proxy
}

async function connect(running: MillraceProcess, clientId: string): Promise<MqttClient> {
  return mqtt.connectAsync(running.url, { clientId, protocolVersion: 5, reconnectPeriod: 500 })
}

/** Sends readings `from` to `to`, and resolves when all are acknowledged. */
async function publish(running: MillraceProcess, device: string, from: number, to: number): Promise<void> {
  const { encode } = await environmentCodec(running.http)
  const client = await connect(running, device)
  const sent: Promise<unknown>[] = []
  for (let seq = from; seq < to; seq++)
    sent.push(client.publishAsync(`devices/${device}/telemetry`, encode(reading(seq)), { qos: 1 }))
  const late = sleep(PUBLISH_MS_MAX, 'late', { ref: false })
  if ((await Promise.race([Promise.all(sent), late])) === 'late')
    assert.fail(`no acknowledgement of ${device} for ${PUBLISH_MS_MAX} ms:\n${running.output().slice(-4000)}`)
  await client.endAsync()
}

/** What /readyz says, once it says what is expected. */
function trouble(running: MillraceProcess, expected: RegExp): Promise<string> {
  return until(
    `/readyz to say ${expected}`,
    async () => {
      const answer = await fetch(`${running.http}/readyz`)
      const text = await answer.text()
      return answer.status === 503 && expected.test(text) ? text : undefined
    },
    RECOVERY_MS_MAX,
  )
}

function rowsCommitted(running: MillraceProcess, rows: number): Promise<true> {
  return until(
    `${rows} rows`,
    async () => ((await account(running.http))['rows'] === rows ? true : undefined),
    RECOVERY_MS_MAX,
  )
}

test(`every fault of S3 and of the catalog at random, for a while, and a kill -9 in the middle (seed ${SEED})`, async (t) => {
  const folder = temporaryFolder(t)
  const s3 = await startS3(t, path.join(folder, 's3'))
  const warehouse = 's3://warehouse/lake'
  const rest = await startRestCatalog(t, { folder: path.join(folder, 'rest'), warehouse, s3Endpoint: s3.url })
  const [s3Proxy, restProxy] = [await proxyOf(t, s3.port), await proxyOf(t, rest.port)]
  const random = seededRandom(SEED)
  /** Each fault in its turn, at random moments. */
  const inTurn = (faults: readonly Fault[], part: number): (() => Fault | undefined) => {
    let next = 0
    return () => (random() < part ? faults[next++ % faults.length] : undefined)
  }
  s3Proxy.plan = inTurn(PASSING_FAULTS, 0.2)
  // Of the catalog's requests only a commit meets a conflict.
  const [onCommit, onOther] = [
    inTurn(['lost-409', 'status-409', ...PASSING_FAULTS], 0.4),
    inTurn(PASSING_FAULTS, 0.15),
  ]
  restProxy.plan = (method, url) => (method === 'POST' && url.includes('/tables/') ? onCommit() : onOther())
  const start = async (): Promise<MillraceProcess> => {
    const started = await startProcess(
      path.join(folder, 'data'),
      ['--catalog', restProxy.url, '--sink-commit-age-ms', '100', '--warehouse-timeout-ms', '500'],
      s3Environment(s3Proxy.url),
      { ready: false },
    )
    t.after(() => started.kill())
    return started
  }
  let running = await start()
  let sent = 0
  for (let half = 0; half < 2; half++) {
    for (const end = Date.now() + 8000; Date.now() < end; await sleep(200)) {
      await publish(running, `d${sent % 7}`, sent, sent + 20)
      sent += 20
    }
    // In the middle of whatever it is doing.
    if (half === 0) {
      await running.kill()
      running = await start()
    }
  }
  s3Proxy.plan = restProxy.plan = () => undefined
  await rowsCommitted(running, sent)
  for (const fault of [...PASSING_FAULTS, 'status-409', 'lost-409'] as const) {
    const count = (s3Proxy.counts.get(fault) ?? 0) + (restProxy.counts.get(fault) ?? 0)
    t.diagnostic(`${fault}: ${count}`)
    assert.ok(count > 0, `no ${fault} came about in the time: the storm was none`)
  }
  assert.equal(await running.stop(), 0)
  // Every file that the table refers to is there, for a reader that meets no faults.
  const rows = await readPyIceberg(rest.url, 'default.telemetry', s3Environment(s3.url))
  assert.deepEqual(
    rows.map((row) => Number(row['seq'])).sort((a, b) => a - b),
    Array.from({ length: sent }, (_, seq) => seq),
  )
})

test('files of one table cannot be written: its devices wait, others go on, and it catches up by itself', async (t) => {
  const folder = temporaryFolder(t)
  const s3 = await startS3(t, path.join(folder, 's3'))
  const proxy = await proxyOf(t, s3.port)
  const flags = ['--data', path.join(folder, 'data'), '--warehouse', 's3://warehouse/lake']
  const running = await startProcess(
    path.join(folder, 'data'),
    [
      ...flags.slice(2),
      '--sink-commit-age-ms',
      '200',
      '--warehouse-timeout-ms',
      '1000',
      '--log-backlog-bytes',
      String(1024 * 1024),
      '--log-segment-bytes',
      String(4 * 1024 * 1024),
    ],
    s3Environment(proxy.url),
  )
  t.after(() => running.kill())
  let failed = 0
  proxy.plan = (method, url) =>
    method === 'PUT' && url.includes('/default/telemetry/data/')
      ? failed++ % 7 === 3
        ? 'hang'
        : 'status-503'
      : undefined

  // More than the quotas of both topics of its partition take.
  const total = 4000
  const { encode } = await environmentCodec(running.http)
  const slowed = await connect(running, 'slowed')
  let acknowledged = 0
  let next = 0
  const lane = async (): Promise<void> => {
    while (next < total) {
      const payload = encode(reading(next++, Date.now(), { firmware: 'v'.repeat(1500) }))
      await slowed.publishAsync('devices/slowed/telemetry', payload, { qos: 1 })
      acknowledged++
    }
  }
  // Below the Receive Maximum that the server announces: this client leaves it to its user.
  const publishing = Array.from({ length: 500 }, lane)
  const text = await trouble(
    running,
    /table default\.telemetry: s3:\/\/warehouse\/lake\/default\/telemetry\/data\//,
  )
  assert.match(text, /cannot be written \(503/)
  const stood = await until(
    'acknowledgements to stop',
    async () => {
      const before = acknowledged
      await sleep(2000)
      return acknowledged === before ? before : undefined
    },
    60_000,
  )
  assert.ok(stood > 0 && stood < total, `${stood} of ${total} were acknowledged`)

  // Meanwhile another stream goes its way, from socket to row.
  const nested = await codec(running.http, 'default.machine-value')
  const other = await connect(running, 'other')
  const startedMs = Date.now()
  for (let i = 0; i < 20; i++)
    await other.publishAsync('devices/other/machine', nested(machine(i, Date.now()).sent), { qos: 1 })
  assert.ok(Date.now() - startedMs < 10_000, `20 acknowledgements took ${Date.now() - startedMs} ms`)
  await rowsCommitted(running, 20)
  t.diagnostic(`rows of the other stream after ${Date.now() - startedMs} ms`)
  assert.ok(acknowledged < total)

  proxy.plan = () => undefined
  await Promise.all(publishing)
  await rowsCommitted(running, total + 20)
  const answer = await millrace(
    ['query', 'SELECT count(*)::INT AS n, count(DISTINCT seq)::INT AS d FROM telemetry', '--json', ...flags],
    s3Environment(s3.url),
  )
  assert.deepEqual(JSON.parse(answer.stdout || answer.stderr), { n: total, d: total })
  await slowed.endAsync()
  await other.endAsync()
  assert.equal(await running.stop(), 0)
})

test('credentials that are refused: the status says by whom and where, the log keeps the rows', async (t) => {
  const folder = temporaryFolder(t)
  const s3 = await startS3(t, path.join(folder, 's3'))
  const warehouse = 's3://warehouse/lake'
  const rest = await startRestCatalog(t, { folder: path.join(folder, 'rest'), warehouse, s3Endpoint: s3.url })
  const proxy = await proxyOf(t, rest.port)
  const args = ['--catalog', proxy.url, '--sink-commit-age-ms', '200']
  const data = path.join(folder, 'data')
  const wrong = await startProcess(data, args, {
    ...s3Environment(s3.url),
    AWS_SECRET_ACCESS_KEY: 'not-the-secret-of-this-server',
  })
  t.after(() => wrong.kill())
  await publish(wrong, 'dut', 0, 10)
  const text = await trouble(wrong, /table default\.telemetry: s3:\/\/warehouse\/lake\/default\/telemetry\//)
  assert.match(text, /cannot be written \(403 SignatureDoesNotMatch/)
  assert.equal(await wrong.stop(), 0)
  assert.match(wrong.output(), /stopped: 10 records wait in the log for the next start/)
  assert.doesNotMatch(wrong.output(), /not-the-secret/)

  const running = await startProcess(data, args, {
    ...s3Environment(s3.url),
    MILLRACE_CATALOG_TOKEN: 'a-token-of-ours',
  })
  t.after(() => running.kill())
  await rowsCommitted(running, 10)
  proxy.plan = () => 'status-401'
  await publish(running, 'dut', 10, 20)
  const refusal = await trouble(running, /table default\.telemetry: the catalog refuses/)
  assert.match(refusal, /401 Refused/)
  proxy.plan = () => undefined
  await rowsCommitted(running, 20)
  assert.equal(await running.stop(), 0)
  assert.doesNotMatch(running.output(), new RegExp(`a-token-of-ours|${S3_SECRET_KEY}`))
})

test('the disk of the warehouse is full, then read-only: rows wait in the log, and go on when they can', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-disk-'))
  const disk = path.join(folder, 'disk')
  fs.mkdirSync(disk)
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'tmpfs', disk], { stdio: 'ignore' })
  } catch {
    fs.rmSync(folder, { recursive: true })
    t.skip('a small disk can be mounted by root only')
    return
  }
  t.after(() => {
    execFileSync('umount', ['-l', disk])
    fs.rmSync(folder, { recursive: true, force: true })
  })
  const warehouse = path.join(disk, 'warehouse')
  const running = await startProcess(path.join(folder, 'data'), [
    '--warehouse',
    warehouse,
    '--sink-commit-age-ms',
    '200',
  ])
  t.after(() => running.kill())
  await publish(running, 'dut', 0, 10)
  await rowsCommitted(running, 10)
  const ballast = path.join(disk, 'ballast')
  const { bsize, bavail } = fs.statfsSync(disk)
  fs.writeFileSync(ballast, Buffer.alloc(bsize * bavail))
  await publish(running, 'dut', 10, 30)
  const text = await trouble(running, /table default\.telemetry: file:\/\//)
  assert.ok(text.includes(warehouse) && text.includes('ENOSPC'), text)
  await publish(running, 'dut', 30, 40)
  assert.equal((await account(running.http))['rows'], 10)
  fs.unlinkSync(ballast)
  await rowsCommitted(running, 40)

  execFileSync('mount', ['-o', 'remount,ro', disk])
  await publish(running, 'dut', 40, 45)
  const refusal = await trouble(running, /table default\.telemetry: file:\/\/.*EROFS/)
  assert.ok(refusal.includes(warehouse), refusal)
  execFileSync('mount', ['-o', 'remount,rw', disk])
  await rowsCommitted(running, 45)
  assert.equal(await running.stop(), 0)
  const flags = ['--data', path.join(folder, 'data'), '--warehouse', warehouse]
  const answer = await millrace([
    'query',
    'SELECT count(DISTINCT seq)::INT AS d FROM telemetry',
    '--json',
    ...flags,
  ])
  assert.deepEqual(JSON.parse(answer.stdout || answer.stderr), { d: 45 })
})
