// Records as plain JavaScript objects and back: only for the records that a contract's rules touch. The decoder
// is generated; the encoder is the one of JSON payloads (avro-value-encoder.ts), which takes all that the
// decoder gives:
//
//   long                number where it is exact, else bigint      (date, time, timestamp: int and long alike)
//   decimal             text, exact: `-12.30`                       uuid: text
//   bytes, fixed        Uint8Array of its own                       enum: its symbol
//   [null, T]           null or the bare value                      other unions: null or { branch: value }
//   array, map, record  Array, plain object
import { compileSource, identifier, SourceWriter } from '../std/codegen.ts'
import { ENUM_INDEX, NESTING, TRAILING, UNION_INDEX } from './avro-codes.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import { NESTING_MAX } from './avro-encode.ts'
import { type AvroNode, branchName, nullableOf, type RecordNode, type UnionNode } from './avro-node.ts'
import { minimumSize } from './avro-size.ts'
import { decimalText, uuidText } from './avro-text.ts'
import { createFieldsEncoder, createValueEncoder } from './avro-value-encoder.ts'

export interface RecordCodec {
  /** The datum bytes[start, end) as an object; undefined where it is none (`code` says why). Never throws for any bytes. */
  readonly decode: (bytes: Uint8Array, start: number, end: number) => unknown
  /** Code of avro-codes.ts of the last `decode`. */
  readonly code: () => number
  /**
   * Writes a value at `at`: the position after it, -1 where it does not fit the schema, more than `into.length`
   * where the room did not suffice. Why it does not fit: `encodePlain` throws it.
   */
  readonly encode: (value: unknown, into: Uint8Array, at: number) => number
  /** The generated sources, for people. */
  readonly decoderSource: string
  readonly encoderSource: string
}

export function createRecordCodec(node: AvroNode): RecordCodec {
  const state = { at: 0 }
  const decoderSource = new ObjectGenerator().generate(node)
  const decode = compileDecoder<RecordCodec['decode']>(decoderSource, node, { state })
  const { encode, source: encoderSource } = createValueEncoder(node)
  return { decode, code: () => (state.at < 0 ? -state.at : 0), encode, decoderSource, encoderSource }
}

function compileDecoder<Decode>(source: string, node: AvroNode, scope: Record<string, unknown>): Decode {
  return compileSource<Decode>(`${source}return decode\n`, {
    ...EMITTED_SCOPE,
    bytesAt,
    decimalText,
    doubleAt,
    floatAt,
    isBranchLike,
    longValue,
    symbols: enumsOf(node),
    textAt,
    uuidText,
    ...scope,
  })
}

/** Reads some top-level fields of a record, and writes some of them anew in place: what lies between is copied. */
export interface RecordPatcher {
  /**
   * The fields `reads` and `writes` of the datum bytes[start, end), as RecordCodec's `decode` has them. The datum must
   * be valid.
   */
  readonly decode: (bytes: Uint8Array, start: number, end: number) => Record<string, unknown>
  /**
   * Writes the datum last decoded, which `view` has at [start, end), with the fields `writes` of `record` in place of
   * its own: the position after it, -1 where one does not fit the schema, more than `into.length` where the room did
   * not suffice. `intoView`: of the same memory as `into`, which must not overlap the datum.
   */
  readonly encode: (
    record: Record<string, unknown>,
    view: DataView,
    start: number,
    end: number,
    into: Uint8Array,
    intoView: DataView,
    at: number,
  ) => number
  /** The generated sources, for people. */
  readonly decoderSource: string
  readonly encoderSource: string
}

export function createRecordPatcher(
  node: RecordNode,
  reads: readonly string[],
  writes: readonly string[],
): RecordPatcher {
  const isWritten = (name: string): boolean => writes.includes(name)
  const written = node.fields.filter(({ name }) => isWritten(name))
  // Start and end of each written field in the datum last decoded.
  const places = new Int32Array(2 * written.length)
  const decoderSource = new ObjectGenerator().generatePart(
    node,
    (name) => reads.includes(name) || isWritten(name),
    isWritten,
  )
  const decode = compileDecoder<RecordPatcher['decode']>(decoderSource, node, { places })
  const { encode, source: encoderSource } = createFieldsEncoder(written, places)
  return { decode, encode, decoderSource, encoderSource }
}

const numberBytes = new Uint8Array(8)
const doubles = new Float64Array(numberBytes.buffer)
const singles = new Float32Array(numberBytes.buffer)

function doubleAt(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 8; i++) numberBytes[i] = bytes[at + i]!
  return doubles[0]!
}

function floatAt(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 4; i++) numberBytes[i] = bytes[at + i]!
  return singles[0]!
}

function bytesAt(bytes: Uint8Array, from: number, to: number): Uint8Array {
  // slice() of a Buffer would share its memory.
  return Uint8Array.prototype.slice.call(bytes, from, to)
}

/** Text of UTF-8 that was checked. Short ASCII without a call into the runtime; the rest by a copy, for shared memory's sake. */
function textAt(bytes: Uint8Array, from: number, to: number): string {
  if (to - from <= 24) {
    let text = ''
    let at = from
    for (; at < to && bytes[at]! < 0x80; at++) text += String.fromCharCode(bytes[at]!)
    if (at === to) return text
  }
  const copy = bytesAt(bytes, from, to)
  return Buffer.from(copy.buffer, copy.byteOffset, copy.length).toString('utf8')
}

const longWords = new Int32Array(2)

function longValue(bytes: Uint8Array, at: number): number | bigint {
  const number = EMITTED_SCOPE.longAt(bytes, at)
  if (Number.isSafeInteger(number)) return number
  EMITTED_SCOPE.longWordsAt(bytes, at, longWords, 0)
  return (BigInt(longWords[1]!) << 32n) | BigInt(longWords[0]! >>> 0)
}

/** Whether a map would be taken for `{ branch: value }` by the encoder. */
function isBranchLike(map: object): boolean {
  const keys = Object.keys(map)
  return keys.length === 1 && keys[0] === 'map'
}

/** Symbols of the enums below `node`, each enum once. */
function enumsOf(
  node: AvroNode,
  found: (readonly string[])[] = [],
  seen = new Set<AvroNode>(),
): (readonly string[])[] {
  if (seen.has(node)) return found
  seen.add(node)
  if (node.kind === 'enum') found.push(node.symbols)
  else if (node.kind === 'array') enumsOf(node.items, found, seen)
  else if (node.kind === 'map') enumsOf(node.values, found, seen)
  else if (node.kind === 'union') for (const branch of node.branches) enumsOf(branch, found, seen)
  else if (node.kind === 'record') for (const field of node.fields) enumsOf(field.node, found, seen)
  return found
}

/**
 * Generated functions return the position, or a code below zero, as the checks among their statements do; the
 * value that they made is in `result`.
 */
class ObjectGenerator {
  readonly #out = new SourceWriter()
  readonly #check = new CheckEmitter(this.#out)
  readonly #functions = new Map<RecordNode, string>()
  #symbols: readonly (readonly string[])[] = []

  generate(node: AvroNode): string {
    const out = this.#out
    this.#symbols = enumsOf(node)
    out.line('let result')
    out.block('function walk(bytes, at, end, depth)', () => {
      out.line(`result = ${this.#value(node, '')}`)
      out.line('return at')
    })
    this.#recursive()
    out.block('function decode(bytes, start, end)', () => {
      out.line('let at = walk(bytes, start, end, 0)')
      out.line(`if (at >= 0 && at !== end) at = -${TRAILING}`)
      out.line('state.at = at')
      out.line('const value = result')
      out.line('result = undefined')
      out.line('return at < 0 ? undefined : value')
    })
    return out.toString()
  }

  /** An object of the fields that are read alone, as far as the last of them; `places` has where the written ones lie. */
  generatePart(
    node: RecordNode,
    isRead: (name: string) => boolean,
    isWritten: (name: string) => boolean,
  ): string {
    const out = this.#out
    this.#symbols = enumsOf(node)
    const last = node.fields.findLastIndex(({ name }) => isRead(name))
    const values: string[] = []
    let place = 0
    const mark = (name: string) => {
      if (isWritten(name)) out.line(`places[${place++}] = at`)
    }
    out.line('let result')
    out.block('function walk(bytes, at, end, depth)', () => {
      for (const field of node.fields.slice(0, last + 1)) {
        const name = identifier(field.name)
        mark(name)
        if (isRead(name)) values.push(`${name}: ${this.#value(field.node, name)}`)
        else this.#check.check(field.node, name)
        mark(name)
      }
      out.line(`result = { ${values.join(', ')} }`)
      out.line('return at')
    })
    this.#recursive()
    out.block('function decode(bytes, start, end)', () => {
      out.line('walk(bytes, start, end, 0)')
      out.line('return result')
    })
    return out.toString()
  }

  /** The functions that emitted code calls. */
  #recursive(): void {
    const out = this.#out
    const written = new Set<RecordNode>()
    while (written.size < this.#functions.size)
      for (const [record, name] of this.#functions) {
        if (written.has(record)) continue
        written.add(record)
        out.block(`function ${name}(bytes, at, end, depth)`, () => {
          out.line(`if (depth > ${NESTING_MAX}) return -${NESTING}`)
          const label = identifier(record.name.slice(record.name.lastIndexOf('.') + 1))
          out.line(`result = ${this.#object(record, label)}`)
          out.line('return at')
        })
      }
    this.#check.functions()
  }

  /** Statements that read a value; returns the expression that is it. */
  #value(node: AvroNode, label: string): string {
    const out = this.#out
    const from = out.unique('from')
    const mark = () => out.line(`const ${from} = at`)
    switch (node.kind) {
      case 'null':
        return 'null'
      case 'boolean':
        this.#check.check(node, label)
        return this.#kept('bytes[at - 1] === 1')
      case 'int':
      case 'long':
        mark()
        this.#check.check(node, label)
        return this.#kept(`${node.kind === 'int' ? 'intAt' : 'longValue'}(bytes, ${from})`)
      case 'float':
        this.#check.check(node, label)
        return this.#kept('floatAt(bytes, at - 4)')
      case 'double':
        this.#check.check(node, label)
        return this.#kept('doubleAt(bytes, at - 8)')
      case 'string':
        return this.#text(label, node.logical === 'uuid')
      case 'bytes': {
        out.line(`// ${label}: bytes`)
        const length = this.#check.length()
        mark()
        if (node.decimal === undefined) {
          out.line(`at += ${length}`)
          return this.#kept(`bytesAt(bytes, ${from}, at)`)
        }
        this.#check.call(`decimalEnd(bytes, at, at + ${length}, ${node.decimal.precision})`)
        return this.#kept(`decimalText(bytes, ${from}, at, ${node.decimal.scale})`)
      }
      case 'fixed':
        mark()
        this.#check.check(node, label)
        if (node.decimal !== undefined)
          return this.#kept(`decimalText(bytes, ${from}, at, ${node.decimal.scale})`)
        return this.#kept(
          node.logical === 'uuid' ? `uuidText(bytes, ${from})` : `bytesAt(bytes, ${from}, at)`,
        )
      case 'enum': {
        out.line(`// ${label}: enum`)
        const index = this.#check.index(node.symbols.length, ENUM_INDEX)
        return `symbols[${this.#symbols.indexOf(node.symbols)}][${index}]`
      }
      case 'array': {
        const list = out.unique('list')
        out.line(`const ${list} = []`)
        this.#check.blocks(label, 'array', minimumSize(node.items), () =>
          out.line(`${list}.push(${this.#value(node.items, `${label}[]`)})`),
        )
        return list
      }
      case 'map': {
        const map = out.unique('map')
        out.line(`const ${map} = {}`)
        this.#check.blocks(label, 'map', 1 + minimumSize(node.values), () => {
          const key = this.#text(`${label} key`, false)
          const value = this.#value(node.values, `${label}{}`)
          // Assigned, the key __proto__ would set the prototype.
          out.line(`if (${key} !== '__proto__') ${map}[${key}] = ${value}`)
          out.line(
            `else Object.defineProperty(${map}, ${key}, { value: ${value}, enumerable: true, configurable: true, writable: true })`,
          )
        })
        return map
      }
      case 'union':
        return this.#union(node, label)
      case 'record':
        if (!node.recursive) return this.#object(node, label)
        this.#check.call(`${this.#functionOf(node)}(bytes, at, end, depth + 1)`)
        return this.#kept('result')
    }
  }

  /** The value of an expression that later steps would change. */
  #kept(expression: string): string {
    const value = this.#out.unique('value')
    this.#out.line(`const ${value} = ${expression}`)
    return value
  }

  #text(label: string, isUuid: boolean): string {
    const out = this.#out
    const from = out.unique('from')
    out.line(`// ${label}: ${isUuid ? 'uuid' : 'string'}`)
    const length = this.#check.length()
    out.line(`const ${from} = at`)
    this.#check.call(`${isUuid ? 'uuidEnd' : 'utf8End'}(bytes, at, at + ${length})`)
    return this.#kept(`textAt(bytes, ${from}, at)`)
  }

  #union(node: UnionNode, label: string): string {
    const out = this.#out
    const isNullable = nullableOf(node) !== undefined
    const value = out.unique('union')
    out.line(`// ${label}: union`)
    out.line(`let ${value} = null`)
    const index = this.#check.index(node.branches.length, UNION_INDEX)
    for (const [i, branch] of node.branches.entries()) {
      if (branch.kind === 'null') continue
      out.block(`if (${index} === ${i})`, () => {
        const inner = this.#value(branch, label)
        const name = branchName(branch).split('.').map(identifier).join('.')
        if (!isNullable) out.line(`${value} = { '${name}': ${inner} }`)
        else if (branch.kind === 'map')
          out.line(`${value} = isBranchLike(${inner}) ? { map: ${inner} } : ${inner}`)
        else out.line(`${value} = ${inner}`)
      })
    }
    return value
  }

  #object(node: RecordNode, label: string): string {
    const values = node.fields.map((field) => {
      const name = identifier(field.name)
      return `${name}: ${this.#value(field.node, label === '' ? name : `${label}.${name}`)}`
    })
    return this.#kept(`{ ${values.join(', ')} }`)
  }

  #functionOf(node: RecordNode): string {
    let name = this.#functions.get(node)
    if (name === undefined) {
      name = this.#out.unique(`decode_${identifier(node.name.slice(node.name.lastIndexOf('.') + 1))}_`)
      this.#functions.set(node, name)
    }
    return name
  }
}
