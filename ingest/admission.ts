// What happens to the payload of a PUBLISH to a device topic: found out what it is by its first bytes, checked
// where it lies against the schema it claims, and added to the raw topic's batch.
//
//   0x00 │ schema id u32 │ datum            Avro with the Confluent frame: kept as it is
//   0xC3 0x01 │ fingerprint u64 │ datum     Avro single-object encoding: gets the frame
//   {…}                                     JSON: encoded to Avro with the stream's current schema
//
// `admit` answers with numbers and allocates nothing; why a payload was refused is found out by `reject`, which
// reads it again on the cold path, and puts it into the rejected topic as long as the device's budget of bytes
// lasts. Beyond that it is counted, so that a broken device cannot fill the disk.

import { fingerprint } from '../schemas/avro-fingerprint.ts'
import { createJsonEncoder, type JsonEncoder } from '../schemas/avro-json.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { createValidator, type Validator } from '../schemas/avro-validate.ts'
import { rawTopic, rejectedTopic } from '../schemas/names.ts'
import { encodeRejected, type RejectionCode } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { partitionOfKey } from '../std/hash.ts'
import { viewOf } from '../std/view.ts'
import { type BatchAccumulator, OVER_BUDGET, type PartitionHandle } from './batch-accumulator.ts'
import { RUN_END, RUN_ENTRY, RUN_START } from './mqtt-parser.ts'

/** From `admit`: the payload does not fit its contract; `reject` says why and keeps it. */
export const REFUSED = -3

const MAGIC_CONFLUENT = 0x00
const CONFLUENT_FRAME_BYTES = 5
const MAGIC_SINGLE_OBJECT = 0xc3
const VERSION_SINGLE_OBJECT = 0x01
const SINGLE_OBJECT_HEADER_BYTES = 10
const JSON_OBJECT = 0x7b

/** Devices whose rejected bytes are accounted at the same time; beyond, rejections are counted only. */
const REJECTING_DEVICES_MAX = 65_536

export interface AdmissionOptions {
  accumulator: BatchAccumulator
  /** Id of the schema of rejected topics. */
  rejectedSchemaId: number
  /** Bytes of rejected payloads that are kept of one device in one window. */
  rejectedBytesPerDevice: number
  rejectedWindowMs: number
}

/** Why a payload was refused. */
export interface Refusal {
  code: RejectionCode
  /** For the Reason String: names schema, field, offset. */
  text: string
  field: string | undefined
  offset: number | undefined
  /** Ticket of the record in the rejected topic; 0 where the rejection was only counted; OVER_BUDGET: hold the packet. */
  sequence: number
}

class Writer {
  readonly id: number
  readonly fingerprint: Uint8Array
  readonly validator: Validator

  constructor(id: number, schema: string) {
    this.id = id
    this.fingerprint = fingerprint(schema)
    this.validator = createValidator(parseAvroSchema(schema))
  }
}

/** A stream as admission sees it; targets keep it, so a new contract version reaches every connection. */
class StreamAdmission {
  descriptor!: StreamDescriptor
  writers!: Writer[]
  /** Writer of the last payload with the Confluent frame: devices of one firmware follow one another. */
  recent!: Writer
  json!: JsonEncoder
  /** By partition, made when first needed. */
  readonly targets: AdmissionTarget[] = []

  constructor(descriptor: StreamDescriptor) {
    this.update(descriptor)
  }

  update(descriptor: StreamDescriptor): void {
    const known = this.writers ?? []
    this.descriptor = descriptor
    // Schemas never change under their id, so compiled ones stay.
    this.writers = descriptor.writers.map(
      ({ id, schema }) => known.find((writer) => writer.id === id) ?? new Writer(id, schema),
    )
    this.recent = this.writers.find((writer) => writer.id === descriptor.schemaId)!
    this.json = createJsonEncoder(parseAvroSchema(descriptor.schema))
  }

  writerOf(id: number): Writer | undefined {
    return this.writers.find((writer) => writer.id === id)
  }

  writerByFingerprint(bytes: Uint8Array, at: number): Writer | undefined {
    return this.writers.find((writer) => writer.fingerprint.every((byte, i) => byte === bytes[at + i]))
  }
}

/** One partition of a stream: where the payloads of all devices go whose ids fall into it. */
export class AdmissionTarget {
  /** In `Admission.targets`. */
  readonly index: number
  readonly stream: StreamAdmission
  readonly raw: PartitionHandle
  readonly rejected: PartitionHandle

  constructor(index: number, stream: StreamAdmission, raw: PartitionHandle, rejected: PartitionHandle) {
    this.index = index
    this.stream = stream
    this.raw = raw
    this.rejected = rejected
  }
}

/** Rejected bytes of a device in its current window. */
interface Budget {
  windowStartMs: number
  bytes: number
}

const encoder = new TextEncoder()
/** Room for the longest device id. */
const keyScratch = new Uint8Array(512)

export class Admission {
  /** Rejections since the start, and those of them that were counted only. */
  rejectedCount = 0
  rejectedCountedOnly = 0
  /** Every target there is; rows of topic caches hold indexes into it. */
  readonly targets: AdmissionTarget[] = []
  readonly #accumulator: BatchAccumulator
  readonly #rejectedSchemaId: number
  readonly #rejectedBytesPerDevice: number
  readonly #rejectedWindowMs: number
  readonly #streams = new Map<string, StreamAdmission>()
  readonly #budgets = new Map<string, Budget>()
  /** Where payloads are put together that are not kept as they came. */
  readonly #scratch: Uint8Array

  constructor(options: AdmissionOptions) {
    this.#accumulator = options.accumulator
    this.#rejectedSchemaId = options.rejectedSchemaId
    this.#rejectedBytesPerDevice = options.rejectedBytesPerDevice
    this.#rejectedWindowMs = options.rejectedWindowMs
    this.#scratch = new Uint8Array(options.accumulator.valueBytesMax)
  }

  /** Takes a stream in, or its new version; targets made before follow. */
  setStream(descriptor: StreamDescriptor): void {
    const name = `${descriptor.tenant}/${descriptor.stream}`
    const known = this.#streams.get(name)
    if (known === undefined) this.#streams.set(name, new StreamAdmission(descriptor))
    else known.update(descriptor)
  }

  /** Where payloads of `device` on a stream go; undefined where the tenant has no such stream. Keep it. */
  target(tenant: string, stream: string, device: string): AdmissionTarget | undefined {
    const admission = this.#streams.get(`${tenant}/${stream}`)
    if (admission === undefined) return undefined
    // Through one buffer: a gateway comes with thousands of devices, and memory of its own for each is slow to get.
    const { written } = encoder.encodeInto(device, keyScratch)
    const partition = partitionOfKey(keyScratch, 0, written, admission.descriptor.partitions)
    let target = admission.targets[partition]
    if (target === undefined) {
      target = new AdmissionTarget(
        this.targets.length,
        admission,
        this.#accumulator.partition(rawTopic(tenant, stream), partition),
        this.#accumulator.partition(rejectedTopic(tenant, stream), partition),
      )
      this.targets.push(target)
      admission.targets[partition] = target
    }
    return target
  }

  /**
   * Checks the payload bytes[start, end) of the device keys[keyStart, keyEnd) and adds it to the raw topic. Returns
   * its ticket (> 0), OVER_BUDGET or BACKLOG (hold the packet, nothing happened), or REFUSED (call `reject`).
   */
  admit(
    target: AdmissionTarget,
    keys: Uint8Array,
    keyStart: number,
    keyEnd: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): number {
    if (bytes[start] !== MAGIC_CONFLUENT || end - start < CONFLUENT_FRAME_BYTES)
      return this.#admitConverted(target, keys, keyStart, keyEnd, bytes, start, end)
    const id = schemaIdAt(bytes, start)
    const stream = target.stream
    let writer = stream.recent
    if (writer.id !== id) {
      const other = stream.writerOf(id)
      if (other === undefined) return REFUSED
      stream.recent = writer = other
    }
    if (writer.validator.validate(bytes, start + CONFLUENT_FRAME_BYTES, end) !== 0) return REFUSED
    return this.#accumulator.append(target.raw, keys, keyStart, keyEnd, bytes, start, end)
  }

  /**
   * How many of the `count` payloads of a run (mqtt-parser.ts), from the first on, are valid and kept as they came: these may
   * be appended. What is with the next one is for `admit` to say.
   */
  validOfRun(target: AdmissionTarget, bytes: Uint8Array, run: Int32Array, count: number): number {
    const { id, validator } = target.stream.recent
    const { validate } = validator
    let valid = 0
    for (; valid < count; valid++) {
      const start = run[valid * RUN_ENTRY + RUN_START]!
      const end = run[valid * RUN_ENTRY + RUN_END]!
      if (bytes[start] !== MAGIC_CONFLUENT || end - start < CONFLUENT_FRAME_BYTES) break
      if (schemaIdAt(bytes, start) !== id || validate(bytes, start + CONFLUENT_FRAME_BYTES, end) !== 0) break
    }
    return valid
  }

  /** Payloads that get the Confluent frame here. */
  #admitConverted(
    target: AdmissionTarget,
    keys: Uint8Array,
    keyStart: number,
    keyEnd: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): number {
    const scratch = this.#scratch
    const length = frame(target.stream, bytes, start, end, scratch)
    if (length < 0) return REFUSED
    return this.#accumulator.append(target.raw, keys, keyStart, keyEnd, scratch, 0, length)
  }

  /** Says why `admit` refused the payload, and keeps it as far as the device's budget reaches. Cold. */
  reject(target: AdmissionTarget, device: string, bytes: Uint8Array, start: number, end: number): Refusal {
    const nowMs = this.#accumulator.receiveTimeMs
    const refusal = explain(target.stream, bytes, start, end)
    if (this.#withinBudget(device, end - start, nowMs)) {
      const value = encodeRejected(
        {
          code: refusal.code,
          reason: refusal.text,
          field: refusal.field,
          offset: refusal.offset,
          payload: bytes.subarray(start, end),
          schemaId:
            bytes[start] === MAGIC_CONFLUENT && end - start >= CONFLUENT_FRAME_BYTES
              ? schemaIdAt(bytes, start)
              : undefined,
          device,
          source: undefined,
          receiveTimeMs: nowMs,
        },
        this.#rejectedSchemaId,
      )
      if (value.length <= this.#accumulator.valueBytesMax) {
        const key = encoder.encode(device)
        const { rejected } = target
        const ticket = this.#accumulator.append(rejected, key, 0, key.length, value, 0, value.length)
        if (ticket === OVER_BUDGET) return { ...refusal, sequence: OVER_BUDGET }
        // A rejected topic over its backlog is no reason to stop the device: such a rejection is counted.
        if (ticket > 0) {
          this.#spend(device, end - start)
          this.rejectedCount++
          return { ...refusal, sequence: ticket }
        }
      }
    }
    this.rejectedCount++
    this.rejectedCountedOnly++
    return refusal
  }

  #withinBudget(device: string, bytes: number, nowMs: number): boolean {
    let budget = this.#budgets.get(device)
    if (budget === undefined) {
      if (this.#budgets.size >= REJECTING_DEVICES_MAX) this.#forget(nowMs)
      if (this.#budgets.size >= REJECTING_DEVICES_MAX) return false
      budget = { windowStartMs: nowMs, bytes: 0 }
      this.#budgets.set(device, budget)
    } else if (nowMs - budget.windowStartMs >= this.#rejectedWindowMs) {
      budget.windowStartMs = nowMs
      budget.bytes = 0
    }
    return budget.bytes + bytes <= this.#rejectedBytesPerDevice
  }

  #spend(device: string, bytes: number): void {
    this.#budgets.get(device)!.bytes += bytes
  }

  #forget(nowMs: number): void {
    for (const [device, budget] of this.#budgets)
      if (nowMs - budget.windowStartMs >= this.#rejectedWindowMs) this.#budgets.delete(device)
  }
}

function schemaIdAt(bytes: Uint8Array, start: number): number {
  return viewOf(bytes).getUint32(start + 1)
}

function isSingleObject(bytes: Uint8Array, start: number, end: number): boolean {
  return (
    end - start >= SINGLE_OBJECT_HEADER_BYTES &&
    bytes[start] === MAGIC_SINGLE_OBJECT &&
    bytes[start + 1] === VERSION_SINGLE_OBJECT
  )
}

/** The JSON or single-object payload as Avro with the Confluent frame, in `into`: its length, or REFUSED. */
function frame(
  stream: StreamAdmission,
  bytes: Uint8Array,
  start: number,
  end: number,
  into: Uint8Array,
): number {
  if (start === end) return REFUSED
  let length: number
  let id: number
  if (bytes[start] === JSON_OBJECT) {
    length = stream.json.encode(bytes, start, end, into, CONFLUENT_FRAME_BYTES)
    if (length < 0) return REFUSED
    id = stream.descriptor.schemaId
  } else {
    const datum = start + SINGLE_OBJECT_HEADER_BYTES
    if (!isSingleObject(bytes, start, end)) return REFUSED
    const writer = stream.writerByFingerprint(bytes, start + 2)
    if (writer === undefined || writer.validator.validate(bytes, datum, end) !== 0) return REFUSED
    if (CONFLUENT_FRAME_BYTES + end - datum > into.length) return REFUSED
    into.set(bytes.subarray(datum, end), CONFLUENT_FRAME_BYTES)
    length = CONFLUENT_FRAME_BYTES + end - datum
    id = writer.id
  }
  into[0] = MAGIC_CONFLUENT
  into[1] = id >>> 24
  into[2] = id >>> 16
  into[3] = id >>> 8
  into[4] = id
  return length
}

/** What the door would say of one stream's payloads, without letting them in: for replays of rejected ones. */
export class PayloadCheck {
  readonly #stream: StreamAdmission
  readonly #scratch: Uint8Array

  constructor(descriptor: StreamDescriptor, valueBytesMax: number) {
    this.#stream = new StreamAdmission(descriptor)
    this.#scratch = new Uint8Array(valueBytesMax)
  }

  /** The value of the raw record that the payload would become, or why it is refused. */
  check(payload: Uint8Array): Uint8Array | Pick<Refusal, 'code' | 'text'> {
    const { length } = payload
    if (payload[0] !== MAGIC_CONFLUENT || length < CONFLUENT_FRAME_BYTES) {
      const framed = frame(this.#stream, payload, 0, length, this.#scratch)
      return framed < 0 ? explain(this.#stream, payload, 0, length) : this.#scratch.slice(0, framed)
    }
    const writer = this.#stream.writerOf(schemaIdAt(payload, 0))
    const fits = writer?.validator.validate(payload, CONFLUENT_FRAME_BYTES, length) === 0
    return fits ? payload : explain(this.#stream, payload, 0, length)
  }
}

/** Reads a refused payload again, to say what is wrong with it. */
function explain(stream: StreamAdmission, bytes: Uint8Array, start: number, end: number): Refusal {
  const { subject, schemaId } = stream.descriptor
  const refuse = (code: RejectionCode, text: string, field?: string, offset?: number): Refusal => ({
    code,
    text,
    field: field === '' ? undefined : field,
    offset,
    sequence: 0,
  })
  if (bytes[start] === JSON_OBJECT && start < end) {
    const failure = stream.json.explain(bytes, start, end)
    const where = describe(failure?.path, failure?.offset)
    return refuse(
      'json_invalid',
      `${subject} id ${schemaId}${where}: ${failure?.reason ?? 'larger than a record may be'}`,
      failure?.path,
      failure?.offset,
    )
  }
  let writer: Writer | undefined
  let datum: number
  if (bytes[start] === MAGIC_CONFLUENT && end - start >= CONFLUENT_FRAME_BYTES) {
    const id = schemaIdAt(bytes, start)
    writer = stream.writerOf(id)
    if (writer === undefined)
      return refuse('schema_unknown', `${subject} has no version with id ${id}`, undefined, 1)
    datum = start + CONFLUENT_FRAME_BYTES
  } else if (isSingleObject(bytes, start, end)) {
    writer = stream.writerByFingerprint(bytes, start + 2)
    if (writer === undefined)
      return refuse('schema_unknown', `${subject} has no version with that fingerprint`, undefined, 2)
    datum = start + SINGLE_OBJECT_HEADER_BYTES
  } else
    return refuse(
      'format_unknown',
      'payload is none of: Avro with the Confluent frame, Avro single-object encoding, a JSON object',
      undefined,
      0,
    )
  const failure = writer.validator.explain(bytes, datum, end)
  if (failure === undefined)
    return refuse('payload_invalid', `${subject} id ${writer.id}: larger than a record may be`)
  const offset = datum - start + failure.offset
  const where = describe(failure.path, offset)
  return refuse(
    'payload_invalid',
    `${subject} id ${writer.id}${where}: ${failure.reason}`,
    failure.path,
    offset,
  )
}

function describe(path: string | undefined, offset: number | undefined): string {
  return `${path ? `, field ${path}` : ''}${offset === undefined ? '' : `, offset ${offset}`}`
}
