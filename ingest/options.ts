// What an ingest worker is made from: its options (config-options.ts declares and documents what a user may
// set), its log, its streams and its ports to the other workers.
import type { MessagePort, ResourceLimits } from 'node:worker_threads'
import type { Log } from '../log/log.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import type { ListenAddress } from './listener.ts'
import type { SocketMode } from './transport.ts'

export interface IngestOptions {
  /** Whole packet; announced as Maximum Packet Size. */
  packetBytesMax: number
  /** QoS 1 messages an MQTT 5 client may have unacknowledged; announced as Receive Maximum. */
  receiveMaximum: number
  /** Per worker. */
  connectionsMax: number
  /** Received and not yet durable bytes of this worker. */
  bytesMax: number
  /** Messages per second of one device; 0: no limit. */
  deviceRateMax: number
  /** Messages per second of one tenant on this worker; 0: no limit. */
  tenantRateMax: number
  /** Clients without credentials, from this machine only. */
  allowAnonymous: boolean
  /** Credentials file that the first worker keeps the credentials topic in step with. */
  credentialsFile: string | undefined
  socketMode: SocketMode
}

export const INGEST_DEFAULTS: IngestOptions = {
  packetBytesMax: 262_144,
  receiveMaximum: 2048,
  connectionsMax: 100_000,
  bytesMax: 64 << 20,
  deviceRateMax: 0,
  tenantRateMax: 0,
  allowAnonymous: true,
  credentialsFile: undefined,
  socketMode: 'auto',
}

/**
 * Of an ingest worker's thread. A message allocates nothing, so that 4 MiB for young objects (a third of what is given)
 * last as long as the 16 MiB that V8 grows to while many clients connect, and does not give back.
 */
export const INGEST_RESOURCE_LIMITS: ResourceLimits = { maxYoungGenerationSizeMb: 12 }

export interface IngestConfig {
  log: Log
  /** The streams there are; their raw and rejected topics exist in the log. */
  streams: readonly StreamDescriptor[]
  /** Id of the schema of rejected topics. */
  rejectedSchemaId: number
  options?: Partial<IngestOptions>
  /** This worker among those of the process, and its ports to them (hub.ts). */
  index?: number
  ports?: readonly (MessagePort | undefined)[]
  /** Shared memory for INGEST_COUNTERS; the worker's own where there is none. */
  counters?: SharedArrayBuffer
  /** Requests to the log under way at the same time (BatchAccumulator). */
  requestsInFlightMax?: number
  /** The log has stopped, or an invariant broke: the process must end. */
  onFailure: (error: unknown) => void
  /** Something that is no reason to stop went wrong: a credentials file that cannot be read. */
  onWarning?: (error: unknown) => void
}

/** Where it listens; a part that is undefined is off. */
export interface IngestAddresses {
  mqtt: ListenAddress | undefined
  ws: ListenAddress | undefined
}
