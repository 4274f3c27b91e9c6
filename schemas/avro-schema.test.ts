import assert from 'node:assert/strict'
import { test } from 'node:test'
import avsc from 'avsc'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import { schemaArbitrary } from './avro-arbitraries.ts'
import { canonicalForm } from './avro-fingerprint.ts'
import { nullableOf, type RecordNode } from './avro-node.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { minimumSize } from './avro-size.ts'

const record = (...fields: unknown[]) => ({ type: 'record', name: 'R', fields })
const parse = (schema: unknown) => parseAvroSchema(JSON.stringify(schema))

test('whatever avsc takes of random schemas, we take, and agree on the canonical form', () => {
  fc.assert(
    fc.property(schemaArbitrary({ anyUnion: true, recursion: true, logical: true }), (schema) => {
      parseAvroSchema(schema)
      const type = avsc.Type.forSchema(JSON.parse(schema), { wrapUnions: 'always' })
      assert.equal(canonicalForm(schema), JSON.stringify(type.schema()))
    }),
    { numRuns: 300 },
  )
})

test('any JSON is a schema or schema_invalid; what is a schema here is one for avsc', () => {
  fc.assert(
    fc.property(fc.oneof(fc.json(), fc.string(), mangledSchema), (text) => {
      try {
        parseAvroSchema(text)
      } catch (error) {
        assert.ok(isMillraceError(error, 'schema_invalid'), String(error))
        return
      }
      avsc.Type.forSchema(JSON.parse(text), { wrapUnions: 'always' })
    }),
    { numRuns: 1_000 },
  )
})

const mangledSchema = fc
  .tuple(
    schemaArbitrary({ anyUnion: true, recursion: true }),
    fc.constantFrom('"type"', '"name"', '"int"', '"record"', '["null"', '"N1"', '"f0"', '"fields"', '[]'),
    fc.constantFrom('""', '"x y"', 'null', '7', '"N0"', '"int"', '{}'),
  )
  .map(([schema, from, to]) => schema.replace(from, to))

test('names, namespaces, logical types, defaults', () => {
  const node = parse({
    type: 'record',
    name: 'Outer',
    namespace: 'a.b',
    aliases: ['Older', 'x.Oldest'],
    doc: 'd',
    fields: [
      {
        name: 'inner',
        type: { type: 'record', name: 'Inner', fields: [{ name: 'self', type: ['null', 'Inner'] }] },
      },
      { name: 'again', type: 'a.b.Inner' },
      { name: 'far', type: { type: 'fixed', name: 'z.F', size: 16, logicalType: 'uuid' } },
      {
        name: 'money',
        type: { type: 'bytes', logicalType: 'decimal', precision: 5, scale: 2 },
        default: '\u0001',
      },
      { name: 'odd', type: { type: 'bytes', logicalType: 'decimal', precision: 2, scale: 5 } },
      { name: 'id', type: { type: 'string', logicalType: 'uuid' } },
      { name: 'note', type: ['null', 'string'], default: null, aliases: ['remark'] },
    ],
  }) as RecordNode
  const byName = Object.fromEntries(node.fields.map((field) => [field.name, field]))
  assert.equal(node.name, 'a.b.Outer')
  assert.deepEqual(node.aliases, ['a.b.Older', 'x.Oldest'])
  assert.equal(node.recursive, false)
  assert.equal((byName['inner']!.node as RecordNode).recursive, true)
  assert.equal(byName['again']!.node, byName['inner']!.node)
  assert.deepEqual(byName['far']!.node, {
    kind: 'fixed',
    name: 'z.F',
    aliases: [],
    size: 16,
    logical: 'uuid',
  })
  assert.deepEqual(byName['money']!.node, { kind: 'bytes', decimal: { precision: 5, scale: 2 } })
  assert.deepEqual(byName['money']!.default, { json: '\u0001', bytes: Uint8Array.of(2, 1) })
  assert.deepEqual(byName['odd']!.node, { kind: 'bytes' })
  assert.deepEqual(byName['note']!.aliases, ['remark'])
  assert.deepEqual(nullableOf(byName['note']!.node), {
    value: { kind: 'string' },
    nullIndex: 0,
    valueIndex: 1,
  })
  assert.equal(
    Object.isFrozen(node) && Object.isFrozen(node.fields) && Object.isFrozen(byName['inner']!.node),
    true,
  )
  assert.equal(minimumSize(node), 1 + 1 + 16 + 1 + 1 + 1 + 1)
})

test('what is refused, and where', () => {
  const cases: [unknown, string, RegExp][] = [
    [record({ name: 'a', type: 'Missing' }), 'a', /unknown type/],
    [
      record({ name: 'a', type: { type: 'array', items: { type: 'map', values: 'nope' } } }),
      'a[]{}',
      /unknown type/,
    ],
    [record({ name: 'a', type: record({ name: 'b', type: 'int' }) }), 'a', /defined twice/],
    [record({ name: 'a b', type: 'int' }), '', /not a field name/],
    [record({ name: '__proto__', type: 'int' }), '', /not a field name/],
    [record({ name: "x');process.exit(", type: 'int' }), '', /not a field name/],
    [{ type: 'record', name: 'a;b', fields: [] }, '', /not an Avro name/],
    [{ type: 'enum', name: 'E', symbols: ['a', 'a'] }, '', /twice/],
    [{ type: 'enum', name: 'E', symbols: ['1'] }, '', /not an enum symbol/],
    [{ type: 'enum', name: 'E', symbols: ['a'], default: 'b' }, '', /not one of the symbols/],
    [{ type: 'fixed', name: 'F', size: -1 }, '', /size/],
    [['int', 'int'], '', /two branches/],
    [['int', ['null']], '', /directly in a union/],
    [[], '', /empty union/],
    [record({ name: 'a', type: 'int', default: 'x' }), 'a', /default "x": integer expected/],
    [record({ name: 'a', type: ['null', 'int'], default: 1 }), 'a', /null expected/],
    [record({ name: 'a', type: record({ name: 'b', type: 'int' }), default: {} }), 'a', /defined twice/],
    [record({ name: 'a', type: 'int', order: 'sideways' }), '', /order/],
    [7, '', /not a schema/],
  ]
  for (const [schema, path, reason] of cases)
    assert.throws(
      () => parse(schema),
      (error) =>
        isMillraceError(error, 'schema_invalid') &&
        error.details['path'] === path &&
        reason.test(error.message),
      JSON.stringify(schema),
    )
  assert.throws(
    () => parseAvroSchema('{'),
    (error) => isMillraceError(error, 'schema_invalid'),
  )
})

test('schemas that would explode are refused', () => {
  let deep: unknown = 'int'
  for (let i = 0; i < 40; i++) deep = { type: 'array', items: deep }
  assert.throws(() => parse(deep), /nested deeper/)
  let nested = ''
  for (let i = 0; i < 100_000; i++) nested += '['
  assert.throws(
    () => parseAvroSchema(nested),
    (error) => isMillraceError(error, 'schema_invalid'),
  )
  // Each record holds the one before it twice.
  const types: unknown[] = [{ type: 'record', name: 'R0', fields: [{ name: 'a', type: 'int' }] }]
  for (let i = 1; i < 20; i++)
    types.push({
      type: 'record',
      name: `R${i}`,
      fields: [
        { name: 'a', type: `R${i - 1}` },
        { name: 'b', type: `R${i - 1}` },
      ],
    })
  assert.throws(() => parse(types), /more than 4096 types/)
  const chain: unknown[] = [{ type: 'record', name: 'R0', fields: [{ name: 'a', type: 'int' }] }]
  for (let i = 1; i < 100; i++)
    chain.push({ type: 'record', name: `R${i}`, fields: [{ name: 'a', type: `R${i - 1}` }] })
  assert.throws(() => parse(chain), /deeper than 64 levels/)
})
