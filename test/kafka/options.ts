import { randomUUID } from 'node:crypto'
import type { KafkaOptions } from '../../log/kafka-options.ts'
import type { KafkaBrokers } from './broker.ts'

/** How a process of its own opens the log on these brokers: without a prefix, one copy, no compression. */
export function kafkaOptionsOf({ bootstrap }: KafkaBrokers, more: Partial<KafkaOptions> = {}): KafkaOptions {
  return {
    brokers: bootstrap
      .split(',')
      .map((one) => ({ host: one.split(':')[0]!, port: Number(one.split(':')[1]) })),
    tls: undefined,
    sasl: undefined,
    prefix: '',
    replication: 1,
    compression: 'none',
    instance: randomUUID(),
    ...more,
  }
}
