// The entry of the sink's thread (std/thread.ts).
//
//   main ── workerData ──► sink ── ready (every table that can exist does) ──► main
//   main ── streams ──► sink: tables are made and evolve ── streams (done) ──► main
//   sink ── tables (states, when they change) | event (parked, recovered, started over) ──► main
//   main ── drain ──► sink: commits all that the log holds for it ── drained ──► main
//
// A failure that no retry of one table can mend is posted as `error` and ends the thread; main ends the process.
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { connectLog } from '../log/log-client.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import { CounterBlock } from '../std/counters.ts'
import { NodeDisk } from '../std/disk.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { PointerCatalog } from './catalog.ts'
import { SqlitePointers } from './catalog-sqlite.ts'
import { TableEncoder } from './data-file.ts'
import { DecoderPool } from './decode.ts'
import { createFileEncoder } from './encoder.ts'
import { Names, systemClock } from './file-names.ts'
import { SINK_OPTIONS_DEFAULT, type SinkEvent, type SinkOptions, SinkStage, type TableStatus } from './run.ts'
import { SINK_COUNTERS } from './sink-counters.ts'
import { fileUri, LocalStore } from './store.ts'
import { feedsOf } from './streams.ts'

export interface SinkWorkerData {
  /** To the log thread. */
  logPort: MessagePort
  /** Path of catalog.db, and folder of the warehouse. */
  catalogFile: string
  warehouse: string
  streams: StreamDescriptor[]
  rejectedSchemaId: number
  options: Partial<SinkOptions>
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
  /** Every table of the last `streams` that can exist does. */
  | { type: 'streams' }
  | { type: 'tables'; tables: TableStatus[] }
  | { type: 'event'; event: SinkEvent }
  | { type: 'drained' }

/** Name of the catalog in catalog.db; readers must give it as theirs. */
export const CATALOG_NAME = 'millrace'

/** How often main hears of states that changed. */
const STATUS_MS = 500

async function start(port: MessagePort, data: SinkWorkerData): Promise<void> {
  const report = (message: SinkReport): void => port.postMessage(message)
  const log = await connectLog(data.logPort)
  const names = new Names(systemClock)
  const store = new LocalStore(new NodeDisk())
  const pointers = new SqlitePointers(data.catalogFile, CATALOG_NAME)
  const warehouse = fileUri(data.warehouse)
  const files = createFileEncoder(data.encoders)
  const stage = new SinkStage({
    log,
    store,
    names,
    clock: systemClock,
    catalog: new PointerCatalog(CATALOG_NAME, pointers, store, warehouse, names, systemClock),
    encoder: new TableEncoder(files),
    decoders: new DecoderPool(),
    options: { ...SINK_OPTIONS_DEFAULT, ...data.options },
    counters: new CounterBlock(SINK_COUNTERS, data.counters),
    onEvent: (event) => report({ type: 'event', event }),
  })
  const stop = new AbortController()
  port.on('message', (command: SinkCommand) => {
    if (command.type === 'drain') stop.abort()
    else {
      const feeds = feedsOf(command.streams, data.rejectedSchemaId)
      void stage.updateFeeds(feeds).then(() => report({ type: 'streams' }))
    }
  })
  await stage.setFeeds(feedsOf(data.streams, data.rejectedSchemaId))
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
  await stage.run(stop.signal)
  await stage.drain()
  clearInterval(timer)
  reportStates()
  await files.close()
  await pointers.close()
  await log.close()
  report({ type: 'drained' })
  port.close()
}

invariant(parentPort !== null, 'sink/worker.ts is a worker thread')
const port = parentPort
start(port, workerData as SinkWorkerData).catch((error: unknown) => {
  port.postMessage(toThreadError(error))
  // The message leaves first; then no timer or port of ours keeps a broken thread alive.
  setImmediate(() => process.exit(1))
})
