// Payloads of the shipped environment contract, encoded by avsc: an encoder that nobody here wrote.
import avsc from 'avsc'

export interface Reading {
  event_time: number
  seq: number
  temperature: number
  humidity: number
  pressure: number | null
  air_quality: number | null
  occupancy: 'unknown' | 'vacant' | 'occupied'
  firmware: string
  battery: number
}

export interface EnvironmentCodec {
  schemaId: number
  /** The payload with the Confluent frame. */
  encode(reading: Reading): Buffer
}

/** The codec for the newest schema of the stream, as a device would get it: from the registry. */
export async function environmentCodec(http: string): Promise<EnvironmentCodec> {
  const answer = await fetch(`${http}/schema-registry/subjects/default.telemetry-value/versions/latest`)
  const { id, schema } = (await answer.json()) as { id: number; schema: string }
  const type = avsc.Type.forSchema(JSON.parse(schema) as avsc.Schema, { wrapUnions: false, logicalTypes: {} })
  return {
    schemaId: id,
    encode: (reading) => {
      const frame = Buffer.alloc(5)
      frame.writeInt32BE(id, 1)
      return Buffer.concat([frame, type.toBuffer(reading)])
    },
  }
}

/** A plausible reading of firmware 1; `seq` gives it its values. */
export function reading(seq: number, eventTimeMs = Date.now(), changes: Partial<Reading> = {}): Reading {
  return {
    event_time: eventTimeMs * 1000,
    seq,
    temperature: 20 + (seq % 100) / 10,
    humidity: 40 + (seq % 20),
    pressure: seq % 3 === 0 ? null : 1000 + (seq % 30),
    air_quality: seq % 5 === 0 ? null : seq % 500,
    occupancy: seq % 2 === 0 ? 'vacant' : 'occupied',
    firmware: '1.2.0',
    battery: 100 - (seq % 100),
    ...changes,
  }
}
