// A worker thread that runs a stage, seen from the main thread: it reports `ready` once, answers `drain` with
// `drained`, and its death by anything but the end of a drain fails the process.
import { once } from 'node:events'
import { type ResourceLimits, type Transferable, Worker } from 'node:worker_threads'
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

interface Waiting {
  type: string
  resolve: (message: ThreadMessage) => void
  reject: (error: MillraceError) => void
}

export class StageThread {
  readonly name: string
  readonly worker: Worker
  /** Rejects when the thread fails or ends unasked; never resolves. */
  readonly failed: Promise<never>
  readonly #listeners = new Map<string, ((message: ThreadMessage) => void)[]>()
  /** Calls of `next` that wait. */
  readonly #waiting = new Set<Waiting>()
  #failedWith: MillraceError | undefined
  #ending = false

  constructor(
    name: string,
    entry: URL,
    workerData: unknown,
    transferList: Transferable[] = [],
    resourceLimits: ResourceLimits = {},
  ) {
    this.name = name
    this.worker = new Worker(entry, {
      workerData,
      transferList,
      name,
      resourceLimits,
      stdout: false,
      stderr: false,
    })
    this.failed = new Promise<never>((_, reject) => {
      const fail = (error: MillraceError): void => {
        this.#failedWith ??= error
        for (const waiting of this.#waiting) waiting.reject(this.#failedWith)
        this.#waiting.clear()
        reject(this.#failedWith)
      }
      this.worker.on('error', (error) => fail(this.#failure(toThreadError(error))))
      this.worker.on('exit', (code) => {
        // Whoever still waits would wait for ever; an end that was asked for is no failure of the process.
        const ended = new MillraceError('internal', `thread ${name} ended with code ${code}`)
        if (!this.#ending) fail(ended)
        for (const waiting of this.#waiting) waiting.reject(ended)
      })
      this.on('failed', (message) => fail(this.#failure(message as unknown as ThreadError)))
    })
    // Whoever waits for it sees the rejection; nobody waiting is no reason to crash twice.
    this.failed.catch(() => {})
    this.worker.on('message', (message: ThreadMessage) => this.#receive(message))
  }

  on(type: string, listener: (message: ThreadMessage) => void): void {
    const listeners = this.#listeners.get(type)
    if (listeners) listeners.push(listener)
    else this.#listeners.set(type, [listener])
  }

  /** The next message of that type; rejects when the thread fails first. */
  next(type: string): Promise<ThreadMessage> {
    if (this.#failedWith !== undefined) return Promise.reject(this.#failedWith)
    // No race with `failed`: it settles once in the life of a process, and would keep every racer until then.
    return new Promise((resolve, reject) => this.#waiting.add({ type, resolve, reject }))
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

  #receive(message: ThreadMessage): void {
    for (const waiting of this.#waiting) {
      if (waiting.type !== message.type) continue
      this.#waiting.delete(waiting)
      waiting.resolve(message)
    }
    for (const listener of this.#listeners.get(message.type) ?? []) listener(message)
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
