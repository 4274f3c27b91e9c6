// Contracts meet the registry: registers the schemas of compiled streams and completes their descriptors.
import type { PlacedStream } from './contract.ts'
import type { RegisteredVersion, SchemaRegistry } from './registry.ts'
import type { StreamDescriptor } from './stream.ts'

/**
 * Registers each stream's schema and returns the descriptors with ids and writer schemas. All are checked before
 * the first is registered, so that a contract with one incompatible stream leaves nothing behind.
 * Errors: schema_incompatible, schema_invalid.
 */
export async function registerStreams(
  registry: SchemaRegistry,
  streams: readonly PlacedStream[],
): Promise<StreamDescriptor[]> {
  await registry.refresh()
  for (const { subject, schema } of streams) await registry.ensureCompatible(subject, schema)
  const descriptors: StreamDescriptor[] = []
  for (const stream of streams) {
    const current = await registry.register(stream.subject, stream.schema)
    descriptors.push(describeStream(registry, stream, current))
  }
  return descriptors
}

/** The descriptor of a stream as the registry is now; called again after a change of its subject. */
export function describeStream(
  registry: SchemaRegistry,
  stream: PlacedStream,
  current: RegisteredVersion = registry.lookup(stream.subject, stream.schema, true),
): StreamDescriptor {
  return {
    ...stream,
    schemaId: current.id,
    // Soft-deleted versions too: records that carry their ids are still in the log.
    writers: registry.versions(stream.subject, true).map(({ id, schema }) => ({ id, schema })),
  }
}
