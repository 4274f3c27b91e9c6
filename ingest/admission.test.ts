import assert from 'node:assert/strict'
import { beforeEach, test } from 'node:test'
import avsc from 'avsc'
import fc from 'fast-check'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordReader } from '../log/record-batch.ts'
import { oracleType, SENSOR_SCHEMA, valueArbitrary } from '../schemas/avro-arbitraries.ts'
import { fingerprint } from '../schemas/avro-fingerprint.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { rawTopic, rejectedTopic } from '../schemas/names.ts'
import { REJECTED_SCHEMA } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { partitionOfKey } from '../std/hash.ts'
import { Admission, type AdmissionTarget, REFUSED } from './admission.ts'
import { BatchAccumulator, OVER_BUDGET } from './batch-accumulator.ts'

const NOW = 1_700_000_000_000
const RAW = rawTopic('acme', 'telemetry')
const REJECTED = rejectedTopic('acme', 'telemetry')
const rejectedType = avsc.Type.forSchema(JSON.parse(REJECTED_SCHEMA))

/** Version 1 lacks the battery. */
const OLD_SCHEMA = JSON.stringify({
  ...JSON.parse(SENSOR_SCHEMA),
  fields: JSON.parse(SENSOR_SCHEMA).fields.slice(0, -1),
})
const STREAM: StreamDescriptor = {
  tenant: 'acme',
  stream: 'telemetry',
  family: 'sensor',
  contractVersion: 2,
  partitions: 4,
  subject: 'acme.telemetry-value',
  schemaId: 3,
  schema: SENSOR_SCHEMA,
  writers: [
    { id: 2, schema: OLD_SCHEMA },
    { id: 3, schema: SENSOR_SCHEMA },
  ],
  fields: [],
  ruleSets: [],
  plausible: { pastMs: Infinity, futureMs: Infinity },
  table: {},
}
const READING = {
  event_time: 1_700_000_000_000_000,
  seq: 5,
  temperature: 21.5,
  humidity: 40,
  pressure: null,
  air_quality: null,
  occupancy: 'free',
  firmware: '1.4.2',
  battery: 97,
}
const sensorType = avsc.Type.forSchema(JSON.parse(SENSOR_SCHEMA))
const oldType = avsc.Type.forSchema(JSON.parse(OLD_SCHEMA))
const frame = (id: number, datum: Uint8Array) => Buffer.concat([Buffer.from([0, 0, 0, 0, id]), datum])
const DATUM = sensorType.toBuffer(READING)
/** The key lies within. */
const KEY = Buffer.from('--dev-1--')

let log: MemoryLog
let accumulator: BatchAccumulator
let admission: Admission
let target: AdmissionTarget

async function setUp(bytesInFlightMax = 1 << 20): Promise<void> {
  log = new MemoryLog()
  const config = {
    partitions: 4,
    cleanup: 'delete',
    retentionAgeMs: Infinity,
    retentionBytes: Infinity,
    backlogBytesMax: Infinity,
  } as const
  for (const topic of [RAW, REJECTED]) await log.createTopic(topic, config)
  accumulator = new BatchAccumulator({
    log,
    slabBytes: 65_536,
    bytesInFlightMax,
    onDurable: () => {},
    onFailure: (error) => assert.fail(error),
  })
  accumulator.receiveTimeMs = NOW
  admission = new Admission({
    accumulator,
    rejectedSchemaId: 9,
    rejectedBytesPerDevice: 200,
    rejectedWindowMs: 1000,
  })
  admission.setStream(STREAM)
  target = admission.target('acme', 'telemetry', 'dev-1')!
}

beforeEach(() => setUp())

/** Values of all records of a topic, keys checked. */
async function values(topic: string): Promise<Buffer[]> {
  await accumulator.drained()
  const found: Buffer[] = []
  for (let partition = 0; partition < 4; partition++) {
    const { batches } = await log.read(topic, partition, 0, 1 << 20)
    const reader = new RecordReader()
    reader.reset(batches)
    while (reader.next()) {
      assert.equal(Buffer.from(batches.subarray(reader.keyStart, reader.keyEnd)).toString(), 'dev-1')
      assert.equal(partition, partitionOfKey(Buffer.from('dev-1'), 0, 5, 4))
      assert.equal(reader.timestamp, NOW)
      found.push(Buffer.from(batches.slice(reader.valueStart, reader.valueEnd)))
    }
  }
  return found
}

/** `admit` of a payload that lies in the middle of a larger buffer. */
function admit(payload: Uint8Array): number {
  const bytes = new Uint8Array(payload.length + 20).fill(0x7b)
  bytes.set(payload, 11)
  return admission.admit(target, KEY, 2, 7, bytes, 11, 11 + payload.length)
}

function refuse(payload: Uint8Array) {
  assert.equal(admit(payload), REFUSED)
  const bytes = new Uint8Array(payload.length + 20)
  bytes.set(payload, 11)
  return admission.reject(target, 'dev-1', bytes, 11, 11 + payload.length)
}

test('all formats become the Confluent frame, and the datum of the schema claimed', async () => {
  const old = oldType.toBuffer(READING)
  assert.equal(admit(frame(3, DATUM)), 1)
  assert.equal(admit(frame(2, old)), 1)
  assert.equal(admit(Buffer.concat([Buffer.from([0xc3, 1]), fingerprint(SENSOR_SCHEMA), DATUM])), 1)
  assert.equal(admit(Buffer.concat([Buffer.from([0xc3, 1]), fingerprint(OLD_SCHEMA), old])), 1)
  assert.equal(admit(Buffer.from(JSON.stringify(READING))), 1)
  const expected = [frame(3, DATUM), frame(2, old), frame(3, DATUM), frame(2, old), frame(3, DATUM)]
  assert.deepEqual(await values(RAW), expected)
})

test('why a payload is refused: schema, field and offset', () => {
  const cut = refuse(frame(3, DATUM.subarray(0, 20)))
  assert.equal(cut.code, 'payload_invalid')
  assert.equal(cut.field, 'humidity')
  // Offsets count from the first byte of the payload, frame included.
  const humidity = 5 + 8 + 1 + 8
  assert.equal(cut.offset, humidity)
  assert.match(cut.text, /^acme\.telemetry-value id 3, field humidity, offset 22: \S/)

  assert.equal(refuse(frame(3, Buffer.concat([DATUM, Buffer.from([0])]))).offset, 5 + DATUM.length)
  assert.equal(refuse(frame(77, DATUM)).code, 'schema_unknown')
  assert.match(refuse(frame(77, DATUM)).text, /acme\.telemetry-value has no version with id 77/)
  const single = refuse(Buffer.concat([Buffer.from([0xc3, 1, 1, 2, 3, 4, 5, 6, 7, 8]), DATUM]))
  assert.equal(single.code, 'schema_unknown')
  const json = refuse(Buffer.from(JSON.stringify({ ...READING, humidity: 'wet' })))
  assert.equal(json.code, 'json_invalid')
  assert.equal(json.field, 'humidity')
  assert.match(json.text, /acme\.telemetry-value id 3, field humidity/)
  assert.equal(refuse(Buffer.from('{"event_time":')).code, 'json_invalid')
  for (const bytes of [[], [0], [0, 0, 0, 0], [0xc3], [0xc3, 2, 0, 0, 0, 0, 0, 0, 0, 0], [0x5b, 0x5d]]) {
    const refusal = refuse(Uint8Array.from(bytes))
    assert.equal(refusal.code, 'format_unknown')
    assert.equal(refusal.offset, 0)
  }
})

test('rejected payloads are kept up to the budget of the device, then counted', async () => {
  const bad = frame(3, DATUM.subarray(0, 20))
  const kept = Math.floor(200 / bad.length)
  for (let i = 0; i < kept; i++) assert.ok(refuse(bad).sequence > 0)
  assert.equal(refuse(bad).sequence, 0)
  assert.equal(admission.rejectedCount, kept + 1)
  assert.equal(admission.rejectedCountedOnly, 1)
  const stored = await values(REJECTED)
  assert.equal(stored.length, kept)
  const [first] = stored
  assert.deepEqual([...first!.subarray(0, 5)], [0, 0, 0, 0, 9])
  const record = rejectedType.fromBuffer(first!.subarray(5))
  assert.deepEqual(Buffer.from(record.payload), bad)
  assert.deepEqual(
    { ...record, payload: undefined, reason: undefined },
    {
      code: 'payload_invalid',
      reason: undefined,
      field: 'humidity',
      offset: 22,
      payload: undefined,
      schema_id: 3,
      device: 'dev-1',
      source_topic: null,
      source_partition: null,
      source_offset: null,
      receive_time: NOW * 1000,
    },
  )
  assert.deepEqual(await values(RAW), [])
  // The next window has a budget of its own.
  const bytes = Uint8Array.from(bad)
  accumulator.receiveTimeMs = NOW + 1000
  assert.ok(admission.reject(target, 'dev-1', bytes, 0, bytes.length).sequence > 0)
})

test('a new contract version reaches targets that exist', async () => {
  const newer = { ...STREAM, schemaId: 4, writers: [...STREAM.writers, { id: 4, schema: SENSOR_SCHEMA }] }
  assert.equal(refuse(frame(4, DATUM)).code, 'schema_unknown')
  admission.setStream(newer)
  assert.ok(admit(frame(4, DATUM)) > 0)
  assert.ok(admit(frame(3, DATUM)) > 0)
  assert.equal(admission.target('acme', 'nothing', 'dev-1'), undefined)
})

test('full memory holds the packet, for the rejected topic too', async () => {
  await setUp(65_536)
  const filler = Buffer.from(JSON.stringify({ ...READING, firmware: 'x'.repeat(50_000) }))
  assert.ok(admit(filler) > 0)
  assert.equal(admit(filler), OVER_BUDGET)
  assert.equal(refuse(frame(3, DATUM.subarray(0, 20))).sequence, OVER_BUDGET)
  assert.equal(admission.rejectedCount, 0)
  await accumulator.drained()
  assert.ok(refuse(frame(3, DATUM.subarray(0, 20))).sequence > 0)
})

test('any payload is admitted or explained; what is admitted, avsc reads', async () => {
  await setUp(16 << 20)
  const node = parseAvroSchema(SENSOR_SCHEMA)
  const oracle = oracleType(SENSOR_SCHEMA)
  const datum = valueArbitrary(node).map((value) => frame(3, oracle.toBuffer(value)))
  const noise = fc
    .tuple(fc.constantFrom([], [0, 0, 0, 0, 3], [0xc3, 1], [0x7b]), fc.uint8Array())
    .map(([head, rest]) => Uint8Array.from([...head, ...rest]))
  const damaged = fc.tuple(datum, fc.nat(), fc.nat(255)).map(([bytes, at, value]) => {
    const copy = Uint8Array.from(bytes)
    copy[at % copy.length] = value
    return copy
  })
  fc.assert(
    fc.property(fc.oneof(datum, noise, damaged), (payload) => {
      const ticket = admit(payload)
      if (ticket === REFUSED) assert.ok(refuse(payload).text.length > 0)
      else assert.ok(ticket > 0)
    }),
    { numRuns: 1000 },
  )
  for (const value of await values(RAW)) assert.ok(oracle.fromBuffer(value.subarray(5)))
})
