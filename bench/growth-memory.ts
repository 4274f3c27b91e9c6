// ns of CPU of one message in memory, for schemas and payloads of any size: PUBLISH packets of QoS 0 are found in reads of
// 64 KiB, each payload is validated and copied into the batch of its partition, and batches are sealed with their CRC.
import avsc from 'avsc'
import { writeBatchCrc } from '../log/record-batch.ts'
import { compileContract, parseContract } from '../schemas/contract.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { Random } from './harness.ts'
import { admissionTo, StandInSession } from './stand-in-session.ts'

export interface Shape {
  /** Fields of type double. */
  doubles: number
  /** Length of a field of type string; 0: there is none. */
  textBytes: number
}

const SCHEMA_ID = 9
const RECEIVE_TIME_MS = 1_700_000_000_000
const READ_BYTES = 64 << 10
const MESSAGES = 2000

function streamOf({ doubles, textBytes }: Shape): StreamDescriptor {
  const fields = ['- { name: event_time, type: timestamp-micros, role: event_time }']
  if (textBytes > 0) fields.push('- { name: text, type: string }')
  for (let i = 0; i < doubles; i++) fields.push(`- { name: value_${i}, type: double }`)
  const text = `millrace: 1
family: growth
version: 1
tenant: default
streams:
  telemetry:
    fields:
${fields.map((field) => `      ${field}`).join('\n')}
`
  const [compiled] = compileContract(parseContract(text, 'growth.yaml'))
  const writers = [{ id: SCHEMA_ID, schema: compiled!.schema }]
  return { ...compiled!, partitions: 4, schemaId: SCHEMA_ID, writers }
}

/** Packets one after the other, as one connection sends them. */
function packetsOf(
  stream: StreamDescriptor,
  shape: Shape,
  seed: number,
): { bytes: Uint8Array; payloadBytes: number } {
  const random = new Random(seed)
  const type = avsc.Type.forSchema(JSON.parse(stream.schema), { logicalTypes: {} })
  const topic = Buffer.from('devices/sensor-1/telemetry')
  const frame = Buffer.alloc(5)
  frame.writeInt32BE(SCHEMA_ID, 1)
  const packets: Buffer[] = []
  let payloadBytes = 0
  for (let n = 0; n < MESSAGES; n++) {
    const value: Record<string, unknown> = { event_time: RECEIVE_TIME_MS * 1000 + n }
    if (shape.textBytes > 0) value['text'] = String.fromCharCode(97 + (n % 26)).repeat(shape.textBytes)
    for (let i = 0; i < shape.doubles; i++) value[`value_${i}`] = random.next()
    const payload = Buffer.concat([frame, type.toBuffer(value)])
    payloadBytes += payload.length
    const header = [0x30]
    let rest = 2 + topic.length + payload.length
    do {
      header.push((rest & 0x7f) | (rest >= 0x80 ? 0x80 : 0))
      rest >>>= 7
    } while (rest > 0)
    packets.push(Buffer.from([...header, 0, topic.length]), topic, payload)
  }
  return { bytes: Buffer.concat(packets), payloadBytes: payloadBytes / MESSAGES }
}

export async function nanosPerMessage(
  shape: Shape,
  seconds: number,
  runs: number,
  seed: number,
): Promise<{ payloadBytes: number; nanos: number[] }> {
  const stream = streamOf(shape)
  const { bytes, payloadBytes } = packetsOf(stream, shape, seed)
  const path = admissionTo(stream, async (request) => {
    for (const entry of request.entries)
      if ('batch' in entry && entry.isCrcPending) writeBatchCrc(entry.batch, 0, entry.batch.length)
    return { baseOffsets: [] }
  })
  const { accumulator } = path
  const connection = new StandInSession(path, 1 << 20)
  const nanos: number[] = []
  // The first run warms up.
  for (let run = 0; run <= runs; run++) {
    const before = connection.accepted
    const cpuBefore = process.threadCpuUsage()
    const started = performance.now()
    let elapsed = 0
    for (; elapsed < seconds * 1000; elapsed = performance.now() - started)
      for (let at = 0; at < bytes.length; at += READ_BYTES) {
        connection.parser.parse(bytes, at, Math.min(bytes.length, at + READ_BYTES))
        await accumulator.drained()
      }
    const { user, system } = process.threadCpuUsage(cpuBefore)
    const messages = connection.accepted - before
    if (messages === 0 || messages % MESSAGES !== 0) throw new Error(`${messages} messages were accepted`)
    if (run > 0) nanos.push(((user + system) * 1000) / messages)
  }
  return { payloadBytes: Math.round(payloadBytes), nanos }
}
