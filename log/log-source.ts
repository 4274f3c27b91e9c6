// How a stage's thread gets at the log: by a port to the log thread, or by connections of its own to Kafka.
import type { MessagePort } from 'node:worker_threads'
import type { KafkaOptions } from './kafka-options.ts'
import type { Log } from './log.ts'
import { connectLog } from './log-client.ts'

export type LogSource =
  | { kind: 'embedded'; port: MessagePort }
  /** `role`: the thread's name among those of its process. */
  | { kind: 'kafka'; options: KafkaOptions; role: string }

/** Kafka's client is loaded only where the log is there. */
export async function openLogSource(source: LogSource): Promise<Log> {
  if (source.kind === 'embedded') return connectLog(source.port)
  const { openKafkaLog } = await import('./log-kafka.ts')
  return openKafkaLog(source.options, source.role)
}

/** What must be transferred with it to a thread. */
export const portsOf = (source: LogSource): MessagePort[] => (source.kind === 'embedded' ? [source.port] : [])
