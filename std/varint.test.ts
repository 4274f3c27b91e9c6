import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  sizeOfUnsigned,
  sizeOfZigzagInt,
  sizeOfZigzagLong,
  VarintCursor,
  writeUnsigned,
  writeZigzagInt,
  writeZigzagLong,
} from './varint.ts'

/** The definition, in BigInt. */
function encode(value: bigint): number[] {
  const bytes: number[] = []
  let v = value
  while (v >= 0x80n) {
    bytes.push(Number(v & 0x7fn) | 0x80)
    v >>= 7n
  }
  bytes.push(Number(v))
  return bytes
}

const zigzag = (value: bigint): bigint => (value >= 0n ? 2n * value : -2n * value - 1n)

const EDGES = [0, 1, -1, 63, 64, -64, -65, 127, 128, 16_383, 16_384]
const INT_EDGES = [...EDGES, 2 ** 31 - 1, -(2 ** 31), 2 ** 30, -(2 ** 30), 2 ** 30 - 1, -(2 ** 30) - 1]
const LONG_EDGES = [
  ...INT_EDGES,
  ...[31, 32, 33, 34, 35, 41, 42, 48, 49, 52].flatMap((bits) => [
    2 ** bits,
    2 ** bits - 1,
    -(2 ** bits),
    -(2 ** bits) - 1,
  ]),
  Number.MAX_SAFE_INTEGER,
  Number.MIN_SAFE_INTEGER,
]

function checkLong(value: number): void {
  const bytes = new Uint8Array(12)
  const end = writeZigzagLong(bytes, 1, value)
  assert.deepEqual([...bytes.subarray(1, end)], encode(zigzag(BigInt(value))), `${value}`)
  assert.equal(sizeOfZigzagLong(value), end - 1, `size of ${value}`)
  const cursor = new VarintCursor(bytes, 1, end)
  assert.equal(cursor.zigzagLong(), value)
  assert.equal(cursor.at, end)
  assert.equal(cursor.failed, false)
}

function checkInt(value: number): void {
  const bytes = new Uint8Array(12)
  const end = writeZigzagInt(bytes, 1, value)
  assert.deepEqual([...bytes.subarray(1, end)], encode(zigzag(BigInt(value))), `${value}`)
  assert.equal(sizeOfZigzagInt(value), end - 1, `size of ${value}`)
  assert.equal(new VarintCursor(bytes, 1, end).zigzagInt(), value)
}

function checkUnsigned(value: number): void {
  const bytes = new Uint8Array(12)
  const end = writeUnsigned(bytes, 1, value)
  assert.deepEqual([...bytes.subarray(1, end)], encode(BigInt(value)), `${value}`)
  assert.equal(sizeOfUnsigned(value), end - 1)
  assert.equal(new VarintCursor(bytes, 1, end).unsigned(), value)
}

test('edges', () => {
  for (const value of INT_EDGES) checkInt(value)
  for (const value of LONG_EDGES) checkLong(value)
  for (const value of [0, 127, 128, 16_383, 16_384, 2 ** 21, 2 ** 28 - 1, 2 ** 28, 2 ** 31, 2 ** 32 - 1])
    checkUnsigned(value)
})

test('any value is written as defined and read back', () => {
  fc.assert(fc.property(fc.maxSafeInteger(), checkLong))
  fc.assert(fc.property(fc.integer(), checkInt))
  fc.assert(fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), checkUnsigned))
})

test('a cut or endless value fails without reading beyond the end', () => {
  for (const value of LONG_EDGES) {
    const bytes = new Uint8Array(12).fill(0xff)
    const end = writeZigzagLong(bytes, 0, value)
    const cursor = new VarintCursor(bytes, 0, end - 1)
    cursor.zigzagLong()
    assert.equal(cursor.failed, true, `${value}`)
    assert.ok(cursor.at <= end - 1)
  }
  for (const read of ['unsigned', 'zigzagInt', 'zigzagLong'] as const) {
    const cursor = new VarintCursor(new Uint8Array(20).fill(0x80))
    assert.equal(cursor[read](), 0)
    assert.equal(cursor.failed, true)
  }
})
