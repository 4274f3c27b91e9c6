import assert from 'node:assert/strict'
import { test } from 'node:test'
import avsc from 'avsc'
import fc from 'fast-check'
import { encodeRejected, REJECTED_SCHEMA, type Rejected } from './rejected.ts'

const type = avsc.Type.forSchema(JSON.parse(REJECTED_SCHEMA))
const long = fc.integer({ min: 0, max: 2 ** 48 })

test('avsc reads what was rejected', () => {
  const rejected: fc.Arbitrary<Rejected> = fc.record({
    code: fc.constantFrom('payload_invalid', 'schema_unknown'),
    reason: fc.string(),
    field: fc.option(fc.string(), { nil: undefined }),
    offset: fc.option(fc.nat(), { nil: undefined }),
    payload: fc.uint8Array({ maxLength: 300 }),
    schemaId: fc.option(fc.nat(), { nil: undefined }),
    device: fc.string({ unit: 'grapheme' }),
    source: fc.option(fc.record({ topic: fc.string(), partition: fc.nat(1023), offset: long }), {
      nil: undefined,
    }),
    receiveTimeMs: fc.integer({ min: 0, max: 4e12 }),
  })
  fc.assert(
    fc.property(rejected, fc.nat(), (one, id) => {
      const bytes = encodeRejected(one, id)
      assert.equal(bytes[0], 0)
      assert.equal(Buffer.from(bytes).readUInt32BE(1), id)
      const read = type.fromBuffer(Buffer.from(bytes.subarray(5)))
      assert.deepEqual(
        { ...read, payload: new Uint8Array(read.payload) },
        {
          code: one.code,
          reason: one.reason,
          field: one.field ?? null,
          offset: one.offset ?? null,
          payload: one.payload,
          schema_id: one.schemaId ?? null,
          device: one.device,
          source_topic: one.source?.topic ?? null,
          source_partition: one.source?.partition ?? null,
          source_offset: one.source?.offset ?? null,
          receive_time: one.receiveTimeMs * 1000,
        },
      )
    }),
    { numRuns: 300 },
  )
})
