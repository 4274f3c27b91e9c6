// Avro data → columns, without a row object between: for each pair of writer and reader schema one generated
// function that walks a datum as the writer wrote it and puts every field where the reader's table has it,
// with Avro's schema resolution worked out beforehand (avro-resolution.ts). Decoders of several writers fill
// the same builders, so that a batch of columns may span a change of contract.
//
// A datum is checked while it is decoded, as the validator would: bytes that are none leave the columns as
// they were.
import { compileSource, identifier, SourceWriter } from '../std/codegen.ts'
import { MillraceError } from '../std/errors.ts'
import { ENUM_INDEX, TRAILING, TRUNCATED, UNION_INDEX } from './avro-codes.ts'
import { columnFieldOf } from './avro-column-type.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import type { AvroNode, RecordNode } from './avro-node.ts'
import { type RecordResolution, type Resolution, resolve } from './avro-resolution.ts'
import { readLongWords } from './avro-runtime.ts'
import { minimumSize } from './avro-size.ts'
import { type ColumnBuilder, RowScope } from './column-builder.ts'
import {
  BytesBuilder,
  createColumnBuilder,
  ListBuilder,
  LongBuilder,
  StructBuilder,
  WordsBuilder,
} from './column-builders.ts'
import type { ColumnBatch, ColumnField } from './columns.ts'

export { gatherColumn, sliceColumn } from './column-ops.ts'

export interface ColumnDecoder {
  /** Appends the datum bytes[start, end) as a row: 0, or a code of avro-codes.ts and no row. Never throws for any bytes. */
  readonly decode: (bytes: Uint8Array, start: number, end: number) => number
  /**
   * The same for `count` data, the i-th at [starts[i], ends[i]): up to the first that is none, whose code it is. One
   * loop over many rows costs a third less than a call for each.
   */
  readonly decodeRows: (bytes: Uint8Array, starts: Int32Array, ends: Int32Array, count: number) => number
  /** The generated source, for people. */
  readonly source: string
}

/** Growing columns, one for each field of a reader record. */
export class ColumnBuilders {
  readonly fields: readonly ColumnField[]
  readonly #reader: RecordNode
  readonly #scope: RowScope
  readonly #columns: readonly ColumnBuilder[]
  readonly #decoders = new Map<AvroNode, ColumnDecoder>()

  /** Throws `schema_invalid` where `reader` is no record, or holds what a table cannot. `isShared`: in shared memory. */
  constructor(reader: AvroNode, isShared = false) {
    this.#scope = new RowScope(isShared)
    const { type } = columnFieldOf(reader)
    if (reader.kind !== 'record' || type.kind !== 'struct')
      throw new MillraceError('schema_invalid', `a table is made of a record, not of ${reader.kind}`, {
        path: '',
      })
    this.#reader = reader
    this.fields = type.fields
    this.#columns = type.fields.map((field) => createColumnBuilder(field, this.#scope))
  }

  get rowCount(): number {
    return this.#scope.count
  }

  /** The decoder of `writer`'s data into these columns, made once. Throws `schema_incompatible`. */
  decoderFor(writer: AvroNode): ColumnDecoder {
    let decoder = this.#decoders.get(writer)
    if (decoder === undefined) {
      const { resolution, faults } = resolve(writer, this.#reader)
      if (resolution === undefined)
        throw new MillraceError(
          'schema_incompatible',
          faults.map((fault) => `${fault.path || 'the record'}: ${fault.reason} (${fault.rule})`).join('; '),
          { faults },
        )
      decoder = new DecoderGenerator(this.#columns).generate(resolution, this.#scope)
      this.#decoders.set(writer, decoder)
    }
    return decoder
  }

  /** The rows so far. Their arrays are lent: until `reset` no row may be added, afterwards they hold other ones. */
  finish(): ColumnBatch {
    const rowCount = this.#scope.count
    return { rowCount, columns: this.#columns.map((column) => column.finish(rowCount)) }
  }

  /** Drops the rows so far. */
  reset(): void {
    this.#scope.reset()
  }
}

/** Builders with one decoder, for a single writer. */
export function createColumnDecoder(
  writer: AvroNode,
  reader: AvroNode,
): ColumnDecoder & { builders: ColumnBuilders } {
  const builders = new ColumnBuilders(reader)
  return { ...builders.decoderFor(writer), builders }
}

/** Copies `length` bytes. */
function copyBytes(bytes: Uint8Array, at: number, length: number, into: Uint8Array, to: number): void {
  for (let i = 0; i < length; i++) into[to + i] = bytes[at + i]!
}

/** Big-endian two's complement of any length → 16 bytes, little-endian. */
function storeDecimal(bytes: Uint8Array, start: number, end: number, into: Uint8Array, to: number): void {
  const sign = bytes[start]! >= 0x80 ? 0xff : 0
  for (let i = 0; i < 16; i++) into[to + i] = end - 1 - i >= start ? bytes[end - 1 - i]! : sign
}

class DecoderGenerator {
  readonly #out = new SourceWriter()
  readonly #check = new CheckEmitter(this.#out)
  readonly #builders: ColumnBuilder[] = []
  readonly #columns: readonly ColumnBuilder[]
  /** Builders whose array cannot change while a loop over rows runs, and the variable that holds it. */
  readonly #arrays = new Map<ColumnBuilder, string>()
  /** The same of their validity, where they can be null and an empty element is a zero or two. */
  readonly #validities = new Map<ColumnBuilder, string>()
  /** Whether what is written now stands in that loop. */
  #isInLoop = true
  readonly #constants: unknown[] = []
  readonly #defaults: { name: string; builder: ColumnBuilder; node: AvroNode; bytes: Uint8Array }[] = []

  constructor(columns: readonly ColumnBuilder[]) {
    this.#columns = columns
  }

  generate(resolution: Resolution, scope: RowScope): ColumnDecoder {
    const out = this.#out
    out.block('function appendRows(bytes, starts, ends, rowCount)', () => {
      out.line('scope.reserve(rowCount)')
      out.line('const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)')
      out.line('const depth = 0')
      this.#hoist(this.#columns)
      out.block('for (let i = 0, row = scope.count; i < rowCount; i++)', () => {
        out.line('const end = ends[i]')
        out.line('let at = starts[i]')
        this.#root(resolution)
        out.line(`if (at !== end) return -${TRAILING}`)
        out.line('scope.count = ++row')
      })
      out.line('return 0')
    })
    this.#isInLoop = false
    // A default may hold records whose own defaults are appended: the list grows under way.
    for (let i = 0; i < this.#defaults.length; i++) {
      const { name, builder, node, bytes } = this.#defaults[i]!
      const constant = this.#constant(bytes)
      out.block(`function ${name}(row)`, () => {
        out.line(`const bytes = ${constant}, end = bytes.length, depth = 0`)
        out.line('const view = new DataView(bytes.buffer, bytes.byteOffset, end)')
        out.line('let at = 0')
        const { resolution: itself } = resolve(node, node)
        this.#value(itself!, builder, 'row', name)
        out.line('return at')
      })
    }
    this.#check.functions()
    out.block('function decodeRows(bytes, starts, ends, rowCount)', () => {
      out.line('const code = appendRows(bytes, starts, ends, rowCount)')
      out.line('if (code === 0) return 0')
      out.line('scope.rollback(scope.count)')
      out.line('return -code')
    })
    out.line('const oneStart = new Int32Array(1)')
    out.line('const oneEnd = new Int32Array(1)')
    out.block('function decode(bytes, start, end)', () => {
      out.line('oneStart[0] = start')
      out.line('oneEnd[0] = end')
      out.line('return decodeRows(bytes, oneStart, oneEnd, 1)')
    })
    const builderLines = this.#builders.map((_, i) => `const b${i} = builders[${i}]\n`).join('')
    const constantLines = this.#constants.map((_, i) => `const c${i} = constants[${i}]\n`).join('')
    const source = `${builderLines}${constantLines}${out}`
    const decoder = compileSource<Omit<ColumnDecoder, 'source'>>(`${source}return { decode, decodeRows }\n`, {
      ...EMITTED_SCOPE,
      readLongWords,
      builders: this.#builders,
      constants: this.#constants,
      copyBytes,
      scope,
      storeDecimal,
    })
    return { ...decoder, source }
  }

  /** The root is a record, or a writer's union of records. */
  #root(resolution: Resolution): void {
    if (resolution.kind === 'record') this.#fields(resolution, this.#columns, 'row', '')
    else if (resolution.kind === 'branches')
      this.#branches(resolution.branches, (branch) => this.#root(branch))
    else throw new MillraceError('internal', `a ${resolution.kind} cannot be a row`)
  }

  #builder(builder: ColumnBuilder): string {
    const known = this.#builders.indexOf(builder)
    return `b${known >= 0 ? known : this.#builders.push(builder) - 1}`
  }

  /** Declares the arrays of columns that have one element a row of the table. */
  #hoist(columns: readonly ColumnBuilder[]): void {
    for (const column of columns) {
      if (column instanceof StructBuilder) this.#hoist(column.children)
      const member = memberOf(column)
      if (member === undefined) continue
      const name = this.#out.unique(member)
      this.#out.line(`const ${name} = ${this.#builder(column)}.${member}`)
      this.#arrays.set(column, name)
      if (column.validity === undefined || column instanceof BytesBuilder) continue
      const validity = this.#out.unique('validity')
      this.#out.line(`const ${validity} = ${this.#builder(column)}.validity`)
      this.#validities.set(column, validity)
    }
  }

  /** The array of a builder with elements of fixed width. */
  #array(builder: ColumnBuilder): string {
    const name = this.#isInLoop ? this.#arrays.get(builder) : undefined
    return name ?? `${this.#builder(builder)}.${memberOf(builder)}`
  }

  #constant(value: unknown): string {
    return `c${this.#constants.push(value) - 1}`
  }

  #branches(branches: readonly Resolution[], each: (branch: Resolution) => void): void {
    const index = this.#check.index(branches.length, UNION_INDEX)
    for (const [i, branch] of branches.entries())
      this.#out.block(`${i === 0 ? '' : 'else '}if (${index} === ${i})`, () => each(branch))
  }

  #fields(resolution: RecordResolution, columns: readonly ColumnBuilder[], row: string, label: string): void {
    for (const { field, to } of resolution.fields) {
      const path = label === '' ? identifier(field.name) : `${label}.${identifier(field.name)}`
      if (to === undefined) this.#check.check(field.node, `${path} (not read)`)
      else this.#value(to.resolution, columns[to.index]!, row, path)
    }
    for (const index of resolution.defaults) {
      const field = resolution.reader.fields[index]!
      const name = this.#out.unique(`default_${identifier(field.name)}_`)
      this.#defaults.push({ name, builder: columns[index]!, node: field.node, bytes: field.default!.bytes })
      this.#out.line(`${name}(${row})`)
    }
  }

  #value(resolution: Resolution, builder: ColumnBuilder, row: string, label: string): void {
    const out = this.#out
    switch (resolution.kind) {
      case 'leaf':
        this.#leaf(resolution.writer, resolution.reader, builder, row, label)
        return
      case 'enum': {
        out.line(`// ${label}: enum`)
        const index = this.#check.index(resolution.writer.symbols.length, ENUM_INDEX)
        const isSame = resolution.indices.every((to, from) => to === from)
        const value = isSame ? index : `${this.#constant(Int32Array.from(resolution.indices))}[${index}]`
        out.line(`${this.#array(builder)}[${row}] = ${value}`)
        return
      }
      case 'branches':
        out.line(`// ${label}: union`)
        this.#branches(resolution.branches, (branch) => this.#value(branch, builder, row, label))
        return
      case 'into':
        // The reader's union is [null, T]: T's column is nullable.
        if (resolution.reader.branches[resolution.index]!.kind === 'null') this.#null(builder, row)
        else this.#value(resolution.inner, builder, row, label)
        return
      case 'record':
        if (!(builder instanceof StructBuilder))
          throw new MillraceError('internal', 'a record without its struct')
        this.#fields(resolution, builder.children, row, label)
        return
      case 'array':
      case 'map':
        this.#list(resolution, builder, row, label)
    }
  }

  /** `appendNull`, written out where the arrays are at hand. */
  #null(builder: ColumnBuilder, row: string): void {
    const out = this.#out
    const [array, validity] = [this.#arrays.get(builder), this.#validities.get(builder)]
    if (!this.#isInLoop || array === undefined || validity === undefined) {
      out.line(`${this.#builder(builder)}.appendNull(${row})`)
      return
    }
    out.line(`${validity}[${row} >> 3] &= ~(1 << (${row} & 7))`)
    out.line(`${this.#builder(builder)}.nullCount++`)
    if (builder instanceof LongBuilder) out.line(`${array}[2 * ${row}] = ${array}[2 * ${row} + 1] = 0`)
    else out.line(`${array}[${row}] = 0`)
  }

  #list(
    resolution: Extract<Resolution, { kind: 'array' | 'map' }>,
    builder: ColumnBuilder,
    row: string,
    label: string,
  ): void {
    const out = this.#out
    if (!(builder instanceof ListBuilder)) throw new MillraceError('internal', 'an array without its list')
    const b = this.#builder(builder)
    const elements = out.unique('elements')
    out.line(`const ${elements} = ${b}.elements`)
    const element = out.unique('row')
    const minimum =
      resolution.kind === 'array'
        ? minimumSize(resolution.writer.items)
        : 1 + minimumSize(resolution.writer.values)
    this.#check.blocks(label, resolution.kind, minimum, () => {
      out.line(`const ${element} = ${elements}.count`)
      out.line(`if (${element} === ${elements}.capacity) ${elements}.grow()`)
      if (resolution.kind === 'array')
        this.#value(resolution.items, builder.children[0]!, element, `${label}[]`)
      else {
        this.#text(builder.children[0]!, element, `${label} key`, true)
        this.#value(resolution.values, builder.children[1]!, element, `${label}{}`)
      }
      out.line(`${elements}.count = ${element} + 1`)
    })
    out.line(`${b}.offsets[${row} + 1] = ${elements}.count`)
  }

  /** A string or bytes, copied as it lies. */
  #text(builder: ColumnBuilder, row: string, label: string, isString: boolean): void {
    const out = this.#out
    const from = out.unique('from')
    out.line(`// ${label}: ${isString ? 'string' : 'bytes'}`)
    const length = this.#check.length()
    out.line(`const ${from} = at`)
    const stop = out.unique('stop')
    out.line(`const ${stop} = at + ${length}`)
    const b = this.#builder(builder)
    if (isString) {
      out.line(`if (${b}.repeats(${row}, view, ${from}, ${stop})) at = ${stop}`)
      out.block('else', () => {
        out.line(`while (at < ${stop} && bytes[at] < 0x80) at++`)
        out.line(`if (at < ${stop} && (at = utf8End(bytes, at, ${stop})) < 0) return at`)
        out.line(`${b}.append(${row}, bytes, ${from}, at)`)
      })
    } else {
      out.line(`at = ${stop}`)
      out.line(`${b}.append(${row}, bytes, ${from}, at)`)
    }
  }

  #leaf(writer: AvroNode, reader: AvroNode, builder: ColumnBuilder, row: string, label: string): void {
    const out = this.#out
    const array = this.#array(builder)
    switch (writer.kind) {
      case 'boolean':
        this.#check.check(writer, label)
        out.line(`${array}[${row}] = bytes[at - 1]`)
        return
      case 'int':
      case 'long':
        this.#integer(writer, reader, array, row, label)
        return
      case 'float':
      case 'double': {
        const size = writer.kind === 'float' ? 4 : 8
        out.line(`// ${label}: ${writer.kind}`)
        out.line(`if (end - at < ${size}) return -${TRUNCATED}`)
        out.line(`${array}[${row}] = view.get${writer.kind === 'float' ? 'Float32' : 'Float64'}(at, true)`)
        out.line(`at += ${size}`)
        return
      }
      case 'string':
        if (reader.kind === 'string' && reader.logical === 'uuid') {
          out.line(`// ${label}: uuid`)
          const length = this.#check.length()
          this.#check.call(`uuidEnd(bytes, at, at + ${length}, ${array}, 16 * ${row})`)
        } else this.#text(builder, row, label, true)
        return
      case 'bytes':
        if (reader.kind === 'bytes' && reader.decimal !== undefined && writer.decimal !== undefined) {
          out.line(`// ${label}: decimal`)
          const length = this.#check.length()
          this.#decimal(length, writer.decimal.precision, array, row)
        } else this.#text(builder, row, label, reader.kind === 'string')
        return
      case 'fixed':
        out.line(`// ${label}: fixed`)
        out.line(`if (end - at < ${writer.size}) return -${TRUNCATED}`)
        if (reader.kind === 'fixed' && reader.decimal !== undefined && writer.decimal !== undefined)
          this.#decimal(`${writer.size}`, writer.decimal.precision, array, row)
        else {
          out.line(`copyBytes(bytes, at, ${writer.size}, ${array}, ${writer.size} * ${row})`)
          out.line(`at += ${writer.size}`)
        }
        return
      default:
        // null, beside its T in a union: 'into' has dealt with it.
        throw new MillraceError('internal', `no column for ${writer.kind}`)
    }
  }

  #decimal(length: string, precision: number, array: string, row: string): void {
    const from = this.#out.unique('from')
    this.#out.line(`const ${from} = at`)
    this.#check.call(`decimalEnd(bytes, at, at + ${length}, ${precision})`)
    this.#out.line(`storeDecimal(bytes, ${from}, at, ${array}, 16 * ${row})`)
  }

  #integer(writer: AvroNode, reader: AvroNode, array: string, row: string, label: string): void {
    const out = this.#out
    if (reader.kind === 'long' && writer.kind === 'long' && writer.logical !== 'time-micros') {
      // Every long is one: checked while it is read.
      out.line(`// ${label}: ${writer.logical ?? 'long'}`)
      this.#check.call(`readLongWords(bytes, view, at, end, ${array}, 2 * ${row})`)
      return
    }
    const from = out.unique('from')
    out.line(`const ${from} = at`)
    this.#check.check(writer, label)
    if (reader.kind === 'long') out.line(`longWordsAt(bytes, ${from}, ${array}, 2 * ${row})`)
    else {
      const value = writer.kind === 'int' ? 'intAt' : 'longAt'
      out.line(`${array}[${row}] = ${value}(bytes, ${from})`)
    }
  }
}

/** Where a builder of fixed-width elements has them. */
function memberOf(builder: ColumnBuilder): 'values' | 'words' | 'data' | undefined {
  if (builder instanceof WordsBuilder) return 'values'
  if (builder instanceof LongBuilder) return 'words'
  return builder instanceof BytesBuilder ? 'data' : undefined
}
