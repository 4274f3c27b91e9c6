// How a process reaches Kafka, checked once (config.ts), then passed to every thread as plain data.

export interface KafkaOptions {
  /** Bootstrap brokers; the others are learnt from them. */
  brokers: { host: string; port: number }[]
  tls: KafkaTls | undefined
  sasl: KafkaSasl | undefined
  /** Before the name of every topic, group and transactional id. */
  prefix: string
  /** Copies of each partition of a topic that is made; 0: as many as there are brokers, three at most. */
  replication: number
  compression: KafkaCompression
  /**
   * Who this process is, across its restarts: a process that comes back takes over from its former self at once.
   * Two that run at the same time must differ.
   */
  instance: string
  /** How long the first contact may take; half a minute by default. */
  bootstrapMsMax?: number
}

export type KafkaCompression = 'none' | 'lz4' | 'zstd'

export interface KafkaTls {
  /** PEM files' contents; the system's authorities where absent. */
  ca: string | undefined
  cert: string | undefined
  key: string | undefined
}

export interface KafkaSasl {
  mechanism: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  username: string
  password: string
}
