// A column batch as plain row objects, for tests and where rows are few: cell by cell, the slow and obvious way. Longs
// and decimals (unscaled) are BigInt, bytes, fixed and uuid are hex text, an enum is its symbol, a map its entries.
import { isValid } from './column-ops.ts'
import type { Column, ColumnBatch } from './columns.ts'

export function readRows(batch: ColumnBatch): Record<string, unknown>[] {
  return Array.from({ length: batch.rowCount }, (_, row) =>
    Object.fromEntries(batch.columns.map((column) => [column.field.name, readCell(column, row)])),
  )
}

export function readCell(column: Column, row: number): unknown {
  if (row >= column.rowCount) throw new RangeError(`row ${row} of ${column.rowCount}`)
  if (!isValid(column, row)) return null
  const { type } = column.field
  switch (column.layout) {
    case 'words': {
      const value = column.values[row]!
      return type.kind === 'boolean' ? value === 1 : type.kind === 'enum' ? type.symbols[value] : value
    }
    case 'longs':
      return (BigInt(column.words[2 * row + 1]!) << 32n) | BigInt(column.words[2 * row]! >>> 0)
    case 'bytes': {
      const bytes = Buffer.from(column.data.slice(column.byteWidth * row, column.byteWidth * (row + 1)))
      return type.kind === 'decimal'
        ? BigInt.asIntN(128, BigInt(`0x${bytes.reverse().toString('hex')}`))
        : bytes.toString('hex')
    }
    case 'variable': {
      const bytes = Buffer.from(column.data.slice(column.offsets[row]!, column.offsets[row + 1]!))
      return type.kind === 'string' ? bytes.toString('utf8') : bytes.toString('hex')
    }
    case 'dictionary': {
      const entry = column.indices[row]!
      const [from, to] = [column.dictionaryOffsets[entry]!, column.dictionaryOffsets[entry + 1]!]
      return Buffer.from(column.dictionaryData.slice(from, to)).toString('utf8')
    }
    case 'struct':
      return Object.fromEntries(column.children.map((child) => [child.field.name, readCell(child, row)]))
    case 'list':
      return rangeOf(column.offsets, row).map((at) => readCell(column.element, at))
    case 'map':
      return rangeOf(column.offsets, row).map((at) => [readCell(column.key, at), readCell(column.value, at)])
  }
}

function rangeOf(offsets: Int32Array, row: number): number[] {
  const first = offsets[row]!
  return Array.from({ length: offsets[row + 1]! - first }, (_, i) => first + i)
}
