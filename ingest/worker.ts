// The entry of an ingest worker thread.
//
//   main ── workerData ──► worker ── ready { mqttPort, wsPort, socketMeans } ──► main
//   main ── streams ──► worker ── streams (in force) ──► main
//   main ── quota | credentials | disconnect ──► worker
//   main ── drain ──► worker: no new connections, flush, acknowledgements, DISCONNECT 0x8B ── drained ──► main
//
// A worker that fails posts `failed` with the error's code and ends; main ends the process (exit 70, or the
// code's own). It is never restarted in place, because a second life would not know what the first acknowledged.
// After `drained` it waits to be terminated.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { type LogSource, openLogSource } from '../log/log-source.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { createIngest, type Ingest } from './ingest.ts'
import type { IngestAddresses, IngestOptions } from './options.ts'

export interface IngestWorkerData {
  log: LogSource
  /** This worker among `hubPorts`, which lead to the others; undefined at its own place. */
  index: number
  hubPorts: (MessagePort | undefined)[]
  addresses: IngestAddresses
  options: Partial<IngestOptions>
  streams: StreamDescriptor[]
  rejectedSchemaId: number
  /** INGEST_COUNTERS (counters.ts). */
  counters: SharedArrayBuffer
}

/** From main to a worker. */
export type IngestCommand =
  | { type: 'streams'; streams: StreamDescriptor[] }
  | { type: 'quota'; tenant: string; isFull: boolean }
  /** The credentials topic has grown: look now. */
  | { type: 'credentials' }
  | { type: 'disconnect'; tenant: string; device: string; detail: string }
  | { type: 'drain' }

/** From a worker to main; `failed` is a ThreadError (std/thread.ts). */
export type IngestReport =
  /** 0: not listening there. `socketMeans`: by what clients are read and written. */
  | { type: 'ready'; mqttPort: number; wsPort: number; socketMeans: string }
  /** The last `streams` are in force. */
  | { type: 'streams' }
  | { type: 'drained' }
  /** No reason to stop: a credentials file that cannot be read, for one. */
  | { type: 'warning'; message: string }

const KAFKA_REQUESTS_IN_FLIGHT = 4

async function run(port: MessagePort, data: IngestWorkerData): Promise<void> {
  const report = (message: IngestReport) => port.postMessage(message)
  const log = await openLogSource(data.log)
  const ingest = await createIngest({
    log,
    streams: data.streams,
    rejectedSchemaId: data.rejectedSchemaId,
    options: data.options,
    index: data.index,
    ports: data.hubPorts,
    counters: data.counters,
    // Kafka never refuses for a backlog, and one partition without a leader must not hold up the others.
    requestsInFlightMax: data.log.kind === 'kafka' ? KAFKA_REQUESTS_IN_FLIGHT : 1,
    onFailure: fail,
    onWarning: (error) => report({ type: 'warning', message: toThreadError(error).message }),
  })
  const ports = await ingest.listen(data.addresses)
  port.on('message', (command: IngestCommand) => {
    obey(ingest, command, report).catch(fail)
  })
  report({ type: 'ready', ...ports, socketMeans: ingest.socketMeans })
}

async function obey(
  ingest: Ingest,
  command: IngestCommand,
  report: (message: IngestReport) => void,
): Promise<void> {
  switch (command.type) {
    case 'streams':
      ingest.updateStreams(command.streams)
      report({ type: 'streams' })
      break
    case 'quota':
      ingest.setQuotaFull(command.tenant, command.isFull)
      break
    case 'credentials':
      await ingest.identity.refresh()
      break
    case 'disconnect':
      ingest.disconnectDevice(command.tenant, command.device, command.detail)
      break
    case 'drain':
      await ingest.drain()
      report({ type: 'drained' })
      break
  }
}

/** Posts the error, then ends the thread. The exit waits a turn, so that the post is on its way. */
function fail(error: unknown): void {
  parentPort!.postMessage(toThreadError(error))
  setImmediate(() => process.exit(1))
}

invariant(parentPort !== null, 'ingest/worker.ts is the entry of a worker thread')
process.on('uncaughtException', fail)
process.on('unhandledRejection', fail)
run(parentPort, workerData as IngestWorkerData).catch(fail)
