import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { datumArbitrary, MACHINE_SCHEMA, oracleType, ROOM, SENSOR_SCHEMA } from './avro-arbitraries.ts'
import { encodePlain, ValueError } from './avro-encode.ts'
import { createJsonEncoder, JSON_NO_ROOM, JSON_REFUSED } from './avro-json.ts'
import { createDirectEncoder } from './avro-json-direct.ts'
import { type AvroNode, branchName, nullableOf } from './avro-node.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { decimalText } from './avro-text.ts'
import { createValidator } from './avro-validate.ts'
import { createValueEncoder } from './avro-value-encoder.ts'

const numRuns = process.env['MILLRACE_LONG'] === '1' ? 5_000 : 300
const EVERYTHING = { anyUnion: true, recursion: true, logical: true }

/** JSON text of avsc's value; bare unions where a union is [null, T] and `bare`. Longs with all digits. */
function jsonText(node: AvroNode, value: unknown, bare: boolean): string {
  switch (node.kind) {
    case 'long':
      return `${value}`
    case 'float':
    case 'double':
      return Object.is(value, -0) ? '-0' : Number.isFinite(value) ? JSON.stringify(value) : 'null'
    case 'bytes':
    case 'fixed': {
      const bytes = value as Buffer
      if (node.decimal !== undefined)
        return JSON.stringify(decimalText(bytes, 0, bytes.length, node.decimal.scale))
      return JSON.stringify(bytes.toString('latin1'))
    }
    case 'array':
      return `[${(value as unknown[]).map((item) => jsonText(node.items, item, bare)).join(',')}]`
    case 'map':
      return `{${Object.entries(value as object)
        .map(([key, item]) => `${JSON.stringify(key)}:${jsonText(node.values, item, bare)}`)
        .join(',')}}`
    case 'union': {
      if (value === null) return 'null'
      const [key, inner] = Object.entries(value as object)[0]!
      const branch = node.branches.find((b) => branchName(b) === key)!
      const text = jsonText(branch, inner, bare)
      const isBare = bare && nullableOf(node) !== undefined && branch.kind !== 'map'
      return isBare ? text : `{${JSON.stringify(key)}:${text}}`
    }
    case 'record':
      return `{${node.fields
        .map(
          (field) =>
            `${JSON.stringify(field.name)}:${jsonText(field.node, (value as Record<string, unknown>)[field.name], bare)}`,
        )
        .join(',')}}`
    default:
      return JSON.stringify(value)
  }
}

/** Numbers that JSON cannot write are not tried. */
function isFiniteThroughout(value: unknown): boolean {
  if (typeof value === 'number') return Number.isFinite(value)
  return (
    typeof value !== 'object' ||
    value === null ||
    Buffer.isBuffer(value) ||
    Object.values(value).every(isFiniteThroughout)
  )
}

test('Avro JSON and bare JSON give the bytes that avsc writes', () => {
  fc.assert(
    fc.property(datumArbitrary(EVERYTHING), fc.boolean(), ({ schema, node, value }, bare) => {
      fc.pre(isFiniteThroughout(value))
      const text = Buffer.from(jsonText(node, value, bare))
      const encoder = createJsonEncoder(node)
      const into = new Uint8Array(ROOM)
      const length = encoder.encode(text, 0, text.length, into, 0)
      assert.equal(encoder.explain(text, 0, text.length), undefined)
      // Decimals have several encodings, and avsc writes the one it was given.
      if (!schema.includes('decimal'))
        assert.equal(
          Buffer.from(into.slice(0, length)).toString('hex'),
          oracleType(schema).toBuffer(value).toString('hex'),
        )
      assert.equal(createValidator(node).validate(into, 0, length), 0)
      if (length > 0)
        assert.equal(encoder.encode(text, 0, text.length, new Uint8Array(length - 1), 0), JSON_NO_ROOM)
    }),
    { numRuns },
  )
})

test('any JSON value: the generated encoder and the plain one agree', () => {
  let fits = 0
  let refused = 0
  const shuffled = datumArbitrary(EVERYTHING).chain((datum) =>
    fc
      .oneof(
        fc.jsonValue(),
        fc.constant(
          JSON.parse(isFiniteThroughout(datum.value) ? jsonText(datum.node, datum.value, true) : '{}'),
        ),
        fc.tuple(fc.string(), fc.jsonValue()).map(([key, value]) => ({
          ...(isFiniteThroughout(datum.value) ? JSON.parse(jsonText(datum.node, datum.value, true)) : {}),
          [key.length > 2 ? 'f0' : key]: value,
        })),
      )
      .map((value) => ({ ...datum, value })),
  )
  fc.assert(
    fc.property(shuffled, ({ node, value }) => {
      const into = new Uint8Array(ROOM)
      const length = createValueEncoder(node).encode(value, into, 0)
      try {
        const plain = encodePlain(node, value)
        assert.deepEqual([...into.slice(0, length)], [...plain])
        fits++
      } catch (error) {
        if (!(error instanceof ValueError)) throw error
        assert.equal(length, -1)
        refused++
      }
    }),
    { numRuns: numRuns * 2 },
  )
  assert.ok(fits > 0 && refused > 0)
})

const into = new Uint8Array(1024)
function encode(
  type: unknown,
  text: string,
  extra: Record<string, unknown> = {},
): number[] | { path: string; reason: string } {
  const node = parseAvroSchema(
    JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'f', type, ...extra }] }),
  )
  const encoder = createJsonEncoder(node)
  const bytes = Buffer.from(text)
  const length = encoder.encode(bytes, 0, bytes.length, into, 0)
  const failure = encoder.explain(bytes, 0, bytes.length)
  if (length >= 0) {
    assert.equal(failure, undefined)
    return [...into.slice(0, length)]
  }
  assert.equal(length, JSON_REFUSED)
  return failure!
}
const avro = (type: unknown, value: unknown) => [...oracleType(JSON.stringify(type)).toBuffer(value)]

/** By way of values: JSON.parse and the generated encoder; undefined where one of them refuses. */
function byValues(node: AvroNode, text: string): string | undefined {
  try {
    const target = new Uint8Array(2048)
    const length = createValueEncoder(node).encode(JSON.parse(text), target, 0)
    return length < 0 ? undefined : Buffer.from(target.subarray(0, length)).toString('hex')
  } catch {
    return undefined
  }
}

test('the short way: where it answers, it is with the bytes of the long way', () => {
  const node = parseAvroSchema(
    JSON.stringify({
      type: 'record',
      name: 'R',
      fields: [
        { name: 'at', type: { type: 'long', logicalType: 'timestamp-micros' } },
        { name: 'level', type: 'int' },
        { name: 'value', type: 'double' },
        { name: 'part', type: ['null', 'float'], default: null },
        { name: 'text', type: ['string', 'null'], default: 'a default that is longer than what is sent' },
        { name: 'kind', type: { type: 'enum', name: 'K', symbols: ['a', 'ab', 'b'] } },
        { name: 'isOn', type: 'boolean' },
      ],
    }),
  )
  const direct = createDirectEncoder(node)!
  let taken = 0
  let left = 0
  const digits = fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength: 18 })
  const number = fc.oneof(
    fc.integer().map(String),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
    fc.tuple(fc.constantFrom('', '-'), digits).map((parts) => parts.join('')),
    fc.tuple(fc.constantFrom('', '-'), digits, fc.constant('.'), digits).map((parts) => parts.join('')),
    fc.constantFrom(
      '-0',
      '0.0',
      '-0.0',
      '9007199254740991',
      '9007199254740993',
      '1e3',
      '01',
      '1.',
      '-',
      '0.1',
    ),
  )
  const integer = fc.oneof(
    { weight: 8, arbitrary: fc.integer().map(String) },
    { weight: 1, arbitrary: number },
  )
  const space = fc.constantFrom('', '', '', ' ', '\n\t', '\r ')
  const member = (name: string, value: fc.Arbitrary<string>) =>
    fc.tuple(space, space, space, value).map(([a, b, c, text]) => `${a}"${name}"${b}:${c}${text}${a}`)
  const text = fc.oneof(
    fc.string().map((one) => JSON.stringify(one)),
    fc.constantFrom('null', '"x"', '"a\\u0062"'),
  )
  const object = fc
    .tuple(
      member('at', integer),
      member('level', integer),
      member('value', number),
      fc.oneof(member('part', fc.oneof(number, fc.constant('null'))), fc.constant(undefined)),
      fc.oneof(member('text', text), fc.constant(undefined)),
      member('kind', fc.constantFrom('"a"', '"ab"', '"b"', '"a"', '"ab"', '"b"', '"abc"', 'a')),
      member('isOn', fc.constantFrom('true', 'false', 'true', 'false', 'truth')),
    )
    .map((members) => `{${members.filter((one) => one !== undefined).join(',')}}`)
  const changed = fc
    .tuple(object, fc.nat(), fc.constantFrom(...'{}",:0.-e\\ nté'), fc.nat({ max: 3 }))
    .map(([whole, where, what, how]) => {
      const at = where % whole.length
      return how === 0
        ? whole.slice(0, at) + what + whole.slice(at + how)
        : how === 1
          ? whole.slice(0, at) + whole.slice(at + 1)
          : whole
    })
  fc.assert(
    fc.property(changed, (one) => {
      const bytes = Buffer.from(`##${one}##`)
      const target = new Uint8Array(2048)
      const length = direct(bytes, 2, bytes.length - 2, target, 3)
      if (length < 0) left++
      else {
        taken++
        assert.equal(Buffer.from(target.subarray(3, length)).toString('hex'), byValues(node, one))
      }
    }),
    { numRuns: numRuns * 20 },
  )
  assert.ok(taken > numRuns && left > numRuns, `${taken} taken, ${left} left to the long way`)
  const sensor = createDirectEncoder(parseAvroSchema(SENSOR_SCHEMA))
  assert.ok(sensor !== undefined, 'the shipped kind of contract has a short way')
})

test('the short way: numbers as JSON.parse reads them, members in another order left alone', () => {
  const node = parseAvroSchema(
    JSON.stringify({
      type: 'record',
      name: 'R',
      fields: ['a', 'b'].map((name) => ({ name, type: 'double' })),
    }),
  )
  const direct = createDirectEncoder(node)!
  const target = new Uint8Array(64)
  const view = new DataView(target.buffer)
  fc.assert(
    fc.property(
      fc.integer({ min: -999_999_999, max: 999_999_999 }),
      fc.nat({ max: 999_999 }),
      (whole, part) => {
        const written = `${whole}.${String(part).padStart(6, '0')}`
        const bytes = Buffer.from(`{"a":${written},"b":${whole}}`)
        assert.equal(direct(bytes, 0, bytes.length, target, 0), 16)
        assert.ok(Object.is(view.getFloat64(0, true), JSON.parse(written)))
        assert.ok(Object.is(view.getFloat64(8, true), JSON.parse(`${whole}`)))
      },
    ),
    { numRuns: numRuns * 10 },
  )
  for (const left of [
    '{"b":1,"a":2}',
    '{"a":1,"a":2}',
    '{"a":1,"b":2,"c":3}',
    '{"a":1}',
    '{"a":1,"b":2}}',
    '{"a":1,"b":2',
    '',
  ])
    assert.equal(direct(Buffer.from(left), 0, left.length, target, 0), -1, left)
})

test('what devices send', () => {
  const micros = { type: 'long', logicalType: 'timestamp-micros' }
  const millis = { type: 'long', logicalType: 'timestamp-millis' }
  const expected = avro('long', 1_700_000_000_123_456n)
  assert.deepEqual(encode(micros, '{"f":1700000000123456}'), expected)
  assert.deepEqual(encode(micros, '{"f":"2023-11-14T22:13:20.123456Z"}'), expected)
  assert.deepEqual(encode(micros, '{"f":"2023-11-15T00:13:20.123456789+02:00"}'), expected)
  assert.deepEqual(encode(millis, '{"f":"2023-11-14T17:13:20.123-05:00"}'), avro('long', 1_700_000_000_123n))
  assert.deepEqual(encode({ type: 'int', logicalType: 'date' }, '{"f":"1970-02-01"}'), avro('int', 31))
  assert.deepEqual(
    encode({ type: 'int', logicalType: 'time-millis' }, '{"f":"01:02:03.004"}'),
    avro('int', 3_723_004),
  )
  assert.deepEqual(
    encode({ type: 'long', logicalType: 'time-micros' }, '{"f":"00:00:01.5"}'),
    avro('long', 1_500_000n),
  )
  assert.deepEqual(encode('long', '{"f":9007199254740993}'), avro('long', 9_007_199_254_740_993n))
  assert.deepEqual(encode('long', '{"f":-9223372036854775808}'), avro('long', -(2n ** 63n)))
  assert.deepEqual(
    encode('double', '{"f":12345678901234567890}'),
    avro('double', Number('12345678901234567890')),
  )
  assert.deepEqual(encode(['null', 'double'], '{"f":1.5}'), [2, ...avro('double', 1.5)])
  assert.deepEqual(encode(['null', 'double'], '{"f":{"double":1.5}}'), [2, ...avro('double', 1.5)])
  assert.deepEqual(encode(['double', 'null'], '{"f":null}'), [2])
  assert.deepEqual(encode('int', '{}', { default: 5 }), [10])
  const decimal = { type: 'bytes', logicalType: 'decimal', precision: 5, scale: 2 }
  for (const text of ['12.3', '"12.30"', '1.23e1', '"12.300"'])
    assert.deepEqual(encode(decimal, `{"f":${text}}`), [4, 0x04, 0xce], text)
  assert.deepEqual(encode(decimal, '{"f":-0.01}'), [2, 0xff])
  assert.deepEqual(encode('bytes', '{"f":"\\u00ff\\u0000"}'), [4, 0xff, 0])
  assert.deepEqual(
    encode({ type: 'record', name: 'N', fields: [{ name: 'x', type: 'int' }] }, '{"f":{"x":1}}'),
    [2],
  )
  assert.deepEqual(
    encode(
      ['null', { type: 'record', name: 'a.N', fields: [{ name: 'x', type: 'int' }] }],
      '{"f":{"N":{"x":1}}}',
    ),
    [2, 2],
  )
})

test('what is refused, with field and reason', () => {
  const cases: [unknown, string, string, RegExp][] = [
    ['int', '{"f":1.5}', 'f', /integer/],
    ['int', '{"f":3000000000}', 'f', /exceeds an int/],
    ['long', '{"f":9223372036854775808}', 'f', /exceeds a long/],
    ['long', '{"f":1e18}', 'f', /not exact/],
    ['float', '{"f":1e300}', 'f', /exceeds a float/],
    ['boolean', '{"f":1}', 'f', /boolean/],
    ['string', '{"f":"\\ud800"}', 'f', /surrogate/],
    ['int', '{}', 'f', /missing/],
    ['int', '{"f":1,"humidty":2}', 'humidty', /no such field/],
    ['int', '{"f":1,"__proto__":2}', '__proto__', /no such field/],
    ['int', '{"f":1', '', /not JSON/],
    ['int', '[1]', '', /object/],
    ['int', 'null', '', /object/],
    [['null', 'int'], '{"f":"1"}', 'f', /fits no branch/],
    [{ type: 'enum', name: 'E', symbols: ['on', 'off'] }, '{"f":"up"}', 'f', /one of on, off/],
    [{ type: 'fixed', name: 'F', size: 2 }, '{"f":"abc"}', 'f', /2 bytes expected, 3 given/],
    ['bytes', '{"f":"€"}', 'f', /U\+00FF/],
    [{ type: 'array', items: 'int' }, '{"f":[1,"2"]}', 'f[]', /integer/],
    [{ type: 'map', values: 'int' }, '{"f":{"a":null}}', 'f{}', /integer/],
    [{ type: 'string', logicalType: 'uuid' }, '{"f":"123"}', 'f', /uuid/],
    [{ type: 'long', logicalType: 'timestamp-micros' }, '{"f":"2023-11-14T22:13:20"}', 'f', /zone/],
    [{ type: 'long', logicalType: 'timestamp-micros' }, '{"f":"2023-02-30T22:13:20Z"}', 'f', /timestamp/],
    [{ type: 'bytes', logicalType: 'decimal', precision: 3, scale: 1 }, '{"f":1.25}', 'f', /digits after/],
    [
      { type: 'bytes', logicalType: 'decimal', precision: 3, scale: 1 },
      '{"f":100}',
      'f',
      /more than 3 digits/,
    ],
    [
      { type: 'record', name: 'N', fields: [{ name: 'x', type: 'int' }] },
      '{"f":{"y":1}}',
      'f.y',
      /no such field/,
    ],
  ]
  for (const [type, text, path, reason] of cases) {
    const failure = encode(type, text)
    assert.ok(!Array.isArray(failure), text)
    assert.equal(failure.path, path, text)
    assert.match(failure.reason, reason, text)
  }
  const node = parseAvroSchema(SENSOR_SCHEMA)
  const broken = Buffer.from('{"seq":1, oops}')
  assert.equal(createJsonEncoder(node).explain(broken, 0, broken.length)!.offset, 10)
  const notUtf8 = Buffer.from([0x7b, 0xff, 0x7d])
  assert.equal(createJsonEncoder(node).encode(notUtf8, 0, 3, into, 0), JSON_REFUSED)
  assert.equal(createJsonEncoder(node).explain(notUtf8, 0, 3)!.reason, 'not UTF-8')
})

test('fields named like what every object inherits', () => {
  const names = ['constructor', 'toString', 'hasOwnProperty', 'valueOf']
  const schema = JSON.stringify({
    type: 'record',
    name: 'R',
    fields: names.map((name) => ({ name, type: 'int', default: 1 })),
  })
  const encoder = createJsonEncoder(parseAvroSchema(schema))
  const empty = Buffer.from('{}')
  assert.equal(encoder.encode(empty, 0, 2, into, 0), 4)
  assert.deepEqual([...into.slice(0, 4)], [2, 2, 2, 2])
  const one = Buffer.from('{"toString":2}')
  encoder.encode(one, 0, one.length, into, 0)
  assert.deepEqual([...into.slice(0, 4)], [2, 4, 2, 2])
})

test('any bytes at all are refused or encoded, never thrown at', () => {
  const encoder = createJsonEncoder(parseAvroSchema(MACHINE_SCHEMA))
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array(),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        const length = encoder.encode(bytes, 0, bytes.length, into, 0)
        assert.equal(length >= 0, encoder.explain(bytes, 0, bytes.length) === undefined)
      },
    ),
    { numRuns },
  )
})

test('the generated source is the one in golden/', () => {
  const file = new URL('golden/avro-json-sensor.js', import.meta.url)
  const { source } = createJsonEncoder(parseAvroSchema(SENSOR_SCHEMA))
  if (process.env['MILLRACE_UPDATE_GOLDEN'] === '1') fs.writeFileSync(file, source)
  assert.equal(source, fs.readFileSync(file, 'utf8'))
})
