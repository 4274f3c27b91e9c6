// Reads a contract's YAML with the place of every value at hand, and collects every problem instead of stopping
// at the first: an author fixes a document once, not once per error.
//
// Anchors and aliases are refused: a contract is short enough to be written out, and expanding aliases is how a
// small document becomes a huge one.
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Pair, parseDocument, type Scalar } from 'yaml'
import { MillraceError } from '../std/errors.ts'

/** What is wrong at one place of a contract. Line and column count from 1. */
export interface ContractProblem {
  file: string
  line: number
  column: number
  /** Dotted path of the value: `streams.telemetry.fields[2].range`. Empty for the whole document. */
  path: string
  message: string
}

/** A problem in one line: `file:line:column: path: message`. */
export function formatProblem(problem: ContractProblem): string {
  const where = `${problem.file}:${problem.line}:${problem.column}`
  return problem.path === ''
    ? `${where}: ${problem.message}`
    : `${where}: ${problem.path}: ${problem.message}`
}

export function contractInvalid(problems: readonly ContractProblem[]): MillraceError {
  return new MillraceError('contract_invalid', problems.map(formatProblem).join('\n'), { problems })
}

/** A node of the document, where it stands and how it is reached. `node` is undefined or null where nothing stands. */
export interface At {
  node: unknown
  /** Character offset in the text. */
  offset: number
  path: string
}

/** The entries of a mapping. */
export interface Entries {
  at: At
  get(key: string): At | undefined
  keys(): IterableIterator<string>
}

const offsetOf = (node: unknown): number | undefined =>
  (node as { range?: [number, number, number] } | null | undefined)?.range?.[0]

export class ContractYaml {
  readonly problems: ContractProblem[] = []
  readonly root: At
  readonly #file: string
  readonly #lines = new LineCounter()

  constructor(text: string, file: string) {
    this.#file = file
    const document = parseDocument(text, { lineCounter: this.#lines, prettyErrors: false })
    this.root = { node: document.contents, offset: offsetOf(document.contents) ?? 0, path: '' }
    for (const error of document.errors) this.#report(error.pos[0], '', `not YAML: ${error.message}`)
  }

  /** Notes that the value at `at` is wrong; `message` says what was read and what is allowed. `shift` moves the place right. */
  problem(at: At, message: string, shift = 0): void {
    this.#report(at.offset + shift, at.path, message)
  }

  #report(offset: number, path: string, message: string): void {
    const { line, col } = this.#lines.linePos(offset)
    this.problems.push({ file: this.#file, line: Math.max(line, 1), column: Math.max(col, 1), path, message })
  }

  /** The mapping at `at`, its keys among `allowed` (any, where undefined). */
  entries(at: At, allowed: readonly string[] | undefined): Entries | undefined {
    if (!isMap(at.node)) {
      const what = allowed === undefined ? '' : ` with ${allowed.join(', ')}`
      this.problem(at, `must be a mapping${what}, is ${describe(at.node)}`)
      return undefined
    }
    const found = new Map<string, At>()
    for (const pair of at.node.items as Pair[]) {
      const keyAt: At = { node: pair.key, offset: offsetOf(pair.key) ?? at.offset, path: at.path }
      const key = isScalar(pair.key) ? String(pair.key.value) : undefined
      if (key === undefined) {
        this.problem(keyAt, `a key must be a plain word, is ${describe(pair.key)}`)
        continue
      }
      const path = at.path === '' ? key : `${at.path}.${key}`
      if (allowed !== undefined && !allowed.includes(key)) {
        this.problem({ ...keyAt, path }, `unknown key; allowed here: ${allowed.join(', ')}`)
        continue
      }
      const value: At = { node: pair.value, offset: offsetOf(pair.value) ?? keyAt.offset, path }
      if (isAlias(pair.value)) this.problem(value, 'aliases (*name) are not allowed: write the value out')
      else found.set(key, value)
    }
    return { at, get: (key) => found.get(key), keys: () => found.keys() }
  }

  /** The values of the sequence at `at`. */
  items(at: At): At[] | undefined {
    if (!isSeq(at.node)) {
      this.problem(at, `must be a list, is ${describe(at.node)}`)
      return undefined
    }
    const items: At[] = []
    for (let i = 0; i < at.node.items.length; i++) {
      const node = at.node.items[i]
      const item: At = { node, offset: offsetOf(node) ?? at.offset, path: `${at.path}[${i}]` }
      if (isAlias(node)) this.problem(item, 'aliases (*name) are not allowed: write the value out')
      else items.push(item)
    }
    return items
  }

  /** The scalar's JavaScript value; undefined (and a problem) for anything but a scalar. */
  scalar(at: At): unknown {
    if (isScalar(at.node)) return at.node.value
    if (at.node === null || at.node === undefined) return null
    this.problem(at, `must be a single value, is ${describe(at.node)}`)
    return undefined
  }

  string(at: At): string | undefined {
    const value = this.scalar(at)
    if (typeof value === 'string') return value
    if (value !== undefined) this.problem(at, `must be text, is ${describe(at.node)}`)
    return undefined
  }

  /** A whole number in [min, max]. */
  integer(at: At, min: number, max: number): number | undefined {
    const value = this.scalar(at)
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value
    if (value !== undefined)
      this.problem(at, `must be a whole number from ${min} to ${max}, is ${describe(at.node)}`)
    return undefined
  }

  boolean(at: At): boolean | undefined {
    const value = this.scalar(at)
    if (typeof value === 'boolean') return value
    if (value !== undefined) this.problem(at, `must be true or false, is ${describe(at.node)}`)
    return undefined
  }

  oneOf<const T extends string>(at: At, allowed: readonly T[]): T | undefined {
    const value = this.scalar(at)
    if (typeof value === 'string' && (allowed as readonly string[]).includes(value)) return value as T
    if (value !== undefined) this.problem(at, `must be one of ${allowed.join(', ')}, is ${describe(at.node)}`)
    return undefined
  }

  /** How far into the source the text of a scalar begins: past its opening quote; undefined where the text is folded over lines. */
  textShift(at: At): number | undefined {
    if (!isScalar(at.node)) return undefined
    const scalar = at.node as Scalar
    if (scalar.type === 'PLAIN') return 0
    return scalar.type === 'QUOTE_DOUBLE' || scalar.type === 'QUOTE_SINGLE' ? 1 : undefined
  }
}

/** What was read, in a few words, for messages. */
export function describe(node: unknown): string {
  if (node === undefined || node === null) return 'empty'
  if (isMap(node)) return 'a mapping'
  if (isSeq(node)) return 'a list'
  if (!isScalar(node)) return 'not a value'
  return node.value === null ? 'empty' : JSON.stringify(node.value)
}
