// A stream's contract as normalize runs it: for each writer schema what to read of a payload and whether to
// rewrite it, and what the current schema demands of the result. Compiled once for each contract version.
import { REASONS } from '../schemas/avro-codes.ts'
import type { AvroNode, RecordNode } from '../schemas/avro-node.ts'
import {
  createRecordPatcher,
  createRewriter,
  createScanner,
  type FieldBounds,
  type RecordPatcher,
  type Rewriter,
  type Scanner,
} from '../schemas/avro-rewrite.ts'
import { parseAvroSchema } from '../schemas/avro-schema.ts'
import { createValidator, type Validator } from '../schemas/avro-validate.ts'
import { type CompiledRuleSet, type CompiledRules, compileRules } from '../schemas/rules-compile.ts'
import type { FieldDescriptor, FieldRole, StreamDescriptor } from '../schemas/stream.ts'
import { invariant, isMillraceError, MillraceError } from '../std/errors.ts'
import { newView } from '../std/view.ts'
import type { RejectCode } from './counters.ts'
import { KEY_BYTES_MAX, KeyTable } from './key-table.ts'
import { LATENESS_MS_DEFAULT } from './lateness.ts'

/** Confluent wire format: 0x00, schema id int32 big-endian, datum. */
export const FRAME_BYTES = 5

/** Why a record is rejected, as its row in the rejected table says it. */
export interface Rejection {
  code: RejectCode
  reason: string
  field: string | undefined
  /** In the payload, frame included. */
  offset: number | undefined
}

/** Slots of every scanner of a stream. */
const EVENT_TIME = 0
const SEQUENCE = 1
const FIRMWARE = 2

const VALUE_BYTES_MIN = 4096

/** Distinct firmwares remembered at a time: devices choose the text, so it is bounded. */
const FIRMWARES_MAX = 1024

interface Range extends FieldBounds {
  name: Uint8Array
  /** Of `#rangeScanner`. */
  slot: number
  refuses: boolean
}

export class StreamTransform {
  readonly subject: string
  readonly schemaId: number
  readonly eventTimeSlot = EVENT_TIME
  readonly sequenceSlot = SEQUENCE
  /** Units of the event time field in a millisecond. */
  readonly eventTimePerMs: number
  readonly pastMs: number
  readonly futureMs: number
  readonly latenessMs: number
  /** Of the current schema. */
  readonly scanner: Scanner
  /** Why the last record was refused, where `outOfRange` gave a negative number. */
  refusal: Rejection | undefined
  /** What `rewrite` wrote: frame and datum in value[0, valueEnd). */
  value: Uint8Array
  valueView: DataView
  valueEnd = 0

  readonly #eventTimeField: string | undefined
  readonly #reader: RecordNode
  readonly #rules: CompiledRules
  readonly #ranges: readonly Range[]
  /** Of the current schema, for the few records with a field out of its range: a slot for each of those fields. */
  readonly #rangeScanner: Scanner
  readonly #marked: Uint8Array
  readonly #plans = new Map<number, WriterPlan>()
  readonly #patchers = new Map<CompiledRuleSet, RecordPatcher>()
  /** The last of them. */
  #patchedRules: CompiledRuleSet | undefined
  #patcher: RecordPatcher | undefined
  /** What `value` was before the rules. */
  #resolved: Uint8Array
  #resolvedView: DataView
  #names = new Uint8Array(64)

  constructor(descriptor: StreamDescriptor) {
    const reader = recordOf(descriptor.schema)
    const { fields } = descriptor
    this.subject = descriptor.subject
    this.schemaId = descriptor.schemaId
    this.value = framed(this.schemaId, VALUE_BYTES_MIN)
    this.valueView = newView(this.value)
    this.#resolved = framed(this.schemaId, VALUE_BYTES_MIN)
    this.#resolvedView = newView(this.#resolved)
    this.pastMs = descriptor.plausible.pastMs
    this.futureMs = descriptor.plausible.futureMs
    this.latenessMs = descriptor.latenessMs ?? LATENESS_MS_DEFAULT
    this.eventTimePerMs = eventTimeUnit(reader, roleOf(fields, 'event_time'))
    this.#eventTimeField = roleOf(fields, 'event_time')?.name
    this.#rules = compileRules(descriptor)
    const ranged = fields.filter((field) => field.range !== undefined)
    const scanned = [roleOf(fields, 'event_time'), roleOf(fields, 'sequence'), roleOf(fields, 'firmware')]
    this.#ranges = ranged.map((field, slot) => ({
      field: field.name,
      name: new TextEncoder().encode(field.name),
      slot,
      min: field.range?.min ?? -Infinity,
      max: field.range?.max ?? Infinity,
      refuses: field.enforce === 'refuse',
    }))
    this.#marked = new Uint8Array(ranged.length)
    this.#reader = reader
    this.#rangeScanner = createScanner(
      reader,
      ranged.map((field) => field.name),
    )
    // Bounds hold for what the current schema and the rules make of a record.
    const scannerOf = (node: RecordNode, bounds: readonly FieldBounds[] = []): Scanner =>
      createScanner(
        node,
        scanned.map((field) => writerName(node, field)),
        bounds,
      )
    this.scanner = scannerOf(reader, this.#ranges)
    for (const { id, schema } of descriptor.writers) {
      const writer = recordOf(schema)
      const isCurrent = id === descriptor.schemaId
      const scanner = isCurrent ? this.scanner : scannerOf(writer)
      this.#plans.set(id, new WriterPlan(id, writer, isCurrent ? undefined : reader, scanner, this.#rules))
    }
  }

  /** The plan for a writer schema, undefined for an id that is no version of the subject. */
  writer(schemaId: number): WriterPlan | undefined {
    return this.#plans.get(schemaId)
  }

  /** Brings a datum to the current schema and applies the rules; the result is `value`. `view`: of `bytes`. */
  rewrite(
    plan: WriterPlan,
    rules: CompiledRuleSet,
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
  ): Rejection | undefined {
    if (plan.conflict !== undefined)
      return { code: 'resolution_failed', reason: plan.conflict, field: undefined, offset: undefined }
    if (plan.rewriter === undefined) return this.#apply(rules, bytes, view, start, end)
    this.#resolve(plan.rewriter, bytes, start, end)
    if (rules.isIdentity) return undefined
    const { value, valueView, valueEnd } = this
    this.value = this.#resolved
    this.valueView = this.#resolvedView
    this.#resolved = value
    this.#resolvedView = valueView
    return this.#apply(rules, value, valueView, FRAME_BYTES, valueEnd)
  }

  #resolve(rewriter: Rewriter, bytes: Uint8Array, start: number, end: number): void {
    for (;;) {
      const after = rewriter.rewrite(bytes, start, end, this.value, FRAME_BYTES)
      invariant(after > 0, `a datum that was scanned cannot be resolved: ${REASONS[-after]}`)
      if (after <= this.value.length) {
        this.valueEnd = after
        return
      }
      this.#growValue()
    }
  }

  /** The datum, valid in the current schema, after the rules: only what they read is decoded, what they set is written. */
  #apply(
    rules: CompiledRuleSet,
    bytes: Uint8Array,
    view: DataView,
    start: number,
    end: number,
  ): Rejection | undefined {
    const patcher = this.#patcherOf(rules)
    const record = patcher.decode(bytes, start, end)
    const refusal = rules.apply(record)
    if (refusal !== undefined) {
      const { code, reason, field } = refusal
      return { code, reason, field, offset: undefined }
    }
    for (;;) {
      const after = patcher.encode(record, view, start, end, this.value, this.valueView, FRAME_BYTES)
      if (after < 0) break
      if (after <= this.value.length) {
        this.valueEnd = after
        return undefined
      }
      this.#growValue()
    }
    const reason = `what the rules for firmware '${rules.firmware}' made does not fit the schema`
    return { code: 'rule_failed', reason, field: undefined, offset: undefined }
  }

  #patcherOf(rules: CompiledRuleSet): RecordPatcher {
    if (this.#patcher !== undefined && this.#patchedRules === rules) return this.#patcher
    let patcher = this.#patchers.get(rules)
    if (patcher === undefined) {
      patcher = createRecordPatcher(this.#reader, rules.reads, rules.writes)
      this.#patchers.set(rules, patcher)
    }
    this.#patchedRules = rules
    this.#patcher = patcher
    return patcher
  }

  #growValue(): void {
    this.value = framed(this.schemaId, this.value.length * 2)
    this.valueView = newView(this.value)
  }

  implausible(eventMs: number, receiveMs: number): Rejection {
    const time = (ms: number): string =>
      Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : `${ms} ms since 1970`
    const reason = `event time ${time(eventMs)} is not plausible for a record received at ${time(receiveMs)}`
    return { code: 'event_time_implausible', reason, field: this.#eventTimeField, offset: undefined }
  }

  /**
   * How many fields of a datum of the current schema are out of their range and only marked; -1 where one is
   * refused, then `refusal` says why.
   */
  outOfRange(bytes: Uint8Array, view: DataView, start: number, end: number): number {
    const { scan, numbers, ranges: places } = this.#rangeScanner
    scan(bytes, view, start, end)
    const ranges = this.#ranges
    let count = 0
    for (let i = 0; i < ranges.length; i++) {
      const { slot, min, max } = ranges[i]!
      const value = numbers[slot]!
      // NaN is out of every range; but the scanner gives NaN for null too, which lies nowhere and is in order.
      const out = value < min || value > max || (Number.isNaN(value) && places[2 * slot]! >= 0)
      this.#marked[i] = out ? 1 : 0
      if (!out) continue
      if (ranges[i]!.refuses) {
        this.refusal = this.#refusalOf(ranges[i]!, value)
        return -1
      }
      count++
    }
    return count
  }

  #refusalOf({ field, min, max }: Range, value: number): Rejection {
    const reason = `${field} is ${value}, outside [${min}, ${max}]`
    return { code: 'range_refused', reason, field, offset: undefined }
  }

  /** Names of the fields that `outOfRange` found, comma-separated. */
  qualityNames(): Uint8Array {
    let at = 0
    for (let i = 0; i < this.#ranges.length; i++) {
      if (this.#marked[i] === 0) continue
      const { name } = this.#ranges[i]!
      if (at + name.length + 1 > this.#names.length) {
        const grown = new Uint8Array((at + name.length + 1) * 2)
        grown.set(this.#names)
        this.#names = grown
      }
      if (at > 0) this.#names[at++] = 0x2c
      this.#names.set(name, at)
      at += name.length
    }
    return this.#names.subarray(0, at)
  }
}

/** What is known of one writer schema of the stream. */
export class WriterPlan {
  readonly schemaId: number
  /** Its datums are in the current schema. */
  readonly isCurrent: boolean
  /** And no rules change them, whatever the firmware. */
  readonly isIdentity: boolean
  readonly scanner: Scanner
  /** To the current schema; undefined where that is this one, or cannot read it. */
  readonly rewriter: Rewriter | undefined
  /** Why the current schema cannot read this one: only under a compatibility level that lets it. */
  readonly conflict: string | undefined
  readonly #writer: RecordNode
  readonly #rules: CompiledRules
  readonly #firmwares = new KeyTable()
  #ruleSets: CompiledRuleSet[] = []
  #validator: Validator | undefined

  /** `reader`: undefined where the writer's schema is the current one. */
  constructor(
    schemaId: number,
    writer: RecordNode,
    reader: RecordNode | undefined,
    scanner: Scanner,
    rules: CompiledRules,
  ) {
    this.schemaId = schemaId
    this.isCurrent = reader === undefined
    this.isIdentity = this.isCurrent && rules.isIdentity
    this.scanner = scanner
    this.#writer = writer
    this.#rules = rules
    if (reader === undefined) return
    try {
      this.rewriter = createRewriter(writer, reader)
    } catch (error) {
      if (!isMillraceError(error, 'schema_incompatible')) throw error
      this.conflict = error.message
    }
  }

  /** The rule set for the firmware that the scanner found in `bytes`; a string is made once for each version. */
  rulesFor(bytes: Uint8Array, view: DataView): CompiledRuleSet {
    const start = this.scanner.ranges[2 * FIRMWARE]!
    const end = this.scanner.ranges[2 * FIRMWARE + 1]!
    if (start < 0 || end - start > KEY_BYTES_MAX) return this.#rules.select(undefined)
    const known = this.#firmwares.find(bytes, view, start, end)
    if (known >= 0) return this.#ruleSets[known]!
    if (this.#firmwares.count >= FIRMWARES_MAX) {
      this.#firmwares.keepOnly(new Int32Array(0))
      this.#ruleSets = []
    }
    const rules = this.#rules.select(new TextDecoder().decode(bytes.slice(start, end)))
    this.#ruleSets[this.#firmwares.add(bytes, start, end)] = rules
    return rules
  }

  /** Why the scanner refused a datum. */
  explain(bytes: Uint8Array, start: number, end: number): Rejection {
    this.#validator ??= createValidator(this.#writer)
    const failure = this.#validator.explain(bytes, start, end)!
    return {
      code: 'payload_invalid',
      reason: `${REASONS[failure.code]} (schema id ${this.schemaId})`,
      field: failure.path === '' ? undefined : failure.path,
      offset: FRAME_BYTES + failure.offset,
    }
  }
}

/** Errors: `schema_invalid`, `rule_invalid`. */
export function compileTransform(descriptor: StreamDescriptor): StreamTransform {
  return new StreamTransform(descriptor)
}

/** A buffer of `size` bytes that begins with the frame of `schemaId`. */
function framed(schemaId: number, size: number): Uint8Array {
  const bytes = new Uint8Array(size)
  new DataView(bytes.buffer).setInt32(1, schemaId)
  return bytes
}

function recordOf(schema: string): RecordNode {
  const node: AvroNode = parseAvroSchema(schema)
  if (node.kind !== 'record')
    throw new MillraceError('schema_invalid', `a stream's schema must be a record, this is ${node.kind}`)
  return node
}

function roleOf(fields: readonly FieldDescriptor[], role: FieldRole): FieldDescriptor | undefined {
  return fields.find((field) => field.role === role)
}

/** What the writer calls a field: its name, or one that it had before. '' where the writer has none. */
function writerName(writer: RecordNode, field: FieldDescriptor | undefined): string {
  if (field === undefined) return ''
  const names = [field.name, ...(field.aliases ?? [])]
  return names.find((name) => writer.fields.some((one) => one.name === name)) ?? ''
}

function eventTimeUnit(reader: RecordNode, field: FieldDescriptor | undefined): number {
  let node = reader.fields.find((one) => one.name === field?.name)?.node
  if (node?.kind === 'union') node = node.branches.find((branch) => branch.kind !== 'null')
  return node?.kind === 'long' && node.logical === 'timestamp-micros' ? 1000 : 1
}
