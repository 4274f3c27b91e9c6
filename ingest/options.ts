// The options of ingest, as main passes them (config.ts declares, documents and checks what a user may set).
import type { ReadMode } from './transport.ts'

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
  readMode: ReadMode
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
  readMode: 'auto',
}
