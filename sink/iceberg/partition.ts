// Iceberg specification, "Partitioning" and "Partition Transforms", and Appendix B, "32-bit Hash".
//
// Two transforms are written here: `day` of a timestamp (days since 1970-01-01, rounding down also before
// it) and `bucket[N]` of a string: (murmur3_x86_32(UTF-8 bytes, seed 0) & 0x7fffffff) % N.
import type { Schema } from './schema.ts'

export interface PartitionField {
  'source-id': number
  'field-id': number
  name: string
  /** `day`, `bucket[16]`, `identity`, … */
  transform: string
}

export interface PartitionSpec {
  'spec-id': number
  fields: PartitionField[]
}

/** Partition field ids begin here, so that they never meet column ids. */
export const PARTITION_FIELD_ID_FIRST = 1000

const MICROS_PER_DAY = 86_400_000_000

/** Days since the epoch of a time in microseconds. */
export function dayOfMicros(micros: number): number {
  return Math.floor(micros / MICROS_PER_DAY)
}

/** `2026-03-01` of a day number. */
export function printDay(day: number): string {
  return new Date(day * 86_400_000).toISOString().slice(0, 10)
}

/** murmur3_x86_32 with seed 0 of bytes[start, end); signed. */
export function murmur3(bytes: Uint8Array, start = 0, end = bytes.length): number {
  const c1 = 0xcc9e2d51
  const c2 = 0x1b873593
  const length = end - start
  const whole = start + (length & ~3)
  let h = 0
  for (let at = start; at < whole; at += 4) {
    let k = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)
    k = Math.imul(k, c1)
    k = (k << 15) | (k >>> 17)
    h ^= Math.imul(k, c2)
    h = (h << 13) | (h >>> 19)
    h = (Math.imul(h, 5) + 0xe6546b64) | 0
  }
  let tail = 0
  for (let at = end - 1; at >= whole; at--) tail = (tail << 8) | bytes[at]!
  if (whole < end) {
    tail = Math.imul(tail, c1)
    tail = (tail << 15) | (tail >>> 17)
    h ^= Math.imul(tail, c2)
  }
  h ^= length
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return h ^ (h >>> 16)
}

/** `bucket[bucketCount]` of a string given as UTF-8 bytes[start, end). */
export function bucketOfBytes(bytes: Uint8Array, start: number, end: number, bucketCount: number): number {
  return (murmur3(bytes, start, end) & 0x7fffffff) % bucketCount
}

/** N of `bucket[N]`, undefined for any other transform. */
export function bucketCountOf(transform: string): number | undefined {
  const match = /^bucket\[(\d+)\]$/.exec(transform)
  return match === null ? undefined : Number(match[1])
}

/** The Avro type of a partition value in a manifest ("Manifests", the `partition` struct), of the source column's type. */
export function partitionAvroType(transform: string, sourceType: string): unknown {
  if (transform === 'day') return { type: 'int', logicalType: 'date' }
  if (/^(year|month|hour|bucket\[\d+\])$/.test(transform)) return 'int'
  const type = sourceType
  const decimal = /^decimal\((\d+),\s*(\d+)\)$/.exec(type)
  if (decimal !== null) {
    const precision = Number(decimal[1])
    return {
      type: 'fixed',
      name: `decimal_${precision}_${decimal[2]}`,
      size: decimalBytes(precision),
      logicalType: 'decimal',
      precision,
      scale: Number(decimal[2]),
    }
  }
  const fixed = /^fixed\[(\d+)\]$/.exec(type)
  if (fixed !== null) return { type: 'fixed', name: `fixed_${fixed[1]}`, size: Number(fixed[1]) }
  switch (type) {
    case 'date':
      return { type: 'int', logicalType: 'date' }
    case 'time':
      return { type: 'long', logicalType: 'time-micros' }
    case 'timestamp':
      return { type: 'long', logicalType: 'timestamp-micros', 'adjust-to-utc': false }
    case 'timestamptz':
      return { type: 'long', logicalType: 'timestamp-micros', 'adjust-to-utc': true }
    case 'uuid':
      return { type: 'fixed', name: 'uuid_fixed', size: 16, logicalType: 'uuid' }
    case 'binary':
      return 'bytes'
    default:
      return type
  }
}

/** Bytes of the smallest two's complement that holds `precision` digits. */
export function decimalBytes(precision: number): number {
  return Math.ceil((precision * Math.log2(10) + 1) / 8)
}

/** Type of a spec's source column, by id, at the top level or inside structs. */
export function sourceType(schema: Schema, sourceId: number): string | undefined {
  const search = (fields: Schema['fields']): string | undefined => {
    for (const field of fields) {
      if (field.id === sourceId) return typeof field.type === 'string' ? field.type : undefined
      if (typeof field.type !== 'string' && field.type.type === 'struct') {
        const found = search(field.type.fields)
        if (found !== undefined) return found
      }
    }
    return undefined
  }
  return search(schema.fields)
}
