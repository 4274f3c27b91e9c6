// The entry of the Kafka door's thread (std/thread.ts): a thread of its own, because a consumer that reads megabytes
// would hold up whatever else ran beside it.
//
//   main ── workerData ──► kafka ── ready { port } ──► main
//   main ── streams ──► kafka ── streams (in force) ──► main
//   kafka ── warning ──► main
//   main ── drain ──► kafka: connections end ── drained ──► main
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { connectLog } from '../log/log-client.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { KafkaDoor, type KafkaDoorOptions } from './door.ts'

export interface KafkaWorkerData
  extends Required<Pick<KafkaDoorOptions, 'address' | 'advertised' | 'allowAnonymous' | 'counters'>> {
  /** To the log thread. */
  logPort: MessagePort
  streams: StreamDescriptor[]
}

type KafkaCommand = { type: 'streams'; streams: StreamDescriptor[] } | { type: 'drain' }

async function start(port: MessagePort, { logPort, ...data }: KafkaWorkerData): Promise<void> {
  const log = await connectLog(logPort)
  const door = await KafkaDoor.open({
    ...data,
    log,
    onFailure: fail,
    onWarning: (message) => port.postMessage({ type: 'warning', message }),
  })
  port.on('message', (command: KafkaCommand) => {
    const done =
      command.type === 'drain' ? door.close().then(() => log.close()) : door.setStreams(command.streams)
    done.then(() => port.postMessage({ type: command.type === 'drain' ? 'drained' : 'streams' })).catch(fail)
  })
  port.postMessage({ type: 'ready', port: door.port })
}

/** Posts the error, then ends the thread. The exit waits a turn, so that the post is on its way. */
function fail(error: unknown): void {
  parentPort!.postMessage(toThreadError(error))
  setImmediate(() => process.exit(1))
}

invariant(parentPort !== null, 'kafka/worker.ts is the entry of a worker thread')
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
start(parentPort, workerData as KafkaWorkerData).catch(fail)
