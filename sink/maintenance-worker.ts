// The entry of the maintenance thread (std/thread.ts): rounds over all tables, at low priority, beside the sink. It
// has its own catalog connection; the sink sees it as it sees any other writer.
//
//   maintenance ── ready ──► main ── drain ──► maintenance ── drained (the file at hand is done) ──► main
//   maintenance ── event ──► main
import os from 'node:os'
import { type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { CounterBlock } from '../std/counters.ts'
import { invariant } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { Names, systemClock } from './file-names.ts'
import type { FullMaintenanceOptions } from './maintenance.ts'
import { MAINTENANCE_COUNTERS } from './maintenance-counters.ts'
import { MaintenanceRounds } from './maintenance-rounds.ts'
import { openWarehouse, type WarehouseConfig } from './open-warehouse.ts'

export interface MaintenanceWorkerData {
  warehouse: WarehouseConfig
  intervalMs: number
  options: FullMaintenanceOptions
  /** MAINTENANCE_COUNTERS. */
  counters: SharedArrayBuffer
}

export type MaintenanceEvent = { level: 'info' | 'warn'; table: string; message: string }

async function start(port: MessagePort, data: MaintenanceWorkerData): Promise<void> {
  const { catalog, store, close } = openWarehouse(data.warehouse)
  const rounds = new MaintenanceRounds({
    catalog,
    store,
    names: new Names(systemClock),
    clock: systemClock,
    options: data.options,
    counters: new CounterBlock(MAINTENANCE_COUNTERS, data.counters),
    onEvent: (event) => port.postMessage({ type: 'event', event }),
  })
  const stop = new AbortController()
  let wake = (): void => {}
  port.on('message', () => {
    stop.abort()
    wake()
  })
  port.postMessage({ type: 'ready' })
  while (!stop.signal.aborted) {
    await new Promise<void>((resolve) => {
      // Processes that share tables do not look at the same moment.
      const timer = setTimeout(resolve, data.intervalMs * (0.75 + Math.random() / 2))
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
    if (!stop.signal.aborted) await rounds.run(stop.signal)
  }
  await close()
  port.postMessage({ type: 'drained' })
  port.close()
}

invariant(parentPort !== null, 'sink/maintenance-worker.ts is a worker thread')
const port = parentPort
// On Linux a priority is a thread's, and 0 is the calling one: what devices wait for goes first.
if (os.platform() === 'linux')
  try {
    os.setPriority(0, os.constants.priority.PRIORITY_BELOW_NORMAL)
  } catch {}
start(port, workerData as MaintenanceWorkerData).catch((error: unknown) => {
  port.postMessage(toThreadError(error))
  // The message leaves first; then no timer or port of ours keeps a broken thread alive.
  setImmediate(() => process.exit(1))
})
