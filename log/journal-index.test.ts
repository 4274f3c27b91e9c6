// The index of a partition against a plain list, over several chunks, with chunks that other indexes gave back.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { getHeapStatistics } from 'node:v8'
import { PartitionIndex, ROW, ROW_BYTES } from './journal-index.ts'

/** Some rows more than a chunk holds. */
const ROWS = 1300

function rowOf(index: PartitionIndex, row: number): number[] {
  return [
    index.baseOffset(row),
    index.lastOffsetDelta(row),
    index.segment(row),
    index.position(row),
    index.bytes(row),
    index.seconds(row),
  ]
}

test('rows are what was pushed, in chunks used before too; a copy of any of them is the same', () => {
  const one = new PartitionIndex()
  const other = new PartitionIndex()
  for (let round = 0; round < 5; round++)
    for (const index of [one, other]) {
      const model: number[][] = []
      const first = 2 ** 32 - 600 + round * 7919
      for (let i = 0; i < ROWS; i++) {
        const row = [first + i * 3, 2, round, i * 64, 100 + i, 1_700_000_000 + i] as const
        index.push(...row)
        model.push([...row])
      }
      for (let removed = 0; removed < 700; removed++) {
        index.removeFirst()
        model.shift()
      }
      assert.equal(index.length, model.length)
      for (const [row, expected] of model.entries()) assert.deepEqual(rowOf(index, row), expected)
      for (const [from, count] of [
        [0, model.length],
        [1, 3],
        [300, 300],
        [model.length - 1, 1],
        [5, 0],
      ] as const) {
        const bytes = new Uint8Array(3 + count * ROW_BYTES)
        index.copyRows(from, count, bytes, 3)
        const copy = new Uint32Array(bytes.slice(3).buffer)
        for (let i = 0; i < count; i++) {
          const [low, high, ...rest] = copy.subarray(i * ROW, (i + 1) * ROW)
          assert.deepEqual([low! + high! * 2 ** 32, ...rest], model[from + i])
        }
      }
      index.clear()
      assert.equal(index.length, 0)
    }
})

test('an index that grows is no reason for V8 to collect', () => {
  const before = getHeapStatistics().external_memory
  const index = new PartitionIndex()
  const rows = 100_000
  for (let i = 0; i < rows; i++) index.push(i, 0, 1, i, 100, 1)
  assert.ok(getHeapStatistics().external_memory - before < (rows * ROW_BYTES) / 10)
  assert.equal(index.length, rows)
})
