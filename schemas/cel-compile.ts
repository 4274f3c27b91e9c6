// Compiles checked CEL to a JavaScript function over a decoded record (the layout of values is in cel-types.ts).
//
// User text never reaches the JavaScript compiler: what is generated consists of this file's templates, of
// numbers that were parsed and printed again, of field names that match IDENTIFIER, and of K[i] for every other
// constant. `temperature > 60 && firmware.startsWith("2.")` becomes
//
//   return ((record.temperature > 60) && record.firmware.startsWith(K[0]))
//
// && and || absorb errors as CEL has them (false && error is false, in either order): an operand that may fail
// and is not the last moves into a function of its own that catches. What the compiler does not take
// (comprehensions, matches, uint, durations, equality of lists …) goes to the interpreter, whole expression.

import { type CelExpr, type CheckedCel, checkCel } from './cel-check.ts'
import { interpretCel } from './cel-interpret.ts'
import { CEL_RUNTIME, CelFailure } from './cel-runtime.ts'
import type { CelFields, CelType } from './cel-types.ts'

export { CelFailure } from './cel-runtime.ts'

export interface CelProgram {
  readonly source: string
  readonly type: CelType
  /** Top-level fields that the expression reads. */
  readonly reads: readonly string[]
  /** False where the library's interpreter evaluates it. */
  readonly compiled: boolean
  /** The generated JavaScript, for people; empty where interpreted. */
  readonly code: string
  /** The value, or a CelFailure. Never throws on any record of the schema. Timestamps are microseconds. */
  evaluate(record: Record<string, unknown>): unknown
}

/** Parses, checks and compiles. Errors: `rule_invalid` (see checkCel). */
export function compileCel(source: string, fields: CelFields): CelProgram {
  const checked = checkCel(source, fields)
  const { type, reads } = checked
  let code: string
  try {
    const generator = new Generator(checked)
    code = generator.program()
    const make = new Function('R', 'K', 'Failure', code) as MakeEvaluate
    return {
      source,
      type,
      reads,
      compiled: true,
      code,
      evaluate: make(CEL_RUNTIME, generator.constants, CelFailure),
    }
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error
    return { source, type, reads, compiled: false, code: '', evaluate: interpretCel(checked, fields) }
  }
}

type MakeEvaluate = (
  runtime: typeof CEL_RUNTIME,
  constants: readonly unknown[],
  failure: typeof CelFailure,
) => (record: Record<string, unknown>) => unknown

/** The compiler has no code for this; the interpreter has. */
class Unsupported extends Error {}

/** A sub-expression as JavaScript: its value in the one form of its type, and whether evaluating it may throw. */
interface Code {
  js: string
  fallible: boolean
}

const IDENTIFIER = /^[A-Za-z_][A-Za-z0-9_]*$/

/** Kinds whose values have one representation that === or == compares. */
const SCALARS: readonly string[] = ['bool', 'int', 'double', 'string']

const ARITHMETIC_INT: Record<string, string> = {
  '_+_': 'add',
  '_-_': 'subtract',
  '_*_': 'multiply',
  '_/_': 'divide',
  '_%_': 'modulo',
}
const OPERATOR: Record<string, string> = {
  '_+_': '+',
  '_-_': '-',
  '_*_': '*',
  '_/_': '/',
  '_<_': '<',
  '_<=_': '<=',
  '_>_': '>',
  '_>=_': '>=',
}

class Generator {
  readonly constants: unknown[] = []
  readonly #checked: CheckedCel
  readonly #functions: string[] = []

  constructor(checked: CheckedCel) {
    this.#checked = checked
  }

  program(): string {
    const { js, fallible } = this.#expression(this.#checked.expr)
    const body = fallible
      ? `  try {\n    return ${js}\n  } catch (error) {\n    if (error instanceof Failure) return error\n    throw error\n  }`
      : `  return ${js}`
    return `'use strict'\n${this.#functions.join('')}return function evaluate(record) {\n${body}\n}\n`
  }

  #type(expr: CelExpr): CelType {
    return this.#checked.types.get(expr.id)!
  }

  /** The expression's value, null included where its type allows null. */
  #expression(expr: CelExpr): Code {
    const kind = expr.exprKind
    switch (kind.case) {
      case 'constExpr':
        return { js: this.#constant(kind.value), fallible: false }
      case 'identExpr':
        // A comprehension's variables never come here: folds are not compiled.
        if (!this.#checked.reads.includes(kind.value.name)) throw new Unsupported()
        return this.#read(`record.${identifier(kind.value.name)}`, false, this.#type(expr))
      case 'selectExpr':
        return this.#select(expr, kind.value.operand!, kind.value.field, kind.value.testOnly)
      case 'listExpr': {
        const items = kind.value.elements.map((item) => this.#expression(item))
        return {
          js: `[${items.map((item) => item.js).join(', ')}]`,
          fallible: items.some((item) => item.fallible),
        }
      }
      case 'callExpr':
        return kind.value.target === undefined
          ? this.#call(expr, kind.value.function, kind.value.args)
          : this.#method(kind.value.function, kind.value.target, kind.value.args)
    }
    throw new Unsupported()
  }

  /** The expression's value where null is CEL's "no such overload". */
  #operand(expr: CelExpr): Code {
    const code = this.#expression(expr)
    const type = this.#type(expr)
    if (type.kind === 'null' || type.kind === 'dyn') throw new Unsupported()
    return type.nullable === true ? { js: `R.present(${code.js})`, fallible: true } : code
  }

  #constant(constant: { constantKind: { case?: string | undefined; value?: unknown } }): string {
    const { value } = constant.constantKind
    switch (constant.constantKind.case) {
      case 'boolValue':
        return value === true ? 'true' : 'false'
      case 'nullValue':
        return 'null'
      case 'int64Value': {
        const int = BigInt(value as bigint)
        return Number.isSafeInteger(Number(int)) ? number(Number(int)) : this.#keep(int)
      }
      case 'doubleValue':
        return Number.isFinite(value) ? number(value as number) : this.#keep(value)
      case 'stringValue':
      case 'bytesValue':
        return this.#keep(value)
    }
    throw new Unsupported()
  }

  #keep(constant: unknown): string {
    return `K[${this.constants.push(constant) - 1}]`
  }

  /** A value that lies in the record at `place`, brought to the form of its type. */
  #read(place: string, fallible: boolean, type: CelType): Code {
    const convert = conversionOf(type)
    if (convert === undefined) return { js: place, fallible }
    // Only a timestamp's conversion can fail: out of CEL's range of years.
    const mayFail = fallible || type.kind === 'timestamp'
    if (type.nullable !== true) return { js: convert(place), fallible: mayFail }
    const name = this.#function(`value`, `value === null || value === undefined ? null : ${convert('value')}`)
    return { js: `${name}(${place})`, fallible: mayFail }
  }

  #function(parameter: string, expression: string): string {
    const name = `f${this.#functions.length}`
    this.#functions.push(`function ${name}(${parameter}) {\n  return ${expression}\n}\n`)
    return name
  }

  #select(expr: CelExpr, operand: CelExpr, field: string, testOnly: boolean): Code {
    const type = this.#type(operand)
    if (type.kind === 'record') {
      if (testOnly) {
        const { js, fallible } = this.#expression(operand)
        return { js: `((${js})?.${identifier(field)} != null)`, fallible }
      }
      const { js, fallible } = this.#operand(operand)
      return this.#read(`${js}.${identifier(field)}`, fallible, this.#type(expr))
    }
    if (type.kind !== 'map') throw new Unsupported()
    if (!testOnly)
      return this.#read(`R.entry(${this.#operand(operand).js}, ${this.#keep(field)})`, true, this.#type(expr))
    // has() of a key in a map that is null is false, not an error.
    const map = this.#expression(operand)
    return { js: `R.hasEntry(${map.js} ?? {}, ${this.#keep(field)})`, fallible: map.fallible }
  }

  #call(expr: CelExpr, name: string, args: readonly CelExpr[]): Code {
    switch (name) {
      case '_&&_':
        return this.#logical(args, false)
      case '_||_':
        return this.#logical(args, true)
      case '!_': {
        const { js, fallible } = this.#operand(args[0]!)
        return { js: `!${js}`, fallible }
      }
      case '_?_:_': {
        const condition = this.#operand(args[0]!)
        const yes = this.#expression(args[1]!)
        const no = this.#expression(args[2]!)
        return {
          js: `(${condition.js} ? ${yes.js} : ${no.js})`,
          fallible: condition.fallible || yes.fallible || no.fallible,
        }
      }
      case '_==_':
      case '_!=_':
        return this.#equality(name === '_!=_', args[0]!, args[1]!)
      case '_<_':
      case '_<=_':
      case '_>_':
      case '_>=_':
        return this.#order(name, args[0]!, args[1]!)
      case '-_': {
        const { js, fallible } = this.#operand(args[0]!)
        return this.#type(expr).kind === 'int'
          ? { js: `R.negate(${js})`, fallible: true }
          : { js: `(-${js})`, fallible }
      }
      case '@in':
        return this.#membership(args[0]!, args[1]!)
      case '_[_]':
        return this.#index(expr, args[0]!, args[1]!)
      case 'size':
        return this.#size(args[0]!)
    }
    if (Object.hasOwn(ARITHMETIC_INT, name)) return this.#arithmetic(expr, name, args[0]!, args[1]!)
    return this.#conversion(name, args[0]!)
  }

  #method(name: string, target: CelExpr, args: readonly CelExpr[]): Code {
    if (name === 'size') return this.#size(target)
    const method = { contains: 'includes', startsWith: 'startsWith', endsWith: 'endsWith' }[name]
    if (method === undefined) throw new Unsupported()
    const text = this.#operand(target)
    const part = this.#operand(args[0]!)
    return { js: `${text.js}.${method}(${part.js})`, fallible: text.fallible || part.fallible }
  }

  #logical(args: readonly CelExpr[], decisive: boolean): Code {
    const codes = args.map((arg) => this.#operand(arg))
    const fallible = codes.some((code) => code.fallible)
    if (codes.slice(0, -1).every((code) => !code.fallible))
      return { js: `(${codes.map((code) => code.js).join(decisive ? ' || ' : ' && ')})`, fallible }
    const tries = codes.map(
      ({ js }) =>
        `  try {\n    if (${decisive ? '' : '!'}${js}) return ${decisive}\n  } catch (error) {\n    failure ??= R.caught(error)\n  }\n`,
    )
    const name = `f${this.#functions.length}`
    this.#functions.push(
      `function ${name}(record) {\n  let failure\n${tries.join('')}  if (failure !== undefined) throw failure\n  return ${!decisive}\n}\n`,
    )
    return { js: `${name}(record)`, fallible: true }
  }

  #equality(negated: boolean, left: CelExpr, right: CelExpr): Code {
    const kinds = [this.#type(left).kind, this.#type(right).kind]
    const a = this.#expression(left)
    const b = this.#expression(right)
    const fallible = a.fallible || b.fallible
    const not = negated ? '!' : ''
    if (kinds.every((kind) => kind === 'bytes'))
      return { js: `${not}R.sameBytes(${a.js}, ${b.js})`, fallible }
    const comparable = (kind: string): boolean =>
      SCALARS.includes(kind) || kind === 'timestamp' || kind === 'null'
    // Against null every kind is fine; otherwise only scalars have an equality of one instruction.
    if (!kinds.includes('null') && !kinds.every(comparable)) throw new Unsupported()
    const loose = kinds.includes('int') || kinds.includes('timestamp') || kinds.includes('null')
    return { js: `(${a.js} ${negated ? '!' : '='}=${loose ? '' : '='} ${b.js})`, fallible }
  }

  #order(name: string, left: CelExpr, right: CelExpr): Code {
    const kinds = [this.#type(left).kind, this.#type(right).kind]
    if (kinds.some((kind) => !SCALARS.includes(kind) && kind !== 'timestamp')) throw new Unsupported()
    const a = this.#operand(left)
    const b = this.#operand(right)
    const fallible = a.fallible || b.fallible
    // Between int and double the int is brought to the nearest double first.
    const mixed = kinds[0] !== kinds[1]
    const side = (code: Code, kind: string): string =>
      mixed && kind === 'int' ? `Number(${code.js})` : code.js
    return { js: `(${side(a, kinds[0]!)} ${OPERATOR[name]} ${side(b, kinds[1]!)})`, fallible }
  }

  #arithmetic(expr: CelExpr, name: string, left: CelExpr, right: CelExpr): Code {
    const { kind } = this.#type(expr)
    const kinds = [this.#type(left).kind, this.#type(right).kind]
    if (kinds.some((one) => one !== kind)) throw new Unsupported()
    const a = this.#operand(left)
    const b = this.#operand(right)
    if (kind === 'int') return { js: `R.${ARITHMETIC_INT[name]}(${a.js}, ${b.js})`, fallible: true }
    if (kind !== 'double' && kind !== 'string') throw new Unsupported()
    return { js: `(${a.js} ${OPERATOR[name]} ${b.js})`, fallible: a.fallible || b.fallible }
  }

  #membership(value: CelExpr, container: CelExpr): Code {
    const type = this.#type(container)
    if (type.kind === 'map') {
      const key = this.#operand(value)
      const map = this.#operand(container)
      if (this.#type(value).kind !== 'string') throw new Unsupported()
      return { js: `R.hasEntry(${map.js}, ${key.js})`, fallible: key.fallible || map.fallible }
    }
    if (type.kind !== 'list') throw new Unsupported()
    const kinds = [this.#type(value).kind, type.element.kind]
    if (kinds.some((kind) => !SCALARS.includes(kind))) throw new Unsupported()
    // A decimal lies in the record as bytes; a list of them is not worth a loop of its own.
    if (type.element.kind === 'double' && type.element.decimalScale !== undefined) throw new Unsupported()
    const one = this.#expression(value)
    const list = this.#operand(container)
    return { js: `R.inList(${list.js}, ${one.js})`, fallible: one.fallible || list.fallible }
  }

  #index(expr: CelExpr, operand: CelExpr, index: CelExpr): Code {
    const type = this.#type(operand)
    if (type.kind !== 'list' && type.kind !== 'map') throw new Unsupported()
    // An element of a literal is in its form already; not worth telling apart.
    if (operand.exprKind.case === 'listExpr') throw new Unsupported()
    const container = this.#operand(operand)
    const at = this.#operand(index)
    const place = `R.${type.kind === 'list' ? 'element' : 'entry'}(${container.js}, ${at.js})`
    return this.#read(place, true, this.#type(expr))
  }

  #size(operand: CelExpr): Code {
    const { js, fallible } = this.#operand(operand)
    switch (this.#type(operand).kind) {
      case 'string':
        return { js: `R.sizeOfString(${js})`, fallible }
      case 'map':
        return { js: `R.sizeOfMap(${js})`, fallible }
      default:
        return { js: `${js}.length`, fallible }
    }
  }

  #conversion(name: string, arg: CelExpr): Code {
    const { kind } = this.#type(arg)
    const { js, fallible } = this.#operand(arg)
    switch (`${name}(${kind})`) {
      case 'int(int)':
      case 'double(double)':
      case 'string(string)':
      case 'bool(bool)':
        return { js, fallible }
      case 'int(double)':
        return { js: `R.intOfDouble(${js})`, fallible: true }
      case 'int(string)':
        return { js: `R.intOfString(${js})`, fallible: true }
      case 'int(timestamp)':
        return { js: `R.secondsOf(${js})`, fallible: true }
      case 'double(int)':
        return { js: `Number(${js})`, fallible }
      case 'double(string)':
        return { js: `R.doubleOfString(${js})`, fallible: true }
      case 'bool(string)':
        return { js: `R.boolOfString(${js})`, fallible: true }
      case 'string(int)':
      case 'string(double)':
      case 'string(bool)':
        return { js: `String(${js})`, fallible }
    }
    throw new Unsupported()
  }
}

function identifier(name: string): string {
  if (!IDENTIFIER.test(name) || name === '__proto__') throw new Unsupported()
  return name
}

/** A JavaScript literal of a finite number; -0 keeps its sign. */
function number(value: number): string {
  return Object.is(value, -0) ? '(-0)' : value < 0 ? `(${value})` : String(value)
}

type Convert = (place: string) => string

/** How a value of the type that lies in a record becomes the form that compiled code computes with; undefined: as it is. */
function conversionOf(type: CelType): Convert | undefined {
  switch (type.kind) {
    case 'int':
      return (place) => `R.int(${place})`
    case 'timestamp':
      return type.unit === 'millis'
        ? (place) => `R.timestampOfMillis(${place})`
        : (place) => `R.timestampOfMicros(${place})`
    case 'double': {
      const scale = type.decimalScale
      return scale === undefined ? undefined : (place) => `R.doubleOfDecimal(${place}, ${number(scale)})`
    }
  }
  return undefined
}
