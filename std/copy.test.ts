import assert from 'node:assert/strict'
import { test } from 'node:test'
import { copyShared, copyView, sameBytes } from './copy.ts'

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

const LENGTHS = [0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 255, 256, 257, 700]

test('views: bytes of any length, at any place, and nothing beside them', () => {
  const source = Uint8Array.from({ length: 800 }, (_, i) => i * 31)
  for (const length of LENGTHS)
    for (const from of [0, 3])
      for (const at of [0, 5]) {
        const target = new Uint8Array(800).fill(0xee)
        copyView(new DataView(source.buffer), from, from + length, new DataView(target.buffer), at)
        const expected = new Uint8Array(800).fill(0xee)
        expected.set(source.subarray(from, from + length), at)
        assert.deepEqual(target, expected, `${length} bytes from ${from} to ${at}`)
      }
})

test('bytes are the same if and only if each one is, whatever lies beside them', () => {
  for (const length of LENGTHS) {
    const a = Uint8Array.from({ length: length + 20 }, (_, i) => i * 31)
    const b = new Uint8Array(length + 20).fill(0xee)
    b.set(a.subarray(3, 3 + length), 6)
    const same = () => sameBytes(new DataView(a.buffer), 3, new DataView(b.buffer), 6, length)
    assert.ok(same(), `${length} bytes`)
    for (let i = 0; i < length; i++) {
      b[6 + i]! ^= 0x80
      assert.ok(!same(), `byte ${i} of ${length}`)
      b[6 + i]! ^= 0x80
    }
  }
})
