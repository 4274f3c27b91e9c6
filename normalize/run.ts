// The loop of the stage: follows the raw topics, reads what is new, and commits, step by step.
//
// A step reads some batches of some partitions, fair among streams, and commits what came of them in one atomic
// append: outputs, input positions, state. While it is being written the next step is already read; it is
// submitted when the one before has settled, so that the log sees the steps in order. Steps are never built
// twice: memory is ahead of the log by the step in flight, and an append that may be retried is retried as it is.
//
//   backlog_full        the step is split by stream; the streams that are refused wait with what they have
//   log_full            all streams of the step wait
//   offset_below_start  that stream stops, shown by onStreamError; never a reset
//   partition_lost      this process was dropped from those that share the stage: what it remembers is dropped too
//   anything else       thrown: the thread ends, and the process with it
//
// Where several processes share the stage (log.join), a partition comes and goes between two steps: one that goes is
// saved first, so that who gets it has little to read again; one that comes is restored like all at a start.
import { isDeepStrictEqual } from 'node:util'
import type { Assignment, Log, Membership } from '../log/log.ts'
import { rawTopic } from '../schemas/names.ts'
import type { StreamDescriptor } from '../schemas/stream.ts'
import type { CounterBlock } from '../std/counters.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { murmur2 } from '../std/hash.ts'
import { Committer, Parts, Waiting } from './commit.ts'
import type { NormalizeCounter } from './counters.ts'
import { Follower } from './follow.ts'
import type { OutputBatches } from './output.ts'
import { Tally } from './partition.ts'
import { RejectedBatches } from './rejected-batches.ts'
import { Snapshots } from './snapshots.ts'
import { type PartitionState, STATE_LIMITS_DEFAULT, type StateLimits } from './state.ts'
import { NORMALIZE_STAGE } from './step.ts'
import {
  countGauges,
  newStream,
  openPartition,
  type Partition,
  restorePartition,
  type Stream,
  streamName,
} from './streams.ts'
import { compileTransform } from './transform.ts'

const STEP_BYTES_MAX_DEFAULT = 4 * 1024 * 1024
/** Of a log without references (Kafka): there an append is a transaction, whose round trips cost the same whatever is in it. */
const STEP_BYTES_MAX_TRANSACTION = 16 * 1024 * 1024
/** With so much a step ends where nothing else is under way to the log, which would have to wait for more. */
const STEP_BYTES_MIN = 2 * 1024 * 1024
/** Part of a step that one partition is read for at a time, and that snapshots may add to it. */
const READ_PART = 4
/** At most; between two reads the answers of a log on the network have their turn, and what waits for them is sent. */
const READ_BYTES_MAX = 2 * 1024 * 1024
/** How long an idle stage waits for the log to grow before it looks around. */
const IDLE_MS = 30_000
/** The last look for records before a drain ends, and the pace at which it waits for room in the log. */
const DRAIN_POLL_MS = 5

export interface NormalizeOptions {
  log: Log
  streams: readonly StreamDescriptor[]
  /** Schema id of REJECTED_SUBJECT. */
  rejectedSchemaId: number
  counters: CounterBlock<NormalizeCounter>
  /** Which partitions are this stage's: every `count`th from `index` on. All where absent. */
  share?: { index: number; count: number }
  limits?: Partial<StateLimits>
  /** Whether the log takes ReferenceAppend; default true. */
  references?: boolean
  /** As of PartitionOptions. */
  copiedBytesMin?: number
  /**
   * Raw bytes that a step reads, and normalized and rejected bytes that it may have made before it reads more.
   * One append is at most about four times that; the log must take it (default 4 MiB, for segments of 128 MiB; 16 MiB
   * without references).
   */
  stepBytesMax?: number
  /** Whether a drain deals with all that the log holds (default), or only with what was begun. */
  drainAll?: boolean
  /** Milliseconds; only for the spacing of retries and snapshots. */
  now?: () => number
  /** A stream was stopped; the others go on. */
  onStreamError?: (stream: string, error: MillraceError) => void
}

export class NormalizeStage {
  readonly #options: NormalizeOptions
  readonly #log: Log
  readonly #limits: StateLimits
  readonly #now: () => number
  readonly #stepBytesMax: number
  readonly #stepBytesMin: number
  readonly #readBytesMax: number
  readonly #streams = new Map<string, Stream>()
  readonly #follower: Follower
  #nextStreams: readonly StreamDescriptor[] | undefined
  readonly #streamsApplied: (() => void)[] = []
  readonly #committer: Committer<Stream>
  /** Among the processes that share the stage; undefined where this one has it alone. */
  #membership: Membership | undefined
  #assignmentChanged = false
  #generation = 0
  #sharedFailure: unknown

  constructor(options: NormalizeOptions) {
    this.#options = options
    this.#log = options.log
    this.#follower = new Follower(options.log)
    this.#limits = { ...STATE_LIMITS_DEFAULT, ...options.limits }
    this.#now = options.now ?? Date.now
    this.#stepBytesMax =
      options.stepBytesMax ??
      ((options.references ?? true) ? STEP_BYTES_MAX_DEFAULT : STEP_BYTES_MAX_TRANSACTION)
    this.#stepBytesMin = Math.min(this.#stepBytesMax, STEP_BYTES_MIN)
    this.#readBytesMax = Math.min(Math.ceil(this.#stepBytesMax / READ_PART), READ_BYTES_MAX)
    this.#committer = new Committer({
      log: this.#log,
      now: this.#now,
      onAppended: () => options.counters.add('appends', 1),
    })
  }

  /** Restores state and positions. Once, before the first step. */
  async start(): Promise<void> {
    await Snapshots.createTopic(this.#log)
    this.#membership = await this.#log.join?.(
      NORMALIZE_STAGE,
      this.#options.streams.map(({ tenant, stream }) => rawTopic(tenant, stream)),
      () => {
        this.#assignmentChanged = true
        this.wake()
      },
      (error) => {
        this.#sharedFailure = error
        this.wake()
      },
    )
    await this.#applyStreams(this.#options.streams)
    await this.#applyAssignment()
  }

  /**
   * The streams as they are from the next step on: new ones, new versions, and without those that are gone. Resolves
   * when that step has begun with them: records that need them may be written from then on.
   */
  setStreams(streams: readonly StreamDescriptor[]): Promise<void> {
    this.#nextStreams = streams
    this.wake()
    return new Promise((resolve) => this.#streamsApplied.push(resolve))
  }

  /** Ends the wait of a `step` that has nothing to do, or the next such wait. */
  wake(): void {
    this.#follower.wake()
  }

  /** Nothing is left to read, nothing in flight, and no stream waits for the log. */
  get caughtUp(): boolean {
    if (!this.#committer.isIdle || !this.#follower.isIdle) return false
    for (const { waiting } of this.#streams.values()) if (waiting.parts.length > 0) return false
    return true
  }

  /**
   * Reads, and submits what came of it; returns the number of records dealt with. With nothing to do it waits
   * up to `timeoutMs` for new records (0: returns at once), after the append in flight has settled.
   */
  async step(timeoutMs = 0): Promise<number> {
    try {
      return await this.#step(timeoutMs)
    } catch (error) {
      if (this.#membership === undefined || !isMillraceError(error, 'partition_lost')) throw error
      this.#dropAll()
      this.#assignmentChanged = true
      return 0
    }
  }

  async #step(timeoutMs: number): Promise<number> {
    if (this.#sharedFailure !== undefined) throw this.#sharedFailure
    if (this.#assignmentChanged) await this.#applyAssignment()
    if (this.#nextStreams !== undefined) {
      const streams = this.#nextStreams
      const asked = this.#streamsApplied.length
      await this.#applyStreams(streams)
      // Meanwhile others may have come: they are the next step's. After `partition_lost` these are, too.
      if (this.#nextStreams === streams) this.#nextStreams = undefined
      for (const resolve of this.#streamsApplied.splice(0, asked)) resolve()
    }
    await this.#retryWaiting()
    await this.#follower.follow(0)
    if (this.#follower.isIdle) {
      await this.settle()
      if (await this.#appendSnapshots()) return 0
      if (timeoutMs > 0) await this.#follower.follow(this.#waitMs(timeoutMs))
    }
    return this.#follower.isIdle ? 0 : this.#readStep()
  }

  /** Duplicates and rejected records of all raw records ever dealt with. */
  account(): { duplicates: number; rejected: number } {
    const account = { duplicates: 0, rejected: 0 }
    for (const stream of this.#streams.values()) {
      for (const { normalizer } of stream.partitions.values()) {
        account.duplicates += normalizer.state.duplicates
        account.rejected += normalizer.state.rejected
      }
    }
    return account
  }

  /** What is remembered of a raw partition; undefined where it is not this stage's. For tests. */
  stateOf(raw: string, partition: number): PartitionState | undefined {
    return this.#follower.streamOf(raw)?.partitions.get(partition)?.normalizer.state
  }

  /** Waits for the append in flight; throws what it threw. */
  async settle(): Promise<void> {
    await this.#committer.settle()
    countGauges(this.#streams.values(), this.#options.counters)
  }

  /**
   * Saves the state of all partitions as it is, so that no record has to be read again for it. What a stream
   * that waits for the log remembers is left as it was.
   */
  async save(which: Iterable<Partition> = this.#allPartitions()): Promise<void> {
    for (const { snapshots } of which) snapshots.hasten()
    do await this.settle()
    while (await this.#appendSnapshots())
  }

  /** Steps until `signal` aborts, and then until everything that the log holds by then is dealt with. */
  async run(signal: AbortSignal): Promise<void> {
    const wake = (): void => this.wake()
    signal.addEventListener('abort', wake)
    try {
      while (!signal.aborted) await this.step(IDLE_MS)
      if (this.#options.drainAll ?? true)
        do while ((await this.step(DRAIN_POLL_MS)) > 0 || !this.caughtUp);
        while (await this.#hasGrown())
      try {
        await this.save()
      } catch (error) {
        if (this.#membership === undefined || !isMillraceError(error, 'partition_lost')) throw error
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  // Streams

  async #applyStreams(descriptors: readonly StreamDescriptor[]): Promise<void> {
    const changed = descriptors.filter((descriptor) => {
      const known = this.#streams.get(streamName(descriptor))
      return !known || known.partitions.size === 0 || !isDeepStrictEqual(known.descriptor, descriptor)
    })
    // Before a contract changes: records are only ever read again under the contract that they were read under.
    if (changed.some((descriptor) => this.#streams.has(streamName(descriptor)))) await this.save()
    const names = new Set(descriptors.map(streamName))
    for (const [name, stream] of this.#streams) {
      if (names.has(name)) continue
      stream.stopped = true
      this.#streams.delete(name)
      this.#follower.remove(stream)
    }
    const added: Partition[] = []
    for (const descriptor of changed) {
      const known = this.#streams.get(streamName(descriptor))
      const transform = compileTransform(descriptor)
      if (known === undefined || (known.partitions.size === 0 && this.#membership === undefined)) {
        const stream = newStream(descriptor, transform)
        this.#streams.set(stream.name, stream)
        this.#follower.add(stream)
        // Where the stage is shared they come by the assignment.
        if (this.#membership === undefined) added.push(...(await this.#addPartitions(stream)))
      } else {
        known.descriptor = descriptor
        known.transform = transform
        for (const partition of known.partitions.values()) partition.normalizer.setTransform(transform)
      }
    }
    await this.#restore(added)
    this.#membership?.subscribe(this.#follower.topics)
    countGauges(this.#streams.values(), this.#options.counters)
  }

  async #hasGrown(): Promise<boolean> {
    await this.#follower.lookAt(this.#allPartitions())
    return !this.#follower.isIdle
  }

  // Sharing the stage

  *#allPartitions(): Iterable<Partition> {
    for (const stream of this.#streams.values()) yield* stream.partitions.values()
  }

  /** Lets go of what is others' from now on, and takes what is this process's. */
  async #applyAssignment(): Promise<void> {
    const membership = this.#membership
    if (membership === undefined) return
    this.#assignmentChanged = false
    const { target, generation } = membership
    if (generation !== this.#generation) {
      this.#generation = generation
      await this.#committer.settle().catch((error: unknown) => {
        if (!isMillraceError(error, 'partition_lost')) throw error
      })
      this.#dropAll()
    }
    const revoked = [...this.#allPartitions()].filter(
      ({ stream, number }) => !target.get(stream.raw)?.has(number),
    )
    if (revoked.length > 0) {
      await this.save(revoked)
      for (const { stream, number } of revoked) {
        stream.partitions.delete(number)
        stream.pending = stream.pending.filter((one) => one.number !== number)
      }
    }
    membership.own(target, generation)
    const added: Partition[] = []
    for (const stream of this.#streams.values()) added.push(...(await this.#addAssigned(stream, target)))
    await this.#restore(added)
    countGauges(this.#streams.values(), this.#options.counters)
  }

  async #addAssigned(stream: Stream, target: Assignment): Promise<Partition[]> {
    const numbers = [...(target.get(stream.raw) ?? [])].filter((number) => !stream.partitions.has(number))
    return numbers.length === 0 ? [] : this.#addPartitions(stream, numbers)
  }

  /** Forgets all partitions: others go on from what was committed, or this process does, like after a start. */
  #dropAll(): void {
    this.#committer.forgetFailure()
    this.#follower.clear()
    for (const stream of this.#streams.values()) {
      stream.partitions.clear()
      stream.pending = []
      stream.waiting = new Waiting()
    }
  }

  async #addPartitions(stream: Stream, numbers?: readonly number[]): Promise<Partition[]> {
    const topic = await this.#log.describeTopic(stream.raw)
    if (topic === undefined) {
      this.#stop(stream, new MillraceError('topic_unknown', `the log has no topic ${stream.raw}`))
      return []
    }
    const { share, references = true, copiedBytesMin } = this.#options
    const copying = { references, ...(copiedBytesMin === undefined ? {} : { copiedBytesMin }) }
    const name = new TextEncoder().encode(stream.raw)
    const first = murmur2(name) & 0x7fffffff
    const added: Partition[] = []
    for (const number of numbers ?? Array(topic.config.partitions).keys()) {
      if (share !== undefined && (first + number) % share.count !== share.index) continue
      const limits = this.#limitsOf(stream)
      added.push(await openPartition(this.#log, stream, topic, number, limits, copying))
    }
    return added
  }

  #limitsOf(stream: Stream): StateLimits {
    const windowRecords = stream.descriptor.duplicates?.windowRecords
    return windowRecords === undefined ? this.#limits : { ...this.#limits, windowRecordsMax: windowRecords }
  }

  async #restore(partitions: readonly Partition[]): Promise<void> {
    if (partitions.length === 0) return
    await Snapshots.load(
      this.#log,
      partitions.map((partition) => partition.snapshots),
    )
    const output = this.#committer.takeOutput()
    for (const partition of partitions) {
      try {
        await restorePartition(this.#log, partition, output, this.#readBytesMax, this.#now())
      } catch (error) {
        this.#stopOrThrow(partition.stream, error)
      }
      this.#follower.enqueue(partition)
    }
    this.#committer.release(output)
  }

  #stopOrThrow(stream: Stream, error: unknown): void {
    const stops =
      isMillraceError(error, 'offset_below_start') ||
      isMillraceError(error, 'offset_above_end') ||
      isMillraceError(error, 'topic_unknown')
    if (!stops) throw error
    this.#stop(stream, error)
  }

  #stop(stream: Stream, error: MillraceError): void {
    if (stream.stopped) return
    stream.stopped = true
    stream.pending = []
    this.#options.onStreamError?.(stream.name, error)
  }

  // Reading and committing

  /** The wait of an idle stage: shorter while a stream waits for the log or a snapshot falls due. */
  #waitMs(timeoutMs: number): number {
    let until = Infinity
    for (const stream of this.#streams.values()) {
      if (stream.waiting.parts.length > 0) until = Math.min(until, stream.waiting.retryAt)
      if (!stream.stopped) {
        for (const { snapshots } of stream.partitions.values()) until = Math.min(until, snapshots.dueAt)
      }
    }
    return Math.max(1, Math.min(timeoutMs, until - this.#now()))
  }

  async #readStep(): Promise<number> {
    const output = this.#committer.takeOutput()
    const parts = new Parts<Stream>()
    const tally = new Tally()
    let bytesIn = 0
    // What the step is bounded by: bytes read, or made of them, where that is more.
    let bytes = 0
    while (bytes < (this.#committer.isBusy ? this.#stepBytesMax : this.#stepBytesMin)) {
      const partition = this.#follower.next()
      if (partition === undefined) break
      const { stream } = partition
      const before = output.byteLength
      const { read, rejected } = await this.#readPartition(partition, output, parts, tally)
      bytesIn += read
      bytes += Math.max(read, output.byteLength - before + rejected)
      this.#follower.enqueue(partition)
      this.#follower.enqueueStream(stream)
    }
    tally.addTo(this.#options.counters)
    this.#options.counters.add('bytes_in', bytesIn)
    this.#addSnapshots(parts, output)
    await this.#committer.submit(parts, output)
    countGauges(this.#streams.values(), this.#options.counters)
    return tally.recordsIn
  }

  async #readPartition(
    partition: Partition,
    output: OutputBatches,
    parts: Parts<Stream>,
    tally: Tally,
  ): Promise<{ read: number; rejected: number }> {
    const { stream, number, normalizer, snapshots, nextOffset } = partition
    let read: Awaited<ReturnType<Log['read']>>
    try {
      read = await this.#log.read(stream.raw, number, nextOffset, this.#readBytesMax)
    } catch (error) {
      this.#stopOrThrow(stream, error)
      return NOTHING_READ
    }
    if (read.nextOffset === nextOffset) {
      // The log said more than it has: it will say so again when it has more.
      partition.end = nextOffset
      return NOTHING_READ
    }
    const rejected = new RejectedBatches(stream.raw, this.#options.rejectedSchemaId)
    normalizer.process(read.batches, nextOffset, Infinity, output, rejected, tally)
    partition.nextOffset = read.nextOffset
    const part = parts.of(stream)
    const rejectedBytes = rejected.byteLength
    part.add(number, output.take(), rejected.take(), read.nextOffset)
    snapshots.noteInput(read.batches.length, this.#now())
    if (snapshots.base === undefined) part.addPosition(snapshots.positionAt(nextOffset))
    return { read: read.batches.length, rejected: rejectedBytes }
  }

  /** Pieces of the snapshots that are due, of quiet partitions too, as many as one append should carry. */
  #addSnapshots(parts: Parts<Stream>, output: OutputBatches): void {
    const now = this.#now()
    const end = output.byteLength + this.#readBytesMax
    for (const stream of this.#streams.values()) {
      if (stream.stopped || stream.waiting.parts.length > 0) continue
      for (const { snapshots, normalizer, number, nextOffset } of stream.partitions.values()) {
        if (snapshots.dueAt > now || output.byteLength >= end) continue
        const piece = snapshots.next(normalizer.state, nextOffset, this.#readBytesMax, output)
        parts.of(stream).addSnapshot(piece, number, nextOffset)
      }
    }
  }

  /** Such pieces alone; false where there are none. */
  async #appendSnapshots(): Promise<boolean> {
    const parts = new Parts<Stream>()
    const output = this.#committer.takeOutput()
    this.#addSnapshots(parts, output)
    if (parts.all.length > 0) {
      await this.#committer.submit(parts, output)
      return true
    }
    this.#committer.release(output)
    return false
  }

  async #retryWaiting(): Promise<void> {
    for (const stream of this.#streams.values()) {
      if (stream.waiting.parts.length > 0 && (await this.#committer.retry(stream)))
        this.#follower.enqueueStream(stream)
    }
  }
}

const NOTHING_READ = { read: 0, rejected: 0 }
