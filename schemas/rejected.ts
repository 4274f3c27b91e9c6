// What a rejected topic holds (subject millrace.rejected-value): the payload as it came, why it does not fit, and
// where it came from. One fixed schema for all streams and tenants; ingest and normalize write it, the sink
// makes a table of it, and a replay reads `payload` again.
import { writeZigzagInt, writeZigzagLong } from '../std/varint.ts'

/** Why a record was rejected. The names stand in tables and dashboards: add, never rename. */
export type RejectionCode =
  /** The record's key is no device id. */
  | 'device_invalid'
  /** The payload begins with nothing that is a payload format. */
  | 'format_unknown'
  /** No version of the stream's schema has the id or fingerprint that the payload claims. */
  | 'schema_unknown'
  /** The bytes are no datum of the schema they claim. */
  | 'payload_invalid'
  /** The JSON cannot be parsed, or does not fit the schema. */
  | 'json_invalid'
  /** A valid datum of an old version that cannot be resolved to the current one. */
  | 'resolution_failed'
  /** A rule could not be computed, or its result does not fit its field. */
  | 'rule_failed'
  /** A rule says to refuse. */
  | 'rule_refused'
  /** A value is outside its range, and the contract says `enforce: refuse`. */
  | 'range_refused'
  /** The event time is outside the contract's plausible window. */
  | 'event_time_implausible'

export interface Rejected {
  code: RejectionCode
  /** One sentence for people. */
  reason: string
  /** Path of the field that does not fit, where there is one. */
  field: string | undefined
  /** Where in the payload, counted from its first byte. */
  offset: number | undefined
  payload: Uint8Array
  /** Schema id that the payload claims. */
  schemaId: number | undefined
  device: string
  /** Position of the raw record; undefined where ingest rejected it. */
  source: { topic: string; partition: number; offset: number } | undefined
  receiveTimeMs: number
}

/** Avro JSON of the value, registered under REJECTED_SUBJECT. */
export const REJECTED_SCHEMA: string = JSON.stringify({
  type: 'record',
  name: 'Rejected',
  namespace: 'millrace',
  doc: 'A record that does not fit its contract.',
  fields: [
    { name: 'code', type: 'string', doc: 'Why, as a word that programs can test.' },
    { name: 'reason', type: 'string', doc: 'Why, as a sentence.' },
    { name: 'field', type: ['null', 'string'], default: null, doc: 'Path of the field that does not fit.' },
    { name: 'offset', type: ['null', 'int'], default: null, doc: 'Where in the payload, in bytes.' },
    { name: 'payload', type: 'bytes', doc: 'As it came.' },
    { name: 'schema_id', type: ['null', 'int'], default: null, doc: 'Schema that the payload claims.' },
    { name: 'device', type: 'string' },
    { name: 'source_topic', type: ['null', 'string'], default: null },
    { name: 'source_partition', type: ['null', 'int'], default: null },
    { name: 'source_offset', type: ['null', 'long'], default: null },
    { name: 'receive_time', type: { type: 'long', logicalType: 'timestamp-micros' } },
  ],
})

const FRAME_BYTES = 5
/** Every length, union index and number of the record, at most. */
const NUMBERS_BYTES_MAX = 96

const encoder = new TextEncoder()

/** The value of a record for a rejected topic: Confluent frame with the id of REJECTED_SCHEMA, and the datum. */
export function encodeRejected(rejected: Rejected, rejectedSchemaId: number): Uint8Array {
  const { source } = rejected
  const texts = [rejected.code, rejected.reason, rejected.field, rejected.device, source?.topic].map(
    (text) => (text === undefined ? undefined : encoder.encode(text)),
  )
  const [code, reason, field, device, topic] = texts
  const textBytes = texts.reduce((sum, text) => sum + (text?.length ?? 0), 0)
  const out = new Uint8Array(FRAME_BYTES + NUMBERS_BYTES_MAX + textBytes + rejected.payload.length)
  new DataView(out.buffer).setUint32(1, rejectedSchemaId)
  let at = writeBytes(out, FRAME_BYTES, code!)
  at = writeBytes(out, at, reason!)
  at = writeOptionalBytes(out, at, field)
  at = writeOptionalNumber(out, at, rejected.offset)
  at = writeBytes(out, at, rejected.payload)
  at = writeOptionalNumber(out, at, rejected.schemaId)
  at = writeBytes(out, at, device!)
  at = writeOptionalBytes(out, at, topic)
  at = writeOptionalNumber(out, at, source?.partition)
  at = writeOptionalNumber(out, at, source?.offset)
  at = writeZigzagLong(out, at, rejected.receiveTimeMs * 1000)
  return out.subarray(0, at)
}

function writeBytes(into: Uint8Array, at: number, bytes: Uint8Array): number {
  const p = writeZigzagInt(into, at, bytes.length)
  into.set(bytes, p)
  return p + bytes.length
}

/** Branch 0 of the union is null, 1 the value. */
function writeOptionalBytes(into: Uint8Array, at: number, bytes: Uint8Array | undefined): number {
  if (bytes === undefined) return writeZigzagInt(into, at, 0)
  return writeBytes(into, writeZigzagInt(into, at, 1), bytes)
}

function writeOptionalNumber(into: Uint8Array, at: number, value: number | undefined): number {
  if (value === undefined) return writeZigzagInt(into, at, 0)
  return writeZigzagLong(into, writeZigzagInt(into, at, 1), value)
}
