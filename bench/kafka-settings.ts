// What the cases on Kafka and their peers agree on.
export const PARTITIONS = 8
export const VALUE_BYTES = 100
