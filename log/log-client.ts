// The log as a client in any thread sees it: `connectLog(port)` with a port from LogThread.newPort().
//
// Batches that lie in shared memory are not copied: the client names their buffer once and then sends byte
// offsets. Other memory is copied into a shared ring of the client's. Reads ask the log thread only where
// batches lie; the bytes are read by this thread, from the journal's tail in shared memory or the segment file.
import { once } from 'node:events'
import type { MessagePort } from 'node:worker_threads'
import { copyShared } from '../std/copy.ts'
import { type Disk, NodeDisk } from '../std/disk.ts'
import { type ErrorCode, MillraceError } from '../std/errors.ts'
import { AheadReader } from './journal-ahead.ts'
import { SegmentReader } from './journal-read.ts'
import { TailReader } from './journal-tail.ts'
import type {
  AppendRequest,
  AppendResult,
  Changes,
  Log,
  PartitionRange,
  ReadResult,
  Topic,
  TopicConfig,
} from './log.ts'
import { READ_ATTEMPTS, unreadable } from './log-embedded.ts'
import {
  type Answer,
  type AnswerValue,
  type Call,
  ENTRY_IS_BATCH,
  ENTRY_IS_CRC_PENDING,
  ENTRY_IS_REFERENCE,
  OP_APPEND,
  OP_APPENDED,
  OP_PLACES,
  OP_READ,
  type Welcome,
} from './log-protocol.ts'
import { SharedRing } from './shared-ring.ts'

const RING_BYTES = 1 << 20

interface Waiting {
  resolve: (value: never) => void
  reject: (error: Error) => void
  /** Bytes that the append holds in the ring. */
  ringBytes: number
  /** Number of a buffer made for this append alone; -1 where there is none. */
  buffer: number
}

interface Places {
  generation: number
  /** Every segment before this one is durable, and this one up to `position`. */
  segment: number
  position: number
  nextOffset: number
  places: number[]
}

export interface LogClientOptions {
  /** Whether a backlog is read past the page cache (journal-ahead.ts): for who comes by once, and works meanwhile. */
  readsAhead?: boolean
  /** Where the segment files are read. */
  disk?: Disk
}

/** Waits for the log thread's greeting and returns the log behind the port. */
export async function connectLog(port: MessagePort, options: LogClientOptions = {}): Promise<Log> {
  const greeting = once(port, 'message')
  port.start()
  const [message] = (await greeting) as [Answer]
  if (!('type' in message) || message.type !== 'welcome')
    throw new MillraceError('log_stopped', 'the log is closed')
  return new LogClient(port, message, options)
}

class LogClient implements Log {
  readonly id: string
  readonly #dir: string
  readonly #port: MessagePort
  readonly #reader: SegmentReader
  readonly #ahead: AheadReader | undefined
  readonly #ring = new SharedRing(RING_BYTES)
  readonly #waiting = new Map<number, Waiting>()
  readonly #names = new Map<string, number>()
  readonly #buffers = new WeakMap<SharedArrayBuffer, number>()
  #nextBuffer = 0
  #nextRequest = 0
  #closed: MillraceError | undefined

  constructor(port: MessagePort, welcome: Welcome, { readsAhead, disk = new NodeDisk() }: LogClientOptions) {
    this.id = welcome.id
    this.#dir = welcome.dir
    this.#port = port
    const tail = new TailReader(welcome.tail)
    this.#ahead = readsAhead === true ? new AheadReader(disk, welcome.dir, tail) : undefined
    this.#reader = new SegmentReader(disk, welcome.dir, welcome.verifyReads, tail, this.#ahead)
    port.on('message', (message: number[] | Answer) => this.#receive(message))
    port.on('close', () => this.#fail(new MillraceError('log_stopped', 'the log thread ended')))
  }

  createTopic(name: string, config: TopicConfig): Promise<Topic> {
    return this.#call((request) => ({ type: 'createTopic', request, name, config }))
  }

  describeTopic(name: string): Promise<Topic | undefined> {
    return this.#call((request) => ({ type: 'describeTopic', request, name }))
  }

  listTopics(): Promise<Topic[]> {
    return this.#call((request) => ({ type: 'listTopics', request }))
  }

  range(topic: string, partition: number): Promise<PartitionRange> {
    return this.#call((request) => ({ type: 'range', request, topic, partition }))
  }

  changes(sequence: number, timeoutMs: number): Promise<Changes> {
    return this.#call((request) => ({ type: 'changes', request, sequence, timeoutMs }))
  }

  position(stage: string, topic: string, partition: number): Promise<number | undefined> {
    return this.#call((request) => ({ type: 'position', request, stage, topic, partition }))
  }

  append(request: AppendRequest): Promise<AppendResult> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const { entries, positions = [] } = request
    const number = this.#nextRequest++
    const message: number[] = [OP_APPEND, number, entries.length, positions.length]
    const copies = this.#copies(request)
    let copied = 0
    for (const entry of entries) {
      const topic = this.#name(entry.topic)
      const expected = entry.expectedOffset ?? -1
      if ('reference' in entry) {
        const { topic: source, partition, baseOffset } = entry.reference
        message.push(ENTRY_IS_REFERENCE, topic, entry.partition, this.#name(source), partition, baseOffset)
        message.push(entry.recordCount, expected)
        continue
      }
      const kind = entry.isCrcPending === true ? ENTRY_IS_CRC_PENDING : ENTRY_IS_BATCH
      if (entry.batch.buffer instanceof SharedArrayBuffer) {
        const { buffer, byteOffset, byteLength } = entry.batch
        message.push(kind, topic, entry.partition, this.#buffer(buffer), byteOffset, byteLength)
      } else {
        const { byteLength } = entry.batch
        const from = copies.at + copied
        copyShared(entry.batch, copies.into, from)
        message.push(kind, topic, entry.partition, copies.buffer, from, byteLength)
        copied += byteLength
      }
      message.push(entry.recordCount, expected)
    }
    for (const { stage, topic, partition, nextOffset } of positions)
      message.push(this.#name(stage), this.#name(topic), partition, nextOffset)
    return new Promise<AppendResult>((resolve, reject) => {
      const { ringBytes, owned } = copies
      this.#waiting.set(number, { resolve, reject, ringBytes, buffer: owned ? copies.buffer : -1 })
      this.#port.postMessage(message)
    })
  }

  async read(topic: string, partition: number, offset: number, bytesMax: number): Promise<ReadResult> {
    let answer: Places
    for (let attempt = 1; ; attempt++) {
      answer = await this.#locate(topic, partition, offset, bytesMax)
      const ahead = this.#ahead?.prepare(answer.places, answer.segment, answer.position)
      if (ahead !== undefined) {
        await ahead
        // Nobody would close the files that are opened from here on.
        if (this.#closed !== undefined) throw this.#closed
      }
      const batches = this.#reader.read(answer.places, answer.generation)
      if (batches !== undefined) return { batches, nextOffset: answer.nextOffset }
      if (attempt === READ_ATTEMPTS) throw unreadable(this.#dir, answer.places)
    }
  }

  async close(): Promise<void> {
    if (this.#closed !== undefined) return
    this.#port.postMessage({ type: 'close' } satisfies Call)
    this.#fail(new MillraceError('log_stopped', 'the log is closed'))
    this.#reader.close()
    this.#port.close()
  }

  #locate(topic: string, partition: number, offset: number, bytesMax: number): Promise<Places> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const name = this.#name(topic)
    const number = this.#nextRequest++
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, ringBytes: 0, buffer: -1 })
      this.#port.postMessage([OP_READ, number, name, partition, offset, bytesMax])
    })
  }

  #call<Result extends AnswerValue>(make: (request: number) => Call): Promise<Result> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    const number = this.#nextRequest++
    return new Promise((resolve, reject) => {
      this.#waiting.set(number, { resolve, reject, ringBytes: 0, buffer: -1 })
      this.#port.postMessage(make(number))
    })
  }

  /** Shared memory for the batches of a request that lie elsewhere. */
  #copies(request: AppendRequest): {
    into: Buffer
    at: number
    buffer: number
    ringBytes: number
    owned: boolean
  } {
    let bytes = 0
    for (const entry of request.entries)
      if (!('reference' in entry) && !(entry.batch.buffer instanceof SharedArrayBuffer))
        bytes += entry.batch.byteLength
    if (bytes === 0) return { into: this.#ring.bytes, at: 0, buffer: 0, ringBytes: 0, owned: false }
    const taken = this.#ring.take(bytes)
    if (taken >= 0)
      return {
        into: this.#ring.bytes,
        at: taken,
        buffer: this.#buffer(this.#ring.buffer),
        ringBytes: this.#ring.lastTaken,
        owned: false,
      }
    const own = new SharedArrayBuffer(bytes)
    return { into: Buffer.from(own), at: 0, buffer: this.#buffer(own), ringBytes: 0, owned: true }
  }

  #name(name: string): number {
    let id = this.#names.get(name)
    if (id === undefined) {
      id = this.#names.size
      this.#names.set(name, id)
      this.#port.postMessage({ type: 'name', id, name } satisfies Call)
    }
    return id
  }

  #buffer(buffer: SharedArrayBuffer): number {
    let id = this.#buffers.get(buffer)
    if (id === undefined) {
      id = this.#nextBuffer++
      this.#buffers.set(buffer, id)
      this.#port.postMessage({ type: 'buffer', id, buffer } satisfies Call)
    }
    return id
  }

  #receive(message: number[] | Answer): void {
    if (Array.isArray(message)) {
      if (message[0] === OP_APPENDED) this.#appended(message)
      else if (message[0] === OP_PLACES)
        this.#settle(message[1]!)?.resolve({
          generation: message[2]!,
          segment: message[3]!,
          position: message[4]!,
          nextOffset: message[5]!,
          places: message.slice(6),
        } as never)
      return
    }
    switch (message.type) {
      case 'answer':
        this.#settle(message.request)?.resolve(message.value as never)
        return
      case 'refused': {
        const { code, message: text, details } = message.error
        const refusal = new MillraceError(code as ErrorCode, text, details)
        // The log thread's stack says more than this one's.
        if (code === 'internal' && message.error.stack !== undefined) refusal.stack = message.error.stack
        this.#settle(message.request)?.reject(refusal)
        return
      }
      case 'closed':
        this.#fail(new MillraceError('log_stopped', 'the log is closed'))
        return
    }
  }

  #appended(message: number[]): void {
    for (let at = 1; at < message.length; ) {
      const waiting = this.#settle(message[at]!)
      const first = at + 2
      at = first + message[at + 1]!
      waiting?.resolve({ baseOffsets: message.slice(first, at) } as never)
    }
  }

  #settle(request: number): Waiting | undefined {
    const waiting = this.#waiting.get(request)
    if (waiting === undefined) return undefined
    this.#waiting.delete(request)
    if (waiting.ringBytes > 0) this.#ring.release(waiting.ringBytes)
    if (waiting.buffer >= 0) this.#port.postMessage({ type: 'forget', id: waiting.buffer } satisfies Call)
    return waiting
  }

  #fail(error: MillraceError): void {
    this.#closed ??= error
    for (const { reject } of this.#waiting.values()) reject(this.#closed)
    this.#waiting.clear()
  }
}
