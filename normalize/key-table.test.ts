import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { KeyTable } from './key-table.ts'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)
const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength)
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes)

test('any sequence of keys gets the slots a Map would give', () => {
  fc.assert(
    fc.property(fc.array(fc.stringMatching(/^[A-Za-z0-9._:-]{1,20}$/), { maxLength: 300 }), (keys) => {
      const table = new KeyTable()
      const model = new Map<string, number>()
      for (const key of keys) {
        const bytes = encode(`__${key}__`)
        let slot = table.find(bytes, viewOf(bytes), 2, bytes.length - 2)
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
        assert.equal(table.find(bytes, viewOf(bytes), 0, bytes.length), slot)
      }
    }),
  )
})

test('keepOnly keeps the slots given, renumbered in order, and forgets the others', () => {
  const table = new KeyTable()
  for (let i = 0; i < 1000; i++) {
    const key = encode(`device-${i}`)
    table.add(key, 0, key.length)
  }
  table.keepOnly(Int32Array.from({ length: 1000 }, (_, i) => i).filter((i) => i % 3 !== 0))
  assert.equal(table.count, 666)
  let kept = 0
  for (let i = 0; i < 1000; i++) {
    const key = encode(`device-${i}`)
    const slot = table.find(key, viewOf(key), 0, key.length)
    assert.equal(slot, i % 3 === 0 ? -1 : kept++, `device-${i}`)
    if (slot >= 0) assert.equal(decode(table.key(slot)), `device-${i}`)
  }
  const again = encode('device-new')
  assert.equal(table.add(again, 0, again.length), 666)
})
