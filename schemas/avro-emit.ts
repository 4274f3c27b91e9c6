// Source that moves over a datum and checks every byte of it: the common part of the generated validator,
// scanner, rewriter and column decoder. In scope of what is emitted:
//
//   bytes, end   the datum's buffer and the position after it
//   at           let: the position; below zero never, a failure returns instead
//   depth        levels of recursive records that are open
//
// A failing check returns its code negated (avro-codes.ts). Records are written inline, one statement a field;
// only records that can hold themselves become functions. Names appear in comments alone, through
// `identifier`: what the code works with are indices.
import { identifier, SourceWriter } from '../std/codegen.ts'
import {
  BLOCK_COUNT,
  BLOCK_SIZE,
  BOOLEAN_VALUE,
  EMPTY_ITEMS_MAX,
  ENUM_INDEX,
  NESTING,
  TRUNCATED,
  UNION_INDEX,
} from './avro-codes.ts'
import { NESTING_MAX } from './avro-encode.ts'
import type { AvroNode, RecordNode, UnionNode } from './avro-node.ts'
import {
  decimalEnd,
  intAt,
  longAt,
  longWordsAt,
  readBlock,
  readIndex,
  readLength,
  scratch,
  skipInt,
  skipLong,
  textEnd,
  timeEnd,
  utf8End,
  uuidEnd,
} from './avro-runtime.ts'
import { minimumSize } from './avro-size.ts'

/** What emitted source refers to beside its own variables; the scope for `compileSource`. */
export const EMITTED_SCOPE = {
  decimalEnd,
  intAt,
  longAt,
  longWordsAt,
  readBlock,
  readIndex,
  readLength,
  scratch,
  skipInt,
  skipLong,
  textEnd,
  timeEnd,
  utf8End,
  uuidEnd,
}

const DAY_MILLIS = 86_400_000
const DAY_MICROS = 86_400_000_000

/** Bytes of a type whose every bit pattern is valid, else undefined. */
function plainSize(node: AvroNode): number | undefined {
  switch (node.kind) {
    case 'null':
      return 0
    case 'float':
      return 4
    case 'double':
      return 8
    case 'fixed':
      return node.decimal === undefined ? node.size : undefined
    default:
      return undefined
  }
}

export class CheckEmitter {
  readonly out: SourceWriter
  readonly #functions = new Map<RecordNode, string>()

  constructor(out = new SourceWriter()) {
    this.out = out
  }

  /** Statements that move `at` over one datum of `node`. `label` is a comment: the field's path. */
  check(node: AvroNode, label: string): void {
    const { out } = this
    switch (node.kind) {
      case 'null':
        return
      case 'boolean':
        out.line(`// ${label}: boolean`)
        out.line(`if (at >= end) return -${TRUNCATED}`)
        out.line(`if (bytes[at++] > 1) return -${BOOLEAN_VALUE}`)
        return
      case 'float':
      case 'double':
        this.#plain(plainSize(node)!, `${label}: ${node.kind}`)
        return
      case 'int':
        out.line(`// ${label}: ${node.logical ?? 'int'}`)
        if (node.logical === 'time-millis') this.call(`timeEnd(bytes, at, end, ${DAY_MILLIS})`)
        else this.#varint('skipInt')
        return
      case 'long':
        out.line(`// ${label}: ${node.logical ?? 'long'}`)
        if (node.logical === 'time-micros') this.call(`timeEnd(bytes, at, end, ${DAY_MICROS})`)
        else this.#varint('skipLong')
        return
      case 'string':
        this.string(label, node.logical === 'uuid')
        return
      case 'bytes': {
        out.line(`// ${label}: bytes`)
        const length = this.length()
        if (node.decimal === undefined) out.line(`at += ${length}`)
        else this.call(`decimalEnd(bytes, at, at + ${length}, ${node.decimal.precision})`)
        return
      }
      case 'fixed':
        if (node.decimal === undefined) this.#plain(node.size, `${label}: fixed`)
        else {
          out.line(`// ${label}: decimal in a fixed`)
          out.line(`if (end - at < ${node.size}) return -${TRUNCATED}`)
          this.call(`decimalEnd(bytes, at, at + ${node.size}, ${node.decimal.precision})`)
        }
        return
      case 'enum':
        out.line(`// ${label}: enum`)
        this.index(node.symbols.length, ENUM_INDEX)
        return
      case 'array':
        this.blocks(label, 'array', minimumSize(node.items), () => this.check(node.items, `${label}[]`))
        return
      case 'map':
        this.blocks(label, 'map', 1 + minimumSize(node.values), () => {
          this.string(`${label} key`, false)
          this.check(node.values, `${label}{}`)
        })
        return
      case 'union':
        this.#union(node, label)
        return
      case 'record':
        if (node.recursive) this.call(`${this.#functionOf(node)}(bytes, at, end, depth + 1)`)
        else this.fields(node, label)
    }
  }

  /** The fields of a record, one after the other; runs of plain ones are checked for room at once. */
  fields(node: RecordNode, label: string): void {
    let size = 0
    let names: string[] = []
    const flush = () => {
      if (size > 0) this.#plain(size, names.join(', '))
      size = 0
      names = []
    }
    for (const field of node.fields) {
      const path = label === '' ? identifier(field.name) : `${label}.${identifier(field.name)}`
      const plain = plainSize(field.node)
      if (plain === undefined) {
        flush()
        this.check(field.node, path)
      } else if (plain > 0) {
        size += plain
        names.push(`${path}: ${field.node.kind}`)
      }
    }
    flush()
  }

  /** Calls what returns the new position or a code. */
  call(expression: string): void {
    this.out.line(`if ((at = ${expression}) < 0) return at`)
  }

  /** Reads a length; returns the variable that holds it. What it counts lies before `end`. */
  length(): string {
    const { out } = this
    const n = out.unique('n')
    out.line(`let ${n} = at < end ? bytes[at] : 0x80`)
    out.block(`if ((${n} & 0x81) === 0)`, () => {
      out.line(`${n} >>= 1`)
      out.line(`if (${n} > end - ++at) return -${TRUNCATED}`)
    })
    out.block('else', () => {
      out.line(`if ((${n} = readLength(bytes, at, end)) < 0) return ${n}`)
      out.line('at = scratch[0]')
    })
    return n
  }

  /** Reads an index below `count`; returns the variable that holds it. */
  index(count: number, code: number): string {
    const { out } = this
    const k = out.unique('k')
    const last = Math.min(2 * (count - 1), 0x7e)
    out.line(`let ${k} = at < end ? bytes[at] : 1`)
    out.line(`if (${k} <= ${last} && (${k} & 1) === 0) { ${k} >>= 1; at++ }`)
    out.block('else', () => {
      out.line(`if ((${k} = readIndex(bytes, at, end, ${count}, ${code})) < 0) return ${k}`)
      out.line('at = scratch[0]')
    })
    return k
  }

  /** `from`: a variable to be made that holds where the text begins. */
  string(label: string, isUuid: boolean, from?: string): void {
    const { out } = this
    out.line(`// ${label}: ${isUuid ? 'uuid' : 'string'}`)
    const length = this.length()
    if (from !== undefined) out.line(`const ${from} = at`)
    if (isUuid) {
      this.call(`uuidEnd(bytes, at, at + ${length})`)
      return
    }
    const stop = out.unique('stop')
    out.line(`const ${stop} = at + ${length}`)
    out.line(`if ((at = textEnd(bytes, at, ${stop})) < 0) return at`)
  }

  /** The blocks of an array or map; `item` writes what reads one item, `block` what precedes each block's items. */
  blocks(
    label: string,
    kind: string,
    minimum: number,
    item: () => void,
    block?: (count: string) => void,
  ): void {
    const { out } = this
    const count = out.unique('count')
    const stop = out.unique('stop')
    const i = out.unique('i')
    const total = minimum === 0 ? out.unique('total') : ''
    out.line(`// ${label}: ${kind}`)
    if (minimum === 0) out.line(`let ${total} = 0`)
    out.block('for (;;)', () => {
      out.line('if (at < end && bytes[at] === 0) { at++; break }')
      out.line(`const ${count} = readBlock(bytes, at, end, ${minimum})`)
      out.line(`if (${count} < 0) return ${count}`)
      out.line('at = scratch[0]')
      out.line(`if (${count} === 0) break`)
      if (minimum === 0) out.line(`if ((${total} += ${count}) > ${EMPTY_ITEMS_MAX}) return -${BLOCK_COUNT}`)
      out.line(`const ${stop} = scratch[1]`)
      block?.(count)
      out.block(`for (let ${i} = 0; ${i} < ${count}; ${i}++)`, item)
      out.line(`if (${stop} >= 0 && at !== ${stop}) return -${BLOCK_SIZE}`)
    })
  }

  /** The functions that emitted code calls; to be written after it, at the top level. */
  functions(): void {
    const { out } = this
    const written = new Set<RecordNode>()
    while (written.size < this.#functions.size) {
      for (const [node, name] of this.#functions) {
        if (written.has(node)) continue
        written.add(node)
        out.block(`function ${name}(bytes, at, end, depth)`, () => {
          out.line(`if (depth > ${NESTING_MAX}) return -${NESTING}`)
          this.fields(node, identifier(node.name.slice(node.name.lastIndexOf('.') + 1)))
          out.line('return at')
        })
      }
    }
  }

  #functionOf(node: RecordNode): string {
    let name = this.#functions.get(node)
    if (name === undefined) {
      name = this.out.unique(`check_${identifier(node.name.slice(node.name.lastIndexOf('.') + 1))}_`)
      this.#functions.set(node, name)
    }
    return name
  }

  #plain(size: number, comment: string): void {
    if (size === 0) return
    this.out.line(`// ${comment}`)
    this.out.line(`if (end - at < ${size}) return -${TRUNCATED}`)
    this.out.line(`at += ${size}`)
  }

  #varint(skip: 'skipInt' | 'skipLong'): void {
    this.out.line('if (at < end && bytes[at] < 0x80) at++')
    this.out.line(`else if ((at = ${skip}(bytes, at, end)) < 0) return at`)
  }

  #union(node: UnionNode, label: string): void {
    const { out } = this
    out.line(`// ${label}: union`)
    const index = this.index(node.branches.length, UNION_INDEX)
    for (const [i, branch] of node.branches.entries()) {
      if (branch.kind === 'null') continue
      out.block(`if (${index} === ${i})`, () => this.check(branch, label))
    }
  }
}
