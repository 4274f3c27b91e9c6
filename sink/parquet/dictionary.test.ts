import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import type { ColumnBatch, ColumnType } from '../../schemas/columns.ts'
import { BinaryDictionary, hashBytes } from './dictionary-binary.ts'
import { parquetFields } from './number-fields.ts'
import { DuckReader, hyparquetMetadata } from './readers.ts'
import { type EncodedFile, ParquetWriter } from './writer.ts'

let duck: DuckReader
before(async () => {
  duck = await DuckReader.open()
})
after(() => duck.close())

type Numbers =
  | Float64Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Int32Array<ArrayBuffer>
  | BigInt64Array<ArrayBuffer>

function encode(type: ColumnType, values: Numbers): EncodedFile {
  const base = { field: { name: 'v', type, nullable: false }, rowCount: values.length, validity: undefined }
  const batch: ColumnBatch = {
    rowCount: values.length,
    columns: [
      values instanceof BigInt64Array
        ? { ...base, layout: 'longs', words: new Int32Array(values.buffer) }
        : { ...base, layout: 'words', values },
    ],
  }
  const writer = new ParquetWriter(parquetFields(batch.columns.map((column) => column.field)))
  writer.writeRowGroup(batch)
  return writer.finish()
}

const encodingOf = (file: EncodedFile): string =>
  hyparquetMetadata(file.parts).row_groups[0]!.columns[0]!.meta_data!.encodings.at(-1)!

async function readBack(file: EncodedFile): Promise<unknown[]> {
  return (await duck.query(file.parts, 'select v from read_parquet(FILE)')).map((row) => row['v'])
}

const DOUBLE: ColumnType = { kind: 'double' }

/** A number below 2^bits that looks random. */
const scatter = (i: number, bits: number): number => {
  const h = Math.imul(i ^ (i >>> 7), 0x9e3779b1)
  return Math.imul(h ^ (h >>> 15), 0x85ebca6b) >>> (32 - bits)
}

test('rounded readings of any number of decimals, with zeros of both signs, keep their bits', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: 6 }),
      fc.double({ min: -1000, max: 1000, noNaN: true }),
      fc.double({ min: 0, max: 3, noNaN: true }),
      // Now and then something that is no multiple of the step.
      fc.option(fc.constantFrom(Number.NaN, Infinity, -Infinity, Math.PI, 1e300, 5e-324), { freq: 2 }),
      fc.infiniteStream(fc.double({ min: -1, max: 1, noNaN: true })),
      async (decimals, start, step, odd, random) => {
        const scale = 10 ** decimals
        const values = new Float64Array(3000)
        let value = start
        for (let i = 0; i < values.length; i++) {
          if (i % 10 === 0) value += step * random.next().value!
          values[i] = Math.round(value * scale) / scale
          if (i % 7 === 0) values[i] = -0
          if (i % 11 === 0) values[i] = 0
        }
        if (odd !== null) values[1234] = odd
        const file = encode(DOUBLE, values)
        assert.deepEqual(await readBack(file), [...values])
        assert.equal(file.columns[0]!.nanCount, Number.isNaN(odd) ? 1 : 0)
      },
    ),
    { numRuns: 40 },
  )
})

test('a dictionary of all readings between two, with zeros of both signs, is read back', async () => {
  for (const decimals of [1, 2, 3]) {
    const scale = 10 ** decimals
    const values = Float64Array.from({ length: 60_000 }, (_, i) => (scatter(i, 13) - 4000) / scale)
    for (let i = 0; i < 8192; i++) values[i] = (i - 4000) / scale
    for (let i = 9; i < values.length; i += 1000) values[i] = -0
    const file = encode(DOUBLE, values)
    assert.equal(encodingOf(file), 'RLE_DICTIONARY')
    assert.deepEqual(await readBack(file), [...values])
  }
})

test('many distinct values grow the table, and too many make another encoding', async () => {
  const some = Float64Array.from({ length: 60_000 }, (_, i) => Math.sqrt(i % 9000))
  const file = encode(DOUBLE, some)
  assert.equal(encodingOf(file), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(file), [...some])
  const all = Float64Array.from({ length: 60_000 }, (_, i) => Math.sqrt(i))
  const plain = encode(DOUBLE, all)
  assert.equal(encodingOf(plain), 'PLAIN')
  assert.deepEqual(await readBack(plain), [...all])
  const floats = Float32Array.from({ length: 60_000 }, (_, i) => Math.sqrt(i % 9000))
  const narrow = encode({ kind: 'float' }, floats)
  assert.equal(encodingOf(narrow), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(narrow), [...floats])
})

test('the encoding follows the values: counters, shuffled small integers, times', async () => {
  const LONG: ColumnType = { kind: 'long' }
  const counter = BigInt64Array.from({ length: 50_000 }, (_, i) => BigInt(i) + 2n ** 40n)
  assert.equal(encodingOf(encode(LONG, counter)), 'DELTA_BINARY_PACKED')
  assert.deepEqual(await readBack(encode(LONG, counter)), [...counter])
  const shuffled = BigInt64Array.from(
    { length: 50_000 },
    (_, i) =>
      // Across the sign and the 32-bit border.
      BigInt(scatter(i, 10) - 500) + (i % 2 === 0 ? 2n ** 32n : 2n ** 32n - 400n),
  )
  assert.equal(encodingOf(encode(LONG, shuffled)), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(encode(LONG, shuffled)), [...shuffled])
  // Milliseconds as microseconds, before and after 1970, spread so that deltas are large.
  const times = BigInt64Array.from(
    { length: 50_000 },
    (_, i) => BigInt(scatter(i, 12) - 2000) * 1000n * 1000n,
  )
  assert.equal(encodingOf(encode(LONG, times)), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(encode(LONG, times)), [...times])
  // More than an hour of seconds: distances of more than 32 bits.
  const hours = BigInt64Array.from({ length: 50_000 }, (_, i) => BigInt(scatter(i, 13)) * 1000n * 1000n)
  assert.equal(encodingOf(encode(LONG, hours)), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(encode(LONG, hours)), [...hours])
  const ints = Int32Array.from({ length: 50_000 }, (_, i) => scatter(i, 9) - 300)
  assert.equal(encodingOf(encode({ kind: 'int' }, ints)), 'RLE_DICTIONARY')
  assert.deepEqual(await readBack(encode({ kind: 'int' }, ints)), [...ints])
})

test('a dictionary of byte strings tells apart what differs, whatever their hashes', () => {
  const dictionary = new BinaryDictionary()
  const model = new Map<string, number>()
  for (let i = 0; i < 40_000; i++) {
    const text = `${'x'.repeat(i % 5)}${Math.imul(i, 0x9e3779b1) >>> 19}`
    const bytes = new TextEncoder().encode(` ${text} `)
    const id = dictionary.intern(bytes, 1, bytes.length - 1)
    if (!model.has(text)) model.set(text, model.size)
    assert.equal(id, model.get(text))
  }
  assert.equal(dictionary.count, model.size)
  assert.equal(
    Buffer.from(dictionary.data.subarray(0, dictionary.byteLength)).toString(),
    [...model.keys()].join(''),
  )
  dictionary.clear()
  assert.equal(dictionary.intern(Uint8Array.of(7), 0, 1), 0)
  const bytes = Uint8Array.of(0, 1, 2, 3, 4, 5)
  assert.equal(
    hashBytes(bytes, 1, 6),
    hashBytes(bytes.slice(1), 0, 5),
    'the place of the bytes is not hashed',
  )
})
