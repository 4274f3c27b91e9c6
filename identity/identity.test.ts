import assert from 'node:assert/strict'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { after, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { payloadOf, RawClient, recordsOf, startIngest, until } from '../ingest/ingest-harness.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { CREDENTIALS_TOPIC } from '../schemas/names.ts'
import { isMillraceError } from '../std/errors.ts'
import { matchesPattern, maySubscribe, type Principal } from './identity.ts'
import { parseCredentials, writeCredentials } from './identity-file.ts'
import { hashPassword, parseHash, SecretVerifier } from './identity-secret.ts'
import { TopicIdentity } from './identity-topic.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'millrace-credentials-'))
after(() => rmSync(folder, { recursive: true }))
const secretHash = await hashPassword('s3cret')

test('a secret is verified by its salted hash, and by nothing else', async () => {
  const verifier = new SecretVerifier()
  assert.notEqual(await hashPassword('s3cret'), secretHash)
  assert.equal(await verifier.verify(secretHash, Buffer.from('s3cret')), true)
  assert.equal(await verifier.verify(secretHash, Buffer.from('S3cret')), false)
  assert.equal(await verifier.verify(undefined, Buffer.from('s3cret')), false)
  for (const text of ['', 's3cret', secretHash.slice(0, -30), secretHash.replace('ln=14', 'ln=40')])
    assert.equal(parseHash(text), undefined, text)
})

test('a storm of connects with one secret costs one verification, and a second storm none', async () => {
  const verifier = new SecretVerifier()
  const verify = () => verifier.verify(secretHash, Buffer.from('s3cret'))
  assert.ok((await Promise.all(Array.from({ length: 1000 }, verify))).every((verified) => verified === true))
  assert.equal(verifier.derivations, 1)
  assert.equal(verify(), true)
  assert.equal(verifier.derivations, 1)
})

test('an unknown user costs a derivation, as a wrong secret does', async () => {
  const verifier = new SecretVerifier()
  await verifier.verify(undefined, Buffer.from('a'))
  await verifier.verify(secretHash, Buffer.from('a'))
  assert.equal(verifier.derivations, 2)
})

test('patterns of devices match as their regular expression does', () => {
  const text = fc.array(fc.constantFrom('a', 'b', '.'), { maxLength: 8 }).map((parts) => parts.join(''))
  const pattern = fc
    .array(fc.constantFrom('a', 'b', '.', '*'), { maxLength: 6 })
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(pattern, text, (one, other) => {
      const expression = new RegExp(`^${one.replaceAll('.', '\\.').replaceAll('*', '.*')}$`)
      assert.equal(matchesPattern(one, other), expression.test(other))
    }),
    { numRuns: 3000 },
  )
})

test('without filters of its own a principal hears its devices and ordinary topics only', () => {
  const gateway: Principal = {
    tenant: 'acme',
    kind: 'gateway',
    id: 'hall',
    family: '',
    credentialId: 'x',
    ownershipEpoch: 0,
    devices: ['hall-*'],
    publish: undefined,
    subscribe: undefined,
  }
  for (const filter of [
    'devices/hall-1/#',
    'devices/hall-1/telemetry',
    'devices/hall-1',
    'building/#',
    'building/+',
  ])
    assert.equal(maySubscribe(gateway, filter), true, filter)
  for (const filter of [
    '#',
    '+',
    '+/hall-1/#',
    'devices/#',
    'devices/+/telemetry',
    'devices/other/#',
    '$SYS/#',
  ])
    assert.equal(maySubscribe(gateway, filter), false, filter)
})

test('errors of the credentials file name line and field', () => {
  const entry = (body: string) => `credentials:\n  - ${body.replaceAll('\n', '\n    ')}\n`
  const good = `tenant: acme\ndevice: a\nhash: ${secretHash}`
  const cases: [text: string, expected: RegExp][] = [
    ['credentials: [', /:\d+:\d+: YAML/],
    ['users: []', /:1:1: credentials: a list/],
    [entry(good.replace('acme', 'Acme')), /:2:13: tenant: "Acme"/],
    [entry(good.replace('device: a', 'device: "a b"')), /:3:13: device: "a b"/],
    [entry(`${good}\ngateway: g`), /:2:5: device: exactly one/],
    [entry(good.replace('device: a', 'gateway: g')), /:3:14: devices: a gateway needs/],
    [entry(`${good}\ndevices: [a]`), /:5:14: devices: only a gateway/],
    [entry(`${good.replace('device: a', 'gateway: g')}\ndevices: [ok, "n o"]`), /:5:19: devices: "n o"/],
    [entry(good.replace(secretHash, 'plain')), /:4:11: hash: not a salted/],
    [entry('tenant: acme\ndevice: a'), /:2:5: hash: it is missing/],
    [entry(`${good}\npasswort: x`), /:5:5: passwort: there is no such field/],
    [entry(`${good}\nepoch: -1`), /:5:12: epoch/],
    [entry(`${good}\npublish: [a/#/b]`), /:5:15: publish: "a\/#\/b"/],
    [`${entry(good)}  - ${good.replaceAll('\n', '\n    ')}\n`, /:5:5: username: "acme\/a" is used/],
  ]
  for (const [text, expected] of cases) {
    assert.throws(
      () => parseCredentials(text, 'f.yaml'),
      (error) => isMillraceError(error, 'credentials_invalid') && expected.test(error.message),
      `${text}\n${expected}`,
    )
  }
  assert.deepEqual(
    parseCredentials(entry(good.replace('device: a', 'device: 0017')), 'f.yaml')[0]!.name,
    '0017',
  )
  assert.deepEqual(parseCredentials('credentials: []', 'f.yaml'), [])
})

test('the file is one writer of the topic: it removes what it wrote and leaves the rest', async () => {
  const log = new MemoryLog()
  const [a, b, c] = ['a', 'b', 'c'].map(
    (name) => parseCredentials(`credentials: [{tenant: t, device: ${name}, hash: "${secretHash}"}]`, 'f')[0]!,
  )
  assert.equal(await writeCredentials(log, [a!, b!]), 2)
  assert.equal(await writeCredentials(log, [a!, b!]), 0)
  assert.equal(await writeCredentials(log, [{ ...c!, source: 'registry' }], 'registry'), 1)
  // Two at once: append-if makes one of them look again.
  const written = await Promise.all([writeCredentials(log, [b!]), writeCredentials(log, [b!])])
  assert.equal(written[0]! + written[1]!, 1)
  const identity = await TopicIdentity.open(log, {
    allowAnonymous: false,
    onError: (error) => assert.ifError(error),
  })
  assert.equal(identity.credentialCount, 2)
  identity.close()
})

test('a record that is no credential locks nobody out', async () => {
  const log = new MemoryLog()
  await writeCredentials(
    log,
    parseCredentials(`credentials: [{tenant: t, device: a, hash: "${secretHash}"}]`, 'f'),
  )
  const builder = new RecordBatchBuilder()
  for (const value of ['{', '{}', 'null', '{"id":"x","tenant":"t"}'])
    builder.append(Date.now(), Buffer.from('x'), Buffer.from(value))
  await log.append({
    entries: [{ topic: CREDENTIALS_TOPIC, partition: 0, recordCount: 4, batch: builder.finish() }],
  })
  const identity = await TopicIdentity.open(log, {
    allowAnonymous: false,
    onError: (error) => assert.ifError(error),
  })
  assert.equal(identity.credentialCount, 1)
  identity.close()
})

const FILE = path.join(folder, 'credentials.yaml')
const writeFile = (entries: string[]) => {
  // Replaced by rename, as editors and Kubernetes do.
  writeFileSync(`${FILE}.new`, `credentials:\n${entries.map((entry) => `  - ${entry}\n`).join('')}`)
  renameSync(`${FILE}.new`, FILE)
}
const ACME = `{tenant: acme, device: boiler, hash: "${secretHash}"}`
const OTHER = `{tenant: other, device: boiler, hash: "${secretHash}"}`
const HALL = `{tenant: acme, gateway: hall, devices: ["hall-*"], hash: "${secretHash}"}`

test('credentials over MQTT: tenants, gateways, refusals, and removal within a second on every worker', async () => {
  writeFile([ACME, OTHER, HALL])
  const harness = await startIngest({
    workers: 2,
    tenants: ['default', 'acme', 'other'],
    options: { credentialsFile: FILE, allowAnonymous: false },
  })
  for (const worker of harness.workers) await worker.identity.refresh()
  const login = (username: string, password = 's3cret') => ({ username, password: Buffer.from(password) })

  for (const [level, username, password, code] of [
    [5, 'acme/boiler', 'wrong', 0x86],
    [4, 'acme/boiler', 'wrong', 4],
    [5, 'acme/nobody', 's3cret', 0x86],
    [4, 'acme/nobody', 's3cret', 4],
  ] as const) {
    const client = await RawClient.open(harness.ports[0]!.mqtt, level)
    client.sendConnect('c', login(username, password))
    const connack = await client.take('connack')
    assert.equal(level === 5 ? connack.reasonCode : connack.returnCode, code)
    await client.closed()
  }
  for (const [level, code] of [
    [5, 0x87],
    [4, 5],
  ] as const) {
    const client = await RawClient.open(harness.ports[0]!.mqtt, level)
    client.sendConnect('anonymous')
    const connack = await client.take('connack')
    assert.equal(level === 5 ? connack.reasonCode : connack.returnCode, code)
  }

  // The same client id in two tenants is two clients; any client id will do.
  const acme = await RawClient.connect(harness.ports[0]!.mqtt, 5, 'same', login('acme/boiler'))
  const other = await RawClient.connect(harness.ports[1]!.mqtt, 5, 'same', login('other/boiler'))
  const hall = await RawClient.connect(harness.ports[1]!.mqtt, 5, 'gw', login('acme/hall'))
  acme.publish('devices/boiler/telemetry', payloadOf(1), 1, 1)
  other.publish('devices/boiler/telemetry', payloadOf(2), 1, 1)
  hall.publish('devices/hall-1/telemetry', payloadOf(3), 1, 1)
  hall.publish('devices/hall-2/telemetry', payloadOf(4), 1, 2)
  hall.publish('devices/boiler/telemetry', payloadOf(5), 1, 3)
  assert.equal((await acme.take('puback')).reasonCode, 0)
  assert.equal((await other.take('puback')).reasonCode, 0)
  const answers = [await hall.take('puback'), await hall.take('puback'), await hall.take('puback')]
  assert.deepEqual(
    answers.map(({ reasonCode }) => reasonCode),
    [0, 0, 0x87],
  )
  const inAcme = await recordsOf(harness.log, 'acme.telemetry.raw')
  assert.deepEqual(inAcme.map(({ key }) => key).sort(), ['boiler', 'hall-1', 'hall-2'])
  assert.deepEqual(
    (await recordsOf(harness.log, 'other.telemetry.raw')).map(({ value }) => value),
    [payloadOf(2)],
  )

  // Ordinary topics stay inside their tenant.
  for (const client of [acme, other, hall])
    client.send({
      cmd: 'subscribe',
      messageId: 5,
      subscriptions: [
        { topic: 'news/#', qos: 0 },
        { topic: '#', qos: 0 },
      ],
    })
  for (const client of [acme, other, hall]) assert.deepEqual((await client.take('suback')).granted, [0, 0x87])
  hall.publish('news/today', 'x', 1, 6)
  assert.equal((await hall.take('publish')).topic, 'news/today')
  assert.equal((await hall.take('puback')).reasonCode, 0)
  assert.equal((await acme.take('publish')).topic, 'news/today')
  await sleep(30)
  assert.deepEqual(other.packets, [])

  const from = Date.now()
  writeFile([OTHER, HALL])
  assert.equal((await acme.take('disconnect')).reasonCode, 0x98)
  await acme.closed()
  assert.ok(Date.now() - from < 1000)
  assert.equal(other.isClosed, false)
  // A tombstone by another writer, and the gateway is on the other worker.
  const builder = new RecordBatchBuilder()
  builder.append(Date.now(), Buffer.from('acme/hall'), undefined)
  await harness.log.append({
    entries: [{ topic: CREDENTIALS_TOPIC, partition: 0, recordCount: 1, batch: builder.finish() }],
  })
  assert.equal((await hall.take('disconnect', 1000)).reasonCode, 0x98)

  writeFileSync(FILE, 'credentials: [{tenant: acme}]')
  await until(() => harness.warnings.length === 1, 'the bad file is reported')
  assert.ok(isMillraceError(harness.warnings[0], 'credentials_invalid'))
  assert.equal(other.isClosed, false)
  harness.workers[1]!.disconnectDevice('other', 'boiler', 'moved')
  assert.equal((await other.take('disconnect')).reasonCode, 0x98)
  await harness.close()
  assert.deepEqual(harness.failures, [])
})

test('a storm of 300 connects with credentials is let in, and costs one derivation each', async () => {
  writeFile(Array.from({ length: 20 }, (_, i) => `{tenant: acme, device: d${i}, hash: "${secretHash}"}`))
  const harness = await startIngest({ tenants: ['default', 'acme'], options: { credentialsFile: FILE } })
  const verifier = (harness.workers[0]!.identity as TopicIdentity).verifier
  const clients = await Promise.all(
    Array.from({ length: 300 }, (_, i) =>
      RawClient.connect(harness.ports[0]!.mqtt, 5, `c${i}`, {
        username: `acme/d${i % 20}`,
        password: Buffer.from('s3cret'),
      }),
    ),
  )
  // Equal hash lines share what was verified, too.
  assert.equal(verifier.derivations, 1)
  for (const client of clients) client.end()
  await harness.close()
})

test('a credentials file with an error stops the start', async () => {
  writeFileSync(FILE, 'credentials: [{tenant: acme}]')
  await assert.rejects(
    startIngest({ options: { credentialsFile: FILE } }),
    (error) => isMillraceError(error, 'credentials_invalid') && /:1:15: device/.test(error.message),
  )
})
