// Test support: a stream with two schema versions, firmware rules and ranges, its raw records as plain values,
// and the reference model of normalize, which says what must become of them: maps and arrays, record by record,
// with none of the code that it is compared with.
import type { AppendRequest, Log } from '../log/log.ts'
import { RecordBatchBuilder, type RecordHeader, RecordReader } from '../log/record-batch.ts'
import { oracleType } from '../schemas/avro-arbitraries.ts'
import { encodePlain } from '../schemas/avro-encode.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import { REJECTED_SCHEMA } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { partitionOfKey } from '../std/hash.ts'

export const CURRENT_ID = 12
export const OLD_ID = 11
export const REJECTED_ID = 3
export const PAST_MS = 1_000_000
export const FUTURE_MS = 1000
export const LATENESS_MS = 5000

const field = (name: string, type: unknown, more: object = {}): object => ({ name, type, ...more })
const MICROS = { type: 'long', logicalType: 'timestamp-micros' }

/** The old version wrote a float, knew no humidity, and called the sequence otherwise. */
export const OLD_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Reading',
  fields: [
    field('event_time', MICROS),
    field('counter', 'int'),
    field('temperature', 'float'),
    field('firmware', 'string'),
  ],
})
export const CURRENT_SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Reading',
  fields: [
    field('event_time', MICROS),
    field('seq', 'long', { aliases: ['counter'] }),
    field('temperature', 'double'),
    field('humidity', ['null', 'double'], { default: null }),
    field('firmware', 'string'),
    field('battery', 'double', { default: 100 }),
  ],
})

export function descriptor(changes: Partial<StreamDescriptor> = {}): StreamDescriptor {
  return {
    tenant: 'default',
    stream: 'telemetry',
    family: 'test',
    contractVersion: 1,
    partitions: 2,
    subject: 'default.telemetry-value',
    schemaId: CURRENT_ID,
    schema: CURRENT_SCHEMA,
    writers: [
      { id: OLD_ID, schema: OLD_SCHEMA },
      { id: CURRENT_ID, schema: CURRENT_SCHEMA },
    ],
    fields: [
      { name: 'event_time', role: 'event_time', nullable: false },
      { name: 'seq', role: 'sequence', nullable: false, aliases: ['counter'] },
      { name: 'temperature', nullable: false, range: { min: -40, max: 85 } },
      { name: 'humidity', nullable: true, range: { min: 0, max: 100 } },
      { name: 'firmware', role: 'firmware', nullable: false },
      { name: 'battery', nullable: false, range: { min: 0 }, enforce: 'refuse' },
    ],
    ruleSets: [
      {
        firmware: '>=2 <3',
        rules: [{ set: { field: 'temperature', value: '(temperature - 32.0) / 1.8' } }],
      },
      { firmware: '>=3', rules: [{ when: 'battery < 5.0', refuse: 'the battery is too low to trust' }] },
      { firmware: 'default', rules: [] },
    ],
    plausible: { pastMs: PAST_MS, futureMs: FUTURE_MS },
    latenessMs: LATENESS_MS,
    table: {},
    ...changes,
  }
}

/** No rule, no range, one version: everything passes but duplicates, late and implausible records. */
export const plainDescriptor = (changes: Partial<StreamDescriptor> = {}): StreamDescriptor =>
  descriptor({
    writers: [{ id: CURRENT_ID, schema: CURRENT_SCHEMA }],
    ruleSets: [{ firmware: 'default', rules: [] }],
    fields: descriptor().fields.map(({ range: _, enforce: __, ...rest }) => rest),
    ...changes,
  })

export interface Reading {
  event_time: number
  seq: number
  temperature: number
  humidity: number | null
  firmware: string
  battery: number
}

export interface RawRecord {
  device: string
  receiveMs: number
  /** `current` and `old`: a reading in that schema; the others are bytes that nothing can read. */
  kind: 'current' | 'old' | 'garbage' | 'no_frame' | 'no_schema' | 'no_device'
  reading: Reading
}

const currentNode = parseAvroSchema(CURRENT_SCHEMA)
const oldNode = parseAvroSchema(OLD_SCHEMA)

export function frame(schemaId: number, datum: Uint8Array): Uint8Array {
  const payload = new Uint8Array(5 + datum.length)
  new DataView(payload.buffer).setInt32(1, schemaId)
  payload.set(datum, 5)
  return payload
}

export function payloadOf({ kind, reading }: RawRecord): Uint8Array {
  switch (kind) {
    case 'old': {
      const { event_time, seq, temperature, firmware } = reading
      return frame(OLD_ID, encodePlain(oldNode, { event_time, counter: seq, temperature, firmware }))
    }
    case 'garbage':
      return frame(CURRENT_ID, Buffer.from('01ff', 'hex'))
    case 'no_frame':
      return Buffer.from('{"seq":1}')
    case 'no_schema':
      return frame(999, encodePlain(currentNode, reading))
    default:
      return frame(CURRENT_ID, encodePlain(currentNode, reading))
  }
}

export function partitionOf(device: string, partitions: number): number {
  const key = Buffer.from(device)
  return partitionOfKey(key, 0, key.length, partitions)
}

/** The raw batch that ingest would write; all of `records` belong to one partition. */
export function rawBatch(records: readonly RawRecord[], headers: readonly RecordHeader[] = []): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const record of records)
    builder.append(
      record.receiveMs,
      record.kind === 'no_device' ? undefined : Buffer.from(record.device),
      payloadOf(record),
      headers,
    )
  return builder.finish()
}

export interface NormalizedRow {
  device: string
  receiveMs: number
  schemaId: number
  reading: Reading
  lateMs: number | undefined
  quality: string | undefined
  source: string | undefined
}

export interface RejectedRow {
  code: string
  device: string
  offset: number
  receiveMs: number
}

export interface Outcome {
  normalized: NormalizedRow[]
  rejected: RejectedRow[]
  duplicates: number
}

/** What must become of one partition's raw records. Devices are few, so that every window has its full length. */
export function expectedOf(
  stream: StreamDescriptor,
  partition: number,
  records: readonly RawRecord[],
  windowRecords: number,
): Outcome {
  const outcome: Outcome = { normalized: [], rejected: [], duplicates: 0 }
  const devices = new Map<string, { window: string[]; watermark: number }>()
  for (const [offset, record] of records.entries()) {
    const device = record.kind === 'no_device' ? '' : record.device
    const { receiveMs } = record
    const reject = (code: string): void => {
      outcome.rejected.push({ code, device, offset, receiveMs })
    }
    if (record.kind === 'no_device') reject('device_invalid')
    else if (record.kind === 'no_frame') reject('format_unknown')
    else if (record.kind === 'no_schema') reject('schema_unknown')
    else if (record.kind === 'garbage') reject('payload_invalid')
    else {
      const known = devices.get(device) ?? { window: [], watermark: -Infinity }
      devices.set(device, known)
      const identity = Buffer.from(payloadOf(record)).subarray(5).toString('hex')
      if (known.window.includes(identity)) {
        outcome.duplicates++
        continue
      }
      known.window.push(identity)
      if (known.window.length > windowRecords) known.window.shift()
      const { reading, changed, refusal } = transformed(stream, record)
      const eventMs = reading.event_time / 1000
      if (refusal !== undefined) reject(refusal)
      else if (
        eventMs < receiveMs - stream.plausible.pastMs ||
        eventMs > receiveMs + stream.plausible.futureMs
      )
        reject('event_time_implausible')
      else {
        const out = stream.fields.filter(({ name, range }) => {
          const value = reading[name as keyof Reading]
          return range !== undefined && value !== null && !isWithin(Number(value), range)
        })
        if (out.some((one) => one.enforce === 'refuse')) reject('range_refused')
        else {
          const behind = known.watermark - eventMs
          const lateMs = behind > LATENESS_MS ? Math.floor(behind) : undefined
          known.watermark = Math.max(known.watermark, eventMs)
          const quality = out.length === 0 ? undefined : out.map((one) => one.name).join(',')
          const rewritten = changed || lateMs !== undefined || quality !== undefined
          const source = rewritten ? `${partition}/${offset}/0` : undefined
          outcome.normalized.push({
            device,
            receiveMs,
            schemaId: CURRENT_ID,
            reading,
            lateMs,
            quality,
            source,
          })
        }
      }
    }
  }
  return outcome
}

const isWithin = (
  value: number,
  { min = -Infinity, max = Infinity }: { min?: number; max?: number },
): boolean => value >= min && value <= max

/** Resolution and the rules of `descriptor`, by hand. */
function transformed(
  stream: StreamDescriptor,
  { kind, reading }: RawRecord,
): { reading: Reading; changed: boolean; refusal?: string } {
  const result = { ...reading }
  let changed = false
  if (kind === 'old') {
    result.temperature = Math.fround(reading.temperature)
    result.humidity = null
    result.battery = 100
    changed = true
  }
  const major = Number.parseInt(reading.firmware, 10)
  const hasRules = stream.ruleSets.length > 1
  if (hasRules && major === 2) {
    result.temperature = (result.temperature - 32) / 1.8
    changed = true
  }
  if (hasRules && major >= 3) {
    changed = true
    if (result.battery < 5) return { reading: result, changed, refusal: 'rule_refused' }
  }
  return { reading: result, changed }
}

const currentType = oracleType(CURRENT_SCHEMA)
const rejectedType = oracleType(REJECTED_SCHEMA)

/** Everything in a partition of a topic, batch by batch. */
export async function readAll(log: Log, topic: string, partition: number): Promise<RecordReader> {
  const { start, end } = await log.range(topic, partition)
  const parts: Uint8Array[] = []
  for (let offset = start; offset < end; ) {
    const read = await log.read(topic, partition, offset, 1 << 20)
    parts.push(read.batches.slice())
    offset = read.nextOffset
  }
  const reader = new RecordReader()
  reader.reset(Buffer.concat(parts))
  return reader
}

/** What normalize wrote for one partition. */
export async function outcomeOf(
  log: Log,
  { tenant, stream }: StreamDescriptor,
  partition: number,
): Promise<Omit<Outcome, 'duplicates'>> {
  const outcome: Omit<Outcome, 'duplicates'> = { normalized: [], rejected: [] }
  const reader = await readAll(log, normalizedTopic(tenant, stream), partition)
  while (reader.next()) {
    const value = Buffer.from(reader.bytes.slice(reader.valueStart, reader.valueEnd))
    const decoded = currentType.fromBuffer(value.subarray(5)) as Record<string, unknown>
    const humidity = decoded['humidity'] as { double: number } | null
    const marks = new Map(reader.headers().map((one) => [one.key, Buffer.from(one.value).toString()]))
    const late = marks.get('millrace.late_ms')
    outcome.normalized.push({
      device: Buffer.from(reader.bytes.slice(reader.keyStart, reader.keyEnd)).toString(),
      receiveMs: reader.timestamp,
      schemaId: value.readInt32BE(1),
      reading: {
        event_time: Number(decoded['event_time']),
        seq: Number(decoded['seq']),
        temperature: decoded['temperature'] as number,
        humidity: humidity === null ? null : humidity.double,
        firmware: decoded['firmware'] as string,
        battery: decoded['battery'] as number,
      },
      lateMs: late === undefined ? undefined : Number(late),
      quality: marks.get('millrace.quality'),
      source: marks.get('millrace.source'),
    })
  }
  const rejected = await readAll(log, rejectedTopic(tenant, stream), partition)
  while (rejected.next()) {
    const value = Buffer.from(rejected.bytes.slice(rejected.valueStart, rejected.valueEnd))
    const decoded = rejectedType.fromBuffer(value.subarray(5)) as Record<string, unknown>
    outcome.rejected.push({
      code: decoded['code'] as string,
      device: decoded['device'] as string,
      offset: Number((decoded['source_offset'] as { long: bigint }).long),
      receiveMs: rejected.timestamp,
    })
  }
  return outcome
}

/** Makes the three topics of a stream. */
export async function createTopics(
  log: Log,
  stream: StreamDescriptor,
  backlogBytesMax = Infinity,
): Promise<void> {
  for (const name of [rawTopic, normalizedTopic, rejectedTopic])
    await log.createTopic(name(stream.tenant, stream.stream), {
      partitions: stream.partitions,
      cleanup: 'delete',
      retentionAgeMs: Infinity,
      retentionBytes: Infinity,
      backlogBytesMax,
    })
}

/** Appends raw records of one partition as one batch. */
export async function appendRaw(
  log: Log,
  { tenant, stream }: StreamDescriptor,
  partition: number,
  records: readonly RawRecord[],
): Promise<void> {
  const batch = rawBatch(records)
  const request: AppendRequest = {
    entries: [{ topic: rawTopic(tenant, stream), partition, batch, recordCount: records.length }],
  }
  await log.append(request)
}
