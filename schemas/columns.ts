// The column batch: decoded rows in Arrow's memory layout (Arrow columnar format, "Physical Memory Layout"),
// what generated decoders fill, the sink sorts, and the Parquet encoder reads.
//
//   validity   one bit a row, least significant bit first, 1 = present; undefined: no nulls
//   offsets    rowCount + 1 entries, int32: row i of a list, map, string or binary is [offsets[i], offsets[i+1])
//
// 64-bit integers lie as little-endian pairs of 32-bit words (low, high) so that loops never touch BigInt.

export type ColumnType =
  | { kind: 'boolean' }
  /** 32-bit signed: int, and the logical types over it. */
  | { kind: 'int'; logical?: 'date' | 'time-millis' }
  /** 64-bit signed. Timestamps are UTC. */
  | { kind: 'long'; logical?: 'timestamp-millis' | 'timestamp-micros' | 'time-micros' }
  | { kind: 'float' }
  | { kind: 'double' }
  | { kind: 'string' }
  | { kind: 'binary' }
  | { kind: 'fixed'; byteWidth: number }
  /** 16 bytes, big-endian as RFC 4122 prints them. */
  | { kind: 'uuid' }
  /** 128-bit two's complement, little-endian, 16 bytes a row (Arrow Decimal128). precision ≤ 38. */
  | { kind: 'decimal'; precision: number; scale: number }
  /** int32 index into `symbols`. */
  | { kind: 'enum'; symbols: readonly string[] }
  | { kind: 'struct'; fields: readonly ColumnField[] }
  | { kind: 'list'; element: ColumnField }
  /** Avro maps: keys are strings. */
  | { kind: 'map'; key: ColumnField; value: ColumnField }

export interface ColumnField {
  name: string
  type: ColumnType
  nullable: boolean
}

interface ColumnBase {
  field: ColumnField
  rowCount: number
  validity: Uint8Array | undefined
  /** True where every row is known to hold the same value: in any order the values are the same. */
  isUniform?: boolean
}

/** One word a row: Uint8Array (0/1) for booleans, Int32Array for int and enum, Float32Array, Float64Array. */
export interface FixedWidthColumn extends ColumnBase {
  layout: 'words'
  values: Uint8Array | Int32Array | Float32Array | Float64Array
}

/** Two int32 words a row: low, high. */
export interface LongColumn extends ColumnBase {
  layout: 'longs'
  /** Length 2 × rowCount. */
  words: Int32Array
}

/** `byteWidth` bytes a row: fixed, uuid, decimal. */
export interface BytesColumn extends ColumnBase {
  layout: 'bytes'
  byteWidth: number
  data: Uint8Array
}

/** string, binary. */
export interface VariableColumn extends ColumnBase {
  layout: 'variable'
  offsets: Int32Array
  data: Uint8Array
}

/** A string column whose rows point into a dictionary; what device ids, firmwares and enums arrive as. */
export interface DictionaryColumn extends ColumnBase {
  layout: 'dictionary'
  /** Index of each row into the dictionary. */
  indices: Int32Array
  /** Entry i is dictionaryData[dictionaryOffsets[i], dictionaryOffsets[i+1]). */
  dictionaryOffsets: Int32Array
  dictionaryData: Uint8Array
}

export interface StructColumn extends ColumnBase {
  layout: 'struct'
  children: Column[]
}

export interface ListColumn extends ColumnBase {
  layout: 'list'
  offsets: Int32Array
  element: Column
}

export interface MapColumn extends ColumnBase {
  layout: 'map'
  offsets: Int32Array
  key: Column
  value: Column
}

export type Column =
  | FixedWidthColumn
  | LongColumn
  | BytesColumn
  | VariableColumn
  | DictionaryColumn
  | StructColumn
  | ListColumn
  | MapColumn

export interface ColumnBatch {
  rowCount: number
  columns: Column[]
}
