// Payloads of the shipped environment contract, made from a seed before any clock starts: readings that walk
// randomly and are rounded as sensors round, so that what comes later in the pipeline compresses them as it
// would real ones.
import { writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import type { Random } from './harness.ts'

/** Firmware that needs no rule of the contract. */
const FIRMWARE = '1.4.2'
const OCCUPANCY = ['unknown', 'vacant', 'occupied']
/** An upper bound of one payload. */
export const PAYLOAD_BYTES_MAX = 96

/** One sensor: its readings walk from message to message. */
export class Sensor {
  readonly #random: Random
  readonly #hasBarometer: boolean
  readonly #firmware: string
  readonly #firmwareBytes: Uint8Array
  #sequence: number
  #timeMs: number
  #temperature = 20
  #humidity = 45
  #pressure = 1013
  #battery = 100

  /** `hasBarometer`: the two nullable fields are there, which makes 60 bytes of 44. */
  constructor(
    random: Random,
    startMs: number,
    hasBarometer: boolean,
    sequenceFirst = 1,
    firmware: string = FIRMWARE,
  ) {
    this.#random = random
    this.#firmware = firmware
    this.#firmwareBytes = new TextEncoder().encode(firmware)
    this.#sequence = sequenceFirst - 1
    this.#timeMs = startMs
    this.#hasBarometer = hasBarometer
  }

  #step(): void {
    const walk = (value: number, step: number, low: number, high: number) =>
      Math.min(high, Math.max(low, value + (this.#random.next() - 0.5) * step))
    this.#sequence++
    this.#timeMs += 1000 + this.#random.below(50)
    this.#temperature = walk(this.#temperature, 0.4, -20, 50)
    this.#humidity = walk(this.#humidity, 1, 5, 95)
    this.#pressure = walk(this.#pressure, 0.5, 950, 1050)
    this.#battery = Math.max(5, this.#battery - this.#random.next() * 0.001)
  }

  /** Writes the next message as Avro with the Confluent frame; returns the position after it. */
  writeAvro(into: Uint8Array, at: number, schemaId: number): number {
    this.#step()
    const view = new DataView(into.buffer, into.byteOffset, into.byteLength)
    view.setUint8(at, 0)
    view.setUint32(at + 1, schemaId)
    let p = writeZigzagLong(into, at + 5, this.#timeMs * 1000)
    p = writeZigzagLong(into, p, this.#sequence)
    view.setFloat64(p, rounded(this.#temperature, 10), true)
    view.setFloat64(p + 8, rounded(this.#humidity, 10), true)
    p += 16
    for (const value of [rounded(this.#pressure, 100), this.#airQuality()]) {
      p = writeZigzagInt(into, p, this.#hasBarometer ? 1 : 0)
      if (!this.#hasBarometer) continue
      view.setFloat64(p, value, true)
      p += 8
    }
    p = writeZigzagInt(into, p, this.#sequence % OCCUPANCY.length)
    p = writeZigzagInt(into, p, this.#firmwareBytes.length)
    into.set(this.#firmwareBytes, p)
    p += this.#firmwareBytes.length
    view.setFloat64(p, rounded(this.#battery, 100), true)
    return p + 8
  }

  /** The next message as JSON text. */
  json(): string {
    this.#step()
    return JSON.stringify({
      event_time: this.#timeMs * 1000,
      seq: this.#sequence,
      temperature: rounded(this.#temperature, 10),
      humidity: rounded(this.#humidity, 10),
      pressure: this.#hasBarometer ? rounded(this.#pressure, 100) : null,
      air_quality: this.#hasBarometer ? this.#airQuality() : null,
      occupancy: OCCUPANCY[this.#sequence % OCCUPANCY.length],
      firmware: this.#firmware,
      battery: rounded(this.#battery, 100),
    })
  }

  #airQuality(): number {
    return 40 + (this.#sequence % 20)
  }
}

function rounded(value: number, parts: number): number {
  return Math.round(value * parts) / parts
}
