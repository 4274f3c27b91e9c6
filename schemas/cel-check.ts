// Parses a CEL expression with @bufbuild/cel and checks its types against a stream's fields.
//
// The library's own checker (0.6.1) knows constants and identifiers only and is not exported, so the check is
// here: every sub-expression gets a type by the overloads of the CEL specification ("Standard Definitions"),
// with two things stricter, because a rule that can never do what it says should not be registered: == and in
// between unlike types are errors, and so are fields that do not exist. `dyn` is let through; it is what
// `dyn()` and empty lists give.
import { parse } from '@bufbuild/cel'
import { MillraceError } from '../std/errors.ts'
import { type CelFields, type CelType, celTypeName, sameCelKind } from './cel-types.ts'

export type CelExpr = ReturnType<typeof parse>['expr']
type Case<K extends string> = Extract<CelExpr['exprKind'], { case: K }>['value']

export interface CheckedCel {
  source: string
  /** For the library's planner. */
  parsed: ReturnType<typeof parse>
  expr: CelExpr
  type: CelType
  /** Type of each sub-expression by its id. */
  types: ReadonlyMap<bigint, CelType>
  /** Top-level fields it reads. */
  reads: readonly string[]
}

/** Longer expressions are no rules but programs. */
const SOURCE_LENGTH_MAX = 4096
/** Bounds the recursion of everything that walks an expression. */
const DEPTH_MAX = 200
const TOO_DEEP = `nests deeper than ${DEPTH_MAX} levels`

/**
 * Checks `source` over the fields. Errors: `rule_invalid`, with `offset` (characters into the source) and
 * `reason` in its details.
 */
export function checkCel(source: string, fields: CelFields): CheckedCel {
  if (source.length > SOURCE_LENGTH_MAX)
    throw ruleInvalid(
      source,
      0,
      `is ${source.length} characters long; at most ${SOURCE_LENGTH_MAX} are allowed`,
    )
  let parsed: ReturnType<typeof parse>
  try {
    parsed = parse(source)
  } catch (error) {
    if (error instanceof RangeError) throw ruleInvalid(source, 0, TOO_DEEP)
    const { location, found, rawMessage } = error as ParseFailure
    const offset = location?.start.offset ?? 0
    if (offset >= source.length) throw ruleInvalid(source, source.length, 'ends too early')
    throw ruleInvalid(source, offset, found ? `is not CEL from '${found}' on` : (rawMessage ?? String(error)))
  }
  const checker = new Checker(source, fields, parsed.sourceInfo?.positions ?? {})
  const type = checker.check(parsed.expr)
  return { source, parsed, expr: parsed.expr, type, types: checker.types, reads: [...checker.reads] }
}

interface ParseFailure {
  location?: { start: { offset: number } }
  found?: string
  rawMessage?: string
}

function ruleInvalid(source: string, offset: number, reason: string): MillraceError {
  return new MillraceError('rule_invalid', `${reason} (at character ${offset + 1} of '${source}')`, {
    offset,
    reason,
  })
}

const BOOL: CelType = { kind: 'bool' }
const INT: CelType = { kind: 'int' }
const UINT: CelType = { kind: 'uint' }
const DOUBLE: CelType = { kind: 'double' }
const STRING: CelType = { kind: 'string' }
const BYTES: CelType = { kind: 'bytes' }
const DYN: CelType = { kind: 'dyn' }
const TIMESTAMP: CelType = { kind: 'timestamp' }
const DURATION: CelType = { kind: 'duration' }
const TYPE: CelType = { kind: 'type' }

const isNumeric = (type: CelType): boolean =>
  type.kind === 'int' || type.kind === 'uint' || type.kind === 'double'

/** Operators as the parser names them, and how people write them. */
const OPERATORS: Record<string, string> = {
  '_+_': '+',
  '_-_': '-',
  '_*_': '*',
  '_/_': '/',
  '_%_': '%',
  '_<_': '<',
  '_<=_': '<=',
  '_>_': '>',
  '_>=_': '>=',
  '_==_': '==',
  '_!=_': '!=',
}

/** `left op right` of unlike or special types: arithmetic of the standard definitions. */
const ARITHMETIC: Record<string, readonly (readonly [string, string, CelType])[]> = {
  '_+_': [
    ['int', 'int', INT],
    ['uint', 'uint', UINT],
    ['double', 'double', DOUBLE],
    ['string', 'string', STRING],
    ['bytes', 'bytes', BYTES],
    ['timestamp', 'duration', TIMESTAMP],
    ['duration', 'timestamp', TIMESTAMP],
    ['duration', 'duration', DURATION],
  ],
  '_-_': [
    ['int', 'int', INT],
    ['uint', 'uint', UINT],
    ['double', 'double', DOUBLE],
    ['timestamp', 'timestamp', DURATION],
    ['timestamp', 'duration', TIMESTAMP],
    ['duration', 'duration', DURATION],
  ],
  '_*_': [
    ['int', 'int', INT],
    ['uint', 'uint', UINT],
    ['double', 'double', DOUBLE],
  ],
  '_/_': [
    ['int', 'int', INT],
    ['uint', 'uint', UINT],
    ['double', 'double', DOUBLE],
  ],
  '_%_': [
    ['int', 'int', INT],
    ['uint', 'uint', UINT],
  ],
}

/** Functions of one argument: kinds that it takes. */
const CONVERSIONS: Record<string, readonly [readonly string[], CelType]> = {
  int: [['int', 'uint', 'double', 'string', 'timestamp', 'duration'], INT],
  uint: [['int', 'uint', 'double', 'string'], UINT],
  double: [['int', 'uint', 'double', 'string'], DOUBLE],
  string: [['int', 'uint', 'double', 'string', 'bool', 'bytes', 'timestamp', 'duration'], STRING],
  bool: [['bool', 'string'], BOOL],
  bytes: [['bytes', 'string'], BYTES],
  timestamp: [['timestamp', 'string', 'int'], TIMESTAMP],
  duration: [['duration', 'string', 'int'], DURATION],
}

const STRING_TESTS: readonly string[] = ['contains', 'startsWith', 'endsWith', 'matches']
const TIMESTAMP_GETTERS: readonly string[] = [
  'getFullYear',
  'getMonth',
  'getDate',
  'getDayOfMonth',
  'getDayOfWeek',
  'getDayOfYear',
  'getHours',
  'getMinutes',
  'getSeconds',
  'getMilliseconds',
]
const DURATION_GETTERS: readonly string[] = ['getHours', 'getMinutes', 'getSeconds', 'getMilliseconds']

class Checker {
  readonly types = new Map<bigint, CelType>()
  readonly reads = new Set<string>()
  readonly #source: string
  readonly #fields: CelFields
  readonly #positions: Readonly<Record<string, number>>
  /** Variables of the comprehensions (exists, all, map …) around the expression in hand, innermost last. */
  readonly #scope: [string, CelType][] = []
  #depth = 0

  constructor(source: string, fields: CelFields, positions: Readonly<Record<string, number>>) {
    this.#source = source
    this.#fields = fields
    this.#positions = positions
  }

  check(expr: CelExpr): CelType {
    if (++this.#depth > DEPTH_MAX) this.#fail(expr, TOO_DEEP)
    const type = this.#typeOf(expr)
    this.#depth--
    this.types.set(expr.id, type)
    return type
  }

  #fail(expr: CelExpr, reason: string): never {
    let offset = this.#positions[String(expr.id)] ?? 0
    while (offset < this.#source.length && /\s/.test(this.#source[offset]!)) offset++
    throw ruleInvalid(this.#source, offset, reason)
  }

  #typeOf(expr: CelExpr): CelType {
    const kind = expr.exprKind
    switch (kind.case) {
      case 'constExpr':
        return this.#constant(expr, kind.value)
      case 'identExpr':
        return this.#identifier(expr, kind.value.name)
      case 'selectExpr':
        return this.#select(expr, kind.value)
      case 'callExpr':
        return this.#call(expr, kind.value)
      case 'listExpr':
        return this.#list(kind.value.elements)
      case 'structExpr':
        return this.#struct(expr, kind.value)
      case 'comprehensionExpr':
        return this.#comprehension(expr, kind.value)
    }
    this.#fail(expr, 'is not an expression')
  }

  #constant(expr: CelExpr, constant: Case<'constExpr'>): CelType {
    switch (constant.constantKind.case) {
      case 'boolValue':
        return BOOL
      case 'int64Value':
        return INT
      case 'uint64Value':
        return UINT
      case 'doubleValue':
        return DOUBLE
      case 'stringValue':
        return STRING
      case 'bytesValue':
        return BYTES
      case 'nullValue':
        return { kind: 'null' }
    }
    this.#fail(expr, 'is not a constant')
  }

  #identifier(expr: CelExpr, name: string): CelType {
    for (let i = this.#scope.length - 1; i >= 0; i--)
      if (this.#scope[i]![0] === name) return this.#scope[i]![1]
    const type = this.#fields.get(name)
    if (type !== undefined) {
      this.reads.add(name)
      return type
    }
    if (Object.hasOwn(CONVERSIONS, name) || ['list', 'map', 'null_type', 'type'].includes(name)) return TYPE
    this.#fail(expr, `there is no field '${name}'; fields are ${[...this.#fields.keys()].join(', ')}`)
  }

  #select(expr: CelExpr, select: Case<'selectExpr'>): CelType {
    const operand = this.check(select.operand!)
    if (operand.kind === 'record') {
      const type = operand.fields.get(select.field)
      if (type === undefined)
        this.#fail(
          expr,
          `there is no field '${select.field}' in it; its fields are ${[...operand.fields.keys()].join(', ')}`,
        )
      return select.testOnly ? BOOL : type
    }
    if (operand.kind === 'map') return select.testOnly ? BOOL : operand.value
    if (operand.kind === 'dyn') return select.testOnly ? BOOL : DYN
    this.#fail(expr, `a ${celTypeName(operand)} has no field '${select.field}'`)
  }

  #list(elements: readonly CelExpr[]): CelType {
    let element: CelType = DYN
    for (let i = 0; i < elements.length; i++) {
      const type = this.check(elements[i]!)
      element = i === 0 ? type : (joinTypes(element, type) ?? DYN)
    }
    return { kind: 'list', element }
  }

  #struct(expr: CelExpr, struct: Case<'structExpr'>): CelType {
    if (struct.messageName !== '') this.#fail(expr, `there is no type '${struct.messageName}'`)
    let value: CelType | undefined
    for (const entry of struct.entries) {
      if (entry.keyKind.case !== 'mapKey' || this.check(entry.keyKind.value).kind !== 'string')
        this.#fail(expr, 'the keys of a map are strings here')
      const type = this.check(entry.value!)
      value = value === undefined ? type : (joinTypes(value, type) ?? DYN)
    }
    return { kind: 'map', value: value ?? DYN }
  }

  #call(expr: CelExpr, call: Case<'callExpr'>): CelType {
    const { function: name, args } = call
    if (call.target !== undefined) return this.#method(expr, name, this.check(call.target), args)
    const types = args.map((arg) => this.check(arg))
    switch (name) {
      case '_&&_':
      case '_||_':
      case '!_':
      case '@not_strictly_false':
        for (let i = 0; i < args.length; i++)
          if (types[i]!.kind !== 'bool' && types[i]!.kind !== 'dyn')
            this.#fail(args[i]!, `must be bool, is ${celTypeName(types[i]!)}`)
        return BOOL
      case '_?_:_':
        return this.#conditional(expr, args, types)
      case '_==_':
      case '_!=_':
        this.#comparable(expr, OPERATORS[name]!, types[0]!, types[1]!)
        return BOOL
      case '_<_':
      case '_<=_':
      case '_>_':
      case '_>=_':
        return this.#ordered(expr, OPERATORS[name]!, types[0]!, types[1]!)
      case '-_':
        return this.#negated(expr, types[0]!)
      case '@in':
        return this.#membership(expr, types[0]!, types[1]!)
      case '_[_]':
        return this.#index(expr, types[0]!, types[1]!)
      case 'size':
        return this.#size(expr, types[0])
      case 'type':
        return TYPE
      case 'dyn':
        return DYN
    }
    if (Object.hasOwn(ARITHMETIC, name)) return this.#arithmetic(expr, name, types[0]!, types[1]!)
    if (Object.hasOwn(CONVERSIONS, name) && types.length === 1) {
      const [kinds, result] = CONVERSIONS[name]!
      if (types[0]!.kind === 'dyn' || kinds.includes(types[0]!.kind)) return result
      this.#fail(expr, `${name}() takes ${kinds.join(', ')}, not ${celTypeName(types[0]!)}`)
    }
    this.#fail(expr, `there is no function '${name}' of ${args.length} arguments`)
  }

  #method(expr: CelExpr, name: string, target: CelType, args: readonly CelExpr[]): CelType {
    const types = args.map((arg) => this.check(arg))
    const free = target.kind === 'dyn'
    if (STRING_TESTS.includes(name) && args.length === 1 && (free || target.kind === 'string')) {
      if (types[0]!.kind === 'string' || types[0]!.kind === 'dyn') return BOOL
      this.#fail(args[0]!, `must be string, is ${celTypeName(types[0]!)}`)
    }
    if (name === 'size' && args.length === 0) return this.#size(expr, target)
    const getters = target.kind === 'duration' ? DURATION_GETTERS : TIMESTAMP_GETTERS
    if (getters.includes(name) && (free || target.kind === 'timestamp' || target.kind === 'duration')) {
      if (args.length === 0) return INT
      if (
        args.length === 1 &&
        target.kind !== 'duration' &&
        (types[0]!.kind === 'string' || types[0]!.kind === 'dyn')
      )
        return INT
    }
    this.#fail(expr, `there is no function '${name}' of ${args.length} arguments on a ${celTypeName(target)}`)
  }

  #conditional(expr: CelExpr, args: readonly CelExpr[], types: readonly CelType[]): CelType {
    if (types[0]!.kind !== 'bool' && types[0]!.kind !== 'dyn')
      this.#fail(args[0]!, `the condition must be bool, is ${celTypeName(types[0]!)}`)
    const joined = joinTypes(types[1]!, types[2]!)
    if (joined !== undefined) return joined
    this.#fail(
      expr,
      `both sides of ?: must have one type, they are ${celTypeName(types[1]!)} and ${celTypeName(types[2]!)}`,
    )
  }

  #comparable(expr: CelExpr, operator: string, left: CelType, right: CelType): void {
    if (left.kind === 'dyn' || right.kind === 'dyn') return
    if (isNumeric(left) && isNumeric(right)) return
    if (left.kind === 'null' || right.kind === 'null') {
      const other = left.kind === 'null' ? right : left
      if (other.kind === 'null' || other.nullable === true) return
      this.#fail(expr, `a ${celTypeName(other)} is never null`)
    }
    if (joinTypes(left, right) === undefined)
      this.#fail(
        expr,
        `${operator} between ${celTypeName(left)} and ${celTypeName(right)} is always the same`,
      )
  }

  #ordered(expr: CelExpr, operator: string, left: CelType, right: CelType): CelType {
    if (left.kind === 'dyn' || right.kind === 'dyn') return BOOL
    if (isNumeric(left) && isNumeric(right)) return BOOL
    const orderable = ['bool', 'string', 'bytes', 'timestamp', 'duration']
    if (left.kind === right.kind && orderable.includes(left.kind)) return BOOL
    this.#fail(expr, `${operator} cannot order ${celTypeName(left)} and ${celTypeName(right)}`)
  }

  #arithmetic(expr: CelExpr, name: string, left: CelType, right: CelType): CelType {
    if (left.kind === 'list' && right.kind === 'list' && name === '_+_')
      return { kind: 'list', element: joinTypes(left.element, right.element) ?? DYN }
    if (left.kind === 'dyn' || right.kind === 'dyn') return DYN
    const overload = ARITHMETIC[name]!.find(([l, r]) => l === left.kind && r === right.kind)
    if (overload !== undefined) return overload[2]
    const hint =
      isNumeric(left) && isNumeric(right)
        ? ': write the number with a decimal point (2.0), or convert with double() or int()'
        : ''
    this.#fail(
      expr,
      `${OPERATORS[name]} has no form for ${celTypeName(left)} and ${celTypeName(right)}${hint}`,
    )
  }

  #negated(expr: CelExpr, type: CelType): CelType {
    if (type.kind === 'int' || type.kind === 'double' || type.kind === 'dyn') return bare(type)
    this.#fail(expr, `- takes int or double, not ${celTypeName(type)}`)
  }

  #membership(expr: CelExpr, value: CelType, container: CelType): CelType {
    if (container.kind === 'dyn') return BOOL
    if (container.kind === 'map') {
      if (value.kind === 'string' || value.kind === 'dyn') return BOOL
      this.#fail(expr, `the keys of a map are strings, not ${celTypeName(value)}`)
    }
    if (container.kind !== 'list') this.#fail(expr, `in needs a list or a map, not ${celTypeName(container)}`)
    this.#comparable(expr, 'in', value, container.element)
    return BOOL
  }

  #index(expr: CelExpr, operand: CelType, index: CelType): CelType {
    if (operand.kind === 'dyn') return DYN
    if (operand.kind === 'list') {
      if (index.kind === 'int' || index.kind === 'dyn') return operand.element
      this.#fail(expr, `the index of a list is an int, not ${celTypeName(index)}`)
    }
    if (operand.kind === 'map') {
      if (index.kind === 'string' || index.kind === 'dyn') return operand.value
      this.#fail(expr, `the key of a map is a string, not ${celTypeName(index)}`)
    }
    this.#fail(expr, `[] needs a list or a map, not ${celTypeName(operand)}`)
  }

  #size(expr: CelExpr, operand: CelType | undefined): CelType {
    if (operand !== undefined && ['string', 'bytes', 'list', 'map', 'dyn'].includes(operand.kind)) return INT
    this.#fail(
      expr,
      `size() takes string, bytes, list or map${operand === undefined ? '' : `, not ${celTypeName(operand)}`}`,
    )
  }

  /** The fold that exists, all, exists_one, map and filter are parsed to. */
  #comprehension(expr: CelExpr, fold: Case<'comprehensionExpr'>): CelType {
    const range = this.check(fold.iterRange!)
    let item: CelType = DYN
    if (range.kind === 'list') item = range.element
    else if (range.kind === 'map') item = STRING
    else if (range.kind !== 'dyn') this.#fail(expr, `needs a list or a map, not ${celTypeName(range)}`)
    const initial = this.check(fold.accuInit!)
    this.#scope.push([fold.iterVar, item], [fold.accuVar, initial])
    const condition = this.check(fold.loopCondition!)
    if (condition.kind !== 'bool') this.#fail(expr, 'the condition of a fold must be bool')
    this.check(fold.loopStep!)
    const result = this.check(fold.result!)
    this.#scope.splice(-2)
    return result
  }
}

const bare = (type: CelType): CelType => (type.nullable === true ? { ...type, nullable: false } : type)

/** The one type that both are, undefined where there is none. */
function joinTypes(left: CelType, right: CelType): CelType | undefined {
  if (left.kind === 'null') return right.kind === 'null' ? left : { ...right, nullable: true }
  if (right.kind === 'null') return { ...left, nullable: true }
  if (left.kind === 'dyn') return left
  if (right.kind === 'dyn') return right
  const nullable = left.nullable === true || right.nullable === true
  if (left.kind === 'list' && right.kind === 'list') {
    const element = joinTypes(left.element, right.element)
    return element === undefined ? undefined : { kind: 'list', element, nullable }
  }
  if (left.kind === 'record' && right.kind === 'record')
    return left.fields === right.fields ? { ...left, nullable } : undefined
  return sameCelKind(left, right) ? { ...left, nullable } : undefined
}
