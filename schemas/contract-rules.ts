// The `rules` of a contract's stream: rule sets by firmware range, each with steps. A step's short forms
// (convert, scale, default) become `set` with a CEL expression, so that normalize knows only set and refuse:
//
//   - set: dew_point                 value: CEL               any expression over the record's fields
//   - convert: temperature           from: °F                 to the field's own unit
//   - scale: pressure                factor: 0.1  offset: 0   value × factor + offset
//   - default: air_quality           value: CEL               where the field is null
//   - refuse: reason                 when: CEL                the record is rejected with that reason
//
// Every step may have `when`, a CEL condition.
import { MillraceError } from '../std/errors.ts'
import type { AvroNode } from './avro-node.ts'
import { celFieldsOf } from './cel-types.ts'
import type { ContractElement, ContractField } from './contract-fields.ts'
import type { At, ContractYaml, Entries } from './contract-yaml.ts'
import { DEFAULT_FIRMWARE, parseFirmwareRange } from './firmware.ts'
import { compileRule } from './rules-compile.ts'
import type { Rule, RuleSet } from './stream.ts'
import { conversion, unitsLike } from './units.ts'

const STEP_KINDS = ['set', 'convert', 'scale', 'default', 'refuse'] as const
type StepKind = (typeof STEP_KINDS)[number]

const STEP_KEYS: Record<StepKind, readonly string[]> = {
  set: ['value'],
  convert: ['from'],
  scale: ['factor', 'offset'],
  default: ['value'],
  refuse: [],
}
const RULE_SETS_MAX = 256
const STEPS_MAX = 256

/** Reads the rule sets at `at` and checks each step against the stream's Avro schema. */
export function readRuleSets(
  yaml: ContractYaml,
  at: At,
  fields: readonly ContractField[],
  avro: AvroNode,
): RuleSet[] {
  const reader = new RuleReader(yaml, fields, avro)
  const sets: RuleSet[] = []
  const items = yaml.items(at) ?? []
  if (items.length > RULE_SETS_MAX)
    yaml.problem(at, `holds ${items.length} rule sets; at most ${RULE_SETS_MAX} are allowed`)
  for (const item of items.slice(0, RULE_SETS_MAX)) {
    const entries = yaml.entries(item, ['firmware', 'steps'])
    if (entries === undefined) continue
    const firmware = readFirmware(yaml, entries, sets)
    const steps = entries.get('steps')
    if (steps === undefined) yaml.problem(item, 'needs steps; an empty list changes nothing')
    if (firmware === undefined || steps === undefined) continue
    const rules = reader.steps(steps)
    sets.push({ firmware, rules })
    if (firmware !== DEFAULT_FIRMWARE && !fields.some((field) => field.role === 'firmware'))
      yaml.problem(entries.get('firmware')!, 'no field has the role firmware, so no range can match')
  }
  return sets
}

function readFirmware(yaml: ContractYaml, entries: Entries, earlier: readonly RuleSet[]): string | undefined {
  const at = entries.get('firmware')
  if (at === undefined) {
    yaml.problem(entries.at, `needs firmware: a range such as '>=2.0 <3', or ${DEFAULT_FIRMWARE}`)
    return undefined
  }
  // A bare 2 or 2.1 is a number to YAML and a version to the author.
  const value = yaml.scalar(at)
  const text = typeof value === 'number' ? String((at.node as { source?: string }).source ?? value) : value
  if (typeof text !== 'string') {
    if (text !== undefined) yaml.problem(at, `must be a range such as '>=2.0 <3', or ${DEFAULT_FIRMWARE}`)
    return undefined
  }
  if (earlier.some((set) => set.firmware === text)) {
    yaml.problem(at, `firmware '${text}' has a rule set already`)
    return undefined
  }
  if (text === DEFAULT_FIRMWARE) return text
  const range = parseFirmwareRange(text)
  if (typeof range !== 'string') return text
  yaml.problem(at, range)
  return undefined
}

class RuleReader {
  readonly #yaml: ContractYaml
  readonly #fields: readonly ContractField[]
  readonly #avro: AvroNode
  readonly #celFields: ReturnType<typeof celFieldsOf>

  constructor(yaml: ContractYaml, fields: readonly ContractField[], avro: AvroNode) {
    this.#yaml = yaml
    this.#fields = fields
    this.#avro = avro
    this.#celFields = celFieldsOf(avro)
  }

  steps(at: At): Rule[] {
    const items = this.#yaml.items(at) ?? []
    if (items.length > STEPS_MAX)
      this.#yaml.problem(at, `holds ${items.length} steps; at most ${STEPS_MAX} are allowed`)
    return items.slice(0, STEPS_MAX).flatMap((item) => {
      const rule = this.#step(item)
      return rule === undefined ? [] : [rule]
    })
  }

  #step(at: At): Rule | undefined {
    const yaml = this.#yaml
    const before = yaml.problems.length
    const every = [...STEP_KINDS, 'when', 'value', 'from', 'factor', 'offset']
    const entries = yaml.entries(at, every)
    if (entries === undefined) return undefined
    const kinds = STEP_KINDS.filter((kind) => entries.get(kind) !== undefined)
    if (kinds.length !== 1) {
      yaml.problem(at, `a step has exactly one of ${STEP_KINDS.join(', ')}`)
      return undefined
    }
    const kind = kinds[0]!
    for (const key of entries.keys())
      if (key !== kind && key !== 'when' && !STEP_KEYS[kind].includes(key))
        yaml.problem(
          entries.get(key)!,
          `does not belong to a ${kind} step, which has ${[...STEP_KEYS[kind], 'when'].join(', ')}`,
        )
    const subject = yaml.string(entries.get(kind)!)
    const whenAt = entries.get('when')
    const when = whenAt === undefined ? undefined : yaml.string(whenAt)
    if (subject === undefined) return undefined
    const rule = this.#rule(kind, subject, when, entries)
    if (rule === undefined || yaml.problems.length > before) return undefined
    this.#check(rule, entries, kind)
    return rule
  }

  #rule(kind: StepKind, subject: string, when: string | undefined, entries: Entries): Rule | undefined {
    const yaml = this.#yaml
    const condition = when === undefined ? {} : { when }
    if (kind === 'refuse') {
      if (subject.trim() === '')
        yaml.problem(entries.get(kind)!, 'needs a reason: it is what the rejected record says')
      if (when === undefined) yaml.problem(entries.at, 'a refuse step needs when')
      return { ...condition, refuse: subject }
    }
    if (kind === 'set') {
      const value = this.#expression(entries)
      return value === undefined ? undefined : { ...condition, set: { field: subject, value } }
    }
    const field = this.#find(subject)
    if (field === undefined) {
      yaml.problem(entries.get(kind)!, `there is no field '${subject}'`)
      return undefined
    }
    if (kind === 'default') {
      if (!field.nullable) yaml.problem(entries.get(kind)!, `field '${subject}' is never null`)
      const value = this.#expression(entries)
      return value === undefined
        ? undefined
        : { when: both(`${subject} == null`, when), set: { field: subject, value } }
    }
    if (field.type.kind !== 'double' && field.type.kind !== 'float') {
      yaml.problem(
        entries.get(kind)!,
        `${kind} needs a field of type double or float, '${subject}' is ${field.type.kind}`,
      )
      return undefined
    }
    const value =
      kind === 'convert' ? this.#conversion(subject, field, entries) : this.#scale(subject, entries)
    if (value === undefined) return undefined
    const guarded = field.nullable ? { when: both(`${subject} != null`, when) } : condition
    return { ...guarded, set: { field: subject, value } }
  }

  #expression(entries: Entries): string | undefined {
    const at = entries.get('value')
    if (at !== undefined) {
      // `value: 5`, `value: true` and `value: null` are CEL as well as YAML.
      const value = this.#yaml.scalar(at)
      const { source } = (at.node ?? {}) as { source?: string }
      if (typeof value === 'number' || (value === null && source === 'null')) return source ?? String(value)
      return typeof value === 'boolean' ? String(value) : this.#yaml.string(at)
    }
    this.#yaml.problem(entries.at, 'needs value, a CEL expression')
    return undefined
  }

  /** The field that a dotted path through records leads to. */
  #find(path: string): ContractElement | undefined {
    let fields: readonly ContractField[] = this.#fields
    let found: ContractField | undefined
    for (const name of path.split('.')) {
      found = fields.find((field) => field.name === name)
      fields = found?.type.kind === 'record' ? found.type.fields : []
    }
    return found
  }

  #conversion(subject: string, field: ContractElement, entries: Entries): string | undefined {
    const at = entries.get('from')
    const from = at === undefined ? undefined : this.#yaml.string(at)
    if (from === undefined) {
      if (at === undefined) this.#yaml.problem(entries.at, 'convert needs from, a unit')
      return undefined
    }
    if (field.unit === undefined) {
      this.#yaml.problem(entries.at, `field '${subject}' has no unit to convert to`)
      return undefined
    }
    const value = conversion(subject, from, field.unit)
    if (value !== undefined) return value
    const known = unitsLike(field.unit)
    const help =
      known.length === 0
        ? `'${field.unit}' is no unit that convert knows: use set`
        : `known: ${known.join(', ')}`
    this.#yaml.problem(at!, `cannot convert '${from}' to '${field.unit}'; ${help}`)
    return undefined
  }

  #scale(subject: string, entries: Entries): string | undefined {
    const read = (key: string, otherwise: number): number | undefined => {
      const at = entries.get(key)
      if (at === undefined) return otherwise
      const value = this.#yaml.scalar(at)
      if (typeof value === 'number' && Number.isFinite(value)) return value
      if (value !== undefined) this.#yaml.problem(at, 'must be a number')
      return undefined
    }
    if (entries.get('factor') === undefined && entries.get('offset') === undefined)
      this.#yaml.problem(entries.at, 'scale needs factor, offset, or both')
    const factor = read('factor', 1)
    const offset = read('offset', 0)
    return factor === undefined || offset === undefined
      ? undefined
      : `${subject} * double(${factor}) + double(${offset})`
  }

  /** Compiles the step, to find what is wrong with it now and not at the first record. */
  #check(rule: Rule, entries: Entries, kind: StepKind): void {
    try {
      compileRule(rule, this.#avro, this.#celFields)
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error
      const { part, reason, offset } = error.details as { part: string; reason: string; offset: number }
      const own = part === 'set' ? entries.get(kind) : entries.get(part)
      const shift = own === undefined || part === 'set' ? undefined : this.#yaml.textShift(own)
      // A position in a text that YAML folded, or that a short form made, is no place in the document.
      const exact =
        shift !== undefined &&
        rule[part === 'when' ? 'when' : 'set'] !== undefined &&
        isVerbatim(rule, part, own!)
      this.#yaml.problem(own ?? entries.at, exact ? reason : error.message, exact ? shift + offset : 0)
    }
  }
}

/** Whether the part's CEL is the very text that stands at `at`. */
function isVerbatim(rule: Rule, part: string, at: At): boolean {
  const source = part === 'when' ? rule.when : rule.set?.value
  return (at.node as { value?: unknown }).value === source
}

function both(first: string, second: string | undefined): string {
  return second === undefined ? first : `${first} && (${second})`
}
