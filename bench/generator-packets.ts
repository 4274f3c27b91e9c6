// The packets that one generator connection sends: a ring of PUBLISH packets made before the clock starts, back
// to back in one buffer, so that any run of them is one slice and one write.
//
//   ├ slot 0: PUBLISH, packet id 1 ┼ slot 1: PUBLISH, packet id 2 ┼ … ┤
//
// A slot keeps its packet id. It is sent again only after its acknowledgement (or, at QoS 0, after the write of
// its buffer is over), so bytes that the kernel may still read are never changed. What is changed before a
// slot is sent again are sequence and event time, which have a fixed width: every message is a new one.
import { Random } from './harness.ts'
import { PAYLOAD_BYTES_MAX, Sensor } from './payloads.ts'

/** Sequences from here on take four bytes as zigzag varints and seven digits; event times of today eight, and sixteen. */
const SEQUENCE_FIRST = 1 << 20
const SEQUENCE_END = 10_000_000
/** Where the event time begins in a payload: after magic and schema id, or after `{"event_time":`. */
const AVRO_EVENT_TIME = 5
const JSON_EVENT_TIME = 14
const EVENT_TIME_DIGITS = 16
/** Where the sequence begins, counted from the event time: `,"seq":` is between them. */
const JSON_SEQUENCE = EVENT_TIME_DIGITS + 7
const SEQUENCE_DIGITS = 7
/** Microseconds between two messages of a device. */
const EVENT_STEP_US = 1000

export interface RingOptions {
  /** 1 to 65,535. */
  slots: number
  level: 4 | 5
  qos: 0 | 1
  /** Topics to draw from, with the schema id of each: one device, or a gateway's many. */
  topics: readonly { topic: string; schemaId: number }[]
  payload: 'avro' | 'json'
  seed: number
  startMs: number
}

export class PacketRing {
  readonly bytes: Uint8Array
  /** Slot i is bytes[starts[i], starts[i + 1]). */
  readonly starts: Int32Array
  readonly slots: number
  /** Where each slot's event time begins. */
  readonly #eventTimes: Int32Array
  readonly #isJson: boolean
  #sequence = SEQUENCE_FIRST
  #eventTimeUs: number

  constructor(options: RingOptions) {
    const { slots, qos, level } = options
    this.#isJson = options.payload === 'json'
    this.slots = slots
    const random = new Random(options.seed)
    const sensor = new Sensor(random, options.startMs, false, SEQUENCE_FIRST)
    const topics = options.topics.map((one) => ({ ...one, bytes: new TextEncoder().encode(one.topic) }))
    const longest = Math.max(...topics.map((one) => one.bytes.length))
    const bytes = new Uint8Array(slots * (16 + longest + (this.#isJson ? 320 : PAYLOAD_BYTES_MAX)))
    this.starts = new Int32Array(slots + 1)
    this.#eventTimes = new Int32Array(slots)
    this.#eventTimeUs = options.startMs * 1000
    const payload = new Uint8Array(512)
    let at = 0
    for (let slot = 0; slot < slots; slot++) {
      const { bytes: topic, schemaId } = topics[topics.length === 1 ? 0 : random.below(topics.length)]!
      const payloadBytes = this.#isJson
        ? new TextEncoder().encodeInto(sensor.json(), payload).written
        : sensor.writeAvro(payload, 0, schemaId)
      const remaining = 2 + topic.length + (qos > 0 ? 2 : 0) + (level === 5 ? 1 : 0) + payloadBytes
      this.starts[slot] = at
      bytes[at++] = 0x30 | (qos << 1)
      if (remaining >= 0x80) bytes[at++] = (remaining & 0x7f) | 0x80
      bytes[at++] = remaining >= 0x80 ? remaining >>> 7 : remaining
      bytes[at++] = topic.length >>> 8
      bytes[at++] = topic.length
      bytes.set(topic, at)
      at += topic.length
      if (qos > 0) {
        bytes[at++] = (slot + 1) >>> 8
        bytes[at++] = slot + 1
      }
      if (level === 5) bytes[at++] = 0
      bytes.set(payload.subarray(0, payloadBytes), at)
      this.#eventTimes[slot] = at + (this.#isJson ? JSON_EVENT_TIME : AVRO_EVENT_TIME)
      at += payloadBytes
    }
    this.starts[slots] = at
    this.bytes = bytes.slice(0, at)
  }

  /** Makes slots [from, to) new messages: the next sequences and event times. */
  renew(from: number, to: number): void {
    if (this.#isJson) this.#renewJson(from, to)
    else this.#renewAvro(from, to)
  }

  #renewAvro(from: number, to: number): void {
    const bytes = this.bytes
    const eventTimes = this.#eventTimes
    // The zigzag event time in two halves of 28 bits: four bytes each.
    const zigzagTime = this.#eventTimeUs * 2
    let low = zigzagTime % 0x10000000
    let high = Math.floor(zigzagTime / 0x10000000)
    let sequence = this.#sequence
    for (let slot = from; slot < to; slot++) {
      const at = eventTimes[slot]!
      bytes[at] = (low & 0x7f) | 0x80
      bytes[at + 1] = ((low >>> 7) & 0x7f) | 0x80
      bytes[at + 2] = ((low >>> 14) & 0x7f) | 0x80
      bytes[at + 3] = ((low >>> 21) & 0x7f) | 0x80
      bytes[at + 4] = (high & 0x7f) | 0x80
      bytes[at + 5] = ((high >>> 7) & 0x7f) | 0x80
      bytes[at + 6] = ((high >>> 14) & 0x7f) | 0x80
      bytes[at + 7] = high >>> 21
      const zigzag = sequence << 1
      bytes[at + 8] = (zigzag & 0x7f) | 0x80
      bytes[at + 9] = ((zigzag >>> 7) & 0x7f) | 0x80
      bytes[at + 10] = ((zigzag >>> 14) & 0x7f) | 0x80
      bytes[at + 11] = zigzag >>> 21
      if (++sequence === SEQUENCE_END) sequence = SEQUENCE_FIRST
      low += 2 * EVENT_STEP_US
      if (low >= 0x10000000) {
        low -= 0x10000000
        high++
      }
    }
    this.#sequence = sequence
    this.#eventTimeUs += (to - from) * EVENT_STEP_US
  }

  #renewJson(from: number, to: number): void {
    for (let slot = from; slot < to; slot++) {
      const at = this.#eventTimes[slot]!
      writeDigits(this.bytes, at, EVENT_TIME_DIGITS, this.#eventTimeUs)
      writeDigits(this.bytes, at + JSON_SEQUENCE, SEQUENCE_DIGITS, this.#sequence)
      if (++this.#sequence === SEQUENCE_END) this.#sequence = SEQUENCE_FIRST
      this.#eventTimeUs += EVENT_STEP_US
    }
  }
}

function writeDigits(into: Uint8Array, at: number, digits: number, value: number): void {
  let rest = value
  for (let i = digits - 1; i >= 0; i--) {
    const next = Math.floor(rest / 10)
    into[at + i] = 0x30 + rest - next * 10
    rest = next
  }
}
