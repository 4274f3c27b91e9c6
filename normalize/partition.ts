// One raw partition: batches in; passed, rewritten and rejected records out; state changed on the way.
//
// The order of decisions for a record, which docs/delivery.md promises:
//   1. device id, frame, schema id, payload: what cannot be read is rejected
//   2. duplicate of an earlier record, whatever became of that one: dropped and counted; but not a rejected record that
//      is sent through again
//   3. resolution to the current schema, then the rules of its firmware; either may reject
//   4. event time implausible for its receive time, a range that refuses: rejected
//   5. late, out of range: marked
// A record that none of it touches passes. As long as all records of a batch pass, nothing is written: the
// batch goes on whole. The first that does not has the records before it copied out and the rest follow. On a log without
// references only a large batch goes on whole; of small ones the records that pass are written together.
import { type BatchHeader, RecordReader, readBatchHeader } from '../log/record-batch.ts'
import type { CounterBlock } from '../std/counters.ts'
import { invariant } from '../std/errors.ts'
import type { NormalizeCounter, RejectCode } from './counters.ts'
import { PayloadHash } from './duplicates.ts'
import { KEY_BYTES_MAX } from './key-table.ts'
import { isPlausible } from './lateness.ts'
import { carriesMarks, isReplayed, Marks, type OutputBatches } from './output.ts'
import type { RejectedBatches } from './rejected-batches.ts'
import type { PartitionState } from './state.ts'
import { FRAME_BYTES, type Rejection, type StreamTransform, type WriterPlan } from './transform.ts'

/** To Kafka each batch of a partition takes a request of its own, which costs more than to copy some hundred records. */
const COPIED_BYTES_MIN = 16 * 1024

const PASS = 0
const REWRITE = 1
const DUPLICATE = 2
const REJECT = 3

/** What became of the records of some batches. */
export class Tally {
  recordsIn = 0
  recordsPassed = 0
  batchesPassed = 0
  recordsRewritten = 0
  duplicates = 0
  late = 0
  qualityMarked = 0
  windowEvictions = 0
  deviceEvictions = 0
  readonly rejected = new Map<RejectCode, number>()

  addTo(counters: CounterBlock<NormalizeCounter>): void {
    counters.add('records_in', this.recordsIn)
    counters.add('records_passed', this.recordsPassed)
    counters.add('batches_passed', this.batchesPassed)
    counters.add('records_rewritten', this.recordsRewritten)
    counters.add('duplicates', this.duplicates)
    counters.add('late', this.late)
    counters.add('quality_marked', this.qualityMarked)
    counters.add('window_evictions', this.windowEvictions)
    counters.add('device_evictions', this.deviceEvictions)
    for (const [code, count] of this.rejected) counters.add(`rejected_${code}`, count)
  }
}

export interface PartitionOptions {
  partition: number
  /** Whether whole batches go on as references; otherwise as copies. */
  references: boolean
  /** Of copies: records of batches that are smaller are written into one; default 16 KiB. */
  copiedBytesMin?: number
}

export class PartitionNormalizer {
  readonly state: PartitionState
  readonly #options: PartitionOptions
  #transform: StreamTransform
  #plan: WriterPlan | undefined
  readonly #reader = new RecordReader()
  readonly #copier = new RecordReader()
  readonly #hash = new PayloadHash()
  readonly #marks = new Marks()
  /** The value of a record to be rewritten: value[valueStart, valueEnd). */
  #value: Uint8Array = new Uint8Array(0)
  #valueView = new DataView(this.#value.buffer)
  #valueStart = 0
  #valueEnd = 0
  #rejection: Rejection | undefined
  #tally = new Tally()

  constructor(transform: StreamTransform, state: PartitionState, options: PartitionOptions) {
    this.#transform = transform
    this.state = state
    this.#options = options
  }

  /** Takes a new version of the contract, between two calls of `process`. */
  setTransform(transform: StreamTransform): void {
    this.#transform = transform
    this.#plan = undefined
  }

  /**
   * Deals with the records in whole batches `bytes` whose offsets lie in [from, to). Adds what became of them
   * to `tally`, and what goes on to `output` and `rejected`.
   */
  process(
    bytes: Uint8Array,
    from: number,
    to: number,
    output: OutputBatches,
    rejected: RejectedBatches,
    tally: Tally,
  ): void {
    this.#tally = tally
    const { windows } = this.state
    const windowEvictions = windows.evictions
    const { deviceEvictions } = this.state
    let start = 0
    while (start < bytes.length) {
      const header = readBatchHeader(bytes, start)
      invariant(header !== undefined, `no batch at byte ${start} of a read`)
      const end = start + header.byteLength
      const last = header.baseOffset + header.lastOffsetDelta
      if (last >= from && header.baseOffset < to)
        this.#batch(bytes, start, end, header, from, to, output, rejected, tally)
      start = end
    }
    tally.windowEvictions += windows.evictions - windowEvictions
    tally.deviceEvictions += this.state.deviceEvictions - deviceEvictions
  }

  #batch(
    bytes: Uint8Array,
    start: number,
    end: number,
    header: BatchHeader,
    from: number,
    to: number,
    output: OutputBatches,
    rejected: RejectedBatches,
    tally: Tally,
  ): void {
    const reader = this.#reader
    reader.reset(bytes, start, end)
    const { references, copiedBytesMin = COPIED_BYTES_MIN } = this.#options
    const mayPass = references || header.byteLength >= copiedBytesMin
    let whole = mayPass && header.baseOffset >= from && header.baseOffset + header.lastOffsetDelta < to
    let passed = 0
    let rewritten = 0
    let count = 0
    while (reader.next()) {
      if (reader.offset < from || reader.offset >= to) continue
      count++
      const action = this.#decide(reader)
      if (action === PASS) {
        passed++
        if (!whole) output.copy(reader)
        continue
      }
      if (whole) {
        whole = false
        this.#copyFirst(bytes, start, end, passed, output)
      }
      if (action === REWRITE) {
        rewritten++
        output.write(reader, this.#valueView, this.#valueStart, this.#valueEnd, this.#marks)
      } else if (action === REJECT) {
        const rejection = this.#rejection!
        rejected.add(reader, this.#options.partition, rejection)
        tally.rejected.set(rejection.code, (tally.rejected.get(rejection.code) ?? 0) + 1)
        this.state.rejected++
      } else {
        tally.duplicates++
        this.state.duplicates++
      }
    }
    tally.recordsIn += count
    tally.recordsPassed += passed
    tally.recordsRewritten += rewritten
    if (whole && passed > 0) {
      tally.batchesPassed++
      if (references) output.passReference(header.baseOffset, header.recordCount)
      else output.passCopy(bytes, start, end, header.recordCount)
    }
  }

  /** Copies the first `count` records of the batch: they passed, but the batch does not. */
  #copyFirst(bytes: Uint8Array, start: number, end: number, count: number, output: OutputBatches): void {
    const copier = this.#copier
    copier.reset(bytes, start, end)
    for (let i = 0; i < count && copier.next(); i++) output.copy(copier)
  }

  #decide(record: RecordReader): number {
    const { bytes, view, keyStart, keyEnd, valueStart, valueEnd } = record
    const transform = this.#transform
    if (keyStart < 0 || keyEnd === keyStart || keyEnd - keyStart > KEY_BYTES_MAX)
      return this.#reject('device_invalid', 'the record has no valid device id as its key')
    if (valueStart < 0 || valueEnd - valueStart < FRAME_BYTES || bytes[valueStart] !== 0)
      return this.#reject(
        'format_unknown',
        'the payload does not begin with a Confluent frame (0x00, schema id)',
      )
    const schemaId =
      (bytes[valueStart + 1]! << 24) |
      (bytes[valueStart + 2]! << 16) |
      (bytes[valueStart + 3]! << 8) |
      bytes[valueStart + 4]!
    let plan = this.#plan
    if (plan === undefined || plan.schemaId !== schemaId) {
      plan = transform.writer(schemaId)
      if (plan === undefined)
        return this.#reject('schema_unknown', `no version of ${transform.subject} has schema id ${schemaId}`)
      this.#plan = plan
    }
    const datumStart = valueStart + FRAME_BYTES
    let scan = plan.scanner
    let scanned = scan.scan(bytes, view, datumStart, valueEnd)
    if (scanned < 0) {
      this.#rejection = plan.explain(bytes, datumStart, valueEnd)
      return REJECT
    }

    const state = this.state
    const slot = state.slotOf(bytes, view, keyStart, keyEnd)
    state.lastOffsets[slot] = record.offset
    const eventTime = scan.numbers[transform.eventTimeSlot]!
    const sequence = scan.numbers[transform.sequenceSlot]!
    // NaN: the record has none. With neither, two equal payloads may be two messages.
    if (!Number.isNaN(eventTime) || !Number.isNaN(sequence)) {
      const hash = this.#hash
      hash.hash(bytes, view, datumStart, valueEnd, state.devices.hashes[slot]!)
      if (state.windows.seen(slot, hash.low, hash.high, eventTime, sequence) && !isReplayed(record))
        return DUPLICATE
    }

    let rewrite = false
    this.#value = bytes
    this.#valueView = view
    this.#valueStart = valueStart
    this.#valueEnd = valueEnd
    if (!plan.isIdentity) {
      const rules = plan.rulesFor(bytes, view)
      if (!plan.isCurrent || !rules.isIdentity) {
        const rejection = transform.rewrite(plan, rules, bytes, view, datumStart, valueEnd)
        if (rejection !== undefined) {
          this.#rejection = rejection
          return REJECT
        }
        rewrite = true
        this.#value = transform.value
        this.#valueView = transform.valueView
        this.#valueStart = 0
        this.#valueEnd = transform.valueEnd
        scan = transform.scanner
        scanned = scan.scan(this.#value, this.#valueView, FRAME_BYTES, this.#valueEnd)
        invariant(scanned >= 0, `what was rewritten to schema ${transform.schemaId} is no datum of it`)
      }
    }

    const eventMs = scan.numbers[transform.eventTimeSlot]! / transform.eventTimePerMs
    if (!isPlausible(eventMs, record.timestamp, transform.pastMs, transform.futureMs)) {
      this.#rejection = transform.implausible(eventMs, record.timestamp)
      return REJECT
    }
    let quality = 0
    if (scanned > 0) {
      quality = transform.outOfRange(
        this.#value,
        this.#valueView,
        this.#valueStart + FRAME_BYTES,
        this.#valueEnd,
      )
      if (quality < 0) {
        this.#rejection = transform.refusal
        return REJECT
      }
    }
    const late = state.watermarks.observe(slot, eventMs, transform.latenessMs)
    const forged = record.headerCount > 0 && carriesMarks(record)
    if (late === 0 && quality === 0 && !rewrite && !forged) return PASS
    this.#mark(record, late, quality, forged)
    return REWRITE
  }

  #mark(record: RecordReader, late: number, quality: number, forged: boolean): void {
    const marks = this.#marks
    marks.clear()
    if (forged) marks.replaceHeaders(record)
    if (late > 0) {
      marks.late(late)
      this.#tally.late++
    }
    if (quality > 0) {
      marks.quality(this.#transform.qualityNames())
      this.#tally.qualityMarked++
    }
    // A record maps to one record so far, whose sub-index is 0.
    marks.source(this.#options.partition, record.offset, 0)
  }

  #reject(code: RejectCode, reason: string): number {
    this.#rejection = { code, reason, field: undefined, offset: undefined }
    return REJECT
  }
}
