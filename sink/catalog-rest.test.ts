// The REST client against a catalog in this process: the suite of all catalogs, then tokens, and what every fault of
// a network between the two becomes. Against a server of others: test/interop/rest-catalog.test.ts.
import assert from 'node:assert/strict'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { test } from 'node:test'
import { MemoryLog } from '../log/log-memory.ts'
import { normalizedTopic, rejectedTopic } from '../schemas/names.ts'
import { NodeDisk } from '../std/disk.ts'
import { isMillraceError } from '../std/errors.ts'
import { type Fault, FaultProxy } from '../test/fault-proxy.ts'
import { PointerCatalog } from './catalog.ts'
import { catalogConformance, conformanceLayout } from './catalog-conformance.ts'
import { MemoryPointers } from './catalog-memory.ts'
import { RestCatalog, type RestCatalogOptions } from './catalog-rest.ts'
import { Names, systemClock } from './file-names.ts'
import { RestCatalogHarness } from './rest-catalog-harness.ts'
import { Harness, ManualClock, sensorBatch, sensorStream } from './sink-harness.ts'
import { fileUri, LocalStore } from './store.ts'

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-rest-'))
test.after(() => fs.rmSync(folder, { recursive: true }))
let serial = 0

const ID = { namespace: 'default', name: 'telemetry' }
const CREDENTIAL = 'client:secret-of-the-client'
/** Long enough for a busy machine to answer in. */
const TIMEOUT_MS = 1500
/** Pauses between tries take no time here. */
const clock = { now: () => Date.now(), sleep: async () => {} }

async function start(options: Partial<RestCatalogOptions> = {}, credential?: string) {
  const warehouse = fileUri(path.join(folder, String(serial++)))
  const served = new PointerCatalog(
    'served',
    new MemoryPointers(),
    new LocalStore(new NodeDisk()),
    warehouse,
    new Names(systemClock),
    systemClock,
  )
  const server = new RestCatalogHarness(served, credential)
  const proxy = await FaultProxy.start(await server.listen())
  const catalog = new RestCatalog(
    'millrace',
    {
      uri: proxy.url,
      warehouse: undefined,
      token: undefined,
      credential,
      oauth2Uri: undefined,
      scope: 'catalog',
      requestTimeoutMs: TIMEOUT_MS,
      ...options,
    },
    clock,
  )
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= (async () => {
      await catalog.close()
      await proxy.close()
      await server.close()
    })()
    return closing
  }
  // A test that fails leaves nothing that would keep the process alive.
  test.after(close)
  return { served, server, proxy, catalog, warehouse, close }
}

catalogConformance('rest', async () => {
  const { catalog, close } = await start({}, CREDENTIAL)
  return { catalog, namespace: 'default', close }
})

test('one token serves all requests, and is fetched anew when it ends or is refused', async () => {
  const { server, catalog, close } = await start({}, CREDENTIAL)
  server.expiresInSeconds = 1
  await Promise.all(Array.from({ length: 8 }, () => catalog.listNamespaces()))
  assert.equal(server.tokensGiven, 1)
  server.tokens.clear()
  await Promise.all(Array.from({ length: 8 }, () => catalog.load(ID)))
  assert.equal(server.tokensGiven, 2, 'eight refusals, one new token')
  await close()
})

test('credentials and tokens that are refused are errors that say where, and hold no secret', async () => {
  const { proxy, server, catalog, close } = await start({ credential: 'client:wrong-secret' }, CREDENTIAL)
  await assert.rejects(
    catalog.load(ID),
    (error) =>
      isMillraceError(error, 'catalog_refused') &&
      error.message.includes(`${proxy.url}/v1/oauth/tokens`) &&
      error.message.includes('401') &&
      !JSON.stringify([error.message, error.details]).includes('wrong-secret'),
  )
  const bearer = new RestCatalog(
    'millrace',
    {
      uri: proxy.url,
      warehouse: undefined,
      token: 'stale',
      credential: undefined,
      oauth2Uri: undefined,
      scope: '',
      requestTimeoutMs: TIMEOUT_MS,
    },
    clock,
  )
  await assert.rejects(
    bearer.load(ID),
    (error) => isMillraceError(error, 'catalog_refused') && /401 NotAuthorized/.test(error.message),
  )
  server.tokens.add('stale')
  assert.equal(await bearer.load(ID), undefined, 'goes on when the server takes it')
  await close()
})

const LOOKS: readonly Fault[] = ['status-500', 'status-503', 'reset', 'hang', 'lost-500', 'partial', 'slow']

for (const fault of LOOKS)
  test(`${fault}: what may be repeated is, without the caller hearing of it`, async () => {
    const { proxy, catalog, close } = await start()
    await catalog.createNamespace('default')
    const made = await catalog.create(ID, conformanceLayout())
    let left = 2
    proxy.plan = () => (left-- > 0 ? fault : undefined)
    assert.deepEqual((await catalog.load(ID))?.metadata, made.metadata)
    await close()
  })

const COMMITS: readonly { fault: Fault; done: boolean }[] = [
  { fault: 'status-500', done: false },
  { fault: 'status-503', done: false },
  { fault: 'reset', done: false },
  { fault: 'hang', done: false },
  { fault: 'lost-500', done: true },
  { fault: 'lost-reset', done: true },
  { fault: 'lost-hang', done: true },
  { fault: 'partial', done: true },
]

for (const { fault, done } of COMMITS)
  test(`a commit met by ${fault} is sent once, and its outcome unknown`, async () => {
    const { proxy, catalog, served, close } = await start()
    await catalog.createNamespace('default')
    await catalog.create(ID, conformanceLayout())
    proxy.plan = (method) => (method === 'POST' ? fault : undefined)
    await assert.rejects(
      catalog.commit(ID, [], [{ action: 'set-properties', updates: { a: 'b' } }]),
      (error) => isMillraceError(error, 'commit_ambiguous') && error.message.includes(proxy.url),
    )
    assert.equal(proxy.counts.get(fault), 1)
    // A request that hangs in the proxy is never passed on; one whose answer is lost was carried out.
    assert.equal((await served.load(ID))!.metadata.properties['a'], done ? 'b' : undefined)
    await close()
  })

test('a server that is away is unreachable, not a table that is missing; for a while it is not asked again', async () => {
  const { proxy, server, catalog, close } = await start()
  await catalog.createNamespace('default')
  proxy.plan = () => 'status-503'
  await assert.rejects(catalog.load(ID), (error) => isMillraceError(error, 'catalog_unreachable'))
  const asked = proxy.counts.get('status-503')!
  assert.ok(asked > 1)
  proxy.plan = () => undefined
  await assert.rejects(catalog.load(ID), (error) => isMillraceError(error, 'catalog_unreachable'))
  assert.equal(proxy.counts.get('status-503'), asked)
  await close()
  await server.close().catch(() => {})
})

test('an address that belongs to something else is said to be no catalog, and tables there are not missing', async () => {
  const http = await import('node:http')
  const web = http.createServer((_, response) => response.writeHead(404).end('<html>not found</html>'))
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const { port } = web.address() as { port: number }
  const options = { warehouse: undefined, token: undefined, credential: undefined, oauth2Uri: undefined }
  const catalog = new RestCatalog(
    'millrace',
    { ...options, uri: `http://127.0.0.1:${port}`, scope: '', requestTimeoutMs: TIMEOUT_MS },
    clock,
  )
  await assert.rejects(
    catalog.load(ID),
    (error) =>
      isMillraceError(error, 'catalog_unreachable') && /not an answer of an Iceberg REST/.test(error.message),
  )
  web.closeAllConnections()
  await new Promise((resolve) => web.close(resolve))
})

test('nobody at that address: the error names it and why', async () => {
  const { proxy, catalog, close } = await start()
  const { url } = proxy
  await close()
  await assert.rejects(
    catalog.load(ID),
    (error) =>
      isMillraceError(error, 'catalog_unreachable') &&
      error.message.includes(url) &&
      error.message.includes('ECONNREFUSED'),
  )
})

/** What the proxy does to each commit in turn; then it lets them pass. */
const COMMIT_FAULTS: readonly (readonly Fault[])[] = [
  ['status-409'],
  ['lost-409'],
  ['status-500', 'lost-409'],
  ['lost-reset'],
  ['lost-hang'],
  ['partial'],
  ['hang', 'status-503', 'status-409', 'reset'],
  Array.from({ length: 9 }, () => 'status-409' as const),
  Array.from({ length: 9 }, () => 'status-500' as const),
]

for (const faults of COMMIT_FAULTS)
  test(`rows come once, and every file of the table is there, after ${faults.join(', ')}`, async () => {
    const { served, proxy, catalog, warehouse, close } = await start()
    const log = new MemoryLog()
    const topic = normalizedTopic('default', 'telemetry')
    for (const name of [topic, rejectedTopic('default', 'telemetry')])
      await log.createTopic(name, {
        partitions: 1,
        cleanup: 'delete',
        retentionAgeMs: Infinity,
        retentionBytes: Infinity,
        backlogBytesMax: Infinity,
      })
    const store = new LocalStore(new NodeDisk())
    const shared = { log, store, warehouse, clock: new ManualClock(), pointers: new MemoryPointers() }
    const sink = new Harness({ ...shared, catalog })
    await sink.follow(sensorStream('telemetry'))
    const send = async (seq: number): Promise<void> => {
      const batch = sensorBatch([{ device: 'd', eventMicros: Date.UTC(2026, 2, 1) * 1000 + seq, seq }])
      await log.append({ entries: [{ topic, partition: 0, batch, recordCount: 1 }] })
    }
    await send(0)
    await sink.commitDue()
    const left = [...faults]
    proxy.plan = (method) => (method === 'POST' ? left.shift() : undefined)
    await send(1)
    // Where every try failed the table is parked, and opened again.
    for (let rounds = 0; rounds < 5; rounds++) {
      await sink.commitDue()
      sink.clock.ms += 60_000
    }
    assert.deepEqual(left, [])
    await send(2)
    await sink.commitDue()
    const reader = new Harness({ ...shared, catalog: served })
    const seqs = (await reader.rows(ID)).map((row) => Number(row['3'])).sort((a, b) => a - b)
    assert.deepEqual(seqs, [0, 1, 2])
    const { found, reached } = await reader.census(ID)
    assert.deepEqual(
      reached.filter((file) => !found.includes(file)),
      [],
      'no file that the table refers to was deleted',
    )
    await close()
  })
