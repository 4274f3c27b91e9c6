// The options of the log on Kafka (log/kafka-options.ts), out of a configuration.
import fs from 'node:fs'
import type { Config } from './config.ts'
import type { KafkaOptions } from './log/kafka-options.ts'

/** `instance`: who the process is across its restarts. */
export function kafkaOptions(config: Config, instance: string): KafkaOptions {
  const pem = (file: string | undefined): string | undefined =>
    file === undefined ? undefined : fs.readFileSync(file, 'utf8')
  const { logKafkaSasl: mechanism, logKafkaTls } = config
  return {
    brokers: config.log
      .slice('kafka://'.length)
      .split(',')
      .map((one) => ({ host: one.split(':')[0]!, port: Number(one.split(':')[1]) })),
    tls:
      logKafkaTls === 'off'
        ? undefined
        : {
            ca: pem(config.logKafkaTlsCa),
            cert: pem(config.logKafkaTlsCert),
            key: pem(config.logKafkaTlsKey),
          },
    sasl:
      mechanism === 'off'
        ? undefined
        : { mechanism, username: config.logKafkaUsername!, password: config.logKafkaPassword! },
    prefix: config.logKafkaPrefix ?? '',
    replication: config.logKafkaReplication,
    compression: config.logKafkaCompression,
    instance,
  }
}
