// The bounds of ingest that are not options. Options have their defaults in options.ts.

/** Topics of a connection's topic cache, at which it starts anew. */
export const TOPIC_CACHE_ROWS_MAX = 65_536
/** Bytes of their rows, at which it starts anew too; a power of two. */
export const TOPIC_CACHE_BYTES_MAX = 4 << 20
/** Topics of it that need an object of their own. */
export const TOPIC_CACHE_ENTRIES_MAX = 8192
/** Filters one connection may hold. */
export const SUBSCRIPTIONS_PER_CONNECTION_MAX = 256
/** Topic aliases a client may use; announced as Topic Alias Maximum. */
export const TOPIC_ALIAS_MAX = 32
/** Unacknowledged QoS 1 PUBLISH a 3.1.1 client may have: every packet id once. */
export const IN_FLIGHT_V4_MAX = 65_535
/** Milliseconds a new connection has to send its CONNECT. */
export const CONNECT_TIMEOUT_MS = 10_000
/** Connections that have not sent their CONNECT of which as many are read at a time: what one turn of the event loop can take. */
export const CONNECTING_MAX = 64
/** Milliseconds after which one of them that says nothing makes room for another. */
export const CONNECTING_TURN_MS = 10
/** Connections whose end, by their peer or an error, is dealt with in one turn of the event loop. */
export const ENDS_OF_TURN_MAX = 64
/** Milliseconds between sweeps over all connections (keep-alive, connect timeout, memory of idle ones). */
export const SWEEP_INTERVAL_MS = 500
/** Bytes waiting in one subscriber's socket above which live messages to it are not queued any more. */
export const DELIVERY_BYTES_MAX = 1 << 20
/** QoS 1 messages in flight to a 3.1.1 subscriber, which cannot announce a Receive Maximum. */
export const DELIVERY_IN_FLIGHT_V4_MAX = 1024
/** Bytes on the way to another worker above which publishers of this one are not read. */
export const HUB_BYTES_MAX = 16 << 20
/** Presence records waiting for the log, above which they are counted instead. */
export const PRESENCE_WAITING_MAX = 20_000
/** Presence records of one append, which are put together in one go. */
export const PRESENCE_RECORDS_PER_APPEND_MAX = 512
/** Bytes that a client may leave unread before it is cut off. */
export const OUTPUT_BYTES_MAX = 4 << 20
/** Refusals of one session that become presence records; the others are counted. */
export const AUDITS_PER_SESSION_MAX = 16
/** Bytes of live messages that wait to become durable, above which their publishers are not read. */
export const LIVE_BYTES_MAX = 16 << 20
/** Wills that wait for a log that is behind; more are counted. */
export const WILLS_WAITING_MAX = 1000
/** Milliseconds that a commit lingers while no client waits for it in order to publish again. */
export const LINGER_MS = 2
/** Milliseconds that a drain waits for the log before connections are closed without their acknowledgements. */
export const DRAIN_MS_MAX = 15_000
/** Devices whose rate is measured at the same time; those within it are forgotten above that. */
export const DEVICE_BUCKETS_MAX = 65_536
