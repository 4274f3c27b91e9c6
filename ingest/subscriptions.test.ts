import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { filterCovers, isValidFilter, isValidTopic } from '../identity/topic-filter.ts'
import { SubscriptionTree } from './subscriptions.ts'

/** MQTT 5.0 section 4.7 word for word, without a tree. */
function matches(filter: string, topic: string): boolean {
  const f = filter.split('/')
  const t = topic.split('/')
  if (t[0]!.startsWith('$') && (f[0] === '+' || f[0] === '#')) return false
  for (let i = 0; i < f.length; i++) {
    if (f[i] === '#') return true
    if (i >= t.length) return false
    if (f[i] !== '+' && f[i] !== t[i]) return false
  }
  return f.length === t.length
}

const level = fc.constantFrom('a', 'b', '', '$a')
const topicArb = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
const filterArb = fc
  .tuple(fc.array(fc.oneof(level, fc.constant('+')), { maxLength: 4 }), fc.boolean())
  .filter(([levels, rest]) => levels.length > 0 || rest)
  .map(([levels, rest]) => [...levels, ...(rest ? ['#'] : [])].join('/'))
  .filter((filter) => filter.length > 0)

test('the tree matches what the definition matches, through any subscribing and unsubscribing', () => {
  const step = fc.record({ filter: filterArb, subscriber: fc.nat(3), add: fc.boolean(), qos: fc.nat(1) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.array(topicArb, { maxLength: 10 }), (steps, topics) => {
      const tree = new SubscriptionTree<number>()
      const held = new Map<string, { filter: string; subscriber: number; qos: number }>()
      for (const { filter, subscriber, add, qos } of steps) {
        const key = `${subscriber} ${filter}`
        const version = tree.version
        if (add) {
          assert.equal(tree.subscribe(filter, subscriber, qos), !held.has(key))
          held.set(key, { filter, subscriber, qos })
          assert.notEqual(tree.version, version)
        } else {
          assert.equal(tree.unsubscribe(filter, subscriber), held.delete(key))
        }
        assert.equal(tree.size, held.size)
      }
      for (const topic of topics) {
        const expected = new Map<number, number>()
        for (const { filter, subscriber, qos } of held.values())
          if (matches(filter, topic)) expected.set(subscriber, Math.max(qos, expected.get(subscriber) ?? 0))
        const found = new Map<number, number>()
        tree.match(topic, found)
        assert.deepEqual(new Map([...found].sort()), new Map([...expected].sort()))
      }
    }),
    { numRuns: 1000 },
  )
})

test('a covering filter matches every topic that the covered one does', () => {
  fc.assert(
    fc.property(filterArb, filterArb, topicArb, (allowed, filter, topic) => {
      if (filterCovers(allowed, filter) && matches(filter, topic)) assert.ok(matches(allowed, topic))
    }),
    { numRuns: 5000 },
  )
  assert.ok(filterCovers('#', 'a/+/b'))
  assert.ok(filterCovers('a/#', 'a'))
  assert.ok(filterCovers('a/+', 'a/+'))
  assert.ok(!filterCovers('a/+', 'a/#'))
  assert.ok(!filterCovers('a/b', 'a/+'))
  assert.ok(!filterCovers('+/b', '#'))
})

test('filters and topics that section 4.7 forbids are invalid', () => {
  for (const filter of ['#', '+', '+/a/#', '/', 'a//b', '$x/#']) assert.ok(isValidFilter(filter), filter)
  for (const filter of ['', 'a#', '#/a', 'a/+b', 'a\0', 'a/#/b', 'a/'.repeat(40)])
    assert.ok(!isValidFilter(filter), filter)
  for (const topic of ['a', '/', 'a b/ü']) assert.ok(isValidTopic(topic), topic)
  for (const topic of ['', 'a/+', '#', 'a\0b', 'a/'.repeat(40)]) assert.ok(!isValidTopic(topic), topic)
})

test('an empty tree keeps no branches', () => {
  const tree = new SubscriptionTree<string>()
  for (let i = 0; i < 100; i++) tree.subscribe(`a/${i}/+/b`, 'x', 0)
  for (let i = 0; i < 100; i++) tree.unsubscribe(`a/${i}/+/b`, 'x')
  const found = new Map<string, number>()
  tree.match('a/1/2/b', found)
  assert.deepEqual({ size: tree.size, found: found.size }, { size: 0, found: 0 })
})
