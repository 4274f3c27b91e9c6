import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import { inspect } from 'node:util'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import {
  choicesArbitrary,
  datumArbitrary,
  encodeLoosely,
  evolve,
  hasGreatLong,
  MACHINE_SCHEMA,
  oracleType,
  ROOM,
  SENSOR_SCHEMA,
  valueArbitrary,
} from './avro-arbitraries.ts'
import { createRecordCodec } from './avro-codec.ts'
import { UTF8 } from './avro-codes.ts'
import { type AvroNode, branchName, nullableOf } from './avro-node.ts'
import { resolve } from './avro-resolution.ts'
import { createRecordPatcher, createRewriter, createScanner, type FieldBounds } from './avro-rewrite.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { decimalText, uuidText } from './avro-text.ts'
import { createValidator } from './avro-validate.ts'

const numRuns = process.env['MILLRACE_LONG'] === '1' ? 3_000 : 300
const EVERYTHING = { anyUnion: true, recursion: true, logical: true }
const mutationsArbitrary = fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 10 })

function mutate(bytes: Uint8Array, mutation: readonly [number, number]): Buffer {
  const bad = Buffer.from(bytes)
  if (bad.length > 0) bad[mutation[0] % bad.length] = mutation[1]
  return bad
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** avsc's value as the codec gives it. */
function objectOf(node: AvroNode, value: unknown): unknown {
  switch (node.kind) {
    case 'long': {
      const number = Number(value)
      return Number.isSafeInteger(number) ? number : value
    }
    case 'float':
      return Math.fround(value as number)
    case 'bytes':
    case 'fixed': {
      const bytes = value as Buffer
      if (node.decimal !== undefined) return decimalText(bytes, 0, bytes.length, node.decimal.scale)
      return node.kind === 'fixed' && node.logical === 'uuid' ? uuidText(bytes, 0) : new Uint8Array(bytes)
    }
    case 'array':
      return (value as unknown[]).map((item) => objectOf(node.items, item))
    case 'map':
      return Object.fromEntries(
        Object.entries(value as object).map(([key, item]) => [key, objectOf(node.values, item)]),
      )
    case 'union': {
      if (value === null) return null
      const [key, inner] = Object.entries(value as object)[0]!
      const branch = node.branches.find((b) => branchName(b) === key)!
      const object = objectOf(branch, inner)
      const isAmbiguous = branch.kind === 'map' && Object.keys(object as object).join() === 'map'
      return nullableOf(node) !== undefined && !isAmbiguous ? object : { [key]: object }
    }
    case 'record':
      return Object.fromEntries(
        node.fields.map((field) => [
          field.name,
          objectOf(field.node, (value as Record<string, unknown>)[field.name]),
        ]),
      )
    default:
      return value
  }
}

test('rewritten data are what avsc reads with its resolver', () => {
  let rewritten = 0
  let identical = 0
  const evolved = fc.tuple(
    datumArbitrary({ recursion: true, logical: true }),
    choicesArbitrary(),
    fc.boolean(),
    mutationsArbitrary,
  )
  fc.assert(
    fc.property(evolved, ([{ schema, node, value }, choose, evolves, mutations]) => {
      const readerSchema = evolves ? evolve(schema, choose) : schema
      const reader = parseAvroSchema(readerSchema)
      if (resolve(node, reader).resolution === undefined) {
        assert.throws(
          () => createRewriter(node, reader),
          (error) => isMillraceError(error, 'schema_incompatible'),
        )
        return
      }
      const { rewrite, isIdentity } = createRewriter(node, reader)
      const writerType = oracleType(schema)
      const readerType = oracleType(readerSchema)
      const bytes = writerType.toBuffer(value)
      const into = new Uint8Array(ROOM).fill(0xee)
      const end = rewrite(Buffer.concat([Buffer.of(1), bytes]), 1, 1 + bytes.length, into, 3)
      const { validate } = createValidator(node)
      for (const mutation of mutations) {
        const bad = mutate(bytes, mutation)
        const code = validate(bad, 0, bad.length)
        const result = rewrite(bad, 0, bad.length, into.slice(), 0)
        // bytes that are read as string fail on top where they are not UTF-8.
        if (code !== 0) assert.ok(result === -code || result === -UTF8)
      }
      // avsc widens a long to double with an error beyond 2^52.
      if (hasGreatLong(value) && /"(double|float)"/.test(readerSchema)) return
      const resolver = readerType.createResolver(writerType, { ignoreNamespaces: true })
      const expected = readerType.toBuffer(readerType.fromBuffer(bytes, resolver))
      if (end < 0) {
        assert.ok(schema.includes('"bytes"') && readerSchema.includes('"string"'))
        return
      }
      assert.equal(Buffer.from(into.subarray(3, end)).toString('hex'), expected.toString('hex'))
      assert.equal(into[end], 0xee)
      if (isIdentity) {
        identical++
        assert.equal(expected.compare(bytes), 0)
      } else {
        rewritten++
        assert.equal(createValidator(reader).validate(into, 3, end), 0)
      }
      if (end > 3) assert.ok(rewrite(bytes, 0, bytes.length, new Uint8Array(end - 4), 0) > end - 4)
    }),
    { numRuns: 3 * numRuns },
  )
  assert.ok(rewritten > 0 && identical > 0)
})

test('a schema reads its own data unchanged, whatever unions it has', () => {
  fc.assert(
    fc.property(datumArbitrary(EVERYTHING), choicesArbitrary(), ({ node, value }, choose) => {
      const { rewrite, isIdentity } = createRewriter(node, node)
      const bytes = Uint8Array.from(encodeLoosely(node, value, choose))
      const into = new Uint8Array(bytes.length)
      assert.equal(isIdentity, true)
      assert.equal(rewrite(bytes, 0, bytes.length, into, 0), bytes.length)
      assert.deepEqual(into, bytes)
    }),
    { numRuns },
  )
})

test('objects: what avsc decodes, encoded back to the same bytes', () => {
  fc.assert(
    fc.property(
      datumArbitrary(EVERYTHING),
      choicesArbitrary(),
      mutationsArbitrary,
      ({ schema, node, value }, choose, mutations) => {
        const codec = createRecordCodec(node)
        const loose = Uint8Array.from([9, ...encodeLoosely(node, value, choose), 9])
        const object = codec.decode(loose, 1, loose.length - 1)
        assert.equal(codec.code(), 0)
        assert.deepEqual(object, objectOf(node, value))
        const into = new Uint8Array(ROOM)
        const end = codec.encode(object, into, 0)
        // A general union of float and double, of string and enum, tells its branches by name: bytes are the same.
        if (!schema.includes('decimal'))
          assert.equal(
            Buffer.from(into.subarray(0, end)).toString('hex'),
            oracleType(schema).toBuffer(value).toString('hex'),
          )
        assert.deepEqual(codec.decode(into, 0, end), object)
        const { validate } = createValidator(node)
        for (const mutation of mutations) {
          const bad = mutate(loose.subarray(1, -1), mutation)
          codec.decode(bad, 0, bad.length)
          assert.equal(codec.code(), validate(bad, 0, bad.length))
        }
      },
    ),
    { numRuns },
  )
})

test('a patch reads what it is asked for, sets the fields it is told to, and leaves all others as they lie', () => {
  const two = datumArbitrary(EVERYTHING).chain(({ node, value }) =>
    fc.record({ node: fc.constant(node), value: fc.constant(value), other: valueArbitrary(node) }),
  )
  fc.assert(
    fc.property(two, choicesArbitrary(), fc.func(fc.nat(2)), ({ node, value, other }, choose, useOf) => {
      assert.equal(node.kind, 'record')
      if (node.kind !== 'record') return
      const names = node.fields.map(({ name }) => name)
      const reads = names.filter((name) => useOf(name) === 1)
      const writes = names.filter((name) => useOf(name) === 2)
      const codec = createRecordCodec(node)
      const patcher = createRecordPatcher(node, reads, writes)
      const decoded = (bytes: Uint8Array): Record<string, unknown> =>
        codec.decode(bytes, 0, bytes.length) as Record<string, unknown>
      const datum = Uint8Array.from(encodeLoosely(node, value, choose))
      const before = decoded(datum)
      const set = decoded(Uint8Array.from(encodeLoosely(node, other, choose)))

      const bytes = Uint8Array.from([9, ...datum, 9])
      const view = viewOf(bytes)
      const record = patcher.decode(bytes, 1, bytes.length - 1)
      const wanted = names.filter((name) => reads.includes(name) || writes.includes(name))
      assert.deepEqual(record, Object.fromEntries(wanted.map((name) => [name, before[name]])))
      for (const name of writes) record[name] = set[name]
      // Too little room is said, and how much would do; with that much it fits.
      const small = new Uint8Array(3)
      const needed = patcher.encode(record, view, 1, bytes.length - 1, small, viewOf(small), 3)
      const into = new Uint8Array(Math.max(3, needed))
      const end = patcher.encode(record, view, 1, bytes.length - 1, into, viewOf(into), 3)
      assert.ok(end <= needed)
      assert.deepEqual(
        decoded(into.slice(3, end)),
        Object.fromEntries(names.map((name) => [name, (writes.includes(name) ? set : before)[name]])),
      )
      if (writes.length === 0) assert.deepEqual(into.slice(3, end), datum)
    }),
    { numRuns },
  )
})

test('a value that does not fit is refused by a patch', () => {
  const node = parseAvroSchema(SENSOR_SCHEMA)
  assert.equal(node.kind, 'record')
  if (node.kind !== 'record') return
  const patcher = createRecordPatcher(node, ['humidity'], ['temperature'])
  const bytes = oracleType(SENSOR_SCHEMA).toBuffer(oracleType(SENSOR_SCHEMA).random())
  const into = new Uint8Array(2048)
  for (const temperature of [undefined, null, 'warm'])
    assert.equal(patcher.encode({ temperature }, viewOf(bytes), 0, bytes.length, into, viewOf(into), 0), -1)
})

test('a map key __proto__ is a key', () => {
  const node = parseAvroSchema(JSON.stringify({ type: 'map', values: 'int' }))
  const codec = createRecordCodec(node)
  const bytes = Uint8Array.from([2, 18, ...Buffer.from('__proto__'), 8, 0])
  const object = codec.decode(bytes, 0, bytes.length) as Record<string, number>
  assert.deepEqual(Object.entries(object), [['__proto__', 4]])
  assert.equal(Object.getPrototypeOf(object), Object.prototype)
  const into = new Uint8Array(64)
  assert.equal(codec.encode(object, into, 0), bytes.length)
  assert.deepEqual([...into.slice(0, bytes.length)], [...bytes])
})

test('the scanner finds numbers and ranges of any fields, and checks all bytes', () => {
  fc.assert(
    fc.property(
      datumArbitrary(EVERYTHING),
      choicesArbitrary(),
      mutationsArbitrary,
      ({ node, value }, choose, mutations) => {
        assert.equal(node.kind, 'record')
        if (node.kind !== 'record') return
        const names = [...node.fields.map((field) => field.name).reverse(), 'absent']
        const scanner = createScanner(node, names)
        const bytes = Uint8Array.from([9, ...encodeLoosely(node, value, choose), 9])
        assert.equal(scanner.scan(bytes, viewOf(bytes), 1, bytes.length - 1), 0)
        for (const [slot, name] of names.entries()) {
          const range = scanner.ranges.slice(2 * slot, 2 * slot + 2)
          const number = scanner.numbers[slot]!
          let type: AvroNode | undefined = node.fields.find((one) => one.name === name)?.node
          let inner = (value as Record<string, unknown>)[name]
          if (type?.kind === 'union') {
            const nullable = nullableOf(type)
            inner = nullable === undefined || inner === null ? null : Object.values(inner as object)[0]
            type = nullable?.value
          }
          const isNull = type === undefined || inner === null
          const isText = !isNull && (type!.kind === 'string' || type!.kind === 'bytes')
          const isReal = !isNull && (type!.kind === 'float' || type!.kind === 'double')
          assert.equal(range[0]! >= 0, isText || isReal, name)
          if (isReal) assert.equal(range[1]! - range[0]!, type!.kind === 'float' ? 4 : 8)
          if (isText)
            assert.deepEqual(Buffer.from(bytes.slice(range[0], range[1])), Buffer.from(inner as string))
          assert.deepEqual(number, isNull ? Number.NaN : numberOf(type!, inner))
        }
        const { validate } = createValidator(node)
        for (const mutation of mutations) {
          const bad = mutate(bytes.subarray(1, -1), mutation)
          assert.equal(Math.abs(scanner.scan(bad, viewOf(bad), 0, bad.length)), validate(bad, 0, bad.length))
        }
      },
    ),
    { numRuns },
  )
})

function numberOf(node: AvroNode, value: unknown): number {
  switch (node.kind) {
    case 'boolean':
      return value ? 1 : 0
    case 'int':
    case 'long':
      return Number(value)
    case 'float':
      return Math.fround(value as number)
    case 'double':
      return value as number
    case 'enum':
      return node.symbols.indexOf(value as string)
    case 'bytes':
    case 'fixed': {
      if (node.decimal === undefined) return Number.NaN
      const bytes = value as Buffer
      const digits = BigInt.asIntN(8 * bytes.length, BigInt(`0x${bytes.toString('hex')}`))
      const isExact = digits < 2n ** 53n && digits > -(2n ** 53n)
      // Beyond 2^53 the scanner rounds byte by byte; its own formula is repeated rather than bounded.
      const unscaled = isExact
        ? Number(digits)
        : bytes.reduce((sum, byte, i) => (i === 0 ? (byte << 24) >> 24 : sum * 256 + byte), 0)
      return node.decimal.scale === 0 ? unscaled : unscaled / 10 ** node.decimal.scale
    }
    default:
      return Number.NaN
  }
}

test('a number outside its bounds is told, NaN too; null is not', () => {
  const node = parseAvroSchema(SENSOR_SCHEMA)
  const bounds: readonly FieldBounds[] = [
    { field: 'temperature', min: -40, max: 85 },
    { field: 'pressure', min: 300, max: Infinity },
    { field: 'seq', min: 0, max: 1000 },
    { field: 'firmware', min: 0, max: 0 },
  ]
  const scanner = createScanner(node, ['seq'], bounds)
  const type = oracleType(SENSOR_SCHEMA)
  const value = { ...oracleType(SENSOR_SCHEMA).random(), temperature: 20, pressure: null, seq: 5n }
  const outside = (changed: object): number => {
    const bytes = type.toBuffer({ ...value, ...changed })
    return scanner.scan(bytes, viewOf(bytes), 0, bytes.length)
  }
  assert.equal(outside({}), 0)
  for (const changed of [
    { temperature: 85 },
    { temperature: -40 },
    { pressure: { double: Infinity } },
    { seq: 1000n },
  ])
    assert.equal(outside(changed), 0, inspect(changed))
  for (const changed of [
    { temperature: 85.1 },
    { temperature: Number.NaN },
    { pressure: { double: 299 } },
    { pressure: { double: Number.NaN } },
    { seq: -1n },
  ])
    assert.equal(outside(changed), 1, inspect(changed))
})

test('the generated sources are those in golden/', () => {
  const sensor = parseAvroSchema(SENSOR_SCHEMA)
  const machine = parseAvroSchema(MACHINE_SCHEMA)
  const older = parseAvroSchema(
    SENSOR_SCHEMA.replace('"seq","type":"long"', '"seq","type":"int"').replace(
      '{"name":"air_quality","type":["null","double"],"default":null},',
      '',
    ),
  )
  assert.ok(sensor.kind === 'record')
  const patcher = createRecordPatcher(sensor, ['pressure', 'temperature'], ['temperature'])
  for (const [name, source] of [
    ['rewrite-sensor', createRewriter(older, sensor).source],
    [
      'scanner-sensor',
      createScanner(
        sensor,
        ['event_time', 'seq', 'pressure', 'firmware'],
        [{ field: 'temperature', min: -40, max: 85 }],
      ).source,
    ],
    ['codec-machine', createRecordCodec(machine).decoderSource],
    ['patch-decode-sensor', patcher.decoderSource],
    ['patch-encode-sensor', patcher.encoderSource],
  ] as const) {
    const file = new URL(`golden/avro-${name}.js`, import.meta.url)
    if (process.env['MILLRACE_UPDATE_GOLDEN'] === '1') fs.writeFileSync(file, source)
    assert.equal(source, fs.readFileSync(file, 'utf8'))
  }
})
