// Encoders generated from a schema: a plain JavaScript value → Avro binary, written by straight-line code
// without a step between. What a value may look like is avro-encode.ts's business, whose plain encoder is the
// oracle and says why a value does not fit; here it is one number.
import { compileSource, identifier, SourceWriter } from '../std/codegen.ts'
import { copyView } from '../std/copy.ts'
import { writeUnsigned, writeZigzagInt, writeZigzagLong } from '../std/varint.ts'
import { bytesOf, chooseBranch, decimalOf, intOf, longOf, NESTING_MAX } from './avro-encode.ts'
import { type AvroField, type AvroNode, nullableOf, type RecordNode, type UnionNode } from './avro-node.ts'

export interface ValueEncoder {
  /**
   * Writes `value` at `at`: the position after it; -1 where it does not fit the schema; more than `into.length`
   * where the room did not suffice (nothing was written beyond it, and that much is needed).
   */
  readonly encode: (value: unknown, into: Uint8Array, at: number) => number
  /** The generated source, for people. */
  readonly source: string
}

export function createValueEncoder(node: AvroNode): ValueEncoder {
  return new EncoderGenerator().generate(node)
}

/** Writes a datum that lies elsewhere with `fields` of it, in the schema's order, anew; `places` has the two ends of each. */
export interface FieldsEncoder {
  readonly encode: (
    record: Record<string, unknown>,
    view: DataView,
    start: number,
    end: number,
    into: Uint8Array,
    intoView: DataView,
    at: number,
  ) => number
  readonly source: string
}

export function createFieldsEncoder(fields: readonly AvroField[], places: Int32Array): FieldsEncoder {
  return new EncoderGenerator().generateFields(fields, places)
}

/** What finds no room is only counted. */
function copySpan(from: DataView, start: number, end: number, into: DataView, at: number): number {
  const after = at + end - start
  if (after <= into.byteLength) copyView(from, start, end, into, at)
  return after
}

const numberBytes = new Uint8Array(8)
const asDouble = new Float64Array(numberBytes.buffer)
const asFloat = new Float32Array(numberBytes.buffer)
const UUID = /^[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$/
const encoder = new TextEncoder()

export function writeDouble(into: Uint8Array, at: number, value: number): number {
  asDouble[0] = value
  for (let i = 0; i < 8; i++) into[at + i] = numberBytes[i]!
  return at + 8
}

/** -1 where a finite number exceeds a float. */
export function writeFloat(into: Uint8Array, at: number, value: number): number {
  asFloat[0] = value
  if (Number.isFinite(value) && !Number.isFinite(asFloat[0]!)) return -1
  for (let i = 0; i < 4; i++) into[at + i] = numberBytes[i]!
  return at + 4
}

/** A number or, from digits that no double holds, a bigint; NaN is a value, so what is neither gives undefined. */
function toNumber(value: unknown): number | undefined {
  return typeof value === 'number' ? value : typeof value === 'bigint' ? Number(value) : undefined
}

/** Length and UTF-8; -1 for a surrogate without its pair. */
function writeText(into: Uint8Array, at: number, text: string): number {
  const { length } = text
  let p = writeZigzagInt(into, at, length)
  if (p + length > into.length) return text.isWellFormed() ? p + Buffer.byteLength(text) : -1
  for (let i = 0; i < length; i++) {
    const code = text.charCodeAt(i)
    if (code >= 0x80) return writeWideText(into, at, text)
    into[p++] = code
  }
  return p
}

function writeWideText(into: Uint8Array, at: number, text: string): number {
  if (!text.isWellFormed()) return -1
  const length = Buffer.byteLength(text)
  const p = writeZigzagInt(into, at, length)
  if (p + length <= into.length) encoder.encodeInto(text, into.subarray(p))
  return p + length
}

function writeUuid(into: Uint8Array, at: number, text: string): number {
  return UUID.test(text) ? writeText(into, at, text) : -1
}

/** Bytes without a length; a constant default too. */
export function writeRaw(into: Uint8Array, at: number, bytes: Uint8Array): number {
  const { length } = bytes
  if (length > 64 && at + length <= into.length) into.set(bytes, at)
  else for (let i = 0; i < length; i++) into[at + i] = bytes[i]!
  return at + length
}

/** Runs what throws on a value that does not fit; -1 then. For the rarer kinds, whose checks are written once. */
function attempt(write: () => number): number {
  try {
    return write()
  } catch {
    return -1
  }
}

function writeBytes(into: Uint8Array, at: number, value: unknown): number {
  return attempt(() => {
    const bytes = bytesOf(value, '')
    return writeRaw(into, writeZigzagInt(into, at, bytes.length), bytes)
  })
}

function writeFixed(into: Uint8Array, at: number, value: unknown, size: number, isUuid: boolean): number {
  return attempt(() => {
    if (isUuid && typeof value === 'string' && UUID.test(value))
      return writeRaw(into, at, Buffer.from(value.replaceAll('-', ''), 'hex'))
    const bytes = bytesOf(value, '')
    return bytes.length === size ? writeRaw(into, at, bytes) : -1
  })
}

/** `size` -1: as short as can be, with its length. */
function writeDecimal(
  into: Uint8Array,
  at: number,
  value: unknown,
  precision: number,
  scale: number,
  size: number,
): number {
  return attempt(() => {
    const bytes = decimalOf(value, { precision, scale }, '', size < 0 ? undefined : size)
    return writeRaw(into, size < 0 ? writeZigzagInt(into, at, bytes.length) : at, bytes)
  })
}

/** An int that is no plain int32 number: text of a date or time, a bigint. */
function writeOtherInt(
  into: Uint8Array,
  at: number,
  value: unknown,
  logical: 'date' | 'time-millis',
): number {
  return attempt(() => writeZigzagInt(into, at, intOf(value, logical, '')))
}

/** A long that is no safe integer: text of a time, a bigint. */
function writeOtherLong(into: Uint8Array, at: number, value: unknown, logical: 'timestamp-micros'): number {
  return attempt(() => {
    const long = longOf(value, logical, '')
    const number = Number(long)
    if (Number.isSafeInteger(number)) return writeZigzagLong(into, at, number)
    let zigzag = BigInt.asUintN(64, (long << 1n) ^ (long >> 63n))
    let p = at
    for (; zigzag >= 0x80n; zigzag >>= 7n) into[p++] = Number(zigzag & 0x7fn) | 0x80
    into[p++] = Number(zigzag)
    return p
  })
}

/** Index of the branch for a value; what is to be encoded goes to `chosen.inner`. -1: none fits. */
function choose(node: UnionNode, value: unknown): number {
  try {
    const { index, inner } = chooseBranch(node, value, '')
    chosen.inner = inner
    return index
  } catch {
    return -1
  }
}
const chosen: { inner: unknown } = { inner: undefined }

function isObject(value: unknown): boolean {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
  )
}

const SCOPE = {
  choose,
  chosen,
  copySpan,
  isObject,
  toNumber,
  writeBytes,
  writeDecimal,
  writeDouble,
  writeFixed,
  writeFloat,
  writeOtherInt,
  writeOtherLong,
  writeRaw,
  writeText,
  writeUnsigned,
  writeUuid,
  writeZigzagInt,
  writeZigzagLong,
}

/** Names that every object answers to by inheritance: a missing field of that name must not look present. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype))

class EncoderGenerator {
  readonly #out = new SourceWriter()
  readonly #functions = new Map<RecordNode, string>()
  readonly #constants: unknown[] = []

  generate(node: AvroNode): ValueEncoder {
    const out = this.#out
    out.block('function encode(value, into, at)', () => {
      out.line('const depth = 0')
      this.#value(node, 'value', '')
      out.line('return at')
    })
    return this.#compile<ValueEncoder['encode']>({})
  }

  generateFields(fields: readonly AvroField[], places: Int32Array): FieldsEncoder {
    const out = this.#out
    out.block('function encode(record, view, start, end, into, intoView, at)', () => {
      out.line('const depth = 0')
      let from = 'start'
      for (const [i, field] of fields.entries()) {
        const name = identifier(field.name)
        const x = out.unique('x')
        out.line(`at = copySpan(view, ${from}, places[${2 * i}], intoView, at)`)
        out.line(`// ${name}: ${field.node.kind}`)
        out.line(`const ${x} = record.${name}`)
        this.#value(field.node, x, name)
        from = `places[${2 * i + 1}]`
      }
      out.line(`return copySpan(view, ${from}, end, intoView, at)`)
    })
    return this.#compile<FieldsEncoder['encode']>({ places })
  }

  /** `encode` as emitted, with the functions that it calls. */
  #compile<Encode>(own: Record<string, unknown>): { encode: Encode; source: string } {
    const out = this.#out
    const written = new Set<RecordNode>()
    while (written.size < this.#functions.size)
      for (const [record, name] of this.#functions) {
        if (written.has(record)) continue
        written.add(record)
        out.block(`function ${name}(value, into, at, depth)`, () => {
          out.line(`if (depth > ${NESTING_MAX}) return -1`)
          this.#fields(record, 'value', identifier(record.name.slice(record.name.lastIndexOf('.') + 1)))
          out.line('return at')
        })
      }
    const constants = this.#constants.map((_, i) => `const c${i} = constants[${i}]\n`).join('')
    const source = `${constants}${out}`
    const scope = { ...SCOPE, constants: this.#constants, ...own }
    return { encode: compileSource<Encode>(`${source}return encode\n`, scope), source }
  }

  #constant(value: unknown): string {
    return `c${this.#constants.push(value) - 1}`
  }

  #call(expression: string): void {
    this.#out.line(`if ((at = ${expression}) < 0) return -1`)
  }

  #value(node: AvroNode, v: string, label: string): void {
    const out = this.#out
    switch (node.kind) {
      case 'null':
        out.line(`if (${v} !== null) return -1`)
        return
      case 'boolean':
        out.line(`if (typeof ${v} !== 'boolean') return -1`)
        out.line(`into[at++] = ${v} ? 1 : 0`)
        return
      case 'int': {
        const isPlain = `typeof ${v} === 'number' && (${v} | 0) === ${v}`
        const inDay = node.logical === 'time-millis' ? ` && ${v} >= 0 && ${v} < 86400000` : ''
        out.line(`if (${isPlain}${inDay}) at = writeZigzagInt(into, at, ${v})`)
        out.line(
          `else if ((at = writeOtherInt(into, at, ${v}, ${JSON.stringify(node.logical)})) < 0) return -1`,
        )
        return
      }
      case 'long': {
        const inDay = node.logical === 'time-micros' ? ` && ${v} >= 0 && ${v} < 86400000000` : ''
        out.line(`if (Number.isSafeInteger(${v})${inDay}) at = writeZigzagLong(into, at, ${v})`)
        out.line(
          `else if ((at = writeOtherLong(into, at, ${v}, ${JSON.stringify(node.logical)})) < 0) return -1`,
        )
        return
      }
      case 'float':
      case 'double': {
        const number = out.unique('number')
        out.line(`const ${number} = toNumber(${v})`)
        out.line(`if (${number} === undefined) return -1`)
        if (node.kind === 'double') out.line(`at = writeDouble(into, at, ${number})`)
        else this.#call(`writeFloat(into, at, ${number})`)
        return
      }
      case 'string':
        out.line(`if (typeof ${v} !== 'string') return -1`)
        this.#call(`${node.logical === 'uuid' ? 'writeUuid' : 'writeText'}(into, at, ${v})`)
        return
      case 'bytes':
        if (node.decimal === undefined) this.#call(`writeBytes(into, at, ${v})`)
        else this.#call(`writeDecimal(into, at, ${v}, ${node.decimal.precision}, ${node.decimal.scale}, -1)`)
        return
      case 'fixed':
        if (node.decimal === undefined)
          this.#call(`writeFixed(into, at, ${v}, ${node.size}, ${node.logical === 'uuid'})`)
        else
          this.#call(
            `writeDecimal(into, at, ${v}, ${node.decimal.precision}, ${node.decimal.scale}, ${node.size})`,
          )
        return
      case 'enum': {
        const index = out.unique('index')
        const indices = this.#constant(new Map(node.symbols.map((symbol, i) => [symbol, 2 * i])))
        out.line(`const ${index} = ${indices}.get(${v})`)
        out.line(`if (${index} === undefined) return -1`)
        out.line(`at = writeUnsigned(into, at, ${index})`)
        return
      }
      case 'array': {
        const i = out.unique('i')
        const item = out.unique('item')
        out.line(`if (!Array.isArray(${v})) return -1`)
        out.line(`if (${v}.length > 0) at = writeZigzagLong(into, at, ${v}.length)`)
        out.block(`for (let ${i} = 0; ${i} < ${v}.length; ${i}++)`, () => {
          out.line(`const ${item} = ${v}[${i}]`)
          this.#value(node.items, item, `${label}[]`)
        })
        out.line('into[at++] = 0')
        return
      }
      case 'map': {
        const keys = out.unique('keys')
        const key = out.unique('key')
        const item = out.unique('item')
        out.line(`if (!isObject(${v})) return -1`)
        out.line(`const ${keys} = Object.keys(${v})`)
        out.line(`if (${keys}.length > 0) at = writeZigzagLong(into, at, ${keys}.length)`)
        out.block(`for (const ${key} of ${keys})`, () => {
          this.#call(`writeText(into, at, ${key})`)
          out.line(`const ${item} = ${v}[${key}]`)
          this.#value(node.values, item, `${label}{}`)
        })
        out.line('into[at++] = 0')
        return
      }
      case 'union':
        this.#union(node, v, label)
        return
      case 'record':
        if (node.recursive) this.#call(`${this.#functionOf(node)}(${v}, into, at, depth + 1)`)
        else this.#fields(node, v, label)
    }
  }

  #union(node: UnionNode, v: string, label: string): void {
    const out = this.#out
    const nullable = nullableOf(node)
    const general = () => {
      const index = out.unique('index')
      const inner = out.unique('inner')
      out.line(`const ${index} = choose(${this.#constant(node)}, ${v})`)
      out.line(`if (${index} < 0) return -1`)
      out.line(`const ${inner} = chosen.inner`)
      out.line(`at = writeUnsigned(into, at, ${index} * 2)`)
      for (const [i, branch] of node.branches.entries())
        out.block(`${i === 0 ? '' : 'else '}if (${index} === ${i})`, () => this.#value(branch, inner, label))
    }
    if (nullable === undefined) {
      general()
      return
    }
    // The common case without a choice: null, or a bare value that is no object.
    const { kind } = nullable.value
    const isScalar = kind !== 'record' && kind !== 'map' && kind !== 'array'
    out.line(`if (${v} === null) into[at++] = ${2 * nullable.nullIndex}`)
    if (isScalar)
      out.block(`else if (typeof ${v} !== 'object')`, () => {
        out.line(`into[at++] = ${2 * nullable.valueIndex}`)
        this.#value(nullable.value, v, label)
      })
    out.block('else', general)
  }

  #fields(node: RecordNode, v: string, label: string): void {
    const out = this.#out
    const known = out.unique('known')
    out.line(`if (!isObject(${v})) return -1`)
    out.line(`let ${known} = 0`)
    for (const field of node.fields) {
      const name = identifier(field.name)
      const x = out.unique('x')
      const path = label === '' ? name : `${label}.${name}`
      out.line(`// ${path}: ${field.node.kind}`)
      const read = `${v}.${name}`
      out.line(
        INHERITED.has(name)
          ? `const ${x} = Object.hasOwn(${v}, '${name}') ? ${read} : undefined`
          : `const ${x} = ${read}`,
      )
      out.block(`if (${x} !== undefined)`, () => {
        out.line(`${known}++`)
        this.#value(field.node, x, path)
      })
      out.line(
        field.default === undefined
          ? 'else return -1'
          : `else at = writeRaw(into, at, ${this.#constant(field.default.bytes)})`,
      )
    }
    const key = out.unique('key')
    out.line('// A field that the schema does not have.')
    out.line(`for (const ${key} in ${v}) ${known}--`)
    out.line(`if (${known} !== 0) return -1`)
  }

  #functionOf(node: RecordNode): string {
    let name = this.#functions.get(node)
    if (name === undefined) {
      name = this.#out.unique(`encode_${identifier(node.name.slice(node.name.lastIndexOf('.') + 1))}_`)
      this.#functions.set(node, name)
    }
    return name
  }
}
