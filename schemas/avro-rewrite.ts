// Records from an older schema to the current one, bytes to bytes: Avro's schema resolution as generated code
// (avro-resolution.ts is the plan). What both schemas write alike is copied as it lies, in runs as long as can
// be; what was promoted, mapped or moved is written anew; a default is a constant. No values are made.
import { compileSource, identifier, SourceWriter } from '../std/codegen.ts'
import { MillraceError } from '../std/errors.ts'
import { writeUnsigned, writeZigzagLong } from '../std/varint.ts'
import { ENUM_INDEX, NESTING, TRAILING, UNION_INDEX } from './avro-codes.ts'
import { CheckEmitter, EMITTED_SCOPE } from './avro-emit.ts'
import { NESTING_MAX } from './avro-encode.ts'
import type { AvroNode } from './avro-node.ts'
import { isIdentity, type RecordResolution, type Resolution, resolve } from './avro-resolution.ts'
import { minimumSize } from './avro-size.ts'
import { writeDouble, writeRaw } from './avro-value-encoder.ts'

export { createRecordPatcher, type RecordPatcher } from './avro-codec.ts'
export { createScanner, type FieldBounds, type Scanner } from './avro-scanner.ts'

export interface Rewriter {
  /** The writer's bytes are the reader's: a record may pass as it is. */
  readonly isIdentity: boolean
  /**
   * Writes the datum bytes[start, end) as the reader has it, at `at` of `into`: the position after it; a code
   * of avro-codes.ts negated where the bytes are no datum; more than `into.length` where the room did not
   * suffice. Never throws for any bytes. `into` must not overlap `bytes`.
   */
  readonly rewrite: (bytes: Uint8Array, start: number, end: number, into: Uint8Array, at: number) => number
  /** The generated source, for people. */
  readonly source: string
}

/** Throws `schema_incompatible` where the reader cannot read the writer's data, with every reason in its details. */
export function createRewriter(writer: AvroNode, reader: AvroNode): Rewriter {
  const { resolution, faults } = resolve(writer, reader)
  if (resolution === undefined)
    throw new MillraceError(
      'schema_incompatible',
      faults.map((fault) => `${fault.path || 'the record'}: ${fault.reason} (${fault.rule})`).join('; '),
      { faults },
    )
  return new RewriteGenerator().generate(writer, resolution)
}

const numberBytes = new Uint8Array(4)
const singles = new Float32Array(numberBytes.buffer)

/** Copies bytes[from, to) to `at`; what finds no room is only counted. */
function copySpan(bytes: Uint8Array, from: number, to: number, into: Uint8Array, at: number): number {
  const end = at + to - from
  if (to - from > 64) {
    if (end <= into.length) into.set(bytes.subarray(from, to), at)
  } else for (let p = from, q = at; p < to; p++, q++) into[q] = bytes[p]!
  return end
}

function writeFloat(into: Uint8Array, at: number, value: number): number {
  singles[0] = value
  for (let i = 0; i < 4; i++) into[at + i] = numberBytes[i]!
  return at + 4
}

function floatAt(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 4; i++) numberBytes[i] = bytes[at + i]!
  return singles[0]!
}

/** Position in the output after a function of a recursive record, whose result is the one in the input. */
const written = new Int32Array(1)

const SCOPE = {
  ...EMITTED_SCOPE,
  copySpan,
  floatAt,
  writeDouble,
  writeFloat,
  writeRaw,
  writeUnsigned,
  writeZigzagLong,
  written,
}

/** In scope of what is emitted, beside the checks' (avro-emit.ts): `into`, and `to`, the position in it. */
class RewriteGenerator {
  readonly #out = new SourceWriter()
  readonly #check = new CheckEmitter(this.#out)
  readonly #functions = new Map<RecordResolution, string>()
  readonly #constants: unknown[] = []

  generate(writer: AvroNode, resolution: Resolution): Rewriter {
    const out = this.#out
    const identity = isIdentity(resolution)
    out.block('function walk(bytes, at, end, into, to, depth)', () => {
      if (identity) this.#copy(() => this.#check.check(writer, ''))
      else this.#value(resolution, '')
      out.line('written[0] = to')
      out.line('return at')
    })
    const done = new Set<RecordResolution>()
    while (done.size < this.#functions.size)
      for (const [record, name] of this.#functions) {
        if (done.has(record)) continue
        done.add(record)
        out.block(`function ${name}(bytes, at, end, into, to, depth)`, () => {
          out.line(`if (depth > ${NESTING_MAX}) return -${NESTING}`)
          this.#fields(record, '')
          out.line('written[0] = to')
          out.line('return at')
        })
      }
    this.#check.functions()
    out.block('function rewrite(bytes, start, end, into, at)', () => {
      out.line('const last = walk(bytes, start, end, into, at, 0)')
      out.line(`return last === end ? written[0] : last < 0 ? last : -${TRAILING}`)
    })
    const constants = this.#constants.map((_, i) => `const c${i} = constants[${i}]\n`).join('')
    const source = `${constants}${out}`
    const scope = { ...SCOPE, constants: this.#constants }
    return {
      isIdentity: identity,
      rewrite: compileSource<Rewriter['rewrite']>(`${source}return rewrite\n`, scope),
      source,
    }
  }

  #constant(value: unknown): string {
    return `c${this.#constants.push(value) - 1}`
  }

  /** Copies what `step` moves over. */
  #copy(step: () => void): void {
    const from = this.#out.unique('from')
    this.#out.line(`const ${from} = at`)
    step()
    this.#out.line(`to = copySpan(bytes, ${from}, at, into, to)`)
  }

  #value(resolution: Resolution, label: string): void {
    const out = this.#out
    switch (resolution.kind) {
      case 'leaf':
        this.#leaf(resolution.writer, resolution.reader, label)
        return
      case 'enum': {
        out.line(`// ${label}: enum`)
        const index = this.#check.index(resolution.writer.symbols.length, ENUM_INDEX)
        const indices = this.#constant(Int32Array.from(resolution.indices, (to) => 2 * to))
        out.line(`to = writeUnsigned(into, to, ${indices}[${index}])`)
        return
      }
      case 'array':
      case 'map': {
        const isArray = resolution.kind === 'array'
        const minimum = isArray
          ? minimumSize(resolution.writer.items)
          : 1 + minimumSize(resolution.writer.values)
        this.#check.blocks(
          label,
          resolution.kind,
          minimum,
          () => {
            if (!isArray) this.#copy(() => this.#check.string(`${label} key`, false))
            this.#value(isArray ? resolution.items : resolution.values, `${label}${isArray ? '[]' : '{}'}`)
          },
          (count) => out.line(`to = writeZigzagLong(into, to, ${count})`),
        )
        out.line('into[to++] = 0')
        return
      }
      case 'branches': {
        out.line(`// ${label}: union`)
        const index = this.#check.index(resolution.branches.length, UNION_INDEX)
        for (const [i, branch] of resolution.branches.entries())
          out.block(`${i === 0 ? '' : 'else '}if (${index} === ${i})`, () => this.#value(branch, label))
        return
      }
      case 'into':
        out.line(`to = writeUnsigned(into, to, ${2 * resolution.index})`)
        this.#value(resolution.inner, label)
        return
      case 'record':
        if (!resolution.writer.recursive) this.#fields(resolution, label)
        else {
          this.#check.call(`${this.#functionOf(resolution)}(bytes, at, end, into, to, depth + 1)`)
          out.line('to = written[0]')
        }
    }
  }

  /**
   * Where the reader keeps the writer's order, field by field in one pass. Where it does not: first over all of
   * the writer's fields, noting where those begin that are kept, then each from there in the reader's order.
   */
  #fields(resolution: RecordResolution, label: string): void {
    const out = this.#out
    const kept = resolution.fields.flatMap(({ to }) => (to === undefined ? [] : [to.index]))
    const isInOrder = kept.every((index, i) => i === 0 || kept[i - 1]! < index)
    const path = (name: string) => (label === '' ? identifier(name) : `${label}.${identifier(name)}`)
    if (isInOrder) {
      this.#inOrder(resolution, path)
      return
    }
    const starts = new Map<number, string>()
    for (const { field, to } of resolution.fields) {
      if (to !== undefined) {
        const start = out.unique('start')
        starts.set(to.index, start)
        out.line(`const ${start} = at`)
      }
      this.#check.check(field.node, path(field.name))
    }
    const after = out.unique('after')
    out.line(`const ${after} = at`)
    for (const [index, field] of resolution.reader.fields.entries()) {
      const start = starts.get(index)
      if (start === undefined) {
        this.#default(resolution, index)
        continue
      }
      out.line(`at = ${start}`)
      const source = resolution.fields.find(({ to }) => to?.index === index)!
      if (isIdentity(source.to!.resolution))
        this.#copy(() => this.#check.check(source.field.node, path(field.name)))
      else this.#value(source.to!.resolution, path(field.name))
    }
    out.line(`at = ${after}`)
  }

  #inOrder(resolution: RecordResolution, path: (name: string) => string): void {
    const out = this.#out
    let next = 0
    let run: string | undefined
    const endRun = () => {
      if (run !== undefined) out.line(`to = copySpan(bytes, ${run}, at, into, to)`)
      run = undefined
    }
    const defaultsBefore = (index: number) => {
      if (next < index) endRun()
      for (; next < index; next++) this.#default(resolution, next)
    }
    for (const { field, to } of resolution.fields) {
      if (to === undefined) {
        endRun()
        this.#check.check(field.node, `${path(field.name)} (not read)`)
        continue
      }
      defaultsBefore(to.index)
      next = to.index + 1
      if (isIdentity(to.resolution)) {
        if (run === undefined) {
          run = out.unique('run')
          out.line(`const ${run} = at`)
        }
        this.#check.check(field.node, path(field.name))
      } else {
        endRun()
        this.#value(to.resolution, path(field.name))
      }
    }
    endRun()
    defaultsBefore(resolution.reader.fields.length)
  }

  #default(resolution: RecordResolution, index: number): void {
    const field = resolution.reader.fields[index]!
    this.#out.line(`// ${identifier(field.name)}: default`)
    this.#out.line(`to = writeRaw(into, to, ${this.#constant(field.default!.bytes)})`)
  }

  #leaf(writer: AvroNode, reader: AvroNode, label: string): void {
    const out = this.#out
    if (isIdentity({ kind: 'leaf', writer, reader })) {
      this.#copy(() => this.#check.check(writer, label))
      return
    }
    if (writer.kind === 'bytes') {
      // Read as a string, which has to be UTF-8.
      this.#copy(() => this.#check.string(label, false))
      return
    }
    const from = out.unique('from')
    out.line(`const ${from} = at`)
    this.#check.check(writer, label)
    const value = `${writer.kind === 'int' ? 'intAt' : writer.kind === 'long' ? 'longAt' : 'floatAt'}(bytes, ${from})`
    out.line(`to = ${reader.kind === 'float' ? 'writeFloat' : 'writeDouble'}(into, to, ${value})`)
  }

  #functionOf(resolution: RecordResolution): string {
    let name = this.#functions.get(resolution)
    if (name === undefined) {
      const { writer } = resolution
      name = this.#out.unique(`rewrite_${identifier(writer.name.slice(writer.name.lastIndexOf('.') + 1))}_`)
      this.#functions.set(resolution, name)
    }
    return name
  }
}
