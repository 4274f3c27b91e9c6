import assert from 'node:assert/strict'
import { isUtf8 as nativeIsUtf8 } from 'node:buffer'
import { test } from 'node:test'
import fc from 'fast-check'
import { isUtf8 } from './utf8.ts'

test('agrees with the platform on text, on bytes that are nearly text, and on noise', () => {
  const lead = fc.constantFrom(
    0x00,
    0x41,
    0x80,
    0xbf,
    0xc0,
    0xc1,
    0xc2,
    0xdf,
    0xe0,
    0xed,
    0xef,
    0xf0,
    0xf4,
    0xf5,
    0xff,
  )
  const near = fc.array(fc.oneof(lead, fc.integer({ min: 0x7f, max: 0xc0 })), { maxLength: 6 })
  const text = fc.string({ unit: 'binary' }).map((s) => [...Buffer.from(s)])
  fc.assert(
    fc.property(fc.oneof(near, text, fc.array(fc.nat(255))), (list) => {
      const bytes = Uint8Array.from([0xff, ...list, 0xbf])
      assert.equal(isUtf8(bytes, 1, bytes.length - 1), nativeIsUtf8(bytes.subarray(1, -1)))
    }),
    { numRuns: 3000 },
  )
})
