import assert from 'node:assert/strict'
import fs from 'node:fs'
import path from 'node:path'
import { describe, test } from 'node:test'
import { isMillraceError } from '../std/errors.ts'
import { compileContract, parseContract } from './contract.ts'
import { type CompiledRules, compileRules } from './rules-compile.ts'
import { conversion, unitsLike } from './units.ts'

const shipped = (name: string): CompiledRules => {
  const file = path.join(import.meta.dirname, '..', 'contracts', name)
  return compileRules(compileContract(parseContract(fs.readFileSync(file, 'utf8'), name))[0]!)
}

/** Rules over one record of assorted fields. */
function rulesOf(
  ...rules: { when?: string; set?: { field: string; value: string }; refuse?: string }[]
): CompiledRules {
  return compileRules({
    schema: JSON.stringify({
      type: 'record',
      name: 'r',
      fields: [
        { name: 'd', type: 'double' },
        { name: 'nd', type: ['null', 'double'] },
        { name: 'i', type: 'int' },
        { name: 'l', type: 'long' },
        { name: 's', type: 'string' },
        { name: 'e', type: { type: 'enum', name: 'e', symbols: ['a', 'b'] } },
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-millis' } },
        { name: 'money', type: { type: 'bytes', logicalType: 'decimal', precision: 4, scale: 2 } },
        {
          name: 'inner',
          type: ['null', { type: 'record', name: 'inner_type', fields: [{ name: 'x', type: 'float' }] }],
        },
      ],
    }),
    fields: [],
    ruleSets: [{ firmware: 'default', rules }],
  })
}

describe('rules', () => {
  test('of the environment change nothing for 1.x and for firmwares that nobody named', () => {
    const rules = shipped('environment.yaml')
    assert.equal(rules.isIdentity, false)
    assert.equal(rules.firmwareField, 'firmware')
    for (const firmware of ['1.0.0', '1.9', 'unknown', '', null, undefined, '3.0', '0.1'])
      assert.ok(rules.select(firmware).isIdentity, String(firmware))
    const record = { temperature: 212, pressure: 101325 }
    assert.equal(rules.select('2.0.3').apply(record), undefined)
    assert.deepEqual(record, { temperature: 100, pressure: 1013.25 })
    const later = { temperature: 32, pressure: null }
    assert.equal(rules.select('v2.4').apply(later), undefined)
    assert.deepEqual(later, { temperature: 0, pressure: null })
    assert.deepEqual(rules.select('2.0.3').reads, ['temperature', 'pressure'])
  })

  test('of the machine reach into records', () => {
    const record = { spindle: { speed: 25 } }
    assert.equal(shipped('machine.yaml').select('1.3').apply(record), undefined)
    assert.deepEqual(record, { spindle: { speed: 1500 } })
  })

  test('run in order, each on what the ones before left', () => {
    const rules = rulesOf(
      { set: { field: 'd', value: 'd + 1.0' } },
      { when: 'd > 1.5', set: { field: 's', value: '"high"' } },
      { set: { field: 'nd', value: 'd > 1.5 ? d * 2.0 : null' } },
      { set: { field: 'l', value: 'l + 1' } },
      { set: { field: 'at', value: 'at + duration("1s")' } },
    )
    const record = { d: 1, s: '', nd: 7, l: 2n ** 60n, at: 1000 }
    assert.equal(rules.select('x').apply(record), undefined)
    assert.deepEqual(record, { d: 2, s: 'high', nd: 4, l: 2n ** 60n + 1n, at: 2000 })
    const low = { d: 0, s: '', nd: 7, l: 1, at: -1 }
    assert.equal(rules.select('x').apply(low), undefined)
    assert.deepEqual(low, { d: 1, s: '', nd: null, l: 2, at: 999 })
  })

  test('refuse with their reason, with CEL’s error, and where the result does not fit', () => {
    const set = rulesOf(
      { when: 'd < 0.0', refuse: 'negative' },
      { set: { field: 'i', value: 'i / l' } },
    ).select('')
    assert.deepEqual(set.apply({ d: -1, i: 1, l: 1 }), {
      code: 'rule_refused',
      reason: 'negative',
      field: undefined,
      step: 0,
    })
    assert.deepEqual(set.apply({ d: 1, i: 1, l: 0 }), {
      code: 'rule_failed',
      reason: 'int divide by zero',
      field: 'i',
      step: 1,
    })
    assert.equal(set.apply({ d: 1, i: 1, l: 1 }), undefined)
    const fit = rulesOf({ set: { field: 'i', value: 'l' } }, { set: { field: 'e', value: 's' } }).select('')
    assert.match(fit.apply({ i: 0, l: 2 ** 40, s: 'a' })!.reason, /1099511627776 does not fit/)
    assert.deepEqual(fit.apply({ i: 0, l: 1, s: 'z' })!.field, 'e')
    const condition = rulesOf({ when: 'nd > 1.0', set: { field: 'd', value: '1.0' } }).select('')
    assert.match(condition.apply({ nd: null, d: 0 })!.reason, /null/)
  })

  test('leave a nested field alone whose record is null', () => {
    const set = rulesOf({ when: 'inner.x > 1.0', set: { field: 'inner.x', value: '0.1' } }).select('')
    const record = { inner: null }
    assert.equal(set.apply(record), undefined)
    const there = { inner: { x: 2 } }
    assert.equal(set.apply(there), undefined)
    assert.deepEqual(there, { inner: { x: Math.fround(0.1) } })
  })

  test('without a step let whole batches through', () => {
    assert.ok(rulesOf().isIdentity)
    assert.equal(
      compileRules({ schema: '{"type":"record","name":"r","fields":[]}', fields: [], ruleSets: [] }).select(
        '1',
      ).firmware,
      'default',
    )
  })

  test('that cannot run are refused with rule set, step and reason', () => {
    const bad = [
      { set: { field: 'd', value: 's' } },
      { set: { field: 'nope', value: 'd' } },
      { set: { field: 'money', value: '1.0' } },
      { set: { field: 's.x', value: '"a"' } },
      { set: { field: 'd', value: 'nd' } },
      { set: { field: 'd', value: 'null' } },
      { when: '1', refuse: 'x' },
    ]
    for (const rule of bad)
      assert.throws(
        () => rulesOf({ set: { field: 'd', value: 'd' } }, rule),
        (error) =>
          isMillraceError(error, 'rule_invalid') && /firmware 'default', step 1: /.test(error.message),
        JSON.stringify(rule),
      )
  })
})

describe('units', () => {
  test('convert exactly where the ratio is exact', () => {
    assert.equal(conversion('x', '°F', '°C'), '(x - 32.0) * 5.0 / 9.0')
    assert.equal(conversion('x', '°C', '°F'), 'x * 9.0 / 5.0 + 32.0')
    assert.equal(conversion('x', 'K', '°C'), '(x - 273.15)')
    assert.equal(conversion('x', 'Pa', 'hPa'), 'x / 100.0')
    assert.equal(conversion('x', 'kW', 'W'), 'x * 1000.0')
    assert.equal(conversion('x', 'km/h', 'm/s'), 'x * 10.0 / 36.0')
    assert.equal(conversion('x', '%', '%'), 'x')
    assert.equal(conversion('x', 'kg', 'm'), undefined)
    assert.equal(conversion('x', 'parsec', 'm'), undefined)
    assert.deepEqual(unitsLike('V'), ['V', 'mV', 'kV'])
    assert.deepEqual(unitsLike('parsec'), [])
  })
})
