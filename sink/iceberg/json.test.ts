import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parseJson, printJson, toInt64 } from './json.ts'

test('64-bit integers survive parsing and printing exactly', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (value) => {
      const text = `{"snapshot-id":${value},"nested":[{"x":${value}}]}`
      assert.equal(printJson(parseJson(text)), text)
      const parsed = (parseJson(text) as { 'snapshot-id': number | bigint })['snapshot-id']
      assert.equal(BigInt(parsed), value)
      assert.equal(parsed, toInt64(value), 'one form for each value, so that === compares ids')
    }),
  )
})

test('fractions, exponents and text that looks like a number are left alone', () => {
  const text = '{"a":0.1,"b":"9223372036854775807","c":1e+300,"d":null}'
  assert.equal(printJson(parseJson(text)), text)
})
