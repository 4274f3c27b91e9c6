// A Kafka door in the test's own thread, over the log in memory, with one small stream in each of two tenants.
import avsc from 'avsc'
import type { Log, TopicConfig } from '../log/log.ts'
import { MemoryLog } from '../log/log-memory.ts'
import { RecordBatchBuilder } from '../log/record-batch.ts'
import { normalizedTopic, rawTopic, rejectedTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { partitionOfKey } from '../std/hash.ts'
import { KafkaDoor } from './door.ts'

const SCHEMA_ID = 7
const SCHEMA = JSON.stringify({
  type: 'record',
  name: 'Reading',
  fields: [
    { name: 'seq', type: 'long' },
    { name: 'note', type: 'string' },
  ],
})
const type = avsc.Type.forSchema(JSON.parse(SCHEMA))

export const PARTITIONS = 4
const TOPIC: TopicConfig = {
  partitions: PARTITIONS,
  cleanup: 'delete',
  retentionAgeMs: Number.POSITIVE_INFINITY,
  retentionBytes: Number.POSITIVE_INFINITY,
  backlogBytesMax: Number.POSITIVE_INFINITY,
}
export const RAW = rawTopic('default', 'telemetry')

/** A payload that fits, in Avro with the Confluent frame. */
export const payloadOf = (seq: number): Buffer =>
  Buffer.concat([Buffer.from([0, 0, 0, 0, SCHEMA_ID]), type.toBuffer({ seq, note: 'n' })])

export const streamOf = (tenant: string): StreamDescriptor => ({
  tenant,
  stream: 'telemetry',
  family: 'sensor',
  contractVersion: 1,
  partitions: PARTITIONS,
  subject: `${tenant}.telemetry-value`,
  schemaId: SCHEMA_ID,
  schema: SCHEMA,
  writers: [{ id: SCHEMA_ID, schema: SCHEMA }],
  fields: [],
  ruleSets: [],
  plausible: { pastMs: 1e12, futureMs: 1e9 },
  table: {},
})

interface DoorHarness {
  door: KafkaDoor
  log: Log
  failures: unknown[]
  warnings: string[]
}

export async function openDoor(
  t: { after(callback: () => unknown): void },
  log: Log = new MemoryLog(),
): Promise<DoorHarness> {
  const streams = [streamOf('default'), streamOf('other')]
  for (const { tenant, stream } of streams)
    for (const name of [rawTopic, normalizedTopic, rejectedTopic])
      await log.createTopic(name(tenant, stream), TOPIC)
  const failures: unknown[] = []
  const warnings: string[] = []
  const door = await KafkaDoor.open({
    log,
    streams,
    address: { host: '127.0.0.1', port: 0 },
    advertised: undefined,
    allowAnonymous: true,
    onFailure: (error) => failures.push(error),
    onWarning: (message) => warnings.push(message),
  })
  t.after(async () => {
    await door.close()
    await log.close()
  })
  return { door, log, failures, warnings }
}

export const partitionOf = (device: string): number => {
  const key = Buffer.from(device)
  return partitionOfKey(key, 0, key.length, PARTITIONS)
}

/** A sealed batch of one record for each value. */
export function batchOf(device: string, values: readonly Uint8Array[], timestamp = Date.now()): Uint8Array {
  const builder = new RecordBatchBuilder()
  for (const value of values) builder.append(timestamp, Buffer.from(device), value)
  return builder.finish()
}
