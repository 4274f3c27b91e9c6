import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Principal } from '../identity/identity.ts'
import { streamOf } from './ingest-harness.ts'
import { TOPIC_CACHE_ENTRIES_MAX } from './limits.ts'
import { Refusal } from './refusals.ts'
import { SubscriptionTree } from './subscriptions.ts'
import { Tenant } from './tenant.ts'
import { TopicCache, TopicEntry } from './topic-cache.ts'
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

test('the topic cache finds what it holds and nothing else, through growth and being emptied', () => {
  const tenant = new Tenant('acme', new SubscriptionTree<number>(), undefined)
  const cache = new TopicCache()
  const bytesOf = (i: number) => Buffer.from(`--devices/device-${i}/telemetry--`)
  const find = (i: number) => {
    const bytes = bytesOf(i)
    return cache.get(bytes, 2, bytes.length - 2)
  }
  for (let i = 0; i < TOPIC_CACHE_ENTRIES_MAX; i++) {
    assert.equal(find(i), undefined)
    const name = bytesOf(i).toString().slice(2, -2)
    cache.add(new TopicEntry(Buffer.from(name), name, tenant))
  }
  for (let i = 0; i < TOPIC_CACHE_ENTRIES_MAX; i++)
    assert.equal(find(i)!.name, `devices/device-${i}/telemetry`)
  assert.equal([...cache.entries()].length, TOPIC_CACHE_ENTRIES_MAX)
  assert.equal(cache.isIncomplete, false)
  cache.add(new TopicEntry(Buffer.from('x'), 'x', tenant))
  assert.deepEqual([cache.count, cache.isIncomplete, find(1)], [1, true, undefined])
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
