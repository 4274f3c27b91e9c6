import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { DeviceTable } from './devices.ts'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

test('any sequence of keys gets the slots a Map would give', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[A-Za-z0-9._:-]{1,20}$/), { maxLength: 300 }), (keys) => {
      const table = new DeviceTable()
      const model = new Map<string, number>()
      for (const key of keys) {
        const bytes = encode(`__${key}__`)
        let slot = table.find(bytes, 2, bytes.length - 2)
        assert.equal(slot, model.get(key) ?? -1)
        if (slot < 0) {
          slot = table.add(bytes, 2, bytes.length - 2)
          assert.equal(slot, model.size)
          model.set(key, slot)
        }
        assert.equal(decode(table.key(slot)), key)
      }
      for (const [key, slot] of model) {
        const bytes = encode(key)
        assert.equal(table.find(bytes, 0, bytes.length), slot)
      }
    }),
  )
})

test('eviction keeps the most recently seen, renumbered in order, and forgets the others', () => {
  const table = new DeviceTable()
  for (let i = 0; i < 1000; i++) {
    const key = encode(`device-${i}`)
    table.add(key, 0, key.length)
    // Seen in an order that is not the order of the slots.
    table.lastOffsets[i] = (i * 7919) % 1000
  }
  const keep = table.leastRecent(100)
  assert.equal(keep.length, 900)
  table.keepOnly(keep)
  assert.equal(table.count, 900)
  let kept = 0
  for (let i = 0; i < 1000; i++) {
    const key = encode(`device-${i}`)
    const slot = table.find(key, 0, key.length)
    assert.equal(slot >= 0, (i * 7919) % 1000 >= 100, `device-${i}`)
    if (slot < 0) continue
    assert.equal(slot, kept++)
    assert.equal(decode(table.key(slot)), `device-${i}`)
    assert.equal(table.lastOffsets[slot], (i * 7919) % 1000)
  }
  const again = encode('device-new')
  assert.equal(table.add(again, 0, again.length), 900)
})
