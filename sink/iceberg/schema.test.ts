import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { isMillraceError } from '../../std/errors.ts'
import {
  assignFieldIds,
  evolveFields,
  type NestedField,
  sameFields,
  type Type,
  type WantedField,
  type WantedType,
} from './schema.ts'

const field = (name: string, type: WantedType, required = true, aliases: string[] = []): WantedField => ({
  name,
  type,
  required,
  aliases,
})

const start: WantedField[] = [
  field('a', 'int'),
  field('b', 'float', false),
  field('point', { kind: 'struct', fields: [field('x', 'double'), field('y', 'decimal(9, 2)')] }),
  field('tags', { kind: 'list', element: 'int', elementRequired: true }),
  field('labels', { kind: 'map', key: 'string', value: 'string', valueRequired: false }),
]

function idsOf(fields: readonly NestedField[], into: number[] = []): number[] {
  const walk = (type: Type): void => {
    if (typeof type === 'string') return
    if (type.type === 'struct') idsOf(type.fields, into)
    else if (type.type === 'list') {
      into.push(type['element-id'])
      walk(type.element)
    } else {
      into.push(type['key-id'], type['value-id'])
      walk(type.key)
      walk(type.value)
    }
  }
  for (const one of fields) {
    into.push(one.id)
    walk(one.type)
  }
  return into
}

test('a new schema has every id once, from 1 on', () => {
  const { fields, lastColumnId } = assignFieldIds(start)
  assert.deepEqual(
    idsOf(fields).sort((a, b) => a - b),
    Array.from({ length: lastColumnId }, (_, i) => i + 1),
  )
})

test('the same fields evolve into the same schema, without a new id', () => {
  const before = assignFieldIds(start)
  const after = evolveFields(before.fields, start, before.lastColumnId)
  assert.ok(sameFields(before.fields, after.fields))
  assert.equal(after.lastColumnId, before.lastColumnId)
})

test('add, widen, optional, rename, drop, reorder and the same inside keep ids', () => {
  const before = assignFieldIds(start)
  const byName = new Map(before.fields.map((one) => [one.name, one]))
  const after = evolveFields(
    before.fields,
    [
      field('labels', { kind: 'map', key: 'string', value: 'string', valueRequired: true }),
      field('position', { kind: 'struct', fields: [field('y', 'decimal(12, 2)'), field('z', 'int')] }, true, [
        'point',
      ]),
      field('a', 'long', false),
      field('tags', { kind: 'list', element: 'long', elementRequired: false }),
      field('added', 'string'),
    ],
    before.lastColumnId,
  )
  assert.deepEqual(
    after.fields.map((one) => [one.name, one.id, one.required]),
    [
      ['labels', byName.get('labels')!.id, true],
      ['position', byName.get('point')!.id, true],
      ['a', byName.get('a')!.id, false],
      ['tags', byName.get('tags')!.id, true],
      ['added', before.lastColumnId + 2, false],
    ],
  )
  const position = after.fields[1]!.type as { fields: NestedField[] }
  const point = byName.get('point')!.type as { fields: NestedField[] }
  assert.equal(position.fields[0]!.id, point.fields[1]!.id)
  assert.equal(position.fields[0]!.type, 'decimal(12, 2)')
  assert.equal(position.fields[1]!.required, false, 'rows written before have no z')
  const labels = after.fields[0]!.type as { 'value-required': boolean }
  assert.equal(labels['value-required'], false, 'optional never becomes required')
})

test('a name that comes back after a drop gets another id', () => {
  const before = assignFieldIds(start)
  const dropped = evolveFields(before.fields, start.slice(1), before.lastColumnId)
  const again = evolveFields(dropped.fields, start, dropped.lastColumnId)
  assert.ok(again.fields[0]!.id > before.lastColumnId)
})

test('an alias that is still a column of its own is not a rename', () => {
  const before = assignFieldIds([field('a', 'int'), field('b', 'int')])
  const after = evolveFields(before.fields, [field('c', 'int', true, ['a']), field('a', 'int')], 2)
  assert.equal(after.fields[0]!.id, 3)
  assert.equal(after.fields[1]!.id, 1)
})

test('columns of others are kept, required ones are an error', () => {
  const before = assignFieldIds([field('a', 'int'), field('theirs', 'int', false)])
  const after = evolveFields(before.fields, [field('a', 'int')], 2, (id) => id === 1)
  assert.deepEqual(
    after.fields.map((one) => one.name),
    ['a', 'theirs'],
  )
  const required = assignFieldIds([field('a', 'int'), field('theirs', 'int')])
  assert.throws(
    () => evolveFields(required.fields, [field('a', 'int')], 2, (id) => id === 1),
    (error) => isMillraceError(error, 'table_foreign') && error.message.includes('theirs'),
  )
})

test('what Iceberg cannot express is refused with the path', () => {
  const refuse = (from: WantedType, to: WantedType, path: string) => {
    const before = assignFieldIds([field('outer', { kind: 'struct', fields: [field('f', from)] })])
    assert.throws(
      () => evolveFields(before.fields, [field('outer', { kind: 'struct', fields: [field('f', to)] })], 9),
      (error) => isMillraceError(error, 'schema_incompatible') && error.message.startsWith(path),
      `${JSON.stringify(from)} to ${JSON.stringify(to)}`,
    )
  }
  refuse('int', 'double', 'outer.f')
  refuse('long', 'int', 'outer.f')
  refuse('string', 'binary', 'outer.f')
  refuse('decimal(9, 2)', 'decimal(9, 3)', 'outer.f')
  refuse('decimal(9, 2)', 'decimal(8, 2)', 'outer.f')
  refuse('int', { kind: 'list', element: 'int', elementRequired: true }, 'outer.f')
  refuse(
    { kind: 'list', element: 'int', elementRequired: true },
    { kind: 'list', element: 'string', elementRequired: true },
    'outer.f.element',
  )
})

test('any sequence of adds, drops and reorders never gives an id twice', () => {
  const names = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'))
  fc.assert(
    fc.property(fc.array(names, { minLength: 1, maxLength: 8 }), (steps) => {
      let state = assignFieldIds([])
      const meaning = new Map<number, string>()
      for (const step of steps) {
        state = evolveFields(
          state.fields,
          step.map((name) => field(name, 'int')),
          state.lastColumnId,
        )
        for (const one of state.fields) {
          assert.equal(meaning.get(one.id) ?? one.name, one.name)
          meaning.set(one.id, one.name)
          assert.ok(one.id <= state.lastColumnId)
        }
        assert.deepEqual(
          state.fields.map((one) => one.name),
          step,
        )
      }
    }),
  )
})
