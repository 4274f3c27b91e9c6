// The entry of the sink's thread (std/thread.ts).
//
//   main ── workerData ──► sink ── ready (every table that can exist does, or SETTLE_MS is over) ──► main
//   sink ── made (every table was tried: it exists or is parked) ──► main
//   main ── streams ──► sink: tables are made and evolve ── streams (done, or SETTLE_MS is over) ──► main
//   sink ── tables (states, when they change) | event (parked, recovered, started over) ──► main
//   main ── drain ──► sink: commits all that the log holds for it ── drained ──► main
//
// A failure that no retry of one table can mend is posted as `error` and ends the thread; main ends the process.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { type LogSource, openLogSource } from '../log/log-source.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { TableEncoder } from './data-file.ts'
import { DecoderPool } from './decode.ts'
import { createFileEncoder } from './encoder.ts'
import { Names, systemClock } from './file-names.ts'
import { openWarehouse, type WarehouseConfig } from './open-warehouse.ts'
import { SINK_OPTIONS_DEFAULT, type SinkEvent, type SinkOptions, SinkStage, type TableStatus } from './run.ts'
import { SINK_COUNTERS } from './sink-counters.ts'
import { feedsOf } from './streams.ts'

export interface SinkWorkerData {
  log: LogSource
  warehouse: WarehouseConfig
  streams: StreamDescriptor[]
  rejectedSchemaId: number
  options: Partial<SinkOptions>
  /** Whether a drain commits all that the log holds (default), or leaves it to others. */
  drainAll?: boolean
  /** Threads that encode; 0: this one. */
  encoders: number
  /** SINK_COUNTERS (sink-counters.ts). */
  counters: SharedArrayBuffer
}

/** From main to the sink. */
export type SinkCommand = { type: 'streams'; streams: StreamDescriptor[] } | { type: 'drain' }

/** From the sink to main; and `error` (std/thread.ts). */
export type SinkReport =
  | { type: 'ready' }
  /** Every table of the first streams exists, or is parked with its reason. */
  | { type: 'made' }
  /** Every table of those `streams` that can exist does, or the wait for them is over. */
  | { type: 'streams' }
  | { type: 'tables'; tables: TableStatus[] }
  | { type: 'event'; event: SinkEvent }
  | { type: 'drained' }

/**
 * How long main waits for tables. A catalog or a warehouse that does not answer may take minutes over a thousand of
 * them, and must hold up neither the devices nor a contract: the log keeps what comes meanwhile.
 */
const SETTLE_MS = 5000
/** How often main hears of states that changed. */
const STATUS_MS = 500

async function start(port: MessagePort, data: SinkWorkerData): Promise<void> {
  const report = (message: SinkReport): void => port.postMessage(message)
  const log = await openLogSource(data.log, { readsAhead: true })
  const { catalog, store, close } = openWarehouse(data.warehouse)
  const files = createFileEncoder(data.encoders)
  const stage = new SinkStage({
    log,
    store,
    names: new Names(systemClock),
    clock: systemClock,
    catalog,
    encoder: new TableEncoder(files),
    decoders: new DecoderPool(data.encoders > 0),
    options: { ...SINK_OPTIONS_DEFAULT, ...data.options },
    counters: new CounterBlock(SINK_COUNTERS, data.counters),
    onEvent: (event) => report({ type: 'event', event }),
  })
  const stop = new AbortController()
  port.on('message', (command: SinkCommand) => {
    if (command.type === 'drain') stop.abort()
    else {
      const feeds = feedsOf(command.streams, data.rejectedSchemaId)
      void settled(stage.updateFeeds(feeds)).then(() => report({ type: 'streams' }))
    }
  })
  const tables = stage.setFeeds(feedsOf(data.streams, data.rejectedSchemaId))
  await settled(tables)
  report({ type: 'ready' })

  let reported = ''
  const reportStates = (): void => {
    const tables = stage.status()
    // The lag changes all the time and is a counter; a state is news.
    const states = JSON.stringify(tables.map(({ lagRecords: _, ...state }) => state))
    if (states === reported) return
    reported = states
    report({ type: 'tables', tables })
  }
  reportStates()
  const timer = setInterval(reportStates, STATUS_MS)
  await tables
  reportStates()
  report({ type: 'made' })
  await stage.run(stop.signal)
  if (data.drainAll ?? true) await stage.drain()
  clearInterval(timer)
  reportStates()
  await files.close()
  await close()
  await log.close()
  report({ type: 'drained' })
  port.close()
}

/** When the work is done, or takes too long to be waited for. */
async function settled(work: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, SETTLE_MS)
  })
  await Promise.race([work, enough]).finally(() => clearTimeout(timer))
}

invariant(parentPort !== null, 'sink/worker.ts is a worker thread')
const port = parentPort
start(port, workerData as SinkWorkerData).catch((error: unknown) => {
  port.postMessage(toThreadError(error))
  // The message leaves first; then no timer or port of ours keeps a broken thread alive.
  setImmediate(() => process.exit(1))
})
