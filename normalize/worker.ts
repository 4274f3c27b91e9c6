// The entry of the normalize thread (std/thread.ts).
//
//   main ── workerData ──► normalize ── ready (state restored, following the raw topics) ──► main
//   main ── streams ──► normalize: new streams and new versions ── streams (in force) ──► main
//   main ── tally ──► normalize ── tally (duplicates and rejected records, ever) ──► main
//   normalize ── stream_stopped (name, code, message) | warning ──► main
//   main ── drain ──► normalize: deals with all that the log holds ── drained ──► main
//
// A failure that stops more than one stream is posted as `error` and ends the thread; main ends the process.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { type LogSource, openLogSource } from '../log/log-source.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { NORMALIZE_COUNTERS, type NormalizeCounter } from './counters.ts'
import { type NormalizeOptions, NormalizeStage } from './run.ts'

export interface NormalizeWorkerData {
  log: LogSource
  streams: StreamDescriptor[]
  rejectedSchemaId: number
  /** NORMALIZE_COUNTERS (counters.ts). */
  counters: SharedArrayBuffer
  options?: Pick<NormalizeOptions, 'share' | 'limits' | 'references' | 'stepBytesMax' | 'drainAll'>
}

/** From main to normalize. */
export type NormalizeCommand =
  | { type: 'streams'; streams: StreamDescriptor[] }
  | { type: 'tally' }
  | { type: 'drain' }

/** From normalize to main; and `error` (std/thread.ts). */
export type NormalizeReport =
  | { type: 'ready' }
  /** The last `streams` are in force. */
  | { type: 'streams' }
  | { type: 'tally'; duplicates: number; rejected: number }
  | { type: 'stream_stopped'; stream: string; code: string; message: string }
  | { type: 'warning'; message: string }
  | { type: 'drained' }

async function start(port: MessagePort, data: NormalizeWorkerData): Promise<void> {
  const report = (message: NormalizeReport): void => port.postMessage(message)
  const log = await openLogSource(data.log)
  const stage = new NormalizeStage({
    ...data.options,
    log,
    streams: data.streams,
    rejectedSchemaId: data.rejectedSchemaId,
    counters: new CounterBlock<NormalizeCounter>(NORMALIZE_COUNTERS, data.counters),
    onStreamError: (stream, { code, message }) => {
      report({ type: 'stream_stopped', stream, code, message })
      report({ type: 'warning', message: `stream ${stream} stopped: ${message}` })
    },
  })
  await stage.start()
  const drain = new AbortController()
  port.on('message', (command: NormalizeCommand) => {
    if (command.type === 'drain') drain.abort()
    else if (command.type === 'tally') report({ type: 'tally', ...stage.account() })
    else void stage.setStreams(command.streams).then(() => report({ type: 'streams' }))
  })
  report({ type: 'ready' })
  await stage.run(drain.signal)
  await log.close()
  report({ type: 'drained' })
  port.close()
}

invariant(parentPort !== null, 'normalize/worker.ts is a worker thread')
const port = parentPort
start(port, workerData as NormalizeWorkerData).catch((error: unknown) => {
  port.postMessage(toThreadError(error))
  // The message leaves first; then no timer or port of ours keeps a broken thread alive.
  setImmediate(() => process.exit(1))
})
