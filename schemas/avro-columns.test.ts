import assert from 'node:assert/strict'
import fs from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { isMillraceError } from '../std/errors.ts'
import {
  choicesArbitrary,
  encodeLoosely,
  evolve,
  hasGreatLong,
  MACHINE_SCHEMA,
  oracleType,
  SENSOR_SCHEMA,
  schemaArbitrary,
  valueArbitrary,
} from './avro-arbitraries.ts'
import { benchmark } from './avro-columns.bench.ts'
import { ColumnBuilders, createColumnDecoder, gatherColumn, sliceColumn } from './avro-columns.ts'
import type { AvroNode } from './avro-node.ts'
import { resolve } from './avro-resolution.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { createValidator } from './avro-validate.ts'
import { readRows } from './column-rows.ts'

const numRuns = process.env['MILLRACE_LONG'] === '1' ? 3_000 : 300
const TABLE = { logical: true }

/** avsc's value as `readRows` gives a cell. */
function cellOf(node: AvroNode, value: unknown): unknown {
  switch (node.kind) {
    case 'string':
      return node.logical === 'uuid' ? (value as string).replaceAll('-', '').toLowerCase() : value
    case 'bytes':
    case 'fixed': {
      const bytes = Buffer.from(value as Buffer)
      if (node.decimal !== undefined)
        return BigInt.asIntN(8 * bytes.length, BigInt(`0x${bytes.toString('hex')}`))
      return bytes.toString('hex')
    }
    case 'float':
      return Math.fround(value as number)
    case 'array':
      return (value as unknown[]).map((item) => cellOf(node.items, item))
    case 'map':
      return Object.entries(value as object).map(([key, item]) => [key, cellOf(node.values, item)])
    case 'union': {
      if (value === null) return null
      const branch = node.branches.find((b) => b.kind !== 'null')!
      return cellOf(branch, Object.values(value as object)[0])
    }
    case 'record':
      return Object.fromEntries(
        node.fields.map((field) => [
          field.name,
          cellOf(field.node, (value as Record<string, unknown>)[field.name]),
        ]),
      )
    default:
      return value
  }
}

const rowsArbitrary = schemaArbitrary(TABLE).chain((schema) => {
  const node = parseAvroSchema(schema)
  return fc
    .array(valueArbitrary(node), { minLength: 1, maxLength: 6 })
    .map((values) => ({ schema, node, values }))
})

test('rows come back as avsc reads them, however the arrays were cut into blocks', () => {
  fc.assert(
    fc.property(rowsArbitrary, choicesArbitrary(), ({ node, values }, choose) => {
      const { decode, builders } = createColumnDecoder(node, node)
      for (const value of values) {
        const bytes = Uint8Array.from([0xff, ...encodeLoosely(node, value, choose), 0xff])
        assert.equal(decode(bytes, 1, bytes.length - 1), 0)
      }
      const batch = builders.finish()
      assert.equal(batch.rowCount, values.length)
      assert.deepEqual(
        readRows(batch),
        values.map((value) => cellOf(node, value)),
      )
      builders.reset()
      assert.equal(builders.rowCount, 0)
    }),
    { numRuns },
  )
})

test('several writers fill one batch, resolved as avsc resolves', () => {
  let resolved = 0
  fc.assert(
    fc.property(rowsArbitrary, choicesArbitrary(), ({ schema, node, values }, choose) => {
      const readerSchema = evolve(schema, choose)
      const reader = parseAvroSchema(readerSchema)
      if (resolve(node, reader).resolution === undefined) return
      const writerType = oracleType(schema)
      const readerType = oracleType(readerSchema)
      const resolver = readerType.createResolver(writerType, { ignoreNamespaces: true })
      const builders = new ColumnBuilders(reader)
      const expected: unknown[] = []
      for (const value of values) {
        // avsc widens a long to double with an error beyond 2^52.
        if (hasGreatLong(value) && readerSchema.includes('"double"')) continue
        const bytes = writerType.toBuffer(value)
        const seen = readerType.fromBuffer(bytes, resolver)
        const readerBytes = readerType.toBuffer(seen)
        const code = builders.decoderFor(node).decode(bytes, 0, bytes.length)
        // bytes read as string must be UTF-8; avsc replaces what is not.
        if (createValidator(reader).validate(readerBytes, 0, readerBytes.length) !== 0 || code !== 0) {
          assert.ok(schema.includes('"bytes"') && readerSchema.includes('"string"'))
          continue
        }
        expected.push(cellOf(reader, seen), cellOf(reader, seen))
        assert.equal(builders.decoderFor(reader).decode(readerBytes, 0, readerBytes.length), 0)
        resolved++
      }
      assert.deepEqual(readRows(builders.finish()), expected)
    }),
    { numRuns: 2 * numRuns },
  )
  assert.ok(resolved > 0)
})

test('any bytes: the code of the validator, and a refused datum leaves no trace', () => {
  let refused = 0
  fc.assert(
    fc.property(
      rowsArbitrary,
      fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { minLength: 1, maxLength: 20 }),
      ({ schema, node, values }, mutations) => {
        const { decode, builders } = createColumnDecoder(node, node)
        const { validate } = createValidator(node)
        const type = oracleType(schema)
        const expected: unknown[] = []
        for (const value of values) {
          const good = type.toBuffer(value)
          for (const [where, byte] of mutations) {
            const bad = Buffer.from(good)
            if (bad.length > 0) bad[where % bad.length] = byte
            const code = validate(bad, 0, bad.length)
            if (code === 0) continue
            refused++
            assert.equal(decode(bad, 0, bad.length), code)
          }
          assert.equal(decode(good, 0, good.length), 0)
          expected.push(cellOf(node, value))
        }
        assert.deepEqual(readRows(builders.finish()), expected)
      },
    ),
    { numRuns },
  )
  assert.ok(refused > 0)
})

test('gather and slice pick the rows they are asked for, nested ones too', () => {
  fc.assert(
    fc.property(
      rowsArbitrary,
      fc.array(fc.nat(), { maxLength: 20 }),
      fc.nat(),
      fc.nat(),
      (rows, picks, a, b) => {
        const { decode, builders } = createColumnDecoder(rows.node, rows.node)
        for (const value of rows.values) {
          const bytes = oracleType(rows.schema).toBuffer(value)
          decode(bytes, 0, bytes.length)
        }
        const batch = builders.finish()
        const all = readRows(batch)
        const indices = Uint32Array.from(picks, (pick) => pick % all.length)
        const gathered = {
          rowCount: indices.length,
          columns: batch.columns.map((column) => gatherColumn(column, indices)),
        }
        assert.deepEqual(
          readRows(gathered),
          [...indices].map((index) => all[index]),
        )
        const [from, to] = [a % (all.length + 1), b % (all.length + 1)].sort((x, y) => x - y) as [
          number,
          number,
        ]
        const sliced = {
          rowCount: to - from,
          columns: batch.columns.map((column) => sliceColumn(column, from, to)),
        }
        assert.deepEqual(readRows(sliced), all.slice(from, to))
        if (gathered.rowCount > 0) {
          const middle = indices.length >> 1
          const again = {
            rowCount: middle,
            columns: gathered.columns.map((column) =>
              sliceColumn(column, indices.length - middle, indices.length),
            ),
          }
          assert.deepEqual(
            readRows(again),
            [...indices].slice(indices.length - middle).map((index) => all[index]),
          )
        }
      },
    ),
    { numRuns },
  )
})

test('columns grow over many rows; strings that do not repeat leave the dictionary', () => {
  const schema = JSON.stringify({
    type: 'record',
    name: 'R',
    fields: [
      { name: 'unique', type: ['null', 'string'] },
      { name: 'few', type: 'string' },
      { name: 'list', type: { type: 'array', items: ['null', 'long'] } },
    ],
  })
  const { decode, builders } = createColumnDecoder(parseAvroSchema(schema), parseAvroSchema(schema))
  const type = oracleType(schema)
  const value = (i: number) => ({
    unique: i % 7 === 0 ? null : { string: `device-${i}` },
    few: `v${i % 5}`,
    list: Array.from({ length: i % 4 }, (_, j) => (j === 2 ? null : { long: BigInt(i) * 4_000_000_000n })),
  })
  for (let round = 0; round < 2; round++) {
    for (let i = 0; i < 40_000; i++) {
      const bytes = type.toBuffer(value(i))
      assert.equal(decode(bytes, 0, bytes.length), 0)
    }
    const batch = builders.finish()
    assert.deepEqual(
      batch.columns.map((column) => column.layout),
      ['variable', 'dictionary', 'list'],
    )
    const rows = readRows(batch)
    for (const i of [0, 1, 6, 7, 1023, 1024, 16_384, 16_385, 20_000, 39_999])
      assert.deepEqual(rows[i], cellOf(parseAvroSchema(schema), value(i)))
    builders.reset()
  }
})

test('a string that repeats the row before, nulls and refused rows between', () => {
  const fields = [{ name: 'a', type: ['null', 'string'] }]
  const node = parseAvroSchema(JSON.stringify({ type: 'record', name: 'r', fields }))
  const { decode, builders } = createColumnDecoder(node, node)
  const values = [
    null,
    '',
    '',
    'a',
    'a',
    null,
    'a',
    'ab',
    'ba',
    'ba',
    'longer than a word',
    '1.2.0',
    '1.2.1',
    null,
    '',
  ]
  for (let round = 0; round < 3; round++) {
    for (const value of values) {
      const text = Buffer.from(value ?? '')
      const datum = value === null ? [0] : [2, text.length * 2, ...text]
      assert.equal(decode(Uint8Array.from(datum), 0, datum.length), 0)
      // The same string with a byte after it, and one that is no text: both leave the row before as the last.
      assert.notEqual(decode(Uint8Array.from([...datum, 1]), 0, datum.length + 1), 0)
      assert.notEqual(decode(Uint8Array.of(2, 2, 0xff), 0, 3), 0)
    }
    assert.deepEqual(
      readRows(builders.finish()),
      values.map((a) => ({ a })),
    )
    builders.reset()
  }
})

test('what a table cannot hold is refused with its path', () => {
  const refused = (type: unknown, path: string) => {
    const node = parseAvroSchema(JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'f', type }] }))
    assert.throws(
      () => new ColumnBuilders(node),
      (error) => isMillraceError(error, 'schema_invalid') && error.details['path'] === path,
    )
  }
  refused(['int', 'string'], 'f')
  refused(['null', 'int', 'string'], 'f')
  refused('null', 'f')
  refused({ type: 'array', items: 'null' }, 'f[]')
  refused({ type: 'map', values: ['int', 'string'] }, 'f{}')
  refused({ type: 'record', name: 'S', fields: [{ name: 'deep', type: ['null', 'R'] }] }, '')
  refused({ type: 'bytes', logicalType: 'decimal', precision: 39 }, 'f')
  refused({ type: 'record', name: 'Empty', fields: [] }, 'f')
  const record = (type: string) =>
    parseAvroSchema(JSON.stringify({ type: 'record', name: 'R', fields: [{ name: 'f', type }] }))
  assert.throws(
    () => new ColumnBuilders(record('int')).decoderFor(record('string')),
    (error) =>
      isMillraceError(error, 'schema_incompatible') && /f: string cannot be read as int/.test(error.message),
  )
})

test('the generated source is the one in golden/', () => {
  for (const [name, schema] of [
    ['sensor', SENSOR_SCHEMA],
    ['machine', MACHINE_SCHEMA],
  ] as const) {
    const node = parseAvroSchema(schema)
    const { source } = createColumnDecoder(node, node)
    const file = new URL(`golden/avro-columns-${name}.js`, import.meta.url)
    if (process.env['MILLRACE_UPDATE_GOLDEN'] === '1') fs.writeFileSync(file, source)
    assert.equal(source, fs.readFileSync(file, 'utf8'))
  }
})

test('the benchmark does its work', () => {
  const { rows, checksum } = benchmark(500, 2)
  assert.equal(rows, 500)
  assert.ok(checksum > 0)
})

test('every kind of the machine schema', () => {
  const node = parseAvroSchema(MACHINE_SCHEMA)
  fc.assert(
    fc.property(fc.array(valueArbitrary(node), { minLength: 1, maxLength: 5 }), (values) => {
      const { decode, builders } = createColumnDecoder(node, node)
      for (const value of values) {
        const bytes = oracleType(MACHINE_SCHEMA).toBuffer(value)
        assert.equal(decode(bytes, 0, bytes.length), 0)
      }
      assert.deepEqual(
        readRows(builders.finish()),
        values.map((value) => cellOf(node, value)),
      )
    }),
    { numRuns: numRuns / 3 },
  )
})
