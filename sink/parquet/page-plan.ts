// Where the pages of a column chunk begin: at a row, after at most `rowsMax` rows or about `bytesMax` bytes of
// values. Arrays have one entry a page and one for the end.
import type { Shredder } from './shred.ts'
import type { LeafValues } from './values.ts'

export interface PagePlan {
  rows: number[]
  levels: number[]
  values: number[]
}

const LENGTH_BYTES = 4

/** `bytesPerValue` 0: binary values, each as long as it is. */
export function planPages(
  shredded: Shredder,
  values: LeafValues,
  maxDefinition: number,
  bytesPerValue: number,
  rowsMax: number,
  bytesMax: number,
): PagePlan {
  const plan: PagePlan = { rows: [0], levels: [0], values: [0] }
  const { levelCount, definitions, repetitions } = shredded
  if (repetitions === undefined && values.count === 0) {
    for (let row = rowsMax; row < levelCount; row += rowsMax) cut(plan, row, row, 0)
    cut(plan, levelCount, levelCount, 0)
    return plan
  }
  if (repetitions === undefined && bytesPerValue > 0 && values.count === levelCount) {
    const step = Math.max(1, Math.min(rowsMax, Math.floor(bytesMax / bytesPerValue)))
    for (let row = step; row < levelCount; row += step) cut(plan, row, row, row)
    cut(plan, levelCount, levelCount, levelCount)
    return plan
  }
  let row = 0
  let rowsInPage = 0
  let value = 0
  let bytes = 0
  for (let level = 0; level < levelCount; level++) {
    if (repetitions === undefined || repetitions[level] === 0) {
      if (rowsInPage >= rowsMax || (bytes >= bytesMax && rowsInPage > 0)) {
        cut(plan, row, level, value)
        rowsInPage = 0
        bytes = 0
      }
      row++
      rowsInPage++
    }
    if (definitions === undefined || definitions[level] === maxDefinition) {
      bytes += bytesPerValue > 0 ? bytesPerValue : values.ends[value]! - values.starts[value]! + LENGTH_BYTES
      value++
    }
  }
  cut(plan, row, levelCount, value)
  return plan
}

function cut(plan: PagePlan, row: number, level: number, value: number): void {
  plan.rows.push(row)
  plan.levels.push(level)
  plan.values.push(value)
}
