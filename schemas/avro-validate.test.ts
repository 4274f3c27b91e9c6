import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { viewOf } from '../std/view.ts'
import {
  datumArbitrary,
  encodeLoosely,
  MACHINE_SCHEMA,
  oracleType,
  SENSOR_SCHEMA,
  schemaArbitrary,
} from './avro-arbitraries.ts'
import * as codes from './avro-codes.ts'
import { interpret } from './avro-interpreter.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { benchmark } from './avro-validate.bench.ts'
import { createValidator, validatorSource } from './avro-validate.ts'

const numRuns = process.env['MILLRACE_LONG'] === '1' ? 5_000 : 400
const EVERYTHING = { anyUnion: true, recursion: true, logical: true }

function decodesUnchanged(type: ReturnType<typeof oracleType>, bytes: Buffer): boolean {
  try {
    return type.toBuffer(type.fromBuffer(bytes)).equals(bytes)
  } catch {
    return false
  }
}

test('what avsc encodes is valid, at any place in a buffer', () => {
  fc.assert(
    fc.property(
      datumArbitrary(EVERYTHING),
      fc.nat({ max: 12 }),
      fc.nat({ max: 12 }),
      (datum, before, after) => {
        const bytes = oracleType(datum.schema).toBuffer(datum.value)
        const whole = Buffer.concat([Buffer.alloc(before, 0xff), bytes, Buffer.alloc(after, 0xff)])
        const { validate, explain } = createValidator(datum.node)
        assert.equal(validate(whole, before, before + bytes.length), codes.VALID)
        assert.equal(explain(whole, before, before + bytes.length), undefined)
        if (after > 0) assert.notEqual(validate(whole, before, before + bytes.length + 1), codes.VALID)
        if (bytes.length > 0) assert.notEqual(validate(whole, before, before + bytes.length - 1), codes.VALID)
      },
    ),
    { numRuns },
  )
})

test('blocks of any cut, with or without sizes, and padded integers are valid', () => {
  fc.assert(
    fc.property(datumArbitrary(EVERYTHING), fc.infiniteStream(fc.nat()), (datum, choices) => {
      const bytes = Uint8Array.from(encodeLoosely(datum.node, datum.value, (n) => choices.next().value! % n))
      assert.deepEqual(interpret(datum.node, bytes, 0, bytes.length), undefined)
      assert.equal(createValidator(datum.node).validate(bytes, 0, bytes.length), codes.VALID)
    }),
    { numRuns },
  )
})

test('mutated bytes: generated = interpreter; valid implies that avsc decodes; unchanged by avsc implies valid', () => {
  let valid = 0
  let refused = 0
  fc.assert(
    fc.property(
      datumArbitrary({ anyUnion: true, recursion: true }),
      fc.infiniteStream(fc.nat()),
      fc.array(
        fc.tuple(fc.nat(), fc.constantFrom(0, 1, 2, 3, 0x7f, 0x80, 0xff, 0xc3, 0xed), fc.nat({ max: 2 })),
        {
          minLength: 1,
          maxLength: 30,
        },
      ),
      (datum, choices, mutations) => {
        const { validate, explain } = createValidator(datum.node)
        const type = oracleType(datum.schema)
        const original = encodeLoosely(datum.node, datum.value, (n) => choices.next().value! % n)
        for (const [where, byte, how] of mutations) {
          const bytes = [...original]
          const at = bytes.length === 0 ? 0 : where % bytes.length
          if (how === 0) bytes[at] = byte
          else if (how === 1) bytes.splice(at, 1)
          else bytes.splice(at, 0, byte)
          const mutated = Buffer.from(bytes)
          const code = validate(mutated, 0, mutated.length)
          assert.equal(code, explain(mutated, 0, mutated.length)?.code ?? codes.VALID)
          if (code === codes.VALID) {
            valid++
            type.fromBuffer(mutated)
          } else {
            refused++
            // avsc loops over whatever count a block claims, for hours: it is asked where there are no blocks.
            if (!/"(array|map)"/.test(datum.schema)) assert.equal(decodesUnchanged(type, mutated), false)
          }
        }
      },
    ),
    { numRuns },
  )
  assert.ok(valid > 0 && refused > 0)
})

test('schemas share a validator where their fields are equal, whatever they are called, and only there', () => {
  const of = (name: string, type: string) =>
    createValidator(
      parseAvroSchema(JSON.stringify({ type: 'record', name, fields: [{ name: 'level', type }] })),
    ).validate
  assert.equal(of('tank', 'int'), of('silo', 'int'))
  assert.notEqual(of('tank', 'int'), of('tank', 'long'))
})

test('any bytes at all: a code, never an exception, and the interpreter gives the same', () => {
  const validators = [SENSOR_SCHEMA, MACHINE_SCHEMA, LIST].map((schema) =>
    createValidator(parseAvroSchema(schema)),
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 120 }), (bytes) => {
      for (const { validate, explain } of validators)
        assert.equal(validate(bytes, 0, bytes.length), explain(bytes, 0, bytes.length)?.code ?? codes.VALID)
    }),
    { numRuns: numRuns * 5 },
  )
})

/**
 * The datum alone, in a buffer of its length: a byte that is read outside of it ends the test, and so does a word, because a
 * DataView throws there.
 */
function guarded(datum: Uint8Array): Uint8Array {
  return new Proxy(Uint8Array.from(datum), {
    get(target, name) {
      if (name === 'buffer' || name === 'byteOffset' || name === 'byteLength') return target[name]
      const index = Number(name)
      assert.ok(index >= 0 && index < target.length, `read of ${String(name)}, outside of the datum`)
      return target[index]
    },
  })
}

// What lies around the payload in the receive buffer is other clients' messages.
test('hostile payloads: whatever bytes, cut and schema, no byte outside of the range is read', () => {
  let valid = 0
  const canaries = [0x00, 0x02, 0x7f, 0x80, 0xff]
  const check = (validate: (bytes: Uint8Array, start: number, end: number) => number, datum: Uint8Array) => {
    const start = 16
    const end = start + datum.length
    const codesSeen = new Set<number>()
    for (const canary of canaries) {
      const whole = new Uint8Array(end + 16).fill(canary)
      whole.set(datum, start)
      codesSeen.add(validate(whole, start, end))
      if (canary === 0x80) codesSeen.add(validate(guarded(datum), 0, datum.length))
    }
    assert.equal(codesSeen.size, 1, 'what lies around the payload decides about it')
    if (codesSeen.has(codes.VALID)) valid++
  }
  fc.assert(
    fc.property(
      datumArbitrary(EVERYTHING),
      fc.nat(),
      fc.nat(),
      fc.nat({ max: 255 }),
      (datum, cut, where, byte) => {
        const { validate } = createValidator(datum.node)
        const whole = oracleType(datum.schema).toBuffer(datum.value)
        check(validate, whole)
        check(validate, whole.subarray(0, cut % (whole.length + 1)))
        const changed = Uint8Array.from(whole)
        if (changed.length > 0) changed[where % changed.length] = byte
        check(validate, changed)
      },
    ),
    { numRuns },
  )
  fc.assert(
    fc.property(schemaArbitrary(EVERYTHING), fc.uint8Array({ maxLength: 80 }), (schema, bytes) => {
      check(createValidator(parseAvroSchema(schema)).validate, bytes)
    }),
    { numRuns },
  )
  assert.ok(valid > numRuns, 'most that was never changed is valid')
  // The guard can tell, for bytes and for words.
  const datum = guarded(new Uint8Array(6))
  assert.throws(() => datum[6], /outside/)
  assert.equal(viewOf(datum).getInt32(2), 0)
  assert.throws(() => viewOf(datum).getInt32(3), RangeError)
})

const LIST = JSON.stringify({
  type: 'record',
  name: 'List',
  fields: [
    { name: 'head', type: 'int' },
    { name: 'tail', type: ['null', 'List'] },
  ],
})

test('each code, with the field and offset that explain names', () => {
  const field = (type: unknown) =>
    JSON.stringify({
      type: 'record',
      name: 'R',
      fields: [
        { name: 'first', type: 'int' },
        { name: 'it', type },
      ],
    })
  const decimal = { type: 'bytes', logicalType: 'decimal', precision: 2, scale: 0 }
  const cases: [unknown, number[], number, string, number][] = [
    ['long', [2, 0x80], codes.TRUNCATED, 'it', 1],
    ['double', [2, 0, 0, 0, 0, 0, 0, 0], codes.TRUNCATED, 'it', 1],
    ['string', [2, 8, 97], codes.TRUNCATED, 'it', 1],
    ['int', [2, 0x80, 0x80, 0x80, 0x80, 0x80, 0], codes.VARINT_TOO_LONG, 'it', 1],
    ['long', [2, ...Array(10).fill(0x80), 0], codes.VARINT_TOO_LONG, 'it', 1],
    ['int', [2, 0xff, 0xff, 0xff, 0xff, 0x10], codes.INT_RANGE, 'it', 1],
    ['long', [2, ...Array(9).fill(0xff), 2], codes.LONG_RANGE, 'it', 1],
    ['boolean', [2, 2], codes.BOOLEAN_VALUE, 'it', 1],
    ['bytes', [2, 1], codes.LENGTH_NEGATIVE, 'it', 1],
    ['string', [2, 4, 0xc0, 0x80], codes.UTF8, 'it', 1],
    ['string', [2, 6, 0xed, 0xa0, 0x80], codes.UTF8, 'it', 1],
    [{ type: 'enum', name: 'E', symbols: ['a', 'b'] }, [2, 4], codes.ENUM_INDEX, 'it', 1],
    [['null', 'int'], [2, 4], codes.UNION_INDEX, 'it', 1],
    [{ type: 'array', items: 'null' }, [2, 0xfe, 0xff, 0xff, 0xff, 0x0f], codes.BLOCK_COUNT, 'it', 1],
    [{ type: 'array', items: 'int' }, [2, 1, 2, 0x80, 0, 0], codes.BLOCK_SIZE, 'it', 1],
    [{ type: 'array', items: 'int' }, [2, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0], codes.TRUNCATED, 'it', 1],
    [{ type: 'map', values: 'boolean' }, [2, 2, 2, 97, 9, 0], codes.BOOLEAN_VALUE, 'it{}', 4],
    [
      { type: 'record', name: 'S', fields: [{ name: 'deep', type: 'boolean' }] },
      [2, 7],
      codes.BOOLEAN_VALUE,
      'it.deep',
      1,
    ],
    ['int', [2, 2, 2], codes.TRAILING, '', 2],
    [{ type: 'string', logicalType: 'uuid' }, [2, 2, 97], codes.UUID, 'it', 1],
    [decimal, [2, 2, 100], codes.DECIMAL, 'it', 2],
    [decimal, [2, 2, 0x9c], codes.DECIMAL, 'it', 2],
    [decimal, [2, 0], codes.DECIMAL, 'it', 2],
    [{ type: 'int', logicalType: 'time-millis' }, [2, 1], codes.TIME_OF_DAY, 'it', 1],
  ]
  for (const [type, list, code, path, offset] of cases) {
    const bytes = Uint8Array.from([0xee, ...list, 0xee])
    const validator = createValidator(parseAvroSchema(field(type)))
    const label = JSON.stringify([type, list])
    assert.equal(validator.validate(bytes, 1, bytes.length - 1), code, label)
    const failure = validator.explain(bytes, 1, bytes.length - 1)!
    assert.deepEqual(
      [failure.code, failure.path, failure.offset, failure.reason],
      [code, path, offset, codes.REASONS[code]],
      label,
    )
  }
  const nested = Uint8Array.from(Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? 0 : 2)))
  assert.equal(createValidator(parseAvroSchema(LIST)).validate(nested, 0, 200), codes.NESTING)
  const fits = Uint8Array.from([...Array.from({ length: 63 }, () => [0, 2]).flat(), 0, 0])
  assert.equal(createValidator(parseAvroSchema(LIST)).validate(fits, 0, fits.length), codes.VALID)
})

test('decimals at the edge of their precision, in more bytes than they need', () => {
  for (const precision of [1, 9, 18, 37, 38]) {
    const { validate } = createValidator(
      parseAvroSchema(JSON.stringify({ type: 'bytes', logicalType: 'decimal', precision, scale: 0 })),
    )
    const limit = 10n ** BigInt(precision)
    for (const [value, expected] of [
      [limit - 1n, codes.VALID],
      [1n - limit, codes.VALID],
      [limit, codes.DECIMAL],
      [-limit, codes.DECIMAL],
      [0n, codes.VALID],
      [-1n, codes.VALID],
    ] as const)
      for (const length of [16, 17, 20]) {
        if (BigInt.asIntN(8 * length, value) !== value) continue
        const hex = BigInt.asUintN(8 * length, value)
          .toString(16)
          .padStart(2 * length, '0')
        const bytes = Buffer.from([2 * length, ...Buffer.from(hex, 'hex')])
        assert.equal(validate(bytes, 0, bytes.length), expected, `${value} in ${length} bytes`)
      }
  }
})

test('the generated source is the one in golden/', () => {
  for (const [name, schema] of [
    ['sensor', SENSOR_SCHEMA],
    ['machine', MACHINE_SCHEMA],
    ['list', LIST],
  ] as const) {
    const file = new URL(`golden/avro-validate-${name}.js`, import.meta.url)
    const source = validatorSource(parseAvroSchema(schema))
    if (process.env['MILLRACE_UPDATE_GOLDEN'] === '1') fs.writeFileSync(file, source)
    assert.equal(source, fs.readFileSync(file, 'utf8'))
  }
})

test('the benchmark does its work', () => {
  assert.equal(benchmark(500, 2).valid, 1000)
})
