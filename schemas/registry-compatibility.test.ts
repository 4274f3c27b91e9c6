import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  COMPATIBILITY_LEVELS,
  type CompatibilityLevel,
  findIncompatibilities,
} from './registry-compatibility.ts'

const record = (...fields: unknown[]): string => JSON.stringify({ type: 'record', name: 'R', fields })

test('levels compare what they say', () => {
  const a = record({ name: 'x', type: 'int' })
  const b = record({ name: 'x', type: 'int' }, { name: 'y', type: 'int', default: 0 })
  const c = record({ name: 'y', type: 'int', default: 0 }, { name: 'z', type: 'int' })
  const d = record({ name: 'x', type: 'long' })
  const versions = (...schemas: string[]) => schemas.map((schema, i) => ({ version: i + 1, schema }))
  const fits = (next: string, ...earlier: string[]): CompatibilityLevel[] =>
    COMPATIBILITY_LEVELS.filter(
      (level) => findIncompatibilities(level, next, versions(...earlier)).length === 0,
    ).sort()
  assert.deepEqual(fits(b), [...COMPATIBILITY_LEVELS].sort())
  assert.deepEqual(fits(b, a), [...COMPATIBILITY_LEVELS].sort())
  // c cannot read b (z has no default), nor b c (x has none).
  assert.deepEqual(fits(c, b), ['NONE'])
  assert.deepEqual(fits(d, a), ['BACKWARD', 'BACKWARD_TRANSITIVE', 'NONE'])
  assert.deepEqual(fits(a, d), ['FORWARD', 'FORWARD_TRANSITIVE', 'NONE'])
  // Only the transitive level looks beyond the latest.
  assert.deepEqual(fits(d, c, a), ['BACKWARD', 'NONE'])
  assert.deepEqual(
    findIncompatibilities('BACKWARD_TRANSITIVE', d, versions(c, a)).map((one) => [
      one.version,
      one.field,
      one.rule,
    ]),
    [[1, 'x', 'READER_FIELD_MISSING_DEFAULT_VALUE']],
  )
})
