// Test support: a handler that writes down what the parser finds, as plain values to compare.

import { FLAG_DUP, FLAG_QOS_1, FLAG_SAME_TOPIC } from './mqtt-codes.ts'
import { decodeConnect } from './mqtt-packets.ts'
import {
  AHEAD_END,
  AHEAD_ENTRY,
  AHEAD_KNOWN_AS,
  AHEAD_START,
  CONTINUE,
  HOLD,
  MALFORMED_MESSAGES,
  MqttParser,
  type PacketHandler,
  RUN_ENTRY,
} from './mqtt-parser.ts'
import { isTopicName } from './topic-name.ts'

const hex = (bytes: Uint8Array, start: number, end: number) =>
  Buffer.from(bytes.subarray(start, end)).toString('hex')

export type MqttEvent = Record<string, unknown> & { event: string }

export class Recorder implements PacketHandler {
  readonly events: MqttEvent[] = []
  readonly parser: MqttParser
  /** Answers to give, in turn, instead of CONTINUE. */
  readonly answers: number[] = []

  constructor(packetBytesMax = 65_536, level = 0) {
    this.parser = new MqttParser(this, packetBytesMax)
    this.parser.level = level
  }

  /** Feeds copies of the parts, each in a larger buffer that is overwritten afterwards: nothing may be read later. */
  feed(bytes: Uint8Array, cuts: readonly number[] = []): this {
    let from = 0
    for (const to of [...cuts, bytes.length]) {
      const buffer = new Uint8Array(to - from + 14).fill(0xaa)
      buffer.set(bytes.subarray(from, to), 7)
      this.parser.parse(buffer, 7, 7 + to - from)
      buffer.fill(0x55)
      from = to
    }
    return this
  }

  #answer(event: MqttEvent): number {
    const answer = this.answers.shift() ?? CONTINUE
    this.events.push(event)
    return answer
  }

  onConnect(bytes: Uint8Array, start: number, end: number): number {
    const answer = this.#answer({ event: 'connect', body: hex(bytes, start, end) })
    if (answer !== HOLD) this.parser.level = decodeConnect(bytes, start, end).level === 4 ? 4 : 5
    return answer
  }

  /** What comes as runs is written down as if it had not: `runs` are the most that each is to have, in turn, and may be 0. */
  withRuns(runs: Iterator<number>): this {
    this.#runs = runs
    return this
  }
  #runs: Iterator<number> | undefined
  runCount = 0

  /** A run may come, and then be taken in part. */
  runMax(flags: number): number {
    this.#runFlags = flags
    return this.#runs?.next().value ?? 0
  }
  #runFlags = 0

  onPublishRun(bytes: Uint8Array, topicStart: number, run: Int32Array, count: number): number {
    const topicEnd = topicStart + Buffer.byteLength(this.#lastTopic)
    const takenMax: number = this.#runs!.next().value ?? 0
    let taken = 0
    for (; taken < count && taken < takenMax && (this.answers[0] ?? CONTINUE) === CONTINUE; taken++) {
      const [packetId, start, end] = run.subarray(taken * RUN_ENTRY) as unknown as [number, number, number]
      const flags = this.#runFlags | FLAG_SAME_TOPIC
      this.onPublish(bytes, flags, topicStart, topicEnd, packetId, start, start, start, end)
    }
    if (taken > 0) this.runCount++
    return taken
  }

  /** From now on topics are looked at ahead, of which it knows those of valid names whose length is odd. */
  knowing(): this {
    this.looksAhead = true
    return this
  }
  looksAhead = false

  onTopicsAhead(bytes: Uint8Array, ahead: Int32Array, count: number): void {
    for (let at = 0; at < count * AHEAD_ENTRY; at += AHEAD_ENTRY) {
      const [start, end] = [ahead[at + AHEAD_START]!, ahead[at + AHEAD_END]!]
      if ((end - start) % 2 === 1 && isTopicName(bytes, start, end)) ahead[at + AHEAD_KNOWN_AS] = 1
    }
  }

  knownRunMax(flags: number): number {
    // As for a session: what else the flags may be is for the parser to say, packet by packet.
    return flags === 0 || (flags & ~FLAG_DUP) === FLAG_QOS_1 ? this.runMax(flags) : 0
  }

  onKnownRun(bytes: Uint8Array, ahead: Int32Array, run: Int32Array, count: number): number {
    const takenMax: number = this.#runs?.next().value ?? 0
    let taken = 0
    for (; taken < count && taken < takenMax && (this.answers[0] ?? CONTINUE) === CONTINUE; taken++) {
      const [packetId, start, end] = run.subarray(taken * RUN_ENTRY) as unknown as [number, number, number]
      const one = ahead.subarray(taken * AHEAD_ENTRY)
      const [topicStart, topicEnd, known] = [one[AHEAD_START]!, one[AHEAD_END]!, one[AHEAD_KNOWN_AS]!]
      if (known === 0) throw new Error('an unknown topic within a run')
      this.onPublish(bytes, this.#runFlags, topicStart, topicEnd, packetId, start, start, start, end)
    }
    if (taken > 0) this.knownRunCount++
    return taken
  }
  knownRunCount = 0

  onPublish(
    bytes: Uint8Array,
    flags: number,
    topicStart: number,
    topicEnd: number,
    packetId: number,
    propertiesStart: number,
    propertiesEnd: number,
    payloadStart: number,
    payloadEnd: number,
    _knownAs = 0,
  ): number {
    // FLAG_SAME_TOPIC depends on the cutting; that it is right is checked here.
    const topic = Buffer.from(bytes.subarray(topicStart, topicEnd)).toString()
    if ((flags & ~0x0f) !== 0 && this.#lastTopic !== topic)
      throw new Error('FLAG_SAME_TOPIC on another topic')
    this.#lastTopic = topic
    return this.#answer({
      event: 'publish',
      flags: flags & 0x0f,
      topic,
      packetId,
      properties: hex(bytes, propertiesStart, propertiesEnd),
      payload: hex(bytes, payloadStart, payloadEnd),
    })
  }
  #lastTopic = ''

  onPuback(packetId: number, reason: number): number {
    return this.#answer({ event: 'puback', packetId, reason })
  }
  onSubscribe(bytes: Uint8Array, start: number, end: number): number {
    return this.#answer({ event: 'subscribe', body: hex(bytes, start, end) })
  }
  onUnsubscribe(bytes: Uint8Array, start: number, end: number): number {
    return this.#answer({ event: 'unsubscribe', body: hex(bytes, start, end) })
  }
  onDisconnect(bytes: Uint8Array, start: number, end: number): number {
    return this.#answer({ event: 'disconnect', body: hex(bytes, start, end) })
  }
  onPing(): number {
    return this.#answer({ event: 'ping' })
  }
  onMalformed(reason: number, message: number): void {
    this.events.push({ event: 'malformed', reason, message: MALFORMED_MESSAGES[message] })
  }
}
