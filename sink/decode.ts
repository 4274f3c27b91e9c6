// From record batches to columns, without a row object: the generated decoder of each record's schema moves
// its value into the stream's columns, and what the record itself says goes into columns beside them
// (record-columns.ts). Records are found first, a stretch of one schema at a time, and then decoded in one loop.
import { RecordStretch, STRETCH_RECORDS } from '../log/record-stretch.ts'
import { ColumnBuilders, type ColumnDecoder } from '../schemas/avro-columns.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import type { Column, ColumnBatch } from '../schemas/columns.ts'
import type { WriterSchema } from '../schemas/stream.ts'
import { MillraceError } from '../std/errors.ts'
import { newView } from '../std/view.ts'
import type { TableLayout } from './ensure-table.ts'
import { bucketOfBytes } from './iceberg/partition.ts'
import { BinaryDictionary } from './parquet/dictionary-binary.ts'
import { bytesOfBatch } from './parquet/writer.ts'
import { type ByteStrings, ranksOf } from './ranks.ts'
import { type Lineage, RecordColumns } from './record-columns.ts'
import type { RowOrder } from './sort.ts'

/** Bytes of the Confluent frame: 0x00 and the schema id. */
const FRAME_BYTES = 5
const WORD = 0x100000000

/** What is known of rows after decoding, in the order of the log; valid until the decoder is reset. */
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
  lineage: Lineage
  /** Whether columns lie in shared memory, for other threads to read. */
  isShared?: boolean
}

/** Decodes one commit's batches after the other; what it generates and how much it grew serves the next too. */
export class BatchDecoder {
  readonly #options: DecoderOptions
  readonly #builders: ColumnBuilders
  readonly #record: RecordColumns
  readonly #decoders = new Map<number, ColumnDecoder>()
  readonly #stretch = new RecordStretch()
  /** Where the data of records of one schema begin and end. */
  readonly #starts = new Int32Array(STRETCH_RECORDS)
  readonly #ends = new Int32Array(STRETCH_RECORDS)

  constructor(options: DecoderOptions) {
    this.#options = options
    const isShared = options.isShared ?? false
    this.#builders = new ColumnBuilders(parseAvroSchema(options.schema), isShared)
    this.#record = new RecordColumns(options.lineage, isShared)
  }

  get rowCount(): number {
    return this.#record.rowCount
  }

  /**
   * Takes the records from `fromOffset` on of back-to-back batches. Errors: `schema_unknown` where a record
   * carries a schema that is not known here yet, `batch_invalid` where its value is no datum of it; both
   * with its position. Afterwards the decoder is of no use.
   */
  append(batches: Uint8Array, partition: number, fromOffset: number): void {
    const stretch = this.#stretch
    const { offsets } = stretch
    const view = newView(batches)
    stretch.reset(batches)
    while (stretch.next()) {
      let first = 0
      while (first < stretch.count && offsets[first]! < fromOffset) first++
      while (first < stretch.count) first = this.#append(view, partition, first)
    }
  }

  /** The records from `first` on that have one schema; where those with another begin. */
  #append(view: DataView, partition: number, first: number): number {
    const stretch = this.#stretch
    const { bytes, count, keyStarts, valueStarts, valueEnds } = stretch
    const [starts, ends] = [this.#starts, this.#ends]
    let schemaId = -1
    let i = first
    for (; i < count; i++) {
      const start = valueStarts[i]!
      if (start < 0 || valueEnds[i]! - start < FRAME_BYTES || bytes[start] !== 0 || keyStarts[i]! < 0)
        throw invalid(partition, stretch.offsets[i]!, 'it has no key, or no value with a schema id')
      const id = view.getInt32(start + 1)
      if (i === first) schemaId = id
      else if (id !== schemaId) break
      starts[i - first] = start + FRAME_BYTES
      ends[i - first] = valueEnds[i]!
    }
    const decoder = this.#decoderOf(schemaId, partition, stretch.offsets[first]!)
    this.#record.append(stretch, first, i, partition, schemaId)
    const result = decoder.decodeRows(bytes, starts, ends, i - first)
    if (result === 0) return i
    const offset = this.#record.offsetOf(this.#builders.rowCount)
    throw invalid(partition, offset, `its value is no datum of schema ${schemaId} (${result})`)
  }

  /** All rows so far, as columns in the order of the table. They are lent: `reset` takes them back. */
  take(): DecodedRows {
    const record = this.#record
    const batch = { rowCount: record.rowCount, columns: record.around(this.#builders.finish().columns) }
    const ranks = this.#options.lineage === 'telemetry' ? () => record.ranks() : ranksOf
    return {
      rowCount: batch.rowCount,
      batch,
      oldestMs: record.oldestMs,
      order: (layout) => orderOf(batch, layout, ranks),
    }
  }

  /** Drops all rows; what `take` gave is no longer theirs. */
  reset(): void {
    this.#builders.reset()
    this.#record.reset()
  }

  #decoderOf(id: number, partition: number, offset: number): ColumnDecoder {
    const known = this.#decoders.get(id)
    if (known !== undefined) return known
    const writer = this.#options.writers.find((one) => one.id === id)
    if (writer === undefined)
      throw new MillraceError(
        'schema_unknown',
        `record ${partition}/${offset} has schema ${id}, which is not (yet) one of its stream`,
        { partition, offset, schemaId: id },
      )
    const decoder = this.#builders.decoderFor(parseAvroSchema(writer.schema))
    this.#decoders.set(id, decoder)
    return decoder
  }
}

function invalid(partition: number, offset: number, why: string): MillraceError {
  return new MillraceError('batch_invalid', `record ${partition}/${offset} cannot be decoded: ${why}`, {
    partition,
    offset,
  })
}

/** Decoders that are kept beyond their commit, and bytes of columns that they may have in all. */
const DECODERS_KEPT_MAX = 64
const BYTES_KEPT_MAX = 256 * 1024 * 1024

/** Keeps the decoders used last: generated code and arrays that are warm, memory bounded. */
export class DecoderPool<Key> {
  readonly isShared: boolean
  readonly #kept = new Map<Key, { decoder: BatchDecoder; bytes: number }>()
  #bytes = 0

  /** `isShared`: whether rows are for other threads to read. */
  constructor(isShared = false) {
    this.isShared = isShared
  }

  /** The one kept for `key`, which is the caller's until it is given back, or a new one. */
  take(key: Key, make: (isShared: boolean) => BatchDecoder): BatchDecoder {
    const kept = this.#kept.get(key)
    if (kept === undefined) return make(this.isShared)
    this.#remove(key)
    return kept.decoder
  }

  /** With its last rows, which are nobody's from here on. */
  giveBack(key: Key, decoder: BatchDecoder, rows: DecodedRows): void {
    this.#remove(key)
    const bytes = bytesOfBatch(rows.batch)
    decoder.reset()
    this.#kept.set(key, { decoder, bytes })
    this.#bytes += bytes
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= DECODERS_KEPT_MAX && this.#bytes <= BYTES_KEPT_MAX) break
      this.#remove(oldest)
    }
  }

  #remove(key: Key): void {
    this.#bytes -= this.#kept.get(key)?.bytes ?? 0
    this.#kept.delete(key)
  }
}

/** Devices, times and buckets of rows; `batch` needs no other columns. */
export function orderOf(
  batch: ColumnBatch,
  layout: TableLayout,
  ranks: (devices: ByteStrings) => Int32Array = ranksOf,
): RowOrder {
  const find = (name: string): Column => batch.columns.find((one) => one.field.name === name)!
  const { deviceOf, devices } = devicesOf(find(layout.deviceColumn))
  let buckets: Int32Array | undefined
  if (layout.bucket !== undefined) {
    buckets = new Int32Array(devices.count)
    for (let device = 0; device < devices.count; device++)
      buckets[device] = bucketOfBytes(
        devices.data,
        devices.offsets[device]!,
        devices.offsets[device + 1]!,
        layout.bucket.count,
      )
  }
  return { deviceOf, rankOf: ranks(devices), times: timesOf(find(layout.timeColumn)), buckets }
}

/** The distinct devices of a column, and which one each row has. Null (no device column of ours is) counts as empty. */
function devicesOf(column: Column): { deviceOf: Int32Array; devices: ByteStrings } {
  if (column.layout === 'dictionary' && column.dictionaryOffsets.length > 1)
    return {
      deviceOf: column.indices,
      devices: {
        count: column.dictionaryOffsets.length - 1,
        offsets: column.dictionaryOffsets,
        data: column.dictionaryData,
      },
    }
  const devices = new BinaryDictionary()
  const deviceOf = new Int32Array(column.rowCount)
  if (column.layout === 'dictionary') devices.intern(column.dictionaryData, 0, 0)
  else if (column.layout === 'variable')
    for (let row = 0; row < column.rowCount; row++)
      deviceOf[row] = devices.intern(column.data, column.offsets[row]!, column.offsets[row + 1]!)
  else throw new MillraceError('internal', `device column ${column.field.name} is not a string`)
  return { deviceOf, devices }
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
