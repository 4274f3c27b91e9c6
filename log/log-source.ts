// How a stage's thread gets at the log: by a port to the log thread, or by connections of its own to Kafka.
import type { MessagePort } from 'node:worker_threads'
import type { KafkaOptions } from './kafka-options.ts'
import type { Log } from './log.ts'
import { connectLog, type LogClientOptions } from './log-client.ts'

export type LogSource =
  | { kind: 'embedded'; port: MessagePort }
  /** `role`: the thread's name among those of its process. */
  | { kind: 'kafka'; options: KafkaOptions; role: string }

/** Kafka's client is loaded only where the log is there. `options`: of the embedded log. */
export async function openLogSource(source: LogSource, options: LogClientOptions = {}): Promise<Log> {
  if (source.kind === 'embedded') return connectLog(source.port, options)
  const { openKafkaLog } = await import('./log-kafka.ts')
  return openKafkaLog(source.options, source.role)
}

/** What must be transferred with it to a thread. */
export const portsOf = (source: LogSource): MessagePort[] => (source.kind === 'embedded' ? [source.port] : [])
