// What one ingest worker counts, in shared memory that the main thread reads. Hot code adds to
// `values[C.name]`; the names are the metrics' names without their prefix.

/** Upper bounds of the PUBACK latency histogram, milliseconds from the receipt of a commit's first message. */
export const ACK_LATENCY_BOUNDS_MS = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] as const

export const INGEST_COUNTERS = [
  // Gauges
  'connections',
  'sessions',
  'subscriptions',
  'pausedReads',
  'slowedClients',
  'bytesWaiting',
  // Connections
  'connectionsAccepted',
  'connectionsOverLimit',
  'connects',
  'connectsRefused',
  'disconnects',
  'takeovers',
  'keepAliveTimeouts',
  'administrativeDisconnects',
  'malformedPackets',
  // Messages in
  'bytesIn',
  'messagesInQos0',
  'messagesInQos1',
  'accepted',
  'rejected',
  'rejectedNotKept',
  'ordinary',
  'acknowledged',
  // Refusals, in the order of refusals.ts
  'refusedPayloadInvalid',
  'refusedNotAuthorized',
  'refusedTopicUnknown',
  'refusedQuotaFull',
  'refusedQos2',
  'refusedRetain',
  'refusedSharedSubscription',
  'refusedSubscriptionIdentifier',
  'refusedEnhancedAuthentication',
  'refusedPacketTooLarge',
  'refusedInFlightExceeded',
  // Live delivery
  'delivered',
  'deliveryDropped',
  'bytesOut',
  /** Of these, how many writes shared their system call with others (send-batch.ts). */
  'sendsGathered',
  // Back-pressure
  'readPauses',
  'slowed',
  // PUBACK latency: one per bound, then the rest, then the sum in ms
  'ackLatencyMs1',
  'ackLatencyMs2',
  'ackLatencyMs3',
  'ackLatencyMs5',
  'ackLatencyMs10',
  'ackLatencyMs20',
  'ackLatencyMs50',
  'ackLatencyMs100',
  'ackLatencyMs200',
  'ackLatencyMs500',
  'ackLatencyMs1000',
  'ackLatencyMs2000',
  'ackLatencyMs5000',
  'ackLatencyMsMore',
  'ackLatencyMsSum',
  // Side records
  'presenceNotKept',
  'willsNotKept',
] as const

export type IngestCounter = (typeof INGEST_COUNTERS)[number]

/** Slot of each counter. */
export const C = Object.fromEntries(INGEST_COUNTERS.map((name, index) => [name, index])) as Readonly<
  Record<IngestCounter, number>
>
