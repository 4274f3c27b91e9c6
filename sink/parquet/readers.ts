// For tests: what independent readers make of a file, in the form of batch-arbitraries.ts, with times and
// timestamps in microseconds, bytes as hex, and maps as objects of their sorted keys.
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import zlib from 'node:zlib'
import {
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBDateValue,
  DuckDBDecimalValue,
  DuckDBInstance,
  DuckDBListValue,
  DuckDBMapValue,
  DuckDBStructValue,
  DuckDBTimestampTZValue,
  DuckDBTimeValue,
  DuckDBUUIDValue,
} from '@duckdb/node-api'
import { type FileMetaData, parquetMetadata, parquetReadObjects } from 'hyparquet'
import type { ColumnType } from '../../schemas/columns.ts'
import type { Table, Value } from './batch-arbitraries.ts'

export type Plain = null | boolean | number | bigint | string | Plain[] | { [name: string]: Plain }

const hex = (bytes: Uint8Array): string => `x${Buffer.from(bytes).toString('hex')}`
const sorted = (entries: [string, Plain][]): Plain =>
  Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => [`.${key}`, value]))

/** The table as a reader should see it. */
export function expectedRows(table: Table): Plain[][] {
  return table.rows.map((row) => row.map((value, i) => expectedValue(value, table.fields[i]!.type)))
}

export function expectedValue(value: Value, type: ColumnType): Plain {
  if (value === null) return null
  if (value instanceof Uint8Array) return hex(value)
  switch (type.kind) {
    case 'float':
      return Math.fround(value as number)
    case 'int':
      return type.logical === 'time-millis' ? BigInt(value as number) * 1000n : (value as number)
    case 'long':
      return type.logical === 'timestamp-millis' ? (value as bigint) * 1000n : (value as bigint)
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [
          field.name,
          expectedValue((value as { [name: string]: Value })[field.name]!, field.type),
        ]),
      )
    case 'list':
      return (value as Value[]).map((one) => expectedValue(one, type.element.type))
    case 'map':
      return sorted(
        (value as [string, Value][]).map(([key, one]) => [key, expectedValue(one, type.value.type)]),
      )
    default:
      return value as Plain
  }
}

export const compressors = {
  ZSTD: (input: Uint8Array): Uint8Array => new Uint8Array(zlib.zstdDecompressSync(input)),
}
const decoder = new TextDecoder()

function arrayBufferOf(parts: readonly Uint8Array[]): ArrayBuffer {
  const bytes = Buffer.concat(parts)
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
}

export function hyparquetMetadata(parts: readonly Uint8Array[]): FileMetaData {
  return parquetMetadata(arrayBufferOf(parts))
}

/** All rows by hyparquet; decimals as the nearest double of their digits. */
export async function hyparquetRows(parts: readonly Uint8Array[], table: Table): Promise<Plain[][]> {
  const rows = await parquetReadObjects({
    file: arrayBufferOf(parts),
    compressors,
    utf8: false,
    parsers: {
      timestampFromMicroseconds: (micros: bigint) => micros as never,
      dateFromDays: (days: number) => days as never,
      stringFromBytes: (bytes: Uint8Array) => bytes && decoder.decode(bytes),
      uuidFromBytes: (bytes: Uint8Array) => (bytes && hex(bytes)) as never,
    },
  })
  return rows.map((row) => table.fields.map((field) => fromHyparquet(row[field.name], field.type)))
}

function fromHyparquet(value: unknown, type: ColumnType): Plain {
  if (value === null || value === undefined) return null
  if (value instanceof Uint8Array) return hex(value)
  switch (type.kind) {
    case 'list':
      return (value as unknown[]).map((one) => fromHyparquet(one, type.element.type))
    case 'map':
      return sorted(
        Object.entries(value as object).map(([key, one]) => [key, fromHyparquet(one, type.value.type)]),
      )
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [
          field.name,
          fromHyparquet((value as Record<string, unknown>)[field.name], field.type),
        ]),
      )
    default:
      return value as Plain
  }
}

/** What hyparquet's decimals lose is taken from the expected values too. */
export function withDoubleDecimals(value: Plain, type: ColumnType): Plain {
  if (value === null) return null
  switch (type.kind) {
    case 'decimal':
      return Number(value) * 10 ** -type.scale
    case 'list':
      return (value as Plain[]).map((one) => withDoubleDecimals(one, type.element.type))
    case 'map':
      return Object.fromEntries(
        Object.entries(value).map(([key, one]) => [key, withDoubleDecimals(one, type.value.type)]),
      )
    case 'struct':
      return Object.fromEntries(
        type.fields.map((field) => [
          field.name,
          withDoubleDecimals((value as Record<string, Plain>)[field.name]!, field.type),
        ]),
      )
    default:
      return value
  }
}

/** DuckDB with a folder for the files that it reads. */
export class DuckReader {
  readonly #connection: DuckDBConnection
  readonly #folder = fs.mkdtempSync(path.join(os.tmpdir(), 'millrace-parquet-'))
  #files = 0

  private constructor(connection: DuckDBConnection) {
    this.#connection = connection
  }

  static async open(): Promise<DuckReader> {
    const instance = await DuckDBInstance.create(':memory:', { threads: '1' })
    return new DuckReader(await instance.connect())
  }

  close(): void {
    this.#connection.closeSync()
    fs.rmSync(this.#folder, { recursive: true })
  }

  /** Runs SQL with the file's path in place of `FILE`. */
  async query(parts: readonly Uint8Array[], sql: string): Promise<Record<string, unknown>[]> {
    // A new name each time: DuckDB caches what it read of a path.
    const file = path.join(this.#folder, `${this.#files++}.parquet`)
    fs.writeFileSync(file, Buffer.concat(parts))
    const result = await this.#connection.runAndReadAll(sql.replaceAll('FILE', `'${file}'`))
    return result.getRowObjects()
  }

  /** The Parquet file that DuckDB writes of a query. */
  async copy(sql: string): Promise<Uint8Array> {
    const file = path.join(this.#folder, `${this.#files++}.parquet`)
    await this.#connection.run(`copy (${sql}) to '${file}' (format parquet, compression zstd)`)
    return new Uint8Array(fs.readFileSync(file))
  }

  async rows(parts: readonly Uint8Array[], table: Table): Promise<Plain[][]> {
    const rows = await this.query(parts, 'select * from read_parquet(FILE)')
    return rows.map((row) => table.fields.map((field) => fromDuck(row[field.name])))
  }
}

function fromDuck(value: unknown): Plain {
  if (value instanceof DuckDBDecimalValue) return value.value
  if (value instanceof DuckDBTimestampTZValue || value instanceof DuckDBTimeValue) return value.micros
  if (value instanceof DuckDBDateValue) return value.days
  if (value instanceof DuckDBBlobValue) return hex(value.bytes)
  if (value instanceof DuckDBUUIDValue) return `x${value.toUint128().toString(16).padStart(32, '0')}`
  if (value instanceof DuckDBListValue) return value.items.map(fromDuck)
  if (value instanceof DuckDBMapValue)
    return sorted(value.entries.map((entry) => [entry.key as string, fromDuck(entry.value)]))
  if (value instanceof DuckDBStructValue)
    return Object.fromEntries(Object.entries(value.entries).map(([name, one]) => [name, fromDuck(one)]))
  return value as Plain
}
