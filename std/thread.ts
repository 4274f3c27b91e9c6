// A worker thread that runs a stage, seen from the main thread: it reports `ready` once, answers `drain` with
// `drained`, and its death by anything but the end of a drain fails the process.
import { once } from 'node:events'
import { type Transferable, Worker } from 'node:worker_threads'
import { ERROR_CODES, type ErrorCode, MillraceError } from './errors.ts'

/** Every message of a stage's thread has a type; the rest depends on it. */
export interface ThreadMessage {
  type: string
  [key: string]: unknown
}

/** An error as it crosses threads: structured clone would lose class and code. */
export interface ThreadError {
  type: 'failed'
  code: string
  message: string
  stack?: string
}

export function toThreadError(error: unknown): ThreadError {
  const { message, stack, code } = error as { message?: string; stack?: string; code?: unknown }
  const known = typeof code === 'string' && code in ERROR_CODES ? code : 'internal'
  return {
    type: 'failed',
    code: known,
    message: message ?? String(error),
    ...(stack === undefined ? {} : { stack }),
  }
}

export class StageThread {
  readonly name: string
  readonly worker: Worker
  /** Rejects when the thread fails or ends unasked; never resolves. */
  readonly failed: Promise<never>
  readonly #listeners = new Map<string, ((message: ThreadMessage) => void)[]>()
  #ending = false

  constructor(name: string, entry: URL, workerData: unknown, transferList: Transferable[] = []) {
    this.name = name
    this.worker = new Worker(entry, { workerData, transferList, name, stdout: false, stderr: false })
    this.failed = new Promise<never>((_, reject) => {
      this.worker.on('error', (error) => reject(this.#failure(toThreadError(error))))
      this.worker.on('exit', (code) => {
        if (!this.#ending) reject(new MillraceError('internal', `thread ${name} ended with code ${code}`))
      })
      this.on('failed', (message) => reject(this.#failure(message as unknown as ThreadError)))
    })
    // Whoever waits for it sees the rejection; nobody waiting is no reason to crash twice.
    this.failed.catch(() => {})
    this.worker.on('message', (message: ThreadMessage) => {
      for (const listener of this.#listeners.get(message.type) ?? []) listener(message)
    })
  }

  on(type: string, listener: (message: ThreadMessage) => void): void {
    const listeners = this.#listeners.get(type)
    if (listeners) listeners.push(listener)
    else this.#listeners.set(type, [listener])
  }

  /** The next message of that type; rejects when the thread fails first. */
  next(type: string): Promise<ThreadMessage> {
    return Promise.race([new Promise<ThreadMessage>((resolve) => this.on(type, resolve)), this.failed])
  }

  send(message: ThreadMessage, transferList: Transferable[] = []): void {
    this.worker.postMessage(message, transferList)
  }

  /** Asks for a drain and waits for it. */
  async drain(): Promise<ThreadMessage> {
    const drained = this.next('drained')
    this.send({ type: 'drain' })
    return drained
  }

  async terminate(): Promise<void> {
    this.#ending = true
    if (this.worker.threadId === -1) return
    await Promise.race([this.worker.terminate(), once(this.worker, 'exit')])
  }

  #failure(error: ThreadError): MillraceError {
    const failure = new MillraceError(
      error.code as ErrorCode,
      error.code === 'internal' ? `thread ${this.name}: ${error.message}` : error.message,
    )
    if (error.stack !== undefined) failure.stack = error.stack
    return failure
  }
}
