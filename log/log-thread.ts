// The log thread: the only writer of the journal. Clients in other threads reach it by message ports; all
// appends that wait when it is free become one group: one write, one fdatasync, one answer for each client.
//
//   main ──► {type:'connect', port}   a further client
//        ──► {type:'stats'}           answered by {type:'stats', stats}
//        ──► {type:'drain'}           commits what waits, closes the journal, answers {type:'drained'}
//        ◄── {type:'ready', id}, {type:'tornTail', …}, {type:'error', …}
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads'
import { NodeDisk } from '../std/disk.ts'
import { MillraceError } from '../std/errors.ts'
import { toThreadError } from '../std/thread.ts'
import { Journal, type PendingAppend } from './journal.ts'
import { BackgroundFiller } from './journal-fill.ts'
import { BackgroundRemover } from './journal-free.ts'
import type { AppendRequest, BatchAppend, ReferenceAppend, StagePosition } from './log.ts'
import {
  type Answer,
  type AnswerValue,
  type Call,
  ENTRY_FIELDS,
  ENTRY_IS_CRC_PENDING,
  ENTRY_IS_REFERENCE,
  OP_APPEND,
  OP_APPENDED,
  OP_PLACES,
  POSITION_FIELDS,
} from './log-protocol.ts'
import type { LogThreadOptions } from './log-service.ts'

/** How often background work looks whether something is due while nothing is. */
const BACKGROUND_IDLE_MS = 1000
/**
 * After a piece of background work groups, where there are some, have the thread for so many times what it took: nine tenths of
 * the acknowledgements at half of the full rate are a seventh quicker than with a checkpoint's pieces one behind the other.
 */
const BACKGROUND_PAUSE_TIMES = 3

class ClientAppend implements PendingAppend {
  readonly client: Client
  readonly number: number
  readonly request: AppendRequest
  baseOffsets: number[] | undefined
  error: Error | undefined

  constructor(client: Client, number: number, request: AppendRequest) {
    this.client = client
    this.number = number
    this.request = request
  }
}

/** One client: its port, and what its numbers stand for. */
class Client {
  readonly port: MessagePort
  readonly names: string[] = []
  readonly buffers: (Uint8Array | undefined)[] = []
  /** The answer to the group being committed. */
  appended: number[] = [OP_APPENDED]
  /** Calls of `changes` that wait. */
  readonly waiting = new Map<number, { sequence: number; timer: NodeJS.Timeout }>()

  constructor(port: MessagePort) {
    this.port = port
  }

  send(message: Answer | number[]): void {
    this.port.postMessage(message)
  }

  /** The request that a message of numbers stands for. */
  appendOf(message: readonly number[]): ClientAppend {
    const entries: (BatchAppend | ReferenceAppend)[] = []
    const positions: StagePosition[] = []
    let at = 4
    for (let i = 0; i < message[2]!; i++, at += ENTRY_FIELDS) entries.push(this.#entry(message, at))
    for (let i = 0; i < message[3]!; i++, at += POSITION_FIELDS)
      positions.push({
        stage: this.names[message[at]!]!,
        topic: this.names[message[at + 1]!]!,
        partition: message[at + 2]!,
        nextOffset: message[at + 3]!,
      })
    return new ClientAppend(this, message[1]!, { entries, positions })
  }

  #entry(message: readonly number[], at: number): BatchAppend | ReferenceAppend {
    const topic = this.names[message[at + 1]!]!
    const partition = message[at + 2]!
    const recordCount = message[at + 6]!
    const expected = message[at + 7]!
    const expectedOffset = expected < 0 ? {} : { expectedOffset: expected }
    if (message[at] !== ENTRY_IS_REFERENCE) {
      const from = message[at + 4]!
      const batch = this.buffers[message[at + 3]!]!.subarray(from, from + message[at + 5]!)
      const isCrcPending = message[at] === ENTRY_IS_CRC_PENDING
      return { topic, partition, batch, recordCount, isCrcPending, ...expectedOffset }
    }
    const reference = {
      topic: this.names[message[at + 3]!]!,
      partition: message[at + 4]!,
      baseOffset: message[at + 5]!,
    }
    return { topic, partition, reference, recordCount, ...expectedOffset }
  }
}

class LogServer {
  readonly #journal: Journal
  readonly #verifyReads: boolean
  readonly #clients = new Set<Client>()
  #queue: ClientAppend[] = []
  #scheduled: NodeJS.Immediate | undefined
  #backgroundSoon: NodeJS.Immediate | undefined
  #backgroundLater: NodeJS.Timeout | undefined
  /** No piece of it begins earlier, by performance.now(). */
  #backgroundFrom = 0
  /** Since its last piece. */
  #hasCommitted = false
  #stopReported = false

  readonly #report: (error: Error) => void

  constructor(journal: Journal, verifyReads: boolean, report: (error: Error) => void) {
    this.#journal = journal
    this.#report = report
    this.#verifyReads = verifyReads
    this.#workOn()
  }

  connect(port: MessagePort): void {
    const client = new Client(port)
    this.#clients.add(client)
    port.on('message', (message: number[] | Call) => this.#receive(client, message))
    port.on('close', () => this.#forget(client))
    const { id, dir, tail } = this.#journal
    client.send({ type: 'welcome', id, dir, verifyReads: this.#verifyReads, tail })
  }

  /** Commits what waits and what lies unread in the ports, then closes the journal. */
  close(): void {
    this.#drainPorts()
    this.#flush()
    clearImmediate(this.#backgroundSoon)
    clearTimeout(this.#backgroundLater)
    for (const client of this.#clients) {
      client.send({ type: 'closed' })
      this.#forget(client)
      client.port.close()
    }
    this.#journal.close()
  }

  #receive(client: Client, message: number[] | Call): void {
    if (Array.isArray(message)) {
      if (message[0] === OP_APPEND) {
        this.#queue.push(client.appendOf(message))
        // At the end of this turn of the event loop: everything that arrived in it is one group.
        this.#scheduled ??= setImmediate(() => {
          this.#scheduled = undefined
          this.#drainPorts()
          this.#flush()
        })
      } else this.#locate(client, message)
      return
    }
    if (message.type === 'name') client.names[message.id] = message.name
    else if (message.type === 'buffer') client.buffers[message.id] = new Uint8Array(message.buffer)
    else if (message.type === 'forget') client.buffers[message.id] = undefined
    else if (message.type === 'close') this.#forget(client)
    else this.#call(client, message)
  }

  /** Takes what arrived while the last group was written. */
  #drainPorts(): void {
    for (const client of this.#clients)
      for (let one = receiveMessageOnPort(client.port); one !== undefined; ) {
        this.#receive(client, one.message as number[] | Call)
        one = receiveMessageOnPort(client.port)
      }
  }

  #flush(): void {
    const queue = this.#queue
    if (queue.length === 0) return
    this.#queue = []
    this.#journal.commit(queue)
    for (const append of queue) {
      const { client, number, baseOffsets, error } = append
      if (baseOffsets === undefined) this.#refuse(client, number, error!)
      else client.appended.push(number, baseOffsets.length, ...baseOffsets)
    }
    for (const { client } of queue) {
      if (client.appended.length === 1) continue
      client.send(client.appended)
      client.appended = [OP_APPENDED]
    }
    this.#wake()
    this.#hasCommitted = true
    // Under load the next turn of the event loop has a group as well.
    const now = performance.now()
    if (now >= this.#backgroundFrom && this.#maintain(now)) this.#workOn()
    this.#reportStop()
  }

  #locate(client: Client, message: readonly number[]): void {
    const [, number, topic, partition, offset, bytesMax] = message as [
      number,
      number,
      number,
      number,
      number,
      number,
    ]
    try {
      const journal = this.#journal
      const answer = [OP_PLACES, number, journal.generation, journal.segment, journal.durablePosition, 0]
      answer[5] = this.#journal.locate(client.names[topic]!, partition, offset, bytesMax, answer)
      client.send(answer)
    } catch (error) {
      this.#refuse(client, number, error)
    }
  }

  #call(client: Client, call: Exclude<Call, { type: 'name' | 'buffer' | 'forget' | 'close' }>): void {
    try {
      if (call.type === 'changes') this.#changes(client, call.request, call.sequence, call.timeoutMs)
      else client.send({ type: 'answer', request: call.request, value: this.#answer(call) })
    } catch (error) {
      this.#refuse(client, call.request, error)
    }
  }

  #answer(call: Exclude<Call, { type: 'name' | 'buffer' | 'forget' | 'close' | 'changes' }>): AnswerValue {
    switch (call.type) {
      case 'createTopic':
        return this.#journal.createTopic(call.name, call.config)
      case 'describeTopic':
        return this.#journal.describeTopic(call.name)
      case 'listTopics':
        return this.#journal.listTopics()
      case 'range':
        return this.#journal.range(call.topic, call.partition)
      case 'position':
        return this.#journal.position(call.stage, call.topic, call.partition)
    }
  }

  #changes(client: Client, request: number, sequence: number, timeoutMs: number): void {
    const changes = this.#journal.changes(sequence)
    if (changes.partitions.length > 0 || timeoutMs <= 0) {
      client.send({ type: 'answer', request, value: changes })
      return
    }
    const timer = setTimeout(() => this.#answerChanges(client, request, sequence), timeoutMs)
    client.waiting.set(request, { sequence, timer })
  }

  #answerChanges(client: Client, request: number, sequence: number): void {
    client.waiting.delete(request)
    client.send({ type: 'answer', request, value: this.#journal.changes(sequence) })
  }

  /** Answers the calls of `changes` for which there is something now. */
  #wake(): void {
    for (const client of this.#clients) {
      for (const [request, { sequence, timer }] of client.waiting) {
        const value = this.#journal.changes(sequence)
        if (value.partitions.length === 0) continue
        clearTimeout(timer)
        client.waiting.delete(request)
        client.send({ type: 'answer', request, value })
      }
    }
  }

  #refuse(client: Client, request: number, error: unknown): void {
    const details = error instanceof MillraceError ? error.details : {}
    client.send({ type: 'refused', request, error: { ...toThreadError(error), details } })
  }

  #forget(client: Client): void {
    for (const { timer } of client.waiting.values()) clearTimeout(timer)
    client.waiting.clear()
    this.#clients.delete(client)
  }

  /** A piece of background work; true while more is due. */
  #maintain(started: number): boolean {
    const more = this.#journal.maintain()
    if (more && this.#hasCommitted) {
      const ended = performance.now()
      this.#backgroundFrom = ended + BACKGROUND_PAUSE_TIMES * (ended - started)
    }
    this.#hasCommitted = false
    return more
  }

  /** Background work: a piece as soon as it may be while there is some, then once a second. */
  #workOn(): void {
    clearImmediate(this.#backgroundSoon)
    clearTimeout(this.#backgroundLater)
    const pauseMs = this.#backgroundFrom - performance.now()
    if (pauseMs > 0) this.#backgroundLater = setTimeout(() => this.#workOn(), pauseMs)
    else
      this.#backgroundSoon = setImmediate(() => {
        const more = this.#maintain(performance.now())
        this.#reportStop()
        if (more) this.#workOn()
        else this.#backgroundLater = setTimeout(() => this.#workOn(), BACKGROUND_IDLE_MS)
      })
  }

  /** A log that stopped ends the process, whoever noticed it. */
  #reportStop(): void {
    const { stopped } = this.#journal
    if (stopped === undefined || this.#stopReported) return
    this.#stopReported = true
    this.#report(stopped)
  }
}

const main = parentPort!
try {
  const { verifyReads = true, ...options } = workerData as LogThreadOptions
  const journal = new Journal({
    ...options,
    verifyReads,
    disk: new NodeDisk(),
    zeroFiller: new BackgroundFiller(),
    fileRemover: new BackgroundRemover(),
    onTornTail: (tail) => main.postMessage({ type: 'tornTail', tail }),
  })
  const server = new LogServer(journal, verifyReads, (error) => main.postMessage(toThreadError(error)))
  main.on('message', (message: { type: string; port?: MessagePort }) => {
    if (message.type === 'connect') server.connect(message.port!)
    else if (message.type === 'stats') main.postMessage({ type: 'stats', stats: journal.stats() })
    else if (message.type === 'drain') {
      server.close()
      main.postMessage({ type: 'drained' })
      main.close()
    }
  })
  main.postMessage({ type: 'ready', id: journal.id })
} catch (error) {
  main.postMessage(toThreadError(startFailure(error)))
  main.close()
}

/** What the disk says when the journal opens is the folder's fault, not ours. */
function startFailure(error: unknown): unknown {
  const { syscall, code, message } = error as NodeJS.ErrnoException
  if (syscall === undefined) return error
  const { dir } = workerData as LogThreadOptions
  const text = `the log in ${dir} cannot be opened: ${message}`
  return new MillraceError(code === 'ENOSPC' ? 'log_full' : 'data_unwritable', text, { dir }, error)
}
