// What the Kafka door counts; main shows it at /metrics.

export const KAFKA_COUNTERS = [
  'connections',
  'requests',
  'bytesIn',
  'bytesOut',
  'recordsProduced',
  'batchesRefused',
  'connectionsRefused',
] as const
export type KafkaCounter = (typeof KAFKA_COUNTERS)[number]
