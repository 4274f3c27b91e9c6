// What the sink does for a stream: its normalized topic fills its table, its rejected topic the table of
// rejected records.
import { nullableOf } from '../schemas/avro-node.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { normalizedTopic, rejectedTableOf, rejectedTopic, tableOf } from '../schemas/names.ts'
import { REJECTED_SCHEMA } from '../schemas/rejected.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { BatchDecoder } from './decode.ts'
import type { FeedSpec } from './feed.ts'
import { rejectedShape, type TableShape, telemetryShape } from './table-schema.ts'

/** The two feeds of each stream. `rejectedSchemaId`: the registry's id of the one rejected schema. */
export function feedsOf(streams: readonly StreamDescriptor[], rejectedSchemaId: number): FeedSpec[] {
  return streams.flatMap((stream) => [telemetryFeed(stream), rejectedFeed(stream, rejectedSchemaId)])
}

function telemetryFeed(stream: StreamDescriptor): FeedSpec {
  const writers = stream.writers.some((one) => one.id === stream.schemaId)
    ? stream.writers
    : [...stream.writers, { id: stream.schemaId, schema: stream.schema }]
  return {
    id: { namespace: stream.tenant, name: tableOf(stream.stream) },
    topic: normalizedTopic(stream.tenant, stream.stream),
    shape: shapeOf(stream),
    decoder: (isShared) =>
      new BatchDecoder({ schema: stream.schema, writers, lineage: 'telemetry', isShared }),
    origin: stream,
  }
}

/** The table that a stream wants. */
export function shapeOf(stream: Pick<StreamDescriptor, 'schema' | 'fields' | 'table'>): TableShape {
  const eventTime = stream.fields.find((field) => field.role === 'event_time')?.name
  return telemetryShape({
    schema: stream.schema,
    ...(eventTime !== undefined && isTimestamp(stream.schema, eventTime) ? { eventTime } : {}),
    aliases: new Map(stream.fields.map((field) => [field.name, field.aliases ?? []])),
    ...(stream.table.bucketDevices === undefined ? {} : { bucketDevices: stream.table.bucketDevices }),
  })
}

/** Only a timestamp has a day; an event time of another type (seconds as a double) leaves the receive time. */
function isTimestamp(schema: string, field: string): boolean {
  const record = parseAvroSchema(schema)
  if (record.kind !== 'record') return false
  const node = record.fields.find((one) => one.name === field)?.node
  const value = node === undefined ? undefined : (nullableOf(node)?.value ?? node)
  return (
    value?.kind === 'long' && (value.logical === 'timestamp-micros' || value.logical === 'timestamp-millis')
  )
}

function rejectedFeed(stream: StreamDescriptor, rejectedSchemaId: number): FeedSpec {
  const writers = [{ id: rejectedSchemaId, schema: REJECTED_SCHEMA }]
  return {
    id: { namespace: stream.tenant, name: rejectedTableOf(stream.stream) },
    topic: rejectedTopic(stream.tenant, stream.stream),
    shape: rejectedShape(REJECTED_SCHEMA, 'receive_time', 'device'),
    decoder: (isShared) =>
      new BatchDecoder({ schema: REJECTED_SCHEMA, writers, lineage: 'rejected', isShared }),
    origin: rejectedSchemaId,
  }
}
