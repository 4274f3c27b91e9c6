// A contract's rules as something to run: picks a rule set by firmware, applies its steps to a decoded record.
//
// The record is an object in the layout of cel-types.ts, in the stream's current schema. Steps run in order, each
// on what the ones before left. A step whose expression fails (CEL's error value), or whose result does not fit
// its field, refuses the record: a value that a rule could not correct must not pass for a corrected one.
import { MillraceError } from '../std/errors.ts'
import { type AvroNode, type FixedNode, nullableOf } from './avro-node.ts'
import { parseAvroSchema } from './avro-schema.ts'
import { CelFailure, type CelProgram, compileCel } from './cel-compile.ts'
import type { CelInt } from './cel-runtime.ts'
import { type CelFields, type CelType, celFieldsOf, celTypeName } from './cel-types.ts'
import { DEFAULT_FIRMWARE, FirmwareChooser, type FirmwareRange, parseFirmwareRange } from './firmware.ts'
import type { Rule, StreamDescriptor } from './stream.ts'

export type DecodedRecord = Record<string, unknown>

/** Why a record was refused by a rule. */
export interface RuleRefusal {
  /** A `refuse` step applied, or a step could not be computed. */
  code: 'rule_refused' | 'rule_failed'
  /** For people: the contract's own words, or what failed. */
  reason: string
  /** Dotted path of the field that the step sets; undefined for a `refuse` step. */
  field: string | undefined
  /** Which step of its rule set, from 0. */
  step: number
}

export interface CompiledRuleSet {
  /** Its firmware range as the contract has it, or `default`. */
  readonly firmware: string
  /** It has no step: records pass untouched. */
  readonly isIdentity: boolean
  /** Top-level fields that its steps read, and set. */
  readonly reads: readonly string[]
  readonly writes: readonly string[]
  /** Changes the record in place; undefined: it may go on. */
  apply(record: DecodedRecord): RuleRefusal | undefined
}

export interface CompiledRules {
  /** No rule set has a step: whole batches may pass through untouched, whatever their firmwares. */
  readonly isIdentity: boolean
  /** Field that holds the firmware; undefined where the contract has none, then the default set applies to all. */
  readonly firmwareField: string | undefined
  readonly sets: readonly CompiledRuleSet[]
  /** The set for a firmware as a device reports it; cached by the text. */
  select(firmware: string | null | undefined): CompiledRuleSet
}

type RulesOf = Pick<StreamDescriptor, 'schema' | 'fields' | 'ruleSets'>

/** Compiles a stream's rules. Errors: `rule_invalid`, naming rule set, step, position and reason. */
export function compileRules(descriptor: RulesOf): CompiledRules {
  const schema = parseAvroSchema(descriptor.schema)
  const fields = celFieldsOf(schema)
  const ranges: (FirmwareRange | undefined)[] = []
  const sets: CompiledRuleSet[] = []
  for (const { firmware, rules } of descriptor.ruleSets) {
    const range = firmware === DEFAULT_FIRMWARE ? undefined : parseFirmwareRange(firmware)
    if (typeof range === 'string')
      throw new MillraceError('rule_invalid', `firmware range '${firmware}': ${range}`)
    ranges.push(range)
    sets.push(compileSet(firmware, rules, schema, fields))
  }
  let fallback = ranges.indexOf(undefined)
  if (fallback < 0) {
    ranges.push(undefined)
    fallback = sets.push(compileSet(DEFAULT_FIRMWARE, [], schema, fields)) - 1
  }
  const chooser = new FirmwareChooser(ranges, fallback)
  return {
    isIdentity: sets.every((set) => set.isIdentity),
    firmwareField: descriptor.fields.find((field) => field.role === 'firmware')?.name,
    sets,
    select: (firmware) => sets[chooser.choose(firmware)]!,
  }
}

function compileSet(
  firmware: string,
  rules: readonly Rule[],
  schema: AvroNode,
  fields: CelFields,
): CompiledRuleSet {
  const steps = rules.map((rule, i) => {
    try {
      return compileRule(rule, schema, fields)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      const message = `rules for firmware '${firmware}', step ${i}: ${error.message}`
      throw new MillraceError('rule_invalid', message, { ...error.details, firmware, step: i })
    }
  })
  return {
    firmware,
    isIdentity: steps.length === 0,
    reads: [...new Set(steps.flatMap((step) => step.reads))],
    writes: [...new Set(steps.flatMap((step) => (step.path.length === 0 ? [] : [step.path[0]!])))],
    apply(record) {
      for (let i = 0; i < steps.length; i++) {
        const step = steps[i]!
        const reason = step.run(record)
        if (reason !== undefined)
          return {
            code: reason === step.refuse ? 'rule_refused' : 'rule_failed',
            reason,
            field: step.path.length === 0 ? undefined : step.path.join('.'),
            step: i,
          }
      }
      return undefined
    },
  }
}

interface Step {
  reads: readonly string[]
  path: readonly string[]
  /** The contract's reason, of a `refuse` step. */
  refuse: string | undefined
  /** Undefined when done or not applicable, else the reason to refuse the record. */
  run(record: DecodedRecord): string | undefined
}

/** Compiles one step. Errors: `rule_invalid`; `details.part` says which of `when`, `set`, `value` is wrong. */
export function compileRule(rule: Rule, schema: AvroNode, fields: CelFields): Step {
  const when = rule.when === undefined ? undefined : part('when', () => compileCel(rule.when!, fields))
  if (when !== undefined && when.type.kind !== 'bool' && when.type.kind !== 'dyn')
    throw wrong('when', `a condition must be bool, is ${celTypeName(when.type)}`)
  if (rule.set === undefined) {
    const reason = rule.refuse ?? 'refused by a rule'
    if (when === undefined) return { reads: [], path: [], refuse: reason, run: () => reason }
    const run = (record: DecodedRecord): string | undefined => {
      const holds = when.evaluate(record)
      return holds === true ? reason : failureOf(holds)
    }
    return { reads: when.reads, path: [], refuse: reason, run }
  }
  const { set } = rule
  const path = set.field.split('.')
  const target = targetOf(schema, path)
  const value = part('value', () => compileCel(set.value, fields))
  const fit = fitterOf(target, value)
  const run = (record: DecodedRecord): string | undefined => {
    const owner = ownerOf(record, path)
    // A record that is null has no field to correct.
    if (owner === undefined) return undefined
    if (when !== undefined) {
      const holds = when.evaluate(record)
      if (holds !== true) return failureOf(holds)
    }
    const result = value.evaluate(record)
    if (result instanceof CelFailure) return result.reason
    const fitted = fit(result)
    if (fitted === undefined) return `the rule's result ${String(result)} does not fit its field`
    owner[path[path.length - 1]!] = fitted
    return undefined
  }
  return { reads: [...new Set([...(when?.reads ?? []), ...value.reads])], path, refuse: undefined, run }
}

function failureOf(condition: unknown): string | undefined {
  if (condition instanceof CelFailure) return condition.reason
  return condition === false ? undefined : 'a condition is neither true nor false'
}

function ownerOf(record: DecodedRecord, path: readonly string[]): DecodedRecord | undefined {
  let owner = record
  for (let i = 0; i < path.length - 1; i++) {
    const next = owner[path[i]!]
    if (next === null || next === undefined) return undefined
    owner = next as DecodedRecord
  }
  return owner
}

function wrong(which: 'when' | 'set' | 'value', reason: string): MillraceError {
  return new MillraceError('rule_invalid', reason, { part: which, reason, offset: 0 })
}

function part<T>(which: 'when' | 'set' | 'value', compile: () => T): T {
  try {
    return compile()
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error
    throw new MillraceError('rule_invalid', error.message, { ...error.details, part: which })
  }
}

interface Target {
  /** The field's type, null taken off. */
  node: AvroNode
  nullable: boolean
}

/** The type that a path of field names leads to; through records only. */
function targetOf(schema: AvroNode, path: readonly string[]): Target {
  let target: Target = { node: schema, nullable: false }
  for (let i = 0; i < path.length; i++) {
    if (target.node.kind !== 'record') {
      const at = path.slice(0, i).join('.')
      throw wrong('set', `'${at}' is ${target.node.kind}; a rule sets fields of records only`)
    }
    const field = target.node.fields.find((one) => one.name === path[i])
    if (field === undefined)
      throw wrong('set', `there is no field '${path.slice(0, i + 1).join('.')}' to set`)
    const nullable = nullableOf(field.node)
    target = { node: nullable?.value ?? field.node, nullable: nullable !== undefined }
  }
  return target
}

/** Brings a CEL value to what a record holds in the target's type; undefined where it does not fit. */
type Fitter = (value: unknown) => unknown

const INT32_MAX = 0x7fffffff
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

function fitterOf(target: Target, value: CelProgram): Fitter {
  const { type } = value
  if (type.kind === 'null') {
    if (target.nullable) return (result) => result
    throw wrong('value', 'the field cannot be null')
  }
  if (type.nullable === true && !target.nullable)
    throw wrong('value', `may be null, but the field cannot: add a condition, or use ?: with a fallback`)
  const fit = scalarFitter(target.node, type)
  return target.nullable ? (result) => (result === null ? null : fit(result)) : fit
}

function scalarFitter(node: AvroNode, type: CelType): Fitter {
  const name = typeName(node)
  const accepts = (...kinds: readonly string[]): void => {
    if (type.kind !== 'dyn' && !kinds.includes(type.kind))
      throw wrong('value', `gives ${celTypeName(type)}, but the field is ${name}`)
  }
  switch (name) {
    case 'double':
      accepts('double', 'int')
      return (value) => (isNumber(value) ? Number(value) : undefined)
    case 'float':
      accepts('double', 'int')
      return (value) => (isNumber(value) ? Math.fround(Number(value)) : undefined)
    case 'int':
    case 'date':
    case 'time-millis':
      accepts('int')
      return (value) =>
        typeof value === 'number' && Number.isInteger(value) && Math.abs(value) <= INT32_MAX
          ? value
          : undefined
    case 'long':
    case 'time-micros':
      accepts('int')
      return (value) => (typeof value === 'bigint' || Number.isSafeInteger(value) ? value : undefined)
    case 'timestamp-micros':
      accepts('timestamp')
      return (value) => (isNumber(value) ? value : undefined)
    case 'timestamp-millis':
      accepts('timestamp')
      return (value) => (isNumber(value) ? Math.floor(Number(value) / 1000) : undefined)
    case 'boolean':
      accepts('bool')
      return (value) => (typeof value === 'boolean' ? value : undefined)
    case 'string':
      accepts('string')
      return (value) => (typeof value === 'string' ? value : undefined)
    case 'uuid':
      accepts('string')
      return (value) => (typeof value === 'string' && UUID.test(value) ? value : undefined)
    case 'bytes':
      accepts('bytes')
      return (value) => (value instanceof Uint8Array ? value : undefined)
  }
  if (node.kind === 'enum') {
    accepts('string')
    return (value) => (node.symbols.includes(value as string) ? value : undefined)
  }
  if (name === 'fixed') {
    accepts('bytes')
    const { size } = node as FixedNode
    return (value) => (value instanceof Uint8Array && value.length === size ? value : undefined)
  }
  throw wrong('set', `a rule cannot set a field of type ${name}`)
}

/** Logical type where there is one, else the kind. */
function typeName(node: AvroNode): string {
  if ('decimal' in node && node.decimal !== undefined) return 'decimal'
  if (node.kind === 'fixed') return 'fixed'
  return ('logical' in node ? node.logical : undefined) ?? node.kind
}

const isNumber = (value: unknown): value is CelInt => typeof value === 'number' || typeof value === 'bigint'
