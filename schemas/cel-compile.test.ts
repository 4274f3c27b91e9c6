import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { checkCel } from './cel-check.ts'
import { CelFailure, compileCel } from './cel-compile.ts'
import { interpretCel } from './cel-interpret.ts'
import { celFieldsOf } from './cel-types.ts'

const SCHEMA = {
  type: 'record',
  name: 'probe',
  fields: [
    { name: 'i', type: 'int' },
    { name: 'l', type: 'long' },
    { name: 'd', type: 'double' },
    { name: 'f', type: 'float' },
    { name: 's', type: 'string' },
    { name: 'b', type: 'boolean' },
    { name: 'raw', type: 'bytes' },
    { name: 'state', type: { type: 'enum', name: 'state', symbols: ['on', 'off'] } },
    { name: 'nd', type: ['null', 'double'] },
    { name: 'nl', type: ['null', 'long'] },
    { name: 'ns', type: ['null', 'string'] },
    { name: 'nb', type: ['null', 'boolean'] },
    { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
    { name: 'ms', type: { type: 'long', logicalType: 'timestamp-millis' } },
    { name: 'money', type: { type: 'bytes', logicalType: 'decimal', precision: 9, scale: 2 } },
    { name: 'ld', type: { type: 'array', items: 'double' } },
    { name: 'll', type: { type: 'array', items: 'long' } },
    { name: 'md', type: { type: 'map', values: 'double' } },
    {
      name: 'rec',
      type: {
        type: 'record',
        name: 'rec',
        fields: [
          { name: 'x', type: 'double' },
          { name: 'n', type: ['null', 'long'] },
        ],
      },
    },
    {
      name: 'nrec',
      type: ['null', { type: 'record', name: 'nrec', fields: [{ name: 'x', type: 'double' }] }],
    },
  ],
}
const FIELDS = celFieldsOf(parseAvroSchema(JSON.stringify(SCHEMA)))

const long = fc.oneof(
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  fc.constantFrom<number | bigint>(0, 1, -1, 2 ** 53 - 1, 2n ** 63n - 1n, -(2n ** 63n)),
)
const text = fc.oneof(
  fc.string({ maxLength: 5, unit: 'grapheme' }),
  fc.constantFrom('', 'a', 'ab', 'on', '12', '-7', '1.5', 'true', '99999999999999999999', '1e3', 'x😀'),
)
const double = fc.oneof(fc.double(), fc.constantFrom(0, -0, 1.5, Number.NaN, 1e300, 9.3e18, -9.3e18))
const RECORD = fc.record({
  i: fc.integer(),
  l: long,
  d: double,
  f: fc.float(),
  s: text,
  b: fc.boolean(),
  raw: fc.uint8Array({ maxLength: 3 }),
  state: fc.constantFrom('on', 'off'),
  nd: fc.option(double),
  nl: fc.option(long),
  ns: fc.option(text),
  nb: fc.option(fc.boolean()),
  at: fc.oneof(fc.integer(), fc.maxSafeInteger()),
  // The interpreter converts its bindings first, the compiled code when it comes to them: out of range, only
  // one of the two may fail, so the values stay within CEL's years here.
  ms: fc.oneof(fc.integer(), fc.integer({ min: -62135596800000, max: 253402300799999 })),
  money: fc.uint8Array({ minLength: 1, maxLength: 4 }),
  ld: fc.array(double, { maxLength: 3 }),
  ll: fc.array(long, { maxLength: 3 }),
  md: fc.dictionary(fc.constantFrom('a', 'ab', 'c'), double),
  rec: fc.record({ x: double, n: fc.option(long) }),
  nrec: fc.option(fc.record({ x: double })),
})

/** Well-typed expressions by result type, to a depth. */
const { bool, int, dbl, str } = fc.letrec<{ bool: string; int: string; dbl: string; str: string }>((tie) => {
  const both = (type: 'bool' | 'int' | 'dbl' | 'str', operators: string[]) =>
    fc
      .tuple(tie(type), fc.constantFrom(...operators), tie(type))
      .map(([left, operator, right]) => `(${left} ${operator} ${right})`)
  const choose = (type: 'bool' | 'int' | 'dbl' | 'str') =>
    fc.tuple(tie('bool'), tie(type), tie(type)).map(([c, a, z]) => `(${c} ? ${a} : ${z})`)
  const call = (name: string, type: 'bool' | 'int' | 'dbl' | 'str') => tie(type).map((a) => `${name}(${a})`)
  const comparisons = ['<', '<=', '>', '>=', '==', '!=']
  return {
    bool: fc.oneof(
      { maxDepth: 5, depthSize: 'small' },
      fc
        .constantFrom(
          'true',
          'false',
          'b',
          'nb',
          'nb == null',
          'nd != null',
          'has(rec.n)',
          'has(nrec.x)',
          'has(md.a)',
        )
        .map((leaf) => `(${leaf})`),
      fc
        .constantFrom(
          'state == "on"',
          'state in ["on", "x"]',
          'at < ms',
          'at == ms',
          'money > 1.5',
          '"a" in md',
          'raw == b"a"',
          'nl == l',
          'nd == d',
          'd in ld',
          'l in ll',
          'nl in [1, 2, null]',
          'nrec == null',
          'ld.exists(x, x > d)',
          'rec.n == null',
          '1 in ll',
          's.matches("[0-9]+")',
        )
        .map((leaf) => `(${leaf})`),
      both('bool', ['&&', '||', '==', '!=']),
      both('int', comparisons),
      both('dbl', comparisons),
      both('str', comparisons),
      fc
        .tuple(tie('int'), fc.constantFrom(...comparisons), tie('dbl'))
        .map(([a, o, z]) => `(${a} ${o} ${z})`),
      tie('bool').map((a) => `!${a}`),
      fc
        .tuple(tie('str'), fc.constantFrom('contains', 'startsWith', 'endsWith'), tie('str'))
        .map(([a, name, z]) => `${a}.${name}(${z})`),
      choose('bool'),
      call('bool', 'str'),
    ),
    int: fc.oneof(
      { maxDepth: 5, depthSize: 'small' },
      fc.constantFrom('0', '1', '-3', '9223372036854775807', '-9223372036854775808', '4611686018427387904'),
      fc.constantFrom(
        'i',
        'l',
        'nl',
        'rec.n',
        'll[0]',
        'll[1]',
        'size(ld)',
        'size(md)',
        'raw.size()',
        'int(at)',
        'int(ms)',
      ),
      both('int', ['+', '-', '*', '/', '%']),
      tie('int').map((a) => `-(${a})`),
      call('int', 'dbl'),
      call('int', 'str'),
      call('size', 'str'),
      tie('int').map((a) => `ll[${a}]`),
      choose('int'),
    ),
    dbl: fc.oneof(
      { maxDepth: 5, depthSize: 'small' },
      fc.constantFrom(
        '0.0',
        '1.5',
        '-2.25',
        '1e300',
        'd',
        'f',
        'nd',
        'money',
        'rec.x',
        'nrec.x',
        'md["a"]',
        'md.ab',
        'ld[0]',
      ),
      both('dbl', ['+', '-', '*', '/']),
      tie('dbl').map((a) => `-(${a})`),
      call('double', 'int'),
      call('double', 'str'),
      choose('dbl'),
    ),
    str: fc.oneof(
      { maxDepth: 5, depthSize: 'small' },
      fc.constantFrom('""', '"a"', '"on"', '"12"', '"x😀"', "'\\''", 's', 'ns', 'state'),
      both('str', ['+']),
      call('string', 'int'),
      call('string', 'dbl'),
      call('string', 'bool'),
      choose('str'),
    ),
  }
})

function same(left: unknown, right: unknown): boolean {
  if (left instanceof CelFailure || right instanceof CelFailure)
    return left instanceof CelFailure && right instanceof CelFailure
  return Object.is(left, right)
}

describe('compiled CEL', () => {
  test('equals the library’s interpreter on random expressions and records, errors included', () => {
    let compiled = 0
    let interpreted = 0
    let failures = 0
    const runs = process.env['MILLRACE_LONG'] === '1' ? 100_000 : 3_000
    fc.assert(
      fc.property(
        fc.oneof(bool, int, dbl, str),
        fc.array(RECORD, { minLength: 3, maxLength: 3 }),
        (source, records) => {
          const program = compileCel(source, FIELDS)
          if (program.compiled) compiled++
          else interpreted++
          const oracle = interpretCel(checkCel(source, FIELDS), FIELDS)
          for (const record of records) {
            const expected = oracle(record)
            const actual = program.evaluate(record)
            if (expected instanceof CelFailure) failures++
            assert.ok(
              same(actual, expected),
              `${source}\n${program.code}\n${String(actual)} ≠ ${String(expected)}`,
            )
          }
        },
      ),
      { numRuns: runs },
    )
    assert.ok(compiled > interpreted && failures > runs / 10, `${compiled} ${interpreted} ${failures}`)
  })

  test('generated source is readable and holds constants in a table', () => {
    const program = compileCel('d > 60.5 && s.startsWith("2.") || nd + 1.0 > d', FIELDS)
    assert.equal(
      program.code,
      `'use strict'
return function evaluate(record) {
  try {
    return (((record.d > 60.5) && record.s.startsWith(K[0])) || ((R.present(record.nd) + 1) > record.d))
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
}
`,
    )
    assert.deepEqual(program.reads, ['d', 's', 'nd'])
  })

  test('no text of the user reaches the generated source', () => {
    for (const source of [
      's == "\\"; throw 1; //"',
      "s.contains('`$x`')",
      'md["constructor"] > 1.0',
      "b'\\x00' == raw",
    ]) {
      const { code } = compileCel(source, FIELDS)
      assert.ok(!/throw 1|`|constructor/.test(code), code)
    }
    assert.ok(compileCel('md["constructor"] > 1.0', FIELDS).evaluate({ md: {} }) instanceof CelFailure)
  })

  test('what the compiler does not take is interpreted with the same result type', () => {
    const cases: [string, unknown][] = [
      ['ld.exists(x, x > 2.0)', true],
      ['ld.map(x, x * 2.0).size()', 2],
      ['ll.filter(n, n > 1).size() == 1', true],
      ['s.matches("^a.c$")', true],
      ['at - duration("1s") < at', true],
      ['at + duration("1s")', 1_500_000],
      ['timestamp(1) > at', true],
      ['at.getFullYear()', 1970],
      ['md.all(k, md[k] > 0.0)', true],
    ]
    const record = { ld: [1, 3], ll: [1, 2], s: 'abc', at: 500_000, md: { a: 1 } }
    for (const [source, expected] of cases) {
      const program = compileCel(source, FIELDS)
      assert.equal(program.compiled, false, source)
      assert.deepEqual(program.evaluate(record), expected, source)
    }
  })

  test('errors of the check name position and reason', () => {
    const cases: [string, number, RegExp][] = [
      ['d +', 2, /ends too early|not CEL/],
      ['d * 2', 2, /decimal point/],
      ['tempo > 1.0', 0, /no field 'tempo'/],
      ['b && rec.y > 1', 8, /no field 'y'/],
      ['s == 1', 2, /always the same/],
      ['d == null', 2, /never null/],
      ['s.foo()', 1, /no function 'foo'/],
      ['b ? 1 : "x"', 0, /one type/],
      ['nosuch(d)', 0, /no function/],
      ['md[1] > 1.0', 2, /key of a map/],
    ]
    for (const [source, offset, reason] of cases) {
      assert.throws(
        () => checkCel(source, FIELDS),
        (error) => {
          assert.ok(isMillraceError(error, 'rule_invalid'), source)
          assert.match(error.message, reason, source)
          assert.ok(
            Math.abs((error.details['offset'] as number) - offset) <= 1,
            `${source}: ${error.details['offset']}`,
          )
          return true
        },
      )
    }
  })

  test('what nests too deep is refused, not a stack overflow', () => {
    for (const source of [
      `${'d+'.repeat(2000)}d`,
      `${'!'.repeat(3999)}b`,
      `${'('.repeat(2000)}b${')'.repeat(2000)}`,
      `${'-('.repeat(500)}d${')'.repeat(500)}`,
    ]) {
      try {
        assert.ok(compileCel(source, FIELDS).compiled)
      } catch (error) {
        assert.ok(isMillraceError(error, 'rule_invalid') && /nests deeper/.test(error.message), String(error))
      }
    }
    assert.throws(() => compileCel(`${'d+'.repeat(2000)}d`, FIELDS), /nests deeper/)
    assert.throws(() => compileCel('x'.repeat(5000), FIELDS), /at most 4096/)
  })

  test('any text at all fails only with rule_invalid', () => {
    const tokens = fc.constantFrom(
      'd',
      's',
      '(',
      ')',
      '+',
      '&&',
      '?',
      ':',
      '[',
      ']',
      '"a"',
      '1',
      '.',
      'has',
      'in',
      '-',
      '{',
      '}',
      ',',
      'x',
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(tokens).map((parts) => parts.join(' ')),
        ),
        (source) => {
          try {
            compileCel(source, FIELDS)
          } catch (error) {
            assert.ok(isMillraceError(error, 'rule_invalid'), String(error))
          }
        },
      ),
      { numRuns: 2_000 },
    )
  })
})
