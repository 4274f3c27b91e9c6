import assert from 'node:assert/strict'
import { test } from 'node:test'
import { copyShared } from './copy.ts'

test('bytes of any length, at any place, and nothing beside them', () => {
  const source = new Uint8Array(new SharedArrayBuffer(5000)).map((_, i) => i * 31)
  for (const length of [0, 1, 127, 128, 129, 1000, 4097])
    for (const from of [0, 3, 8])
      for (const at of [0, 1, 64, 601]) {
        const target = Buffer.from(new SharedArrayBuffer(5000))
        copyShared(source.subarray(from, from + length), target, at)
        const expected = Buffer.alloc(5000)
        expected.set(source.subarray(from, from + length), at)
        assert.ok(target.equals(expected), `${length} bytes from ${from} to ${at}`)
      }
})
