// Records of both shipped contracts with every type, nesting and null, as a device sends them and as a reader of the
// table must find them. Encoded by avsc: between encoder and reader stands all of Millrace, and neither is ours.
import avsc from 'avsc'
import type { Row } from './readers.ts'

const DAY_MS = 86_400_000

/** An encoder for the newest schema of the subject, with the Confluent frame. */
export async function codec(http: string, subject: string): Promise<(record: unknown) => Buffer> {
  const answer = await fetch(`${http}/schema-registry/subjects/${subject}/versions/latest`)
  const { id, schema } = (await answer.json()) as { id: number; schema: string }
  const type = avsc.Type.forSchema(JSON.parse(schema) as avsc.Schema, { wrapUnions: false, logicalTypes: {} })
  return (record) => {
    const frame = Buffer.alloc(5)
    frame.writeInt32BE(id, 1)
    return Buffer.concat([frame, type.toBuffer(record)])
  }
}

export function environment(i: number, now: number): Row {
  return {
    event_time: (now - (i % 5) * DAY_MS) * 1000 + i,
    seq: i,
    temperature: i === 7 ? 1e-300 : -40 + i * 0.37,
    humidity: (i * 13) % 100,
    pressure: i % 3 === 0 ? null : 990 + i / 7,
    air_quality: i % 4 === 0 ? null : i % 500,
    occupancy: ['unknown', 'vacant', 'occupied'][i % 3],
    firmware: i % 2 === 0 ? '1.4.0' : 'über-ünknown ✓',
    battery: 100 - (i % 100),
  }
}

/** Avro's decimal: the unscaled value, big-endian two's complement, of the least length. */
function decimalBytes(unscaled: bigint): Buffer {
  let hex = BigInt.asUintN(80, unscaled).toString(16).padStart(20, '0')
  while (
    hex.length > 2 &&
    ((hex.startsWith('00') && hex[2]! < '8') || (hex.startsWith('ff') && hex[2]! >= '8'))
  )
    hex = hex.slice(2)
  return Buffer.from(hex, 'hex')
}

export function machine(i: number, now: number): { sent: Row; expected: Row } {
  const uuid = `00000000-0000-4000-8000-${i.toString(16).padStart(12, '0')}`
  const unscaled = (i % 2 === 0 ? 1n : -1n) * (123_456_789_012n + BigInt(i))
  const text = (unscaled < 0n ? -unscaled : unscaled).toString()
  const axes = Array.from({ length: i % 4 }, (_, n) => ({
    name: `axis-${n}`,
    position: n * 1.5 + i,
    torque: n % 2 === 0 ? null : n / 3,
  }))
  const greasedMs = i % 5 === 0 ? null : now - i
  const common = {
    event_time: (now - (i % 3) * DAY_MS) * 1000 + i,
    seq: i,
    firmware: i % 3 === 0 ? null : '2.0.1',
    run: uuid,
    state: ['off', 'idle', 'running', 'alarm'][i % 4],
    cycles: i * 1000 - 5,
    feed_override: Math.fround(i * 1.1),
    door_open: i % 2 === 1,
    alarms: Array.from({ length: i % 3 }, (_, n) => `E${n}-${'x'.repeat(n)}`),
    counters: Object.fromEntries(Array.from({ length: i % 4 }, (_, n) => [`counter ${n}`, 2 ** 40 + n])),
    axes,
  }
  const toolsAt = now * 1000 + i
  const spindle = { speed: i * 10.5, load: i % 2 === 0 ? null : i / 2, temperature: 20 + i }
  const tool = { tool: 'drill', wear: i % 2 === 0 ? null : 0.5 }
  return {
    sent: {
      ...common,
      clock: i % 2 === 0 ? null : now - 12_345 + i,
      energy: decimalBytes(unscaled),
      serviced_on: i % 4 === 0 ? null : 19_000 - i * 300,
      program_hash: Buffer.alloc(16, i),
      trace: i % 3 === 0 ? null : Buffer.from([0, 255, i]),
      spindle: { ...spindle, bearing: i % 2 === 0 ? null : { vibration: i / 9, greased_at: greasedMs } },
      tools: i % 2 === 0 ? {} : { T1: { ...tool, changed_at: toolsAt }, T2: { ...tool, changed_at: null } },
    },
    expected: {
      ...common,
      clock: i % 2 === 0 ? null : (now - 12_345 + i) * 1000,
      energy: `${unscaled < 0n ? '-' : ''}${text.slice(0, -3)}.${text.slice(-3)}`,
      serviced_on: i % 4 === 0 ? null : new Date((19_000 - i * 300) * DAY_MS).toISOString().slice(0, 10),
      program_hash: Buffer.alloc(16, i).toString('hex'),
      trace: i % 3 === 0 ? null : Buffer.from([0, 255, i]).toString('hex'),
      spindle: {
        ...spindle,
        bearing:
          i % 2 === 0 ? null : { vibration: i / 9, greased_at: greasedMs === null ? null : greasedMs * 1000 },
      },
      tools: i % 2 === 0 ? [] : { T1: { ...tool, changed_at: toolsAt }, T2: { ...tool, changed_at: null } },
    },
  }
}

/** An empty map and an empty list look alike in the script's JSON. */
export const withoutEmptyMaps = (row: Row): Row =>
  Object.fromEntries(
    Object.entries(row).map(([name, value]) => [
      name,
      typeof value === 'object' && value !== null && Object.keys(value).length === 0 ? [] : value,
    ]),
  )

export const bySeq = (a: Row, b: Row): number => Number(a['seq']) - Number(b['seq'])
