// Sends rejected records through again after a contract was fixed (docs/decisions/0007-replay-of-rejected.md).
//
// What is read is the table of rejected records, because it holds all of them, and the log only the last day. What
// is written is one atomic append: the raw records, and a key for each in the compacted topic `millrace._replayed`:
//
//   <tenant>.<stream>/<partition>/<offset>/<receive time>   →   {"content": hash, "contract": fingerprint, "end": n}
//
// The key is the rejected record's place in its topic (with its time, because a log that was wiped counts offsets
// anew), so that none is sent twice, whatever crashes. A record that normalize rejects again is a new rejected record,
// at a new place (at or after `end`, where the topic ended when the first was sent), of the same content: it is not sent
// before the stream's contract is another one. So a second run changes nothing, and a run after the next fix goes on.
// A payload that the door would refuse now is not sent at all.
//
// Normalize has seen the payload of a record that it rejected, so the raw record says that it is no duplicate (a header).
// It has the receive time of the rejected one: plausibility and lateness are judged as they would have been.
import { createHash } from 'node:crypto'
import type { BatchAppend, Log } from './log/log.ts'
import { RecordBatchBuilder, RecordReader } from './log/record-batch.ts'
import { MARK_REPLAYED, REPLAYED_TOPIC, rawTopic, rejectedTopic } from './schemas/names.ts'
import type { StreamDescriptor } from './schemas/stream.ts'
import type { RejectedRow } from './sink/rejected-rows.ts'
import { partitionOfKey } from './std/hash.ts'

/** What the door says of a payload: the value of its raw record, or why it is refused. */
export interface PayloadChecker {
  check(payload: Uint8Array): Uint8Array | { code: string; text: string }
}

export interface ReplayOptions {
  /** Only records that were rejected for this reason. */
  code?: string
  /** Count, and send nothing. */
  dryRun: boolean
  /** Records that are sent at most. */
  limit: number
}

export interface ReplayReport {
  /** Rejected records that were looked at. */
  found: number
  /** Sent (or, of a dry run, to be sent). */
  sent: number
  /** Sent by an earlier run. */
  sentBefore: number
  /** Sent by an earlier run and rejected again by the contract as it is. */
  rejectedAgain: number
  /** Still refused at the door, by code. */
  refused: Record<string, number>
  /** Whether the limit was reached. */
  more: boolean
}

/** Records and bytes of one append. */
const APPEND_RECORDS_MAX = 1000
const APPEND_BYTES_MAX = 1024 * 1024
const READ_BYTES = 1 << 20

const decoder = new TextDecoder()
const encoder = new TextEncoder()

/** What is remembered of a record that was sent. */
interface Mark {
  content: string
  contract: string
  end: number
}

/** A record that will be sent with the next append. */
interface Pending {
  key: string
  content: string
  row: RejectedRow
  value: Uint8Array
}

export class RejectedReplay {
  readonly #log: Log
  /** Keys that were sent, and for each content how it was sent last. */
  readonly #sent = new Set<string>()
  readonly #lastOf = new Map<string, Mark>()
  #nextOffset = 0
  /** Replays of this process run one after the other. */
  #tail: Promise<unknown> = Promise.resolve()

  constructor(log: Log) {
    this.#log = log
  }

  /** Errors: offset_conflict where another process replays at the same time; the log's; those of `rows`. */
  run(
    stream: StreamDescriptor,
    rows: AsyncIterable<RejectedRow>,
    checker: PayloadChecker,
    options: ReplayOptions,
  ): Promise<ReplayReport> {
    const replayed = this.#tail.then(() => this.#run(stream, rows, checker, options))
    this.#tail = replayed.catch(() => {})
    return replayed
  }

  async #run(
    stream: StreamDescriptor,
    rows: AsyncIterable<RejectedRow>,
    checker: PayloadChecker,
    options: ReplayOptions,
  ): Promise<ReplayReport> {
    await this.#readState()
    const contract = fingerprintOf(stream)
    const ends: number[] = []
    for (let partition = 0; partition < stream.partitions; partition++)
      ends.push((await this.#log.range(rejectedTopic(stream.tenant, stream.stream), partition)).end)
    const report: ReplayReport = {
      found: 0,
      sent: 0,
      sentBefore: 0,
      rejectedAgain: 0,
      refused: {},
      more: false,
    }
    const state = { pending: [] as Pending[], bytes: 0 }
    const flush = async (): Promise<void> => {
      if (state.pending.length > 0 && !options.dryRun)
        await this.#append(stream, contract, ends, state.pending)
      state.pending = []
      state.bytes = 0
    }
    for await (const row of rows) {
      if (options.code !== undefined && row.code !== options.code) continue
      report.found++
      const key = `${stream.tenant}.${stream.stream}/${row.partition}/${row.offset}/${row.receiveTimeMicros}`
      if (this.#sent.has(key)) {
        report.sentBefore++
        continue
      }
      const content = contentOf(stream, row)
      const last = this.#lastOf.get(content)
      if (last?.contract === contract && row.offset >= last.end) {
        report.rejectedAgain++
        continue
      }
      const checked = checker.check(row.payload)
      if (!(checked instanceof Uint8Array)) {
        report.refused[checked.code] = (report.refused[checked.code] ?? 0) + 1
        continue
      }
      if (report.sent === options.limit) {
        report.more = true
        break
      }
      report.sent++
      state.pending.push({ key, content, row, value: checked })
      state.bytes += checked.length
      if (state.pending.length >= APPEND_RECORDS_MAX || state.bytes >= APPEND_BYTES_MAX) await flush()
    }
    await flush()
    return report
  }

  async #append(
    stream: StreamDescriptor,
    contract: string,
    ends: readonly number[],
    pending: readonly Pending[],
  ): Promise<void> {
    const topic = rawTopic(stream.tenant, stream.stream)
    const batches = new Map<number, RecordBatchBuilder>()
    const marks = new RecordBatchBuilder()
    const now = Date.now()
    for (const { key, content, row, value } of pending) {
      const device = encoder.encode(row.device)
      const partition = partitionOfKey(device, 0, device.length, stream.partitions)
      let builder = batches.get(partition)
      if (builder === undefined) batches.set(partition, (builder = new RecordBatchBuilder()))
      const place = encoder.encode(`${row.partition}/${row.offset}`)
      builder.append(Math.floor(row.receiveTimeMicros / 1000), device, value, [
        { key: MARK_REPLAYED, value: place },
      ])
      const mark: Mark = { content, contract, end: ends[row.partition] ?? 0 }
      marks.append(now, encoder.encode(key), encoder.encode(JSON.stringify(mark)))
    }
    const entries = [...batches].map(([partition, builder]): BatchAppend => {
      const { recordCount } = builder
      return { topic, partition, batch: builder.finish(), recordCount }
    })
    const { recordCount } = marks
    const mark = { topic: REPLAYED_TOPIC, partition: 0, batch: marks.finish(), recordCount }
    await this.#log.append({ entries: [...entries, { ...mark, expectedOffset: this.#nextOffset }] })
    // Its own marks are read back like another's: where the log leaves gaps, the next offset is not the sum.
    await this.#readState()
  }

  /** Applies what the topic has gained. */
  async #readState(): Promise<void> {
    await this.#log.createTopic(REPLAYED_TOPIC, {
      partitions: 1,
      cleanup: 'compact',
      retentionAgeMs: Number.POSITIVE_INFINITY,
      retentionBytes: Number.POSITIVE_INFINITY,
      backlogBytesMax: Number.POSITIVE_INFINITY,
    })
    const { start, end } = await this.#log.range(REPLAYED_TOPIC, 0)
    this.#nextOffset = Math.max(this.#nextOffset, start)
    const reader = new RecordReader()
    while (this.#nextOffset < end) {
      const { batches, nextOffset } = await this.#log.read(REPLAYED_TOPIC, 0, this.#nextOffset, READ_BYTES)
      if (nextOffset <= this.#nextOffset) break
      reader.reset(batches)
      while (reader.next()) {
        if (reader.offset < this.#nextOffset || reader.valueStart < 0) continue
        // Copies: the log may hand out views of shared memory, which TextDecoder refuses.
        const key = decoder.decode(batches.slice(reader.keyStart, reader.keyEnd))
        const value = decoder.decode(batches.slice(reader.valueStart, reader.valueEnd))
        const mark = JSON.parse(value) as Mark
        this.#sent.add(key)
        this.#lastOf.set(mark.content, mark)
      }
      this.#nextOffset = nextOffset
    }
  }
}

/** What decides whether a payload of the stream is accepted: its schemas, its rules, its windows. */
function fingerprintOf(stream: StreamDescriptor): string {
  const { schema, writers, fields, ruleSets, plausible } = stream
  return hashOf(JSON.stringify([schema, writers.map(({ id }) => id), fields, ruleSets, plausible]))
}

function contentOf(stream: StreamDescriptor, row: RejectedRow): string {
  return hashOf(`${stream.tenant}.${stream.stream}\n${row.device}\n${row.receiveTimeMicros}\n`, row.payload)
}

function hashOf(text: string, bytes: Uint8Array = new Uint8Array()): string {
  return createHash('sha256').update(text).update(bytes).digest('hex').slice(0, 32)
}
