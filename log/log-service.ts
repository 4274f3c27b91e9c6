// Starts the log thread and gives out ports to it. The main thread owns it; every stage's thread gets a port of
// its own, with which `connectLog` (log-client.ts) makes the log.
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { StageThread } from '../std/thread.ts'
import type { JournalOptions, JournalStats } from './journal.ts'
import type { TornTail } from './journal-recovery.ts'

/** What crosses to the thread: the journal's options that are plain data. */
export type LogThreadOptions = Omit<
  JournalOptions,
  'disk' | 'now' | 'onTornTail' | 'zeroFiller' | 'fileRemover'
>

export class LogThread {
  /** UUID of the log. */
  readonly id: string
  /** The torn tail that recovery cut at this start. */
  readonly tornTail: TornTail | undefined
  readonly #thread: StageThread

  constructor(thread: StageThread, id: string, tornTail: TornTail | undefined) {
    this.#thread = thread
    this.id = id
    this.tornTail = tornTail
  }

  /** Rejects when the thread fails or ends unasked; never resolves. */
  get failed(): Promise<never> {
    return this.#thread.failed
  }

  /** A port for one client, to be transferred to the thread that calls `connectLog` with it. */
  newPort(): MessagePort {
    const { port1, port2 } = new MessageChannel()
    this.#thread.send({ type: 'connect', port: port1 }, [port1])
    return port2
  }

  async stats(): Promise<JournalStats> {
    const answer = this.#thread.next('stats')
    this.#thread.send({ type: 'stats' })
    return (await answer)['stats'] as JournalStats
  }

  /** Commits what was sent, writes a checkpoint, closes the files, ends the thread. */
  async close(): Promise<void> {
    await this.#thread.drain()
    await this.#thread.terminate()
  }
}

/**
 * Starts the thread and waits until the journal is recovered. The caller holds the data folder's lock
 * (data-folder.ts). Rejects with `log_corrupt`, or what the disk said.
 */
export async function startLogThread(options: LogThreadOptions): Promise<LogThread> {
  const thread = new StageThread('log', new URL('./log-thread.ts', import.meta.url), options)
  let tornTail: TornTail | undefined
  thread.on('tornTail', (message) => {
    tornTail = message['tail'] as TornTail
  })
  try {
    const ready = await thread.next('ready')
    return new LogThread(thread, ready['id'] as string, tornTail)
  } catch (error) {
    await thread.terminate()
    throw error
  }
}
