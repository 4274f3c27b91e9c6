import assert from 'node:assert/strict'
import { test } from 'node:test'
import avsc from 'avsc'
import fc from 'fast-check'
import { MACHINE_SCHEMA, SENSOR_SCHEMA, schemaArbitrary } from './avro-arbitraries.ts'
import { canonicalForm, fingerprint } from './avro-fingerprint.ts'

const hex = (bytes: Uint8Array) => Buffer.from(bytes).reverse().toString('hex')

// Values of the reference implementation's test data (apache/avro, share/test/data/schema-tests.txt).
test('fingerprints of the reference implementation', () => {
  assert.equal(hex(fingerprint('"null"')), '63dd24e7cc258f8a')
  assert.equal(hex(fingerprint('"boolean"')), '9f42fc78a4d4f764')
  assert.equal(hex(fingerprint('{"type":"int"}')), '7275d51a3f395c8f')
  assert.equal(hex(fingerprint('"string"')), '8f014872634503c7')
})

test('canonical form equals that of avsc', () => {
  const same = (schema: string) => {
    const type = avsc.Type.forSchema(JSON.parse(schema), { wrapUnions: 'always' })
    assert.equal(canonicalForm(schema), JSON.stringify(type.schema()))
  }
  same(SENSOR_SCHEMA)
  same(MACHINE_SCHEMA)
  fc.assert(fc.property(schemaArbitrary(), same), { numRuns: 200 })
})
