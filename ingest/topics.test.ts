import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Principal } from '../identity/identity.ts'
import type { AdmissionTarget } from './admission.ts'
import { streamOf } from './ingest-harness.ts'
import { TOPIC_CACHE_BYTES_MAX, TOPIC_CACHE_ENTRIES_MAX, TOPIC_CACHE_ROWS_MAX } from './limits.ts'
import { AHEAD_END, AHEAD_ENTRY, AHEAD_KNOWN_AS, AHEAD_MAX, AHEAD_START } from './mqtt-parser.ts'
import { Refusal } from './refusals.ts'
import { SubscriptionTree } from './subscriptions.ts'
import { Tenant } from './tenant.ts'
import { KIND_ORDINARY, KIND_REFUSED, KIND_TELEMETRY, TopicCache, TopicEntry } from './topic-cache.ts'
import { TopicTable } from './topics.ts'

const principal = (more: Partial<Principal>): Principal => ({
  tenant: 'acme',
  kind: 'device',
  id: 'a',
  family: '',
  credentialId: '',
  ownershipEpoch: 0,
  devices: [],
  publish: undefined,
  subscribe: undefined,
  ...more,
})

test('a topic leads where its template, the permission and the streams of the tenant say', () => {
  const table = new TopicTable([streamOf('acme'), streamOf('other', 'secret')])
  const device = principal({})
  const gateway = principal({ kind: 'gateway', id: 'g', devices: ['b', 'c-*'] })
  const refusal = (who: Principal, topic: string) => {
    const resolution = table.resolve(who, topic)
    return resolution.kind === 'refused' ? resolution.refusal : resolution.kind
  }
  assert.equal(refusal(device, 'devices/a/telemetry'), 'telemetry')
  assert.equal(refusal(gateway, 'devices/b/telemetry'), 'telemetry')
  assert.equal(refusal(gateway, 'devices/c-7/telemetry'), 'telemetry')
  assert.equal(refusal(device, 'devices/b/telemetry'), Refusal.notAuthorized)
  assert.equal(refusal(gateway, 'devices/g/telemetry'), Refusal.notAuthorized)
  // Whoever does not speak for the device learns nothing of the streams.
  assert.equal(refusal(device, 'devices/b/nothing'), Refusal.notAuthorized)
  // Another tenant's stream does not exist here.
  assert.equal(refusal(device, 'devices/a/secret'), Refusal.topicUnknown)
  for (const topic of [
    'devices',
    'devices/a',
    'devices/a/telemetry/x',
    'devices/a b/telemetry',
    'devices//telemetry',
  ])
    assert.equal(refusal(device, topic), Refusal.topicUnknown, topic)
  for (const topic of ['building/1', 'device', '/devices/a/telemetry'])
    assert.equal(refusal(device, topic), 'ordinary')
  assert.equal(refusal(device, '$SYS/x'), Refusal.notAuthorized)
  const limited = principal({ publish: ['alerts/#'] })
  assert.equal(refusal(limited, 'alerts/1'), 'ordinary')
  assert.equal(refusal(limited, 'building/1'), Refusal.notAuthorized)
})

test('streams that come, change and go are seen at once', () => {
  const table = new TopicTable([])
  const { version } = table
  assert.equal(table.resolve(principal({}), 'devices/a/telemetry').kind, 'refused')
  table.updateStreams([streamOf('acme')])
  assert.notEqual(table.version, version)
  assert.equal(table.resolve(principal({}), 'devices/a/telemetry').kind, 'telemetry')
  table.updateStreams([])
  assert.equal(table.resolve(principal({}), 'devices/a/telemetry').kind, 'refused')
})

const tenantOf = () => new Tenant('acme', new SubscriptionTree<number>(), undefined)
const TARGETS = Array.from({ length: 3 }, (_, index) => ({ index }) as AdmissionTarget)

/** What a connection would put into its cache: telemetry of the device that the topic's middle names. */
function entryOf(name: string, tenant: Tenant, kind = KIND_TELEMETRY): TopicEntry {
  const entry = new TopicEntry(Buffer.from(name), name, tenant)
  entry.kind = kind
  entry.target = kind === KIND_TELEMETRY ? TARGETS[name.length % TARGETS.length] : undefined
  entry.keyStart = 8
  entry.keyEnd = name.lastIndexOf('/')
  entry.refreshSubscribers()
  return entry
}

/** In the middle of a packet that the bytes around must not matter to. */
function findIn(cache: TopicCache, name: string): number {
  const bytes = new Uint8Array(Buffer.from(`--${name}--`))
  return cache.find(bytes, 2, bytes.length - 2)
}

test('the topic cache finds what it holds and nothing else, through growth and being emptied', () => {
  const tenant = tenantOf()
  const cache = new TopicCache(tenant, 1)
  const nameOf = (i: number) => `devices/${'d'.repeat(i % 9)}${i}/t`
  for (let i = 0; i < TOPIC_CACHE_ROWS_MAX; i++) {
    assert.equal(findIn(cache, nameOf(i)), 0)
    cache.put(entryOf(nameOf(i), tenant))
  }
  for (let i = 0; i < TOPIC_CACHE_ROWS_MAX; i++) {
    const name = nameOf(i)
    const row = findIn(cache, name)
    assert.ok(cache.isPlain(row, tenant.subscriptionsVersion))
    assert.equal(cache.targetOf(row), name.length % TARGETS.length)
    const key = name.slice(cache.keyStartOf(row), cache.keyStartOf(row) + cache.keyBytesOf(row))
    assert.equal(key, name.split('/')[1])
  }
  assert.equal(cache.count, TOPIC_CACHE_ROWS_MAX)
  cache.put(entryOf('devices/x/t', tenant))
  assert.deepEqual([cache.count, findIn(cache, nameOf(1))], [1, 0])
  assert.notEqual(findIn(cache, 'devices/x/t'), 0)
  assert.equal(cache.targets.size, TARGETS.length)
})

test('the topic cache tells topics apart by every byte and by their length', () => {
  const tenant = tenantOf()
  fc.assert(
    fc.property(fc.uniqueArray(fc.string({ minLength: 1, maxLength: 12 }), { maxLength: 40 }), (names) => {
      const cache = new TopicCache(tenant, 1)
      const rows = new Map<number, string>()
      for (const [i, name] of names.entries()) {
        cache.put(entryOf(name, tenant, i % 2 === 0 ? KIND_ORDINARY : KIND_REFUSED))
        for (const held of names.slice(0, i + 1)) rows.set(findIn(cache, held), held)
        assert.equal(rows.size, i + 1)
        assert.equal(rows.has(0), false)
        if (i + 1 < names.length) assert.equal(findIn(cache, names[i + 1]!), 0)
      }
      for (const [row, name] of rows) assert.equal(cache.entryOf(row)!.name, name)
    }),
  )
})

test('topics that are looked up ahead are those that are found one by one, and only plain ones', () => {
  const tenant = tenantOf()
  const names = fc.array(fc.string({ minLength: 1, maxLength: 20 }), { minLength: 1, maxLength: AHEAD_MAX })
  const ahead = new Int32Array(AHEAD_MAX * AHEAD_ENTRY)
  const lookUp = (cache: TopicCache, texts: readonly string[], version = 1) => {
    const parts = texts.map((text) => Buffer.from(text))
    ahead.fill(0)
    let end = 0
    for (const [i, part] of parts.entries()) {
      ahead[i * AHEAD_ENTRY + AHEAD_START] = end
      end += part.length
      ahead[i * AHEAD_ENTRY + AHEAD_END] = end
    }
    cache.lookAhead(new Uint8Array(Buffer.concat(parts)), ahead, texts.length, version)
    return found(texts.length)
  }
  const found = (count: number) =>
    Array.from({ length: count }, (_, i) => ahead[i * AHEAD_ENTRY + AHEAD_KNOWN_AS]!)
  fc.assert(
    fc.property(names, (texts) => {
      const cache = new TopicCache(tenant, 1)
      for (const [i, text] of [...new Set(texts)].entries())
        if (i % 3 !== 0) cache.put(entryOf(text, tenant, i % 3 === 1 ? KIND_TELEMETRY : KIND_ORDINARY))
      assert.deepEqual(
        lookUp(cache, texts),
        texts.map((text) => {
          const row = findIn(cache, text)
          return row !== 0 && cache.isPlain(row, tenant.subscriptionsVersion) ? row : 0
        }),
      )
    }),
  )
  const cache = new TopicCache(tenant, 1)
  cache.put(entryOf('devices/a/t', tenant))
  const once = () => lookUp(cache, ['devices/a/t', 'devices/b/t'])
  assert.notEqual(once()[0], 0)
  // What was found are no rows any more.
  cache.clear(1)
  assert.deepEqual(found(2), [0, 0])
  cache.put(entryOf('devices/a/t', tenant))
  tenant.remote.subscribe('devices/+/t', 2, 1)
  assert.deepEqual(once(), [0, 0])
  tenant.remote.unsubscribe('devices/+/t', 2)
  cache.put(entryOf('devices/a/t', tenant), findIn(cache, 'devices/a/t'))
  assert.notEqual(once()[0], 0)
  // Another version of the topic table.
  assert.deepEqual(lookUp(cache, ['devices/a/t'], 2), [0])
  assert.equal(cache.count, 0)
})

test('memory of a client that invents topics is bounded, by their bytes and by objects', () => {
  const tenant = tenantOf()
  const cache = new TopicCache(tenant, 1)
  const long = 'x'.repeat(65_000)
  let most = 0
  for (let i = 0; i < 70; i++) {
    cache.put(entryOf(`${long}${i}`, tenant, KIND_ORDINARY))
    most = Math.max(most, cache.count)
  }
  assert.equal(most, Math.floor(TOPIC_CACHE_BYTES_MAX / 65_020))
  cache.clear(1)
  for (let i = 0; i <= TOPIC_CACHE_ENTRIES_MAX; i++) cache.put(entryOf(`o/${i}`, tenant, KIND_ORDINARY))
  assert.equal(cache.count, 1)
  // Rows that somebody subscribes to need objects too.
  cache.clear(1)
  const names = Array.from({ length: TOPIC_CACHE_ENTRIES_MAX + 1 }, (_, i) => `devices/${i}/t`)
  for (const name of names) cache.put(entryOf(name, tenant))
  tenant.remote.subscribe('#', 2, 1)
  for (const name of names) {
    const row = findIn(cache, name)
    assert.equal(row !== 0 && cache.isPlain(row, tenant.subscriptionsVersion), false)
    cache.put(entryOf(name, tenant), row)
  }
  assert.equal(cache.count, 1)
})

test('a row is plain again when the last subscriber has gone', () => {
  const tenant = tenantOf()
  const cache = new TopicCache(tenant, 1)
  const put = () => cache.put(entryOf('devices/a/t', tenant), findIn(cache, 'devices/a/t'))
  const isPlain = () => cache.isPlain(findIn(cache, 'devices/a/t'), tenant.subscriptionsVersion)
  put()
  assert.equal(isPlain(), true)
  tenant.remote.subscribe('devices/+/t', 2, 1)
  assert.equal(isPlain(), false)
  put()
  assert.equal(isPlain(), false)
  assert.deepEqual(cache.entryOf(findIn(cache, 'devices/a/t'))!.workers, [[2, 1]])
  tenant.remote.unsubscribe('devices/+/t', 2)
  assert.equal(isPlain(), false)
  put()
  assert.equal(isPlain(), true)
  assert.equal(cache.entryOf(findIn(cache, 'devices/a/t')), undefined)
  assert.equal(cache.count, 1)
})

test('an entry looks its subscribers up again exactly when a subscription of its tenant has changed', () => {
  const tenant = new Tenant('acme', new SubscriptionTree<number>(), undefined)
  const entry = new TopicEntry(Buffer.from('a/b'), 'a/b', tenant)
  entry.refreshSubscribers()
  assert.equal(entry.hasSubscribers, false)
  const before = entry.subscribers
  entry.refreshSubscribers()
  assert.equal(entry.subscribers, before)
  tenant.remote.subscribe('a/+', 2, 1)
  entry.refreshSubscribers()
  assert.deepEqual([entry.hasSubscribers, entry.workers], [true, [[2, 1]]])
  tenant.remote.unsubscribe('a/+', 2)
  entry.refreshSubscribers()
  assert.equal(entry.hasSubscribers, false)
})
