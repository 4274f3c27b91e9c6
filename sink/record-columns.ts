// The columns that a record has beside its value, which every table of a stream has too:
//
//   record key            device_id        dictionary column: a device's name is stored once
//   partition, offset     _log_partition, _offset
//   timestamp             _receive_time    microseconds
//   schema id of value    _schema_id
//   header late_ms        _late_ms         0 without
//   header quality        _quality         null without
import type { RecordHeader } from '../log/record-batch.ts'
import type { RecordStretch } from '../log/record-stretch.ts'
import { newArray } from '../schemas/column-builder.ts'
import type { Column, ColumnField, DictionaryColumn } from '../schemas/columns.ts'
import { MARK_LATE_MS, MARK_QUALITY } from '../schemas/names.ts'
import { BinaryDictionary } from './parquet/dictionary-binary.ts'
import { ranksOf } from './ranks.ts'
import { DEVICE_ID } from './table-schema.ts'

const ROWS_FIRST = 256
const WORD = 0x100000000
/** Arrays of more than so many times the rows of the last batch are given up. */
const ROOM_MAX = 4
/** The names of devices are kept for the next batch where each was in so many rows: else they are not the same ones. */
const ROWS_PER_DEVICE_MIN = 4

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

/** `telemetry`: all of them. `rejected`: partition and offset, the rest is in the value. */
export type Lineage = 'telemetry' | 'rejected'

export class RecordColumns {
  rowCount = 0
  /** Receive time in ms of the oldest row. */
  oldestMs = Infinity
  readonly #isTelemetry: boolean
  readonly #isShared: boolean
  #partitions!: Int32Array
  #offsets!: Int32Array
  #deviceOf!: Int32Array
  #receiveTimes!: Int32Array
  #schemaIds!: Int32Array
  /** Zeros but for rows that were late. */
  #lateMs!: Int32Array
  #isLate = false
  /** Quality + 1; 0 is null. */
  #qualityOf!: Int32Array
  #qualities = new BinaryDictionary()
  #devices = new BinaryDictionary()
  #lastDevice = 0
  #ranks: Int32Array = new Int32Array(0)

  constructor(lineage: Lineage, isShared: boolean) {
    this.#isTelemetry = lineage === 'telemetry'
    this.#isShared = isShared
    this.#allocate(ROWS_FIRST)
  }

  /** Records [from, to) of the stretch, all of one partition and schema. */
  append(stretch: RecordStretch, from: number, to: number, partition: number, schemaId: number): void {
    const first = this.rowCount
    const rowCount = first + to - from
    while (rowCount > this.#partitions.length) this.#grow()
    this.rowCount = rowCount
    this.#partitions.fill(partition, first, rowCount)
    // One column after the other: short loops over few arrays.
    const { offsets, timestamps } = stretch
    const ownOffsets = this.#offsets
    for (let i = from, row = first; i < to; i++, row++) setLong(ownOffsets, row, offsets[i]!)
    let oldestMs = this.oldestMs
    for (let i = from; i < to; i++) if (timestamps[i]! < oldestMs) oldestMs = timestamps[i]!
    this.oldestMs = oldestMs
    if (!this.#isTelemetry) return
    this.#schemaIds.fill(schemaId, first, rowCount)
    const receiveTimes = this.#receiveTimes
    for (let i = from, row = first; i < to; i++, row++) setLong(receiveTimes, row, timestamps[i]! * 1000)
    this.#appendDevices(stretch, from, to, first)
    // Most records have no marks.
    if (stretch.hasHeaders)
      for (let i = from, row = first; i < to; i++, row++)
        if (stretch.headerCounts[i]! > 0) this.#marks(row, stretch.headers(i))
  }

  #appendDevices(
    { bytes, keyStarts, keyEnds }: RecordStretch,
    from: number,
    to: number,
    first: number,
  ): void {
    const devices = this.#devices
    const deviceOf = this.#deviceOf
    let device = this.#lastDevice
    for (let i = from, row = first; i < to; i++, row++)
      deviceOf[row] = device = devices.internAfter(device, bytes, keyStarts[i]!, keyEnds[i]!)
    this.#lastDevice = device
  }

  #marks(row: number, headers: readonly RecordHeader[]): void {
    for (const { key, value } of headers) {
      if (key === MARK_LATE_MS) {
        setLong(this.#lateMs, row, Number(Buffer.from(value).toString('latin1')))
        this.#isLate = true
      } else if (key === MARK_QUALITY)
        this.#qualityOf[row] = this.#qualities.intern(value, 0, value.length) + 1
    }
  }

  offsetOf(row: number): number {
    return this.#offsets[2 * row + 1]! * WORD + (this.#offsets[2 * row]! >>> 0)
  }

  /** `own`, the columns of the value, among these, in the order of the table. The arrays are lent until `reset`. */
  around(own: readonly Column[]): Column[] {
    const { rowCount } = this
    const words = (field: ColumnField, values: Int32Array): Column => ({
      field,
      rowCount,
      validity: undefined,
      layout: 'words',
      values: values.subarray(0, rowCount),
      isUniform: isUniform(values, rowCount),
    })
    const longs = (field: ColumnField, array: Int32Array, uniform = false): Column => ({
      field,
      rowCount,
      validity: undefined,
      layout: 'longs',
      words: array.subarray(0, 2 * rowCount),
      isUniform: uniform,
    })
    const partition = words(PARTITION_FIELD, this.#partitions)
    const offset = longs(OFFSET_FIELD, this.#offsets)
    if (!this.#isTelemetry) return [...own, partition, offset]
    const device = dictionaryColumn(DEVICE_FIELD, this.#deviceOf.subarray(0, rowCount), this.#devices)
    return [
      device,
      ...own,
      partition,
      offset,
      longs(RECEIVE_TIME_FIELD, this.#receiveTimes),
      words(SCHEMA_ID_FIELD, this.#schemaIds),
      longs(LATE_FIELD, this.#lateMs, !this.#isLate),
      this.#qualityColumn(),
    ]
  }

  #qualityColumn(): Column {
    const { rowCount } = this
    const indices = this.#qualityOf.subarray(0, rowCount)
    const validity = newArray(Uint8Array, (rowCount + 7) >> 3, this.#isShared)
    if (this.#qualities.count > 0)
      for (let row = 0; row < rowCount; row++) {
        if (indices[row] === 0) continue
        indices[row]!--
        validity[row >> 3]! |= 1 << (row & 7)
      }
    return { ...dictionaryColumn(QUALITY_FIELD, indices, this.#qualities), validity }
  }

  /** Place of each device among all, by bytes. */
  ranks(): Int32Array {
    // A fleet's names are soon known.
    if (this.#ranks.length !== this.#devices.count) this.#ranks = ranksOf(this.#devices)
    return this.#ranks
  }

  /** No rows, in the same arrays. */
  reset(): void {
    const rows = this.rowCount
    const rowsMin = Math.max(rows, ROWS_FIRST)
    if (this.#partitions.length > ROOM_MAX * rowsMin) this.#allocate(rowsMin)
    else {
      if (this.#isLate) this.#lateMs.fill(0)
      if (this.#qualities.count > 0) this.#qualityOf.fill(0)
    }
    this.#isLate = false
    if (this.#qualities.count > 0) this.#qualities = new BinaryDictionary()
    if (this.#devices.count * ROWS_PER_DEVICE_MIN > rows) {
      this.#devices = new BinaryDictionary()
      this.#ranks = new Int32Array(0)
      this.#lastDevice = 0
    }
    this.rowCount = 0
    this.oldestMs = Infinity
  }

  #allocate(rows: number): void {
    const own = this.#isTelemetry ? rows : 0
    const array = (length: number): Int32Array => newArray(Int32Array, length, this.#isShared)
    this.#partitions = array(rows)
    this.#offsets = array(2 * rows)
    this.#deviceOf = array(own)
    this.#receiveTimes = array(2 * own)
    this.#schemaIds = array(own)
    this.#lateMs = array(2 * own)
    this.#qualityOf = array(own)
  }

  #grow(): void {
    const before = this.#arrays()
    this.#allocate(this.#partitions.length * 2)
    for (const [i, array] of this.#arrays().entries()) array.set(before[i]!)
  }

  #arrays(): Int32Array[] {
    return [
      this.#partitions,
      this.#offsets,
      this.#deviceOf,
      this.#receiveTimes,
      this.#schemaIds,
      this.#lateMs,
      this.#qualityOf,
    ]
  }
}

/** A safe integer as two little-endian words; storing a double keeps its low 32 bits. */
function setLong(words: Int32Array, row: number, value: number): void {
  const high = Math.floor(value * (1 / WORD))
  words[2 * row] = value - high * WORD
  words[2 * row + 1] = high
}

function isUniform(values: Int32Array, count: number): boolean {
  const first = values[0]
  // Batches are of one partition and nearly always of one schema: where two are not alike, the ends are not.
  if (values[count - 1] !== first) return false
  for (let i = 1; i < count; i++) if (values[i] !== first) return false
  return true
}

function dictionaryColumn(
  field: ColumnField,
  indices: Int32Array,
  dictionary: BinaryDictionary,
): DictionaryColumn {
  return {
    field,
    rowCount: indices.length,
    validity: undefined,
    layout: 'dictionary',
    indices,
    dictionaryOffsets: dictionary.offsets.subarray(0, dictionary.count + 1),
    dictionaryData: dictionary.data.subarray(0, dictionary.offsets[dictionary.count]!),
  }
}
