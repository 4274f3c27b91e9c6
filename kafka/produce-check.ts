// Whether a batch from a client may enter a raw topic, and what is stored of it. Each record is held to what ingest
// holds a PUBLISH to: its key is the id of a device that the principal speaks for, its partition the key's, its
// value Avro of a schema of the stream with the Confluent frame. One record that is not refuses the batch.
//
// What is stored is written anew, record by record, so that nothing of the client's encoding is trusted: not
// compressed, offsets without gaps, and the receive time as timestamp (in Kafka's words LogAppendTime), because the
// pipeline measures lateness and plausibility against it.
import { type Principal, speaksFor } from '../identity/identity.ts'
import {
  ATTRIBUTES,
  BASE_SEQUENCE,
  BATCH_LENGTH,
  type BatchHeader,
  batchCrcMatches,
  CRC,
  PRODUCER_EPOCH,
  PRODUCER_ID,
  RECORDS,
  RecordBatchBuilder,
  RecordReader,
  readBatchHeader,
  readInt64,
  writeInt64,
} from '../log/record-batch.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { createValidator, type Validator } from '../schemas/avro-validate.ts'
import { isValidDeviceId } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { KAFKA_CODECS, TooLarge } from '../std/compression.ts'
import { crc32c, partitionOfKey } from '../std/hash.ts'
import { KAFKA_ERROR, type KafkaError } from './error-codes.ts'

/** Bytes of one batch, decompressed. */
const BATCH_BYTES_MAX = 4 << 20
const RECORDS_MAX = 100_000
const HEADERS_MAX = 16
const CONFLUENT_FRAME_BYTES = 5
/** Headers that only Millrace sets. */
const RESERVED_HEADER = 'millrace.'

const COMPRESSION = 0b111
const TRANSACTIONAL = 0b1_0000
const CONTROL = 0b10_0000

export interface CheckedBatch {
  errorCode: typeof KAFKA_ERROR.none
  /** As it is stored. */
  batch: Uint8Array
  recordCount: number
  /** -1: not an idempotent producer. */
  producerId: number
  producerEpoch: number
  baseSequence: number
}

export interface RefusedBatch {
  errorCode: Exclude<KafkaError, typeof KAFKA_ERROR.none>
  message: string
  /** The record that is wrong, by its place in the batch; undefined where it is the batch. */
  batchIndex?: number
}

const refused = (
  errorCode: RefusedBatch['errorCode'],
  message: string,
  batchIndex?: number,
): RefusedBatch => ({ errorCode, message, ...(batchIndex !== undefined && { batchIndex }) })

/** The validators of the schemas that devices of one stream may write with. */
export class StreamValidators {
  readonly #validators = new Map<number, Validator>()
  readonly #stream: StreamDescriptor

  constructor(stream: StreamDescriptor) {
    this.#stream = stream
  }

  find(schemaId: number): Validator | undefined {
    let validator = this.#validators.get(schemaId)
    if (validator !== undefined) return validator
    const writer = this.#stream.writers.find(({ id }) => id === schemaId)
    if (writer === undefined) return undefined
    validator = createValidator(parseAvroSchema(writer.schema))
    this.#validators.set(schemaId, validator)
    return validator
  }
}

/** Checks one partition's `records` of a Produce request; `now` becomes the receive time. */
export function checkBatch(
  bytes: Uint8Array,
  target: { stream: StreamDescriptor; validators: StreamValidators; partition: number; partitions: number },
  principal: Principal,
  now: number,
): CheckedBatch | RefusedBatch {
  const header = readBatchHeader(bytes)
  if (header === undefined)
    return refused(KAFKA_ERROR.corruptMessage, 'not a whole RecordBatch of format version 2')
  if (header.byteLength !== bytes.length)
    return refused(KAFKA_ERROR.invalidRecord, 'a partition takes exactly one batch a request')
  if (!batchCrcMatches(bytes, 0, bytes.length))
    return refused(KAFKA_ERROR.corruptMessage, 'the CRC of the batch is wrong')
  if ((header.attributes & CONTROL) !== 0)
    return refused(KAFKA_ERROR.invalidRecord, 'a client cannot write control batches')
  if ((header.attributes & TRANSACTIONAL) !== 0)
    return refused(
      KAFKA_ERROR.transactionalIdAuthorizationFailed,
      'the embedded log has no transactions for clients',
    )
  if (header.recordCount < 1 || header.recordCount > RECORDS_MAX)
    return refused(KAFKA_ERROR.invalidRecord, `a batch holds 1 to ${RECORDS_MAX} records`)
  const plain = decompress(bytes, header)
  if (!(plain instanceof Uint8Array)) return plain
  try {
    return rewrite(plain, header, target, principal, now)
  } catch (error) {
    if (error instanceof RangeError) return refused(KAFKA_ERROR.invalidRecord, error.message)
    throw error
  }
}

/** The same batch with its records as they are; the CRC is not made right. */
function decompress(bytes: Uint8Array, header: BatchHeader): Uint8Array | RefusedBatch {
  const codec = header.attributes & COMPRESSION
  if (codec === 0 && bytes.length - RECORDS > BATCH_BYTES_MAX)
    return refused(KAFKA_ERROR.messageTooLarge, `a batch has at most ${BATCH_BYTES_MAX} bytes`)
  if (codec === 0) return bytes
  const unpack = KAFKA_CODECS[codec]
  if (unpack === undefined)
    return refused(
      KAFKA_ERROR.unsupportedCompressionType,
      'compression of producers: none, gzip, snappy, lz4 or zstd',
    )
  let records: Uint8Array
  try {
    records = unpack(bytes.subarray(RECORDS), BATCH_BYTES_MAX)
  } catch (error) {
    return error instanceof TooLarge
      ? refused(KAFKA_ERROR.messageTooLarge, `a batch has at most ${BATCH_BYTES_MAX} bytes decompressed`)
      : refused(KAFKA_ERROR.corruptMessage, 'the records of the batch cannot be decompressed')
  }
  const plain = new Uint8Array(RECORDS + records.length)
  plain.set(bytes.subarray(0, RECORDS))
  plain.set(records, RECORDS)
  const view = new DataView(plain.buffer)
  view.setInt32(BATCH_LENGTH, plain.length - BATCH_LENGTH - 4)
  view.setInt16(ATTRIBUTES, header.attributes & ~COMPRESSION)
  return plain
}

function rewrite(
  bytes: Uint8Array,
  header: BatchHeader,
  target: { stream: StreamDescriptor; validators: StreamValidators; partition: number; partitions: number },
  principal: Principal,
  now: number,
): CheckedBatch | RefusedBatch {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const reader = new RecordReader()
  const builder = new RecordBatchBuilder(bytes.length + 64)
  /** Keys of this batch that are right already: a device sends many records. */
  const allowed = new Set<string>()
  reader.reset(bytes)
  for (let i = 0; reader.next(); i++) {
    if (reader.offset - header.baseOffset !== i)
      return refused(KAFKA_ERROR.invalidRecord, 'offset deltas are not 0, 1, 2, …', i)
    if (reader.keyStart < 0)
      return refused(KAFKA_ERROR.invalidRecord, 'no key: a record’s key is its device id', i)
    if (reader.valueStart < 0) return refused(KAFKA_ERROR.invalidRecord, 'no value', i)
    if (reader.keyEnd > reader.recordEnd || reader.valueEnd > reader.recordEnd)
      return refused(KAFKA_ERROR.invalidRecord, 'a length overruns the record', i)
    const key = bytes.subarray(reader.keyStart, reader.keyEnd)
    const device = Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1')
    if (!allowed.has(device)) {
      const problem = keyProblem(device, key, target, principal)
      if (problem !== undefined) return { ...problem, batchIndex: i }
      allowed.add(device)
    }
    const problem = valueProblem(bytes, view, reader, target)
    if (problem !== undefined) return refused(KAFKA_ERROR.invalidRecord, problem, i)
    if (reader.headerCount < 0 || reader.headerCount > HEADERS_MAX)
      return refused(KAFKA_ERROR.invalidRecord, `a record has at most ${HEADERS_MAX} headers`, i)
    const headers = reader.headerCount === 0 ? [] : reader.headers()
    if (headers.some((one) => one.key.startsWith(RESERVED_HEADER)))
      return refused(KAFKA_ERROR.invalidRecord, `headers named ${RESERVED_HEADER}… are Millrace’s own`, i)
    builder.append(now, key, bytes.subarray(reader.valueStart, reader.valueEnd), headers)
  }
  if (reader.recordEnd !== bytes.length)
    return refused(
      KAFKA_ERROR.invalidRecord,
      `${bytes.length - reader.recordEnd} bytes after the last record`,
    )
  const recordCount = builder.recordCount
  const producer = {
    producerId: readInt64(view, PRODUCER_ID),
    producerEpoch: view.getInt16(PRODUCER_EPOCH),
    baseSequence: view.getInt32(BASE_SEQUENCE),
  }
  const batch = builder.finish()
  if (producer.producerId >= 0) sealProducer(batch, producer)
  return { errorCode: KAFKA_ERROR.none, batch, recordCount, ...producer }
}

function keyProblem(
  device: string,
  key: Uint8Array,
  { partition, partitions }: { partition: number; partitions: number },
  principal: Principal,
): RefusedBatch | undefined {
  if (!isValidDeviceId(device))
    return refused(KAFKA_ERROR.invalidRecord, 'the key is no device id: [A-Za-z0-9._:-]{1,128}')
  if (!speaksFor(principal, device))
    return refused(KAFKA_ERROR.topicAuthorizationFailed, `not allowed to speak for device ${device}`)
  const right = partitionOfKey(key, 0, key.length, partitions)
  if (right !== partition)
    return refused(
      KAFKA_ERROR.invalidRecord,
      `device ${device} belongs to partition ${right} of ${partitions}, not ${partition}: use murmur2 of the key (librdkafka: partitioner=murmur2)`,
    )
  return undefined
}

function valueProblem(
  bytes: Uint8Array,
  view: DataView,
  reader: RecordReader,
  { stream, validators }: { stream: StreamDescriptor; validators: StreamValidators },
): string | undefined {
  const { valueStart, valueEnd } = reader
  const datum = valueStart + CONFLUENT_FRAME_BYTES
  if (datum > valueEnd || bytes[valueStart] !== 0)
    return 'the value has no Confluent frame: 0x00, then four bytes of schema id'
  const schemaId = view.getInt32(valueStart + 1)
  const validator = validators.find(schemaId)
  if (validator === undefined)
    return `schema id ${schemaId} is none of subject ${stream.subject}; its newest is ${stream.schemaId}`
  if (validator.validate(bytes, datum, valueEnd) === 0) return undefined
  const failure = validator.explain(bytes, datum, valueEnd)
  const where = failure?.path ? `field ${failure.path}: ` : ''
  return `schema id ${schemaId}: ${where}${failure?.reason} at byte ${failure?.offset}`
}

/** Puts the producer's identity into a sealed batch, so that readers of the log see it as they would in Kafka. */
function sealProducer(
  batch: Uint8Array,
  producer: { producerId: number; producerEpoch: number; baseSequence: number },
): void {
  const view = new DataView(batch.buffer, batch.byteOffset, batch.byteLength)
  writeInt64(view, PRODUCER_ID, producer.producerId)
  view.setInt16(PRODUCER_EPOCH, producer.producerEpoch)
  view.setInt32(BASE_SEQUENCE, producer.baseSequence)
  view.setUint32(CRC, crc32c(batch.subarray(ATTRIBUTES)))
}
