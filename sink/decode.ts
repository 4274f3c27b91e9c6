// From record batches to columns, without a row object: the generated decoder of each record's schema moves
// its value into the stream's columns, and what the record itself says (key, offset, time, marks) goes into
// columns beside them.
//
//   record key            device_id      dictionary column: a device's name is stored once a commit
//   offset                _offset
//   timestamp             _receive_time  microseconds
//   schema id of value    _schema_id
//   header late_ms        _late_ms       0 without
//   header quality        _quality       null without

import { RecordReader } from '../log/record-batch.ts'
import { ColumnBuilders, type ColumnDecoder } from '../schemas/avro-columns.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import type { Column, ColumnBatch, ColumnField, DictionaryColumn, LongColumn } from '../schemas/columns.ts'
import { MARK_LATE_MS, MARK_QUALITY } from '../schemas/names.ts'
import type { WriterSchema } from '../schemas/stream.ts'
import { MillraceError } from '../std/errors.ts'
import type { TableLayout } from './ensure-table.ts'
import { bucketOfBytes } from './iceberg/partition.ts'
import { BinaryDictionary } from './parquet/dictionary-binary.ts'
import { ranksOf } from './ranks.ts'
import type { RowOrder } from './sort.ts'
import { DEVICE_ID } from './table-schema.ts'

/** Bytes of the Confluent frame: 0x00 and the schema id. */
const FRAME_BYTES = 5
const ROWS_FIRST = 256
const WORD = 0x100000000

/** What is known of rows after decoding, in the order of the log. */
export interface DecodedRows {
  rowCount: number
  batch: ColumnBatch
  /** Receive time in ms of the oldest row; Infinity where there is none. */
  oldestMs: number
  /** What rows are sorted and partitioned by. */
  order(layout: TableLayout): RowOrder
}

export interface DecoderOptions {
  /** Avro JSON of the schema that the columns have. */
  schema: string
  /** Every schema that records may carry, `schema`'s own id included. */
  writers: readonly WriterSchema[]
  /** `telemetry`: device, contract, lineage. `rejected`: the record's own fields, partition and offset. */
  lineage: 'telemetry' | 'rejected'
}

const column = (name: string, type: ColumnField['type'], nullable = false): ColumnField => ({
  name,
  type,
  nullable,
})

const PARTITION_FIELD = column('_log_partition', { kind: 'int' })
const OFFSET_FIELD = column('_offset', { kind: 'long' })
const DEVICE_FIELD = column(DEVICE_ID, { kind: 'string' })
const RECEIVE_TIME_FIELD = column('_receive_time', { kind: 'long', logical: 'timestamp-micros' })
const SCHEMA_ID_FIELD = column('_schema_id', { kind: 'int' })
const LATE_FIELD = column('_late_ms', { kind: 'long' })
const QUALITY_FIELD = column('_quality', { kind: 'string' }, true)

/** Decodes one commit's batches after the other; what it generates and how much it grew serves the next too. */
export class BatchDecoder {
  readonly #options: DecoderOptions
  readonly #builders: ColumnBuilders
  readonly #decoders = new Map<number, ColumnDecoder>()
  readonly #reader = new RecordReader()
  #devices = new BinaryDictionary()
  #qualities = new BinaryDictionary()

  #rows = 0
  #oldestMs = Infinity
  #partitions!: Int32Array
  #offsets!: Int32Array
  #deviceOf!: Int32Array
  #receiveTimes!: Int32Array
  #schemaIds!: Int32Array
  #lateMs!: Int32Array
  /** Index into the qualities, -1 is null. */
  #qualityOf!: Int32Array

  constructor(options: DecoderOptions) {
    this.#options = options
    this.#builders = new ColumnBuilders(parseAvroSchema(options.schema))
    this.#renew(ROWS_FIRST)
  }

  get rowCount(): number {
    return this.#rows
  }

  /**
   * Takes the records from `fromOffset` on of back-to-back batches. Errors: `schema_unknown` where a record
   * carries a schema that is not known here yet, `batch_invalid` where its value is no datum of it; both
   * with its position. Afterwards the decoder is of no use.
   */
  append(batches: Uint8Array, partition: number, fromOffset: number): void {
    const reader = this.#reader
    reader.reset(batches)
    let schemaId = -1
    let decoder: ColumnDecoder | undefined
    while (reader.next()) {
      if (reader.offset < fromOffset) continue
      const start = reader.valueStart
      if (start < 0 || reader.valueEnd - start < FRAME_BYTES || batches[start] !== 0 || reader.keyStart < 0)
        throw this.#invalid(partition, 'it has no key, or no value with a schema id')
      const id =
        (batches[start + 1]! << 24) |
        (batches[start + 2]! << 16) |
        (batches[start + 3]! << 8) |
        batches[start + 4]!
      if (id !== schemaId || decoder === undefined) {
        decoder = this.#decoderOf(id, partition)
        schemaId = id
      }
      if (this.#rows === this.#partitions.length) this.#grow()
      const result = decoder.decode(batches, start + FRAME_BYTES, reader.valueEnd)
      if (result !== 0) throw this.#invalid(partition, `its value is no datum of schema ${id} (${result})`)
      this.#record(partition, id)
    }
  }

  /** The columns of the record itself. */
  #record(partition: number, schemaId: number): void {
    const reader = this.#reader
    const row = this.#rows++
    this.#partitions[row] = partition
    setLong(this.#offsets, row, reader.offset)
    if (reader.timestamp < this.#oldestMs) this.#oldestMs = reader.timestamp
    if (this.#options.lineage === 'rejected') return
    this.#deviceOf[row] = this.#devices.intern(reader.bytes, reader.keyStart, reader.keyEnd)
    setLong(this.#receiveTimes, row, reader.timestamp * 1000)
    this.#schemaIds[row] = schemaId
    this.#qualityOf[row] = -1
    // Most records have no marks; typed arrays begin as zeros, which is "on time".
    if (reader.headerCount > 0) this.#marks(row)
  }

  #marks(row: number): void {
    for (const { key, value } of this.#reader.headers()) {
      if (key === MARK_LATE_MS) setLong(this.#lateMs, row, Number(Buffer.from(value).toString('latin1')))
      else if (key === MARK_QUALITY) this.#qualityOf[row] = this.#qualities.intern(value, 0, value.length)
    }
  }

  /** All rows so far, as columns in the order of the table; the arrays are the caller's from here on. */
  take(): DecodedRows {
    const rowCount = this.#rows
    const oldestMs = this.#oldestMs
    const own = this.#builders.finish().columns
    const partition: Column = {
      field: PARTITION_FIELD,
      rowCount,
      validity: undefined,
      layout: 'words',
      values: this.#partitions.subarray(0, rowCount),
    }
    const offset = longs(OFFSET_FIELD, rowCount, this.#offsets)
    const columns =
      this.#options.lineage === 'rejected'
        ? [...own, partition, offset]
        : [
            dictionaryColumn(DEVICE_FIELD, rowCount, this.#deviceOf, this.#devices),
            ...own,
            partition,
            offset,
            longs(RECEIVE_TIME_FIELD, rowCount, this.#receiveTimes),
            {
              field: SCHEMA_ID_FIELD,
              rowCount,
              validity: undefined,
              layout: 'words' as const,
              values: this.#schemaIds.subarray(0, rowCount),
            },
            longs(LATE_FIELD, rowCount, this.#lateMs),
            dictionaryColumn(QUALITY_FIELD, rowCount, this.#qualityOf, this.#qualities),
          ]
    const batch = { rowCount, columns }
    this.#renew(this.#partitions.length)
    return { rowCount, batch, oldestMs, order: (layout) => orderOf(batch, layout) }
  }

  #decoderOf(id: number, partition: number): ColumnDecoder {
    const known = this.#decoders.get(id)
    if (known !== undefined) return known
    const writer = this.#options.writers.find((one) => one.id === id)
    if (writer === undefined)
      throw new MillraceError(
        'schema_unknown',
        `record ${partition}/${this.#reader.offset} has schema ${id}, which is not (yet) one of its stream`,
        { partition, offset: this.#reader.offset, schemaId: id },
      )
    const decoder = this.#builders.decoderFor(parseAvroSchema(writer.schema))
    this.#decoders.set(id, decoder)
    return decoder
  }

  #invalid(partition: number, why: string): MillraceError {
    const { offset } = this.#reader
    return new MillraceError('batch_invalid', `record ${partition}/${offset} cannot be decoded: ${why}`, {
      partition,
      offset,
    })
  }

  #renew(capacity: number): void {
    this.#rows = 0
    this.#oldestMs = Infinity
    this.#partitions = new Int32Array(capacity)
    this.#offsets = new Int32Array(2 * capacity)
    const telemetry = this.#options.lineage === 'telemetry' ? capacity : 0
    this.#deviceOf = new Int32Array(telemetry)
    this.#receiveTimes = new Int32Array(2 * telemetry)
    this.#schemaIds = new Int32Array(telemetry)
    this.#lateMs = new Int32Array(2 * telemetry)
    this.#qualityOf = new Int32Array(telemetry)
    this.#devices = new BinaryDictionary()
    this.#qualities = new BinaryDictionary()
  }

  #grow(): void {
    const rows = this.#partitions.length * 2
    const grow = (array: Int32Array, length: number): Int32Array => {
      const grown = new Int32Array(length)
      grown.set(array)
      return grown
    }
    this.#partitions = grow(this.#partitions, rows)
    this.#offsets = grow(this.#offsets, 2 * rows)
    if (this.#options.lineage === 'rejected') return
    this.#deviceOf = grow(this.#deviceOf, rows)
    this.#receiveTimes = grow(this.#receiveTimes, 2 * rows)
    this.#schemaIds = grow(this.#schemaIds, rows)
    this.#lateMs = grow(this.#lateMs, 2 * rows)
    this.#qualityOf = grow(this.#qualityOf, rows)
  }
}

/** Decoders that are kept beyond their commit, and rows that they have room for in all. */
const DECODERS_KEPT_MAX = 64
const ROWS_KEPT_MAX = 8 * 1024 * 1024

/** Keeps the decoders used last: generated code that is warm, arrays that need not grow again, memory bounded. */
export class DecoderPool<Key> {
  readonly #kept = new Map<Key, { decoder: BatchDecoder; rows: number }>()
  #rows = 0

  /** The one kept for `key`, which is the caller's until it is given back, or a new one. */
  take(key: Key, make: () => BatchDecoder): BatchDecoder {
    const kept = this.#kept.get(key)
    if (kept === undefined) return make()
    this.#remove(key)
    return kept.decoder
  }

  /** `rows`: how many it last held. */
  giveBack(key: Key, decoder: BatchDecoder, rows: number): void {
    this.#remove(key)
    this.#kept.set(key, { decoder, rows })
    this.#rows += rows
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= DECODERS_KEPT_MAX && this.#rows <= ROWS_KEPT_MAX) break
      this.#remove(oldest)
    }
  }

  #remove(key: Key): void {
    this.#rows -= this.#kept.get(key)?.rows ?? 0
    this.#kept.delete(key)
  }
}

/** A safe integer as two little-endian words; storing a double keeps its low 32 bits. */
function setLong(words: Int32Array, row: number, value: number): void {
  const high = Math.floor(value * (1 / WORD))
  words[2 * row] = value - high * WORD
  words[2 * row + 1] = high
}

function longs(field: ColumnField, rowCount: number, words: Int32Array): LongColumn {
  return { field, rowCount, validity: undefined, layout: 'longs', words: words.subarray(0, 2 * rowCount) }
}

/** Rows of -1 are null. */
function dictionaryColumn(
  field: ColumnField,
  rowCount: number,
  entries: Int32Array,
  dictionary: BinaryDictionary,
): DictionaryColumn {
  const indices = entries.subarray(0, rowCount)
  let validity: Uint8Array | undefined
  if (field.nullable) {
    validity = new Uint8Array((rowCount + 7) >> 3)
    if (dictionary.count === 0) indices.fill(0)
    else
      for (let row = 0; row < rowCount; row++) {
        if (indices[row]! < 0) indices[row] = 0
        else validity[row >> 3]! |= 1 << (row & 7)
      }
  }
  return {
    field,
    rowCount,
    validity,
    layout: 'dictionary',
    indices,
    dictionaryOffsets: dictionary.offsets.subarray(0, dictionary.count + 1),
    dictionaryData: dictionary.data.subarray(0, dictionary.offsets[dictionary.count]!),
  }
}

/** Devices, times and buckets of rows; `batch` needs no other columns. */
export function orderOf(batch: ColumnBatch, layout: TableLayout): RowOrder {
  const find = (name: string): Column => batch.columns.find((one) => one.field.name === name)!
  const { entryOf, dictionary } = devicesOf(find(layout.deviceColumn))
  let buckets: Int32Array | undefined
  if (layout.bucket !== undefined) {
    buckets = new Int32Array(dictionary.count)
    for (let entry = 0; entry < dictionary.count; entry++)
      buckets[entry] = bucketOfBytes(
        dictionary.data,
        dictionary.offsets[entry]!,
        dictionary.offsets[entry + 1]!,
        layout.bucket.count,
      )
  }
  return {
    deviceOf: entryOf,
    rankOf: ranksOf(dictionary),
    times: timesOf(find(layout.timeColumn)),
    buckets,
  }
}

/** The distinct devices of a column, and which one each row has. Null (no device column of ours is) counts as empty. */
function devicesOf(column: Column): { entryOf: Int32Array; dictionary: BinaryDictionary } {
  const dictionary = new BinaryDictionary()
  if (column.layout === 'dictionary') {
    // The entries of a dictionary are distinct, so they keep their numbers.
    const count = column.dictionaryOffsets.length - 1
    for (let entry = 0; entry < count; entry++)
      dictionary.intern(
        column.dictionaryData,
        column.dictionaryOffsets[entry]!,
        column.dictionaryOffsets[entry + 1]!,
      )
    return { entryOf: column.indices, dictionary }
  }
  if (column.layout !== 'variable')
    throw new MillraceError('internal', `device column ${column.field.name} is not a string`)
  const entryOf = new Int32Array(column.rowCount)
  for (let row = 0; row < column.rowCount; row++)
    entryOf[row] = dictionary.intern(column.data, column.offsets[row]!, column.offsets[row + 1]!)
  return { entryOf, dictionary }
}

/** Microseconds of a timestamp column; -Infinity where null. Beyond 2^53 they are rounded, which keeps their day. */
function timesOf(column: Column): Float64Array {
  if (column.layout !== 'longs')
    throw new MillraceError('internal', `time column ${column.field.name} is not a timestamp`)
  const { words, validity, field } = column
  const scale = field.type.kind === 'long' && field.type.logical === 'timestamp-millis' ? 1000 : 1
  const times = new Float64Array(column.rowCount)
  for (let row = 0; row < times.length; row++)
    times[row] =
      validity !== undefined && (validity[row >> 3]! & (1 << (row & 7))) === 0
        ? -Infinity
        : (words[2 * row + 1]! * WORD + (words[2 * row]! >>> 0)) * scale
  return times
}
