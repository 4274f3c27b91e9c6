// Where records become batches: one RecordBatch under construction per log partition, in shared memory,
// shared by all connections of the worker. A value is copied once, from the receive buffer into its batch.
//
//   append ──► open batch of the partition ──► flush: seal all ──► log.append, one request ──► durable
//              (chunk of the arena)            (headers)           (views, no copies; CRCs)    (chunks freed)
//
// Group commit adapts to the disk by itself: while a request is in flight, batches fill; when it is durable,
// all that has gathered is the next request. With none in flight a flush waits for the end of the event
// loop's turn, so that every socket that was readable adds to it.
//
// Some commits are put off (commit-delay.ts), where clients with small windows are about to answer, or many clients
// publish now and then.
//
// A record's ticket is the sequence of the flush that will carry it. Flush sequences begin at 1 and become
// durable in order, with one exception: a partition that the log refuses for its backlog is held, so that the
// others go on. See `PartitionHandle.heldSequence`.
import type { AppendResult, BatchAppend, Log } from '../log/log.ts'
import { RECORDS, writeBatchHeader } from '../log/record-batch.ts'
import { copyShared, copyWords } from '../std/copy.ts'
import { isMillraceError, MillraceError } from '../std/errors.ts'
import { writeUnsigned } from '../std/varint.ts'
import { CommitDelay, type Gathering } from './commit-delay.ts'
import { RUN_END, RUN_ENTRY, RUN_START } from './mqtt-parser.ts'
import { orderOf, SlabArena } from './slab-arena.ts'

/** From `append`: memory is full until a flush is durable. Hold the packet and stop reading. */
export const OVER_BUDGET = -1
/** From `append`: the log refuses this partition until its reader catches up. Hold the packet; others may go on. */
export const BACKLOG = -2

/** Varints and fixed bytes of a record beside key and value, at most; and slack for copies in whole words. */
const RECORD_OVERHEAD_MAX = 40
/** Up to here words are faster than the native copy, which needs a view object first (batch-accumulator.bench.ts). */
const WORD_COPY_BYTES_MAX = 640
/** Keeps timestamp deltas within an int32 after zigzag: about 12 days. */
const TIMESTAMP_DELTA_MAX = 0x3fffffff
const RETRY_MS_MIN = 50
const RETRY_MS_MAX = 1000

export interface AccumulatorOptions {
  log: Log
  /** Largest batch; also bounds a record. Rounded up to a power of two. */
  slabBytes: number
  /** Memory for batches, open and in flight together: `append` answers OVER_BUDGET above it. */
  bytesInFlightMax: number
  /** Open bytes at which a flush does not wait for the end of the turn. */
  flushBytes?: number
  /**
   * Requests under way at the same time, 1 by default. More is for a log that cannot answer `backlog_full`
   * (Kafka): a refused batch of a partition must not be overtaken by a later one that is already on its way.
   */
  requestsInFlightMax?: number
  /** How long a commit lingers where no client waits for it in order to publish again; 0, not at all, by default. */
  lingerMs?: number
  /** Every flush up to `durableSequence` is durable (held partitions apart), or a partition is no longer held. */
  onDurable: (durableSequence: number) => void
  /** The log has stopped or refused for good: the worker must end. */
  onFailure: (error: MillraceError) => void
}

/** A partition of a log topic, and its batch under construction. Get it once with `partition`, keep it. */
export class PartitionHandle {
  readonly topic: string
  readonly partition: number
  /**
   * 0, or the first flush sequence whose records of this partition are not durable although `onDurable` may
   * have passed it: the log refuses the partition for its backlog. Acknowledgements of connections that
   * published here wait below it.
   */
  heldSequence = 0
  /** The chunk: [start, limit), of 2^order bytes; limit 0 when there is none. */
  start = 0
  limit = 0
  order = 0
  /** Where the next record goes. */
  at = 0
  recordCount = 0
  baseTimestamp = 0
  maxTimestamp = 0
  /** Order of the chunk that the last flush needed. */
  orderUsual = 0
  /** Sealed batches that the log refused, oldest first. */
  held: SealedBatch[] = []

  constructor(topic: string, partition: number) {
    this.topic = topic
    this.partition = partition
  }
}

class SealedBatch {
  readonly handle: PartitionHandle
  readonly start: number
  readonly order: number
  readonly entry: BatchAppend

  constructor(handle: PartitionHandle, start: number, order: number, entry: BatchAppend) {
    this.handle = handle
    this.start = start
    this.order = order
    this.entry = entry
  }
}

export class BatchAccumulator implements Gathering {
  /**
   * Receive time of what is appended, milliseconds since 1970, set once per read. As an argument of `append` it would be a
   * number of its own in the heap for each record.
   */
  receiveTimeMs = Date.now()
  /** Records and value bytes appended since the start. */
  recordCount = 0
  valueBytes = 0
  readonly #log: Log
  readonly #arena: SlabArena
  readonly #bytes: Uint8Array
  /** The same. */
  readonly #buffer: Buffer
  readonly #view: DataView
  readonly #bytesMax: number
  readonly #flushBytes: number
  readonly #requestsInFlightMax: number
  readonly #delay: CommitDelay
  readonly #onDurable: (durableSequence: number) => void
  readonly #onFailure: (error: MillraceError) => void
  readonly #partitions = new Map<string, PartitionHandle>()

  /** Partitions whose batch is open, in the order of their first record. */
  #open: PartitionHandle[] = []
  /** Batches of the flush being filled that are full already. */
  #sealed: SealedBatch[] = []
  /** Sequence of the flush being filled: the ticket of what is appended now. */
  #sequence = 1
  #durable = 0
  /** Flushes that are durable while an earlier one is not. */
  readonly #early = new Set<number>()
  #requestsInFlight = 0
  #bytesSealed = 0
  #turnScheduled = false
  /** `recordCount` at the last flush. */
  #flushedCount = 0
  #stopped = false
  readonly #held = new Set<PartitionHandle>()
  #waiters: (() => void)[] = []

  /** The source of the last value and its view: one view serves all messages of a read. */
  #source: Uint8Array
  #sourceView: DataView

  constructor(options: AccumulatorOptions) {
    this.#log = options.log
    this.#arena = new SlabArena(options.bytesInFlightMax, options.slabBytes)
    this.#bytes = this.#arena.bytes
    this.#buffer = Buffer.from(this.#bytes.buffer)
    this.#view = this.#arena.view
    this.#bytesMax = this.#bytes.length
    this.#flushBytes = options.flushBytes ?? 1 << 20
    this.#requestsInFlightMax = options.requestsInFlightMax ?? 1
    this.#delay = new CommitDelay(this, options.lingerMs ?? 0)
    this.#onDurable = options.onDurable
    this.#onFailure = options.onFailure
    this.#source = this.#bytes
    this.#sourceView = this.#view
  }

  /** Bytes of the largest value that `append` takes with a key of 128 bytes. */
  get valueBytesMax(): number {
    return (1 << this.#arena.orderMax) - RECORDS - RECORD_OVERHEAD_MAX - 160
  }

  /** Every flush up to this one is durable; see `PartitionHandle.heldSequence` for the exception. */
  get durableSequence(): number {
    return this.#durable
  }

  /** Bytes of memory in batches, open and in flight. */
  get bytesUsed(): number {
    return this.#arena.bytesUsed
  }

  /** Above three quarters of the budget: stop reading where the protocol allows it. */
  get isAboveHighWater(): boolean {
    return this.#arena.bytesUsed > this.#bytesMax * 0.75
  }

  /** Below half of the budget: read on. */
  get isBelowLowWater(): boolean {
    return this.#arena.bytesUsed < this.#bytesMax * 0.5
  }

  /** Records of the flush being filled. */
  get recordsGathered(): number {
    return this.recordCount - this.#flushedCount
  }

  /** Bytes of the flush being filled. */
  get bytesGathered(): number {
    let bytes = this.#bytesSealed
    for (const { start, at } of this.#open) bytes += at - start
    return bytes
  }

  /** Partitions that the log refuses for their backlog; usually none. */
  get heldPartitions(): ReadonlySet<PartitionHandle> {
    return this.#held
  }

  /** The handle of a partition, always the same object. The topic must exist in the log. */
  partition(topic: string, partition: number): PartitionHandle {
    const name = `${topic}/${partition}`
    let handle = this.#partitions.get(name)
    if (handle === undefined) {
      handle = new PartitionHandle(topic, partition)
      this.#partitions.set(name, handle)
    }
    return handle
  }

  /**
   * Adds a record with the key keys[keyStart, keyEnd) and the value values[start, end) and returns its ticket (> 0),
   * or OVER_BUDGET or BACKLOG, and then nothing was added. Its timestamp is `receiveTimeMs`.
   */
  append(
    handle: PartitionHandle,
    keys: Uint8Array,
    keyStart: number,
    keyEnd: number,
    values: Uint8Array,
    start: number,
    end: number,
  ): number {
    const valueLength = end - start
    const keyLength = keyEnd - keyStart
    const room = keyLength + valueLength + RECORD_OVERHEAD_MAX
    const timestampMs = this.receiveTimeMs
    let delta = timestampMs - handle.baseTimestamp
    if (handle.at + room > handle.limit || delta > TIMESTAMP_DELTA_MAX || delta < -TIMESTAMP_DELTA_MAX) {
      const refusal = this.#makeRoom(handle, room)
      if (refusal !== 0) return refusal
      delta = timestampMs - handle.baseTimestamp
    }
    const bytes = this.#bytes
    const view = this.#view
    const deltaCode = (delta << 1) ^ (delta >> 31)
    const indexCode = handle.recordCount << 1
    const keyCode = keyLength << 1
    const valueCode = valueLength << 1
    // length, attributes, timestamp delta, offset delta, key, value, header count
    const size =
      4 + // attributes, header count and the first bytes of the lengths of key and value
      (deltaCode >>> 0 < 0x80 ? 1 : sizeOfCode(deltaCode)) +
      (indexCode < 0x80 ? 1 : sizeOfCode(indexCode)) +
      (keyCode < 0x80 ? 0 : sizeOfCode(keyCode) - 1) +
      keyLength +
      (valueCode < 0x80 ? 0 : sizeOfCode(valueCode) - 1) +
      valueLength
    let p = handle.at
    const sizeCode = size << 1
    // Neighbours are written as one word each; the bytes of it that are too many are overwritten by what follows.
    if (sizeCode < 0x4000 && deltaCode >>> 0 < 0x80) {
      if (sizeCode < 0x80) {
        view.setInt32(p, sizeCode | (deltaCode << 16), true)
        p += 3
      } else {
        view.setInt32(p, (sizeCode & 0x7f) | 0x80 | ((sizeCode >>> 7) << 8) | (deltaCode << 24), true)
        p += 4
      }
    } else {
      p = writeUnsigned(bytes, p, sizeCode)
      bytes[p++] = 0
      p = writeUnsigned(bytes, p, deltaCode)
    }
    if (indexCode < 0x80 && keyCode < 0x80) {
      view.setInt32(p, indexCode | (keyCode << 8), true)
      p += 2
    } else if (indexCode < 0x4000 && keyCode < 0x80) {
      view.setInt32(p, (indexCode & 0x7f) | 0x80 | ((indexCode >>> 7) << 8) | (keyCode << 16), true)
      p += 3
    } else if (indexCode < 0x200000 && keyCode < 0x80) {
      const low = (indexCode & 0x7f) | (((indexCode >>> 7) & 0x7f) << 8) | 0x8080
      view.setInt32(p, low | ((indexCode >>> 14) << 16) | (keyCode << 24), true)
      p += 4
    } else {
      p = writeUnsigned(bytes, p, indexCode)
      p = writeUnsigned(bytes, p, keyCode)
    }
    const source = this.#viewOf(values)
    if (keyLength >= 8 && keys === values) copyWords(source, keyStart, keyLength, view, p)
    else for (let i = 0; i < keyLength; i++) bytes[p + i] = keys[keyStart + i]!
    p += keyLength
    if (valueCode < 0x80) bytes[p++] = valueCode
    else if (valueCode < 0x4000) {
      bytes[p] = (valueCode & 0x7f) | 0x80
      bytes[p + 1] = valueCode >>> 7
      p += 2
    } else p = writeUnsigned(bytes, p, valueCode)
    if (valueLength >= 8 && valueLength <= WORD_COPY_BYTES_MAX) copyWords(source, start, valueLength, view, p)
    else if (valueLength > 0) copyShared(values.subarray(start, end), this.#buffer, p)
    p += valueLength
    bytes[p++] = 0
    handle.at = p
    handle.recordCount++
    if (timestampMs > handle.maxTimestamp) handle.maxTimestamp = timestampMs
    this.recordCount++
    this.valueBytes += valueLength
    return this.#sequence
  }

  /** The ticket of what was appended last. */
  get ticket(): number {
    return this.#sequence
  }

  /**
   * Adds the values of run[from, to) in `bytes` (mqtt-parser.ts has the entries), all with the key bytes[keyStart, keyEnd),
   * which lies before them, up to where the batch is full: all of them have one ticket, `ticket`. Returns how many, or
   * what `append` refuses the first with. As `append` does it with each, but for what is the same for all.
   */
  appendRun(
    handle: PartitionHandle,
    bytes: Uint8Array,
    keyStart: number,
    keyEnd: number,
    run: Int32Array,
    from: number,
    to: number,
  ): number {
    const keyLength = keyEnd - keyStart
    const delta = this.receiveTimeMs - handle.baseTimestamp
    const deltaCode = delta << 1
    const source = this.#viewOf(bytes)
    const view = this.#view
    const { limit } = handle
    const countBefore = handle.recordCount
    let count = countBefore
    let valueBytes = 0
    let p = handle.at
    let i = from
    if (delta >= 0 && delta < 0x40 && keyLength < 0x40)
      for (; i < to; i++) {
        const start = run[i * RUN_ENTRY + RUN_START]!
        const valueLength = run[i * RUN_ENTRY + RUN_END]! - start
        if (valueLength < 8 || valueLength > WORD_COPY_BYTES_MAX) break
        if (p + keyLength + valueLength + RECORD_OVERHEAD_MAX > limit || count >= 0x100000) break
        const sizeCode =
          (5 +
            (count < 0x40 ? 1 : count < 0x2000 ? 2 : 3) +
            keyLength +
            (valueLength < 0x40 ? 0 : 1) +
            valueLength) <<
          1
        // Neighbours are written as one word each, as in `append`.
        if (sizeCode < 0x80) {
          view.setInt32(p, sizeCode | (deltaCode << 16), true)
          p += 3
        } else {
          view.setInt32(p, (sizeCode & 0x7f) | 0x80 | ((sizeCode >>> 7) << 8) | (deltaCode << 24), true)
          p += 4
        }
        const indexCode = count << 1
        const low = (indexCode & 0x7f) | (((indexCode >>> 7) & 0x7f) << 8)
        if (indexCode < 0x80) {
          view.setInt32(p, indexCode | (keyLength << 9), true)
          p += 2
        } else if (indexCode < 0x4000) {
          view.setInt32(p, low | 0x80 | (keyLength << 17), true)
          p += 3
        } else {
          view.setInt32(p, low | 0x8080 | ((indexCode >>> 14) << 16) | (keyLength << 25), true)
          p += 4
        }
        if (keyLength >= 8) copyWords(source, keyStart, keyLength, view, p)
        else view.setBigInt64(p, source.getBigInt64(keyStart, true), true)
        p += keyLength
        const valueCode = valueLength << 1
        if (valueCode < 0x80) view.setUint8(p++, valueCode)
        else {
          view.setInt16(p, (valueCode & 0x7f) | 0x80 | ((valueCode >>> 7) << 8), true)
          p += 2
        }
        copyWords(source, start, valueLength, view, p)
        p += valueLength
        view.setUint8(p++, 0)
        count++
        valueBytes += valueLength
      }
    if (i === from) {
      const start = run[i * RUN_ENTRY + RUN_START]!
      const ticket = this.append(handle, bytes, keyStart, keyEnd, bytes, start, run[i * RUN_ENTRY + RUN_END]!)
      return ticket > 0 ? 1 : ticket
    }
    handle.at = p
    handle.recordCount = count
    if (this.receiveTimeMs > handle.maxTimestamp) handle.maxTimestamp = this.receiveTimeMs
    this.recordCount += count - countBefore
    this.valueBytes += valueBytes
    return i - from
  }

  #viewOf(values: Uint8Array): DataView {
    if (values !== this.#source) {
      this.#source = values
      this.#sourceView = new DataView(values.buffer, values.byteOffset, values.byteLength)
    }
    return this.#sourceView
  }

  /**
   * A client publishes at QoS 1 whose record before this one has that ticket: where it has just become durable, the client
   * sends as it is acknowledged, and a commit must not linger.
   */
  answered(ticketBefore: number): void {
    if (ticketBefore < this.#sequence - 1 - this.#requestsInFlightMax) return
    if (this.#delay.answered()) this.#schedule()
  }

  /** To be called after each read: a commit that waits for more goes when enough is there. */
  endRead(): void {
    if (this.#delay.isDue()) this.#schedule()
  }

  /** Sends all that has gathered, unless as many requests as allowed are in flight: their end sends it. */
  flush(): void {
    this.#delay.cancel()
    if (this.#stopped || this.#requestsInFlight >= this.#requestsInFlightMax) return
    if (this.#open.length === 0 && this.#sealed.length === 0) return
    for (const handle of this.#open) this.#seal(handle)
    this.#open = []
    const batches = this.#sealed
    this.#sealed = []
    this.#bytesSealed = 0
    this.#flushedCount = this.recordCount
    this.#delay.committed()
    this.#requestsInFlight++
    this.#send(this.#sequence++, batches, RETRY_MS_MIN)
  }

  /** Settles when everything appended before the call is durable, held partitions included; never after a failure. */
  drained(): Promise<void> {
    this.flush()
    if (this.#isIdle()) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push(resolve))
  }

  /** Makes room for `room` bytes in the partition's batch: opens, grows or replaces it. 0, or a refusal. */
  #makeRoom(handle: PartitionHandle, room: number): number {
    if (handle.heldSequence !== 0) return BACKLOG
    if (this.#stopped) return OVER_BUDGET
    const arena = this.#arena
    const timestampMs = this.receiveTimeMs
    if (handle.limit !== 0) {
      const delta = timestampMs - handle.baseTimestamp
      const order = orderOf(handle.at - handle.start + room)
      if (order <= arena.orderMax && delta <= TIMESTAMP_DELTA_MAX && delta >= -TIMESTAMP_DELTA_MAX) {
        const start = arena.allocate(order)
        if (start < 0) return OVER_BUDGET
        this.#bytes.copyWithin(start, handle.start, handle.at)
        arena.free(handle.start, handle.order)
        handle.at = start + (handle.at - handle.start)
        handle.start = start
        handle.limit = start + (1 << order)
        handle.order = order
        return 0
      }
      this.#seal(handle)
      this.#open.splice(this.#open.indexOf(handle), 1)
      if (this.#bytesSealed >= this.#flushBytes) this.flush()
    }
    const needed = orderOf(RECORDS + room)
    if (needed > arena.orderMax) throw new RangeError(`record of ${room} bytes is larger than a slab`)
    let order = Math.max(needed, handle.orderUsual)
    let start = arena.allocate(order)
    if (start < 0) start = arena.allocate((order = needed))
    if (start < 0) return OVER_BUDGET
    handle.start = start
    handle.limit = start + (1 << order)
    handle.order = order
    handle.at = start + RECORDS
    handle.recordCount = 0
    handle.baseTimestamp = timestampMs
    handle.maxTimestamp = timestampMs
    this.#open.push(handle)
    this.#schedule()
    return 0
  }

  /** Closes the partition's batch: its header, and its view among those of the flush being filled. The CRC is the log's. */
  #seal(handle: PartitionHandle): void {
    const { start, at } = handle
    writeBatchHeader(this.#bytes, start, at, handle.recordCount, handle.baseTimestamp, handle.maxTimestamp)
    this.#bytesSealed += at - start
    this.#sealed.push(
      new SealedBatch(handle, start, handle.order, {
        topic: handle.topic,
        partition: handle.partition,
        batch: this.#bytes.subarray(start, at),
        recordCount: handle.recordCount,
        isCrcPending: true,
      }),
    )
    // Down by one order at a time, so that one quiet turn does not make a busy partition grow anew.
    handle.orderUsual = Math.max(orderOf(at - start), handle.orderUsual - 1)
    handle.limit = 0
    handle.at = 0
  }

  #schedule(): void {
    if (this.#turnScheduled || this.#delay.isPutOff) return
    if (this.#requestsInFlight >= this.#requestsInFlightMax) return
    this.#turnScheduled = true
    setImmediate(() => {
      this.#turnScheduled = false
      if (!this.#mayPutOff() || !this.#delay.linger()) this.flush()
    })
  }

  #send(sequence: number, batches: readonly SealedBatch[], retryMs: number): void {
    this.#append(batches).then(
      () => {
        this.#requestsInFlight--
        this.#free(batches)
        this.#completed(sequence, batches)
      },
      (error: unknown) => this.#refused(sequence, batches, error, retryMs),
    )
  }

  #append(batches: readonly SealedBatch[]): Promise<AppendResult> {
    const entries = new Array<BatchAppend>(batches.length)
    for (let i = 0; i < batches.length; i++) entries[i] = batches[i]!.entry
    return this.#log.append({ entries, independent: true })
  }

  #free(batches: readonly SealedBatch[]): void {
    for (const batch of batches) this.#arena.free(batch.start, batch.order)
  }

  #completed(sequence: number, batches: readonly SealedBatch[]): void {
    // Not for each commit: the tables that a set outgrows name their successors, which the collector of young objects then keeps.
    if (sequence !== this.#durable + 1) this.#early.add(sequence)
    else {
      this.#durable++
      while (this.#early.size > 0 && this.#early.delete(this.#durable + 1)) this.#durable++
    }
    // The disk first: the acknowledgements that are written now overlap with it.
    if (!this.#putOff(batches)) this.flush()
    this.#announce()
  }

  /** Puts the commit of what has gathered meanwhile off, where more will come soon. */
  #putOff(batches: readonly SealedBatch[]): boolean {
    if (!this.#mayPutOff()) return false
    let records = 0
    let bytes = 0
    for (const { entry } of batches) {
      records += entry.recordCount
      bytes += entry.batch.length
    }
    return this.#delay.putOff(records, bytes)
  }

  #mayPutOff(): boolean {
    return this.#requestsInFlight === 0 && this.#waiters.length === 0
  }

  #announce(): void {
    this.#onDurable(this.#durable)
    if (!this.#isIdle()) return
    const waiters = this.#waiters
    this.#waiters = []
    for (const resolve of waiters) resolve()
  }

  #isIdle(): boolean {
    return this.#requestsInFlight === 0 && this.#arena.bytesUsed === 0
  }

  /** A request was refused as a whole: nothing of it is in the log. Its place in flight stays taken meanwhile. */
  #refused(sequence: number, batches: readonly SealedBatch[], error: unknown, retryMs: number): void {
    if (isMillraceError(error, 'log_full'))
      setTimeout(() => this.#send(sequence, batches, Math.min(retryMs * 2, RETRY_MS_MAX)), retryMs)
    else if (isMillraceError(error, 'backlog_full')) void this.#divide(sequence, batches)
    else this.#fail(error)
  }

  /** At least one partition of the request is over its backlog: each goes alone, and those refused again are held. */
  async #divide(sequence: number, batches: readonly SealedBatch[]): Promise<void> {
    const byPartition = new Map<PartitionHandle, SealedBatch[]>()
    for (const batch of batches) {
      const some = byPartition.get(batch.handle)
      if (some === undefined) byPartition.set(batch.handle, [batch])
      else some.push(batch)
    }
    try {
      await Promise.all(
        Array.from(byPartition, async ([handle, own]) => {
          for (let waitMs = RETRY_MS_MIN; ; waitMs = Math.min(waitMs * 2, RETRY_MS_MAX)) {
            try {
              await this.#append(own)
              this.#free(own)
              return
            } catch (error) {
              if (isMillraceError(error, 'backlog_full')) return this.#hold(handle, sequence, own)
              if (!isMillraceError(error, 'log_full')) throw error
              await new Promise((resolve) => setTimeout(resolve, waitMs))
            }
          }
        }),
      )
    } catch (error) {
      this.#fail(error)
      return
    }
    this.#requestsInFlight--
    this.#completed(sequence, batches)
  }

  /** Keeps a partition's refused batches, and what has gathered for it since, until the log takes them. */
  #hold(handle: PartitionHandle, sequence: number, refused: SealedBatch[]): void {
    handle.heldSequence = sequence
    handle.held = refused
    this.#held.add(handle)
    if (handle.limit !== 0) {
      this.#seal(handle)
      this.#open.splice(this.#open.indexOf(handle), 1)
    }
    const others: SealedBatch[] = []
    for (const batch of this.#sealed) {
      if (batch.handle !== handle) others.push(batch)
      else {
        handle.held.push(batch)
        this.#bytesSealed -= batch.entry.batch.length
      }
    }
    this.#sealed = others
    // No flush carries what was taken from the one being filled, where nothing else is in it: tickets would wait for others'
    // records. Until it is durable it is held.
    if (others.length === 0 && this.#open.length === 0 && this.recordCount !== this.#flushedCount) {
      this.#flushedCount = this.recordCount
      this.#early.add(this.#sequence++)
    }
    this.#retryHeld(handle, RETRY_MS_MIN)
  }

  #retryHeld(handle: PartitionHandle, waitMs: number): void {
    setTimeout(() => {
      this.#append(handle.held).then(
        () => {
          this.#free(handle.held)
          handle.held = []
          handle.heldSequence = 0
          this.#held.delete(handle)
          this.#announce()
        },
        (error: unknown) => {
          if (isMillraceError(error, 'backlog_full') || isMillraceError(error, 'log_full'))
            this.#retryHeld(handle, Math.min(waitMs * 2, RETRY_MS_MAX))
          else this.#fail(error)
        },
      )
    }, waitMs)
  }

  #fail(error: unknown): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#onFailure(
      isMillraceError(error) ? error : new MillraceError('internal', 'the log failed an append', {}, error),
    )
  }
}

/** Bytes of an unsigned varint; only for values above one byte, which are rare in what calls it. */
function sizeOfCode(code: number): number {
  const value = code >>> 0
  return value < 0x4000 ? (value < 0x80 ? 1 : 2) : value < 0x200000 ? 3 : value < 0x10000000 ? 4 : 5
}
