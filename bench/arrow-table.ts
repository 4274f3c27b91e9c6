// A column batch as an Arrow table, without copying: what peers that take Arrow are given.
import {
  type Data,
  Dictionary,
  Int32,
  makeData,
  makeVector,
  Table,
  TimestampMicrosecond,
  Utf8,
  Vector,
  vectorFromArray,
} from 'apache-arrow'
import type { Column, ColumnBatch } from '../schemas/columns.ts'

const decoder = new TextDecoder()

/** Columns without nulls of the layouts that telemetry-rows.ts makes. */
export function arrowTable(batch: ColumnBatch): Table {
  return new Table(
    Object.fromEntries(batch.columns.map((column, i) => [column.field.name, vectorOf(column, i)])),
  )
}

function vectorOf(column: Column, id: number): Vector {
  const length = column.rowCount
  switch (column.layout) {
    case 'dictionary': {
      const { dictionaryOffsets: offsets, dictionaryData: data } = column
      const texts = Array.from({ length: offsets.length - 1 }, (_, i) =>
        decoder.decode(data.subarray(offsets[i], offsets[i + 1])),
      )
      const dictionary = vectorFromArray(texts, new Utf8())
      const type = new Dictionary(new Utf8(), new Int32(), id)
      return new Vector([makeData({ type, length, nullCount: 0, data: column.indices, dictionary }) as Data])
    }
    case 'longs': {
      const { words } = column
      const data = new BigInt64Array(words.buffer as ArrayBuffer, words.byteOffset, length)
      return new Vector([
        makeData({ type: new TimestampMicrosecond('UTC'), length, nullCount: 0, data }) as Data,
      ])
    }
    case 'words':
      return makeVector(column.values as Float64Array<ArrayBuffer>)
    default:
      throw new TypeError(`no Arrow vector of ${column.layout}`)
  }
}
