// Cost of one validation of the sensor datum, printed as ns; `node schemas/avro-validate.bench.ts`. Data that
// differ are laid out back to back, so that neither branches nor cache lines repeat too kindly. The smoke size
// runs in the tests.
import { oracleType, SENSOR_SCHEMA } from './avro-arbitraries.ts'
import { interpret } from './avro-interpreter.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { createValidator } from './avro-validate.ts'

/** `count` sensor data back to back; offsets has count + 1 entries. */
export function sensorData(count: number): { bytes: Uint8Array; offsets: Int32Array } {
  const type = oracleType(SENSOR_SCHEMA)
  const parts: Buffer[] = []
  const offsets = new Int32Array(count + 1)
  let seed = 42
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32
  for (let i = 0; i < count; i++) {
    const datum = {
      event_time: 1_700_000_000_000_000n + BigInt(i) * 1_000_000n,
      seq: BigInt(i),
      temperature: 20 + random(),
      humidity: 50 + random(),
      pressure: random() < 0.1 ? null : { double: 1000 + random() },
      air_quality: random() < 0.5 ? null : { double: random() },
      occupancy: ['unknown', 'free', 'occupied'][Math.floor(random() * 3)],
      firmware: ['1.0.3', '1.1.0', '2.0.0'][Math.floor(random() * 3)],
      battery: random(),
    }
    const part = type.toBuffer(datum)
    parts.push(part)
    offsets[i + 1] = offsets[i]! + part.length
  }
  // A buffer of its own: concat may hand out a part of Node's pool.
  return { bytes: new Uint8Array(Buffer.concat(parts)), offsets }
}

/** Nanoseconds a datum, the best of `rounds`, and how many were valid in all. */
export function benchmark(count: number, rounds: number): { ns: number; valid: number } {
  const { bytes, offsets } = sensorData(count)
  const { validate } = createValidator(parseAvroSchema(SENSOR_SCHEMA))
  let best = Infinity
  let valid = 0
  for (let round = 0; round < rounds; round++) {
    const begin = process.hrtime.bigint()
    for (let i = 0; i < count; i++) if (validate(bytes, offsets[i]!, offsets[i + 1]!) === 0) valid++
    best = Math.min(best, Number(process.hrtime.bigint() - begin) / count)
  }
  return { ns: best, valid }
}

if (import.meta.main) {
  const { bytes, offsets } = sensorData(10_000)
  const node = parseAvroSchema(SENSOR_SCHEMA)
  const begin = process.hrtime.bigint()
  for (let i = 0; i < 10_000; i++) interpret(node, bytes, offsets[i]!, offsets[i + 1]!)
  const plain = Number(process.hrtime.bigint() - begin) / 10_000
  const { ns } = benchmark(20_000, 100)
  console.log(
    `datum of ${(offsets[10_000]! / 10_000).toFixed(1)} bytes: generated ${ns.toFixed(1)} ns, interpreter ${plain.toFixed(0)} ns`,
  )
}
